//! What SQLite alone can do wrong.

use std::fs;

use chrono::TimeDelta;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_migrations::FileBasedMigrations;

use super::{Database, SqliteStore};
use crate::persist::readers::Readers;
use crate::persist::store::{Store, StoreError};
use crate::persist::testing::{accepted, at, quote};
use crate::rate_book::Record;

#[test]
fn a_file_that_is_no_database_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ratebook.db");
    let mut damaged = vec![0_u8; 8_192];
    damaged[..16].copy_from_slice(b"SQLite format 3\0");
    for content in [b"not a database at all, but somebody's letter".to_vec(), damaged] {
        fs::write(&path, &content).unwrap();
        let told = SqliteStore::open(Database::at(path.to_str().unwrap())).err().unwrap();
        assert!(matches!(&told, StoreError::Disconnected(text) if text.contains("ratebook.db")), "{told:?}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    let told = SqliteStore::open(Database::at("/nowhere/at/all.db")).err().unwrap();
    assert!(told.to_string().contains("/nowhere/at/all.db"), "{told}");
}

#[test]
fn a_file_that_may_not_be_written_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ratebook.db").display().to_string();
    SqliteStore::open(Database::at(&path)).unwrap().migrate().unwrap();
    // Root may write whatever the mode says, so SQLite is told instead.
    let database = Database { uri: format!("file:{path}?immutable=1&"), path: Some(path.clone().into()) };
    let told = SqliteStore::open(database).err().unwrap();
    assert!(told.to_string().contains("readonly"), "{told}");
}

#[test]
fn a_file_that_was_deleted_takes_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ratebook.db");
    let mut store = SqliteStore::open(Database::at(path.to_str().unwrap())).unwrap();
    store.migrate().unwrap();
    store.write(&[quote("1", "2026-11-20T12:00:00Z")]).unwrap();
    fs::remove_file(&path).unwrap();
    let told = store.write(&[quote("2", "2026-11-20T12:00:01Z")]).unwrap_err();
    assert!(matches!(&told, StoreError::Disconnected(text) if text.contains("deleted")), "{told:?}");
    assert!(!path.exists());
}

#[test]
fn reading_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ratebook.db");
    let readers = Readers::of_sqlite(&Database::at(path.to_str().unwrap()));
    assert!(readers.get().is_err());
    assert!(!path.exists());
}

#[test]
fn every_connection_of_a_memory_sees_the_same_and_another_memory_does_not() {
    let database = Database::at(":memory:");
    let mut store = SqliteStore::open(database.clone()).unwrap();
    store.migrate().unwrap();
    store.write(&[quote("1", "2026-11-20T12:00:00Z")]).unwrap();
    let direction = accepted("1", "2026-11-20T12:00:00Z").quote.direction;
    let readers = Readers::of_sqlite(&database);
    let noon = at("2026-11-20T12:00:00Z");
    let found = readers.get().unwrap().exchanges(direction, noon, noon + TimeDelta::hours(1));
    assert_eq!(found.unwrap(), ["binance"]);
    let mut other = SqliteStore::open(Database::at(":memory:")).unwrap();
    assert_eq!(other.migrate().unwrap().len(), 4);
    assert_eq!(other.last_quote_at().unwrap(), None);
}

#[test]
fn eight_that_migrate_together_all_succeed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ratebook.db").display().to_string();
    let applied: Vec<usize> = std::thread::scope(|scope| {
        let migrate = || SqliteStore::open(Database::at(&path)).unwrap().migrate().unwrap().len();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(migrate)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(applied.iter().sum::<usize>(), 4, "{applied:?}");
}

#[test]
fn a_failing_migration_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    for (name, sql) in [
        ("2026-01-01-000001_good", "CREATE TABLE good (id INTEGER)"),
        ("2026-01-01-000002_bad", "CREATE TABLE half (id INTEGER); CREATE TABLE bad ("),
    ] {
        let migration = folder.path().join("migrations").join(name);
        fs::create_dir_all(&migration).unwrap();
        fs::write(migration.join("up.sql"), sql).unwrap();
    }
    let source = FileBasedMigrations::from_path(folder.path().join("migrations")).unwrap();
    let mut store = SqliteStore::open(Database::at(":memory:")).unwrap();
    let told = store.apply(source).unwrap_err();
    assert!(
        matches!(&told, StoreError::Migration(text) if text.contains("2026-01-01-000002_bad")),
        "{told:?}"
    );
    let tables: i64 = diesel::dsl::sql::<diesel::sql_types::BigInt>("SELECT count(*) FROM sqlite_schema")
        .get_result(&mut store.connection)
        .unwrap();
    assert_eq!(tables, 0);
    assert_eq!(store.migrate().unwrap().len(), 4);
}

