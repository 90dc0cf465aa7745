//! `ratebook migrate` and `ratebook export`, as processes.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use chrono::{DateTime, TimeDelta, Utc};
use ratebook::market::{ExchangeName, Quote};
use ratebook::persist::Database;
use ratebook::rate_book::{Accepted, Record, Span};
use rust_decimal::Decimal;
use serde_json::Value;

use crate::cli::{critical, stderr, stdout};
use crate::support::postgres::Postgres;
use crate::support::program::ratebook;

const NOON: &str = "2026-11-20T12:00:00Z";

/// Rows of more than two pages.
const NUM_QUOTES: u32 = 20_005;

fn run(directory: &Path, url: &str, arguments: &[&str]) -> Output {
    ratebook(directory).args(arguments).env("RATEBOOK_DATABASE_URL", url).output().unwrap()
}

fn migrations_come_and_are_told(url: &str, num_migrations: usize) {
    let directory = tempfile::tempdir().unwrap();
    let migrate = |arguments: &[&str]| run(directory.path(), url, arguments);
    let pending = migrate(&["migrate", "--check"]);
    assert_eq!(pending.status.code(), Some(69), "{}", stderr(&pending));
    let told = critical(&pending);
    assert_eq!(stdout(&pending), "");

    let applied = migrate(&["migrate"]);
    assert_eq!(applied.status.code(), Some(0), "{}", stderr(&applied));
    let text = stdout(&applied);
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("applied ")).collect();
    assert_eq!(names.len(), num_migrations, "{text}");
    for name in &names {
        assert!(told.contains(name), "{name} in {told}");
    }
    assert!(text.ends_with("\nthe database is up to date\n"), "{text}");
    for arguments in [&["migrate"][..], &["migrate", "--check"]] {
        let again = migrate(arguments);
        let told = (again.status.code(), stdout(&again), stderr(&again));
        assert_eq!(told, (Some(0), "the database is up to date\n".to_owned(), String::new()));
    }
}

#[test]
fn migrations_come_and_are_told_in_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("rates.db").display());
    migrations_come_and_are_told(&url, 4);
}

#[test]
fn migrations_come_and_are_told_in_postgres() {
    let postgres = Postgres::start();
    migrations_come_and_are_told(&postgres.url(), 4);
    let tables = postgres.psql("SELECT count(*) FROM pg_tables WHERE tablename = 'quotes'");
    assert_eq!(tables, [["1"]]);
}

#[test]
fn a_database_that_is_not_there_is_told_without_its_password() {
    let directory = tempfile::tempdir().unwrap();
    let postgres = Postgres::start();
    let wrong = postgres.url().replace(":first@", ":planted-password@");
    let wrong_database = postgres.url().replace(":first@", ":planted-password@") + "planted";
    for url in [
        "postgres://me:planted-password@127.0.0.1:1/ratebook",
        "postgres://me:planted%zzpassword@127.0.0.1:1/ratebook",
        "postgres://me:planted password@127.0.0.1:1/ratebook",
        "postgres://me@127.0.0.1:1/ratebook?password=planted",
        "postgres://me:planted-password@name.invalid/ratebook",
        wrong.as_str(),
        wrong_database.as_str(),
    ] {
        for arguments in [
            &["migrate"][..],
            &["migrate", "--check", "--debug"],
            &["export", "--direction", "BTC-USDT", "--debug"],
        ] {
            let output = run(directory.path(), url, arguments);
            let shown = stdout(&output) + &stderr(&output);
            assert!(!shown.contains("planted"), "{arguments:?}: {shown}");
            // What cannot be a URL at all is refused with the settings.
            let code = if url.contains(['%', ' ']) { [78, 69] } else { [69, 69] };
            assert!(code.map(Some).contains(&output.status.code()), "{arguments:?} {url}: {shown}");
            critical(&output);
        }
    }
    let absent = run(directory.path(), "sqlite://absent/rates.db", &["migrate"]);
    assert_eq!(absent.status.code(), Some(69), "{}", stderr(&absent));
    assert!(critical(&absent).contains("absent/rates.db"), "{}", stderr(&absent));
    let nothing = run(directory.path(), "sqlite://rates.db", &["export", "--direction", "BTC-USDT"]);
    assert_eq!(nothing.status.code(), Some(69), "{}", stderr(&nothing));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "a reader made a file");
}

