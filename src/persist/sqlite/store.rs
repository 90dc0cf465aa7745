//! The one connection that writes.

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::dsl::{max, sql};
use diesel::migration::MigrationSource;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::Sqlite;
use log::debug;

use super::column::Micros;
use super::database::{Database, meaning, told};
use super::{tidy, write};
use crate::clock;
use crate::persist::migrations::{self, MigrationError};
use crate::persist::rejected;
use crate::persist::schema::sqlite::{candles, rejected_quotes};
use crate::persist::store::{Keep, Store, StoreError, Tidied, Written};
use crate::rate_book::Record;

/// A connection that writes into SQLite.
pub(in crate::persist) struct SqliteStore {
    database: Database,
    /// The file as it was opened; `None` for memory.
    inode: Option<u64>,
    pub(super) connection: SqliteConnection,
}

impl SqliteStore {
    /// Opens a database, and makes its file if there is none.
    ///
    /// # Errors
    /// When the file is no database, is damaged, may not be written, or is held by somebody else for 5 s.
    pub(in crate::persist) fn open(database: Database) -> Result<Self, StoreError> {
        let connection = database.open_writer()?;
        Ok(Self { inode: database.inode(), database, connection })
    }

    /// Others that start now wait for the lock of the writer, up to 5 s.
    pub(super) fn apply(&mut self, source: impl MigrationSource<Sqlite>) -> Result<Vec<String>, StoreError> {
        let applied =
            self.connection.immediate_transaction(|connection| migrations::apply(connection, source));
        applied.map_err(|error| match error {
            MigrationError::Database(error) => meaning(&error),
            MigrationError::Failed(text) => StoreError::Migration(text),
        })
    }

    /// What is written into a file that was deleted or replaced is lost with this process, and nobody is told.
    fn check_file(&self) -> Result<(), StoreError> {
        if self.database.inode() == self.inode {
            return Ok(());
        }
        let path = self.database.told();
        Err(StoreError::Disconnected(format!("`{path}` was deleted or replaced while it was in use")))
    }
}

impl Store for SqliteStore {
    fn migrate(&mut self) -> Result<Vec<String>, StoreError> {
        self.check_file()?;
        self.apply(migrations::SQLITE)
    }

    fn pending_migrations(&mut self) -> Result<Vec<String>, StoreError> {
        let has_table: i64 =
            sql::<BigInt>("SELECT count(*) FROM sqlite_schema WHERE name = '__diesel_schema_migrations'")
                .get_result(&mut self.connection)
                .map_err(|error| meaning(&error))?;
        let mut applied = Vec::new();
        if has_table > 0 {
            let versions =
                migrations::applied_migrations::table.select(migrations::applied_migrations::version);
            applied = versions.load(&mut self.connection).map_err(|error| meaning(&error))?;
        }
        migrations::missing::<Sqlite>(migrations::SQLITE, &applied)
    }

    fn write(&mut self, records: &[Record]) -> Result<Written, StoreError> {
        self.check_file()?;
        let written = self.connection.immediate_transaction(|connection| write::records(connection, records));
        written.map_err(|error| meaning(&error))
    }

    fn set_aside(&mut self, record: &Record, reason: &str) -> Result<(), StoreError> {
        let columns = (
            rejected_quotes::rejected_at_us.eq(Micros(clock::now().wall)),
            rejected_quotes::reason.eq(reason),
            rejected_quotes::record.eq(rejected::json_of(record)),
        );
        let told = diesel::insert_into(rejected_quotes::table).values(columns).execute(&mut self.connection);
        told.map(|_| ()).map_err(|error| meaning(&error))
    }

    fn tidy(&mut self, keep: Keep, now: DateTime<Utc>) -> Result<Tidied, StoreError> {
        self.check_file()?;
        let tidied = self.connection.immediate_transaction(|connection| tidy::step(connection, keep, now));
        let tidied = tidied.map_err(|error| meaning(&error))?;
        if tidied.dropped > 0 {
            self.connection.batch_execute(tidy::GIVE_BACK).map_err(|error| meaning(&error))?;
        }
        Ok(tidied)
    }

    fn finish(&mut self) {
        // Somebody who reads at this moment may keep the log; nothing is lost with that.
        if let Err(error) = self.connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)") {
            debug!("storage: the log of SQLite stays: {}", told(&error));
        }
    }

    fn last_quote_at(&mut self) -> Result<Option<DateTime<Utc>>, StoreError> {
        // The literal makes the index of days usable.
        let is_day = || candles::length.eq(sql::<Text>("'1d'"));
        let newest_day = candles::table.filter(is_day()).select(max(candles::starts_at_us));
        let newest_day: Option<i64> =
            newest_day.get_result(&mut self.connection).map_err(|error| meaning(&error))?;
        let Some(newest_day) = newest_day else { return Ok(None) };
        let closed_at = candles::table
            .filter(is_day())
            .filter(candles::starts_at_us.eq(newest_day))
            .select(sql::<Nullable<BigInt>>("max(closed_at_us)"))
            .get_result::<Option<Micros>>(&mut self.connection);
        Ok(closed_at.map_err(|error| meaning(&error))?.map(|Micros(at)| at))
    }
}
