//! Gate spot, API v4, as its market-data clients see it.
//!
//! <https://www.gate.com/docs/developers/apiv4/>

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::market::number;

use super::book::{Book, Day, Price};
use super::http::{Answer, Request};
use super::listing::{Form, Listing, Listings};
use super::protocol::{Conversation, Frame, Protocol, Reply, Row, Say, Scene, SocketRules};
use super::quota::Quota;
use super::recorded::{Received, Recogniser, Recorded, Time, Told};

/// Its row in the table.
pub(super) const ROW: Row = Row { name: "gate", has_socket: true, make: |_| Box::new(Gate::new()) };

/// Base, counter, and digits behind the point of a price.
#[rustfmt::skip]
const TRADING: &[(&str, &str, u32)] = &[
    ("BTC", "USDT", 1), ("ETH", "USDT", 2), ("SOL", "USDT", 2), ("XRP", "USDT", 4), ("LTC", "USDT", 2),
    ("DOGE", "USDT", 5), ("TRX", "USDT", 5), ("TON", "USDT", 4), ("BNB", "USDT", 1), ("BCH", "USDT", 1),
    ("LINK", "USDT", 3), ("DOT", "USDT", 3), ("SHIB", "USDT", 9), ("EOS", "USDT", 4), ("XLM", "USDT", 5),
    ("USDC", "USDT", 4), ("BTC", "USDC", 1), ("ETH", "USDC", 2), ("ETH", "BTC", 5), ("XRP", "BTC", 8),
];

static FORM: Form = Form {
    exchange: "gate",
    code: |asset| if asset == "TON" { "GRAM" } else { asset },
    symbol: |base, counter| format!("{base}_{counter}"),
    split: |symbol| symbol.split_once('_'),
    open: &["tradable"],
    closed: &["untradable", "buyable", "sellable"],
    closed_side: Some(Price::Missing),
};

/// Requests that one address may send to one path, and in which time.
const REQUESTS: u32 = 200;
const WINDOW: Duration = Duration::from_secs(10);

/// Seconds by which the time that a client tells may be off.
const MAX_TIME_OFF: i64 = 60;

/// The channels that are spoken here.
const CHANNELS: [&str; 2] = ["spot.book_ticker", "spot.tickers"];

/// Codes of errors on the socket.
const INVALID_BODY: u8 = 1;
const INVALID_ARGUMENT: u8 = 2;

struct Gate {
    listings: Listings,
    quota: Quota,
}

impl Gate {
    fn new() -> Self {
        Self { listings: Listings::new(&FORM, TRADING), quota: Quota::new(REQUESTS, WINDOW) }
    }

    fn answer(&self, path: &str, request: &Request, scene: &Scene<'_>) -> Reply {
        if path == "/api/v4/margin/currency_pairs" {
            // Clients ask for it on their way to the spot market; nothing is lent here.
            return Answer::json(200, &json!([])).into();
        }
        let asked = request.parameter("currency_pair");
        match path.strip_prefix("/api/v4/spot").unwrap_or_default() {
            "/time" => Answer::json(200, &json!({ "server_time": scene.unix_ms() })).into(),
            "/tickers" => self.tickers(asked, scene),
            "/currency_pairs" => {
                Answer::json(200, &self.listings.all().map(listed).collect::<Vec<_>>()).into()
            }
            "/order_book" => match asked.and_then(|symbol| self.listings.get(symbol)) {
                Some(listing) => listing.shown(scene).map_or(Reply::Later, |book| {
                    Answer::json(200, &order_book(listing, &book, scene)).into()
                }),
                None => unknown_pair(asked.unwrap_or_default()).into(),
            },
            below => {
                match below.strip_prefix("/currency_pairs/").map(|symbol| (symbol, self.listings.get(symbol)))
                {
                    Some((_, Some(listing))) => Answer::json(200, &listed(listing)).into(),
                    Some((symbol, None)) => unknown_pair(symbol).into(),
                    None => error(404, "NOT_FOUND", "Not Found").into(),
                }
            }
        }
    }

