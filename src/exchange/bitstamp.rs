//! Bitstamp: the first level of each `order_book` channel, and all tickers by one REST request.
//!
//! Its sockets have no ticker. An order book comes as a whole with every change, the best level first. Nothing is
//! numbered, so an acknowledgement is told by its channel.
//!
//! <https://www.bitstamp.net/websocket/v2/>

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::markets::{Hubs, Instrument, Market, Markets, subscription_id};
use super::symbols::Spelling;
use super::{
    ClientPing, Exchange, Feed, Frame, FrameError, KeyUse, Kind, Reading, Request, Row, Scope, Signal,
    Socket, Source, Subscription, json,
};
use crate::market::{Asset, Direction, ExchangeName, Quote, Refusal};

pub(super) const ROW: Row = Row {
    name: ExchangeName::new("bitstamp"),
    kind: Kind::Market,
    rest_url: "https://www.bitstamp.net",
    ws_url: "wss://ws.bitstamp.net",
    stale_after: Duration::from_secs(5),
    poll_every: Duration::from_secs(2),
    poll_every_with_key: None,
    key: KeyUse::None,
    make: |_access, scope| Box::new(Bitstamp::new(&scope)),
};

/// Beginning of the channel of a whole order book. Those of its changes (`diff_order_book_`) and of single orders
/// (`detail_order_book_`) begin otherwise.
const CHANNEL: &str = "order_book_";

/// How often we ask for a sign of life: the sockets of quiet pairs have no other.
const PING_EVERY: Duration = Duration::from_secs(10);

/// Silence after which the link counts as dead: three of our heartbeats without an answer.
const LINK_SILENCE: Duration = Duration::from_secs(30);

/// Bitstamp closes every connection 90 days after it was opened.
const LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);

/// Bitstamp publishes no limit for messages; twenty a second are far below its 400 requests a second.
const MIN_GAP: Duration = Duration::from_millis(50);

/// Codes of errors that ask for less: the limits of ten minutes, of a second, and of an address.
const RATE_ERRORS: [&str; 3] = ["400.002", "400.067", "400.068"];

/// An event of the socket.
#[derive(Deserialize)]
struct SocketFrame<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    channel: Option<&'a RawValue>,
    /// An object, or a string where there is nothing to say.
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// A whole order book.
#[derive(Deserialize)]
struct OrderBook<'a> {
    #[serde(borrow)]
    microtimestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    bids: Option<&'a RawValue>,
    #[serde(borrow)]
    asks: Option<&'a RawValue>,
}

/// What an error event says.
#[derive(Deserialize)]
struct Complaint<'a> {
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

/// A row of the tickers of REST. Its time has whole seconds, and would stand before that of a frame of the same
/// second; nobody documents whether it is that of the last trade, so it is not read.
#[derive(Deserialize)]
struct Ticker<'a> {
    #[serde(borrow)]
    bid: Option<&'a RawValue>,
    #[serde(borrow)]
    ask: Option<&'a RawValue>,
    #[serde(borrow)]
    last: Option<&'a RawValue>,
}

/// The part of a row that names it.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    pair: &'a RawValue,
}

/// The body of an error.
#[derive(Deserialize)]
struct Failure<'a> {
    status: String,
    #[serde(borrow)]
    reason: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
}

/// A row of the list of pairs, in the form of `trading-pairs-info` or of `markets`.
#[derive(Deserialize)]
struct Pair {
    name: String,
    #[serde(alias = "market_symbol")]
    url_symbol: String,
    trading: String,
}

/// The plug-in of Bitstamp.
struct Bitstamp {
    markets: Markets,
    /// Whether rows of pairs that are not listened to are refused. The tickers of all pairs come at once, so where
    /// directions were named, the others are nothing unexpected.
    refuses_others: bool,
}

impl Bitstamp {
    fn new(scope: &Scope) -> Self {
        let refuses_others = *scope == Scope::Everything;
        Self { markets: Markets::new(scope, &SPELLING, &HUBS), refuses_others }
    }

    fn read_frame(&self, text: &str) -> Result<Reading, FrameError> {
        let frame: SocketFrame<'_> = json::object(text)?;
        let channel = frame.channel.and_then(json::string).unwrap_or_default();
        let symbol = channel.strip_prefix(CHANNEL);
        let mut reading = Reading::default();
        match (frame.event.and_then(json::string).as_deref(), symbol) {
            (Some("data"), Some(symbol)) => reading.push(symbol, self.read_order_book(symbol, frame.data)),
            (Some("bts:subscription_succeeded"), Some(symbol)) => {
                reading.signals.push(Signal::Acknowledged(subscription_id(symbol)));
            }
            (Some("bts:request_reconnect"), _) => reading.signals.push(Signal::ReconnectSoon),
            (Some("bts:error"), symbol) => reading.signals.push(complaint(symbol, frame.data)),
            _ => {}
        }
        Ok(reading)
    }

