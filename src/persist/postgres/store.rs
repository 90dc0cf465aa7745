//! The one connection that writes.

use std::collections::HashSet;

use chrono::{DateTime, Days, NaiveDate, Utc};
use diesel::connection::SimpleConnection;
use diesel::dsl::{max, sql};
use diesel::migration::MigrationSource;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::r2d2::R2D2Connection;
use diesel::sql_types::{BigInt, Bool, Text};

use super::address::Address;
use super::fault::{is_missing_partition, meaning, told};
use super::{days, tidy, write};
use crate::clock;
use crate::persist::migrations::{self, MigrationError};
use crate::persist::rejected;
use crate::persist::schema::postgres::{candles, rejected_quotes};
use crate::persist::store::{Keep, Store, StoreError, Tidied, Written};
use crate::rate_book::Record;

/// For the connection that writes. A statement that waits longer than this for a lock, or at all, fails and is tried
/// again, rather than to hold up what comes.
const WRITER: &str = "SET TIME ZONE 'UTC'; SET statement_timeout = '15s'; SET lock_timeout = '2s'";

/// For connections that read.
const READER: &str = "SET TIME ZONE 'UTC'; SET statement_timeout = '5s'; SET lock_timeout = '2s';
    SET default_transaction_read_only = on";

/// Held while migrations run. Any constant that nobody else uses.
pub(super) const MIGRATING: i64 = 0x7261_7465_0001;

/// How long a process waits for others that migrate, and then for tables that somebody uses. The first is longer than
/// any migration takes; while the second is waited for, others wait behind us.
const LONG_WAIT: &str = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'";
const SHORT_WAIT: &str = "SET LOCAL lock_timeout = '5s'";

/// A connection that writes into PostgreSQL.
pub(in crate::persist) struct PostgresStore {
    connection: PgConnection,
    /// Days whose partition was seen.
    known_days: HashSet<NaiveDate>,
}

impl PostgresStore {
    /// Connects.
    ///
    /// # Errors
    /// When there is no connection within 3 s for each address of the host, or within the time that the URL allows.
    pub(in crate::persist) fn connect(address: &Address) -> Result<Self, StoreError> {
        let mut connection = address.connect()?;
        connection
            .batch_execute(WRITER)
            .map_err(|error| StoreError::Disconnected(address.cleaned(&told(&error))))?;
        Ok(Self { connection, known_days: HashSet::new() })
    }

    fn asked<T>(&mut self, ask: impl FnOnce(&mut PgConnection) -> QueryResult<T>) -> Result<T, StoreError> {
        ask(&mut self.connection).map_err(|error| meaning(&error, &mut self.connection))
    }

    /// All of them in one transaction: the lock ends with it, whatever happens, and so does all that was done.
    pub(super) fn apply(&mut self, source: impl MigrationSource<Pg>) -> Result<Vec<String>, StoreError> {
        let applied = self.connection.transaction(|connection| {
            connection.batch_execute(LONG_WAIT)?;
            let lock = diesel::sql_query("SELECT pg_advisory_xact_lock($1)");
            lock.bind::<BigInt, _>(MIGRATING).execute(connection)?;
            connection.batch_execute(SHORT_WAIT)?;
            migrations::apply(connection, source)
        });
        applied.map_err(|error| match error {
            MigrationError::Database(error) => meaning(&error, &mut self.connection),
            MigrationError::Failed(text) if self.connection.ping().is_err() => StoreError::Disconnected(text),
            MigrationError::Failed(text) => StoreError::Migration(text),
        })
    }

    fn make_days(&mut self, days: impl Iterator<Item = NaiveDate>) -> QueryResult<()> {
        for day in days {
            if !self.known_days.contains(&day) {
                days::make(&mut self.connection, day)?;
                self.known_days.insert(day);
            }
        }
        Ok(())
    }

    fn try_to_write(&mut self, records: &[Record]) -> QueryResult<Written> {
        let days: HashSet<NaiveDate> = write::days_of(records).collect();
        self.make_days(days.into_iter())?;
        write::records(&mut self.connection, records)
    }
}

impl Store for PostgresStore {
    fn migrate(&mut self) -> Result<Vec<String>, StoreError> {
        self.apply(migrations::POSTGRES)
    }

    fn pending_migrations(&mut self) -> Result<Vec<String>, StoreError> {
        let applied = self.asked(|connection| {
            let has_table = sql::<Bool>("SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL");
            let versions =
                migrations::applied_migrations::table.select(migrations::applied_migrations::version);
            if has_table.get_result(connection)? { versions.load(connection) } else { Ok(Vec::new()) }
        })?;
        migrations::missing::<Pg>(migrations::POSTGRES, &applied)
    }

    fn write(&mut self, records: &[Record]) -> Result<Written, StoreError> {
        let mut written = self.try_to_write(records);
        if written.as_ref().is_err_and(is_missing_partition) {
            // Somebody dropped a day that was there.
            self.known_days.clear();
            written = self.try_to_write(records);
        }
        written.map_err(|error| meaning(&error, &mut self.connection))
    }

    fn set_aside(&mut self, record: &Record, reason: &str) -> Result<(), StoreError> {
        let columns = (
            rejected_quotes::rejected_at.eq(clock::now().wall),
            rejected_quotes::reason.eq(reason),
            rejected_quotes::record.eq(rejected::json_of(record)),
        );
        let insert = diesel::insert_into(rejected_quotes::table).values(columns);
        self.asked(|connection| insert.execute(connection)).map(|_| ())
    }

    fn tidy(&mut self, keep: Keep, now: DateTime<Utc>) -> Result<Tidied, StoreError> {
        let today = now.date_naive();
        let tomorrow = today.checked_add_days(Days::new(1));
        let prepared = self.make_days([today].into_iter().chain(tomorrow));
        prepared.map_err(|error| meaning(&error, &mut self.connection))?;
        let (tidied, day) = self.asked(|connection| tidy::step(connection, keep, now))?;
        if let Some(day) = day {
            self.known_days.remove(&day);
        }
        Ok(tidied)
    }

    fn finish(&mut self) {}

    fn last_quote_at(&mut self) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.asked(|connection| {
            // The literal makes the index of days usable.
            let is_day = || candles::length.eq(sql::<Text>("'1d'"));
            let newest_day = candles::table.filter(is_day()).select(max(candles::starts_at));
            let Some(newest_day) = newest_day.get_result::<Option<DateTime<Utc>>>(connection)? else {
                return Ok(None);
            };
            let of_that_day = candles::table.filter(is_day()).filter(candles::starts_at.eq(newest_day));
            of_that_day.select(max(candles::closed_at)).get_result(connection)
        })
    }
}

/// Makes a connection ready to read.
pub(in crate::persist) fn open_reader(connection: &mut PgConnection) -> QueryResult<()> {
    connection.batch_execute(READER)
}
