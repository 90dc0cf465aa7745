//! What has to hold for whatever bytes are read: of an exchange, of a client, of an operator.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::DateTime;
use ratebook::config::{ConfigError, Loaded};
use ratebook::exchange::decode::decode;
use ratebook::exchange::{
    Access, EXCHANGES, Exchange, FrameError, Reading, Request, Row, Scope, Source, row,
};
use ratebook::market::{Direction, ExchangeName, Quote};
use ratebook::rate_book::gates::check_form;
use rust_decimal::Decimal;
use serde_json::value::RawValue;

/// Most characters of foreign text that a refusal may repeat for people.
const MAX_SHOWN: usize = 60;

/// Reads an input as an exchange's: its first byte says where the rest came from, as [`prefix`] has it.
pub fn exchange(name: &str, input: &[u8]) {
    let row = row(name).expect("the targets are named after exchanges");
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind {
        b'f' => {
            let frames: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
            check_twice(row, |exchange| {
                frames.iter().map(|frame| exchange.read(Source::Socket, frame)).collect()
            });
            check_decoded(row, false, bytes);
        }
        b'b' => {
            check_twice(row, |exchange| vec![exchange.read(Source::Poll, bytes)]);
            check_decoded(row, true, bytes);
        }
        b'i' => check_twice(row, |exchange| vec![exchange.read(Source::Instruments, bytes)]),
        b'h' => check_twice(row, |exchange| vec![exchange.read(Source::Handshake, bytes)]),
        b'p' => check_twice(row, |exchange| {
            let polls = exchange.feed().polls;
            polls.iter().map(|request| exchange.read_poll(request, bytes)).collect()
        }),
        b'e' => check_twice(row, |exchange| {
            let request = exchange.feed().polls.first().cloned().unwrap_or_else(|| Request::get("/"));
            [400, 403, 429].map(|status| Ok(exchange.read_failure(&request, status, bytes))).into()
        }),
        // A list of instruments, then frames that speak of it.
        b's' => check_twice(row, |exchange| {
            let mut parts = bytes.split(|byte| *byte == b'\n');
            let list = parts.next().unwrap_or_default();
            let mut readings = vec![exchange.read(Source::Instruments, list)];
            readings.extend(parts.map(|frame| exchange.read(Source::Socket, frame)));
            readings
        }),
        _ => {}
    }
}

/// What stands before a fixture so that [`exchange`] reads it as what it is: frames of a socket, one per line, or a
/// body, which may have come from any request.
pub fn prefix(file_is_frames: bool) -> &'static [u8] {
    if file_is_frames { b"fs" } else { b"biphe" }
}

/// A plug-in that knows every symbol, and one that was asked for a few.
fn plug_ins(row: &Row) -> [Box<dyn Exchange>; 2] {
    let access = Access { rest_url: row.rest_url.to_owned(), api_key: None };
    let few = ["BTC-USD", "ETH-USD", "BTC-RUB", "USDTTRC-RUB", "BTC-USDT", "EUR-USD"];
    let few = few.map(|it| it.parse().expect("these are directions")).to_vec();
    [(row.make)(&access, Scope::Everything), (row.make)(&access, Scope::Directions(few))]
}

type Readings = Vec<Result<Reading, FrameError>>;

/// Reads by a fresh plug-in, and by the reader that it makes for a connection where it does; each does it a second time.
fn check_twice(row: &Row, read: impl Fn(&mut dyn Exchange) -> Readings) {
    for (first, second) in plug_ins(row).into_iter().zip(plug_ins(row)) {
        let of_connection = first.for_connection().zip(second.for_connection());
        for (mut reader, mut another) in of_connection.into_iter().chain([(first, second)]) {
            let readings = read(&mut *reader);
            assert_eq!(readings, read(&mut *another), "the same bytes are read in two ways");
            readings.iter().flatten().for_each(check_reading);
            // What it has learnt has to be of use.
            check_feed(&*reader);
        }
    }
}

fn check_reading(reading: &Reading) {
    for quote in &reading.quotes {
        assert_ne!(quote.direction.base, quote.direction.counter, "{quote:?}");
        if check_form(quote).is_ok() {
            check_accepted(quote);
        }
    }
    for (symbol, _) in &reading.refused {
        assert!(symbol.chars().count() <= MAX_SHOWN, "{symbol}");
    }
}

