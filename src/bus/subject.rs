//! On which subject a message lies, and by what two of them are known to be the same.
//!
//! Separate because both are promises: permissions and retention go by subjects, and two collectors of one exchange are
//! one stream because they name the same quote the same.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use xxhash_rust::xxh3::xxh3_64;

use crate::market::{ExchangeName, Quote, Validity};
use crate::rate_book::{Accepted, LiveQuote, Record, step};

/// All live quotes.
pub(super) const QUOTES: &str = "quotes.>";

/// The states of all exchanges.
pub(super) const STATES: &str = "state.>";

/// All records that are to be stored.
pub(super) const RECORDS: &str = "records.>";

/// Records that the storing role gave up.
pub(super) const DEAD: &str = "dead.records";

/// What the subjects of states begin with.
pub(super) const STATE_PREFIX: &str = "state.";

/// How long a repetition stands for others that say the same. Half of them are told anyway, so that a price is never
/// older elsewhere by more than this.
const REPETITION: Duration = Duration::from_secs(1);

/// How long a stored repetition of a price stands for others: as often as one is kept.
const STORED_REPETITION: Duration = Duration::from_secs(60);

/// Of a live quote: `quotes.binance.BTC-USDT`. Each date of a fixing has one of its own, because the one of today counts
/// beside the one of tomorrow.
pub(super) fn of_quote(live: &LiveQuote) -> String {
    let (exchange, direction) = (live.exchange, live.quote.direction);
    match live.quote.validity {
        Validity::Live => format!("quotes.{exchange}.{direction}"),
        Validity::Fixing { starts_at, .. } => {
            format!("quotes.{exchange}.{direction}.{}", starts_at.timestamp())
        }
    }
}

/// Of the state of an exchange: `state.binance.NAME`.
pub(super) fn of_state(exchange: ExchangeName, collector: &str) -> String {
    format!("{STATE_PREFIX}{exchange}.{collector}")
}

/// Of a record: `records.binance.BTC-USDT`, `records.events`.
pub(super) fn of_record(record: &Record) -> String {
    match record {
        Record::Quote(accepted) => format!("records.{}.{}", accepted.exchange, accepted.quote.direction),
        Record::Event(_) => "records.events".to_owned(),
    }
}

/// What names a live quote: the same for every collector that heard it, and another one for what says something else.
/// A mere repetition is named by the second in which it came as well, since it makes a price younger.
pub(super) fn id_of_quote(live: &LiveQuote, collector: &str) -> String {
    let quote = Named { quote: &live.quote, heard_at: live.heard_at, collector };
    let name = quote.name(live.exchange);
    if live.is_repeat { format!("{name}:{}", step(live.heard_at, REPETITION)) } else { name }
}

/// What names a record, where one of every step of `every` is stored: the step, so that each has one record, whoever
/// collected it. Where all are stored, a quote is named by itself.
pub(super) fn id_of_record(record: &Record, every: Duration, collector: &str) -> String {
    match record {
        Record::Quote(accepted) if every.is_zero() => {
            let Accepted { exchange, quote, received_at, .. } = accepted;
            let name = Named { quote, heard_at: *received_at, collector }.name(*exchange);
            format!("record:{name}:{}", step(*received_at, STORED_REPETITION))
        }
        Record::Quote(accepted) => {
            let Accepted { exchange, quote, received_at, .. } = accepted;
            let step = step(*received_at, every);
            format!("record:{exchange}:{}:{}:{step}", quote.direction, fixed_from(quote))
        }
        Record::Event(event) => {
            let exchange = event.exchange.map_or("", |exchange| exchange.as_str());
            let (at, kind) = (event.at.timestamp_micros(), event.kind.as_str());
            format!("event:{collector}:{at}:{kind}:{exchange}:{:016x}", xxh3_64(event.reason.as_bytes()))
        }
    }
}

/// A quote, and what has to name it where its exchange has neither number nor time for it.
struct Named<'a> {
    quote: &'a Quote,
    heard_at: DateTime<Utc>,
    collector: &'a str,
}

impl Named<'_> {
    fn name(&self, exchange: ExchangeName) -> String {
        let Quote { direction, bid, ask, last, quoted_at, sequence, .. } = self.quote;
        let which = match (sequence, quoted_at) {
            (Some(sequence), _) => format!("s{sequence}"),
            (None, Some(quoted_at)) => format!("t{}", quoted_at.timestamp_micros()),
            (None, None) => format!("{}{}", self.collector, self.heard_at.timestamp_micros()),
        };
        // A source without a book is known by its last price.
        let last = last.filter(|_| bid.is_none());
        let text =
            |price: Option<Decimal>| price.map(|price| price.normalize().to_string()).unwrap_or_default();
        let (bid, ask, last) = (text(*bid), text(*ask), text(last));
        format!("{exchange}:{direction}:{}:{which}:{bid}:{ask}:{last}", fixed_from(self.quote))
    }
}