#[test]
fn a_writer_that_is_held_up_for_long_fails_and_may_try_again() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::at(folder.path().join("ratebook.db").to_str().unwrap());
    let mut store = SqliteStore::open(database.clone()).unwrap();
    store.migrate().unwrap();
    let mut holder = SqliteConnection::establish(&database.reader_uri()).unwrap();
    holder.batch_execute("BEGIN IMMEDIATE").unwrap();
    let told = store.write(&[quote("1", "2026-11-20T12:00:00Z")]).unwrap_err();
    assert!(matches!(&told, StoreError::Failed(text) if text.contains("locked")), "{told:?}");
    holder.batch_execute("ROLLBACK").unwrap();
    assert_eq!(store.write(&[quote("1", "2026-11-20T12:00:00Z")]).unwrap().stored, 1);
}

#[test]
fn pages_that_are_freed_go_back_to_the_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ratebook.db");
    let mut store = SqliteStore::open(Database::at(path.to_str().unwrap())).unwrap();
    store.migrate().unwrap();
    let records: Vec<Record> = (0..10_000)
        .map(|number| {
            let mut quote = accepted("60123.45", "2026-11-20T12:00:00Z");
            quote.received_at += TimeDelta::milliseconds(number);
            Record::Quote(quote)
        })
        .collect();
    store.write(&records).unwrap();
    let pages = |store: &mut SqliteStore| -> i64 {
        diesel::dsl::sql::<diesel::sql_types::BigInt>("SELECT page_count FROM pragma_page_count")
            .get_result(&mut store.connection)
            .unwrap()
    };
    let before = pages(&mut store);
    let second = std::time::Duration::from_secs(1);
    let keep = crate::persist::store::Keep { quotes: second, candles: second };
    let first = store.tidy(keep, at("2026-11-30T00:00:00Z")).unwrap();
    assert!(first.has_more && first.dropped >= 5_000, "{first:?}");
    while store.tidy(keep, at("2026-11-30T00:00:00Z")).unwrap().has_more {}
    assert!(pages(&mut store) < before / 4, "{before} pages became {}", pages(&mut store));
}

#[test]
fn whoever_reads_notices_that_the_file_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ratebook.db");
    let database = Database::at(path.to_str().unwrap());
    let readers = Readers::of_sqlite(&database);
    let noon = at("2026-11-20T12:00:00Z");
    for content in [vec![quote("1", "2026-11-20T12:00:00Z")], Vec::new()] {
        let mut store = SqliteStore::open(database.clone()).unwrap();
        store.migrate().unwrap();
        store.write(&content).unwrap();
        let direction = "BTC-USDT".parse().unwrap();
        let found = readers.get().unwrap().exchanges(direction, noon, noon + TimeDelta::hours(1));
        assert_eq!(found.unwrap().len(), content.len());
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_file_that_was_finished_is_whole_without_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("ratebook.db"), folder.path().join("copy.db"));
    let mut store = SqliteStore::open(Database::at(path.to_str().unwrap())).unwrap();
    store.migrate().unwrap();
    store.write(&[quote("1", "2026-11-20T12:00:00Z")]).unwrap();
    store.finish();
    fs::copy(&path, &copy).unwrap();
    let mut copied = SqliteStore::open(Database::at(copy.to_str().unwrap())).unwrap();
    assert_eq!(copied.last_quote_at().unwrap(), Some(at("2026-11-20T12:00:00Z")));
}
