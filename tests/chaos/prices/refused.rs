//! Prices that are wrong in themselves.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{groups, on_each, patient, peer_of, settled, watch_of};
use crate::checker::{Checker, Watch};
use crate::counted::Counted;
use crate::row::{Figures, Options, ms};
use crate::site::{AGGREGATOR_STALE_AFTER, Plan, STALE_AFTER, Site};

/// How much later than at its limit a course may be gone.
pub(super) const TOLERANCE: Duration = Duration::from_millis(500);

/// Within this time a wrong price has come on every exchange.
const COMES_WITHIN: Duration = Duration::from_secs(3);

/// The price of every market of an exchange, as it should not be.
pub(super) struct Wrong {
    pub(super) fault: Value,
    /// Under which name it is refused; `None` where there is nothing to refuse.
    pub(super) reason: Option<&'static str>,
}

/// A price, both sides and the last, written like this.
fn value(value: Value, reason: &'static str) -> Wrong {
    Wrong { fault: json!({"kind": "wrong_value", "value": value}), reason: Some(reason) }
}

/// A book of these two sides, and the last price at the bid.
fn book(bid: Value, ask: Value, reason: &'static str) -> Wrong {
    Wrong { fault: json!({"kind": "wrong_value", "bid": bid, "ask": ask, "last": bid}), reason: Some(reason) }
}

pub(super) fn zero(options: &Options) -> Figures {
    let written = [json!(0), json!("0"), json!("0.00000000"), json!("-0")];
    on_markets(options, &written.map(|it| value(it, "non_positive")))
}

pub(super) fn negative(options: &Options) -> Figures {
    let written = [json!("negative"), json!(-5), json!("-0.00000001")];
    on_markets(options, &written.map(|it| value(it, "non_positive")))
}

pub(super) fn no_number(options: &Options) -> Figures {
    let mut written: Vec<Value> = vec![json!("NaN"), json!(null), json!(true)];
    if options.full {
        written.extend([json!("Infinity"), json!({}), json!([]), json!("64000 USDT"), json!("0x10")]);
    }
    on_markets(options, &written.into_iter().map(|it| value(it, "syntax")).collect::<Vec<_>>())
}

/// Texts that look like a price of these markets, and are none or have more digits than can be kept.
pub(super) fn no_exact_number(options: &Options) -> Figures {
    let mut written = vec!["1e400", "64,000.5", "６４０００"];
    if options.full {
        written.extend([
            "1e-40",
            "64000.12345678901234567890123456789",
            " 64000.5",
            "+64000",
            "64_000",
            "6.4e4.0",
        ]);
    }
    on_markets(options, &written.into_iter().map(|it| value(json!(it), "syntax")).collect::<Vec<_>>())
}

pub(super) fn magnitude(options: &Options) -> Figures {
    let written = [json!("850867136053.72"), json!("0.00000001")];
    let wrong = written.map(|it| book(it.clone(), above(&it), "magnitude"));
    on_markets(options, &wrong).with(on_aggregator(
        options,
        &[value(json!("850867136053.72"), "magnitude"), value(json!("0.00000001"), "magnitude")],
    ))
}

pub(super) fn slip_of_units(options: &Options) -> Figures {
    let factors = ["1000", "100000000", "0.001"];
    let wrong = factors.map(|factor| Wrong {
        fault: json!({"kind": "wrong_value", "factor": factor}),
        reason: Some("magnitude"),
    });
    on_markets(options, &wrong)
}

pub(super) fn inverted(options: &Options) -> Figures {
    on_markets(options, &[book(json!("0.000015624"), json!("0.000015626"), "magnitude")])
}

pub(super) fn another_asset(options: &Options) -> Figures {
    // Of a stablecoin, of DOGE and of SHIB.
    let written = [("0.9996", "0.9998"), ("0.12499", "0.12501"), ("0.0000171", "0.0000173")];
    on_markets(options, &written.map(|(bid, ask)| book(json!(bid), json!(ask), "magnitude")))
}

pub(super) fn crossed(options: &Options) -> Figures {
    let locked = book(json!("64000"), json!("64000"), "crossed");
    on_markets(options, &[value(json!("crossed"), "crossed"), locked])
}

pub(super) fn one_sided(options: &Options) -> Figures {
    let without_bid = json!({"kind": "wrong_value", "bid": null, "ask": "64000.5"});
    let without_bid = Wrong { fault: without_bid, reason: Some("one_sided") };
    on_markets(options, &[value(json!("one_sided"), "one_sided"), without_bid])
}

/// A little above a price that is written as text.
fn above(bid: &Value) -> Value {
    json!(format!("{}1", bid.as_str().unwrap_or_default()))
}

