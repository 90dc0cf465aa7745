//! The checker: looks at every answer from outside, and at what the simulator really published, and holds what must
//! hold whatever breaks.
//!
//! | | |
//! |---|---|
//! | I1 | a course is what its exchange published within the time that it may be old |
//! | I2 | no course is older than its limit |
//! | I3 | a course is a number above zero, and near the true price |
//! | I4 | a client's sequence never falls, and an exchange's course is never older than one that was seen |
//! | I6 | every answer has a status, a body and a reason of the contract |
//! | I7 | no exchange is dialled more than 20 times a minute |
//! | I8 | `/health` says within 2 s what clients see |
//!
//! (I5, that rows are accepted quotes, each once, is what the rows of storage count.)

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::time::Instant;

use self::compare::{HEALTH_AFTER, compare, compare_health};
pub(crate) use self::seen::Seen;
use self::seen::{Before, read};
use self::truth::Truth;
pub(crate) use self::verdict::Verdict;
use crate::outside::PATIENCE;
use crate::site::{AGGREGATOR_STALE_AFTER, STALE_AFTER, Site};
use crate::wire::{Answer, Wire};

mod compare;
mod seen;
mod truth;
mod verdict;

/// What is asked, and of which directions the truth is watched: markets trade the first two themselves, the
/// aggregator's come out of dollars.
const PATH: &str = "/v1/courses?directions=BTC-USDT,ETH-USDT";
const WATCHED: &str = "BTC-USDT,ETH-USDT,BTC-USD,ETH-USD,USDT-USD";

/// Between two looks at the truth. A published price stands for 100 ms.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Between two questions, and between two looks at `/health`.
const ASK_EVERY: Duration = Duration::from_millis(10);
const HEALTH_EVERY: Duration = Duration::from_millis(250);

/// Usual for [`Watch::slack`].
const SLACK: Duration = Duration::from_millis(250);

/// How long an answer waits until the truth is known of the time when it came.
const JUDGED_AFTER: Duration = Duration::from_millis(300);

/// Most dials of an exchange in a minute.
const MAX_DIALS: f64 = 20.0;

/// How a checker asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    /// Between two questions of one client.
    pub(crate) ask_every: Duration,
    pub(crate) num_clients: usize,
    /// Exchanges that a client each asks for by name, beside those clients. What they say is judged; that they say
    /// nothing is no failure.
    pub(crate) alone: &'static [&'static str],
    /// How old a course of a market may be.
    pub(crate) stale_after: Duration,
    /// An exchange whose courses may be as old as those of the aggregator, so that a machine that stands still for a
    /// moment leaves somebody to answer.
    pub(crate) patient: Option<&'static str>,
    /// Most time that anything may have waited for the processor between the simulator and this checker.
    pub(crate) slack: Duration,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            ask_every: ASK_EVERY,
            num_clients: 1,
            alone: &[],
            stale_after: STALE_AFTER,
            patient: None,
            slack: SLACK,
        }
    }
}

#[derive(Default)]
struct State {
    truth: Truth,
    /// Answers that the truth has not caught up with.
    waiting: VecDeque<Seen>,
    /// Every answer as far as a row needs it: status, reason and exchanger.
    seen: Vec<Seen>,
    verdict: Verdict,
}

/// A checker at work.
pub(crate) struct Checker {
    state: Arc<Mutex<State>>,
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Where the service is: rows start it anew at another address.
    service: Arc<Mutex<SocketAddr>>,
    watch: Watch,
}

impl Checker {
    /// Watches a site, and returns once it can judge what it sees.
    pub(crate) fn start(site: &Site) -> Self {
        Self::start_as(site, Watch::default())
    }

