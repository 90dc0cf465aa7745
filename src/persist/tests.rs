//! What both databases promise.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;

use super::store::{Keep, Market, StoreError, Window, Written};
use super::testing::*;
use crate::history::{Candle, Interval, Policy, Tick};
use crate::rate_book::{EventKind, Record, RecordedEvent};

mod flush;

const NOON: &str = "2026-11-20T12:00:00Z";

fn market() -> Market {
    Market { exchange: BINANCE, direction: "BTC-USDT".parse().unwrap() }
}

fn whole(limit: usize) -> Window {
    Window { from: at("2026-01-01T00:00:00Z"), to: at("2027-01-01T00:00:00Z"), limit }
}

fn ticks(place: &Place) -> Vec<Tick> {
    place.readers.get().unwrap().ticks(&market(), whole(10_000)).unwrap()
}

fn candles(place: &Place, interval: Interval) -> Vec<Candle> {
    place.readers.get().unwrap().candles(&market(), interval, whole(10_000)).unwrap()
}

fn event(at: DateTime<Utc>, kind: EventKind, reason: &str) -> Record {
    Record::Event(RecordedEvent { at, kind, exchange: Some(BINANCE), reason: reason.to_owned(), count: 1 })
}

/// Quotes of one market, `every` apart from noon on, of changing prices.
fn series(num: usize, every: TimeDelta) -> Vec<Record> {
    let price = |number: usize| Decimal::new(60_000 + i64::try_from(number * 7_919 % 1_000).unwrap(), 1);
    let record = |number: usize| {
        let mut quote = accepted(&price(number).to_string(), NOON);
        quote.received_at += every * i32::try_from(number).unwrap();
        Record::Quote(quote)
    };
    (0..num).map(record).collect()
}

#[test]
fn writing_twice_changes_nothing() {
    in_both(|place| {
        let mut records = series(100, TimeDelta::seconds(7));
        records.push(event(at(NOON), EventKind::Failover, "stale"));
        assert_eq!(place.store.write(&records[..60]).unwrap(), Written { stored: 60, duplicates: 0 });
        assert_eq!(place.store.write(&records).unwrap(), Written { stored: 41, duplicates: 60 });
        let once = (ticks(place), candles(place, Interval::Minute), candles(place, Interval::Day));
        for _ in 0..3 {
            assert_eq!(place.store.write(&records).unwrap(), Written { stored: 0, duplicates: 101 });
        }
        let twice_in_one = [records[3].clone(), series(101, TimeDelta::seconds(7))[100].clone()];
        let twice_in_one = [&twice_in_one[..], &twice_in_one[1..]].concat();
        assert_eq!(place.store.write(&twice_in_one).unwrap(), Written { stored: 1, duplicates: 2 });
        assert_eq!(once.0.len(), 100);
        assert_eq!(ticks(place)[..100], once.0);
        assert_eq!(candles(place, Interval::Day)[0].num_quotes, 101);
        assert_eq!(once.2[0].num_quotes, 100);
        assert_eq!(once.1.iter().map(|candle| candle.num_quotes).sum::<u64>(), 100);
    });
}

