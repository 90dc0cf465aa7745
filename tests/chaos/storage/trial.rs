//! A service under load that is harmed for a while, and what that cost.
//!
//! Separate because every fault is counted in the same way: by a list outside of the service, against the database.

use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::LOAD;
use crate::load::{Client, Times, get};
use crate::outside::{Outside, wait_until};
use crate::row::{Figures, Options, ms};
use crate::service::Plan;
use crate::target::Target;

/// How many times as long as in calm an answer may take during a fault, and what a difference has to be at least: on a
/// machine that others share, less says nothing.
const MOST_RATIO: f64 = 1.5;
const LEAST_DIFFERENCE: Duration = Duration::from_millis(1);

/// A service that is to be harmed.
pub(super) struct Trial<'a> {
    target: &'a Target,
    pub(super) plan: Plan,
    /// Where panics are injected, as the crate `fail` reads it.
    pub(super) fail_points: &'a str,
    /// How long nothing happens before the fault, and after it.
    calm: Duration,
    _directory: TempDir,
}

impl<'a> Trial<'a> {
    pub(super) fn of(options: &Options, target: &'a Target) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let plan = target.plan(directory.path(), LOAD);
        let calm = options.scaled(Duration::from_secs(1), Duration::from_secs(15));
        Self { target, plan, fail_points: "", calm, _directory: directory }
    }

    /// Three phases under load: before, while `fault` lasts, and after. Then everything that was accepted has to be in
    /// the database.
    pub(super) fn run(self, fault: impl FnOnce(&Outside)) -> Cost {
        let Self { target, plan, fail_points, calm, _directory } = self;
        let mut service = Outside::start(&plan, fail_points);
        wait_until("courses are answered", || get(service.address, "/v1/courses").0 == 200);
        let client = Client::start(service.address);
        let began_at = Instant::now();
        thread::sleep(calm);
        let harmed_at = Instant::now();
        fault(&service);
        let healed_at = Instant::now();
        let drained_in = service.drain();
        thread::sleep(calm);
        let ended_at = Instant::now();
        let [before, during, after] = [(began_at, harmed_at), (harmed_at, healed_at), (healed_at, ended_at)]
            .map(|(from, to)| Times::of(&client.replies(from, to)));
        drop(client);
        let memory_kib = service.memory_kib();
        let num_quotes = service.quiet();
        service.settle();
        let storage = service.storage();
        service.terminate();
        let told = service.accepted_until(Instant::now()).unwrap() + 1 - plan.from;
        let content = target.content();
        let num_gone = if storage["conflated_quotes"] == 0 {
            let stored = target.numbers(plan.from);
            (plan.from..plan.from + told).filter(|number| !stored.contains(number)).count() as u64
        } else {
            0
        };
        Cost {
            database: target.name(),
            before,
            during,
            after,
            drained_in,
            memory_kib,
            num_quotes,
            told,
            // Candles count the quotes too for which a later one stands.
            num_lost: num_gone.max(told.saturating_sub(content.in_candles)),
            num_twice: content.rows - content.distinct + content.in_candles.saturating_sub(told),
            rows: content.rows,
            storage,
            log: service.log(),
        }
    }
}

/// What a fault cost.
#[derive(Debug)]
pub(super) struct Cost {
    database: &'static str,
    before: Times,
    during: Times,
    after: Times,
    drained_in: Duration,
    /// At the end, when nothing waits any more.
    pub(super) memory_kib: u64,
    /// All quotes that RateBook was given, of every direction.
    pub(super) num_quotes: u64,
    /// Those of the numbered stream.
    pub(super) told: u64,
    pub(super) num_lost: u64,
    pub(super) num_twice: u64,
    rows: u64,
    /// `storage` of `/health` at the end.
    pub(super) storage: Value,
    pub(super) log: String,
}

impl Cost {
    /// One of the numbers of `/health`.
    pub(super) fn number(&self, name: &str) -> u64 {
        self.storage[name].as_u64().unwrap()
    }

    /// Answers that were not given, or not 200.
    pub(super) fn not_200(&self) -> usize {
        self.before.not_200 + self.during.not_200 + self.after.not_200
    }

    /// How many times as long answers took during the fault as in calm; and whether that is too long.
    fn slowdown(&self, pick: fn(&Times) -> Duration) -> (f64, bool) {
        let (calm, during) = (pick(&self.before).max(pick(&self.after)), pick(&self.during));
        let ratio = during.as_secs_f64() / calm.as_secs_f64();
        (ratio, ratio > MOST_RATIO && during.saturating_sub(calm) > LEAST_DIFFERENCE)
    }

    /// The row of a fault that may cost nothing.
    pub(super) fn figures(&self, options: &Options) -> Figures {
        let (p50, is_p50_slow) = self.slowdown(|times| times.p50);
        let (p99, is_p99_slow) = self.slowdown(|times| times.p99);
        let is_slow = options.full && (is_p50_slow || is_p99_slow);
        let measured = format!(
            "{}: {} lost, {} twice of {} accepted; drained {:.1} s after; {} of {} answers not 200; p50 {} ({p50:.2} of \
             calm), p99 {} ({p99:.2} of calm); {} MiB; {} duplicates",
            self.database,
            self.num_lost,
            self.num_twice,
            self.told,
            self.drained_in.as_secs_f64(),
            self.not_200(),
            self.before.n + self.during.n + self.after.n,
            ms(self.during.p50),
            ms(self.during.p99),
            self.memory_kib / 1024,
            self.storage["duplicate_rows"],
        );
        let latency = if options.full { "at most 1.5 of calm or 1 ms more" } else { "told, not judged" };
        Figures {
            pass: self.num_lost == 0 && self.num_twice == 0 && self.not_200() == 0 && !is_slow,
            n: self.rows,
            measured,
            target: format!("0 lost, 0 twice, every answer 200; p50 and p99 {latency}"),
            ..Figures::default()
        }
    }
}
