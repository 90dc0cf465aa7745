//! What PostgreSQL alone can do wrong.

use std::fs;

use chrono::TimeDelta;
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_migrations::FileBasedMigrations;

use super::{Address, PostgresStore};
use crate::persist::readers::Readers;
use crate::persist::store::{Store, StoreError};
use crate::persist::testing::{accepted, at, postgres_place, postgres_url, quote};
use crate::rate_book::Record;

fn count(url: &str, query: &str) -> i64 {
    sql::<BigInt>(query).get_result(&mut PgConnection::establish(url).unwrap()).unwrap()
}

#[test]
fn eight_that_migrate_together_all_succeed() {
    let Some(url) = postgres_url() else { return };
    let applied: Vec<usize> = std::thread::scope(|scope| {
        let migrate = || PostgresStore::connect(&Address::new(&url)).unwrap().migrate().unwrap().len();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(migrate)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(applied.iter().sum::<usize>(), 4, "{applied:?}");
}

#[test]
fn a_failing_migration_leaves_nothing_behind() {
    let Some(url) = postgres_url() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (name, sql) in [
        ("2026-01-01-000001_good", "CREATE TABLE good (id BIGINT)"),
        ("2026-01-01-000002_bad", "CREATE TABLE half (id BIGINT); SELECT nonsense"),
    ] {
        let migration = folder.path().join("migrations").join(name);
        fs::create_dir_all(&migration).unwrap();
        fs::write(migration.join("up.sql"), sql).unwrap();
    }
    let source = FileBasedMigrations::from_path(folder.path().join("migrations")).unwrap();
    let mut store = PostgresStore::connect(&Address::new(&url)).unwrap();
    let told = store.apply(source).unwrap_err();
    assert!(
        matches!(&told, StoreError::Migration(text) if text.contains("2026-01-01-000002_bad")),
        "{told:?}"
    );
    assert_eq!(count(&url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), 0);
    assert_eq!(PostgresStore::connect(&Address::new(&url)).unwrap().migrate().unwrap().len(), 4);
}

#[test]
fn whoever_is_killed_while_migrating_holds_up_nobody() {
    let Some(url) = postgres_url() else { return };
    let mut killed = PgConnection::establish(&url).unwrap();
    killed
        .batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({})", super::store::MIGRATING))
        .unwrap();
    std::thread::scope(|scope| {
        let migrating = scope.spawn(|| PostgresStore::connect(&Address::new(&url)).unwrap().migrate());
        std::thread::park_timeout(std::time::Duration::from_millis(300));
        assert!(!migrating.is_finished());
        drop(killed);
        assert_eq!(migrating.join().unwrap().unwrap().len(), 4);
    });
}

#[test]
fn old_days_are_dropped_partition_by_partition() {
    let Some(url) = postgres_url() else { return };
    let mut store = PostgresStore::connect(&Address::new(&url)).unwrap();
    store.migrate().unwrap();
    let records: Vec<Record> = (0..6)
        .map(|number| {
            let mut quote = accepted("1", "2026-11-20T12:00:00Z");
            quote.received_at += TimeDelta::days(number);
            Record::Quote(quote)
        })
        .collect();
    store.write(&records).unwrap();
    let days = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'quotes'::regclass";
    let tables = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'quotes\\_%'";
    assert_eq!(count(&url, days), 6);
    // Somebody detached a day and did not drop it.
    PgConnection::establish(&url)
        .unwrap()
        .batch_execute("ALTER TABLE quotes DETACH PARTITION quotes_20261121")
        .unwrap();
    let day = std::time::Duration::from_secs(86_400);
    let keep = crate::persist::store::Keep { quotes: day, candles: 90 * day };
    // Kept are the 24th and the 25th; the 26th is made ready.
    let now = at("2026-11-25T12:00:00Z");
    for num_left in [6, 5, 4, 3] {
        let tidied = store.tidy(keep, now).unwrap();
        assert_eq!(tidied.dropped, 1);
        assert_eq!(tidied.has_more, num_left > 3);
        assert_eq!(count(&url, tables), num_left);
    }
    assert_eq!(count(&url, days), 3);
    assert_eq!(store.tidy(keep, now).unwrap().dropped, 0);
}

#[test]
fn a_day_that_vanished_is_made_again() {
    let Some(mut place) = postgres_place() else { return };
    place.store.write(&[quote("1", "2026-11-20T12:00:00Z")]).unwrap();
    (place.run)("DROP TABLE quotes_20261120").unwrap();
    assert_eq!(place.store.write(&[quote("2", "2026-11-20T12:00:01Z")]).unwrap().stored, 1);
}

#[test]
fn a_connection_that_is_cut_is_told_as_such() {
    let Some(mut place) = postgres_place() else { return };
    place.store.write(&[quote("1", "2026-11-20T12:00:00Z")]).unwrap();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    (place.run)(cut).unwrap();
    let told = place.store.write(&[quote("2", "2026-11-20T12:00:01Z")]).unwrap_err();
    assert!(matches!(told, StoreError::Disconnected(_)), "{told:?}");
    assert_eq!((place.another)().write(&[quote("2", "2026-11-20T12:00:01Z")]).unwrap().stored, 1);
}

#[test]
fn a_database_that_may_only_be_read_is_a_failure_and_no_bad_content() {
    let Some(mut place) = postgres_place() else { return };
    (place.run)("DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET default_transaction_read_only = on'; END $$").unwrap();
    let told = (place.another)().write(&[quote("1", "2026-11-20T12:00:00Z")]).unwrap_err();
    assert!(matches!(told, StoreError::Failed(_)), "{told:?}");
    assert_eq!(place.store.write(&[quote("1", "2026-11-20T12:00:00Z")]).unwrap().stored, 1);
}

#[test]
fn nobody_there_is_told_without_the_password() {
    for (url, expected) in [
        ("postgres://me:s3cret@127.0.0.1:1/d", "127.0.0.1"),
        ("postgres://me:s3%cret@127.0.0.1:1/d", "cannot be read"),
        ("postgres://me:s3cret@127.0.0.1:1/d?s3cret=1", "cannot be read"),
        ("postgres://me:s3cret@127.0.0.1:1/d?sslmode=require", "postgres-tls"),
    ] {
        let told = PostgresStore::connect(&Address::new(url)).err().unwrap();
        assert!(matches!(&told, StoreError::Disconnected(text) if text.contains(expected)), "{told:?}");
        assert!(!told.to_string().contains("cret"), "{told}");
        let told = Readers::of_postgres(&Address::new(url)).get().err().unwrap();
        assert!(!told.to_string().contains("cret"), "{told}");
    }
}

#[test]
fn every_column_says_what_it_holds() {
    let Some(url) = postgres_url() else { return };
    PostgresStore::connect(&Address::new(&url)).unwrap().migrate().unwrap();
    let silent = "SELECT count(*) FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
                  WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
                    AND c.relname NOT LIKE '\\_\\_%' AND a.attnum > 0
                    AND col_description(a.attrelid, a.attnum) IS NULL";
    assert_eq!(count(&url, silent), 0);
}
