//! Connections that read, as the pool makes and checks them.
//!
//! Separate from the pool because only SQLite has this danger: a connection to a file that was deleted or replaced goes
//! on without a word, and reads what is no longer there, or fails for ever.

use std::ops::{Deref, DerefMut};

use diesel::r2d2::{ConnectionManager, Error, ManageConnection, PooledConnection};
use diesel::{ConnectionError, SqliteConnection};

use super::database::{Database, open_reader};

/// Makes connections that read.
#[derive(Debug)]
pub(in crate::persist) struct ReaderManager {
    database: Database,
    connections: ConnectionManager<SqliteConnection>,
}

/// A connection, and which file it has open; `None` for memory.
pub(in crate::persist) struct OpenReader {
    connection: SqliteConnection,
    inode: Option<u64>,
}

impl ReaderManager {
    /// Of a database. A file that is not there is not made.
    pub(in crate::persist) fn new(database: &Database) -> Self {
        let connections = ConnectionManager::new(database.reader_uri());
        Self { database: database.clone(), connections }
    }
}

impl ManageConnection for ReaderManager {
    type Connection = OpenReader;
    type Error = Error;

    fn connect(&self) -> Result<OpenReader, Error> {
        // Before the file is opened: one that is replaced meanwhile is found at the next check.
        let inode = self.database.inode();
        let mut connection = self.connections.connect()?;
        open_reader(&mut connection).map_err(Error::QueryError)?;
        Ok(OpenReader { connection, inode })
    }

    fn is_valid(&self, open: &mut OpenReader) -> Result<(), Error> {
        if open.inode != self.database.inode() {
            let why = "the file was deleted or replaced".to_owned();
            return Err(Error::ConnectionError(ConnectionError::BadConnection(why)));
        }
        self.connections.is_valid(&mut open.connection)
    }

    fn has_broken(&self, open: &mut OpenReader) -> bool {
        self.connections.has_broken(&mut open.connection)
    }
}

/// A connection of the pool.
pub(in crate::persist) struct SqliteReader(pub(in crate::persist) PooledConnection<ReaderManager>);

impl Deref for SqliteReader {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.0.connection
    }
}

impl DerefMut for SqliteReader {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.0.connection
    }
}
