//! The watchers themselves on trial: each bug that is put into the service has to be found by what a row looks at, and
//! nothing may be found without it.

use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::checker::{Checker, Watch};
use crate::counted::Counted;
use crate::outside::wait_until;
use crate::prices::{digits, patient};
use crate::row::{Figures, Options, Row};
use crate::site::{Plan, Site};
use crate::wire::Wire;

pub(crate) fn rows() -> Vec<Row> {
    let row = |id, claim, run: fn(&Options) -> Figures| Row { id, claim, run };
    vec![
        row("O-14.1", "a service that checks no age is found out", |options| {
            on_trial("no_age_check", no_age_check, options)
        }),
        row("O-14.2", "a service that never fails back is found out", |options| {
            on_trial("failover_never_returns", failover_never_returns, options)
        }),
        row("O-14.3", "a service that leaves a leg out of a cross is found out", |options| {
            on_trial("cross_leg_missing", cross_leg_missing, options)
        }),
        row("O-14.4", "a service that reads prices as floats is found out", |options| {
            on_trial("decimal_through_f64", decimal_through_f64, options)
        }),
        row("O-14.5", "a service that hears actors after their end is found out", |options| {
            on_trial("no_epoch_check", no_epoch_check, options)
        }),
        row("O-14.6", "a service that dials as fast as it is hung up on is found out", |options| {
            on_trial("backoff_resets_on_connect", backoff_resets_on_connect, options)
        }),
    ]
}

/// How a service does in a scenario, with or without a bug.
struct Seen {
    /// Whether everything is as it has to be.
    is_well: bool,
    told: String,
}

/// Plays a scenario to a service with the bug and to one without, at the same time.
fn on_trial(bug: &str, scenario: fn(Option<&str>, u64) -> Seen, options: &Options) -> Figures {
    let (with, without) = thread::scope(|scope| {
        let with = scope.spawn(|| scenario(Some(bug), options.seed));
        let without = scenario(None, options.seed);
        (with.join().unwrap(), without)
    });
    Figures {
        pass: !with.is_well && without.is_well,
        n: 1,
        measured: format!("with {bug}: {}; without: {}", with.told, without.told),
        target: "a violation with the bug and none without".to_owned(),
        ..Figures::default()
    }
}

