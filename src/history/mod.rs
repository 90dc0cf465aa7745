//! What is asked of stored data, and what is answered: candles, ticks, past courses, events, and the state of the
//! storage.
//!
//! Separate because HTTP asks and storage answers, and neither may know the other: these messages are the port
//! between them.

use std::time::Duration;

use actix::prelude::*;
use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;

use crate::market::{Direction, ExchangeName};
use crate::rate_book::{Answer, EventKind, GetCourses, RecordedEvent};

/// Most rows of one page. A client that wants more asks for the next page; storage never holds more at once.
pub const MAX_PAGE: usize = 10_000;

/// Whom to ask about stored data.
#[derive(Debug, Clone)]
pub struct HistoryPorts {
    /// Who has candles.
    pub candles: Recipient<GetCandles>,
    /// Who has quotes one by one.
    pub ticks: Recipient<GetTicks>,
    /// Who knows the courses of a past time.
    pub past_courses: Recipient<GetPastCourses>,
    /// Who has events.
    pub events: Recipient<GetEvents>,
    /// Who knows the state of the storage.
    pub health: Recipient<GetStorageHealth>,
}

/// The length of a candle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Interval {
    /// One minute.
    Minute,
    /// One hour.
    Hour,
    /// One day, in UTC.
    Day,
}

impl Interval {
    /// Every length, the shortest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// The word in questions, answers and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }

    /// The interval that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|interval| interval.as_str() == text)
    }

    /// How long it is.
    pub const fn length(self) -> TimeDelta {
        match self {
            Self::Minute => TimeDelta::minutes(1),
            Self::Hour => TimeDelta::hours(1),
            Self::Day => TimeDelta::days(1),
        }
    }

    /// The start of the candle that `at` falls into. All of them divide a day, and days are those of UTC.
    pub fn start_of(self, at: DateTime<Utc>) -> DateTime<Utc> {
        let seconds = at.timestamp();
        let start = seconds - seconds.rem_euclid(self.length().num_seconds());
        DateTime::from_timestamp(start, 0).unwrap_or(at)
    }
}

/// What one direction of one exchange did in one interval. There is none for an interval without a quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candle {
    /// Its first moment.
    pub starts_at: DateTime<Utc>,
    /// Value of the first quote: the middle of bid and ask, else the last price.
    pub open: Decimal,
    /// Largest value.
    pub high: Decimal,
    /// Smallest value.
    pub low: Decimal,
    /// Value of the last quote.
    pub close: Decimal,
    /// How many quotes it is made of, those too that were not kept one by one.
    pub num_quotes: u64,
}

/// One stored quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    /// When it was received.
    pub received_at: DateTime<Utc>,
    /// The exchange's own time; `None` where it gave none.
    pub quoted_at: Option<DateTime<Utc>>,
    /// Best price that a buyer offered; `None` where the source has no book.
    pub bid: Option<Decimal>,
    /// Best price that a seller asked; `None` where the source has no book.
    pub ask: Option<Decimal>,
    /// Price of the last trade, or the one price of a source without a book.
    pub last: Option<Decimal>,
}

/// Which stored data: one direction of one exchange, from a time until before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Which direction, as exchanges quote it.
    pub direction: Direction,
    /// Whose; `None` for the first exchange that has any, in the order of `priority` and then by name.
    pub exchange: Option<ExchangeName>,
    /// From this time on.
    pub from: DateTime<Utc>,
    /// Until before this time.
    pub to: DateTime<Utc>,
    /// Most rows; at most [`MAX_PAGE`].
    pub limit: usize,
}

/// Rows of a range in the order of time, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// Whose rows; `None` where no exchange has any.
    pub exchange: Option<ExchangeName>,
    /// The rows. Where nothing was stored there is no row.
    pub rows: Vec<T>,
    /// From when the next page begins; `None` after the last row.
    pub next: Option<DateTime<Utc>>,
}

/// Asks for candles.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Page<Candle>, HistoryError>")]
pub struct GetCandles {
    /// Which.
    pub range: Range,
    /// How long each is.
    pub interval: Interval,
}

/// Asks for quotes one by one.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Page<Tick>, HistoryError>")]
pub struct GetTicks {
    /// Which.
    pub range: Range,
}

/// Asks for the courses as of a past time, by the rules that answer current ones.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<PastAnswer, HistoryError>")]
pub struct GetPastCourses {
    /// Which courses.
    pub question: GetCourses,
    /// As of when.
    pub at: DateTime<Utc>,
    /// Which stored points may stand for that time.
    pub policy: Policy,
    /// How far from it they may be. A fixing counts for as long as it applies.
    pub tolerance: Duration,
}

