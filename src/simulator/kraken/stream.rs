//! One WebSocket connection of Kraken, and recordings of such.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::book::{Book, Price, literal};
use super::super::protocol::{Conversation, Frame, Protocol, Say, Scene, SocketRules};
use super::super::recorded::{Recorded, Time, Told};
use super::time;

/// Time without another message after which a subscribed socket gets a heartbeat.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);

/// Silence of the client after which a socket is closed on which nothing is subscribed.
const IDLE: Duration = Duration::from_secs(60);

/// When a subscription is told of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trigger {
    /// With every trade.
    Trades,
    /// With every change of the best prices.
    BestPrices,
}

/// One WebSocket.
pub(super) struct Talk {
    symbols: BTreeSet<String>,
    triggers: BTreeMap<String, Trigger>,
    /// The last price that was told of each symbol, for those who are told of trades alone.
    lasts: BTreeMap<String, Price>,
    connection_id: u64,
    /// When the client last said something.
    heard_at: Instant,
    /// When anything was last said.
    said_at: Instant,
}

impl Talk {
    pub(super) fn new(scene: &Scene<'_>) -> Self {
        Self {
            symbols: BTreeSet::new(),
            triggers: BTreeMap::new(),
            lasts: BTreeMap::new(),
            connection_id: scene.next_sequence(),
            heard_at: scene.now,
            said_at: scene.now,
        }
    }

    fn status(&self, system: &str) -> Frame {
        let data = json!([{
            "api_version": "v2", "connection_id": self.connection_id, "system": system, "version": "2.0.10",
        }]);
        Frame::Text(json!({ "channel": "status", "type": "update", "data": data }).to_string())
    }

    fn obey(&mut self, message: &Value, protocol: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        let method = message["method"].as_str().unwrap_or_default();
        match method {
            "ping" => vec![answer(message, json!({ "method": "pong" }), scene)],
            "subscribe" | "unsubscribe" => {
                let params = &message["params"];
                if params["channel"] != "ticker" {
                    let detail = format!("Unsupported channel {}", params["channel"]);
                    return vec![refused(message, method, &detail, None, scene)];
                }
                let symbols: Vec<&str> =
                    params["symbol"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                if symbols.is_empty() {
                    return vec![refused(message, method, "Symbol(s) not provided", None, scene)];
                }
                match method {
                    "subscribe" => symbols
                        .iter()
                        .flat_map(|symbol| self.subscribe(message, symbol, protocol, scene))
                        .collect(),
                    _ => symbols.iter().map(|symbol| self.unsubscribe(message, symbol, scene)).collect(),
                }
            }
            _ => vec![refused(message, method, "Unsupported method", None, scene)],
        }
    }

    fn subscribe(
        &mut self,
        message: &Value,
        symbol: &str,
        protocol: &dyn Protocol,
        scene: &Scene<'_>,
    ) -> Vec<Say> {
        let params = &message["params"];
        let Some(book) = protocol.book(symbol) else {
            let detail = format!("Currency pair not supported {symbol}");
            return vec![refused(message, "subscribe", &detail, Some(symbol), scene)];
        };
        if !self.symbols.insert(symbol.to_owned()) {
            return vec![refused(message, "subscribe", "Already subscribed", Some(symbol), scene)];
        }
        let trigger = if params["event_trigger"] == "bbo" { Trigger::BestPrices } else { Trigger::Trades };
        self.triggers.insert(symbol.to_owned(), trigger);
        let has_snapshot = params["snapshot"].as_bool().unwrap_or(true);
        let result = json!({
            "channel": "ticker", "event_trigger": params["event_trigger"].as_str().unwrap_or("trades"),
            "snapshot": has_snapshot, "symbol": symbol,
        });
        let acknowledged = json!({ "method": "subscribe", "result": result, "success": true });
        let mut said = vec![answer(message, acknowledged, scene)];
        if has_snapshot && let Some(book) = scene.first_shown(&[symbol], book) {
            said.push(Say::Data(ticker(symbol, &book, "snapshot", scene)));
        }
        said
    }

    fn unsubscribe(&mut self, message: &Value, symbol: &str, scene: &Scene<'_>) -> Say {
        if !self.symbols.remove(symbol) {
            return refused(message, "unsubscribe", "Subscription Not Found", Some(symbol), scene);
        }
        let result = json!({ "channel": "ticker", "symbol": symbol });
        answer(message, json!({ "method": "unsubscribe", "result": result, "success": true }), scene)
    }
}

/// The answer to a message, with the number and the times that every answer has.
fn answer(message: &Value, mut said: Value, scene: &Scene<'_>) -> Say {
    if let Value::Object(fields) = &mut said {
        fields.insert("time_in".to_owned(), time(scene.wall).into());
        fields.insert("time_out".to_owned(), time(scene.wall).into());
        if message["req_id"].is_u64() {
            fields.insert("req_id".to_owned(), message["req_id"].clone());
        }
    }
    Say::Control(Frame::Text(said.to_string()))
}

fn refused(message: &Value, method: &str, error: &str, symbol: Option<&str>, scene: &Scene<'_>) -> Say {
    let mut said = json!({ "method": method, "success": false, "error": error });
    if let Some(symbol) = symbol {
        said["symbol"] = symbol.into();
    }
    answer(message, said, scene)
}

/// A frame of the channel: every figure is a JSON number.
fn ticker(symbol: &str, book: &Book, kind: &str, scene: &Scene<'_>) -> Frame {
    let size = |size: Decimal| Price::Number(size).literal();
    let last = book.last.literal();
    Frame::Text(format!(
        r#"{{"channel":"ticker","type":"{kind}","data":[{{"symbol":{},"bid":{},"bid_qty":{},"ask":{},"ask_qty":{},"last":{last},"volume":1234.5,"vwap":{last},"low":{last},"high":{last},"change":0.0,"change_pct":0.0,"timestamp":"{}"}}]}}"#,
        Value::from(symbol),
        literal(book.bid.as_ref()),
        size(book.bid_size),
        literal(book.ask.as_ref()),
        size(book.ask_size),
        time(scene.wall),
    ))
}

impl Conversation for Talk {
    /// Its rule about silence is not among them: any subscription keeps a socket open, so `beat` minds it.
    fn rules(&self) -> SocketRules {
        SocketRules::default()
    }

