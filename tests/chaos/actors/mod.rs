//! Rows about actors and the process: what panics, blocks or dies is replaced, and nobody else notices.
//!
//! A file for each kind of fault. S-03h and S-03x are the hub's own panics.

use ratebook::exchange::{EXCHANGES, Kind};

use crate::row::{Figures, Options, Row};
use crate::site::Plan;

mod healing;
mod hub;
mod mailbox;
mod panics;
mod process;
mod restarts;
mod stalls;

pub(crate) use mailbox::run as run_flood;

pub(crate) fn rows() -> Vec<Row> {
    let row = |id, claim, run: fn(&Options) -> Figures| Row { id, claim, run };
    vec![
        row(
            "S-01",
            "an exchange that panics over a frame is back, and its peers answer",
            panics::over_a_frame,
        ),
        row("S-02", "an exchange that panics over every frame is left alone", panics::over_every_frame),
        row("S-03", "a panic in a timer, a future or a start is healed as any other", panics::elsewhere),
        row("S-03h", "a hub that panics forgets every quote, and answers again", hub::panics),
        row("S-03x", "a hub that panics again and again ends the process", hub::gives_up),
        row("S-04", "a socket that ended is dialled again after a delay", restarts::ended_sockets),
        row("S-05", "an exchange that blocks its thread is replaced, and its peers go on", stalls::blocked),
        row("S-06", "an exchange that waits for ever is replaced", stalls::waiting),
        row("S-07", "producers of a full hub keep the newest, and prices stay young", mailbox::full),
        row("S-09", "restarts leave no thread, descriptor or subscription behind", restarts::in_sequence),
        row("S-10", "what a replaced exchange says late is refused", stalls::late),
        row("S-11", "a handler that panics answers 500, and its connection goes on", panics::in_a_handler),
        row("S-12", "a process that was killed answers again", process::killed),
        row(
            "S-13",
            "a process that was stopped for a while says nothing old as it goes on",
            process::stopped,
        ),
        row("S-15", "a hub that stands still is told as such", hub::stands_still),
    ]
}

/// Every market of the table.
fn markets() -> Vec<&'static str> {
    let markets = EXCHANGES.iter().filter(|row| matches!(row.kind, Kind::Market));
    markets.map(|row| row.name.as_str()).collect()
}

/// A site of these markets, with an aggregator and a bank behind them, which can be broken from within.
fn site_of(markets: &[&'static str], options: &Options) -> Plan {
    Plan::of(&[markets, &["coingecko", "cbr"]].concat(), options.seed)
        .with("directions", "[\"BTC-USDT\", \"ETH-USDT\", \"BTC-RUB\"]")
        .breakable()
}
