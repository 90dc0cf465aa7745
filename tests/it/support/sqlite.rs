//! A look into a SQLite file from outside, and a second writer that holds it.

use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::deserialize::{self, FromSql, QueryableByName};
use diesel::prelude::*;
use diesel::row::{Field, NamedRow, Row};
use diesel::sql_types::Text;
use diesel::sqlite::Sqlite;

/// A row of whatever columns.
struct Texts(Vec<String>);

impl QueryableByName<Sqlite> for Texts {
    fn build<'a>(row: &impl NamedRow<'a, Sqlite>) -> deserialize::Result<Self> {
        let text = |at| {
            let field = Row::get(row, at).ok_or("a column is missing")?;
            field.value().map_or(Ok(String::new()), FromSql::<Text, Sqlite>::from_sql)
        };
        (0..row.field_count()).map(text).collect::<Result<_, _>>().map(Self)
    }
}

/// Asks a file: rows of texts, NULL as an empty one.
pub(crate) fn rows(path: &Path, sql: &str) -> Vec<Vec<String>> {
    let rows: Vec<Texts> = diesel::sql_query(sql).load(&mut open(path)).unwrap();
    rows.into_iter().map(|row| row.0).collect()
}

/// Does what statements say, as another program would.
pub(crate) fn execute(path: &Path, statements: &str) {
    open(path).batch_execute(statements).unwrap();
}

/// A lock that is held until this is dropped, or for as long as was said.
#[derive(Debug)]
pub(crate) struct WriteLock {
    /// Dropped, it tells the holder to let go.
    held: Option<Sender<()>>,
    holder: Option<JoinHandle<()>>,
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        drop(self.held.take());
        drop(self.holder.take().map(JoinHandle::join));
    }
}

/// Holds the lock of all writers of a file; returns when it is held.
pub(crate) fn hold_write_lock(path: &Path, length: Duration) -> WriteLock {
    let mut connection = open(path);
    connection.batch_execute("BEGIN IMMEDIATE").unwrap();
    let (held, is_dropped) = channel();
    let holder = thread::spawn(move || {
        // Either way its time is over.
        let (Ok(()) | Err(_)) = is_dropped.recv_timeout(length);
        connection.batch_execute("ROLLBACK").unwrap();
    });
    WriteLock { held: Some(held), holder: Some(holder) }
}

fn open(path: &Path) -> SqliteConnection {
    let mut connection = SqliteConnection::establish(&path.to_string_lossy()).unwrap();
    connection.batch_execute("PRAGMA busy_timeout = 10000").unwrap();
    connection
}
