//! What the parameters of `/v1/courses` mean: from the text of a query to a question for the book.
//!
//! Separate because it is pure and faces the public: whatever the bytes are, the outcome is a question or a
//! refusal that names the parameter and what it accepts. A parameter that is not understood is refused, never
//! skipped, because a price for another question than the one that was meant is a wrong price.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::error::{ApiError, Fault};
use crate::market::{Asset, Direction, ExchangeName};
use crate::rate_book::{CoursesError, GetCourses, Wanted};

/// Most directions in one question; bounds the work that one request can cause.
const MAX_DIRECTIONS: usize = 100;

/// Most characters of a client's text that an error repeats.
const MAX_ECHO: usize = 40;

/// What can be asked for.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    /// The configured directions.
    pub(super) directions: Arc<[Direction]>,
    /// The enabled exchanges.
    pub(super) exchanges: Arc<[ExchangeName]>,
}

/// A parameter of `/v1/courses`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parameter {
    Exchanger,
    Directions,
    Direction,
    Token,
    Currency,
    MaxAgeMs,
}

/// The parameters of `/v1/courses`.
const OF_ALL: &[Parameter] = &[
    Parameter::Exchanger,
    Parameter::Directions,
    Parameter::Direction,
    Parameter::Token,
    Parameter::Currency,
    Parameter::MaxAgeMs,
];

/// The parameters of `/v1/courses/{direction}`, which has its direction in the path.
const OF_ONE: &[Parameter] = &[Parameter::Exchanger, Parameter::MaxAgeMs];

impl Parameter {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Exchanger => "exchanger",
            Self::Directions => "directions",
            Self::Direction => "direction",
            Self::Token => "token",
            Self::Currency => "currency",
            Self::MaxAgeMs => "max_age_ms",
        }
    }
}

/// A question for the book, and where it came from.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// What to ask.
    pub(super) message: GetCourses,
    /// The parameter that decided which directions are asked for; `None` if none did.
    decided_by: Option<Parameter>,
}

impl Question {
    /// Reads the query of `/v1/courses`.
    ///
    /// # Errors
    /// [`ApiError::Refused`] for everything that is not understood.
    pub(super) fn of_all(query: &str, offer: &Offer) -> Result<Self, ApiError> {
        Asked::read(query, OF_ALL, offer)?.question(offer)
    }

    /// Reads the path and the query of `/v1/courses/{direction}`.
    ///
    /// # Errors
    /// [`ApiError::Refused`] for everything that is not understood.
    pub(super) fn of_one(direction: &str, query: &str, offer: &Offer) -> Result<Self, ApiError> {
        let mut asked = Asked::read(query, OF_ONE, offer)?;
        asked.add_direction(Parameter::Direction, direction, offer)?;
        asked.question(offer)
    }

    /// What to tell the client, when the book has no courses for this question.
    pub(super) fn refusal(&self, error: CoursesError, offer: &Offer) -> ApiError {
        let detail = error.to_string();
        match error {
            CoursesError::UnknownDirection(_) => self.blame(Fault::UnknownDirection, detail, offer),
            CoursesError::UnsupportedDirection(_) => self.blame(Fault::UnsupportedDirection, detail, offer),
            CoursesError::UnknownExchanger(_) => {
                refused(Fault::UnknownExchanger, Parameter::Exchanger, detail, offer)
            }
            CoursesError::Starting(judgements) => ApiError::Starting(judgements),
            CoursesError::Stale(judgements) => ApiError::Stale(judgements),
            CoursesError::Down(judgements) => ApiError::Down(judgements),
            CoursesError::TooOld { age } => ApiError::TooOld(age),
        }
    }

    /// Names the parameter that chose the directions. Where none did, the exchanger is what does not fit the
    /// configured ones.
    fn blame(&self, fault: Fault, detail: String, offer: &Offer) -> ApiError {
        refused(fault, self.decided_by.unwrap_or(Parameter::Exchanger), detail, offer)
    }
}

