//! Frankfurter's second version: rates of many currencies, each with a date of its own.
//!
//! Most rows carry the date of the last working day. Those that only the Bank of Russia publishes carry its date, which
//! is tomorrow's in the evening.
//!
//! <https://frankfurter.dev/>

use std::net::IpAddr;

use chrono::NaiveDate;
use rust_decimal::Decimal;
use rust_decimal::prelude::RoundingStrategy;
use serde_json::{Value, json};

use super::book::Book;
use super::daily::daily_rate;
use super::http::{Answer, Request};
use super::protocol::{Protocol, Reply, Row, Scene};
use super::truth::Truth;
use super::{cbr, ecb};

/// Its row in the table.
pub(super) const ROW: Row = Row { name: "frankfurter", has_socket: false, make: |_| Box::new(Frankfurter) };

/// Digits of a rate.
const SIGNIFICANT_DIGITS: u32 = 5;

/// Currencies of many central banks.
#[rustfmt::skip]
const CURRENCIES: &[&str] = &[
    "AED", "AUD", "BRL", "BYN", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "GEL", "HKD", "HUF", "IDR", "ILS",
    "INR", "ISK", "JPY", "KRW", "KZT", "MXN", "MYR", "NOK", "NZD", "PHP", "PLN", "RON", "RSD", "RUB", "SEK", "SGD",
    "THB", "TRY", "UAH", "USD", "XDR", "ZAR",
];

/// Currencies that the Bank of Russia alone publishes.
const CURRENCIES_OF_RUSSIA: [&str; 4] = ["KGS", "TJS", "TMT", "UZS"];

fn currencies() -> impl Iterator<Item = &'static str> {
    CURRENCIES.iter().chain(&CURRENCIES_OF_RUSSIA).copied()
}

/// The date of a currency's latest rate.
fn date_of(code: &str, scene: &Scene<'_>) -> NaiveDate {
    if CURRENCIES_OF_RUSSIA.contains(&code) {
        return cbr::latest_date(scene.wall);
    }
    let today = scene.wall.date_naive();
    today.iter_days().rev().find(|date| ecb::is_working(*date)).unwrap_or(today)
}

/// A rate as it is published: of the base itself one.
fn rate(truth: &Truth, base: &str, quote: &str, date: NaiveDate) -> Option<Decimal> {
    if base == quote {
        return Some(Decimal::ONE);
    }
    let exact = daily_rate(truth, ROW.name, base, quote, date)?;
    exact.round_sf_with_strategy(SIGNIFICANT_DIGITS, RoundingStrategy::MidpointNearestEven)
}

/// Frankfurter. What it says depends on the day alone, so there is nothing to keep.
struct Frankfurter;

impl Frankfurter {
    /// One row as it is printed; `None` if the currency is muted.
    fn row(scene: &Scene<'_>, base: &str, quote: &str) -> Option<String> {
        let date = date_of(quote, scene);
        let healthy = Book::last(rate(scene.truth, base, quote, date)?);
        let book = match base == quote {
            true => healthy,
            false => scene.shown(&[&format!("{base}-{quote}"), quote], healthy)?,
        };
        let rate = book.last.literal();
        Some(format!(r#"{{"date":"{date}","base":"{base}","quote":"{quote}","rate":{rate}}}"#))
    }

    fn rates(request: &Request, scene: &Scene<'_>) -> Answer {
        let base = match request.parameter("base") {
            None | Some("") => "EUR",
            Some(code) => match known(code) {
                Some(code) => code,
                None => return failure(422, "invalid base"),
            },
        };
        let quotes: Vec<&str> = match request.parameter("quotes") {
            None | Some("") => currencies().collect(),
            Some(list) => list.split(',').filter_map(known).collect(),
        };
        if quotes.is_empty() {
            return failure(422, "invalid quotes");
        }
        let rows: Vec<String> =
            quotes.into_iter().filter_map(|quote| Self::row(scene, base, quote)).collect();
        Answer::json_text(200, format!("[{}]", rows.join(",")))
    }

    fn one_rate(pair: &str, scene: &Scene<'_>) -> Answer {
        let pair = pair.split_once('/').and_then(|(base, quote)| Some((known(base)?, known(quote)?)));
        match pair.and_then(|(base, quote)| Self::row(scene, base, quote)) {
            Some(row) => Answer::json_text(200, row),
            None => failure(404, "not found"),
        }
    }
}

fn known(code: &str) -> Option<&'static str> {
    currencies().find(|known| known.eq_ignore_ascii_case(code.trim()))
}

fn failure(status: u16, message: &str) -> Answer {
    let body: Value = json!({ "status": status, "message": message });
    Answer::json(status, &body)
}

impl Protocol for Frankfurter {
    fn tick(&mut self, _: &Scene<'_>) {}

    fn book(&self, _: &str) -> Option<Book> {
        None
    }

    fn quotes(&self, scene: &Scene<'_>) -> Vec<(String, String, Book)> {
        let told = |quote: &'static str| {
            let direction = format!("USD-{quote}");
            let rate = rate(scene.truth, "USD", quote, date_of(quote, scene))?;
            Some((direction.clone(), direction, Book::last(rate)))
        };
        currencies().filter(|code| *code != "USD").filter_map(told).collect()
    }

    fn rest(&mut self, path: &str, request: &Request, _: IpAddr, scene: &Scene<'_>) -> Reply {
        let answer = match path.strip_prefix("/v2/") {
            Some("rates") => Self::rates(request, scene),
            Some(path) => match path.strip_prefix("rate/") {
                Some(pair) => Self::one_rate(pair, scene),
                None => failure(404, "not found"),
            },
            None => failure(404, "not found"),
        };
        answer.into()
    }

    fn refusal(&self, status: u16, retry_after: Option<u64>, _: &Scene<'_>) -> Answer {
        let message = match status {
            404 => "not found",
            422 => "unprocessable entity",
            429 => "too many requests",
            503 => "service unavailable",
            _ => "error",
        };
        let answer = failure(status, message);
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
    fn every_currency_has_a_rate_near_the_price_at_the_start_and_the_base_itself_is_one() {
        let truth = Truth::new(5);
        let date = NaiveDate::from_ymd_opt(2026, 3, 18).unwrap();
        for code in currencies().filter(|code| *code != "USD") {
            let rate = rate(&truth, "USD", code, date).unwrap();
            let off = rate * truth.usd_at_start(code).unwrap() - Decimal::ONE;
            assert!(!off.is_zero() && off.abs() < Decimal::new(7, 4), "{code}: {off}");
        }
        assert_eq!(rate(&truth, "USD", "USD", date), Some(Decimal::ONE));
    }
}