#[test]
fn prices_come_back_digit_by_digit() {
    in_both(|place| {
        let prices = [
            "0.0000000000000000000000000001",
            "79228162514264337593543950335",
            "7922816251426433.7593543950335",
            "1.2345678901234567890123456789",
            "0.00000842",
            "64010.1",
            "100000000",
            "10000.0001",
            "1",
        ];
        let record = |(number, price): (usize, &&str)| {
            let mut quote = accepted(price, NOON);
            quote.quote.bid = Some(quote.value);
            quote.quote.ask = Some(quote.value);
            quote.received_at += TimeDelta::minutes(i64::try_from(number).unwrap());
            Record::Quote(quote)
        };
        let records: Vec<Record> = prices.iter().enumerate().map(record).collect();
        place.store.write(&records).unwrap();
        let plain = |price: Option<Decimal>| crate::market::number::plain(price.unwrap());
        let told: Vec<[String; 3]> =
            ticks(place).iter().map(|tick| [tick.bid, tick.ask, tick.last].map(plain)).collect();
        assert_eq!(told, prices.map(|price| [price, price, price].map(str::to_owned)));
        // A second write reads the candles and writes them back.
        let later = |record: &Record| match record {
            Record::Quote(quote) => {
                let received_at = quote.received_at + TimeDelta::seconds(1);
                Record::Quote(crate::rate_book::Accepted { received_at, ..quote.clone() })
            }
            other => other.clone(),
        };
        place.store.write(&records.iter().map(later).collect::<Vec<_>>()).unwrap();
        for (candle, price) in candles(place, Interval::Minute).iter().zip(prices) {
            let all = [candle.open, candle.high, candle.low, candle.close].map(|price| plain(Some(price)));
            assert_eq!(all, [price; 4]);
            assert_eq!(candle.num_quotes, 2);
        }
    });
}

#[test]
fn times_come_back_to_the_microsecond() {
    in_both(|place| {
        let mut quote = accepted("1", "2026-11-20T23:59:59.999999Z");
        quote.quote.quoted_at = Some(at("2026-11-20T23:59:59.123456Z"));
        place.store.write(&[Record::Quote(quote.clone())]).unwrap();
        assert_eq!(ticks(place)[0].received_at, quote.received_at);
        assert_eq!(ticks(place)[0].quoted_at, quote.quote.quoted_at);
        assert_eq!(place.store.last_quote_at().unwrap(), Some(quote.received_at));
    });
}

#[test]
fn candles_do_not_depend_on_the_order_of_batches() {
    in_both(|place| {
        let records = series(300, TimeDelta::seconds(11));
        // The largest first, the smallest last, and none of them in the order of time.
        let batches: Vec<&[Record]> = records.chunks(23).collect();
        for (number, _) in batches.iter().enumerate() {
            place.store.write(batches[number * 5 % batches.len()]).unwrap();
        }
        let mut expected = super::candle::candles_of(records.iter().map(|record| match record {
            Record::Quote(quote) => quote,
            Record::Event(_) => unreachable!(),
        }));
        for interval in Interval::ALL {
            let stored = candles(place, interval);
            let of_length = expected.extract_if(.., |(key, _)| key.interval == interval);
            let expected: Vec<Candle> = of_length
                .map(|(key, part)| Candle {
                    starts_at: key.starts_at,
                    open: part.open,
                    high: part.high,
                    low: part.low,
                    close: part.close,
                    num_quotes: part.num_quotes.unsigned_abs(),
                })
                .collect();
            assert_eq!(stored, expected, "{interval:?}");
        }
    });
}

