//! HTX spot, as its market-data clients see it.
//!
//! Every frame of the server is a gzip of its own, its pings are JSON, and one message subscribes to one topic.
//!
//! <https://huobiapi.github.io/docs/spot/v1/en/>

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::market::number;

use super::book::{Book, Day, Price, literal};
use super::http::{Answer, Request};
use super::listing::{Form, Listing, Listings, split_at_counter};
use super::protocol::{Conversation, Frame, Protocol, Reply, Row, Say, Scene, SocketRules};
use super::quota::Quota;
use super::recorded::{Received, Recogniser, Recorded, Time, Told};

/// Its row in the table.
pub(super) const ROW: Row = Row { name: "htx", has_socket: true, make: |_| Box::new(Htx::new()) };

/// Base, counter, and digits behind the point of a price.
#[rustfmt::skip]
const TRADING: &[(&str, &str, u32)] = &[
    ("BTC", "USDT", 2), ("ETH", "USDT", 2), ("SOL", "USDT", 4), ("XRP", "USDT", 5), ("LTC", "USDT", 2),
    ("DOGE", "USDT", 6), ("TRX", "USDT", 6), ("TON", "USDT", 4), ("BCH", "USDT", 2), ("LINK", "USDT", 4),
    ("DOT", "USDT", 4), ("SHIB", "USDT", 9), ("EOS", "USDT", 4), ("USDC", "USDT", 4), ("BTC", "USDC", 2),
    ("ETH", "USDC", 2), ("ETH", "BTC", 6),
];

static FORM: Form = Form {
    exchange: "htx",
    code: |asset| if asset == "TON" { "GRAM" } else { asset },
    symbol: |base, counter| format!("{base}{counter}").to_ascii_lowercase(),
    split: split_at_counter,
    open: &["online"],
    closed: &["offline", "suspend", "pre-online"],
    closed_side: Some(Price::Missing),
};

/// Requests that one address may send within a second.
const REQUESTS: u32 = 10;
const WINDOW: Duration = Duration::from_secs(1);

/// Time between two pings, and how many may be without an answer when the next one is due.
const PING_EVERY: Duration = Duration::from_secs(5);
const MAX_UNANSWERED: usize = 2;

/// Largest recorded frame that is read, unpacked. Best prices have some 200 bytes, depths some 100 kB.
const MAX_UNPACKED: u64 = 1024 * 1024;

struct Htx {
    listings: Listings,
    quota: Quota,
}

impl Htx {
    fn new() -> Self {
        Self { listings: Listings::new(&FORM, TRADING), quota: Quota::new(REQUESTS, WINDOW) }
    }

    fn merged(&self, request: &Request, scene: &Scene<'_>) -> Reply {
        let symbol = request.parameter("symbol").unwrap_or_default();
        let Some(listing) = self.listings.get(symbol) else {
            return refused("invalid-parameter", "invalid symbol").into();
        };
        let Some(book) = listing.shown(scene) else { return Reply::Later };
        let (bid, ask) = (literal(book.bid.as_ref()), literal(book.ask.as_ref()));
        let (bid_size, ask_size) = (number::plain(book.bid_size), number::plain(book.ask_size));
        let text = format!(
            r#"{{"ch":"market.{symbol}.detail.merged","status":"ok","ts":{ts},"tick":{{"id":{id},"version":{id},{day},"bid":[{bid},{bid_size}],"ask":[{ask},{ask_size}]}}}}"#,
            ts = scene.unix_ms(),
            id = book.sequence,
            day = day(&book),
        );
        Answer::json_text(200, text).into()
    }

    fn tickers(&self, scene: &Scene<'_>) -> Reply {
        let told = |listing: &Listing| {
            let book = listing.shown(scene)?;
            Some(format!(
                r#"{{"symbol":"{}",{},"bid":{},"bidSize":{},"ask":{},"askSize":{}}}"#,
                listing.symbol,
                day(&book),
                literal(book.bid.as_ref()),
                number::plain(book.bid_size),
                literal(book.ask.as_ref()),
                number::plain(book.ask_size),
            ))
        };
        let rows: Vec<String> = self.listings.open().filter_map(told).collect();
        let text = format!(r#"{{"status":"ok","ts":{},"data":[{}]}}"#, scene.unix_ms(), rows.join(","));
        Answer::json_text(200, text).into()
    }
}

/// The members that tell of the day, of which `close` is the last price.
fn day(book: &Book) -> String {
    let day = Day::of(book);
    format!(
        r#""open":{},"high":{},"low":{},"close":{},"amount":12345,"vol":{},"count":4321"#,
        number::plain(day.open),
        number::plain(day.high),
        number::plain(day.low),
        book.last.literal(),
        number::plain(day.turnover),
    )
}

fn listed(listing: &Listing) -> Value {
    let code = |code: &str| code.to_ascii_lowercase();
    json!({
        "base-currency": code(&listing.base), "quote-currency": code(&listing.counter), "price-precision": listing.scale,
        "amount-precision": 6, "symbol-partition": "main", "symbol": listing.symbol, "state": listing.status,
        "value-precision": 8, "min-order-amt": 0.0001, "max-order-amt": 1000, "min-order-value": 10,
        "api-trading": "enabled",
    })
}

/// An error, which HTX tells with a status of success.
fn refused(code: &str, message: &str) -> Answer {
    Answer::json(200, &json!({ "status": "error", "err-code": code, "err-msg": message, "data": null }))
}

impl Protocol for Htx {
    fn tick(&mut self, scene: &Scene<'_>) {
        self.listings.tick(scene);
    }

