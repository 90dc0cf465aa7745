//! Sources of quotes. A new exchange is one file here, one row of [`EXCHANGES`], and its fixtures.
//!
//! An exchange is a pure translation ([`Exchange`]): it says where to listen and what to say first, and it turns
//! bytes into quotes. It has no socket, no clock and no actor; [`actor::ExchangeActor`] owns all of those, once,
//! for every exchange.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::market::{Asset, Direction, ExchangeName, Quote, Refusal};

pub mod actor;
pub mod backoff;
pub mod bans;
pub mod decode;
pub mod dial_budget;
pub mod tls;

#[cfg(test)]
mod corpus;
mod fiat_listing;
mod fixing;
mod json;
mod markets;
#[cfg(test)]
mod spoken;
mod symbols;

mod binance;
mod bitfinex;
mod bitstamp;
mod bybit;
mod cbr;
mod coinbase;
mod coingecko;
mod ecb;
mod erapi;
mod frankfurter;
mod freecurrencyapi;
mod gate;
mod htx;
mod kraken;
mod kucoin;
mod okx;

/// One source of quotes, as a translation between its protocol and our words.
pub trait Exchange: Send {
    /// Where to listen and what to say first, and where to poll. Depends on the scope that it was made with, and
    /// on what it has read of the instrument list since.
    fn feed(&self) -> Feed;

    /// Reads one frame or body. A heartbeat or an acknowledgement is a `Reading` without quotes, and so is a frame
    /// of another channel. One bad row is refused in `Reading::refused`, and never drops its siblings.
    ///
    /// # Errors
    /// When the frame as a whole is not of the documented form.
    fn read(&mut self, source: Source, bytes: &[u8]) -> Result<Reading, FrameError>;

    /// Reads the body of the answer to one of [`Feed::polls`], with what was asked, because a body may leave out of
    /// what it speaks.
    ///
    /// # Errors
    /// When the body as a whole is not of the documented form.
    fn read_poll(&mut self, request: &Request, body: &[u8]) -> Result<Reading, FrameError> {
        let _ = request;
        self.read(Source::Poll, body)
    }

    /// What makes the exchange say something of a direction on its socket.
    fn pushes(&self) -> Pushes {
        Pushes::Changes
    }

    /// Reads the body of a REST answer whose status is not a success, for what it tells beyond the status, such as
    /// a symbol that does not exist. What the status itself says (429, 418, 451, 5xx) is the actor's to obey.
    fn read_failure(&mut self, request: &Request, status: u16, body: &[u8]) -> Reading {
        let _ = (request, status, body);
        Reading::default()
    }

    /// The exchange's spelling of a direction that it quotes, for messages to people.
    fn symbol(&self, direction: Direction) -> String {
        direction.to_string()
    }

    /// Whether the exchange greets a new connection ([`Signal::Greeted`]), and does not listen before it has.
    fn speaks_first(&self) -> bool {
        false
    }

    /// Whether every quote of a frame says when it was made. Where it does not, pings find out how late frames come.
    fn tells_times(&self) -> bool {
        true
    }

    /// A reader of its own for the frames of a new connection, where what a frame means depends on what the same
    /// connection said before, such as numbers of channels. `None` where one reader serves all connections.
    fn for_connection(&self) -> Option<Box<dyn Exchange>> {
        None
    }
}

/// What makes an exchange say something of a direction on its socket, and so what a body can prove it to have kept
/// to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushes {
    /// Every change of the best prices.
    Changes,
    /// Every trade; the best prices may have changed since the last one.
    Trades,
}

/// Which directions a plug-in reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// What is needed to answer these directions; other symbols are refused as unexpected.
    Directions(Vec<Direction>),
    /// Every symbol whose base and counter it knows (`ratebook decode` without `--directions`).
    Everything,
}

impl Scope {
    /// Whether this very direction is wanted, as markets price it.
    fn names(&self, direction: Direction) -> bool {
        match self {
            Self::Directions(wanted) => wanted.iter().any(|it| it.priced_as() == direction),
            Self::Everything => true,
        }
    }
}

