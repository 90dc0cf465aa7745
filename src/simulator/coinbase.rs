//! Coinbase Exchange, as its market-data clients see it: products and their tickers by REST, and the public feed.
//!
//! A ticker comes with every trade, and the first one soon after the subscription. The ticker of REST does not say of
//! which product it is.
//!
//! <https://docs.cdp.coinbase.com/exchange/websocket-feed/channels>

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::book::{Book, Price, exact};
use super::http::{Answer, Request};
use super::listing::{Form, Listing, Listings};
use super::protocol::{Conversation, Frame, Protocol, Reply, Row, Say, Scene, SocketRules};
use super::quota::Quota;
use super::recorded::{Received, Recogniser, Recorded, Time, Told};

/// Its row in the table.
pub(super) const ROW: Row =
    Row { name: "coinbase", has_socket: true, make: |scene| Box::new(Coinbase::new(scene)) };

/// Base and counter of every product.
#[rustfmt::skip]
const PRODUCTS: &[(&str, &str)] = &[
    ("BTC", "USD"), ("BTC", "EUR"), ("BTC", "GBP"), ("BTC", "USDT"), ("ETH", "USD"), ("ETH", "EUR"), ("ETH", "GBP"),
    ("ETH", "USDT"), ("ETH", "BTC"), ("USDT", "USD"), ("USDT", "EUR"), ("USDT", "GBP"), ("USDC", "EUR"),
    ("SOL", "USD"), ("SOL", "EUR"), ("SOL", "USDT"), ("SOL", "BTC"), ("XRP", "USD"), ("XRP", "EUR"), ("XRP", "USDT"),
    ("TON", "USD"), ("LTC", "USD"), ("LTC", "EUR"), ("LTC", "BTC"), ("DOGE", "USD"), ("DOGE", "EUR"),
    ("DOGE", "USDT"), ("BCH", "USD"), ("BCH", "EUR"), ("LINK", "USD"), ("LINK", "EUR"), ("DOT", "USD"),
    ("DOT", "EUR"), ("XLM", "USD"), ("XLM", "EUR"), ("BNB", "USD"), ("SHIB", "USD"), ("SHIB", "EUR"),
];

static FORM: Form = Form {
    exchange: "coinbase",
    code: |asset| asset,
    symbol: |base, counter| format!("{base}-{counter}"),
    split: |symbol| symbol.split_once('-'),
    open: &["online"],
    closed: &["offline", "internal", "delisted"],
    closed_side: None,
};

/// Requests of one address within a second: ten, and a burst above them.
const REQUESTS_A_SECOND: u32 = 15;

/// How long a socket may take to subscribe to something.
const SUBSCRIBE_WITHIN: Duration = Duration::from_secs(5);

/// Time between two heartbeats of a product.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);

/// Coinbase Exchange.
struct Coinbase {
    listings: Listings,
    quota: Quota,
}

impl Coinbase {
    fn new(scene: &Scene<'_>) -> Self {
        Self {
            listings: Listings::in_seven_digits(&FORM, PRODUCTS, scene),
            quota: Quota::new(REQUESTS_A_SECOND, Duration::from_secs(1)),
        }
    }

    /// Answers `/products/<id>` and `/products/<id>/ticker`.
    fn product(&self, path: &str, scene: &Scene<'_>) -> Reply {
        let (id, rest) = path.split_once('/').unwrap_or((path, ""));
        let Some(listing) = self.listings.get(id) else { return failed(404, "NotFound").into() };
        match rest {
            "" => Answer::json(200, &product(listing)).into(),
            "ticker" => match listing.shown(scene) {
                Some(book) => Answer::json(200, &rest_ticker(listing, &book)).into(),
                None => Reply::Later,
            },
            _ => failed(404, "NotFound").into(),
        }
    }
}

impl Protocol for Coinbase {
    fn tick(&mut self, scene: &Scene<'_>) {
        self.listings.tick(scene);
    }

