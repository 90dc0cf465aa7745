//! What a database can do for us, whichever it is: one implementation per database, each on a connection of its own.
//!
//! Separate so that the threads that write and read know no SQL, and so that both databases keep the same promises:
//! what is written twice changes nothing, and candles are made of what was new.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::event::EventsPage;
use crate::history::{Candle, Interval, Policy, Tick};
use crate::market::{Direction, ExchangeName, Quote};
use crate::rate_book::{EventKind, Record};

/// A connection that writes.
pub trait Store: Send {
    /// Applies the migrations that are pending, under a lock, so that others that start now wait for them. Says
    /// which were applied.
    ///
    /// # Errors
    /// When the database does not answer, the lock is not free in time, or a migration fails; a migration that fails
    /// leaves nothing behind.
    fn migrate(&mut self) -> Result<Vec<String>, StoreError>;

    /// The migrations that [`Store::migrate`] would apply.
    ///
    /// # Errors
    /// When the database does not answer.
    fn pending_migrations(&mut self) -> Result<Vec<String>, StoreError>;

    /// Writes records in one transaction, and brings the candles up to date with the quotes that were new.
    ///
    /// # Errors
    /// When the transaction failed; then nothing of it was written.
    fn write(&mut self, records: &[Record]) -> Result<Written, StoreError>;

    /// Keeps a record that the database refuses for its content, with the reason, where people can find it.
    ///
    /// # Errors
    /// When it could not be kept.
    fn set_aside(&mut self, record: &Record, reason: &str) -> Result<(), StoreError>;

    /// Makes ready for what comes (partitions), and takes one short step of dropping what is older than it is kept.
    /// Says whether more is left to drop.
    ///
    /// # Errors
    /// When the database does not answer, or somebody holds what has to be dropped.
    fn tidy(&mut self, keep: Keep, now: DateTime<Utc>) -> Result<Tidied, StoreError>;

    /// Puts what was written where people look for it, because nothing follows: with SQLite into the one file that they
    /// copy. What is not put there now is read from its log at the next start.
    fn finish(&mut self);

    /// When the newest stored quote was received.
    ///
    /// # Errors
    /// When the database does not answer.
    fn last_quote_at(&mut self) -> Result<Option<DateTime<Utc>>, StoreError>;
}

/// A connection that reads. Every question has a limit of rows and of time.
pub(super) trait Archive {
    /// The names of the exchanges that have candles of a direction which begin from `from` on and before `to`.
    ///
    /// # Errors
    /// When the database does not answer in time.
    fn exchanges(
        &mut self,
        direction: Direction,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<String>, StoreError>;

    /// At most `limit` candles that begin from `from` on and before `to`, in the order of time.
    ///
    /// # Errors
    /// When the database does not answer in time.
    fn candles(&mut self, of: &Market, interval: Interval, span: Window) -> Result<Vec<Candle>, StoreError>;

    /// At most `limit` quotes that were received from `from` on and before `to`, in the order of time.
    ///
    /// # Errors
    /// When the database does not answer in time.
    fn ticks(&mut self, of: &Market, span: Window) -> Result<Vec<Tick>, StoreError>;

    /// The markets that had quotes on the day of `at` until then, or on the day before: their exchanges and directions.
    ///
    /// # Errors
    /// When the database does not answer in time.
    fn markets(&mut self, at: DateTime<Utc>) -> Result<Vec<(String, Direction)>, StoreError>;

    /// Of every market the quotes that may stand for `at`: by `policy` and within `tolerance`, and the newest fixing
    /// that was known then, with the newest that had begun.
    ///
    /// # Errors
    /// When the database does not answer in time.
    fn quotes_at(
        &mut self,
        at: DateTime<Utc>,
        policy: Policy,
        tolerance: Duration,
    ) -> Result<Vec<StoredQuote>, StoreError>;

    /// At most `limit` events from `since` on, oldest first; more only where a single moment has more.
    ///
    /// # Errors
    /// When the database does not answer in time.
    fn events(
        &mut self,
        since: DateTime<Utc>,
        kind: Option<EventKind>,
        limit: usize,
    ) -> Result<EventsPage, StoreError>;
}

/// One direction of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Market {
    pub(super) exchange: ExchangeName,
    pub(super) direction: Direction,
}

/// From a time until before another, and how many rows at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
    pub(super) limit: usize,
}

impl Window {
    /// The limit as databases count.
    pub(super) fn num_rows(&self) -> i64 {
        i64::try_from(self.limit).unwrap_or(i64::MAX)
    }
}

/// A quote as it was stored; of an exchange that this version may not know any more.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StoredQuote {
    pub(super) exchange: String,
    pub(super) quote: Quote,
    pub(super) received_at: DateTime<Utc>,
}

/// What became of records that were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Those that were new.
    pub stored: usize,
    /// Those that were there already.
    pub duplicates: usize,
}

/// For how long what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Quotes and events.
    pub quotes: Duration,
    /// Candles.
    pub candles: Duration,
}

/// What a step of tidying did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tidied {
    /// Rows that went; a dropped partition counts as one.
    pub dropped: usize,
    /// Whether more is left to drop.
    pub has_more: bool,
}

/// Why a database did not do what it was asked. Texts hold no secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no connection, or it was lost: another is needed.
    #[error("{0}")]
    Disconnected(String),
    /// The content of a record breaks a rule of the database.
    #[error("{0}")]
    BadContent(String),
    /// A migration failed, and nothing of it was kept.
    #[error("{0}")]
    Migration(String),
    /// The disk of the outbox takes no more; what the outbox holds can be read.
    #[error("{0}")]
    DiskFull(String),
    /// Anything else: a lock that is not free in time, a full disk, a statement that takes too long.
    #[error("{0}")]
    Failed(String),
}
