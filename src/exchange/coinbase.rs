//! Coinbase Exchange: the `ticker` channel with its `heartbeat`, and the ticker of each product by REST.
//!
//! A ticker comes with every trade, so its best prices are those of the last trade; heartbeats show that the link
//! lives. The ticker of REST does not say of which product it is. Books in USD and USDC are one for most products,
//! under the name in USD; the other name is an alias, for which nothing would ever come.
//!
//! <https://docs.cdp.coinbase.com/exchange/websocket-feed/channels>

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::markets::{Hubs, Instrument, Market, Markets, subscription_id};
use super::symbols::Spelling;
use super::{
    Exchange, Feed, Frame, FrameError, KeyUse, Kind, Pushes, Reading, Request, Row, Scope, Signal, Socket,
    Source, Subscription, json,
};
use crate::market::{Asset, Direction, ExchangeName, Quote, Refusal};

pub(super) const ROW: Row = Row {
    name: ExchangeName::new("coinbase"),
    kind: Kind::Market,
    rest_url: "https://api.exchange.coinbase.com",
    ws_url: "wss://ws-feed.exchange.coinbase.com",
    stale_after: Duration::from_secs(5),
    poll_every: Duration::from_secs(2),
    poll_every_with_key: None,
    key: KeyUse::None,
    make: |_access, scope| Box::new(Coinbase::new(&scope)),
};

/// Silence after which the link counts as dead. Every product has a heartbeat each second.
const LINK_SILENCE: Duration = Duration::from_secs(15);

/// Coinbase takes 100 messages a second of an address; a fifth of that leaves room for others behind the same one.
const MIN_GAP: Duration = Duration::from_millis(50);

/// A message of the feed.
#[derive(Deserialize)]
struct SocketFrame<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    product_id: Option<&'a RawValue>,
    /// Of the product's whole book, so it grows by more than one from ticker to ticker.
    #[serde(borrow)]
    sequence: Option<&'a RawValue>,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    #[serde(borrow)]
    best_bid: Option<&'a RawValue>,
    #[serde(borrow)]
    best_ask: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    channels: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    reason: Option<&'a RawValue>,
}

/// A channel in the list of all that is subscribed.
#[derive(Deserialize)]
struct Channel {
    name: String,
    #[serde(default)]
    product_ids: Vec<String>,
}

/// The body of a product's ticker. Its time is that of the last trade, so it says nothing of the book.
#[derive(Deserialize)]
struct RestTicker<'a> {
    #[serde(borrow)]
    bid: Option<&'a RawValue>,
    #[serde(borrow)]
    ask: Option<&'a RawValue>,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
}

/// The body of an error.
#[derive(Deserialize)]
struct Failure {
    message: String,
}

/// A row of the list of products. Older lists have no status.
#[derive(Deserialize)]
struct Product {
    id: String,
    base_currency: String,
    quote_currency: String,
    status: Option<String>,
    trading_disabled: Option<bool>,
    cancel_only: Option<bool>,
    /// The product whose book this one shows; empty where it has its own.
    alias: Option<String>,
}

/// The plug-in of Coinbase.
struct Coinbase {
    markets: Markets,
}

impl Coinbase {
    fn new(scope: &Scope) -> Self {
        let mut scope = scope.clone();
        if let Scope::Directions(wanted) = &mut scope
            && wanted.iter().any(|direction| !direction.base.is_fiat() || !direction.counter.is_fiat())
        {
            wanted.push(Direction::new(Asset::USDT, Asset::USD));
        }
        Self { markets: Markets::new(&scope, &SPELLING, &HUBS) }
    }

    fn read_frame(&self, text: &str) -> Result<Reading, FrameError> {
        let frame: SocketFrame<'_> = json::object(text)?;
        let mut reading = Reading::default();
        match frame.kind.and_then(json::string).as_deref() {
            Some("ticker") => {
                let symbol = frame.product_id.and_then(json::string).unwrap_or_default();
                reading.push(&symbol, self.read_ticker(&symbol, &frame));
            }
            Some("subscriptions") => reading.signals = acknowledged(&frame)?,
            Some("error") => reading.signals.push(self.complaint(&frame)),
            _ => {}
        }
        Ok(reading)
    }