/// A database with many quotes a quarter of a second apart, and what is expected of their export.
struct Stored {
    directory: tempfile::TempDir,
    url: String,
}

fn at(number: u32) -> DateTime<Utc> {
    let noon: DateTime<Utc> = NOON.parse().unwrap();
    noon + TimeDelta::milliseconds(250 * i64::from(number))
}

fn price(number: u32) -> Decimal {
    Decimal::new(6_400_000 + i64::from(number * 7_919 % 10_007), 2)
}

fn written(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

impl Stored {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("rates.db").display());
        let stored = Self { directory, url };
        stored.fill();
        stored
    }

    fn fill(&self) {
        let mut store = Database::new(&self.url).open().unwrap();
        store.migrate().unwrap();
        let record = |number: u32| {
            let (bid, ask) = (price(number), price(number) + Decimal::new(2, 2));
            let mut quote = Quote::book("BTC-USDT".parse().unwrap(), bid, ask);
            quote.quoted_at = number.is_multiple_of(2).then(|| at(number) - TimeDelta::microseconds(1_500));
            let value = quote.value().unwrap();
            let exchange = ExchangeName::new("binance");
            Record::Quote(Accepted { exchange, quote, value, received_at: at(number), span: Span::of(value) })
        };
        let records: Vec<Record> = (0..NUM_QUOTES).map(record).collect();
        for batch in records.chunks(5_000) {
            store.write(batch).unwrap();
        }
    }

    fn export(&self, arguments: &[&str]) -> Output {
        let mut all = vec!["export", "--direction", "btc-usdt"];
        all.extend(arguments);
        run(self.directory.path(), &self.url, &all)
    }

    fn exported(&self, arguments: &[&str]) -> String {
        let output = self.export(arguments);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{arguments:?}");
        stdout(&output)
    }
}

const WHOLE: [&str; 4] = ["--from", "2026-11-20", "--to", "2026-11-21"];

/// The line of CSV of a quote.
fn tick(number: u32) -> String {
    let (bid, ask) = (price(number), price(number) + Decimal::new(2, 2));
    let quoted_at = number.is_multiple_of(2).then(|| written(at(number) - TimeDelta::microseconds(1_500)));
    let (bid, ask) = (bid.normalize(), ask.normalize());
    format!("{},{},{bid},{ask},", written(at(number)), quoted_at.unwrap_or_default())
}

#[test]
fn ticks_are_exported_page_after_page_as_they_were_stored() {
    let stored = Stored::new();
    let text = stored.exported(&WHOLE);
    assert_eq!(text.matches("\r\n").count(), text.lines().count(), "a line without its CRLF");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("at,quoted_at,bid,ask,last"));
    let expected: Vec<String> = (0..NUM_QUOTES).map(tick).collect();
    assert!(lines.eq(expected.iter()), "not as it was stored");

    let text = stored.exported(&[&WHOLE[..], &["--format", "jsonl", "--exchanger", "binance"]].concat());
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), expected.len());
    for (number, row) in (0..NUM_QUOTES).zip(&rows) {
        assert_eq!(row["at"], written(at(number)));
        assert_eq!(row["bid"].to_string().parse::<Decimal>().unwrap(), price(number).normalize());
        assert_eq!((row["quoted_at"].is_null(), &row["last"]), (number % 2 == 1, &Value::Null));
    }
}

#[test]
fn a_part_is_exported_from_a_time_until_before_another() {
    let stored = Stored::new();
    let lines = |arguments: &[&str]| -> Vec<String> {
        stored.exported(arguments).lines().skip(1).map(str::to_owned).collect()
    };
    let from_to = lines(&["--from", "2026-11-20T12:00:01Z", "--to", "2026-11-20T15:00:02+03:00"]);
    assert_eq!(from_to, (4..8).map(tick).collect::<Vec<_>>());
    // Without `--from` it is the day before.
    assert_eq!(lines(&["--to", "2026-11-20T12:00:00.5Z"]), [tick(0), tick(1)]);
    let empty: [String; 0] = [];
    assert_eq!(lines(&["--to", "2026-11-20T12:00:00Z"]), empty);
    assert_eq!(lines(&[&WHOLE[..], &["--exchanger", "cbr"]].concat()), empty);
}

