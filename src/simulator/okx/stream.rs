//! One WebSocket connection of OKX, and recordings of such.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::book::Book;
use super::super::http::Request;
use super::super::listing::Listing;
use super::super::protocol::{Conversation, Frame, Protocol, Say, Scene, SocketRules};
use super::super::recorded::{Recorded, Time, Told};
use super::{depth, ticker};

/// Subscribe and unsubscribe messages that a connection may send within an hour.
const OPERATIONS: u64 = 480;

/// Silence of both sides after which the connection ends, and the close code that goes with it.
const SILENCE: Duration = Duration::from_secs(30);
const NO_DATA: u16 = 4004;

/// The channels that are spoken here: every change of the ticker, and of the best prices alone.
const CHANNELS: [&str; 2] = ["tickers", "bbo-tbt"];

/// The connection that every answer names.
const CONNECTION: &str = "a4d3ae55";

/// What a client listens to on one connection.
pub(super) struct Talk {
    topics: BTreeSet<(String, String)>,
    symbols: BTreeSet<String>,
    /// What is listened to, for the digits of prices in frames that tell a changed book.
    listings: Vec<Listing>,
    /// When either side said something.
    active_at: Instant,
    num_operations: u64,
    operations_since: Instant,
}

#[derive(Deserialize)]
struct Command {
    op: String,
    #[serde(default)]
    args: Vec<Argument>,
    #[serde(default)]
    id: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    channel: String,
    #[serde(default)]
    inst_id: String,
}

impl Talk {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            topics: BTreeSet::new(),
            symbols: BTreeSet::new(),
            listings: Vec::new(),
            active_at: now,
            num_operations: 0,
            operations_since: now,
        }
    }

    fn obey(&mut self, command: &Command, protocol: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        if scene.now.duration_since(self.operations_since) >= scene.scaled(Duration::from_secs(3600)) {
            (self.operations_since, self.num_operations) = (scene.now, 0);
        }
        self.num_operations += 1;
        if self.num_operations > OPERATIONS {
            return vec![Say::Control(error("60014", "Requests too frequent", command.id.as_ref()))];
        }
        let mut said = Vec::new();
        for argument in &command.args {
            match command.op.as_str() {
                "subscribe" => self.subscribe(argument, command, protocol, scene, &mut said),
                _ => {
                    self.topics.remove(&(argument.channel.clone(), argument.inst_id.clone()));
                    said.push(Say::Control(acknowledged(argument, command)));
                }
            }
        }
        self.symbols = self.topics.iter().map(|(_, symbol)| symbol.clone()).collect();
        said
    }

    fn subscribe(
        &mut self,
        argument: &Argument,
        command: &Command,
        protocol: &dyn Protocol,
        scene: &Scene<'_>,
        said: &mut Vec<Say>,
    ) {
        let Argument { channel, inst_id } = argument;
        let listing = protocol.listing(inst_id);
        let is_known = CHANNELS.contains(&channel.as_str());
        let Some(listing) = listing.filter(|_| is_known) else {
            let msg = format!(
                "Wrong URL or channel:{channel},instId:{inst_id} doesn't exist. Please use the correct URL, \
                 channel and parameters referring to API document."
            );
            said.push(Say::Control(error("60018", &msg, command.id.as_ref())));
            return;
        };
        said.push(Say::Control(acknowledged(argument, command)));
        self.topics.insert((channel.clone(), inst_id.clone()));
        self.listings.retain(|known| known.symbol != listing.symbol);
        let book = scene.first_shown(&[&listing.symbol, &listing.direction()], listing.book.clone());
        said.extend(book.map(|book| Say::Data(push(channel, &listing, &book, scene))));
        self.listings.push(listing);
    }
}

fn acknowledged(argument: &Argument, command: &Command) -> Frame {
    let mut said = json!({
        "event": command.op,
        "arg": { "channel": argument.channel, "instId": argument.inst_id },
        "connId": CONNECTION,
    });
    if let Some(id) = &command.id {
        said["id"] = id.clone();
    }
    Frame::Text(said.to_string())
}

