//! Bybit v5 spot, as clients of its public data see it.
//!
//! The order book of one level comes as a whole with each change, and again with the same number when nothing has
//! changed for three seconds. A request to subscribe is acknowledged or refused as one.
//!
//! <https://bybit-exchange.github.io/docs/v5/intro>

mod stream;

use std::net::IpAddr;
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::book::{Book, Day, Price, size};
use super::http::{Answer, Request};
use super::listing::{Form, Listing, Listings, split_at_counter};
use super::protocol::{Conversation, Protocol, Reply, Row, Scene};
use super::quota::Quota;
use super::recorded::{Received, Recogniser};

use stream::{Talk, recorded};

/// Its row in the table.
pub(super) const ROW: Row = Row { name: "bybit", has_socket: true, make: |_| Box::new(Bybit::new()) };

static FORM: Form = Form {
    exchange: "bybit",
    code: |asset| asset,
    symbol: |base, counter| format!("{base}{counter}"),
    split: split_at_counter,
    open: &["Trading"],
    closed: &["PreLaunch", "Delivering", "Closed"],
    closed_side: Some(Price::Missing),
};

#[rustfmt::skip]
const PAIRS: &[(&str, &str, u32)] = &[
    ("BTC", "USDT", 1), ("ETH", "USDT", 2), ("SOL", "USDT", 2), ("XRP", "USDT", 4), ("LTC", "USDT", 2),
    ("DOGE", "USDT", 5), ("TRX", "USDT", 5), ("GRAM", "USDT", 3), ("BNB", "USDT", 1), ("BCH", "USDT", 1),
    ("LINK", "USDT", 3), ("DOT", "USDT", 3), ("SHIB", "USDT", 8), ("USDC", "USDT", 4),
    ("BTC", "USDC", 1), ("ETH", "USDC", 2), ("SOL", "USDC", 2), ("XRP", "USDC", 4),
    ("BTC", "EUR", 1), ("ETH", "EUR", 2), ("SOL", "EUR", 2), ("USDT", "EUR", 4), ("USDC", "EUR", 4),
    ("ETH", "BTC", 5), ("LTC", "BTC", 6), ("XRP", "BTC", 8),
];

/// Requests that one address may make within the window.
const REQUESTS: u32 = 600;
const WINDOW: Duration = Duration::from_secs(5);

/// Bybit spot.
struct Bybit {
    listings: Listings,
    quota: Quota,
}

impl Bybit {
    fn new() -> Self {
        Self { listings: Listings::new(&FORM, PAIRS), quota: Quota::new(REQUESTS, WINDOW) }
    }

    /// A list of the spot market, of one symbol or of all. Other categories are empty here.
    fn list(&self, request: &Request, scene: &Scene<'_>, tell: impl Fn(&Listing) -> Option<Value>) -> Reply {
        let category = request.parameter("category").unwrap_or_default();
        if !["spot", "linear", "inverse", "option"].contains(&category) {
            return refused(200, 10001, "params error: Category is invalid", scene).into();
        }
        let asked = request.parameter("symbol").filter(|symbol| !symbol.is_empty());
        let is_asked = |listing: &&Listing| asked.is_none_or(|symbol| listing.symbol == symbol);
        let listings: Vec<&Listing> = match category {
            "spot" => self.listings.all().filter(is_asked).collect(),
            _ => Vec::new(),
        };
        if listings.is_empty() && asked.is_some() {
            return refused(200, 10001, "Not supported symbols", scene).into();
        }
        let num_asked = listings.len();
        let rows: Vec<Value> = listings.into_iter().filter_map(tell).collect();
        match (asked, num_asked, rows.len()) {
            (Some(_), 1, 0) => Reply::Later,
            _ => good(json!({ "category": category, "list": rows }), scene).into(),
        }
    }

    fn depth(&self, request: &Request, scene: &Scene<'_>) -> Reply {
        let symbol = request.parameter("symbol").unwrap_or_default();
        let Some(listing) = self.listings.get(symbol) else {
            return refused(200, 10001, "Not supported symbols", scene).into();
        };
        match listing.shown(scene) {
            Some(book) => {
                let mut told = best(listing, &book);
                told["ts"] = scene.unix_ms().into();
                good(told, scene).into()
            }
            None => Reply::Later,
        }
    }
}

impl Protocol for Bybit {
    fn tick(&mut self, scene: &Scene<'_>) {
        self.listings.tick(scene);
    }

    fn listings(&self) -> Option<&Listings> {
        Some(&self.listings)
    }

