//! A fault as somebody orders it, and what it makes of a healthy price.
//!
//! Separate from the list of faults and their times, because this is the form that `/control` takes.

use std::time::Duration;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::market::{Transport, number};

use super::book::{Book, Price, inverse};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Connections are closed in order: a close frame, then the end of the stream.
    Close,
    /// Connections are reset, a WebSocket in the middle of a frame.
    Reset,
    /// Nobody listens any more, and what was connected is reset.
    Refuse,
    /// Connections stay open and say nothing any more, not even a pong; new ones are accepted and stay silent.
    HalfOpen,
    /// Connections work, pings and acknowledgements too, but no price is said; a request waits for its answer.
    Mute,
    /// Prices stand still while times and sequences go on.
    Freeze,
    /// Everything is said later.
    Delay,
    /// Everything is said a few bytes at a time.
    Drip,
    /// Instead of prices comes what nobody can read.
    Garbage,
    /// Prices are wrong.
    WrongValue,
    /// Requests and handshakes are answered with an error's status.
    Status,
    /// Frames come in masses.
    Flood,
    /// Prices overtake each other on their way to a socket, and some come twice.
    Shuffle,
    /// Prices are said of symbols too that nobody has asked for.
    Stray,
}

/// Which transports a fault is played on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum On {
    #[default]
    Both,
    Websocket,
    Rest,
}

/// A fault as it is ordered: the body of `POST /control/<exchange>/faults`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    /// What goes wrong.
    pub kind: Kind,
    #[serde(default)]
    transport: On,
    /// The exchange's symbol, an asset's name on it, or a direction; without it, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// Milliseconds until it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from_ms: Option<u64>,
    /// Milliseconds that it lasts; without it, until it is cleared (close and reset: once).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// Delay: milliseconds. Close: milliseconds between the opening of a WebSocket and its end.
    #[serde(default, alias = "delay_ms", skip_serializing_if = "Option::is_none")]
    ms: Option<u64>,
    /// Delay: this many milliseconds more or fewer, at random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jitter_ms: Option<u64>,
    /// Close: the exchange announces it this many milliseconds before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announce_ms: Option<u64>,
    /// Status: the status.
    #[serde(default, alias = "code", skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Status: seconds in `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    /// Wrong value: a number, any text, null, or one of the words of [`WRONG_WORDS`].
    #[serde(default, deserialize_with = "any_value", skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    /// Wrong value: what healthy prices are multiplied by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    factor: Option<Value>,
    /// Wrong value: bid alone.
    #[serde(default, deserialize_with = "any_value", skip_serializing_if = "Option::is_none")]
    bid: Option<Value>,
    /// Wrong value: ask alone.
    #[serde(default, deserialize_with = "any_value", skip_serializing_if = "Option::is_none")]
    ask: Option<Value>,
    /// Wrong value: the last price alone.
    #[serde(default, deserialize_with = "any_value", skip_serializing_if = "Option::is_none")]
    last: Option<Value>,
    /// Wrong value: the exchange's clock is this many milliseconds ahead (behind, if negative).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift_ms: Option<i64>,
    /// Flood: frames a second. Drip: bytes a second.
    #[serde(default, alias = "rate", alias = "bytes_per_second", skip_serializing_if = "Option::is_none")]
    per_second: Option<u64>,
    /// Garbage: what comes instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

/// A JSON value that may be `null`, told apart from one that is absent.
fn any_value<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What the value of a wrong value may say beside numbers and texts.
const WRONG_WORDS: [&str; 5] = ["crossed", "inverted", "negative", "one_sided", "wide"];

/// What comes instead of prices where no body is ordered, in turn: cut short, of wrong types, of another format,
/// empty, and nested.
const GARBAGE: [&str; 7] = [
    "{\"u\":1,\"s\":\"BTC",
    "{\"data\":{\"b\":[],\"a\":{}}}",
    "<html><head><title>Just a moment...</title></head><body>checking your browser</body></html>",
    "",
    "[]",
    "null",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
];

