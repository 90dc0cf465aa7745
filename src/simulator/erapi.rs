//! ExchangeRate-API's open endpoint: rates of every currency that there is, once a day just after 00:00 UTC.
//!
//! <https://www.exchangerate-api.com/docs/free>

use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use rust_decimal::Decimal;
use rust_decimal::prelude::RoundingStrategy;
use serde_json::{Value, json};

use super::book::Book;
use super::daily::daily_rate;
use super::http::{Answer, Request};
use super::protocol::{Protocol, Reply, Row, Scene};
use super::quota::Quota;
use super::truth::Truth;

/// Its row in the table.
pub(super) const ROW: Row = Row { name: "erapi", has_socket: false, make: |_| Box::new(ErApi::new()) };

/// Time of day at which rates are updated.
const UPDATED_AT: NaiveTime = NaiveTime::from_hms_opt(0, 2, 32).expect("a time of day");

/// Requests of one address, and the time in which they are counted. The real number is not published, the time is.
const REQUESTS: u32 = 600;
const WINDOW: Duration = Duration::from_secs(20 * 60);

/// Currencies that are priced as others are: code, and the one that it is pegged to.
const PEGGED: [(&str, &str); 6] =
    [("FOK", "DKK"), ("GGP", "GBP"), ("IMP", "GBP"), ("JEP", "GBP"), ("KID", "AUD"), ("TVD", "AUD")];

/// Currencies that are priced here as any other.
#[rustfmt::skip]
const CURRENCIES: &[&str] = &[
    "USD", "AED", "AMD", "ARS", "AUD", "AZN", "BDT", "BGN", "BHD", "BMD", "BOB", "BRL", "BYN", "CAD", "CHF", "CLP",
    "CNY", "CUP", "CZK", "DKK", "DZD", "EGP", "ETB", "EUR", "GBP", "GEL", "HKD", "HUF", "IDR", "ILS", "INR", "IRR",
    "ISK", "JPY", "KGS", "KRW", "KWD", "KZT", "LKR", "MDL", "MMK", "MNT", "MXN", "MYR", "NGN", "NOK", "NZD", "OMR",
    "PHP", "PKR", "PLN", "QAR", "RON", "RSD", "RUB", "SAR", "SEK", "SGD", "THB", "TJS", "TMT", "TRY", "TWD", "UAH",
    "UZS", "VND", "XDR", "ZAR",
];

/// Every code, with the one whose price it has.
fn currencies() -> impl Iterator<Item = (&'static str, &'static str)> {
    CURRENCIES.iter().map(|code| (*code, *code)).chain(PEGGED)
}

/// The time of the latest update at this moment.
fn last_update(at: DateTime<Utc>) -> DateTime<Utc> {
    let today = at.date_naive().and_time(UPDATED_AT).and_utc();
    if today <= at { today } else { today.checked_sub_days(Days::new(1)).unwrap_or(today) }
}

/// A rate as it is published: of the base itself one.
fn rate(truth: &Truth, base: &str, code: &str, date: NaiveDate) -> Option<Decimal> {
    if base == code {
        return Some(Decimal::ONE);
    }
    let exact = daily_rate(truth, ROW.name, base, code, date)?;
    // Six digits behind the point as the real one prints, and more where that would leave too few.
    let digits = if exact < Decimal::new(1, 2) { 10 } else { 6 };
    Some(exact.round_dp_with_strategy(digits, RoundingStrategy::MidpointNearestEven).normalize())
}

/// The open endpoint.
struct ErApi {
    quota: Quota,
}

impl ErApi {
    fn new() -> Self {
        Self { quota: Quota::new(REQUESTS, WINDOW) }
    }