    fn read_order_book(&self, symbol: &str, data: Option<&RawValue>) -> Result<Quote, Refusal> {
        let data = data.ok_or(Refusal::Syntax)?;
        let book: OrderBook<'_> = json::object(data.get()).map_err(|_| Refusal::Syntax)?;
        let (bid, ask) = json::book(best(book.bids)?, best(book.asks)?)?;
        let quoted_at = book.microtimestamp.map(time_in_us).transpose()?;
        let direction = self.markets.direction(symbol).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(Quote { bid, ask, quoted_at, ..Quote::empty(direction) })
    }

    fn read_body(&self, text: &str) -> Result<Reading, FrameError> {
        if let Ok(failure) = json::object::<Failure<'_>>(text) {
            return Ok(Reading { signals: vec![failure.signal()], ..Reading::default() });
        }
        let rows = match json::is_list(text) {
            true => json::list(text)?,
            false => {
                json::object::<Named<'_>>(text)?;
                vec![serde_json::from_str(text)?]
            }
        };
        let mut reading = Reading::default();
        for row in rows {
            let named = json::object::<Named<'_>>(row.get()).ok();
            let pair = named.and_then(|named| json::string(named.pair)).unwrap_or_default();
            let direction = self.direction_of(&pair);
            let is_of_interest = direction.is_some() || pair.is_empty() || self.refuses_others;
            if is_of_interest {
                reading.push(&pair, read_ticker(direction, row));
            }
        }
        Ok(reading)
    }

    /// The direction of a pair by its name in REST; `None` if it is not listened to.
    fn direction_of(&self, pair: &str) -> Option<Direction> {
        let (base, counter) = pair.split_once('/')?;
        let symbol = format!("{base}{counter}").to_ascii_lowercase();
        match self.refuses_others {
            true => SPELLING.pair(base, counter),
            false => self.markets.direction(&symbol),
        }
    }

    fn read_instruments(&mut self, text: &str) -> Result<Reading, FrameError> {
        let rows = json::list(text)?;
        let open: Vec<Pair> = json::objects(&rows).filter(Pair::is_open).collect();
        let signals = self.markets.take_list(open.iter().filter_map(Pair::instrument))?;
        Ok(Reading { signals, ..Reading::default() })
    }
}

impl Exchange for Bitstamp {
    fn feed(&self) -> Feed {
        let markets = self.markets.heard();
        let socket = Socket {
            handshake: None,
            path: "/".to_owned(),
            subscriptions: markets.iter().map(subscription).collect(),
            ping: Some(ClientPing {
                every: PING_EVERY,
                frame: Frame::Text(r#"{"event":"bts:heartbeat"}"#.to_owned()),
            }),
            link_silence: LINK_SILENCE,
            lifetime: Some(LIFETIME),
            min_gap: MIN_GAP,
        };
        Feed {
            listens_to: self.markets.listens_to(),
            unsupported: self.markets.unsupported(),
            instruments: Some(Request::get("/api/v2/trading-pairs-info/")),
            socket: (!markets.is_empty()).then_some(socket),
            polls: (!markets.is_empty()).then(|| Request::get("/api/v2/ticker/")).into_iter().collect(),
            ..Feed::default()
        }
    }

    fn read(&mut self, source: Source, bytes: &[u8]) -> Result<Reading, FrameError> {
        let text = json::text(bytes)?;
        match source {
            Source::Socket => self.read_frame(text),
            Source::Poll => self.read_body(text),
            Source::Instruments => self.read_instruments(text),
            Source::Handshake => Ok(Reading::default()),
        }
    }

    fn read_failure(&mut self, _request: &Request, _status: u16, body: &[u8]) -> Reading {
        let failure = json::text(body).and_then(json::object::<Failure<'_>>).ok();
        Reading { signals: failure.map(Failure::signal).into_iter().collect(), ..Reading::default() }
    }

    fn symbol(&self, direction: Direction) -> String {
        self.markets.symbol(direction)
    }
}

impl Failure<'_> {
    fn signal(self) -> Signal {
        let code = self.code.and_then(json::string).unwrap_or_default();
        let reason = self.reason.map_or("no reason", RawValue::get);
        match RATE_ERRORS.contains(&&*code) {
            true => Signal::RateLimited { wait: None },
            false => Signal::Error(json::shown(&format!("{}: {reason}", self.status))),
        }
    }
}

impl Pair {
    /// Unknown words of `trading` are pairs that are not open.
    fn is_open(&self) -> bool {
        self.trading == "Enabled"
    }

