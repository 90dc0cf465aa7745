//! FreeCurrencyAPI: rates of 33 currencies in dollars for who has a key, made anew once a day.
//!
//! A body has no date, so the time of its receipt stands for it, and the setting `stale_after` says for how long it is
//! believed. The key is sent in a header: in an address it would get into logs.
//!
//! <https://freecurrencyapi.com/docs/latest>

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fiat_listing::FiatListing;
use super::{
    Access, Exchange, Feed, FrameError, KeyUse, Kind, Quota, Reading, Request, Row, Scope, Signal, Source,
    json,
};
use crate::market::{Asset, Direction, ExchangeName, Quote, Refusal};

pub(super) const ROW: Row = Row {
    name: ExchangeName::new("freecurrencyapi"),
    kind: Kind::Fiat { official_of: None },
    rest_url: "https://api.freecurrencyapi.com",
    ws_url: "",
    // Until the second poll after the one that brought it, so that a day without an answer is survived.
    stale_after: Duration::from_secs(48 * 3600),
    poll_every: Duration::from_secs(24 * 3600),
    poll_every_with_key: None,
    key: KeyUse::Required,
    make: |access, scope| Box::new(FreeCurrencyApi::new(access, &scope)),
};

/// Path of the latest rates of all currencies in dollars.
const PATH: &str = "/v1/latest?base_currency=USD";

/// The header that carries the key.
const KEY_HEADER: &str = "apikey";

/// What we use of its quota, of which the smallest number that it publishes is 300 a month: with 8 a day there are 52
/// left over for others with the same key, and 7 restarts a day are served.
const QUOTA: Quota = Quota { answers: 8, window: Duration::from_secs(24 * 3600) };

/// How long it is left alone after it has refused us for our use of a quota. It does not say whether that of the minute
/// or of the month is meant; what is refused is not counted.
const REFUSED_FOR: Duration = Duration::from_secs(3600);

/// A body as it is sent, of success or of failure.
#[derive(Debug, Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    errors: Option<&'a RawValue>,
}

/// The plug-in of FreeCurrencyAPI.
struct FreeCurrencyApi {
    listing: FiatListing,
    key: Option<String>,
}

impl FreeCurrencyApi {
    fn new(access: &Access, scope: &Scope) -> Self {
        Self { listing: FiatListing::new(Asset::USD, scope), key: access.api_key.clone() }
    }

    /// Reads one rate: units of its currency for one dollar.
    fn read_rate(&self, code: &str, rate: &RawValue) -> Result<Quote, Refusal> {
        let rate = json::number(rate)?;
        let currency = self.listing.currency(code).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(Quote::last(Direction::new(Asset::USD, currency), rate))
    }
}

impl Exchange for FreeCurrencyApi {
    fn feed(&self) -> Feed {
        let headers = self.key.iter().map(|key| (KEY_HEADER, key.clone())).collect();
        let poll = Request { headers, ..Request::get(PATH) };
        let feed = self.listing.feed(|asset| Direction::new(Asset::USD, asset), vec![poll]);
        Feed { quota: Some(QUOTA), ..feed }
    }

    fn read(&mut self, source: Source, bytes: &[u8]) -> Result<Reading, FrameError> {
        if source != Source::Poll {
            return Ok(Reading::default());
        }
        let body: Body<'_> = json::object(json::text(bytes)?)?;
        let Some(data) = body.data else {
            let complaint = body.complaint().ok_or_else(|| syntax("neither rates nor a message"))?;
            return Ok(Reading { signals: vec![complaint], ..Reading::default() });
        };
        let json::Members(rates) = json::object(data.get())?;
        let (own, others): (Vec<_>, Vec<_>) = rates.iter().partition(|(code, _)| code == Asset::USD.as_str());
        if own.iter().any(|(_, rate)| json::number(rate) != Ok(1.into())) {
            return Err(syntax("rates in something else than dollars"));
        }
        let mut reading = Reading::default();
        for (code, rate) in others {
            reading.push(code, self.read_rate(code, rate));
        }
        if !reading.quotes.is_empty() && self.listing.learn(rates.iter().map(|(code, _)| &**code)) {
            reading.signals.push(Signal::FeedChanged);
        }
        Ok(reading)
    }

