//! The open endpoint of ExchangeRate-API: rates of about 166 currencies in dollars, once a day just after 00:00 UTC.
//!
//! It needs no key. Its terms ask for attribution (*Rates By Exchange Rate API*, with a link to
//! <https://www.exchangerate-api.com>), and forbid passing its data set on.
//!
//! <https://www.exchangerate-api.com/docs/free>

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::fiat_listing::FiatListing;
use super::fixing::Fixing;
use super::{Exchange, Feed, FrameError, KeyUse, Kind, Reading, Request, Row, Scope, Signal, Source, json};
use crate::market::{Asset, Direction, ExchangeName, Quote, Refusal};

pub(super) const ROW: Row = Row {
    name: ExchangeName::new("erapi"),
    kind: Kind::Fiat { official_of: None },
    rest_url: "https://open.er-api.com",
    ws_url: "",
    stale_after: Duration::from_secs(600),
    poll_every: Duration::from_secs(3600),
    poll_every_with_key: None,
    key: KeyUse::None,
    make: |_access, scope| Box::new(ErApi::new(&scope)),
};

/// Path of the latest rates in dollars.
const PATH: &str = "/v6/latest/USD";

/// How long rates are believed after the time that is announced for the next ones: a day that is left out is no reason
/// to be without a rate, two are.
const GRACE: TimeDelta = TimeDelta::hours(26);

/// Longest time from one update to the announced next one. Both are a day apart; what is announced for later would be
/// believed for too long.
const LONGEST_PACE: TimeDelta = TimeDelta::days(3);

/// How long it refuses an address that has asked too often. Asking meanwhile makes it longer.
const REFUSED_FOR: Duration = Duration::from_secs(20 * 60);

/// A body as it is sent.
#[derive(Debug, Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow, rename = "error-type")]
    error_type: Option<&'a RawValue>,
    #[serde(borrow)]
    base_code: Option<&'a RawValue>,
    #[serde(borrow)]
    time_last_update_unix: Option<&'a RawValue>,
    #[serde(borrow)]
    time_next_update_unix: Option<&'a RawValue>,
    #[serde(borrow)]
    time_eol_unix: Option<&'a RawValue>,
    #[serde(borrow)]
    rates: Option<&'a RawValue>,
}

/// The plug-in of ExchangeRate-API's open endpoint.
struct ErApi {
    listing: FiatListing,
}

impl ErApi {
    fn new(scope: &Scope) -> Self {
        Self { listing: FiatListing::new(Asset::USD, scope) }
    }

    /// Reads one rate: units of its currency for one dollar.
    fn read_rate(&self, code: &str, rate: &RawValue, fixing: Fixing) -> Result<Quote, Refusal> {
        let rate = json::number(rate)?;
        let currency = self.listing.currency(code).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(fixing.quote(Direction::new(Asset::USD, currency), rate))
    }
}

impl Exchange for ErApi {
    fn feed(&self) -> Feed {
        self.listing.feed(|asset| Direction::new(Asset::USD, asset), vec![Request::get(PATH)])
    }

    fn read(&mut self, source: Source, bytes: &[u8]) -> Result<Reading, FrameError> {
        if source != Source::Poll {
            return Ok(Reading::default());
        }
        let body: Body<'_> = json::object(json::text(bytes)?)?;
        if let Some(complaint) = body.complaint() {
            return Ok(Reading { signals: vec![complaint], ..Reading::default() });
        }
        let is =
            |member: Option<&RawValue>, expected| member.and_then(json::string).as_deref() == Some(expected);
        if !is(body.result, "success") || !is(body.base_code, Asset::USD.as_str()) {
            return Err(syntax("no rates in dollars"));
        }
        let fixing = body.fixing().ok_or_else(|| syntax("without the times of its updates"))?;
        let rates = body.rates.ok_or_else(|| syntax("without rates"))?;
        let json::Members(rates) = json::object(rates.get())?;
        let mut reading = Reading::default();
        for (code, rate) in rates.iter().filter(|(code, _)| code != Asset::USD.as_str()) {
            reading.push(code, self.read_rate(code, rate, fixing));
        }
        if !reading.quotes.is_empty() && self.listing.learn(rates.iter().map(|(code, _)| &**code)) {
            reading.signals.push(Signal::FeedChanged);
        }
        reading.signals.extend(body.announced_end());
        Ok(reading)
    }

