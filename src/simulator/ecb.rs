//! The European Central Bank's reference rates: XML, units of each currency for one euro.
//!
//! Its calendar is the real one: rates are set on working days of the euro area's payment system and published at 16:00
//! in Frankfurt with the date of the same day, so a morning's answer is dated with the working day before.
//!
//! <https://www.ecb.europa.eu/stats/policy_and_exchange_rates/euro_reference_exchange_rates/html/index.en.html>

use std::net::IpAddr;

use chrono::{DateTime, Datelike, Days, NaiveDate, TimeDelta, Utc, Weekday};
use rust_decimal::Decimal;
use rust_decimal::prelude::RoundingStrategy;

use super::book::Book;
use super::daily::daily_rate;
use super::http::{Answer, Request};
use super::protocol::{Protocol, Reply, Row, Scene};
use super::truth::Truth;

/// Its row in the table.
pub(super) const ROW: Row = Row { name: "ecb", has_socket: false, make: |_| Box::new(Ecb) };

/// Hours after midnight in Frankfurt at which the day's rates are published.
const PUBLISHED_AFTER: TimeDelta = TimeDelta::hours(16);

/// Days beside weekends on which the payment system rests every year, as month and day.
const HOLIDAYS: [(u32, u32); 4] = [(1, 1), (5, 1), (12, 25), (12, 26)];

/// Every currency, and the digits behind the point that its rate is printed with.
#[rustfmt::skip]
const CURRENCIES: &[(&str, u32)] = &[
    ("USD", 4), ("JPY", 2), ("CZK", 3), ("DKK", 4), ("GBP", 5), ("HUF", 2), ("PLN", 4), ("RON", 4), ("SEK", 4),
    ("CHF", 4), ("ISK", 2), ("NOK", 4), ("TRY", 4), ("AUD", 4), ("BRL", 4), ("CAD", 4), ("CNY", 4), ("HKD", 4),
    ("IDR", 2), ("ILS", 4), ("INR", 4), ("KRW", 2), ("MXN", 4), ("MYR", 4), ("NZD", 4), ("PHP", 3), ("SGD", 4),
    ("THB", 3), ("ZAR", 4),
];

/// Whether rates are set on this day.
pub(super) fn is_working(date: NaiveDate) -> bool {
    let is_weekend = matches!(date.weekday(), Weekday::Sat | Weekday::Sun);
    let from_easter = easter(date.year()).map(|easter| (date - easter).num_days());
    let is_easter = matches!(from_easter, Some(-2 | 1));
    !is_weekend && !is_easter && !HOLIDAYS.contains(&(date.month(), date.day()))
}

/// Easter Sunday of a year by the Gregorian calendar.
fn easter(year: i32) -> Option<NaiveDate> {
    let (century, of_century) = (year / 100, year % 100);
    let moon = (19 * (year % 19) + century - century / 4 - (century - (century + 8) / 25 + 1) / 3 + 15) % 30;
    let weekday = (32 + 2 * (century % 4) + 2 * (of_century / 4) - moon - of_century % 4) % 7;
    let correction = (year % 19 + 11 * moon + 22 * weekday) / 451;
    let days = u64::try_from(moon + weekday - 7 * correction).ok()?;
    NaiveDate::from_ymd_opt(year, 3, 22)?.checked_add_days(Days::new(days))
}

/// The time of day and the date in Frankfurt, whose clocks change at 01:00 UTC on the last Sundays of March and October.
fn in_frankfurt(at: DateTime<Utc>) -> DateTime<Utc> {
    let change = |month| {
        let end = NaiveDate::from_ymd_opt(at.year(), month, 31)?;
        let sunday = end.checked_sub_days(Days::new(end.weekday().num_days_from_sunday().into()))?;
        Some(sunday.and_hms_opt(1, 0, 0)?.and_utc())
    };
    let is_summer = matches!((change(3), change(10)), (Some(from), Some(to)) if from <= at && at < to);
    at + TimeDelta::hours(if is_summer { 2 } else { 1 })
}

/// The date of the latest rates that are published at this moment.
fn latest_date(at: DateTime<Utc>) -> NaiveDate {
    let published_until = (in_frankfurt(at) - PUBLISHED_AFTER).date_naive();
    published_until.iter_days().rev().find(|date| is_working(*date)).unwrap_or(published_until)
}

/// A rate as it is set.
fn rate(truth: &Truth, code: &str, digits: u32, date: NaiveDate) -> Option<Decimal> {
    let exact = daily_rate(truth, ROW.name, "EUR", code, date)?;
    Some(exact.round_dp_with_strategy(digits, RoundingStrategy::MidpointNearestEven))
}

