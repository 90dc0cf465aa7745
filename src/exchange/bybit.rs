//! Bybit v5 spot: the best level of the order book (`orderbook.1`), and all tickers of the spot market by REST.
//!
//! Bybit's channel `tickers` has no bid and ask on the spot market. The order book of one level comes as a whole with
//! each change, and again after three seconds without one. Every symbol is asked for by a message of its own, because
//! one unknown symbol refuses all that stand in a message with it.
//!
//! <https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook>

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
    name: ExchangeName::new("bybit"),
    kind: Kind::Market,
    rest_url: "https://api.bybit.com",
    ws_url: "wss://stream.bybit.com",
    stale_after: Duration::from_secs(5),
    poll_every: Duration::from_secs(2),
    poll_every_with_key: None,
    key: KeyUse::None,
    make: |_access, scope| Box::new(Bybit::new(&scope)),
};

/// The interval that Bybit recommends. Without pings it hangs up after ten minutes, networks on the way sooner.
const PING_EVERY: Duration = Duration::from_secs(20);

/// Silence after which the link counts as dead: two pings without their pong, and some seconds for the second one.
const LINK_SILENCE: Duration = Duration::from_secs(45);

/// The beginning of the topics that are listened to: a symbol follows.
const TOPIC: &str = "orderbook.1.";

/// Codes of answers that ask for less: too many visits of a user, of a service, of an address.
const RATE_ERRORS: [i64; 3] = [10006, 10016, 10018];

/// The words of the 403 that asks for less; another 403 is of the location.
const TOO_FREQUENT: &str = "too frequent";

/// How long to stay away after it, by Bybit's own word.
const BAN: Duration = Duration::from_secs(600);

/// A push, or the answer to a message of ours.
#[derive(Deserialize)]
struct SocketFrame<'a> {
    #[serde(borrow)]
    topic: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    ts: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    op: Option<&'a RawValue>,
    #[serde(borrow)]
    success: Option<&'a RawValue>,
    #[serde(borrow)]
    ret_msg: Option<&'a RawValue>,
    #[serde(borrow)]
    req_id: Option<&'a RawValue>,
}

/// The best level of a book; a side is a list of one level, or empty.
#[derive(Deserialize)]
struct Book<'a> {
    #[serde(borrow)]
    s: Option<&'a RawValue>,
    #[serde(borrow)]
    b: Option<&'a RawValue>,
    #[serde(borrow)]
    a: Option<&'a RawValue>,
    /// Grows over all symbols of the exchange. The number `u` of a symbol begins again at 1 with a restart of the
    /// service, after which nothing would be newer than what was heard before.
    #[serde(borrow)]
    seq: Option<&'a RawValue>,
}

/// The envelope of every REST answer; errors come with a status of success too.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    ret_code: i64,
    #[serde(borrow)]
    ret_msg: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

/// What a good answer is about.
#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(borrow)]
    category: Option<&'a RawValue>,
    #[serde(borrow)]
    list: Option<&'a RawValue>,
}

/// The part of a row that names it.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    symbol: &'a RawValue,
}

/// A row of the tickers. The time of the answer is not the time of any price in it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ticker<'a> {
    #[serde(borrow)]
    bid1_price: Option<&'a RawValue>,
    #[serde(borrow)]
    ask1_price: Option<&'a RawValue>,
    #[serde(borrow)]
    last_price: Option<&'a RawValue>,
}

/// A row of the list of instruments.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    symbol: String,
    base_coin: String,
    quote_coin: String,
    status: String,
}

/// The plug-in of Bybit.
struct Bybit {
    markets: Markets,
}

impl Bybit {
    fn new(scope: &Scope) -> Self {
        Self { markets: Markets::new(scope, &SPELLING, &HUBS) }
    }

    fn read_frame(&self, text: &str) -> Result<Reading, FrameError> {
        let frame: SocketFrame<'_> = json::object(text)?;
        let mut reading = Reading::default();
        let Some(topic) = frame.topic.and_then(json::string) else {
            reading.signals.extend(read_control(&frame));
            return Ok(reading);
        };
        if let Some(symbol) = topic.strip_prefix(TOPIC) {
            reading.push(symbol, self.read_book(symbol, &frame));
        }
        Ok(reading)
    }

