//! One recorded frame: what it tells of a book, and how it is told again.
//!
//! Separate from the play, because it is all that an exchange's own file has to know of recordings.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::market::number;

use super::book::{Book, Price};

/// A frame as it was received, and when: since 1970, by the recorder's clock.
pub(super) type Received = (Duration, Vec<u8>);

/// Reads a received frame; `None` if it is another exchange's, or not one that tells a price.
pub(super) type Read = dyn Fn(&[u8]) -> Option<Recorded>;

/// How an exchange reads recordings of itself.
pub(super) struct Recogniser {
    /// Which frames it reads, for people.
    pub frames: &'static str,
    /// Reads one of them.
    pub read: Box<Read>,
}

impl Recogniser {
    /// Of an exchange whose frames are texts that stand for themselves.
    pub(super) fn of_text(frames: &'static str, read: fn(&str) -> Option<Recorded>) -> Self {
        Self { frames, read: Box::new(move |frame| read(std::str::from_utf8(frame).ok()?)) }
    }
}

/// One recorded frame, as an exchange has recognised it.
#[derive(Debug)]
pub(super) struct Recorded {
    /// The subscription that it belongs to, as that exchange names it.
    pub topic: String,
    /// Its symbol.
    pub symbol: Rc<str>,
    /// What it tells about the book; `None` if nothing.
    pub told: Option<Told>,
    /// The frame without the exchange's envelope.
    pub payload: String,
    /// Where times stand in it.
    times: Vec<(Range<usize>, Time)>,
}

/// What a recorded frame tells about the book of its symbol.
#[derive(Debug)]
pub(super) enum Told {
    /// Bid and ask; the last price is missing where the frame does not tell it, and the sequence is 0.
    Best(Box<Book>),
    /// The last price.
    Last(Price),
}

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    /// Whole seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Millis,
    /// Microseconds since 1970.
    Micros,
    /// `2021-04-17T16:43:30.244075Z`.
    Rfc3339,
}

impl Time {
    fn written(self, at: DateTime<Utc>) -> String {
        match self {
            Self::Seconds => at.timestamp().to_string(),
            Self::Millis => at.timestamp_millis().to_string(),
            Self::Micros => at.timestamp_micros().to_string(),
            Self::Rfc3339 => at.to_rfc3339_opts(SecondsFormat::Micros, true),
        }
    }
}

impl Told {
    /// Bid, its size, ask, and its size; and what else is told. `None` if one of them is no number.
    pub(super) fn best(sides: [&str; 4], last: Option<&str>, sequence: u64) -> Option<Self> {
        let [bid, bid_size, ask, ask_size] = sides.map(number::decimal);
        let last = last.map_or(Some(Price::Missing), |last| number::decimal(last).map(Price::Number));
        Some(Self::Best(Box::new(Book {
            bid: Some(Price::Number(bid?)),
            bid_size: bid_size?,
            ask: Some(Price::Number(ask?)),
            ask_size: ask_size?,
            last: last?,
            sequence,
        })))
    }
}

impl Recorded {
    /// A frame that is told again as it is.
    pub(super) fn new(topic: &str, symbol: &str, told: Option<Told>, payload: &str) -> Self {
        let (topic, payload) = (topic.to_owned(), payload.to_owned());
        Self { topic, symbol: symbol.into(), told, payload, times: Vec::new() }
    }

    /// The same with the members of its payload that are times, numbers or texts.
    pub(super) fn with_times(self, members: &[(&str, Time)]) -> Self {
        let mut times = Vec::new();
        for (name, time) in members {
            let name = format!("\"{name}\":");
            for (at, name) in self.payload.match_indices(&name) {
                let value = &self.payload[at + name.len()..];
                let starts_at = self.payload.len() - value.trim_start_matches([' ', '"']).len();
                let is_end = |c: char| !c.is_ascii_alphanumeric() && !"-+:.".contains(c);
                let len = self.payload[starts_at..].find(is_end).unwrap_or(0);
                times.push((starts_at..starts_at + len, *time));
            }
        }
        times.sort_unstable_by_key(|(range, _)| range.start);
        Self { times, ..self }
    }

