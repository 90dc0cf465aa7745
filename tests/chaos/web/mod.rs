//! Rows about what arrives over HTTP: bad requests, crowds, ends of the service, and what `/health` says meanwhile.
//!
//! What nginx does with the same requests is tried by the checks of what is deployed.

use crate::row::{Figures, Options, Row};
use crate::site::{Plan, Site};

mod ends;
mod health;
mod raw;
mod requests;
mod slow;

pub(crate) fn rows() -> Vec<Row> {
    let row = |id, claim, run: fn(&Options) -> Figures| Row { id, claim, run };
    vec![
        row("W-04", "heads that do not come are given up, and others do not wait", slow::heads),
        row("W-06", "heads that are too large are refused with their status", requests::large_heads),
        row("W-07", "bad paths and questions are refused, and break nothing", requests::bad_questions),
        row("W-08", "wrong methods and bodies are refused with their status", requests::methods_and_bodies),
        row("W-09", "requests whose end is ambiguous are refused and closed", requests::ambiguous),
        row("W-15d", "an end under load breaks no answer", ends::under_load),
        row("W-16a", "SIGINT ends as SIGTERM does", ends::interrupted),
        row("W-16b", "a second SIGTERM ends at once, and takes nothing from the outbox", ends::twice),
        row("W-25", "a thousand requests that come at once are answered in order", requests::pipelined),
        row("W-26", "the probes say what clients see, whatever breaks", health::of_faults),
    ]
}

/// A small site that answers.
fn site_of(options: &Options) -> Plan {
    Plan::of(&["binance", "coingecko", "cbr"], options.seed)
        .with("directions", "[\"BTC-USDT\", \"ETH-USDT\", \"BTC-RUB\"]")
}

fn small_site(options: &Options) -> Site {
    Site::settled(site_of(options))
}