/// How a plug-in reaches its exchange.
#[derive(Clone, Default)]
pub struct Access {
    /// The part of REST addresses before the exchange's own paths.
    pub rest_url: String,
    /// The user's key, where one was given.
    pub api_key: Option<String>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let api_key = self.api_key.as_ref().map(|_| "***");
        f.debug_struct("Access").field("rest_url", &self.rest_url).field("api_key", &api_key).finish()
    }
}

/// Where bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A frame of the socket, text or binary as it came.
    Socket,
    /// The body of one of [`Feed::polls`].
    Poll,
    /// The body of [`Feed::instruments`].
    Instruments,
    /// The body of [`Socket::handshake`].
    Handshake,
}

/// Where to listen and what to say first, and where to poll.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Feed {
    /// The directions that this exchange is going to quote.
    pub listens_to: Vec<Direction>,
    /// Directions that were wanted of this exchange, and that it does not know or does not trade.
    pub unsupported: Vec<Direction>,
    /// Asks which symbols exist: at the start and once a day. `None` where no such list is needed.
    pub instruments: Option<Request>,
    /// The socket; `None` where the exchange has none, or nothing to say on it.
    pub socket: Option<Socket>,
    /// The requests of one round of polling, which together quote every direction of `listens_to`.
    pub polls: Vec<Request>,
    /// The header by which the exchange tells how much of its budget is used.
    pub weight: Option<WeightLimit>,
    /// What may be asked within a time that outlasts a run of this program; `None` where restarts need no counting.
    pub quota: Option<Quota>,
}

/// A WebSocket of an exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct Socket {
    /// A request that has to be answered before every dial; its body is read as [`Source::Handshake`], and gives
    /// [`Signal::Dial`]. `None` where the address is known beforehand.
    pub handshake: Option<Request>,
    /// Path and query behind the setting `ws_url`.
    pub path: String,
    /// What to say after the connection stands, in this order.
    pub subscriptions: Vec<Subscription>,
    /// What we have to say regularly so that the exchange does not hang up.
    pub ping: Option<ClientPing>,
    /// Silence of the whole link after which it counts as dead.
    pub link_silence: Duration,
    /// Age at which the exchange closes the connection by force.
    pub lifetime: Option<Duration>,
    /// Least time between two messages that we send, where the exchange limits them.
    pub min_gap: Duration,
}

/// One subscribe message.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// Its number, by which [`Signal::Acknowledged`] and [`Signal::SubscriptionRefused`] name it.
    pub id: u64,
    /// The message.
    pub frame: Frame,
    /// What it asks for.
    pub directions: Vec<Direction>,
}

/// A message that keeps the connection open.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientPing {
    /// How often to send it.
    pub every: Duration,
    /// The message.
    pub frame: Frame,
}

/// One message of a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A text message.
    Text(String),
    /// A text message that tells when it is sent: [`TIME_OF_SENDING`] in it stands for the seconds since 1970.
    Timed(String),
    /// A binary message.
    Binary(Bytes),
}

/// What stands for the time in a [`Frame::Timed`].
pub const TIME_OF_SENDING: &str = "{time}";

/// A REST request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query behind the setting `rest_url`, already percent-encoded.
    pub path: String,
    /// Headers beyond the usual ones. May hold a key, so they are never logged.
    pub headers: Vec<(&'static str, String)>,
}

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `POST` with an empty body.
    Post,
}

impl Request {
    /// A `GET` without headers of its own.
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::Get, path: path.into(), headers: Vec::new() }
    }
}

/// How an exchange tells how much of its budget for requests is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightLimit {
    /// The header's name, in lower case.
    pub header: &'static str,
    /// What it may grow to within `window`.
    pub limit: u32,
    /// The time in which it counts.
    pub window: Duration,
}