fn plan(exchanges: &[&'static str], bug: Option<&str>, seed: u64) -> Plan {
    let plan = Plan::of(exchanges, seed).with("directions", "[\"BTC-USDT\", \"ETH-USDT\"]");
    match bug {
        Some(bug) => plan.with_variable("SEEDED_BUG", bug),
        None => plan,
    }
}

/// The only exchange falls silent.
fn no_age_check(bug: Option<&str>, seed: u64) -> Seen {
    let site = Site::settled(plan(&["binance"], bug, seed));
    let checker = Checker::start(&site);
    site.control().break_exchange("binance", &json!({"kind": "mute"}));
    thread::sleep(Duration::from_millis(2500));
    let verdict = checker.finish();
    Seen { is_well: verdict.holds() && verdict.not_200 > 0, told: verdict.told() }
}

/// The first exchange goes and comes back.
fn failover_never_returns(bug: Option<&str>, seed: u64) -> Seen {
    let site = Site::settled(patient(plan(&["binance", "okx"], bug, seed), "okx"));
    let control = site.control();
    let checker = Checker::start_as(&site, Watch { patient: Some("okx"), ..Watch::default() });
    control.break_exchange("binance", &json!({"kind": "refuse"}));
    checker.until("the other one answers", |seen| seen.is_from("okx"));
    control.mend("binance");
    let mended_at = Instant::now();
    let returns = || checker.since(mended_at).any(|seen| seen.is_from("binance"));
    while !returns() && mended_at.elapsed() < RETURNS_WITHIN {
        thread::sleep(Duration::from_millis(20));
    }
    let is_back = returns();
    let verdict = checker.finish();
    let told = if is_back { "the first answers again" } else { "the first never answers again" };
    Seen { is_well: verdict.holds() && is_back, told: told.to_owned() }
}

/// The longest delay of a dial after so short an absence, with the wait for its place.
const RETURNS_WITHIN: Duration = Duration::from_secs(8);

/// Every course is a cross.
fn cross_leg_missing(bug: Option<&str>, seed: u64) -> Seen {
    let site = Site::settled(plan(&["coingecko", "cbr"], bug, seed));
    let checker = Checker::start(&site);
    thread::sleep(Duration::from_millis(1500));
    let verdict = checker.finish();
    Seen { is_well: verdict.holds() && verdict.exact > 0, told: verdict.told() }
}

/// A price has more digits than a float.
fn decimal_through_f64(bug: Option<&str>, seed: u64) -> Seen {
    let site = Site::settled(plan(&["binance"], bug, seed).with("directions", "[\"BTC-USDT\"]"));
    let compared = digits::compare(&site, "binance", &digits::long_prices(&["BTC-USDT"], seed));
    Seen { is_well: compared.differing == 0 && compared.exact == 1, told: compared.told() }
}

/// Reports of an actor come when another one is at work in its place: the first of them are delayed by
/// [`LATENESS`], and the actor ends meanwhile. They are no fresh quotes any more, and would take the place of those that
/// are; Bitfinex numbers and stamps nothing, so nothing else tells that they are old.
fn no_epoch_check(bug: Option<&str>, seed: u64) -> Seen {
    let fail_points = format!(
        "rate_book::late(bitfinex)=10*return({})->off;exchange::timer(bitfinex)=60*off->1*panic->off",
        LATENESS.as_millis()
    );
    let site = Site::start(plan(&["bitfinex", "okx"], bug, seed).with_fail_points(&fail_points));
    let began_at = Instant::now();
    wait_until("another actor is at work", || {
        site.health_of("bitfinex")["restarts"].as_u64() > Some(0) && site.health()["answering"] == "bitfinex"
    });
    let (mut wire, mut switches, mut last) = (Wire::to(site.address), 0, "bitfinex".to_owned());
    let mut came_at = None;
    let is_over = |came_at: Option<Instant>| match came_at {
        None => began_at.elapsed() > LATENESS + LATE_FOR,
        Some(came_at) => came_at.elapsed() > ALL_WITHIN,
    };
    while !is_over(came_at) {
        let body = wire.ask("/v1/courses?directions=BTC-USDT,ETH-USDT").unwrap_or_default().json();
        let answering = body["exchanger"].as_str().unwrap_or_default();
        switches += u32::from(answering != last);
        last = answering.to_owned();
        if switches > 0 || Counted::of(&site, "bitfinex").refused_as("old_epoch") > 0 {
            came_at.get_or_insert_with(Instant::now);
        }
        thread::sleep(Duration::from_millis(10));
    }
    let refused = Counted::of(&site, "bitfinex").refused_as("old_epoch");
    Seen {
        is_well: switches == 0 && refused > 0,
        told: format!("{refused} late quotes refused, {switches} switches by them"),
    }
}

/// Later than the actor's end, at about three seconds, by more than it takes until another one answers, on a machine too
/// that is busy with other rows.
const LATENESS: Duration = Duration::from_secs(12);

/// From the start of the process to the first report, at most.
const LATE_FOR: Duration = Duration::from_secs(8);

/// In this time all of the late reports have come.
const ALL_WITHIN: Duration = Duration::from_secs(1);

/// An exchange accepts every socket and closes it at once.
fn backoff_resets_on_connect(bug: Option<&str>, seed: u64) -> Seen {
    let site = Site::settled(plan(&["binance", "okx"], bug, seed));
    let before = Counted::of(&site, "binance").dials;
    site.control()
        .break_exchange("binance", &json!({"kind": "close", "transport": "websocket", "for_ms": FLAP}));
    thread::sleep(Duration::from_millis(FLAP));
    let dials = Counted::of(&site, "binance").dials - before;
    Seen { is_well: (1..MAX_DIALS).contains(&dials), told: format!("{dials} dials in {FLAP} ms") }
}

const FLAP: u64 = 5000;

/// Of delays of 0.25, 0.5, 1, 2 and 4 seconds at most hardly ever as many fit into that time; of delays of 0.25 seconds
/// twenty, and then the budget of a minute is spent.
const MAX_DIALS: u64 = 14;