    fn read_ticker(&self, symbol: &str, frame: &SocketFrame<'_>) -> Result<Quote, Refusal> {
        let (bid, ask) = json::book(frame.best_bid, frame.best_ask)?;
        let last = json::side(frame.price)?;
        let quoted_at = frame.time.map(json::time_as_text).transpose()?;
        let sequence = frame.sequence.and_then(json::natural).ok_or(Refusal::Syntax)?;
        let direction = self.markets.direction(symbol).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(Quote { bid, ask, last, quoted_at, sequence: Some(sequence), ..Quote::empty(direction) })
    }

    /// What an error is about: one of our products if it names one.
    fn complaint(&self, frame: &SocketFrame<'_>) -> Signal {
        let text = |raw: Option<&'_ RawValue>| raw.and_then(json::string).unwrap_or_default().into_owned();
        let (message, reason) = (text(frame.message), text(frame.reason));
        let detail = json::shown(&format!("{message}: {reason}"));
        let named = reason.split_whitespace().find(|word| self.markets.direction(word).is_some());
        match named {
            Some(product) => Signal::SubscriptionRefused { id: subscription_id(product), detail },
            None if is_about_rate(&detail) => Signal::RateLimited { wait: None },
            None => Signal::Error(detail),
        }
    }

    fn read_body(&self, request: &Request, text: &str) -> Result<Reading, FrameError> {
        if let Ok(failure) = json::object::<Failure>(text) {
            return Ok(Reading { signals: vec![failure.signal()], ..Reading::default() });
        }
        let ticker: RestTicker<'_> = json::object(text)?;
        let symbol = product_of(request).unwrap_or_default();
        let mut reading = Reading::default();
        reading.push(symbol, self.read_rest_ticker(symbol, &ticker));
        Ok(reading)
    }

    fn read_rest_ticker(&self, symbol: &str, ticker: &RestTicker<'_>) -> Result<Quote, Refusal> {
        let (bid, ask) = json::book(ticker.bid, ticker.ask)?;
        let last = json::side(ticker.price)?;
        let direction = self.markets.direction(symbol).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(Quote { bid, ask, last, ..Quote::empty(direction) })
    }

    fn read_instruments(&mut self, text: &str) -> Result<Reading, FrameError> {
        let rows = json::list(text)?;
        let open: Vec<Product> = json::objects(&rows).filter(Product::is_open).collect();
        let signals = self.markets.take_list(open.iter().map(Product::instrument))?;
        Ok(Reading { signals, ..Reading::default() })
    }
}

impl Exchange for Coinbase {
    fn feed(&self) -> Feed {
        let markets = self.markets.heard();
        let socket = Socket {
            handshake: None,
            path: "/".to_owned(),
            subscriptions: markets.iter().map(subscription).collect(),
            ping: None,
            link_silence: LINK_SILENCE,
            lifetime: None,
            min_gap: MIN_GAP,
        };
        Feed {
            listens_to: self.markets.listens_to(),
            unsupported: self.markets.unsupported(),
            instruments: Some(Request::get("/products")),
            socket: (!markets.is_empty()).then_some(socket),
            polls: markets.iter().map(poll).collect(),
            ..Feed::default()
        }
    }

    fn read(&mut self, source: Source, bytes: &[u8]) -> Result<Reading, FrameError> {
        let text = json::text(bytes)?;
        match source {
            Source::Socket => self.read_frame(text),
            Source::Poll => Err(FrameError::Syntax("a body that does not say of which product".to_owned())),
            Source::Instruments => self.read_instruments(text),
            Source::Handshake => Ok(Reading::default()),
        }
    }

    fn read_poll(&mut self, request: &Request, body: &[u8]) -> Result<Reading, FrameError> {
        self.read_body(request, json::text(body)?)
    }

    fn pushes(&self) -> Pushes {
        Pushes::Trades
    }

    fn read_failure(&mut self, request: &Request, status: u16, body: &[u8]) -> Reading {
        let unknown = product_of(request).and_then(|product| self.markets.direction(product));
        if let Some(direction) = unknown.filter(|_| status == 404) {
            return Reading { signals: self.markets.drop_market(direction), ..Reading::default() };
        }
        let failure = json::text(body).ok().and_then(|text| json::object::<Failure>(text).ok());
        let signals = failure.map(Failure::signal).into_iter().collect();
        Reading { signals, ..Reading::default() }
    }

    fn symbol(&self, direction: Direction) -> String {
        self.markets.symbol(direction)
    }
}

