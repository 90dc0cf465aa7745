//! KuCoin spot: the topic `/market/ticker`, and all tickers by REST.
//!
//! Where to dial is asked before every dial, with a token that is worth nothing a day later. KuCoin greets a new
//! connection, and listens only after that. A ticker comes at most ten times a second, and not before something changes.
//!
//! <https://www.kucoin.com/docs-new/3470063w0>

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::markets::{Hubs, Instrument, Market, Markets, subscription_id};
use super::symbols::Spelling;
use super::{
    ClientPing, Exchange, Feed, Frame, FrameError, KeyUse, Kind, Method, Reading, Request, Row, Scope,
    Signal, Socket, Source, Subscription, json,
};
use crate::market::{Asset, Direction, ExchangeName, Quote, Refusal};

/// The socket's address is what the handshake says; the setting `ws_url` says whether there is to be a socket, and that
/// it has to be a secure one.
pub(super) const ROW: Row = Row {
    name: ExchangeName::new("kucoin"),
    kind: Kind::Market,
    rest_url: "https://api.kucoin.com",
    ws_url: "wss://ws-api-spot.kucoin.com",
    stale_after: Duration::from_secs(5),
    poll_every: Duration::from_secs(2),
    poll_every_with_key: None,
    key: KeyUse::None,
    make: |_access, scope| Box::new(KuCoin::new(&scope)),
};

/// Time between pings unless the handshake says another. KuCoin hangs up after about a minute without one, whatever
/// else is said.
const PING_EVERY: Duration = Duration::from_secs(18);

/// Pings are sent no closer together than this, whatever the handshake says.
const MIN_PING_EVERY: Duration = Duration::from_millis(100);

/// Silence after which the link counts as dead: two pings without their pong, and some seconds for the second one.
const LINK_SILENCE: Duration = Duration::from_secs(45);

/// A token is good for a day, and so is what was dialled with it.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// KuCoin takes 100 messages in ten seconds, pings included.
const MIN_GAP: Duration = Duration::from_millis(110);

/// The beginning of the topics that are listened to: a symbol follows, or `all`.
const TOPIC: &str = "/market/ticker:";

/// What a frame of such a topic is called. With `all`, the symbol stands there instead.
const SUBJECT: &str = "trade.ticker";

/// The code of a good answer.
const GOOD: &str = "200000";

/// The code of an answer that asks for less.
const RATE_ERROR: &str = "429000";

/// A push, a greeting, a pong, or the answer to a message of ours.
#[derive(Deserialize)]
struct SocketFrame<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    topic: Option<&'a RawValue>,
    #[serde(borrow)]
    subject: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// A ticker on the socket.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pushed<'a> {
    #[serde(borrow)]
    best_bid: Option<&'a RawValue>,
    #[serde(borrow)]
    best_ask: Option<&'a RawValue>,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    #[serde(borrow)]
    sequence: Option<&'a RawValue>,
    /// Absent in the oldest form, and spelled with a capital letter in some.
    #[serde(borrow, alias = "Time")]
    time: Option<&'a RawValue>,
}

/// The envelope of every REST answer; errors come with a status of success too.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    code: &'a RawValue,
    #[serde(borrow)]
    msg: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// All tickers, which have one time in common.
#[derive(Deserialize)]
struct Tickers<'a> {
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    ticker: Vec<&'a RawValue>,
}

/// The part of a row that names it; `symbolName` beside it changes when a coin is renamed.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    symbol: &'a RawValue,
}

/// A row of all tickers. `buy` is what buyers offer, whatever the comments in old examples say. Prices of a pair that
/// nobody trades are `null`.
#[derive(Deserialize)]
struct Ticker<'a> {
    #[serde(borrow)]
    buy: Option<&'a RawValue>,
    #[serde(borrow)]
    sell: Option<&'a RawValue>,
    #[serde(borrow)]
    last: Option<&'a RawValue>,
}

/// A row of the list of symbols.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    symbol: String,
    base_currency: String,
    quote_currency: String,
    enable_trading: bool,
}

/// Where to dial.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ticket {
    token: String,
    instance_servers: Vec<Server>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Server {
    endpoint: String,
    protocol: Option<String>,
    ping_interval: Option<u64>,
}

