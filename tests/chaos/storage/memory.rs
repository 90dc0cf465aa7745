//! What the service takes while it has nowhere to store.

use std::thread;
use std::time::Duration;

use super::LOAD;
use super::disks::MOST_MEMORY_KIB;
use super::trial::{Cost, Trial};
use crate::row::{Figures, Options};
use crate::support::sqlite;
use crate::target::Target;

pub(super) fn without_postgres(options: &Options) -> Figures {
    let target = Target::postgres();
    let mut growth = 0;
    let cost = trial(options, &target).run(|service| {
        let before = service.memory_kib();
        target.server().stop_immediately();
        thread::sleep(length(options));
        growth = service.memory_kib().saturating_sub(before);
        target.server().start_again();
    });
    judged(options, &cost, growth).and(cost.number("conflated_quotes") == 0)
}

/// Quotes wait in memory, so that in the long run fewer stand for all.
pub(super) fn without_sqlite(options: &Options) -> Figures {
    let directory = tempfile::tempdir().unwrap();
    let target = Target::sqlite(directory.path());
    let mut growth = 0;
    let cost = trial(options, &target).run(|service| {
        let before = service.memory_kib();
        let lock = sqlite::hold_write_lock(&directory.path().join("quotes.db"), length(options) * 2);
        thread::sleep(length(options));
        growth = service.memory_kib().saturating_sub(before);
        drop(lock);
    });
    let told = format!("{} conflated", cost.storage["conflated_quotes"]);
    judged(options, &cost, growth).told(&told).and(cost.number("dropped_rows") == 0)
}

/// In the short form with so many quotes that more would wait than may.
fn trial<'a>(options: &Options, target: &'a Target) -> Trial<'a> {
    let mut trial = Trial::of(options, target);
    trial.plan.quotes_per_second = options.scaled(4_000, LOAD);
    trial
}

fn length(options: &Options) -> Duration {
    options.scaled(Duration::from_secs(20), Duration::from_secs(600))
}

fn judged(options: &Options, cost: &Cost, growth: u64) -> Figures {
    let told = format!("memory +{:.1} MiB after {:?} (at most 32)", growth as f64 / 1024.0, length(options));
    cost.figures(options).told(&told).and(growth <= MOST_MEMORY_KIB)
}