    fn listings(&self) -> Option<&Listings> {
        Some(&self.listings)
    }

    fn rest(&mut self, path: &str, request: &Request, client: IpAddr, scene: &Scene<'_>) -> Reply {
        if self.quota.take(&client.to_string(), 1, scene).is_err() {
            return self.refusal(429, None, scene).into();
        }
        match path {
            "/market/tickers" => self.tickers(scene),
            "/market/detail/merged" => self.merged(request, scene),
            "/v1/common/symbols" => {
                let data: Vec<Value> = self.listings.all().map(listed).collect();
                Answer::json(200, &json!({ "status": "ok", "data": data })).into()
            }
            "/v1/common/timestamp" => {
                Answer::json(200, &json!({ "status": "ok", "data": scene.unix_ms() })).into()
            }
            _ => Answer::json(404, &json!({ "status": "error", "err-code": "not-found", "err-msg": "" }))
                .into(),
        }
    }

    fn open(&mut self, path: &str, _: &Request, _: &Scene<'_>) -> Result<Box<dyn Conversation>, Answer> {
        match path {
            "/ws" => Ok(Box::new(Stream::default())),
            _ => Err(Answer::new(404, "text/plain", "Not Found")),
        }
    }

    fn refusal(&self, status: u16, retry_after: Option<u64>, _: &Scene<'_>) -> Answer {
        let code =
            if status == 429 { "base-request-exceed-frequency-limit" } else { "gateway-internal-error" };
        let answer = match status {
            403 => Answer::new(403, "text/html", "<html><head><title>403 Forbidden</title></head></html>"),
            502..=504 => {
                Answer::new(status, "text/html", "<html><head><title>Server error</title></head></html>")
            }
            _ => Answer { status, ..refused(code, "the request is refused") },
        };
        answer.retry_after(retry_after)
    }

    fn command(&mut self, name: &str, body: &Value, scene: &Scene<'_>) -> Option<Result<Value, String>> {
        (name == "symbols").then(|| self.listings.command(body, scene))
    }

    fn recogniser(&self, _: &[Received]) -> Option<Recogniser> {
        Some(Recogniser { frames: "topics `market.<symbol>.bbo`", read: Box::new(recorded) })
    }
}

/// A message as the server sends it.
fn packed(text: &str) -> Frame {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    Frame::Binary(Bytes::from(packed.unwrap_or_default()))
}

fn control(value: &Value) -> Say {
    Say::Control(packed(&value.to_string()))
}

/// The symbol of a topic of best prices.
fn symbol_of(topic: &str) -> Option<&str> {
    topic.strip_prefix("market.")?.strip_suffix(".bbo")
}

#[derive(Deserialize)]
struct Pushed<'a> {
    ch: &'a str,
    #[serde(borrow)]
    tick: RecordedTick<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordedTick<'a> {
    seq_id: u64,
    #[serde(borrow)]
    bid: &'a RawValue,
    #[serde(borrow)]
    bid_size: &'a RawValue,
    #[serde(borrow)]
    ask: &'a RawValue,
    #[serde(borrow)]
    ask_size: &'a RawValue,
}

/// Reads recorded best prices, packed or not; `None` if it is anything else.
fn recorded(frame: &[u8]) -> Option<Recorded> {
    let mut unpacked = String::new();
    let text = match GzDecoder::new(frame).take(MAX_UNPACKED).read_to_string(&mut unpacked) {
        Ok(_) => &unpacked,
        Err(_) => std::str::from_utf8(frame).ok()?,
    };
    let Pushed { ch, tick } = serde_json::from_str(text).ok()?;
    let sides = [tick.bid, tick.bid_size, tick.ask, tick.ask_size].map(RawValue::get);
    let told = Told::best(sides, None, tick.seq_id)?;
    let recorded = Recorded::new(ch, symbol_of(ch)?, Some(told), text);
    Some(recorded.with_times(&[("ts", Time::Millis), ("quoteTime", Time::Millis)]))
}

