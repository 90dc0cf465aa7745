//! OKX v5 spot: the channel `tickers`, and all tickers of the spot market by REST.
//!
//! A subscription is answered with the ticker as it stands; after that one comes with each trade and each change of the
//! best prices, at most ten a second. Every symbol is asked for by a message of its own, because OKX acknowledges each
//! by itself, and refuses an unknown one in a message that names the symbol and nothing else.
//!
//! <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-tickers-channel>

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
    name: ExchangeName::new("okx"),
    kind: Kind::Market,
    rest_url: "https://www.okx.com",
    ws_url: "wss://ws.okx.com:8443",
    stale_after: Duration::from_secs(5),
    poll_every: Duration::from_secs(2),
    poll_every_with_key: None,
    key: KeyUse::None,
    make: |_access, scope| Box::new(Okx::new(&scope)),
};

/// OKX hangs up after 30 s in which it had nothing to say and heard nothing; a ping that comes late by half of its
/// interval is still in time.
const PING_EVERY: Duration = Duration::from_secs(20);

/// Silence after which the link counts as dead: two pings without their pong, and some seconds for the second one.
const LINK_SILENCE: Duration = Duration::from_secs(45);

/// The channel that is listened to.
const CHANNEL: &str = "tickers";

/// The code of a good answer.
const GOOD: &str = "0";

/// Answers that ask for less: too many requests of an address, of a user, of a group.
const RATE_ERRORS: [&str; 3] = ["50011", "50061", "50113"];

/// The notice that the connection is going to be closed, half a minute or a minute ahead.
const CLOSING_SOON: &str = "64008";

/// A push, an acknowledgement, an error or a notice.
#[derive(Deserialize)]
struct SocketFrame<'a> {
    /// What happened; a push has none.
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    arg: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    msg: Option<&'a RawValue>,
}

/// What a push or an acknowledgement is about.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Topic<'a> {
    #[serde(borrow)]
    channel: Option<&'a RawValue>,
    #[serde(borrow)]
    inst_id: Option<&'a RawValue>,
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

/// The part of a ticker that names it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named<'a> {
    #[serde(borrow)]
    inst_id: &'a RawValue,
}

/// A ticker, the same on the socket and by REST. Prices are empty strings where there is no book.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ticker<'a> {
    #[serde(borrow)]
    bid_px: Option<&'a RawValue>,
    #[serde(borrow)]
    ask_px: Option<&'a RawValue>,
    #[serde(borrow)]
    last: Option<&'a RawValue>,
    #[serde(borrow)]
    ts: Option<&'a RawValue>,
}

/// A row of the list of instruments.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    inst_id: String,
    base_ccy: String,
    quote_ccy: String,
    state: String,
}

/// The plug-in of OKX.
struct Okx {
    markets: Markets,
}

impl Okx {
    fn new(scope: &Scope) -> Self {
        Self { markets: Markets::new(scope, &SPELLING, &HUBS) }
    }

