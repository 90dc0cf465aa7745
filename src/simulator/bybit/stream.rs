//! One WebSocket connection of Bybit, and recordings of such.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::book::Book;
use super::super::listing::Listing;
use super::super::protocol::{Conversation, Frame, Protocol, Say, Scene, SocketRules};
use super::super::recorded::{Recorded, Time, Told};
use super::{best, ticker};

/// Topics of one request, and characters of all its topics.
const MAX_TOPICS: usize = 10;
const MAX_CHARACTERS: usize = 21_000;

/// Time without a change after which a book is told again.
const REPEAT_AFTER: Duration = Duration::from_secs(3);

/// Silence of the client after which the connection ends.
const SILENCE: Duration = Duration::from_secs(600);

/// The connection that every answer names.
const CONNECTION: &str = "2324d924-aa4d-45b0-a858-7b8be29ab52b";

/// The channels that are spoken here.
const BOOK: &str = "orderbook.1";
const TICKERS: &str = "tickers";

/// What a client listens to on one connection.
#[derive(Default)]
pub(super) struct Talk {
    topics: BTreeSet<String>,
    symbols: BTreeSet<String>,
    /// How each symbol is listed, for the digits of its prices; and when its book was told last.
    listings: BTreeMap<String, (Listing, Instant)>,
}

#[derive(Deserialize)]
struct Command {
    op: String,
    #[serde(default)]
    args: Vec<String>,
    /// A text by the documents; clients send numbers too.
    #[serde(default)]
    req_id: Value,
}

impl Talk {
    fn obey(&mut self, command: &Command, protocol: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        let refused = |why: &str| vec![Say::Control(answer(command, false, why))];
        if command.args.len() > MAX_TOPICS {
            return refused("args size >10");
        }
        if command.args.iter().map(String::len).sum::<usize>() > MAX_CHARACTERS {
            return refused("args too long");
        }
        let known = |topic: &String| {
            let (channel, symbol) = topic.rsplit_once('.')?;
            let is_spoken = [BOOK, TICKERS].contains(&channel);
            protocol.listing(symbol).filter(|listing| is_spoken && listing.is_open)
        };
        if command.op == "unsubscribe" {
            self.topics.retain(|topic| !command.args.contains(topic));
            self.find_symbols();
            return vec![Say::Control(answer(command, true, "unsubscribe"))];
        }
        let mut said = vec![Say::Control(answer(command, true, "subscribe"))];
        let mut added = Vec::new();
        for topic in &command.args {
            let Some(listing) = known(topic) else {
                return refused(&format!("Invalid topic: {topic}"));
            };
            added.push((topic, listing));
        }
        for (topic, listing) in added {
            let book = scene.first_shown(&[&listing.symbol, &listing.direction()], listing.book.clone());
            said.extend(book.map(|book| Say::Data(push(topic, &listing, &book, scene))));
            self.topics.insert(topic.clone());
            self.listings.insert(listing.symbol.clone(), (listing, scene.now));
        }
        self.find_symbols();
        said
    }

    fn find_symbols(&mut self) {
        let symbol = |topic: &String| Some(topic.rsplit_once('.')?.1.to_owned());
        self.symbols = self.topics.iter().filter_map(symbol).collect();
        let symbols = &self.symbols;
        self.listings.retain(|symbol, _| symbols.contains(symbol));
    }
}

fn answer(command: &Command, success: bool, message: &str) -> Frame {
    let empty = Value::from("");
    let told = json!({
        "success": success,
        "ret_msg": message,
        "conn_id": CONNECTION,
        "req_id": if command.req_id.is_null() { &empty } else { &command.req_id },
        "op": command.op,
    });
    Frame::Text(told.to_string())
}

