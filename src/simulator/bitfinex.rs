//! Bitfinex v2, as its market-data clients see it: the ticker channel, and tickers by REST.
//!
//! <https://docs.bitfinex.com/docs>

mod stream;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::market::number;

use super::book::{Book, Day, Price, literal};
use super::http::{Answer, Request};
use super::listing::{Form, Listing, Listings};
use super::protocol::{Conversation, Protocol, Reply, Row, Scene};
use super::quota::Quota;
use super::recorded::{Received, Recogniser};

use stream::{Stream, recorded, recorded_channels};

/// Its row in the table.
pub(super) const ROW: Row = Row { name: "bitfinex", has_socket: true, make: |_| Box::new(Bitfinex::new()) };

/// Base, counter, and digits behind the point of a price.
#[rustfmt::skip]
const TRADING: &[(&str, &str, u32)] = &[
    ("BTC", "USD", 0), ("ETH", "USD", 1), ("SOL", "USD", 2), ("XRP", "USD", 5), ("LTC", "USD", 3),
    ("DOGE", "USD", 6), ("TRX", "USD", 6), ("TON", "USD", 4), ("LINK", "USD", 3), ("DOT", "USD", 4),
    ("EOS", "USD", 5), ("XLM", "USD", 6), ("SHIB", "USD", 9), ("USDT", "USD", 5), ("USDC", "USD", 5),
    ("BTC", "USDT", 0), ("ETH", "USDT", 1), ("SOL", "USDT", 2), ("XRP", "USDT", 5), ("LTC", "USDT", 3),
    ("DOGE", "USDT", 6), ("USDC", "USDT", 5), ("BTC", "EUR", 0), ("ETH", "EUR", 1), ("ETH", "BTC", 6),
];

static FORM: Form = Form {
    exchange: "bitfinex",
    code: |asset| match asset {
        "USDT" => "UST",
        "USDC" => "UDC",
        asset => asset,
    },
    symbol: |base, counter| match base.len() == 3 && counter.len() == 3 {
        true => format!("t{base}{counter}"),
        false => format!("t{base}:{counter}"),
    },
    split: |symbol| {
        let symbol = symbol.strip_prefix('t')?;
        symbol.split_once(':').or_else(|| symbol.split_at_checked(3))
    },
    open: &["trading"],
    closed: &["suspended"],
    closed_side: Some(Price::Missing),
};

/// Requests for tickers that one address may send within a minute, and how long it is blocked afterwards.
const REQUESTS: u32 = 30;
const WINDOW: Duration = Duration::from_secs(60);

struct Bitfinex {
    listings: Listings,
    quota: Quota,
}

impl Bitfinex {
    fn new() -> Self {
        Self { listings: Listings::new(&FORM, TRADING), quota: Quota::new(REQUESTS, WINDOW) }
    }

    fn tickers(&self, request: &Request, scene: &Scene<'_>) -> Reply {
        let Some(symbols) = request.parameter("symbols").filter(|symbols| !symbols.is_empty()) else {
            return error(500, 10020, "symbols: invalid").into();
        };
        // What is not known is left out, and so is what is muted.
        let told = |listing: &Listing| {
            let book = listing.shown(scene)?;
            Some(format!("[{},{}]", Value::from(listing.symbol.as_str()), numbers(&book)))
        };
        let asked: Vec<&Listing> = match symbols {
            "ALL" => self.listings.open().collect(),
            symbols => symbols.split(',').filter_map(|symbol| self.open(symbol)).collect(),
        };
        let rows: Vec<String> = asked.into_iter().filter_map(told).collect();
        Answer::json_text(200, format!("[{}]", rows.join(","))).into()
    }

    fn open(&self, symbol: &str) -> Option<&Listing> {
        self.listings.open().find(|listing| listing.symbol == symbol)
    }

    fn ticker(&self, symbol: &str, scene: &Scene<'_>) -> Reply {
        match self.open(symbol) {
            None => error(500, 10020, "symbol: invalid").into(),
            Some(listing) => listing
                .shown(scene)
                .map_or(Reply::Later, |book| Answer::json_text(200, format!("[{}]", numbers(&book))).into()),
        }
    }