    fn read_failure(&mut self, _request: &Request, status: u16, body: &[u8]) -> Reading {
        let body = json::text(body).and_then(json::object::<Body<'_>>);
        let complaint = body.ok().and_then(|body| body.complaint());
        let limited = (status == 429).then_some(Signal::RateLimited { wait: Some(REFUSED_FOR) });
        Reading { signals: limited.into_iter().chain(complaint).collect(), ..Reading::default() }
    }

    fn symbol(&self, direction: Direction) -> String {
        direction.counter.to_string()
    }
}

impl Body<'_> {
    /// What it complains about: `{"result":"error","error-type":…}`; `None` if it does not.
    fn complaint(&self) -> Option<Signal> {
        let result = self.result.and_then(json::string)?;
        let words = self.error_type.and_then(json::string).unwrap_or_default();
        (result == "error").then(|| Signal::Error(json::shown(&words)))
    }

    /// The rates are made at its last update and stand until some time after the next one.
    fn fixing(&self) -> Option<Fixing> {
        let starts_at = time_in_s(self.time_last_update_unix?)?;
        let next_at = time_in_s(self.time_next_update_unix?)?;
        let is_pace = (TimeDelta::seconds(1)..=LONGEST_PACE).contains(&(next_at - starts_at));
        let ends_at = next_at.checked_add_signed(GRACE).filter(|_| is_pace)?;
        Some(Fixing { starts_at, ends_at })
    }

    /// The announcement that the endpoint is going to be shut down; `None` while there is none.
    fn announced_end(&self) -> Option<Signal> {
        let end = self.time_eol_unix.filter(|end| !matches!(end.get(), "0" | "null"))?;
        let at = time_in_s(end).map_or_else(|| json::shown(end.get()), |at| at.to_rfc3339());
        Some(Signal::Error(format!("this endpoint is going to be shut down at {at}")))
    }
}

/// A time in seconds since 1970.
fn time_in_s(raw: &RawValue) -> Option<DateTime<Utc>> {
    let seconds = json::natural(raw).and_then(|seconds| i64::try_from(seconds).ok())?;
    DateTime::from_timestamp(seconds, 0)
}

