//! Starts without what the service needs, in every combination, and what happens when it comes.

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::outside::wait_until;
use crate::row::{Figures, Options, ms};
use crate::site::{Plan, Site, quoted};
use crate::support::nats::Nats;
use crate::support::postgres::Postgres;

const LISTENS_WITHIN: Duration = Duration::from_secs(2);
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

const COURSES: &str = "/v1/courses";

/// Starts at the same time.
const AT_ONCE: usize = 2;

/// What is missing at a start.
#[derive(Debug, Clone, Copy)]
struct Missing {
    network: bool,
    database: bool,
    broker: bool,
}

impl Missing {
    fn all() -> Vec<Self> {
        let bit = |number: u8, at: u8| number & (1 << at) != 0;
        let of = |number| Self { network: bit(number, 0), database: bit(number, 1), broker: bit(number, 2) };
        (0..8).map(of).collect()
    }

    /// What clients are told until it comes: a database is not needed for courses.
    fn status(self) -> u16 {
        if self.network || self.broker { 503 } else { 200 }
    }
}

/// How one start went.
#[derive(Debug, Clone)]
struct Start {
    missing: Missing,
    listens_after: Duration,
    answers_after: Duration,
    /// What was told meanwhile that should not have been.
    wrong: Option<String>,
}

pub(super) fn without(options: &Options) -> Figures {
    let (waiting, starts) = (Mutex::new(Missing::all().into_iter()), Mutex::new(Vec::new()));
    let work = || {
        let mut postgres = Postgres::start();
        let next = || waiting.lock().unwrap().next();
        while let Some(missing) = next() {
            let start = start(options, missing, &mut postgres);
            starts.lock().unwrap().push(start);
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let starts = starts.into_inner().unwrap();
    let longest = |of: fn(&Start) -> Duration| starts.iter().map(of).max().unwrap_or_default();
    let (listens, answers) = (longest(|it| it.listens_after), longest(|it| it.answers_after));
    let wrong: Vec<&String> = starts.iter().filter_map(|start| start.wrong.as_ref()).collect();
    let slowest = starts.iter().max_by_key(|start| start.answers_after).map(|start| start.missing);
    Figures {
        pass: starts.len() == 8
            && wrong.is_empty()
            && listens <= options.limit(LISTENS_WITHIN)
            && answers <= options.limit(ANSWERS_WITHIN),
        n: starts.len() as u64,
        measured: format!(
            "{} combinations: listening within {}, the first course within {} of the last that came ({slowest:?}){}",
            starts.len(),
            ms(listens),
            ms(answers),
            wrong.first().map_or(String::new(), |first| format!("; {first}"))
        ),
        target: format!(
            "8 of 8 listen within {}, say 503 while nothing can be told, and a course within {}",
            ms(options.limit(LISTENS_WITHIN)),
            ms(options.limit(ANSWERS_WITHIN))
        ),
        ..Figures::default()
    }
}

fn start(options: &Options, missing: Missing, postgres: &mut Postgres) -> Start {
    // A broker of its own: what another service told is fresh for a while.
    let mut nats = Nats::start();
    let plan = Plan::of(&["binance", "okx", "coingecko", "cbr"], options.seed)
        .with("directions", "[\"BTC-USDT\", \"ETH-USDT\", \"BTC-RUB\"]")
        .with("database_url", &quoted(&postgres.url()))
        .with("nats_url", &quoted(&nats.url()));
    if missing.database {
        postgres.stop_immediately();
    }
    if missing.broker {
        nats.kill();
    }
    let exchanges = plan.exchanges().to_vec();
    let mut began = Instant::now();
    let site = Site::start_after(plan, |control| {
        if missing.network {
            for exchange in &exchanges {
                control.break_exchange(exchange, &json!({"kind": "refuse"}));
            }
        }
        began = Instant::now();
    });
    let listens_after = began.elapsed();
    let wrong = meanwhile(options, &site, missing);
    if missing.broker {
        nats.start_again();
    }
    if missing.network {
        exchanges.iter().for_each(|exchange| site.control().mend(exchange));
    }
    let healed_at = if missing.status() == 503 { Instant::now() } else { began };
    site.until(COURSES, |answer| answer.status == 200);
    let answers_after = healed_at.elapsed();
    if missing.database {
        postgres.start_again();
    }
    wait_until("the database is at work", || site.health()["storage"]["status"] == "ok");
    Start { missing, listens_after, answers_after, wrong }
}

/// What is told while something is missing, if it is wrong.
fn meanwhile(options: &Options, site: &Site, missing: Missing) -> Option<String> {
    let (began, length) =
        (Instant::now(), options.scaled(Duration::from_millis(1_500), Duration::from_secs(60)));
    if missing.status() == 200 {
        site.until(COURSES, |answer| answer.status == 200);
        return None;
    }
    while began.elapsed() < length {
        let answer = site.get(COURSES);
        let reason = answer.json()["reason"].as_str().unwrap_or_default().to_owned();
        let is_honest = answer.status == 503 && ["starting", "down", "stale"].contains(&reason.as_str());
        if !is_honest {
            return Some(format!("{missing:?}: {} {}", answer.status, answer.body));
        }
        if site.get("/health/live").status != 200 {
            return Some(format!("{missing:?}: not alive"));
        }
        thread::sleep(Duration::from_millis(50));
    }
    None
}
