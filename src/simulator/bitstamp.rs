//! Bitstamp, as its market-data clients see it: pairs and tickers by REST, and order books on sockets.
//!
//! There is no ticker on its sockets. The order book of a hundred levels comes as a whole with every change; the
//! first one is the next change after the subscription.
//!
//! <https://www.bitstamp.net/websocket/v2/>

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use super::book::{Book, Price, exact};
use super::http::{Answer, Request};
use super::listing::{Form, Listing, Listings, digits, split_at_counter};
use super::protocol::{Conversation, Frame, Protocol, Reply, Row, Say, Scene, SocketRules};
use super::quota::Quota;
use super::recorded::{Received, Recogniser, Recorded, Time, Told};

/// Its row in the table.
pub(super) const ROW: Row =
    Row { name: "bitstamp", has_socket: true, make: |scene| Box::new(Bitstamp::new(scene)) };

/// Base and counter of every pair.
#[rustfmt::skip]
const PAIRS: &[(&str, &str)] = &[
    ("BTC", "USD"), ("BTC", "EUR"), ("BTC", "GBP"), ("BTC", "USDT"), ("BTC", "USDC"), ("ETH", "USD"), ("ETH", "EUR"),
    ("ETH", "GBP"), ("ETH", "USDT"), ("ETH", "USDC"), ("ETH", "BTC"), ("USDT", "USD"), ("USDT", "EUR"),
    ("USDC", "USD"), ("USDC", "EUR"), ("USDC", "USDT"), ("SOL", "USD"), ("SOL", "EUR"), ("SOL", "USDC"),
    ("XRP", "USD"), ("XRP", "EUR"), ("XRP", "GBP"), ("XRP", "USDT"), ("XRP", "USDC"), ("XRP", "BTC"), ("TON", "USD"),
    ("TON", "EUR"), ("TRX", "USD"), ("TRX", "EUR"), ("LTC", "USD"), ("LTC", "EUR"), ("LTC", "BTC"), ("DOGE", "USD"),
    ("DOGE", "EUR"), ("BCH", "USD"), ("BCH", "EUR"), ("LINK", "USD"), ("LINK", "EUR"), ("DOT", "USD"),
    ("DOT", "EUR"), ("XLM", "USD"), ("XLM", "EUR"), ("EUR", "USD"), ("GBP", "USD"), ("SHIB", "USD"),
];

static FORM: Form = Form {
    exchange: "bitstamp",
    code: |asset| asset,
    symbol: |base, counter| format!("{base}{counter}").to_ascii_lowercase(),
    split: split_at_counter,
    open: &["Enabled"],
    closed: &["Disabled"],
    closed_side: None,
};

/// Requests of one address within ten minutes.
const REQUESTS_IN_TEN_MINUTES: u32 = 10_000;

/// Levels of each side of an order book.
const NUM_LEVELS: u32 = 100;

/// Beginning of the channel of a whole order book.
const CHANNEL: &str = "order_book_";

/// Bitstamp.
struct Bitstamp {
    listings: Listings,
    quota: Quota,
}

impl Bitstamp {
    fn new(scene: &Scene<'_>) -> Self {
        Self {
            listings: Listings::in_seven_digits(&FORM, PAIRS, scene),
            quota: Quota::new(REQUESTS_IN_TEN_MINUTES, Duration::from_secs(600)),
        }
    }

    fn tickers(&self, scene: &Scene<'_>) -> Answer {
        let told = |listing: &Listing| Some(ticker(listing, &listing.shown(scene)?, scene));
        Answer::json(200, &self.listings.all().filter_map(told).collect::<Vec<_>>())
    }

    /// Answers what is about one pair.
    fn one(&self, path: &str, scene: &Scene<'_>) -> Reply {
        let (what, symbol) = path.split_once('/').unwrap_or((path, ""));
        let Some(listing) = self.listings.get(symbol) else { return not_found().into() };
        let tell = |told: fn(&Listing, &Book, &Scene<'_>) -> Value| match listing.shown(scene) {
            Some(book) => Answer::json(200, &told(listing, &book, scene)).into(),
            None => Reply::Later,
        };
        match what {
            "ticker" => tell(ticker),
            "order_book" => tell(|_, book, scene| order_book(book, scene)),
            _ => not_found().into(),
        }
    }
}