fn syntax(detail: &str) -> FrameError {
    FrameError::Syntax(detail.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Validity;

    /// 2026-03-18T00:02:32Z, and a day and some minutes later.
    const LAST: i64 = 1_773_792_152;
    const NEXT: i64 = 1_773_879_812;

    fn erapi(wanted: &str) -> ErApi {
        ErApi::new(&Scope::Directions(
            wanted.split(',').map(|direction| direction.parse().unwrap()).collect(),
        ))
    }

    fn body(rates: &str) -> String {
        format!(
            r#"{{"result":"success","provider":"https://www.exchangerate-api.com","time_last_update_unix":{LAST},"time_last_update_utc":"Wed, 18 Mar 2026 00:02:32 +0000","time_next_update_unix":{NEXT},"time_eol_unix":0,"base_code":"USD","rates":{{{rates}}}}}"#
        )
    }

    fn read(body: &str) -> Result<Reading, FrameError> {
        erapi("USD-RUB").read(Source::Poll, body.as_bytes())
    }

    /// Direction and price of every quote, then symbol and reason of every refusal.
    fn told(reading: &Reading) -> Vec<String> {
        let quotes = reading.quotes.iter().map(|quote| {
            assert_eq!((quote.bid, quote.ask), (None, None));
            format!("{} {}", quote.direction, quote.last.unwrap().normalize())
        });
        quotes.chain(reading.refused.iter().map(|(symbol, refusal)| format!("{symbol}: {refusal}"))).collect()
    }

    fn strings(directions: &[Direction]) -> Vec<String> {
        directions.iter().map(Direction::to_string).collect()
    }

    #[test]
    fn a_rate_is_the_price_of_one_dollar() {
        for (rate, expected) in [
            (r#""EUR":0.861117"#, "USD-EUR 0.861117"),
            (r#""NGN":1499.2501"#, "USD-NGN 1499.2501"),
            (r#""LBP":8.95e4"#, "USD-LBP 89500"),
            (r#""ZWL":0"#, "USD-ZWL 0"),
            (r#""EUR":"0.861117""#, "EUR: syntax"),
            (r#""EUR":null"#, "EUR: syntax"),
            (r#""EUR":[0.86]"#, "EUR: syntax"),
            (r#""eur":0.86"#, "eur: unexpected_symbol"),
            (r#""GGP":0.75"#, "GGP: unexpected_symbol"),
            (r#""CNH":7.1"#, "CNH: unexpected_symbol"),
        ] {
            let reading = read(&body(&format!(r#""USD":1,{rate}"#))).unwrap();
            assert_eq!(told(&reading), [expected], "{rate}");
        }
    }

    #[test]
    fn rates_are_of_the_last_update_and_are_believed_until_a_day_after_the_next_one() {
        let quote = read(&body(r#""USD":1,"EUR":0.86"#)).unwrap().quotes.remove(0);
        let starts_at = "2026-03-18T00:02:32Z".parse().unwrap();
        let ends_at = "2026-03-20T02:23:32Z".parse().unwrap();
        assert_eq!(quote.validity, Validity::Fixing { starts_at, ends_at });
        assert_eq!(quote.quoted_at, Some(starts_at));
    }

    #[test]
    fn what_is_no_table_in_dollars_with_its_times_is_an_error() {
        let good = body(r#""USD":1,"EUR":0.86"#);
        assert!(read(&good).is_ok());
        let (last, next) = (LAST.to_string(), NEXT.to_string());
        let far = (LAST + 3 * 86_400 + 1).to_string();
        for (from, to) in [
            ("\"success\"", "\"fine\""),
            ("\"success\"", "null"),
            ("\"USD\"", "\"EUR\""),
            ("\"base_code\"", "\"base\""),
            (last.as_str(), "null"),
            (last.as_str(), "\"2026-03-18\""),
            (last.as_str(), "-1"),
            (last.as_str(), "99999999999999999999"),
            (next.as_str(), last.as_str()),
            (next.as_str(), far.as_str()),
            ("time_next_update_unix", "time_next"),
            ("\"rates\"", "\"conversion_rates\""),
            ("\"EUR\":0.86", "\"EUR\":0.86,\"EUR\":0.87"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert!(matches!(read(&bad), Err(FrameError::Syntax(_))), "{bad}: {:?}", read(&bad));
        }
    }

    #[test]
    fn an_error_is_told_in_its_own_words_whatever_its_status() {
        let error = r#"{"result":"error","error-type":"unsupported-code"}"#;
        let told = Signal::Error("unsupported-code".to_owned());
        let reading = Reading { signals: vec![told.clone()], ..Reading::default() };
        assert_eq!(read(error), Ok(reading));
        let limited = Signal::RateLimited { wait: Some(Duration::from_secs(1200)) };
        for (status, body, expected) in [
            (404, error, vec![told.clone()]),
            (429, error, vec![limited.clone(), told]),
            (429, "<html></html>", vec![limited]),
            (503, "", vec![]),
        ] {
            let reading = erapi("USD-RUB").read_failure(&Request::get(PATH), status, body.as_bytes());
            assert_eq!(reading, Reading { signals: expected, ..Reading::default() }, "{status} {body}");
        }
    }

    #[test]
    fn an_announced_end_is_told_beside_the_rates() {
        let good = body(r#""USD":1,"EUR":0.86"#);
        for (end, expected) in [
            ("0", None),
            ("null", None),
            ("1798761600", Some("shut down at 2027-01-01T00:00:00+00:00")),
            ("\"soon\"", Some("shut down at \"soon\"")),
        ] {
            let reading = read(&good.replace("eol_unix\":0", &format!("eol_unix\":{end}"))).unwrap();
            assert_eq!(reading.quotes.len(), 1);
            let told = reading.signals.iter().find_map(|signal| match signal {
                Signal::Error(words) => Some(words.as_str()),
                _ => None,
            });
            assert_eq!(told.is_some(), expected.is_some(), "{end}");
            assert!(told.unwrap_or_default().contains(expected.unwrap_or_default()), "{end}: {told:?}");
        }
    }

    #[test]
    fn every_currency_that_is_published_is_listened_to() {
        let mut erapi = erapi("BTC-NGN,ETH-GBP");
        let feed = erapi.feed();
        assert_eq!(strings(&feed.listens_to), ["USD-NGN", "USD-GBP", "USD-EUR"]);
        assert_eq!(feed.polls, [Request::get("/v6/latest/USD")]);

        let body = body(r#""USD":1,"NGN":1499,"EUR":null,"GGP":0.75"#);
        assert_eq!(erapi.read(Source::Poll, body.as_bytes()).unwrap().signals, [Signal::FeedChanged]);
        let feed = erapi.feed();
        assert_eq!(strings(&feed.listens_to), ["USD-NGN", "USD-EUR"]);
        assert_eq!(strings(&feed.unsupported), ["USD-GBP"]);
        assert_eq!(erapi.read(Source::Poll, body.as_bytes()).unwrap().signals, []);
    }

    #[test]
    fn a_malformed_frame_never_panics_and_never_yields_a_price() {
        let body = body(r#""USD":1,"EUR":0.861117"#);
        super::super::corpus::check(&mut erapi("USD-RUB"), &[Source::Poll, Source::Socket], &[&body]);
    }
}
