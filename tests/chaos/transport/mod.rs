//! Rows about connections: what an exchange's sockets and requests may do, and that clients do not feel it.
//!
//! Each is tried on Binance and on one exchange of every other family of wire protocol; `--full` tries it on all.

use ratebook::exchange::{EXCHANGES, Kind};

use crate::row::{Figures, Options, Row};
use crate::site::Plan;

mod ends;
mod silence;

/// One of each family of wire protocol: plain JSON, JSON with the protocol's own heartbeats, packed frames with pings
/// of the server, a hand-shake over REST before the dial, and REST alone.
const FAMILIES: [&str; 4] = ["binance", "kraken", "htx", "kucoin"];

pub(crate) fn rows() -> Vec<Row> {
    let row = |id, claim, run: fn(&Options) -> Figures| Row { id, claim, run };
    vec![
        row("C-01", "a socket that is closed is not felt, nor an exchange that is gone", ends::closed),
        row("C-02", "a socket that is reset in the middle of a frame is not felt", ends::reset),
        row("C-03", "a socket on which nothing comes any more is replaced in time", silence::half_open),
        row("C-04", "a socket that lives and says no price is found out by its data", silence::mute),
    ]
}

/// The markets on which a row is tried.
fn markets(options: &Options) -> Vec<&'static str> {
    if options.full {
        let markets = EXCHANGES.iter().filter(|row| matches!(row.kind, Kind::Market));
        markets.map(|row| row.name.as_str()).collect()
    } else {
        FAMILIES.to_vec()
    }
}

/// A site whose first exchange is the one on trial; another market, an aggregator and a bank stand behind it.
fn site_of(exchange: &'static str, options: &Options) -> Plan {
    let peer = if exchange == "okx" { "bybit" } else { "okx" };
    Plan::of(&[exchange, peer, "coingecko", "cbr"], options.seed)
}

/// Tries a row on one exchange after the other.
fn on_each(
    exchanges: Vec<&'static str>,
    options: &Options,
    run: impl Fn(&'static str, &Options) -> Figures,
) -> Figures {
    let mut all: Option<Figures> = None;
    for exchange in exchanges {
        let figures = run(exchange, options);
        all = Some(match all {
            Some(before) => before.with(figures),
            None => figures,
        });
    }
    all.unwrap_or_default()
}
