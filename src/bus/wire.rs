//! Messages as bytes: JSON of a stated version, prices as text digit by digit, times in microseconds since the epoch.
//!
//! Separate from the connections, so that what others may send us is judged by plain functions. A message says again what
//! its subject says, so that one which was moved to another subject is refused.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::subject;
use crate::market::{Direction, ExchangeName, Quote, Transport, Validity};
use crate::rate_book::{
    Accepted, Epoch, EventKind, ExchangeState, Link, LinkFailure, Listing, LiveQuote, Record, RecordedEvent,
    Span,
};

/// The version of all messages. A reader refuses others; fields that it does not know are passed over, so that a newer
/// writer may add some.
const VERSION: u32 = 1;

/// Largest message. Ours have some 400 bytes; the state of an exchange with a hundred directions has a few thousand.
const LARGEST: usize = 64 << 10;

/// Longest text of a price: 28 digits, a point and a sign.
const LONGEST_PRICE: usize = 32;

/// Longest name of a collector.
const LONGEST_NAME: usize = 64;

/// Times that a message may say, in microseconds: from 2000 until 2200. Others are a slip of units, and so far from now
/// that reckoning with them may end nowhere.
const TIMES_US: std::ops::Range<i64> = 946_684_800_000_000..7_258_118_400_000_000;

/// A message cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    /// It is longer than any of ours.
    #[error("{0} bytes are too many")]
    TooLarge(usize),
    /// It is no JSON, or a field is not as it has to be.
    #[error("{0}")]
    Syntax(String),
    /// It is of another version.
    #[error("version {0} is not known")]
    Version(u32),
    /// It is of an exchange that this version does not know.
    #[error("exchange `{0}` is not known")]
    Exchange(String),
    /// It lies on a subject that it does not belong to.
    #[error("it says that it belongs on `{0}`")]
    Subject(String),
}

/// A live quote, and which collector heard it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ToldQuote {
    pub(super) collector: String,
    pub(super) live: LiveQuote,
}

/// The state of an exchange, and which collector tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ToldState {
    pub(super) collector: String,
    pub(super) state: ExchangeState,
    /// Since when the connection is in this state.
    pub(super) link_at: DateTime<Utc>,
    /// When it was told.
    pub(super) told_at: DateTime<Utc>,
}

/// Names of exchanges that this version knows.
#[derive(Debug, Clone)]
pub(super) struct Names(pub(super) Vec<ExchangeName>);

impl Names {
    fn known(&self, text: &str) -> Result<ExchangeName, WireError> {
        let name = self.0.iter().copied().find(|name| name.as_str() == text);
        name.ok_or_else(|| WireError::Exchange(text.chars().take(40).collect()))
    }
}

/// What a quote says, in every kind of message.
#[derive(Serialize, Deserialize)]
struct WireQuote {
    direction: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ask: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quoted_at_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    /// Of an official fixing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    starts_at_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends_at_us: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct WireLive {
    version: u32,
    exchange: String,
    collector: String,
    epoch: u64,
    transport: String,
    heard_at_us: i64,
    /// What the age counts from, where that is earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked_at_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fresh_since_us: Option<i64>,
    quote: WireQuote,
}

