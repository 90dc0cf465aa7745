//! Bitfinex v2: the `ticker` channel, and tickers by REST.
//!
//! A frame names its channel by a number that the same connection has given it, so every connection has a reader of
//! its own; frames may come before the number is told, and wait for it. No ticker tells its time. The sequence that the
//! exchange would count on request begins anew with every connection, so it is not asked for.
//!
//! `UST` is Tether and not a coin of Terra, and `UDC` is USD Coin.
//!
//! <https://docs.bitfinex.com/docs/ws-general>

use std::collections::HashMap;
use std::time::Duration;

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
    name: ExchangeName::new("bitfinex"),
    kind: Kind::Market,
    rest_url: "https://api-pub.bitfinex.com",
    ws_url: "wss://api-pub.bitfinex.com",
    stale_after: Duration::from_secs(5),
    // An address may ask for tickers about 30 times a minute, and is blocked for a minute if it asks more often.
    poll_every: Duration::from_millis(2500),
    poll_every_with_key: None,
    key: KeyUse::None,
    make: |_access, scope| Box::new(Bitfinex::new(&scope)),
};

/// Channels that one connection may have. Markets beyond it are known by polls alone.
const MAX_CHANNELS: usize = 25;

/// Symbols of one poll; the address stays within a kilobyte.
const MAX_SYMBOLS_AT_ONCE: usize = 100;

/// Silence after which the link counts as dead. Each channel beats every 15 s, so three missed beats.
const LINK_SILENCE: Duration = Duration::from_secs(50);

/// Time between our pings, which show a dead link as one even while there is no channel.
const PING_EVERY: Duration = Duration::from_secs(15);

/// Time between two of our messages. No limit is published; 25 subscriptions are out after about a second.
const MIN_GAP: Duration = Duration::from_millis(50);

/// Channels whose frames wait for their number to be told. An honest connection never has more than it asked for.
const MAX_EARLY: usize = MAX_CHANNELS;

/// How long an address is blocked that has asked too often.
const BLOCKED_FOR: Duration = Duration::from_secs(60);

/// Numbers that a ticker has at least; more may be appended.
const TICKER_LEN: usize = 10;

/// Where they stand in a ticker.
const BID: usize = 0;
const ASK: usize = 2;
const LAST: usize = 6;

/// Codes of the socket: the same subscription twice; a restart, and the end of a maintenance, after which everything
/// has to be subscribed anew.
const ALREADY_SUBSCRIBED: u64 = 10301;
const RESTARTING: u64 = 20051;
const MAINTENANCE_ENDED: u64 = 20061;

/// The code of a body that asks for less.
const RATE_LIMIT: u64 = 11010;

/// An event: every frame that is no list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow)]
    event: &'a RawValue,
    #[serde(borrow)]
    channel: Option<&'a RawValue>,
    #[serde(borrow)]
    chan_id: Option<&'a RawValue>,
    #[serde(borrow)]
    symbol: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    msg: Option<&'a RawValue>,
    #[serde(borrow)]
    platform: Option<Platform<'a>>,
}

/// The state of the exchange, told when a connection begins.
#[derive(Deserialize)]
struct Platform<'a> {
    #[serde(borrow)]
    status: Option<&'a RawValue>,
}

/// The body of an error that is an object.
#[derive(Deserialize)]
struct Failure {
    error: String,
}

/// What a channel of a connection carries.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Channel {
    /// The ticker of this market, by its pair.
    Ticker(String),
    /// Something else.
    Other,
}

/// The plug-in of Bitfinex, and the reader of one of its connections.
struct Bitfinex {
    markets: Markets,
    channels: HashMap<u64, Channel>,
    /// The last frame of each channel whose number has not been told yet.
    early: HashMap<u64, String>,
}

impl Bitfinex {
    fn new(scope: &Scope) -> Self {
        let markets = Markets::new(scope, &SPELLING, &HUBS);
        Self { markets, channels: HashMap::new(), early: HashMap::new() }
    }

