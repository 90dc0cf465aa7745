//! What writing is measured beside: the database's own ways to take rows, with the bytes made ready beforehand and
//! without candles.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::pg::{CopyFormat, PgConnection};
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;
use ratebook::rate_book::{Accepted, Record};

use crate::target::Target;

diesel::table! {
    copied (exchange, direction, received_at) {
        exchange -> Text,
        direction -> Text,
        received_at -> Timestamptz,
        quoted_at -> Nullable<Timestamptz>,
        bid -> Nullable<Numeric>,
        ask -> Nullable<Numeric>,
        last -> Nullable<Numeric>,
        valid_from -> Nullable<Timestamptz>,
        valid_until -> Nullable<Timestamptz>,
    }
}

/// Makes tables like that of the quotes, each with a partition for the day.
pub(crate) fn make_tables(postgres: &Target) {
    let mut connection = PgConnection::establish(&postgres.url).unwrap();
    for name in ["copied", "copied_by_psql", "inserted"] {
        let make = format!(
            "CREATE TABLE {name} (LIKE quotes INCLUDING ALL) PARTITION BY RANGE (received_at);
             CREATE TABLE {name}_20261120 PARTITION OF {name}
             FOR VALUES FROM ('2026-11-20 00:00+00') TO ('2026-11-21 00:00+00')"
        );
        connection.batch_execute(&make).unwrap();
    }
}

/// COPY of text that is made ready, over the library that `psql` uses.
pub(crate) struct Copy(PgConnection);

impl Copy {
    pub(crate) fn connect(postgres: &Target) -> Self {
        Self(PgConnection::establish(&postgres.url).unwrap())
    }

    pub(crate) fn run(&mut self, text: &str) {
        let write = |copy: &mut dyn Write| {
            copy.write_all(text.as_bytes()).unwrap();
            Ok::<_, diesel::result::Error>(())
        };
        diesel::copy_from(copied::table)
            .from_raw_data(copied::table, write)
            .with_format(CopyFormat::Text)
            .execute(&mut self.0)
            .unwrap();
    }
}

/// `psql`, fed by its standard input.
pub(crate) struct Psql {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Drop for Psql {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Psql {
    pub(crate) fn connect(postgres: &Target) -> Self {
        let mut command = Command::new("psql");
        command.args([postgres.url.as_str(), "-XqAt", "-v", "ON_ERROR_STOP=1"]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut psql = Self { process, input, output: BufReader::new(output) };
        psql.run("");
        psql
    }

    /// Runs statements, and waits until they are done.
    pub(crate) fn run(&mut self, statements: &str) {
        self.input.write_all(statements.as_bytes()).unwrap();
        self.input.write_all(b"\\echo done\n").unwrap();
        let mut told = String::new();
        self.output.read_line(&mut told).unwrap();
        assert_eq!(told, "done\n");
    }
}

/// INSERT of many rows a statement, over one connection.
pub(crate) enum Insert {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl Insert {
    pub(crate) fn postgres(postgres: &Target) -> Self {
        Self::Postgres(PgConnection::establish(&postgres.url).unwrap())
    }

    /// Into a file of its own, with the settings that ours has.
    pub(crate) fn sqlite(sqlite: &Target) -> Self {
        let path = sqlite.url.strip_prefix("sqlite://").unwrap();
        let mut connection = SqliteConnection::establish(path).unwrap();
        let settings =
            "PRAGMA synchronous = FULL; PRAGMA cache_size = -16000; PRAGMA wal_autocheckpoint = 8000;";
        connection.batch_execute(settings).unwrap();
        Self::Sqlite(connection)
    }

    pub(crate) fn run(&mut self, statement: &str) {
        match self {
            Self::Postgres(connection) => connection.batch_execute(statement).unwrap(),
            Self::Sqlite(connection) => connection.batch_execute(statement).unwrap(),
        }
    }
}

/// The rows as COPY takes them.
pub(crate) fn copy_text(records: &[Record]) -> String {
    let mut text = String::new();
    for accepted in records.iter().map(quote) {
        for (nth, field) in fields(accepted, time).into_iter().enumerate() {
            let separator = if nth == 0 { "" } else { "\t" };
            write!(text, "{separator}{}", field.as_deref().unwrap_or("\\N")).unwrap();
        }
        text.push('\n');
    }
    text
}

/// The rows as one statement of PostgreSQL.
pub(crate) fn insert_into_postgres(table: &str, records: &[Record]) -> String {
    insert(table, records, time)
}

/// The rows as one statement of SQLite.
pub(crate) fn insert_into_sqlite(records: &[Record]) -> String {
    insert("quotes", records, |at| at.timestamp_micros().to_string())
}

fn insert(table: &str, records: &[Record], time: fn(DateTime<Utc>) -> String) -> String {
    let mut statement = format!("INSERT INTO {table} VALUES ");
    for (row, accepted) in records.iter().map(quote).enumerate() {
        statement.push_str(if row == 0 { "(" } else { ",(" });
        for (nth, field) in fields(accepted, time).into_iter().enumerate() {
            let separator = if nth == 0 { "" } else { "," };
            match field {
                Some(field) => write!(statement, "{separator}'{field}'").unwrap(),
                None => write!(statement, "{separator}NULL").unwrap(),
            }
        }
        statement.push(')');
    }
    statement
}

fn quote(record: &Record) -> &Accepted {
    match record {
        Record::Quote(accepted) => accepted,
        Record::Event(_) => panic!("only quotes are compared"),
    }
}

fn fields(accepted: &Accepted, time: fn(DateTime<Utc>) -> String) -> [Option<String>; 9] {
    let quote = &accepted.quote;
    let price = |price: Option<rust_decimal::Decimal>| price.map(|price| price.to_string());
    [
        Some(accepted.exchange.to_string()),
        Some(quote.direction.to_string()),
        Some(time(accepted.received_at)),
        quote.quoted_at.map(time),
        price(quote.bid),
        price(quote.ask),
        price(quote.last),
        None,
        None,
    ]
}

fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S%.6f+00").to_string()
}
