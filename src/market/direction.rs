//! An ordered pair, base then counter: `BTC-USD` is the price of one BTC in USD.

use std::fmt;
use std::str::FromStr;

use super::asset::{Asset, AssetError};

/// An ordered pair of currencies: what is priced, and what it is priced in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Direction {
    /// What is priced.
    pub base: Asset,
    /// What it is priced in.
    pub counter: Asset,
}

/// A text is no direction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectionError {
    /// There is not exactly one hyphen.
    #[error("`{0}` is no direction (allowed: base and counter with one hyphen between, such as `BTC-USD`)")]
    Shape(String),
    /// A side is no currency code.
    #[error(transparent)]
    Asset(#[from] AssetError),
    /// Both sides are the same currency.
    #[error("`{0}` prices a currency in itself")]
    Identity(String),
}

impl Direction {
    /// The direction from `base` to `counter`.
    pub const fn new(base: Asset, counter: Asset) -> Self {
        Self { base, counter }
    }

    /// The same pair, the other way round.
    pub const fn inverse(self) -> Self {
        Self { base: self.counter, counter: self.base }
    }

    /// The direction that markets quote: both sides as [`Asset::priced_as`] has them.
    pub fn priced_as(self) -> Self {
        Self { base: self.base.priced_as(), counter: self.counter.priced_as() }
    }
}

impl FromStr for Direction {
    type Err = DirectionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = || DirectionError::Shape(text.chars().take(40).collect());
        let (base, counter) = text.split_once('-').ok_or_else(shape)?;
        if counter.contains('-') {
            return Err(shape());
        }
        let direction = Self::new(base.parse()?, counter.parse()?);
        if direction.base == direction.counter {
            return Err(DirectionError::Identity(direction.to_string()));
        }
        Ok(direction)
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.base, self.counter)
    }
}

impl fmt::Debug for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_are_read_in_any_case_and_everything_else_is_refused() {
        for (text, expected) in [
            ("btc-usd", Some("BTC-USD")),
            ("RUB-USDTTRC", Some("RUB-USDTTRC")),
            ("BTCUSD", None),
            ("BTC-", None),
            ("-USD", None),
            ("BTC-USD-RUB", None),
            ("BTC-btc", None),
            ("BTC/USD", None),
        ] {
            assert_eq!(text.parse::<Direction>().ok().map(|d| d.to_string()).as_deref(), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_read_as_a_direction_is_written_so_that_it_is_read_again(text in "[A-Za-z0-9]{1,17}-?[A-Za-z0-9-]{0,17}") {
            let Ok(direction) = text.parse::<Direction>() else { return Ok(()) };
            proptest::prop_assert_eq!(direction.to_string(), text.to_ascii_uppercase());
            proptest::prop_assert_eq!(direction.to_string().parse(), Ok(direction));
            proptest::prop_assert_eq!(direction.inverse().inverse(), direction);
            proptest::prop_assert_eq!(direction.priced_as().priced_as(), direction.priced_as());
        }
    }
}