    fn read_failure(&mut self, _request: &Request, status: u16, body: &[u8]) -> Reading {
        let body = json::text(body).and_then(json::object::<Body<'_>>);
        let signal = match status {
            429 => Some(Signal::RateLimited { wait: Some(REFUSED_FOR) }),
            _ => body.ok().and_then(|body| body.complaint()),
        };
        Reading { signals: signal.into_iter().collect(), ..Reading::default() }
    }

    fn symbol(&self, direction: Direction) -> String {
        direction.counter.to_string()
    }
}

impl Body<'_> {
    /// What it complains about; `None` if it does not.
    fn complaint(&self) -> Option<Signal> {
        let message = self.message.and_then(json::string)?;
        let errors = self.errors.map(|errors| format!(": {}", json::shown(errors.get())));
        Some(Signal::Error(json::shown(&message) + &errors.unwrap_or_default()))
    }
}

fn syntax(detail: &str) -> FrameError {
    FrameError::Syntax(detail.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Validity;

    fn freecurrencyapi(wanted: &str) -> FreeCurrencyApi {
        let wanted = wanted.split(',').map(|direction| direction.parse().unwrap()).collect();
        let access = Access { api_key: Some("planted".to_owned()), ..Access::default() };
        FreeCurrencyApi::new(&access, &Scope::Directions(wanted))
    }

    fn read(body: &str) -> Result<Reading, FrameError> {
        freecurrencyapi("USD-RUB").read(Source::Poll, body.as_bytes())
    }

    /// Direction and price of every quote, then symbol and reason of every refusal.
    fn told(reading: &Reading) -> Vec<String> {
        let quotes = reading.quotes.iter().map(|quote| {
            assert_eq!((quote.bid, quote.ask), (None, None));
            assert_eq!((quote.quoted_at, quote.validity), (None, Validity::Live));
            format!("{} {}", quote.direction, quote.last.unwrap().normalize())
        });
        quotes.chain(reading.refused.iter().map(|(symbol, refusal)| format!("{symbol}: {refusal}"))).collect()
    }

    fn strings(directions: &[Direction]) -> Vec<String> {
        directions.iter().map(Direction::to_string).collect()
    }

    #[test]
    fn a_rate_is_the_price_of_one_dollar_at_the_time_of_its_receipt() {
        for (rate, expected) in [
            (r#""RUB":77.9892830271"#, "USD-RUB 77.9892830271"),
            (r#""IDR":1.63055e4"#, "USD-IDR 16305.5"),
            (r#""EUR":0"#, "USD-EUR 0"),
            (r#""EUR":"0.86""#, "EUR: syntax"),
            (r#""EUR":null"#, "EUR: syntax"),
            (r#""EUR":{"value":0.86}"#, "EUR: syntax"),
            (r#""eur":0.86"#, "eur: unexpected_symbol"),
            (r#""BTC":0.00001"#, "BTC: unexpected_symbol"),
        ] {
            for body in [
                format!("{{\"data\":{{{rate}}}}}"),
                format!("{{\"data\":{{\"USD\":1,{rate}}}}}"),
                format!("{{\n  \"data\": {{\n    {rate},\n    \"USD\": 1.0\n  }},\n  \"meta\": 7\n}}"),
            ] {
                assert_eq!(told(&read(&body).unwrap()), [expected], "{body}");
            }
        }
    }

    #[test]
    fn what_is_no_table_in_dollars_is_an_error() {
        for body in [
            r#"{"data":{"USD":1.17,"RUB":90.1}}"#,
            r#"{"data":{"USD":null,"RUB":90.1}}"#,
            r#"{"data":[0.86]}"#,
            r#"{"data":{"EUR":0.86,"EUR":0.87}}"#,
            r#"{"rates":{"EUR":0.86}}"#,
            r#"{"data":null}"#,
            r#"[{"data":{"EUR":0.86}}]"#,
        ] {
            assert!(matches!(read(body), Err(FrameError::Syntax(_))), "{body}: {:?}", read(body));
        }
    }

    #[test]
    fn a_failure_is_told_in_its_own_words_whatever_its_status() {
        let credentials = r#"{"message":"Invalid authentication credentials"}"#;
        let validation = r#"{"message":"Validation error","errors":{"base_currency":["The selected base currency is invalid."]},"info":"x"}"#;
        let quota = r#"{"message":"API rate limit exceeded for 'quota'"}"#;
        let told = Signal::Error("Invalid authentication credentials".to_owned());
        assert_eq!(read(credentials).unwrap(), Reading { signals: vec![told.clone()], ..Reading::default() });
        let invalid = r#"Validation error: {"base_currency":["The selected base currency is invalid."]}"#;
        let limited = Signal::RateLimited { wait: Some(Duration::from_secs(3600)) };
        for (status, body, expected) in [
            (401, credentials, vec![told]),
            (422, validation, vec![Signal::Error(invalid.to_owned())]),
            (429, quota, vec![limited.clone()]),
            (429, "", vec![limited]),
            (500, "<html></html>", vec![]),
        ] {
            let mut freecurrencyapi = freecurrencyapi("USD-RUB");
            let reading = freecurrencyapi.read_failure(&Request::get(PATH), status, body.as_bytes());
            assert_eq!(reading, Reading { signals: expected, ..Reading::default() }, "{status} {body}");
        }
    }

    #[test]
    fn the_key_is_in_a_header_and_nowhere_else() {
        let feed = freecurrencyapi("BTC-RUB").feed();
        let [poll] = feed.polls.as_slice() else { panic!("{:?}", feed.polls) };
        assert_eq!(poll.path, "/v1/latest?base_currency=USD");
        assert_eq!(poll.headers, [("apikey", "planted".to_owned())]);
    }

    #[test]
    fn what_is_asked_of_it_in_a_month_is_within_the_smallest_quota() {
        let quota = freecurrencyapi("BTC-RUB").feed().quota.unwrap();
        let num_windows = 31 * 86_400 / quota.window.as_secs();
        assert!(u64::from(quota.answers) * num_windows < 300);
        assert!(ROW.poll_every >= quota.window / quota.answers);
        assert!(ROW.stale_after > ROW.poll_every + quota.window / 2);
    }

    #[test]
    fn every_currency_that_is_published_is_listened_to() {
        let mut freecurrencyapi = freecurrencyapi("BTC-KZT,ETH-RUB");
        assert_eq!(strings(&freecurrencyapi.feed().listens_to), ["USD-KZT", "USD-RUB", "USD-EUR"]);
        let body = br#"{"data":{"RUB":77.9,"USD":1,"JPY":"x"}}"#;
        assert_eq!(freecurrencyapi.read(Source::Poll, body).unwrap().signals, [Signal::FeedChanged]);
        let feed = freecurrencyapi.feed();
        assert_eq!(strings(&feed.listens_to), ["USD-RUB", "USD-JPY"]);
        assert_eq!(strings(&feed.unsupported), ["USD-KZT"]);
        assert_eq!(freecurrencyapi.read(Source::Poll, body).unwrap().signals, []);
    }

    #[test]
    fn a_malformed_frame_never_panics_and_never_yields_a_price() {
        let body = r#"{"data":{"RUB":77.9892830271,"USD":1}}"#;
        super::super::corpus::check(
            &mut freecurrencyapi("USD-RUB"),
            &[Source::Poll, Source::Socket],
            &[body],
        );
    }
}