    fn read_frame(&mut self, text: &str) -> Result<Reading, FrameError> {
        if json::is_object(text) {
            return self.read_event(&json::object(text)?);
        }
        let parts = json::list(text)?;
        let number = parts.first().and_then(|part| json::natural(part));
        let (Some(number), Some(content)) = (number, parts.get(1)) else {
            return Err(FrameError::Syntax("no number of a channel".to_owned()));
        };
        let mut reading = Reading::default();
        if !json::is_list(content.get()) {
            // A heartbeat, or the name of an event of another channel.
            return Ok(reading);
        }
        match self.channels.get(&number) {
            Some(Channel::Ticker(pair)) => reading.push(pair, self.read_ticker(pair, content)),
            Some(Channel::Other) => {}
            None if self.early.len() < MAX_EARLY || self.early.contains_key(&number) => {
                self.early.insert(number, content.get().to_owned());
            }
            None => {}
        }
        Ok(reading)
    }

    fn read_event(&mut self, event: &Event<'_>) -> Result<Reading, FrameError> {
        let mut reading = Reading::default();
        let number = event.chan_id.and_then(json::natural);
        let code = event.code.and_then(json::natural);
        let pair = event.symbol.and_then(json::string).and_then(|symbol| pair_of(&symbol));
        match json::string(event.event).as_deref() {
            Some("subscribed") => {
                let number =
                    number.ok_or_else(|| FrameError::Syntax("a channel without a number".to_owned()))?;
                self.open_channel(number, event, pair, &mut reading);
            }
            Some("unsubscribed") => self.channels.retain(|open, _| Some(*open) != number),
            Some("error") => {
                let detail = words_of(event);
                reading.signals.push(match pair.map(|pair| subscription_id(&pair)) {
                    Some(id) if code == Some(ALREADY_SUBSCRIBED) => Signal::Acknowledged(id),
                    Some(id) => Signal::SubscriptionRefused { id, detail },
                    None => Signal::Error(detail),
                });
            }
            Some("info") => {
                let status = event.platform.as_ref().and_then(|platform| platform.status);
                match code {
                    Some(RESTARTING | MAINTENANCE_ENDED) => reading.signals.push(Signal::ReconnectSoon),
                    Some(_) => reading.signals.push(Signal::Error(words_of(event))),
                    None if status.and_then(json::natural) == Some(0) => {
                        reading.signals.push(Signal::Error("in maintenance".to_owned()));
                    }
                    None => {}
                }
            }
            _ => {}
        }
        Ok(reading)
    }

    /// Remembers what a number means from now on, and reads what has come under it before.
    fn open_channel(&mut self, number: u64, event: &Event<'_>, pair: Option<String>, reading: &mut Reading) {
        let early = self.early.remove(&number);
        let is_ticker = event.channel.and_then(json::string).is_some_and(|channel| channel == "ticker");
        let Some(pair) = pair.filter(|_| is_ticker) else {
            self.channels.insert(number, Channel::Other);
            return;
        };
        reading.signals.push(Signal::Acknowledged(subscription_id(&pair)));
        if let Some(content) = early.and_then(|early| RawValue::from_string(early).ok()) {
            reading.push(&pair, self.read_ticker(&pair, &content));
        }
        self.channels.insert(number, Channel::Ticker(pair));
    }

    /// Reads the numbers of a ticker.
    fn read_ticker(&self, pair: &str, content: &RawValue) -> Result<Quote, Refusal> {
        let numbers = json::list(content.get()).map_err(|_| Refusal::Syntax)?;
        self.read_numbers(pair, &numbers)
    }

    fn read_numbers(&self, pair: &str, numbers: &[&RawValue]) -> Result<Quote, Refusal> {
        if numbers.len() < TICKER_LEN {
            return Err(Refusal::Syntax);
        }
        let (bid, ask) = json::book(Some(numbers[BID]), Some(numbers[ASK]))?;
        let last = json::side(Some(numbers[LAST]))?;
        let direction = self.markets.direction(pair).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(Quote { bid, ask, last, ..Quote::empty(direction) })
    }

