//! What keeps a socket alive, and how it is left before it ends.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Crowd, longest, markets, on_crowds, on_each, site_of, spread};
use crate::asked::Asked;
use crate::checker::Checker;
use crate::outside::wait_until;
use crate::row::{Figures, Options, ms};
use crate::site::{Control, STALE_AFTER, Site};

/// Exchanges that ping, and after how many seconds each time; how often they do here; and how soon a pong is there.
const PINGS: [(&str, u64); 3] = [("binance", 20), ("gate", 30), ("htx", 5)];
const PING_EVERY: Duration = Duration::from_millis(250);
const PONG_WITHIN: Duration = Duration::from_secs(1);

/// Frames a second beside the pings, in the short form and in the night.
const FLOOD: (u32, u32) = (1_000, 5_000);

/// How much longer the exchange lets a socket live than the service does.
const SPARE: Duration = Duration::from_secs(2);

/// Within this time after an announcement the new socket has to be there.
const REPLACED_WITHIN: Duration = Duration::from_secs(2);

/// How long a socket has to live before the next dial is no repetition.
const STEADY_AFTER: Duration = Duration::from_secs(30);

/// Exchanges whose protocol has no words for an end that is going to come. Kraken's `maintenance` is of its market, and
/// says nothing of a socket.
const WITHOUT_WORDS: [&str; 6] = ["bybit", "coinbase", "gate", "htx", "kraken", "kucoin"];

/// Every ping is answered in time, although there is much else to read.
pub(super) fn pinged(options: &Options) -> Figures {
    let pinging = markets(options).into_iter().filter(|market| pings_every(market).is_some());
    on_each(pinging.collect(), options, |exchange, options| {
        let speed = pings_every(exchange).unwrap().as_millis() / PING_EVERY.as_millis();
        let plan = site_of(exchange, options).with_simulator_speed(u32::try_from(speed).unwrap());
        let site = Site::settled(plan);
        let control = site.control();
        let newest = control.newest_entry();
        let per_second = options.scaled(FLOOD.0, FLOOD.1);
        let fault = json!({"kind": "flood", "per_second": per_second, "transport": "websocket"});
        let quotes = || site.metric("ratebook_exchange_quotes_total", &[("exchange", exchange)]);
        let (began, before) = (Instant::now(), quotes());
        control.break_exchange(exchange, &fault);
        let num_wanted = options.scaled(25, 250);
        wait_until("there are enough pongs", || pongs(control, exchange, newest).len() >= num_wanted);
        let per_second = (quotes() - before) / began.elapsed().as_secs_f64();
        let taken = pongs(control, exchange, newest);
        // An exchange that misses a pong hangs up.
        let num_ends = control.log(exchange, "close", newest).len();
        Figures {
            pass: num_ends == 0 && longest(&taken) <= PONG_WITHIN,
            n: taken.len() as u64,
            measured: format!(
                "{exchange}: pongs after {}, beside {per_second:.0} quotes a second; {num_ends} sockets closed",
                spread(taken)
            ),
            target: format!("every pong within {}, no socket closed", ms(PONG_WITHIN)),
            ..Figures::default()
        }
    })
}

/// How often an exchange pings; `None` if it does not.
fn pings_every(exchange: &str) -> Option<Duration> {
    let (_, seconds) = PINGS.iter().find(|(name, _)| *name == exchange)?;
    Some(Duration::from_secs(*seconds))
}

/// How long each pong took: pings tell when they were sent, in milliseconds.
fn pongs(control: Control, exchange: &str, after: u64) -> Vec<Duration> {
    let sent_at = |asked: &Asked| match asked.kind.as_str() {
        "pong" => asked.detail.split('-').next()?.parse::<i64>().ok(),
        _ => serde_json::from_str::<Value>(&asked.detail).ok()?["pong"].as_i64(),
    };
    let took = |asked: Asked| {
        let ms = asked.at.timestamp_millis() - sent_at(&asked)?;
        Some(Duration::from_millis(u64::try_from(ms).unwrap_or_default()))
    };
    control.asked(exchange, after).into_iter().filter_map(took).collect()
}