    fn rest(&mut self, path: &str, request: &Request, client: IpAddr, scene: &Scene<'_>) -> Reply {
        if self.quota.take(&client.to_string(), 1, scene).is_err() {
            return self.refusal(403, None, scene).into();
        }
        match path {
            "/v5/market/time" => {
                let told = json!({
                    "timeSecond": scene.wall.timestamp().to_string(),
                    "timeNano": format!("{}000000", scene.unix_ms()),
                });
                good(told, scene).into()
            }
            "/v5/market/tickers" => self.list(request, scene, |listing| {
                let book = listing.shown(scene)?;
                Some(ticker(listing, &book))
            }),
            "/v5/market/instruments-info" => self.list(request, scene, |listing| Some(listed(listing))),
            "/v5/market/orderbook" => self.depth(request, scene),
            _ => Answer::new(404, "text/plain", "404 page not found").into(),
        }
    }

    fn open(&mut self, path: &str, _: &Request, _: &Scene<'_>) -> Result<Box<dyn Conversation>, Answer> {
        match path {
            "/v5/public/spot" => Ok(Box::new(Talk::default())),
            _ => Err(Answer::new(404, "text/plain", "404 page not found")),
        }
    }

    fn refusal(&self, status: u16, retry_after: Option<u64>, scene: &Scene<'_>) -> Answer {
        let answer = match status {
            // The one refusal for who asks too often has no other body, and no header.
            403 => Answer::new(403, "text/plain", "403, access too frequent"),
            429 => refused(429, 10006, "Too many visits. Exceeded the API Rate Limit.", scene),
            451 => Answer::new(
                403,
                "text/html",
                "<html><body>The Amazon CloudFront distribution is configured to block access from your country.\
                 </body></html>",
            ),
            503 => refused(503, 10016, "Server error.", scene),
            _ => Answer::new(status, "text/html", "<html><head><title>Bybit</title></head></html>"),
        };
        answer.retry_after(retry_after)
    }

    fn command(&mut self, name: &str, body: &Value, scene: &Scene<'_>) -> Option<Result<Value, String>> {
        (name == "symbols").then(|| self.listings.command(body, scene))
    }

    fn recogniser(&self, _: &[Received]) -> Option<Recogniser> {
        Some(Recogniser::of_text("topics `orderbook.1.<symbol>`", recorded))
    }
}

fn good(result: Value, scene: &Scene<'_>) -> Answer {
    let told =
        json!({ "retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": scene.unix_ms() });
    Answer::json(200, &told)
}

fn refused(status: u16, code: u32, message: &str, scene: &Scene<'_>) -> Answer {
    let told = json!({
        "retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}, "time": scene.unix_ms(),
    });
    Answer::json(status, &told)
}

fn ticker(listing: &Listing, book: &Book) -> Value {
    let day = Day::of(book);
    json!({
        "symbol": listing.symbol,
        "bid1Price": listing.printed(book.bid.as_ref()),
        "bid1Size": size(book.bid.as_ref(), book.bid_size),
        "ask1Price": listing.printed(book.ask.as_ref()),
        "ask1Size": size(book.ask.as_ref(), book.ask_size),
        "lastPrice": listing.printed(Some(&book.last)),
        "prevPrice24h": listing.fixed(day.open),
        "price24hPcnt": "0.0152",
        "highPrice24h": listing.fixed(day.high),
        "lowPrice24h": listing.fixed(day.low),
        "turnover24h": day.turnover.normalize().to_string(),
        "volume24h": day.volume.to_string(),
        "usdIndexPrice": "",
    })
}

fn listed(listing: &Listing) -> Value {
    let step = listing.step();
    json!({
        "symbol": listing.symbol,
        "baseCoin": listing.base,
        "quoteCoin": listing.counter,
        "innovation": "0",
        "status": listing.status,
        "marginTrading": "none",
        "lotSizeFilter": {
            "basePrecision": "0.000001", "quotePrecision": "0.00000001", "minOrderQty": "0.000001",
            "maxOrderQty": "100000000", "minOrderAmt": "1", "maxOrderAmt": "4000000",
        },
        "priceFilter": { "tickSize": step },
        "riskParameters": { "priceLimitRatioX": "0.01", "priceLimitRatioY": "0.02" },
    })
}

/// One side of a book of one level: empty where nobody offers.
fn side(listing: &Listing, price: Option<&Price>, size: Decimal) -> Value {
    match price {
        None | Some(Price::Missing) => json!([]),
        Some(price) => json!([[listing.printed(Some(price)), size.normalize().to_string()]]),
    }
}

fn best(listing: &Listing, book: &Book) -> Value {
    json!({
        "s": listing.symbol,
        "b": side(listing, book.bid.as_ref(), book.bid_size),
        "a": side(listing, book.ask.as_ref(), book.ask_size),
        "u": book.sequence,
        "seq": book.sequence,
    })
}