    fn listings(&self) -> Option<&Listings> {
        Some(&self.listings)
    }

    fn rest(&mut self, path: &str, _: &Request, client: IpAddr, scene: &Scene<'_>) -> Reply {
        if self.quota.take(&client.to_string(), 1, scene).is_err() {
            return failed(429, "Public rate limit exceeded").into();
        }
        match path {
            "/time" => {
                let epoch = Price::Number(Decimal::new(scene.unix_ms(), 3)).literal();
                let iso = scene.wall.to_rfc3339_opts(SecondsFormat::Millis, true);
                Answer::json_text(200, format!("{{\"iso\":\"{iso}\",\"epoch\":{epoch}}}")).into()
            }
            "/products" => Answer::json(200, &self.listings.all().map(product).collect::<Vec<_>>()).into(),
            "/currencies" => Answer::json(200, &currencies(&self.listings)).into(),
            _ => match path.strip_prefix("/products/") {
                Some(path) => self.product(path, scene),
                None => failed(404, "NotFound").into(),
            },
        }
    }

    fn open(&mut self, path: &str, _: &Request, scene: &Scene<'_>) -> Result<Box<dyn Conversation>, Answer> {
        match path {
            "" => Ok(Box::new(Talk::new(scene))),
            _ => Err(Answer::new(404, "text/plain", "Not Found")),
        }
    }

    fn refusal(&self, status: u16, retry_after: Option<u64>, _: &Scene<'_>) -> Answer {
        let answer = match status {
            429 => failed(429, "Public rate limit exceeded"),
            403 => failed(403, "Forbidden"),
            500..=599 => failed(status, "Internal server error"),
            _ => failed(status, "Request could not be processed"),
        };
        answer.retry_after(retry_after)
    }

    fn command(&mut self, name: &str, body: &Value, scene: &Scene<'_>) -> Option<Result<Value, String>> {
        (name == "symbols").then(|| self.listings.command(body, scene))
    }

    fn recogniser(&self, _: &[Received]) -> Option<Recogniser> {
        Some(Recogniser::of_text("channel `ticker`", recorded))
    }
}

