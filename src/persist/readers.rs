//! Connections that read, a few at the most, opened when they are needed.
//!
//! Separate from the one that writes: a slow question holds up other questions, and never a quote.

use std::fmt;
use std::time::Duration;

use diesel::prelude::*;
use diesel::r2d2::{
    Builder, ConnectionManager, CustomizeConnection, Error, ManageConnection, NopErrorHandler, Pool,
};

use super::postgres::{self, Address, PostgresArchive};
use super::sqlite::{Database, ReaderManager, SqliteArchive, SqliteReader};
use super::store::{Archive, StoreError};

/// Most connections. Questions about history are heavy, and two of them keep a small machine busy.
pub(super) const MAX_CONNECTIONS: u32 = 4;

/// How long a question waits for a connection. Whoever asked over HTTP is still there then.
const WAIT: Duration = Duration::from_secs(2);

/// Connections that read.
#[derive(Clone)]
pub(super) enum Readers {
    Sqlite(Pool<ReaderManager>),
    Postgres(Pool<ConnectionManager<PgConnection>>, Address),
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readers(..)")
    }
}

impl Readers {
    /// Those of SQLite. Connects to nothing yet; a file that is not there is not made.
    pub(super) fn of_sqlite(database: &Database) -> Self {
        Self::Sqlite(pool().build_unchecked(ReaderManager::new(database)))
    }

    /// Those of PostgreSQL. Connects to nothing yet.
    pub(super) fn of_postgres(address: &Address) -> Self {
        let pool = pool().connection_customizer(Box::new(Opening(postgres::open_reader)));
        Self::Postgres(pool.build_unchecked(ConnectionManager::new(address.url())), address.clone())
    }

    /// Asks on a connection.
    ///
    /// # Errors
    /// When there is no connection within 2 s, or what the question ended in.
    pub(super) fn read<T>(
        &self,
        question: impl FnOnce(&mut dyn Archive) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        question(&mut *self.get()?)
    }

    /// A connection; waits up to 2 s for one.
    ///
    /// # Errors
    /// When all are busy for that long, or the database does not answer.
    pub(super) fn get(&self) -> Result<Box<dyn Archive>, StoreError> {
        match self {
            Self::Sqlite(pool) => match pool.get() {
                Ok(connection) => Ok(Box::new(SqliteArchive(SqliteReader(connection)))),
                Err(error) => Err(StoreError::Disconnected(error.to_string())),
            },
            Self::Postgres(pool, address) => match pool.get() {
                Ok(connection) => Ok(Box::new(PostgresArchive(connection))),
                Err(error) => Err(StoreError::Disconnected(address.cleaned(&error.to_string()))),
            },
        }
    }
}

/// What a new connection is told before it is used.
struct Opening<C>(fn(&mut C) -> QueryResult<()>);

impl<C> fmt::Debug for Opening<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opening(..)")
    }
}

impl<C: 'static> CustomizeConnection<C, Error> for Opening<C> {
    fn on_acquire(&self, connection: &mut C) -> Result<(), Error> {
        (self.0)(connection).map_err(Error::QueryError)
    }
}

fn pool<M: ManageConnection<Error = Error>>() -> Builder<M> {
    let pool = Pool::builder().max_size(MAX_CONNECTIONS).min_idle(Some(0)).connection_timeout(WAIT);
    // Whoever asked tells the error; the pool would log it for every attempt, and with the host.
    pool.error_handler(Box::new(NopErrorHandler))
}
