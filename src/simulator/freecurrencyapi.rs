//! FreeCurrencyAPI: rates of 33 currencies once a day, for who has a key, within quotas of a minute and of a month.
//!
//! Any key is taken for a right one here, unless it begins with `wrong`, so that a refusal can be rehearsed too.
//!
//! <https://freecurrencyapi.com/docs>

use std::net::IpAddr;
use std::time::Duration;

use chrono::NaiveDate;
use rust_decimal::Decimal;
use rust_decimal::prelude::RoundingStrategy;
use serde_json::{Map, Value, json};

use super::book::Book;
use super::daily::daily_rate;
use super::http::{Answer, Request};
use super::protocol::{Protocol, Reply, Row, Scene};
use super::quota::Quota;
use super::truth::Truth;

/// Its row in the table.
pub(super) const ROW: Row =
    Row { name: "freecurrencyapi", has_socket: false, make: |_| Box::new(FreeCurrencyApi::new()) };

/// Answers of success that a key gets in a minute and in a month. Of the numbers that it publishes these are the
/// smallest.
const ANSWERS_A_MINUTE: u32 = 10;
const ANSWERS_A_MONTH: u32 = 300;

const MINUTE: Duration = Duration::from_secs(60);
const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// Digits behind the point of a rate.
const DIGITS: u32 = 10;

/// Beginning of keys that are refused.
const WRONG: &str = "wrong";

/// Every currency. Two of them have left circulation, and are still told.
#[rustfmt::skip]
const CURRENCIES: &[&str] = &[
    "AUD", "BGN", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HRK", "HUF", "IDR", "ILS", "INR",
    "ISK", "JPY", "KRW", "MXN", "MYR", "NOK", "NZD", "PHP", "PLN", "RON", "RUB", "SEK", "SGD", "THB", "TRY", "USD",
    "ZAR",
];

/// A rate as it is published: of the base itself one.
fn rate(truth: &Truth, base: &str, code: &str, date: NaiveDate) -> Option<Decimal> {
    if base == code {
        return Some(Decimal::ONE);
    }
    let exact = daily_rate(truth, ROW.name, base, code, date)?;
    Some(exact.round_dp_with_strategy(DIGITS, RoundingStrategy::MidpointNearestEven))
}

/// What each key has used.
struct FreeCurrencyApi {
    a_minute: Quota,
    a_month: Quota,
}

impl FreeCurrencyApi {
    fn new() -> Self {
        Self { a_minute: Quota::new(ANSWERS_A_MINUTE, MINUTE), a_month: Quota::new(ANSWERS_A_MONTH, MONTH) }
    }

    fn latest(&mut self, key: &str, request: &Request, scene: &Scene<'_>) -> Answer {
        let base = request.parameter("base_currency").filter(|code| !code.is_empty()).unwrap_or("USD");
        let Some(base) = known(base) else { return invalid("base_currency", "base currency") };
        let codes: Vec<&str> = match request.parameter("currencies").filter(|list| !list.is_empty()) {
            None => CURRENCIES.to_vec(),
            Some(list) => match list.split(',').map(known).collect() {
                Some(codes) => codes,
                None => return invalid("currencies", "currencies"),
            },
        };
        let date = scene.wall.date_naive();
        let printed = |code: &str| {
            let healthy = Book::last(rate(scene.truth, base, code, date)?);
            let book = match code == base {
                true => healthy,
                false => scene.shown(&[&format!("{base}-{code}"), code], healthy)?,
            };
            Some(format!("{}:{}", Value::from(code), book.last.literal()))
        };
        let rates: Vec<String> = codes.into_iter().filter_map(printed).collect();
        self.counted(key, scene, Answer::json_text(200, format!("{{\"data\":{{{}}}}}", rates.join(","))))
    }

    fn currencies(&mut self, key: &str, scene: &Scene<'_>) -> Answer {
        let told = |code: &&str| ((*code).to_owned(), json!({ "code": code, "name": code, "symbol": code }));
        let data: Map<String, Value> = CURRENCIES.iter().map(told).collect();
        self.counted(key, scene, Answer::json(200, &json!({ "data": data })))
    }

