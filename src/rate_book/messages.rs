//! What producers tell RateBook, what consumers ask of it, and what it answers.
//!
//! Separate from the actor because these are the ports of the whole program: exchanges, HTTP, storage and the
//! broker know these types and nothing else of the hub.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use super::change::Event;
use crate::market::{Course, Direction, ExchangeName, Moment, Quote, Refusal, Transport, number};

/// Number of an incarnation of an exchange's actor; a later one is larger. Quotes of an earlier one are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

/// An exchange read quotes, and refused some.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ReportQuotes {
    /// Who read them.
    pub exchange: ExchangeName,
    /// Which incarnation of it.
    pub epoch: Epoch,
    /// By which way they came.
    pub transport: Transport,
    /// When they came.
    pub received_at: Moment,
    /// The quotes, in the order in which they came.
    pub quotes: Vec<Quote>,
    /// Why others were refused, one entry per refusal.
    pub refused: Vec<Refusal>,
}

/// An exchange's connection changed.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ReportLink {
    /// Whose.
    pub exchange: ExchangeName,
    /// Which incarnation of it.
    pub epoch: Epoch,
    /// When.
    pub at: Moment,
    /// To what.
    pub link: Link,
}

/// The state of an exchange's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Data flows this way.
    Up(Transport),
    /// A poll of a source that has no socket failed. Its quotes go on to age; only what `/health` says changes.
    PollFailed(LinkFailure),
    /// Neither way works. Its live quotes are not believed any more, however young they are.
    Down(LinkFailure),
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkFailure {
    /// For people: `connection refused`, `answered 429`.
    pub detail: String,
    /// Whether the exchange refuses us by law or by rule (401, 403, 451).
    pub forbidden: bool,
    /// Until when nothing is asked of it; `None` without a ban.
    pub banned_until: Option<DateTime<Utc>>,
}

/// An exchange said which directions it is going to quote.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ReportListing {
    /// Who.
    pub exchange: ExchangeName,
    /// Which incarnation of it.
    pub epoch: Epoch,
    /// What it quotes.
    pub listens_to: Vec<Direction>,
    /// What was wanted of it and it does not trade.
    pub unsupported: Vec<Direction>,
}

/// An exchange had to dial again after a lost socket.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ReportReconnect {
    /// Who.
    pub exchange: ExchangeName,
    /// Which incarnation of it.
    pub epoch: Epoch,
}

/// What a stream has told of exchanges that another machine listens to, up to a place in it. Taken in as a whole: whoever
/// is told this place of the book is told all that the stream has until there.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct FollowStream {
    /// What happened, in the order of the stream.
    pub events: Vec<Event>,
    /// Where in the stream that is; grows.
    pub sequence: u64,
    /// Whether nothing was left in the stream behind it.
    pub is_caught_up: bool,
    /// When it was read.
    pub read_at: Moment,
}

/// The supervisor started or stopped an exchange's actor.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ReportLife {
    /// Who.
    pub exchange: ExchangeName,
    /// When.
    pub at: Moment,
    /// What happened.
    pub life: Life,
}

/// What happened to an exchange's actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// An incarnation began; quotes of earlier ones are refused from now on.
    Started(Epoch),
    /// It ended, and will be started again.
    Ended {
        /// For people: `panicked`, `made no progress`.
        detail: String,
    },
    /// It ended too often, and is left alone for a while.
    Quarantined {
        /// For people.
        detail: String,
    },
}

/// Asks for courses.
#[derive(Debug, Clone, Message, Default)]
#[rtype(result = "Result<Answer, CoursesError>")]
pub struct GetCourses {
    /// Answer from this exchange only.
    pub exchanger: Option<ExchangeName>,
    /// Which directions.
    pub wanted: Wanted,
    /// Refuse what is older.
    pub max_age: Option<Duration>,
}

/// Which directions are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Wanted {
    /// Every configured one that the answering exchange supports.
    #[default]
    Configured,
    /// Of the configured ones these, as far as the answering exchange supports them (`token`, `currency`).
    OfConfigured(Vec<Direction>),
    /// These, all of them.
    All(Vec<Direction>),
}

