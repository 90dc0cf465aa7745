//! Pages of stored data: whose they are when nobody said, and where the next one begins.
//!
//! Separate because the Librarian and the export ask the same.

use chrono::{DateTime, Utc};

use super::store::{Archive, Market, StoreError, Window};
use crate::history::{Candle, Interval, MAX_PAGE, Page, Range, Tick};
use crate::market::ExchangeName;

/// A page of candles. `order` says whose are taken where the range names nobody.
///
/// # Errors
/// When the database does not answer in time.
pub(super) fn candles(
    archive: &mut dyn Archive,
    range: &Range,
    interval: Interval,
    order: &[ExchangeName],
) -> Result<Page<Candle>, StoreError> {
    let read = |archive: &mut dyn Archive, market: &Market, window| archive.candles(market, interval, window);
    page(archive, range, order, read, |candle| candle.starts_at)
}

/// A page of quotes. `order` says whose are taken where the range names nobody.
///
/// # Errors
/// When the database does not answer in time.
pub(super) fn ticks(
    archive: &mut dyn Archive,
    range: &Range,
    order: &[ExchangeName],
) -> Result<Page<Tick>, StoreError> {
    let read = |archive: &mut dyn Archive, market: &Market, window| archive.ticks(market, window);
    page(archive, range, order, read, |tick| tick.received_at)
}

fn page<T>(
    archive: &mut dyn Archive,
    range: &Range,
    order: &[ExchangeName],
    read: impl FnOnce(&mut dyn Archive, &Market, Window) -> Result<Vec<T>, StoreError>,
    time: fn(&T) -> DateTime<Utc>,
) -> Result<Page<T>, StoreError> {
    let exchange = match range.exchange {
        Some(exchange) => Some(exchange),
        None => {
            let stored = archive.exchanges(range.direction, range.from, range.to)?;
            order.iter().copied().find(|name| stored.iter().any(|stored| stored == name.as_str()))
        }
    };
    let Some(exchange) = exchange else {
        return Ok(Page { exchange: None, rows: Vec::new(), next: None });
    };
    let limit = range.limit.clamp(1, MAX_PAGE);
    let market = Market { exchange, direction: range.direction };
    // One row more than the page holds shows where the next one begins.
    let mut rows = read(archive, &market, Window { from: range.from, to: range.to, limit: limit + 1 })?;
    let next = if rows.len() > limit { rows.pop().map(|row| time(&row)) } else { None };
    Ok(Page { exchange: Some(exchange), rows, next })
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::persist::testing::{BINANCE, CBR, accepted, at, sqlite_place};
    use crate::rate_book::{Accepted, Record};

    const KRAKEN: ExchangeName = ExchangeName::new("kraken");
    const NOON: &str = "2026-11-20T12:00:00Z";

    fn range(exchange: Option<ExchangeName>, limit: usize) -> Range {
        let direction = "BTC-USDT".parse().unwrap();
        Range { direction, exchange, from: at(NOON), to: at(NOON) + TimeDelta::hours(1), limit }
    }

    #[test]
    fn pages_follow_each_other_without_a_gap_and_without_a_repetition() {
        let mut place = sqlite_place();
        let record = |number: i32| {
            let quote = accepted(&(60_000 + number).to_string(), NOON);
            Record::Quote(Accepted { received_at: at(NOON) + TimeDelta::seconds(20) * number, ..quote })
        };
        place.store.write(&(0..=180).map(record).collect::<Vec<_>>()).unwrap();
        let mut archive = place.readers.get().unwrap();
        for (limit, num_ticks_pages, num_candles_pages) in [(1, 180, 60), (7, 26, 9), (60, 3, 1), (180, 1, 1)]
        {
            let (mut tick_times, mut candle_times, mut num_pages) = (Vec::new(), Vec::new(), (0, 0));
            let mut next = Some(at(NOON));
            while let Some(from) = next {
                let page = ticks(&mut *archive, &Range { from, ..range(None, limit) }, &[BINANCE]).unwrap();
                assert!(page.rows.len() <= limit);
                tick_times.extend(page.rows.iter().map(|tick| tick.received_at));
                (next, num_pages.0) = (page.next, num_pages.0 + 1);
            }
            let mut next = Some(at(NOON));
            while let Some(from) = next {
                let asked = Range { from, ..range(Some(BINANCE), limit) };
                let page = candles(&mut *archive, &asked, Interval::Minute, &[]).unwrap();
                candle_times.extend(page.rows.iter().map(|candle| candle.starts_at));
                (next, num_pages.1) = (page.next, num_pages.1 + 1);
            }
            let every = |length: TimeDelta, num: i32| -> Vec<DateTime<Utc>> {
                (0..num).map(|number| at(NOON) + length * number).collect()
            };
            assert_eq!(tick_times, every(TimeDelta::seconds(20), 180), "the row at `to` is not in it");
            assert_eq!(candle_times, every(TimeDelta::minutes(1), 60));
            assert_eq!(num_pages, (num_ticks_pages, num_candles_pages), "by {limit}");
        }
        let page = ticks(&mut *archive, &range(None, 0), &[BINANCE]).unwrap();
        assert_eq!(page.rows.len(), 1, "no page is empty where there is something");
    }

    #[test]
    fn where_nobody_is_named_the_first_of_the_order_that_has_any_is_meant() {
        let mut place = sqlite_place();
        let of = |exchange: ExchangeName| Record::Quote(Accepted { exchange, ..accepted("1", NOON) });
        place.store.write(&[of(BINANCE), of(KRAKEN), of(ExchangeName::new("mtgox"))]).unwrap();
        let mut archive = place.readers.get().unwrap();
        for (order, asked, expected) in [
            (&[CBR, KRAKEN, BINANCE][..], None, Some(KRAKEN)),
            (&[BINANCE, KRAKEN], None, Some(BINANCE)),
            (&[BINANCE, KRAKEN], Some(KRAKEN), Some(KRAKEN)),
            (&[CBR], None, None),
        ] {
            let page = ticks(&mut *archive, &range(asked, 10), order).unwrap();
            assert_eq!((page.exchange, page.rows.len()), (expected, usize::from(expected.is_some())));
        }
        let page = ticks(&mut *archive, &range(Some(CBR), 10), &[BINANCE]).unwrap();
        assert_eq!((page.exchange, page.rows, page.next), (Some(CBR), Vec::new(), None));
    }
}