/// The plug-in of KuCoin.
struct KuCoin {
    markets: Markets,
    /// How often it was asked where to dial: part of the name that a connection gets.
    num_tickets: u64,
}

impl KuCoin {
    fn new(scope: &Scope) -> Self {
        Self { markets: Markets::new(scope, &SPELLING, &HUBS), num_tickets: 0 }
    }

    fn read_frame(&self, text: &str) -> Result<Reading, FrameError> {
        let frame: SocketFrame<'_> = json::object(text)?;
        let mut reading = Reading::default();
        let id = frame.id.map(json::text_of).and_then(|id| id.parse().ok());
        match frame.kind.and_then(json::string).as_deref() {
            Some("message") => self.read_message(&frame, &mut reading),
            Some("welcome") => reading.signals.push(Signal::Greeted),
            Some("ack") => reading.signals.extend(id.map(Signal::Acknowledged)),
            Some("error") => {
                let words = frame.data.map(json::text_of).unwrap_or_default();
                let code = frame.code.map(json::text_of).unwrap_or_default();
                let detail = format!("{} (code {})", json::shown(&words), json::shown(&code));
                let id = id.or_else(|| refused_symbol(&words).map(subscription_id));
                reading.signals.push(match id {
                    Some(id) => Signal::SubscriptionRefused { id, detail },
                    None => Signal::Error(detail),
                });
            }
            _ => {}
        }
        Ok(reading)
    }

    fn read_message(&self, frame: &SocketFrame<'_>, reading: &mut Reading) {
        let topic = frame.topic.and_then(json::string).unwrap_or_default();
        let subject = frame.subject.and_then(json::string).unwrap_or_default();
        let symbol = match topic.strip_prefix(TOPIC) {
            Some("all") => &*subject,
            Some(symbol) if subject == SUBJECT => symbol,
            _ => return,
        };
        reading.push(symbol, self.read_pushed(symbol, frame.data));
    }

    fn read_pushed(&self, symbol: &str, data: Option<&RawValue>) -> Result<Quote, Refusal> {
        let data = data.ok_or(Refusal::Syntax)?;
        let pushed: Pushed<'_> = json::object(data.get()).map_err(|_| Refusal::Syntax)?;
        let sequence = pushed.sequence.map(json::text_of).and_then(|sequence| sequence.parse().ok());
        let sequence = Some(sequence.ok_or(Refusal::Syntax)?);
        let (bid, ask) = json::book(pushed.best_bid, pushed.best_ask)?;
        let last = json::side(pushed.price)?;
        let quoted_at = pushed.time.map(json::time_in_ms_or_text).transpose()?;
        let direction = self.markets.direction(symbol).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(Quote { bid, ask, last, quoted_at, sequence, ..Quote::empty(direction) })
    }

    fn read_body(&self, text: &str) -> Result<Reading, FrameError> {
        let mut reading = Reading::default();
        let data = match data_of(text)? {
            Ok(data) => data,
            Err(signal) => {
                reading.signals.push(signal);
                return Ok(reading);
            }
        };
        let tickers: Tickers<'_> = json::object(data.get())?;
        let time = tickers.time.filter(|time| time.get() != "null");
        for row in tickers.ticker {
            let named = json::object::<Named<'_>>(row.get()).ok();
            let symbol = named.and_then(|named| json::string(named.symbol)).unwrap_or_default();
            if symbol.is_empty() || !self.markets.leaves_out(&symbol) {
                reading.push(&symbol, self.read_ticker(&symbol, row, time));
            }
        }
        Ok(reading)
    }

    fn read_ticker(&self, symbol: &str, row: &RawValue, time: Option<&RawValue>) -> Result<Quote, Refusal> {
        let ticker: Ticker<'_> = json::object(row.get()).map_err(|_| Refusal::Syntax)?;
        let (bid, ask) = json::book(ticker.buy, ticker.sell)?;
        let last = json::side(ticker.last)?;
        let quoted_at = time.map(json::time_in_ms_or_text).transpose()?;
        let direction = self.markets.direction(symbol).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(Quote { bid, ask, last, quoted_at, ..Quote::empty(direction) })
    }