    /// The lists that are asked for, in a list.
    fn lists(&self, keys: &str) -> Answer {
        let list = |key: &str| match key {
            "pub:list:pair:exchange" => {
                let name = |listing: &Listing| Value::from(listing.symbol.trim_start_matches('t'));
                self.listings.open().map(name).collect()
            }
            // The smallest and largest order stand fourth and fifth.
            "pub:info:pair" => {
                let limits = |listing: &Listing| {
                    let none = Value::Null;
                    json!([
                        listing.symbol.trim_start_matches('t'),
                        [none, none, none, "0.0001", "5000", none, none, none]
                    ])
                };
                self.listings.open().map(limits).collect()
            }
            "pub:list:currency" => {
                let codes = self.listings.open().flat_map(|listing| [&listing.base, &listing.counter]);
                json!(codes.collect::<BTreeSet<_>>())
            }
            "pub:map:currency:sym" => json!([["UDC", "USDC"], ["UST", "USDt"]]),
            _ => Value::Array(Vec::new()),
        };
        Answer::json(200, &keys.split(',').map(list).collect::<Vec<_>>())
    }
}

/// An error of REST: a status, a code, and words.
fn error(status: u16, code: u32, message: &str) -> Answer {
    Answer::json(status, &json!(["error", code, message]))
}

/// The numbers of a ticker: bid, its size, ask, its size, change of the day, the same as a part, last, volume, high, low.
fn numbers(book: &Book) -> String {
    let day = Day::of(book);
    [
        literal(book.bid.as_ref()),
        number::plain(book.bid_size),
        literal(book.ask.as_ref()),
        number::plain(book.ask_size),
        number::plain(day.last - day.open),
        "0.015".to_owned(),
        book.last.literal(),
        "1234.5".to_owned(),
        number::plain(day.high),
        number::plain(day.low),
    ]
    .join(",")
}

impl Protocol for Bitfinex {
    fn tick(&mut self, scene: &Scene<'_>) {
        self.listings.tick(scene);
    }

    fn listings(&self) -> Option<&Listings> {
        Some(&self.listings)
    }

    fn rest(&mut self, path: &str, request: &Request, client: IpAddr, scene: &Scene<'_>) -> Reply {
        let below = path.strip_prefix("/v2").unwrap_or_default();
        if below.starts_with("/ticker") && self.quota.take(&client.to_string(), 1, scene).is_err() {
            return self.refusal(429, None, scene).into();
        }
        match below {
            "/platform/status" => Answer::json(200, &[1]).into(),
            "/tickers" => self.tickers(request, scene),
            _ => match (below.strip_prefix("/ticker/"), below.strip_prefix("/conf/")) {
                (Some(symbol), _) => self.ticker(symbol, scene),
                (None, Some(keys)) => self.lists(keys).into(),
                (None, None) => Answer::json(404, &json!({ "error": "ERR_NOT_FOUND" })).into(),
            },
        }
    }

    fn open(&mut self, path: &str, _: &Request, _: &Scene<'_>) -> Result<Box<dyn Conversation>, Answer> {
        match path {
            "/ws/2" => Ok(Box::new(Stream::default())),
            _ => Err(Answer::json(404, &json!({ "error": "ERR_NOT_FOUND" }))),
        }
    }

    fn refusal(&self, status: u16, retry_after: Option<u64>, _: &Scene<'_>) -> Answer {
        let answer = match status {
            429 => error(429, 11010, "ratelimit: error"),
            403 => Answer::new(403, "text/html", "<html><head><title>403 Forbidden</title></head></html>"),
            400..=500 => error(status, 10000, "generic: error"),
            _ => Answer::new(status, "text/html", "<html><head><title>Server error</title></head></html>"),
        };
        answer.retry_after(retry_after)
    }

    fn command(&mut self, name: &str, body: &Value, scene: &Scene<'_>) -> Option<Result<Value, String>> {
        (name == "symbols").then(|| self.listings.command(body, scene))
    }

    fn recogniser(&self, frames: &[Received]) -> Option<Recogniser> {
        let channels = recorded_channels(frames);
        let read = move |frame: &[u8]| recorded(std::str::from_utf8(frame).ok()?, &channels);
        let frames = "channel `ticker`, each of whose numbers an event `subscribed` explains";
        Some(Recogniser { frames, read: Box::new(read) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_have_a_colon_where_a_code_is_long_and_tether_goes_by_its_own_code_here() {
        let bitfinex = Bitfinex::new();
        for symbol in ["tBTCUSD", "tUSTUSD", "tBTCUST", "tDOGE:USD", "tSHIB:USD"] {
            assert!(bitfinex.listings.get(symbol).is_some(), "{symbol}");
        }
        assert_eq!(bitfinex.listings.get("tUSTUSD").unwrap().direction(), "USDT-USD");
    }
}
