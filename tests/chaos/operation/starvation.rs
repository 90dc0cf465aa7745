//! A machine whose processors are busy with something else.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::checker::{Checker, Watch};
use crate::row::{Figures, Options, ms};
use crate::site::{Plan, Site};

/// Processes that do nothing but take time.
const LOOPS: usize = 4;

/// How long the simulator, the service and the checker may wait for a processor.
const SLACK: Duration = Duration::from_millis(500);

/// What an answer may take meanwhile.
const MOST_P99: Duration = Duration::from_millis(200);

/// A process that keeps one processor busy, for a limited time whatever happens to us.
struct BusyLoop(Child);

impl BusyLoop {
    fn start(length: Duration) -> Self {
        let limit = (length.as_secs() + 30).to_string();
        let mut command = Command::new("timeout");
        command.args([&limit, "sh", "-c", "while :; do :; done"]).stdin(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for BusyLoop {
    fn drop(&mut self) {
        // `timeout` hands the signal on to the loop.
        drop(Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status());
        drop(self.0.wait());
    }
}

pub(super) fn busy(options: &Options) -> Figures {
    let site = Site::settled(Plan::of(&["binance", "okx", "coingecko", "cbr"], options.seed));
    let checker = Checker::start_as(&site, Watch { slack: SLACK, ..Watch::default() });
    let length = options.scaled(Duration::from_secs(6), Duration::from_secs(60));
    let loops: Vec<BusyLoop> = (0..LOOPS).map(|_| BusyLoop::start(length)).collect();
    let began = Instant::now();
    thread::sleep(length);
    let mut took: Vec<Duration> = checker.since(began).map(|seen| seen.answered_at - seen.asked_at).collect();
    drop(loops);
    checker.until("the first exchange answers again", |seen| seen.is_from("binance"));
    took.sort();
    let p99 =
        took.get((took.len() * 99 / 100).min(took.len().saturating_sub(1))).copied().unwrap_or_default();
    let verdict = checker.finish();
    Figures {
        pass: verdict.holds() && verdict.broken == 0 && took.len() > 20 && p99 <= options.limit(MOST_P99),
        n: took.len() as u64,
        violations: verdict.num_violations,
        measured: format!(
            "{LOOPS} busy loops for {length:?}: {} answers, p99 {}; {}",
            took.len(),
            ms(p99),
            verdict.told()
        ),
        target: format!("no answer wrong or old, p99 at most {}", ms(options.limit(MOST_P99))),
    }
}

/// Frames a second of a flood, and how long the program stands still and runs in turn: too short to read them all, and
/// more than the system holds back for it in a second.
const FLOOD: u32 = 30_000;
const STANDS: Duration = Duration::from_millis(300);
const RUNS: Duration = Duration::from_millis(1);

/// A program that gets little of a processor, while one exchange sends more than it can read then.
pub(super) fn slow_reader(options: &Options) -> Figures {
    let site = Site::settled(Plan::of(&["binance", "okx", "coingecko", "cbr"], options.seed));
    let checker = Checker::start_as(&site, Watch { slack: SLACK, ..Watch::default() });
    let length = options.scaled(Duration::from_secs(8), Duration::from_secs(60));
    site.control().break_exchange("binance", &json!({"kind": "flood", "per_second": FLOOD}));
    let began = Instant::now();
    while began.elapsed() < length {
        site.service.signal("-STOP");
        thread::sleep(STANDS);
        site.service.signal("-CONT");
        thread::sleep(RUNS);
    }
    let fell_back = checker.since(began).filter(|seen| seen.is_from("okx")).count();
    site.control().mend("binance");
    let mended = Instant::now();
    checker.until("the first exchange answers again", |seen| seen.is_from("binance"));
    let back = mended.elapsed();
    let verdict = checker.finish();
    Figures {
        pass: verdict.holds() && verdict.not_200 + verdict.broken == 0,
        n: verdict.answers,
        violations: verdict.num_violations,
        measured: format!(
            "{FLOOD} frames/s of binance for {length:?}, {RUNS:?} of {:?} to read them: {fell_back} answers of okx, \
             binance again {} after it; {}",
            STANDS + RUNS,
            ms(back),
            verdict.told()
        ),
        target: "no answer wrong or old, and none without a course".to_owned(),
    }
}
