//! Bid, ask and last for one direction from one exchange at one time, and why one is refused.

use std::fmt;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use super::Direction;

/// Bid, ask and last for one direction, as an exchange said it at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Quote {
    /// What is priced, in what, by our names of the assets.
    pub direction: Direction,
    /// Best price that a buyer offers; `None` where the source has no book.
    pub bid: Option<Decimal>,
    /// Best price that a seller asks; `None` where the source has no book.
    pub ask: Option<Decimal>,
    /// Price of the last trade, or the one price of a source without a book.
    pub last: Option<Decimal>,
    /// The exchange's own time of this quote; `None` where it gives none (Binance's `bookTicker`).
    pub quoted_at: Option<DateTime<Utc>>,
    /// The exchange's own number of this quote, growing per symbol; `None` where it gives none.
    pub sequence: Option<u64>,
    /// For how long the quote may be believed.
    pub validity: Validity,
}

/// For how long a quote may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// A market's quote: as long as its age is within the exchange's `stale_after`.
    Live,
    /// An official fixing: from the start of its date in its own time zone until a later one has begun, at most
    /// until `ends_at`.
    Fixing {
        /// First moment at which it applies.
        starts_at: DateTime<Utc>,
        /// Moment from which it applies no longer, even if nothing has superseded it.
        ends_at: DateTime<Utc>,
    },
}

impl Quote {
    /// A quote with a book, of which only the best two prices are known.
    pub fn book(direction: Direction, bid: Decimal, ask: Decimal) -> Self {
        Self { bid: Some(bid), ask: Some(ask), ..Self::empty(direction) }
    }

    /// A quote of a source that has one price and no book.
    pub fn last(direction: Direction, last: Decimal) -> Self {
        Self { last: Some(last), ..Self::empty(direction) }
    }

    /// A quote without any price yet, to be filled.
    pub fn empty(direction: Direction) -> Self {
        Self {
            direction,
            bid: None,
            ask: None,
            last: None,
            quoted_at: None,
            sequence: None,
            validity: Validity::Live,
        }
    }

    /// The value of the quote: the exact middle of bid and ask where the source has a book, else its last price.
    /// `None` if it has neither, has one side only, or if the middle has more digits than a decimal holds.
    pub fn value(&self) -> Option<Decimal> {
        match (self.bid, self.ask) {
            (Some(bid), Some(ask)) => middle(bid, ask),
            (None, None) => self.last,
            _ => None,
        }
    }

    /// Whether the two say the same price, whenever they said it.
    pub fn same_price(&self, other: &Quote) -> bool {
        match (self.bid, self.ask) {
            (None, None) => self.last == other.last && other.bid.is_none(),
            _ => (self.bid, self.ask) == (other.bid, other.ask),
        }
    }
}

/// The exact middle of two prices; `None` where it would have to be rounded or overflows.
fn middle(bid: Decimal, ask: Decimal) -> Option<Decimal> {
    let sum = bid.checked_add(ask)?;
    // Where there is room for one digit more, the middle has it.
    if let Ok(middle) = Decimal::try_from_i128_with_scale(sum.mantissa() * 5, sum.scale() + 1) {
        return Some(middle);
    }
    let middle = sum.checked_mul(Decimal::new(5, 1))?;
    (middle.checked_mul(Decimal::TWO)? == sum).then_some(middle)
}

/// By which of its two ways an exchange was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A socket that the exchange pushes into.
    WebSocket,
    /// Requests that we repeat.
    Rest,
}

impl Transport {
    /// The word in `/health`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Rest => "rest",
        }
    }
}

/// Why a quote is refused. One reason per quote: the first gate that it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// Not of the documented form, or with more digits than can be kept exactly.
    Syntax,
    /// Zero or below.
    NonPositive,
    /// Outside the limits for this asset.
    Magnitude,
    /// Of a symbol that was not asked for.
    UnexpectedSymbol,
    /// Older than the exchange's limit when it arrived.
    Stale,
    /// Stamped further ahead of our clock than clocks differ.
    Future,
    /// Older than one that was already accepted.
    OutOfOrder,
    /// Bid at or above ask.
    Crossed,
    /// Only one side of the book.
    OneSided,
    /// Bid and ask too far apart.
    WideSpread,
    /// From an incarnation of the actor that has been replaced.
    OldEpoch,
}

impl Refusal {
    /// Every reason, in the order in which the gates stand.
    pub const ALL: [Self; 11] = [
        Self::Syntax,
        Self::NonPositive,
        Self::Magnitude,
        Self::UnexpectedSymbol,
        Self::Stale,
        Self::Future,
        Self::OutOfOrder,
        Self::Crossed,
        Self::OneSided,
        Self::WideSpread,
        Self::OldEpoch,
    ];

    /// The stable word for counters and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::NonPositive => "non_positive",
            Self::Magnitude => "magnitude",
            Self::UnexpectedSymbol => "unexpected_symbol",
            Self::Stale => "stale",
            Self::Future => "future",
            Self::OutOfOrder => "out_of_order",
            Self::Crossed => "crossed",
            Self::OneSided => "one_sided",
            Self::WideSpread => "wide_spread",
            Self::OldEpoch => "old_epoch",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
