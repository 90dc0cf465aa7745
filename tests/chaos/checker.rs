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

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ratebook::exchange::{self, Kind};
use serde_json::Value;
use tokio::time::Instant;

use crate::outside::PATIENCE;
use crate::site::{AGGREGATOR_STALE_AFTER, STALE_AFTER, Site};
use crate::wire::{Answer, Wire};

/// What is asked, and of which directions the truth is watched: markets trade the first two themselves, the
/// aggregator's come out of dollars.
const PATH: &str = "/v1/courses?directions=BTC-USDT,ETH-USDT";
const WATCHED: &str = "BTC-USDT,ETH-USDT,BTC-USD,ETH-USD,USDT-USD";

/// Between two looks at the truth. A published price stands for 100 ms.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Steps of the simulator in which each price changes once: where two looks are further apart, one may have been missed.
const STEPS_OF_A_PRICE: u64 = 5;

/// Between two questions, and between two looks at `/health`.
const ASK_EVERY: Duration = Duration::from_millis(10);
const HEALTH_EVERY: Duration = Duration::from_millis(250);

/// Usual for [`Watch::slack`].
const SLACK: Duration = Duration::from_millis(250);

/// How long an answer waits until the truth is known of the time when it came.
const JUDGED_AFTER: Duration = Duration::from_millis(300);

/// How far `/health` may be behind.
const HEALTH_WITHIN: Duration = Duration::from_secs(2);

/// For how long after a look at `/health` clients have to go on to see the same, because it may be ahead of them.
const HEALTH_AFTER: Duration = Duration::from_millis(250);

/// Most dials of an exchange in a minute.
const MAX_DIALS: f64 = 20.0;

/// How far a course may be from the true price: spreads and last prices of exchanges are well within.
const NEAR: f64 = 0.02;

/// Violations that are told in full.
const TOLD: usize = 5;

/// The reasons of a 503 in the contract.
const REASONS: [&str; 6] =
    ["starting", "stale", "down", "too_old_for_request", "ratebook_stalled", "overload"];

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

/// One answer as a client saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) asked_at: Instant,
    pub(crate) answered_at: Instant,
    /// 0 where there was no answer.
    pub(crate) status: u16,
    /// Of a 503.
    pub(crate) reason: String,
    /// Of a 200.
    pub(crate) exchanger: String,
    pub(crate) age: Duration,
    courses: Vec<(String, f64)>,
    /// What other sources lent.
    legs: Vec<Leg>,
}

/// A reference leg.
#[derive(Debug, Clone)]
struct Leg {
    direction: String,
    source: String,
    age: Duration,
}

impl Seen {
    pub(crate) fn is_from(&self, exchanger: &str) -> bool {
        self.status == 200 && self.exchanger == exchanger
    }
}

/// What a checker found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdict {
    /// Answers that were looked at, and those of them that were compared with what was published.
    pub(crate) answers: u64,
    pub(crate) exact: u64,
    /// Courses between two prices where the truth was not seen often enough.
    pub(crate) beside_a_gap: u64,
    /// Courses by way of dollars, where an exchange's own book of the direction is not fresh.
    pub(crate) by_dollars: u64,
    pub(crate) not_200: u64,
    /// Where there was no answer at all.
    pub(crate) broken: u64,
    /// How often another exchange answered than before.
    pub(crate) switches: u64,
    pub(crate) num_violations: u64,
    /// The first of them.
    pub(crate) violations: Vec<String>,
}

impl Verdict {
    fn violate(&mut self, what: String) {
        self.num_violations += 1;
        if self.violations.len() < TOLD {
            self.violations.push(what);
        }
    }

    pub(crate) fn told(&self) -> String {
        let mut told = format!(
            "{} answers, {} compared",
            self.answers,
            self.exact + self.beside_a_gap + self.by_dollars
        );
        if self.not_200 > 0 {
            told += &format!(", {} not 200", self.not_200);
        }
        if self.broken > 0 {
            told += &format!(", {} without an answer", self.broken);
        }
        told += &format!(", {} violations", self.num_violations);
        for violation in &self.violations {
            told += &format!("; {violation}");
        }
        told
    }

    pub(crate) fn holds(&self) -> bool {
        self.num_violations == 0
    }
}