/// What has passed the gates is a price.
fn check_accepted(quote: &Quote) {
    let value = quote.value().expect("what passes has a value");
    assert!(value > Decimal::ZERO, "{quote:?}");
    assert!([quote.bid, quote.ask, quote.last].into_iter().flatten().all(|price| price > Decimal::ZERO));
    if let (Some(bid), Some(ask)) = (quote.bid, quote.ask) {
        assert!(bid < value && value < ask, "{quote:?}");
    }
}

/// A feed says each direction once, and does not both quote and leave it out.
fn check_feed(exchange: &dyn Exchange) {
    let feed = exchange.feed();
    let mut seen = HashMap::new();
    for direction in feed.listens_to.iter().chain(&feed.unsupported) {
        assert_eq!(seen.insert(*direction, ()), None, "{direction} is in the feed twice");
    }
}

/// `ratebook decode` writes one line of JSON for each line, with numbers that can be read back as prices.
fn check_decoded(row: &'static Row, is_body: bool, bytes: &[u8]) {
    let decoded = || {
        let mut output = Vec::new();
        decode(row, Scope::Everything, is_body, check_form, &mut &bytes[..], &mut output)
            .expect("neither reading nor writing memory fails");
        String::from_utf8(output).expect("JSON is text")
    };
    let output = decoded();
    assert_eq!(output, decoded(), "the same bytes are decoded in two ways");
    let num_lines = match bytes {
        _ if is_body => 1,
        [] => 0,
        [.., b'\n'] => bytes.split(|byte| *byte == b'\n').count() - 1,
        _ => bytes.split(|byte| *byte == b'\n').count(),
    };
    assert_eq!(output.lines().count(), num_lines);
    for line in output.lines() {
        let line: HashMap<String, Box<RawValue>> = serde_json::from_str(line).expect("a line is an object");
        let Some(quotes) = line.get("quotes") else { continue };
        let quotes: Vec<HashMap<&str, &RawValue>> =
            serde_json::from_str(quotes.get()).expect("quotes are a list of objects");
        for price in quotes.iter().flat_map(|quote| ["bid", "ask", "last"].map(|side| quote[side].get())) {
            let is_plain = price.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            assert!(
                price == "null" || is_plain && price.parse::<Decimal>().is_ok_and(|it| it > Decimal::ZERO)
            );
        }
    }
}

/// Reads an input as the query of every route that has one.
pub fn query(input: &[u8]) {
    let Ok(query) = std::str::from_utf8(input) else { return };
    let directions: Arc<[Direction]> =
        ["BTC-USD", "USDTTRC-RUB"].map(|it| it.parse().expect("these are directions")).into();
    let exchanges: Arc<[ExchangeName]> = EXCHANGES.iter().map(|row| row.name).collect();
    let now = DateTime::from_timestamp(1_795_000_000, 0).expect("a time of our days");
    let read = || ratebook::http::read_query(query, &directions, &exchanges, now);
    let outcomes = read();
    assert_eq!(outcomes, read(), "the same query is read in two ways");
    for refusal in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert!(!refusal.is_empty());
        assert!(refusal.chars().count() < 600, "a refusal repeats too much: {refusal}");
    }
}

/// Reads an input as a settings file. What is accepted can be shown, and read back as the same, secrets excepted: those
/// are not shown, and a comment says so.
pub fn settings(input: &[u8]) {
    let file = Scratch::with(input);
    match Loaded::read(Some(&file.0), std::iter::empty()) {
        Ok(loaded) => {
            let shown = loaded.to_toml();
            let again = Scratch::with(shown.as_bytes());
            let again = Loaded::read(Some(&again.0), std::iter::empty())
                .unwrap_or_else(|error| panic!("what is shown cannot be read: {error}\n{shown}"));
            assert_eq!(without_comments(&loaded), without_comments(&again));
        }
        Err(ConfigError::Bad(problems)) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|problem| !problem.to_string().is_empty()));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn without_comments(loaded: &Loaded) -> String {
    let toml = format!("{:?}", loaded.settings);
    toml.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

/// A file in memory that is gone with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn with(bytes: &[u8]) -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let memory = PathBuf::from("/dev/shm");
        let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let path = folder.join(format!("ratebook-settings-{}-{number}.toml", std::process::id()));
        fs::write(&path, bytes).expect("the folder for short-lived files can be written");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}