    fn greet(&mut self, _: &Scene<'_>) -> Vec<Say> {
        vec![Say::Control(self.status("online"))]
    }

    fn hear(&mut self, message: &[u8], protocol: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        self.heard_at = scene.now;
        self.said_at = scene.now;
        match serde_json::from_slice::<Value>(message) {
            Ok(message) if message.is_object() => self.obey(&message, protocol, scene),
            _ => vec![refused(&Value::Null, "", "Malformed request", None, scene)],
        }
    }

    fn symbols(&self) -> &BTreeSet<String> {
        &self.symbols
    }

    fn tell(&mut self, symbol: &str, book: &Book, scene: &Scene<'_>) -> Vec<Frame> {
        let has_traded = self.lasts.insert(symbol.to_owned(), book.last.clone()).as_ref() != Some(&book.last);
        if self.triggers.get(symbol) == Some(&Trigger::Trades) && !has_traded {
            return Vec::new();
        }
        self.said_at = scene.now;
        vec![ticker(symbol, book, "update", scene)]
    }

    fn repeat(&mut self, recorded: &Recorded, scene: &Scene<'_>) -> Option<Frame> {
        if !self.symbols.contains(&*recorded.symbol) {
            return None;
        }
        self.said_at = scene.now;
        Some(Frame::Text(recorded.told_at(scene.wall)))
    }

    fn beat(&mut self, _: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        if self.symbols.is_empty() {
            let is_idle = scene.now.duration_since(self.heard_at) >= scene.scaled(IDLE);
            return if is_idle { vec![Say::Close(1001, String::new())] } else { Vec::new() };
        }
        if scene.now.duration_since(self.said_at) < HEARTBEAT_EVERY {
            return Vec::new();
        }
        self.said_at = scene.now;
        vec![Say::Control(Frame::Text(r#"{"channel":"heartbeat"}"#.to_owned()))]
    }

    fn farewell(&self, _: &Scene<'_>) -> Option<Frame> {
        Some(self.status("maintenance"))
    }
}

#[derive(Deserialize)]
struct Pushed<'a> {
    channel: &'a str,
    #[serde(borrow)]
    data: [RecordedTicker<'a>; 1],
}

#[derive(Deserialize)]
struct RecordedTicker<'a> {
    symbol: &'a str,
    #[serde(borrow)]
    bid: &'a RawValue,
    #[serde(borrow)]
    bid_qty: &'a RawValue,
    #[serde(borrow)]
    ask: &'a RawValue,
    #[serde(borrow)]
    ask_qty: &'a RawValue,
    #[serde(borrow)]
    last: &'a RawValue,
}

/// Reads a recorded ticker; `None` if it is anything else.
pub(super) fn recorded(text: &str) -> Option<Recorded> {
    let Pushed { channel, data: [ticker] } = serde_json::from_str(text).ok()?;
    let sides = [ticker.bid, ticker.bid_qty, ticker.ask, ticker.ask_qty].map(RawValue::get);
    let told = Told::best(sides, Some(ticker.last.get()), 0).filter(|_| channel == "ticker")?;
    let recorded = Recorded::new(channel, ticker.symbol, Some(told), text);
    Some(recorded.with_times(&[("timestamp", Time::Rfc3339)]))
}
