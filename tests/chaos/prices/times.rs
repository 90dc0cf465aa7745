//! Prices that are right and come at the wrong time, or in the wrong order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{groups, on_each, peer_of, settled, watch_of};
use crate::checker::Checker;
use crate::counted::Counted;
use crate::row::{Figures, Options, ms};
use crate::site::{STALE_AFTER, Site};
use crate::wire::Wire;

/// Our clock and an exchange's may be this far apart.
const MAX_AHEAD_MS: u64 = 2000;

/// Within this time of a fault nothing of before it is fresh any more.
const GONE_WITHIN: Duration = Duration::from_millis(1500);

/// Half of the markets of a group, or of [`super::FAMILIES`] three, tell the time of their quotes on their sockets.
const LEAST_STAMPING: usize = 2;

pub(super) fn old(options: &Options) -> Figures {
    on_each(groups(options), options, |group, options| {
        shifted(group, &[-60_000, -3_600_000], "stale", options)
    })
}

pub(super) fn future(options: &Options) -> Figures {
    let far = on_each(groups(options), options, |group, options| {
        shifted(group, &[10_000, 3_600_000], "future", options)
    });
    far.with(on_each(groups(options), options, slightly_ahead))
}

/// The clocks of exchanges are off, and only their sockets work. Whoever tells the time of its quotes is refused; whoever
/// does not goes on.
fn shifted(mut group: Vec<&'static str>, shifts_ms: &[i64], reason: &str, options: &Options) -> Figures {
    // Binance tells no times on its socket: the others first, so that somebody has to take over from them.
    group.reverse();
    let site = settled(&group, options);
    let control = site.control();
    let exchanges: &'static [&'static str] = group.leak();
    let checker = Checker::start_as(&site, watch_of(exchanges));
    let (mut problems, mut num_refused, mut stamping) = (Vec::new(), 0, 0);
    for exchange in exchanges {
        control.break_exchange(exchange, &json!({"kind": "status", "status": 503, "transport": "rest"}));
    }
    for shift_ms in shifts_ms {
        let count = || Counted::of_all(&site, exchanges);
        let at_first = count();
        let numbers: Vec<u64> = exchanges
            .iter()
            .map(|it| control.order(it, &json!({"kind": "wrong_value", "shift_ms": shift_ms})))
            .collect();
        thread::sleep(GONE_WITHIN);
        let gone = count();
        thread::sleep(Duration::from_millis(400));
        let (mut num_stamping, now) = (0, count());
        for (at, exchange) in exchanges.iter().enumerate() {
            let refused = now[at].since(&at_first[at]).refused;
            let accepted = now[at].since(&gone[at]).accepted;
            num_refused += refused.get(reason).copied().unwrap_or_default();
            num_stamping += usize::from(!refused.is_empty());
            let is_well = match refused.len() {
                0 => accepted > 0,
                1 => refused.contains_key(reason) && accepted == 0,
                _ => false,
            };
            if !is_well {
                problems.push(format!("{exchange} {shift_ms} ms: {accepted} accepted, refused {refused:?}"));
            }
            control.end(exchange, numbers[at]);
        }
        stamping = num_stamping.max(stamping);
    }
    exchanges.iter().for_each(|it| control.mend(it));
    checker.until("the first exchange answers again", |seen| seen.is_from(exchanges[0]));
    let verdict = checker.finish();
    Figures {
        pass: verdict.holds()
            && verdict.not_200 + verdict.broken == 0
            && problems.is_empty()
            && stamping >= LEAST_STAMPING,
        n: verdict.answers,
        violations: verdict.num_violations,
        measured: format!(
            "{}: {num_refused} refused of {stamping} that tell the time; {}{}",
            exchanges.join(", "),
            verdict.told(),
            problems.iter().map(|it| format!("; {it}")).collect::<String>()
        ),
        target: format!("every quote with such a time refused as {reason}, and no other"),
    }
}

/// The clocks of exchanges are ahead by no more than clocks differ, and then they fall silent: what they said last may not
/// be fresh for longer by that.
fn slightly_ahead(group: Vec<&'static str>, options: &Options) -> Figures {
    let site = settled(&group, options);
    let control = site.control();
    let exchanges: &'static [&'static str] = group.leak();
    let checker = Checker::start_as(&site, watch_of(exchanges));
    let shift_ms = MAX_AHEAD_MS - 500;
    for exchange in exchanges {
        control.break_exchange(exchange, &json!({"kind": "wrong_value", "shift_ms": shift_ms}));
    }
    thread::sleep(Duration::from_millis(700));
    let future: u64 = Counted::of_all(&site, exchanges).iter().map(|it| it.refused_as("future")).sum();
    let began = Instant::now();
    exchanges.iter().for_each(|it| control.break_exchange(it, &json!({"kind": "mute"})));
    let peer = peer_of(exchanges);
    let gone = checker.until("the peer answers", |seen| seen.is_from(peer));
    let gone = gone.min(began.elapsed());
    exchanges.iter().for_each(|it| control.mend(it));
    let verdict = checker.finish();
    let limit = STALE_AFTER + super::refused::TOLERANCE;
    Figures {
        pass: verdict.holds() && verdict.not_200 + verdict.broken == 0 && future == 0 && gone <= limit,
        n: verdict.answers,
        violations: verdict.num_violations,
        measured: format!("{shift_ms} ms ahead: gone {} after their last word; {}", ms(gone), verdict.told()),
        target: format!("gone within {}", ms(limit)),
    }
}