/// The European Central Bank. What it says depends on the day alone, so there is nothing to keep.
struct Ecb;

impl Ecb {
    fn daily(scene: &Scene<'_>) -> Answer {
        let date = latest_date(scene.wall);
        let row = |(code, digits): &(&str, u32)| {
            let healthy = Book::last(rate(scene.truth, code, *digits, date)?);
            let book = scene.shown(&[&format!("EUR-{code}"), code], healthy)?;
            Some(format!("\t\t\t<Cube currency='{code}' rate='{}'/>\n", book.last.fixed(*digits)))
        };
        let rows: String = CURRENCIES.iter().filter_map(row).collect();
        let document = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <gesmes:Envelope xmlns:gesmes=\"http://www.gesmes.org/xml/2002-08-01\" \
             xmlns=\"http://www.ecb.int/vocabulary/2002-08-01/eurofxref\">\n\
             \t<gesmes:subject>Reference rates</gesmes:subject>\n\
             \t<gesmes:Sender>\n\t\t<gesmes:name>European Central Bank</gesmes:name>\n\t</gesmes:Sender>\n\
             \t<Cube>\n\t\t<Cube time='{date}'>\n{rows}\t\t</Cube>\n\t</Cube>\n</gesmes:Envelope>\n",
        );
        Answer::new(200, "text/xml", document)
    }
}

impl Protocol for Ecb {
    fn tick(&mut self, _: &Scene<'_>) {}

    fn book(&self, _: &str) -> Option<Book> {
        None
    }

    fn quotes(&self, scene: &Scene<'_>) -> Vec<(String, String, Book)> {
        let date = latest_date(scene.wall);
        let told = |(code, digits): &(&str, u32)| {
            let direction = format!("EUR-{code}");
            Some((direction.clone(), direction, Book::last(rate(scene.truth, code, *digits, date)?)))
        };
        CURRENCIES.iter().filter_map(told).collect()
    }

    fn rest(&mut self, path: &str, _: &Request, _: IpAddr, scene: &Scene<'_>) -> Reply {
        match path {
            "/stats/eurofxref/eurofxref-daily.xml" => Self::daily(scene).into(),
            _ => self.refusal(404, None, scene).into(),
        }
    }

    fn refusal(&self, status: u16, retry_after: Option<u64>, _: &Scene<'_>) -> Answer {
        let body =
            format!("<!DOCTYPE html><html lang=\"en\"><head><title>Error {status}</title></head></html>");
        let answer = Answer::new(status, "text/html; charset=utf-8", body);
        match retry_after {
            Some(seconds) => answer.with("Retry-After", seconds),
            None => answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_is_the_banks() {
        for (utc, expected, why) in [
            ("2026-03-18T14:59:59Z", "2026-03-17", "a winter's day before 16:00 in Frankfurt"),
            ("2026-03-18T15:00:00Z", "2026-03-18", "the same day after it"),
            ("2026-06-18T13:59:59Z", "2026-06-17", "a summer's day before it"),
            ("2026-06-18T14:00:00Z", "2026-06-18", "the same day after it"),
            ("2026-03-22T20:00:00Z", "2026-03-20", "a Sunday"),
            ("2026-03-29T20:00:00Z", "2026-03-27", "the Sunday on which summer time begins"),
            ("2026-04-06T20:00:00Z", "2026-04-02", "Easter Monday"),
            ("2026-04-07T20:00:00Z", "2026-04-07", "the day after it"),
            ("2026-05-01T20:00:00Z", "2026-04-30", "1 May"),
            ("2025-12-26T20:00:00Z", "2025-12-24", "Christmas"),
            ("2026-01-01T20:00:00Z", "2025-12-31", "New Year"),
        ] {
            assert_eq!(latest_date(utc.parse().unwrap()).to_string(), expected, "{why}");
        }
        for (year, expected) in [(2024, "2024-03-31"), (2025, "2025-04-20"), (2026, "2026-04-05")] {
            assert_eq!(easter(year).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn every_currency_has_a_rate() {
        let truth = Truth::new(5);
        let date = NaiveDate::from_ymd_opt(2026, 3, 18).unwrap();
        for (code, digits) in CURRENCIES {
            assert!(rate(&truth, code, *digits, date).is_some_and(|rate| rate > Decimal::ZERO), "{code}");
        }
        assert_eq!(CURRENCIES.len(), 29);
    }
}