    fn instrument(&self) -> Option<Instrument<'_>> {
        let (base, counter) = self.name.split_once('/')?;
        Some(Instrument { symbol: &self.url_symbol, base, counter })
    }
}

fn read_ticker(direction: Option<Direction>, row: &RawValue) -> Result<Quote, Refusal> {
    let ticker: Ticker<'_> = json::object(row.get()).map_err(|_| Refusal::Syntax)?;
    let (bid, ask) = json::book(ticker.bid, ticker.ask)?;
    let last = json::side(ticker.last)?;
    Ok(Quote { bid, ask, last, ..Quote::empty(direction.ok_or(Refusal::UnexpectedSymbol)?) })
}

/// The price of the first level of a side; `None` if nobody offers anything there.
fn best(side: Option<&RawValue>) -> Result<Option<&RawValue>, Refusal> {
    let levels = json::list(side.ok_or(Refusal::Syntax)?.get()).map_err(|_| Refusal::Syntax)?;
    let Some(level) = levels.first() else { return Ok(None) };
    let level = json::list(level.get()).map_err(|_| Refusal::Syntax)?;
    level.first().copied().map(Some).ok_or(Refusal::Syntax)
}

/// A time in microseconds since 1970, in a string.
fn time_in_us(raw: &RawValue) -> Result<DateTime<Utc>, Refusal> {
    let us = json::string(raw).and_then(|text| text.parse().ok());
    us.and_then(DateTime::from_timestamp_micros).ok_or(Refusal::Syntax)
}