/// The exchange ends every socket at some age, and the service knows at which.
pub(super) fn aged(options: &Options) -> Figures {
    let life = Duration::from_secs(options.scaled(10, 60));
    let num_replacements = options.scaled(1, 10);
    on_crowds(options, |crowd, options| {
        let lifetime =
            |exchange: &&str| format!("exchange::lifetime({exchange})=return({})", life.as_millis());
        let fail_points: Vec<String> = crowd.tried.iter().map(lifetime).collect();
        let plan = crowd.slow_plan(options).with_fail_points(&fail_points.join(";"));
        let forced = (life + SPARE).as_millis();
        let fault = json!({"kind": "close", "transport": "websocket", "for_ms": 86_400_000, "ms": forced});
        let site = Site::start_after(plan, |control| crowd.break_all(*control, &fault));
        site.settle();
        let checker = Checker::start(&site);
        let sockets = |exchange: &str| {
            site.control().asked(exchange, 0).iter().filter(|asked| asked.kind == "connect").count()
        };
        let began = Instant::now();
        while !crowd.tried.iter().all(|exchange| sockets(exchange) > num_replacements) {
            let patience = (life + SPARE) * u32::try_from(num_replacements + 1).unwrap();
            assert!(began.elapsed() < patience, "sockets are not replaced");
            thread::sleep(Duration::from_millis(100));
        }
        site.settle();
        let age = longest(&checker.since(began).map(|seen| seen.age).collect::<Vec<_>>());
        let (verdict, reconnects) = (checker.finish(), lost(&site, crowd));
        let num_gaps: usize = crowd.tried.iter().map(|exchange| gaps(site.control(), exchange)).sum();
        Figures {
            pass: verdict.holds()
                && verdict.switches + verdict.not_200 + verdict.broken == 0
                && reconnects == 0
                && num_gaps == 0,
            n: verdict.answers,
            violations: verdict.num_violations,
            measured: format!(
                "{}: each socket replaced {num_replacements} times, {reconnects} lost, {num_gaps} times none was open, \
                 {} switches, age at most {}; {}",
                crowd.tried.join(" "),
                verdict.switches,
                ms(age),
                verdict.told()
            ),
            target: "the new socket is open before the old one ends, no switch, every answer 200".to_owned(),
        }
    })
}

/// How many sockets were lost.
pub(super) fn lost(site: &Site, crowd: &Crowd) -> u64 {
    crowd.tried.iter().filter_map(|exchange| site.health_of(exchange)["reconnects"].as_u64()).sum()
}

/// How often an exchange had no socket of ours after it had the first.
fn gaps(control: Control, exchange: &str) -> usize {
    let (mut num_open, mut num_gaps) = (0_i64, 0);
    let mut ended = Vec::new();
    for asked in control.asked(exchange, 0) {
        match asked.kind.as_str() {
            "connect" => num_open += 1,
            // A socket may be told to have ended twice: by the exchange, and by itself.
            "close" if !ended.contains(&asked.port) => {
                ended.push(asked.port);
                num_open -= 1;
                num_gaps += usize::from(num_open == 0);
            }
            _ => {}
        }
    }
    num_gaps
}

/// The exchange says that it is going to close its sockets, and does so some time later.
pub(super) fn announced(options: &Options) -> Figures {
    let notice = Duration::from_secs(options.scaled(4, 10));
    on_crowds(options, |crowd, options| {
        let site = Site::settled(crowd.plan(options));
        let control = site.control();
        let checker = Checker::start(&site);
        let (mut replaced, mut num_rounds) = (Vec::new(), 0);
        while num_rounds < options.scaled(1, 5) {
            num_rounds += 1;
            // Whoever has just dialled waits before it dials again.
            thread::sleep(options.scaled(Duration::ZERO, STEADY_AFTER));
            let newest = control.newest_entry();
            let began = chrono::Utc::now();
            let fault = json!({"kind": "close", "transport": "websocket", "announce_ms": notice.as_millis()});
            crowd.break_all(control, &fault);
            // The end itself comes without a word to those who were told before.
            thread::sleep(notice);
            for exchange in crowd.tried.iter().filter(|exchange| !WITHOUT_WORDS.contains(exchange)) {
                let first = control.asked(exchange, newest).into_iter().find(|asked| asked.kind == "connect");
                let took = first.map_or(f64::MAX, |first| first.seconds_after(began));
                replaced.push(Duration::try_from_secs_f64(took).unwrap_or(Duration::MAX));
            }
            site.settle();
        }
        let verdict = checker.finish();
        Figures {
            pass: verdict.holds()
                && verdict.switches + verdict.not_200 + verdict.broken == 0
                && longest(&replaced) <= REPLACED_WITHIN,
            n: verdict.answers,
            violations: verdict.num_violations,
            measured: format!(
                "{}: told before, a new socket after {}; {} switches; {}",
                crowd.tried.join(" "),
                spread(replaced),
                verdict.switches,
                verdict.told()
            ),
            target: format!(
                "a new socket within {} of the announcement, no switch, no course older than {}",
                ms(REPLACED_WITHIN),
                ms(STALE_AFTER)
            ),
        }
    })
}