fn fixed_from(quote: &Quote) -> String {
    match quote.validity {
        Validity::Live => String::new(),
        Validity::Fixing { starts_at, .. } => starts_at.timestamp().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::testing::{at, live, quote};
    use crate::rate_book::{EventKind, RecordedEvent, Span};

    const SECOND: Duration = Duration::from_secs(1);

    fn check(changed: impl FnOnce(&mut LiveQuote), is_same: bool, what: &str) {
        let one = live("BTC-USDT", "2026-11-25T12:00:00.100Z");
        let mut other = live("BTC-USDT", "2026-11-25T12:00:00.900Z");
        changed(&mut other);
        assert_eq!(id_of_quote(&one, "c1") == id_of_quote(&other, "c2"), is_same, "{what}");
    }

    #[test]
    fn two_collectors_name_a_quote_the_same_and_other_quotes_otherwise() {
        check(|_| {}, true, "heard by two");
        check(|it| it.quote.bid = "64000.1".parse().ok(), true, "the same number");
        check(|it| it.quote.last = None, true, "the last price beside a book");
        check(|it| it.quote.bid = "64000.11".parse().ok(), false, "another bid");
        check(|it| it.quote.ask = "64000.13".parse().ok(), false, "another ask");
        check(|it| it.quote.sequence = Some(11), false, "another number");
        check(|it| it.quote.sequence = None, false, "by its time");
        check(|it| it.exchange = ExchangeName::new("kraken"), false, "another exchange");
        check(|it| it.quote.direction = "ETH-USDT".parse().unwrap(), false, "another direction");
        check(|it| it.is_repeat = true, false, "a repetition");
    }

    #[test]
    fn a_quote_without_number_and_time_is_named_by_who_heard_it_when() {
        let bare = |time: &str| {
            let mut live = live("BTC-USDT", time);
            (live.quote.sequence, live.quote.quoted_at) = (None, None);
            live
        };
        let one = bare("2026-11-25T12:00:00.100Z");
        assert_eq!(id_of_quote(&one, "c1"), id_of_quote(&one, "c1"));
        assert_ne!(id_of_quote(&one, "c1"), id_of_quote(&one, "c2"));
        assert_ne!(id_of_quote(&one, "c1"), id_of_quote(&bare("2026-11-25T12:00:00.100001Z"), "c1"));
    }

    #[test]
    fn repetitions_of_one_second_are_one() {
        let repeat = |time: &str| LiveQuote { is_repeat: true, ..live("BTC-USDT", time) };
        let id = |time: &str| id_of_quote(&repeat(time), "c1");
        assert_eq!(id("2026-11-25T12:00:00.100Z"), id("2026-11-25T12:00:00.999Z"));
        assert_ne!(id("2026-11-25T12:00:00.999Z"), id("2026-11-25T12:00:01Z"));
    }

    fn record(time: &str, quote: Quote) -> Record {
        let value = quote.value().unwrap();
        let (exchange, received_at) = (ExchangeName::new("binance"), at(time));
        Record::Quote(Accepted { exchange, quote, value, received_at, span: Span::of(value) })
    }

    #[test]
    fn every_step_has_one_record_whoever_collected_it() {
        let id = |time: &str, collector| id_of_record(&record(time, quote("BTC-USDT")), SECOND, collector);
        assert_eq!(id("2026-11-25T12:00:00.1Z", "c1"), id("2026-11-25T12:00:00.9Z", "c2"));
        assert_ne!(id("2026-11-25T12:00:00.9Z", "c1"), id("2026-11-25T12:00:01.0Z", "c1"));
        let fixing = |day: &str| {
            let validity = Validity::Fixing { starts_at: at(day), ends_at: at("2026-12-01T00:00:00Z") };
            record("2026-11-25T12:00:00Z", Quote { validity, ..quote("USD-RUB") })
        };
        let [today, tomorrow] = ["2026-11-25T00:00:00Z", "2026-11-26T00:00:00Z"].map(fixing);
        assert_ne!(id_of_record(&today, SECOND, "c1"), id_of_record(&tomorrow, SECOND, "c1"));
    }

    #[test]
    fn where_all_are_stored_a_record_is_named_by_its_quote() {
        let id = |time: &str, sequence| {
            let quote = Quote { sequence: Some(sequence), ..quote("BTC-USDT") };
            id_of_record(&record(time, quote), Duration::ZERO, "c1")
        };
        assert_eq!(id("2026-11-25T12:00:00.1Z", 1), id("2026-11-25T12:00:00.2Z", 1));
        assert_ne!(id("2026-11-25T12:00:00.1Z", 1), id("2026-11-25T12:00:00.1Z", 2));
        assert_ne!(id("2026-11-25T12:00:00.1Z", 1), id("2026-11-25T12:01:00.1Z", 1), "confirmed");
        let mut bare = quote("BTC-USDT");
        (bare.sequence, bare.quoted_at) = (None, None);
        let id = |time: &str| id_of_record(&record(time, bare.clone()), Duration::ZERO, "c1");
        assert_ne!(id("2026-11-25T12:00:00.1Z"), id("2026-11-25T12:00:00.2Z"));
    }

    #[test]
    fn events_of_two_collectors_are_two() {
        let event = Record::Event(RecordedEvent {
            at: at("2026-11-25T12:00:00Z"),
            kind: EventKind::Failover,
            exchange: None,
            reason: "nobody can answer".to_owned(),
            count: 1,
        });
        assert_eq!(id_of_record(&event, SECOND, "c1"), id_of_record(&event, SECOND, "c1"));
        assert_ne!(id_of_record(&event, SECOND, "c1"), id_of_record(&event, SECOND, "c2"));
    }
}
