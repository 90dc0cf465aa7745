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

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::market::number;

use super::book::{Book, Price};
use super::http::{Answer, Request};
use super::listed::{book_around, digits};
use super::protocol::{Conversation, Protocol, Reply, Row, Scene};
use super::replay::{Recorded, Told};
use super::truth;

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

/// Words that a symbol's status may have; `ABSENT` takes it off the list.
const STATUSES: [&str; 6] = ["TRADING", "END_OF_DAY", "HALT", "BREAK", "CANCEL_ONLY", "ABSENT"];

/// Counters by which a recorded symbol is taken apart, the longer ones first.
const COUNTERS: [&str; 10] = ["FDUSD", "USDT", "USDC", "BUSD", "TUSD", "BTC", "ETH", "BNB", "EUR", "TRY"];

/// One symbol.
#[derive(Debug, Clone)]
struct Symbol {
    name: String,
    base: String,
    counter: String,
    scale: u32,
    status: &'static str,
    book: Book,
    /// Milliseconds since 1970 of the last change.
    changed_at_ms: i64,
}

impl Symbol {
    fn new(base: &str, counter: &str, scale: u32, status: &'static str) -> Self {
        Self {
            name: format!("{base}{counter}"),
            base: base.to_owned(),
            counter: counter.to_owned(),
            scale,
            status,
            book: Book {
                bid_size: Decimal::ZERO,
                ask_size: Decimal::ZERO,
                ..Book::around(Decimal::ONE, scale, 0)
            },
            changed_at_ms: 0,
        }
    }

    /// Whether it has a book: one that is halted keeps it, one on a break has only its last price.
    fn has_book(&self) -> bool {
        matches!(self.status, "TRADING" | "HALT" | "CANCEL_ONLY")
    }

    fn direction(&self) -> String {
        format!("{}-{}", self.base, self.counter)
    }

    /// Follows the truth.
    fn tick(&mut self, scene: &Scene<'_>) {
        let has_never_traded = self.book.sequence == 0;
        if !(self.has_book() || has_never_traded) {
            return;
        }
        let Some(price) = scene.truth.price(&self.base, &self.counter) else { return };
        let book = book_around(&self.name, price, self.scale, scene.truth);
        self.book = Book { sequence: scene.next_sequence(), ..book };
        self.changed_at_ms = scene.unix_ms();
        if !self.has_book() {
            let zero = || Some(Price::Number(Decimal::ZERO));
            self.book = Book {
                bid: zero(),
                ask: zero(),
                bid_size: Decimal::ZERO,
                ask_size: Decimal::ZERO,
                ..self.book.clone()
            };
        }
    }
}

/// Binance spot.
pub(super) struct Binance {
    symbols: BTreeMap<String, Symbol>,
    limits: Limits,
}

impl Binance {
    fn new() -> Self {
        let of = |list: &[(&str, &str, u32)], status| {
            list.iter()
                .map(move |(base, counter, scale)| Symbol::new(base, counter, *scale, status))
                .collect::<Vec<_>>()
        };
        let all = of(TRADING, "TRADING").into_iter().chain(of(BROKEN, "BREAK"));
        let symbols = all.map(|symbol| (symbol.name.clone(), symbol)).collect();
        Self { symbols, limits: Limits::default() }
    }

    /// Lists symbols that are known from recordings alone.
    fn list_recorded(&mut self, scene: &Scene<'_>) {
        for name in scene.recordings.iter().flat_map(|recording| recording.symbols()) {
            if !self.symbols.contains_key(name) {
                let counter = COUNTERS.into_iter().find(|counter| name.ends_with(counter)).unwrap_or("");
                let base = name.strip_suffix(counter).unwrap_or(name);
                self.symbols.insert(name.to_owned(), Symbol::new(base, counter, 8, "TRADING"));
            }
        }
    }

    /// Changes the status of a symbol, or lists a new one.
    fn set_status(&mut self, body: &Value, scene: &Scene<'_>) -> Result<Value, String> {
        let usage = || {
            format!(
                "`symbols` takes {{\"symbol\":\"BTCUSD\",\"status\":\"TRADING\"}} (allowed statuses: {})",
                STATUSES.join(", ")
            )
        };
        let name = body["symbol"].as_str().ok_or_else(usage)?;
        let status = body["status"].as_str().ok_or_else(usage)?;
        let status = STATUSES.into_iter().find(|known| *known == status).ok_or_else(usage)?;
        if status == "ABSENT" {
            self.symbols.remove(name);
            return Ok(json!({ "symbol": name, "status": status }));
        }
        if !self.symbols.contains_key(name) {
            let (base, counter) = taken_apart(name)
                .ok_or_else(|| format!("`{name}` is not made of two assets that have a true price here"))?;
            let price = scene.truth.price(base, counter).unwrap_or(Decimal::ONE);
            self.symbols.insert(name.to_owned(), Symbol::new(base, counter, digits(price), status));
        }
        if let Some(symbol) = self.symbols.get_mut(name) {
            symbol.tick(scene);
            symbol.status = status;
            if !symbol.has_book() {
                symbol.book.bid = Some(Price::Number(Decimal::ZERO));
                symbol.book.ask = Some(Price::Number(Decimal::ZERO));
            }
        }
        Ok(json!({ "symbol": name, "status": status }))
    }
}