    pub(crate) fn start_as(site: &Site, watch: Watch) -> Self {
        let (state, stopped) = (Arc::<Mutex<State>>::default(), Arc::<AtomicBool>::default());
        let service = Arc::new(Mutex::new(site.address));
        let threads = Vec::new();
        let mut checker = Self { state, stopped, threads, service, watch };
        let simulator = site.simulator_address;
        let exchanges = site.plan.exchanges().join(",");
        checker.spawn(move |it| it.watch_truth(simulator, &exchanges));
        let began_at = Instant::now();
        let covered_after = AGGREGATOR_STALE_AFTER.max(watch.stale_after) + watch.slack + LOOK_EVERY * 4;
        crate::outside::wait_until("the truth is known", || {
            began_at.elapsed() > covered_after && checker.state.lock().unwrap().truth.seen_until.is_some()
        });
        for _ in 0..watch.num_clients {
            checker.spawn(|it| it.ask(None));
        }
        for exchanger in watch.alone {
            checker.spawn(|it| it.ask(Some(exchanger)));
        }
        checker.spawn(Worker::watch_health);
        checker
    }

    fn spawn(&mut self, work: impl FnOnce(&Worker) + Send + 'static) {
        let worker = Worker {
            state: self.state.clone(),
            stopped: self.stopped.clone(),
            service: self.service.clone(),
            watch: self.watch,
        };
        self.threads.push(thread::spawn(move || work(&worker)));
    }

    /// The service has a new address.
    pub(crate) fn moved(&self, site: &Site) {
        *self.service.lock().unwrap() = site.address;
    }

    /// Waits until an answer that was asked for after this call is as wanted; says how long that took.
    pub(crate) fn until(&self, what: &str, is_wanted: impl Fn(&Seen) -> bool) -> Duration {
        let began = Instant::now();
        loop {
            let found = self.since(began).find(|seen| is_wanted(seen)).map(|seen| seen.answered_at);
            if let Some(at) = found {
                return at - began;
            }
            assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}: {}", self.so_far().told());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What was asked for after a moment, oldest first.
    pub(crate) fn since(&self, moment: Instant) -> impl Iterator<Item = Seen> {
        let state = self.state.lock().unwrap();
        let from = state.seen.partition_point(|seen| seen.answered_at < moment);
        let list: Vec<Seen> =
            state.seen[from..].iter().filter(|seen| seen.asked_at >= moment).cloned().collect();
        list.into_iter()
    }

    pub(crate) fn so_far(&self) -> Verdict {
        self.state.lock().unwrap().verdict.clone()
    }

    /// Judges what is left, and says what was found.
    pub(crate) fn finish(mut self) -> Verdict {
        thread::sleep(JUDGED_AFTER + LOOK_EVERY * 2);
        self.stop();
        let mut state = self.state.lock().unwrap();
        judge(&mut state, Instant::now() + JUDGED_AFTER, self.watch);
        state.verdict.clone()
    }

    fn stop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                self.state.lock().unwrap().verdict.violate("the checker broke".to_owned());
            }
        }
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What one thread of a checker needs.
struct Worker {
    state: Arc<Mutex<State>>,
    stopped: Arc<AtomicBool>,
    service: Arc<Mutex<SocketAddr>>,
    watch: Watch,
}

impl Worker {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// A connection to where the service is now.
    fn connect(&self, old: Option<(SocketAddr, Wire)>) -> (SocketAddr, Wire) {
        let now = *self.service.lock().unwrap();
        match old {
            Some((to, wire)) if to == now => (to, wire),
            _ => (now, Wire::to(now)),
        }
    }

    fn watch_truth(&self, simulator: SocketAddr, exchanges: &str) {
        let mut wire = Wire::to(simulator);
        let path = format!("/control/truth?exchange={exchanges}&direction={WATCHED}");
        while !self.is_stopped() {
            let at = Instant::now();
            if let Ok(answer) = wire.ask(&path) {
                let (answered_at, told) = (Instant::now(), answer.json());
                let mut state = self.state.lock().unwrap();
                state.truth.look(at, answered_at, &told);
                judge(&mut state, answered_at, self.watch);
            }
            thread::sleep(LOOK_EVERY.saturating_sub(at.elapsed()));
        }
    }