    fn read_instruments(&mut self, text: &str) -> Result<Reading, FrameError> {
        let data = match data_of(text)? {
            Ok(data) => data,
            Err(Signal::Error(detail)) => return Err(FrameError::Syntax(detail)),
            Err(signal) => return Ok(Reading { signals: vec![signal], ..Reading::default() }),
        };
        let rows = json::list(data.get())?;
        let open: Vec<Listed> =
            json::objects(&rows).filter(|listed: &Listed| listed.enable_trading).collect();
        let signals = self.markets.take_list(open.iter().map(Listed::instrument))?;
        Ok(Reading { signals, ..Reading::default() })
    }

    fn read_ticket(&mut self, text: &str) -> Result<Reading, FrameError> {
        let signal = match data_of(text)? {
            Ok(data) => {
                self.num_tickets += 1;
                let ticket: Ticket = json::object(data.get())?;
                ticket.dial(self.num_tickets)?
            }
            Err(signal) => signal,
        };
        Ok(Reading { signals: vec![signal], ..Reading::default() })
    }
}

impl Exchange for KuCoin {
    fn feed(&self) -> Feed {
        let markets = self.markets.heard();
        let ping = r#"{"id":"ping","type":"ping"}"#;
        let handshake =
            Request { method: Method::Post, path: "/api/v1/bullet-public".to_owned(), headers: Vec::new() };
        let socket = Socket {
            handshake: Some(handshake),
            path: String::new(),
            subscriptions: markets.iter().map(subscription).collect(),
            ping: Some(ClientPing { every: PING_EVERY, frame: Frame::Text(ping.to_owned()) }),
            link_silence: LINK_SILENCE,
            lifetime: Some(LIFETIME),
            min_gap: MIN_GAP,
        };
        let has_markets = !markets.is_empty();
        Feed {
            listens_to: self.markets.listens_to(),
            unsupported: self.markets.unsupported(),
            instruments: Some(Request::get("/api/v2/symbols")),
            socket: has_markets.then_some(socket),
            // The ticker of one symbol does not name it.
            polls: has_markets.then(|| Request::get("/api/v1/market/allTickers")).into_iter().collect(),
            ..Feed::default()
        }
    }

    fn read(&mut self, source: Source, bytes: &[u8]) -> Result<Reading, FrameError> {
        let text = json::text(bytes)?;
        match source {
            Source::Socket => self.read_frame(text),
            Source::Poll => self.read_body(text),
            Source::Instruments => self.read_instruments(text),
            Source::Handshake => self.read_ticket(text),
        }
    }

    fn read_failure(&mut self, _request: &Request, _status: u16, body: &[u8]) -> Reading {
        let read = json::text(body).and_then(data_of);
        let signals = read.ok().and_then(Result::err).into_iter().collect();
        Reading { signals, ..Reading::default() }
    }

    fn symbol(&self, direction: Direction) -> String {
        self.markets.symbol(direction)
    }

    fn speaks_first(&self) -> bool {
        true
    }
}

impl Listed {
    fn instrument(&self) -> Instrument<'_> {
        Instrument { symbol: &self.symbol, base: &self.base_currency, counter: &self.quote_currency }
    }
}

impl Ticket {
    /// Where to dial, at the first of the servers that speak WebSocket.
    fn dial(self, number: u64) -> Result<Signal, FrameError> {
        let speaks = |server: &Server| server.protocol.as_deref().is_none_or(|spoken| spoken == "websocket");
        let server = self.instance_servers.into_iter().find(speaks);
        let server = server.ok_or_else(|| FrameError::Syntax("no server to dial".to_owned()))?;
        let token = percent_encoding::utf8_percent_encode(&self.token, percent_encoding::NON_ALPHANUMERIC);
        let joint = if server.endpoint.contains('?') { '&' } else { '?' };
        let url = format!("{}{joint}token={token}&connectId=ratebook{number}", server.endpoint);
        let ping_every = server.ping_interval.map_or(PING_EVERY, Duration::from_millis).max(MIN_PING_EVERY);
        Ok(Signal::Dial { url, ping_every })
    }
}

/// The symbol of the topic that the words of an error name.
fn refused_symbol(words: &str) -> Option<&str> {
    let (_, rest) = words.split_once(TOPIC)?;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
    Some(&rest[..end]).filter(|symbol| !symbol.is_empty())
}

