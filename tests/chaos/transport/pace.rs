//! Frames that come too fast, or too late.

use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::sizes::{Peak, restarts};
use super::{PATH, SPEED, all_markets, longest, markets, on_crowds, on_each, peer_of};
use crate::checker::{Checker, Watch};
use crate::load::{Reply, Times};
use crate::row::{Figures, Options, ms};
use crate::site::{Plan, STALE_AFTER, Site};
use crate::wire::Wire;

/// Frames a second, in the short form and in the night.
const FLOOD: (u32, u32) = (2_000, 20_000);

/// Most growth of memory in KiB, and of what 99 of 100 answers take.
const MOST_MEMORY: u64 = 32 * 1024;
const MOST_LATER: Duration = Duration::from_millis(5);

/// How old a course of the exchange beside the flood may be.
const AGE: Duration = Duration::from_secs(1);

/// How often the one that answers may change in a minute while prices are late, but not too late.
const MOST_SWITCHES: u64 = 2;

/// How much later than at its limit a course may be gone.
const TOLERANCE: Duration = Duration::from_millis(500);

pub(super) fn flood(options: &Options) -> Figures {
    on_crowds(options, |crowd, options| {
        let site = Site::settled(crowd.plan(options));
        let checker = Checker::start(&site);
        let calm =
            ask_peer(&site, crowd.well, options.scaled(Duration::from_millis(500), Duration::from_secs(10)));
        let floods = crowd.tried.iter().map(|exchange| Flood::of(&site, exchange, crowd.well, options));
        let floods: Vec<Flood> = floods.collect();
        site.settle();
        let (verdict, restarts) = (checker.finish(), restarts(&site, &crowd.tried));
        let is_borne = |flood: &Flood| {
            let is_quick = !options.full || flood.beside.times.p99 <= calm.times.p99 + MOST_LATER;
            flood.beside.times.not_200 == 0
                && flood.beside.age <= AGE
                && flood.growth <= MOST_MEMORY
                && is_quick
        };
        let told = floods.iter().map(Flood::told).collect::<Vec<_>>().join(", ");
        Figures {
            pass: verdict.holds()
                && verdict.not_200 + verdict.broken + verdict.switches == 0
                && floods.iter().all(is_borne)
                && restarts == 0,
            n: verdict.answers,
            violations: verdict.num_violations,
            measured: format!(
                "{told}; without, p99 {}; {restarts} restarts, {} switches; {}",
                ms(calm.times.p99),
                verdict.switches,
                verdict.told()
            ),
            target: format!(
                "{} at most {} old, memory +{MOST_MEMORY} KiB, in the night p99 +{}, no switch",
                crowd.well,
                ms(AGE),
                ms(MOST_LATER)
            ),
        }
    })
}

/// A flood of one exchange.
struct Flood {
    exchange: &'static str,
    /// Quotes that were taken of it within a second.
    per_second: f64,
    /// KiB.
    growth: u64,
    beside: Beside,
}

impl Flood {
    fn of(site: &Site, exchange: &&'static str, well: &str, options: &Options) -> Self {
        let per_second = options.scaled(FLOOD.0, FLOOD.1);
        let fault = json!({"kind": "flood", "per_second": per_second, "transport": "websocket"});
        let quotes = || site.metric("ratebook_exchange_quotes_total", &[("exchange", exchange)]);
        let (peak, before, began) = (Peak::begin(&site.service), quotes(), Instant::now());
        site.control().break_exchange(exchange, &fault);
        let beside =
            ask_peer(site, well, options.scaled(Duration::from_millis(1_500), Duration::from_secs(60)));
        let per_second = (quotes() - before) / began.elapsed().as_secs_f64();
        let growth = peak.growth(&site.service);
        site.control().mend(exchange);
        Self { exchange, per_second, growth, beside }
    }

    fn told(&self) -> String {
        format!(
            "{}: {:.0} quotes a second, beside it at most {} old, p99 {}, memory +{} KiB",
            self.exchange,
            self.per_second,
            ms(self.beside.age),
            ms(self.beside.times.p99),
            self.growth
        )
    }
}

/// How an exchange did that was asked for a while: how long answers took, and how old the oldest course was.
struct Beside {
    times: Times,
    age: Duration,
}