/// What an exchange gives within a time so long that a program that is started again and again could use it up.
///
/// Only answers of success count, as exchanges with such quotas count, so that a network that is down costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Answers after which nothing more is asked.
    pub answers: u32,
    /// The time in which they count.
    pub window: Duration,
}

/// What one frame or body says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// The quotes, in the order of the frame.
    pub quotes: Vec<Quote>,
    /// Rows that were refused: the exchange's symbol (or the part of it that could be read), and why.
    pub refused: Vec<(String, Refusal)>,
    /// What to send back at once (an echo).
    pub reply: Option<Frame>,
    /// What else it tells.
    pub signals: Vec<Signal>,
}

impl Reading {
    /// Adds what came of one row: a quote, or its symbol and why it was refused.
    fn push(&mut self, symbol: &str, row: Result<Quote, Refusal>) {
        match row {
            Ok(quote) => self.quotes.push(quote),
            Err(refusal) => self.refused.push((json::shown(symbol), refusal)),
        }
    }
}

/// What a frame tells beside prices.
#[derive(Debug, Clone, PartialEq)]
pub enum Signal {
    /// The exchange has greeted a new connection, and listens from now on.
    Greeted,
    /// The subscription of this number stands.
    Acknowledged(u64),
    /// The subscription of this number was refused.
    SubscriptionRefused {
        /// The number.
        id: u64,
        /// The exchange's words.
        detail: String,
    },
    /// The plug-in has learnt something that changes its [`Feed`]: ask for it again.
    FeedChanged,
    /// The exchange is going to close this connection: replace it now.
    ReconnectSoon,
    /// Where to dial, as a whole address (the answer to [`Socket::handshake`]).
    Dial {
        /// The address.
        url: String,
        /// The time between pings that the exchange asks for.
        ping_every: Duration,
    },
    /// The exchange asks for less, in an answer whose status does not say so.
    RateLimited {
        /// For how long; `None` where it does not say.
        wait: Option<Duration>,
    },
    /// The exchange reports an error that concerns no single symbol.
    Error(String),
}

/// A frame or body that is not of the documented form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not JSON, not XML, or not the documented structure.
    #[error("not of the documented form: {0}")]
    Syntax(String),
    /// Not text in the announced encoding.
    #[error("not text in the expected encoding")]
    Encoding,
    /// More bytes, also after decompression, than any real frame has.
    #[error("larger than {limit} bytes")]
    TooBig {
        /// The limit in bytes.
        limit: usize,
    },
}

impl From<serde_json::Error> for FrameError {
    fn from(error: serde_json::Error) -> Self {
        Self::Syntax(error.to_string())
    }
}

/// What an exchange is to its users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A market with order books.
    Market,
    /// A site that averages markets.
    Aggregator,
    /// A source of fiat rates.
    Fiat {
        /// The currency whose rates it sets; `None` if it only repeats or averages those of others.
        official_of: Option<Asset>,
    },
}

impl Kind {
    /// The word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Market => "market",
            Self::Aggregator => "aggregator",
            Self::Fiat { official_of: Some(_) } => "central bank",
            Self::Fiat { official_of: None } => "fiat rates",
        }
    }

    /// The currency whose rates it sets, if it is a central bank.
    pub const fn official_of(self) -> Option<Asset> {
        match self {
            Self::Fiat { official_of } => official_of,
            Self::Market | Self::Aggregator => None,
        }
    }
}

/// What use an exchange has for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// None.
    None,
    /// It gives more to who has one.
    Optional,
    /// It gives nothing to who has none, and is left alone without one.
    Required,
}

/// One exchange of the table: its name, its defaults, and how to make its plug-in.
#[derive(Debug)]
pub struct Row {
    /// Its name, everywhere.
    pub name: ExchangeName,
    /// What it is.
    pub kind: Kind,
    /// Default of the setting `rest_url`.
    pub rest_url: &'static str,
    /// Default of the setting `ws_url`; empty where it has no socket.
    pub ws_url: &'static str,
    /// Default of the setting `stale_after`.
    pub stale_after: Duration,
    /// Default of the setting `poll_every`.
    pub poll_every: Duration,
    /// Default of `poll_every` once a key is given, where a key allows a faster pace.
    pub poll_every_with_key: Option<Duration>,
    /// What use it has for a key.
    pub key: KeyUse,
    /// Makes its plug-in.
    pub make: fn(&Access, Scope) -> Box<dyn Exchange>,
}