    /// One ticker in a list of its own, or all of them. One that is muted is answered later, or left out.
    fn tickers(&self, asked: Option<&str>, scene: &Scene<'_>) -> Reply {
        let tell = |listing: &Listing| {
            listing.shown(scene).map(|book| ticker(&listing.symbol, listing.scale, &book))
        };
        match asked {
            None => Answer::json(200, &self.listings.open().filter_map(tell).collect::<Vec<_>>()).into(),
            Some(symbol) => match self.listings.get(symbol) {
                None => unknown_pair(symbol).into(),
                Some(listing) => tell(listing).map_or(Reply::Later, |told| Answer::json(200, &[told]).into()),
            },
        }
    }
}

/// An error of Gate: a status, a word for programs, and words for people.
fn error(status: u16, label: &str, message: &str) -> Answer {
    Answer::json(status, &json!({ "label": label, "message": message }))
}

fn unknown_pair(symbol: &str) -> Answer {
    error(400, "INVALID_CURRENCY_PAIR", &format!("Invalid currency pair {symbol}"))
}

fn listed(listing: &Listing) -> Value {
    let (base, counter) = (&listing.base, &listing.counter);
    json!({
        "id": listing.symbol, "base": base, "base_name": base, "quote": counter, "quote_name": counter, "fee": "0.2",
        "min_base_amount": "0.00001", "min_quote_amount": "3", "amount_precision": 5, "precision": listing.scale,
        "trade_status": listing.status, "sell_start": 0, "buy_start": 0, "type": "normal",
    })
}

fn printed(price: Option<&Price>, scale: u32) -> String {
    price.map_or(String::new(), |price| price.fixed(scale))
}

fn size(size: Decimal) -> String {
    number::plain(size)
}

/// A ticker, as REST and the socket tell it. A side that a fault took away is an empty text.
fn ticker(symbol: &str, scale: u32, book: &Book) -> Value {
    let day = Day::of(book);
    json!({
        "currency_pair": symbol,
        "last": printed(Some(&book.last), scale),
        "lowest_ask": printed(book.ask.as_ref(), scale),
        "lowest_size": size(book.ask_size),
        "highest_bid": printed(book.bid.as_ref(), scale),
        "highest_size": size(book.bid_size),
        "change_percentage": "1.52",
        "base_volume": "12345",
        "quote_volume": size(day.turnover),
        "high_24h": Price::Number(day.high).fixed(scale),
        "low_24h": Price::Number(day.low).fixed(scale),
    })
}

fn order_book(listing: &Listing, book: &Book, scene: &Scene<'_>) -> Value {
    let level = |price: Option<&Price>, amount| json!([[printed(price, listing.scale), size(amount)]]);
    json!({
        "current": scene.unix_ms(),
        "update": scene.unix_ms(),
        "asks": level(book.ask.as_ref(), book.ask_size),
        "bids": level(book.bid.as_ref(), book.bid_size),
    })
}

impl Protocol for Gate {
    fn tick(&mut self, scene: &Scene<'_>) {
        self.listings.tick(scene);
    }

    fn listings(&self) -> Option<&Listings> {
        Some(&self.listings)
    }

    fn rest(&mut self, path: &str, request: &Request, client: IpAddr, scene: &Scene<'_>) -> Reply {
        let resets_at = scene.wall + scene.scaled(WINDOW);
        let (left, answer) = match self.quota.take(&format!("{client}{path}"), 1, scene) {
            Ok(left) => (left, self.answer(path, request, scene)),
            Err(_) => (0, self.refusal(429, None, scene).into()),
        };
        match answer {
            Reply::Later => Reply::Later,
            Reply::Answer(answer) => answer
                .with("X-Gate-RateLimit-Requests-Remain", left)
                .with("X-Gate-RateLimit-Limit", REQUESTS)
                .with("X-Gate-RateLimit-Reset-Timestamp", resets_at.timestamp())
                .into(),
        }
    }

    fn open(&mut self, path: &str, _: &Request, _: &Scene<'_>) -> Result<Box<dyn Conversation>, Answer> {
        match path {
            "/ws/v4" => Ok(Box::new(Stream::default())),
            _ => Err(error(404, "NOT_FOUND", "Not Found")),
        }
    }

    fn refusal(&self, status: u16, retry_after: Option<u64>, _: &Scene<'_>) -> Answer {
        let answer = match status {
            429 => error(429, "TOO_MANY_REQUESTS", "Request Rate limit Exceeded"),
            403 => Answer::new(403, "text/html", "<html><head><title>403 Forbidden</title></head></html>"),
            400..=499 => error(status, "INVALID_REQUEST", "the request is refused"),
            500 => error(500, "SERVER_ERROR", "Internal server error"),
            _ => Answer::new(status, "text/html", "<html><head><title>Server error</title></head></html>"),
        };
        answer.retry_after(retry_after)
    }

