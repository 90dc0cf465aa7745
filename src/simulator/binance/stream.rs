//! One WebSocket connection of Binance.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::book::{Book, Day, Price};
use super::super::http::{Answer, Request};
use super::super::protocol::{Conversation, Frame, Protocol, Say, Scene, SocketRules};
use super::super::recorded::Recorded;
use super::super::truth::place_of;
use super::rest::{fixed, printed};

/// Streams that one connection may listen to.
const MAX_STREAMS: usize = 1024;

/// Milliseconds between two tickers of the streams that tell one each second, each at its own moment of it.
const TICKER_EVERY_MS: i64 = 1000;

/// What a client listens to, and in which form.
pub(super) struct Stream {
    is_combined: bool,
    in_microseconds: bool,
    topics: BTreeSet<String>,
    symbols: BTreeSet<String>,
    /// The second in which each ticker was last told.
    tickers_told_in: BTreeMap<String, i64>,
}

#[derive(Deserialize)]
struct Command {
    method: String,
    #[serde(default)]
    params: Value,
    #[serde(default)]
    id: Value,
}

#[derive(Serialize)]
struct BestPrices<'a> {
    u: u64,
    s: &'a str,
    b: Value,
    #[serde(rename = "B")]
    bid_size: String,
    a: Value,
    #[serde(rename = "A")]
    ask_size: String,
}

impl Stream {
    /// Opens `/ws`, `/ws/<stream>/<stream>` or `/stream?streams=<stream>/<stream>`.
    ///
    /// # Errors
    /// The answer that refuses any other path, or too many streams.
    pub(super) fn open(path: &str, request: &Request) -> Result<Self, Answer> {
        let named = match path {
            "/stream" => request.parameter("streams").unwrap_or_default(),
            _ if path == "/ws" || path.starts_with("/ws/") => path.trim_start_matches("/ws"),
            _ => return Err(Answer::new(404, "text/plain", "Not Found")),
        };
        let unit = request.parameter("timeUnit").unwrap_or_default();
        let mut stream = Self {
            is_combined: path == "/stream",
            in_microseconds: unit.eq_ignore_ascii_case("microsecond"),
            topics: named.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            symbols: BTreeSet::new(),
            tickers_told_in: BTreeMap::new(),
        };
        if stream.topics.len() > MAX_STREAMS {
            return Err(Answer::new(400, "text/plain", "Too many streams"));
        }
        stream.find_symbols();
        Ok(stream)
    }

    /// The symbols behind the stream names. A name in capital letters names nothing, so nothing ever comes for it.
    fn find_symbols(&mut self) {
        let symbol = |topic: &String| {
            let (symbol, _) = topic.split_once('@')?;
            let is_lower = !symbol.chars().any(|c| c.is_ascii_uppercase());
            (is_lower && !symbol.starts_with('!')).then(|| symbol.to_ascii_uppercase())
        };
        self.symbols = self.topics.iter().filter_map(symbol).collect();
        let topics = &self.topics;
        self.tickers_told_in.retain(|topic, _| topics.contains(topic));
    }

    fn has(&self, symbol: &str, channel: &str) -> Option<String> {
        let topic = format!("{}@{channel}", symbol.to_ascii_lowercase());
        self.topics.contains(&topic).then_some(topic)
    }

    fn framed(&self, topic: &str, payload: &str) -> Frame {
        match self.is_combined {
            true => Frame::Text(format!("{{\"stream\":\"{topic}\",\"data\":{payload}}}")),
            false => Frame::Text(payload.to_owned()),
        }
    }

    fn time(&self, wall: DateTime<Utc>) -> i64 {
        if self.in_microseconds { wall.timestamp_micros() } else { wall.timestamp_millis() }
    }

