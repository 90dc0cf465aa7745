//! What a simulated exchange quotes for one symbol at one time.
//!
//! Separate because faults bend it: a price is a number until a fault makes it a text that is none.

use rust_decimal::Decimal;
use rust_decimal::prelude::RoundingStrategy;
use serde_json::Value;

use crate::market::number;

/// A price as it is going to be printed: a number, or what a fault has put in its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Price {
    /// A healthy price.
    Number(Decimal),
    /// Printed as it is.
    Text(String),
    /// JSON's `null`, or an empty text.
    Missing,
}

impl Price {
    /// With exactly `scale` digits behind the point, as most exchanges print; a fault's text as it is.
    pub(super) fn fixed(&self, scale: u32) -> String {
        match self {
            Self::Number(value) => {
                let mut rounded = value.round_dp_with_strategy(scale, RoundingStrategy::MidpointNearestEven);
                rounded.rescale(scale);
                rounded.to_string()
            }
            Self::Text(text) => text.clone(),
            Self::Missing => String::new(),
        }
    }

    /// As a literal of JSON: a number, or a quoted text where a fault has put something else in its place.
    pub(super) fn literal(&self) -> String {
        match self {
            Self::Number(value) => number::plain(*value),
            Self::Text(text) if number::decimal(text).is_some() => text.clone(),
            Self::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
            Self::Missing => "null".to_owned(),
        }
    }

    /// The number; `None` where a fault has put something else in its place.
    pub(super) fn number(&self) -> Option<Decimal> {
        match self {
            Self::Number(value) => Some(*value),
            Self::Text(text) => number::decimal(text),
            Self::Missing => None,
        }
    }
}

/// Best prices and last price of one symbol.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Book {
    /// Best price that a buyer offers; `None` for a source without a book.
    pub bid: Option<Price>,
    /// How much is offered at it.
    pub bid_size: Decimal,
    /// Best price that a seller asks; `None` for a source without a book.
    pub ask: Option<Price>,
    /// How much is asked at it.
    pub ask_size: Decimal,
    /// Price of the last trade, or the one price of a source without a book.
    pub last: Price,
    /// Grows with every change of any symbol of the exchange.
    pub sequence: u64,
}

impl Book {
    /// The book around a true price: bid and ask on the grid of `scale` digits, the spread about `spread_parts`
    /// parts of a million and at least one step of the grid, the last price on one of the two sides.
    pub(super) fn around(middle: Decimal, scale: u32, spread_parts: i64) -> Self {
        let half = middle.checked_mul(Decimal::new(spread_parts, 6)).unwrap_or_default() / Decimal::TWO;
        let step = Decimal::new(1, scale);
        let bid = (middle - half).round_dp_with_strategy(scale, RoundingStrategy::ToZero).max(step);
        let ask = (middle + half).round_dp_with_strategy(scale, RoundingStrategy::AwayFromZero);
        let ask = ask.max(bid + step);
        Self {
            bid: Some(Price::Number(bid)),
            bid_size: Decimal::ONE,
            ask: Some(Price::Number(ask)),
            ask_size: Decimal::ONE,
            last: Price::Number(bid),
            sequence: 0,
        }
    }

    /// The one price of a source without a book.
    pub(super) fn last(last: Decimal) -> Self {
        Self {
            bid: None,
            bid_size: Decimal::ZERO,
            ask: None,
            ask_size: Decimal::ZERO,
            last: Price::Number(last),
            sequence: 0,
        }
    }

    /// The same with other prices.
    pub(super) fn map(self, change: impl Fn(Price) -> Price) -> Self {
        Self { bid: self.bid.map(&change), ask: self.ask.map(&change), last: change(self.last), ..self }
    }

    /// The same with every number replaced by what `change` makes of it; one that cannot be kept goes missing.
    pub(super) fn map_numbers(self, change: impl Fn(Decimal) -> Option<Decimal>) -> Self {
        self.map(|price| match price.number() {
            Some(value) => change(value).map_or(Price::Missing, Price::Number),
            None => price,
        })
    }

