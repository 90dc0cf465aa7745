//! Connections that end, and exchanges that are gone.

use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{longest, markets, on_each, site_of, spread};
use crate::checker::Checker;
use crate::outside::wait_until;
use crate::row::{Figures, Options, ms};
use crate::site::{AGGREGATOR_STALE_AFTER, FAIL_BACK_AFTER, Site};

/// Within this time somebody else answers for an exchange that is gone.
const FAILOVER_WITHIN: Duration = Duration::from_secs(1);

/// Within this time after its return an exchange is heard again, if there is nothing else to wait for.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// How much later than at its limit a course may be gone.
const TOLERANCE: Duration = Duration::from_millis(500);

/// How long a socket cannot be opened while requests are answered.
const SOCKETLESS: Duration = Duration::from_millis(1_200);

pub(super) fn closed(options: &Options) -> Figures {
    on_each(markets(options), options, |exchange, options| ended(exchange, options, "close"))
}

pub(super) fn reset(options: &Options) -> Figures {
    on_each(markets(options), options, |exchange, options| ended(exchange, options, "reset"))
}

/// The socket ends, stays away for a while, and then the whole exchange is gone.
fn ended(exchange: &'static str, options: &Options, kind: &str) -> Figures {
    let site = Site::settled(site_of(exchange, options));
    let control = site.control();
    let checker = Checker::start(&site);
    let num_rounds = options.scaled(1, 10);
    let (mut gone, mut back, mut num_felt) = (Vec::new(), Vec::new(), 0);
    for _ in 0..num_rounds {
        let before = checker.so_far().switches;
        let newest = control.newest_entry();
        control.break_exchange(exchange, &json!({"kind": kind}));
        wait_until("it is dialled again", || !control.log(exchange, "connect", newest).is_empty());
        site.settle();
        let fault = json!({"kind": "refuse", "transport": "websocket", "for_ms": SOCKETLESS.as_millis()});
        control.break_exchange(exchange, &fault);
        thread::sleep(SOCKETLESS);
        site.settle();
        num_felt += checker.so_far().switches - before;

        control.break_exchange(exchange, &json!({"kind": "refuse"}));
        gone.push(
            checker
                .until("another exchange answers", |seen| seen.status == 200 && seen.exchanger != exchange),
        );
        control.mend(exchange);
        back.push(checker.until("the first exchange answers again", |seen| seen.is_from(exchange)));
        site.settle();
    }
    let verdict = checker.finish();
    let soonest_back = back.iter().min().copied().unwrap_or_default();
    Figures {
        pass: verdict.holds()
            && num_felt == 0
            && verdict.not_200 + verdict.broken == 0
            && longest(&gone) <= FAILOVER_WITHIN
            && soonest_back >= FAIL_BACK_AFTER
            && longest(&back) <= FAIL_BACK_AFTER + BACK_WITHIN,
        n: verdict.answers,
        violations: verdict.num_violations,
        measured: format!(
            "{exchange}: {} ends of its socket, {num_felt} switches; gone, another answers after {}, back after {}; \
             {}",
            num_rounds * 2,
            spread(gone),
            spread(back),
            verdict.told()
        ),
        target: format!(
            "no switch while REST works, another answers within {}, the first again {} to {} after its return, every \
             answer 200",
            ms(FAILOVER_WITHIN),
            ms(FAIL_BACK_AFTER),
            ms(FAIL_BACK_AFTER + BACK_WITHIN)
        ),
    }
}

/// All exchanges are gone for a while.
pub(super) fn gone(options: &Options) -> Figures {
    on_each(markets(options), options, all_gone)
}

fn all_gone(exchange: &'static str, options: &Options) -> Figures {
    let site = Site::settled(site_of(exchange, options));
    let control = site.control();
    let checker = Checker::start(&site);
    let (mut silenced, mut healed, mut num_told) = (Vec::new(), Vec::new(), 0);
    for round in 0..options.scaled(1, 10) {
        let exchanges = site.plan.exchanges();
        exchanges.iter().for_each(|name| control.break_exchange(name, &json!({"kind": "refuse"})));
        silenced.push(checker.until("nothing is told", |seen| seen.status == 503));
        let silent_since = Instant::now();
        thread::sleep(Duration::from_secs(if options.full && round == 0 { 60 } else { 1 }));
        num_told += checker.since(silent_since).filter(|seen| seen.status == 200).count();
        exchanges.iter().for_each(|name| control.mend(name));
        healed.push(checker.until("a course is told", |seen| seen.status == 200));
        site.settle();
    }
    let verdict = checker.finish();
    let limit = AGGREGATOR_STALE_AFTER + TOLERANCE;
    Figures {
        pass: verdict.holds()
            && verdict.broken == 0
            && num_told == 0
            && longest(&silenced) <= limit
            && longest(&healed) <= BACK_WITHIN,
        n: verdict.answers,
        violations: verdict.num_violations,
        measured: format!(
            "{exchange}: first 503 after {}, {num_told} courses told after it; first 200 again after {}; {}",
            spread(silenced),
            spread(healed),
            verdict.told()
        ),
        target: format!(
            "first 503 within {}, no 200 after it, a 200 within {} of the return",
            ms(limit),
            ms(BACK_WITHIN)
        ),
    }
}