    /// The use of the month's quota, which is told without being counted.
    fn status(&mut self, key: &str, scene: &Scene<'_>) -> Answer {
        let remaining = self.a_month.take(key, 0, scene).unwrap_or(0);
        let month =
            json!({ "total": ANSWERS_A_MONTH, "used": ANSWERS_A_MONTH - remaining, "remaining": remaining });
        Answer::json(200, &json!({ "account_id": 1, "quotas": { "month": month } }))
    }

    /// The answer with what it leaves of the quotas, or a refusal.
    fn counted(&mut self, key: &str, scene: &Scene<'_>, answer: Answer) -> Answer {
        let left = self.a_minute.take(key, 1, scene).and_then(|of_minute| {
            let of_month = self.a_month.take(key, 1, scene)?;
            Ok((of_minute, of_month))
        });
        let (answer, (of_minute, of_month)) = match left {
            Ok(left) => (answer, left),
            Err(_) => {
                let of_month = self.a_month.take(key, 0, scene).unwrap_or(0);
                (failure(429, "API rate limit exceeded for 'quota'"), (0, of_month))
            }
        };
        answer
            .with("X-RateLimit-Limit-Quota-Minute", ANSWERS_A_MINUTE)
            .with("X-RateLimit-Limit-Quota-Month", ANSWERS_A_MONTH)
            .with("X-RateLimit-Remaining-Quota-Minute", of_minute)
            .with("X-RateLimit-Remaining-Quota-Month", of_month)
    }
}

fn known(code: &str) -> Option<&'static str> {
    CURRENCIES.iter().copied().find(|known| *known == code.trim())
}

fn failure(status: u16, message: &str) -> Answer {
    Answer::json(status, &json!({ "message": message }))
}

fn invalid(parameter: &str, what: &str) -> Answer {
    let errors = json!({ parameter: [format!("The selected {what} is invalid.")] });
    let info = "For more information, see documentation: https://freecurrencyapi.com/docs/status-codes#_422";
    Answer::json(422, &json!({ "message": "Validation error", "errors": errors, "info": info }))
}

impl Protocol for FreeCurrencyApi {
    fn tick(&mut self, _: &Scene<'_>) {}

    fn book(&self, _: &str) -> Option<Book> {
        None
    }

    fn quotes(&self, scene: &Scene<'_>) -> Vec<(String, String, Book)> {
        let date = scene.wall.date_naive();
        let told = |code: &&str| {
            let direction = format!("USD-{code}");
            Some((direction.clone(), direction, Book::last(rate(scene.truth, "USD", code, date)?)))
        };
        CURRENCIES.iter().filter(|code| **code != "USD").filter_map(told).collect()
    }

    fn rest(&mut self, path: &str, request: &Request, _: IpAddr, scene: &Scene<'_>) -> Reply {
        let key = request.header("apikey").or(request.parameter("apikey")).unwrap_or_default();
        if key.is_empty() || key.starts_with(WRONG) {
            return self.refusal(401, None, scene).into();
        }
        let answer = match path {
            "/v1/latest" => self.latest(key, request, scene),
            "/v1/currencies" => self.currencies(key, scene),
            "/v1/status" => self.status(key, scene),
            _ => self.refusal(404, None, scene),
        };
        answer.into()
    }

    fn refusal(&self, status: u16, retry_after: Option<u64>, _: &Scene<'_>) -> Answer {
        let message = match status {
            401 => "Invalid authentication credentials",
            403 => "You are not allowed to use this endpoint, please upgrade your plan",
            404 => "The route could not be found",
            422 => "Validation error",
            429 => "API rate limit exceeded for 'quota'",
            _ => "Server Error",
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
        for code in CURRENCIES.iter().filter(|code| **code != "USD") {
            let rate = rate(&truth, "USD", code, date).unwrap();
            let off = (rate * truth.usd_at_start(code).unwrap() - Decimal::ONE).abs();
            assert!(off < Decimal::new(6, 4), "{code}: {off}");
        }
        assert_eq!(rate(&truth, "USD", "USD", date), Some(Decimal::ONE));
        assert_eq!(CURRENCIES.len(), 33);
    }
}
