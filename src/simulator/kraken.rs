//! Kraken spot, as its market-data clients see it: public REST, and the `ticker` channel of its second WebSocket API.
//!
//! REST goes by the old names (`XBT`, `XXBTZUSD`), answers errors with a status of success, and fails a whole request
//! for one unknown pair. Sockets go by the new names, answer every symbol for itself, and send heartbeats.
//!
//! <https://docs.kraken.com/api/docs/websocket-v2/ticker>

mod stream;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::book::{Book, Price};
use super::http::{Answer, Request};
use super::listing::{Form, Listing, Listings};
use super::protocol::{Conversation, Protocol, Reply, Row, Scene};
use super::quota::Quota;
use super::recorded::{Received, Recogniser};

use stream::{Talk, recorded};

/// Its row in the table.
pub(super) const ROW: Row =
    Row { name: "kraken", has_socket: true, make: |scene| Box::new(Kraken::new(scene)) };

/// Base and counter of every pair.
#[rustfmt::skip]
const PAIRS: &[(&str, &str)] = &[
    ("BTC", "USD"), ("BTC", "EUR"), ("BTC", "GBP"), ("BTC", "USDT"), ("BTC", "USDC"), ("ETH", "USD"), ("ETH", "EUR"),
    ("ETH", "USDT"), ("ETH", "USDC"), ("ETH", "BTC"), ("USDT", "USD"), ("USDT", "EUR"), ("USDT", "GBP"),
    ("USDC", "USD"), ("USDC", "EUR"), ("USDC", "USDT"), ("SOL", "USD"), ("SOL", "EUR"), ("SOL", "USDT"),
    ("SOL", "BTC"), ("XRP", "USD"), ("XRP", "EUR"), ("XRP", "USDT"), ("XRP", "BTC"), ("TON", "USD"), ("TON", "EUR"),
    ("TRX", "USD"), ("TRX", "EUR"), ("LTC", "USD"), ("LTC", "EUR"), ("LTC", "USDT"), ("LTC", "BTC"), ("DOGE", "USD"),
    ("DOGE", "EUR"), ("DOGE", "USDT"), ("BCH", "USD"), ("BCH", "EUR"), ("LINK", "USD"), ("LINK", "EUR"),
    ("DOT", "USD"), ("DOT", "EUR"), ("XLM", "USD"), ("XLM", "EUR"), ("EUR", "USD"), ("GBP", "USD"), ("BNB", "USD"),
    ("SHIB", "USD"),
];

static FORM: Form = Form {
    exchange: "kraken",
    code: |asset| asset,
    symbol: |base, counter| format!("{base}/{counter}"),
    split: |symbol| symbol.split_once('/'),
    open: &["online"],
    closed: &["cancel_only", "post_only", "limit_only", "reduce_only"],
    closed_side: None,
};

/// Requests of one address in a minute. The real number is not published; about one a second is known to be safe.
const REQUESTS_A_MINUTE: u32 = 60;

/// Kraken spot.
struct Kraken {
    listings: Listings,
    quota: Quota,
}

impl Kraken {
    fn new(scene: &Scene<'_>) -> Self {
        Self {
            listings: Listings::in_seven_digits(&FORM, PAIRS, scene),
            quota: Quota::new(REQUESTS_A_MINUTE, Duration::from_secs(60)),
        }
    }

    /// The pairs that `pair` names, or all.
    fn asked(&self, request: &Request) -> Result<Vec<&Listing>, Answer> {
        let Some(names) = request.parameter("pair") else { return Ok(self.listings.all().collect()) };
        let find = |name: &str| {
            let name = name.trim();
            let is_it = |listing: &&Listing| {
                [altname(listing), key(listing), wsname(listing)].iter().any(|known| known == name)
            };
            self.listings.all().find(is_it).ok_or_else(|| failed("EQuery:Unknown asset pair"))
        };
        names.split(',').map(find).collect()
    }

    fn tickers(&self, request: &Request, scene: &Scene<'_>) -> Result<Reply, Answer> {
        let asked = self.asked(request)?;
        let told = |listing: &&Listing| Some((key(listing), rest_ticker(listing, &listing.shown(scene)?)));
        let result: Map<String, Value> = asked.iter().filter_map(told).collect();
        let is_muted = result.is_empty() && !asked.is_empty();
        Ok(if is_muted { Reply::Later } else { succeeded(&Value::Object(result)).into() })
    }

    fn pairs(&self, request: &Request) -> Result<Reply, Answer> {
        let pairs: Map<String, Value> =
            self.asked(request)?.iter().map(|listing| (key(listing), pair(listing))).collect();
        Ok(succeeded(&Value::Object(pairs)).into())
    }

    fn assets(&self) -> Answer {
        let codes: BTreeSet<&str> = self
            .listings
            .all()
            .flat_map(|listing| [listing.base.as_str(), listing.counter.as_str()])
            .collect();
        let asset = |code: &&str| {
            let told = json!({
                "aclass": "currency", "altname": old_code(code), "decimals": 10, "display_decimals": 5,
                "status": "enabled",
            });
            (key_of(code), told)
        };
        succeeded(&Value::Object(codes.iter().map(asset).collect()))
    }
}

impl Protocol for Kraken {
    fn tick(&mut self, scene: &Scene<'_>) {
        self.listings.tick(scene);
    }

    fn listings(&self) -> Option<&Listings> {
        Some(&self.listings)
    }