    /// The payload with times of this moment: a client may refuse what is as old as a recording.
    pub(super) fn told_at(&self, at: DateTime<Utc>) -> String {
        let mut told = String::with_capacity(self.payload.len());
        let mut from = 0;
        for (range, time) in &self.times {
            told.push_str(&self.payload[from..range.start]);
            told.push_str(&time.written(at));
            from = range.end;
        }
        told.push_str(&self.payload[from..]);
        told
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::simulator::exchange::Exchange;
    use crate::simulator::protocol::PROTOCOLS;
    use crate::simulator::truth::Truth;

    #[test]
    fn times_are_those_of_the_moment_and_all_else_is_as_it_was() {
        let payload = r#"{"ts": "17", "ets":5,"at":"2021-04-17T16:43:30.24Z","b":[1.50],"us":9}"#;
        let recorded = Recorded::new("t", "S", None, payload).with_times(&[
            ("us", Time::Micros),
            ("ts", Time::Millis),
            ("at", Time::Rfc3339),
            ("absent", Time::Seconds),
        ]);
        let at = DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        let told = concat!(
            r#"{"ts": "1700000000123", "ets":5,"at":"2023-11-14T22:13:20.123456Z","b":[1.50],"#,
            r#""us":1700000000123456}"#
        );
        assert_eq!(recorded.told_at(at), told);
    }

    #[test]
    fn what_is_no_number_tells_nothing() {
        assert!(Told::best(["1", "2", "3", "4"], None, 5).is_some());
        assert!(Told::best(["1", "", "3", "4"], None, 5).is_none());
        assert!(Told::best(["1", "2", "3", "4"], Some("x"), 5).is_none());
    }

    fn told(exchange: &str, frames: &[&[u8]]) -> Vec<Option<Recorded>> {
        let truth = Rc::new(RefCell::new(Truth::new(7)));
        let row = PROTOCOLS.iter().find(|row| row.name == exchange).unwrap();
        let exchange = Exchange::new(row, &truth, &Rc::default(), 1.0);
        let received: Vec<Received> = frames.iter().map(|frame| (Duration::ZERO, frame.to_vec())).collect();
        let recogniser = exchange.recogniser(&received).unwrap();
        received.iter().map(|(_, frame)| (recogniser.read)(frame)).collect()
    }

    #[test]
    fn every_exchange_with_sockets_reads_its_documented_frames_and_no_others() {
        for (exchange, symbol, frame) in [
            ("binance", "BTCUSDT", r#"{"u":7,"s":"BTCUSDT","b":"1.5","B":"2","a":"1.6","A":"3"}"#),
            (
                "kraken",
                "BTC/USD",
                r#"{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":1.5,"bid_qty":2,"ask":1.6,"ask_qty":3,"last":1.6}]}"#,
            ),
            (
                "coinbase",
                "BTC-USD",
                r#"{"type":"ticker","sequence":7,"product_id":"BTC-USD","price":"1.6","best_bid":"1.5","best_ask":"1.6","time":"2026-01-02T03:04:05.678901Z"}"#,
            ),
            (
                "okx",
                "BTC-USDT",
                r#"{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"instType":"SPOT","instId":"BTC-USDT","last":"1.6","askPx":"1.6","askSz":"3","bidPx":"1.5","bidSz":"2","ts":"1"}]}"#,
            ),
            (
                "bybit",
                "BTCUSDT",
                r#"{"topic":"orderbook.1.BTCUSDT","ts":1,"type":"snapshot","data":{"s":"BTCUSDT","b":[["1.5","2"]],"a":[["1.6","3"]],"u":7,"seq":7},"cts":1}"#,
            ),
            (
                "kucoin",
                "BTC-USDT",
                r#"{"type":"message","topic":"/market/ticker:all","subject":"BTC-USDT","data":{"bestAsk":"1.6","bestAskSize":"3","bestBid":"1.5","bestBidSize":"2","price":"1.6","sequence":"7","time":1}}"#,
            ),
            (
                "gate",
                "BTC_USDT",
                r#"{"time":1,"channel":"spot.book_ticker","event":"update","result":{"t":1,"u":7,"s":"BTC_USDT","b":"1.5","B":"2","a":"1.6","A":"3"}}"#,
            ),
            (
                "htx",
                "btcusdt",
                r#"{"ch":"market.btcusdt.bbo","ts":1,"tick":{"seqId":7,"ask":1.6,"askSize":3,"bid":1.5,"bidSize":2,"quoteTime":1,"symbol":"btcusdt"}}"#,
            ),
            (
                "bitstamp",
                "btcusd",
                r#"{"event":"data","channel":"order_book_btcusd","data":{"timestamp":"1","microtimestamp":"1","bids":[["1.5","2"],["1.4","1"]],"asks":[["1.6","3"]]}}"#,
            ),
        ] {
            let others =
                ["[7,[1.5,2,1.6,3,0,0,1.6,5,2,1]]", r#"{"channel":"trades","data":[]}"#, "<html>", ""];
            let frames: Vec<&[u8]> = [frame].iter().chain(&others).map(|frame| frame.as_bytes()).collect();
            let mut read = told(exchange, &frames).into_iter();
            let recorded = read.next().unwrap().unwrap_or_else(|| panic!("{exchange} reads nothing"));
            let Some(Told::Best(book)) = recorded.told else { panic!("{exchange} reads no book") };
            assert_eq!(&*recorded.symbol, symbol);
            let sides = [book.bid.unwrap(), book.ask.unwrap()].map(|price| price.fixed(1));
            assert_eq!(
                (sides, book.bid_size < book.ask_size || exchange == "coinbase"),
                (["1.5".to_owned(), "1.6".to_owned()], true),
                "{exchange}"
            );
            assert!(read.all(|other| other.is_none()), "{exchange}");
        }
    }

    #[test]
    fn a_number_of_bitfinex_means_what_the_recording_says_wherever_it_says_so() {
        let read = told(
            "bitfinex",
            &[
                b"[7,[1.5,2,1.6,3,0,0,1.6,5,2,1],1]",
                br#"{"event":"subscribed","channel":"ticker","chanId":7,"symbol":"tBTCUSD","pair":"BTCUSD"}"#,
                br#"{"event":"subscribed","channel":"book","chanId":8,"symbol":"tBTCUSD"}"#,
                b"[8,[1.5,2,1.6,3,0,0,1.6,5,2,1],2]",
                br#"[7,"hb",3]"#,
            ],
        );
        let symbols: Vec<Option<&str>> = read.iter().map(|it| it.as_ref().map(|it| &*it.symbol)).collect();
        assert_eq!(symbols, [Some("tBTCUSD"), None, None, None, None]);
        assert_eq!(read[0].as_ref().unwrap().payload, "[1.5,2,1.6,3,0,0,1.6,5,2,1]");
    }
}
