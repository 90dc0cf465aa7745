//! What new quotes do to the candles of their markets.
//!
//! Separate because both databases follow it, and because it is what makes candles independent of the order in which
//! batches arrive: of two openings the earlier one counts, of two closings the later one.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use super::store::Market;
use crate::history::Interval;
use crate::rate_book::Accepted;

/// Which candle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CandleKey {
    pub(super) market: Market,
    pub(super) interval: Interval,
    pub(super) starts_at: DateTime<Utc>,
}

/// A candle, or as much of one as some quotes give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CandlePart {
    pub(super) open: Decimal,
    pub(super) high: Decimal,
    pub(super) low: Decimal,
    pub(super) close: Decimal,
    /// When the quote behind `open` was received.
    pub(super) opened_at: DateTime<Utc>,
    /// When the quote behind `close` was received.
    pub(super) closed_at: DateTime<Utc>,
    pub(super) num_quotes: i64,
}

impl CandlePart {
    /// What one record gives.
    pub(super) fn of(accepted: &Accepted) -> Self {
        let span = accepted.span;
        Self {
            open: span.open,
            high: span.high,
            low: span.low,
            close: accepted.value,
            opened_at: accepted.received_at,
            closed_at: accepted.received_at,
            num_quotes: i64::from(span.num_quotes),
        }
    }

    /// Both together, whichever came first.
    pub(super) fn and(self, other: Self) -> Self {
        let opening = if other.opened_at < self.opened_at { other } else { self };
        let closing = if other.closed_at > self.closed_at { other } else { self };
        Self {
            open: opening.open,
            high: self.high.max(other.high),
            low: self.low.min(other.low),
            close: closing.close,
            opened_at: opening.opened_at,
            closed_at: closing.closed_at,
            num_quotes: self.num_quotes.saturating_add(other.num_quotes),
        }
    }
}

/// What the quotes give to candles of every length. In the order of their keys, so that two writers lock rows in the
/// same order and never wait for each other in a circle.
pub(super) fn candles_of<'a>(quotes: impl Iterator<Item = &'a Accepted>) -> Vec<(CandleKey, CandlePart)> {
    let [minute, longer @ ..] = Interval::ALL;
    let given = quotes.map(|accepted| {
        let market = Market { exchange: accepted.exchange, direction: accepted.quote.direction };
        let starts_at = minute.start_of(accepted.received_at);
        (CandleKey { market, interval: minute, starts_at }, CandlePart::of(accepted))
    });
    let minutes = together(given);
    let mut candles = minutes.clone();
    for interval in longer {
        let longer_key =
            |key: CandleKey| CandleKey { interval, starts_at: interval.start_of(key.starts_at), ..key };
        candles.extend(together(minutes.iter().map(|(key, part)| (longer_key(*key), *part))));
    }
    candles.sort_unstable_by_key(|(key, _)| *key);
    candles
}

fn together(parts: impl Iterator<Item = (CandleKey, CandlePart)>) -> Vec<(CandleKey, CandlePart)> {
    let mut candles: HashMap<CandleKey, CandlePart, foldhash::fast::RandomState> = HashMap::default();
    for (key, part) in parts {
        candles.entry(key).and_modify(|known| *known = known.and(part)).or_insert(part);
    }
    candles.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::testing::{accepted, at};
    use crate::rate_book::Span;

    /// Tells the candles of one length as `start open high low close num`.
    fn told(candles: &[(CandleKey, CandlePart)], interval: Interval) -> Vec<String> {
        let of_length = candles.iter().filter(|(key, _)| key.interval == interval);
        let line = |(key, part): &(CandleKey, CandlePart)| {
            let CandlePart { open, high, low, close, num_quotes, .. } = part;
            format!("{} {open} {high} {low} {close} {num_quotes}", key.starts_at.format("%d %H:%M"))
        };
        of_length.map(line).collect()
    }

    #[test]
    fn quotes_fall_into_the_candles_of_every_length() {
        let quotes = [
            accepted("10", "2026-11-20T23:58:10Z"),
            accepted("14", "2026-11-20T23:58:20Z"),
            accepted("8", "2026-11-20T23:58:59.999999Z"),
            accepted("11", "2026-11-20T23:59:00Z"),
            accepted("12", "2026-11-21T00:00:00Z"),
        ];
        let candles = candles_of(quotes.iter());
        for (interval, expected) in [
            (
                Interval::Minute,
                vec!["20 23:58 10 14 8 8 3", "20 23:59 11 11 11 11 1", "21 00:00 12 12 12 12 1"],
            ),
            (Interval::Hour, vec!["20 23:00 10 14 8 11 4", "21 00:00 12 12 12 12 1"]),
            (Interval::Day, vec!["20 00:00 10 14 8 11 4", "21 00:00 12 12 12 12 1"]),
        ] {
            assert_eq!(told(&candles, interval), expected, "{interval:?}");
        }
    }

    #[test]
    fn quotes_that_one_record_stands_for_count_too() {
        let mut conflated = accepted("10", "2026-11-20T12:00:00.5Z");
        let [open, high, low] = ["9", "15", "7"].map(|price| price.parse().unwrap());
        conflated.span = Span { open, high, low, num_quotes: 40 };
        let candles = candles_of([conflated, accepted("11", "2026-11-20T12:00:01Z")].iter());
        assert_eq!(told(&candles, Interval::Minute), ["20 12:00 9 15 7 11 41"]);
    }

    #[test]
    fn parts_give_the_same_candle_in_any_order() {
        let quotes = ["10", "14", "8", "11"];
        let parts: Vec<CandlePart> = (0..4_i64)
            .map(|number| {
                let mut quote = accepted(quotes[number as usize], "2026-11-20T12:00:00Z");
                quote.received_at = at("2026-11-20T12:00:00Z") + chrono::TimeDelta::seconds(number);
                CandlePart::of(&quote)
            })
            .collect();
        let expected = parts[0].and(parts[1]).and(parts[2]).and(parts[3]);
        for [a, b, c, d] in [[3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1], [0, 3, 1, 2]] {
            assert_eq!(parts[a].and(parts[b]).and(parts[c]).and(parts[d]), expected);
            assert_eq!(parts[a].and(parts[b]).and(parts[c].and(parts[d])), expected);
        }
        assert_eq!((expected.open, expected.close), (parts[0].open, parts[3].close));
    }
}
