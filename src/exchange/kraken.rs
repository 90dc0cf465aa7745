//! Kraken spot: the `ticker` channel of its second WebSocket API, and the same by REST.
//!
//! The channel tells of trades alone unless it is asked for every change of the best prices (`event_trigger`). Its
//! second socket API says `BTC` and `DOGE`; REST keeps the older `XBT` and `XDG`, answers with names that were not
//! asked for (`XXBTZUSD` to `XBTUSD`), and tells errors with a status of success.
//!
//! <https://docs.kraken.com/api/docs/websocket-v2/ticker>

use std::collections::HashMap;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
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
    name: ExchangeName::new("kraken"),
    kind: Kind::Market,
    rest_url: "https://api.kraken.com",
    ws_url: "wss://ws.kraken.com",
    stale_after: Duration::from_secs(5),
    poll_every: Duration::from_secs(2),
    poll_every_with_key: None,
    key: KeyUse::None,
    make: |_access, scope| Box::new(Kraken::new(&scope)),
};

/// Pairs of one poll. Addresses that are much longer are refused (414) or break its front (520).
const MAX_PAIRS_AT_ONCE: usize = 50;

/// Silence after which the link counts as dead. A subscribed socket has a heartbeat every second, and our own ping
/// is answered twice within this time.
const LINK_SILENCE: Duration = Duration::from_secs(20);

/// Kraken hangs up after about a minute without traffic. A socket on which every subscription was refused has no
/// heartbeats, and lives by these.
const PING_EVERY: Duration = Duration::from_secs(10);

/// Kraken does not publish how many messages it takes; it says so when they were too many. Ten a second are those of
/// a person who is in a hurry.
const MIN_GAP: Duration = Duration::from_millis(100);

/// Errors of REST that ask for less, by how they begin.
const RATE_ERRORS: [&str; 4] = [
    "EAPI:Rate limit exceeded",
    "EGeneral:Too many requests",
    "EGeneral:Temporary lockout",
    "EService:Throttled",
];

/// The error of REST that means one of the pairs that were asked for, whichever.
const UNKNOWN_PAIR: &str = "EQuery:Unknown asset pair";

/// A frame of a channel, or the answer to a message.
#[derive(Deserialize)]
struct SocketFrame<'a> {
    #[serde(borrow)]
    channel: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    success: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    /// An error about messages as such has a capital letter, and nothing else.
    #[serde(borrow, rename = "Error")]
    general_error: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    symbol: Option<&'a RawValue>,
    #[serde(borrow)]
    req_id: Option<&'a RawValue>,
}

/// What an answer is about.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    symbol: Option<&'a RawValue>,
}

/// A row of the `ticker` channel.
#[derive(Deserialize)]
struct Ticker<'a> {
    #[serde(borrow, default, deserialize_with = "json::present")]
    bid: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "json::present")]
    ask: Option<&'a RawValue>,
    #[serde(borrow)]
    last: Option<&'a RawValue>,
    /// Absent in older frames.
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
}

/// A row of the `status` channel.
#[derive(Deserialize)]
struct Status<'a> {
    #[serde(borrow)]
    system: Option<&'a RawValue>,
}

/// Every body of REST.
#[derive(Deserialize)]
struct Body<'a> {
    error: Vec<String>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

/// A member of the result of `Ticker`: lists, of which the first element is the price.
#[derive(Deserialize)]
struct RestTicker<'a> {
    #[serde(borrow)]
    a: Option<&'a RawValue>,
    #[serde(borrow)]
    b: Option<&'a RawValue>,
    #[serde(borrow)]
    c: Option<&'a RawValue>,
}

/// A member of the result of `AssetPairs`. Dark pools have no name on sockets; older bodies have no status.
#[derive(Deserialize)]
struct AssetPair {
    altname: String,
    wsname: Option<String>,
    status: Option<String>,
}

/// A pair that is open for trading.
struct OpenPair {
    /// Its name in the results of REST.
    key: String,
    altname: String,
    base: String,
    counter: String,
    symbol: String,
}

/// The plug-in of Kraken.
struct Kraken {
    /// By the symbols of sockets.
    markets: Markets,
    /// REST's names of the markets that are listened to, each with the symbol of sockets.
    symbols: HashMap<String, String>,
    /// What REST is asked for, by the symbol of sockets.
    altnames: HashMap<String, String>,
    /// Whether every pair is polled by itself, because a poll of several was refused for one that does not exist.
    polls_one_by_one: bool,
}