/// What an error is about: one of the channels if it names one.
fn complaint(symbol: Option<&str>, data: Option<&RawValue>) -> Signal {
    let complaint = data.and_then(|data| json::object::<Complaint<'_>>(data.get()).ok());
    let (code, message) = complaint.map_or((None, None), |it| (it.code, it.message));
    let message = message.and_then(json::string);
    let code = code.map_or("none", RawValue::get);
    let detail = json::shown(&format!("{} (code {code})", message.as_deref().unwrap_or("no message")));
    match symbol {
        Some(symbol) => Signal::SubscriptionRefused { id: subscription_id(symbol), detail },
        None => Signal::Error(detail),
    }
}

fn subscription(market: &Market) -> Subscription {
    let channel = format!("{CHANNEL}{}", market.symbol);
    let message = serde_json::json!({ "event": "bts:subscribe", "data": { "channel": channel } });
    Subscription {
        id: market.subscription_id(),
        frame: Frame::Text(message.to_string()),
        directions: vec![market.direction],
    }
}

/// Everything trades against USD. USDT is a hub where the list has it.
const HUBS: Hubs = Hubs { assumed: &[Asset::USD], on_its_word: &[Asset::USDT] };

/// TON goes by GRAM in most places since June 2026; where the list still has the old name alone, that is used.
static SPELLING: Spelling = Spelling {
    separator: "",
    is_lower_case: true,
    aliases: &[("GRAM", "TON")],
    counters: &["USD", "EUR", "GBP", "USDT", "USDC", "BTC", "ETH", "PYUSD", "EURC", "EURCV"],
    rare_counters: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::spoken::{lines, scope, strings};

    fn bitstamp(wanted: &str) -> Bitstamp {
        Bitstamp::new(&scope(wanted))
    }

    fn everything() -> Bitstamp {
        Bitstamp::new(&Scope::Everything)
    }

    fn event(channel: &str, data: &str) -> String {
        format!(r#"{{"data":{data},"channel":"{channel}","event":"data"}}"#)
    }

    const BOOK: &str = r#"{"timestamp":"1772600767","microtimestamp":"1772600767000008","bids":[["61000","0.4"],["60999","1"]],"asks":[["61001.5","0.2"],["61002","3"]]}"#;
    const TICKER: &str = r#"{"timestamp":"1772600767","open":"60500","high":"61500","low":"60000","last":"61001","volume":"812.4","vwap":"60873","bid":"61000","ask":"61001.5","side":"0","open_24":"60700","percent_change_24":"0.51","pair":"BTC/USD"}"#;

    #[test]
    fn an_order_book_is_a_quote_of_its_first_level() {
        let frame = event("order_book_btcusd", BOOK);
        for mut bitstamp in [bitstamp("BTC-USD"), everything()] {
            let reading = bitstamp.read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(lines(&reading), ["BTC-USD 61000 61001.5 - 1772600767000.008 -"]);
        }
        let one_sided = event("order_book_btcusd", r#"{"bids":[],"asks":[["2","1"]]}"#);
        let reading = everything().read(Source::Socket, one_sided.as_bytes()).unwrap();
        assert_eq!(lines(&reading), ["BTC-USD - 2 - - -"]);
    }

    #[test]
    fn what_is_no_order_book_is_refused() {
        for (channel, data, refusal) in [
            ("order_book_btcusd", r#"{"bids":[],"asks":[]}"#, Refusal::Syntax),
            ("order_book_btcusd", r#"{"bids":[["1","2"]]}"#, Refusal::Syntax),
            ("order_book_btcusd", r#"{"bids":[[]],"asks":[["2","1"]]}"#, Refusal::Syntax),
            ("order_book_btcusd", r#"{"bids":["1"],"asks":["2"]}"#, Refusal::Syntax),
            ("order_book_btcusd", r#"{"bids":[["$1","2"]],"asks":[["2","1"]]}"#, Refusal::Syntax),
            ("order_book_btcusd", r#"[[["1","2"]],[["2","1"]]]"#, Refusal::Syntax),
            ("order_book_btcusd", r#""""#, Refusal::Syntax),
            (
                "order_book_btcusd",
                r#"{"microtimestamp":17,"bids":[["1","2"]],"asks":[["2","1"]]}"#,
                Refusal::Syntax,
            ),
            ("order_book_ethusd", BOOK, Refusal::UnexpectedSymbol),
            ("order_book_", BOOK, Refusal::UnexpectedSymbol),
            ("order_book_BTCUSD", BOOK, Refusal::UnexpectedSymbol),
        ] {
            let frame = event(channel, data);
            let reading = bitstamp("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!((lines(&reading), reading.refused[0].1), (vec![], refusal), "{frame}");
        }
    }

    #[test]
    fn other_channels_and_events_say_nothing() {
        let trade = r#"{"id":1,"timestamp":"1772600767","amount":0.1,"amount_str":"0.10","price":61000,"price_str":"61000","type":0}"#;
        for frame in [
            event("diff_order_book_btcusd", BOOK),
            event("detail_order_book_btcusd", BOOK),
            event("", BOOK),
            format!(r#"{{"event":"trade","channel":"live_trades_btcusd","data":{trade}}}"#),
            r#"{"event":"bts:heartbeat","channel":"","data":{"status":"success"}}"#.to_owned(),
            r#"{"event":"bts:subscription_succeeded","channel":"live_trades_btcusd","data":{}}"#.to_owned(),
            r#"{"event":"unknown"}"#.to_owned(),
            "{}".to_owned(),
        ] {
            let reading = everything().read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(reading, Reading::default(), "{frame}");
        }
    }

    #[test]
    fn acknowledgements_complaints_and_the_end_become_signals() {
        let id = subscription_id("btcusd");
        for (frame, expected) in [
            (
                r#"{"event":"bts:subscription_succeeded","channel":"order_book_btcusd","data":{}}"#,
                Signal::Acknowledged(id),
            ),
            (r#"{"event":"bts:request_reconnect","channel":"","data":""}"#, Signal::ReconnectSoon),
            (r#"{"event":"bts:request_reconnect"}"#, Signal::ReconnectSoon),
            (
                r#"{"event":"bts:error","channel":"","data":{"code":4009,"message":"Unauthorized"}}"#,
                Signal::Error("Unauthorized (code 4009)".to_owned()),
            ),
            (
                r#"{"event":"bts:error","channel":"order_book_btcusd","data":{"code":null,"message":"Bad subscription string."}}"#,
                Signal::SubscriptionRefused { id, detail: "Bad subscription string. (code none)".to_owned() },
            ),
            (r#"{"event":"bts:error","data":"x"}"#, Signal::Error("no message (code none)".to_owned())),
        ] {
            let reading = bitstamp("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(reading.signals, [expected], "{frame}");
            assert!(reading.quotes.is_empty() && reading.refused.is_empty());
        }
    }

    #[test]
    fn the_tickers_of_all_pairs_give_those_that_are_listened_to() {
        let body = format!(
            r#"[{TICKER},{},{},7,{}]"#,
            TICKER.replace("BTC/USD", "XRP/EUR"),
            TICKER.replace("BTC/USD", "ETH/USD").replace("61000", "$61000"),
            r#"{"pair":"USDT/USD","last":"1"}"#,
        );
        let reading = bitstamp("BTC-USD,ETH-USD").read(Source::Poll, body.as_bytes()).unwrap();
        assert_eq!(lines(&reading), ["BTC-USD 61000 61001.5 61001 - -"]);
        let refused: Vec<(&str, Refusal)> = reading.refused.iter().map(|(s, r)| (s.as_str(), *r)).collect();
        assert_eq!(
            refused,
            [("ETH/USD", Refusal::Syntax), ("", Refusal::Syntax), ("USDT/USD", Refusal::Syntax)]
        );
        let reading = everything().read(Source::Poll, body.as_bytes()).unwrap();
        assert_eq!(reading.quotes.len(), 2);
        let reading = bitstamp("BTC-USD").read(Source::Poll, TICKER.as_bytes()).unwrap();
        assert_eq!(reading.quotes.len(), 1);
    }

    #[test]
    fn an_error_is_no_price() {
        for (body, expected) in [
            (
                r#"{"status":"error","reason":"Request limit exceeded","code":"400.002"}"#,
                Signal::RateLimited { wait: None },
            ),
            (
                r#"{"status":"error","reason":"Not found","code":"404.002"}"#,
                Signal::Error(r#"error: "Not found""#.to_owned()),
            ),
        ] {
            let reading = everything().read(Source::Poll, body.as_bytes()).unwrap();
            assert_eq!((reading.quotes, reading.signals), (vec![], vec![expected.clone()]), "{body}");
            let failure = everything().read_failure(&Request::get("/"), 400, body.as_bytes());
            assert_eq!(failure.signals, [expected], "{body}");
        }
        assert_eq!(everything().read_failure(&Request::get("/"), 403, b"<html>"), Reading::default());
        assert!(everything().read(Source::Poll, br#"{"microtimestamp":"1","bids":[],"asks":[]}"#).is_err());
    }

    #[test]
    fn the_feed_has_a_channel_for_each_pair_and_one_poll() {
        let feed = bitstamp("BTC-RUB,USDTTRC-RUB").feed();
        assert_eq!(strings(&feed.listens_to), ["BTC-USD", "USDT-USD"]);
        assert_eq!(feed.polls, [Request::get("/api/v2/ticker/")]);
        let socket = feed.socket.unwrap();
        let message = r#"{"data":{"channel":"order_book_btcusd"},"event":"bts:subscribe"}"#;
        assert_eq!(socket.subscriptions[0].frame, Frame::Text(message.to_owned()));
        assert_eq!(socket.subscriptions[0].id, subscription_id("btcusd"));
        assert_eq!((bitstamp("USD-RUB").feed().socket, bitstamp("USD-RUB").feed().polls), (None, vec![]));
    }

    #[test]
    fn the_list_decides_what_is_listened_to_in_both_of_its_forms() {
        let row = |name: &str, field: &str, trading: &str| {
            let symbol = name.replace('/', "").to_lowercase();
            format!(r#"{{"name":"{name}","{field}":"{symbol}","base_decimals":8,"trading":"{trading}"}}"#)
        };
        for field in ["url_symbol", "market_symbol"] {
            let mut bitstamp = bitstamp("BTC-USD,TON-USD,FOO-USD");
            let list = [
                row("BTC/USD", field, "Enabled"),
                row("BTC/USDT", field, "Enabled"),
                row("USDT/USD", field, "Enabled"),
                row("TON/USD", field, "Enabled"),
                row("FOO/USD", field, "Disabled"),
                row("nonsense", field, "Enabled"),
                "7".to_owned(),
            ];
            let list = format!("[{}]", list.join(","));
            let reading = bitstamp.read(Source::Instruments, list.as_bytes()).unwrap();
            assert_eq!(reading.signals, [Signal::FeedChanged]);
            let feed = bitstamp.feed();
            assert_eq!(strings(&feed.listens_to), ["BTC-USD", "TON-USD", "USDT-USD", "BTC-USDT"]);
            assert_eq!(strings(&feed.unsupported), ["FOO-USD"]);
            assert_eq!(bitstamp.read(Source::Instruments, list.as_bytes()).unwrap().signals, []);
            let ticker = TICKER.replace("BTC/USD", "TON/USD");
            assert_eq!(bitstamp.read(Source::Poll, ticker.as_bytes()).unwrap().quotes.len(), 1);
            assert!(bitstamp.read(Source::Instruments, b"[]").is_err());
            assert!(bitstamp.read(Source::Instruments, b"{}").is_err());
        }
    }

    #[test]
    fn a_malformed_frame_never_panics_and_never_yields_a_price() {
        super::super::corpus::check(
            &mut everything(),
            &[Source::Socket, Source::Poll, Source::Instruments, Source::Handshake],
            &[&event("order_book_btcusd", BOOK), &format!("[{TICKER}]")],
        );
    }
}
