//! Binance spot: `bookTicker` streams, and the same by REST.
//!
//! The hosts are those for public market data, which need no key and serve no accounts. A `bookTicker` frame comes
//! only when the best price or its quantity changes, and carries no time.
//!
//! <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams>

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::markets::{Hubs, Instrument, Market, Markets};
use super::symbols::Spelling;
use super::{
    Exchange, Feed, Frame, FrameError, KeyUse, Kind, Reading, Request, Row, Scope, Signal, Socket, Source,
    Subscription, WeightLimit, json,
};
use crate::market::{Asset, Direction, ExchangeName, Quote, Refusal};

pub(super) const ROW: Row = Row {
    name: ExchangeName::new("binance"),
    kind: Kind::Market,
    rest_url: "https://data-api.binance.vision",
    ws_url: "wss://data-stream.binance.vision",
    stale_after: Duration::from_secs(5),
    poll_every: Duration::from_secs(2),
    poll_every_with_key: None,
    key: KeyUse::None,
    make: |_access, scope| Box::new(Binance::new(&scope)),
};

/// Streams of one SUBSCRIBE message, and symbols of one poll. Messages and addresses stay within a few kilobytes;
/// the documented limits (1024 streams of a connection) are far above what is listened to.
const MAX_SYMBOLS_AT_ONCE: usize = 100;

/// Silence after which the link counts as dead. Binance pings every 20 s, so three missed pings mean a socket that
/// TCP has not noticed yet; less than 20 s would restart healthy links.
const LINK_SILENCE: Duration = Duration::from_secs(60);

/// Binance closes every connection 24 h after it was opened.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Binance hangs up on more than 5 messages a second, pongs included; four leave one for a pong.
const MIN_GAP: Duration = Duration::from_millis(250);

/// Weight of requests that an address may use in a minute, unless the list of instruments says otherwise.
const WEIGHT_A_MINUTE: u32 = 6000;

/// Answers to a poll that mean a symbol in it: illegal characters, invalid symbol, symbol in another status.
const SYMBOL_ERRORS: [i64; 3] = [-1100, -1121, -1220];

/// Answers that ask for less: too many requests, overloaded.
const RATE_ERRORS: [i64; 2] = [-1003, -1008];

/// A `bookTicker` frame, a control answer or an event, and the wrapping of a combined stream.
#[derive(Deserialize)]
struct SocketFrame<'a> {
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    /// Kind of event; `bookTicker` alone has none.
    #[serde(borrow)]
    e: Option<&'a RawValue>,
    #[serde(borrow)]
    s: Option<&'a RawValue>,
    #[serde(borrow)]
    u: Option<&'a RawValue>,
    #[serde(borrow)]
    b: Option<&'a RawValue>,
    #[serde(borrow)]
    a: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "json::present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "json::present")]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    msg: Option<&'a RawValue>,
}

/// The nested form of an error on the socket.
#[derive(Deserialize)]
struct ControlError<'a> {
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    msg: Option<&'a RawValue>,
}

/// A row of `ticker/bookTicker` or of `ticker/24hr`. `ticker/price` has neither side of the book, and goes on with
/// the frozen prices of delisted symbols.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ticker<'a> {
    #[serde(borrow, default, deserialize_with = "json::present")]
    bid_price: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "json::present")]
    ask_price: Option<&'a RawValue>,
    #[serde(borrow)]
    last_price: Option<&'a RawValue>,
    #[serde(borrow)]
    close_time: Option<&'a RawValue>,
}

/// The part of a row that names it.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    symbol: &'a RawValue,
}

/// The body of an error.
#[derive(Deserialize)]
struct Failure {
    code: i64,
    #[serde(default)]
    msg: String,
}