    fn command(&mut self, name: &str, body: &Value, scene: &Scene<'_>) -> Option<Result<Value, String>> {
        (name == "symbols").then(|| self.listings.command(body, scene))
    }

    fn recogniser(&self, _: &[Received]) -> Option<Recogniser> {
        Some(Recogniser::of_text("channels `spot.book_ticker` and `spot.tickers`", recorded))
    }
}

/// Reads a recorded update of a channel that is spoken here.
fn recorded(text: &str) -> Option<Recorded> {
    let update: Value = serde_json::from_str(text).ok()?;
    let channel = CHANNELS.into_iter().find(|channel| update["channel"] == *channel)?;
    if update["event"] != "update" {
        return None;
    }
    let (told, is_best) = (&update["result"], channel == "spot.book_ticker");
    let member = |best: &str, ticker: &str| told[if is_best { best } else { ticker }].as_str();
    // Tickers have not always told the sizes.
    let size = |best: &str, ticker: &str| member(best, ticker).unwrap_or("0");
    let sides = [
        member("b", "highest_bid")?,
        size("B", "highest_size"),
        member("a", "lowest_ask")?,
        size("A", "lowest_size"),
    ];
    let best = Told::best(sides, told["last"].as_str(), told["u"].as_u64().unwrap_or_default())?;
    let recorded = Recorded::new(channel, member("s", "currency_pair")?, Some(best), text);
    Some(recorded.with_times(&[("time", Time::Seconds), ("time_ms", Time::Millis), ("t", Time::Millis)]))
}

/// A message of a client.
#[derive(Debug, Deserialize)]
struct Command {
    #[serde(default)]
    time: Value,
    #[serde(default)]
    id: Value,
    channel: String,
    #[serde(default)]
    event: String,
    #[serde(default)]
    payload: Vec<String>,
}

/// One WebSocket connection.
#[derive(Debug, Default)]
struct Stream {
    /// The pairs that are listened to, by channel.
    topics: BTreeMap<String, BTreeSet<String>>,
    symbols: BTreeSet<String>,
}

impl Stream {
    /// Carries a command out; in error, gives the code and why.
    fn obey(
        &mut self,
        command: &Command,
        protocol: &dyn Protocol,
        scene: &Scene<'_>,
    ) -> Result<(), (u8, String)> {
        let told = command.time.as_i64().or_else(|| command.time.as_str()?.parse().ok());
        let is_near = |told: i64| told.abs_diff(scene.wall.timestamp()) <= MAX_TIME_OFF.unsigned_abs();
        if !told.is_some_and(is_near) {
            return Err((
                INVALID_ARGUMENT,
                "invalid argument: time is missing or too far from now".to_owned(),
            ));
        }
        if !CHANNELS.contains(&command.channel.as_str()) {
            return Err((INVALID_ARGUMENT, format!("unknown channel {}", command.channel)));
        }
        let is_known = |symbol: &&String| protocol.book(symbol).is_some();
        if let Some(unknown) = command.payload.iter().find(|symbol| !is_known(symbol)) {
            return Err((INVALID_ARGUMENT, format!("unknown currency pair: {unknown}")));
        }
        let topic = self.topics.entry(command.channel.clone()).or_default();
        match command.event.as_str() {
            "subscribe" if command.payload.is_empty() => {
                return Err((INVALID_ARGUMENT, "empty payload".to_owned()));
            }
            "subscribe" => topic.extend(command.payload.iter().cloned()),
            "unsubscribe" => topic.retain(|symbol| !command.payload.contains(symbol)),
            event => return Err((INVALID_ARGUMENT, format!("unknown event {event}"))),
        }
        self.symbols = self.topics.values().flatten().cloned().collect();
        Ok(())
    }

    fn has(&self, channel: &str, symbol: &str) -> bool {
        self.topics.get(channel).is_some_and(|symbols| symbols.contains(symbol))
    }
}

