//! Gate spot, API v4, as its market-data clients see it.
//!
//! <https://www.gate.com/docs/developers/apiv4/>

mod stream;

use std::net::IpAddr;
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::market::number;

use super::book::{Book, Day, Price};
use super::http::{Answer, Request};
use super::listing::{Form, Listing, Listings};
use super::protocol::{Conversation, Protocol, Reply, Row, Scene};
use super::quota::Quota;
use super::recorded::{Received, Recogniser};

use stream::{Stream, recorded};

/// Its row in the table.
pub(super) const ROW: Row = Row { name: "gate", has_socket: true, make: |_| Box::new(Gate::new()) };

/// Base, counter, and digits behind the point of a price.
#[rustfmt::skip]
const TRADING: &[(&str, &str, u32)] = &[
    ("BTC", "USDT", 1), ("ETH", "USDT", 2), ("SOL", "USDT", 2), ("XRP", "USDT", 4), ("LTC", "USDT", 2),
    ("DOGE", "USDT", 5), ("TRX", "USDT", 5), ("TON", "USDT", 4), ("BNB", "USDT", 1), ("BCH", "USDT", 1),
    ("LINK", "USDT", 3), ("DOT", "USDT", 3), ("SHIB", "USDT", 9), ("EOS", "USDT", 4), ("XLM", "USDT", 5),
    ("USDC", "USDT", 4), ("BTC", "USDC", 1), ("ETH", "USDC", 2), ("ETH", "BTC", 5), ("XRP", "BTC", 8),
];

static FORM: Form = Form {
    exchange: "gate",
    code: |asset| if asset == "TON" { "GRAM" } else { asset },
    symbol: |base, counter| format!("{base}_{counter}"),
    split: |symbol| symbol.split_once('_'),
    open: &["tradable"],
    closed: &["untradable", "buyable", "sellable"],
    closed_side: Some(Price::Missing),
};

/// Requests that one address may send to one path, and in which time.
const REQUESTS: u32 = 200;
const WINDOW: Duration = Duration::from_secs(10);

struct Gate {
    listings: Listings,
    quota: Quota,
}

impl Gate {
    fn new() -> Self {
        Self { listings: Listings::new(&FORM, TRADING), quota: Quota::new(REQUESTS, WINDOW) }
    }

    fn answer(&self, path: &str, request: &Request, scene: &Scene<'_>) -> Reply {
        if path == "/api/v4/margin/currency_pairs" {
            // Clients ask for it on their way to the spot market; nothing is lent here.
            return Answer::json(200, &json!([])).into();
        }
        let asked = request.parameter("currency_pair");
        match path.strip_prefix("/api/v4/spot").unwrap_or_default() {
            "/time" => Answer::json(200, &json!({ "server_time": scene.unix_ms() })).into(),
            "/tickers" => self.tickers(asked, scene),
            "/currency_pairs" => {
                Answer::json(200, &self.listings.all().map(listed).collect::<Vec<_>>()).into()
            }
            "/order_book" => match asked.and_then(|symbol| self.listings.get(symbol)) {
                Some(listing) => listing.shown(scene).map_or(Reply::Later, |book| {
                    Answer::json(200, &order_book(listing, &book, scene)).into()
                }),
                None => unknown_pair(asked.unwrap_or_default()).into(),
            },
            below => {
                match below.strip_prefix("/currency_pairs/").map(|symbol| (symbol, self.listings.get(symbol)))
                {
                    Some((_, Some(listing))) => Answer::json(200, &listed(listing)).into(),
                    Some((symbol, None)) => unknown_pair(symbol).into(),
                    None => error(404, "NOT_FOUND", "Not Found").into(),
                }
            }
        }
    }

    /// One ticker in a list of its own, or all of them. One that is muted is answered later, or left out.
    fn tickers(&self, asked: Option<&str>, scene: &Scene<'_>) -> Reply {
        let tell = |listing: &Listing| {
            listing.shown(scene).map(|book| ticker(&listing.symbol, listing.scale, &book))
        };
        match asked {
            None => Answer::json(200, &self.listings.open().filter_map(tell).collect::<Vec<_>>()).into(),
            Some(symbol) => match self.listings.get(symbol) {
                None => unknown_pair(symbol).into(),
                Some(listing) => tell(listing).map_or(Reply::Later, |told| Answer::json(200, &[told]).into()),
            },
        }
    }
}

