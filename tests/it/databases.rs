//! The databases that tests start can be broken and mended as tests rely on.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, SqliteConnection};
use tokio::time::Instant;

use crate::support::PATIENCE;
use crate::support::postgres::Postgres;
use crate::support::sqlite;

/// Longer than a healthy answer takes, shorter than a reader waits.
const A_WHILE: Duration = Duration::from_millis(300);

fn connect(postgres: &Postgres) -> PgConnection {
    PgConnection::establish(&postgres.url()).unwrap()
}

fn num_rows(postgres: &Postgres) -> String {
    postgres.psql("SELECT count(*) FROM numbers").concat().concat()
}

fn with_numbers(postgres: &Postgres) -> PgConnection {
    let mut connection = connect(postgres);
    connection
        .batch_execute("CREATE TABLE numbers (number int); INSERT INTO numbers VALUES (1), (NULL)")
        .unwrap();
    connection
}

const INSERT: &str = "INSERT INTO numbers VALUES (2)";

#[test]
fn postgres_stops_and_starts_and_keeps_what_was_committed() {
    let mut postgres = Postgres::start();
    let mut connection = with_numbers(&postgres);
    assert_eq!(postgres.psql("SELECT number, 'a b' FROM numbers"), [["1", "a b"], ["", "a b"]]);
    let url = postgres.url();
    postgres.stop_immediately();
    assert!(!postgres.is_running());
    assert!(connection.batch_execute(INSERT).is_err());
    assert!(PgConnection::establish(&url).is_err());
    postgres.start_again();
    postgres.restart();
    assert_eq!((postgres.url(), num_rows(&postgres)), (url, "2".to_owned()));
}

#[test]
fn postgres_survives_the_kill_of_a_process_that_serves_us() {
    let postgres = Postgres::start();
    let mut connection = with_numbers(&postgres);
    postgres.kill_backend();
    assert!(connection.batch_execute(INSERT).is_err());
    let deadline = Instant::now() + PATIENCE;
    while PgConnection::establish(&postgres.url()).is_err() {
        assert!(Instant::now() < deadline, "it does not come back");
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(num_rows(&postgres), "2");
}

#[test]
fn postgres_waits_for_its_disk_only_where_that_is_wanted() {
    assert_eq!(Postgres::start_durable().psql("SHOW fsync"), [["on"]]);
    assert_eq!(Postgres::start().psql("SHOW fsync"), [["off"]]);
}

#[test]
fn postgres_freezes_locks_and_refuses() {
    let postgres = Postgres::start();
    let mut connection = with_numbers(&postgres);

    let (tell, told) = channel();
    postgres.freeze();
    let waiting = thread::spawn(move || {
        tell.send(connection.batch_execute(INSERT)).unwrap();
        connection
    });
    assert_eq!(told.recv_timeout(A_WHILE), Err(RecvTimeoutError::Timeout));
    postgres.thaw();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Ok(())));
    let mut connection = waiting.join().unwrap();

    connection.batch_execute("SET lock_timeout = 50").unwrap();
    let lock = postgres.lock_table("numbers", PATIENCE);
    assert!(connection.batch_execute(INSERT).is_err());
    drop(lock);
    connection.batch_execute("SET lock_timeout = 5000").unwrap();
    connection.batch_execute(INSERT).unwrap();
    let began = Instant::now();
    let lock = postgres.lock_table("numbers", A_WHILE);
    connection.batch_execute(INSERT).unwrap();
    assert!(began.elapsed() >= A_WHILE);
    drop(lock);

    postgres.make_read_only();
    assert!(connection.batch_execute(INSERT).is_err(), "the connection was ended");
    let refusal = connect(&postgres).batch_execute(INSERT).unwrap_err().to_string();
    assert!(refusal.contains("read-only"), "{refusal}");
    postgres.make_writable();
    connect(&postgres).batch_execute(INSERT).unwrap();

    postgres.change_password();
    let refusal = PgConnection::establish(&postgres.url()).err().unwrap().to_string();
    assert!(refusal.contains("password authentication failed"), "{refusal}");
    postgres.restore_password();
    connect(&postgres).batch_execute(INSERT).unwrap();
    assert_eq!(num_rows(&postgres), "7");
}

#[test]
fn postgres_runs_out_of_disk() {
    let mut postgres = Postgres::on_small_disk(64 << 20);
    drop(with_numbers(&postgres));
    postgres.fill_disk();
    let fill = "INSERT INTO numbers SELECT generate_series(1, 200000)";
    let refusal = connect(&postgres).batch_execute(fill).unwrap_err().to_string();
    assert!(refusal.contains("No space left") || refusal.contains("server closed"), "{refusal}");
    postgres.free_disk();
    let deadline = Instant::now() + PATIENCE;
    while PgConnection::establish(&postgres.url()).is_err() {
        assert!(Instant::now() < deadline, "it does not come back");
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(num_rows(&postgres), "2");
}

#[test]
fn sqlite_can_be_read_and_held() {
    let directory = tempfile::tempdir().unwrap();
    let path: &Path = &directory.path().join("numbers.db");
    let mut connection = SqliteConnection::establish(&path.to_string_lossy()).unwrap();
    connection
        .batch_execute("PRAGMA journal_mode = WAL; CREATE TABLE numbers (number int, name text)")
        .unwrap();
    sqlite::execute(path, "INSERT INTO numbers VALUES (1, 'one'); INSERT INTO numbers VALUES (2, NULL)");
    assert_eq!(sqlite::rows(path, "SELECT * FROM numbers ORDER BY number"), [["1", "one"], ["2", ""]]);

    let insert = "INSERT INTO numbers VALUES (3, 'three')";
    let lock = sqlite::hold_write_lock(path, PATIENCE);
    let refusal = connection.batch_execute(insert).unwrap_err().to_string();
    assert!(refusal.contains("locked"), "{refusal}");
    drop(lock);
    connection.batch_execute(insert).unwrap();
    connection.batch_execute("PRAGMA busy_timeout = 10000").unwrap();
    let began = Instant::now();
    let _lock = sqlite::hold_write_lock(path, A_WHILE);
    connection.batch_execute(insert).unwrap();
    assert!(began.elapsed() >= A_WHILE);
}