#[test]
fn candles_of_every_length_are_exported() {
    let stored = Stored::new();
    for (interval, length) in [("1m", 240), ("1h", 14_400), ("1d", 400_000)] {
        let numbers: Vec<u32> = (0..NUM_QUOTES).collect();
        let candle = |numbers: &[u32]| {
            // The middle is a cent above the bid.
            let values: Vec<Decimal> =
                numbers.iter().map(|number| price(*number) + Decimal::new(1, 2)).collect();
            let prices = [
                values[0],
                *values.iter().max().unwrap(),
                *values.iter().min().unwrap(),
                values[values.len() - 1],
            ];
            let [open, high, low, close] = prices.map(|price| price.normalize());
            let starts_at =
                if interval == "1d" { "2026-11-20T00:00:00Z".to_owned() } else { written(at(numbers[0])) };
            format!("{starts_at},{open},{high},{low},{close},{}", values.len())
        };
        let expected: Vec<String> = numbers.chunks(length).map(candle).collect();
        let text = stored.exported(&[&WHOLE[..], &["--interval", interval]].concat());
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("at,open,high,low,close,quotes"));
        assert_eq!(lines.collect::<Vec<_>>(), expected, "{interval}");
    }
    let text = stored.exported(&[&WHOLE[..], &["--interval", "1d", "--format", "jsonl"]].concat());
    let day: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&day["at"], &day["quotes"]), (&"2026-11-20T00:00:00Z".into(), &NUM_QUOTES.into()));
}

#[test]
fn an_export_that_cannot_be_meant_is_a_usage_error() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, told) in [
        (&["--exchanger", "krakn"][..], "unknown exchange `krakn` (known: binance"),
        (&["--from", "2026-11-21", "--to", "2026-11-20"], "is not before"),
        (&["--from", "2026-11-20", "--to", "2026-11-20"], "is not before"),
        (&["--from", "yesterday"], "such as `2026-11-20T12:00:00Z`"),
        (&["--interval", "5m"], "5m"),
        (&["--format", "xml"], "xml"),
    ] {
        let all = [&["export", "--direction", "BTC-USDT"][..], arguments].concat();
        let output = run(directory.path(), "sqlite://rates.db", &all);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", stderr(&output));
        assert!(critical(&output).contains(told), "{arguments:?}: {}", stderr(&output));
    }
    let output = run(directory.path(), "sqlite://rates.db", &["export"]);
    assert!(critical(&output).contains("--direction"), "{}", stderr(&output));
}

#[test]
fn an_export_that_nobody_reads_to_its_end_is_no_failure() {
    let stored = Stored::new();
    let mut child = ratebook(stored.directory.path())
        .args(["export", "--direction", "BTC-USDT"])
        .args(WHOLE)
        .env("RATEBOOK_DATABASE_URL", &stored.url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[test]
fn a_progress_bar_is_drawn_on_a_terminal_and_the_rows_go_where_they_should() {
    let stored = Stored::new();
    // `script` gives a program a terminal; other tests see that nothing is drawn without one.
    let Some(script) = ["/usr/bin/script", "/bin/script"].into_iter().find(|path| Path::new(path).exists())
    else {
        println!("skipped: there is no `script` here to make a terminal");
        return;
    };
    let program = ratebook(stored.directory.path());
    let command = format!(
        "{} export --direction BTC-USDT --from 2026-11-20 --to 2026-11-21 > rows.csv",
        program.get_program().to_string_lossy()
    );
    let drawn = std::process::Command::new(script)
        .args(["-qec", &command, "/dev/null"])
        .current_dir(stored.directory.path())
        .env_clear()
        .env("TERM", "xterm")
        .env("PATH", "/usr/bin:/bin")
        .env("SHELL", "/bin/sh")
        .env("RATEBOOK_DATABASE_URL", &stored.url)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let drawn = String::from_utf8_lossy(&drawn.stdout).into_owned();
    assert!(drawn.contains(&format!("{NUM_QUOTES} rows")) && drawn.contains("100 %"), "{drawn:?}");
    let rows = fs::read_to_string(stored.directory.path().join("rows.csv")).unwrap();
    assert_eq!(rows.lines().count(), usize::try_from(NUM_QUOTES).unwrap() + 1);
    assert!(!rows.contains('\u{1b}'));
}