/// A symbol's base and counter, both with a true price.
fn taken_apart(name: &str) -> Option<(&'static str, &'static str)> {
    truth::codes().find_map(|base| {
        let rest = name.strip_prefix(base)?;
        truth::codes().find(|code| *code == rest).map(|counter| (base, counter))
    })
}

impl Protocol for Binance {
    fn tick(&mut self, scene: &Scene<'_>) {
        self.list_recorded(scene);
        for symbol in self.symbols.values_mut() {
            if scene.truth.is_turn_of(&symbol.name) || symbol.book.sequence == 0 {
                symbol.tick(scene);
            }
        }
    }

    fn book(&self, symbol: &str) -> Option<Book> {
        let symbol = self.symbols.get(symbol)?;
        symbol.has_book().then(|| symbol.book.clone())
    }

    fn quotes(&self, _: &Scene<'_>) -> Vec<(String, String, Book)> {
        let told = |symbol: &Symbol| (symbol.direction(), symbol.name.clone(), symbol.book.clone());
        self.symbols.values().filter(|symbol| symbol.has_book()).map(told).collect()
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
            "symbols" => Some(self.set_status(body, scene)),
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

    fn recognise(&self, frame: &[u8]) -> Option<Recorded> {
        recorded(frame)
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
fn recorded(frame: &[u8]) -> Option<Recorded> {
    let text = std::str::from_utf8(frame).ok()?;
    let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(text) else {
        let best: BestPrices<'_> = serde_json::from_str(text).ok()?;
        let topic = format!("{}@bookTicker", best.s.to_ascii_lowercase());
        let symbol = best.s.into();
        return Some(Recorded { topic: topic.into(), symbol, told: best_told(text), payload: text.into() });
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
    Some(Recorded {
        topic: envelope.stream.into(),
        symbol: Rc::from(symbol.to_ascii_uppercase()),
        told,
        payload: payload.into(),
    })
}

fn best_told(payload: &str) -> Option<Told> {
    let best: BestPrices<'_> = serde_json::from_str(payload).ok()?;
    let price = |text: &str| number::decimal(text).map(Price::Number);
    Some(Told::Best(Box::new(Book {
        bid: Some(price(best.b)?),
        bid_size: number::decimal(best.bid_size)?,
        ask: Some(price(best.a)?),
        ask_size: number::decimal(best.ask_size)?,
        last: price(best.b)?,
        sequence: best.u,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_frames_are_recognised_with_what_they_tell() {
        let best = r#"{"u":7,"s":"ABCUSDT","b":"1.50000000","B":"2.0","a":"1.60000000","A":"3.0"}"#;
        let combined = format!(r#"{{"stream":"abcusdt@bookTicker","data":{best}}}"#);
        for frame in [best, combined.as_str()] {
            let recorded = recorded(frame.as_bytes()).unwrap();
            assert_eq!((&*recorded.topic, &*recorded.symbol), ("abcusdt@bookTicker", "ABCUSDT"));
            assert_eq!(&*recorded.payload, best);
            let Some(Told::Best(book)) = recorded.told else { panic!("no book") };
            assert_eq!((book.bid.unwrap().fixed(1), book.sequence), ("1.5".to_owned(), 7));
        }
        let trade = br#"{"stream":"abcusdt@trade","data":{"e":"trade","p":"1.55"}}"#;
        assert!(matches!(recorded(trade).unwrap().told, Some(Told::Last(_))));
        assert!(recorded(br#"{"lastUpdateId":1,"bids":[],"asks":[]}"#).is_none());
        assert!(recorded(b"<html>").is_none());
    }

    #[test]
    fn symbols_are_taken_apart_into_assets_with_a_price() {
        assert_eq!(taken_apart("BTCUSD"), Some(("BTC", "USD")));
        assert_eq!(taken_apart("USDTUSD"), Some(("USDT", "USD")));
        assert_eq!(taken_apart("GRAMUSDT"), Some(("GRAM", "USDT")));
        assert_eq!(taken_apart("FOOUSD"), None);
    }
}
