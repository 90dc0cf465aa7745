//! What exchanges really sent, read as other people's tests expect.
//!
//! The recordings lie beside the project, not in it. Where they are absent, each test says so and passes. A format
//! that we do not use has to give nothing or an error, and never another price; those are listed by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use chrono::DateTime;
use flate2::read::GzDecoder;
use ratebook::exchange::decode::decode;
use ratebook::exchange::{Scope, row};
use ratebook::market::number;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

mod bitfinex;
mod fiat;
mod gate;
mod htx;
mod samples;

/// Samples of formats that we do not use, by their id in `pairs.jsonl`, each with what it is.
const UNUSED: &[(&str, &str)] = &[
    ("p0004", "binance ticker/price"),
    ("p0005", "binance ticker/price"),
    ("p0014", "coinbase price of another API, which names its product in the address"),
    ("p0029", "binance @ticker stream"),
    ("p0032", "binance @aggTrade stream"),
    ("p0040", "bitstamp trade"),
    ("p0046", "kraken's first socket API, and the average of the day instead of a price"),
    ("p0073", "coingecko coins/markets"),
    ("p0091", "binance ticker/price"),
    ("p0092", "binance depth"),
    ("p0063", "kucoin ticker without a book"),
    ("p0083", "bybit tickers of the retired v2"),
    ("p0084", "okx order book of the retired v3"),
];

/// The exchanges that are read here.
const EXCHANGES: &[&str] =
    &["binance", "kraken", "coinbase", "okx", "bybit", "kucoin", "bitstamp", "coingecko", "cbr"];

/// Sessions of many channels: exchange, file, and how many of its frames are tickers of the channel that we use.
const SESSIONS: &[(&str, &str, usize)] = &[
    // Of the first socket API, of which nothing is read.
    ("kraken", "kraken_v1_2021-04-17", 0),
    ("coinbase", "coinbase_exchange_2021-04-17", 107),
    // Of changes of order books, of trades, and of bodies that do not say of which pair; of whole books there is none.
    ("bitstamp", "bitstamp_2022-01-05", 0),
];

/// The folder of recordings; `None`, with a message, where it is absent.
pub(crate) fn recordings() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("no recordings in {}, so there is nothing to compare", folder.display());
    None
}

fn read_gz(file: impl AsRef<Path>) -> String {
    let mut text = String::new();
    GzDecoder::new(fs::File::open(file).unwrap()).read_to_string(&mut text).unwrap();
    text
}

