//! Frankfurter: a blend of the rates of dozens of central banks, the Bank of Russia's among them.
//!
//! This is the second version of its API. The first one is frozen, has the European Central Bank's rates alone, and is
//! not used. One person keeps the service up, so it is a source for when others fail.
//!
//! <https://frankfurter.dev/>

use std::collections::HashMap;
use std::time::Duration;

use chrono::{NaiveDate, TimeDelta};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::fiat_listing::FiatListing;
use super::fixing::{SetOn, Zone, fixing_of};
use super::{Exchange, Feed, FrameError, KeyUse, Kind, Reading, Request, Row, Scope, Signal, Source, json};
use crate::market::{Asset, Direction, ExchangeName, Quote, Refusal};

pub(super) const ROW: Row = Row {
    name: ExchangeName::new("frankfurter"),
    kind: Kind::Fiat { official_of: None },
    rest_url: "https://api.frankfurter.dev",
    ws_url: "",
    stale_after: Duration::from_secs(600),
    poll_every: Duration::from_secs(3600),
    poll_every_with_key: None,
    key: KeyUse::None,
    make: |_access, scope| Box::new(Frankfurter::new(&scope)),
};

/// Path of the latest rates of all currencies in dollars.
const PATH: &str = "/v2/rates?base=USD";

/// The banks behind a rate lie around the world, and a date is all that is said, so it is one of UTC.
const UTC: Zone = Zone::Ahead(TimeDelta::zero());

/// One row as it is sent.
#[derive(Debug, Default, Deserialize)]
struct WireRow<'a> {
    #[serde(borrow)]
    date: Option<&'a RawValue>,
    #[serde(borrow)]
    base: Option<&'a RawValue>,
    #[serde(borrow)]
    quote: Option<&'a RawValue>,
    #[serde(borrow)]
    rate: Option<&'a RawValue>,
}

/// One row: what could be read of it.
#[derive(Debug)]
struct RateRow<'a> {
    date: Option<NaiveDate>,
    base: String,
    quote: String,
    rate: Option<&'a RawValue>,
}

/// The plug-in of Frankfurter.
struct Frankfurter {
    listing: FiatListing,
}

impl Frankfurter {
    fn new(scope: &Scope) -> Self {
        Self { listing: FiatListing::new(Asset::USD, scope) }
    }

    /// Reads one row: units of its currency for one dollar, on a date of its own.
    fn read_row(&self, row: &RateRow<'_>) -> Result<Quote, Refusal> {
        let rate = json::number(row.rate.ok_or(Refusal::Syntax)?)?;
        let fixing = row.date.and_then(|date| fixing_of(date, UTC, SetOn::ItsDate));
        let fixing = fixing.ok_or(Refusal::Syntax)?;
        if row.base != Asset::USD.as_str() {
            return Err(Refusal::UnexpectedSymbol);
        }
        let currency = self.listing.currency(&row.quote).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(fixing.quote(Direction::new(Asset::USD, currency), rate))
    }
}

impl Exchange for Frankfurter {
    fn feed(&self) -> Feed {
        self.listing.feed(|asset| Direction::new(Asset::USD, asset), vec![Request::get(PATH)])
    }

    fn read(&mut self, source: Source, bytes: &[u8]) -> Result<Reading, FrameError> {
        if source != Source::Poll {
            return Ok(Reading::default());
        }
        let rows: Vec<RateRow<'_>> = json::list(json::text(bytes)?)?.into_iter().map(RateRow::new).collect();
        let mut num_rows: HashMap<(&str, Option<NaiveDate>), u32> = HashMap::new();
        for row in &rows {
            *num_rows.entry((&row.quote, row.date)).or_default() += 1;
        }
        let mut reading = Reading::default();
        for row in rows.iter().filter(|row| !row.is_of_the_base_itself()) {
            // Of two rows for one currency and date, nobody can say which is meant.
            let is_alone = num_rows.get(&(row.quote.as_str(), row.date)) == Some(&1);
            reading.push(&row.quote, if is_alone { self.read_row(row) } else { Err(Refusal::Syntax) });
        }
        let codes = rows.iter().map(|row| row.quote.as_str());
        if !reading.quotes.is_empty() && self.listing.learn(codes) {
            reading.signals.push(Signal::FeedChanged);
        }
        Ok(reading)
    }