impl Kraken {
    fn new(scope: &Scope) -> Self {
        Self {
            markets: Markets::new(scope, &SPELLING, &HUBS),
            symbols: HashMap::new(),
            altnames: HashMap::new(),
            polls_one_by_one: false,
        }
    }

    fn poll(&self, markets: &[Market]) -> Request {
        let altname = |market: &Market| {
            let listed = self.altnames.get(&market.symbol).cloned();
            listed.unwrap_or_else(|| altname(market.direction))
        };
        let pairs: Vec<String> = markets.iter().map(altname).collect();
        Request::get(format!(
            "/0/public/Ticker?pair={}",
            utf8_percent_encode(&pairs.join(","), NON_ALPHANUMERIC)
        ))
    }

    fn read_frame(&self, text: &str) -> Result<Reading, FrameError> {
        let frame: SocketFrame<'_> = json::object(text)?;
        match frame.channel.and_then(json::string).as_deref() {
            Some("ticker") => self.read_tickers(frame.data),
            Some("status") => Ok(read_status(frame.data)),
            Some(_) => Ok(Reading::default()),
            None => Ok(read_answer(&frame)),
        }
    }

    fn read_tickers(&self, data: Option<&RawValue>) -> Result<Reading, FrameError> {
        let data = data.ok_or_else(|| FrameError::Syntax("a ticker without `data`".to_owned()))?;
        let mut reading = Reading::default();
        for row in json::list(data.get())? {
            let symbol = symbol_of(row).unwrap_or_default();
            reading.push(&symbol, self.read_ticker(&symbol, row));
        }
        Ok(reading)
    }

    fn read_ticker(&self, symbol: &str, row: &RawValue) -> Result<Quote, Refusal> {
        let ticker: Ticker<'_> = json::object(row.get()).map_err(|_| Refusal::Syntax)?;
        let (bid, ask) = json::book(ticker.bid, ticker.ask)?;
        let last = json::side(ticker.last)?;
        let quoted_at = ticker.timestamp.map(json::time_as_text).transpose()?;
        let direction = self.markets.direction(symbol).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(Quote { bid, ask, last, quoted_at, ..Quote::empty(direction) })
    }

    /// Reads the answer to a poll; `request` is what was asked, where that is known.
    fn read_body(&mut self, request: Option<&Request>, text: &str) -> Result<Reading, FrameError> {
        let body: Body<'_> = json::object(text)?;
        if let Some(error) = body.error() {
            return Ok(match error.starts_with(UNKNOWN_PAIR) {
                true => self.leave_out_unknown(request, error),
                false => Reading { signals: vec![error_signal(error)], ..Reading::default() },
            });
        }
        let result = body.result.ok_or_else(|| FrameError::Syntax("no `result`".to_owned()))?;
        let json::Members(members) = json::object(result.get())?;
        let mut reading = Reading::default();
        for (key, row) in &members {
            reading.push(key, self.read_member(key, row));
        }
        Ok(reading)
    }

    fn read_member(&self, key: &str, row: &RawValue) -> Result<Quote, Refusal> {
        let ticker: RestTicker<'_> = json::object(row.get()).map_err(|_| Refusal::Syntax)?;
        let (bid, ask) = (first(ticker.b)?, first(ticker.a)?);
        let (bid, ask) = json::book(bid, ask)?;
        let last = json::side(first(ticker.c)?)?;
        let direction = self.direction(key).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(Quote { bid, ask, last, ..Quote::empty(direction) })
    }

    /// The direction that REST means by a name; `None` if it is not listened to.
    fn direction(&self, key: &str) -> Option<Direction> {
        match self.symbols.get(key) {
            Some(symbol) => self.markets.direction(symbol),
            None => self.markets.direction(&SPELLING.symbol(REST_SPELLING.direction(key)?)),
        }
    }

    /// Finds the pair that does not exist by asking for each alone, and stops listening to it.
    fn leave_out_unknown(&mut self, request: Option<&Request>, error: &str) -> Reading {
        let before = self.feed();
        let is_alone = |market: &&Market| request == Some(&self.poll(std::slice::from_ref(market)));
        match self.markets.heard().iter().find(is_alone).map(|market| market.direction) {
            Some(direction) => drop(self.markets.drop_market(direction)),
            None => self.polls_one_by_one = true,
        }
        let mut signals = vec![Signal::Error(json::shown(error))];
        signals.extend(self.change_since(&before));
        Reading { signals, ..Reading::default() }
    }

