//! Storage: what RateBook accepts is kept in the embedded SQLite or in PostgreSQL, and read from there.
//!
//! The only place that knows diesel, which lives on threads of its own: a database that hangs holds up nothing else.
//!
//! ```text
//! RateBook ─▶ HandOver ─┬─▶ writer ─▶ SQLite                       one file, no second copy
//!                       └─▶ collector ─▶ outbox ─▶ writer ─▶ PostgreSQL
//! GET /v1/history … ─▶ Librarian ─▶ pool of readers ─▶ either
//! ```
//!
//! [`Storage`] puts it together: the Persister, which the supervisor keeps alive, runs the threads on the left; the
//! Librarian answers what is on the right.

mod candle;
mod column;
mod database;
mod event;
mod journal;
mod librarian;
mod migrations;
mod names;
mod outbox;
mod pages;
mod past;
mod past_courses;
mod persister;
mod postgres;
mod readers;
mod rejected;
mod schema;
mod sources;
mod sqlite;
mod status;
mod store;
mod worker;
mod writer;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::time::Duration;

use actix::prelude::*;

use self::librarian::Librarian;
use self::persister::{Persister, PersisterSetup};
use self::readers::Readers;
use self::status::Status;
use crate::clock;
use crate::config::StorageSettings;
use crate::history::{Candle, HistoryPorts, Interval, Page, Range, Tick};
use crate::market::ExchangeName;
use crate::rate_book::{BookSettings, HandOver};
use crate::supervisor::ChildSpec;

pub use database::Database;
pub use store::{Keep, Store, StoreError, Tidied, Written};

/// The name of the child that stores.
pub const PERSISTER: &str = "persister";

/// How often a flush looks whether all is stored.
const FLUSH_CHECK: Duration = Duration::from_millis(10);

/// Where quotes are stored.
#[derive(Debug, Clone)]
pub struct Storage {
    database: Database,
    settings: StorageSettings,
    /// What comes from RateBook; `None` where this process stores nothing.
    hand_over: Option<HandOver>,
    /// Whether what is handed over waits elsewhere until it is stored, so that no outbox is needed.
    is_of_a_stream: bool,
    status: Status,
}

impl Storage {
    /// The storage at a `database_url`. Nothing is opened yet. What comes through `hand_over` is stored; without one
    /// it is only read.
    pub fn new(database_url: &str, settings: StorageSettings, hand_over: Option<HandOver>) -> Self {
        let database = Database::new(database_url);
        let status = Status::new(database.name(), hand_over.clone());
        Self { database, settings, hand_over, is_of_a_stream: false, status }
    }

    /// The same storage for what comes from a stream, which keeps it until it is stored: nothing is confirmed before the
    /// database has it, whichever that is.
    pub fn of_a_stream(self) -> Self {
        Self { is_of_a_stream: true, ..self }
    }

    /// The Persister, for a supervisor; `None` where this process stores nothing.
    pub fn child(&self) -> Option<ChildSpec> {
        let setup = PersisterSetup {
            database: self.database.clone(),
            settings: self.settings.clone(),
            hand_over: self.hand_over.clone()?,
            needs_outbox: self.database.is_remote() && !self.is_of_a_stream,
            status: self.status.clone(),
        };
        Some(ChildSpec::new(PERSISTER, move |incarnation| {
            Persister::new(setup.clone(), incarnation).start();
        }))
    }

    /// Starts the actor that answers questions about what is stored, on a thread of its own. Past courses follow
    /// `rules`.
    pub fn start_librarian(&self, rules: BookSettings) -> HistoryPorts {
        let librarian = Librarian::new(self.database.readers(), self.status.clone(), rules);
        let address = Librarian::start_in_arbiter(&Arbiter::new().handle(), |_| librarian);
        Librarian::ports(&address)
    }

    /// Waits until everything that was accepted is stored for good, and then for at most `for_database` until the
    /// database has it too. Says whether nothing waits in memory any more.
    pub async fn flush(&self, limit: Duration, for_database: Duration) -> bool {
        let Some(hand_over) = &self.hand_over else { return true };
        let began_at = clock::now();
        loop {
            // Whoever still accepts, accepts into a step that is over.
            hand_over.close();
            let is_stored = hand_over.counters().waiting == 0;
            let waited = clock::now().since(began_at);
            let limit = if is_stored { for_database.min(limit) } else { limit };
            if waited >= limit || is_stored && self.status.is_drained() {
                return is_stored;
            }
            tokio::time::sleep(FLUSH_CHECK).await;
        }
    }

    /// Waits, once the Persister was ended, until its threads have put their files in order; at most `limit`, since a
    /// database that is frozen holds them.
    pub async fn ended(&self, limit: Duration) {
        let began_at = clock::now();
        while !self.status.is_over() && clock::now().since(began_at) < limit {
            tokio::time::sleep(FLUSH_CHECK).await;
        }
    }
}

/// Reads what is stored, for a command.
#[derive(Debug)]
pub struct Reader {
    readers: Readers,
    order: Vec<ExchangeName>,
}

impl Reader {
    /// A reader of the database at a `database_url`. Where a range names nobody, the first of `order` that has any is
    /// meant. Nothing is opened yet.
    pub fn new(database_url: &str, order: &[ExchangeName]) -> Self {
        Self { readers: Database::new(database_url).readers(), order: order.to_owned() }
    }

    /// A page of candles.
    ///
    /// # Errors
    /// When the database does not answer in time.
    pub fn candles(&self, range: Range, interval: Interval) -> Result<Page<Candle>, StoreError> {
        self.readers.read(|archive| pages::candles(archive, &range, interval, &self.order))
    }

    /// A page of quotes.
    ///
    /// # Errors
    /// When the database does not answer in time.
    pub fn ticks(&self, range: Range) -> Result<Page<Tick>, StoreError> {
        self.readers.read(|archive| pages::ticks(archive, &range, &self.order))
    }
}