impl Order {
    /// Reads an order; `args` may hold fields too.
    ///
    /// # Errors
    /// When it is not of this form, in words for the caller that name what is allowed.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let mut fields: Map<String, Value> = serde_json::from_slice(body).map_err(|error| {
            format!("a fault is a JSON object such as {{\"kind\":\"mute\",\"for_ms\":8000}}: {error}")
        })?;
        match fields.remove("args") {
            Some(Value::Object(args)) => fields.extend(args),
            None | Some(Value::Null) => {}
            Some(_) => return Err("`args` is an object of further fields".to_owned()),
        }
        let order: Self = serde_json::from_value(Value::Object(fields)).map_err(|error| error.to_string())?;
        order.check()?;
        Ok(order)
    }

    fn check(&self) -> Result<(), String> {
        if self.status.is_some_and(|status| !(400..=599).contains(&status)) {
            return Err("`status` is from 400 to 599".to_owned());
        }
        if self.factor.as_ref().is_some_and(|factor| decimal(factor).is_none()) {
            return Err("`factor` is a number".to_owned());
        }
        if self.per_second == Some(0) || self.per_second.is_some_and(|rate| rate > 1_000_000) {
            return Err("`per_second` is from 1 to 1000000".to_owned());
        }
        let longest = [self.from_ms, self.for_ms, self.ms, self.jitter_ms, self.announce_ms];
        if longest.into_iter().flatten().any(|ms| ms > 86_400_000) {
            return Err("lengths are at most a day (86400000 ms)".to_owned());
        }
        Ok(())
    }

    /// Whether it happens once, to the connections that are open then.
    pub(super) fn is_one_shot(&self) -> bool {
        matches!(self.kind, Kind::Close | Kind::Reset) && self.for_ms.is_none()
    }

    /// Whether it is played on this transport.
    pub(super) fn is_on(&self, transport: Transport) -> bool {
        match self.transport {
            On::Both => true,
            On::Websocket => transport == Transport::WebSocket,
            On::Rest => transport == Transport::Rest,
        }
    }

    /// Whether it concerns a symbol that goes by these names.
    pub(super) fn concerns(&self, names: &[&str]) -> bool {
        let Some(symbol) = &self.symbol else { return true };
        names.iter().any(|name| plain_name(name) == plain_name(symbol))
    }

    /// Time until it begins.
    pub(super) fn begins_after(&self) -> Duration {
        Duration::from_millis(self.from_ms.unwrap_or(0))
    }

    /// Delay: by how much, given a number from -1000 to 1000 for the jitter.
    pub(super) fn delay(&self, luck: i64) -> Duration {
        let jitter = i64::try_from(self.jitter_ms.unwrap_or(0)).unwrap_or(0).saturating_mul(luck) / 1000;
        let ms = i64::try_from(self.ms.unwrap_or(2000)).unwrap_or(i64::MAX).saturating_add(jitter);
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }

    /// Close: how long a WebSocket lives that is opened while the fault lasts.
    pub(super) fn flap(&self) -> Duration {
        Duration::from_millis(self.ms.unwrap_or(50))
    }

    /// Status: the status, and the seconds in `Retry-After`.
    pub(super) fn status(&self) -> (u16, Option<u64>) {
        let status = self.status.unwrap_or(503);
        let usual = match status {
            429 => Some(60),
            418 => Some(120),
            _ => None,
        };
        (status, self.retry_after.or(usual))
    }

    /// Flood: frames a second.
    pub(super) fn flood_rate(&self) -> u64 {
        self.per_second.unwrap_or(5000)
    }

    /// Drip: bytes a second.
    pub(super) fn drip_rate(&self) -> u64 {
        self.per_second.unwrap_or(1)
    }

    /// Garbage: what comes instead, of several in turn.
    pub(super) fn garbage(&self, turn: usize) -> String {
        match &self.body {
            Some(body) => body.clone(),
            None => GARBAGE[turn % GARBAGE.len()].to_owned(),
        }
    }

    /// What a wrong value makes of a healthy book. Without value and factor, a slip of three digits.
    pub(super) fn bend(&self, book: Book) -> Book {
        let mut book = match (&self.value, &self.factor) {
            (Some(value), _) => put(value, book),
            (None, Some(factor)) => times(decimal(factor).unwrap_or(Decimal::ONE), book),
            (None, None) if self.has_parts() => book,
            (None, None) => times(Decimal::ONE_THOUSAND, book),
        };
        if let (Some(bid), Some(_)) = (&self.bid, &book.bid) {
            book.bid = Some(price(bid));
        }
        if let (Some(ask), Some(_)) = (&self.ask, &book.ask) {
            book.ask = Some(price(ask));
        }
        if let Some(last) = &self.last {
            book.last = price(last);
        }
        book
    }

    fn has_parts(&self) -> bool {
        self.bid.is_some() || self.ask.is_some() || self.last.is_some() || self.shift_ms.is_some()
    }
}

fn plain_name(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

fn decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::Number(value) => number::decimal(&value.to_string()),
        Value::String(text) => number::decimal(text),
        _ => None,
    }
}

fn price(value: &Value) -> Price {
    match value {
        Value::Null => Price::Missing,
        Value::String(text) => Price::Text(text.clone()),
        other => Price::Text(other.to_string()),
    }
}

fn times(factor: Decimal, book: Book) -> Book {
    book.map_numbers(|value| value.checked_mul(factor))
}

