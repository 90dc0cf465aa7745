//! Kills of the service at random times.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use tokio::time::Instant;

use super::LOAD;
use crate::outside::{Outside, numbers_in_outbox};
use crate::row::{Figures, Options, ms};
use crate::service::Plan;
use crate::target::Target;

pub(super) fn with_sqlite(options: &Options) -> Figures {
    let directory = tempfile::tempdir().unwrap();
    kills(options, &Target::sqlite(directory.path()), &directory)
}

pub(super) fn with_postgres(options: &Options) -> Figures {
    kills(options, &Target::postgres(), &tempfile::tempdir().unwrap())
}

/// Kills the service at random times under load, looks each time what was committed, and whether all of it is in the
/// database in the end, once.
fn kills(options: &Options, target: &Target, directory: &TempDir) -> Figures {
    let mut random = StdRng::seed_from_u64(options.seed);
    let num_kills = options.scaled(8, 100);
    let mut plan = target.plan(directory.path(), LOAD);
    // A kill may come before the service had the time to.
    target.migrate();
    let mut committed = BTreeSet::new();
    let (mut num_told, mut num_taken, mut oldest_taken) = (0, 0, Duration::ZERO);
    for _ in 0..num_kills {
        let mut service = Outside::start(&plan, "");
        service.wait_for(plan.from + LOAD / 20);
        // The moment of the kill is what is tried here.
        thread::sleep(Duration::from_millis(random.random_range(0..600)));
        service.kill();
        let killed_at = Instant::now();
        let told = service.accepted_until(killed_at).unwrap();
        let mut stored = target.numbers(plan.from);
        stored.extend(numbers_in_outbox(&plan.outbox));
        for number in plan.from..=told {
            if !stored.contains(&number) {
                num_taken += 1;
                oldest_taken = oldest_taken.max(killed_at - service.told_at(number));
            }
        }
        num_told += told - plan.from + 1;
        plan.from = told.max(stored.last().copied().unwrap_or_default()) + 1_000;
        committed.extend(stored);
    }
    let last = Plan { is_quoting: false, ..plan };
    while {
        let mut service = Outside::start(&last, "");
        service.settle();
        service.terminate();
        !numbers_in_outbox(&last.outbox).is_empty()
    } {}
    let in_database = target.numbers(0);
    let num_lost = committed.difference(&in_database).count();
    let content = target.content();
    let num_twice = content.rows - content.distinct + content.in_candles.abs_diff(content.rows);
    Figures {
        pass: num_lost == 0 && num_twice == 0 && oldest_taken < Duration::from_millis(500),
        n: u64::try_from(committed.len()).unwrap(),
        measured: format!(
            "{num_kills} kills: {num_lost} lost and {num_twice} twice of {} committed; of {num_told} accepted the kills \
             took {num_taken} that were not committed yet, the oldest {} old",
            committed.len(),
            ms(oldest_taken),
        ),
        target: "0 lost, 0 twice; a kill takes at most what is some 100 ms old".to_owned(),
        ..Figures::default()
    }
}