/// What an exchange published of one direction: since when, and whether something before it may have been missed.
#[derive(Debug, Clone, Copy)]
struct Published {
    first_seen: Instant,
    last_seen: Instant,
    value: f64,
    is_after_a_gap: bool,
}

#[derive(Default)]
struct Truth {
    published: HashMap<(String, String), VecDeque<Published>>,
    /// True prices in dollars.
    usd: VecDeque<(Instant, BTreeMap<String, f64>)>,
    began_at: Option<Instant>,
    seen_until: Option<Instant>,
    tick: u64,
}

/// Longest time for which anything is remembered: no limit of a row is longer, and whoever says something old is told
/// how old it is.
const REMEMBERED: Duration = Duration::from_secs(60);

impl Truth {
    fn look(&mut self, at: Instant, answered_at: Instant, told: &Value) {
        let tick = told["tick"].as_u64().unwrap_or_default();
        let is_after_a_gap = tick > self.tick + STEPS_OF_A_PRICE;
        self.tick = tick;
        self.began_at.get_or_insert(at);
        // What is new was published after the look before this one, and what it replaced may have stood until now.
        let first_seen = self.seen_until.replace(at).unwrap_or(at);
        let usd = told["usd"].as_object().into_iter().flatten();
        let usd =
            usd.filter_map(|(code, value)| Some((code.clone(), value.as_str()?.parse().ok()?))).collect();
        self.usd.push_back((at, usd));
        for (exchange, quotes) in told["quotes"].as_object().into_iter().flatten() {
            let asked = ["BTC-USDT", "ETH-USDT"].map(|direction| (direction, course(quotes, direction)));
            let dollars =
                ["BTC-USD", "ETH-USD", "USDT-USD"].map(|direction| (direction, price(&quotes[direction])));
            for (direction, value) in asked.into_iter().chain(dollars) {
                let Some(value) = value else { continue };
                let list = self.published.entry((exchange.clone(), direction.to_owned())).or_default();
                match list.back_mut() {
                    // After a gap it may have been another one and the same again.
                    Some(last) if last.value == value && !is_after_a_gap => last.last_seen = answered_at,
                    replaced => {
                        // It may have stood until now.
                        if let Some(replaced) = replaced {
                            replaced.last_seen = answered_at;
                        }
                        list.push_back(Published {
                            first_seen,
                            last_seen: answered_at,
                            value,
                            is_after_a_gap,
                        });
                    }
                }
                while list.len() > 1 && list[0].last_seen + REMEMBERED < at {
                    list.pop_front();
                }
            }
        }
        while self.usd.len() > 1 && self.usd[0].0 + REMEMBERED < at {
            self.usd.pop_front();
        }
    }

    fn covers(&self, from: Instant, to: Instant) -> bool {
        self.began_at.is_some_and(|began_at| began_at < from)
            && self.seen_until.is_some_and(|until| until > to)
    }
}

/// What a direction is by an exchange's published quotes: by its own, or by those in dollars.
fn course(quotes: &Value, direction: &str) -> Option<f64> {
    let in_dollars = |code: &str| price(&quotes[format!("{code}-USD")]);
    let (base, counter) = direction.split_once('-')?;
    price(&quotes[direction]).or_else(|| Some(in_dollars(base)? / in_dollars(counter)?))
}