    fn read_book(&self, symbol: &str, frame: &SocketFrame<'_>) -> Result<Quote, Refusal> {
        // Of one level there are no changes to an earlier frame, whose missing side would be the earlier one.
        let is_whole = frame.kind.and_then(json::string).as_deref() == Some("snapshot");
        let data = frame.data.filter(|_| is_whole).ok_or(Refusal::Syntax)?;
        let book: Book<'_> = json::object(data.get()).map_err(|_| Refusal::Syntax)?;
        if book.s.and_then(json::string).as_deref() != Some(symbol) {
            return Err(Refusal::Syntax);
        }
        let (bid, ask) = json::book(best(book.b)?, best(book.a)?)?;
        let quoted_at = frame.ts.map(json::time_in_ms).transpose()?;
        let sequence = match book.seq {
            Some(seq) => Some(json::natural(seq).ok_or(Refusal::Syntax)?),
            None => None,
        };
        let direction = self.markets.direction(symbol).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(Quote { bid, ask, quoted_at, sequence, ..Quote::empty(direction) })
    }

    fn read_body(&self, text: &str) -> Result<Reading, FrameError> {
        let mut reading = Reading::default();
        let rows = match rows_of(text)? {
            Ok(rows) => rows,
            Err(signal) => {
                reading.signals.push(signal);
                return Ok(reading);
            }
        };
        for row in rows {
            let named = json::object::<Named<'_>>(row.get()).ok();
            let symbol = named.and_then(|named| json::string(named.symbol)).unwrap_or_default();
            if symbol.is_empty() || !self.markets.leaves_out(&symbol) {
                reading.push(&symbol, self.read_ticker(&symbol, row));
            }
        }
        Ok(reading)
    }

    fn read_ticker(&self, symbol: &str, row: &RawValue) -> Result<Quote, Refusal> {
        let ticker: Ticker<'_> = json::object(row.get()).map_err(|_| Refusal::Syntax)?;
        let (bid, ask) = json::book(ticker.bid1_price, ticker.ask1_price)?;
        let last = json::side(ticker.last_price)?;
        let direction = self.markets.direction(symbol).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(Quote { bid, ask, last, ..Quote::empty(direction) })
    }

    fn read_instruments(&mut self, text: &str) -> Result<Reading, FrameError> {
        let rows = match rows_of(text)? {
            Ok(rows) => rows,
            Err(Signal::Error(detail)) => return Err(FrameError::Syntax(detail)),
            Err(signal) => return Ok(Reading { signals: vec![signal], ..Reading::default() }),
        };
        let open: Vec<Listed> = json::objects(&rows).filter(Listed::is_open).collect();
        let signals = self.markets.take_list(open.iter().map(Listed::instrument))?;
        Ok(Reading { signals, ..Reading::default() })
    }
}