    fn ask(&self, alone: Option<&str>) {
        let path = alone.map_or(PATH.to_owned(), |exchanger| format!("{PATH}&exchanger={exchanger}"));
        let mut connection = None;
        let mut before = Before::default();
        while !self.is_stopped() {
            let (to, mut wire) = self.connect(connection.take());
            let asked_at = Instant::now();
            let answer = wire.ask(&path).unwrap_or_default();
            let answered_at = Instant::now();
            connection = Some((to, wire));
            let mut problems = Vec::new();
            let seen = read(&answer, asked_at, answered_at, &mut problems);
            before.compare(&seen, &answer, &mut problems);
            let mut state = self.state.lock().unwrap();
            problems.into_iter().for_each(|problem| state.verdict.violate(problem));
            state.verdict.answers += 1;
            if alone.is_some() {
                state.waiting.push_back(seen);
                drop(state);
                thread::sleep(self.watch.ask_every.saturating_sub(asked_at.elapsed()));
                continue;
            }
            state.verdict.not_200 += u64::from(seen.status != 200 && seen.status != 0);
            state.verdict.broken += u64::from(seen.status == 0);
            let last = state.seen.iter().rev().find(|it| it.status == 200);
            let is_switch = seen.status == 200 && last.is_some_and(|last| last.exchanger != seen.exchanger);
            state.verdict.switches += u64::from(is_switch);
            if state.seen.len() > 400_000 {
                state.seen.drain(..200_000);
            }
            let short = Seen { courses: Vec::new(), ..seen.clone() };
            state.seen.push(short);
            state.waiting.push_back(seen);
            drop(state);
            thread::sleep(self.watch.ask_every.saturating_sub(asked_at.elapsed()));
        }
    }

    fn watch_health(&self) {
        let mut connection = None;
        let mut dials = VecDeque::<(Instant, HashMap<String, f64>)>::new();
        let mut told = VecDeque::<(Instant, Answer)>::new();
        while !self.is_stopped() {
            let (to, mut wire) = self.connect(connection.take());
            let asked_at = Instant::now();
            let (health, metrics) = (wire.ask("/health"), wire.ask("/metrics"));
            if dials.back().is_some_and(|_| connection.is_none()) && health.is_err() {
                dials.clear();
            }
            connection = Some((to, wire));
            let mut state = self.state.lock().unwrap();
            told.extend(health.ok().map(|health| (asked_at, health)));
            while told.front().is_some_and(|(at, _)| *at + HEALTH_AFTER + self.watch.slack < asked_at) {
                let Some((at, health)) = told.pop_front() else { break };
                for problem in compare_health(&health, at, self.watch.slack, &state) {
                    state.verdict.violate(problem);
                }
            }
            if let Ok(metrics) = metrics {
                let now = dialled(&metrics.body);
                // Another process counts anew.
                if dials.back().is_some_and(|(_, last)| last.iter().any(|(name, n)| now.get(name) < Some(n)))
                {
                    dials.clear();
                }
                dials.push_back((asked_at, now.clone()));
                while dials.front().is_some_and(|(at, _)| *at + Duration::from_secs(60) < asked_at) {
                    dials.pop_front();
                }
                for (name, before) in dials.front().map(|(_, first)| first).into_iter().flatten() {
                    let number = now.get(name).map_or(0.0, |now| now - before);
                    if number > MAX_DIALS {
                        state.verdict.violate(format!("I7: {number} dials of {name} within a minute"));
                    }
                }
            }
            drop(state);
            thread::sleep(HEALTH_EVERY.saturating_sub(asked_at.elapsed()));
        }
    }
}

/// Compares the answers that the truth has caught up with.
fn judge(state: &mut State, now: Instant, watch: Watch) {
    while state.waiting.front().is_some_and(|seen| seen.answered_at + JUDGED_AFTER < now) {
        let Some(seen) = state.waiting.pop_front() else { return };
        if seen.status == 200 {
            compare(&mut state.verdict, &state.truth, &seen, watch);
        }
    }
}

/// How often each exchange has been dialled since the start.
fn dialled(metrics: &str) -> HashMap<String, f64> {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("ratebook_exchange_dials_total{"));
    let read = |line: &str| {
        let (labels, number) = line.rsplit_once("} ")?;
        let (_, name) = labels.split_once("exchange=\"")?;
        Some((name.split('"').next()?.to_owned(), number.parse::<f64>().ok()?))
    };
    // Dials that opened and those that failed are counted apart.
    let mut dialled = HashMap::new();
    for (name, number) in lines.filter_map(read) {
        *dialled.entry(name).or_insert(0.0) += number;
    }
    dialled
}
