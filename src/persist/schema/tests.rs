//! Holds the schemas to the migrations, and the migrations to their way back.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, Numeric, Text, Timestamptz};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

use super::{outbox, postgres, sqlite};
use crate::persist::migrations;
use crate::persist::testing::postgres_url;

/// The columns of every table, each as `name TYPE` and with `NOT NULL` where it is so.
type Tables = BTreeMap<String, Vec<String>>;

/// How SQLite and PostgreSQL write a type of diesel's.
trait Written {
    const IN_SQLITE: &'static str;
    const IN_POSTGRES: &'static str;
    const RULE: &'static str = " NOT NULL";
}

impl Written for Text {
    const IN_SQLITE: &'static str = "TEXT";
    const IN_POSTGRES: &'static str = "text";
}

impl Written for BigInt {
    const IN_SQLITE: &'static str = "INTEGER";
    const IN_POSTGRES: &'static str = "bigint";
}

impl Written for Numeric {
    const IN_SQLITE: &'static str = "none";
    const IN_POSTGRES: &'static str = "numeric";
}

impl Written for Timestamptz {
    const IN_SQLITE: &'static str = "none";
    const IN_POSTGRES: &'static str = "timestamp with time zone";
}

impl Written for Binary {
    const IN_SQLITE: &'static str = "BLOB";
    const IN_POSTGRES: &'static str = "bytea";
}

impl<T: Written + diesel::sql_types::SqlType<IsNull = diesel::sql_types::is_nullable::NotNull>> Written
    for Nullable<T>
{
    const IN_SQLITE: &'static str = T::IN_SQLITE;
    const IN_POSTGRES: &'static str = T::IN_POSTGRES;
    const RULE: &'static str = "";
}

/// The columns of a table as its schema has them: in SQLite's words, and in PostgreSQL's.
trait Columns {
    fn told(self) -> [Vec<String>; 2];
}

fn told<C: Column<SqlType: Written>>() -> [String; 2] {
    let words = [C::SqlType::IN_SQLITE, C::SqlType::IN_POSTGRES];
    words.map(|word| format!("{} {word}{}", C::NAME, C::SqlType::RULE))
}

macro_rules! columns_of_tuples {
    ($(($($column:ident),+))+) => {$(
        impl<$($column: Column<SqlType: Written>),+> Columns for ($($column,)+) {
            fn told(self) -> [Vec<String>; 2] {
                let both = [$(told::<$column>()),+];
                [0, 1].map(|database| both.iter().map(|words| words[database].clone()).collect())
            }
        }
    )+};
}

columns_of_tuples! {
    (A, B, C, D)
    (A, B, C, D, E)
    (A, B, C, D, E, F, G, H, I)
    (A, B, C, D, E, F, G, H, I, J, K)
}

#[derive(QueryableByName)]
struct ColumnRow {
    #[diesel(sql_type = Text)]
    of: String,
    #[diesel(sql_type = Text)]
    column: String,
}

fn tables(rows: Vec<ColumnRow>) -> Tables {
    let mut tables = Tables::new();
    for row in rows {
        tables.entry(row.of).or_default().push(row.column);
    }
    tables
}

fn in_sqlite(connection: &mut SqliteConnection) -> Tables {
    let query = "SELECT t.name AS of, c.name || ' ' || c.type || iif(c.\"notnull\", ' NOT NULL', '') AS \"column\"
                 FROM sqlite_schema AS t, pragma_table_info(t.name) AS c
                 WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND t.name NOT LIKE '\\_\\_%' ESCAPE '\\'
                 ORDER BY t.name, c.cid";
    tables(diesel::sql_query(query).load(connection).unwrap())
}

fn in_postgres(connection: &mut PgConnection) -> Tables {
    let query = "SELECT table_name::text AS of, column_name || ' ' || data_type ||
                     CASE is_nullable WHEN 'NO' THEN ' NOT NULL' ELSE '' END AS column
                 FROM information_schema.columns
                 WHERE table_schema = 'public' AND table_name NOT LIKE '\\_\\_%'
                 ORDER BY table_name, ordinal_position";
    tables(diesel::sql_query(query).load(connection).unwrap())
}

fn schema(database: usize, of_tables: Vec<(&str, [Vec<String>; 2])>) -> Tables {
    of_tables.into_iter().map(|(name, told)| (name.to_owned(), told[database].clone())).collect()
}

/// Applies all migrations, compares, takes all of them back, and applies them again.
fn hold<C, DB>(
    connection: &mut C,
    source: fn() -> EmbeddedMigrations,
    look: fn(&mut C) -> Tables,
    expected: &Tables,
) where
    DB: diesel::backend::Backend,
    C: MigrationHarness<DB>,
{
    for _ in 0..2 {
        connection.run_pending_migrations(source()).unwrap();
        assert_eq!(look(connection), *expected);
        connection.revert_all_migrations(source()).unwrap();
        assert_eq!(look(connection), Tables::new());
    }
}

#[test]
fn the_schema_of_sqlite_is_what_the_migrations_make() {
    let expected = schema(
        0,
        vec![
            ("quotes", sqlite::quotes::all_columns.told()),
            ("candles", sqlite::candles::all_columns.told()),
            ("events", sqlite::events::all_columns.told()),
            ("rejected_quotes", sqlite::rejected_quotes::all_columns.told()),
        ],
    );
    let mut connection = SqliteConnection::establish(":memory:").unwrap();
    hold(&mut connection, || migrations::SQLITE, in_sqlite, &expected);
}

#[test]
fn the_schema_of_the_outbox_is_what_the_migrations_make() {
    let expected = schema(
        0,
        vec![
            ("batches", outbox::batches::all_columns.told()),
            ("rejected_quotes", outbox::rejected_quotes::all_columns.told()),
        ],
    );
    let mut connection = SqliteConnection::establish(":memory:").unwrap();
    hold(&mut connection, || migrations::OUTBOX, in_sqlite, &expected);
}

#[test]
fn the_schema_of_postgres_is_what_the_migrations_make() {
    let Some(url) = postgres_url() else { return };
    let expected = schema(
        1,
        vec![
            ("quotes", postgres::quotes::all_columns.told()),
            ("candles", postgres::candles::all_columns.told()),
            ("events", postgres::events::all_columns.told()),
            ("rejected_quotes", postgres::rejected_quotes::all_columns.told()),
        ],
    );
    let mut connection = PgConnection::establish(&url).unwrap();
    hold(&mut connection, || migrations::POSTGRES, in_postgres, &expected);
}
