//! What one simulated exchange has to say about itself. A new one is one file with these two traits, and one row of
//! [`PROTOCOLS`].
//!
//! A protocol only translates: it has no socket and plays no fault. Every price that it prints passes through
//! [`Scene::shown`], where recordings and faults put other prices in; everything that has to do with time, bytes and
//! connections is in `session` and `server`, once for all exchanges.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tokio::time::Instant;

use crate::market::Transport;

use super::book::Book;
use super::faults::Faults;
use super::http::{Answer, Request};
use super::listing::{Listing, Listings};
use super::recorded::{Received, Recogniser, Recorded};
use super::replay::Recording;
use super::truth::Truth;
use super::{
    binance, bitfinex, bitstamp, bybit, cbr, coinbase, coingecko, ecb, erapi, frankfurter, freecurrencyapi,
    gate, htx, kraken, kucoin, okx,
};

/// One simulated exchange of the table.
#[derive(Debug)]
pub(super) struct Row {
    /// Its name: the first segment of its paths.
    pub name: &'static str,
    /// Whether it has a WebSocket.
    pub has_socket: bool,
    /// Makes it, at the moment of the start.
    pub make: fn(&Scene<'_>) -> Box<dyn Protocol>,
}

/// Every simulated exchange.
pub(super) const PROTOCOLS: &[Row] = &[
    binance::ROW,
    kraken::ROW,
    coinbase::ROW,
    okx::ROW,
    bybit::ROW,
    kucoin::ROW,
    bitfinex::ROW,
    gate::ROW,
    htx::ROW,
    bitstamp::ROW,
    coingecko::ROW,
    cbr::ROW,
    ecb::ROW,
    freecurrencyapi::ROW,
    frankfurter::ROW,
    erapi::ROW,
];

/// What one exchange publishes, and how it answers.
pub(super) trait Protocol {
    /// Moves its prices after the truth has moved by one step; a symbol only if it is its turn.
    fn tick(&mut self, scene: &Scene<'_>);

    /// Its symbols; `None` for a source that has other things than order books.
    fn listings(&self) -> Option<&Listings> {
        None
    }

    /// How a symbol is listed, for conversations that print its prices with its digits; `None` if it is not.
    fn listing(&self, symbol: &str) -> Option<Listing> {
        self.listings()?.get(symbol).cloned()
    }

    /// The healthy book of a symbol that is pushed on sockets; `None` if there is none.
    fn book(&self, symbol: &str) -> Option<Book> {
        self.listings()?.book(symbol)
    }

    /// Everything that it publishes now: direction, symbol and healthy book.
    fn quotes(&self, scene: &Scene<'_>) -> Vec<(String, String, Book)> {
        let _ = scene;
        self.listings().map(Listings::quotes).unwrap_or_default()
    }

    /// Answers a request. The path is the exchange's own, without a slash at the end.
    fn rest(&mut self, path: &str, request: &Request, client: IpAddr, scene: &Scene<'_>) -> Reply;

    /// Opens a WebSocket at a path of the exchange's own.
    ///
    /// # Errors
    /// The answer that refuses the handshake.
    fn open(
        &mut self,
        path: &str,
        request: &Request,
        scene: &Scene<'_>,
    ) -> Result<Box<dyn Conversation>, Answer> {
        let _ = (path, request, scene);
        Err(Answer::new(404, "text/plain", "Not Found"))
    }

    /// In its own words: an error with this status, and the seconds in `Retry-After`.
    fn refusal(&self, status: u16, retry_after: Option<u64>, scene: &Scene<'_>) -> Answer;

    /// `POST /control/<exchange>/<name>`, for what only this exchange has; `None` for an unknown name.
    ///
    /// # Errors
    /// In words for the caller that name what is allowed.
    fn command(&mut self, name: &str, body: &Value, scene: &Scene<'_>) -> Option<Result<Value, String>> {
        let _ = (name, body, scene);
        None
    }

    /// How recordings of it are read, which may depend on what else was received; `None` if it cannot be replayed.
    fn recogniser(&self, frames: &[Received]) -> Option<Recogniser> {
        let _ = frames;
        None
    }
}

/// One connection of a WebSocket: what the client has asked for on it.
pub(super) trait Conversation {
    /// The exchange's rules for its sockets.
    fn rules(&self) -> SocketRules;

    /// What is said unasked at the start.
    fn greet(&mut self, scene: &Scene<'_>) -> Vec<Say> {
        let _ = scene;
        Vec::new()
    }

    /// Answers a text or binary message of the client.
    fn hear(&mut self, message: &[u8], protocol: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say>;

    /// The symbols that are listened to; unknown ones may be among them.
    fn symbols(&self) -> &BTreeSet<String>;

    /// The frames that tell a changed book.
    fn tell(&mut self, symbol: &str, book: &Book, scene: &Scene<'_>) -> Vec<Frame>;

    /// What is said whether prices have changed or not, such as heartbeats and tickers of each second; asked fifty times
    /// a second.
    fn beat(&mut self, protocol: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        let _ = (protocol, scene);
        Vec::new()
    }

    /// A recorded frame in the form that this connection takes it in; `None` if it was not subscribed to.
    fn repeat(&mut self, recorded: &Recorded, scene: &Scene<'_>) -> Option<Frame> {
        let _ = (recorded, scene);
        None
    }

    /// How the exchange announces that it is going to close the connection; `None` if it does not.
    fn farewell(&self, scene: &Scene<'_>) -> Option<Frame> {
        let _ = scene;
        None
    }
}

/// An exchange's rules for its sockets; lengths are as documented, before `speed` shortens them.
#[derive(Debug, Clone, Default)]
pub(super) struct SocketRules {
    /// The server sends a ping frame this often, and hangs up if its pong takes longer than the second length.
    pub pings: Option<(Duration, Duration)>,
    /// Age at which the server closes the connection.
    pub lifetime: Option<Duration>,
    /// Silence of the client after which the server closes the connection.
    pub silence: Option<Duration>,
    /// Messages that a client may send within a second of the wall clock.
    pub messages_per_second: Option<usize>,
}

/// One message of a WebSocket.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Frame {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
}

/// What a conversation wants to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Say {
    /// An acknowledgement, a heartbeat: said even while prices are muted.
    Control(Frame),
    /// A price.
    Data(Frame),
    /// The end, with a close code and its reason.
    Close(u16, String),
}

/// How a request is answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    /// At once.
    Answer(Answer),
    /// When what was asked for is no longer muted.
    Later,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

/// The moment and the circumstances in which an exchange speaks.
pub(super) struct Scene<'a> {
    /// How it is asked.
    pub transport: Transport,
    /// The exchange's wall clock, which a fault may have shifted.
    pub wall: DateTime<Utc>,
    /// The monotonic clock.
    pub now: Instant,
    /// By what the exchange's lifetimes, limits and bans are shortened.
    pub speed: f64,
    /// The true prices.
    pub truth: &'a Truth,
    /// The faults that are played.
    pub faults: &'a Faults,
    /// The recordings that are played.
    pub recordings: &'a [Recording],
    /// The exchange's sequence.
    pub sequence: &'a Cell<u64>,
}

impl Scene<'_> {
    /// A documented length, shortened by `speed`.
    pub(super) fn scaled(&self, length: Duration) -> Duration {
        scaled(length, self.speed)
    }

    /// The same for what ends a connection of a client that does too little. A recording comes `speed` times as fast
    /// as the client was made for, and is not to end with its patience: such a client gets the real time.
    pub(super) fn patience(&self, length: Duration) -> Duration {
        let is_replaying = !self.recordings.is_empty();
        scaled(length, if is_replaying { self.speed.min(1.0) } else { self.speed })
    }

    /// The next number of the exchange's sequence.
    pub(super) fn next_sequence(&self) -> u64 {
        self.sequence.set(self.sequence.get() + 1);
        self.sequence.get()
    }

    /// Milliseconds since 1970 by the exchange's clock.
    pub(super) fn unix_ms(&self) -> i64 {
        self.wall.timestamp_millis()
    }

    /// The book that is really said for a symbol with these names (its own first): the recording's where there is
    /// one, bent by faults. `None` if a fault mutes the symbol.
    pub(super) fn shown(&self, names: &[&str], healthy: Book) -> Option<Book> {
        let healthy = self.recorded(names).unwrap_or(healthy);
        self.faults.shown(self.transport, names, healthy, self.now)
    }

    /// What a subscription is answered with, where the exchange does: what is shown. `None` also while a recording has
    /// not told the symbol yet, because the first frame that it holds is that answer.
    pub(super) fn first_shown(&self, names: &[&str], healthy: Book) -> Option<Book> {
        let is_to_come = |symbol: &&str| self.recordings.iter().any(|recording| recording.is_to_come(symbol));
        if names.first().is_some_and(is_to_come) { None } else { self.shown(names, healthy) }
    }

    /// The recording's book of a symbol; `None` if it is not replayed.
    pub(super) fn recorded(&self, names: &[&str]) -> Option<Book> {
        let symbol = names.first()?;
        self.recordings.iter().find_map(|recording| recording.book(symbol))
    }

    /// Whether prices of this symbol come from a recording.
    pub(super) fn is_replayed(&self, symbol: &str) -> bool {
        self.recordings.iter().any(|recording| recording.covers(symbol))
    }
}

/// A documented length, shortened by `speed`.
pub(super) fn scaled(length: Duration, speed: f64) -> Duration {
    Duration::try_from_secs_f64(length.as_secs_f64() / speed).unwrap_or(Duration::MAX)
}

/// The exchange's wall clock: the real one, as far ahead as a fault has put it.
pub(super) fn shifted(wall: DateTime<Utc>, shift_ms: i64) -> DateTime<Utc> {
    wall.checked_add_signed(TimeDelta::milliseconds(shift_ms)).unwrap_or(wall)
}