/// The body of `exchangeInfo`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExchangeInfo<'a> {
    #[serde(borrow, default)]
    rate_limits: Vec<&'a RawValue>,
    #[serde(borrow)]
    symbols: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RateLimit {
    rate_limit_type: String,
    interval: String,
    interval_num: u32,
    limit: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SymbolInfo {
    symbol: String,
    status: String,
    base_asset: String,
    quote_asset: String,
    is_spot_trading_allowed: Option<bool>,
}

/// The plug-in of Binance.
struct Binance {
    markets: Markets,
    /// Whether every symbol is polled by itself, because a poll of all of them was refused for one that does not
    /// exist.
    polls_one_by_one: bool,
    weight_a_minute: u32,
}

impl Binance {
    fn new(scope: &Scope) -> Self {
        let markets = Markets::new(scope, &SPELLING, &HUBS);
        Self { markets, polls_one_by_one: false, weight_a_minute: WEIGHT_A_MINUTE }
    }

    fn polls(&self) -> Vec<Request> {
        match self.polls_one_by_one {
            true => self.markets.heard().iter().map(|market| Request::get(path_of_one(market))).collect(),
            false => self
                .markets
                .heard()
                .chunks(MAX_SYMBOLS_AT_ONCE)
                .map(|markets| Request::get(path_of(markets)))
                .collect(),
        }
    }

    fn read_frame(&self, text: &str) -> Result<Reading, FrameError> {
        if json::is_list(text) {
            // The streams of all markets send lists; none of them has a book.
            return json::list(text).map(|_| Reading::default());
        }
        let frame: SocketFrame<'_> = json::object(text)?;
        match (frame.stream, frame.data) {
            (Some(stream), Some(data)) => {
                let stream = json::string(stream).unwrap_or_default();
                let data: SocketFrame<'_> = json::object(data.get())?;
                Ok(self.read_event(&data, stream.ends_with("@bookTicker")))
            }
            _ if frame.id.is_some() || frame.code.is_some() || frame.error.is_some() => {
                Ok(read_control(&frame))
            }
            _ => Ok(self.read_event(&frame, frame.s.is_some())),
        }
    }

    /// Reads the event of a raw frame, or what a combined one wraps.
    fn read_event(&self, event: &SocketFrame<'_>, is_book_ticker: bool) -> Reading {
        let mut reading = Reading::default();
        match event.e.and_then(json::string).as_deref() {
            Some("serverShutdown") => reading.signals.push(Signal::ReconnectSoon),
            Some(_) => {}
            None if event.e.is_none() && is_book_ticker => {
                let symbol = event.s.and_then(json::string).unwrap_or_default();
                reading.push(&symbol, self.read_book_ticker(&symbol, event));
            }
            None => {}
        }
        reading
    }

    fn read_book_ticker(&self, symbol: &str, event: &SocketFrame<'_>) -> Result<Quote, Refusal> {
        let sequence = event.u.and_then(json::natural).ok_or(Refusal::Syntax)?;
        let (bid, ask) = json::book(event.b, event.a)?;
        let direction = self.markets.direction(symbol).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(Quote { bid, ask, sequence: Some(sequence), ..Quote::empty(direction) })
    }

    fn read_body(&self, text: &str) -> Result<Reading, FrameError> {
        if let Ok(failure) = json::object::<Failure>(text) {
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
            let symbol = named.and_then(|named| json::string(named.symbol)).unwrap_or_default();
            reading.push(&symbol, self.read_ticker(&symbol, row));
        }
        Ok(reading)
    }

    fn read_ticker(&self, symbol: &str, row: &RawValue) -> Result<Quote, Refusal> {
        let ticker: Ticker<'_> = json::object(row.get()).map_err(|_| Refusal::Syntax)?;
        let (bid, ask) = json::book(ticker.bid_price, ticker.ask_price)?;
        let last = json::side(ticker.last_price)?;
        let quoted_at = ticker.close_time.map(json::time_in_ms).transpose()?;
        let direction = self.markets.direction(symbol).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(Quote { bid, ask, last, quoted_at, ..Quote::empty(direction) })
    }

    fn read_instruments(&mut self, text: &str) -> Result<Reading, FrameError> {
        let info: ExchangeInfo<'_> = json::object(text)?;
        let before = self.feed();
        let open: Vec<SymbolInfo> = json::objects(&info.symbols).filter(SymbolInfo::is_open).collect();
        self.markets.take_list(open.iter().map(SymbolInfo::instrument))?;
        self.polls_one_by_one = false;
        if let Some(limit) = json::objects(&info.rate_limits).find(RateLimit::is_weight_a_minute) {
            self.weight_a_minute = limit.limit;
        }
        Ok(Reading { signals: self.changes_since(&before), ..Reading::default() })
    }

    fn changes_since(&self, before: &Feed) -> Vec<Signal> {
        if self.feed() == *before { Vec::new() } else { vec![Signal::FeedChanged] }
    }
}

impl Exchange for Binance {
    fn feed(&self) -> Feed {
        let markets = self.markets.heard();
        let socket = Socket {
            handshake: None,
            path: "/ws".to_owned(),
            subscriptions: (1..).zip(markets.chunks(MAX_SYMBOLS_AT_ONCE)).map(subscription).collect(),
            ping: None,
            link_silence: LINK_SILENCE,
            lifetime: Some(LIFETIME),
            min_gap: MIN_GAP,
        };
        Feed {
            listens_to: self.markets.listens_to(),
            unsupported: self.markets.unsupported(),
            // A server of public data may ignore both parameters, so nothing relies on them; they only make a body
            // of several megabytes smaller.
            instruments: Some(Request::get(
                "/api/v3/exchangeInfo?symbolStatus=TRADING&showPermissionSets=false",
            )),
            socket: (!markets.is_empty()).then_some(socket),
            polls: self.polls(),
            weight: Some(WeightLimit {
                header: "x-mbx-used-weight-1m",
                limit: self.weight_a_minute,
                window: Duration::from_secs(60),
            }),
            ..Feed::default()
        }
    }

    fn tells_times(&self) -> bool {
        false
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

    fn read_failure(&mut self, request: &Request, _status: u16, body: &[u8]) -> Reading {
        let failure = json::text(body).ok().and_then(|text| json::object::<Failure>(text).ok());
        let Some(failure) = failure else { return Reading::default() };
        if !SYMBOL_ERRORS.contains(&failure.code) {
            return Reading { signals: vec![failure.signal()], ..Reading::default() };
        }
        let before = self.feed();
        let alone = self.markets.heard().iter().find(|market| path_of_one(market) == request.path);
        match alone.map(|market| market.direction) {
            Some(direction) => drop(self.markets.drop_market(direction)),
            None if before.polls.contains(request) => self.polls_one_by_one = true,
            None => {}
        }
        Reading { signals: self.changes_since(&before), ..Reading::default() }
    }

    fn symbol(&self, direction: Direction) -> String {
        self.markets.symbol(direction)
    }
}

impl Failure {
    fn signal(self) -> Signal {
        match RATE_ERRORS.contains(&self.code) {
            // The text of a ban names its end by the wall clock; the header of the same answer says it in seconds.
            true => Signal::RateLimited { wait: None },
            false => Signal::Error(format!("{} (code {})", json::shown(&self.msg), self.code)),
        }
    }
}

impl SymbolInfo {
    /// Unknown words of `status` are markets that are not open.
    fn is_open(&self) -> bool {
        self.status == "TRADING" && self.is_spot_trading_allowed != Some(false)
    }

    fn instrument(&self) -> Instrument<'_> {
        Instrument { symbol: &self.symbol, base: &self.base_asset, counter: &self.quote_asset }
    }
}

impl RateLimit {
    fn is_weight_a_minute(&self) -> bool {
        let is_a_minute = self.interval == "MINUTE" && self.interval_num == 1;
        self.rate_limit_type == "REQUEST_WEIGHT" && is_a_minute && self.limit > 0
    }
}

/// Reads the answer to a SUBSCRIBE message, or an error, in the flat and in the nested form.
fn read_control(frame: &SocketFrame<'_>) -> Reading {
    let id = frame.id.and_then(json::natural);
    let flat = frame.code.map(|code| (Some(code), frame.msg));
    let nested = frame.error.map(|error| match json::object::<ControlError<'_>>(error.get()) {
        Ok(error) => (error.code, error.msg),
        Err(_) => (None, Some(error)),
    });
    let signal = match (nested.or(flat), id) {
        (Some((code, msg)), id) => {
            let msg = msg.map_or("no message", RawValue::get);
            let detail = format!("{} (code {})", json::shown(msg), code.map_or("none", RawValue::get));
            Some(match id {
                Some(id) => Signal::SubscriptionRefused { id, detail },
                None => Signal::Error(detail),
            })
        }
        (None, Some(id)) if frame.result.is_some_and(|result| result.get() == "null") => {
            Some(Signal::Acknowledged(id))
        }
        (None, _) => None,
    };
    Reading { signals: signal.into_iter().collect(), ..Reading::default() }
}

