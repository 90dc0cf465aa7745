//! The databases that are measured: SQLite in a file, and servers of PostgreSQL of our own.

use std::path::PathBuf;

use ratebook::persist::{Database, Store};
use tempfile::TempDir;

use crate::support::postgres::Postgres;
use crate::support::sqlite;

/// A database that lives as long as this.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// The `database_url` of it.
    pub(crate) url: String,
    pub(crate) place: Place,
    /// For the file of SQLite, and for outboxes.
    pub(crate) directory: TempDir,
}

/// Where it is.
pub(crate) enum Place {
    File(PathBuf),
    Server(Postgres),
}

impl Target {
    pub(crate) fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ratebook.db");
        let url = format!("sqlite://{}", path.display());
        Self { name: "SQLite", url, place: Place::File(path), directory }
    }

    /// PostgreSQL that waits for its disk with every commit.
    pub(crate) fn durable_postgres() -> Self {
        Self::postgres("PostgreSQL", Postgres::start_durable())
    }

    /// PostgreSQL whose disk takes no time.
    pub(crate) fn postgres_without_fsync() -> Self {
        Self::postgres("PostgreSQL, fsync off", Postgres::start())
    }

    /// The servers of the tests have a small log and checkpoint all the time; this one has the usual size.
    fn postgres(name: &'static str, server: Postgres) -> Self {
        server.psql("ALTER SYSTEM SET max_wal_size = '1GB'");
        server.psql("SELECT pg_reload_conf()");
        let directory = tempfile::tempdir().unwrap();
        Self { name, url: server.url(), place: Place::Server(server), directory }
    }

    /// A connection that writes, to tables that are up to date.
    pub(crate) fn store(&self) -> Box<dyn Store> {
        let mut store = Database::new(&self.url).open().unwrap();
        store.migrate().unwrap();
        store
    }

    /// Rows of a table.
    pub(crate) fn count(&self, table: &str) -> u64 {
        self.ask(&format!("SELECT count(*) FROM {table}"))[0][0].parse().unwrap()
    }

    /// Asks past us.
    pub(crate) fn ask(&self, sql: &str) -> Vec<Vec<String>> {
        match &self.place {
            Place::File(path) => sqlite::rows(path, sql),
            Place::Server(server) => server.psql(sql),
        }
    }
}