fn push(topic: &str, listing: &Listing, book: &Book, scene: &Scene<'_>) -> Frame {
    let at = scene.unix_ms();
    let told = match topic.starts_with(BOOK) {
        true => {
            json!({ "topic": topic, "ts": at, "type": "snapshot", "data": best(listing, book), "cts": at - 2 })
        }
        false => {
            let mut data = ticker(listing, book);
            if let Value::Object(fields) = &mut data {
                // On the socket of the spot market, tickers have no book.
                fields.retain(|name, _| !name.contains('1'));
            }
            json!({ "topic": topic, "ts": at, "type": "snapshot", "cs": book.sequence, "data": data })
        }
    };
    Frame::Text(told.to_string())
}

impl Conversation for Talk {
    fn rules(&self) -> SocketRules {
        SocketRules { silence: Some(SILENCE), ..SocketRules::default() }
    }

    fn hear(&mut self, message: &[u8], protocol: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        match serde_json::from_slice::<Command>(message) {
            Ok(command) => match command.op.as_str() {
                "ping" => vec![Say::Control(answer(&command, true, "pong"))],
                "subscribe" | "unsubscribe" => self.obey(&command, protocol, scene),
                _ => vec![Say::Control(answer(&command, false, "Request not authorized"))],
            },
            Err(_) => {
                let command = Command { op: String::new(), args: Vec::new(), req_id: Value::Null };
                vec![Say::Control(answer(&command, false, "Request parse error"))]
            }
        }
    }

    fn symbols(&self) -> &BTreeSet<String> {
        &self.symbols
    }

    fn tell(&mut self, symbol: &str, book: &Book, scene: &Scene<'_>) -> Vec<Frame> {
        let Some((listing, told_at)) = self.listings.get_mut(symbol) else { return Vec::new() };
        *told_at = scene.now;
        let listing = &*listing;
        let topics = [BOOK, TICKERS].map(|channel| format!("{channel}.{symbol}"));
        let wanted = topics.iter().filter(|topic| self.topics.contains(*topic));
        wanted.map(|topic| push(topic, listing, book, scene)).collect()
    }

    fn beat(&mut self, protocol: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        let mut said = Vec::new();
        for (symbol, (listing, told_at)) in &mut self.listings {
            let topic = format!("{BOOK}.{symbol}");
            let is_due = scene.now.duration_since(*told_at) >= scene.scaled(REPEAT_AFTER);
            // A recording has the repetitions that there were.
            if !is_due || !self.topics.contains(&topic) || scene.is_replayed(symbol) {
                continue;
            }
            *told_at = scene.now;
            let book = protocol.book(symbol).and_then(|book| scene.shown(&[symbol], book));
            said.extend(book.map(|book| Say::Data(push(&topic, listing, &book, scene))));
        }
        said
    }

    fn repeat(&mut self, recorded: &Recorded, scene: &Scene<'_>) -> Option<Frame> {
        self.topics.contains(&recorded.topic).then(|| Frame::Text(recorded.told_at(scene.wall)))
    }
}

#[derive(Deserialize)]
struct Pushed {
    topic: String,
    #[serde(rename = "type")]
    kind: String,
    data: RecordedBook,
}

#[derive(Deserialize)]
struct RecordedBook {
    s: String,
    b: Vec<(String, String)>,
    a: Vec<(String, String)>,
    seq: u64,
}

/// Reads a recorded book of one level; `None` if it is anything else.
pub(super) fn recorded(text: &str) -> Option<Recorded> {
    let Pushed { topic, kind, data } = serde_json::from_str(text).ok()?;
    if kind != "snapshot" || !topic.starts_with(BOOK) {
        return None;
    }
    let ((bid, bid_size), (ask, ask_size)) = (data.b.first()?, data.a.first()?);
    let told = Told::best([bid, bid_size, ask, ask_size], None, data.seq)?;
    let recorded = Recorded::new(&topic, &data.s, Some(told), text);
    Some(recorded.with_times(&[("ts", Time::Millis), ("cts", Time::Millis)]))
}