/// Which stored points may stand for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The last one until then.
    Previous,
    /// The one that is nearest, before or after.
    Nearest,
    /// One of that very second.
    Exact,
}

impl Policy {
    /// Every policy, the usual one first.
    pub const ALL: [Self; 3] = [Self::Previous, Self::Nearest, Self::Exact];

    /// The word in questions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Previous => "previous",
            Self::Nearest => "nearest",
            Self::Exact => "exact",
        }
    }
}

/// Courses as of a past time.
#[derive(Debug, Clone, PartialEq)]
pub struct PastAnswer {
    /// The courses; ages are those of that time.
    pub answer: Answer,
    /// The time of the stored point that was used, of several the one that is furthest from the time asked for;
    /// fixings only where there is nothing else.
    pub as_of: DateTime<Utc>,
}

/// Asks for events, oldest first.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<EventPage, HistoryError>")]
pub struct GetEvents {
    /// From this time on.
    pub since: DateTime<Utc>,
    /// Of this kind; `None` for all.
    pub kind: Option<EventKind>,
    /// Most events; at most [`MAX_PAGE`].
    pub limit: usize,
}

/// Events in the order of time, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// The events.
    pub events: Vec<RecordedEvent>,
    /// From when the next page begins; `None` after the last event.
    pub next: Option<DateTime<Utc>>,
}

/// Why stored data cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// The database does not answer, or not in time.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// So many questions wait that one more would wait too long.
    #[error("too many questions about history are waiting")]
    Busy,
    /// Nothing that may stand for the time asked for is stored.
    #[error("nothing is stored for that time within the tolerance")]
    NoDataAt,
}

/// Asks for the state of the storage.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "StorageHealth")]
pub struct GetStorageHealth;

/// The state of the storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageHealth {
    /// What is stored, and whether the database takes it.
    pub state: StorageState,
    /// `sqlite` or `postgres`.
    pub database: &'static str,
    /// How long the oldest quote has been waiting that the database does not have yet; zero when it has all.
    pub lag: Duration,
    /// What waits in memory for the local outbox, or for the database where there is no outbox.
    pub waiting_rows: u64,
    /// What the local outbox holds; 0 without one.
    pub outbox_rows: u64,
    /// What it takes on the disk.
    pub outbox_bytes: u64,
    /// What the database has taken since the start.
    pub stored_rows: u64,
    /// What it had already.
    pub duplicate_rows: u64,
    /// What it refused for its content, and was set aside.
    pub rejected_rows: u64,
    /// What was given up because the outbox or the memory for it was full, or its disk damaged.
    pub dropped_rows: u64,
    /// Quotes for which a later one of the same market stands.
    pub conflated_quotes: u64,
    /// When the newest stored quote was received, those of earlier runs included; `None` where none is known.
    pub last_quote_at: Option<DateTime<Utc>>,
    /// What went wrong last, without secrets; `None` where nothing did.
    pub last_error: Option<String>,
}

/// Whether the database takes what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageState {
    /// This process stores nothing.
    Disabled,
    /// Not connected yet since the start.
    Starting,
    /// It takes all.
    Ok,
    /// It takes nothing at present; what comes is kept until it does.
    Impaired,
}

impl StorageState {
    /// The word in `/health`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Starting => "starting",
            Self::Ok => "ok",
            Self::Impaired => "impaired",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_falls_into_the_candle_that_begins_at_or_before_it() {
        for (interval, at, start) in [
            (Interval::Minute, "2026-11-20T12:34:56.789Z", "2026-11-20T12:34:00Z"),
            (Interval::Minute, "2026-11-20T12:34:00Z", "2026-11-20T12:34:00Z"),
            (Interval::Hour, "2026-11-20T12:34:56Z", "2026-11-20T12:00:00Z"),
            (Interval::Day, "2026-11-20T23:59:59.999999Z", "2026-11-20T00:00:00Z"),
            (Interval::Day, "1969-12-31T23:59:59Z", "1969-12-31T00:00:00Z"),
        ] {
            let expected: DateTime<Utc> = start.parse().unwrap();
            assert_eq!(interval.start_of(at.parse().unwrap()), expected, "{at}");
            assert_eq!(Interval::parse(interval.as_str()), Some(interval));
        }
    }
}