/// What an answer holds, or what its code means.
fn data_of(text: &str) -> Result<Result<&RawValue, Signal>, FrameError> {
    let body: Body<'_> = json::object(text)?;
    let code = json::text_of(body.code);
    match code.as_str() {
        GOOD => Ok(Ok(body.data.ok_or_else(|| FrameError::Syntax("no `data`".to_owned()))?)),
        RATE_ERROR => Ok(Err(Signal::RateLimited { wait: None })),
        _ => {
            let msg = body.msg.map(json::text_of).unwrap_or_default();
            Ok(Err(Signal::Error(format!("{} (code {})", json::shown(&msg), json::shown(&code)))))
        }
    }
}

/// One unknown symbol may refuse all that stand in a message with it, so each stands in its own.
fn subscription(market: &Market) -> Subscription {
    let id = market.subscription_id();
    let message = serde_json::json!({
        "id": id.to_string(),
        "type": "subscribe",
        "topic": format!("{TOPIC}{}", market.symbol),
        "privateChannel": false,
        "response": true,
    });
    Subscription { id, frame: Frame::Text(message.to_string()), directions: vec![market.direction] }
}

/// Everything trades against USDT; books in USD are used if there are any.
const HUBS: Hubs = Hubs { assumed: &[Asset::USDT], on_its_word: &[Asset::USD] };