fn subscription((id, markets): (u64, &[Market])) -> Subscription {
    let streams: Vec<String> =
        markets.iter().map(|market| format!("{}@bookTicker", market.symbol.to_lowercase())).collect();
    let message = serde_json::json!({ "method": "SUBSCRIBE", "params": streams, "id": id });
    Subscription {
        id,
        frame: Frame::Text(message.to_string()),
        directions: markets.iter().map(|market| market.direction).collect(),
    }
}

/// Path of a poll of several symbols. One unknown symbol fails all of them.
fn path_of(markets: &[Market]) -> String {
    let symbols: Vec<&str> = markets.iter().map(|market| market.symbol.as_str()).collect();
    let list = serde_json::json!(symbols).to_string();
    format!("/api/v3/ticker/bookTicker?symbols={}", utf8_percent_encode(&list, NON_ALPHANUMERIC))
}

/// Path of a poll of one symbol.
fn path_of_one(market: &Market) -> String {
    format!("/api/v3/ticker/bookTicker?symbol={}", utf8_percent_encode(&market.symbol, NON_ALPHANUMERIC))
}

/// Everything trades against USDT. Books in USD exist for a handful of assets since 2026, so they are used only
/// where the list of instruments has them; those in RUB ended on 2024-01-30.
const HUBS: Hubs = Hubs { assumed: &[Asset::USDT], on_its_word: &[Asset::USD] };