    fn read_body(&self, text: &str) -> Result<Reading, FrameError> {
        if let Some(failure) = failure(text) {
            return Ok(Reading { signals: vec![failure], ..Reading::default() });
        }
        let rows = json::list(text)?;
        if rows.first().is_some_and(|row| !json::is_list(row.get())) {
            return Err(FrameError::Syntax("no list of tickers".to_owned()));
        }
        let mut reading = Reading::default();
        for row in rows {
            let parts = json::list(row.get()).unwrap_or_default();
            let symbol = parts.first().and_then(|part| json::string(part)).unwrap_or_default();
            let quote = match (pair_of(&symbol), parts.split_first()) {
                (Some(pair), Some((_, numbers))) => self.read_numbers(&pair, numbers),
                _ if symbol.is_empty() => Err(Refusal::Syntax),
                // A rate of funding, whose numbers stand elsewhere.
                _ => Err(Refusal::UnexpectedSymbol),
            };
            reading.push(&symbol, quote);
        }
        Ok(reading)
    }

    fn read_instruments(&mut self, text: &str) -> Result<Reading, FrameError> {
        if failure(text).is_some() {
            return Err(FrameError::Syntax(format!("an error instead of a list: `{}`", json::shown(text))));
        }
        let lists = json::list(text)?;
        let pairs = lists.first().ok_or_else(|| FrameError::Syntax("no list of pairs".to_owned()))?;
        let pairs = json::list(pairs.get())?;
        let pairs = pairs.iter().filter_map(|pair| json::string(pair).and_then(|pair| with_colon(&pair)));
        let pairs: Vec<String> = pairs.collect();
        let names = lists.get(1).map(|names| names_in(names)).unwrap_or_default();
        // An asset that the exchange calls otherwise than we think is not the one that we think of.
        let is_as_known =
            |code: &str| names.get(code).is_none_or(|name| Asset::new(name) == SPELLING.asset(code));
        let signals = self.markets.take_list(pairs.iter().filter_map(|pair| {
            let (base, counter) = pair.split_once(':')?;
            let is_known = is_as_known(base) && is_as_known(counter);
            is_known.then_some(Instrument { symbol: pair, base, counter })
        }))?;
        Ok(Reading { signals, ..Reading::default() })
    }
}