#[derive(Serialize, Deserialize)]
struct WireState {
    version: u32,
    exchange: String,
    collector: String,
    epoch: u64,
    told_at_us: i64,
    link_at_us: i64,
    link: Option<WireLink>,
    listing: Option<WireListing>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireLink {
    Up(String),
    PollFailed(WireFailure),
    Down(WireFailure),
}

#[derive(Serialize, Deserialize)]
struct WireFailure {
    detail: String,
    forbidden: bool,
    banned_until_us: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct WireListing {
    listens_to: Vec<String>,
    unsupported: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct WireRecord {
    version: u32,
    #[serde(flatten)]
    body: WireBody,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireBody {
    Quote(Box<WireAccepted>),
    Event { at_us: i64, kind: String, exchange: Option<String>, reason: String, count: u64 },
}

#[derive(Serialize, Deserialize)]
struct WireAccepted {
    exchange: String,
    received_at_us: i64,
    value: String,
    span: WireSpan,
    quote: WireQuote,
}

#[derive(Serialize, Deserialize)]
struct WireSpan {
    open: String,
    high: String,
    low: String,
    quotes: u32,
}

/// A live quote as `collector` tells it.
pub(super) fn write_quote(live: &LiveQuote, collector: &str) -> Vec<u8> {
    bytes(&WireLive {
        version: VERSION,
        exchange: live.exchange.to_string(),
        collector: collector.to_owned(),
        epoch: live.epoch.0,
        transport: live.transport.as_str().to_owned(),
        heard_at_us: live.heard_at.timestamp_micros(),
        asked_at_us: live.counts_from.map(|at| at.timestamp_micros()),
        fresh_since_us: live.fresh_since.map(|since| since.timestamp_micros()),
        quote: WireQuote::from(&live.quote),
    })
}

/// The live quote on `subject`.
///
/// # Errors
/// When it is none of ours.
pub(super) fn read_quote(subject: &str, message: &[u8], names: &Names) -> Result<ToldQuote, WireError> {
    let wire: WireLive = parsed(message)?;
    check_version(wire.version)?;
    let quote = wire.quote.read()?;
    let live = LiveQuote {
        exchange: names.known(&wire.exchange)?,
        epoch: Epoch(wire.epoch),
        transport: transport(&wire.transport)?,
        heard_at: time(wire.heard_at_us)?,
        counts_from: wire.asked_at_us.map(time).transpose()?,
        fresh_since: wire.fresh_since_us.map(time).transpose()?,
        quote,
        is_repeat: false,
    };
    check_subject(subject, subject::of_quote(&live))?;
    Ok(ToldQuote { collector: name(wire.collector)?, live })
}

/// The state of an exchange.
pub(super) fn write_state(told: &ToldState) -> Vec<u8> {
    let ToldState { collector, state, link_at, told_at } = told;
    let texts = |directions: &[Direction]| directions.iter().map(ToString::to_string).collect();
    bytes(&WireState {
        version: VERSION,
        exchange: state.exchange.to_string(),
        collector: collector.clone(),
        epoch: state.epoch.0,
        told_at_us: told_at.timestamp_micros(),
        link_at_us: link_at.timestamp_micros(),
        link: state.link.as_ref().map(WireLink::from),
        listing: state.listing.as_ref().map(|listing| WireListing {
            listens_to: texts(&listing.listens_to),
            unsupported: texts(&listing.unsupported),
        }),
    })
}

/// The state of an exchange on `subject`.
///
/// # Errors
/// When it is none of ours.
pub(super) fn read_state(subject: &str, message: &[u8], names: &Names) -> Result<ToldState, WireError> {
    let wire: WireState = parsed(message)?;
    check_version(wire.version)?;
    let collector = name(wire.collector)?;
    let exchange = names.known(&wire.exchange)?;
    check_subject(subject, subject::of_state(exchange, &collector))?;
    let state = ExchangeState {
        exchange,
        epoch: Epoch(wire.epoch),
        listing: wire.listing.map(WireListing::read).transpose()?,
        link: wire.link.map(WireLink::read).transpose()?,
    };
    let (link_at, told_at) = (time(wire.link_at_us)?, time(wire.told_at_us)?);
    Ok(ToldState { collector, state, link_at, told_at })
}

/// A record that is to be stored.
pub(super) fn write_record(record: &Record) -> Vec<u8> {
    let body = match record {
        Record::Quote(accepted) => WireBody::Quote(Box::new(WireAccepted {
            exchange: accepted.exchange.to_string(),
            received_at_us: accepted.received_at.timestamp_micros(),
            value: accepted.value.to_string(),
            span: WireSpan {
                open: accepted.span.open.to_string(),
                high: accepted.span.high.to_string(),
                low: accepted.span.low.to_string(),
                quotes: accepted.span.num_quotes,
            },
            quote: WireQuote::from(&accepted.quote),
        })),
        Record::Event(event) => WireBody::Event {
            at_us: event.at.timestamp_micros(),
            kind: event.kind.as_str().to_owned(),
            exchange: event.exchange.map(|exchange| exchange.to_string()),
            reason: event.reason.clone(),
            count: event.count,
        },
    };
    bytes(&WireRecord { version: VERSION, body })
}

/// The record on `subject`.
///
/// # Errors
/// When it is none of ours.
pub(super) fn read_record(subject: &str, message: &[u8], names: &Names) -> Result<Record, WireError> {
    let wire: WireRecord = parsed(message)?;
    check_version(wire.version)?;
    let record = match wire.body {
        WireBody::Quote(accepted) => Record::Quote(accepted.read(names)?),
        WireBody::Event { at_us, kind, exchange, reason, count } => Record::Event(RecordedEvent {
            at: time(at_us)?,
            kind: EventKind::parse(&kind).ok_or_else(|| syntax(&format!("`{kind}` is no kind of event")))?,
            exchange: exchange.map(|exchange| names.known(&exchange)).transpose()?,
            reason,
            count,
        }),
    };
    check_subject(subject, subject::of_record(&record))?;
    Ok(record)
}

impl From<&Quote> for WireQuote {
    fn from(quote: &Quote) -> Self {
        let (starts_at, ends_at) = match quote.validity {
            Validity::Live => (None, None),
            Validity::Fixing { starts_at, ends_at } => (Some(starts_at), Some(ends_at)),
        };
        let text = |price: Option<Decimal>| price.map(|price| price.to_string());
        let micros = |time: Option<DateTime<Utc>>| time.map(|time| time.timestamp_micros());
        Self {
            direction: quote.direction.to_string(),
            bid: text(quote.bid),
            ask: text(quote.ask),
            last: text(quote.last),
            quoted_at_us: micros(quote.quoted_at),
            sequence: quote.sequence,
            starts_at_us: micros(starts_at),
            ends_at_us: micros(ends_at),
        }
    }
}

impl WireQuote {
    fn read(self) -> Result<Quote, WireError> {
        let validity = match (self.starts_at_us, self.ends_at_us) {
            (None, None) => Validity::Live,
            (Some(starts_at), Some(ends_at)) => {
                Validity::Fixing { starts_at: time(starts_at)?, ends_at: time(ends_at)? }
            }
            _ => return Err(syntax("a fixing has a beginning and an end")),
        };
        let side = |text: Option<String>| text.map(|text| price(&text)).transpose();
        Ok(Quote {
            direction: direction(&self.direction)?,
            bid: side(self.bid)?,
            ask: side(self.ask)?,
            last: side(self.last)?,
            quoted_at: self.quoted_at_us.map(time).transpose()?,
            sequence: self.sequence,
            validity,
        })
    }
}

impl WireAccepted {
    fn read(self, names: &Names) -> Result<Accepted, WireError> {
        let Self { exchange, received_at_us, value, span, quote } = self;
        Ok(Accepted {
            exchange: names.known(&exchange)?,
            quote: quote.read()?,
            value: price(&value)?,
            received_at: time(received_at_us)?,
            span: Span {
                open: price(&span.open)?,
                high: price(&span.high)?,
                low: price(&span.low)?,
                num_quotes: span.quotes,
            },
        })
    }
}

impl From<&Link> for WireLink {
    fn from(link: &Link) -> Self {
        let failure = |failure: &LinkFailure| WireFailure {
            detail: failure.detail.clone(),
            forbidden: failure.forbidden,
            banned_until_us: failure.banned_until.map(|until| until.timestamp_micros()),
        };
        match link {
            Link::Up(transport) => Self::Up(transport.as_str().to_owned()),
            Link::PollFailed(it) => Self::PollFailed(failure(it)),
            Link::Down(it) => Self::Down(failure(it)),
        }
    }
}

impl WireLink {
    fn read(self) -> Result<Link, WireError> {
        let failure = |failure: WireFailure| {
            let banned_until = failure.banned_until_us.map(time).transpose()?;
            Ok(LinkFailure { detail: failure.detail, forbidden: failure.forbidden, banned_until })
        };
        Ok(match self {
            Self::Up(by) => Link::Up(transport(&by)?),
            Self::PollFailed(it) => Link::PollFailed(failure(it)?),
            Self::Down(it) => Link::Down(failure(it)?),
        })
    }
}

impl WireListing {
    fn read(self) -> Result<Listing, WireError> {
        let directions = |texts: Vec<String>| -> Result<Vec<Direction>, WireError> {
            texts.iter().map(|text| direction(text)).collect()
        };
        Ok(Listing { listens_to: directions(self.listens_to)?, unsupported: directions(self.unsupported)? })
    }
}

fn bytes(wire: &impl Serialize) -> Vec<u8> {
    // Texts and numbers alone cannot fail.
    serde_json::to_vec(wire).unwrap_or_default()
}

fn parsed<'a, T: Deserialize<'a>>(message: &'a [u8]) -> Result<T, WireError> {
    if message.len() > LARGEST {
        return Err(WireError::TooLarge(message.len()));
    }
    serde_json::from_slice(message).map_err(|error| syntax(&error.to_string()))
}

fn check_version(version: u32) -> Result<(), WireError> {
    if version == VERSION { Ok(()) } else { Err(WireError::Version(version)) }
}

fn check_subject(subject: &str, expected: String) -> Result<(), WireError> {
    if subject == expected { Ok(()) } else { Err(WireError::Subject(expected)) }
}

fn syntax(what: &str) -> WireError {
    WireError::Syntax(what.to_owned())
}

fn name(text: String) -> Result<String, WireError> {
    let is_good = !text.is_empty()
        && text.len() <= LONGEST_NAME
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_good { Ok(text) } else { Err(syntax("the name of the collector")) }
}

fn transport(word: &str) -> Result<Transport, WireError> {
    let all = [Transport::WebSocket, Transport::Rest];
    all.into_iter().find(|it| it.as_str() == word).ok_or_else(|| syntax("the transport"))
}

fn direction(text: &str) -> Result<Direction, WireError> {
    text.parse().map_err(|error| syntax(&format!("{error}")))
}

fn price(text: &str) -> Result<Decimal, WireError> {
    let decimal = Some(text).filter(|text| text.len() <= LONGEST_PRICE);
    let decimal = decimal.and_then(|text| Decimal::from_str_exact(text).ok());
    decimal.ok_or_else(|| syntax("a price that is no decimal"))
}

fn time(micros: i64) -> Result<DateTime<Utc>, WireError> {
    let time = Some(micros).filter(|micros| TIMES_US.contains(micros));
    time.and_then(DateTime::from_timestamp_micros).ok_or_else(|| syntax("a time that is none of ours"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::testing::{at, live, names, quote};

    fn told_state() -> ToldState {
        let failure = LinkFailure {
            detail: "answered 451".to_owned(),
            forbidden: true,
            banned_until: Some(at("2026-11-25T12:05:00Z")),
        };
        let listing = Listing {
            listens_to: vec!["BTC-USDT".parse().unwrap()],
            unsupported: vec!["ETH-RUB".parse().unwrap()],
        };
        let state = ExchangeState {
            exchange: ExchangeName::new("binance"),
            epoch: Epoch(3),
            listing: Some(listing),
            link: Some(Link::Down(failure)),
        };
        let (link_at, told_at) = (at("2026-11-25T12:00:00.000001Z"), at("2026-11-25T12:00:01Z"));
        ToldState { collector: "c1".to_owned(), state, link_at, told_at }
    }

    fn fixing() -> Quote {
        let validity =
            Validity::Fixing { starts_at: at("2026-11-24T21:00:00Z"), ends_at: at("2026-11-30T21:00:00Z") };
        Quote { bid: None, ask: None, last: "79.41".parse().ok(), validity, ..quote("USD-RUB") }
    }

    fn records() -> Vec<Record> {
        let accepted = |exchange: &'static str, quote: Quote| {
            let value = quote.value().unwrap();
            let span = Span { num_quotes: 7, high: value + Decimal::ONE, ..Span::of(value) };
            let received_at = at("2026-11-25T12:00:00.123456Z");
            Record::Quote(Accepted { exchange: ExchangeName::new(exchange), quote, value, received_at, span })
        };
        let event = RecordedEvent {
            at: at("2026-11-25T12:00:00.123456Z"),
            kind: EventKind::Failover,
            exchange: None,
            reason: "nobody can answer (\"all\" are down)".to_owned(),
            count: 1,
        };
        vec![accepted("binance", quote("BTC-USDT")), accepted("cbr", fixing()), Record::Event(event)]
    }

    #[test]
    fn quotes_are_read_digit_by_digit_as_they_were_written() {
        let asked = LiveQuote {
            transport: Transport::Rest,
            counts_from: Some(at("2026-11-25T11:59:59Z")),
            fresh_since: Some(at("2026-11-25T11:00:00.5Z")),
            ..live("BTC-USDT", "2026-11-25T12:00:00.123456Z")
        };
        let fixing = LiveQuote { exchange: ExchangeName::new("cbr"), quote: fixing(), ..asked.clone() };
        for live in [live("BTC-USDT", "2026-11-25T12:00:00.123456Z"), asked, fixing] {
            let read = read_quote(&subject::of_quote(&live), &write_quote(&live, "c1"), &names()).unwrap();
            assert_eq!(read, ToldQuote { collector: "c1".to_owned(), live: live.clone() });
            assert_eq!(
                read.live.quote.bid.map(|bid| bid.to_string()),
                live.quote.bid.map(|it| it.to_string())
            );
        }
    }

    #[test]
    fn states_are_read_as_they_were_written() {
        let told = told_state();
        for link in [
            None,
            Some(Link::Up(Transport::WebSocket)),
            Some(Link::PollFailed(LinkFailure {
                detail: "timed out".to_owned(),
                forbidden: false,
                banned_until: None,
            })),
            told.state.link.clone(),
        ] {
            for listing in [None, told.state.listing.clone()] {
                let state = ExchangeState { link: link.clone(), listing, ..told.state.clone() };
                let told = ToldState { state, ..told.clone() };
                assert_eq!(read_state("state.binance.c1", &write_state(&told), &names()), Ok(told));
            }
        }
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        for record in records() {
            let subject = subject::of_record(&record);
            assert_eq!(read_record(&subject, &write_record(&record), &names()), Ok(record));
        }
    }

    #[test]
    fn what_a_newer_writer_adds_is_passed_over() {
        let live = live("BTC-USDT", "2026-11-25T12:00:00Z");
        let text = String::from_utf8(write_quote(&live, "c1")).unwrap();
        let newer = text.replacen('{', r#"{"mood":"good","#, 1);
        assert!(read_quote("quotes.binance.BTC-USDT", newer.as_bytes(), &names()).is_ok());
    }

    #[test]
    fn junk_is_refused_with_its_reason() {
        let text = String::from_utf8(write_quote(&live("BTC-USDT", "2026-11-25T12:00:00Z"), "c1")).unwrap();
        for (from, to, reason) in [
            (r#""version":1"#, r#""version":2"#, "version 2"),
            (r#""version":1"#, r#""version":"1""#, "invalid type"),
            (r#""exchange":"binance""#, r#""exchange":"krakn""#, "`krakn` is not known"),
            (r#""exchange":"binance""#, r#""exchange":"cbr""#, "belongs on `quotes.cbr.BTC-USDT`"),
            (r#""BTC-USDT""#, r#""ETH-USDT""#, "belongs on `quotes.binance.ETH-USDT`"),
            (r#""BTC-USDT""#, r#""BTCUSDT""#, "no direction"),
            (r#""collector":"c1""#, r#""collector":"a.b""#, "collector"),
            (r#""collector":"c1""#, r#""collector":"""#, "collector"),
            ("websocket", "pigeon", "transport"),
            (r#""bid":"64000.10""#, r#""bid":64000.10"#, "invalid type"),
            (r#""bid":"64000.10""#, r#""bid":"1e400""#, "a price"),
            (r#""bid":"64000.10""#, r#""bid":"""#, "a price"),
            (r#""bid":"64000.10""#, r#""bid":"0.00000000000000000000000000000000000001""#, "a price"),
            (r#""heard_at_us":"#, r#""heard_at_us":9"#, "a time"),
            (r#""sequence":10"#, r#""sequence":-1"#, "invalid value"),
            (r#""sequence":10"#, r#""sequence":10,"starts_at_us":5"#, "a beginning and an end"),
            ("}}", "", "EOF"),
            (&text, "", "EOF"),
            (&text, "[]", "invalid length"),
        ] {
            let junk = text.replacen(from, to, 1);
            assert_ne!(junk, text, "{from} is not there");
            let refusal = read_quote("quotes.binance.BTC-USDT", junk.as_bytes(), &names()).unwrap_err();
            assert!(refusal.to_string().contains(reason), "{to}: {refusal}");
        }
        let long = format!("{text}{}", " ".repeat(LARGEST));
        assert!(matches!(
            read_quote("quotes.binance.BTC-USDT", long.as_bytes(), &names()),
            Err(WireError::TooLarge(_))
        ));
    }

    #[test]
    fn no_cut_and_no_flipped_bit_is_taken_for_another_kind_or_ends_in_a_panic() {
        let live = live("BTC-USDT", "2026-11-25T12:00:00Z");
        let mut messages = vec![write_quote(&live, "c1"), write_state(&told_state())];
        messages.extend(records().iter().map(write_record));
        let subjects = ["quotes.binance.BTC-USDT", "state.binance.c1", "records.binance.BTC-USDT"];
        for message in &messages {
            for cut in 0..message.len() {
                let cut = &message[..cut];
                assert!(read_quote(subjects[0], cut, &names()).is_err());
                assert!(read_state(subjects[1], cut, &names()).is_err());
                assert!(read_record(subjects[2], cut, &names()).is_err());
            }
            for bit in 0..message.len() * 8 {
                let mut bytes = message.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                drop(read_quote(subjects[0], &bytes, &names()));
                drop(read_state(subjects[1], &bytes, &names()));
                drop(read_record(subjects[2], &bytes, &names()));
            }
        }
        assert!(read_state("state.binance.c1", &messages[0], &names()).is_err());
        assert!(read_record("records.binance.BTC-USDT", &messages[0], &names()).is_err());
        assert!(read_quote("quotes.binance.BTC-USDT", &messages[1], &names()).is_err());
    }
}