    fn obey(&mut self, command: Command) -> Value {
        let id = command.id;
        let is_id = match &id {
            Value::Null => true,
            Value::Number(number) => number.is_i64(),
            Value::String(text) => text.len() <= 36,
            _ => false,
        };
        if !is_id {
            return refused(
                2,
                "Invalid request: request ID must be an unsigned integer or a short string",
                Value::Null,
            );
        }
        match command.method.as_str() {
            "SUBSCRIBE" | "UNSUBSCRIBE" => {
                let Ok(names) = serde_json::from_value::<Vec<String>>(command.params) else {
                    return refused(2, "Invalid request: params must be an array of stream names", id);
                };
                let mut topics = self.topics.clone();
                for name in names {
                    if command.method == "SUBSCRIBE" {
                        topics.insert(name);
                    } else {
                        topics.remove(&name);
                    }
                }
                if topics.len() > MAX_STREAMS {
                    return refused(2, "Invalid request: too many streams on this connection", id);
                }
                self.topics = topics;
                self.find_symbols();
                json!({ "result": null, "id": id })
            }
            "LIST_SUBSCRIPTIONS" => json!({ "result": self.topics, "id": id }),
            "SET_PROPERTY" => match (command.params[0].as_str(), command.params[1].as_bool()) {
                (Some("combined"), Some(is_combined)) => {
                    self.is_combined = is_combined;
                    json!({ "result": null, "id": id })
                }
                (Some("combined"), None) => refused(1, "Invalid value type: expected Boolean", id),
                _ => refused(0, "Unknown property", id),
            },
            "GET_PROPERTY" => match command.params[0].as_str() {
                Some("combined") => json!({ "result": self.is_combined, "id": id }),
                _ => refused(0, "Unknown property", id),
            },
            method => {
                let message = format!(
                    "Invalid request: unknown variant `{method}`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, \
                     `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"
                );
                refused(2, &message, id)
            }
        }
    }

    /// The tickers that are due now: a new second has begun for them.
    fn due_tickers(&mut self, scene: &Scene<'_>) -> Vec<String> {
        let is_ticker = |topic: &&String| {
            let (symbol, channel) = topic.split_once('@').unwrap_or_default();
            let is_known = self.symbols.contains(&symbol.to_ascii_uppercase());
            *topic == "!miniTicker@arr" || is_known && matches!(channel, "miniTicker" | "ticker")
        };
        let mut due = Vec::new();
        for topic in self.topics.iter().filter(is_ticker) {
            let offset_ms = i64::try_from(place_of(topic, TICKER_EVERY_MS.unsigned_abs())).unwrap_or(0);
            let second = (scene.unix_ms() + offset_ms) / TICKER_EVERY_MS;
            match self.tickers_told_in.insert(topic.clone(), second) {
                Some(told_in) if told_in != second => due.push(topic.clone()),
                _ => {}
            }
        }
        due
    }

    /// A ticker of each second.
    fn ticker(&self, symbol: &str, book: &Book, is_mini: bool, scene: &Scene<'_>) -> Value {
        let day = Day::of(book);
        let at = self.time(scene.wall);
        let mut told = json!({
            "e": if is_mini { "24hrMiniTicker" } else { "24hrTicker" },
            "E": at,
            "s": symbol,
            "c": printed(Some(&book.last)),
            "o": fixed(day.open),
            "h": fixed(day.high),
            "l": fixed(day.low),
            "v": fixed(day.volume),
            "q": fixed(day.turnover),
        });
        if !is_mini && let Value::Object(fields) = &mut told {
            let change = day.last - day.open;
            let percent = change.checked_div(day.open).unwrap_or_default() * Decimal::ONE_HUNDRED;
            for (name, value) in [
                ("p", Value::from(fixed(change))),
                ("P", Price::Number(percent).fixed(3).into()),
                ("w", fixed(day.last).into()),
                ("x", fixed(day.open).into()),
                ("Q", fixed(Decimal::new(5, 2)).into()),
                ("b", printed(book.bid.as_ref())),
                ("B", fixed(book.bid_size).into()),
                ("a", printed(book.ask.as_ref())),
                ("A", fixed(book.ask_size).into()),
                ("O", (scene.unix_ms() - 86_400_000).into()),
                ("C", scene.unix_ms().into()),
                ("F", 1.into()),
                ("L", book.sequence.into()),
                ("n", book.sequence.into()),
            ] {
                fields.insert(name.to_owned(), value);
            }
        }
        told
    }