/// One WebSocket connection.
#[derive(Debug, Default)]
struct Stream {
    symbols: BTreeSet<String>,
    pinged_at: Option<Instant>,
    /// Pings without an answer so far.
    unanswered: Vec<i64>,
}

impl Stream {
    fn subscribe(&mut self, topic: &str, id: &Value, protocol: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        let found = symbol_of(topic).and_then(|symbol| Some((symbol, protocol.book(symbol)?)));
        let Some((symbol, book)) = found else {
            return vec![bad_request(&format!("invalid topic {topic}"), id, scene)];
        };
        self.symbols.insert(symbol.to_owned());
        let acknowledged = json!({ "id": id, "status": "ok", "subbed": topic, "ts": scene.unix_ms() });
        let snapshot =
            scene.first_shown(&[symbol], book).map(|book| Say::Data(best_prices(symbol, &book, scene)));
        [control(&acknowledged)].into_iter().chain(snapshot).collect()
    }

    fn unsubscribe(&mut self, topic: &str, id: &Value, scene: &Scene<'_>) -> Say {
        match symbol_of(topic).is_some_and(|symbol| self.symbols.remove(symbol)) {
            true => control(&json!({ "id": id, "status": "ok", "unsubbed": topic, "ts": scene.unix_ms() })),
            false => bad_request(&format!("unsub with not subbed topic {topic}"), id, scene),
        }
    }
}

fn bad_request(message: &str, id: &Value, scene: &Scene<'_>) -> Say {
    let ts = scene.unix_ms();
    control(&json!({ "status": "error", "ts": ts, "id": id, "err-code": "bad-request", "err-msg": message }))
}

fn best_prices(symbol: &str, book: &Book, scene: &Scene<'_>) -> Frame {
    packed(&format!(
        r#"{{"ch":"market.{symbol}.bbo","ts":{ts},"tick":{{"seqId":{},"ask":{},"askSize":{},"bid":{},"bidSize":{},"quoteTime":{ts},"symbol":"{symbol}"}}}}"#,
        book.sequence,
        literal(book.ask.as_ref()),
        number::plain(book.ask_size),
        literal(book.bid.as_ref()),
        number::plain(book.bid_size),
        ts = scene.unix_ms(),
    ))
}

impl Conversation for Stream {
    fn rules(&self) -> SocketRules {
        SocketRules::default()
    }

    fn hear(&mut self, message: &[u8], protocol: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        let Ok(message) = serde_json::from_slice::<Value>(message) else {
            return vec![bad_request("invalid command", &Value::Null, scene)];
        };
        if let Some(pong) = message["pong"].as_i64() {
            if let Some(index) = self.unanswered.iter().position(|ping| *ping == pong) {
                self.unanswered.drain(..=index);
            }
            return Vec::new();
        }
        if let Some(ping) = message["ping"].as_i64() {
            return vec![control(&json!({ "pong": ping }))];
        }
        let id = &message["id"];
        match (message["sub"].as_str(), message["unsub"].as_str()) {
            (Some(topic), _) => self.subscribe(topic, id, protocol, scene),
            (None, Some(topic)) => vec![self.unsubscribe(topic, id, scene)],
            (None, None) => vec![bad_request("invalid command", id, scene)],
        }
    }

    fn symbols(&self) -> &BTreeSet<String> {
        &self.symbols
    }

    fn tell(&mut self, symbol: &str, book: &Book, scene: &Scene<'_>) -> Vec<Frame> {
        vec![best_prices(symbol, book, scene)]
    }

    fn repeat(&mut self, recorded: &Recorded, scene: &Scene<'_>) -> Option<Frame> {
        self.symbols.contains(&*recorded.symbol).then(|| packed(&recorded.told_at(scene.wall)))
    }

    /// Pings, and hangs up on a client that does not answer.
    fn beat(&mut self, _: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        let pinged_at = *self.pinged_at.get_or_insert(scene.now);
        if scene.now.duration_since(pinged_at) < scene.scaled(PING_EVERY) {
            return Vec::new();
        }
        self.pinged_at = Some(scene.now);
        if self.unanswered.len() >= MAX_UNANSWERED {
            return vec![Say::Close(1003, "ping check expired".to_owned())];
        }
        let ping = scene.unix_ms();
        self.unanswered.push(ping);
        vec![control(&json!({ "ping": ping }))]
    }
}