/// A frame with the time, a channel, an event and what else it says.
fn frame(channel: &str, event: &str, rest: Value, scene: &Scene<'_>) -> Frame {
    let mut frame = json!({
        "time": scene.wall.timestamp(), "time_ms": scene.unix_ms(), "channel": channel, "event": event,
    });
    if let (Value::Object(frame), Value::Object(rest)) = (&mut frame, rest) {
        frame.extend(rest.into_iter().filter(|(name, value)| name != "id" || !value.is_null()));
    }
    Frame::Text(frame.to_string())
}

/// Digits behind the point of a price that was made for a grid; what is told keeps them.
fn scale_of(book: &Book) -> u32 {
    [&book.bid, &book.ask]
        .into_iter()
        .flatten()
        .filter_map(Price::number)
        .map(|price| price.scale())
        .max()
        .unwrap_or(2)
}

impl Conversation for Stream {
    fn rules(&self) -> SocketRules {
        SocketRules {
            pings: Some((Duration::from_secs(30), Duration::from_secs(60))),
            ..SocketRules::default()
        }
    }

    fn hear(&mut self, message: &[u8], protocol: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        let said = match serde_json::from_slice::<Command>(message) {
            Err(problem) => {
                let error =
                    json!({ "code": INVALID_BODY, "message": format!("invalid request body: {problem}") });
                frame("", "", json!({ "error": error, "result": null }), scene)
            }
            Ok(command) if command.channel == "spot.ping" => {
                frame("spot.pong", "", json!({ "error": null, "result": null }), scene)
            }
            Ok(command) => {
                let rest = match self.obey(&command, protocol, scene) {
                    Ok(()) => json!({
                        "id": command.id, "payload": command.payload, "error": null, "result": { "status": "success" },
                    }),
                    Err((code, message)) => json!({
                        "id": command.id, "error": { "code": code, "message": message }, "result": null,
                    }),
                };
                frame(&command.channel, &command.event, rest, scene)
            }
        };
        vec![Say::Control(said)]
    }

    fn symbols(&self) -> &BTreeSet<String> {
        &self.symbols
    }

    fn tell(&mut self, symbol: &str, book: &Book, scene: &Scene<'_>) -> Vec<Frame> {
        let scale = scale_of(book);
        let mut frames = Vec::new();
        if self.has("spot.book_ticker", symbol) {
            let result = json!({
                "t": scene.unix_ms(),
                "u": book.sequence,
                "s": symbol,
                "b": printed(book.bid.as_ref(), scale),
                "B": size(book.bid_size),
                "a": printed(book.ask.as_ref(), scale),
                "A": size(book.ask_size),
            });
            frames.push(frame("spot.book_ticker", "update", json!({ "result": result }), scene));
        }
        if self.has("spot.tickers", symbol) {
            let result = ticker(symbol, scale, book);
            frames.push(frame("spot.tickers", "update", json!({ "result": result }), scene));
        }
        frames
    }

    /// A ticker is told to those who listen to the best prices too, in the words of that channel.
    fn repeat(&mut self, recorded: &Recorded, scene: &Scene<'_>) -> Option<Frame> {
        if self.has(&recorded.topic, &recorded.symbol) {
            return Some(Frame::Text(recorded.told_at(scene.wall)));
        }
        match &recorded.told {
            Some(Told::Best(book)) => self.tell(&recorded.symbol, book, scene).pop(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_updates_are_recognised_with_what_they_tell() {
        let best = r#"{"channel":"spot.book_ticker","event":"update","result":{"u":7,"s":"ABC_USDT","b":"1.5","B":"2","a":"1.6","A":"3"}}"#;
        let ticker = r#"{"channel":"spot.tickers","event":"update","result":{"currency_pair":"ABC_USDT","last":"1.55","lowest_ask":"1.6","highest_bid":"1.5"}}"#;
        for (frame, topic, sequence) in [(best, "spot.book_ticker", 7), (ticker, "spot.tickers", 0)] {
            let recorded = recorded(frame).unwrap();
            assert_eq!((&*recorded.topic, &*recorded.symbol), (topic, "ABC_USDT"));
            let Some(Told::Best(book)) = recorded.told else { panic!("no book") };
            assert_eq!((book.bid.unwrap().fixed(1), book.sequence), ("1.5".to_owned(), sequence));
        }
        assert!(recorded(r#"{"channel":"spot.tickers","event":"subscribe","result":{}}"#).is_none());
        assert!(recorded("<html>").is_none());
    }
}
