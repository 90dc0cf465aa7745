//! Many restarts, and many ends of sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ratebook::exchange;
use serde_json::{Value, json};

use super::healing::heal;
use super::{markets, site_of, watch};
use crate::outside::wait_until;
use crate::row::{Figures, Options};
use crate::site::{Control, Site};

/// Least time between the end of a socket and the next dial.
const LEAST_DELAY: TimeDelta = TimeDelta::milliseconds(10);

/// Delays are drawn: those of many dials lie further apart than this.
const LEAST_SPREAD: TimeDelta = TimeDelta::milliseconds(50);

pub(super) fn ended_sockets(options: &Options) -> Figures {
    let markets = markets();
    let site = Site::settled(site_of(&markets, options));
    let control = site.control();
    let checker = watch(&site);
    let first = control.newest_entry();
    for _ in 0..options.scaled(2, 6) {
        // The others answer meanwhile.
        for half in markets.chunks(markets.len().div_ceil(2)) {
            for market in half {
                control.break_exchange(market, &json!({"kind": "close"}));
            }
            // The lost socket may be dialled again before anybody sees that it was lost.
            thread::sleep(Duration::from_millis(200));
            site.settle();
        }
    }
    let delays: Vec<TimeDelta> = markets.iter().flat_map(|market| delays(&control, market, first)).collect();
    let (least, most) = (delays.iter().min().copied(), delays.iter().max().copied());
    let (least, most) = (least.unwrap_or_default(), most.unwrap_or_default());
    let verdict = checker.finish();
    Figures {
        pass: verdict.holds()
            && verdict.not_200 + verdict.broken == 0
            && delays.len() >= markets.len()
            && least >= LEAST_DELAY
            && most - least >= LEAST_SPREAD,
        n: delays.len() as u64,
        violations: verdict.num_violations,
        measured: format!(
            "{} dials after the end of a socket, from {} to {} ms after it; {}",
            delays.len(),
            least.num_milliseconds(),
            most.num_milliseconds(),
            verdict.told()
        ),
        target: "no dial within 10 ms of an end, delays that are drawn, every answer 200".to_owned(),
    }
}

/// The times from each end of a socket of an exchange to its next one.
fn delays(control: &Control, exchange: &str, after: u64) -> Vec<TimeDelta> {
    let at = |entry: &Value| entry["at"].as_str()?.parse::<DateTime<Utc>>().ok();
    let entries = |kind| control.log(exchange, kind, after).iter().filter_map(at).collect::<Vec<_>>();
    let connects = entries("connect");
    let next = |closed_at: &DateTime<Utc>| connects.iter().find(|at| *at >= closed_at).copied();
    entries("close").iter().filter_map(|closed_at| Some(next(closed_at)? - *closed_at)).collect()
}

/// Threads, descriptors and memory of a service.
#[derive(Debug, Clone, Copy)]
struct Taken {
    threads: u64,
    descriptors: usize,
    memory_kib: u64,
}

impl Taken {
    fn of(site: &Site) -> Self {
        Self {
            threads: site.service.status_of("Threads"),
            descriptors: site.service.descriptors(),
            memory_kib: site.service.status_of("VmRSS"),
        }
    }
}

/// More than this share is a leak; in the short form the allocator has yet to get what it needs.
const MOST_SHARE: f64 = 1.02;
const MOST_MEMORY_IN_SHORT: f64 = 1.03;

/// Restarts that each exchange may have within a minute.
const ROUNDS: u64 = 4;
const A_MINUTE: Duration = Duration::from_secs(61);

/// Minutes after which the allocator has nearly what it needs: in 400 restarts memory grew by 480, 280, 150, 190, 120, 120, 80
/// and -40 KiB for every 54 of them.
const WARM_UP: u64 = 2;

