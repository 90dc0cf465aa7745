//! KuCoin spot, as clients of its public data see it.
//!
//! A token, asked for by `POST`, tells where to dial: the same host as was asked. A new connection is greeted, and one
//! whose token is not known is told so and closed. Only pings of its own kind keep a connection: a minute without one
//! ends it, whatever else is said.
//!
//! <https://www.kucoin.com/docs-new/3470063w0>

mod stream;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::book::{Book, Day, Price};
use super::http::{Answer, Request};
use super::listing::{Form, Listing, Listings};
use super::protocol::{Conversation, Protocol, Reply, Row, Scene};
use super::quota::Quota;
use super::recorded::{Received, Recogniser};

use stream::{Talk, recorded};

/// Its row in the table.
pub(super) const ROW: Row = Row { name: "kucoin", has_socket: true, make: |_| Box::new(KuCoin::new()) };

static FORM: Form = Form {
    exchange: "kucoin",
    code: |asset| asset,
    symbol: |base, counter| format!("{base}-{counter}"),
    split: |symbol| symbol.split_once('-'),
    open: &["enabled"],
    closed: &["disabled"],
    closed_side: Some(Price::Missing),
};

#[rustfmt::skip]
const PAIRS: &[(&str, &str, u32)] = &[
    ("BTC", "USDT", 1), ("ETH", "USDT", 2), ("SOL", "USDT", 3), ("XRP", "USDT", 5), ("LTC", "USDT", 2),
    ("DOGE", "USDT", 5), ("TRX", "USDT", 5), ("GRAM", "USDT", 4), ("BNB", "USDT", 2), ("BCH", "USDT", 2),
    ("LINK", "USDT", 4), ("DOT", "USDT", 4), ("SHIB", "USDT", 9), ("USDC", "USDT", 4),
    ("BTC", "USDC", 1), ("ETH", "USDC", 2), ("SOL", "USDC", 3), ("XRP", "USDC", 5),
    ("BTC", "EUR", 1), ("ETH", "EUR", 2), ("USDT", "EUR", 4), ("USDC", "EUR", 4), ("USDT", "USDC", 4),
    ("ETH", "BTC", 5), ("LTC", "BTC", 6), ("XRP", "BTC", 8),
];

/// Weight that one address may use within the window.
const WEIGHT: u32 = 2000;
const WINDOW: Duration = Duration::from_secs(30);

/// How long a token is good.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

/// The interval and the time limit of pings that a token comes with, and the time without a ping after which the
/// connection ends.
const PING_EVERY: Duration = Duration::from_secs(18);
const PONG_WITHIN: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(60);

/// However high the speed, pings are asked for no closer together, and their absence ends nothing sooner: less would
/// measure the machine instead of the client.
const MIN_PING_EVERY: Duration = Duration::from_millis(300);
const MIN_SILENCE: Duration = Duration::from_secs(1);

/// KuCoin spot.
struct KuCoin {
    listings: Listings,
    quota: Quota,
    /// Until when each token is good.
    tokens: BTreeMap<String, Instant>,
    num_tokens: u64,
}

impl KuCoin {
    fn new() -> Self {
        Self {
            listings: Listings::new(&FORM, PAIRS),
            quota: Quota::new(WEIGHT, WINDOW),
            tokens: BTreeMap::new(),
            num_tokens: 0,
        }
    }

    /// A token, and where to dial with it: the host and the section that were asked.
    fn ticket(&mut self, path: &str, request: &Request, scene: &Scene<'_>) -> Answer {
        if request.method != "POST" {
            return refused(405, "405000", "Method Not Allowed");
        }
        self.num_tokens += 1;
        let token = format!("2neAiuYvAU61ZDXANAGAsiL4-{}-{}", scene.unix_ms(), self.num_tokens);
        self.tokens.retain(|_, ends_at| *ends_at > scene.now);
        self.tokens.insert(token.clone(), scene.now + scene.scaled(TOKEN_LIFE));
        let host = request.header("host").unwrap_or("localhost");
        let asked = request.target.split('?').next().unwrap_or_default();
        let section = asked.trim_end_matches('/').strip_suffix(path).unwrap_or_default();
        let ms = |length: Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        let server = json!({
            "endpoint": format!("ws://{host}{section}/"),
            "encrypt": false,
            "protocol": "websocket",
            "pingInterval": ms(scene.scaled(PING_EVERY).max(MIN_PING_EVERY)),
            "pingTimeout": ms(scene.scaled(PONG_WITHIN).max(MIN_PING_EVERY)),
        });
        good(json!({ "token": token, "instanceServers": [server] }))
    }

    fn all_tickers(&self, scene: &Scene<'_>) -> Answer {
        let shown = |listing: &Listing| {
            let book = listing.shown(scene)?;
            Some(ticker(listing, &book))
        };
        let rows: Vec<Value> = self.listings.all().filter_map(shown).collect();
        good(json!({ "time": scene.unix_ms(), "ticker": rows }))
    }

    /// A request for one symbol.
    fn one(
        &self,
        request: &Request,
        scene: &Scene<'_>,
        tell: fn(&Listing, &Book, &Scene<'_>) -> Value,
    ) -> Reply {
        let symbol = request.parameter("symbol").unwrap_or_default();
        let Some(listing) = self.listings.get(symbol) else { return good(Value::Null).into() };
        match listing.shown(scene) {
            Some(book) => good(tell(listing, &book, scene)).into(),
            None => Reply::Later,
        }
    }
}

impl Protocol for KuCoin {
    fn tick(&mut self, scene: &Scene<'_>) {
        self.listings.tick(scene);
    }

    fn listings(&self) -> Option<&Listings> {
        Some(&self.listings)
    }

