//! Bitfinex v2, as its market-data clients see it: the ticker channel, and tickers by REST.
//!
//! <https://docs.bitfinex.com/docs>

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::market::number;

use super::book::{Book, Day, Price, literal};
use super::http::{Answer, Request};
use super::listing::{Form, Listing, Listings};
use super::protocol::{Conversation, Frame, Protocol, Reply, Row, Say, Scene, SocketRules};
use super::quota::Quota;
use super::recorded::{Received, Recogniser, Recorded, Told};

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

/// Channels of one connection.
const MAX_CHANNELS: usize = 25;

/// Silence of a channel after which it beats.
const BEAT_AFTER: Duration = Duration::from_secs(15);

/// A flag of a connection: every message ends with a number that counts them.
const NUMBERED: u64 = 65_536;

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

/// The symbols of the recorded channels of tickers, by their numbers, which no two connections have in common.
fn recorded_channels(frames: &[Received]) -> BTreeMap<u64, String> {
    let channel = |(_, frame): &Received| {
        let event: Command = serde_json::from_slice(frame).ok()?;
        (event.event == "subscribed" && event.channel == "ticker").then_some((event.chan_id, event.symbol))
    };
    frames.iter().filter_map(channel).collect()
}

/// Reads a recorded ticker; `None` if it is anything else. What it is told with again is a number and a count of the
/// connection that hears it.
fn recorded(text: &str, channels: &BTreeMap<u64, String>) -> Option<Recorded> {
    let parts: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    let symbol = channels.get(&parts.first()?.get().parse().ok()?)?;
    let content = parts.get(1)?.get();
    let numbers: Vec<&RawValue> = serde_json::from_str(content).ok()?;
    let number = |place: usize| numbers.get(place).map(|number| number.get());
    let told = Told::best([number(0)?, number(1)?, number(2)?, number(3)?], Some(number(6)?), 0)?;
    Some(Recorded::new("ticker", symbol, Some(told), content))
}

/// A message of a client.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Command {
    event: String,
    #[serde(default)]
    channel: String,
    #[serde(default)]
    symbol: String,
    #[serde(default)]
    chan_id: u64,
    #[serde(default)]
    flags: u64,
    #[serde(default)]
    cid: Value,
    #[serde(default)]
    sub_id: Value,
}

/// One WebSocket connection.
#[derive(Debug, Default)]
struct Stream {
    /// Number of the channel and time of its last frame, by symbol.
    channels: BTreeMap<String, (u64, Option<Instant>)>,
    symbols: BTreeSet<String>,
    /// How many messages were numbered; `None` while they are not.
    num_messages: Option<u64>,
}

impl Stream {
    /// A frame of a channel.
    fn frame(&mut self, channel: u64, content: &str) -> Frame {
        Frame::Text(match &mut self.num_messages {
            Some(count) => {
                *count += 1;
                format!("[{channel},{content},{count}]")
            }
            None => format!("[{channel},{content}]"),
        })
    }

    fn subscribe(&mut self, command: &Command, protocol: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        let refuse = |code: u32, message: &str| {
            let (channel, symbol) = (&command.channel, &command.symbol);
            vec![event(json!({
                "event": "error", "msg": message, "code": code, "channel": channel, "symbol": symbol,
            }))]
        };
        let book = protocol.book(&command.symbol);
        let Some(book) = book.filter(|_| command.channel == "ticker") else {
            return match command.channel.as_str() {
                "ticker" => refuse(10300, "symbol: invalid"),
                _ => refuse(10302, "channel: unknown"),
            };
        };
        if self.channels.contains_key(&command.symbol) {
            return refuse(10301, "subscribe: dup");
        }
        if self.channels.len() >= MAX_CHANNELS {
            return refuse(10305, "subscribe: limit");
        }
        // Another number with every subscription, as on the real exchange.
        let number = 200_000 + scene.next_sequence() % 800_000;
        self.channels.insert(command.symbol.clone(), (number, Some(scene.now)));
        self.symbols.insert(command.symbol.clone());
        let mut acknowledged = json!({
            "event": "subscribed", "channel": "ticker", "chanId": number, "symbol": command.symbol,
            "pair": command.symbol.trim_start_matches('t'),
        });
        if !command.sub_id.is_null() {
            acknowledged["subId"] = command.sub_id.clone();
        }
        let snapshot = scene.first_shown(&[&command.symbol], book);
        let snapshot = snapshot.map(|book| Say::Data(self.frame(number, &format!("[{}]", numbers(&book)))));
        [event(acknowledged)].into_iter().chain(snapshot).collect()
    }

