//! Where the database lies, and how a connection to it is opened.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::persist::store::StoreError;

/// What stands for itself in the path of a URI.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// For the one connection that writes. The file is the only copy, so a commit waits for the disk (`FULL`); freed pages
/// are given back little by little. The mode of freeing and WAL are kept in the file, and count from its first page on.
/// A batch of hundreds of markets changes a thousand pages or more: with SQLite's 2 MB of memory it would not fit, and
/// with its log of 1,000 pages every commit would copy the log back.
const WRITER: &str = "
    PRAGMA busy_timeout = 5000;
    PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA cache_size = -16000;
    PRAGMA wal_autocheckpoint = 8000;
    PRAGMA foreign_keys = OFF;
    PRAGMA temp_store = MEMORY;
";

/// For connections that read.
const READER: &str = "
    PRAGMA busy_timeout = 2000;
    PRAGMA query_only = ON;
    PRAGMA temp_store = MEMORY;
";

/// A database of SQLite: a file, or memory that lives as long as a connection to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::persist) struct Database {
    /// What SQLite opens, without its mode.
    pub(super) uri: String,
    /// `None` for memory.
    pub(super) path: Option<PathBuf>,
}

impl Database {
    /// The file at `path`; for `:memory:` a new database in memory, which all connections of this one share.
    pub(in crate::persist) fn at(path: &str) -> Self {
        static NUM_IN_MEMORY: AtomicU64 = AtomicU64::new(0);
        if path == ":memory:" {
            let number = NUM_IN_MEMORY.fetch_add(1, Ordering::Relaxed);
            let uri = format!("file:/ratebook-{}-{number}?vfs=memdb&", process::id());
            return Self { uri, path: None };
        }
        Self { uri: format!("file:{}?", utf8_percent_encode(path, IN_PATH)), path: Some(PathBuf::from(path)) }
    }

    /// Opens it to write, and makes the file if there is none. A file that is no database stays as it is.
    pub(super) fn open_writer(&self) -> Result<SqliteConnection, StoreError> {
        self.open("rwc", WRITER)
    }

    /// What SQLite opens to read. A file that is not there is not made.
    pub(in crate::persist) fn reader_uri(&self) -> String {
        format!("{}mode=rw", self.uri)
    }

    /// Which file it is at present; `None` for memory, or when there is none.
    pub(super) fn inode(&self) -> Option<u64> {
        self.path.as_ref()?.metadata().ok().map(|metadata| metadata.ino())
    }

    /// The path as it was told, for messages.
    pub(super) fn told(&self) -> String {
        self.path.as_ref().map_or_else(|| ":memory:".to_owned(), |path| path.display().to_string())
    }

    fn open(&self, mode: &str, settings: &str) -> Result<SqliteConnection, StoreError> {
        let failed = |why: String| StoreError::Disconnected(format!("cannot open `{}`: {why}", self.told()));
        let uri = format!("{}mode={mode}", self.uri);
        let mut connection = SqliteConnection::establish(&uri).map_err(|error| failed(error.to_string()))?;
        connection.batch_execute(settings).map_err(|error| failed(told(&error)))?;
        // Settings alone may not touch the file. This reads its schema, and takes the lock of a writer.
        let look = connection.immediate_transaction(|connection| {
            diesel::sql_query("SELECT count(*) FROM sqlite_schema").execute(connection)
        });
        look.map_err(|error| failed(told(&error)))?;
        Ok(connection)
    }
}

/// Makes a connection ready to read.
pub(in crate::persist) fn open_reader(connection: &mut SqliteConnection) -> QueryResult<()> {
    connection.batch_execute(READER)
}

/// What SQLite said.
pub(super) fn told(error: &Error) -> String {
    match error {
        Error::DatabaseError(_, information) => information.message().to_owned(),
        other => other.to_string(),
    }
}

/// What an error means for whoever waits.
pub(in crate::persist) fn meaning(error: &Error) -> StoreError {
    match error {
        Error::DatabaseError(DatabaseErrorKind::CheckViolation | DatabaseErrorKind::NotNullViolation, _)
        | Error::SerializationError(_) => StoreError::BadContent(told(error)),
        Error::BrokenTransactionManager => StoreError::Disconnected(told(error)),
        _ => StoreError::Failed(told(error)),
    }
}
