//! Gate spot, API v4: `spot.book_ticker`, and tickers by REST.
//!
//! A message of the client has to tell the time, within a minute of Gate's own. A subscription fails as a whole if
//! one of its pairs does not exist, so each pair has a message of its own. Nothing is pushed on subscribing; a frame
//! comes when the best price or its quantity changes.
//!
//! <https://www.gate.com/docs/developers/apiv4/ws/en/>

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::markets::{Hubs, Instrument, Market, Markets, subscription_id};
use super::symbols::Spelling;
use super::{
    ClientPing, Exchange, Feed, Frame, FrameError, KeyUse, Kind, Reading, Request, Row, Scope, Signal,
    Socket, Source, Subscription, TIME_OF_SENDING, json,
};
use crate::market::{Asset, Direction, ExchangeName, Quote, Refusal};

pub(super) const ROW: Row = Row {
    name: ExchangeName::new("gate"),
    kind: Kind::Market,
    rest_url: "https://api.gateio.ws",
    ws_url: "wss://api.gateio.ws",
    stale_after: Duration::from_secs(5),
    poll_every: Duration::from_secs(2),
    poll_every_with_key: None,
    key: KeyUse::None,
    make: |_access, scope| Box::new(Gate::new(&scope)),
};

/// Pairs up to which each is polled by itself. A ticker can be asked for one pair or for all of them, which are about
/// 2,500 and a megabyte; twenty requests every two seconds are half of the documented 200 within ten.
const MAX_POLLS: usize = 20;

/// Silence after which the link counts as dead. Our pings are answered every 15 s, so three missed ones.
const LINK_SILENCE: Duration = Duration::from_secs(50);

/// Time between our pings, which keep a quiet link from being taken for a dead one.
const PING_EVERY: Duration = Duration::from_secs(15);

/// Time between two of our messages. Gate publishes no limit; this keeps a hundred subscriptions below twenty a second.
const MIN_GAP: Duration = Duration::from_millis(50);

/// The answer to a poll of a pair that does not exist.
const UNKNOWN_PAIR: &str = "INVALID_CURRENCY_PAIR";

/// The answer that asks for less.
const TOO_MANY: &str = "TOO_MANY_REQUESTS";

/// Every frame.
#[derive(Deserialize)]
struct SocketFrame<'a> {
    #[serde(borrow)]
    channel: &'a RawValue,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    time_ms: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

/// The result of `spot.book_ticker`.
#[derive(Deserialize)]
struct BookTicker<'a> {
    /// Milliseconds since 1970 at which it was made.
    #[serde(borrow)]
    t: Option<&'a RawValue>,
    #[serde(borrow)]
    u: Option<&'a RawValue>,
    #[serde(borrow)]
    b: Option<&'a RawValue>,
    #[serde(borrow)]
    a: Option<&'a RawValue>,
}

/// A row of `spot/tickers`, and the result of `spot.tickers`.
#[derive(Deserialize)]
struct Ticker<'a> {
    #[serde(borrow)]
    last: Option<&'a RawValue>,
    #[serde(borrow)]
    lowest_ask: Option<&'a RawValue>,
    #[serde(borrow)]
    highest_bid: Option<&'a RawValue>,
}

/// The part of a row or result that names it.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, alias = "s")]
    currency_pair: &'a RawValue,
}

/// An error of the socket.
#[derive(Deserialize)]
struct SocketError<'a> {
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

/// The body of an error.
#[derive(Deserialize)]
struct Failure {
    label: String,
    #[serde(default)]
    message: String,
}

/// A row of `spot/currency_pairs`.
#[derive(Deserialize)]
struct CurrencyPair {
    id: String,
    base: String,
    quote: String,
    trade_status: String,
}

/// The plug-in of Gate.
struct Gate {
    markets: Markets,
}

impl Gate {
    fn new(scope: &Scope) -> Self {
        Self { markets: Markets::new(scope, &SPELLING, &HUBS) }
    }

    /// Whether a poll asks for every pair that there is.
    fn polls_all(&self) -> bool {
        self.markets.heard().len() > MAX_POLLS
    }