    fn unsubscribe(&mut self, number: u64) -> Value {
        let symbol =
            self.channels.iter().find(|(_, (open, _))| *open == number).map(|(symbol, _)| symbol.clone());
        let Some(symbol) = symbol else {
            return json!({ "event": "error", "msg": "unsubscribe: invalid", "code": 10400, "chanId": number });
        };
        self.channels.remove(&symbol);
        self.symbols.remove(&symbol);
        json!({ "event": "unsubscribed", "status": "OK", "chanId": number })
    }
}

fn event(event: Value) -> Say {
    Say::Control(Frame::Text(event.to_string()))
}

impl Conversation for Stream {
    fn rules(&self) -> SocketRules {
        SocketRules::default()
    }

    fn greet(&mut self, _: &Scene<'_>) -> Vec<Say> {
        let server = "6a1b2c3d-0000-4000-8000-5e6f70819203";
        vec![event(json!({ "event": "info", "version": 2, "serverId": server, "platform": { "status": 1 } }))]
    }

    fn hear(&mut self, message: &[u8], protocol: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        let Ok(command) = serde_json::from_slice::<Command>(message) else {
            return vec![event(json!({ "event": "error", "msg": "event: invalid", "code": 10000 }))];
        };
        match command.event.as_str() {
            "ping" => vec![event(json!({ "event": "pong", "ts": scene.unix_ms(), "cid": command.cid }))],
            "conf" => {
                let is_numbered = command.flags & NUMBERED != 0;
                self.num_messages = is_numbered.then(|| self.num_messages.unwrap_or(0));
                vec![event(json!({ "event": "conf", "status": "OK", "flags": command.flags }))]
            }
            "subscribe" => self.subscribe(&command, protocol, scene),
            "unsubscribe" => vec![event(self.unsubscribe(command.chan_id))],
            _ => vec![event(json!({ "event": "error", "msg": "event: unknown", "code": 10000 }))],
        }
    }

    fn symbols(&self) -> &BTreeSet<String> {
        &self.symbols
    }

    fn tell(&mut self, symbol: &str, book: &Book, scene: &Scene<'_>) -> Vec<Frame> {
        let Some((number, told_at)) = self.channels.get_mut(symbol) else { return Vec::new() };
        *told_at = Some(scene.now);
        let number = *number;
        vec![self.frame(number, &format!("[{}]", numbers(book)))]
    }

    fn repeat(&mut self, recorded: &Recorded, scene: &Scene<'_>) -> Option<Frame> {
        let (number, told_at) = self.channels.get_mut(&*recorded.symbol)?;
        *told_at = Some(scene.now);
        let number = *number;
        Some(self.frame(number, &recorded.payload))
    }

    /// A channel that has been silent for long beats.
    fn beat(&mut self, _: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        let after = scene.scaled(BEAT_AFTER);
        let mut due = Vec::new();
        for (number, told_at) in self.channels.values_mut() {
            if told_at.is_none_or(|at| scene.now.duration_since(at) >= after) {
                *told_at = Some(scene.now);
                due.push(*number);
            }
        }
        due.into_iter().map(|number| Say::Control(self.frame(number, "\"hb\""))).collect()
    }

    fn farewell(&self, _: &Scene<'_>) -> Option<Frame> {
        let message = "Stopping. Please try to reconnect";
        Some(Frame::Text(json!({ "event": "info", "code": 20051, "msg": message }).to_string()))
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

    #[test]
    fn messages_are_numbered_once_that_was_asked_for() {
        let mut stream = Stream::default();
        assert_eq!(stream.frame(7, "\"hb\""), Frame::Text("[7,\"hb\"]".to_owned()));
        stream.num_messages = Some(0);
        assert_eq!(stream.frame(7, "\"hb\""), Frame::Text("[7,\"hb\",1]".to_owned()));
    }
}
