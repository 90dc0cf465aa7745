//! What the probes say while something is broken.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::site_of;
use crate::outside::wait_until;
use crate::row::{Figures, Options, ms};
use crate::site::{Site, quoted};
use crate::support::postgres::Postgres;
use crate::wire::Wire;

/// How far `/health` may be behind.
const WITHIN: Duration = Duration::from_secs(2);

/// For how long a fault that must not be seen is looked at.
const LOOKED_AT: Duration = Duration::from_secs(1);

const COURSES: &str = "/v1/courses";

/// How often a probe was asked while it has to be 200, and how often it was not.
#[derive(Default)]
struct Probe {
    asked: AtomicU64,
    not_200: AtomicU64,
}

impl Probe {
    fn ask(&self, wire: &mut Wire, path: &str) {
        let status = wire.ask(path).map_or(0, |answer| answer.status);
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.not_200.fetch_add(u64::from(status != 200), Ordering::Relaxed);
    }
}

pub(super) fn of_faults(options: &Options) -> Figures {
    let mut postgres = Postgres::start();
    let plan =
        site_of(options).with("database_url", &quoted(&postgres.url())).with("storage.every", "\"0s\"");
    let site = Site::settled(plan);
    let (live, ready, ended) = (Probe::default(), Probe::default(), AtomicBool::new(false));
    let (mut slowest, mut is_told) = (Duration::ZERO, true);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut wire = Wire::to(site.address);
            while !ended.load(Ordering::Relaxed) {
                live.ask(&mut wire, "/health/live");
                thread::sleep(Duration::from_millis(20));
            }
        });
        let mut faults = || {
            for _ in 0..options.scaled(1, 5) {
                lost_socket(&site, &ready);
                slowest = slowest.max(everybody_gone(&site));
                let (told_after, is_all_told) = database_gone(&site, &mut postgres, &ready);
                slowest = slowest.max(told_after);
                is_told &= is_all_told;
            }
        };
        // The probe ends also if a fault is not seen as it has to be.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut faults));
        ended.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let number = |of: &AtomicU64| of.load(Ordering::Relaxed);
    Figures {
        pass: number(&live.not_200) + number(&ready.not_200) == 0
            && is_told
            && slowest <= options.limit(WITHIN),
        n: number(&live.asked) + number(&ready.asked),
        measured: format!(
            "alive in all of {} questions but {}; ready in all of {} but {} while there were courses; what changed was told \
             within {}; a database that was gone was told: {is_told}",
            number(&live.asked),
            number(&live.not_200),
            number(&ready.asked),
            number(&ready.not_200),
            ms(slowest)
        ),
        target:
            "always alive; ready as long as there are courses, with a database or without; in calm told within 2 s"
                .to_owned(),
        ..Figures::default()
    }
}

/// A lost socket costs no course, so the service stays ready.
fn lost_socket(site: &Site, ready: &Probe) {
    site.control().break_exchange("binance", &json!({"kind": "close"}));
    stays_ready(site, ready);
    site.settle();
}

fn stays_ready(site: &Site, ready: &Probe) {
    let (mut wire, began) = (Wire::to(site.address), Instant::now());
    while began.elapsed() < LOOKED_AT {
        ready.ask(&mut wire, "/health/ready");
        thread::sleep(Duration::from_millis(10));
    }
}

/// How far the probes are behind courses when nobody is left, and when they are back.
fn everybody_gone(site: &Site) -> Duration {
    let control = site.control();
    let exchanges = site.plan.exchanges();
    exchanges.iter().for_each(|exchange| control.break_exchange(exchange, &json!({"kind": "refuse"})));
    site.until(COURSES, |answer| answer.status == 503);
    let gone = agree(site, 503);
    exchanges.iter().for_each(|exchange| control.mend(exchange));
    site.until(COURSES, |answer| answer.status == 200);
    gone.max(agree(site, 200))
}

/// How long it takes until both probes say this status.
fn agree(site: &Site, status: u16) -> Duration {
    ["/health/ready", "/health"]
        .into_iter()
        .map(|path| site.until(path, |answer| answer.status == status))
        .max()
        .unwrap_or_default()
}

/// Without its database the service is ready, and says that it is impaired.
fn database_gone(site: &Site, postgres: &mut Postgres, ready: &Probe) -> (Duration, bool) {
    site.settle();
    wait_until("the database is at work", || site.health()["storage"]["status"] == "ok");
    let began = Instant::now();
    postgres.stop_immediately();
    wait_until("the database is told to be gone", || site.health()["storage"]["status"] != "ok");
    let told_after = began.elapsed();
    stays_ready(site, ready);
    let health = site.health();
    let reasons = health["reasons"].as_array().cloned().unwrap_or_default();
    let is_named = reasons.iter().any(|reason| reason.as_str().is_some_and(|text| text.contains("database")));
    let is_told = health["status"] == "degraded" && is_named && site.get(COURSES).status == 200;
    postgres.start_again();
    wait_until("the database is at work again", || site.health()["storage"]["status"] == "ok");
    (told_after, is_told)
}