    fn polls(&self) -> Vec<Request> {
        match self.polls_all() {
            true => vec![Request::get("/api/v4/spot/tickers")],
            false => self.markets.heard().iter().map(|market| Request::get(path_of(market))).collect(),
        }
    }

    fn read_frame(&self, text: &str) -> Result<Reading, FrameError> {
        let frame: SocketFrame<'_> = json::object(text)?;
        let channel = json::string(frame.channel).unwrap_or_default();
        let event = frame.event.and_then(json::string).unwrap_or_default();
        let mut reading = Reading::default();
        match (&*event, &*channel, frame.result) {
            ("update", "spot.book_ticker", Some(result)) => {
                let symbol = symbol_of(result);
                reading.push(&symbol, self.read_book_ticker(&symbol, result));
            }
            ("update", "spot.tickers", Some(result)) => {
                let symbol = symbol_of(result);
                let quote = self.read_ticker(&symbol, result).and_then(|quote| {
                    Ok(Quote { quoted_at: frame.time_ms.map(json::time_in_ms).transpose()?, ..quote })
                });
                reading.push(&symbol, quote);
            }
            ("subscribe", "spot.book_ticker", _) => reading.signals.extend(answered(&frame)),
            _ => reading.signals.extend(frame.error.map(|error| Signal::Error(words_of(error)))),
        }
        Ok(reading)
    }

    fn read_book_ticker(&self, symbol: &str, result: &RawValue) -> Result<Quote, Refusal> {
        let ticker: BookTicker<'_> = json::object(result.get()).map_err(|_| Refusal::Syntax)?;
        let sequence = ticker.u.and_then(json::natural).ok_or(Refusal::Syntax)?;
        let quoted_at = ticker.t.map(json::time_in_ms).transpose()?;
        let (bid, ask) = json::book(ticker.b, ticker.a)?;
        let direction = self.markets.direction(symbol).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(Quote { bid, ask, quoted_at, sequence: Some(sequence), ..Quote::empty(direction) })
    }

    fn read_ticker(&self, symbol: &str, row: &RawValue) -> Result<Quote, Refusal> {
        let ticker: Ticker<'_> = json::object(row.get()).map_err(|_| Refusal::Syntax)?;
        let (bid, ask) = json::book(ticker.highest_bid, ticker.lowest_ask)?;
        let last = json::side(ticker.last)?;
        let direction = self.markets.direction(symbol).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(Quote { bid, ask, last, ..Quote::empty(direction) })
    }

    fn read_body(&self, text: &str) -> Result<Reading, FrameError> {
        if !json::is_list(text) {
            let failure: Failure = json::object(text)?;
            return Ok(Reading { signals: vec![failure.signal()], ..Reading::default() });
        }
        let mut reading = Reading::default();
        for row in json::list(text)? {
            let symbol = symbol_of(row);
            if self.polls_all() && self.markets.direction(&symbol).is_none() {
                continue;
            }
            reading.push(&symbol, self.read_ticker(&symbol, row));
        }
        Ok(reading)
    }

    fn read_instruments(&mut self, text: &str) -> Result<Reading, FrameError> {
        let rows = json::list(text)?;
        let open: Vec<CurrencyPair> = json::objects(&rows).filter(CurrencyPair::is_open).collect();
        let signals = self.markets.take_list(open.iter().map(CurrencyPair::instrument))?;
        Ok(Reading { signals, ..Reading::default() })
    }
}

