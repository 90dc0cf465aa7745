//! What is stored: quotes that were accepted, and events that people look up later.
//!
//! Separate from the hand-over, because whoever stores and reads records has to know them, and not the way they come.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use crate::market::{ExchangeName, Quote};

/// What is stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A quote.
    Quote(Accepted),
    /// An event.
    Event(RecordedEvent),
}

impl Record {
    /// When it was received, or happened.
    pub fn at(&self) -> DateTime<Utc> {
        match self {
            Self::Quote(accepted) => accepted.received_at,
            Self::Event(event) => event.at,
        }
    }
}

/// A quote that passed every gate.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// Who quoted it.
    pub exchange: ExchangeName,
    /// What was quoted.
    pub quote: Quote,
    /// Its value: the middle of bid and ask, else the last price.
    pub value: Decimal,
    /// When it was received, in whole microseconds, and distinct for each quote of a market.
    pub received_at: DateTime<Utc>,
    /// The values of all the quotes that it stands for.
    pub span: Span,
}

/// The values of the quotes that one record stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub open: Decimal,
    /// The largest.
    pub high: Decimal,
    /// The smallest.
    pub low: Decimal,
    /// How many they are.
    pub num_quotes: u32,
}

impl Span {
    /// One quote of this value.
    pub fn of(value: Decimal) -> Self {
        Self { open: value, high: value, low: value, num_quotes: 1 }
    }

    /// This one, and a later one behind it.
    pub fn then(self, later: Self) -> Self {
        Self {
            open: self.open,
            high: self.high.max(later.high),
            low: self.low.min(later.low),
            num_quotes: self.num_quotes.saturating_add(later.num_quotes),
        }
    }
}

/// Something that people want to look up later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    /// When, in whole microseconds.
    pub at: DateTime<Utc>,
    /// What kind.
    pub kind: EventKind,
    /// Which exchange; `None` where it concerns no single one.
    pub exchange: Option<ExchangeName>,
    /// A stable word or a sentence for people, by kind.
    pub reason: String,
    /// How many times; 1 but for refusals, which are told together.
    pub count: u64,
}

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// Another exchange answers, or nobody.
    Failover,
    /// An actor ended and begins again.
    Restart,
    /// An actor ended too often and is left alone for a while.
    Quarantine,
    /// Quotes were refused.
    Refusal,
    /// The clocks jumped, or ours is slow.
    Clock,
    /// The rate book failed and forgot every quote.
    BookFailure,
    /// Sources of fiat rates contradict each other, or do no longer.
    Disagreement,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Failover,
        Self::Restart,
        Self::Quarantine,
        Self::Refusal,
        Self::Clock,
        Self::BookFailure,
        Self::Disagreement,
    ];

    /// The word in questions, answers and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failover => "failover",
            Self::Restart => "restart",
            Self::Quarantine => "quarantine",
            Self::Refusal => "refusal",
            Self::Clock => "clock",
            Self::BookFailure => "book_failure",
            Self::Disagreement => "disagreement",
        }
    }

    /// The kind that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_event_is_read_as_it_is_written_and_nothing_else_is() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(EventKind::parse("Failover"), None);
    }
}