/// TON goes by GRAM since June 2026; its old symbol is not traded any more.
static SPELLING: Spelling = Spelling {
    separator: "",
    is_lower_case: false,
    aliases: &[("GRAM", "TON")],
    #[rustfmt::skip]
    counters: &[
        "USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USDP", "USDS", "USD1", "RLUSD", "DAI", "PAX", "UST", "EURI", "AEUR",
        "BTC", "ETH", "BNB", "TRX", "XRP", "DOGE", "DOT", "SOL",
        "ARS", "AUD", "BRL", "COP", "CZK", "EUR", "GBP", "IDR", "IDRT", "BIDR", "JPY", "KZT", "MXN", "NGN", "PLN",
        "RON", "RUB", "TRY", "UAH", "ZAR",
    ],
    rare_counters: &["USD"],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::spoken::{lines, scope};

    fn binance(wanted: &str) -> Binance {
        Binance::new(&scope(wanted))
    }

    fn everything() -> Binance {
        Binance::new(&Scope::Everything)
    }

    fn list(rows: &[&str]) -> String {
        let limit = r#"{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":4800}"#;
        let none = limit.replace("4800", "0");
        format!(
            r#"{{"timezone":"UTC","rateLimits":[{{"odd":1}},{none},{limit}],"symbols":[{}]}}"#,
            rows.join(",")
        )
    }

    fn listed(base: &str, counter: &str, status: &str) -> String {
        format!(
            r#"{{"symbol":"{base}{counter}","status":"{status}","baseAsset":"{base}","quoteAsset":"{counter}","isSpotTradingAllowed":true,"permissions":[]}}"#
        )
    }

    #[test]
    fn a_book_ticker_is_read_raw_and_combined() {
        let raw = r#"{"u":512,"s":"BTCUSDT","b":"61000.50000000","B":"0.2","a":"61000.51000000","A":"1.5"}"#;
        let combined = format!(r#"{{"stream":"btcusdt@bookTicker","data":{raw}}}"#);
        for frame in [raw, &combined] {
            let reading = binance("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(lines(&reading), ["BTC-USDT 61000.5 61000.51 - - 512"]);
            assert!(reading.refused.is_empty() && reading.signals.is_empty());
        }
    }

    #[test]
    fn a_side_that_is_missing_stays_missing_and_a_row_that_is_no_book_is_refused() {
        for (frame, expected) in [
            (r#"{"u":1,"s":"BTCUSDT","b":"","B":"","a":"61000","A":"1"}"#, Ok("BTC-USDT - 61000 - - 1")),
            (r#"{"u":1,"s":"BTCUSDT","b":"61000","a":null}"#, Ok("BTC-USDT 61000 - - - 1")),
            (r#"{"u":1,"s":"BTCUSDT","a":"61000"}"#, Ok("BTC-USDT - 61000 - - 1")),
            (r#"{"u":1,"s":"BTCUSDT","b":"0.00000000","a":"0.00000000"}"#, Ok("BTC-USDT 0 0 - - 1")),
            (r#"{"u":1,"s":"BTCUSDT","b":"-1","a":"2"}"#, Ok("BTC-USDT -1 2 - - 1")),
            (r#"{"u":1,"s":"BTCUSDT"}"#, Err(Refusal::Syntax)),
            (r#"{"u":1,"s":"BTCUSDT","b":"","a":""}"#, Err(Refusal::Syntax)),
            (r#"{"s":"BTCUSDT","b":"1","a":"2"}"#, Err(Refusal::Syntax)),
            (r#"{"u":-1,"s":"BTCUSDT","b":"1","a":"2"}"#, Err(Refusal::Syntax)),
            (r#"{"u":1,"s":"BTCUSDT","b":"NaN","a":"2"}"#, Err(Refusal::Syntax)),
            (r#"{"u":1,"s":"BTCUSDT","b":"1e400","a":"2"}"#, Err(Refusal::Syntax)),
            (r#"{"u":1,"s":"BTCUSDT","b":["1","2"],"a":["3","4"]}"#, Err(Refusal::Syntax)),
            (r#"{"u":1,"s":"ETHUSDT","b":"1","a":"2"}"#, Err(Refusal::UnexpectedSymbol)),
            (r#"{"u":1,"s":"btcusdt","b":"1","a":"2"}"#, Err(Refusal::UnexpectedSymbol)),
            (r#"{"u":1,"s":"🚀","b":"1","a":"2"}"#, Err(Refusal::UnexpectedSymbol)),
            (r#"{"u":1,"s":7,"b":"1","a":"2"}"#, Err(Refusal::UnexpectedSymbol)),
        ] {
            let reading = binance("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            let refused = reading.refused.first().map(|(_, refusal)| *refusal);
            match expected {
                Ok(quote) => assert_eq!(lines(&reading), [quote], "{frame}"),
                Err(refusal) => assert_eq!((lines(&reading), refused), (vec![], Some(refusal)), "{frame}"),
            }
        }
    }

    #[test]
    fn other_streams_and_events_say_nothing() {
        for frame in [
            r#"{"e":"24hrTicker","E":1,"s":"BTCUSDT","c":"1","b":"2","a":"3","u":4}"#,
            r#"{"e":"aggTrade","s":"BTCUSDT","a":9,"p":"1","u":4}"#,
            r#"{"e":"bookTicker","u":4,"s":"BTCUSDT","b":"2","a":"3"}"#,
            r#"{"e":5,"u":4,"s":"BTCUSDT","b":"2","a":"3"}"#,
            r#"{"e":"somethingNew","x":{}}"#,
            r#"{"stream":"btcusdt@ticker","data":{"s":"btcusdt","c":"1","b":"2","a":"3","u":4}}"#,
            r#"{"stream":"btcusdt@depth5@100ms","data":{"lastUpdateId":1,"bids":[["1","2"]],"asks":[]}}"#,
            r#"{"stream":"btcusdt@depth","data":{"e":"depthUpdate","s":"BTCUSDT","u":1,"b":[["1","2"]],"a":[]}}"#,
            r#"[{"e":"24hrMiniTicker","s":"BTCUSDT","c":"1"}]"#,
            r#"{"result":["btcusdt@bookTicker"],"id":3}"#,
            "{}",
        ] {
            let reading = binance("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(reading, Reading::default(), "{frame}");
        }
    }

    #[test]
    fn control_frames_become_signals() {
        let refused = |id, detail: &str| Signal::SubscriptionRefused { id, detail: detail.to_owned() };
        for (frame, expected) in [
            (r#"{"result":null,"id":2}"#, Signal::Acknowledged(2)),
            (r#"{"code":2,"msg":"Invalid request","id":2}"#, refused(2, r#""Invalid request" (code 2)"#)),
            (r#"{"error":{"code":3,"msg":"no"},"id":2}"#, refused(2, r#""no" (code 3)"#)),
            (r#"{"error":{"code":3,"msg":"no"},"id":null}"#, Signal::Error(r#""no" (code 3)"#.to_owned())),
            (r#"{"error":"closed"}"#, Signal::Error(r#""closed" (code none)"#.to_owned())),
            (r#"{"e":"serverShutdown","E":1770123456789}"#, Signal::ReconnectSoon),
            (r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}"#, Signal::ReconnectSoon),
        ] {
            let reading = binance("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(reading.signals, [expected], "{frame}");
            assert!(reading.quotes.is_empty() && reading.refused.is_empty());
        }
    }

    #[test]
    fn a_bad_row_of_a_body_never_drops_its_siblings() {
        let body = r#"[
            {"symbol":"BTCUSDT","bidPrice":"1.50","bidQty":"1","askPrice":"1.60","askQty":"1"},
            {"symbol":"ETHUSDT","bidPrice":"$1","askPrice":"2"},
            {"symbol":"BTCUSDT","price":"46000.00"},
            {"symbol":"BTCUSDT","bidPrice":"1","bidPrice":"3","askPrice":"2"},
            ["BTCUSDT","1","2"],
            7,
            {"symbol":"XRPUSDT","bidPrice":"1","askPrice":"2"},
            {"symbol":"ETHUSDT","bidPrice":"3","askPrice":"4","lastPrice":"3.5","closeTime":1630042422749}
        ]"#;
        let reading = binance("BTC-USD,ETH-USD").read(Source::Poll, body.as_bytes()).unwrap();
        assert_eq!(lines(&reading), ["BTC-USDT 1.5 1.6 - - -", "ETH-USDT 3 4 3.5 1630042422749 -"]);
        let refused: Vec<(&str, Refusal)> = reading.refused.iter().map(|(s, r)| (s.as_str(), *r)).collect();
        assert_eq!(
            refused,
            [
                ("ETHUSDT", Refusal::Syntax),
                ("BTCUSDT", Refusal::Syntax),
                ("BTCUSDT", Refusal::Syntax),
                ("", Refusal::Syntax),
                ("", Refusal::Syntax),
                ("XRPUSDT", Refusal::UnexpectedSymbol),
            ]
        );
    }

    #[test]
    fn a_price_without_a_book_is_refused_whatever_else_the_row_holds() {
        for body in [
            r#"{"symbol":"BTCUSDT","price":"46000"}"#,
            r#"{"symbol":"BTCUSDT","lastPrice":"46000","closeTime":1630042422749}"#,
            r#"{"symbol":"BTCUSDT","bidPrice":"","askPrice":null,"lastPrice":"46000"}"#,
        ] {
            let reading = everything().read(Source::Poll, body.as_bytes()).unwrap();
            assert!(reading.quotes.is_empty(), "{body}");
            assert_eq!(reading.refused, [("BTCUSDT".to_owned(), Refusal::Syntax)], "{body}");
        }
    }

    #[test]
    fn the_feed_subscribes_and_polls_what_is_needed_and_no_more() {
        let feed = binance("BTC-RUB,BTC-USD,ETH-RUB,USDTTRC-RUB").feed();
        let directions: Vec<String> = feed.listens_to.iter().map(Direction::to_string).collect();
        assert_eq!(directions, ["BTC-USDT", "ETH-USDT"]);
        let socket = feed.socket.unwrap();
        assert_eq!(socket.path, "/ws");
        let message = r#"{"id":1,"method":"SUBSCRIBE","params":["btcusdt@bookTicker","ethusdt@bookTicker"]}"#;
        assert_eq!(socket.subscriptions[0].frame, Frame::Text(message.to_owned()));
        let path = "/api/v3/ticker/bookTicker?symbols=%5B%22BTCUSDT%22%2C%22ETHUSDT%22%5D";
        assert_eq!(feed.polls, [Request::get(path)]);
        assert!(feed.unsupported.is_empty());
    }

    #[test]
    fn many_symbols_are_split_into_messages_and_polls_of_a_hundred() {
        let wanted: Vec<String> = (0..250).map(|number| format!("C{number}-USD")).collect();
        let feed = binance(&wanted.join(",")).feed();
        let socket = feed.socket.unwrap();
        let sizes: Vec<(u64, usize)> =
            socket.subscriptions.iter().map(|s| (s.id, s.directions.len())).collect();
        assert_eq!(sizes, [(1, 100), (2, 100), (3, 50)]);
        assert_eq!(feed.polls.len(), 3);
    }

    #[test]
    fn without_a_market_there_is_nothing_to_dial_and_nothing_to_poll() {
        let feed = binance("USDTTRC-RUB,USD-RUB").feed();
        assert_eq!((feed.socket, feed.polls), (None, vec![]));
    }

    #[test]
    fn the_list_of_instruments_decides_what_is_listened_to() {
        let mut binance = binance("BTC-USD,BTC-RUB,TON-USD,FOO-USD");
        let body = list(&[
            &listed("BTC", "USDT", "TRADING"),
            &listed("BTC", "USD", "TRADING"),
            &listed("BTC", "RUB", "BREAK"),
            &listed("USDT", "USD", "TRADING"),
            &listed("TON", "USDT", "BREAK"),
            &listed("GRAM", "USDT", "TRADING"),
            &listed("FOO", "USDT", "A_NEW_WORD"),
            r#"{"symbol":"FOOUSDT"}"#,
            &listed("币安人生", "USDT", "TRADING"),
        ]);
        let reading = binance.read(Source::Instruments, body.as_bytes()).unwrap();
        assert_eq!(reading.signals, [Signal::FeedChanged]);
        let feed = binance.feed();
        let directions: Vec<String> = feed.listens_to.iter().map(Direction::to_string).collect();
        assert_eq!(directions, ["BTC-USDT", "TON-USDT", "BTC-USD", "USDT-USD"]);
        assert_eq!(feed.unsupported, ["FOO-USDT".parse().unwrap()]);
        assert_eq!(feed.weight.unwrap().limit, 4800);
        let reading = binance.read(Source::Instruments, body.as_bytes()).unwrap();
        assert_eq!(reading.signals, []);
    }

    #[test]
    fn a_market_where_spot_trading_is_not_allowed_is_not_traded() {
        let mut binance = binance("BTC-USD,ETH-USD");
        let closed = listed("ETH", "USDT", "TRADING").replace("true", "false");
        let body = list(&[&listed("BTC", "USDT", "TRADING"), &closed]);
        binance.read(Source::Instruments, body.as_bytes()).unwrap();
        assert_eq!(binance.feed().unsupported, ["ETH-USDT".parse().unwrap()]);
    }

    #[test]
    fn an_unknown_symbol_is_found_by_asking_one_by_one_and_then_left_alone() {
        let mut binance = binance("BTC-USD,FOO-USD");
        let invalid = br#"{"code":-1121,"msg":"Invalid symbol."}"#;
        let no_word = br#"{"code":-1100,"msg":"Illegal characters found in parameter 'symbol'"}"#;
        let all = binance.feed().polls[0].clone();
        assert_eq!(binance.read_failure(&all, 400, invalid).signals, [Signal::FeedChanged]);
        let polls = binance.feed().polls;
        let paths: Vec<&str> = polls.iter().map(|poll| poll.path.as_str()).collect();
        assert_eq!(
            paths,
            ["/api/v3/ticker/bookTicker?symbol=BTCUSDT", "/api/v3/ticker/bookTicker?symbol=FOOUSDT"]
        );
        assert_eq!(binance.read_failure(&polls[1], 400, no_word).signals, [Signal::FeedChanged]);
        let feed = binance.feed();
        assert_eq!(feed.unsupported, ["FOO-USDT".parse().unwrap()]);
        assert_eq!(feed.polls, polls[..1]);
        assert_eq!(binance.read_failure(&polls[1], 400, invalid).signals, []);

        let body = list(&[&listed("BTC", "USDT", "TRADING"), &listed("FOO", "USDT", "TRADING")]);
        let reading = binance.read(Source::Instruments, body.as_bytes()).unwrap();
        assert_eq!(reading.signals, [Signal::FeedChanged]);
        assert_eq!(binance.feed().polls, [all]);
    }

    #[test]
    fn other_failures_change_no_feed() {
        for (status, body, expected) in [
            (
                429,
                r#"{"code":-1003,"msg":"Way too much request weight used"}"#,
                vec![Signal::RateLimited { wait: None }],
            ),
            (503, r#"{"code":-1008,"msg":"Overloaded"}"#, vec![Signal::RateLimited { wait: None }]),
            (
                400,
                r#"{"code":-1102,"msg":"Mandatory"}"#,
                vec![Signal::Error("Mandatory (code -1102)".to_owned())],
            ),
            (451, r#"{"code":0,"msg":"restricted"}"#, vec![Signal::Error("restricted (code 0)".to_owned())]),
            (403, "<html>forbidden</html>", vec![]),
            (400, "", vec![]),
        ] {
            let mut binance = binance("BTC-USD");
            let before = binance.feed();
            let reading = binance.read_failure(&before.polls[0], status, body.as_bytes());
            assert_eq!((reading.signals, binance.feed()), (expected, before), "{body}");
        }
    }

    #[test]
    fn an_error_with_a_status_of_success_is_no_price() {
        let reading = everything().read(Source::Poll, br#"{"code":-1003,"msg":"Too many"}"#).unwrap();
        assert_eq!(reading.signals, [Signal::RateLimited { wait: None }]);
    }

    #[test]
    fn a_malformed_frame_never_panics_and_never_yields_a_price() {
        super::super::corpus::check(
            &mut everything(),
            &[Source::Socket, Source::Poll, Source::Instruments, Source::Handshake],
            &[
                r#"{"u":512,"s":"BTCUSDT","b":"61000.5","B":"0.2","a":"61000.51","A":"1.5"}"#,
                r#"{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"1","a":"2"}}"#,
                r#"[{"symbol":"BTCUSDT","bidPrice":"1.50","askPrice":"1.60"}]"#,
            ],
        );
    }
}