/// The values of the parameters, each checked for itself.
#[derive(Debug, Default)]
struct Asked {
    exchanger: Option<ExchangeName>,
    /// The directions, and the name under which the first of them came.
    directions: Option<(Parameter, Vec<Direction>)>,
    token: Option<Asset>,
    currency: Option<Asset>,
    max_age: Option<Duration>,
}

impl Asked {
    fn read(query: &str, accepted: &[Parameter], offer: &Offer) -> Result<Self, ApiError> {
        let mut asked = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let parameter = known_parameter(name, accepted)?;
            let value = decoded(value).ok_or_else(|| {
                let detail = format!("the value of `{}` is not UTF-8", parameter.as_str());
                refused(Fault::InvalidParameter, parameter, detail, offer)
            })?;
            asked.take(parameter, &value, offer)?;
        }
        Ok(asked)
    }

    fn take(&mut self, parameter: Parameter, value: &str, offer: &Offer) -> Result<(), ApiError> {
        match parameter {
            Parameter::Directions | Parameter::Direction => {
                value.split(',').try_for_each(|text| self.add_direction(parameter, text, offer))
            }
            Parameter::Exchanger => set_once(&mut self.exchanger, parameter, exchanger(value, offer)?, offer),
            Parameter::Token => {
                let bases = offer.directions.iter().map(|direction| direction.base);
                set_once(&mut self.token, parameter, configured(parameter, value, bases, offer)?, offer)
            }
            Parameter::Currency => {
                let counters = offer.directions.iter().map(|direction| direction.counter);
                set_once(&mut self.currency, parameter, configured(parameter, value, counters, offer)?, offer)
            }
            Parameter::MaxAgeMs => set_once(&mut self.max_age, parameter, max_age(value, offer)?, offer),
        }
    }

    fn add_direction(&mut self, parameter: Parameter, text: &str, offer: &Offer) -> Result<(), ApiError> {
        let direction: Direction =
            text.parse().map_err(|error| invalid(parameter, format!("{error}"), offer))?;
        let (_, directions) = self.directions.get_or_insert_with(|| (parameter, Vec::new()));
        if directions.contains(&direction) {
            return Ok(());
        }
        if directions.len() == MAX_DIRECTIONS {
            let detail = format!("more than {MAX_DIRECTIONS} directions in one question");
            return Err(invalid(parameter, detail, offer));
        }
        directions.push(direction);
        Ok(())
    }

    fn question(self, offer: &Offer) -> Result<Question, ApiError> {
        let filter = match (self.token, self.currency) {
            (_, Some(_)) => Some(Parameter::Currency),
            (Some(_), None) => Some(Parameter::Token),
            (None, None) => None,
        };
        let has_base = |direction: &&Direction| self.token.is_none_or(|base| direction.base == base);
        let has_counter =
            |direction: &&Direction| self.currency.is_none_or(|counter| direction.counter == counter);
        let passing: Vec<_> = offer.directions.iter().filter(has_base).filter(has_counter).copied().collect();
        if passing.is_empty() && filter.is_some() {
            return Err(ApiError::Refused {
                fault: Fault::InvalidParameter,
                parameter: Parameter::Currency.as_str().to_owned(),
                detail: "no configured direction has this base and this counter".to_owned(),
                allowed: texts(offer.directions.iter().filter(has_base).map(|direction| direction.counter)),
            });
        }
        let (wanted, decided_by) = match (self.directions, filter) {
            (None, None) => (Wanted::Configured, None),
            (None, Some(filter)) => (Wanted::OfConfigured(passing), Some(filter)),
            (Some((parameter, directions)), None) => (Wanted::All(directions), Some(parameter)),
            (Some((parameter, mut directions)), Some(_)) => {
                directions.retain(|direction| passing.contains(direction));
                if directions.is_empty() {
                    return Err(ApiError::Refused {
                        fault: Fault::InvalidParameter,
                        parameter: parameter.as_str().to_owned(),
                        detail: "none of these directions passes the other filters".to_owned(),
                        allowed: texts(passing.iter()),
                    });
                }
                (Wanted::All(directions), Some(parameter))
            }
        };
        let message = GetCourses { exchanger: self.exchanger, wanted, max_age: self.max_age };
        Ok(Question { message, decided_by })
    }
}