    /// The same with bid and ask exchanged.
    pub(super) fn crossed(self) -> Self {
        Self { bid: self.ask, ask: self.bid, ..self }
    }

    /// Whether bid stands below ask, both above zero; true for a source without a book.
    #[cfg(test)]
    pub(super) fn is_sound(&self) -> bool {
        match (&self.bid, &self.ask) {
            (Some(bid), Some(ask)) => {
                matches!((bid.number(), ask.number()), (Some(bid), Some(ask)) if bid > Decimal::ZERO && bid < ask)
            }
            _ => self.last.number().is_some_and(|last| last > Decimal::ZERO),
        }
    }
}

/// What the day before this moment is told to have been: one without events, from which the price rose a little.
#[derive(Debug, Clone, Copy)]
pub(super) struct Day {
    /// The price a day ago.
    pub open: Decimal,
    /// The highest price.
    pub high: Decimal,
    /// The lowest price.
    pub low: Decimal,
    /// The price now.
    pub last: Decimal,
    /// Traded units of the base.
    pub volume: Decimal,
    /// Traded units of the counter.
    pub turnover: Decimal,
}

impl Day {
    /// The day that ends with this book.
    pub(super) fn of(book: &Book) -> Self {
        let last = book.last.number().unwrap_or_default();
        let part = |thousandths: i64| last.checked_mul(Decimal::new(thousandths, 3)).unwrap_or_default();
        let volume = Decimal::from(12_345);
        let turnover = volume.checked_mul(last).unwrap_or_default();
        Self { open: part(985), high: part(1010), low: part(980), last, volume, turnover }
    }
}

/// A price as a JSON text with `scale` digits behind the point; `null` where there is none.
pub(super) fn fixed(price: Option<&Price>, scale: u32) -> Value {
    match price {
        None | Some(Price::Missing) => Value::Null,
        Some(price) => price.fixed(scale).into(),
    }
}

/// A price as a JSON text with the digits that it has; `null` where there is none.
pub(super) fn exact(price: Option<&Price>) -> Value {
    match price {
        None | Some(Price::Missing) => Value::Null,
        Some(Price::Number(value)) => number::plain(*value).into(),
        Some(Price::Text(text)) => text.as_str().into(),
    }
}

/// How much is offered at a price; empty where there is none.
pub(super) fn size(price: Option<&Price>, size: Decimal) -> String {
    match price {
        None | Some(Price::Missing) => String::new(),
        Some(_) => number::plain(size),
    }
}

/// A price as a literal of JSON; `null` where there is none.
pub(super) fn literal(price: Option<&Price>) -> String {
    price.map_or("null".to_owned(), Price::literal)
}

/// One over `value`, with as many digits as prices are told with here.
pub(super) fn inverse(value: Decimal) -> Option<Decimal> {
    Decimal::ONE.checked_div(value).map(super::truth::significant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_surrounds_its_middle_on_the_grid_however_coarse() {
        for (middle, scale) in [("64000.123456", 2), ("0.125", 5), ("0.0000172", 8), ("0.3", 0)] {
            let middle = number::decimal(middle).unwrap();
            let book = Book::around(middle, scale, 10);
            assert!(book.is_sound(), "{book:?}");
            let (bid, ask) = (book.bid.unwrap().number().unwrap(), book.ask.unwrap().number().unwrap());
            assert!(bid.scale() <= scale && ask.scale() <= scale);
            assert!(ask >= middle && (bid <= middle || bid == Decimal::new(1, scale)));
        }
    }

    #[test]
    fn prices_are_printed_as_exchanges_print_them_and_faults_as_they_are() {
        let price = Price::Number(Decimal::new(640_001, 1));
        assert_eq!(price.fixed(8), "64000.10000000");
        assert_eq!(price.literal(), "64000.1");
        let text = Price::Text("NaN".to_owned());
        assert_eq!((text.fixed(8).as_str(), text.literal().as_str()), ("NaN", "\"NaN\""));
        assert_eq!(Price::Text("0".to_owned()).literal(), "0");
        assert_eq!((Price::Missing.fixed(8).as_str(), Price::Missing.literal().as_str()), ("", "null"));
    }
}