/// The middle of a published quote, or its last price where it has no book.
fn price(quote: &Value) -> Option<f64> {
    let number = |name: &str| quote[name].as_str()?.parse::<f64>().ok();
    match (number("bid"), number("ask")) {
        (Some(bid), Some(ask)) => Some((bid + ask) / 2.0),
        _ => number("last"),
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

/// What one client has seen.
#[derive(Default)]
struct Before {
    sequence: u64,
    /// Not before this moment was the course quoted that was seen last, by exchange.
    quoted_at: HashMap<String, Instant>,
}

impl Before {
    fn compare(&mut self, seen: &Seen, answer: &Answer, problems: &mut Vec<String>) {
        if seen.status != 200 {
            return;
        }
        let Some(sequence) = answer.number("ratebook-sequence") else {
            problems.push(format!("I6: a 200 without a sequence: {}", answer.head));
            return;
        };
        if sequence < self.sequence {
            problems.push(format!("I4: the sequence fell from {} to {sequence}", self.sequence));
        }
        self.sequence = sequence;
        let (not_before, not_after) = (seen.asked_at - seen.age, seen.answered_at - seen.age);
        if let Some(before) = self.quoted_at.get(&seen.exchanger)
            && not_after + Duration::from_millis(5) < *before
        {
            let older = *before - not_after;
            problems
                .push(format!("I4: a course of {} is {older:?} older than one before it", seen.exchanger));
        }
        let newest = self.quoted_at.entry(seen.exchanger.clone()).or_insert(not_before);
        *newest = not_before.max(*newest);
    }
}

/// Reads an answer; what is not of the contract is a problem.
fn read(answer: &Answer, asked_at: Instant, answered_at: Instant, problems: &mut Vec<String>) -> Seen {
    let mut seen = Seen {
        asked_at,
        answered_at,
        status: answer.status,
        reason: String::new(),
        exchanger: String::new(),
        age: Duration::ZERO,
        courses: Vec::new(),
        legs: Vec::new(),
    };
    let body = answer.json();
    match answer.status {
        0 => {}
        200 => {
            seen.age = Duration::from_millis(answer.number("ratebook-age-ms").unwrap_or(u64::MAX));
            seen.exchanger = body["exchanger"].as_str().unwrap_or_default().to_owned();
            let courses = body["courses"].as_array().into_iter().flatten();
            let read = |it: &Value| Some((it["direction"].as_str()?.to_owned(), it["value"].as_f64()?));
            seen.courses = courses.filter_map(read).collect();
            seen.legs = legs(answer.header("ratebook-legs").unwrap_or_default());
            let names: Vec<&str> = seen.courses.iter().map(|(name, _)| name.as_str()).collect();
            if seen.exchanger.is_empty() || names != ["BTC-USDT", "ETH-USDT"] {
                problems.push(format!("I6: {}", answer.body));
            }
        }
        503 => {
            seen.reason = body["reason"].as_str().unwrap_or_default().to_owned();
            let is_complete =
                REASONS.contains(&seen.reason.as_str()) && answer.number("retry-after") >= Some(1);
            if !is_complete || answer.header("cache-control") != Some("no-store") {
                problems.push(format!("I6: {} {}", answer.head, answer.body));
            }
        }
        _ => problems.push(format!("I6: {} {}", answer.head, answer.body)),
    }
    for (direction, value) in &seen.courses {
        if !(value.is_finite() && *value > 0.0) {
            problems.push(format!("I3: {direction} is {value}"));
        }
    }
    seen
}

/// The reference legs of an answer, as `USDT-USD=kraken;age_ms=310;held=0` tells them.
fn legs(told: &str) -> Vec<Leg> {
    let leg = |text: &str| {
        let (direction, rest) = text.trim().split_once('=')?;
        let (source, rest) = rest.split_once(";age_ms=")?;
        let (age, _) = rest.split_once(';')?;
        let age = Duration::from_millis(age.parse().ok()?);
        Some(Leg { direction: direction.to_owned(), source: source.to_owned(), age })
    };
    told.split(',').filter_map(leg).collect()
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

fn compare(verdict: &mut Verdict, truth: &Truth, seen: &Seen, watch: Watch) {
    let is_aggregator = !exchange::row(&seen.exchanger).is_some_and(|row| matches!(row.kind, Kind::Market));
    let is_patient = is_aggregator || watch.patient == Some(seen.exchanger.as_str());
    let limit = if is_patient { AGGREGATOR_STALE_AFTER } else { watch.stale_after };
    if seen.age > limit {
        verdict.violate(format!("I2: {} answered with an age of {:?}", seen.exchanger, seen.age));
    }
    let from = seen.asked_at - limit - watch.slack;
    if !truth.covers(from, seen.answered_at) {
        return;
    }
    let is_between = |value: f64, (low, high): (f64, f64), share: f64| {
        (low * (1.0 - share)..=high * (1.0 + share)).contains(&value)
    };
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::MAX, f64::MIN), |(low, high), it| (low.min(it), high.max(it)))
    };
    for (direction, value) in &seen.courses {
        let Some((base, counter)) = direction.split_once('-') else { continue };
        let told = truth.usd.iter().filter(|(at, _)| *at >= from);
        let near = range(&mut told.filter_map(|(_, usd)| Some(usd.get(base)? / usd.get(counter)?)));
        if !is_between(*value, near, NEAR) {
            verdict
                .violate(format!("I3: {} says {direction} is {value}, and it was {near:?}", seen.exchanger));
            continue;
        }
        let said_since = |from: Instant, exchange: &str, direction: &str| -> Vec<&Published> {
            let published = truth.published.get(&(exchange.to_owned(), direction.to_owned()));
            let is_within = |it: &&Published| it.last_seen >= from && it.first_seen <= seen.answered_at;
            published.into_iter().flatten().filter(is_within).collect()
        };
        let values = |from: Instant, exchange: &str, code: &str| {
            range(&mut said_since(from, exchange, &format!("{code}-USD")).iter().map(|it| it.value))
        };
        // Another source may lend what a dollar of the counter is worth, and what it said last may be held.
        let by_dollars = || {
            let base_in_dollars = values(from, &seen.exchanger, base);
            let lent = seen.legs.iter().find(|leg| leg.direction == format!("{counter}-USD"));
            let counter_in_dollars = match lent {
                Some(leg) => values(seen.asked_at - leg.age - watch.slack, &leg.source, counter),
                None => values(from, &seen.exchanger, counter),
            };
            is_between(
                *value,
                (base_in_dollars.0 / counter_in_dollars.1, base_in_dollars.1 / counter_in_dollars.0),
                1e-7,
            )
        };
        let within = said_since(from, &seen.exchanger, direction);
        if within.iter().any(|it| (it.value / value - 1.0).abs() < 1e-9) {
            verdict.exact += 1;
        } else if within.iter().any(|it| it.is_after_a_gap)
            && is_between(*value, range(&mut within.iter().map(|it| it.value)), 1e-4)
        {
            verdict.beside_a_gap += 1;
        } else if by_dollars() {
            verdict.by_dollars += 1;
        } else {
            let all = truth.published.get(&(seen.exchanger.clone(), direction.clone())).into_iter().flatten();
            let last_said =
                all.filter(|it| (it.value / value - 1.0).abs() < 1e-9).map(|it| it.last_seen).next_back();
            let ago = last_said.map(|at| seen.asked_at.saturating_duration_since(at));
            let told = range(&mut within.iter().map(|it| it.value));
            verdict.violate(format!(
                "I1: {} says that {direction} is {value}, {:?} old, and said so last {ago:?} before; within {limit:?} it \
                 said {} other values: {told:?}",
                seen.exchanger,
                seen.age,
                within.len(),
            ));
        }
    }
}

