//! Connections that stay and say nothing.

use std::time::Duration;

use serde_json::json;

use super::{markets, on_each, site_of};
use crate::checker::Checker;
use crate::row::{Figures, Options, ms};
use crate::site::{STALE_AFTER, Site};

/// How much later than at its limit a course may be gone.
const TOLERANCE: Duration = Duration::from_millis(500);

pub(super) fn half_open(options: &Options) -> Figures {
    on_each(markets(options), options, |exchange, options| silent(exchange, options, "half_open"))
}

pub(super) fn mute(options: &Options) -> Figures {
    on_each(markets(options), options, |exchange, options| silent(exchange, options, "mute"))
}

/// Nothing comes on any transport, and nothing says so.
fn silent(exchange: &'static str, options: &Options, kind: &str) -> Figures {
    let site = Site::settled(site_of(exchange, options));
    let control = site.control();
    let checker = Checker::start(&site);
    let mut failovers = Vec::new();
    for _ in 0..options.scaled(1, 10) {
        control.break_exchange(exchange, &json!({"kind": kind}));
        failovers.push(
            checker
                .until("another exchange answers", |seen| seen.status == 200 && seen.exchanger != exchange),
        );
        control.mend(exchange);
        checker.until("the first exchange answers again", |seen| seen.is_from(exchange));
        site.settle();
    }
    let slowest = failovers.iter().max().copied().unwrap_or_default();
    let verdict = checker.finish();
    Figures {
        pass: verdict.holds() && verdict.not_200 + verdict.broken == 0 && slowest <= STALE_AFTER + TOLERANCE,
        n: verdict.answers,
        measured: format!("{exchange}: another answers after at most {}; {}", ms(slowest), verdict.told()),
        target: format!("another answers within {}, every answer 200", ms(STALE_AFTER + TOLERANCE)),
    }
}
