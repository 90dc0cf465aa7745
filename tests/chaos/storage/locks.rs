//! Others that hold a lock.

use std::thread;
use std::time::Duration;

use super::LOAD;
use super::trial::Trial;
use crate::row::{Figures, Options};
use crate::support::sqlite;
use crate::target::Target;

pub(super) fn table(options: &Options) -> Figures {
    let target = Target::postgres();
    let length = options.scaled(Duration::from_secs(4), Duration::from_secs(60));
    let cost = Trial::of(options, &target).run(|_| {
        let lock = target.server().lock_table("quotes", length * 2);
        thread::sleep(length);
        drop(lock);
    });
    cost.figures(options)
}

/// For less time than a writer waits, and then for more. Quotes wait in memory, which takes so many one by one.
pub(super) fn writer_of_sqlite(options: &Options) -> Figures {
    let directory = tempfile::tempdir().unwrap();
    let target = Target::sqlite(directory.path());
    let mut trial = Trial::of(options, &target);
    trial.plan.quotes_per_second = LOAD / 2;
    let cost = trial.run(|service| {
        for length in [3, options.scaled(7, 30)].map(Duration::from_secs) {
            let lock = sqlite::hold_write_lock(&directory.path().join("quotes.db"), length * 2);
            thread::sleep(length);
            drop(lock);
            service.drain();
        }
    });
    let num_conflated = cost.number("conflated_quotes");
    cost.figures(options).told(&format!("{num_conflated} conflated")).and(num_conflated == 0)
}