/// A line of `decode`'s output.
#[derive(Debug, Deserialize)]
pub(crate) struct Line {
    #[serde(default)]
    pub(crate) quotes: Vec<QuoteLine>,
    #[serde(default)]
    refused: Vec<Value>,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct QuoteLine {
    direction: String,
    bid: Option<Box<RawValue>>,
    ask: Option<Box<RawValue>>,
    last: Option<Box<RawValue>>,
    quoted_at: Option<String>,
}

/// A quote in a form that compares: direction, bid, ask, last, milliseconds since 1970.
pub(crate) type Quote = (String, Option<Decimal>, Option<Decimal>, Option<Decimal>, Option<i64>);

impl QuoteLine {
    pub(crate) fn quote(&self) -> Quote {
        let number =
            |raw: &Option<Box<RawValue>>| raw.as_ref().map(|raw| number::decimal(raw.get()).unwrap());
        let time = self.quoted_at.as_ref().map(|time| DateTime::parse_from_rfc3339(time).unwrap());
        let ms = time.map(|time| time.timestamp_millis());
        (self.direction.clone(), number(&self.bid), number(&self.ask), number(&self.last), ms)
    }
}

fn run(exchange: &str, is_body: bool, input: &[u8]) -> Vec<Line> {
    let mut output = Vec::new();
    let row = row(exchange).unwrap();
    decode(row, Scope::Everything, is_body, |_| Ok(()), &mut &input[..], &mut output).unwrap();
    String::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Reads one payload as a line, and a body also as a body; both have to say the same.
fn quotes_of(exchange: &str, is_body: bool, payload: &str) -> Vec<Quote> {
    let line = serde_json::to_string(payload).unwrap();
    let as_line = run(exchange, false, line.as_bytes());
    assert_eq!(as_line.len(), 1);
    let quotes: Vec<Quote> = as_line[0].quotes.iter().map(QuoteLine::quote).collect();
    if is_body {
        let as_body = run(exchange, true, payload.as_bytes());
        let as_body: Vec<Quote> = as_body[0].quotes.iter().map(QuoteLine::quote).collect();
        assert_eq!(quotes, as_body);
    }
    quotes
}

/// Our direction for a symbol as the samples write it: `BTC/USDT`, `BTC-USDT`, `BTCUSDT`, `bitcoin/usd`.
fn direction_of(symbol: &str) -> String {
    let (base, counter) = match symbol.split_once(['/', '-']) {
        Some(("bitcoin", counter)) => ("BTC", counter),
        Some(("ethereum", counter)) => ("ETH", counter),
        None if symbol == "XXBTZUSD" => ("BTC", "USD"),
        None if symbol == "XETHZUSD" => ("ETH", "USD"),
        Some(sides) => sides,
        None => {
            let counters = ["USDT", "BTC", "ETH"];
            counters.iter().find_map(|counter| Some((symbol.strip_suffix(counter)?, *counter))).unwrap()
        }
    };
    format!("{base}-{}", counter.to_ascii_uppercase())
}

/// Whether a sample tells a last price alone, whatever else stands in its payload.
fn is_of_last_prices(expected: &Value) -> bool {
    expected["prices"].is_object()
}

/// What a sample says that its payload means; `None` if it means no price.
fn expected_quotes(expected: &Value) -> Option<Vec<Quote>> {
    let number = |value: &Value| value.as_str().map(|text| number::decimal(text).unwrap());
    if let Some(quotes) = expected["quotes"].as_array() {
        let quotes = quotes.iter().map(|quote| {
            let direction = direction_of(quote["symbol"].as_str().unwrap());
            let (bid, ask) = (number(&quote["bid"]), number(&quote["ask"]));
            (direction, bid, ask, number(&quote["last"]), quote["ts_ms"].as_i64())
        });
        return Some(quotes.collect());
    }
    let prices = expected["prices"].as_object()?;
    let prices = prices.iter().map(|(symbol, price)| (direction_of(symbol), None, None, number(price), None));
    Some(prices.collect())
}

#[test]
fn every_sample_gives_the_price_that_it_says_or_none() {
    let Some(folder) = recordings() else { return };
    let mut compared = BTreeSet::new();
    for line in fs::read_to_string(folder.join("pairs.jsonl")).unwrap().lines() {
        let sample: Value = serde_json::from_str(line).unwrap();
        let (id, exchange) = (sample["id"].as_str().unwrap(), sample["venue"].as_str().unwrap());
        let Some(exchange) = EXCHANGES.iter().find(|known| **known == exchange) else { continue };
        let mut quotes = quotes_of(exchange, sample["kind"] == "rest", sample["payload"].as_str().unwrap());
        let is_unused = UNUSED.iter().any(|(unused, _)| *unused == id);
        let expected = if is_unused { None } else { expected_quotes(&sample["expected"]) };
        let mut expected = expected.unwrap_or_default();
        if is_of_last_prices(&sample["expected"]) {
            for (_, bid, ask, _, ms) in &mut quotes {
                (*bid, *ask, *ms) = (None, None, None);
            }
        }
        quotes.sort();
        expected.sort();
        assert_eq!(quotes, expected, "{id}");
        compared.insert(id.to_owned());
    }
    // Ids of samples that are gone would hide that nothing is left out for them any more.
    assert!(UNUSED.iter().all(|(unused, _)| compared.contains(*unused)) && compared.len() > UNUSED.len());
}

#[test]
fn every_documented_sample_gives_its_price_or_none() {
    let Some(folder) = recordings() else { return };
    let quote = |direction: &str, bid: &str, ask: &str, last: &str, ms| {
        let number = |text: &str| number::decimal(text);
        (direction.to_owned(), number(bid), number(ask), number(last), ms)
    };
    let mut expected = BTreeMap::from([
        ("binance GetBookPrice.txt", quote("LTC-BTC", "4", "4.000002", "", None)),
        ("binance GetTicker.txt", quote("BNB-BTC", "4", "4.000002", "4.000002", Some(1_499_869_899_040))),
        ("binance BookTicker.txt", quote("BNB-USDT", "25.3519", "25.3652", "", None)),
        ("kraken GetTicker.txt", quote("BTC-USD", "30300", "30300.1", "30303.2", None)),
        ("kraken Ticker.txt", quote("ETH-USDT", "0.10025", "0.10035", "0.10035", None)),
        ("coingecko GetPrices.txt", quote("ETH-USD", "", "", "1498.64", None)),
        ("bybit GetSpotTickers.txt", quote("BTC-USDT", "20517.96", "20527.77", "20533.13", None)),
        ("kucoin GetTickers.txt", quote("BTC-USDT", "11328.9", "11329", "11328.9", Some(1_602_832_092_060))),
        ("kucoin Ticker.txt", quote("BTC-USDT", "0.049", "0.08", "0.08", Some(1_704_873_323_416))),
        ("kucoin Tickers.txt", quote("BTC-USDT", "0.049", "0.08", "0.08", Some(1_704_873_323_416))),
        ("okx Ticker.txt", quote("BTC-USDT", "8888.88", "9999.99", "9999.99", Some(1_597_026_383_085))),
    ]);
    for exchange in ["binance", "kraken", "coinbase", "coingecko", "okx", "bybit", "kucoin"] {
        let samples = fs::read_to_string(folder.join(format!("doc_samples/{exchange}.jsonl"))).unwrap();
        for sample in samples.lines() {
            let sample: Value = serde_json::from_str(sample).unwrap();
            let name = sample["path"].as_str().unwrap().rsplit('/').next().unwrap();
            let name = format!("{exchange} {name}");
            let payloads = ["body", "ack", "update"].iter().flat_map(|part| match &sample[*part] {
                Value::Array(payloads) => payloads.clone(),
                Value::Null => Vec::new(),
                payload => vec![payload.clone()],
            });
            for payload in payloads {
                // The samples leave a place for the number of a request.
                let payload = payload.as_str().unwrap().replace("|1|", "1");
                let quotes = quotes_of(exchange, sample["kind"] == "rest", &payload);
                if let Some(quote) = quotes.first() {
                    assert_eq!(Some(quote), expected.remove(name.as_str()).as_ref(), "{name}");
                    assert_eq!(quotes.len(), 1, "{name}");
                }
            }
        }
    }
    assert!(expected.is_empty(), "no price from {expected:?}");
}

#[test]
fn larger_bodies_that_are_not_used_give_no_price() {
    let Some(folder) = recordings() else { return };
    let mut num_bodies = 0;
    for entry in fs::read_dir(folder.join("rest")).unwrap() {
        let file = entry.unwrap().path();
        if file.file_name().unwrap().to_string_lossy().starts_with("coingecko") {
            assert_eq!(quotes_of("coingecko", true, &read_gz(file)), []);
            num_bodies += 1;
        }
    }
    assert!(num_bodies > 0);
}

#[test]
fn a_body_of_all_tickers_gives_every_market() {
    let Some(folder) = recordings() else { return };
    let body = read_gz(folder.join("rest/kucoin_fetch_ticker_21Feb2019.json.gz"));
    let quotes: BTreeMap<String, Quote> =
        quotes_of("kucoin", true, &body).into_iter().map(|quote| (quote.0.clone(), quote)).collect();
    // There are 394 rows. Two are of a coin whose code, `R`, is shorter than any of ours.
    assert_eq!(quotes.len(), 392);
    for (direction, bid, ask, last) in [
        ("KCS-BTC", "0.000116", "0.00011638", "0.00011638"),
        ("BTC-USDT", "3956.3164272", "3962.704301", "3962.704301"),
        ("ETH-BTC", "0.03709667", "0.03713195", "0.03709667"),
        ("ETH-USDT", "146.760003", "146.95435", "146.760003"),
    ] {
        let (_, read_bid, read_ask, read_last, _) = &quotes[direction];
        assert_eq!([*read_bid, *read_ask, *read_last], [bid, ask, last].map(number::decimal), "{direction}");
    }
}

#[test]
fn a_table_of_the_bank_of_russia_gives_every_currency_for_one_unit() {
    let Some(folder) = recordings() else { return };
    let table = fs::read(folder.join("fx/cbr_XML_daily_2026-04-25.xml")).unwrap();
    let line = run("cbr", true, &table).remove(0);
    assert!(line.refused.is_empty(), "{:?}", line.refused);
    assert_eq!(line.quotes.len(), 54);
    let quotes: BTreeMap<String, Quote> =
        line.quotes.iter().map(|quote| (quote.direction.clone(), quote.quote())).collect();
    let midnight = DateTime::parse_from_rfc3339("2026-04-25T00:00:00+03:00").unwrap().timestamp_millis();
    for (direction, rate) in [
        ("USD-RUB", "75.5273"),
        ("DZD-RUB", "0.570006"),
        ("AMD-RUB", "0.203123"),
        ("BYN-RUB", "26.796"),
        ("IRR-RUB", "0.0000539256"),
    ] {
        let expected = (direction.to_owned(), None, None, number::decimal(rate), Some(midnight));
        assert_eq!(quotes[direction], expected);
    }
    let history = fs::read(folder.join("fx/cbr_XML_dynamic_USD_R01235_2026-03-01_05.xml")).unwrap();
    let line = run("cbr", true, &history).remove(0);
    assert!(line.quotes.is_empty() && line.error.is_some());
}

#[test]
fn a_session_gives_nothing_but_the_tickers_of_the_channel_that_is_used() {
    let Some(folder) = recordings() else { return };
    for (exchange, name, num_tickers) in SESSIONS {
        let lines = session(exchange, &folder.join(format!("ws/{name}.jsonl.gz")));
        assert_eq!(lines.iter().map(|line| line.quotes.len()).sum::<usize>(), *num_tickers, "{name}");
        assert!(lines.iter().all(|line| line.refused.is_empty()), "{name}");
    }
}

/// The frames and bodies of a recorded session, over one socket or as bodies, and what is made of each.
pub(crate) fn session(exchange: &str, file: &Path) -> Vec<Line> {
    let mut frames = String::new();
    let mut num_frames = 0;
    for line in read_gz(file).lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if matches!(line["dir"].as_str(), Some("recv" | "http")) {
            let frame = match line["b64"].as_str() {
                Some(encoded) => Value::from(format!("b64:{encoded}")),
                None => line["data"].clone(),
            };
            frames.push_str(&frame.to_string());
            frames.push('\n');
            num_frames += 1;
        }
    }
    let lines = run(exchange, false, frames.as_bytes());
    assert_eq!(lines.len(), num_frames);
    lines
}

/// What a session gives has to be every ticker that its source counts in it, as a quote or, where the ticker is of no
/// market of ours, as a refusal.
#[test]
fn a_session_of_many_channels_gives_a_quote_for_every_ticker_and_for_nothing_else() {
    let Some(folder) = recordings() else { return };
    for (exchange, file, num_quotes, num_refused) in [
        ("binance", "ws/binance_2021-10-12.jsonl.gz", 84, 0),
        // 28 tickers, of which three are of a future and a swap.
        ("okx", "ws/okx_v5_2022-05-13.jsonl.gz", 25, 3),
        ("bybit", "ws/bybit_v5_2025-06-13.jsonl.gz", 337, 0),
        ("kucoin", "ws/kucoin_2021-04-25.jsonl.gz", 830, 0),
    ] {
        let lines = session(exchange, &folder.join(file));
        assert_eq!(lines.iter().map(|line| line.quotes.len()).sum::<usize>(), num_quotes, "{file}");
        assert_eq!(lines.iter().map(|line| line.refused.len()).sum::<usize>(), num_refused, "{file}");
        assert!(lines.iter().all(|line| line.error.is_none()), "{file}");
    }
}

#[test]
fn whole_sessions_of_book_tickers_are_read_to_the_last() {
    let Some(folder) = recordings() else { return };
    for (name, direction, num_tickers, last_middle) in
        [("btcusdt", "BTC-USDT", 28_040, "61685.995"), ("ethusdt", "ETH-USDT", 24_077, "2682.505")]
    {
        let session = read_gz(folder.join(format!("ws/binance_spot_{name}_20240808.txt.gz")));
        let frames: Vec<&str> = session.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        let lines = run("binance", false, frames.join("\n").as_bytes());
        assert_eq!(lines.len(), frames.len());
        assert!(lines.iter().all(|line| line.refused.is_empty() && line.error.is_none()));
        let quotes: Vec<&QuoteLine> = lines.iter().flat_map(|line| &line.quotes).collect();
        assert_eq!(quotes.len(), num_tickers);
        assert!(quotes.iter().all(|quote| quote.direction == direction));
        let (_, bid, ask, ..) = quotes.last().unwrap().quote();
        let middle = (bid.unwrap() + ask.unwrap()) / Decimal::TWO;
        assert_eq!(Some(middle), number::decimal(last_middle));
    }
}