/// Courses from one exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Whose courses.
    pub exchanger: ExchangeName,
    /// In the order that was asked for.
    pub courses: Vec<Course>,
    /// Age of the oldest course.
    pub age: Duration,
    /// The reference legs that were used, each once.
    pub legs: Vec<ReferenceLeg>,
    /// Configured directions that were wanted and that this exchange does not support.
    pub missing: Vec<Direction>,
    /// Number of this state of the book; never falls.
    pub sequence: u64,
    /// When this was computed; ages are those of that moment.
    pub at: Moment,
    /// The state of the book that this was computed from.
    pub version: u64,
    /// For how long every leg stays within its limit if nothing comes.
    pub fresh_for: Duration,
}

/// The version of the book, for those who keep what it answered: an answer counts while its version is the book's.
///
/// A version says nothing of time: what is kept has to be given up when it is no longer fresh as well.
#[derive(Debug, Clone, Default)]
pub struct BookVersion(Arc<AtomicU64>);

impl BookVersion {
    /// The number of the book's state.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Says that the book is in another state from now on.
    pub fn set(&self, version: u64) {
        self.0.store(version, Ordering::Release);
    }
}

/// A leg that does not come from the answering exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceLeg {
    /// Which: `USDT-USD`, `USD-RUB`.
    pub direction: Direction,
    /// From whom; `None` for a peg that the user configured.
    pub source: Option<ExchangeName>,
    /// Its age.
    pub age: Duration,
    /// Whether its source is stale, and the last value is being held.
    pub held: bool,
}

/// Why there are no courses.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CoursesError {
    /// No enabled source has this currency.
    #[error("no enabled source has the currency of `{0}`")]
    UnknownDirection(Direction),
    /// The currencies are known, but no path leads from one to the other (on the asked exchange, or on any single
    /// one for all that was asked).
    #[error("no path leads through `{0}`")]
    UnsupportedDirection(Direction),
    /// The asked exchange is not enabled.
    #[error("exchange `{0}` is not enabled")]
    UnknownExchanger(ExchangeName),
    /// No data has come yet since the start.
    #[error("no data yet since the start")]
    Starting(Vec<Judgement>),
    /// There is data, but none that is fresh.
    #[error("nothing fresh for what was asked")]
    Stale(Vec<Judgement>),
    /// Every exchange that could answer is down.
    #[error("every exchange that could answer is down")]
    Down(Vec<Judgement>),
    /// There is fresh data, but it is older than was asked for.
    #[error("the freshest data is {} ms old", age.as_millis())]
    TooOld {
        /// Age of the freshest answer there is.
        age: Duration,
    },
}

/// Why one exchange could not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Who.
    pub name: ExchangeName,
    /// Its state.
    pub status: Status,
    /// For people: why.
    pub reason: String,
    /// Age of its oldest course of those asked; `None` where one has never been there.
    pub age: Option<Duration>,
    /// Which of the directions asked for it cannot give now.
    pub missing: Vec<Direction>,
}

/// The state of an exchange, as `/health` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It gives quotes within their limit.
    Fresh,
    /// Connected, but nothing within its limit.
    Stale,
    /// No connection.
    Down,
    /// It refuses us (401, 403, 451).
    Forbidden,
    /// Its actor failed too often, and is left alone for a while.
    Quarantined,
    /// Switched off by the settings.
    Disabled,
}

impl Status {
    /// The word in `/health`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Down => "down",
            Self::Forbidden => "forbidden",
            Self::Quarantined => "quarantined",
            Self::Disabled => "disabled",
        }
    }
}

/// Asks for the state of everything.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "BookHealth")]
pub struct GetHealth;

