//! Courses that are made of several quotes, of which one falls silent.

use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::refused::TOLERANCE;
use super::{groups, on_each, settled};
use crate::row::{Figures, Options, ms};
use crate::site::{AGGREGATOR_STALE_AFTER, Plan, STALE_AFTER, Site};
use crate::wire::{Answer, Wire};

/// What a frame may need from the simulator to an answer.
const ON_ITS_WAY: Duration = Duration::from_millis(200);

/// Between two questions.
const ASK_EVERY: Duration = Duration::from_millis(20);

pub(super) fn one_leg(options: &Options) -> Figures {
    let own = on_each(groups(options), options, |group, options| {
        let site = settled(&group, options);
        let seen = thread::scope(|scope| {
            let running: Vec<_> = group.iter().map(|it| scope.spawn(|| own_leg(&site, it))).collect();
            running.into_iter().map(|it| it.join().unwrap()).collect::<Vec<_>>()
        });
        seen.into_iter().reduce(Figures::with).unwrap_or_default()
    });
    own.with(reference_leg(options))
}

/// What is asked in one round: the leg that falls silent before and after the cross, and the leg that goes on.
struct Round {
    since: Duration,
    silent: [Answer; 2],
    cross: Answer,
    alive: Answer,
}

/// ETH-BTC over the two markets of an exchange with USDT, of which BTC-USDT says nothing any more.
fn own_leg(site: &Site, exchange: &str) -> Figures {
    let mut wire = Wire::to(site.address);
    let mut ask = |direction: &str| {
        let path = format!("/v1/courses?exchanger={exchange}&directions={direction}");
        wire.ask(&path).unwrap_or_default()
    };
    site.control().break_exchange(exchange, &json!({"kind": "mute", "symbol": "BTC-USDT"}));
    let began = Instant::now();
    let mut rounds = Vec::new();
    while began.elapsed() < STALE_AFTER + TOLERANCE * 2 {
        let before = ask("BTC-USDT");
        let cross = ask("ETH-BTC");
        let after = ask("BTC-USDT");
        let alive = ask("ETH-USDT");
        rounds.push(Round { since: began.elapsed(), silent: [before, after], cross, alive });
        thread::sleep(ASK_EVERY);
    }
    site.control().mend(exchange);
    let age = |answer: &Answer| answer.number("ratebook-age-ms").unwrap_or_default();
    let mut told = Told::default();
    for round in rounds.iter().filter(|round| round.since > ON_ITS_WAY) {
        let is_alone = round.alive.status == 200 && age(&round.alive) < age(&round.cross).max(400);
        told.check(is_alone, || format!("ETH-USDT {} {} ms", round.alive.status, age(&round.alive)));
        if round.silent.iter().chain([&round.cross]).all(|answer| answer.status == 200) {
            let [before, after] = round.silent.each_ref().map(age);
            let is_between = (before..=after).contains(&age(&round.cross));
            told.check(is_between, || format!("age {} of {before} to {after} ms", age(&round.cross)));
            told.compared += 1;
        }
        if round.cross.status != 200 {
            told.gone_after.get_or_insert(round.since);
            let reason = round.cross.json()["reason"].clone();
            told.check(round.cross.status == 503 && reason == "stale", || {
                format!("{} {reason}", round.cross.status)
            });
        }
    }
    told.figures(exchange, STALE_AFTER + TOLERANCE)
}

/// BTC-RUB over a reference of USDT-USD that says nothing any more, and is not held.
fn reference_leg(options: &Options) -> Figures {
    let plan = Plan::of(&["binance", "coingecko", "cbr"], options.seed)
        .with("directions", "[\"BTC-RUB\", \"BTC-USDT\"]")
        .with("hold_reference", "\"1s\"");
    let site = Site::settled(plan);
    let mut wire = Wire::to(site.address);
    let mut ask = |direction: &str| {
        wire.ask(&format!("/v1/courses?exchanger=binance&directions={direction}")).unwrap_or_default()
    };
    site.control().break_exchange("coingecko", &json!({"kind": "mute"}));
    let began = Instant::now();
    let mut told = Told::default();
    while began.elapsed() < AGGREGATOR_STALE_AFTER + TOLERANCE * 2 {
        let (cross, own) = (ask("BTC-RUB"), ask("BTC-USDT"));
        told.check(own.status == 200, || format!("BTC-USDT {}", own.status));
        match cross.status {
            200 => {
                // Such a course is as old as what the exchange itself said, and its legs tell their own ages.
                let legs = cross.header("ratebook-legs").unwrap_or_default();
                told.check(legs.contains("USDT-USD=coingecko;age_ms="), || legs.to_owned());
                told.compared += 1;
            }
            _ => {
                told.gone_after.get_or_insert(began.elapsed());
                told.check(cross.json()["reason"] == "stale", || cross.body.clone());
            }
        }
        thread::sleep(ASK_EVERY);
    }
    told.figures("USDT-USD of coingecko", AGGREGATOR_STALE_AFTER + TOLERANCE)
}

/// What was seen of one cross.
#[derive(Default)]
struct Told {
    compared: u64,
    checked: u64,
    gone_after: Option<Duration>,
    num_problems: u64,
    problem: Option<String>,
}

impl Told {
    fn check(&mut self, is_well: bool, problem: impl FnOnce() -> String) {
        self.checked += 1;
        if !is_well {
            self.num_problems += 1;
            self.problem.get_or_insert_with(problem);
        }
    }

    fn figures(self, subject: &str, limit: Duration) -> Figures {
        let gone_after = self.gone_after.map_or("never".to_owned(), ms);
        let problem = self.problem.map(|it| format!(", such as {it}")).unwrap_or_default();
        Figures {
            pass: self.num_problems == 0
                && self.compared > 0
                && self.gone_after.is_some_and(|after| after <= limit),
            n: self.checked,
            measured: format!(
                "{subject}: gone after {gone_after}, {} of its ages compared, {} wrong{problem}",
                self.compared, self.num_problems
            ),
            target: format!("as old as its oldest leg, 503 within {} for it alone", ms(limit)),
            ..Figures::default()
        }
    }
}