    fn rest(&mut self, path: &str, request: &Request, client: IpAddr, scene: &Scene<'_>) -> Reply {
        if self.quota.take(&client.to_string(), 1, scene).is_err() {
            return failed("EGeneral:Too many requests").into();
        }
        let answered = match path {
            "/0/public/Time" => Ok(succeeded(&json!({
                "unixtime": scene.wall.timestamp(), "rfc1123": scene.wall.to_rfc2822(),
            }))
            .into()),
            "/0/public/SystemStatus" => {
                Ok(succeeded(&json!({ "status": "online", "timestamp": time(scene.wall) })).into())
            }
            "/0/public/Assets" => Ok(self.assets().into()),
            "/0/public/AssetPairs" => self.pairs(request),
            "/0/public/Ticker" => self.tickers(request, scene),
            _ => Err(failed("EGeneral:Unknown method")),
        };
        answered.unwrap_or_else(Reply::from)
    }

    fn open(&mut self, path: &str, _: &Request, scene: &Scene<'_>) -> Result<Box<dyn Conversation>, Answer> {
        match path {
            "/v2" => Ok(Box::new(Talk::new(scene))),
            _ => Err(Answer::new(404, "text/plain", "Not Found")),
        }
    }

    fn refusal(&self, status: u16, retry_after: Option<u64>, _: &Scene<'_>) -> Answer {
        let answer = match status {
            429 => Answer::json(429, &json!({ "error": ["EGeneral:Too many requests"] })),
            503 => Answer::json(503, &json!({ "error": ["EService:Unavailable"] })),
            _ => {
                let page = format!("<html><head><title>api.kraken.com | {status}</title></head></html>");
                Answer::new(status, "text/html; charset=UTF-8", page)
            }
        };
        answer.retry_after(retry_after)
    }

    fn command(&mut self, name: &str, body: &Value, scene: &Scene<'_>) -> Option<Result<Value, String>> {
        (name == "symbols").then(|| self.listings.command(body, scene))
    }

    fn recogniser(&self, _: &[Received]) -> Option<Recogniser> {
        Some(Recogniser::of_text("channel `ticker` of the second WebSocket API", recorded))
    }
}

/// A body of REST that is good.
fn succeeded(result: &Value) -> Answer {
    Answer::json(200, &json!({ "error": [], "result": result }))
}

/// A body of REST that says what is wrong, with a status of success.
fn failed(error: &str) -> Answer {
    Answer::json(200, &json!({ "error": [error] }))
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// The older name of an asset, which REST keeps.
fn old_code(code: &str) -> &str {
    match code {
        "BTC" => "XBT",
        "DOGE" => "XDG",
        code => code,
    }
}

/// The name of an asset in the keys of REST: the oldest have a letter before them.
fn key_of(code: &str) -> String {
    let letter = match code {
        "BTC" | "DOGE" | "ETH" | "LTC" | "XRP" | "XLM" => "X",
        "USD" | "EUR" | "GBP" => "Z",
        _ => "",
    };
    format!("{letter}{}", old_code(code))
}

fn altname(listing: &Listing) -> String {
    format!("{}{}", old_code(&listing.base), old_code(&listing.counter))
}

fn wsname(listing: &Listing) -> String {
    format!("{}/{}", old_code(&listing.base), old_code(&listing.counter))
}

/// The key of a pair in results: with the letters where both of its assets are old, but for one of each kind that
/// keeps to no rule.
fn key(listing: &Listing) -> String {
    let (base, counter) = (key_of(&listing.base), key_of(&listing.counter));
    let is_old = |code: &str| key_of(code) != old_code(code);
    let has_letters = match (listing.base.as_str(), listing.counter.as_str()) {
        ("DOGE", _) => false,
        ("USDT", "USD") => true,
        (base, counter) => is_old(base) && is_old(counter),
    };
    if has_letters { format!("{base}{counter}") } else { altname(listing) }
}

fn pair(listing: &Listing) -> Value {
    json!({
        "altname": altname(listing), "wsname": wsname(listing),
        "aclass_base": "currency", "base": key_of(&listing.base),
        "aclass_quote": "currency", "quote": key_of(&listing.counter),
        "lot": "unit", "cost_decimals": 5, "pair_decimals": listing.scale, "lot_decimals": 8, "lot_multiplier": 1,
        "leverage_buy": [], "leverage_sell": [], "fees": [[0, 0.4], [10_000, 0.35]],
        "fees_maker": [[0, 0.25], [10_000, 0.2]], "fee_volume_currency": "ZUSD",
        "margin_call": 80, "margin_stop": 40, "ordermin": "0.0001", "costmin": "0.5", "tick_size": listing.step(),
        "status": listing.status,
    })
}

fn rest_ticker(listing: &Listing, book: &Book) -> Value {
    let price = |price| listing.told(price);
    let size = |size: Decimal| Price::Number(size).fixed(3);
    let whole = |size: Decimal| size.trunc().to_string();
    let last = price(Some(&book.last));
    json!({
        "a": [price(book.ask.as_ref()), whole(book.ask_size), size(book.ask_size)],
        "b": [price(book.bid.as_ref()), whole(book.bid_size), size(book.bid_size)],
        "c": [last, "0.05000000"],
        "v": ["1234.50000000", "2345.60000000"],
        "p": [last, last],
        "t": [1234, 2345],
        "l": [last, last],
        "h": [last, last],
        "o": last,
    })
}