impl Exchange for Gate {
    fn feed(&self) -> Feed {
        let markets = self.markets.heard();
        let socket = Socket {
            handshake: None,
            path: "/ws/v4/".to_owned(),
            subscriptions: markets.iter().map(subscription).collect(),
            ping: Some(ClientPing { every: PING_EVERY, frame: ping() }),
            link_silence: LINK_SILENCE,
            lifetime: None,
            min_gap: MIN_GAP,
        };
        Feed {
            listens_to: self.markets.listens_to(),
            unsupported: self.markets.unsupported(),
            instruments: Some(Request::get("/api/v4/spot/currency_pairs")),
            socket: (!markets.is_empty()).then_some(socket),
            polls: self.polls(),
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

    fn read_failure(&mut self, request: &Request, _status: u16, body: &[u8]) -> Reading {
        let failure = json::text(body).ok().and_then(|text| json::object::<Failure>(text).ok());
        let Some(failure) = failure else { return Reading::default() };
        let alone = self.markets.heard().iter().find(|market| path_of(market) == request.path);
        match alone.map(|market| market.direction) {
            Some(direction) if failure.label == UNKNOWN_PAIR => {
                Reading { signals: self.markets.drop_market(direction), ..Reading::default() }
            }
            _ => Reading { signals: vec![failure.signal()], ..Reading::default() },
        }
    }

    fn symbol(&self, direction: Direction) -> String {
        self.markets.symbol(direction)
    }
}

impl Failure {
    fn signal(self) -> Signal {
        match self.label == TOO_MANY {
            true => Signal::RateLimited { wait: None },
            false => Signal::Error(format!("{} ({})", json::shown(&self.message), json::shown(&self.label))),
        }
    }
}

impl CurrencyPair {
    /// Whether it can be both bought and sold. One that can only be sold is about to be delisted, and one that can
    /// only be bought is not a market yet.
    fn is_open(&self) -> bool {
        self.trade_status == "tradable"
    }

    fn instrument(&self) -> Instrument<'_> {
        Instrument { symbol: &self.id, base: &self.base, counter: &self.quote }
    }
}

/// The symbol of a row or result; empty if it has none.
fn symbol_of(row: &RawValue) -> String {
    let named = json::object::<Named<'_>>(row.get()).ok();
    named.and_then(|named| json::string(named.currency_pair)).unwrap_or_default().into_owned()
}

/// What became of a subscription. It is known by its number or, where the answer has none, by its pair.
fn answered(frame: &SocketFrame<'_>) -> Option<Signal> {
    let by_pair = || {
        let pairs = json::list(frame.payload?.get()).ok()?;
        json::string(pairs.first()?).map(|symbol| subscription_id(&symbol))
    };
    let id = frame.id.and_then(json::natural).or_else(by_pair);
    match (id, frame.error) {
        (Some(id), Some(error)) => Some(Signal::SubscriptionRefused { id, detail: words_of(error) }),
        (None, Some(error)) => Some(Signal::Error(words_of(error))),
        (id, None) => id.map(Signal::Acknowledged),
    }
}

fn words_of(error: &RawValue) -> String {
    let said = json::object::<SocketError<'_>>(error.get()).ok();
    let code = said.as_ref().and_then(|said| said.code).map_or("none", RawValue::get);
    let message = said.as_ref().and_then(|said| said.message).map_or(error.get(), RawValue::get);
    format!("{} (code {})", json::shown(message), json::shown(code))
}

fn subscription(market: &Market) -> Subscription {
    let (id, symbol) = (market.subscription_id(), &market.symbol);
    let message = format!(
        r#"{{"time":{TIME_OF_SENDING},"id":{id},"channel":"spot.book_ticker","event":"subscribe","payload":["{symbol}"]}}"#
    );
    Subscription { id, frame: Frame::Timed(message), directions: vec![market.direction] }
}

fn ping() -> Frame {
    Frame::Timed(format!(r#"{{"time":{TIME_OF_SENDING},"channel":"spot.ping"}}"#))
}

fn path_of(market: &Market) -> String {
    format!("/api/v4/spot/tickers?currency_pair={}", market.symbol)
}

/// Everything trades against USDT; there is no book in a fiat currency.
const HUBS: Hubs = Hubs { assumed: &[Asset::USDT], on_its_word: &[] };

/// TON goes by GRAM since June 2026.
static SPELLING: Spelling = Spelling {
    separator: "_",
    is_lower_case: false,
    aliases: &[("GRAM", "TON")],
    counters: &[],
    rare_counters: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::spoken::{lines, scope};

    fn gate(wanted: &str) -> Gate {
        Gate::new(&scope(wanted))
    }

    fn everything() -> Gate {
        Gate::new(&Scope::Everything)
    }

    fn update(result: &str) -> String {
        format!(
            r#"{{"time":1770000000,"time_ms":1770000000456,"channel":"spot.book_ticker","event":"update","result":{result}}}"#
        )
    }

    #[test]
    fn a_book_ticker_is_read_with_its_own_time_and_number() {
        let frame = update(
            r#"{"t":1770000000123,"u":512,"s":"BTC_USDT","b":"61000.5","B":"0.2","a":"61000.6","A":"1.5"}"#,
        );
        let reading = gate("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
        assert_eq!(lines(&reading), ["BTC-USDT 61000.5 61000.6 - 1770000000123 512"]);
        assert!(reading.refused.is_empty() && reading.signals.is_empty());
    }

    #[test]
    fn a_side_that_is_missing_stays_missing_and_a_row_that_is_no_book_is_refused() {
        for (result, expected) in [
            (
                r#"{"t":1,"u":1,"s":"BTC_USDT","b":"","B":"0","a":"61000","A":"1"}"#,
                Ok("BTC-USDT - 61000 - 1 1"),
            ),
            (r#"{"u":1,"s":"BTC_USDT","b":"61000","a":null}"#, Ok("BTC-USDT 61000 - - - 1")),
            (r#"{"t":1,"u":1,"s":"BTC_USDT","b":"0","a":"0"}"#, Ok("BTC-USDT 0 0 - 1 1")),
            (r#"{"t":1,"u":1,"s":"BTC_USDT","b":"","a":""}"#, Err(Refusal::Syntax)),
            (r#"{"t":1,"u":1,"s":"BTC_USDT"}"#, Err(Refusal::Syntax)),
            (r#"{"t":1,"s":"BTC_USDT","b":"1","a":"2"}"#, Err(Refusal::Syntax)),
            (r#"{"t":"now","u":1,"s":"BTC_USDT","b":"1","a":"2"}"#, Err(Refusal::Syntax)),
            (r#"{"t":1,"u":1,"s":"BTC_USDT","b":"NaN","a":"2"}"#, Err(Refusal::Syntax)),
            (r#"{"t":1,"u":1,"s":"BTC_USDT","b":[["1","2"]],"a":[]}"#, Err(Refusal::Syntax)),
            (r#"{"t":1,"u":1,"s":"BTC3L_USDT","b":"1","a":"2"}"#, Err(Refusal::UnexpectedSymbol)),
            (r#"{"t":1,"u":1,"s":"btc_usdt","b":"1","a":"2"}"#, Err(Refusal::UnexpectedSymbol)),
            (r#"{"t":1,"u":1,"s":7,"b":"1","a":"2"}"#, Err(Refusal::UnexpectedSymbol)),
            (r#"["BTC_USDT","1","2"]"#, Err(Refusal::Syntax)),
        ] {
            let reading = gate("BTC-USD").read(Source::Socket, update(result).as_bytes()).unwrap();
            let refused = reading.refused.first().map(|(_, refusal)| *refusal);
            match expected {
                Ok(quote) => assert_eq!(lines(&reading), [quote], "{result}"),
                Err(refusal) => assert_eq!((lines(&reading), refused), (vec![], Some(refusal)), "{result}"),
            }
        }
    }

    #[test]
    fn other_channels_and_events_say_nothing() {
        for frame in [
            r#"{"time":1,"channel":"spot.pong","event":"","error":null,"result":null}"#,
            r#"{"time":1,"channel":"spot.trades","event":"update","result":{"currency_pair":"BTC_USDT","price":"1"}}"#,
            r#"{"time":1,"channel":"spot.order_book_update","event":"update","result":{"t":1,"u":2,"s":"BTC_USDT","b":[["1","2"]],"a":[["3","4"]]}}"#,
            r#"{"time":1,"channel":"spot.order_book","event":"update","result":{"t":1,"s":"BTC_USDT","bids":[],"asks":[]}}"#,
            r#"{"time":1,"channel":"spot.book_ticker","event":"unsubscribe","result":{"status":"success"}}"#,
            r#"{"time":1,"channel":"spot.book_ticker","event":"subscribe","error":null,"result":{"status":"success"}}"#,
            r#"{"time":1,"channel":"spot.book_ticker","event":"update","result":null}"#,
            r#"{"channel":7}"#,
        ] {
            let reading = gate("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(reading, Reading::default(), "{frame}");
        }
    }

    #[test]
    fn an_answer_is_known_by_its_number_or_by_its_pair() {
        let id = subscription_id("BTC_USDT");
        let refused = Signal::SubscriptionRefused {
            id: 7,
            detail: r#""unknown currency pair: FOO_USDT" (code 2)"#.to_owned(),
        };
        for (rest, expected) in [
            (
                r#""id":7,"event":"subscribe","error":null,"result":{"status":"success"}"#,
                Signal::Acknowledged(7),
            ),
            (
                r#""event":"subscribe","payload":["BTC_USDT"],"result":{"status":"success"}"#,
                Signal::Acknowledged(id),
            ),
            (
                r#""id":7,"event":"subscribe","error":{"code":2,"message":"unknown currency pair: FOO_USDT"},"result":null"#,
                refused,
            ),
            (
                r#""event":"subscribe","error":{"code":1,"message":"invalid body"}"#,
                Signal::Error(r#""invalid body" (code 1)"#.to_owned()),
            ),
            (r#""event":"","error":"down""#, Signal::Error(r#""down" (code none)"#.to_owned())),
        ] {
            let frame = format!(r#"{{"time":1,"channel":"spot.book_ticker",{rest}}}"#);
            let reading = gate("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(reading.signals, [expected], "{frame}");
            assert!(reading.quotes.is_empty() && reading.refused.is_empty());
        }
    }

    #[test]
    fn a_bad_row_of_a_body_never_drops_its_siblings() {
        let body = r#"[
            {"currency_pair":"BTC_USDT","last":"1.55","lowest_ask":"1.60","highest_bid":"1.50"},
            {"currency_pair":"ETH_USDT","last":"1","lowest_ask":"$1","highest_bid":"2"},
            {"currency_pair":"ETH_USDT","last":"46000"},
            {"currency_pair":"XRP_USDT","last":"1","lowest_ask":"1","highest_bid":"2"},
            ["BTC_USDT","1","2"],
            7,
            {"currency_pair":"ETH_USDT","last":"","lowest_ask":"4","highest_bid":"3"}
        ]"#;
        let reading = gate("BTC-USD,ETH-USD").read(Source::Poll, body.as_bytes()).unwrap();
        assert_eq!(lines(&reading), ["BTC-USDT 1.5 1.6 1.55 - -", "ETH-USDT 3 4 - - -"]);
        let refused: Vec<(&str, Refusal)> = reading.refused.iter().map(|(s, r)| (s.as_str(), *r)).collect();
        let syntax = Refusal::Syntax;
        assert_eq!(
            refused,
            [
                ("ETH_USDT", syntax),
                ("ETH_USDT", syntax),
                ("XRP_USDT", Refusal::UnexpectedSymbol),
                ("", syntax),
                ("", syntax)
            ]
        );
    }

    #[test]
    fn the_feed_asks_for_each_pair_by_itself_and_tells_the_time() {
        let feed = gate("BTC-RUB,ETH-USD,TON-USD").feed();
        let socket = feed.socket.unwrap();
        assert_eq!(socket.path, "/ws/v4/");
        assert_eq!(socket.subscriptions.len(), 3);
        let id = subscription_id("BTC_USDT");
        let message = format!(
            r#"{{"time":{{time}},"id":{id},"channel":"spot.book_ticker","event":"subscribe","payload":["BTC_USDT"]}}"#
        );
        assert_eq!(socket.subscriptions[0].frame, Frame::Timed(message));
        assert_eq!(feed.polls[2], Request::get("/api/v4/spot/tickers?currency_pair=GRAM_USDT"));
        assert!(feed.unsupported.is_empty());
        assert_eq!(feed.instruments, Some(Request::get("/api/v4/spot/currency_pairs")));
    }

    #[test]
    fn many_pairs_are_polled_by_one_request_for_all_and_the_others_in_it_are_passed_over() {
        let wanted: Vec<String> = (0..21).map(|number| format!("C{number}-USD")).collect();
        let mut gate = gate(&wanted.join(","));
        assert_eq!(gate.feed().polls, [Request::get("/api/v4/spot/tickers")]);
        let body = r#"[{"currency_pair":"XRP_USDT","lowest_ask":"2","highest_bid":"1"},
                       {"currency_pair":"C7_USDT","lowest_ask":"2","highest_bid":"1"}]"#;
        let reading = gate.read(Source::Poll, body.as_bytes()).unwrap();
        assert_eq!(lines(&reading), ["C7-USDT 1 2 - - -"]);
        assert!(reading.refused.is_empty());
    }

    #[test]
    fn without_a_market_there_is_nothing_to_dial_and_nothing_to_poll() {
        let feed = gate("USDTTRC-RUB,USD-RUB").feed();
        assert_eq!((feed.socket, feed.polls), (None, vec![]));
    }

    #[test]
    fn the_list_of_instruments_decides_what_is_listened_to() {
        let mut gate = gate("BTC-USD,TON-USD,FOO-USD,BAR-USD");
        let listed = |base: &str, status: &str| {
            format!(
                r#"{{"id":"{base}_USDT","base":"{base}","quote":"USDT","precision":2,"trade_status":"{status}"}}"#
            )
        };
        let rows = [
            listed("BTC", "tradable"),
            listed("TON", "untradable"),
            listed("GRAM", "tradable"),
            listed("FOO", "sellable"),
            r#"{"id":"BAR_USDT"}"#.to_owned(),
            listed("币安人生", "tradable"),
        ];
        let body = format!("[{}]", rows.join(","));
        let reading = gate.read(Source::Instruments, body.as_bytes()).unwrap();
        assert_eq!(reading.signals, [Signal::FeedChanged]);
        let feed = gate.feed();
        assert_eq!(feed.listens_to, ["BTC-USDT".parse().unwrap(), "TON-USDT".parse().unwrap()]);
        assert_eq!(feed.unsupported, ["FOO-USDT".parse().unwrap(), "BAR-USDT".parse().unwrap()]);
        assert_eq!(gate.read(Source::Instruments, body.as_bytes()).unwrap().signals, []);
        assert!(gate.read(Source::Instruments, b"[]").is_err());
        assert_eq!(gate.feed(), feed);
    }

    #[test]
    fn a_pair_that_a_poll_does_not_know_is_left_alone() {
        let mut gate = gate("BTC-USD,FOO-USD");
        let polls = gate.feed().polls;
        let unknown = br#"{"label":"INVALID_CURRENCY_PAIR","message":"Invalid currency pair FOO_USDT"}"#;
        assert_eq!(gate.read_failure(&polls[1], 400, unknown).signals, [Signal::FeedChanged]);
        assert_eq!(gate.feed().unsupported, ["FOO-USDT".parse().unwrap()]);
        assert_eq!(gate.feed().polls, polls[..1]);
    }

    #[test]
    fn an_error_is_no_price_whatever_its_status() {
        let limited = br#"{"label":"TOO_MANY_REQUESTS","message":"Request Rate limit Exceeded"}"#;
        let other = br#"{"label":"SERVER_ERROR","message":"oops"}"#;
        for (body, expected) in [
            (&limited[..], Signal::RateLimited { wait: None }),
            (other, Signal::Error("oops (SERVER_ERROR)".to_owned())),
        ] {
            let mut gate = gate("BTC-USD");
            let before = gate.feed();
            let reading = gate.read(Source::Poll, body).unwrap();
            assert_eq!((reading.quotes.len(), reading.signals.as_slice()), (0, &[expected.clone()][..]));
            assert_eq!(gate.read_failure(&before.polls[0], 429, body).signals, [expected]);
            assert_eq!(gate.feed(), before);
        }
        assert_eq!(everything().read_failure(&Request::get("/"), 502, b"<html>"), Reading::default());
    }

    #[test]
    fn a_malformed_frame_never_panics_and_never_yields_a_price() {
        super::super::corpus::check(
            &mut everything(),
            &[Source::Socket, Source::Poll, Source::Instruments, Source::Handshake],
            &[
                &update(r#"{"t":1,"u":512,"s":"BTC_USDT","b":"61000.5","B":"0.2","a":"61000.6","A":"1.5"}"#),
                r#"{"time":1,"channel":"spot.tickers","event":"update","result":{"currency_pair":"BTC_USDT","last":"1","lowest_ask":"3","highest_bid":"2"}}"#,
                r#"[{"currency_pair":"BTC_USDT","last":"1.5","lowest_ask":"1.60","highest_bid":"1.50"}]"#,
            ],
        );
    }
}