    fn rest(&mut self, path: &str, request: &Request, client: IpAddr, scene: &Scene<'_>) -> Reply {
        let weight = match path {
            "/api/v1/bullet-public" => 10,
            "/api/v1/market/allTickers" | "/api/v1/market/stats" => 15,
            "/api/v2/symbols" => 4,
            "/api/v1/market/orderbook/level1" => 2,
            _ => 1,
        };
        if self.quota.take(&client.to_string(), weight, scene).is_err() {
            return self.refusal(429, None, scene).into();
        }
        match path {
            "/api/v1/bullet-public" => self.ticket(path, request, scene).into(),
            "/api/v1/market/allTickers" => self.all_tickers(scene).into(),
            "/api/v1/market/stats" => self.one(request, scene, stats),
            "/api/v1/market/orderbook/level1" => self.one(request, scene, best),
            "/api/v2/symbols" => good(self.listings.all().map(listed).collect()).into(),
            "/api/v1/timestamp" => good(scene.unix_ms().into()).into(),
            "/api/v1/status" => good(json!({ "status": "open", "msg": "" })).into(),
            _ => refused(404, "404000", "Not Found").into(),
        }
    }

    fn open(
        &mut self,
        path: &str,
        request: &Request,
        scene: &Scene<'_>,
    ) -> Result<Box<dyn Conversation>, Answer> {
        if !["", "/", "/endpoint"].contains(&path) {
            return Err(Answer::new(404, "text/plain", "Not Found"));
        }
        let token = request.parameter("token").unwrap_or_default();
        let is_good = self.tokens.get(token).is_some_and(|ends_at| *ends_at > scene.now);
        let id = request.parameter("connectId").unwrap_or("hQvf8jkno").to_owned();
        Ok(Box::new(Talk::new(id, is_good, scene.now)))
    }

    fn refusal(&self, status: u16, retry_after: Option<u64>, _: &Scene<'_>) -> Answer {
        let answer = match status {
            429 => refused(429, "429000", "Too many requests in a short period of time, please retry later"),
            403 | 451 => refused(
                status,
                "400302",
                "Our services are currently unavailable in your region. To learn more, please contact us.",
            ),
            500..=599 => refused(status, "500000", "Internal Server Error"),
            _ => Answer::new(status, "text/html", "<html><head><title>KuCoin</title></head></html>"),
        };
        answer.retry_after(retry_after)
    }

    fn command(&mut self, name: &str, body: &Value, scene: &Scene<'_>) -> Option<Result<Value, String>> {
        match name {
            "symbols" => Some(self.listings.command(body, scene)),
            "expire_tokens" => {
                self.tokens.clear();
                Some(Ok(json!({ "tokens": 0 })))
            }
            _ => None,
        }
    }

    fn recogniser(&self, _: &[Received]) -> Option<Recogniser> {
        Some(Recogniser::of_text("topics `/market/ticker:<symbol>` and `/market/ticker:all`", recorded))
    }
}

fn good(data: Value) -> Answer {
    Answer::json(200, &json!({ "code": "200000", "data": data }))
}

fn refused(status: u16, code: &str, msg: &str) -> Answer {
    Answer::json(status, &json!({ "code": code, "msg": msg }))
}

fn size(size: Decimal) -> String {
    size.normalize().to_string()
}

fn ticker(listing: &Listing, book: &Book) -> Value {
    let day = Day::of(book);
    json!({
        "symbol": listing.symbol,
        "symbolName": listing.symbol,
        "buy": listing.told(book.bid.as_ref()),
        "bestBidSize": size(book.bid_size),
        "sell": listing.told(book.ask.as_ref()),
        "bestAskSize": size(book.ask_size),
        "changeRate": "0.0152",
        "changePrice": listing.fixed(book.last.number().unwrap_or_default() - day.open),
        "high": listing.fixed(day.high),
        "low": listing.fixed(day.low),
        "vol": day.volume.to_string(),
        "volValue": size(day.turnover),
        "last": listing.told(Some(&book.last)),
        "averagePrice": listing.fixed(day.open),
        "takerFeeRate": "0.001",
        "makerFeeRate": "0.001",
        "takerCoefficient": "1",
        "makerCoefficient": "1",
    })
}

fn stats(listing: &Listing, book: &Book, scene: &Scene<'_>) -> Value {
    let mut told = ticker(listing, book);
    told["time"] = scene.unix_ms().into();
    told
}

fn best(listing: &Listing, book: &Book, scene: &Scene<'_>) -> Value {
    json!({
        "sequence": book.sequence.to_string(),
        "price": listing.told(Some(&book.last)),
        "size": "0.05",
        "bestAsk": listing.told(book.ask.as_ref()),
        "bestAskSize": size(book.ask_size),
        "bestBid": listing.told(book.bid.as_ref()),
        "bestBidSize": size(book.bid_size),
        "time": scene.unix_ms(),
    })
}

fn listed(listing: &Listing) -> Value {
    json!({
        "symbol": listing.symbol,
        "name": listing.symbol,
        "baseCurrency": listing.base,
        "quoteCurrency": listing.counter,
        "feeCurrency": listing.counter,
        "market": "USDS",
        "baseMinSize": "0.00001",
        "quoteMinSize": "0.1",
        "baseMaxSize": "10000000000",
        "quoteMaxSize": "99999999",
        "baseIncrement": "0.00000001",
        "quoteIncrement": "0.000001",
        "priceIncrement": listing.step(),
        "priceLimitRate": "0.1",
        "minFunds": "0.1",
        "isMarginEnabled": false,
        "enableTrading": listing.is_open,
        "feeCategory": 1,
        "makerFeeCoefficient": "1.00",
        "takerFeeCoefficient": "1.00",
        "st": false,
    })
}
