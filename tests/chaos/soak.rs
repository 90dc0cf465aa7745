//! The soak: hours of random faults, one after the other, while every answer is checked and the process is measured.

use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use ratebook::exchange::{EXCHANGES, Kind};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::checker::{Checker, Watch};
use crate::row::{Figures, Options, Row};
use crate::site::{Plan, Process, STALE_AFTER, Site, quoted};

pub(crate) const ROW: Row =
    Row { id: "O-01", claim: "random faults for hours leave no wrong answer and no leak behind", run };

/// A fault begins so often in the full form, and lasts for a part of it.
const FAULT_EVERY: Duration = Duration::from_secs(60);

/// Part of the soak after which memory is compared: before, caches and pools fill.
const WARM_UP: f64 = 0.125;

/// Between two measurements of the process.
const MEASURE_EVERY: Duration = Duration::from_secs(2);

/// Most growth of memory in MiB an hour, and most change of descriptors and threads as a share.
const MAX_SLOPE: f64 = 2.0;
const MAX_CHANGE: f64 = 0.02;

/// One measurement of the process.
#[derive(Debug, Clone, Copy)]
struct Measured {
    at: Duration,
    memory_mib: f64,
    descriptors: usize,
    threads: u64,
}

fn run(options: &Options) -> Figures {
    let mut random = StdRng::seed_from_u64(options.seed);
    let all: Vec<&'static str> =
        EXCHANGES.iter().filter(|row| needs_no_key(row.name.as_str())).map(|row| row.name.as_str()).collect();
    // On disk, and every quote of it: what is stored is not taken for what leaks, and SQLite's cache is full early.
    let plan = Plan::of(&all, options.seed)
        .with("database_url", &quoted("sqlite://quotes.db"))
        .with("storage.every", &quoted("0s"));
    let site = Site::settled(plan);
    let watch = Watch {
        ask_every: options.scaled(Duration::from_millis(10), Duration::from_micros(1_500)),
        num_clients: 2,
        stale_after: STALE_AFTER,
        slack: Duration::from_secs(1),
        ..Watch::default()
    };
    let checker = Checker::start_as(&site, watch);
    let began = Instant::now();
    let fault_every = options.scaled(Duration::from_secs(5), FAULT_EVERY);
    let mut measured = Vec::new();
    let mut num_faults = 0;
    while began.elapsed() < options.soak {
        let (what, faults) = trouble(&mut random, &all, fault_every);
        num_faults += 1;
        for (exchange, fault) in &faults {
            site.control().break_exchange(exchange, fault);
        }
        let next = began + fault_every * num_faults;
        while Instant::now() < next {
            measured.push(measure(&site.service, began.elapsed()));
            thread::sleep(MEASURE_EVERY.min(next - Instant::now()));
        }
        for exchange in &all {
            site.control().mend(exchange);
        }
        println!("# {:>6.0} s {what}: {}", began.elapsed().as_secs_f64(), checker.so_far().told());
    }
    site.settle();
    let restarts: u64 = restarts(&site.health());
    let verdict = checker.finish();
    let after: Vec<Measured> =
        measured.iter().filter(|it| it.at > options.soak.mul_f64(WARM_UP)).copied().collect();
    let (slope, descriptors, threads) =
        (slope(&after), change(&after, |it| it.descriptors as f64), change(&after, |it| it.threads as f64));
    let is_long = options.soak >= Duration::from_secs(1_800);
    Figures {
        // What grows in seconds says nothing of hours.
        pass: verdict.holds()
            && restarts == 0
            && (!is_long
                || slope <= MAX_SLOPE && descriptors.abs() <= MAX_CHANGE && threads.abs() <= MAX_CHANGE),
        n: verdict.answers,
        violations: verdict.num_violations,
        measured: format!(
            "{num_faults} faults in {:.0} s, {restarts} restarts, {} switches, memory {:.1} MiB and {slope:+.2} MiB/h, \
             descriptors {:+.1} %, threads {:+.1} %; {}",
            began.elapsed().as_secs_f64(),
            verdict.switches,
            measured.last().map_or(0.0, |it| it.memory_mib),
            descriptors * 100.0,
            threads * 100.0,
            verdict.told()
        ),
        target: format!(
            "0 violations, 0 restarts, memory ≤ {MAX_SLOPE} MiB/h, descriptors and threads within 2 %"
        ),
    }
}