impl Failure {
    fn signal(self) -> Signal {
        match is_about_rate(&self.message) {
            true => Signal::RateLimited { wait: None },
            false => Signal::Error(json::shown(&self.message)),
        }
    }
}

impl Product {
    /// Unknown words of `status` are products that are not open.
    fn is_open(&self) -> bool {
        let is_online = self.status.as_ref().is_none_or(|status| status == "online");
        let is_closed = self.trading_disabled == Some(true) || self.cancel_only == Some(true);
        let has_own_book = self.alias.as_ref().is_none_or(String::is_empty);
        is_online && !is_closed && has_own_book
    }

    fn instrument(&self) -> Instrument<'_> {
        Instrument { symbol: &self.id, base: &self.base_currency, counter: &self.quote_currency }
    }
}

/// Every message is answered with the list of all that is subscribed on the socket.
fn acknowledged(frame: &SocketFrame<'_>) -> Result<Vec<Signal>, FrameError> {
    let channels = frame.channels.map(|channels| json::list(channels.get())).transpose()?.unwrap_or_default();
    let tickers = json::objects::<Channel>(&channels).filter(|channel| channel.name == "ticker");
    Ok(tickers
        .flat_map(|channel| channel.product_ids)
        .map(|id| Signal::Acknowledged(subscription_id(&id)))
        .collect())
}

fn is_about_rate(message: &str) -> bool {
    message.to_ascii_lowercase().contains("rate limit")
}

/// One message for one product: an unknown one would fail all of a message.
fn subscription(market: &Market) -> Subscription {
    let message = serde_json::json!({
        "type": "subscribe", "product_ids": [market.symbol], "channels": ["ticker", "heartbeat"],
    });
    Subscription {
        id: market.subscription_id(),
        frame: Frame::Text(message.to_string()),
        directions: vec![market.direction],
    }
}

fn poll(market: &Market) -> Request {
    Request::get(format!("/products/{}/ticker", market.symbol))
}

/// The product that a poll asks for.
fn product_of(request: &Request) -> Option<&str> {
    request.path.strip_prefix("/products/")?.strip_suffix("/ticker")
}

/// Everything trades against USD, and USDC shares those books. USDT is no hub, though some products trade against it:
/// each further product costs a request of its own, of which an address has ten a second. Its price in USD is heard
/// all the same, for the courses of other exchanges.
const HUBS: Hubs = Hubs { assumed: &[Asset::USD], on_its_word: &[] };

