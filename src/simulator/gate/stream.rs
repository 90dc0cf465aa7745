//! One WebSocket connection of Gate, and recordings of such.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::book::{Book, Price};
use super::super::protocol::{Conversation, Frame, Protocol, Say, Scene, SocketRules};
use super::super::recorded::{Recorded, Time, Told};
use super::{printed, size, ticker};

/// Seconds by which the time that a client tells may be off.
const MAX_TIME_OFF: i64 = 60;

/// The channels that are spoken here.
const CHANNELS: [&str; 2] = ["spot.book_ticker", "spot.tickers"];

/// Codes of errors on the socket.
const INVALID_BODY: u8 = 1;
const INVALID_ARGUMENT: u8 = 2;

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
pub(super) struct Stream {
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

/// Reads a recorded update of a channel that is spoken here.
pub(super) fn recorded(text: &str) -> Option<Recorded> {
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