    fn trade(&self, symbol: &str, book: &Book, is_aggregate: bool, scene: &Scene<'_>) -> Value {
        let at = self.time(scene.wall);
        let mut told = json!({
            "e": if is_aggregate { "aggTrade" } else { "trade" },
            "E": at, "T": at, "s": symbol, "p": printed(Some(&book.last)), "q": "0.05000000", "m": false, "M": true,
        });
        let numbers: &[&str] = if is_aggregate { &["a", "f", "l"] } else { &["t"] };
        for name in numbers {
            told[*name] = book.sequence.into();
        }
        told
    }
}

fn refused(code: u8, message: &str, id: Value) -> Value {
    match id {
        Value::Null => json!({ "code": code, "msg": message }),
        id => json!({ "code": code, "msg": message, "id": id }),
    }
}

impl Conversation for Stream {
    fn rules(&self) -> SocketRules {
        SocketRules {
            pings: Some((Duration::from_secs(20), Duration::from_secs(60))),
            lifetime: Some(Duration::from_secs(86_400)),
            silence: None,
            messages_per_second: Some(5),
        }
    }

    fn hear(&mut self, message: &[u8], _: &dyn Protocol, _: &Scene<'_>) -> Vec<Say> {
        let answer = match serde_json::from_slice::<Value>(message) {
            Err(error) => refused(3, &format!("Invalid JSON: {error}"), Value::Null),
            Ok(value) => match serde_json::from_value::<Command>(value) {
                Err(error) => refused(2, &format!("Invalid request: {error}"), Value::Null),
                Ok(command) => self.obey(command),
            },
        };
        vec![Say::Control(Frame::Text(answer.to_string()))]
    }

    fn symbols(&self) -> &BTreeSet<String> {
        &self.symbols
    }

    fn tell(&mut self, symbol: &str, book: &Book, scene: &Scene<'_>) -> Vec<Frame> {
        let mut frames = Vec::new();
        if let Some(topic) = self.has(symbol, "bookTicker") {
            let told = BestPrices {
                u: book.sequence,
                s: symbol,
                b: printed(book.bid.as_ref()),
                bid_size: fixed(book.bid_size),
                a: printed(book.ask.as_ref()),
                ask_size: fixed(book.ask_size),
            };
            let payload = serde_json::to_string(&told).unwrap_or_default();
            frames.push(self.framed(&topic, &payload));
        }
        for (channel, is_aggregate) in [("trade", false), ("aggTrade", true)] {
            if let Some(topic) = self.has(symbol, channel) {
                let payload = self.trade(symbol, book, is_aggregate, scene).to_string();
                frames.push(self.framed(&topic, &payload));
            }
        }
        frames
    }

    fn beat(&mut self, protocol: &dyn Protocol, scene: &Scene<'_>) -> Vec<Say> {
        let mut frames = Vec::new();
        for topic in self.due_tickers(scene) {
            let payload = match topic.split_once('@') {
                Some(("!miniTicker", _)) => {
                    let shown = |(_, symbol, book): (String, String, Book)| {
                        let book = scene.shown(&[&symbol], book)?;
                        Some(self.ticker(&symbol, &book, true, scene))
                    };
                    Some(protocol.quotes(scene).into_iter().filter_map(shown).collect())
                }
                Some((symbol, channel)) => {
                    let symbol = symbol.to_ascii_uppercase();
                    let book = protocol.book(&symbol).and_then(|book| scene.shown(&[&symbol], book));
                    book.map(|book| self.ticker(&symbol, &book, channel == "miniTicker", scene))
                }
                None => None,
            };
            frames.extend(payload.map(|payload: Value| self.framed(&topic, &payload.to_string())));
        }
        frames.into_iter().map(Say::Data).collect()
    }

    fn repeat(&mut self, recorded: &Recorded, _: &Scene<'_>) -> Option<Frame> {
        let is_wanted = self.topics.contains(&recorded.topic);
        is_wanted.then(|| self.framed(&recorded.topic, &recorded.payload))
    }