    fn latest(base: &str, scene: &Scene<'_>) -> Answer {
        let Some((base, of_base)) = currencies().find(|(code, _)| code.eq_ignore_ascii_case(base)) else {
            return failure(404, "unsupported-code");
        };
        let last = last_update(scene.wall);
        let next = last.checked_add_days(Days::new(1)).unwrap_or(last);
        let printed = |(code, priced_as): (&'static str, &'static str)| {
            let healthy = Book::last(rate(scene.truth, of_base, priced_as, last.date_naive())?);
            let book = match code == base {
                true => healthy,
                false => scene.shown(&[&format!("{base}-{code}"), code], healthy)?,
            };
            Some(format!("{}:{}", Value::from(code), book.last.literal()))
        };
        let own = currencies().filter(|(code, _)| *code == base);
        let others = currencies().filter(|(code, _)| *code != base);
        let rates: Vec<String> = own.chain(others).filter_map(printed).collect();
        let (last_unix, next_unix) = (last.timestamp(), next.timestamp());
        let (last_utc, next_utc) = (last.to_rfc2822(), next.to_rfc2822());
        let body = format!(
            r#"{{"result":"success","provider":"https://www.exchangerate-api.com","documentation":"https://www.exchangerate-api.com/docs/free","terms_of_use":"https://www.exchangerate-api.com/terms","time_last_update_unix":{last_unix},"time_last_update_utc":"{last_utc}","time_next_update_unix":{next_unix},"time_next_update_utc":"{next_utc}","time_eol_unix":0,"base_code":"{base}","rates":{{{}}}}}"#,
            rates.join(",")
        );
        Answer::json_text(200, body)
    }
}

fn failure(status: u16, error_type: &str) -> Answer {
    Answer::json(status, &json!({ "result": "error", "error-type": error_type }))
}

impl Protocol for ErApi {
    fn tick(&mut self, _: &Scene<'_>) {}

    fn book(&self, _: &str) -> Option<Book> {
        None
    }

    fn quotes(&self, scene: &Scene<'_>) -> Vec<(String, String, Book)> {
        let date = last_update(scene.wall).date_naive();
        let told = |(code, priced_as): (&str, &str)| {
            let direction = format!("USD-{code}");
            Some((direction.clone(), direction, Book::last(rate(scene.truth, "USD", priced_as, date)?)))
        };
        currencies().filter(|(code, _)| *code != "USD").filter_map(told).collect()
    }

    fn rest(&mut self, path: &str, _: &Request, client: IpAddr, scene: &Scene<'_>) -> Reply {
        // It does not say for how long.
        if self.quota.take(&client.to_string(), 1, scene).is_err() {
            return self.refusal(429, None, scene).into();
        }
        match path.strip_prefix("/v6/latest/") {
            Some(base) => Self::latest(base, scene).into(),
            None => self.refusal(404, None, scene).into(),
        }
    }

    fn refusal(&self, status: u16, retry_after: Option<u64>, _: &Scene<'_>) -> Answer {
        let answer = match status {
            404 => failure(404, "malformed-request"),
            _ => {
                Answer::new(status, "text/html", format!("<html><head><title>{status}</title></head></html>"))
            }
        };
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
    fn rates_are_updated_just_after_midnight() {
        for (at, expected) in [
            ("2026-03-18T00:02:31Z", "2026-03-17T00:02:32Z"),
            ("2026-03-18T00:02:32Z", "2026-03-18T00:02:32Z"),
            ("2026-03-18T23:59:59Z", "2026-03-18T00:02:32Z"),
        ] {
            assert_eq!(last_update(at.parse().unwrap()), expected.parse::<DateTime<Utc>>().unwrap());
        }
    }

    #[test]
    fn every_currency_has_a_rate_near_the_price_at_the_start() {
        let truth = Truth::new(5);
        let date = NaiveDate::from_ymd_opt(2026, 3, 18).unwrap();
        for (code, priced_as) in currencies().filter(|(code, _)| *code != "USD") {
            let rate = rate(&truth, "USD", priced_as, date).unwrap();
            let off = (rate * truth.usd_at_start(priced_as).unwrap() - Decimal::ONE).abs();
            assert!(off < Decimal::new(6, 4), "{code}: {off}");
        }
    }
}