impl Exchange for Bitfinex {
    fn feed(&self) -> Feed {
        let markets = self.markets.heard();
        let socket = Socket {
            handshake: None,
            path: "/ws/2".to_owned(),
            subscriptions: markets.iter().take(MAX_CHANNELS).map(subscription).collect(),
            ping: Some(ClientPing {
                every: PING_EVERY,
                frame: Frame::Text(r#"{"event":"ping","cid":1}"#.to_owned()),
            }),
            link_silence: LINK_SILENCE,
            lifetime: None,
            min_gap: MIN_GAP,
        };
        Feed {
            listens_to: self.markets.listens_to(),
            unsupported: self.markets.unsupported(),
            instruments: Some(Request::get("/v2/conf/pub:list:pair:exchange,pub:map:currency:sym")),
            socket: (!markets.is_empty()).then_some(socket),
            polls: markets.chunks(MAX_SYMBOLS_AT_ONCE).map(poll).collect(),
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

    fn read_failure(&mut self, _request: &Request, _status: u16, body: &[u8]) -> Reading {
        let failure = json::text(body).ok().and_then(failure);
        Reading { signals: failure.into_iter().collect(), ..Reading::default() }
    }

    fn symbol(&self, direction: Direction) -> String {
        symbol_of(&self.markets.symbol(direction))
    }

    /// A reader of every channel that is acknowledged on the new connection: only what the feed asks for is.
    fn for_connection(&self) -> Option<Box<dyn Exchange>> {
        Some(Box::new(Self::new(&Scope::Everything)))
    }
}

/// The names of codes, from rows of two texts.
fn names_in(rows: &RawValue) -> HashMap<String, String> {
    let rows = json::list(rows.get()).unwrap_or_default();
    let name = |row: &&RawValue| {
        let parts = json::list(row.get()).ok()?;
        let text = |at: usize| parts.get(at).and_then(|part| json::string(part));
        Some((text(0)?.into_owned(), text(1)?.into_owned()))
    };
    rows.iter().filter_map(name).collect()
}

/// What a body says that is an error; `None` for any other.
fn failure(text: &str) -> Option<Signal> {
    let limited = || Signal::RateLimited { wait: Some(BLOCKED_FOR) };
    if let Ok(failure) = json::object::<Failure>(text) {
        let is_limit = failure.error.contains("RATE_LIMIT") || failure.error.contains("ratelimit");
        return Some(if is_limit { limited() } else { Signal::Error(json::shown(&failure.error)) });
    }
    let parts = json::list(text).ok()?;
    let word = |at: usize| parts.get(at).and_then(|part| json::string(part)).unwrap_or_default();
    if word(0) != "error" {
        return None;
    }
    let code = parts.get(1).and_then(|code| json::natural(code));
    Some(match code == Some(RATE_LIMIT) || word(2).contains("ratelimit") {
        true => limited(),
        false => {
            let code = parts.get(1).map_or("none", |code| code.get());
            Signal::Error(format!("{} (code {})", json::shown(&word(2)), json::shown(code)))
        }
    })
}

fn words_of(event: &Event<'_>) -> String {
    let message = event.msg.map_or("null", RawValue::get);
    let code = event.code.map_or("none", RawValue::get);
    format!("{} (code {})", json::shown(message), json::shown(code))
}

/// The pair of a symbol, always with a colon: `BTC:USD` for `tBTCUSD`, `DOGE:USD` for `tDOGE:USD`. `None` if it is no
/// market where assets change hands: funding, or a perpetual.
fn pair_of(symbol: &str) -> Option<String> {
    let pair = with_colon(symbol.strip_prefix('t')?)?;
    let (base, counter) = pair.split_once(':')?;
    let is_perpetual = base.ends_with("F0") && counter.ends_with("F0");
    (!is_perpetual).then_some(pair)
}

/// A pair with a colon between its sides, which the exchange leaves out where both have three letters.
fn with_colon(pair: &str) -> Option<String> {
    match pair.contains(':') {
        true => Some(pair.to_owned()),
        false if pair.len() == 6 && pair.is_ascii() => Some(format!("{}:{}", &pair[..3], &pair[3..])),
        false => None,
    }
}

/// The exchange's symbol of a pair with a colon.
fn symbol_of(pair: &str) -> String {
    match pair.split_once(':') {
        Some((base, counter)) if base.len() == 3 && counter.len() == 3 => format!("t{base}{counter}"),
        _ => format!("t{pair}"),
    }
}

fn subscription(market: &Market) -> Subscription {
    let symbol = symbol_of(&market.symbol);
    let message = format!(r#"{{"event":"subscribe","channel":"ticker","symbol":"{symbol}"}}"#);
    Subscription {
        id: market.subscription_id(),
        frame: Frame::Text(message),
        directions: vec![market.direction],
    }
}

fn poll(markets: &[Market]) -> Request {
    let symbols: Vec<String> = markets.iter().map(|market| symbol_of(&market.symbol)).collect();
    Request::get(format!("/v2/tickers?symbols={}", symbols.join(",")))
}

/// Books are in dollars, Tether against the dollar among them; many assets have one in Tether too.
const HUBS: Hubs = Hubs { assumed: &[Asset::USD], on_its_word: &[Asset::USDT] };

/// The exchange's codes of three letters for assets that are known by longer ones, and some of its own.
#[rustfmt::skip]
static SPELLING: Spelling = Spelling {
    separator: ":",
    is_lower_case: false,
    aliases: &[
        ("UST", "USDT"), ("UDC", "USDC"), ("TSD", "TUSD"), ("EUT", "EURT"), ("EUS", "EURS"), ("XCH", "XCHF"),
        // Which of its two names the coin goes by here since June 2026 is for the list to say.
        ("TON", "TON"), ("GRAM", "TON"),
        ("ALG", "ALGO"), ("ATO", "ATOM"), ("BCHN", "BCH"), ("BCHABC", "XEC"), ("DAT", "DATA"), ("DSH", "DASH"),
        ("EDO", "PNT"), ("HTX", "HT"), ("IDX", "ID"), ("IOT", "IOTA"), ("IQX", "IQ"), ("MNA", "MANA"),
        ("PAS", "PASS"), ("QSH", "QASH"), ("QTM", "QTUM"), ("RBT", "RBTC"), ("SNG", "SNGLS"), ("STJ", "STORJ"),
        ("VSY", "VSYS"), ("WAX", "WAXP"), ("YYW", "YOYOW"),
        // Codes that mean another coin elsewhere, and a million DOGE in one.
        ("AMP", "AMPL"), ("DOG", "MDOGE"), ("LUNA", "LUNC"), ("LUNA2", "LUNA"), ("TERRAUST", "USTC"),
    ],
    counters: &[],
    rare_counters: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::spoken::{lines, scope};

    fn bitfinex(wanted: &str) -> Bitfinex {
        Bitfinex::new(&scope(wanted))
    }

    fn everything() -> Bitfinex {
        Bitfinex::new(&Scope::Everything)
    }

    fn hear(reader: &mut dyn Exchange, frame: &str) -> Reading {
        reader.read(Source::Socket, frame.as_bytes()).unwrap()
    }

    fn subscribed(channel: &str, number: u64, symbol: &str) -> String {
        format!(
            r#"{{"event":"subscribed","channel":"{channel}","chanId":{number},"symbol":"{symbol}","pair":"x"}}"#
        )
    }

    const TICKER: &str = "[61000,1.5,61001,2.5,-120,-0.002,61000.5,4000.25,62000,60000]";

    #[test]
    fn a_channel_means_what_its_own_connection_has_said() {
        let plugin = bitfinex("BTC-USD,ETH-USD");
        let mut first = plugin.for_connection().unwrap();
        let mut second = plugin.for_connection().unwrap();
        let known = hear(first.as_mut(), &subscribed("ticker", 17, "tBTCUSD"));
        assert_eq!(known.signals, [Signal::Acknowledged(subscription_id("BTC:USD"))]);
        hear(second.as_mut(), &subscribed("ticker", 17, "tETHUSD"));
        let frame = format!("[17,{TICKER}]");
        assert_eq!(lines(&hear(first.as_mut(), &frame)), ["BTC-USD 61000 61001 61000.5 - -"]);
        assert_eq!(lines(&hear(second.as_mut(), &frame)), ["ETH-USD 61000 61001 61000.5 - -"]);
        hear(first.as_mut(), r#"{"event":"unsubscribed","status":"OK","chanId":17}"#);
        assert_eq!(hear(first.as_mut(), &frame), Reading::default());
    }

    #[test]
    fn a_frame_before_its_number_is_told_waits_and_only_the_last_one_does() {
        let mut reader = everything();
        assert_eq!(
            hear(&mut reader, &format!("[5,{}]", TICKER.replace("61001", "99999"))),
            Reading::default()
        );
        assert_eq!(hear(&mut reader, &format!("[5,{TICKER}]")), Reading::default());
        let reading = hear(&mut reader, &subscribed("ticker", 5, "tUSTUSD"));
        assert_eq!(lines(&reading), ["USDT-USD 61000 61001 61000.5 - -"]);
        hear(&mut reader, &format!("[6,{TICKER}]"));
        let book = hear(&mut reader, &subscribed("book", 6, "tBTCUSD"));
        assert_eq!(book, Reading::default());
        assert_eq!(hear(&mut reader, &format!("[6,{TICKER}]")), Reading::default());
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut reader = everything();
        for number in 0..10_000 {
            hear(&mut reader, &format!("[{number},{TICKER}]"));
        }
        assert_eq!(reader.early.len(), MAX_EARLY);
    }

    #[test]
    fn heartbeats_sequences_appended_numbers_and_thin_books_are_understood() {
        for (content, expected) in [
            (r#""hb""#, Ok(None)),
            (r#""hb",127"#, Ok(None)),
            (r#""te",[1,2,3]"#, Ok(None)),
            ("[1,1,2,1,0,0,1.5,1,2,1],77", Ok(Some("BTC-USD 1 2 1.5 - -"))),
            (
                "[1,1,2,1,0,0,1.5,1,2,1,null,null,1770000000000],77,1770000000000",
                Ok(Some("BTC-USD 1 2 1.5 - -")),
            ),
            ("[1e-8,1,1.2E-7,1,0,0,null,null,null,null]", Ok(Some("BTC-USD 0.00000001 0.00000012 - - -"))),
            ("[null,null,2,1,0,0,1.5,1,2,1]", Ok(Some("BTC-USD - 2 1.5 - -"))),
            ("[null,null,null,null,null,null,1.5,1,2,1]", Err(Refusal::Syntax)),
            ("[1,1,2,1,0,0,1.5,1,2]", Err(Refusal::Syntax)),
            ("[[1,1,2],[1,1,2]]", Err(Refusal::Syntax)),
            ("[]", Err(Refusal::Syntax)),
            (r#"["1",1,"x",1,0,0,1.5,1,2,1]"#, Err(Refusal::Syntax)),
        ] {
            let mut reader = everything();
            hear(&mut reader, &subscribed("ticker", 1, "tBTCUSD"));
            let reading = hear(&mut reader, &format!("[1,{content}]"));
            let refused: Vec<Refusal> = reading.refused.iter().map(|(_, refusal)| *refusal).collect();
            let (quotes, refusals) = match expected {
                Ok(quote) => (quote.into_iter().map(str::to_owned).collect::<Vec<_>>(), vec![]),
                Err(refusal) => (vec![], vec![refusal]),
            };
            assert_eq!((lines(&reading), refused), (quotes, refusals), "{content}");
        }
    }

    #[test]
    fn events_become_signals() {
        let id = subscription_id("BTC:USD");
        let refused = |words: &str| Signal::SubscriptionRefused { id, detail: words.to_owned() };
        for (frame, expected) in [
            (r#"{"event":"info","version":2,"serverId":"x","platform":{"status":1}}"#, None),
            (
                r#"{"event":"info","version":2,"platform":{"status":0}}"#,
                Some(Signal::Error("in maintenance".to_owned())),
            ),
            (
                r#"{"event":"info","code":20051,"msg":"Stopping. Please try to reconnect"}"#,
                Some(Signal::ReconnectSoon),
            ),
            (r#"{"event":"info","code":20061,"msg":"Maintenance ended"}"#, Some(Signal::ReconnectSoon)),
            (
                r#"{"event":"info","code":20060,"msg":"Maintenance"}"#,
                Some(Signal::Error(r#""Maintenance" (code 20060)"#.to_owned())),
            ),
            (
                r#"{"event":"error","msg":"symbol: invalid","code":10300,"channel":"ticker","symbol":"tBTCUSD"}"#,
                Some(refused(r#""symbol: invalid" (code 10300)"#)),
            ),
            (
                r#"{"event":"error","msg":"channel: limit","code":10305,"channel":"ticker","symbol":"tBTCUSD"}"#,
                Some(refused(r#""channel: limit" (code 10305)"#)),
            ),
            (
                r#"{"event":"error","msg":"subscribe: dup","code":10301,"channel":"ticker","symbol":"tBTCUSD"}"#,
                Some(Signal::Acknowledged(id)),
            ),
            (
                r#"{"event":"error","msg":"event: invalid","code":10000}"#,
                Some(Signal::Error(r#""event: invalid" (code 10000)"#.to_owned())),
            ),
            (r#"{"event":"pong","ts":1770000000000,"cid":1}"#, None),
            (r#"{"event":"conf","status":"OK","flags":65536}"#, None),
            (r#"{"event":7}"#, None),
        ] {
            let reading = hear(&mut bitfinex("BTC-USD"), frame);
            assert_eq!(reading.signals, expected.into_iter().collect::<Vec<_>>(), "{frame}");
            assert!(reading.quotes.is_empty() && reading.refused.is_empty());
        }
        for frame in [
            r#"{"event":"subscribed","channel":"ticker","symbol":"tBTCUSD"}"#,
            r#"["a",[1]]"#,
            "[1]",
            "[]",
            "7",
        ] {
            assert!(everything().read(Source::Socket, frame.as_bytes()).is_err(), "{frame}");
        }
    }

    #[test]
    fn symbols_with_and_without_a_colon_are_the_same_to_us() {
        for (symbol, pair) in [
            ("tBTCUSD", Some("BTC:USD")),
            ("tUSTUSD", Some("UST:USD")),
            ("tDOGE:USD", Some("DOGE:USD")),
            ("tMATIC:UST", Some("MATIC:UST")),
            ("tBTCF0:USTF0", None),
            ("fUSD", None),
            ("BTCUSD", None),
            ("t", None),
            ("t🚀🚀", None),
        ] {
            assert_eq!(pair_of(symbol).as_deref(), pair, "{symbol}");
            assert!(pair.is_none_or(|pair| symbol_of(pair) == symbol));
        }
        let plugin = everything();
        for (direction, symbol) in
            [("BTC-USDT", "tBTCUST"), ("USDC-USD", "tUDCUSD"), ("DOGE-USD", "tDOGE:USD")]
        {
            assert_eq!(plugin.symbol(direction.parse().unwrap()), symbol);
        }
    }

    #[test]
    fn a_bad_row_of_a_body_never_drops_its_siblings() {
        let body = format!(
            r#"[["tBTCUSD",{numbers}],["fUSD",0.0001,1,30,2,3,4,5,6,7,8,9,10],["tETHUSD",1,2],["tXRPUSD",{numbers}],
               {{"a":1}},["tTERRAUST:USD",{numbers}],["tBTCF0:USTF0",{numbers}],["tETHUSD",{numbers},null,null]]"#,
            numbers = TICKER.trim_matches(['[', ']']),
        );
        let reading = bitfinex("BTC-USD,ETH-USD").read(Source::Poll, body.as_bytes()).unwrap();
        assert_eq!(lines(&reading), ["BTC-USD 61000 61001 61000.5 - -", "ETH-USD 61000 61001 61000.5 - -"]);
        let refused: Vec<(&str, Refusal)> = reading.refused.iter().map(|(s, r)| (s.as_str(), *r)).collect();
        let (syntax, unexpected) = (Refusal::Syntax, Refusal::UnexpectedSymbol);
        assert_eq!(
            refused,
            [
                ("fUSD", unexpected),
                ("tETHUSD", syntax),
                ("tXRPUSD", unexpected),
                ("", syntax),
                ("tTERRAUST:USD", unexpected),
                ("tBTCF0:USTF0", unexpected),
            ]
        );
    }

    #[test]
    fn the_feed_asks_for_books_in_dollars_and_for_tether_itself() {
        let feed = bitfinex("BTC-RUB,DOGE-USD,USDTTRC-USD").feed();
        let directions: Vec<String> = feed.listens_to.iter().map(Direction::to_string).collect();
        assert_eq!(directions, ["BTC-USD", "DOGE-USD", "USDT-USD"]);
        assert_eq!(feed.polls, [Request::get("/v2/tickers?symbols=tBTCUSD,tDOGE:USD,tUSTUSD")]);
        let socket = feed.socket.unwrap();
        assert_eq!(socket.path, "/ws/2");
        let message = r#"{"event":"subscribe","channel":"ticker","symbol":"tUSTUSD"}"#;
        assert_eq!(socket.subscriptions[2].frame, Frame::Text(message.to_owned()));
    }

    #[test]
    fn no_connection_asks_for_more_channels_than_it_may_have() {
        let wanted: Vec<String> = (100..140).map(|number| format!("C{number}-USD")).collect();
        let feed = bitfinex(&wanted.join(",")).feed();
        assert_eq!(feed.socket.unwrap().subscriptions.len(), MAX_CHANNELS);
        assert_eq!((feed.listens_to.len(), feed.polls.len()), (41, 1));
    }

    #[test]
    fn the_list_of_instruments_decides_what_is_listened_to() {
        let mut bitfinex = bitfinex("BTC-USD,TON-USD,FOO-USD,YGG-USD");
        let body = r#"[["BTCUSD","BTCUST","USTUSD","GRAM:USD","YGGUSD","TESTBTC:TESTUSD","X"],
                       [["UST","USDt"],["YGG","YEED"],["BTC","BTC"],7]]"#;
        let reading = bitfinex.read(Source::Instruments, body.as_bytes()).unwrap();
        assert_eq!(reading.signals, [Signal::FeedChanged]);
        let feed = bitfinex.feed();
        let directions: Vec<String> = feed.listens_to.iter().map(Direction::to_string).collect();
        assert_eq!(directions, ["BTC-USD", "TON-USD", "USDT-USD", "BTC-USDT"]);
        assert_eq!(feed.unsupported, ["FOO-USD".parse().unwrap(), "YGG-USD".parse().unwrap()]);
        assert_eq!(feed.polls, [Request::get("/v2/tickers?symbols=tBTCUSD,tGRAM:USD,tUSTUSD,tBTCUST")]);
        for body in ["[]", "[[]]", r#"["error",11010,"ratelimit: error"]"#, r#"{"error":"ERR_RATE_LIMIT"}"#] {
            assert!(bitfinex.read(Source::Instruments, body.as_bytes()).is_err(), "{body}");
        }
        assert_eq!(bitfinex.feed(), feed);
    }

    #[test]
    fn an_error_is_no_price_whatever_its_status() {
        let limited = Signal::RateLimited { wait: Some(BLOCKED_FOR) };
        for (body, expected) in [
            (r#"["error",11010,"ratelimit: error"]"#, limited.clone()),
            (r#"{"error":"ERR_RATE_LIMIT"}"#, limited),
            (
                r#"["error",10020,"symbols: invalid"]"#,
                Signal::Error("symbols: invalid (code 10020)".to_owned()),
            ),
            (r#"{"error":"down"}"#, Signal::Error("down".to_owned())),
        ] {
            let mut plugin = bitfinex("BTC-USD");
            let reading = plugin.read(Source::Poll, body.as_bytes()).unwrap();
            assert_eq!((reading.quotes.len(), reading.signals), (0, vec![expected.clone()]));
            let poll = plugin.feed().polls[0].clone();
            assert_eq!(plugin.read_failure(&poll, 500, body.as_bytes()).signals, [expected]);
        }
    }

    #[test]
    fn a_malformed_frame_never_panics_and_never_yields_a_price() {
        let mut reader = everything();
        hear(&mut reader, &subscribed("ticker", 123, "tBTCUSD"));
        super::super::corpus::check(
            &mut reader,
            &[Source::Socket, Source::Poll, Source::Instruments, Source::Handshake],
            &[&format!("[123,{TICKER}]"), r#"[["tBTCUSD",1,1,2,1,0,0,1.5,1,2,1]]"#],
        );
    }
}
