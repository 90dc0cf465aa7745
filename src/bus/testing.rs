//! Quotes for the tests of this part.

use chrono::{DateTime, Utc};

use super::wire::Names;
use crate::market::{ExchangeName, Quote, Transport};
use crate::rate_book::{Epoch, LiveQuote};

pub(super) fn at(time: &str) -> DateTime<Utc> {
    time.parse().unwrap()
}

pub(super) fn names() -> Names {
    Names(["binance", "kraken", "cbr"].map(ExchangeName::new).to_vec())
}

pub(super) fn quote(direction: &str) -> Quote {
    let price = |text: &str| text.parse().unwrap();
    let book = Quote::book(direction.parse().unwrap(), price("64000.10"), price("64000.12"));
    let (last, quoted_at) = (Some(price("64000.11")), Some(at("2026-11-25T11:59:59.999Z")));
    Quote { last, quoted_at, sequence: Some(10), ..book }
}

/// A quote of Binance that came at `time`.
pub(super) fn live(direction: &str, time: &str) -> LiveQuote {
    LiveQuote {
        exchange: ExchangeName::new("binance"),
        epoch: Epoch(1),
        transport: Transport::WebSocket,
        heard_at: at(time),
        counts_from: None,
        fresh_since: None,
        quote: quote(direction),
        is_repeat: false,
    }
}