fn known_parameter(name: &str, accepted: &[Parameter]) -> Result<Parameter, ApiError> {
    let plain = decoded(name);
    let known = accepted.iter().find(|parameter| plain.as_deref() == Some(parameter.as_str()));
    known.copied().ok_or_else(|| {
        let shown = cut(plain.as_deref().unwrap_or(name));
        ApiError::Refused {
            fault: Fault::InvalidParameter,
            detail: format!("unknown parameter `{shown}`"),
            parameter: shown,
            allowed: accepted.iter().map(|parameter| parameter.as_str().to_owned()).collect(),
        }
    })
}

/// A text without its percent-encoding; `None` if its bytes are not UTF-8. A `%` without two hexadecimal digits, and
/// a `+`, stay as they are: no name and no value may hold them, so they are refused where they stand.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(text).decode_utf8().ok()
}

fn exchanger(value: &str, offer: &Offer) -> Result<ExchangeName, ApiError> {
    if value.is_empty() {
        return Err(invalid(Parameter::Exchanger, "`exchanger` is empty".to_owned(), offer));
    }
    let found = offer.exchanges.iter().find(|name| name.as_str().eq_ignore_ascii_case(value));
    found.copied().ok_or_else(|| {
        let detail = format!("exchange `{}` is not enabled", cut(value));
        refused(Fault::UnknownExchanger, Parameter::Exchanger, detail, offer)
    })
}

/// The asset that `value` names, which has to be one of those on the asked side of the configured directions.
fn configured(
    parameter: Parameter,
    value: &str,
    mut side: impl Iterator<Item = Asset>,
    offer: &Offer,
) -> Result<Asset, ApiError> {
    let asset: Asset = value.parse().map_err(|error| invalid(parameter, format!("{error}"), offer))?;
    if side.any(|configured| configured == asset) {
        return Ok(asset);
    }
    let detail = format!("no configured direction has `{asset}` as its `{}`", parameter.as_str());
    Err(invalid(parameter, detail, offer))
}

fn max_age(value: &str, offer: &Offer) -> Result<Duration, ApiError> {
    // `parse` alone would accept a sign.
    let is_digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let milliseconds = if is_digits { value.parse().ok() } else { None };
    milliseconds.map(Duration::from_millis).ok_or_else(|| {
        let detail = format!("`{}` is no number of milliseconds", cut(value));
        invalid(Parameter::MaxAgeMs, detail, offer)
    })
}

fn set_once<T>(slot: &mut Option<T>, parameter: Parameter, value: T, offer: &Offer) -> Result<(), ApiError> {
    if slot.replace(value).is_some() {
        let detail = format!("`{}` is given more than once", parameter.as_str());
        return Err(invalid(parameter, detail, offer));
    }
    Ok(())
}

fn invalid(parameter: Parameter, detail: String, offer: &Offer) -> ApiError {
    refused(Fault::InvalidParameter, parameter, detail, offer)
}

fn refused(fault: Fault, parameter: Parameter, detail: String, offer: &Offer) -> ApiError {
    ApiError::Refused {
        fault,
        parameter: parameter.as_str().to_owned(),
        detail,
        allowed: allowed(parameter, offer),
    }
}

/// What a parameter accepts. For `directions` these are the configured ones, although others may have a path too:
/// which ones changes with what is listened to.
fn allowed(parameter: Parameter, offer: &Offer) -> Vec<String> {
    match parameter {
        Parameter::Exchanger => texts(offer.exchanges.iter()),
        Parameter::Directions | Parameter::Direction => texts(offer.directions.iter()),
        Parameter::Token => texts(offer.directions.iter().map(|direction| direction.base)),
        Parameter::Currency => texts(offer.directions.iter().map(|direction| direction.counter)),
        Parameter::MaxAgeMs => vec!["a whole number of milliseconds, in digits alone".to_owned()],
    }
}