impl Protocol for Bitstamp {
    fn tick(&mut self, scene: &Scene<'_>) {
        self.listings.tick(scene);
    }

    fn listings(&self) -> Option<&Listings> {
        Some(&self.listings)
    }

    fn rest(&mut self, path: &str, _: &Request, client: IpAddr, scene: &Scene<'_>) -> Reply {
        if self.quota.take(&client.to_string(), 1, scene).is_err() {
            return self.refusal(429, None, scene).into();
        }
        match path.strip_prefix("/api/v2/").unwrap_or_default() {
            "ticker" => self.tickers(scene).into(),
            "trading-pairs-info" => {
                Answer::json(200, &self.listings.all().map(|it| pair(it, "url_symbol")).collect::<Vec<_>>())
                    .into()
            }
            "markets" => Answer::json(
                200,
                &self.listings.all().map(|it| pair(it, "market_symbol")).collect::<Vec<_>>(),
            )
            .into(),
            path => self.one(path, scene),
        }
    }

    fn open(&mut self, path: &str, _: &Request, _: &Scene<'_>) -> Result<Box<dyn Conversation>, Answer> {
        match path {
            "" => Ok(Box::new(Talk { symbols: BTreeSet::new() })),
            _ => Err(Answer::new(404, "text/plain", "Not Found")),
        }
    }

    fn refusal(&self, status: u16, retry_after: Option<u64>, _: &Scene<'_>) -> Answer {
        let answer = match status {
            429 => failed(429, "400.002", "Request rate limit exceeded."),
            400..=499 => failed(status, &format!("{status}.001"), "Request refused."),
            _ => Answer::new(status, "text/html", "<html><head><title>Bitstamp</title></head></html>"),
        };
        answer.retry_after(retry_after)
    }

    fn command(&mut self, name: &str, body: &Value, scene: &Scene<'_>) -> Option<Result<Value, String>> {
        (name == "symbols").then(|| self.listings.command(body, scene))
    }

    fn recogniser(&self, _: &[Received]) -> Option<Recogniser> {
        Some(Recogniser::of_text("channels `order_book_<symbol>`", recorded))
    }
}

fn failed(status: u16, code: &str, reason: &str) -> Answer {
    Answer::json(status, &json!({ "status": "error", "reason": reason, "code": code }))
}

fn not_found() -> Answer {
    failed(404, "404.002", "Currency pair not found.")
}

/// A row of either list of pairs; `field` is what it calls the symbol.
fn pair(listing: &Listing, field: &str) -> Value {
    let mut row = json!({
        "name": format!("{}/{}", listing.base, listing.counter), "base_decimals": 8, "counter_decimals": listing.scale,
        "minimum_order": format!("10.0 {}", listing.counter), "minimum_order_value": "10", "market_type": "SPOT",
        "trading": listing.status,
        "instant_order_counter_decimals": 2, "instant_and_market_orders": listing.status,
        "description": format!("{} / {}", listing.base, listing.counter),
        "base_currency": listing.base, "counter_currency": listing.counter,
    });
    row[field] = listing.symbol.as_str().into();
    row
}

fn ticker(listing: &Listing, book: &Book, scene: &Scene<'_>) -> Value {
    let price = |price| listing.told(price);
    let last = price(Some(&book.last));
    json!({
        "pair": format!("{}/{}", listing.base, listing.counter), "last": last, "bid": price(book.bid.as_ref()),
        "ask": price(book.ask.as_ref()), "high": last, "low": last, "open": last, "open_24": last, "vwap": last,
        "percent_change_24": "0.00", "side": "0", "volume": "1234.50000000",
        "timestamp": scene.wall.timestamp().to_string(),
    })
}

fn order_book(book: &Book, scene: &Scene<'_>) -> Value {
    let scale = digits(book.last.number().unwrap_or(Decimal::ONE));
    json!({
        "timestamp": scene.wall.timestamp().to_string(),
        "microtimestamp": scene.wall.timestamp_micros().to_string(),
        "bids": levels(book.bid.as_ref(), book.bid_size, Decimal::new(-1, scale)),
        "asks": levels(book.ask.as_ref(), book.ask_size, Decimal::new(1, scale)),
    })
}