/// TON goes by GRAM since June 2026.
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
    use crate::exchange::spoken::{lines, scope};

    fn kucoin(wanted: &str) -> KuCoin {
        KuCoin::new(&scope(wanted))
    }

    fn everything() -> KuCoin {
        KuCoin::new(&Scope::Everything)
    }

    fn pushed(topic: &str, subject: &str, data: &str) -> String {
        format!(
            r#"{{"type":"message","topic":"/market/ticker:{topic}","subject":"{subject}","data":{{{data}}}}}"#
        )
    }

    fn body(rows: &str) -> String {
        format!(r#"{{"code":"200000","data":{{"time":1790000000123,"ticker":[{rows}]}}}}"#)
    }

    const DATA: &str =
        r#""sequence":"900","price":"61000.7","bestAsk":"61000.6","bestBid":"61000.5","time":1790000000123"#;
    const ROW: &str =
        r#"{"symbol":"BTC-USDT","symbolName":"BTC-USDT","buy":"61000.5","sell":"61000.6","last":"61000.7"}"#;
    const TICKET: &str = r#"{"code":"200000","data":{"token":"a+b/c==","instanceServers":[
        {"endpoint":"https://elsewhere.example/","protocol":"http","pingInterval":1},
        {"endpoint":"wss://ws.example/endpoint","encrypt":true,"protocol":"websocket","pingInterval":9000,"pingTimeout":10000}]}}"#;

    #[test]
    fn a_ticker_is_read_in_every_form_of_its_topic_and_its_time() {
        for (frame, expected) in [
            (pushed("BTC-USDT", "trade.ticker", DATA), "1790000000123"),
            (pushed("all", "BTC-USDT", DATA), "1790000000123"),
            (pushed("BTC-USDT", "trade.ticker", &DATA.replace("time", "Time")), "1790000000123"),
            (pushed("BTC-USDT", "trade.ticker", &DATA.replace(r#","time":1790000000123"#, "")), "-"),
        ] {
            let reading = kucoin("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(lines(&reading), [format!("BTC-USDT 61000.5 61000.6 61000.7 {expected} 900")]);
        }
    }

    #[test]
    fn a_side_that_is_missing_stays_missing_and_a_price_without_a_book_is_refused() {
        for (data, expected) in [
            (r#""sequence":"1","bestBid":null,"bestAsk":"2""#, Ok("BTC-USDT - 2 - - 1")),
            (r#""sequence":"1","bestBid":"1","bestAsk":"","price":"1.5""#, Ok("BTC-USDT 1 - 1.5 - 1")),
            (r#""sequence":1,"bestBid":"1","bestAsk":"2""#, Ok("BTC-USDT 1 2 - - 1")),
            (r#""sequence":"1","price":"1.5""#, Err(Refusal::Syntax)),
            (r#""sequence":"1","bestBid":null,"bestAsk":null,"price":"1.5""#, Err(Refusal::Syntax)),
            (r#""sequence":"x","bestBid":"1","bestAsk":"2""#, Err(Refusal::Syntax)),
            (r#""bestBid":"1","bestAsk":"2""#, Err(Refusal::Syntax)),
            (r#""sequence":"1","bestBid":"invalid","bestAsk":"2""#, Err(Refusal::Syntax)),
        ] {
            let frame = pushed("BTC-USDT", "trade.ticker", data);
            let reading = kucoin("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            let refused = reading.refused.first().map(|(_, refusal)| *refusal);
            match expected {
                Ok(quote) => assert_eq!(lines(&reading), [quote], "{frame}"),
                Err(refusal) => assert_eq!((lines(&reading), refused), (vec![], Some(refusal)), "{frame}"),
            }
        }
        let unexpected = pushed("ETH-USDT", "trade.ticker", DATA);
        let reading = kucoin("BTC-USD").read(Source::Socket, unexpected.as_bytes()).unwrap();
        assert_eq!(reading.refused, [("ETH-USDT".to_owned(), Refusal::UnexpectedSymbol)]);
    }

    #[test]
    fn other_topics_and_pongs_say_nothing() {
        for frame in [
            r#"{"id":"ping","type":"pong"}"#.to_owned(),
            r#"{"id":"x","type":"ack"}"#.to_owned(),
            r#"{"id":"x","type":"unknown"}"#.to_owned(),
            r#"{"type":"message","topic":"/market/ticker","subject":"trade.ticker","data":{"price":"1"}}"#.to_owned(),
            r#"{"type":"message","topic":"/market/match:BTC-USDT","subject":"trade.l3match","data":{"price":"1","sequence":"1"}}"#.to_owned(),
            pushed("BTC-USDT", "trade.futures", DATA),
            "{}".to_owned(),
        ] {
            let reading = kucoin("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(reading, Reading::default(), "{frame}");
        }
    }

    #[test]
    fn control_frames_become_signals() {
        let refused = |id, detail: &str| Signal::SubscriptionRefused { id, detail: detail.to_owned() };
        for (frame, expected) in [
            (r#"{"id":"hQvf8jkno","type":"welcome"}"#, Signal::Greeted),
            (r#"{"id":"12","type":"ack"}"#, Signal::Acknowledged(12)),
            (
                r#"{"id":"12","type":"error","code":404,"data":"topic is not found"}"#,
                refused(12, "topic is not found (code 404)"),
            ),
            (
                r#"{"type":"error","code":"404","data":"topic /market/ticker:FOO-USDT is not found"}"#,
                refused(subscription_id("FOO-USDT"), "topic /market/ticker:FOO-USDT is not found (code 404)"),
            ),
            (
                r#"{"type":"error","code":401,"data":"token is expired"}"#,
                Signal::Error("token is expired (code 401)".to_owned()),
            ),
        ] {
            let reading = kucoin("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(reading.signals, [expected], "{frame}");
        }
    }

    #[test]
    fn the_handshake_tells_where_to_dial_and_how_often_to_ping() {
        let mut kucoin = kucoin("BTC-USD");
        let socket = kucoin.feed().socket.unwrap();
        let request = socket.handshake.unwrap();
        assert_eq!((request.method, request.path.as_str()), (Method::Post, "/api/v1/bullet-public"));
        for number in 1..=2 {
            let reading = kucoin.read(Source::Handshake, TICKET.as_bytes()).unwrap();
            let url = format!("wss://ws.example/endpoint?token=a%2Bb%2Fc%3D%3D&connectId=ratebook{number}");
            assert_eq!(reading.signals, [Signal::Dial { url, ping_every: Duration::from_secs(9) }]);
        }
        for bad in [
            r#"{"code":"200000","data":{"token":"t","instanceServers":[]}}"#,
            r#"{"code":"200000","data":{"instanceServers":[{"endpoint":"wss://e"}]}}"#,
            r#"{"code":"200000"}"#,
            "<html>",
        ] {
            assert!(kucoin.read(Source::Handshake, bad.as_bytes()).is_err(), "{bad}");
        }
        let refused = r#"{"code":"400302","msg":"Our services are unavailable in your region"}"#;
        let reading = kucoin.read(Source::Handshake, refused.as_bytes()).unwrap();
        let words = "Our services are unavailable in your region (code 400302)";
        assert_eq!(reading.signals, [Signal::Error(words.to_owned())]);
    }

    #[test]
    fn every_symbol_is_asked_for_by_a_message_of_its_own() {
        let feed = kucoin("BTC-RUB,ETH-USD").feed();
        assert!(kucoin("BTC-USD").speaks_first(), "subscriptions wait for its welcome");
        let socket = feed.socket.unwrap();
        let id = subscription_id("BTC-USDT");
        let message = format!(
            r#"{{"id":"{id}","privateChannel":false,"response":true,"topic":"/market/ticker:BTC-USDT","type":"subscribe"}}"#
        );
        assert_eq!(socket.subscriptions[0].frame, Frame::Text(message));
        assert_eq!((socket.subscriptions[0].id, socket.subscriptions.len()), (id, 2));
        let nothing = kucoin("USD-RUB").feed();
        assert_eq!((nothing.socket, nothing.polls), (None, vec![]));
    }

    #[test]
    fn a_body_of_all_markets_gives_what_was_asked_for_and_a_bad_row_never_drops_its_siblings() {
        let rows = format!(
            r#"{},{{"symbol":"ETH-USDT","buy":null,"sell":null,"last":"3"}},null,{ROW}"#,
            ROW.replace("BTC-USDT", "XRP-USDT"),
        );
        let reading = kucoin("BTC-USD,ETH-USD").read(Source::Poll, body(&rows).as_bytes()).unwrap();
        assert_eq!(lines(&reading), ["BTC-USDT 61000.5 61000.6 61000.7 1790000000123 -"]);
        let refused = [("ETH-USDT".to_owned(), Refusal::Syntax), (String::new(), Refusal::Syntax)];
        assert_eq!(reading.refused, refused);
    }

    #[test]
    fn an_error_is_no_price_whatever_the_status() {
        for (body, expected) in [
            (r#"{"code":"429000","msg":"Too many requests"}"#, Signal::RateLimited { wait: None }),
            (
                r#"{"code":"500000","msg":"Internal Server Error"}"#,
                Signal::Error("Internal Server Error (code 500000)".to_owned()),
            ),
        ] {
            let mut kucoin = kucoin("BTC-USD");
            let poll = kucoin.feed().polls.remove(0);
            assert_eq!(
                kucoin.read(Source::Poll, body.as_bytes()).unwrap().signals,
                std::slice::from_ref(&expected)
            );
            assert_eq!(kucoin.read_failure(&poll, 400, body.as_bytes()).signals, [expected], "{body}");
            assert_eq!(kucoin.read_failure(&poll, 403, b"<html>"), Reading::default());
        }
    }

    #[test]
    fn the_list_of_symbols_decides_what_is_listened_to() {
        let mut kucoin = kucoin("BTC-USD,TON-USD,FOO-USD");
        let listed = |base: &str, is_open: bool| {
            format!(
                r#"{{"symbol":"{base}-USDT","baseCurrency":"{base}","quoteCurrency":"USDT","enableTrading":{is_open}}}"#
            )
        };
        let rows = [listed("BTC", true), listed("GRAM", true), listed("TON", false), listed("FOO", false)];
        let list = format!(r#"{{"code":"200000","data":[{}]}}"#, rows.join(","));
        let reading = kucoin.read(Source::Instruments, list.as_bytes()).unwrap();
        assert_eq!(reading.signals, [Signal::FeedChanged]);
        let feed = kucoin.feed();
        let directions: Vec<String> = feed.listens_to.iter().map(Direction::to_string).collect();
        assert_eq!(directions, ["BTC-USDT", "TON-USDT"]);
        assert_eq!(feed.unsupported, ["FOO-USDT".parse().unwrap()]);
        let empty = br#"{"code":"200000","data":[]}"#;
        assert!(kucoin.read(Source::Instruments, empty).is_err());
        assert_eq!(kucoin.feed(), feed);
    }

    #[test]
    fn a_malformed_frame_never_panics_and_never_yields_a_price() {
        super::super::corpus::check(
            &mut everything(),
            &[Source::Socket, Source::Poll, Source::Instruments, Source::Handshake],
            &[&pushed("BTC-USDT", "trade.ticker", DATA), &body(ROW)],
        );
    }
}