pub(super) fn in_sequence(options: &Options) -> Figures {
    let markets = markets();
    // What is stored would take memory meanwhile: a database, or what SQLite keeps of one.
    let plan = site_of(&markets, options)
        .with("database_url", "\"sqlite://quotes.db\"")
        .with("storage.every", "\"1m\"");
    let site = Site::settled(plan);
    let exchanges = site.plan.exchanges();
    let harm = |exchange: &str| site.fail(&format!("exchange::timer({exchange})"), "1*panic");
    // What is made once is made in the first rounds: threads get their memory, and queries their plans.
    for _ in 0..options.scaled(2, 1) {
        heal(&site, &markets, 1, harm);
    }
    heal_hub(&site, exchanges);
    let mut start = Taken::of(&site);
    let (mut num_restarts, mut before_last) = (0, 0);
    for minute in 0..options.scaled(1, WARM_UP + 2) {
        if minute > 0 {
            thread::sleep(A_MINUTE);
        }
        if minute == WARM_UP {
            // Where there is the time, whole minutes of restarts come before those that count.
            (start, num_restarts) = (Taken::of(&site), 0);
        }
        for _ in 1..options.scaled(2, ROUNDS) {
            heal(&site, &markets, 1, harm);
            num_restarts += markets.len();
        }
        for _ in 0..options.scaled(1, 2) {
            // Every socket is opened anew.
            before_last = site.control().newest_entry();
            heal_hub(&site, exchanges);
            num_restarts += exchanges.len();
        }
    }
    site.settle();
    let most = |number: u64| (number as f64 * MOST_SHARE) as u64;
    let mut end = Taken::of(&site);
    wait_until("threads and descriptors are as at the start", || {
        end = Taken::of(&site);
        end.threads <= most(start.threads) && end.descriptors as u64 <= most(start.descriptors as u64)
    });
    let open = open_sockets(&site, before_last);
    let is_one_each = open.iter().all(|(_, number)| *number == 1) && !open.is_empty();
    let grown = end.memory_kib as f64 / start.memory_kib as f64;
    let most_memory = options.scaled(MOST_MEMORY_IN_SHORT, MOST_SHARE);
    Figures {
        pass: is_one_each && grown <= most_memory,
        n: num_restarts as u64,
        measured: format!(
            "{num_restarts} restarts: threads {} -> {}, descriptors {} -> {}, memory {:.1} -> {:.1} MiB ({:+.1} %); \
             sockets at the exchanges: {open:?}",
            start.threads,
            end.threads,
            start.descriptors,
            end.descriptors,
            start.memory_kib as f64 / 1024.0,
            end.memory_kib as f64 / 1024.0,
            (grown - 1.0) * 100.0
        ),
        target: format!(
            "threads and descriptors within 2 %, memory within {:.0} %, one socket at each exchange",
            (most_memory - 1.0) * 100.0
        ),
        ..Figures::default()
    }
}

/// A panic of the hub, over which every exchange begins anew.
fn heal_hub(site: &Site, exchanges: &[&'static str]) {
    let restarts = |exchange: &str| site.health_of(exchange)["restarts"].as_u64().unwrap_or_default();
    let before: BTreeMap<&str, u64> =
        exchanges.iter().map(|exchange| (*exchange, restarts(exchange))).collect();
    site.fail("rate_book::apply", "1*panic");
    wait_until("every exchange begins anew", || {
        before.iter().all(|(exchange, before)| restarts(exchange) > *before)
    });
    site.settle();
}

/// How many sockets that were opened after an entry of the simulator's log each exchange holds.
fn open_sockets(site: &Site, after: u64) -> BTreeMap<&'static str, usize> {
    let control = site.control();
    let has_socket = |name: &&&'static str| exchange::row(name).is_some_and(|row| !row.ws_url.is_empty());
    let open = |name: &&'static str| {
        let ports =
            |kind| control.log(name, kind, after).into_iter().map(|entry| entry["client_port"].to_string());
        let closed: BTreeSet<String> = ports("close").collect();
        (*name, ports("connect").filter(|port| !closed.contains(port)).count())
    };
    site.plan.exchanges().iter().filter(has_socket).map(open).collect()
}