fn needs_no_key(name: &str) -> bool {
    name != "freecurrencyapi"
}

/// What breaks next, and the orders for it. Each ends by itself before the next one begins.
fn trouble(
    random: &mut StdRng,
    all: &[&'static str],
    every: Duration,
) -> (String, Vec<(&'static str, Value)>) {
    let kinds = [
        json!({"kind": "close"}),
        json!({"kind": "close", "ms": 50}),
        json!({"kind": "reset"}),
        json!({"kind": "refuse"}),
        json!({"kind": "half_open"}),
        json!({"kind": "mute"}),
        json!({"kind": "mute", "symbol": "BTC-USDT"}),
        json!({"kind": "delay", "ms": 150, "jitter_ms": 100}),
        json!({"kind": "drip", "per_second": 200}),
        json!({"kind": "garbage"}),
        json!({"kind": "wrong_value", "value": 0}),
        json!({"kind": "wrong_value", "value": "NaN"}),
        json!({"kind": "wrong_value", "value": "crossed"}),
        json!({"kind": "wrong_value", "factor": "1000000"}),
        json!({"kind": "wrong_value", "shift_ms": -60_000}),
        json!({"kind": "wrong_value", "shift_ms": 3_600_000}),
        json!({"kind": "status", "status": 503}),
        json!({"kind": "status", "status": 429, "retry_after": 5}),
        json!({"kind": "flood", "per_second": 2_000}),
    ];
    let kind = kinds.choose(random).cloned().unwrap_or_default();
    let markets: Vec<&'static str> = all.iter().filter(|name| is_market(name)).copied().collect();
    let victims: Vec<&'static str> = match random.random_range(0..10) {
        0 => all.to_vec(),
        1 | 2 => markets.sample(random, 3).copied().collect(),
        3..=6 => markets[..1].to_vec(),
        _ => all.choose(random).copied().into_iter().collect(),
    };
    let longest = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
    let for_ms = random.random_range(longest / 10..longest / 2);
    let mut fault = kind;
    fault["for_ms"] = for_ms.into();
    let what = format!(
        "{fault} of {}",
        if victims.len() == all.len() { "all".to_owned() } else { victims.join(", ") }
    );
    (what, victims.into_iter().map(|victim| (victim, fault.clone())).collect())
}

fn is_market(name: &str) -> bool {
    EXCHANGES.iter().any(|row| row.name.as_str() == name && matches!(row.kind, Kind::Market))
}

fn measure(service: &Process, at: Duration) -> Measured {
    Measured {
        at,
        memory_mib: service.status_of("VmRSS") as f64 / 1024.0,
        descriptors: service.descriptors(),
        threads: service.status_of("Threads"),
    }
}

fn restarts(health: &Value) -> u64 {
    let rows = health["exchanges"].as_array().into_iter().flatten();
    rows.filter_map(|row| row["restarts"].as_u64()).sum()
}

/// Growth of memory in MiB an hour, by least squares.
fn slope(measured: &[Measured]) -> f64 {
    let n = measured.len() as f64;
    let hours = |it: &Measured| it.at.as_secs_f64() / 3600.0;
    let mean = |pick: &dyn Fn(&Measured) -> f64| measured.iter().map(pick).sum::<f64>() / n;
    let (mean_at, mean_memory) = (mean(&hours), mean(&|it| it.memory_mib));
    let together: f64 = measured.iter().map(|it| (hours(it) - mean_at) * (it.memory_mib - mean_memory)).sum();
    let spread: f64 = measured.iter().map(|it| (hours(it) - mean_at).powi(2)).sum();
    if spread > 0.0 { together / spread } else { 0.0 }
}

/// By which share the median of the last fifth differs from that of the first.
fn change(measured: &[Measured], pick: impl Fn(&Measured) -> f64) -> f64 {
    let median = |part: &[Measured]| {
        let mut values: Vec<f64> = part.iter().map(&pick).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(1.0)
    };
    let fifth = (measured.len() / 5).max(1).min(measured.len());
    median(&measured[measured.len() - fifth..]) / median(&measured[..fifth]) - 1.0
}