/// The state of everything.
#[derive(Debug, Clone, PartialEq)]
pub struct BookHealth {
    /// Whether at least one configured direction can be answered.
    pub can_answer: bool,
    /// Why the service is not at its best; empty when it is.
    pub impairments: Vec<String>,
    /// Who answers a question without parameters; `None` when nobody can.
    pub answering: Option<ExchangeName>,
    /// Every exchange, in the order of `priority`, then by name.
    pub exchanges: Vec<ExchangeHealth>,
    /// The reference legs that the configured directions use.
    pub legs: Vec<ReferenceLeg>,
    /// Sources of fiat rates that contradict the ones that count, on any currency.
    pub disagreements: Vec<Disagreement>,
    /// How often who answers changed since the start.
    pub failovers: BTreeMap<Failover, u64>,
    /// Quotes that were left to be stored since the start, those that only repeat a price excepted; `None` where nothing
    /// is.
    pub left_to_store: Option<u64>,
}

/// A change of who answers, as far as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Failover {
    /// Who answered before; `None` if nobody did.
    pub from: Option<ExchangeName>,
    /// Why.
    pub cause: FailoverCause,
}

/// Why another exchange answers, or nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailoverCause {
    /// Who answered before had nothing fresh for all that was asked.
    Stale,
    /// Its connection was lost.
    Down,
    /// It refuses us.
    Forbidden,
    /// Its actor is left alone.
    Quarantined,
    /// One that comes before it has been fresh for long enough.
    FailBack,
    /// Nobody answered before.
    Recovered,
}

impl FailoverCause {
    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Down => "down",
            Self::Forbidden => "forbidden",
            Self::Quarantined => "quarantined",
            Self::FailBack => "fail_back",
            Self::Recovered => "recovered",
        }
    }
}

/// A source of fiat rates that contradicts the one that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// Of which rate: dollars into a currency.
    pub direction: Direction,
    /// Whose rate counts.
    pub believed: ExchangeName,
    /// That rate.
    pub value: Decimal,
    /// Who contradicts.
    pub source: ExchangeName,
    /// What it says instead.
    pub other: Decimal,
    /// Whether the currency is one of the configured directions.
    pub matters: bool,
}

impl Disagreement {
    /// By how much the other rate is away from the one that counts, in per cent of it, rounded to tenths; `None`
    /// beyond the range of a decimal.
    pub fn percent(&self) -> Option<Decimal> {
        let share = self.other.checked_sub(self.value)?.checked_div(self.value)?;
        Some(share.checked_mul(Decimal::ONE_HUNDRED)?.round_dp(1).normalize())
    }
}

/// For people: who says what, and whose word counts.
impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { direction, believed, value, source, other, .. } = self;
        let (value, other) = (number::plain(*value), number::plain(*other));
        write!(f, "{direction}: {source} says {other}, {believed} {value}")?;
        if let Some(percent) = self.percent() {
            write!(f, " ({percent} % apart)")?;
        }
        write!(f, "; {believed} counts")
    }
}

impl BookHealth {
    /// The state of a book that could not be asked.
    pub fn failed() -> Self {
        Self {
            can_answer: false,
            impairments: vec!["the book failed".to_owned()],
            answering: None,
            exchanges: Vec::new(),
            legs: Vec::new(),
            disagreements: Vec::new(),
            failovers: BTreeMap::new(),
            left_to_store: None,
        }
    }
}

/// The state of one exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct ExchangeHealth {
    /// Who.
    pub name: ExchangeName,
    /// Its state.
    pub status: Status,
    /// By which way data comes; `None` when none does.
    pub transport: Option<Transport>,
    /// Age of its newest quote.
    pub last_quote_age: Option<Duration>,
    /// Quotes that were accepted since the start.
    pub quotes_total: u64,
    /// Quotes that were refused since the start, by reason.
    pub refused: Vec<(Refusal, u64)>,
    /// How often its actor was started again.
    pub restarts: u64,
    /// How often it dialled again after a lost socket.
    pub reconnects: u64,
    /// The last failure, for people.
    pub last_error: Option<String>,
    /// Until when nothing is asked of it.
    pub banned_until: Option<DateTime<Utc>>,
    /// Directions that were wanted of it and that it does not trade.
    pub unsupported: Vec<Direction>,
    /// The largest distance of its courses from the median of all exchanges, as a share of the median; `None` where
    /// there are too few to compare, or it may not answer.
    pub deviation: Option<Decimal>,
}