#[test]
fn two_writers_of_the_same_records_store_each_once() {
    in_both(|place| {
        let records = series(600, TimeDelta::seconds(1));
        let mut stores: Vec<_> = (0..3).map(|_| (place.another)()).collect();
        let written: Vec<Written> = std::thread::scope(|scope| {
            let write = |store: &mut Box<dyn super::store::Store>| {
                records.chunks(100).map(|batch| store.write(batch).unwrap()).collect::<Vec<_>>()
            };
            let threads: Vec<_> = stores.iter_mut().map(|store| scope.spawn(move || write(store))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(written.iter().map(|written| written.stored).sum::<usize>(), 600);
        assert_eq!(ticks(place).len(), 600);
        assert_eq!(candles(place, Interval::Day)[0].num_quotes, 600);
    });
}

#[test]
fn a_row_that_breaks_a_rule_is_told_as_bad_content() {
    in_both(|place| {
        let mut records = series(10, TimeDelta::seconds(1));
        let mut poison = accepted("1", "2026-11-20T13:00:00Z");
        poison.quote.last = Some(Decimal::ZERO);
        records.insert(5, Record::Quote(poison.clone()));
        let told = place.store.write(&records).unwrap_err();
        assert!(matches!(told, StoreError::BadContent(_)), "{told:?}");
        assert_eq!(ticks(place), [], "of a batch that fails nothing is kept");
        poison.quote.last = None;
        let told = place.store.write(&[Record::Quote(poison.clone())]).unwrap_err();
        assert!(matches!(told, StoreError::BadContent(_)), "{told:?}");
        place.store.set_aside(&Record::Quote(poison), &told.to_string()).unwrap();
        place.store.set_aside(&event(at(NOON), EventKind::Clock, "a\0b"), "for a test").unwrap();
        records.remove(5);
        assert_eq!(place.store.write(&records).unwrap().stored, 10);
    });
}

#[test]
fn a_second_process_that_holds_the_table_is_a_failure_and_no_loss() {
    let Some(mut place) = postgres_place() else { return };
    let records = series(10, TimeDelta::seconds(1));
    place.store.write(&records[..5]).unwrap();
    let run = &place.run;
    std::thread::scope(|scope| {
        scope.spawn(move || run("BEGIN; LOCK TABLE quotes; SELECT pg_sleep(3); COMMIT"));
        std::thread::park_timeout(Duration::from_millis(300));
        let told = place.store.write(&records).unwrap_err();
        assert!(matches!(told, StoreError::Failed(_)), "{told:?}");
    });
    assert_eq!(place.store.write(&records).unwrap(), Written { stored: 5, duplicates: 5 });
}

#[test]
fn reading_connections_cannot_write() {
    in_both(|place| {
        place.store.write(&series(1, TimeDelta::seconds(1))).unwrap();
        use diesel::connection::SimpleConnection;
        let told = match &place.readers {
            super::readers::Readers::Sqlite(pool) => {
                super::sqlite::SqliteReader(pool.get().unwrap()).batch_execute("DELETE FROM quotes")
            }
            super::readers::Readers::Postgres(pool, _) => {
                pool.get().unwrap().batch_execute("DELETE FROM quotes")
            }
        };
        assert!(told.is_err());
        assert_eq!(ticks(place).len(), 1);
    });
}

#[test]
fn rows_are_read_by_time_up_to_a_limit() {
    in_both(|place| {
        place.store.write(&series(600, TimeDelta::seconds(10))).unwrap();
        let mut archive = place.readers.get().unwrap();
        let span = Window {
            from: at(NOON) + TimeDelta::minutes(5),
            to: at(NOON) + TimeDelta::minutes(8),
            limit: 100,
        };
        let ticks = archive.ticks(&market(), span).unwrap();
        assert_eq!(ticks.len(), 18);
        assert_eq!(ticks[0].received_at, span.from);
        assert!(ticks.is_sorted_by_key(|tick| tick.received_at));
        assert_eq!(archive.ticks(&market(), Window { limit: 4, ..span }).unwrap(), ticks[..4]);
        let candles = archive.candles(&market(), Interval::Minute, span).unwrap();
        assert_eq!(candles.iter().map(|candle| candle.num_quotes).collect::<Vec<_>>(), [6, 6, 6]);
        assert_eq!(
            archive.candles(&market(), Interval::Minute, Window { limit: 1, ..span }).unwrap(),
            candles[..1]
        );
        let direction = market().direction;
        let later = at(NOON) + TimeDelta::days(1);
        assert_eq!(archive.exchanges(direction, span.from, span.to).unwrap(), ["binance"]);
        assert_eq!(archive.exchanges(direction, later, later + TimeDelta::days(9)).unwrap(), [""; 0]);
        assert_eq!(archive.exchanges(direction.inverse(), span.from, span.to).unwrap(), [""; 0]);
    });
}

#[test]
fn past_quotes_are_chosen_by_policy_and_tolerance() {
    in_both(|place| {
        let mut records = vec![
            quote("1", "2026-11-20T11:59:10Z"),
            quote("2", "2026-11-20T11:59:58Z"),
            quote("3", "2026-11-20T12:00:01Z"),
            quote("4", "2026-11-20T12:00:01.5Z"),
            quote("5", "2026-11-20T12:00:03Z"),
        ];
        let mut other = accepted("9", "2026-11-20T11:59:59Z");
        other.quote.direction = "ETH-USDT".parse().unwrap();
        records.push(Record::Quote(other));
        place.store.write(&records).unwrap();
        let mut archive = place.readers.get().unwrap();
        for (moment, policy, tolerance, expected) in [
            ("2026-11-20T12:00:00Z", Policy::Previous, 10, "2 9"),
            ("2026-11-20T12:00:00Z", Policy::Previous, 1, "9"),
            ("2026-11-20T12:00:01Z", Policy::Previous, 2, "3 9"),
            ("2026-11-20T12:00:00Z", Policy::Nearest, 10, "3 9"),
            ("2026-11-20T11:59:59.5Z", Policy::Nearest, 10, "2 9"),
            ("2026-11-20T12:00:00Z", Policy::Nearest, 0, ""),
            ("2026-11-20T12:00:01Z", Policy::Exact, 10, "4"),
            ("2026-11-20T12:00:01.9Z", Policy::Exact, 0, "4"),
            ("2026-11-20T12:00:02Z", Policy::Exact, 10, ""),
            ("2026-11-21T00:00:05Z", Policy::Previous, 86_400, "5 9"),
            ("2026-11-19T23:59:00Z", Policy::Nearest, 86_400, "1 9"),
        ] {
            let found = archive.quotes_at(at(moment), policy, Duration::from_secs(tolerance)).unwrap();
            let told: Vec<String> =
                found.iter().map(|stored| stored.quote.last.unwrap().to_string()).collect();
            assert_eq!(told.join(" "), expected, "{moment} {policy:?} {tolerance}");
        }
    });
}

#[test]
fn a_fixing_counts_for_as_long_as_it_applies_and_the_next_one_is_told_too() {
    in_both(|place| {
        let fixings = [
            fixing("80", "2026-11-13T12:00:00Z", "2026-11-13T21:00:00Z", "2026-11-24T21:00:00Z"),
            fixing("80", "2026-11-13T12:01:00Z", "2026-11-13T21:00:00Z", "2026-11-24T21:00:00Z"),
            fixing("81", "2026-11-20T12:00:00Z", "2026-11-20T21:00:00Z", "2026-12-01T21:00:00Z"),
        ];
        place.store.write(&fixings).unwrap();
        let mut archive = place.readers.get().unwrap();
        for (moment, expected) in [
            ("2026-11-13T11:59:59Z", ""),
            ("2026-11-13T13:00:00Z", "80"),
            ("2026-11-18T12:00:00Z", "80"),
            ("2026-11-20T12:00:00Z", "81 80"),
            ("2026-11-20T21:00:00Z", "81"),
            ("2026-11-30T12:00:00Z", "81"),
            ("2026-12-02T12:00:00Z", "81"),
            ("2026-12-25T12:00:00Z", ""),
        ] {
            for policy in Policy::ALL {
                let found = archive.quotes_at(at(moment), policy, Duration::from_secs(60)).unwrap();
                let told: Vec<String> =
                    found.iter().map(|stored| stored.quote.last.unwrap().to_string()).collect();
                assert_eq!(told.join(" "), expected, "{moment} {policy:?}");
            }
        }
    });
}

#[test]
fn events_are_read_in_pages_that_divide_no_moment() {
    in_both(|place| {
        let noon = at(NOON);
        let second = TimeDelta::seconds(1);
        let records = [
            event(noon, EventKind::Failover, "a"),
            event(noon + second, EventKind::Restart, "b"),
            event(noon + second, EventKind::Failover, "c"),
            event(noon + second, EventKind::Failover, "d"),
            event(noon + second * 2, EventKind::Clock, &"long ".repeat(1_000)),
        ];
        assert_eq!(place.store.write(&records).unwrap().stored, 5);
        assert_eq!(place.store.write(&records).unwrap().duplicates, 5);
        let mut archive = place.readers.get().unwrap();
        let mut page = |since: DateTime<Utc>, kind: Option<EventKind>, limit: usize| {
            let page = archive.events(since, kind, limit).unwrap();
            let reasons: Vec<&str> = page.events.iter().map(|event| &event.reason[..1]).collect();
            (reasons.join(""), page.next)
        };
        assert_eq!(page(noon, None, 10), ("acdbl".to_owned(), None));
        assert_eq!(page(noon, None, 3), ("a".to_owned(), Some(noon + second)));
        assert_eq!(
            page(noon + second, None, 2),
            ("cdb".to_owned(), Some(noon + second + TimeDelta::microseconds(1)))
        );
        assert_eq!(page(noon, Some(EventKind::Restart), 1), ("b".to_owned(), None));
        assert_eq!(page(noon + second * 3, None, 1), (String::new(), None));
    });
}

#[test]
fn what_is_older_than_it_is_kept_goes_step_by_step() {
    in_both(|place| {
        let mut records = series(3_000, TimeDelta::minutes(5));
        records.push(event(at(NOON), EventKind::Failover, "old"));
        records.push(event(at("2026-11-30T00:00:00Z"), EventKind::Failover, "new"));
        for batch in records.chunks(500) {
            place.store.write(batch).unwrap();
        }
        let day = 86_400;
        let keep = Keep { quotes: Duration::from_secs(2 * day), candles: Duration::from_secs(5 * day) };
        let now = at("2026-11-30T18:00:00Z");
        let mut num_steps = 0;
        while place.store.tidy(keep, now).unwrap().has_more {
            num_steps += 1;
            assert!(num_steps < 100);
        }
        assert!(num_steps >= 1, "more was left after the first step");
        let first_tick = ticks(place)[0].received_at;
        // PostgreSQL drops whole days.
        let first_kept = if place.is_postgres { "2026-11-28T00:00:00Z" } else { "2026-11-28T18:00:00Z" };
        assert_eq!(first_tick, at(first_kept));
        for interval in Interval::ALL {
            let first = candles(place, interval)[0].starts_at;
            assert_eq!(first, at("2026-11-25T00:00:00Z"), "{interval:?}");
        }
        let events = place.readers.get().unwrap().events(at(NOON), None, 10).unwrap();
        assert_eq!(events.events.iter().map(|event| event.reason.as_str()).collect::<Vec<_>>(), ["new"]);
        // Nothing is left to do.
        assert_eq!(place.store.tidy(keep, now).unwrap().dropped, 0);
        // What was dropped may come again, from an outbox perhaps.
        let is_old = |record: &&Record| record.at() < at("2026-11-21T12:00:00Z");
        let old: Vec<Record> = records.iter().filter(is_old).cloned().collect();
        assert_eq!(place.store.write(&old).unwrap().stored, old.len());
    });
}

#[test]
fn nothing_is_pending_after_the_migrations_and_a_newer_one_does_no_harm() {
    in_both(|place| {
        assert_eq!(place.store.pending_migrations().unwrap(), [""; 0]);
        (place.run)("INSERT INTO __diesel_schema_migrations (version) VALUES ('20991231000001')").unwrap();
        let mut store = (place.another)();
        assert_eq!(store.migrate().unwrap(), [""; 0]);
        assert_eq!(store.write(&series(3, TimeDelta::seconds(1))).unwrap().stored, 3);
    });
}

#[test]
fn the_newest_quote_is_known_without_a_walk_through_all() {
    in_both(|place| {
        assert_eq!(place.store.last_quote_at().unwrap(), None);
        place.store.write(&series(50, TimeDelta::hours(1))).unwrap();
        assert_eq!(place.store.last_quote_at().unwrap(), Some(at(NOON) + TimeDelta::hours(49)));
    });
}