/// Quotes of the sockets overtake each other, ten at a time, and some come twice.
pub(super) fn shuffled(options: &Options) -> Figures {
    on_each(groups(options), options, |group, options| {
        let site = settled(&group, options);
        let control = site.control();
        let exchanges: &'static [&'static str] = group.leak();
        let checker = Checker::start_as(&site, watch_of(exchanges));
        for exchange in exchanges {
            // As many as of a busy market, so that they are not held back for long.
            control.break_exchange(exchange, &json!({"kind": "flood", "per_second": 200}));
            control.break_exchange(exchange, &json!({"kind": "shuffle"}));
        }
        thread::sleep(options.scaled(Duration::from_secs(4), Duration::from_secs(60)));
        let counted = Counted::of_all(&site, exchanges);
        let refused: Vec<u64> = counted.iter().map(|it| it.refused_as("out_of_order")).collect();
        let num_telling = refused.iter().filter(|number| **number > 0).count();
        exchanges.iter().for_each(|it| control.mend(it));
        let verdict = checker.finish();
        Figures {
            pass: verdict.holds()
                && verdict.not_200 + verdict.broken + verdict.switches == 0
                && num_telling > LEAST_STAMPING,
            n: verdict.answers,
            violations: verdict.num_violations,
            measured: format!("{}: {refused:?} refused; {}", exchanges.join(", "), verdict.told()),
            target: "what is older refused wherever the exchange numbers or stamps, and no switch".to_owned(),
        }
    })
}

/// Two prices of each asset, so far apart that the middle of one's bid and the other's ask is neither.
const LEVELS: [(&str, [f64; 2]); 2] = [("BTC", [64_000.0, 64_600.0]), ("ETH", [3_000.0, 3_030.0])];

/// How far the price of a market may be from the level at which it stands: offsets, spreads and the walk between two
/// jumps are well within, and a torn price is five times as far off.
const NEAR_LEVEL: f64 = 0.0008;

/// The true prices jump to and fro, so that a bid and an ask of two messages would make a price that nobody said.
pub(super) fn torn(options: &Options) -> Figures {
    on_each(groups(options), options, |group, options| {
        let site = settled(&group, options);
        let control = site.control();
        let num_jumps = options.scaled(40, 600);
        let is_over = AtomicBool::new(false);
        let tables = thread::scope(|scope| {
            let asking: Vec<_> =
                group.iter().map(|it| scope.spawn(|| torn_courses(&site, it, &is_over))).collect();
            for jump in 0..num_jumps {
                let prices =
                    LEVELS.map(|(asset, levels)| (asset.to_owned(), json!(levels[jump % 2].to_string())));
                control.post("truth", &prices.into_iter().collect());
                thread::sleep(Duration::from_millis(130));
            }
            is_over.store(true, Ordering::Relaxed);
            asking.into_iter().map(|it| it.join().unwrap()).collect::<Vec<_>>()
        });
        let whole: u64 = tables.iter().map(|(whole, _)| whole).sum();
        let torn: Vec<String> = tables.into_iter().flat_map(|(_, torn)| torn).collect();
        Figures {
            pass: torn.is_empty() && whole > num_jumps as u64 * 4,
            n: whole,
            measured: format!(
                "{}: {num_jumps} jumps, {} torn courses{}",
                group.join(", "),
                torn.len(),
                torn.first().map(|it| format!(", such as {it}")).unwrap_or_default()
            ),
            target: "every course at one level or the other".to_owned(),
            ..Figures::default()
        }
    })
}

/// Asks an exchange until it is over; says how many courses were at a level, and which were not.
fn torn_courses(site: &Site, exchange: &str, is_over: &AtomicBool) -> (u64, Vec<String>) {
    let mut wire = Wire::to(site.address);
    let path = format!("/v1/courses?exchanger={exchange}&directions=BTC-USDT,ETH-USDT");
    let tether = site.control().get("truth?exchange=none")["usd"]["USDT"].as_str().map(str::parse::<f64>);
    let tether = tether.unwrap().unwrap();
    let (mut whole, mut torn) = (0, Vec::new());
    let began = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        let body = wire.ask(&path).unwrap_or_default().json();
        for (at, (asset, levels)) in LEVELS.iter().enumerate() {
            let Some(value) = body["courses"][at]["value"].as_f64() else { continue };
            let is_near = |level: &f64| (value * tether / level - 1.0).abs() < NEAR_LEVEL;
            match levels.iter().any(is_near) {
                true => whole += 1,
                // What was said before the first jump is at no level.
                false if began.elapsed() < STALE_AFTER => {}
                false => torn.push(format!("{exchange} {asset} {value}")),
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
    (whole, torn)
}
