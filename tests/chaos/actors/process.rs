//! The whole process is killed, or stopped for a while.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{markets, site_of, watch, with_stale_after};
use crate::checker::Checker;
use crate::row::{Figures, Options, ms};
use crate::site::{STALE_AFTER, Site};
use crate::wire::{LIMIT, Wire};

/// From a kill to a process that listens, and to the first course.
const LISTENS_WITHIN: Duration = Duration::from_secs(2);
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

pub(super) fn killed(options: &Options) -> Figures {
    let plan = site_of(&["binance", "okx"], options).with("database_url", "\"sqlite://quotes.db\"");
    let mut site = Site::settled(plan);
    let checker = watch(&site);
    let mut random = StdRng::seed_from_u64(options.seed);
    let num_kills = options.scaled(5, 20);
    let (mut listens_after, mut answers_after) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..num_kills {
        site.service.kill();
        let began = Instant::now();
        site.restart();
        listens_after = listens_after.max(began.elapsed());
        checker.moved(&site);
        site.until("/v1/courses?directions=BTC-USDT,ETH-USDT", |answer| answer.status == 200);
        answers_after = answers_after.max(began.elapsed());
        // The next one comes at any moment of the start.
        thread::sleep(Duration::from_millis(random.random_range(0..500)));
    }
    let verdict = checker.finish();
    Figures {
        pass: verdict.holds()
            && listens_after <= options.limit(LISTENS_WITHIN)
            && answers_after <= options.limit(ANSWERS_WITHIN),
        n: num_kills,
        violations: verdict.num_violations,
        measured: format!(
            "{num_kills} kills: listening within {}, the first course within {}; {}",
            ms(listens_after),
            ms(answers_after),
            verdict.told()
        ),
        target: format!(
            "listening within {}, a course within {}",
            ms(options.limit(LISTENS_WITHIN)),
            ms(options.limit(ANSWERS_WITHIN))
        ),
    }
}

/// By how much the price moves while the process is stopped, and how near to a price a course of it lies.
const FACTOR: f64 = 1.5;
const NEAR: f64 = 0.1;

/// Before the process goes on, questions wait for it for so long.
const ASKED_BEFORE: Duration = Duration::from_millis(100);

/// For how long courses are looked at afterwards.
const LOOKED_AT: Duration = Duration::from_secs(2);

/// While the process is stopped, the price moves; whoever says the old one afterwards has taken old bytes for new ones.
pub(super) fn stopped(options: &Options) -> Figures {
    let markets = markets();
    // The price of before is too old as the process goes on.
    let plan = with_stale_after(site_of(&markets, options), &markets, STALE_AFTER);
    let site = Site::settled(plan);
    let control = site.control();
    let checker = Checker::start(&site);
    let length = options.scaled(Duration::from_secs(3), Duration::from_secs(10));
    let (mut num_asked, mut num_200, mut num_old) = (0, 0, Vec::new());
    for _ in 0..options.scaled(1, 3) {
        let old = usd(&control.get("truth?exchange=binance"));
        let connect = || markets.iter().map(|market| (*market, TcpStream::connect(site.address).unwrap()));
        // Some connections are there before, and some come while nobody accepts them.
        let mut asked: Vec<(&str, TcpStream)> = connect().chain(connect()).collect();
        site.service.signal("-STOP");
        thread::sleep(length / 2);
        control.post("truth", &json!({"BTC": format!("{:.2}", old * FACTOR)}));
        thread::sleep(length / 2 - ASKED_BEFORE);
        asked.extend(connect());
        for (market, stream) in &asked {
            let mut stream = stream;
            stream.write_all(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", path(market)).as_bytes()).unwrap();
        }
        thread::sleep(ASKED_BEFORE);
        site.service.signal("-CONT");
        let went_on_at = Instant::now();
        let mut judge = |market: &str, body: Value| {
            num_asked += 1;
            let Some(value) = body["courses"][0]["value"].as_f64() else { return };
            num_200 += 1;
            if (value / old - 1.0).abs() < NEAR {
                num_old.push(format!("{market} after {}", ms(went_on_at.elapsed())));
            }
        };
        for (market, stream) in asked {
            judge(market, first_body(stream));
        }
        let mut wire = Wire::to(site.address);
        while went_on_at.elapsed() < LOOKED_AT {
            for market in &markets {
                judge(market, wire.ask(&path(market)).map(|answer| answer.json()).unwrap_or_default());
            }
            thread::sleep(Duration::from_millis(5));
        }
        site.settle();
    }
    let verdict = checker.finish();
    Figures {
        pass: verdict.holds() && num_old.is_empty() && num_200 > 0,
        n: num_asked,
        violations: verdict.num_violations,
        measured: format!(
            "stopped for {length:?}: {} of {num_asked} answers said the price of before{}; {num_200} were courses; {}",
            num_old.len(),
            num_old.first().map_or(String::new(), |first| format!(", the first of {first}")),
            verdict.told()
        ),
        target: "no answer after it goes on says a price of before".to_owned(),
    }
}

fn path(market: &str) -> String {
    format!("/v1/courses?directions=BTC-USDT&exchanger={market}")
}

/// The true price of bitcoin in dollars.
fn usd(truth: &Value) -> f64 {
    truth["usd"]["BTC"].as_str().unwrap().parse().unwrap()
}

/// The body of the answer that comes on a connection; null where none comes.
fn first_body(mut stream: TcpStream) -> Value {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut bytes = vec![0; 16 * 1024];
    let length = stream.read(&mut bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok()).unwrap_or_default()
}