    fn read_instruments(&mut self, text: &str) -> Result<Reading, FrameError> {
        let body: Body<'_> = json::object(text)?;
        if let Some(error) = body.error() {
            return Err(FrameError::Syntax(json::shown(error)));
        }
        let result = body.result.ok_or_else(|| FrameError::Syntax("no `result`".to_owned()))?;
        let json::Members(members) = json::object(result.get())?;
        let before = self.feed();
        let pairs: Vec<OpenPair> = members.iter().filter_map(|(key, row)| OpenPair::read(key, row)).collect();
        self.markets.take_list(pairs.iter().map(OpenPair::instrument))?;
        self.polls_one_by_one = false;
        (self.symbols, self.altnames) = Default::default();
        for pair in pairs {
            if self.markets.direction(&pair.symbol).is_some() {
                for name in [&pair.key, &pair.altname] {
                    self.symbols.insert(name.clone(), pair.symbol.clone());
                }
                self.altnames.insert(pair.symbol, pair.altname);
            }
        }
        Ok(Reading { signals: self.change_since(&before).into_iter().collect(), ..Reading::default() })
    }

    fn change_since(&self, before: &Feed) -> Option<Signal> {
        (self.feed() != *before).then_some(Signal::FeedChanged)
    }
}

impl Exchange for Kraken {
    fn feed(&self) -> Feed {
        let markets = self.markets.heard();
        let socket = Socket {
            handshake: None,
            path: "/v2".to_owned(),
            subscriptions: markets.iter().map(subscription).collect(),
            ping: Some(ClientPing {
                every: PING_EVERY,
                frame: Frame::Text(r#"{"method":"ping"}"#.to_owned()),
            }),
            link_silence: LINK_SILENCE,
            lifetime: None,
            min_gap: MIN_GAP,
        };
        let pairs_at_once = if self.polls_one_by_one { 1 } else { MAX_PAIRS_AT_ONCE };
        Feed {
            listens_to: self.markets.listens_to(),
            unsupported: self.markets.unsupported(),
            instruments: Some(Request::get("/0/public/AssetPairs")),
            socket: (!markets.is_empty()).then_some(socket),
            polls: markets.chunks(pairs_at_once).map(|markets| self.poll(markets)).collect(),
            ..Feed::default()
        }
    }

    fn read(&mut self, source: Source, bytes: &[u8]) -> Result<Reading, FrameError> {
        let text = json::text(bytes)?;
        match source {
            Source::Socket => self.read_frame(text),
            Source::Poll => self.read_body(None, text),
            Source::Instruments => self.read_instruments(text),
            Source::Handshake => Ok(Reading::default()),
        }
    }

    fn read_poll(&mut self, request: &Request, body: &[u8]) -> Result<Reading, FrameError> {
        self.read_body(Some(request), json::text(body)?)
    }

    fn read_failure(&mut self, request: &Request, _status: u16, body: &[u8]) -> Reading {
        let text = json::text(body).unwrap_or_default();
        let is_error = json::object::<Body<'_>>(text).is_ok_and(|body| body.error().is_some());
        let reading = if is_error { self.read_body(Some(request), text).ok() } else { None };
        reading.unwrap_or_default()
    }

    fn symbol(&self, direction: Direction) -> String {
        self.markets.symbol(direction)
    }
}

impl Body<'_> {
    /// What the body complains about. Warnings (`W…`) stand in the same list, beside a result that is good.
    fn error(&self) -> Option<&str> {
        let is_warning = |said: &&String| said.starts_with('W') && self.result.is_some();
        self.error.iter().find(|said| !is_warning(said)).map(String::as_str)
    }
}

impl OpenPair {
    /// Reads a member of the list; `None` if it is none, or not open. Unknown words of `status` are pairs that are
    /// not open.
    fn read(key: &str, row: &RawValue) -> Option<Self> {
        let pair: AssetPair = json::object(row.get()).ok()?;
        let is_open = pair.status.is_none_or(|status| status == "online");
        let wsname = pair.wsname.filter(|_| is_open)?;
        let (base, counter) = wsname.split_once('/')?;
        let (base, counter) = (socket_code(base), socket_code(counter));
        Some(Self {
            key: key.to_owned(),
            altname: pair.altname,
            base: base.to_owned(),
            counter: counter.to_owned(),
            symbol: format!("{base}/{counter}"),
        })
    }