/// TON goes by GRAM in most places since June 2026; where the list still has the old name alone, that is used.
static SPELLING: Spelling = Spelling {
    separator: "-",
    is_lower_case: false,
    aliases: &[("GRAM", "TON")],
    counters: &[],
    rare_counters: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::spoken::{lines, scope, strings};

    fn coinbase(wanted: &str) -> Coinbase {
        Coinbase::new(&scope(wanted))
    }

    fn everything() -> Coinbase {
        Coinbase::new(&Scope::Everything)
    }

    const TICKER: &str = r#"{"type":"ticker","sequence":77,"product_id":"BTC-USD","price":"61000.10","open_24h":"60000","best_bid":"61000.09","best_bid_size":"0.2","best_ask":"61000.11","best_ask_size":"0.1","side":"buy","time":"2026-03-04T05:06:07.000008Z","trade_id":9,"last_size":"0.01"}"#;
    const BODY: &str = r#"{"trade_id":9,"price":"61000.10","size":"0.01","time":"2026-03-04T05:06:07.000008Z","bid":"61000.09","ask":"61000.11","volume":"812.4"}"#;

    #[test]
    fn a_ticker_is_a_quote_of_its_trade() {
        let reading = coinbase("BTC-USD").read(Source::Socket, TICKER.as_bytes()).unwrap();
        assert_eq!(lines(&reading), ["BTC-USD 61000.09 61000.11 61000.1 1772600767000.008 77"]);
        let without_sizes =
            TICKER.replace(r#""best_bid_size":"0.2","#, "").replace(r#""best_ask_size":"0.1","#, "");
        let reading = coinbase("BTC-USD").read(Source::Socket, without_sizes.as_bytes()).unwrap();
        assert_eq!(reading.quotes.len(), 1);
    }

    #[test]
    fn a_row_that_is_no_book_is_refused() {
        for (from, to, refusal) in [
            (r#""best_bid":"61000.09""#, r#""best_bid":"$61000""#, Refusal::Syntax),
            (r#""best_bid":"61000.09""#, r#""best_bid":["1"]"#, Refusal::Syntax),
            (r#""time":"2026-03-04T05:06:07.000008Z""#, r#""time":"now""#, Refusal::Syntax),
            (r#""sequence":77,"#, "", Refusal::Syntax),
            (r#""price":"61000.10""#, r#""price":"much""#, Refusal::Syntax),
            ("BTC-USD", "ETH-USD", Refusal::UnexpectedSymbol),
            ("BTC-USD", "btc-usd", Refusal::UnexpectedSymbol),
            (r#""product_id":"BTC-USD","#, "", Refusal::UnexpectedSymbol),
        ] {
            let frame = TICKER.replace(from, to);
            let reading = coinbase("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!((lines(&reading), reading.refused[0].1), (vec![], refusal), "{frame}");
        }
        let last = r#"{"type":"ticker","sequence":1,"product_id":"BTC-USD","price":"61000"}"#;
        let reading = coinbase("BTC-USD").read(Source::Socket, last.as_bytes()).unwrap();
        assert_eq!(reading.refused, [("BTC-USD".to_owned(), Refusal::Syntax)]);
    }

    #[test]
    fn other_messages_say_nothing() {
        for frame in [
            r#"{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD","time":"2026-03-04T05:06:07Z"}"#,
            r#"{"type":"l2update","product_id":"BTC-USD","changes":[["sell","61000","1"]],"time":"2026-03-04T05:06:07Z"}"#,
            r#"{"type":"snapshot","product_id":"BTC-USD","asks":[["61000","1"]],"bids":[]}"#,
            r#"{"type":"match","trade_id":1,"side":"sell","size":"1","price":"61000","product_id":"BTC-USD","sequence":5}"#,
            r#"{"channel":"ticker","events":[{"type":"update","tickers":[{"product_id":"BTC-USD","best_bid":"1","best_ask":"2"}]}]}"#,
            r#"{"type":"unknown"}"#,
            "{}",
        ] {
            let reading = everything().read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(reading, Reading::default(), "{frame}");
        }
    }

    #[test]
    fn the_list_of_subscriptions_acknowledges_tickers_alone_and_an_error_names_its_product() {
        let acknowledged = |symbol| Signal::Acknowledged(subscription_id(symbol));
        for (frame, expected) in [
            (
                r#"{"type":"subscriptions","channels":[{"name":"heartbeat","product_ids":["SOL-USD"]},{"name":"ticker","product_ids":["BTC-USD","ETH-USD"]}]}"#,
                vec![acknowledged("BTC-USD"), acknowledged("ETH-USD")],
            ),
            (r#"{"type":"subscriptions","channels":[]}"#, vec![]),
            (
                r#"{"type":"error","message":"Failed to subscribe","reason":"BTC-USD is not a valid product"}"#,
                vec![Signal::SubscriptionRefused {
                    id: subscription_id("BTC-USD"),
                    detail: "Failed to subscribe: BTC-USD is not a valid product".to_owned(),
                }],
            ),
            (
                r#"{"type":"error","message":"Malformed JSON"}"#,
                vec![Signal::Error("Malformed JSON: ".to_owned())],
            ),
            (
                r#"{"type":"error","message":"Slow down","reason":"Rate limit exceeded"}"#,
                vec![Signal::RateLimited { wait: None }],
            ),
        ] {
            let reading = coinbase("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(reading.signals, expected, "{frame}");
        }
    }

    #[test]
    fn a_body_is_a_quote_of_the_product_that_was_asked_for_and_of_none_otherwise() {
        let mut coinbase = coinbase("BTC-RUB,ETH-USD");
        for poll in coinbase.feed().polls {
            let reading = coinbase.read_poll(&poll, BODY.as_bytes()).unwrap();
            let product = product_of(&poll).unwrap();
            assert_eq!(lines(&reading), [format!("{product} 61000.09 61000.11 61000.1 - -")]);
        }
        assert!(coinbase.read(Source::Poll, BODY.as_bytes()).is_err());
        let elsewhere =
            coinbase.read_poll(&Request::get("/products/SOL-USD/ticker"), BODY.as_bytes()).unwrap();
        assert_eq!(elsewhere.refused, [("SOL-USD".to_owned(), Refusal::UnexpectedSymbol)]);
        let poll = coinbase.feed().polls[0].clone();
        for (body, expected) in [
            (r#"{"message":"Public rate limit exceeded"}"#, Signal::RateLimited { wait: None }),
            (r#"{"message":"Internal error"}"#, Signal::Error("Internal error".to_owned())),
        ] {
            let reading = coinbase.read_poll(&poll, body.as_bytes()).unwrap();
            assert_eq!((reading.quotes, reading.signals), (vec![], vec![expected.clone()]), "{body}");
            assert_eq!(coinbase.read_failure(&poll, 500, body.as_bytes()).signals, [expected], "{body}");
        }
        let stats = br#"{"price":"61000.10","volume":"1"}"#;
        assert_eq!(coinbase.read_poll(&poll, stats).unwrap().refused[0].1, Refusal::Syntax);
        assert!(coinbase.read_poll(&poll, b"[]").is_err());
        for end in 0..BODY.len() {
            assert!(coinbase.read_poll(&poll, &BODY.as_bytes()[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn a_product_that_does_not_exist_is_left_alone() {
        let mut coinbase = coinbase("BTC-USD,FOO-USD");
        let polls = coinbase.feed().polls;
        let not_found = br#"{"message":"NotFound"}"#;
        assert_eq!(coinbase.read_failure(&polls[1], 404, not_found).signals, [Signal::FeedChanged]);
        assert_eq!(strings(&coinbase.feed().unsupported), ["FOO-USD"]);
        assert_eq!(coinbase.feed().polls.len(), polls.len() - 1);
    }

    #[test]
    fn the_feed_has_a_message_and_a_poll_for_each_product() {
        let feed = coinbase("BTC-RUB,USDTTRC-RUB").feed();
        assert_eq!(strings(&feed.listens_to), ["BTC-USD", "USDT-USD"]);
        let paths: Vec<&str> = feed.polls.iter().map(|poll| poll.path.as_str()).collect();
        assert_eq!(paths, ["/products/BTC-USD/ticker", "/products/USDT-USD/ticker"]);
        let socket = feed.socket.unwrap();
        let message = r#"{"channels":["ticker","heartbeat"],"product_ids":["BTC-USD"],"type":"subscribe"}"#;
        assert_eq!(socket.subscriptions[0].frame, Frame::Text(message.to_owned()));
        assert_eq!((coinbase("USD-RUB").feed().socket, coinbase("USD-RUB").feed().polls), (None, vec![]));
    }

    #[test]
    fn the_list_decides_what_is_listened_to_and_an_alias_is_no_market() {
        let mut coinbase = coinbase("BTC-USD,BTC-USDC,TON-USD,FOO-USD,BAR-USD");
        let product = |id: &str, rest: &str| {
            let (base, counter) = id.split_once('-').unwrap();
            format!(r#"{{"id":"{id}","base_currency":"{base}","quote_currency":"{counter}"{rest}}}"#)
        };
        let list = [
            product("BTC-USD", r#","status":"online","trading_disabled":false,"alias":"""#),
            product("BTC-USDC", r#","status":"online","trading_disabled":false,"alias":"BTC-USD""#),
            product("BTC-USDT", r#","status":"online""#),
            product("USDT-USD", ""),
            product("TON-USD", r#","status":"online","cancel_only":false"#),
            product("FOO-USD", r#","status":"delisted""#),
            product("BAR-USD", r#","status":"online","trading_disabled":true"#),
            "7".to_owned(),
        ];
        let list = format!("[{}]", list.join(","));
        let reading = coinbase.read(Source::Instruments, list.as_bytes()).unwrap();
        assert_eq!(reading.signals, [Signal::FeedChanged]);
        let feed = coinbase.feed();
        assert_eq!(strings(&feed.listens_to), ["BTC-USD", "TON-USD", "USDT-USD"]);
        assert_eq!(strings(&feed.unsupported), ["USDC-USD", "FOO-USD", "BAR-USD"]);
        assert_eq!(coinbase.read(Source::Instruments, list.as_bytes()).unwrap().signals, []);
        assert!(coinbase.read(Source::Instruments, br#"{"message":"x"}"#).is_err());
        assert!(coinbase.read(Source::Instruments, b"[]").is_err());
    }

    #[test]
    fn a_malformed_frame_never_panics_and_never_yields_a_price() {
        super::super::corpus::check(
            &mut everything(),
            &[Source::Socket, Source::Poll, Source::Instruments, Source::Handshake],
            &[TICKER],
        );
    }
}
