//! A day of 88 markets, each quoted once a second: how long it takes to write, how much room it needs, how long
//! questions take then, and how it is exported and dropped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use chrono::TimeDelta;
use ratebook::persist::Keep;
use tokio::time::Instant;

use crate::market_day::{MarketDay, NUM_MARKETS, midnight};
use crate::support::program::ratebook;
use crate::target::{Place, Target};
use crate::{Scale, read};

/// Records of a transaction.
const BATCH: usize = 10_000;

const FOR_EVER: Duration = Duration::from_secs(20 * 365 * 86_400);

/// Questions to a full database.
const NUM_QUESTIONS: usize = 100;

pub(crate) fn measure(scale: Scale) {
    let targets = [Target::sqlite(), Target::durable_postgres()];
    println!("\nA day of {NUM_MARKETS} markets");
    for target in &targets {
        write(target, scale.seconds_of_day * NUM_MARKETS);
        print_sizes(target);
    }
    read::questions(&targets, NUM_QUESTIONS.min(scale.num_questions));
    println!();
    for target in &targets {
        export(target, scale.seconds_of_day);
        drop_quotes(target);
    }
}

fn write(target: &Target, num_rows: usize) {
    let (mut store, mut day) = (target.store(), MarketDay::of_all());
    let (mut written_for, mut longest, mut left) = (Duration::ZERO, Duration::ZERO, num_rows);
    while left > 0 {
        let batch = day.batch(BATCH.min(left));
        let began_at = Instant::now();
        let written = store.write(&batch).unwrap();
        let taken = began_at.elapsed();
        (written_for, longest) = (written_for + taken, longest.max(taken));
        assert_eq!(written.stored, batch.len());
        left -= batch.len();
    }
    println!(
        "{}: {num_rows} rows written in {:.1} s, {:.0} rows/s, the longest {BATCH} in {:.0} ms",
        target.name,
        written_for.as_secs_f64(),
        num_rows as f64 / written_for.as_secs_f64(),
        longest.as_secs_f64() * 1e3,
    );
}

/// Room on the disk, in MB.
fn print_sizes(target: &Target) {
    let parts = match &target.place {
        Place::File(path) => {
            target.ask("PRAGMA wal_checkpoint(TRUNCATE)");
            let size = fs::metadata(path).unwrap().len();
            println!("{}: the file takes {:.0} MB", target.name, size as f64 / 1e6);
            "SELECT name, sum(pgsize) FROM dbstat WHERE name LIKE 'quotes%' OR name LIKE 'candles%' GROUP BY name"
        }
        Place::Server(_) => {
            "SELECT name, pg_table_size(name::regclass) FROM unnest(ARRAY['quotes_20261120', 'candles']) AS name
             UNION ALL
             SELECT c.relname, pg_relation_size(c.oid) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
             WHERE i.indrelid IN ('quotes_20261120'::regclass, 'candles'::regclass)
             UNION ALL
             SELECT 'together', pg_total_relation_size('quotes_20261120') + pg_total_relation_size('candles')"
        }
    };
    for row in target.ask(parts) {
        println!("{}: {} {:.1} MB", target.name, row[0], row[1].parse::<f64>().unwrap() / 1e6);
    }
    println!("{}: {} candles", target.name, target.count("candles"));
}

/// Exports one direction by the program, and counts what it wrote.
fn export(target: &Target, num_rows: usize) {
    let mut command = ratebook(target.directory.path());
    command.args(["export", "--direction", "BTC-USDT", "--exchanger", "binance", "--interval", "tick"]);
    command.args(["--from", "2026-11-20", "--to", "2026-11-21"]);
    command.env("RATEBOOK_DATABASE_URL", &target.url).stdout(Stdio::piped());
    let began_at = Instant::now();
    let mut program = command.spawn().unwrap();
    let num_lines = BufReader::new(program.stdout.take().unwrap()).lines().count();
    assert!(program.wait().unwrap().success());
    let taken = began_at.elapsed().as_secs_f64();
    // The first line has the names.
    assert_eq!(num_lines - 1, num_rows);
    println!(
        "{}: {num_rows} rows exported in {taken:.2} s, {:.0} rows/s",
        target.name,
        num_rows as f64 / taken
    );
}

fn drop_quotes(target: &Target) {
    let mut store = target.store();
    let keep = Keep { quotes: Duration::from_secs(3600), candles: FOR_EVER };
    let now = midnight() + TimeDelta::days(2);
    let (mut num_steps, mut longest, began_at) = (0, Duration::ZERO, Instant::now());
    loop {
        let step_began_at = Instant::now();
        let has_more = store.tidy(keep, now).unwrap().has_more;
        num_steps += 1;
        longest = longest.max(step_began_at.elapsed());
        if !has_more {
            break;
        }
    }
    println!(
        "{}: dropped in {:.2} s of {num_steps} steps, the longest {:.1} ms",
        target.name,
        began_at.elapsed().as_secs_f64(),
        longest.as_secs_f64() * 1e3,
    );
    assert_eq!(target.count("quotes"), 0);
}