    fn read_frame(&self, text: &str) -> Result<Reading, FrameError> {
        // The answer to our ping is the one frame that is no JSON.
        if text == "pong" {
            return Ok(Reading::default());
        }
        let frame: SocketFrame<'_> = json::object(text)?;
        let mut reading = Reading::default();
        if let Some(event) = frame.event {
            let event = json::string(event).unwrap_or_default();
            reading.signals.extend(read_event(&event, &frame)?);
            return Ok(reading);
        }
        let (Some(topic), Some(data)) = (frame.arg, frame.data) else { return Ok(reading) };
        let topic: Topic<'_> = json::object(topic.get())?;
        if topic.channel.and_then(json::string).as_deref() == Some(CHANNEL) {
            for row in json::list(data.get())? {
                let symbol = symbol_of(row);
                reading.push(&symbol, self.read_ticker(&symbol, row));
            }
        }
        Ok(reading)
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
            let symbol = symbol_of(row);
            if symbol.is_empty() || !self.markets.leaves_out(&symbol) {
                reading.push(&symbol, self.read_ticker(&symbol, row));
            }
        }
        Ok(reading)
    }

    fn read_ticker(&self, symbol: &str, row: &RawValue) -> Result<Quote, Refusal> {
        let ticker: Ticker<'_> = json::object(row.get()).map_err(|_| Refusal::Syntax)?;
        let (bid, ask) = json::book(ticker.bid_px, ticker.ask_px)?;
        let last = json::side(ticker.last)?;
        let quoted_at = ticker.ts.map(json::time_in_ms_or_text).transpose()?;
        let direction = self.markets.direction(symbol).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(Quote { bid, ask, last, quoted_at, ..Quote::empty(direction) })
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

impl Exchange for Okx {
    fn feed(&self) -> Feed {
        let markets = self.markets.heard();
        let socket = Socket {
            handshake: None,
            path: "/ws/v5/public".to_owned(),
            subscriptions: markets.iter().map(subscription).collect(),
            ping: Some(ClientPing { every: PING_EVERY, frame: Frame::Text("ping".to_owned()) }),
            link_silence: LINK_SILENCE,
            lifetime: None,
            // What is limited is 480 subscriptions an hour, which one connection does not come near.
            min_gap: Duration::ZERO,
        };
        let has_markets = !markets.is_empty();
        Feed {
            listens_to: self.markets.listens_to(),
            unsupported: self.markets.unsupported(),
            instruments: Some(Request::get("/api/v5/public/instruments?instType=SPOT")),
            socket: has_markets.then_some(socket),
            // Tickers by symbol would be a request each, of which 20 are allowed in 2 s.
            polls: if has_markets {
                vec![Request::get("/api/v5/market/tickers?instType=SPOT")]
            } else {
                Vec::new()
            },
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
        let read = json::text(body).and_then(rows_of);
        let signals = read.ok().and_then(Result::err).into_iter().collect();
        Reading { signals, ..Reading::default() }
    }

    fn symbol(&self, direction: Direction) -> String {
        self.markets.symbol(direction)
    }
}

impl Listed {
    /// The other states are `suspend`, `preopen` and `test`; unknown ones are not open either.
    fn is_open(&self) -> bool {
        self.state == "live"
    }

    fn instrument(&self) -> Instrument<'_> {
        Instrument { symbol: &self.inst_id, base: &self.base_ccy, counter: &self.quote_ccy }
    }
}

/// Reads a frame that is no push.
fn read_event(event: &str, frame: &SocketFrame<'_>) -> Result<Option<Signal>, FrameError> {
    let code = frame.code.map(json::text_of).unwrap_or_default();
    match event {
        "subscribe" => {
            let Some(topic) = frame.arg else { return Ok(None) };
            let topic: Topic<'_> = json::object(topic.get())?;
            let is_ours = topic.channel.and_then(json::string).as_deref() == Some(CHANNEL);
            let symbol = topic.inst_id.and_then(json::string).filter(|_| is_ours);
            Ok(symbol.map(|symbol| Signal::Acknowledged(subscription_id(&symbol))))
        }
        "error" => {
            let msg = frame.msg.map(json::text_of).unwrap_or_default();
            let detail = format!("{} (code {})", json::shown(&msg), json::shown(&code));
            Ok(Some(match refused_symbol(&msg) {
                Some(symbol) => Signal::SubscriptionRefused { id: subscription_id(symbol), detail },
                None => Signal::Error(detail),
            }))
        }
        "notice" if code == CLOSING_SOON => Ok(Some(Signal::ReconnectSoon)),
        _ => Ok(None),
    }
}

/// The symbol that the words of an error name: `channel:tickers,instId:LTC-USD doesn't exist`.
fn refused_symbol(msg: &str) -> Option<&str> {
    let (_, rest) = msg.split_once("instId:")?;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
    Some(&rest[..end]).filter(|symbol| !symbol.is_empty())
}

/// The rows of an answer, or what its code means.
fn rows_of(text: &str) -> Result<Result<Vec<&RawValue>, Signal>, FrameError> {
    let body: Body<'_> = json::object(text)?;
    let code = json::text_of(body.code);
    if code == GOOD {
        let data = body.data.ok_or_else(|| FrameError::Syntax("no `data`".to_owned()))?;
        return Ok(Ok(json::list(data.get())?));
    }
    Ok(Err(match RATE_ERRORS.contains(&code.as_str()) {
        true => Signal::RateLimited { wait: None },
        false => {
            let msg = body.msg.map(json::text_of).unwrap_or_default();
            Signal::Error(format!("{} (code {})", json::shown(&msg), json::shown(&code)))
        }
    }))
}

fn symbol_of(row: &RawValue) -> String {
    let named = json::object::<Named<'_>>(row.get()).ok();
    named.and_then(|named| json::string(named.inst_id)).unwrap_or_default().into_owned()
}

fn subscription(market: &Market) -> Subscription {
    let argument = serde_json::json!({ "channel": CHANNEL, "instId": market.symbol });
    let message = serde_json::json!({ "op": "subscribe", "args": [argument] });
    Subscription {
        id: market.subscription_id(),
        frame: Frame::Text(message.to_string()),
        directions: vec![market.direction],
    }
}

/// Everything trades against USDT. Books in USD exist for the large assets, but not for the users of every branch, so
/// they are used only where the list of instruments has them.
const HUBS: Hubs = Hubs { assumed: &[Asset::USDT], on_its_word: &[Asset::USD] };

/// TON goes by GRAM since June 2026. Futures and swaps have a third part (`BTC-USD-SWAP`), so none is taken for a
/// market of ours.
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

    fn okx(wanted: &str) -> Okx {
        Okx::new(&scope(wanted))
    }

    fn everything() -> Okx {
        Okx::new(&Scope::Everything)
    }

    fn ticker(symbol: &str, prices: &str) -> String {
        format!(r#"{{"instType":"SPOT","instId":"{symbol}",{prices},"ts":"1790000000123"}}"#)
    }

    fn pushed(row: &str) -> String {
        format!(r#"{{"arg":{{"channel":"tickers","instId":"BTC-USDT"}},"data":[{row}]}}"#)
    }

    fn body(rows: &[&str]) -> String {
        format!(r#"{{"code":"0","msg":"","data":[{}]}}"#, rows.join(","))
    }

    fn listed(base: &str, counter: &str, state: &str) -> String {
        format!(
            r#"{{"instType":"SPOT","instId":"{base}-{counter}","baseCcy":"{base}","quoteCcy":"{counter}","state":"{state}"}}"#
        )
    }

    const PRICES: &str = r#""last":"61000.7","askPx":"61000.6","bidPx":"61000.5""#;
    const READ: &str = "BTC-USDT 61000.5 61000.6 61000.7 1790000000123 -";

    #[test]
    fn a_ticker_is_read_the_same_from_the_socket_and_from_a_body() {
        let row = ticker("BTC-USDT", PRICES);
        let mut okx = okx("BTC-USD");
        let reading = okx.read(Source::Socket, pushed(&row).as_bytes()).unwrap();
        assert_eq!(lines(&reading), [READ]);
        let reading = okx.read(Source::Poll, body(&[&row]).as_bytes()).unwrap();
        assert_eq!(lines(&reading), [READ]);
        assert!(reading.refused.is_empty() && reading.signals.is_empty());
    }

    #[test]
    fn a_side_that_is_missing_stays_missing_and_a_row_that_is_no_book_is_refused() {
        for (prices, expected) in [
            (r#""last":"","askPx":"2","bidPx":"""#, Ok("BTC-USDT - 2 - 1790000000123 -")),
            (r#""last":"1.5","askPx":"","bidPx":"1""#, Ok("BTC-USDT 1 - 1.5 1790000000123 -")),
            (r#""last":null,"askPx":null,"bidPx":"1""#, Ok("BTC-USDT 1 - - 1790000000123 -")),
            (r#""last":"1.5","askPx":"","bidPx":"""#, Err(Refusal::Syntax)),
            (r#""last":"1.5""#, Err(Refusal::Syntax)),
            (r#""last":"1.5","askPx":"NaN","bidPx":"1""#, Err(Refusal::Syntax)),
            (r#""last":"x","askPx":"2","bidPx":"1""#, Err(Refusal::Syntax)),
        ] {
            let frame = pushed(&ticker("BTC-USDT", prices));
            let reading = okx("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            let refused = reading.refused.first().map(|(_, refusal)| *refusal);
            match expected {
                Ok(quote) => assert_eq!(lines(&reading), [quote], "{prices}"),
                Err(refusal) => assert_eq!((lines(&reading), refused), (vec![], Some(refusal)), "{prices}"),
            }
        }
    }

    #[test]
    fn no_derivative_is_taken_for_a_market() {
        for symbol in ["BTC-USD-SWAP", "BTC-USD-270327", "BTC-USD-270327-90000-C", "BTC", "", "btc-usdt"] {
            let frame = pushed(&ticker(symbol, PRICES));
            let reading = everything().read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(reading.refused, [(symbol.to_owned(), Refusal::UnexpectedSymbol)]);
            assert!(reading.quotes.is_empty());
        }
    }

    #[test]
    fn other_channels_events_and_pongs_say_nothing() {
        for frame in [
            "pong",
            r#"{"arg":{"channel":"bbo-tbt","instId":"BTC-USDT"},"data":[{"asks":[["2","1","0","1"]],"bids":[["1","1","0","1"]],"ts":"1"}]}"#,
            r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","px":"1","ts":"1"}]}"#,
            r#"{"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a1"}"#,
            r#"{"event":"channel-conn-count","channel":"tickers","connCount":"2","connId":"a1"}"#,
            r#"{"event":"notice","code":"64999","msg":"Something else"}"#,
            "{}",
        ] {
            let reading = okx("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(reading, Reading::default(), "{frame}");
        }
    }

    #[test]
    fn control_frames_become_signals() {
        let refused = |detail: &str| Signal::SubscriptionRefused {
            id: subscription_id("LTC-USD"),
            detail: detail.to_owned(),
        };
        for (frame, expected) in [
            (
                r#"{"event":"subscribe","arg":{"channel":"tickers","instId":"BTC-USDT"},"connId":"a1"}"#,
                Signal::Acknowledged(subscription_id("BTC-USDT")),
            ),
            (
                r#"{"event":"subscribe","arg":{"channel":"tickers","instId":"BTC-USDT"}}"#,
                Signal::Acknowledged(subscription_id("BTC-USDT")),
            ),
            (
                r#"{"event":"error","code":"60018","msg":"Wrong channel:tickers,instId:LTC-USD doesn't exist.","connId":"a1"}"#,
                refused("Wrong channel:tickers,instId:LTC-USD doesn't exist. (code 60018)"),
            ),
            (
                r#"{"event":"error","code":"60012","msg":"Invalid request"}"#,
                Signal::Error("Invalid request (code 60012)".to_owned()),
            ),
            (r#"{"event":"notice","code":"64008","msg":"soon"}"#, Signal::ReconnectSoon),
        ] {
            let reading = okx("BTC-USD").read(Source::Socket, frame.as_bytes()).unwrap();
            assert_eq!(reading.signals, [expected], "{frame}");
            assert!(reading.quotes.is_empty() && reading.refused.is_empty());
        }
    }

    #[test]
    fn every_symbol_is_asked_for_by_a_message_that_its_acknowledgement_finds() {
        let feed = okx("BTC-RUB,ETH-USD,USDTTRC-RUB").feed();
        let directions: Vec<String> = feed.listens_to.iter().map(Direction::to_string).collect();
        assert_eq!(directions, ["BTC-USDT", "ETH-USDT"]);
        let socket = feed.socket.unwrap();
        let message = r#"{"args":[{"channel":"tickers","instId":"BTC-USDT"}],"op":"subscribe"}"#;
        assert_eq!(socket.subscriptions[0].frame, Frame::Text(message.to_owned()));
        let ids: Vec<u64> = socket.subscriptions.iter().map(|subscription| subscription.id).collect();
        assert_eq!(ids, [subscription_id("BTC-USDT"), subscription_id("ETH-USDT")]);
        assert_eq!(socket.ping.unwrap().frame, Frame::Text("ping".to_owned()));
        assert_eq!(feed.polls, [Request::get("/api/v5/market/tickers?instType=SPOT")]);
        assert_eq!(feed.instruments, Some(Request::get("/api/v5/public/instruments?instType=SPOT")));
        let nothing = okx("USD-RUB").feed();
        assert_eq!((nothing.socket, nothing.polls), (None, vec![]));
    }

    #[test]
    fn a_body_of_all_markets_gives_what_was_asked_for_and_a_bad_row_never_drops_its_siblings() {
        let (bitcoin, other) = (ticker("BTC-USDT", PRICES), ticker("XRP-USDT", PRICES));
        let bad = ticker("ETH-USDT", r#""last":"1","askPx":"$2","bidPx":"1""#);
        let body = body(&[&other, &bad, "7", &bitcoin]);
        let reading = okx("BTC-USD,ETH-USD").read(Source::Poll, body.as_bytes()).unwrap();
        assert_eq!(lines(&reading), [READ]);
        let refused = [("ETH-USDT".to_owned(), Refusal::Syntax), (String::new(), Refusal::Syntax)];
        assert_eq!(reading.refused, refused);
        assert_eq!(everything().read(Source::Poll, body.as_bytes()).unwrap().quotes.len(), 2);
    }

    #[test]
    fn an_error_is_no_price_whatever_the_status() {
        for (body, expected) in [
            (r#"{"code":"50011","msg":"Too Many Requests","data":[]}"#, Signal::RateLimited { wait: None }),
            (r#"{"code":50011,"msg":"Too Many Requests"}"#, Signal::RateLimited { wait: None }),
            (
                r#"{"code":"50001","msg":"Service temporarily unavailable","data":[]}"#,
                Signal::Error("Service temporarily unavailable (code 50001)".to_owned()),
            ),
        ] {
            let mut okx = okx("BTC-USD");
            let before = okx.feed();
            let read = okx.read(Source::Poll, body.as_bytes()).unwrap();
            assert_eq!(read.signals, std::slice::from_ref(&expected), "{body}");
            let failure = okx.read_failure(&before.polls[0], 400, body.as_bytes());
            assert_eq!((failure.signals, okx.feed()), (vec![expected], before), "{body}");
        }
        let poll = okx("BTC-USD").feed().polls.remove(0);
        for page in ["<html>forbidden</html>", "", r#"{"code":"0","data":[]}"#] {
            assert_eq!(okx("BTC-USD").read_failure(&poll, 403, page.as_bytes()), Reading::default());
        }
        let busy = r#"{"code":"50013","msg":"busy","data":[]}"#;
        assert!(okx("BTC-USD").read(Source::Instruments, busy.as_bytes()).is_err());
    }

    #[test]
    fn the_list_of_instruments_decides_what_is_listened_to() {
        let mut okx = okx("BTC-USD,TON-USD,FOO-USD,XRP-USD");
        let list = body(&[
            &listed("BTC", "USDT", "live"),
            &listed("BTC", "USD", "live"),
            &listed("GRAM", "USDT", "live"),
            &listed("TON", "USDT", "suspend"),
            &listed("FOO", "USDT", "preopen"),
            &listed("XRP", "USDT", "a new word"),
            r#"{"instId":"XRP-USDT"}"#,
            "null",
        ]);
        let reading = okx.read(Source::Instruments, list.as_bytes()).unwrap();
        assert_eq!(reading.signals, [Signal::FeedChanged]);
        let feed = okx.feed();
        let directions: Vec<String> = feed.listens_to.iter().map(Direction::to_string).collect();
        assert_eq!(directions, ["BTC-USDT", "TON-USDT", "BTC-USD"]);
        let unsupported: Vec<String> = feed.unsupported.iter().map(Direction::to_string).collect();
        assert_eq!(unsupported, ["FOO-USDT", "XRP-USDT"]);
        assert_eq!(okx.symbol("TON-USDT".parse().unwrap()), "GRAM-USDT");
        assert_eq!(okx.read(Source::Instruments, list.as_bytes()).unwrap().signals, []);
        assert!(okx.read(Source::Instruments, body(&[]).as_bytes()).is_err());
        assert_eq!(okx.feed(), feed);
    }

    #[test]
    fn a_malformed_frame_never_panics_and_never_yields_a_price() {
        let row = ticker("BTC-USDT", PRICES);
        super::super::corpus::check(
            &mut everything(),
            &[Source::Socket, Source::Poll, Source::Instruments, Source::Handshake],
            &[&pushed(&row), &body(&[&row])],
        );
    }
}