fn error(code: &str, msg: &str, id: Option<&Value>) -> Frame {
    let mut said = json!({ "event": "error", "code": code, "msg": msg, "connId": CONNECTION });
    if let Some(id) = id {
        said["id"] = id.clone();
    }
    Frame::Text(said.to_string())
}

fn push(channel: &str, listing: &Listing, book: &Book, scene: &Scene<'_>) -> Frame {
    let data = match channel {
        "tickers" => ticker(listing, book, scene),
        _ => depth(listing, book, &Request::default(), scene),
    };
    let argument = json!({ "channel": channel, "instId": listing.symbol });
    Frame::Text(json!({ "arg": argument, "data": [data] }).to_string())
}

impl Conversation for Talk {
    fn rules(&self) -> SocketRules {
        SocketRules::default()
    }

    fn hear(&mut self, message: &[u8], protocol: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        self.active_at = scene.now;
        if message == b"ping" {
            return vec![Say::Control(Frame::Text("pong".to_owned()))];
        }
        match serde_json::from_slice::<Command>(message) {
            Ok(command) if ["subscribe", "unsubscribe"].contains(&command.op.as_str()) => {
                self.obey(&command, protocol, scene)
            }
            _ => {
                let msg = format!("Invalid request: {}", String::from_utf8_lossy(message));
                vec![Say::Control(error("60012", &msg, None))]
            }
        }
    }

    fn symbols(&self) -> &BTreeSet<String> {
        &self.symbols
    }

    fn tell(&mut self, symbol: &str, book: &Book, scene: &Scene<'_>) -> Vec<Frame> {
        self.active_at = scene.now;
        let Some(listing) = self.listings.iter().find(|listing| listing.symbol == symbol) else {
            return Vec::new();
        };
        let has = |channel: &&&str| self.topics.contains(&((**channel).to_owned(), symbol.to_owned()));
        CHANNELS.iter().filter(has).map(|channel| push(channel, listing, book, scene)).collect()
    }

    fn beat(&mut self, _: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        let is_over = scene.now.duration_since(self.active_at) >= scene.patience(SILENCE);
        if is_over { vec![Say::Close(NO_DATA, "No data received in 30s.".to_owned())] } else { Vec::new() }
    }

    fn repeat(&mut self, recorded: &Recorded, scene: &Scene<'_>) -> Option<Frame> {
        self.active_at = scene.now;
        let topic = (recorded.topic.clone(), recorded.symbol.to_string());
        self.topics.contains(&topic).then(|| Frame::Text(recorded.told_at(scene.wall)))
    }

    fn farewell(&self, _: &Scene<'_>) -> Option<Frame> {
        let said = json!({
            "event": "notice",
            "code": "64008",
            "msg": "The connection will soon be closed for a service upgrade. Please reconnect.",
            "connId": CONNECTION,
        });
        Some(Frame::Text(said.to_string()))
    }
}

#[derive(Deserialize)]
struct Pushed {
    arg: Argument,
    data: Vec<RecordedTicker>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordedTicker {
    inst_type: String,
    ask_px: String,
    ask_sz: String,
    bid_px: String,
    bid_sz: String,
    last: String,
}

/// Reads a recorded ticker of the spot market; `None` if it is anything else.
pub(super) fn recorded(text: &str) -> Option<Recorded> {
    let Pushed { arg, data } = serde_json::from_str(text).ok()?;
    let ticker = data.first().filter(|ticker| ticker.inst_type == "SPOT" && arg.channel == "tickers")?;
    let sides = [&*ticker.bid_px, &ticker.bid_sz, &ticker.ask_px, &ticker.ask_sz];
    let told = Told::best(sides, Some(&ticker.last), 0)?;
    let recorded = Recorded::new(&arg.channel, &arg.inst_id, Some(told), text);
    Some(recorded.with_times(&[("ts", Time::Millis)]))
}
