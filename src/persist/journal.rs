//! Records as text, for the outbox: one line each, with a checksum of its own.
//!
//! Separate because a line is what survives when its neighbour is damaged: a disk that flips a bit costs the one
//! record that it hits. Prices are written digit by digit, times in microseconds since the epoch.

use std::fmt::Write;
use std::str::Split;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use xxhash_rust::xxh3::xxh3_64;

use super::names;
use crate::market::{Quote, Validity};
use crate::rate_book::{Accepted, EventKind, Record, RecordedEvent, Span};

/// What stands between the fields of a line. No field holds one: texts of events are cleaned of it.
const SEPARATOR: char = '\t';

/// Length of a checksum, in hexadecimal digits.
const CHECKSUM_LENGTH: usize = 16;

/// What was read from a text.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Journal {
    /// The records that are whole.
    pub(super) records: Vec<Record>,
    /// Lines that are not.
    pub(super) num_damaged: usize,
}

/// The lines of these records.
pub(super) fn write(records: &[Record]) -> String {
    let mut text = String::with_capacity(records.len() * 128);
    let mut line = String::with_capacity(256);
    for record in records {
        line.clear();
        // Writing into a `String` cannot fail.
        let written = match record {
            Record::Quote(accepted) => write_quote(&mut line, accepted),
            Record::Event(event) => write_event(&mut line, event),
        };
        if written.is_ok() && writeln!(text, "{:016x}{SEPARATOR}{line}", xxh3_64(line.as_bytes())).is_err() {
            return text;
        }
    }
    text
}

/// The records of these lines.
pub(super) fn read(text: &[u8]) -> Journal {
    let mut journal = Journal::default();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match std::str::from_utf8(line).ok().and_then(read_line) {
            Some(record) => journal.records.push(record),
            None => journal.num_damaged += 1,
        }
    }
    journal
}

fn read_line(line: &str) -> Option<Record> {
    let checksum = u64::from_str_radix(line.get(..CHECKSUM_LENGTH)?, 16).ok()?;
    let line = line.get(CHECKSUM_LENGTH..)?.strip_prefix(SEPARATOR)?;
    if xxh3_64(line.as_bytes()) != checksum {
        return None;
    }
    let mut fields = Fields(line.split(SEPARATOR));
    match fields.text()? {
        "quote" => read_quote(&mut fields).map(Record::Quote),
        "event" => read_event(&mut fields).map(Record::Event),
        _ => None,
    }
}

fn write_quote(line: &mut String, accepted: &Accepted) -> std::fmt::Result {
    let Accepted { exchange, quote, value, received_at, span } = accepted;
    let (valid_from, valid_until) = match quote.validity {
        Validity::Live => (None, None),
        Validity::Fixing { starts_at, ends_at } => (Some(starts_at), Some(ends_at)),
    };
    write!(line, "quote\t{exchange}\t{}\t{}", quote.direction, received_at.timestamp_micros())?;
    for price in [quote.bid, quote.ask, quote.last, Some(*value)] {
        write_optional(line, price.map(|price| price.normalize()))?;
    }
    for time in [quote.quoted_at, valid_from, valid_until] {
        write_optional(line, time.map(|time| time.timestamp_micros()))?;
    }
    write_optional(line, quote.sequence)?;
    if *span != Span::of(*value) {
        write!(line, "\t{}\t{}\t{}\t{}", span.num_quotes, span.open, span.high, span.low)?;
    }
    Ok(())
}

fn read_quote(fields: &mut Fields) -> Option<Accepted> {
    let exchange = names::known(fields.text()?);
    let direction = fields.text()?.parse().ok()?;
    let received_at = fields.time()??;
    let (bid, ask, last, value) = (fields.price()?, fields.price()?, fields.price()?, fields.price()??);
    let (quoted_at, valid_from, valid_until) = (fields.time()?, fields.time()?, fields.time()?);
    let sequence = match fields.text()? {
        "" => None,
        text => Some(text.parse().ok()?),
    };
    let validity = match (valid_from, valid_until) {
        (Some(starts_at), Some(ends_at)) => Validity::Fixing { starts_at, ends_at },
        _ => Validity::Live,
    };
    let span = match fields.text() {
        None => Span::of(value),
        Some(num_quotes) => Span {
            num_quotes: num_quotes.parse().ok()?,
            open: fields.price()??,
            high: fields.price()??,
            low: fields.price()??,
        },
    };
    let quote = Quote { bid, ask, last, quoted_at, sequence, validity, ..Quote::empty(direction) };
    Some(Accepted { exchange, quote, value, received_at, span })
}