/// Each text once, in the order of its first appearance.
fn texts(items: impl Iterator<Item = impl ToString>) -> Vec<String> {
    let mut texts = Vec::new();
    for text in items.map(|item| item.to_string()) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_ECHO).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        let directions = ["BTC-RUB", "BTC-USD", "ETH-RUB", "USDTTRC-USD"];
        let exchanges = ["binance", "kraken", "cbr"];
        Offer {
            directions: directions.iter().map(|text| text.parse().unwrap()).collect(),
            exchanges: exchanges.iter().map(|name| ExchangeName::new(name)).collect(),
        }
    }

    fn directions(texts: &[&str]) -> Vec<Direction> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn understood_queries_become_the_question_that_they_mean() {
        let all = |texts: &[&str]| Wanted::All(directions(texts));
        let of_configured = |texts: &[&str]| Wanted::OfConfigured(directions(texts));
        let ms = |age| Some(Duration::from_millis(age));
        for (query, exchanger, wanted, max_age) in [
            ("", None, Wanted::Configured, None),
            ("&&", None, Wanted::Configured, None),
            ("exchanger=binance", Some("binance"), Wanted::Configured, None),
            ("exchanger=KraKen", Some("kraken"), Wanted::Configured, None),
            ("directions=BTC-USD,ETH-RUB", None, all(&["BTC-USD", "ETH-RUB"]), None),
            ("directions=ETH-RUB,BTC-USD", None, all(&["ETH-RUB", "BTC-USD"]), None),
            ("directions=btc-Usd%2Ceth%2Drub", None, all(&["BTC-USD", "ETH-RUB"]), None),
            ("%64irections=btc-usd", None, all(&["BTC-USD"]), None),
            ("directions=BTC-USD&directions=ETH-RUB", None, all(&["BTC-USD", "ETH-RUB"]), None),
            ("direction=BTC-USD&directions=ETH-RUB", None, all(&["BTC-USD", "ETH-RUB"]), None),
            ("direction=BTC-USD,ETH-RUB", None, all(&["BTC-USD", "ETH-RUB"]), None),
            ("directions=BTC-USD,btc-usd,BTC-USD", None, all(&["BTC-USD"]), None),
            ("directions=usdttrc-usd,usdt-usd", None, all(&["USDTTRC-USD", "USDT-USD"]), None),
            ("directions=DOGE-KZT", None, all(&["DOGE-KZT"]), None),
            ("token=btc", None, of_configured(&["BTC-RUB", "BTC-USD"]), None),
            ("currency=USD", None, of_configured(&["BTC-USD", "USDTTRC-USD"]), None),
            ("token=BTC&currency=usd", None, of_configured(&["BTC-USD"]), None),
            ("directions=ETH-RUB,BTC-RUB,BTC-USD&token=BTC", None, all(&["BTC-RUB", "BTC-USD"]), None),
            ("max_age_ms=0", None, Wanted::Configured, ms(0)),
            ("max_age_ms=1500", None, Wanted::Configured, ms(1500)),
            ("max_age_ms=18446744073709551615", None, Wanted::Configured, ms(u64::MAX)),
            ("exchanger=cbr&token=ETH&max_age_ms=5", Some("cbr"), of_configured(&["ETH-RUB"]), ms(5)),
        ] {
            let message =
                Question::of_all(query, &offer()).unwrap_or_else(|error| panic!("{query}: {error}")).message;
            assert_eq!(message.exchanger.map(|name| name.as_str()), exchanger, "{query}");
            assert_eq!(message.wanted, wanted, "{query}");
            assert_eq!(message.max_age, max_age, "{query}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_the_parameter_and_what_it_accepts() {
        let bases: &[&str] = &["BTC", "ETH", "USDTTRC"];
        let counters: &[&str] = &["RUB", "USD"];
        let configured: &[&str] = &["BTC-RUB", "BTC-USD", "ETH-RUB", "USDTTRC-USD"];
        let exchanges: &[&str] = &["binance", "kraken", "cbr"];
        let names: &[&str] = &["exchanger", "directions", "direction", "token", "currency", "max_age_ms"];
        let number: &[&str] = &["a whole number of milliseconds, in digits alone"];
        use Fault::{InvalidParameter, UnknownExchanger};
        for (query, fault, parameter, allowed) in [
            ("pair=BTC-USD", InvalidParameter, "pair", names),
            ("Directions=BTC-USD", InvalidParameter, "Directions", names),
            ("=BTC-USD", InvalidParameter, "", names),
            ("BTC-USD", InvalidParameter, "BTC-USD", names),
            ("%zz=1", InvalidParameter, "%zz", names),
            ("%ff=1", InvalidParameter, "%ff", names),
            ("directions", InvalidParameter, "directions", configured),
            ("directions=", InvalidParameter, "directions", configured),
            ("directions=BTC-USD,", InvalidParameter, "directions", configured),
            ("directions=,BTC-USD", InvalidParameter, "directions", configured),
            ("directions=BTC-USD,+ETH-RUB", InvalidParameter, "directions", configured),
            ("directions=BTC+USD", InvalidParameter, "directions", configured),
            ("directions=BTCUSD", InvalidParameter, "directions", configured),
            ("direction=BTC_USD", InvalidParameter, "direction", configured),
            ("directions=BTC-USD-RUB", InvalidParameter, "directions", configured),
            ("directions=BTC-BTC", InvalidParameter, "directions", configured),
            ("directions=BTC-USD%00", InvalidParameter, "directions", configured),
            ("directions=BTC-USD%0d%0aX: y", InvalidParameter, "directions", configured),
            ("directions=%ff%fe", InvalidParameter, "directions", configured),
            ("directions=BTC-USD%", InvalidParameter, "directions", configured),
            ("directions=BTC-USD%2", InvalidParameter, "directions", configured),
            ("directions=BTC-USD%%41", InvalidParameter, "directions", configured),
            ("directions=BTC%C3%A9-USD", InvalidParameter, "directions", configured),
            ("exchanger=", InvalidParameter, "exchanger", exchanges),
            ("exchanger=mtgox", UnknownExchanger, "exchanger", exchanges),
            ("exchanger=binance,kraken", UnknownExchanger, "exchanger", exchanges),
            ("exchanger=binance&exchanger=binance", InvalidParameter, "exchanger", exchanges),
            ("token=", InvalidParameter, "token", bases),
            ("token=DOGE", InvalidParameter, "token", bases),
            ("token=USD", InvalidParameter, "token", bases),
            ("token=BTC,ETH", InvalidParameter, "token", bases),
            ("token=BTC&token=BTC", InvalidParameter, "token", bases),
            ("currency=EUR", InvalidParameter, "currency", counters),
            ("currency=BTC", InvalidParameter, "currency", counters),
            ("currency=USD&currency=RUB", InvalidParameter, "currency", counters),
            ("token=ETH&currency=USD", InvalidParameter, "currency", &["RUB"]),
            ("directions=ETH-RUB&token=BTC", InvalidParameter, "directions", &["BTC-RUB", "BTC-USD"]),
            ("direction=BTC-EUR&token=BTC", InvalidParameter, "direction", &["BTC-RUB", "BTC-USD"]),
            ("max_age_ms=", InvalidParameter, "max_age_ms", number),
            ("max_age_ms=-1", InvalidParameter, "max_age_ms", number),
            ("max_age_ms=%2B1", InvalidParameter, "max_age_ms", number),
            ("max_age_ms=1.5", InvalidParameter, "max_age_ms", number),
            ("max_age_ms=1e3", InvalidParameter, "max_age_ms", number),
            ("max_age_ms=5s", InvalidParameter, "max_age_ms", number),
            ("max_age_ms=18446744073709551616", InvalidParameter, "max_age_ms", number),
            ("max_age_ms=%D9%A1", InvalidParameter, "max_age_ms", number),
            ("max_age_ms=1&max_age_ms=1", InvalidParameter, "max_age_ms", number),
        ] {
            check_refusal(query, Question::of_all(query, &offer()), fault, parameter, allowed);
        }
    }

    #[test]
    fn one_course_takes_its_direction_from_the_path_and_few_parameters() {
        let question = Question::of_one("btc-usd", "exchanger=binance&max_age_ms=7", &offer()).unwrap();
        assert_eq!(question.message.wanted, Wanted::All(directions(&["BTC-USD"])));
        assert_eq!(question.message.exchanger.map(|name| name.as_str()), Some("binance"));
        assert_eq!(question.message.max_age, Some(Duration::from_millis(7)));

        let configured: &[&str] = &["BTC-RUB", "BTC-USD", "ETH-RUB", "USDTTRC-USD"];
        for path in ["BTCUSD", "BTC-USD,ETH-RUB", "..", "BTC-USD\0", "%2e", "\u{fffd}"] {
            let refusal = Question::of_one(path, "", &offer());
            check_refusal(path, refusal, Fault::InvalidParameter, "direction", configured);
        }
        for query in ["directions=BTC-USD", "direction=BTC-USD", "token=BTC", "currency=USD"] {
            let refusal = Question::of_one("BTC-USD", query, &offer());
            let parameter = query.split('=').next().unwrap();
            let allowed: &[&str] = &["exchanger", "max_age_ms"];
            check_refusal(query, refusal, Fault::InvalidParameter, parameter, allowed);
        }
    }

    #[test]
    fn a_hundred_different_directions_are_accepted_and_one_more_is_not() {
        let many = |count: usize| {
            let texts: Vec<String> = (0..count).map(|number| format!("A{number}X-USD")).collect();
            Question::of_all(&format!("directions={},{}", texts[0], texts.join(",")), &offer())
        };
        assert!(many(MAX_DIRECTIONS).is_ok());
        assert!(many(MAX_DIRECTIONS + 1).is_err());
    }

    #[test]
    fn a_refusal_of_the_book_names_the_parameter_that_chose_the_directions() {
        for (query, parameter) in [
            ("directions=BTC-USD&exchanger=cbr", "directions"),
            ("direction=BTC-USD", "direction"),
            ("token=BTC&exchanger=cbr", "token"),
            ("token=BTC&currency=USD", "currency"),
            ("exchanger=cbr", "exchanger"),
        ] {
            let offer = offer();
            let question = Question::of_all(query, &offer).unwrap();
            let refusal =
                question.refusal(CoursesError::UnsupportedDirection("BTC-USD".parse().unwrap()), &offer);
            let ApiError::Refused { fault, parameter: named, .. } = refusal else { panic!("{query}") };
            assert_eq!((fault, named.as_str()), (Fault::UnsupportedDirection, parameter), "{query}");
        }
    }

    #[test]
    fn a_refusal_repeats_only_the_start_of_what_was_sent() {
        let long = "x".repeat(3000);
        for query in [
            format!("{long}=1"),
            format!("directions={long}"),
            format!("directions={long}-{long}"),
            format!("exchanger={long}"),
            format!("token={long}"),
            format!("max_age_ms={long}"),
        ] {
            let ApiError::Refused { parameter, detail, .. } = Question::of_all(&query, &offer()).unwrap_err()
            else {
                panic!("{query}")
            };
            assert!(parameter.len() <= MAX_ECHO && detail.len() < 200, "{detail}");
        }
    }

    fn check_refusal(
        input: &str,
        outcome: Result<Question, ApiError>,
        fault: Fault,
        parameter: &str,
        allowed: &[&str],
    ) {
        match outcome {
            Err(ApiError::Refused { fault: got, parameter: named, allowed: offered, .. }) => {
                assert_eq!((got, named.as_str()), (fault, parameter), "{input:?}");
                assert_eq!(offered, allowed, "{input:?}");
            }
            other => panic!("{input:?} gave {other:?}"),
        }
    }
}
