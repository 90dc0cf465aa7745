//! HTX spot: `market.<symbol>.bbo`, and all tickers by REST.
//!
//! Every frame of the server is a gzip of its own in a binary message. It pings in JSON every 5 s and hangs up when two
//! pings are not answered with the same number. One message subscribes to one symbol; the book is told at once, and
//! then whenever its best prices or their quantities change.
//!
//! <https://huobiapi.github.io/docs/spot/v1/en/>

use std::borrow::Cow;
use std::io::Read;
use std::time::Duration;

use flate2::bufread::GzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::markets::{Hubs, Instrument, Market, Markets, subscription_id};
use super::symbols::Spelling;
use super::{
    Exchange, Feed, Frame, FrameError, KeyUse, Kind, Reading, Request, Row, Scope, Signal, Socket, Source,
    Subscription, json,
};
use crate::market::{Asset, Direction, ExchangeName, Quote, Refusal};

pub(super) const ROW: Row = Row {
    name: ExchangeName::new("htx"),
    kind: Kind::Market,
    rest_url: "https://api.huobi.pro",
    ws_url: "wss://api.huobi.pro",
    stale_after: Duration::from_secs(5),
    poll_every: Duration::from_secs(2),
    poll_every_with_key: None,
    key: KeyUse::None,
    make: |_access, scope| Box::new(Htx::new(&scope)),
};

/// Bytes that a frame may have once it is inflated. A whole book has about 20 kB; a frame of a few hundred bytes can
/// be made to inflate to megabytes.
const MAX_INFLATED: usize = 1024 * 1024;

/// The first bytes of a gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Silence after which the link counts as dead: four pings of the server have not come.
const LINK_SILENCE: Duration = Duration::from_secs(20);

/// Time between two of our messages, echoes of pings among them. The limit that is documented for sockets with a key is
/// 50 messages a second; this stays far below it.
const MIN_GAP: Duration = Duration::from_millis(50);

/// Words in the code of an error that asks for less. The codes have changed over the years.
const RATE_WORDS: [&str; 4] = ["exceed", "frequency", "too-many", "rate-limit"];

/// A frame: a ping, an answer, or news of a channel.
#[derive(Deserialize)]
struct SocketFrame<'a> {
    #[serde(borrow)]
    ping: Option<&'a RawValue>,
    #[serde(borrow)]
    ch: Option<&'a RawValue>,
    #[serde(borrow)]
    tick: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    subbed: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow, rename = "err-code")]
    err_code: Option<&'a RawValue>,
    #[serde(borrow, rename = "err-msg")]
    err_msg: Option<&'a RawValue>,
}

/// What `bbo` tells.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BestPrices<'a> {
    #[serde(borrow)]
    symbol: Option<&'a RawValue>,
    #[serde(borrow)]
    bid: Option<&'a RawValue>,
    #[serde(borrow)]
    ask: Option<&'a RawValue>,
    /// Milliseconds since 1970.
    #[serde(borrow)]
    quote_time: Option<&'a RawValue>,
    #[serde(borrow)]
    seq_id: Option<&'a RawValue>,
}

/// The body of any request: a list, or an error. What `ts` tells is when the answer was made, and not how old the
/// prices in it are.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow, rename = "err-code")]
    err_code: Option<&'a RawValue>,
    #[serde(borrow, rename = "err-msg")]
    err_msg: Option<&'a RawValue>,
}

/// A row of `market/tickers`.
#[derive(Deserialize)]
struct Ticker<'a> {
    #[serde(borrow)]
    bid: Option<&'a RawValue>,
    #[serde(borrow)]
    ask: Option<&'a RawValue>,
    /// The last price.
    #[serde(borrow)]
    close: Option<&'a RawValue>,
}

/// The part of a row that names it.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    symbol: &'a RawValue,
}

/// A row of `common/symbols`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SymbolInfo {
    symbol: String,
    base_currency: String,
    quote_currency: String,
    state: Option<String>,
}

/// The plug-in of HTX.
struct Htx {
    markets: Markets,
    /// Whether every symbol is read; else a body of all tickers holds mostly what nobody asked for.
    reads_everything: bool,
}

impl Htx {
    fn new(scope: &Scope) -> Self {
        let reads_everything = *scope == Scope::Everything;
        Self { markets: Markets::new(scope, &SPELLING, &HUBS), reads_everything }
    }