    fn read_failure(&mut self, _request: &Request, _status: u16, body: &[u8]) -> Reading {
        #[derive(Deserialize)]
        struct Failure<'a> {
            #[serde(borrow)]
            message: &'a RawValue,
        }

        let failure = json::text(body).and_then(json::object::<Failure<'_>>);
        let message = failure.ok().and_then(|failure| json::string(failure.message));
        let signal = message.map(|message| Signal::Error(json::shown(&message)));
        Reading { signals: signal.into_iter().collect(), ..Reading::default() }
    }

    fn symbol(&self, direction: Direction) -> String {
        direction.counter.to_string()
    }
}

impl<'a> RateRow<'a> {
    fn new(raw: &'a RawValue) -> Self {
        let row: WireRow<'a> = json::object(raw.get()).unwrap_or_default();
        let text = |raw: Option<&RawValue>| raw.and_then(json::string).unwrap_or_default().into_owned();
        Self {
            date: NaiveDate::parse_from_str(&text(row.date), "%Y-%m-%d").ok(),
            base: text(row.base),
            quote: text(row.quote),
            rate: row.rate,
        }
    }

    /// Whether it says that a dollar is a dollar.
    fn is_of_the_base_itself(&self) -> bool {
        let is_one = || self.rate.is_some_and(|rate| json::number(rate) == Ok(1.into()));
        self.quote == Asset::USD.as_str() && self.base == self.quote && is_one()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Validity;

    fn frankfurter(wanted: &str) -> Frankfurter {
        let wanted = wanted.split(',').map(|direction| direction.parse().unwrap()).collect();
        Frankfurter::new(&Scope::Directions(wanted))
    }

    fn row(date: &str, quote: &str, rate: &str) -> String {
        format!(r#"{{"date":"{date}","base":"USD","quote":"{quote}","rate":{rate}}}"#)
    }

    fn read(rows: &[String]) -> Reading {
        let body = format!("[{}]", rows.join(","));
        frankfurter("USD-RUB").read(Source::Poll, body.as_bytes()).unwrap()
    }

    /// Direction, price and first day of every quote, then symbol and reason of every refusal.
    fn told(reading: &Reading) -> Vec<String> {
        let quotes = reading.quotes.iter().map(|quote| {
            assert_eq!((quote.bid, quote.ask), (None, None));
            let price = quote.last.unwrap().normalize();
            format!("{} {price} {}", quote.direction, quote.quoted_at.unwrap().format("%Y-%m-%d %H"))
        });
        quotes.chain(reading.refused.iter().map(|(symbol, refusal)| format!("{symbol}: {refusal}"))).collect()
    }

    fn strings(directions: &[Direction]) -> Vec<String> {
        directions.iter().map(Direction::to_string).collect()
    }

    #[test]
    fn a_rate_is_the_price_of_one_dollar_on_the_date_of_its_own_row() {
        for (row, expected) in [
            (row("2026-03-18", "EUR", "0.8645"), "USD-EUR 0.8645 2026-03-18 00"),
            (row("2026-03-19", "RUB", "77.8123"), "USD-RUB 77.8123 2026-03-19 00"),
            (row("2026-03-18", "VND", "2.55e4"), "USD-VND 25500 2026-03-18 00"),
            (row("2026-03-18", "EUR", "0"), "USD-EUR 0 2026-03-18 00"),
            (row("2026-03-18", "EUR", "0.8645,\"providers\":[\"ECB\"]"), "USD-EUR 0.8645 2026-03-18 00"),
            (row("2026-03-18", "EUR", "\"0.8645\""), "EUR: syntax"),
            (row("2026-03-18", "EUR", "null"), "EUR: syntax"),
            (row("2026-03-18", "EUR", "0.8645,\"rate\":0.9"), ": syntax"),
            (row("2026-02-30", "EUR", "0.8645"), "EUR: syntax"),
            (row("18.03.2026", "EUR", "0.8645"), "EUR: syntax"),
            (row("", "EUR", "0.8645"), "EUR: syntax"),
            (row("2026-03-18", "EUR", "0.8645").replace("\"USD\"", "\"GBP\""), "EUR: unexpected_symbol"),
            (row("2026-03-18", "XAU", "0.0002"), "XAU: unexpected_symbol"),
            (row("2026-03-18", "eur", "0.8645"), "eur: unexpected_symbol"),
            (row("2026-03-18", "USD", "1.1"), "USD: unexpected_symbol"),
            ("[\"2026-03-18\",\"USD\",\"EUR\",0.8645]".to_owned(), ": syntax"),
            ("null".to_owned(), ": syntax"),
        ] {
            assert_eq!(told(&read(std::slice::from_ref(&row))), [expected], "{row}");
        }
        for one in ["1", "1.0", "1e0"] {
            assert_eq!(read(&[row("2026-03-18", "USD", one)]), Reading::default());
        }
    }

    #[test]
    fn of_two_dates_of_one_currency_both_are_told_and_of_one_date_neither() {
        let rows = [
            row("2026-03-18", "RUB", "77"),
            row("2026-03-19", "RUB", "78"),
            row("2026-03-18", "EUR", "0.86"),
            row("2026-03-18", "EUR", "0.87"),
            row("2026-03-18", "KZT", "470"),
        ];
        let expected = [
            "USD-RUB 77 2026-03-18 00",
            "USD-RUB 78 2026-03-19 00",
            "USD-KZT 470 2026-03-18 00",
            "EUR: syntax",
            "EUR: syntax",
        ];
        assert_eq!(told(&read(&rows)), expected);
    }

    #[test]
    fn a_rate_is_believed_as_long_as_one_of_the_european_central_bank() {
        let quote = read(&[row("2026-04-02", "ISK", "125.1")]).quotes.remove(0);
        let starts_at = "2026-04-02T00:00:00Z".parse().unwrap();
        let ends_at = "2026-04-08T00:00:00Z".parse().unwrap();
        assert_eq!(quote.validity, Validity::Fixing { starts_at, ends_at });
    }

    #[test]
    fn what_is_no_list_of_rates_is_an_error() {
        for body in [
            r#"{"amount":1.0,"base":"USD","date":"2026-03-18","rates":{"EUR":0.86}}"#,
            r#"{"status":422,"message":"invalid base"}"#,
            "\"2026-03-18\"",
            "",
        ] {
            let reading = frankfurter("USD-RUB").read(Source::Poll, body.as_bytes());
            assert!(matches!(reading, Err(FrameError::Syntax(_))), "{body}: {reading:?}");
        }
    }

    #[test]
    fn a_failure_is_told_in_its_own_words() {
        for (body, expected) in [
            (r#"{"status":422,"message":"invalid base"}"#, vec![Signal::Error("invalid base".to_owned())]),
            (r#"{"message":7}"#, vec![]),
            ("<html></html>", vec![]),
        ] {
            let mut frankfurter = frankfurter("USD-RUB");
            let reading = frankfurter.read_failure(&Request::get(PATH), 422, body.as_bytes());
            assert_eq!(reading, Reading { signals: expected, ..Reading::default() }, "{body}");
        }
    }

    #[test]
    fn every_currency_that_is_published_is_listened_to() {
        let mut frankfurter = frankfurter("BTC-RUB,ETH-KZT");
        let feed = frankfurter.feed();
        assert_eq!(strings(&feed.listens_to), ["USD-RUB", "USD-KZT", "USD-EUR"]);
        assert_eq!(feed.polls, [Request::get("/v2/rates?base=USD")]);

        let rows = [
            row("2026-03-18", "USD", "1"),
            row("2026-03-18", "RUB", "77"),
            row("2026-03-18", "AED", "\"x\""),
            row("2026-03-18", "XAG", "1"),
        ];
        let body = format!("[{}]", rows.join(","));
        let reading = frankfurter.read(Source::Poll, body.as_bytes()).unwrap();
        assert_eq!(reading.signals, [Signal::FeedChanged]);
        let feed = frankfurter.feed();
        assert_eq!(strings(&feed.listens_to), ["USD-RUB", "USD-AED"]);
        assert_eq!(strings(&feed.unsupported), ["USD-KZT"]);
        assert_eq!(frankfurter.read(Source::Poll, body.as_bytes()).unwrap().signals, []);
    }

    #[test]
    fn a_malformed_frame_never_panics_and_never_yields_a_price() {
        let body = format!("[{}]", row("2026-03-18", "RUB", "77.8123"));
        super::super::corpus::check(&mut frankfurter("USD-RUB"), &[Source::Poll, Source::Socket], &[&body]);
    }
}
