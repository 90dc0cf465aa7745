//! OKX v5 spot, as clients of its public data see it.
//!
//! A subscription is acknowledged argument by argument and answered with the ticker as it stands. The connection ends
//! after half a minute in which nothing was said on either side, and pings are plain text.
//!
//! <https://www.okx.com/docs-v5/en/>

mod stream;

use std::net::IpAddr;
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::book::{Book, Day, Price, size};
use super::http::{Answer, Request};
use super::listing::{Form, Listing, Listings};
use super::protocol::{Conversation, Protocol, Reply, Row, Scene};
use super::quota::Quota;
use super::recorded::{Received, Recogniser};

use stream::{Talk, recorded};

/// Its row in the table.
pub(super) const ROW: Row = Row { name: "okx", has_socket: true, make: |_| Box::new(Okx::new()) };

static FORM: Form = Form {
    exchange: "okx",
    code: |asset| asset,
    symbol: |base, counter| format!("{base}-{counter}"),
    split: |symbol| symbol.split_once('-'),
    open: &["live"],
    closed: &["suspend", "preopen", "test"],
    closed_side: Some(Price::Missing),
};

#[rustfmt::skip]
const PAIRS: &[(&str, &str, u32)] = &[
    ("BTC", "USDT", 1), ("ETH", "USDT", 2), ("SOL", "USDT", 2), ("XRP", "USDT", 4), ("LTC", "USDT", 2),
    ("DOGE", "USDT", 5), ("TRX", "USDT", 5), ("GRAM", "USDT", 3), ("BNB", "USDT", 1), ("BCH", "USDT", 1),
    ("LINK", "USDT", 3), ("DOT", "USDT", 3), ("SHIB", "USDT", 9), ("USDC", "USDT", 5),
    ("BTC", "USDC", 1), ("ETH", "USDC", 2), ("SOL", "USDC", 2), ("XRP", "USDC", 4),
    ("BTC", "USD", 1), ("ETH", "USD", 2), ("SOL", "USD", 2), ("XRP", "USD", 4), ("LTC", "USD", 2),
    ("DOGE", "USD", 5), ("TRX", "USD", 5), ("GRAM", "USD", 3), ("USDT", "USD", 5),
    ("BTC", "EUR", 1), ("ETH", "EUR", 2), ("USDT", "EUR", 5), ("USDC", "EUR", 5), ("ETH", "BTC", 5),
];

/// Requests that one address may make to one path within the window.
const REQUESTS: u32 = 20;
const WINDOW: Duration = Duration::from_secs(2);

/// OKX spot.
struct Okx {
    listings: Listings,
    quota: Quota,
}

impl Okx {
    fn new() -> Self {
        Self { listings: Listings::new(&FORM, PAIRS), quota: Quota::new(REQUESTS, WINDOW) }
    }

    fn tickers(&self, request: &Request, scene: &Scene<'_>) -> Reply {
        match request.parameter("instType") {
            None | Some("") => refused(400, "50014", "Parameter instType can not be empty.").into(),
            Some("SPOT") => {
                let rows = self.listings.all().filter_map(|listing| shown(listing, scene));
                good(rows.collect()).into()
            }
            Some("SWAP" | "FUTURES" | "OPTION") => good(Vec::new()).into(),
            Some(_) => refused(400, "51000", "Parameter instType error").into(),
        }
    }