    fn farewell(&self, scene: &Scene<'_>) -> Option<Frame> {
        let payload = json!({ "e": "serverShutdown", "E": self.time(scene.wall) }).to_string();
        Some(self.framed("!serverShutdown", &payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(target: &str) -> Stream {
        let mut buffer = bytes::BytesMut::from(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes());
        let request = Request::take(&mut buffer).unwrap().unwrap();
        let path = request.path.trim_end_matches('/').to_owned();
        Stream::open(&path, &request).unwrap()
    }

    fn answer(stream: &mut Stream, message: &str) -> String {
        let command: Command = serde_json::from_str(message).unwrap();
        stream.obey(command).to_string()
    }

    #[test]
    fn streams_are_named_in_the_address_in_both_framings() {
        let raw = open("/ws/btcusdt@bookTicker/ETHUSDT@bookTicker/");
        assert!(!raw.is_combined);
        assert_eq!(raw.topics.len(), 2);
        assert_eq!(raw.symbols.iter().collect::<Vec<_>>(), ["BTCUSDT"]);
        let combined = open("/stream?streams=btcusdt%40bookTicker/ethusdt@trade&timeUnit=MICROSECOND");
        assert!(combined.is_combined && combined.in_microseconds);
        assert_eq!(combined.symbols.iter().collect::<Vec<_>>(), ["BTCUSDT", "ETHUSDT"]);
        assert!(open("/ws/").topics.is_empty());
        let elsewhere = Stream::open("/other", &Request::default());
        assert_eq!(elsewhere.err().unwrap().status, 404);
    }

    #[test]
    fn commands_are_acknowledged_and_bad_ones_refused_with_their_code() {
        let mut stream = open("/ws");
        for (message, expected) in [
            (
                r#"{"method":"SUBSCRIBE","params":["btcusdt@bookTicker","nothing@bookTicker"],"id":1}"#,
                r#"{"id":1,"result":null}"#,
            ),
            (
                r#"{"method":"LIST_SUBSCRIPTIONS","id":"x"}"#,
                r#"{"id":"x","result":["btcusdt@bookTicker","nothing@bookTicker"]}"#,
            ),
            (
                r#"{"method":"UNSUBSCRIBE","params":["nothing@bookTicker"],"id":null}"#,
                r#"{"id":null,"result":null}"#,
            ),
            (r#"{"method":"GET_PROPERTY","params":["combined"],"id":2}"#, r#"{"id":2,"result":false}"#),
            (r#"{"method":"SET_PROPERTY","params":["combined",true],"id":3}"#, r#"{"id":3,"result":null}"#),
            (r#"{"method":"GET_PROPERTY","params":["combined"],"id":4}"#, r#"{"id":4,"result":true}"#),
        ] {
            assert_eq!(answer(&mut stream, message), expected, "{message}");
        }
        for (message, code) in [
            (r#"{"method":"SET_PROPERTY","params":["other",true],"id":5}"#, 0),
            (r#"{"method":"SET_PROPERTY","params":["combined",5],"id":5}"#, 1),
            (r#"{"method":"SUBSCRIBE","params":"btcusdt@trade","id":5}"#, 2),
            (r#"{"method":"DANCE","id":5}"#, 2),
            (r#"{"method":"SUBSCRIBE","params":[],"id":1.5}"#, 2),
        ] {
            let said = answer(&mut stream, message);
            assert!(said.contains(&format!("\"code\":{code}")), "{message}: {said}");
        }
        assert_eq!(stream.topics.len(), 1);
    }

    #[test]
    fn a_connection_takes_1024_streams_and_no_more() {
        let mut stream = open("/ws");
        let names = |range: std::ops::Range<usize>| {
            let names: Vec<String> = range.map(|index| format!("s{index}@bookTicker")).collect();
            json!({ "method": "SUBSCRIBE", "params": names, "id": 1 }).to_string()
        };
        assert!(answer(&mut stream, &names(0..1024)).contains("\"result\":null"));
        assert!(answer(&mut stream, &names(1024..1025)).contains("\"code\":2"));
        assert_eq!(stream.topics.len(), 1024);
    }
}
