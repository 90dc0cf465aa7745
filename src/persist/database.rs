//! Which database, by its URL: the embedded SQLite or PostgreSQL.
//!
//! Separate because it is the one place that chooses between the two.

use std::fmt;

use super::postgres::{Address, PostgresStore};
use super::readers::Readers;
use super::sqlite::{self, SqliteStore};
use super::store::{Store, StoreError};
use super::writer::Connect;

/// A database.
#[derive(Clone)]
pub struct Database(Kind);

#[derive(Clone)]
enum Kind {
    /// Embedded, in a file or in memory.
    Sqlite(sqlite::Database),
    /// A PostgreSQL server.
    Postgres(Address),
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Database {
    /// The database of a `database_url`, whose form the settings have checked. Every call for `sqlite://:memory:` is
    /// another database.
    pub fn new(url: &str) -> Self {
        match url.strip_prefix("sqlite://") {
            Some(path) => Self(Kind::Sqlite(sqlite::Database::at(path))),
            None => Self(Kind::Postgres(Address::new(url))),
        }
    }

    /// The word in `/health`.
    pub(super) const fn name(&self) -> &'static str {
        match self.0 {
            Kind::Sqlite(_) => "sqlite",
            Kind::Postgres(_) => "postgres",
        }
    }

    /// Whether it is on another machine, or may be, so that what is for it needs an outbox.
    pub(super) const fn is_remote(&self) -> bool {
        matches!(self.0, Kind::Postgres(_))
    }

    /// A connection that writes.
    ///
    /// # Errors
    /// When the database does not answer, or cannot be opened or made.
    pub fn open(&self) -> Result<Box<dyn Store>, StoreError> {
        Ok(match &self.0 {
            Kind::Sqlite(database) => Box::new(SqliteStore::open(database.clone())?),
            Kind::Postgres(address) => Box::new(PostgresStore::connect(address)?),
        })
    }

    /// What opens it, for a thread of its own.
    pub(super) fn connect(&self) -> Connect {
        let database = self.clone();
        Box::new(move || database.open())
    }

    /// A pool that reads.
    pub(super) fn readers(&self) -> Readers {
        match &self.0 {
            Kind::Sqlite(database) => Readers::of_sqlite(database),
            Kind::Postgres(address) => Readers::of_postgres(address),
        }
    }
}