impl Row {
    /// The settings `rest_url` and `ws_url` that point the exchange at a simulator: its section there, then the path
    /// that the exchange's own address has before its paths. The second is empty where it has no socket.
    pub fn served_at(&self, simulator: impl fmt::Display) -> (String, String) {
        let path = |url: &str| {
            let (_, rest) = url.split_once("://").unwrap_or_default();
            rest.split_once('/').map(|(_, path)| format!("/{path}")).unwrap_or_default()
        };
        let rest_url = format!("http://{simulator}/{}{}", self.name, path(self.rest_url));
        let ws_url = match self.ws_url {
            "" => String::new(),
            url => format!("ws://{simulator}/{}{}", self.name, path(url)),
        };
        (rest_url, ws_url)
    }
}

/// Every exchange that this program knows.
pub const EXCHANGES: &[Row] = &[
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

/// The row of `name`; `None` if there is no such exchange.
pub fn row(name: &str) -> Option<&'static Row> {
    EXCHANGES.iter().find(|row| row.name.as_str() == name)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The plug-in for everything that an exchange quotes.
    fn everything(row: &Row) -> Box<dyn Exchange> {
        let access = Access { rest_url: row.rest_url.to_owned(), api_key: None };
        (row.make)(&access, Scope::Everything)
    }

    /// What the fixtures of an exchange's socket say.
    fn said_over_sockets(row: &Row) -> Vec<Quote> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(row.name.as_str());
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let frames = files.filter(|path| path.extension().is_some_and(|it| it == "jsonl"));
        let mut quotes = Vec::new();
        for text in frames.map(|path| fs::read_to_string(path).unwrap()) {
            let exchange = everything(row);
            let mut reader = exchange.for_connection().unwrap_or(exchange);
            let readings = text.lines().filter_map(|line| reader.read(Source::Socket, line.as_bytes()).ok());
            quotes.extend(readings.flat_map(|reading| reading.quotes));
        }
        quotes
    }

    #[test]
    fn where_frames_tell_no_time_pings_are_sent() {
        for row in EXCHANGES.iter().filter(|row| !row.ws_url.is_empty()) {
            let quotes = said_over_sockets(row);
            assert!(!quotes.is_empty(), "{}", row.name);
            let num_timed = quotes.iter().filter(|quote| quote.quoted_at.is_some()).count();
            assert_eq!(everything(row).tells_times(), num_timed > 0, "{}: {num_timed}", row.name);
        }
    }

    #[test]
    fn a_direction_has_a_symbol_at_every_exchange() {
        for row in EXCHANGES {
            let (direction, codes) = match row.kind {
                Kind::Market | Kind::Aggregator => ("BTC-USD", &["BTC", "XBT", "BITCOIN"][..]),
                Kind::Fiat { .. } => ("USD-EUR", &["USD", "EUR"][..]),
            };
            let symbol = everything(row).symbol(direction.parse().unwrap()).to_ascii_uppercase();
            assert!(codes.iter().any(|code| symbol.contains(code)), "{}: {symbol}", row.name);
        }
    }

    #[test]
    fn a_simulators_addresses_keep_the_path_before_the_exchanges_own_paths() {
        let simulator = "127.0.0.1:9900";
        for (name, rest_url, ws_url) in [
            ("binance", "http://127.0.0.1:9900/binance", "ws://127.0.0.1:9900/binance"),
            ("coingecko", "http://127.0.0.1:9900/coingecko/api/v3", ""),
        ] {
            let served_at = row(name).unwrap().served_at(simulator);
            assert_eq!(served_at, (rest_url.to_owned(), ws_url.to_owned()), "{name}");
        }
    }
}
