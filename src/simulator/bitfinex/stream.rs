//! One WebSocket connection of Bitfinex, and recordings of such.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::book::Book;
use super::super::protocol::{Conversation, Frame, Protocol, Say, Scene, SocketRules};
use super::super::recorded::{Received, Recorded, Told};
use super::numbers;

/// Channels of one connection.
const MAX_CHANNELS: usize = 25;

/// Silence of a channel after which it beats.
const BEAT_AFTER: Duration = Duration::from_secs(15);

/// A flag of a connection: every message ends with a number that counts them.
const NUMBERED: u64 = 65_536;

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
pub(super) struct Stream {
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

/// The symbols of the recorded channels of tickers, by their numbers, which no two connections have in common.
pub(super) fn recorded_channels(frames: &[Received]) -> BTreeMap<u64, String> {
    let channel = |(_, frame): &Received| {
        let event: Command = serde_json::from_slice(frame).ok()?;
        (event.event == "subscribed" && event.channel == "ticker").then_some((event.chan_id, event.symbol))
    };
    frames.iter().filter_map(channel).collect()
}

/// Reads a recorded ticker; `None` if it is anything else. What it is told with again is a number and a count of the
/// connection that hears it.
pub(super) fn recorded(text: &str, channels: &BTreeMap<u64, String>) -> Option<Recorded> {
    let parts: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    let symbol = channels.get(&parts.first()?.get().parse().ok()?)?;
    let content = parts.get(1)?.get();
    let numbers: Vec<&RawValue> = serde_json::from_str(content).ok()?;
    let number = |place: usize| numbers.get(place).map(|number| number.get());
    let told = Told::best([number(0)?, number(1)?, number(2)?, number(3)?], Some(number(6)?), 0)?;
    Some(Recorded::new("ticker", symbol, Some(told), content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_numbered_once_that_was_asked_for() {
        let mut stream = Stream::default();
        assert_eq!(stream.frame(7, "\"hb\""), Frame::Text("[7,\"hb\"]".to_owned()));
        stream.num_messages = Some(0);
        assert_eq!(stream.frame(7, "\"hb\""), Frame::Text("[7,\"hb\",1]".to_owned()));
    }
}
