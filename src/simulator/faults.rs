//! Which faults an exchange plays, from when until when, and how they bend what it quotes.
//!
//! Separate from the sockets, which ask here before every byte, so that a fault is the same on every exchange.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::market::{Transport, number};

use super::book::{Book, Price, inverse};

/// Faults that one exchange plays at once. More than this is a test that forgets to clear.
const MAX_FAULTS: usize = 64;

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
    for_ms: Option<u64>,
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
    shift_ms: Option<i64>,
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
    fn concerns(&self, names: &[&str]) -> bool {
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
    fn bend(&self, book: Book) -> Book {
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

/// One fault with its time.
#[derive(Debug)]
struct Fault {
    id: u64,
    order: Order,
    begins_at: Instant,
    ends_at: Option<Instant>,
    /// What symbols stood at when the freeze was first asked about them.
    frozen: RefCell<HashMap<String, Book>>,
}

impl Fault {
    fn is_active(&self, now: Instant) -> bool {
        self.begins_at <= now && !self.is_over(now)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.ends_at.is_some_and(|ends_at| ends_at <= now)
    }

    fn freeze(&self, names: &[&str], book: Book) -> Book {
        let key = names.first().copied().unwrap_or_default();
        let mut frozen = self.frozen.borrow_mut();
        let kept = frozen.entry(key.to_owned()).or_insert_with(|| book.clone());
        Book { bid: kept.bid.clone(), ask: kept.ask.clone(), last: kept.last.clone(), ..book }
    }
}

/// The faults of one exchange.
#[derive(Debug, Default)]
pub(super) struct Faults {
    list: Vec<Fault>,
    ordered: u64,
}

impl Faults {
    /// Adds a fault; gives its number, and when it begins and ends.
    ///
    /// # Errors
    /// When there are too many.
    pub(super) fn add(
        &mut self,
        order: Order,
        now: Instant,
    ) -> Result<(u64, Instant, Option<Instant>), String> {
        self.list.retain(|fault| !fault.is_over(now));
        if self.list.len() >= MAX_FAULTS {
            return Err(format!("there are {MAX_FAULTS} faults already: clear them first"));
        }
        self.ordered += 1;
        let begins_at = now + order.begins_after();
        let ends_at = order.for_ms.map(|ms| begins_at + Duration::from_millis(ms));
        let id = self.ordered;
        self.list.push(Fault { id, order, begins_at, ends_at, frozen: RefCell::default() });
        Ok((id, begins_at, ends_at))
    }

    /// Takes one fault away; tells whether it was still there.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        let before = self.list.len();
        self.list.retain(|fault| fault.id != id);
        self.list.len() < before
    }

    /// Takes all of them away, and tells how many there were.
    pub(super) fn clear(&mut self, now: Instant) -> usize {
        self.list.retain(|fault| !fault.is_over(now));
        self.list.drain(..).count()
    }

    /// The first active fault of this kind on this transport that is not confined to a symbol.
    pub(super) fn active(&self, kind: Kind, transport: Transport, now: Instant) -> Option<&Order> {
        let is_it =
            |fault: &&Fault| fault.order.kind == kind && fault.order.is_on(transport) && fault.is_active(now);
        let is_whole = |order: &&Order| kind != Kind::Mute || order.symbol.is_none();
        self.list.iter().filter(is_it).map(|fault| &fault.order).find(is_whole)
    }

    /// What is shown of a symbol whose healthy book is `book`; `None` if it is muted.
    pub(super) fn shown(
        &self,
        transport: Transport,
        names: &[&str],
        book: Book,
        now: Instant,
    ) -> Option<Book> {
        let mut book = book;
        let of_it = |fault: &&Fault| {
            fault.is_active(now) && fault.order.is_on(transport) && fault.order.concerns(names)
        };
        for fault in self.list.iter().filter(of_it) {
            match fault.order.kind {
                Kind::Mute if fault.order.symbol.is_some() => return None,
                Kind::Freeze => book = fault.freeze(names, book),
                Kind::WrongValue => book = fault.order.bend(book),
                _ => {}
            }
        }
        Some(book)
    }

    /// Whether a frame may not be repeated as it was recorded, because prices of its symbol are bent.
    pub(super) fn bends(&self, transport: Transport, names: &[&str], now: Instant) -> bool {
        self.list.iter().any(|fault| {
            matches!(fault.order.kind, Kind::Mute | Kind::Freeze | Kind::WrongValue)
                && fault.is_active(now)
                && fault.order.is_on(transport)
                && fault.order.concerns(names)
        })
    }

    /// By how many milliseconds the exchange's clock is off.
    pub(super) fn clock_shift_ms(&self, transport: Transport, now: Instant) -> i64 {
        let is_on = |fault: &&Fault| fault.is_active(now) && fault.order.is_on(transport);
        self.list.iter().filter(is_on).filter_map(|fault| fault.order.shift_ms).sum()
    }

    /// Every fault that is not over, for `GET /control/<exchange>/faults`.
    pub(super) fn listed(&self, now: Instant) -> Vec<Value> {
        let listed = |fault: &Fault| {
            let mut value = serde_json::to_value(&fault.order).unwrap_or_default();
            if let Value::Object(fields) = &mut value {
                fields.insert("id".to_owned(), fault.id.into());
                fields.insert("active".to_owned(), fault.is_active(now).into());
            }
            value
        };
        self.list.iter().filter(|fault| !fault.is_over(now)).map(listed).collect()
    }
}

/// The words and fields that are allowed, for the message of a refusal.
pub(super) fn allowed() -> String {
    format!(
        "allowed: `kind` (close, reset, refuse, half_open, mute, freeze, delay, drip, garbage, wrong_value, status, \
         flood), `transport` (websocket, rest, both), `symbol`, `from_ms`, `for_ms`, and by kind `ms`, `jitter_ms`, \
         `announce_ms`, `status`, `retry_after`, `value` (anything, or {}), `factor`, `bid`, `ask`, `last`, \
         `shift_ms`, `per_second`, `body`",
        WRONG_WORDS.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(orders: &[&str]) -> (Faults, Instant) {
        let mut faults = Faults::default();
        let now = Instant::now();
        for order in orders {
            faults.add(Order::read(order.as_bytes()).unwrap(), now).unwrap();
        }
        (faults, now)
    }

    fn healthy() -> Book {
        Book::around(Decimal::from(64_000), 2, 10)
    }

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
    fn a_fault_begins_and_ends_when_it_was_ordered_to() {
        let (faults, now) = faults(&[r#"{"kind":"mute","from_ms":1000,"for_ms":2000,"transport":"rest"}"#]);
        let at = |ms| now + Duration::from_millis(ms);
        for (ms, transport, expected) in [
            (0, Transport::Rest, false),
            (999, Transport::Rest, false),
            (1000, Transport::Rest, true),
            (2999, Transport::Rest, true),
            (3000, Transport::Rest, false),
            (2000, Transport::WebSocket, false),
        ] {
            assert_eq!(faults.active(Kind::Mute, transport, at(ms)).is_some(), expected, "{ms}");
            assert!(faults.active(Kind::Drip, transport, at(ms)).is_none());
        }
    }

    #[test]
    fn a_fault_of_one_symbol_leaves_the_others_alone() {
        let (faults, now) = faults(&[r#"{"kind":"mute","symbol":"btc-usdt"}"#]);
        assert!(faults.active(Kind::Mute, Transport::Rest, now).is_none());
        assert_eq!(faults.shown(Transport::Rest, &["BTCUSDT"], healthy(), now), None);
        assert_eq!(faults.shown(Transport::Rest, &["ETHUSDT"], healthy(), now), Some(healthy()));
        assert!(faults.bends(Transport::Rest, &["BTCUSDT"], now));
        assert!(!faults.bends(Transport::Rest, &["ETHUSDT"], now));
    }

    #[test]
    fn a_freeze_holds_prices_while_the_sequence_goes_on() {
        let (faults, now) = faults(&[r#"{"kind":"freeze"}"#]);
        let first = faults.shown(Transport::Rest, &["BTCUSDT"], healthy(), now).unwrap();
        let moved = Book { sequence: 9, ..Book::around(Decimal::from(70_000), 2, 10) };
        let shown = faults.shown(Transport::WebSocket, &["BTCUSDT"], moved, now).unwrap();
        assert_eq!((&shown.bid, &shown.ask, &shown.last), (&first.bid, &first.ask, &first.last));
        assert_eq!(shown.sequence, 9);
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
            let (faults, now) = faults(&[order]);
            let book = Book::around(Decimal::from(64_000), 2, 1000);
            let book = faults.shown(Transport::Rest, &["BTCUSDT"], book, now).unwrap();
            let shown = (book.bid.unwrap().fixed(2), book.ask.unwrap().fixed(2), book.last.fixed(2));
            assert_eq!(shown, (bid.to_owned(), ask.to_owned(), last.to_owned()), "{order}");
        }
    }

    #[test]
    fn a_clock_can_be_off_without_a_price_being_wrong() {
        let (faults, now) = faults(&[r#"{"kind":"wrong_value","shift_ms":-60000}"#]);
        assert_eq!(faults.clock_shift_ms(Transport::Rest, now), -60_000);
        assert_eq!(faults.shown(Transport::Rest, &["BTCUSDT"], healthy(), now), Some(healthy()));
    }

    #[test]
    fn faults_are_bounded_and_over_ones_make_room() {
        let mut faults = Faults::default();
        let now = Instant::now();
        let order = || Order::read(br#"{"kind":"mute","for_ms":10}"#).unwrap();
        for _ in 0..MAX_FAULTS {
            faults.add(order(), now).unwrap();
        }
        assert!(faults.add(order(), now).is_err());
        assert!(faults.add(order(), now + Duration::from_millis(10)).is_ok());
        assert_eq!(faults.clear(now), 1);
    }
}