/// The levels of a side, each a step further away from the best; one that a fault has bent stands alone.
fn levels(best: Option<&Price>, size: Decimal, step: Decimal) -> Vec<[Value; 2]> {
    let size_of = |level: u32| Value::from(Price::Number(size + Decimal::from(level)).fixed(8));
    match best {
        None | Some(Price::Missing) => Vec::new(),
        Some(Price::Number(best)) => {
            let prices = (0..NUM_LEVELS).map(|level| (level, *best + step * Decimal::from(level)));
            prices
                .filter(|(level, price)| *level == 0 || *price > Decimal::ZERO)
                .map(|(level, price)| [exact(Some(&Price::Number(price))), size_of(level)])
                .collect()
        }
        Some(bent) => vec![[exact(Some(bent)), size_of(0)]],
    }
}

#[derive(Deserialize)]
struct Pushed {
    channel: String,
    data: RecordedBook,
}

#[derive(Deserialize)]
struct RecordedBook {
    bids: Vec<(String, String)>,
    asks: Vec<(String, String)>,
}

/// Reads a recorded order book; `None` if it is anything else.
fn recorded(text: &str) -> Option<Recorded> {
    let Pushed { channel, data } = serde_json::from_str(text).ok()?;
    let symbol = channel.strip_prefix(CHANNEL)?;
    let ((bid, bid_size), (ask, ask_size)) = (data.bids.first()?, data.asks.first()?);
    let told = Told::best([bid, bid_size, ask, ask_size], None, 0)?;
    let recorded = Recorded::new(&channel, symbol, Some(told), text);
    Some(recorded.with_times(&[("timestamp", Time::Seconds), ("microtimestamp", Time::Micros)]))
}

/// One WebSocket.
struct Talk {
    symbols: BTreeSet<String>,
}

impl Talk {
    fn obey(&mut self, message: &Value, protocol: &dyn Protocol) -> Say {
        let channel = message["data"]["channel"].as_str().unwrap_or_default();
        let symbol = channel.strip_prefix(CHANNEL).filter(|symbol| protocol.book(symbol).is_some());
        match (message["event"].as_str(), symbol) {
            (Some("bts:heartbeat"), _) => said("bts:heartbeat", "", json!({ "status": "success" })),
            (Some("bts:subscribe"), Some(symbol)) => {
                self.symbols.insert(symbol.to_owned());
                said("bts:subscription_succeeded", channel, json!({}))
            }
            (Some("bts:unsubscribe"), Some(symbol)) => {
                self.symbols.remove(symbol);
                said("bts:unsubscription_succeeded", channel, json!({}))
            }
            (Some("bts:subscribe" | "bts:unsubscribe"), None) => failure("Bad subscription string."),
            _ => failure("Incorrect JSON format."),
        }
    }
}

fn said(event: &str, channel: &str, data: Value) -> Say {
    let said = json!({ "event": event, "channel": channel, "data": data });
    Say::Control(Frame::Text(said.to_string()))
}

fn failure(message: &str) -> Say {
    said("bts:error", "", json!({ "code": null, "message": message }))
}

impl Conversation for Talk {
    fn rules(&self) -> SocketRules {
        SocketRules { lifetime: Some(Duration::from_secs(90 * 86_400)), ..SocketRules::default() }
    }

    fn hear(&mut self, message: &[u8], protocol: &dyn Protocol, _: &Scene<'_>) -> Vec<Say> {
        match serde_json::from_slice::<Value>(message) {
            Ok(message) => vec![self.obey(&message, protocol)],
            Err(_) => vec![failure("Incorrect JSON format.")],
        }
    }

    fn symbols(&self) -> &BTreeSet<String> {
        &self.symbols
    }

    fn tell(&mut self, symbol: &str, book: &Book, scene: &Scene<'_>) -> Vec<Frame> {
        let channel = format!("{CHANNEL}{symbol}");
        let said = json!({ "event": "data", "channel": channel, "data": order_book(book, scene) });
        vec![Frame::Text(said.to_string())]
    }

    fn repeat(&mut self, recorded: &Recorded, scene: &Scene<'_>) -> Option<Frame> {
        self.symbols.contains(&*recorded.symbol).then(|| Frame::Text(recorded.told_at(scene.wall)))
    }

    fn farewell(&self, _: &Scene<'_>) -> Option<Frame> {
        let said = json!({ "event": "bts:request_reconnect", "channel": "", "data": "" });
        Some(Frame::Text(said.to_string()))
    }
}
