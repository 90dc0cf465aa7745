//! An outbox that comes back, is at its limit, or cannot be opened.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::LOAD;
use super::disks::{await_alarm, judged};
use super::trial::Trial;
use crate::outside::{Outside, numbers_in_outbox, wait_until};
use crate::row::{Figures, Options};
use crate::service::Plan;
use crate::target::Target;

/// The smallest limit that settings allow.
const SMALLEST_LIMIT: u64 = 1 << 20;

/// Keeps a copy of an outbox that is full, lets it be drained, and puts it back, again and again.
pub(super) fn replayed(options: &Options) -> Figures {
    let target = Target::postgres();
    let directory = tempfile::tempdir().unwrap();
    let plan = target.plan(directory.path(), LOAD);
    let mut service = Outside::start(&plan, "");
    service.wait_for(LOAD / 2);
    target.server().stop_immediately();
    let last = service.accepted_until(Instant::now()).unwrap();
    service.wait_for(last + LOAD * options.scaled(3, 30));
    service.quiet();
    let told = service.accepted_until(Instant::now()).unwrap();
    service.terminate();
    let num_kept = numbers_in_outbox(&plan.outbox).len();
    let copy = directory.path().join("copy.db");
    fs::copy(&plan.outbox, &copy).unwrap();
    target.server().start_again();

    let quiet = Plan { is_quoting: false, ..plan };
    let (mut seen, mut num_duplicates) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        copy_over(&copy, &quiet.outbox);
        let mut service = Outside::start(&quiet, "");
        wait_until("the outbox is drained", || {
            let storage = service.storage();
            let written = storage["stored_rows"].as_u64().zip(storage["duplicate_rows"].as_u64());
            written.is_some_and(|(stored, duplicates)| stored + duplicates >= num_kept as u64)
        });
        service.settle();
        num_duplicates.push(service.storage()["duplicate_rows"].as_u64().unwrap());
        service.terminate();
        seen.push((target.content(), target.fingerprint()));
    }
    let content = &seen[0].0;
    let num_lost = told - content.distinct;
    let is_unchanged = seen.iter().all(|other| *other == seen[0]);
    let is_counted = num_duplicates[1..].iter().all(|number| *number >= num_kept as u64);
    Figures {
        pass: num_kept > 0 && num_lost == 0 && content.in_candles == told && is_unchanged && is_counted,
        n: num_kept as u64,
        measured: format!(
            "{num_kept} of {told} in the outbox, replayed 3 times: {num_lost} lost, tables {}, duplicates counted \
             {num_duplicates:?}",
            if is_unchanged { "unchanged" } else { "CHANGED" },
        ),
        target: "every row and every candle as before, byte by byte; each replayed record counted".to_owned(),
        ..Figures::default()
    }
}

/// A stopped service's outbox, with nothing left of the one that was there.
fn copy_over(copy: &Path, outbox: &Path) {
    for suffix in ["-wal", "-shm"] {
        let mut beside = outbox.as_os_str().to_owned();
        beside.push(suffix);
        drop(fs::remove_file(beside));
    }
    fs::copy(copy, outbox).unwrap();
}

/// PostgreSQL is away for longer than the outbox can hold.
pub(super) fn at_its_limit(options: &Options) -> Figures {
    let target = Target::postgres();
    let mut trial = Trial::of(options, &target);
    trial.plan.outbox_limit = SMALLEST_LIMIT;
    trial.plan.quotes_per_second = 2 * LOAD;
    let length = options.scaled(Duration::from_secs(2), Duration::from_secs(60));
    let cost = trial.run(|service| {
        target.server().stop_immediately();
        wait_until("the outbox is full", || service.storage()["dropped_rows"] != 0);
        thread::sleep(length);
        target.server().start_again();
    });
    let number = |sql: &str| target.query(sql)[0][0].parse::<u64>().unwrap();
    let (stored, dropped) = (number("SELECT count(*) FROM quotes"), cost.number("dropped_rows"));
    let num_events = number("SELECT count(*) FROM events");
    let is_exact = stored + dropped == cost.num_quotes;
    let is_said = cost.log.contains("is full, so its");
    let figures = cost.figures(options);
    Figures {
        pass: is_exact && dropped > 0 && is_said && cost.num_twice == 0 && cost.not_200() == 0,
        n: cost.num_quotes,
        measured: format!(
            "{stored} quotes stored + {dropped} records dropped, of {} quotes accepted ({num_events} events stored); {}",
            cost.num_quotes, figures.measured
        ),
        target: "dropped + stored = accepted exactly; the log says it; every answer 200".to_owned(),
        ..Figures::default()
    }
}

/// A directory lies where the outbox should be, from the start on.
pub(super) fn cannot_be_opened(options: &Options) -> Figures {
    let target = Target::postgres();
    let trial = Trial::of(options, &target);
    let path = trial.plan.outbox.clone();
    let length = options.scaled(Duration::from_secs(4), Duration::from_secs(15));
    fs::create_dir(&path).unwrap();
    let mut growth = 0;
    let cost = trial.run(|service| {
        let before = service.memory_kib();
        await_alarm(service);
        thread::sleep(length);
        growth = service.memory_kib().saturating_sub(before);
        fs::remove_dir(&path).unwrap();
    });
    judged(options, &cost, growth)
}