fn write_event(line: &mut String, event: &RecordedEvent) -> std::fmt::Result {
    let exchange = event.exchange.map_or("", |exchange| exchange.as_str());
    let (kind, at) = (event.kind.as_str(), event.at.timestamp_micros());
    let reason = event.reason.replace(char::is_control, " ");
    write!(line, "event\t{at}\t{kind}\t{exchange}\t{}\t{reason}", event.count)
}

fn read_event(fields: &mut Fields) -> Option<RecordedEvent> {
    let at = fields.time()??;
    let kind = EventKind::parse(fields.text()?)?;
    let exchange = Some(fields.text()?).filter(|name| !name.is_empty()).map(names::known);
    let count = fields.text()?.parse().ok()?;
    let reason = fields.text()?.to_owned();
    Some(RecordedEvent { at, kind, exchange, reason, count })
}

fn write_optional(line: &mut String, value: Option<impl std::fmt::Display>) -> std::fmt::Result {
    match value {
        Some(value) => write!(line, "\t{value}"),
        None => line.write_char(SEPARATOR),
    }
}

/// The fields of a line, one after the other. The outer `None` is a line that is not as it was written.
struct Fields<'a>(Split<'a, char>);

impl<'a> Fields<'a> {
    fn text(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    fn price(&mut self) -> Option<Option<Decimal>> {
        match self.text()? {
            "" => Some(None),
            text => Decimal::from_str_exact(text).ok().map(Some),
        }
    }

    fn time(&mut self) -> Option<Option<DateTime<Utc>>> {
        match self.text()? {
            "" => Some(None),
            text => DateTime::from_timestamp_micros(text.parse().ok()?).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::ExchangeName;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn records() -> Vec<Record> {
        let at = time("2026-11-25T12:00:00.123456Z");
        let direction = "BTC-USDT".parse().unwrap();
        let book = Quote::book(direction, "64000.10".parse().unwrap(), "64000.12".parse().unwrap());
        let fixing = Quote {
            quoted_at: Some(at),
            validity: Validity::Fixing { starts_at: at, ends_at: time("2026-11-30T21:00:00Z") },
            sequence: Some(u64::MAX),
            ..Quote::last(direction, "0.0000000000000000000000000001".parse().unwrap())
        };
        let accepted = |quote: Quote, num_quotes| {
            let value = quote.value().unwrap();
            let span = Span { num_quotes, ..Span::of(value) };
            Record::Quote(Accepted {
                exchange: ExchangeName::new("binance"),
                quote,
                value,
                received_at: at,
                span,
            })
        };
        let event = RecordedEvent {
            at,
            kind: EventKind::Failover,
            exchange: None,
            reason: "nobody can answer (every exchange is down)".to_owned(),
            count: 1,
        };
        vec![accepted(book, 1), accepted(fixing, 17), Record::Event(event)]
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        assert_eq!(read(write(&records()).as_bytes()), Journal { records: records(), num_damaged: 0 });
        assert_eq!(read(b""), Journal::default());
    }

    #[test]
    fn a_reason_of_several_lines_becomes_one_line() {
        let mut event = records().pop().unwrap();
        if let Record::Event(event) = &mut event {
            event.reason = "two\nlines\tand more".to_owned();
        }
        let read = read(write(&[event]).as_bytes());
        let Some(Record::Event(event)) = read.records.first() else { panic!("{read:?}") };
        assert_eq!(event.reason, "two lines and more");
    }

    #[test]
    fn every_cut_and_every_flipped_bit_costs_only_the_records_that_it_hits() {
        let (records, text) = (records(), write(&records()));
        let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
        for cut in 0..text.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(read(&text.as_bytes()[..cut]).records, records[..whole], "cut at {cut}");
        }
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let hit = ends.iter().filter(|end| **end < bit / 8).count();
            // A damaged end of line joins the next record to its own.
            let is_end = ends.contains(&(bit / 8));
            // A digit of a checksum says the same in either case.
            let is_same = text.as_bytes()[bit / 8].eq_ignore_ascii_case(&bytes[bit / 8]);
            let start = if hit == 0 { 0 } else { ends[hit - 1] + 1 };
            let is_harmless = is_same && bit / 8 < start + CHECKSUM_LENGTH;
            let survives = |at: usize| is_harmless || at != hit && !(is_end && at == hit + 1);
            let expected: Vec<Record> =
                (0..records.len()).filter(|at| survives(*at)).map(|at| records[at].clone()).collect();
            assert_eq!(read(&bytes).records, expected, "bit {bit}");
        }
    }
}