fn ask_peer(site: &Site, well: &str, length: Duration) -> Beside {
    let mut wire = Wire::to(site.address);
    let path = format!("{PATH}&exchanger={well}");
    let (began, mut replies, mut ages) = (Instant::now(), Vec::new(), Vec::new());
    while began.elapsed() < length {
        let asked_at = Instant::now();
        let answer = wire.ask(&path).unwrap_or_default();
        replies.push(Reply { asked_at, took: asked_at.elapsed(), status: answer.status });
        ages.extend(answer.number("ratebook-age-ms").map(Duration::from_millis));
        thread::sleep(Duration::from_millis(5));
    }
    Beside { times: Times::of(&replies), age: longest(&ages) }
}

/// Everything comes late: first by less than prices may be old, then by more.
pub(super) fn delayed(options: &Options) -> Figures {
    on_each(markets(options), options, |exchange, options| {
        // Without the aggregator, which would be too slow for its limit.
        let plan = Plan::of(&[exchange, peer_of(exchange), "cbr"], options.seed).with_simulator_speed(SPEED);
        let site = Site::settled(plan);
        let checker = Checker::start(&site);
        let length = Duration::from_secs(options.scaled(4, 60));
        // A ping in between, where frames tell no time, makes that 0.8 s.
        let slightly = json!({"kind": "delay", "ms": 250, "jitter_ms": 250});
        let began = Instant::now();
        site.control().break_exchange(exchange, &slightly);
        thread::sleep(length);
        let switches = checker.so_far().switches;
        let age = longest(&checker.since(began).map(|seen| seen.age).collect::<Vec<_>>());
        site.control().mend(exchange);
        site.settle();

        let began = Instant::now();
        site.control().break_exchange(exchange, &json!({"kind": "delay", "ms": 2000}));
        checker.until("another exchange answers", |seen| seen.status == 200 && seen.exchanger != exchange);
        let out_after = began.elapsed();
        thread::sleep(length);
        let num_told = checker.since(began + out_after).filter(|seen| seen.is_from(exchange)).count();
        site.control().mend(exchange);
        site.settle();
        let verdict = checker.finish();
        Figures {
            pass: verdict.holds()
                && verdict.not_200 + verdict.broken == 0
                && switches <= MOST_SWITCHES
                && num_told == 0
                && out_after <= STALE_AFTER + TOLERANCE,
            n: verdict.answers,
            violations: verdict.num_violations,
            measured: format!(
                "{exchange}: up to 0.5 s late, {switches} switches and an age of at most {}; 2 s late, out after {}, {num_told} \
                 courses of it afterwards; {}",
                ms(age),
                ms(out_after),
                verdict.told()
            ),
            target: format!(
                "slightly late, at most {MOST_SWITCHES} switches; too late, another one within {} and for good; every \
                 answer 200",
                ms(STALE_AFTER + TOLERANCE)
            ),
        }
    })
}

/// Bytes a second over a link that is too slow for what is said over it, and how late the ends of it may be judged.
const SLOW_LINK: u32 = 200;
const SLACK: Duration = Duration::from_secs(1);

/// The links to everybody are so slow that frames wait on the other side, where nobody here can see them.
pub(super) fn slow_links(options: &Options) -> Figures {
    let everybody = [all_markets().as_slice(), &["coingecko", "cbr"]].concat();
    let site = Site::settled(Plan::of(&everybody, options.seed));
    let checker = Checker::start_as(&site, Watch { slack: SLACK, ..Watch::default() });
    let length = options.scaled(Duration::from_secs(15), Duration::from_secs(60));
    let began = Instant::now();
    for exchange in &everybody {
        site.control().break_exchange(exchange, &json!({"kind": "drip", "per_second": SLOW_LINK}));
    }
    thread::sleep(length);
    let num_told = checker.since(began).filter(|seen| seen.status == 200).count();
    everybody.iter().for_each(|exchange| site.control().mend(exchange));
    site.settle();
    let (verdict, restarts) = (checker.finish(), restarts(&site, &everybody));
    Figures {
        pass: verdict.holds() && verdict.broken == 0 && restarts == 0 && num_told > 0 && verdict.not_200 > 0,
        n: verdict.answers,
        violations: verdict.num_violations,
        measured: format!(
            "{SLOW_LINK} bytes a second of everybody for {length:?}: {num_told} answers told courses, {restarts} restarts; {}",
            verdict.told()
        ),
        target: "what is told is no older than it says, and nothing is told where nothing comes in time"
            .to_owned(),
    }
}
