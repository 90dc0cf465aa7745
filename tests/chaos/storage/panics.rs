//! Panics in the threads that store, at the points where they hurt most.

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::trial::Trial;
use crate::outside::wait_until;
use crate::row::{Figures, Options};
use crate::target::Target;

/// Each point fails in the midst of what it does; four panics in all, fewer than make the supervisor wait.
const WITH_POSTGRES: &str = "persist::outbox_before_commit=20*off->1*panic(outbox before)->10000*off;\
    persist::outbox_after_commit=60*off->1*panic(outbox after)->10000*off;\
    persist::before_commit=6*off->1*panic(database before)->10000*off;\
    persist::after_commit=12*off->1*panic(database after)->10000*off";
const WITH_SQLITE: &str = "persist::before_commit=10*off->1*panic(before)->20*off->1*panic(before again)->10000*off;\
    persist::after_commit=20*off->1*panic(after)->30*off->1*panic(after again)->10000*off";

const NUM_PANICS: usize = 4;

/// Quotes that have to be seen at least.
const NUM_QUOTES: u64 = 10_000;

pub(super) fn with_postgres(options: &Options) -> Figures {
    let target = Target::postgres();
    panics(options, &target, WITH_POSTGRES)
}

pub(super) fn with_sqlite(options: &Options) -> Figures {
    let directory = tempfile::tempdir().unwrap();
    panics(options, &Target::sqlite(directory.path()), WITH_SQLITE)
}

fn panics(options: &Options, target: &Target, fail_points: &str) -> Figures {
    let mut trial = Trial::of(options, target);
    trial.fail_points = fail_points;
    let cost = trial.run(|service| {
        wait_until("every panic has happened", || ends(&service.log()).len() >= NUM_PANICS);
        wait_until("enough quotes were accepted", || {
            service.accepted_until(Instant::now()).is_some_and(|number| number >= NUM_QUOTES)
        });
    });
    let ends = ends(&cost.log);
    let longest = ends.iter().copied().max().unwrap_or_default();
    let is_enough = cost.told >= NUM_QUOTES && ends.len() == NUM_PANICS;
    let told = format!(
        "{} panics, the slowest restart after {} ms (at most 2 s)",
        ends.len(),
        longest.num_milliseconds()
    );
    cost.figures(options).told(&told).and(is_enough && cost.storage["status"] == "ok")
}

/// How long after the end of a thread the next life began, for each end in the log that had a next life.
fn ends(log: &str) -> Vec<TimeDelta> {
    let at = |line: &str| line.split(' ').next().and_then(|at| at.parse::<DateTime<Utc>>().ok());
    let mut ended_at = None;
    let mut lengths = Vec::new();
    for line in log.lines() {
        if line.contains("storage: the thread ") && line.contains(" ended") {
            ended_at = at(line);
        } else if line.contains("persister: started") {
            lengths.extend(ended_at.take().and_then(|ended_at| Some(at(line)? - ended_at)));
        }
    }
    lengths
}