    fn instrument(&self) -> Instrument<'_> {
        Instrument { symbol: &self.symbol, base: &self.base, counter: &self.counter }
    }
}

/// Reads the answer to a message. There is one for every symbol of a subscription.
fn read_answer(frame: &SocketFrame<'_>) -> Reading {
    let detail = frame.general_error.or(frame.error).map(|error| {
        let text = json::string(error);
        json::shown(text.as_deref().unwrap_or(error.get()))
    });
    let method = frame.method.and_then(json::string);
    let is_subscription = method.as_deref() == Some("subscribe");
    let symbol = frame.symbol.and_then(json::string).or_else(|| symbol_of(frame.result?));
    let id = symbol.map(|symbol| subscription_id(&symbol)).or_else(|| json::natural(frame.req_id?));
    let succeeded = frame.success.is_some_and(|success| success.get() == "true");
    let failed = frame.success.is_some_and(|success| success.get() == "false");
    let signal = match (detail, id) {
        (Some(detail), _) if frame.general_error.is_some() => Some(match detail.contains("rate") {
            true => Signal::RateLimited { wait: None },
            false => Signal::Error(detail),
        }),
        (_, Some(id)) if is_subscription && succeeded => Some(Signal::Acknowledged(id)),
        // What was asked for once more stands as well.
        (Some(detail), Some(id)) if is_subscription && detail.starts_with("Already subscribed") => {
            Some(Signal::Acknowledged(id))
        }
        (detail, Some(id)) if is_subscription && failed => {
            let detail = detail.unwrap_or_else(|| "no reason given".to_owned());
            Some(Signal::SubscriptionRefused { id, detail })
        }
        (Some(detail), _) if failed => Some(Signal::Error(detail)),
        _ => None,
    };
    Reading { signals: signal.into_iter().collect(), ..Reading::default() }
}

/// Reads the state of the whole exchange, which comes first on every socket and whenever it changes.
fn read_status(data: Option<&RawValue>) -> Reading {
    let rows = data.and_then(|data| json::list(data.get()).ok()).unwrap_or_default();
    let mut reading = Reading::default();
    for row in rows {
        let status = json::object::<Status<'_>>(row.get()).ok();
        let system = status.and_then(|status| json::string(status.system?));
        if let Some(system) = system.filter(|system| system != "online") {
            reading.signals.push(Signal::Error(format!("its system is `{}`", json::shown(&system))));
        }
    }
    reading
}

fn error_signal(error: &str) -> Signal {
    match RATE_ERRORS.iter().any(|limit| error.starts_with(limit)) {
        true => Signal::RateLimited { wait: None },
        false => Signal::Error(json::shown(error)),
    }
}

fn symbol_of(row: &RawValue) -> Option<std::borrow::Cow<'_, str>> {
    json::string(json::object::<Named<'_>>(row.get()).ok()?.symbol?)
}

/// The first element of a list, which has to be one; `None` if there is no list, or nothing in it.
fn first(list: Option<&RawValue>) -> Result<Option<&RawValue>, Refusal> {
    let Some(list) = list else { return Ok(None) };
    let elements = json::list(list.get()).map_err(|_| Refusal::Syntax)?;
    Ok(elements.first().copied())
}

/// One message for one symbol: each is answered for itself, and a symbol that is refused leaves the others alone.
fn subscription(market: &Market) -> Subscription {
    let id = market.subscription_id();
    let message = serde_json::json!({
        "method": "subscribe",
        "params": { "channel": "ticker", "symbol": [market.symbol], "event_trigger": "bbo", "snapshot": true },
        "req_id": id,
    });
    Subscription { id, frame: Frame::Text(message.to_string()), directions: vec![market.direction] }
}

/// What REST calls a pair as long as the list has not been read.
fn altname(direction: Direction) -> String {
    let code = |asset: Asset| match asset.as_str() {
        "BTC" => "XBT".to_owned(),
        "DOGE" => "XDG".to_owned(),
        code => code.to_owned(),
    };
    format!("{}{}", code(direction.base), code(direction.counter))
}