fn failed(status: u16, message: &str) -> Answer {
    Answer::json(status, &json!({ "message": message }))
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn size(size: Decimal) -> String {
    Price::Number(size).fixed(8)
}

fn product(listing: &Listing) -> Value {
    json!({
        "id": listing.symbol, "base_currency": listing.base, "quote_currency": listing.counter,
        "quote_increment": listing.step(), "base_increment": "0.00000001",
        "display_name": format!("{}/{}", listing.base, listing.counter), "min_market_funds": "1",
        "margin_enabled": false, "post_only": false, "limit_only": false, "cancel_only": false,
        "status": listing.status, "status_message": "", "trading_disabled": !listing.is_open,
        "fx_stablecoin": false, "max_slippage_percentage": "0.02000000", "auction_mode": false,
        "high_bid_limit_percentage": "",
    })
}

fn currencies(listings: &Listings) -> Vec<Value> {
    let codes: BTreeSet<&str> =
        listings.all().flat_map(|listing| [listing.base.as_str(), listing.counter.as_str()]).collect();
    let currency = |code: &str| {
        let kind = if matches!(code, "USD" | "EUR" | "GBP") { "fiat" } else { "crypto" };
        json!({
            "id": code, "name": code, "min_size": "0.00000001", "status": "online", "max_precision": "0.00000001",
            "details": { "type": kind }, "supported_networks": [],
        })
    };
    codes.into_iter().map(currency).collect()
}

fn rest_ticker(listing: &Listing, book: &Book) -> Value {
    json!({
        "trade_id": book.sequence, "price": listing.told(Some(&book.last)), "size": "0.05000000",
        "time": time(listing.changed_at), "bid": listing.told(book.bid.as_ref()),
        "ask": listing.told(book.ask.as_ref()), "volume": "1234.50000000", "rfq_volume": "1.500000",
    })
}

/// One WebSocket.
struct Talk {
    /// The products of each channel.
    channels: BTreeMap<&'static str, BTreeSet<String>>,
    /// The products of which a ticker has been asked for.
    symbols: BTreeSet<String>,
    opened_at: Instant,
    beaten_at: Instant,
}

/// The channels that are played.
const CHANNELS: [&str; 2] = ["ticker", "heartbeat"];

/// What a message asks for: a channel, and its products.
type Asked = Vec<(&'static str, Vec<String>)>;

impl Talk {
    fn new(scene: &Scene<'_>) -> Self {
        let channels = CHANNELS.into_iter().map(|name| (name, BTreeSet::new())).collect();
        Self { channels, symbols: BTreeSet::new(), opened_at: scene.now, beaten_at: scene.now }
    }

    /// Subscribes to all that is asked for, or to nothing.
    fn subscribe(&mut self, asked: Asked, protocol: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        let all = || asked.iter().flat_map(|(_, products)| products);
        if let Some(unknown) = all().find(|product| protocol.book(product).is_none()) {
            return vec![error("Failed to subscribe", &format!("{unknown} is not a valid product"))];
        }
        let mut first_tickers = Vec::new();
        for (channel, products) in asked {
            let subscribed = self.channels.entry(channel).or_default();
            for product in products {
                let is_new = subscribed.insert(product.clone());
                let book = protocol.book(&product).filter(|_| is_new && channel == "ticker");
                if let Some(book) = book.and_then(|book| scene.first_shown(&[&product], book)) {
                    first_tickers.push(Say::Data(ticker(&product, &book, scene)));
                }
            }
        }
        self.find_symbols();
        let mut said = vec![self.subscriptions()];
        said.extend(first_tickers);
        said
    }

    fn unsubscribe(&mut self, asked: Asked) -> Vec<Say> {
        for (channel, products) in asked {
            let subscribed = self.channels.entry(channel).or_default();
            subscribed.retain(|known| !products.is_empty() && !products.contains(known));
        }
        self.find_symbols();
        vec![self.subscriptions()]
    }

    fn find_symbols(&mut self) {
        self.symbols = self.channels.get("ticker").cloned().unwrap_or_default();
    }

    fn subscriptions(&self) -> Say {
        let is_used = |(_, products): &(&&str, &BTreeSet<String>)| !products.is_empty();
        let channels: Vec<Value> = self
            .channels
            .iter()
            .filter(is_used)
            .map(|(name, products)| json!({ "name": name, "product_ids": products, "account_ids": null }))
            .collect();
        Say::Control(Frame::Text(json!({ "type": "subscriptions", "channels": channels }).to_string()))
    }
}

/// What a message asks for: names of channels for the products of the message, or channels with products of their
/// own.
fn asked(message: &Value) -> Result<Asked, Say> {
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let common = strings(&message["product_ids"]);
    let mut asked = Vec::new();
    for channel in message["channels"].as_array().into_iter().flatten() {
        let name = channel.as_str().or_else(|| channel["name"].as_str()).unwrap_or_default();
        let Some(known) = CHANNELS.into_iter().find(|known| *known == name) else {
            return Err(error("Failed to subscribe", &format!("{name} is not a valid channel")));
        };
        let mut products = strings(&channel["product_ids"]);
        products.extend(common.iter().cloned());
        asked.push((known, products));
    }
    let names_products = asked.iter().any(|(_, products)| !products.is_empty());
    if asked.is_empty() || !names_products && message["type"] == "subscribe" {
        return Err(error("Failed to subscribe", "No channels or product ids provided"));
    }
    Ok(asked)
}

fn error(message: &str, reason: &str) -> Say {
    let said = json!({ "type": "error", "message": message, "reason": reason });
    Say::Control(Frame::Text(said.to_string()))
}

fn ticker(product: &str, book: &Book, scene: &Scene<'_>) -> Frame {
    let last = exact(Some(&book.last));
    let is_buy = book.ask.as_ref() == Some(&book.last);
    let said = json!({
        "type": "ticker", "sequence": book.sequence, "product_id": product, "price": last, "open_24h": last,
        "volume_24h": "1234.50000000", "low_24h": last, "high_24h": last, "volume_30d": "34567.80000000",
        "best_bid": exact(book.bid.as_ref()), "best_bid_size": size(book.bid_size),
        "best_ask": exact(book.ask.as_ref()), "best_ask_size": size(book.ask_size),
        "side": if is_buy { "buy" } else { "sell" }, "time": time(scene.wall), "trade_id": book.sequence,
        "last_size": "0.05",
    });
    Frame::Text(said.to_string())
}

impl Conversation for Talk {
    fn rules(&self) -> SocketRules {
        SocketRules { messages_per_second: Some(100), ..SocketRules::default() }
    }

    fn hear(&mut self, message: &[u8], protocol: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        let Ok(message) = serde_json::from_slice::<Value>(message) else {
            return vec![error("Malformed JSON", "")];
        };
        match (message["type"].as_str(), asked(&message)) {
            (Some("subscribe" | "unsubscribe"), Err(refused)) => vec![refused],
            (Some("subscribe"), Ok(asked)) => self.subscribe(asked, protocol, scene),
            (Some("unsubscribe"), Ok(asked)) => self.unsubscribe(asked),
            (kind, _) => {
                let reason = format!("{} is not a valid type", kind.unwrap_or("null"));
                vec![error("Failed to subscribe", &reason)]
            }
        }
    }

    fn symbols(&self) -> &BTreeSet<String> {
        &self.symbols
    }

    fn tell(&mut self, symbol: &str, book: &Book, scene: &Scene<'_>) -> Vec<Frame> {
        vec![ticker(symbol, book, scene)]
    }

    fn repeat(&mut self, recorded: &Recorded, scene: &Scene<'_>) -> Option<Frame> {
        self.symbols.contains(&*recorded.symbol).then(|| Frame::Text(recorded.told_at(scene.wall)))
    }

    fn beat(&mut self, protocol: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        if self.channels.values().all(BTreeSet::is_empty) {
            let is_late = scene.now.duration_since(self.opened_at) >= scene.scaled(SUBSCRIBE_WITHIN);
            return if is_late { vec![Say::Close(1000, String::new())] } else { Vec::new() };
        }
        if scene.now.duration_since(self.beaten_at) < HEARTBEAT_EVERY {
            return Vec::new();
        }
        self.beaten_at = scene.now;
        let beat = |product: &String| {
            let sequence = protocol.book(product).map_or(0, |book| book.sequence);
            let said = json!({
                "type": "heartbeat", "sequence": sequence, "last_trade_id": sequence, "product_id": product,
                "time": time(scene.wall),
            });
            Say::Control(Frame::Text(said.to_string()))
        };
        self.channels.get("heartbeat").into_iter().flatten().map(beat).collect()
    }
}

#[derive(Deserialize)]
struct RecordedTicker<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    sequence: u64,
    product_id: &'a str,
    price: &'a str,
    best_bid: &'a str,
    best_ask: &'a str,
    /// Older tickers have no sizes.
    #[serde(default = "nothing")]
    best_bid_size: &'a str,
    #[serde(default = "nothing")]
    best_ask_size: &'a str,
}

fn nothing() -> &'static str {
    "0"
}

/// Reads a recorded ticker; `None` if it is anything else.
fn recorded(text: &str) -> Option<Recorded> {
    let ticker: RecordedTicker<'_> =
        serde_json::from_str(text).ok().filter(|it: &RecordedTicker<'_>| it.kind == "ticker")?;
    let sides = [ticker.best_bid, ticker.best_bid_size, ticker.best_ask, ticker.best_ask_size];
    let told = Told::best(sides, Some(ticker.price), ticker.sequence)?;
    let recorded = Recorded::new("ticker", ticker.product_id, Some(told), text);
    Some(recorded.with_times(&[("time", Time::Rfc3339)]))
}
