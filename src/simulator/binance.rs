//! Binance spot, as its market-data clients see it.
//!
//! The symbols and their books are here; `rest` answers requests, `info` tells of symbols, `stream` is a WebSocket, and
//! `limits` counts weights.
//!
//! Roubles stopped trading there in January 2024, and its REST goes on naming such pairs with a frozen price: so do we.
//!
//! <https://developers.binance.com/docs/binance-spot-api-docs>

mod info;
mod limits;
mod rest;
mod stream;

use std::net::IpAddr;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::market::number;

use super::book::Price;
use super::http::{Answer, Request};
use super::listing::{Form, Listings, split_at_counter};
use super::protocol::{Conversation, Protocol, Reply, Row, Scene};
use super::recorded::{Received, Recogniser, Recorded, Told};

use limits::Limits;
use stream::Stream;

/// Its row in the table.
pub(super) const ROW: Row = Row { name: "binance", has_socket: true, make: |_| Box::new(Binance::new()) };

/// Base, counter, and digits behind the point of a price.
#[rustfmt::skip]
const TRADING: &[(&str, &str, u32)] = &[
    ("BTC", "USDT", 2), ("ETH", "USDT", 2), ("SOL", "USDT", 2), ("XRP", "USDT", 4), ("LTC", "USDT", 2),
    ("DOGE", "USDT", 5), ("TRX", "USDT", 5), ("TON", "USDT", 3), ("BNB", "USDT", 2), ("BCH", "USDT", 1),
    ("LINK", "USDT", 3), ("DOT", "USDT", 3), ("SHIB", "USDT", 8), ("USDC", "USDT", 4), ("EUR", "USDT", 4),
    ("BTC", "USDC", 2), ("ETH", "USDC", 2), ("SOL", "USDC", 2), ("XRP", "USDC", 4), ("EUR", "USDC", 4),
    ("BTC", "EUR", 2), ("ETH", "EUR", 2), ("SOL", "EUR", 2), ("XRP", "EUR", 4), ("LTC", "EUR", 2),
    ("DOGE", "EUR", 5), ("TRX", "EUR", 5), ("ETH", "BTC", 5), ("LTC", "BTC", 6), ("XRP", "BTC", 8),
    ("BNB", "BTC", 6), ("USDT", "TRY", 2), ("USDT", "BRL", 3), ("USDT", "ARS", 1), ("BTC", "TRY", 0),
];

/// The same for pairs that no longer trade.
const BROKEN: &[(&str, &str, u32)] = &[("BTC", "RUB", 0), ("ETH", "RUB", 1), ("USDT", "RUB", 2)];

static FORM: Form = Form {
    exchange: "binance",
    code: |asset| asset,
    symbol: |base, counter| format!("{base}{counter}"),
    split: split_at_counter,
    open: &["TRADING", "HALT", "CANCEL_ONLY"],
    closed: &["BREAK", "END_OF_DAY"],
    closed_side: Some(Price::Number(Decimal::ZERO)),
};

/// Binance spot.
pub(super) struct Binance {
    listings: Listings,
    limits: Limits,
}

impl Binance {
    fn new() -> Self {
        let mut listings = Listings::new(&FORM, TRADING);
        for (base, counter, scale) in BROKEN {
            listings.add(base, counter, *scale, FORM.closed[0]);
        }
        Self { listings, limits: Limits::default() }
    }
}

impl Protocol for Binance {
    fn tick(&mut self, scene: &Scene<'_>) {
        self.listings.tick(scene);
    }

    fn listings(&self) -> Option<&Listings> {
        Some(&self.listings)
    }

    fn rest(&mut self, path: &str, request: &Request, client: IpAddr, scene: &Scene<'_>) -> Reply {
        rest::answer(self, path, request, client, scene)
    }

    fn open(
        &mut self,
        path: &str,
        request: &Request,
        _: &Scene<'_>,
    ) -> Result<Box<dyn Conversation>, Answer> {
        Ok(Box::new(Stream::open(path, request)?))
    }

    fn refusal(&self, status: u16, retry_after: Option<u64>, scene: &Scene<'_>) -> Answer {
        limits::refusal(status, retry_after, scene)
    }

    fn command(&mut self, name: &str, body: &Value, scene: &Scene<'_>) -> Option<Result<Value, String>> {
        match name {
            "symbols" => Some(self.listings.command(body, scene)),
            "weight" => Some(match body["used_by_others"].as_u64() {
                Some(used) => {
                    self.limits.pretend(used);
                    Ok(json!({ "used_by_others": used }))
                }
                None => Err("`weight` takes {\"used_by_others\":4000}".to_owned()),
            }),
            _ => None,
        }
    }

    fn recogniser(&self, _: &[Received]) -> Option<Recogniser> {
        Some(Recogniser::of_text("streams `<symbol>@bookTicker`, and trades beside them", recorded))
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    stream: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct BestPrices<'a> {
    u: u64,
    s: &'a str,
    b: &'a str,
    #[serde(rename = "B")]
    bid_size: &'a str,
    a: &'a str,
    #[serde(rename = "A")]
    ask_size: &'a str,
}

#[derive(Deserialize)]
struct Trade<'a> {
    p: &'a str,
}

/// Reads a recorded frame: in the envelope of combined streams, or a best price without one.
fn recorded(text: &str) -> Option<Recorded> {
    let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(text) else {
        let best: BestPrices<'_> = serde_json::from_str(text).ok()?;
        let topic = format!("{}@bookTicker", best.s.to_ascii_lowercase());
        return Some(Recorded::new(&topic, best.s, Some(best_told(text)?), text));
    };
    let (symbol, channel) = envelope.stream.split_once('@')?;
    let payload = envelope.data.get();
    let told = match channel {
        "bookTicker" => Some(best_told(payload)?),
        "trade" | "aggTrade" => {
            let trade: Trade<'_> = serde_json::from_str(payload).ok()?;
            Some(Told::Last(Price::Number(number::decimal(trade.p)?)))
        }
        _ => None,
    };
    Some(Recorded::new(envelope.stream, &symbol.to_ascii_uppercase(), told, payload))
}

fn best_told(payload: &str) -> Option<Told> {
    let best: BestPrices<'_> = serde_json::from_str(payload).ok()?;
    Told::best([best.b, best.bid_size, best.a, best.ask_size], None, best.u)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_frames_are_recognised_with_what_they_tell() {
        let best = r#"{"u":7,"s":"ABCUSDT","b":"1.50000000","B":"2.0","a":"1.60000000","A":"3.0"}"#;
        let combined = format!(r#"{{"stream":"abcusdt@bookTicker","data":{best}}}"#);
        for frame in [best, combined.as_str()] {
            let recorded = recorded(frame).unwrap();
            assert_eq!((&*recorded.topic, &*recorded.symbol), ("abcusdt@bookTicker", "ABCUSDT"));
            assert_eq!(recorded.payload, best);
            let Some(Told::Best(book)) = recorded.told else { panic!("no book") };
            assert_eq!((book.bid.unwrap().fixed(1), book.sequence), ("1.5".to_owned(), 7));
        }
        let trade = r#"{"stream":"abcusdt@trade","data":{"e":"trade","p":"1.55"}}"#;
        assert!(matches!(recorded(trade).unwrap().told, Some(Told::Last(_))));
        assert!(recorded(r#"{"lastUpdateId":1,"bids":[],"asks":[]}"#).is_none());
        assert!(recorded("<html>").is_none());
    }
}
