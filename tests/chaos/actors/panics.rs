//! Panics in the actor of an exchange, and in the handler of a request.

use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::healing::{Healing, figures, heal};
use super::{markets, site_of, watch};
use crate::outside::wait_until;
use crate::row::{Figures, Options};
use crate::site::{Process, Site};
use crate::wire::Wire;

/// Exchanges that are broken at the same time; there are more, so that somebody is left to answer.
const AT_ONCE: usize = 4;

/// Restarts that are tolerated within a minute.
const MAX_RESTARTS: u64 = 5;

/// Lines of the log that one exchange may take: the panics and restarts that lead to its quarantine, and a minute of it.
const MOST_LINES_BEFORE: usize = 25;
const MOST_LINES_A_MINUTE: usize = 10;

/// What an exchange that is left alone may cost, in shares of a processor.
const MOST_PROCESSOR: f64 = 0.05;

pub(super) fn over_a_frame(options: &Options) -> Figures {
    let markets = markets();
    let site = Site::settled(site_of(&markets, options));
    let checker = watch(&site);
    let mut healings = Vec::new();
    for _ in 0..options.scaled(1, 2) {
        for group in markets.chunks(AT_ONCE) {
            healings.extend(heal(&site, group, 1, |exchange| panic_in(&site, "frame", exchange)));
        }
    }
    figures(options, "a panic over a frame", &healings, &checker.finish())
}

pub(super) fn elsewhere(options: &Options) -> Figures {
    let markets = markets();
    let site = Site::settled(site_of(&markets, options));
    let control = site.control();
    let checker = watch(&site);
    let harmed = &markets[..options.scaled(AT_ONCE, markets.len())];
    let mut healings = Vec::new();
    for group in harmed.chunks(AT_ONCE) {
        healings.extend(heal(&site, group, 1, |exchange| panic_in(&site, "timer", exchange)));
        healings.extend(heal(&site, group, 1, |exchange| {
            panic_in(&site, "spawned", exchange);
            // The future is that of the next dial.
            control.break_exchange(exchange, &json!({"kind": "close"}));
        }));
        let started: Vec<Healing> = heal(&site, group, 2, |exchange| {
            panic_in(&site, "started", exchange);
            panic_in(&site, "timer", exchange);
        });
        // Two restarts, each within its time.
        healings.extend(started.iter().map(|it| Healing { restarted_after: it.restarted_after / 2, ..*it }));
    }
    figures(options, "a panic in a timer, a future or a start", &healings, &checker.finish())
}

fn panic_in(site: &Site, place: &str, exchange: &str) {
    site.fail(&format!("exchange::{place}({exchange})"), "1*panic");
}

pub(super) fn over_every_frame(options: &Options) -> Figures {
    let (exchange, peer) = ("binance", "okx");
    let site = Site::settled(site_of(&[exchange, peer], options));
    let checker = watch(&site);
    let calm = processor_share(&site.service, Duration::from_secs(2));
    let lines_at_start = lines_about(&site, exchange);
    site.fail(&format!("exchange::frame({exchange})"), "panic");
    wait_until("the exchange is left alone", || site.health_of(exchange)["status"] == "quarantined");
    let lines_before = lines_about(&site, exchange) - lines_at_start;
    let length = options.scaled(Duration::from_secs(2), Duration::from_secs(120));
    let alone = processor_share(&site.service, length);
    let lines_since = lines_about(&site, exchange) - lines_at_start - lines_before;
    let health = site.health_of(exchange);
    let restarts = health["restarts"].as_u64().unwrap_or(u64::MAX);
    let log = site.service.log();
    let errors = log.lines().filter(|line| line.contains(" ERROR ") && line.contains("quarantined")).count();
    let verdict = checker.finish();
    Figures {
        pass: verdict.holds()
            && verdict.not_200 + verdict.broken == 0
            && health["status"] == "quarantined"
            && restarts <= MAX_RESTARTS
            && errors == 1
            && lines_before <= MOST_LINES_BEFORE
            && lines_since <= MOST_LINES_A_MINUTE
            && alone - calm <= MOST_PROCESSOR,
        n: restarts,
        violations: verdict.num_violations,
        measured: format!(
            "{restarts} restarts, then left alone, said {errors} time as ERROR; {lines_before} lines until then and \
             {lines_since} in the {length:?} after; {:.1} % of a processor before the panics, {:.1} % while left alone; {}",
            calm * 100.0,
            alone * 100.0,
            verdict.told()
        ),
        target: format!(
            "at most {MAX_RESTARTS} restarts, {MOST_LINES_BEFORE} lines until it is left alone and \
             {MOST_LINES_A_MINUTE} a minute after, at most 5 % of a processor more, every answer 200"
        ),
    }
}

/// Share of one processor that a process takes.
fn processor_share(process: &Process, length: Duration) -> f64 {
    let (began, before) = (Instant::now(), process.processor_time());
    thread::sleep(length);
    (process.processor_time() - before).as_secs_f64() / began.elapsed().as_secs_f64()
}

fn lines_about(site: &Site, exchange: &str) -> usize {
    site.service.log().lines().filter(|line| line.contains(exchange)).count()
}

/// How often a handler panics.
const NUM_HANDLER_PANICS: u64 = 20;

pub(super) fn in_a_handler(options: &Options) -> Figures {
    let site = Site::settled(site_of(&["binance"], options));
    let mut wire = Wire::to(site.address);
    let (mut num_good, mut num_broken) = (0, 0);
    for trial in 0..NUM_HANDLER_PANICS {
        let path = if trial % 2 == 0 { "/v1/courses" } else { "/v1/courses/BTC-USDT" };
        site.fail("http::courses", "1*panic");
        let mut answer = None;
        wait_until("the handler panics", || {
            match wire.ask(path) {
                Ok(told) if told.status == 200 => {}
                told => answer = Some(told),
            }
            answer.is_some()
        });
        match answer {
            Some(Ok(told)) => {
                let is_problem = told.header("content-type") == Some("application/problem+json");
                let body = told.json();
                let is_ours = body["reason"] == "internal" && body["status"] == 500 && is_problem;
                let is_next_good = wire.ask(path).is_ok_and(|next| next.status == 200);
                num_good += u64::from(told.status == 500 && is_ours && is_next_good);
            }
            _ => num_broken += 1,
        }
    }
    let metrics = site.get("/metrics").body;
    let counted: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("ratebook_http_requests_total{") && line.contains("status=\"500\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    Figures {
        pass: num_good == NUM_HANDLER_PANICS && num_broken == 0 && counted == NUM_HANDLER_PANICS as f64,
        n: NUM_HANDLER_PANICS,
        measured: format!(
            "{num_good} of {NUM_HANDLER_PANICS} panics were a problem with status 500 before a 200 on the same \
             connection, {num_broken} broke it; {counted} counted"
        ),
        target: "each is a 500 with its body, the next question of the same connection a 200".to_owned(),
        ..Figures::default()
    }
}
