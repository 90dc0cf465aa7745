//! One WebSocket connection of KuCoin, and recordings of such.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::book::Book;
use super::super::listing::Listing;
use super::super::protocol::{Conversation, Frame, Protocol, Say, Scene, SocketRules};
use super::super::recorded::{Recorded, Time, Told};
use super::{MIN_SILENCE, SILENCE, TOKEN_LIFE, best};

/// Symbols of one request, and of one connection.
const MAX_AT_ONCE: usize = 100;
const MAX_SYMBOLS: usize = 300;

/// The topic that is spoken here: a list of symbols follows, or `all`.
const TOPIC: &str = "/market/ticker:";

/// What a client listens to on one connection.
pub(super) struct Talk {
    id: String,
    has_token: bool,
    hears_all: bool,
    symbols: BTreeSet<String>,
    listings: BTreeMap<String, Listing>,
    pinged_at: Instant,
}

#[derive(Deserialize)]
struct Command {
    #[serde(default)]
    id: Value,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    topic: String,
    #[serde(default)]
    response: bool,
}

impl Talk {
    pub(super) fn new(id: String, has_token: bool, now: Instant) -> Self {
        Self {
            id,
            has_token,
            hears_all: false,
            symbols: BTreeSet::new(),
            listings: BTreeMap::new(),
            pinged_at: now,
        }
    }

    /// # Errors
    /// Code and words of the refusal of the whole request.
    fn subscribe(
        &mut self,
        topic: &str,
        protocol: &dyn Protocol,
        scene: &Scene<'_>,
    ) -> Result<(), (u16, String)> {
        let not_found = || (404, format!("topic {topic} is not found"));
        let names = topic.strip_prefix(TOPIC).ok_or_else(not_found)?;
        let names: Vec<String> = match names {
            "all" => {
                self.hears_all = true;
                protocol.quotes(scene).into_iter().map(|(_, symbol, _)| symbol).collect()
            }
            _ => names.split(',').map(str::to_owned).collect(),
        };
        if names.len() > MAX_AT_ONCE {
            return Err((509, format!("exceed max subscription count limitation of {MAX_AT_ONCE} per time")));
        }
        let listed: Option<Vec<Listing>> = names.iter().map(|name| protocol.listing(name)).collect();
        for listing in listed.ok_or_else(not_found)? {
            // What is beyond the limit of a connection is acknowledged, and never comes.
            if self.symbols.len() < MAX_SYMBOLS {
                self.symbols.insert(listing.symbol.clone());
                self.listings.insert(listing.symbol.clone(), listing);
            }
        }
        Ok(())
    }

    /// A frame about a symbol, of the topic by which it is listened to.
    fn message(&self, symbol: &str, data: &str) -> Frame {
        let (topic, subject) = match self.hears_all {
            true => ("all", symbol),
            false => (symbol, "trade.ticker"),
        };
        Frame::Text(format!(
            r#"{{"type":"message","topic":"{TOPIC}{topic}","subject":"{subject}","data":{data}}}"#
        ))
    }

    fn unsubscribe(&mut self, topic: &str) {
        match topic.strip_prefix(TOPIC).unwrap_or_default() {
            "all" => (self.hears_all, self.symbols) = (false, BTreeSet::new()),
            names => names.split(',').for_each(|name| {
                self.symbols.remove(name);
            }),
        }
    }
}

fn error(id: &Value, code: u16, words: &str) -> Frame {
    Frame::Text(json!({ "id": id, "type": "error", "code": code, "data": words }).to_string())
}

impl Conversation for Talk {
    fn rules(&self) -> SocketRules {
        SocketRules { lifetime: Some(TOKEN_LIFE), ..SocketRules::default() }
    }

    fn greet(&mut self, _: &Scene<'_>) -> Vec<Say> {
        match self.has_token {
            true => vec![Say::Control(Frame::Text(json!({ "id": self.id, "type": "welcome" }).to_string()))],
            false => vec![
                Say::Control(error(&self.id.as_str().into(), 401, "token is invalid")),
                Say::Close(1000, "token is invalid".to_owned()),
            ],
        }
    }

    fn hear(&mut self, message: &[u8], protocol: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        let Ok(command) = serde_json::from_slice::<Command>(message) else {
            return vec![Say::Control(error(&Value::Null, 400, "invalid message"))];
        };
        match command.kind.as_str() {
            "ping" => {
                self.pinged_at = scene.now;
                let pong = json!({ "id": command.id, "type": "pong" });
                return vec![Say::Control(Frame::Text(pong.to_string()))];
            }
            "subscribe" => {
                if let Err((code, words)) = self.subscribe(&command.topic, protocol, scene) {
                    return vec![Say::Control(error(&command.id, code, &words))];
                }
            }
            "unsubscribe" => self.unsubscribe(&command.topic),
            _ => return vec![Say::Control(error(&command.id, 400, "type is not supported"))],
        }
        let ack = json!({ "id": command.id, "type": "ack" });
        if command.response { vec![Say::Control(Frame::Text(ack.to_string()))] } else { Vec::new() }
    }

    fn symbols(&self) -> &BTreeSet<String> {
        &self.symbols
    }

    fn tell(&mut self, symbol: &str, book: &Book, scene: &Scene<'_>) -> Vec<Frame> {
        let Some(listing) = self.listings.get(symbol) else { return Vec::new() };
        vec![self.message(symbol, &best(listing, book, scene).to_string())]
    }

    fn beat(&mut self, _: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        let silence = scene.patience(SILENCE).max(MIN_SILENCE);
        let is_over = scene.now.duration_since(self.pinged_at) >= silence;
        if is_over { vec![Say::Close(1000, "no ping".to_owned())] } else { Vec::new() }
    }

    fn repeat(&mut self, recorded: &Recorded, scene: &Scene<'_>) -> Option<Frame> {
        let is_wanted = self.symbols.contains(&*recorded.symbol);
        is_wanted.then(|| self.message(&recorded.symbol, &recorded.told_at(scene.wall)))
    }
}

#[derive(Deserialize)]
struct Pushed {
    topic: String,
    subject: String,
    data: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordedTicker {
    sequence: String,
    price: String,
    best_ask: String,
    best_ask_size: String,
    best_bid: String,
    best_bid_size: String,
}

/// Reads a recorded ticker; `None` if it is anything else.
pub(super) fn recorded(text: &str) -> Option<Recorded> {
    let Pushed { topic, subject, data } = serde_json::from_str(text).ok()?;
    let symbol = match topic.strip_prefix(TOPIC)? {
        "all" => &subject,
        symbol => symbol,
    };
    let ticker: RecordedTicker = serde_json::from_str(data.get()).ok()?;
    let sides = [&*ticker.best_bid, &ticker.best_bid_size, &ticker.best_ask, &ticker.best_ask_size];
    let told = Told::best(sides, Some(&ticker.price), ticker.sequence.parse().ok()?)?;
    let recorded = Recorded::new(&topic, symbol, Some(told), data.get());
    Some(recorded.with_times(&[("time", Time::Millis), ("Time", Time::Millis)]))
}