/// What sockets call an asset of `wsname`, which keeps the older names.
fn socket_code(code: &str) -> &str {
    match code {
        "XBT" => "BTC",
        "XDG" => "DOGE",
        code => code,
    }
}

/// Everything trades against USD. USDT is a hub where the list has it.
const HUBS: Hubs = Hubs { assumed: &[Asset::USD], on_its_word: &[Asset::USDT] };

/// TON goes by GRAM in most places since June 2026; where the list still has the old name alone, that is used.
static SPELLING: Spelling = Spelling {
    separator: "/",
    is_lower_case: false,
    aliases: &[("GRAM", "TON")],
    counters: &[],
    rare_counters: &[],
};

/// The names in results of REST. The oldest assets have a letter before them, `X` for coins and `Z` for money of
/// states.
static REST_SPELLING: Spelling = Spelling {
    separator: "",
    is_lower_case: false,
    #[rustfmt::skip]
    aliases: &[
        ("XBT", "BTC"), ("XXBT", "BTC"), ("XDG", "DOGE"), ("XXDG", "DOGE"), ("GRAM", "TON"), ("XETC", "ETC"),
        ("XETH", "ETH"), ("XLTC", "LTC"), ("XMLN", "MLN"), ("XREP", "REP"), ("XXLM", "XLM"), ("XXMR", "XMR"),
        ("XXRP", "XRP"), ("XZEC", "ZEC"), ("ZAUD", "AUD"), ("ZCAD", "CAD"), ("ZEUR", "EUR"), ("ZGBP", "GBP"),
        ("ZJPY", "JPY"), ("ZUSD", "USD"),
    ],
    #[rustfmt::skip]
    counters: &[
        "ZUSD", "ZEUR", "ZGBP", "ZCAD", "ZJPY", "ZAUD", "XXBT", "XETH", "USD", "EUR", "GBP", "CAD", "JPY", "AUD", "CHF",
        "XBT", "ETH", "USDT", "USDC", "DAI", "PYUSD", "USDG", "EURC",
    ],
    rare_counters: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::spoken::{lines, scope, strings};

    fn kraken(wanted: &str) -> Kraken {
        Kraken::new(&scope(wanted))
    }

    fn everything() -> Kraken {
        Kraken::new(&Scope::Everything)
    }

    fn ticker(row: &str) -> String {
        format!(r#"{{"channel":"ticker","type":"update","data":[{row}]}}"#)
    }

    fn body(members: &str) -> String {
        format!(r#"{{"error":[],"result":{{{members}}}}}"#)
    }

    fn listed(key: &str, altname: &str, wsname: &str, status: &str) -> String {
        format!(
            r#""{key}":{{"altname":"{altname}","wsname":"{wsname}","base":"?","quote":"?","status":"{status}"}}"#
        )
    }

    #[test]
    fn a_ticker_is_read_digit_by_digit_with_and_without_its_time() {
        for (row, expected) in [
            (
                r#"{"symbol":"BTC/USD","bid":61000.1,"bid_qty":2.5,"ask":61000.2,"last":61000.15}"#,
                "BTC-USD 61000.1 61000.2 61000.15 - -",
            ),
            (
                r#"{"symbol":"BTC/USD","bid":0.1000000000000000055,"ask":2.5e1,"last":1,"timestamp":"2026-03-04T05:06:07.000008Z"}"#,
                "BTC-USD 0.1000000000000000055 25 1 1772600767000.008 -",
            ),
            (r#"{"symbol":"DOGE/EUR","bid":0.11,"ask":0.12}"#, "DOGE-EUR 0.11 0.12 - - -"),
            (r#"{"symbol":"BTC/USD","bid":null,"ask":61000.2}"#, "BTC-USD - 61000.2 - - -"),
        ] {
            let reading = everything().read(Source::Socket, ticker(row).as_bytes()).unwrap();
            assert_eq!(lines(&reading), [expected], "{row}");
        }
    }

    #[test]
    fn a_bad_row_is_refused_and_its_siblings_are_read() {
        for (row, symbol, refusal) in [
            (r#"{"symbol":"BTC/USD","last":61000}"#, "BTC/USD", Refusal::Syntax),
            (r#"{"symbol":"BTC/USD","bid":"$1","ask":2}"#, "BTC/USD", Refusal::Syntax),
            (r#"{"symbol":"BTC/USD","bid":1,"ask":2,"timestamp":"yesterday"}"#, "BTC/USD", Refusal::Syntax),
            (r#"{"symbol":"BTC/USD","bid":1,"bid":3,"ask":2}"#, "BTC/USD", Refusal::Syntax),
            (r#"["BTC/USD",1,2]"#, "", Refusal::Syntax),
            (r#"{"symbol":"XBT/USD","bid":1,"ask":2}"#, "XBT/USD", Refusal::UnexpectedSymbol),
            (r#"{"bid":1,"ask":2}"#, "", Refusal::UnexpectedSymbol),
        ] {
            let frame = ticker(&format!(r#"{row},{{"symbol":"ETH/USD","bid":3,"ask":4}}"#));
            let reading = kraken("BTC-USD,ETH-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(lines(&reading), ["ETH-USD 3 4 - - -"], "{row}");
            assert_eq!(reading.refused, [(symbol.to_owned(), refusal)], "{row}");
        }
    }

    #[test]
    fn other_channels_and_answers_say_nothing() {
        for frame in [
            r#"{"channel":"heartbeat"}"#,
            r#"{"channel":"status","type":"update","data":[{"system":"online","api_version":"v2"}]}"#,
            r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":1,"qty":2}],"asks":[]}]}"#,
            r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","price":1,"qty":2}]}"#,
            r#"{"method":"pong","time_in":"2026-03-04T05:06:07.1Z","time_out":"2026-03-04T05:06:07.2Z"}"#,
            r#"{"event":"heartbeat"}"#,
            "{}",
        ] {
            let reading = everything().read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(reading, Reading::default(), "{frame}");
        }
    }

    #[test]
    fn a_frame_of_the_first_socket_api_is_not_read() {
        let frame = br#"[340,{"a":["2",1,"1"],"b":["1",1,"1"],"c":["1","1"]},"ticker","XBT/USD"]"#;
        assert!(everything().read(Source::Socket, frame).is_err());
    }

    #[test]
    fn answers_and_complaints_become_signals() {
        let id = subscription_id("BTC/USD");
        let refused = |detail: &str| Signal::SubscriptionRefused { id, detail: detail.to_owned() };
        let error = |detail: &str| Signal::Error(detail.to_owned());
        for (frame, expected) in [
            (
                r#"{"method":"subscribe","result":{"channel":"ticker","symbol":"BTC/USD"},"success":true,"req_id":7}"#,
                Signal::Acknowledged(id),
            ),
            (r#"{"method":"subscribe","result":{},"success":true,"req_id":7}"#, Signal::Acknowledged(7)),
            (
                r#"{"method":"subscribe","success":false,"error":"Already subscribed","symbol":"BTC/USD"}"#,
                Signal::Acknowledged(id),
            ),
            (
                r#"{"method":"subscribe","success":false,"error":"Currency pair not supported BTC/USD","symbol":"BTC/USD"}"#,
                refused("Currency pair not supported BTC/USD"),
            ),
            (r#"{"method":"subscribe","success":false,"symbol":"BTC/USD"}"#, refused("no reason given")),
            (r#"{"success":false,"error":"Malformed request"}"#, error("Malformed request")),
            (r#"{"Error":"Exceeded msg rate"}"#, Signal::RateLimited { wait: None }),
            (r#"{"Error":"Something else"}"#, error("Something else")),
            (
                r#"{"channel":"status","data":[{"system":"maintenance"}]}"#,
                error("its system is `maintenance`"),
            ),
        ] {
            let reading = kraken("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(reading.signals, [expected], "{frame}");
            assert!(reading.quotes.is_empty() && reading.refused.is_empty());
        }
    }

    #[test]
    fn results_of_rest_are_read_by_all_of_their_names() {
        for (key, direction) in [
            ("XXBTZUSD", "BTC-USD"),
            ("XXBTZEUR", "BTC-EUR"),
            ("XETHZUSD", "ETH-USD"),
            ("XETHXXBT", "ETH-BTC"),
            ("XXRPZUSD", "XRP-USD"),
            ("XLTCZUSD", "LTC-USD"),
            ("XZECZUSD", "ZEC-USD"),
            ("XDGUSD", "DOGE-USD"),
            ("USDTZUSD", "USDT-USD"),
            ("USDCUSDT", "USDC-USDT"),
            ("XBTUSDT", "BTC-USDT"),
            ("SOLUSD", "SOL-USD"),
            ("XTZUSD", "XTZ-USD"),
            ("TRXEUR", "TRX-EUR"),
        ] {
            let body = body(&format!(
                r#""{key}":{{"a":["2.0","1","1.000"],"b":["1.0","1","1.000"],"c":["1.5","1"]}}"#
            ));
            let reading = everything().read(Source::Poll, body.as_bytes()).unwrap();
            assert_eq!(lines(&reading), [format!("{direction} 1 2 1.5 - -")], "{key}");
        }
    }

    #[test]
    fn a_bad_member_is_refused_and_its_siblings_are_read() {
        for (member, refusal) in [
            (r#""XXBTZUSD":{"a":["$2"],"b":["1"],"c":["1"]}"#, Refusal::Syntax),
            (r#""XXBTZUSD":{"a":"2","b":["1"]}"#, Refusal::Syntax),
            (r#""XXBTZUSD":{"a":[],"b":[],"c":["1","2"]}"#, Refusal::Syntax),
            (r#""XXBTZUSD":{"c":["1","2"]}"#, Refusal::Syntax),
            (r#""XXBTZUSD":[["2"],["1"]]"#, Refusal::Syntax),
            (r#""XXBTZUSD":{"asks":[["2","1",3]],"bids":[["1","1",3]]}"#, Refusal::Syntax),
            (r#""XXMRZUSD":{"a":["2"],"b":["1"]}"#, Refusal::UnexpectedSymbol),
        ] {
            let body = body(&format!(r#"{member},"XETHZUSD":{{"a":["4"],"b":["3"],"c":["3"]}}"#));
            let reading = kraken("BTC-USD,ETH-USD").read(Source::Poll, body.as_bytes()).unwrap();
            assert_eq!(lines(&reading), ["ETH-USD 3 4 3 - -"], "{member}");
            assert_eq!(reading.refused[0].1, refusal, "{member}");
        }
    }

    #[test]
    fn an_error_with_a_status_of_success_is_no_price_and_a_warning_is_no_error() {
        let limited = Signal::RateLimited { wait: None };
        for (error, expected) in [
            ("EAPI:Rate limit exceeded", limited.clone()),
            ("EGeneral:Too many requests", limited.clone()),
            ("EGeneral:Temporary lockout", limited),
            ("EService:Unavailable", Signal::Error("EService:Unavailable".to_owned())),
        ] {
            let body = format!(r#"{{"error":["{error}"],"result":{{"SOLUSD":{{"a":["2"],"b":["1"]}}}}}}"#);
            let reading = everything().read(Source::Poll, body.as_bytes()).unwrap();
            assert_eq!((reading.quotes, reading.signals), (vec![], vec![expected.clone()]), "{error}");
            let request = Request::get("/0/public/Ticker?pair=SOLUSD");
            let failure = everything().read_failure(&request, 500, body.as_bytes());
            assert_eq!(failure.signals, [expected], "{error}");
        }
        let body = br#"{"error":["WGeneral:Slow"],"result":{"SOLUSD":{"a":["2"],"b":["1"]}}}"#;
        assert_eq!(everything().read(Source::Poll, body).unwrap().quotes.len(), 1);
        assert!(everything().read(Source::Poll, b"{\"error\":[]}").is_err());
        let nameless = br#"{"errors":[],"result":{"SOLUSD":{"a":["2"],"b":["1"]}}}"#;
        assert!(everything().read(Source::Poll, nameless).is_err(), "its list of errors has another name");
        let page = everything().read_failure(&Request::get("/"), 520, b"<html></html>");
        assert_eq!(page, Reading::default());
    }

    #[test]
    fn the_feed_has_a_message_for_each_symbol_and_one_poll_for_all() {
        let feed = kraken("BTC-RUB,DOGE-USD,USDTTRC-RUB").feed();
        assert_eq!(strings(&feed.listens_to), ["BTC-USD", "DOGE-USD", "USDT-USD"]);
        let socket = feed.socket.unwrap();
        assert_eq!(socket.path, "/v2");
        let id = subscription_id("BTC/USD");
        let message = format!(
            r#"{{"method":"subscribe","params":{{"channel":"ticker","event_trigger":"bbo","snapshot":true,"symbol":["BTC/USD"]}},"req_id":{id}}}"#
        );
        assert_eq!(socket.subscriptions[0].frame, Frame::Text(message));
        assert_eq!(feed.polls, [Request::get("/0/public/Ticker?pair=XBTUSD%2CXDGUSD%2CUSDTUSD")]);
        assert_eq!(feed.instruments, Some(Request::get("/0/public/AssetPairs")));
        assert!(feed.unsupported.is_empty());
        assert_eq!((kraken("USD-RUB").feed().socket, kraken("USD-RUB").feed().polls), (None, vec![]));
    }

    #[test]
    fn the_list_decides_what_is_listened_to_and_how_rest_is_asked() {
        let mut kraken = kraken("BTC-USD,TON-USD,FOO-USD,BAR-USD");
        let list = body(
            &[
                listed("XXBTZUSD", "XBTUSD", "XBT/USD", "online"),
                listed("XXBTZEUR", "XBTEUR", "XBT/EUR", "online"),
                listed("XBTUSDT", "XBTUSDT", "XBT/USDT", "online"),
                listed("USDTZUSD", "USDTUSD", "USDT/USD", "online"),
                listed("TONUSD", "TONUSD", "TON/USD", "online"),
                listed("FOOUSD", "FOOUSD", "FOO/USD", "cancel_only"),
                r#""BARUSD.d":{"altname":"BARUSD.d","status":"online"}"#.to_owned(),
                r#""odd":7"#.to_owned(),
            ]
            .join(","),
        );
        let socket_before = kraken.feed().socket.unwrap();
        let reading = kraken.read(Source::Instruments, list.as_bytes()).unwrap();
        assert_eq!(reading.signals, [Signal::FeedChanged]);
        let feed = kraken.feed();
        assert_eq!(strings(&feed.listens_to), ["BTC-USD", "TON-USD", "USDT-USD", "BTC-USDT"]);
        assert_eq!(strings(&feed.unsupported), ["FOO-USD", "BAR-USD"]);
        assert_eq!(feed.polls, [Request::get("/0/public/Ticker?pair=XBTUSD%2CTONUSD%2CUSDTUSD%2CXBTUSDT")]);
        assert_eq!(feed.socket.unwrap().subscriptions[0], socket_before.subscriptions[0]);
        let answer = body(r#""XXBTZUSD":{"a":["2"],"b":["1"]},"TONUSD":{"a":["4"],"b":["3"]}"#);
        let reading = kraken.read(Source::Poll, answer.as_bytes()).unwrap();
        assert_eq!(lines(&reading), ["BTC-USD 1 2 - - -", "TON-USD 3 4 - - -"]);
        assert_eq!(kraken.read(Source::Instruments, list.as_bytes()).unwrap().signals, []);
        assert!(kraken.read(Source::Instruments, br#"{"error":["EService:Busy"]}"#).is_err());
        assert!(kraken.read(Source::Instruments, body("").as_bytes()).is_err());
    }

    #[test]
    fn an_unknown_pair_is_found_by_asking_one_by_one_and_then_left_alone() {
        let mut kraken = kraken("BTC-USD,FOO-USD");
        let unknown = br#"{"error":["EQuery:Unknown asset pair"]}"#;
        let all = kraken.feed().polls[0].clone();
        let reading = kraken.read_poll(&all, unknown).unwrap();
        assert_eq!(reading.signals.last(), Some(&Signal::FeedChanged));
        let polls = kraken.feed().polls;
        let paths: Vec<&str> = polls.iter().map(|poll| poll.path.as_str()).collect();
        let expected = ["XBTUSD", "FOOUSD", "USDTUSD"].map(|pair| format!("/0/public/Ticker?pair={pair}"));
        assert_eq!(paths, expected);
        assert_eq!(kraken.read_poll(&polls[1], unknown).unwrap().signals.last(), Some(&Signal::FeedChanged));
        assert_eq!(strings(&kraken.feed().unsupported), ["FOO-USD"]);
        assert_eq!(kraken.feed().polls.len(), 2);
    }

    #[test]
    fn a_malformed_frame_never_panics_and_never_yields_a_price() {
        super::super::corpus::check(
            &mut everything(),
            &[Source::Socket, Source::Poll, Source::Instruments, Source::Handshake],
            &[
                &ticker(r#"{"symbol":"BTC/USD","bid":61000.1,"ask":61000.2,"last":61000.1}"#),
                &body(r#""XXBTZUSD":{"a":["2.0","1","1.000"],"b":["1.0","1","1.000"],"c":["1.5","1"]}"#),
            ],
        );
    }
}