impl Exchange for Bybit {
    fn feed(&self) -> Feed {
        let markets = self.markets.heard();
        let ping = r#"{"req_id":"ping","op":"ping"}"#;
        let socket = Socket {
            handshake: None,
            path: "/v5/public/spot".to_owned(),
            subscriptions: markets.iter().map(subscription).collect(),
            ping: Some(ClientPing { every: PING_EVERY, frame: Frame::Text(ping.to_owned()) }),
            link_silence: LINK_SILENCE,
            lifetime: None,
            min_gap: Duration::ZERO,
        };
        let has_markets = !markets.is_empty();
        let poll = Request::get("/v5/market/tickers?category=spot");
        Feed {
            listens_to: self.markets.listens_to(),
            unsupported: self.markets.unsupported(),
            instruments: Some(Request::get("/v5/market/instruments-info?category=spot")),
            socket: has_markets.then_some(socket),
            polls: has_markets.then_some(poll).into_iter().collect(),
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

    fn read_failure(&mut self, _request: &Request, status: u16, body: &[u8]) -> Reading {
        let text = json::text(body).unwrap_or_default();
        let signal = match status == 403 && text.contains(TOO_FREQUENT) {
            true => Some(Signal::RateLimited { wait: Some(BAN) }),
            false => rows_of(text).ok().and_then(Result::err),
        };
        Reading { signals: signal.into_iter().collect(), ..Reading::default() }
    }

    fn symbol(&self, direction: Direction) -> String {
        self.markets.symbol(direction)
    }
}

impl Listed {
    /// The other statuses are of markets before their opening or after their end.
    fn is_open(&self) -> bool {
        self.status == "Trading"
    }

    fn instrument(&self) -> Instrument<'_> {
        Instrument { symbol: &self.symbol, base: &self.base_coin, counter: &self.quote_coin }
    }
}

/// The price of the best level of a side; `None` where nobody offers.
fn best(side: Option<&RawValue>) -> Result<Option<&RawValue>, Refusal> {
    let Some(side) = side.filter(|side| side.get() != "null") else { return Ok(None) };
    let levels = json::list(side.get()).map_err(|_| Refusal::Syntax)?;
    let Some(level) = levels.first() else { return Ok(None) };
    let level = json::list(level.get()).map_err(|_| Refusal::Syntax)?;
    level.first().copied().map(Some).ok_or(Refusal::Syntax)
}

/// Reads the answer to a message of ours. The one to a ping has the same form, and says nothing.
fn read_control(frame: &SocketFrame<'_>) -> Option<Signal> {
    let is_good = frame.success?.get() == "true";
    let id = frame.req_id.and_then(json::string).and_then(|id| id.parse().ok());
    if is_good {
        let is_subscription = frame.op.and_then(json::string).as_deref() == Some("subscribe");
        return id.filter(|_| is_subscription).map(Signal::Acknowledged);
    }
    let detail = frame.ret_msg.and_then(json::string).unwrap_or_default();
    let id = id.or_else(|| refused_symbol(&detail).map(subscription_id));
    let detail = json::shown(&detail);
    Some(match id {
        Some(id) => Signal::SubscriptionRefused { id, detail },
        None => Signal::Error(detail),
    })
}

/// The symbol of the topic that the words of a refusal name; they do not always come with the number of the message.
fn refused_symbol(detail: &str) -> Option<&str> {
    let (_, rest) = detail.split_once(TOPIC)?;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
    Some(&rest[..end]).filter(|symbol| !symbol.is_empty())
}

/// The rows of an answer about the spot market, or what its code means.
fn rows_of(text: &str) -> Result<Result<Vec<&RawValue>, Signal>, FrameError> {
    let body: Body<'_> = json::object(text)?;
    if body.ret_code != 0 {
        return Ok(Err(match RATE_ERRORS.contains(&body.ret_code) {
            true => Signal::RateLimited { wait: None },
            false => {
                let msg = body.ret_msg.and_then(json::string).unwrap_or_default();
                Signal::Error(format!("{} (code {})", json::shown(&msg), body.ret_code))
            }
        }));
    }
    let missing = |what: &str| FrameError::Syntax(format!("no {what}"));
    let outcome: Outcome<'_> = json::object(body.result.ok_or_else(|| missing("`result`"))?.get())?;
    // A contract may have the name of a market: `BTCUSDT` is both.
    if outcome.category.and_then(json::string).as_deref() != Some("spot") {
        return Err(missing("list of the spot market"));
    }
    Ok(Ok(json::list(outcome.list.ok_or_else(|| missing("`list`"))?.get())?))
}

fn subscription(market: &Market) -> Subscription {
    let id = market.subscription_id();
    let topic = format!("{TOPIC}{}", market.symbol);
    let message = serde_json::json!({ "req_id": id.to_string(), "op": "subscribe", "args": [topic] });
    Subscription { id, frame: Frame::Text(message.to_string()), directions: vec![market.direction] }
}

/// Everything trades against USDT; books in USD are used if there are any.
const HUBS: Hubs = Hubs { assumed: &[Asset::USDT], on_its_word: &[Asset::USD] };

/// TON goes by GRAM since June 2026. Before that, GRAM was another coin here.
static SPELLING: Spelling = Spelling {
    separator: "",
    is_lower_case: false,
    aliases: &[("GRAM", "TON")],
    counters: &[
        "USDT", "USDC", "USDE", "USDQ", "USD1", "DAI", "BTC", "ETH", "SOL", "MNT", "EUR", "EURQ", "BRL",
        "BRZ", "TRY", "PLN", "RUB",
    ],
    rare_counters: &["USD"],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::spoken::{lines, scope};

    fn bybit(wanted: &str) -> Bybit {
        Bybit::new(&scope(wanted))
    }

    fn everything() -> Bybit {
        Bybit::new(&Scope::Everything)
    }

    fn pushed(symbol: &str, kind: &str, sides: &str) -> String {
        format!(
            r#"{{"topic":"orderbook.1.{symbol}","ts":1790000000123,"type":"{kind}","data":{{"s":"{symbol}",{sides},"u":7,"seq":900}},"cts":1790000000120}}"#
        )
    }

    fn body(rows: &str) -> String {
        format!(
            r#"{{"retCode":0,"retMsg":"OK","result":{{"category":"spot","list":[{rows}]}},"retExtInfo":{{}},"time":1790000000123}}"#
        )
    }

    const SIDES: &str = r#""b":[["61000.5","0.2"]],"a":[["61000.6","1"]]"#;
    const ROW: &str =
        r#"{"symbol":"BTCUSDT","bid1Price":"61000.5","ask1Price":"61000.6","lastPrice":"61000.7"}"#;

    #[test]
    fn a_whole_book_is_read_whatever_the_order_of_its_fields() {
        let frame = pushed("BTCUSDT", "snapshot", SIDES);
        let reading = bybit("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
        assert_eq!(lines(&reading), ["BTC-USDT 61000.5 61000.6 - 1790000000123 900"]);
        let other = r#"{"data":{"a":[["2","1"]],"b":[["1","1"]],"seq":1,"s":"BTCUSDT"},"type":"snapshot","topic":"orderbook.1.BTCUSDT"}"#;
        let reading = bybit("BTC-USD").read(Source::Socket, other.as_bytes()).unwrap();
        assert_eq!(lines(&reading), ["BTC-USDT 1 2 - - 1"]);
    }

    #[test]
    fn an_empty_side_stays_missing_and_what_is_no_whole_book_is_refused() {
        for (kind, sides, expected) in [
            ("snapshot", r#""b":[],"a":[["2","1"]]"#, Ok("BTC-USDT - 2 - 1790000000123 900")),
            ("snapshot", r#""b":[["1","1"]]"#, Ok("BTC-USDT 1 - - 1790000000123 900")),
            ("snapshot", r#""b":[],"a":[]"#, Err(Refusal::Syntax)),
            ("snapshot", r#""b":[[]],"a":[["2","1"]]"#, Err(Refusal::Syntax)),
            ("snapshot", r#""b":["1","1"],"a":[["2","1"]]"#, Err(Refusal::Syntax)),
            ("snapshot", r#""b":[["x","1"]],"a":[["2","1"]]"#, Err(Refusal::Syntax)),
            ("delta", SIDES, Err(Refusal::Syntax)),
            ("delta", r#""b":[["61000.5","0"]],"a":[]"#, Err(Refusal::Syntax)),
        ] {
            let frame = pushed("BTCUSDT", kind, sides);
            let reading = bybit("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            let refused = reading.refused.first().map(|(_, refusal)| *refusal);
            match expected {
                Ok(quote) => assert_eq!(lines(&reading), [quote], "{frame}"),
                Err(refusal) => assert_eq!((lines(&reading), refused), (vec![], Some(refusal)), "{frame}"),
            }
        }
        let of_another = pushed("BTCUSDT", "snapshot", SIDES).replace(r#""s":"BTCUSDT""#, r#""s":"ETHUSDT""#);
        assert!(everything().read(Source::Socket, of_another.as_bytes()).unwrap().quotes.is_empty());
        let unexpected = pushed("ETHUSDT", "snapshot", SIDES);
        let reading = bybit("BTC-USD").read(Source::Socket, unexpected.as_bytes()).unwrap();
        assert_eq!(reading.refused, [("ETHUSDT".to_owned(), Refusal::UnexpectedSymbol)]);
    }

    #[test]
    fn other_topics_and_pongs_say_nothing() {
        for frame in [
            r#"{"success":true,"ret_msg":"pong","conn_id":"c","req_id":"ping","op":"ping"}"#,
            r#"{"success":true,"ret_msg":"","conn_id":"c","req_id":"","op":"subscribe"}"#,
            r#"{"topic":"tickers.BTCUSDT","ts":1,"type":"snapshot","data":{"symbol":"BTCUSDT","lastPrice":"1"}}"#,
            r#"{"topic":"orderbook.50.BTCUSDT","ts":1,"type":"snapshot","data":{"s":"BTCUSDT","b":[["1","1"]],"a":[["2","1"]],"u":1,"seq":1}}"#,
            "{}",
        ] {
            let reading = bybit("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(reading, Reading::default(), "{frame}");
        }
    }

    #[test]
    fn control_frames_become_signals() {
        let refused = |id, detail: &str| Signal::SubscriptionRefused { id, detail: detail.to_owned() };
        for (frame, expected) in [
            (
                r#"{"success":true,"ret_msg":"subscribe","conn_id":"c","req_id":"12","op":"subscribe"}"#,
                Signal::Acknowledged(12),
            ),
            (
                r#"{"success":false,"ret_msg":"Invalid symbol","conn_id":"c","req_id":"12","op":"subscribe"}"#,
                refused(12, "Invalid symbol"),
            ),
            (
                r#"{"success":false,"ret_msg":"Invalid topic: orderbook.1.FOOUSDT","conn_id":"c","op":"subscribe"}"#,
                refused(subscription_id("FOOUSDT"), "Invalid topic: orderbook.1.FOOUSDT"),
            ),
            (r#"{"success":false,"ret_msg":"Bad","op":""}"#, Signal::Error("Bad".to_owned())),
        ] {
            let reading = bybit("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(reading.signals, [expected], "{frame}");
        }
    }

    #[test]
    fn every_symbol_is_asked_for_by_a_message_of_its_own() {
        let feed = bybit("BTC-RUB,ETH-USD").feed();
        let socket = feed.socket.unwrap();
        let id = subscription_id("BTCUSDT");
        let message = format!(r#"{{"args":["orderbook.1.BTCUSDT"],"op":"subscribe","req_id":"{id}"}}"#);
        assert_eq!(socket.subscriptions[0].frame, Frame::Text(message));
        assert_eq!((socket.subscriptions[0].id, socket.subscriptions.len()), (id, 2));
        assert_eq!(feed.polls, [Request::get("/v5/market/tickers?category=spot")]);
        let nothing = bybit("USD-RUB").feed();
        assert_eq!((nothing.socket, nothing.polls), (None, vec![]));
    }

    #[test]
    fn a_body_of_all_markets_gives_what_was_asked_for_and_a_bad_row_never_drops_its_siblings() {
        let rows = format!(
            r#"{},{{"symbol":"ETHUSDT","bid1Price":"$1","ask1Price":"2"}},null,{{"symbol":"ETHUSDT","lastPrice":"3"}},{ROW}"#,
            ROW.replace("BTCUSDT", "XRPUSDT"),
        );
        let reading = bybit("BTC-USD,ETH-USD").read(Source::Poll, body(&rows).as_bytes()).unwrap();
        assert_eq!(lines(&reading), ["BTC-USDT 61000.5 61000.6 61000.7 - -"]);
        assert_eq!(reading.refused.len(), 3);
        assert!(reading.refused.iter().all(|(_, refusal)| *refusal == Refusal::Syntax));
    }

    #[test]
    fn contracts_are_no_markets_though_they_have_the_same_names() {
        for category in ["linear", "inverse", ""] {
            let body = body(ROW).replace(r#""spot""#, &format!(r#""{category}""#));
            assert!(everything().read(Source::Poll, body.as_bytes()).is_err(), "{category}");
        }
    }

    #[test]
    fn errors_and_requests_for_less_are_told_apart() {
        let mut bybit = bybit("BTC-USD");
        let poll = bybit.feed().polls.remove(0);
        for (status, body, expected) in [
            (403, "403, access too frequent", vec![Signal::RateLimited { wait: Some(BAN) }]),
            (403, "<html>configured to block access from your country</html>", vec![]),
            (
                200,
                r#"{"retCode":10006,"retMsg":"Too many visits!","result":{}}"#,
                vec![Signal::RateLimited { wait: None }],
            ),
            (
                400,
                r#"{"retCode":10001,"retMsg":"params error","result":{}}"#,
                vec![Signal::Error("params error (code 10001)".to_owned())],
            ),
        ] {
            assert_eq!(bybit.read_failure(&poll, status, body.as_bytes()).signals, expected, "{body}");
            if body.starts_with('{') {
                assert_eq!(bybit.read(Source::Poll, body.as_bytes()).unwrap().signals, expected, "{body}");
            }
        }
        let busy = r#"{"retCode":10016,"retMsg":"Server error","result":{}}"#;
        let reading = bybit.read(Source::Instruments, busy.as_bytes()).unwrap();
        assert_eq!(reading.signals, [Signal::RateLimited { wait: None }]);
    }

    #[test]
    fn the_list_of_instruments_decides_what_is_listened_to() {
        let mut bybit = bybit("BTC-USD,TON-USD,FOO-USD");
        let listed = |base: &str, status: &str| {
            format!(r#"{{"symbol":"{base}USDT","baseCoin":"{base}","quoteCoin":"USDT","status":"{status}"}}"#)
        };
        let rows = [listed("BTC", "Trading"), listed("GRAM", "Trading"), listed("FOO", "PreLaunch")];
        let list = body(&rows.join(","));
        let reading = bybit.read(Source::Instruments, list.as_bytes()).unwrap();
        assert_eq!(reading.signals, [Signal::FeedChanged]);
        let feed = bybit.feed();
        let directions: Vec<String> = feed.listens_to.iter().map(Direction::to_string).collect();
        assert_eq!(directions, ["BTC-USDT", "TON-USDT"]);
        assert_eq!(feed.unsupported, ["FOO-USDT".parse().unwrap()]);
        assert!(bybit.read(Source::Instruments, body("").as_bytes()).is_err());
        assert_eq!(bybit.feed(), feed);
    }

    #[test]
    fn a_malformed_frame_never_panics_and_never_yields_a_price() {
        super::super::corpus::check(
            &mut everything(),
            &[Source::Socket, Source::Poll, Source::Instruments, Source::Handshake],
            &[&pushed("BTCUSDT", "snapshot", SIDES), &body(ROW)],
        );
    }
}
