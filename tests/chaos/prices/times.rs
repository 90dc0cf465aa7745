//! Prices that are right and come at the wrong time, or in the wrong order.

use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{groups, on_each, peer_of, site_of};
use crate::checker::{Checker, Watch};
use crate::counted::Counted;
use crate::row::{Figures, Options, ms};
use crate::site::{STALE_AFTER, Site};

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
fn shifted(group: Vec<&'static str>, shifts_ms: &[i64], reason: &str, options: &Options) -> Figures {
    let site = Site::settled(site_of(&group, options));
    let control = site.control();
    let exchanges: &'static [&'static str] = group.leak();
    let checker = Checker::start_as(&site, Watch { alone: exchanges, ..Watch::default() });
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
        let settled = count();
        thread::sleep(Duration::from_millis(400));
        let (mut num_stamping, now) = (0, count());
        for (at, exchange) in exchanges.iter().enumerate() {
            let refused = now[at].since(&at_first[at]).refused;
            let accepted = now[at].since(&settled[at]).accepted;
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
    let site = Site::settled(site_of(&group, options));
    let control = site.control();
    let exchanges: &'static [&'static str] = group.leak();
    let checker = Checker::start_as(&site, Watch { alone: exchanges, ..Watch::default() });
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
        measured: format!("{shift_ms} ms ahead: gone {} after their last word; {}", ms(gone), verdict.told()),
        target: format!("gone within {}", ms(limit)),
    }
}

/// Quotes of the sockets overtake each other, ten at a time, and some come twice.
pub(super) fn shuffled(options: &Options) -> Figures {
    on_each(groups(options), options, |group, options| {
        let site = Site::settled(site_of(&group, options));
        let control = site.control();
        let exchanges: &'static [&'static str] = group.leak();
        let checker = Checker::start_as(&site, Watch { alone: exchanges, ..Watch::default() });
        exchanges.iter().for_each(|it| control.break_exchange(it, &json!({"kind": "shuffle"})));
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
            measured: format!("{}: {refused:?} refused; {}", exchanges.join(", "), verdict.told()),
            target: "what is older refused wherever the exchange numbers or stamps, and no switch".to_owned(),
        }
    })
}

/// The true prices jump with every look, so that a bid and an ask of two messages would be far apart, or around a price
/// that nobody said.
pub(super) fn torn(options: &Options) -> Figures {
    on_each(groups(options), options, |group, options| {
        let site = Site::settled(site_of(&group, options));
        let control = site.control();
        let exchanges: &'static [&'static str] = group.leak();
        let checker = Checker::start_as(&site, Watch { alone: exchanges, ..Watch::default() });
        let num_jumps = options.scaled(25, 300);
        for jump in 0..num_jumps {
            // By up to 1.5 %, within what a spread may be.
            let (btc, eth) = (64_000 + jump % 4 * 300, 3_000 + jump % 3 * 20);
            control.post("truth", &json!({"BTC": btc.to_string(), "ETH": eth.to_string()}));
            thread::sleep(Duration::from_millis(130));
        }
        let verdict = checker.finish();
        Figures {
            pass: verdict.holds() && verdict.not_200 + verdict.broken == 0 && verdict.exact > num_jumps,
            n: verdict.exact,
            measured: format!("{}: {num_jumps} jumps; {}", exchanges.join(", "), verdict.told()),
            target: "every course the middle of one published book".to_owned(),
        }
    })
}
