//! Connections that end, and exchanges that are gone.

use std::thread;
use std::time::Duration;

use serde_json::json;

use super::{markets, on_each, site_of};
use crate::checker::Checker;
use crate::row::{Figures, Options, ms};
use crate::site::Site;

/// Within this time somebody else answers for an exchange that is gone.
const FAILOVER_WITHIN: Duration = Duration::from_secs(1);

pub(super) fn closed(options: &Options) -> Figures {
    on_each(markets(options), options, |exchange, options| ended(exchange, options, "close"))
}

pub(super) fn reset(options: &Options) -> Figures {
    on_each(markets(options), options, |exchange, options| ended(exchange, options, "reset"))
}

/// The sockets end some times while REST works, and then the exchange is gone.
fn ended(exchange: &'static str, options: &Options, kind: &str) -> Figures {
    let site = Site::settled(site_of(exchange, options));
    let control = site.control();
    let checker = Checker::start(&site);
    let num_ends = options.scaled(2, 10);
    for _ in 0..num_ends {
        control.break_exchange(exchange, &json!({"kind": kind}));
        // The lost socket may be dialled again before anybody sees that it was lost.
        thread::sleep(Duration::from_millis(200));
        site.settle();
    }
    let before = checker.so_far();
    control.break_exchange(exchange, &json!({"kind": "refuse"}));
    let failover =
        checker.until("another exchange answers", |seen| seen.status == 200 && seen.exchanger != exchange);
    control.mend(exchange);
    let back = checker.until("the first exchange answers again", |seen| seen.is_from(exchange));
    let verdict = checker.finish();
    Figures {
        pass: verdict.holds()
            && before.switches == 0
            && verdict.not_200 + verdict.broken == 0
            && failover <= FAILOVER_WITHIN,
        n: verdict.answers,
        measured: format!(
            "{exchange}: {num_ends} ends of its socket, {} switches; gone, another answers after {}, back after {}; {}",
            before.switches,
            ms(failover),
            ms(back),
            verdict.told()
        ),
        target: format!(
            "no switch while REST works, another answers within {}, every answer 200",
            ms(FAILOVER_WITHIN)
        ),
    }
}