    fn read_frame(&self, text: &str) -> Result<Reading, FrameError> {
        let frame: SocketFrame<'_> = json::object(text)?;
        let mut reading = Reading::default();
        if let Some(ping) = frame.ping {
            let number = json::natural(ping).ok_or_else(|| {
                FrameError::Syntax(format!("a ping without a number: `{}`", json::shown(text)))
            })?;
            reading.reply = Some(Frame::Text(format!(r#"{{"pong":{number}}}"#)));
            return Ok(reading);
        }
        let channel = frame.ch.and_then(json::string).unwrap_or_default();
        match (symbol_of(&channel), frame.tick) {
            (Some(symbol), Some(tick)) => reading.push(symbol, self.read_best_prices(symbol, tick)),
            _ => reading.signals.extend(answered(&frame)),
        }
        Ok(reading)
    }

    fn read_best_prices(&self, symbol: &str, tick: &RawValue) -> Result<Quote, Refusal> {
        let best: BestPrices<'_> = json::object(tick.get()).map_err(|_| Refusal::Syntax)?;
        // A frame that names two symbols does not say of which of them its prices are.
        if best.symbol.is_some_and(|named| json::string(named).as_deref() != Some(symbol)) {
            return Err(Refusal::Syntax);
        }
        let (bid, ask) = json::book(best.bid, best.ask)?;
        let quoted_at = best.quote_time.map(json::time_in_ms).transpose()?;
        let sequence = match best.seq_id {
            Some(number) => Some(json::natural(number).ok_or(Refusal::Syntax)?),
            None => None,
        };
        let direction = self.markets.direction(symbol).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(Quote { bid, ask, quoted_at, sequence, ..Quote::empty(direction) })
    }

    fn read_body(&self, text: &str) -> Result<Reading, FrameError> {
        let body: Body<'_> = json::object(text)?;
        if let Some(failure) = failure(&body) {
            return Ok(Reading { signals: vec![failure], ..Reading::default() });
        }
        let mut reading = Reading::default();
        for row in rows_of(&body)? {
            let named = json::object::<Named<'_>>(row.get()).ok();
            let symbol = named.and_then(|named| json::string(named.symbol)).unwrap_or_default();
            let is_asked = self.reads_everything || self.markets.direction(&symbol).is_some();
            if is_asked {
                reading.push(&symbol, self.read_ticker(&symbol, row));
            }
        }
        Ok(reading)
    }

    fn read_ticker(&self, symbol: &str, row: &RawValue) -> Result<Quote, Refusal> {
        let ticker: Ticker<'_> = json::object(row.get()).map_err(|_| Refusal::Syntax)?;
        let (bid, ask) = json::book(ticker.bid, ticker.ask)?;
        let last = json::side(ticker.close)?;
        let direction = self.markets.direction(symbol).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(Quote { bid, ask, last, ..Quote::empty(direction) })
    }

    fn read_instruments(&mut self, text: &str) -> Result<Reading, FrameError> {
        let body: Body<'_> = json::object(text)?;
        if failure(&body).is_some() {
            return Err(FrameError::Syntax(format!("an error instead of a list: `{}`", json::shown(text))));
        }
        let rows = rows_of(&body)?;
        let open: Vec<SymbolInfo> = json::objects(&rows).filter(SymbolInfo::is_open).collect();
        let signals = self.markets.take_list(open.iter().map(SymbolInfo::instrument))?;
        Ok(Reading { signals, ..Reading::default() })
    }
}

impl Exchange for Htx {
    fn feed(&self) -> Feed {
        let markets = self.markets.heard();
        let socket = Socket {
            handshake: None,
            path: "/ws".to_owned(),
            subscriptions: markets.iter().map(subscription).collect(),
            ping: None,
            link_silence: LINK_SILENCE,
            lifetime: None,
            min_gap: MIN_GAP,
        };
        // One symbol has another request, but many of those would be more than the documented ten a second.
        let poll = Request::get("/market/tickers");
        Feed {
            listens_to: self.markets.listens_to(),
            unsupported: self.markets.unsupported(),
            instruments: Some(Request::get("/v1/common/symbols")),
            socket: (!markets.is_empty()).then_some(socket),
            polls: if markets.is_empty() { Vec::new() } else { vec![poll] },
            ..Feed::default()
        }
    }

    fn read(&mut self, source: Source, bytes: &[u8]) -> Result<Reading, FrameError> {
        let plain = match bytes.starts_with(&GZIP) {
            true => Cow::Owned(inflated(bytes)?),
            false => Cow::Borrowed(bytes),
        };
        let text = json::text(&plain)?;
        match source {
            Source::Socket => self.read_frame(text),
            Source::Poll => self.read_body(text),
            Source::Instruments => self.read_instruments(text),
            Source::Handshake => Ok(Reading::default()),
        }
    }

    fn read_failure(&mut self, _request: &Request, _status: u16, body: &[u8]) -> Reading {
        let body = json::text(body).ok().and_then(|text| json::object::<Body<'_>>(text).ok());
        let failure = body.as_ref().and_then(failure);
        Reading { signals: failure.into_iter().collect(), ..Reading::default() }
    }

    fn symbol(&self, direction: Direction) -> String {
        self.markets.symbol(direction)
    }
}

impl SymbolInfo {
    /// Whether it is traded. A list that tells of no state tells only of those that are.
    fn is_open(&self) -> bool {
        self.state.as_deref().is_none_or(|state| state == "online")
    }

    fn instrument(&self) -> Instrument<'_> {
        Instrument { symbol: &self.symbol, base: &self.base_currency, counter: &self.quote_currency }
    }
}

/// What a gzip holds, as long as it is one, whole, and not too large.
fn inflated(bytes: &[u8]) -> Result<Vec<u8>, FrameError> {
    let mut plain = Vec::new();
    let mut decoder = GzDecoder::new(bytes).take(MAX_INFLATED as u64 + 1);
    decoder.read_to_end(&mut plain).map_err(|error| FrameError::Syntax(format!("no gzip: {error}")))?;
    if plain.len() > MAX_INFLATED {
        return Err(FrameError::TooBig { limit: MAX_INFLATED });
    }
    match decoder.into_inner().into_inner().is_empty() {
        true => Ok(plain),
        false => Err(FrameError::Syntax("something behind the gzip".to_owned())),
    }
}

/// The symbol of a channel of best prices; `None` for other channels.
fn symbol_of(channel: &str) -> Option<&str> {
    channel.strip_prefix("market.")?.strip_suffix(".bbo")
}

/// What became of a subscription. A number comes back as it was sent, or as a text.
fn answered(frame: &SocketFrame<'_>) -> Option<Signal> {
    let subbed = frame.subbed.and_then(json::string);
    if let Some(symbol) = subbed.as_deref().and_then(symbol_of) {
        return Some(Signal::Acknowledged(subscription_id(symbol)));
    }
    let is_error = frame.status.and_then(json::string).is_some_and(|status| status == "error");
    if !is_error {
        return None;
    }
    let detail = words_of(frame.err_code, frame.err_msg);
    let id = frame.id.and_then(|id| match json::string(id) {
        Some(text) => text.parse().ok(),
        None => json::natural(id),
    });
    Some(match id {
        Some(id) => Signal::SubscriptionRefused { id, detail },
        None => Signal::Error(detail),
    })
}

/// What a body says that is an error, whatever its status; `None` for any other.
fn failure(body: &Body<'_>) -> Option<Signal> {
    let is_error = body.status.and_then(json::string).is_some_and(|status| status == "error");
    if !is_error && body.err_code.is_none() {
        return None;
    }
    let code = body.err_code.map_or("none", RawValue::get);
    Some(match RATE_WORDS.iter().any(|word| code.contains(word)) {
        true => Signal::RateLimited { wait: None },
        false => Signal::Error(words_of(body.err_code, body.err_msg)),
    })
}

fn words_of(code: Option<&RawValue>, message: Option<&RawValue>) -> String {
    let code = code.map_or("none", RawValue::get);
    format!("{} (code {})", json::shown(message.map_or("null", RawValue::get)), json::shown(code))
}

fn rows_of<'a>(body: &Body<'a>) -> Result<Vec<&'a RawValue>, FrameError> {
    let data = body.data.ok_or_else(|| FrameError::Syntax("no list of tickers".to_owned()))?;
    json::list(data.get())
}

fn subscription(market: &Market) -> Subscription {
    let (id, symbol) = (market.subscription_id(), &market.symbol);
    let message = format!(r#"{{"sub":"market.{symbol}.bbo","id":"{id}"}}"#);
    Subscription { id, frame: Frame::Text(message), directions: vec![market.direction] }
}

/// Everything trades against USDT; there is no book in dollars.
const HUBS: Hubs = Hubs { assumed: &[Asset::USDT], on_its_word: &[] };

/// TON goes by GRAM since June 2026.
static SPELLING: Spelling = Spelling {
    separator: "",
    is_lower_case: true,
    aliases: &[("GRAM", "TON")],
    #[rustfmt::skip]
    counters: &[
        "USDT", "USDC", "USDD", "HUSD", "TUSD", "BTC", "ETH", "HT", "TRX", "EUR", "GBP", "TRY", "BRL", "UAH", "RUB",
    ],
    rare_counters: &["USD"],
};

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::exchange::spoken::{lines, scope};

    fn htx(wanted: &str) -> Htx {
        Htx::new(&scope(wanted))
    }

    fn everything() -> Htx {
        Htx::new(&Scope::Everything)
    }

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn hear(htx: &mut Htx, frame: &str) -> Reading {
        htx.read(Source::Socket, &packed(frame)).unwrap()
    }

    fn news(tick: &str) -> String {
        format!(r#"{{"ch":"market.btcusdt.bbo","ts":1770000000456,"tick":{tick}}}"#)
    }

    const TICK: &str = r#"{"seqId":512,"ask":61000.6,"askSize":1.5,"bid":61000.5,"bidSize":0.2,"quoteTime":1770000000123,"symbol":"btcusdt"}"#;

    #[test]
    fn a_packed_frame_is_read_with_its_own_time_and_number() {
        let reading = hear(&mut htx("BTC-USD"), &news(TICK));
        assert_eq!(lines(&reading), ["BTC-USDT 61000.5 61000.6 - 1770000000123 512"]);
        assert!(reading.refused.is_empty() && reading.signals.is_empty() && reading.reply.is_none());
    }

    #[test]
    fn numbers_may_be_texts_and_what_is_no_book_is_refused() {
        for (tick, expected) in [
            (
                r#"{"ask":"61000.6","bid":"61000.5","quoteTime":1,"seqId":2}"#,
                Ok("BTC-USDT 61000.5 61000.6 - 1 2"),
            ),
            (r#"{"ask":1.2E-7,"bid":1e-8}"#, Ok("BTC-USDT 0.00000001 0.00000012 - - -")),
            (r#"{"ask":null,"bid":1,"quoteTime":1}"#, Ok("BTC-USDT 1 - - 1 -")),
            (r#"{"bid":null,"ask":null}"#, Err(Refusal::Syntax)),
            ("{}", Err(Refusal::Syntax)),
            ("[1,2]", Err(Refusal::Syntax)),
            (r#"{"ask":[1.2,5],"bid":[1.1,5]}"#, Err(Refusal::Syntax)),
            (r#"{"ask":2,"bid":1,"quoteTime":"x"}"#, Err(Refusal::Syntax)),
            (r#"{"ask":2,"bid":1,"seqId":-1}"#, Err(Refusal::Syntax)),
            (r#"{"ask":2,"bid":1,"symbol":"ethusdt"}"#, Err(Refusal::Syntax)),
        ] {
            let reading = hear(&mut htx("BTC-USD"), &news(tick));
            let refused = reading.refused.first().map(|(_, refusal)| *refusal);
            match expected {
                Ok(quote) => assert_eq!(lines(&reading), [quote], "{tick}"),
                Err(refusal) => assert_eq!((lines(&reading), refused), (vec![], Some(refusal)), "{tick}"),
            }
        }
        let other = hear(&mut htx("ETH-USD"), &news(TICK));
        assert_eq!(other.refused, [("btcusdt".to_owned(), Refusal::UnexpectedSymbol)]);
    }

    #[test]
    fn a_ping_is_echoed_with_its_number() {
        let reading = hear(&mut htx("BTC-USD"), r#"{"ping":1492420473027}"#);
        assert_eq!(reading.reply, Some(Frame::Text(r#"{"pong":1492420473027}"#.to_owned())));
        assert!(reading.quotes.is_empty() && reading.signals.is_empty());
        assert!(htx("BTC-USD").read(Source::Socket, &packed(r#"{"ping":"x\"}{"}"#)).is_err());
    }

    #[test]
    fn a_gzip_that_is_broken_or_a_bomb_is_an_error() {
        let whole = packed(&news(TICK));
        for end in 0..whole.len() {
            assert!(everything().read(Source::Socket, &whole[..end]).is_err(), "{end}");
        }
        let mut damaged = whole.clone();
        let last = damaged.len() - 6;
        damaged[last] ^= 1;
        assert!(everything().read(Source::Socket, &damaged).is_err());
        for behind in [&b"\0"[..], &whole] {
            assert!(everything().read(Source::Socket, &[&whole, behind].concat()).is_err());
        }
        let bomb = packed(&" ".repeat(64 * MAX_INFLATED));
        assert!(bomb.len() < MAX_INFLATED / 8);
        let error = everything().read(Source::Socket, &bomb).unwrap_err();
        assert_eq!(error, FrameError::TooBig { limit: MAX_INFLATED });
        let padded = format!("{}{}", " ".repeat(MAX_INFLATED - news(TICK).len()), news(TICK));
        assert_eq!(hear(&mut everything(), &padded).quotes.len(), 1);
    }

    #[test]
    fn answers_become_signals() {
        let id = subscription_id("btcusdt");
        let refused = |id| Signal::SubscriptionRefused {
            id,
            detail: r#""invalid topic market.xxx.bbo" (code "bad-request")"#.to_owned(),
        };
        let error =
            r#""status":"error","ts":1,"err-code":"bad-request","err-msg":"invalid topic market.xxx.bbo""#;
        for (frame, expected) in [
            (
                r#"{"id":"7","status":"ok","subbed":"market.btcusdt.bbo","ts":1}"#.to_owned(),
                Some(Signal::Acknowledged(id)),
            ),
            (r#"{"id":7,"status":"ok","subbed":"market.btcusdt.trade.detail","ts":1}"#.to_owned(), None),
            (r#"{"id":"7","status":"ok","unsubbed":"market.btcusdt.bbo","ts":1}"#.to_owned(), None),
            (format!(r#"{{"id":"7",{error}}}"#), Some(refused(7))),
            (format!(r#"{{"id":8,{error}}}"#), Some(refused(8))),
            (
                format!(r#"{{"id":"mine",{error}}}"#),
                Some(Signal::Error(r#""invalid topic market.xxx.bbo" (code "bad-request")"#.to_owned())),
            ),
        ] {
            let reading = hear(&mut htx("BTC-USD"), &frame);
            assert_eq!(reading.signals, expected.into_iter().collect::<Vec<_>>(), "{frame}");
            assert!(reading.quotes.is_empty() && reading.refused.is_empty());
        }
    }

    #[test]
    fn other_channels_say_nothing() {
        for frame in [
            r#"{"ch":"market.btcusdt.ticker","ts":1,"tick":{"bid":1,"ask":2,"lastPrice":1.5}}"#,
            r#"{"ch":"market.btcusdt.depth.step0","ts":1,"tick":{"bids":[[1,2]],"asks":[[3,4]]}}"#,
            r#"{"ch":"market.btcusdt.trade.detail","ts":1,"tick":{"id":1,"data":[{"price":1}]}}"#,
            r#"{"ch":"market.tickers","status":"ok","ts":1,"data":[{"symbol":"btcusdt","close":1}]}"#,
            r#"{"ch":"market.btcusdt.bbo","ts":1}"#,
            r#"{"pong":5}"#,
            "{}",
        ] {
            assert_eq!(hear(&mut htx("BTC-USD"), frame), Reading::default(), "{frame}");
        }
    }

    #[test]
    fn of_a_body_of_all_tickers_only_what_is_listened_to_is_read() {
        let body = r#"{"status":"ok","ts":1770000000456,"data":[
            {"symbol":"xrpusdt","close":0.5,"bid":0.49,"bidSize":1,"ask":0.51,"askSize":1},
            {"symbol":"btcusdt","open":1,"close":61000.4,"bid":61000.5,"bidSize":1,"ask":61000.6,"askSize":1},
            {"symbol":"ethusdt","close":3000,"bid":"$1","ask":2},
            {"symbol":"ethusdt","close":3000},
            7,
            {"symbol":"ethusdt","close":3000.5,"bid":3e3,"ask":3001}
        ]}"#;
        let reading = htx("BTC-USD,ETH-USD").read(Source::Poll, body.as_bytes()).unwrap();
        assert_eq!(
            lines(&reading),
            ["BTC-USDT 61000.5 61000.6 61000.4 - -", "ETH-USDT 3000 3001 3000.5 - -"]
        );
        let ethusdt = ("ethusdt".to_owned(), Refusal::Syntax);
        assert_eq!(reading.refused, [ethusdt.clone(), ethusdt]);
        let all = everything().read(Source::Poll, body.as_bytes()).unwrap();
        assert_eq!((all.quotes.len(), all.refused.len()), (3, 3));
    }

    #[test]
    fn the_feed_asks_for_each_symbol_by_itself_and_polls_all_at_once() {
        let feed = htx("BTC-RUB,ETH-USD,TON-USD").feed();
        let socket = feed.socket.unwrap();
        assert_eq!((socket.path.as_str(), socket.subscriptions.len()), ("/ws", 3));
        let id = subscription_id("gramusdt");
        let message = format!(r#"{{"sub":"market.gramusdt.bbo","id":"{id}"}}"#);
        assert_eq!(socket.subscriptions[2].frame, Frame::Text(message));
        assert_eq!(feed.polls, [Request::get("/market/tickers")]);
        let nothing = htx("USDTTRC-RUB,USD-RUB").feed();
        assert_eq!((nothing.socket, nothing.polls), (None, vec![]));
    }

    #[test]
    fn the_list_of_instruments_decides_what_is_listened_to() {
        let mut htx = htx("BTC-USD,TON-USD,FOO-USD,BAR-USD");
        let listed = |base: &str, state: &str| {
            format!(
                r#"{{"base-currency":"{base}","quote-currency":"usdt","price-precision":2,"symbol":"{base}usdt"{state}}}"#
            )
        };
        let rows = [
            listed("btc", r#","state":"online""#),
            listed("ton", r#","state":"offline""#),
            listed("gram", r#","state":"online""#),
            listed("foo", r#","state":"suspend""#),
            r#"{"symbol":"barusdt"}"#.to_owned(),
        ];
        let body = format!(r#"{{"status":"ok","data":[{}]}}"#, rows.join(","));
        let reading = htx.read(Source::Instruments, body.as_bytes()).unwrap();
        assert_eq!(reading.signals, [Signal::FeedChanged]);
        let feed = htx.feed();
        assert_eq!(feed.listens_to, ["BTC-USDT".parse().unwrap(), "TON-USDT".parse().unwrap()]);
        assert_eq!(feed.unsupported, ["FOO-USDT".parse().unwrap(), "BAR-USDT".parse().unwrap()]);
        assert_eq!(htx.symbol("TON-USDT".parse().unwrap()), "gramusdt");
        for body in
            [r#"{"status":"ok","data":[]}"#, r#"{"status":"error","err-code":"x","err-msg":"y"}"#, "[]"]
        {
            assert!(htx.read(Source::Instruments, body.as_bytes()).is_err(), "{body}");
        }
        assert_eq!(htx.feed(), feed);
    }

    #[test]
    fn an_error_is_no_price_whatever_its_status() {
        for (code, expected) in [
            ("base-request-exceed-frequency-limit", Signal::RateLimited { wait: None }),
            ("system-maintenance", Signal::Error(r#""words" (code "system-maintenance")"#.to_owned())),
        ] {
            let body = format!(r#"{{"status":"error","err-code":"{code}","err-msg":"words","data":null}}"#);
            let mut htx = htx("BTC-USD");
            let reading = htx.read(Source::Poll, body.as_bytes()).unwrap();
            assert_eq!((reading.quotes.len(), reading.signals), (0, vec![expected.clone()]));
            let poll = htx.feed().polls[0].clone();
            assert_eq!(htx.read_failure(&poll, 500, body.as_bytes()).signals, [expected]);
            assert_eq!(htx.read_failure(&poll, 502, b"<html>"), Reading::default());
        }
    }

    #[test]
    fn a_malformed_frame_never_panics_and_never_yields_a_price() {
        super::super::corpus::check(
            &mut everything(),
            &[Source::Socket, Source::Poll, Source::Instruments, Source::Handshake],
            &[
                &news(TICK),
                r#"{"status":"ok","ts":1,"data":[{"symbol":"btcusdt","close":1.5,"bid":1,"ask":2}]}"#,
            ],
        );
    }
}
