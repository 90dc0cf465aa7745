//! A database of either kind as the rows see it: where it is, and what is in it, read without the service's own code.

use std::cell::{RefCell, RefMut};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::service::{Plan, bid_of, number_of};
use crate::support::postgres::Postgres;
use crate::support::sqlite;

/// A database.
pub(crate) enum Target {
    Sqlite(PathBuf),
    Postgres(Box<RefCell<Postgres>>),
}

/// What is in the database of the numbered stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) rows: u64,
    pub(crate) distinct: u64,
    /// What the daily candles say how many quotes there were.
    pub(crate) in_candles: u64,
}

const NUMBERED: &str = "exchange = 'binance' AND direction = 'BTC-USDT'";

impl Target {
    pub(crate) fn sqlite(directory: &Path) -> Self {
        Self::Sqlite(directory.join("quotes.db"))
    }

    pub(crate) fn postgres() -> Self {
        Self::Postgres(Box::new(RefCell::new(Postgres::start())))
    }

    /// A server whose disk is no larger than this.
    pub(crate) fn postgres_on_small_disk(num_bytes: u64) -> Self {
        Self::Postgres(Box::new(RefCell::new(Postgres::on_small_disk(num_bytes))))
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        }
    }

    /// A service that stores here.
    pub(crate) fn plan(&self, directory: &Path, quotes_per_second: u64) -> Plan {
        Plan {
            database_url: self.url(),
            directory: directory.to_owned(),
            from: 1,
            quotes_per_second,
            outbox: directory.join("outbox.db"),
            outbox_limit: 1 << 30,
            is_quoting: true,
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite://{}", path.display()),
            Self::Postgres(postgres) => postgres.borrow().url(),
        }
    }

    /// Whether whoever copies the one file of a stopped SQLite has everything.
    pub(crate) fn is_whole(&self) -> bool {
        let Self::Sqlite(path) = self else { return true };
        path.with_extension("db-wal").metadata().map_or(true, |log| log.len() == 0)
    }

    /// Makes the tables, as the program does.
    pub(crate) fn migrate(&self) {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ratebook"));
        command.arg("migrate").env_clear().env("RATEBOOK_DATABASE_URL", self.url());
        let output = command.current_dir(directory.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What every quote and every candle in PostgreSQL says, in one text.
    pub(crate) fn fingerprint(&self) -> String {
        let of = |table: &str| {
            let rows =
                self.query(&format!("SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table} t"));
            rows[0][0].clone()
        };
        ["quotes", "candles"].map(of).join(" ")
    }

    /// The numbers from `from` on that are stored.
    pub(crate) fn numbers(&self, from: u64) -> BTreeSet<u64> {
        let rows = match self {
            // Prices are texts there, which are compared below.
            Self::Sqlite(_) => self.query(&format!("SELECT bid FROM quotes WHERE {NUMBERED}")),
            Self::Postgres(_) => {
                self.query(&format!("SELECT bid FROM quotes WHERE {NUMBERED} AND bid >= {}", bid_of(from)))
            }
        };
        rows.iter().map(|row| number_of(&row[0])).filter(|number| *number >= from).collect()
    }

    pub(crate) fn content(&self) -> Content {
        let quotes =
            self.query(&format!("SELECT count(*), count(DISTINCT bid) FROM quotes WHERE {NUMBERED}"));
        let candles = self.query(&format!(
            "SELECT coalesce(sum(num_quotes), 0) FROM candles WHERE {NUMBERED} AND length = '1d'"
        ));
        let number = |text: &str| text.parse().unwrap();
        Content {
            rows: number(&quotes[0][0]),
            distinct: number(&quotes[0][1]),
            in_candles: number(&candles[0][0]),
        }
    }

    pub(crate) fn query(&self, sql: &str) -> Vec<Vec<String>> {
        match self {
            Self::Sqlite(path) if !path.exists() => Vec::new(),
            Self::Sqlite(path) => sqlite::rows(path, sql),
            Self::Postgres(postgres) => postgres.borrow().psql(sql),
        }
    }

    pub(crate) fn server(&self) -> RefMut<'_, Postgres> {
        match self {
            Self::Postgres(postgres) => postgres.borrow_mut(),
            Self::Sqlite(_) => panic!("SQLite has no server"),
        }
    }
}