pub(super) fn empty_body(options: &Options) -> Figures {
    let body = |body: &str, reason| Wrong { fault: json!({"kind": "garbage", "body": body}), reason };
    let bodies = [
        body("{}", None),
        body("{\"bitcoin\":{},\"ethereum\":{},\"tether\":{}}", Some("syntax")),
        value(json!(null), "syntax"),
        value(json!(0), "non_positive"),
    ];
    // Each by itself: a source that has nothing to say is asked less and less often.
    let all = thread::scope(|scope| {
        let running = bodies.map(|body| scope.spawn(move || on_aggregator(options, &[body])));
        running.map(|it| it.join().unwrap())
    });
    all.into_iter().reduce(Figures::with).unwrap_or_default()
}

pub(super) fn old_body(options: &Options) -> Figures {
    let old = json!({"kind": "wrong_value", "shift_ms": -3_600_000});
    on_aggregator(options, &[Wrong { fault: old, reason: Some("stale") }])
}

fn on_markets(options: &Options, wrong: &[Wrong]) -> Figures {
    on_each(groups(options), options, |group, options| {
        let (site, peer) = (settled(&group, options), peer_of(&group));
        trial(&site, group.leak(), peer, wrong, STALE_AFTER)
    })
}

fn on_aggregator(options: &Options, wrong: &[Wrong]) -> Figures {
    let plan = Plan::of(&["coingecko", "okx", "cbr"], options.seed).with("directions", super::DIRECTIONS);
    trial(&Site::settled(patient(plan, "okx")), &["coingecko"], "okx", wrong, AGGREGATOR_STALE_AFTER)
}

/// One wrong price after the other on all of the exchanges on trial, without a right one between them.
pub(super) fn trial(
    site: &Site,
    exchanges: &'static [&'static str],
    peer: &'static str,
    wrong: &[Wrong],
    stale_after: Duration,
) -> Figures {
    let control = site.control();
    // Whoever is alone on trial answers anyway.
    let is_alone = exchanges.len() == 1;
    let watch = Watch { alone: if is_alone { &[] } else { exchanges }, ..watch_of(exchanges) };
    let checker = Checker::start_as(site, watch);
    let began = Instant::now();
    let mut numbers: Vec<u64> = Vec::new();
    let (mut problems, mut num_refused) = (Vec::new(), 0);
    for it in wrong {
        let before = Counted::of_all(site, exchanges);
        let old = std::mem::take(&mut numbers);
        numbers.extend(exchanges.iter().map(|exchange| control.order(exchange, &it.fault)));
        exchanges.iter().zip(old).for_each(|(exchange, number)| control.end(exchange, number));
        let has_come = || {
            let now = Counted::of_all(site, exchanges);
            let has_come =
                |reason| move |(now, before): (&Counted, &Counted)| now.since(before).refused_as(reason) > 0;
            it.reason.is_some_and(|reason| now.iter().zip(&before).all(has_come(reason)))
        };
        let come_at = Instant::now();
        let comes_within = if it.reason.is_some() { COMES_WITHIN } else { said_for(stale_after) };
        while !has_come() && come_at.elapsed() < comes_within {
            thread::sleep(Duration::from_millis(10));
        }
        let come = Counted::of_all(site, exchanges);
        thread::sleep(said_for(stale_after));
        for (at, now) in Counted::of_all(site, exchanges).iter().enumerate() {
            let (refused, accepted) = (now.since(&before[at]).refused, now.since(&come[at]).accepted);
            num_refused += refused.values().sum::<u64>();
            // A frame that an exchange repeats, of a price that it did not say then, is out of order as well.
            let named = refused.keys().map(String::as_str).filter(|reason| *reason != "out_of_order");
            if accepted > 0 || !named.eq(it.reason) {
                let (exchange, fault) = (exchanges[at], &it.fault);
                problems.push(format!("{exchange} {fault}: {accepted} accepted, refused {refused:?}"));
            }
        }
    }
    let until_peer =
        || checker.since(began).find(|seen| seen.is_from(peer)).map(|seen| seen.answered_at - began);
    let limit = stale_after + TOLERANCE;
    while until_peer().is_none() && began.elapsed() < limit * 2 {
        thread::sleep(Duration::from_millis(10));
    }
    let failover = until_peer();
    exchanges.iter().for_each(|exchange| control.mend(exchange));
    let back = checker.until("the first exchange answers again", |seen| seen.is_from(exchanges[0]));
    let verdict = checker.finish();
    Figures {
        pass: verdict.holds()
            && verdict.not_200 + verdict.broken == 0
            && problems.is_empty()
            && failover.is_some_and(|after| after <= limit),
        n: verdict.answers,
        violations: verdict.num_violations,
        measured: format!(
            "{}: {num_refused} refused, {peer} answers: {}, back after {}; {}{}",
            exchanges.join(", "),
            failover.map_or("never".to_owned(), |after| format!("after {}", ms(after))),
            ms(back),
            verdict.told(),
            problems.iter().map(|it| format!("; {it}")).collect::<String>()
        ),
        target: format!("none accepted, each refused by its name, another answers within {}", ms(limit)),
    }
}

/// For how long each wrong price is said after it has come: a source that is polled has to be asked meanwhile.
fn said_for(stale_after: Duration) -> Duration {
    stale_after / 4
}