    /// A request for one instrument.
    fn one(
        &self,
        request: &Request,
        scene: &Scene<'_>,
        tell: fn(&Listing, &Book, &Request, &Scene<'_>) -> Value,
    ) -> Reply {
        let Some(name) = request.parameter("instId").filter(|name| !name.is_empty()) else {
            return refused(400, "50014", "Parameter instId can not be empty.").into();
        };
        let Some(listing) = self.listings.get(name) else {
            return refused(200, "51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
                .into();
        };
        match listing.shown(scene) {
            Some(book) => good(vec![tell(listing, &book, request, scene)]).into(),
            None => Reply::Later,
        }
    }

    fn instruments(&self, request: &Request) -> Reply {
        let asked = request.parameter("instId").filter(|name| !name.is_empty());
        match request.parameter("instType") {
            None | Some("") => refused(400, "50014", "Parameter instType can not be empty.").into(),
            Some("SPOT") => {
                let is_asked = |listing: &&Listing| asked.is_none_or(|name| listing.symbol == name);
                let rows: Vec<Value> = self.listings.all().filter(is_asked).map(listed).collect();
                match (rows.is_empty(), asked) {
                    (true, Some(_)) => refused(200, "51001", "Instrument ID doesn't exist.").into(),
                    _ => good(rows).into(),
                }
            }
            Some(_) => good(Vec::new()).into(),
        }
    }
}

impl Protocol for Okx {
    fn tick(&mut self, scene: &Scene<'_>) {
        self.listings.tick(scene);
    }

    fn listings(&self) -> Option<&Listings> {
        Some(&self.listings)
    }

    fn rest(&mut self, path: &str, request: &Request, client: IpAddr, scene: &Scene<'_>) -> Reply {
        if self.quota.take(&format!("{client} {path}"), 1, scene).is_err() {
            return self.refusal(429, None, scene).into();
        }
        match path {
            "/api/v5/public/time" => good(vec![json!({ "ts": scene.unix_ms().to_string() })]).into(),
            "/api/v5/public/instruments" => self.instruments(request),
            "/api/v5/market/tickers" => self.tickers(request, scene),
            "/api/v5/market/ticker" => {
                self.one(request, scene, |listing, book, _, scene| ticker(listing, book, scene))
            }
            "/api/v5/market/books" => self.one(request, scene, depth),
            _ => refused(404, "50404", "The requested resource does not exist.").into(),
        }
    }

    fn open(&mut self, path: &str, _: &Request, scene: &Scene<'_>) -> Result<Box<dyn Conversation>, Answer> {
        match path {
            "/ws/v5/public" => Ok(Box::new(Talk::new(scene.now))),
            _ => Err(Answer::new(404, "text/plain", "Not Found")),
        }
    }

    fn refusal(&self, status: u16, retry_after: Option<u64>, _: &Scene<'_>) -> Answer {
        let answer = match status {
            429 => refused(429, "50011", "Too Many Requests"),
            503 => refused(503, "50001", "Service temporarily unavailable. Try again later"),
            500 => refused(500, "50026", "System error. Try again later"),
            451 => refused(451, "50125", "This service is not available in your region."),
            _ => Answer::new(status, "text/html", "<html><head><title>OKX</title></head></html>"),
        };
        answer.retry_after(retry_after)
    }

    fn command(&mut self, name: &str, body: &Value, scene: &Scene<'_>) -> Option<Result<Value, String>> {
        (name == "symbols").then(|| self.listings.command(body, scene))
    }

    fn recogniser(&self, _: &[Received]) -> Option<Recogniser> {
        Some(Recogniser::of_text("channel `tickers` of the spot market", recorded))
    }
}

fn good(data: Vec<Value>) -> Answer {
    Answer::json(200, &json!({ "code": "0", "msg": "", "data": data }))
}

fn refused(status: u16, code: &str, msg: &str) -> Answer {
    Answer::json(status, &json!({ "code": code, "msg": msg, "data": [] }))
}

/// The ticker of a symbol as faults let it be; `None` if one mutes it.
fn shown(listing: &Listing, scene: &Scene<'_>) -> Option<Value> {
    let book = listing.shown(scene)?;
    Some(ticker(listing, &book, scene))
}

fn ticker(listing: &Listing, book: &Book, scene: &Scene<'_>) -> Value {
    let day = Day::of(book);
    // A recording's prices are as old as their frames, which are told now.
    let is_replayed = scene.is_replayed(&listing.symbol);
    let ts =
        if is_replayed || listing.is_open { scene.unix_ms() } else { listing.changed_at.timestamp_millis() };
    json!({
        "instType": "SPOT",
        "instId": listing.symbol,
        "last": listing.printed(Some(&book.last)),
        "lastSz": "0.05",
        "askPx": listing.printed(book.ask.as_ref()),
        "askSz": size(book.ask.as_ref(), book.ask_size),
        "bidPx": listing.printed(book.bid.as_ref()),
        "bidSz": size(book.bid.as_ref(), book.bid_size),
        "open24h": listing.fixed(day.open),
        "high24h": listing.fixed(day.high),
        "low24h": listing.fixed(day.low),
        "volCcy24h": day.turnover.normalize().to_string(),
        "vol24h": day.volume.to_string(),
        "sodUtc0": listing.fixed(day.open),
        "sodUtc8": listing.fixed(day.open),
        "ts": ts.to_string(),
    })
}

/// One level of a side: price, size, a field that is always zero, and the number of orders.
fn level(listing: &Listing, price: Option<&Price>, size: Decimal) -> Value {
    match price {
        None | Some(Price::Missing) => json!([]),
        Some(price) => json!([[listing.printed(Some(price)), size.normalize().to_string(), "0", "1"]]),
    }
}

fn depth(listing: &Listing, book: &Book, _: &Request, scene: &Scene<'_>) -> Value {
    json!({
        "asks": level(listing, book.ask.as_ref(), book.ask_size),
        "bids": level(listing, book.bid.as_ref(), book.bid_size),
        "ts": scene.unix_ms().to_string(),
        "seqId": book.sequence,
    })
}

fn listed(listing: &Listing) -> Value {
    let step = listing.step();
    json!({
        "instType": "SPOT",
        "instId": listing.symbol,
        "uly": "",
        "instFamily": "",
        "baseCcy": listing.base,
        "quoteCcy": listing.counter,
        "settleCcy": "",
        "ctVal": "",
        "ctMult": "",
        "ctValCcy": "",
        "optType": "",
        "stk": "",
        "listTime": "1611907686000",
        "expTime": "",
        "lever": "",
        "tickSz": step,
        "lotSz": "0.00000001",
        "minSz": "0.00001",
        "ctType": "",
        "alias": "",
        "state": listing.status,
        "maxLmtSz": "9999999999",
        "maxMktSz": "1000000",
        "category": "1",
        "ruleType": "normal",
    })
}