/// An error of Gate: a status, a word for programs, and words for people.
fn error(status: u16, label: &str, message: &str) -> Answer {
    Answer::json(status, &json!({ "label": label, "message": message }))
}

fn unknown_pair(symbol: &str) -> Answer {
    error(400, "INVALID_CURRENCY_PAIR", &format!("Invalid currency pair {symbol}"))
}

fn listed(listing: &Listing) -> Value {
    let (base, counter) = (&listing.base, &listing.counter);
    json!({
        "id": listing.symbol, "base": base, "base_name": base, "quote": counter, "quote_name": counter, "fee": "0.2",
        "min_base_amount": "0.00001", "min_quote_amount": "3", "amount_precision": 5, "precision": listing.scale,
        "trade_status": listing.status, "sell_start": 0, "buy_start": 0, "type": "normal",
    })
}

fn printed(price: Option<&Price>, scale: u32) -> String {
    price.map_or(String::new(), |price| price.fixed(scale))
}

fn size(size: Decimal) -> String {
    number::plain(size)
}

/// A ticker, as REST and the socket tell it. A side that a fault took away is an empty text.
fn ticker(symbol: &str, scale: u32, book: &Book) -> Value {
    let day = Day::of(book);
    json!({
        "currency_pair": symbol,
        "last": printed(Some(&book.last), scale),
        "lowest_ask": printed(book.ask.as_ref(), scale),
        "lowest_size": size(book.ask_size),
        "highest_bid": printed(book.bid.as_ref(), scale),
        "highest_size": size(book.bid_size),
        "change_percentage": "1.52",
        "base_volume": "12345",
        "quote_volume": size(day.turnover),
        "high_24h": Price::Number(day.high).fixed(scale),
        "low_24h": Price::Number(day.low).fixed(scale),
    })
}

fn order_book(listing: &Listing, book: &Book, scene: &Scene<'_>) -> Value {
    let level = |price: Option<&Price>, amount| json!([[printed(price, listing.scale), size(amount)]]);
    json!({
        "current": scene.unix_ms(),
        "update": scene.unix_ms(),
        "asks": level(book.ask.as_ref(), book.ask_size),
        "bids": level(book.bid.as_ref(), book.bid_size),
    })
}

impl Protocol for Gate {
    fn tick(&mut self, scene: &Scene<'_>) {
        self.listings.tick(scene);
    }

    fn listings(&self) -> Option<&Listings> {
        Some(&self.listings)
    }

    fn rest(&mut self, path: &str, request: &Request, client: IpAddr, scene: &Scene<'_>) -> Reply {
        let resets_at = scene.wall + scene.scaled(WINDOW);
        let (left, answer) = match self.quota.take(&format!("{client}{path}"), 1, scene) {
            Ok(left) => (left, self.answer(path, request, scene)),
            Err(_) => (0, self.refusal(429, None, scene).into()),
        };
        match answer {
            Reply::Later => Reply::Later,
            Reply::Answer(answer) => answer
                .with("X-Gate-RateLimit-Requests-Remain", left)
                .with("X-Gate-RateLimit-Limit", REQUESTS)
                .with("X-Gate-RateLimit-Reset-Timestamp", resets_at.timestamp())
                .into(),
        }
    }

    fn open(&mut self, path: &str, _: &Request, _: &Scene<'_>) -> Result<Box<dyn Conversation>, Answer> {
        match path {
            "/ws/v4" => Ok(Box::new(Stream::default())),
            _ => Err(error(404, "NOT_FOUND", "Not Found")),
        }
    }

    fn refusal(&self, status: u16, retry_after: Option<u64>, _: &Scene<'_>) -> Answer {
        let answer = match status {
            429 => error(429, "TOO_MANY_REQUESTS", "Request Rate limit Exceeded"),
            403 => Answer::new(403, "text/html", "<html><head><title>403 Forbidden</title></head></html>"),
            400..=499 => error(status, "INVALID_REQUEST", "the request is refused"),
            500 => error(500, "SERVER_ERROR", "Internal server error"),
            _ => Answer::new(status, "text/html", "<html><head><title>Server error</title></head></html>"),
        };
        answer.retry_after(retry_after)
    }

    fn command(&mut self, name: &str, body: &Value, scene: &Scene<'_>) -> Option<Result<Value, String>> {
        (name == "symbols").then(|| self.listings.command(body, scene))
    }

    fn recogniser(&self, _: &[Received]) -> Option<Recogniser> {
        Some(Recogniser::of_text("channels `spot.book_ticker` and `spot.tickers`", recorded))
    }
}
