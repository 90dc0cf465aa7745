//! Starts: many at once, over a migration that cannot be done, and with what was stored before.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use super::LOAD;
use crate::load::get;
use crate::outside::{Outside, PATIENCE, wait_until};
use crate::row::{Figures, Options};
use crate::service::Plan;
use crate::support::sqlite;
use crate::target::Target;

/// How many start together.
const NUM_STARTS: usize = 8;

/// The exit code of a database that does not do what it should.
const UNAVAILABLE: Option<i32> = Some(69);

/// `ratebook migrate`.
fn migrate(database_url: &str, directory: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ratebook"));
    command.arg("migrate").env_clear().env("RATEBOOK_DATABASE_URL", database_url).current_dir(directory);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub(super) fn together_on_postgres(options: &Options) -> Figures {
    let target = Target::postgres();
    let empty = |_| {
        target.server().psql("DROP SCHEMA public CASCADE");
        target.server().psql("CREATE SCHEMA public AUTHORIZATION ratebook");
    };
    let directory = tempfile::tempdir().unwrap();
    let plan = target.plan(directory.path(), LOAD);
    let url = |_: usize| plan.database_url.clone();
    together(options, "PostgreSQL", empty, url, &directory)
}

pub(super) fn together_on_sqlite(options: &Options) -> Figures {
    let directory = tempfile::tempdir().unwrap();
    let url = |round: usize| format!("sqlite://{}", directory.path().join(format!("{round}.db")).display());
    together(options, "SQLite", |_| {}, url, &directory)
}

/// Rounds of many that migrate, and one of whole services.
fn together(
    options: &Options,
    name: &str,
    empty: impl Fn(usize),
    url: impl Fn(usize) -> String,
    directory: &TempDir,
) -> Figures {
    let num_rounds = options.scaled(2, 5);
    let mut applied = BTreeMap::<String, usize>::new();
    let mut failures = Vec::new();
    for round in 0..num_rounds {
        empty(round);
        let started: Vec<Child> = (0..NUM_STARTS).map(|_| migrate(&url(round), directory.path())).collect();
        for child in started {
            let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
            if !status.success() {
                failures.push(String::from_utf8_lossy(&stderr).trim().to_owned());
            }
            for line in String::from_utf8_lossy(&stdout).lines() {
                if let Some(migration) = line.strip_prefix("applied ") {
                    *applied.entry(migration.to_owned()).or_default() += 1;
                }
            }
        }
    }
    empty(num_rounds);
    let plans = (0..NUM_STARTS).map(|_| {
        let own = tempfile::tempdir().unwrap();
        let plan = Plan {
            database_url: url(num_rounds),
            directory: own.path().to_owned(),
            from: 1,
            quotes_per_second: LOAD,
            outbox: own.path().join("outbox.db"),
            outbox_limit: 1 << 30,
            is_quoting: false,
        };
        (own, plan)
    });
    let began = Instant::now();
    let services: Vec<(TempDir, Outside)> =
        plans.map(|(own, plan)| (own, Outside::start(&plan, ""))).collect();
    wait_until("every service stores", || {
        services.iter().all(|(_, service)| service.storage()["status"] == "ok")
    });
    let all_in = began.elapsed();
    let complaints: usize = services
        .iter()
        .map(|(_, service)| service.log().lines().filter(|line| line.contains("ERROR")).count())
        .sum();
    let is_once = !applied.is_empty() && applied.values().all(|times| *times == num_rounds);
    Figures {
        pass: failures.is_empty() && is_once && complaints == 0,
        n: u64::try_from(NUM_STARTS * (num_rounds + 1)).unwrap(),
        measured: format!(
            "{name}: {num_rounds} rounds of {NUM_STARTS} that migrate: {} failed{}; each of {} migrations {}; \
             {NUM_STARTS} services store after {:.1} s, {complaints} errors logged",
            failures.len(),
            failures.first().map(|why| format!(" ({why})")).unwrap_or_default(),
            applied.len(),
            if is_once { "once a round".to_owned() } else { format!("{applied:?}") },
            all_in.as_secs_f64(),
        ),
        target: "all end well, each migration applied once a round, every service stores".to_owned(),
        ..Figures::default()
    }
}

pub(super) fn failing_on_postgres(_: &Options) -> Figures {
    let target = Target::postgres();
    target.server().psql("CREATE TABLE candles (other INT)");
    let schema = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1";
    failing(&target, schema, || drop(target.server().psql("DROP TABLE candles")))
}

pub(super) fn failing_on_sqlite(_: &Options) -> Figures {
    let directory = tempfile::tempdir().unwrap();
    let target = Target::sqlite(directory.path());
    let path = directory.path().join("quotes.db");
    sqlite::execute(&path, "PRAGMA journal_mode = WAL; CREATE TABLE candles (other INT)");
    let schema = "SELECT name FROM sqlite_schema ORDER BY 1";
    failing(&target, schema, || sqlite::execute(&path, "DROP TABLE candles"))
}

/// A table is in the way of the second migration.
fn failing(target: &Target, schema: &str, mend: impl Fn()) -> Figures {
    let directory = tempfile::tempdir().unwrap();
    let plan = target.plan(directory.path(), LOAD);
    let before = target.query(schema);
    let output = migrate(&plan.database_url, directory.path()).wait_with_output().unwrap();
    let is_unchanged = target.query(schema) == before;
    let mut service = Outside::start(&plan, "");
    wait_until("health tells of the migration", || {
        let storage = service.storage();
        storage["status"] != "ok" && storage["last_error"].to_string().contains("migration")
    });
    service.wait_for(LOAD);
    let (status, _) = get(service.address, "/v1/courses");
    let is_logged = service.log().lines().any(|line| line.contains("ERROR") && line.contains("migration"));
    let is_still_unchanged = target.query(schema) == before;
    mend();
    service.drain();
    service.quiet();
    service.settle();
    let told = service.accepted_until(Instant::now()).unwrap();
    service.terminate();
    let num_lost = told - target.content().distinct;
    let code = output.status.code();
    Figures {
        pass: code == UNAVAILABLE
            && is_unchanged
            && is_still_unchanged
            && status == 200
            && is_logged
            && num_lost == 0,
        n: told,
        measured: format!(
            "{}: `migrate` ends with {code:?}, schema {}; `serve`: courses {status}, {}; once mended {num_lost} lost of \
             {told}",
            target.name(),
            if is_unchanged && is_still_unchanged { "unchanged" } else { "CHANGED" },
            if is_logged { "told in health and log" } else { "NOT told" },
        ),
        target: "exit code 69, schema unchanged; courses 200 and told; 0 lost once it is mended".to_owned(),
        ..Figures::default()
    }
}

/// Kills a process in the midst of its migrations, while another waits for them.
pub(super) fn holder_dies(options: &Options) -> Figures {
    let mut longest = Duration::ZERO;
    let mut num_well = 0;
    let num_rounds = options.scaled(2, 5);
    let target = Target::postgres();
    let directory = tempfile::tempdir().unwrap();
    let url = target.plan(directory.path(), LOAD).database_url;
    for _ in 0..num_rounds {
        target.server().psql("DROP SCHEMA public CASCADE");
        target.server().psql("CREATE SCHEMA public AUTHORIZATION ratebook");
        // The first comment on a table of ours waits for this.
        let lock = target.server().lock_table("pg_description", PATIENCE);
        let mut first = migrate(&url, directory.path());
        await_locks(&target, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted");
        let second = migrate(&url, directory.path());
        await_locks(&target, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
        first.kill().unwrap();
        first.wait().unwrap();
        drop(lock);
        let began = Instant::now();
        let output = second.wait_with_output().unwrap();
        longest = longest.max(began.elapsed());
        let applied = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter(|line| line.starts_with("applied "))
            .count();
        num_well += usize::from(output.status.success() && applied == 4);
    }
    Figures {
        pass: num_well == num_rounds && longest <= Duration::from_secs(5),
        n: u64::try_from(num_rounds).unwrap(),
        measured: format!(
            "{num_well} of {num_rounds} applied all after the death of the first, the slowest in {:.1} s",
            longest.as_secs_f64()
        ),
        target: "all, within 5 s, and nothing of the first is left".to_owned(),
        ..Figures::default()
    }
}

fn await_locks(target: &Target, count: &str) {
    wait_until("the migration's lock is held or waited for", || target.query(count) == [["1"]]);
}

/// A service that was restarted hears of nothing, and has yesterday's quotes at hand.
pub(super) fn with_stored_quotes(options: &Options) -> Figures {
    let directory = tempfile::tempdir().unwrap();
    let with_sqlite = silent(options, &Target::sqlite(directory.path()));
    with_sqlite.with(silent(options, &Target::postgres()))
}

fn silent(options: &Options, target: &Target) -> Figures {
    let directory = tempfile::tempdir().unwrap();
    let plan = target.plan(directory.path(), LOAD);
    let mut service = Outside::start(&plan, "");
    service.wait_for(LOAD);
    service.terminate();
    let quiet = Plan { is_quoting: false, ..plan };
    let service = Outside::start(&quiet, "");
    let num_asked = options.scaled(200, 2_000);
    let answers: Vec<_> = (0..num_asked)
        .map(|_| {
            thread::sleep(Duration::from_millis(5));
            let (status, body) = get(service.address, "/v1/courses");
            (status, body["reason"].as_str().unwrap_or_default().to_owned())
        })
        .collect();
    let num_starting =
        answers.iter().filter(|(status, reason)| *status == 503 && reason == "starting").count();
    let last_quote_at = service.storage()["last_quote_at"].as_str().map(str::to_owned);
    let history =
        get(service.address, "/v1/history?direction=BTC-USDT&exchanger=binance&interval=tick&limit=10").1;
    let num_rows = history["ticks"].as_array().map_or(0, Vec::len);
    Figures {
        pass: num_starting == num_asked && last_quote_at.is_some() && num_rows > 0,
        n: u64::try_from(num_asked).unwrap(),
        measured: format!(
            "{}: {num_starting} of {num_asked} courses 503 `starting`; last_quote_at {}; {num_rows} rows of history",
            target.name(),
            last_quote_at.as_deref().unwrap_or("none"),
        ),
        target: "never a course; health and history know what was stored".to_owned(),
        ..Figures::default()
    }
}