/// What `/health` said at `told_at` or soon after has to agree with what clients saw all the time around it. Gives what
/// does not.
fn compare_health(health: &Answer, told_at: Instant, slack: Duration, state: &State) -> Vec<String> {
    let (from, to) = (told_at - HEALTH_WITHIN - slack, told_at + HEALTH_AFTER + slack);
    let at = |moment: Instant| state.seen.partition_point(|seen| seen.answered_at < moment);
    let recent = &state.seen[at(from)..at(to)];
    // Enough of them, over all of the time.
    if recent.len() < 10 || state.seen.first().is_none_or(|seen| seen.answered_at > from) {
        return Vec::new();
    }
    let (body, mut problems) = (health.json(), Vec::new());
    let is_all = |is_it: &dyn Fn(&Seen) -> bool| recent.iter().all(is_it);
    if is_all(&|seen| seen.status == 200) && health.status != 200 {
        problems.push(format!("I8: health is {} while courses are told: {}", health.status, health.body));
    }
    let rows = body["exchanges"].as_array().cloned().unwrap_or_default();
    let exchanger = recent[0].exchanger.clone();
    if is_all(&|seen| seen.is_from(&exchanger)) {
        let status = rows.iter().find(|row| row["name"] == *exchanger).map(|row| row["status"].clone());
        if status != Some("fresh".into()) {
            problems.push(format!("I8: {exchanger} answers, and health says that it is {status:?}"));
        }
    }
    if is_all(&|seen| seen.status == 503) && body["status"] == "ok" {
        problems.push("I8: health is ok while no course is told".to_owned());
    }
    problems
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