/// The book that says `value`: around it if it is a believable price, else with the value itself everywhere.
fn put(value: &Value, book: Book) -> Book {
    match value.as_str() {
        Some("crossed") => book.crossed(),
        Some("inverted") => book.crossed().map_numbers(inverse),
        Some("negative") => book.map_numbers(|value| Some(-value)),
        Some("one_sided") => Book { ask: book.ask.map(|_| Price::Missing), ask_size: Decimal::ZERO, ..book },
        Some("wide") => {
            let side = |side: Option<Price>, factor: Decimal| {
                side.map(|price| price.number().map_or(price, |value| Price::Number(value * factor)))
            };
            Book {
                bid: side(book.bid.clone(), Decimal::new(8, 1)),
                ask: side(book.ask.clone(), Decimal::new(12, 1)),
                ..book
            }
        }
        _ => match decimal(value).filter(|value| *value > Decimal::ZERO) {
            Some(middle) => {
                let half = middle.checked_mul(Decimal::new(5, 5)).unwrap_or_default();
                Book {
                    bid: book.bid.map(|_| Price::Number(middle.saturating_sub(half))),
                    ask: book.ask.map(|_| Price::Number(middle.saturating_add(half))),
                    last: Price::Number(middle),
                    ..book
                }
            }
            None => book.map(|_| price(value)),
        },
    }
}

/// The words and fields that are allowed, for the message of a refusal.
pub(super) fn allowed() -> String {
    format!(
        "allowed: `kind` (close, reset, refuse, half_open, mute, freeze, delay, drip, garbage, wrong_value, status, \
         flood, shuffle, stray), `transport` (websocket, rest, both), `symbol`, `from_ms`, `for_ms`, and by kind `ms`, `jitter_ms`, \
         `announce_ms`, `status`, `retry_after`, `value` (anything, or {}), `factor`, `bid`, `ask`, `last`, \
         `shift_ms`, `per_second`, `body`",
        WRONG_WORDS.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_and_others_are_refused_in_words_that_help() {
        for good in [
            r#"{"kind":"mute"}"#,
            r#"{"kind":"mute","for_ms":8000,"transport":"websocket","symbol":"BTCUSDT","from_ms":10}"#,
            r#"{"kind":"delay","args":{"ms":50}}"#,
            r#"{"kind":"wrong_value","value":null}"#,
            r#"{"kind":"half_open","args":null}"#,
        ] {
            Order::read(good.as_bytes()).unwrap();
        }
        for (bad, said) in [
            ("", "JSON object"),
            ("[]", "JSON object"),
            ("{}", "missing field `kind`"),
            (r#"{"kind":"mutee"}"#, "`half_open`"),
            (r#"{"kind":"mute","for":1}"#, "unknown field `for`"),
            (r#"{"kind":"mute","for_ms":-1}"#, "invalid value"),
            (r#"{"kind":"mute","transport":"udp"}"#, "`websocket`"),
            (r#"{"kind":"status","status":200}"#, "from 400 to 599"),
            (r#"{"kind":"flood","per_second":0}"#, "from 1 to 1000000"),
            (r#"{"kind":"wrong_value","factor":"x"}"#, "`factor` is a number"),
            (r#"{"kind":"mute","args":5}"#, "`args` is an object"),
        ] {
            let error = Order::read(bad.as_bytes()).unwrap_err();
            assert!(error.contains(said), "{bad}: {error}");
        }
    }

    #[test]
    fn wrong_values_are_wrong_in_the_way_that_was_ordered() {
        for (order, bid, ask, last) in [
            (r#"{"kind":"wrong_value"}"#, "63968000.00", "64032000.00", "63968000.00"),
            (r#"{"kind":"wrong_value","value":0}"#, "0", "0", "0"),
            (r#"{"kind":"wrong_value","value":"0.00000000"}"#, "0.00000000", "0.00000000", "0.00000000"),
            (r#"{"kind":"wrong_value","value":"NaN"}"#, "NaN", "NaN", "NaN"),
            (r#"{"kind":"wrong_value","value":-5}"#, "-5", "-5", "-5"),
            (r#"{"kind":"wrong_value","value":null}"#, "", "", ""),
            (r#"{"kind":"wrong_value","value":"crossed"}"#, "64032.00", "63968.00", "63968.00"),
            (r#"{"kind":"wrong_value","value":"negative"}"#, "-63968.00", "-64032.00", "-63968.00"),
            (r#"{"kind":"wrong_value","value":"one_sided"}"#, "63968.00", "", "63968.00"),
            (r#"{"kind":"wrong_value","value":50000}"#, "49997.50", "50002.50", "50000.00"),
            (r#"{"kind":"wrong_value","factor":"0.001"}"#, "63.97", "64.03", "63.97"),
            (r#"{"kind":"wrong_value","last":"1"}"#, "63968.00", "64032.00", "1"),
        ] {
            let book =
                Order::read(order.as_bytes()).unwrap().bend(Book::around(Decimal::from(64_000), 2, 1000));
            let shown = (book.bid.unwrap().fixed(2), book.ask.unwrap().fixed(2), book.last.fixed(2));
            assert_eq!(shown, (bid.to_owned(), ask.to_owned(), last.to_owned()), "{order}");
        }
    }
}
