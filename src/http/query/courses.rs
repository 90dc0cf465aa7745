//! The parameters of `/v1/courses` and `/v1/courses/{direction}`: which courses, how young, and as of when.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::super::error::{ApiError, Fault};
use super::parameter::{Offer, Parameter, cut, texts};
use super::time::{moment, written};
use super::values::Values;
use crate::history::{GetPastCourses, HistoryError, Policy};
use crate::market::{Asset, Direction};
use crate::rate_book::{CoursesError, GetCourses, Wanted};

/// Most directions in one question; bounds the work that one request can cause.
const MAX_DIRECTIONS: usize = 100;

/// How far a stored point may be from the time asked for, where the client does not say: ten times as far as quiet
/// markets are stored, and near enough for a receipt.
const USUAL_TOLERANCE: Duration = Duration::from_secs(10 * 60);

/// Shortest tolerance: below a second, hardly any stored point is ever found.
const MIN_TOLERANCE: Duration = Duration::from_secs(1);

/// Longest tolerance: what is further away says nothing about the time asked for.
const MAX_TOLERANCE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The parameters of `/v1/courses`.
const OF_ALL: &[Parameter] = &[
    Parameter::Exchanger,
    Parameter::Directions,
    Parameter::Direction,
    Parameter::Token,
    Parameter::Currency,
    Parameter::MaxAgeMs,
    Parameter::At,
    Parameter::Policy,
    Parameter::Tolerance,
];

/// The parameters of `/v1/courses/{direction}`, which has its direction in the path.
const OF_ONE: &[Parameter] =
    &[Parameter::Exchanger, Parameter::MaxAgeMs, Parameter::At, Parameter::Policy, Parameter::Tolerance];

/// A question for the book or for what is stored, and where it came from.
#[derive(Debug, Clone)]
pub(in crate::http) struct Question {
    /// What to ask.
    pub(in crate::http) message: GetCourses,
    /// As of when; `None` for the current courses.
    pub(in crate::http) past: Option<PastTime>,
    /// The parameter that decided which directions are asked for; `None` if none did.
    decided_by: Option<Parameter>,
}

/// A time before now, and which stored points may stand for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct PastTime {
    at: DateTime<Utc>,
    policy: Policy,
    tolerance: Duration,
}

impl PastTime {
    /// The question for the courses of that time.
    pub(in crate::http) fn question(self, courses: GetCourses) -> GetPastCourses {
        let Self { at, policy, tolerance } = self;
        GetPastCourses { question: courses, at, policy, tolerance }
    }

    /// What to tell the client, when these courses are not to be had.
    pub(in crate::http) fn refusal(self, error: HistoryError) -> ApiError {
        match error {
            HistoryError::NoDataAt => {
                ApiError::NoDataAt { at: self.at, policy: self.policy, tolerance: self.tolerance }
            }
            other => ApiError::from(other),
        }
    }
}

impl Question {
    /// Reads the query of `/v1/courses`.
    ///
    /// # Errors
    /// [`ApiError::Refused`] for everything that is not understood.
    pub(in crate::http) fn of_all(query: &str, offer: &Offer, now: DateTime<Utc>) -> Result<Self, ApiError> {
        let values = Values::read(query, OF_ALL, offer)?;
        let mut directions = AskedDirections::default();
        for (parameter, value) in values.all(&[Parameter::Directions, Parameter::Direction]) {
            value.split(',').try_for_each(|text| directions.add(parameter, text, offer))?;
        }
        Self::new(directions, &values, offer, now)
    }

    /// Reads the path and the query of `/v1/courses/{direction}`.
    ///
    /// # Errors
    /// [`ApiError::Refused`] for everything that is not understood.
    pub(in crate::http) fn of_one(
        direction: &str,
        query: &str,
        offer: &Offer,
        now: DateTime<Utc>,
    ) -> Result<Self, ApiError> {
        let values = Values::read(query, OF_ONE, offer)?;
        let mut directions = AskedDirections::default();
        directions.add(Parameter::Direction, direction, offer)?;
        Self::new(directions, &values, offer, now)
    }

    fn new(
        directions: AskedDirections,
        values: &Values<'_>,
        offer: &Offer,
        now: DateTime<Utc>,
    ) -> Result<Self, ApiError> {
        let exchanger = values.exchanger()?;
        let bases = || offer.directions.iter().map(|direction| direction.base);
        let counters = || offer.directions.iter().map(|direction| direction.counter);
        let token = values.once(Parameter::Token, |text| configured(Parameter::Token, text, bases()))?;
        let currency =
            values.once(Parameter::Currency, |text| configured(Parameter::Currency, text, counters()))?;
        let max_age = values.once(Parameter::MaxAgeMs, max_age)?;
        let past = past_time(values, now)?;
        let (wanted, decided_by) = directions.wanted(token, currency, offer)?;
        Ok(Self { message: GetCourses { exchanger, wanted, max_age }, past, decided_by })
    }

    /// What to tell the client, when the book has no courses for this question.
    pub(in crate::http) fn refusal(&self, error: CoursesError, offer: &Offer) -> ApiError {
        let detail = error.to_string();
        match error {
            CoursesError::UnknownDirection(_) => self.blame(Fault::UnknownDirection, &detail, offer),
            CoursesError::UnsupportedDirection(_) => self.blame(Fault::UnsupportedDirection, &detail, offer),
            CoursesError::UnknownExchanger(_) => {
                Parameter::Exchanger.refused(Fault::UnknownExchanger, &detail, offer)
            }
            CoursesError::Starting(judgements) => ApiError::Starting(judgements),
            CoursesError::Stale(judgements) => ApiError::Stale(judgements),
            CoursesError::Down(judgements) => ApiError::Down(judgements),
            CoursesError::TooOld { age } => ApiError::TooOld(age),
        }
    }

    /// Names the parameter that chose the directions. Where none did, the exchanger is what does not fit the
    /// configured ones.
    fn blame(&self, fault: Fault, detail: &str, offer: &Offer) -> ApiError {
        self.decided_by.unwrap_or(Parameter::Exchanger).refused(fault, detail, offer)
    }
}

/// The directions that a request names, each once.
#[derive(Debug, Default)]
struct AskedDirections {
    /// The name under which the first of them came, and all of them; `None` if there is none.
    named: Option<(Parameter, Vec<Direction>)>,
}

impl AskedDirections {
    fn add(&mut self, parameter: Parameter, text: &str, offer: &Offer) -> Result<(), ApiError> {
        let direction: Direction = text.parse().map_err(|error| parameter.invalid(error, offer))?;
        let (_, directions) = self.named.get_or_insert_with(|| (parameter, Vec::new()));
        if directions.contains(&direction) {
            return Ok(());
        }
        if directions.len() == MAX_DIRECTIONS {
            let detail = format!("more than {MAX_DIRECTIONS} directions in one question");
            return Err(parameter.invalid(detail, offer));
        }
        directions.push(direction);
        Ok(())
    }

    /// What these directions mean together with the filters, and which parameter decided it.
    fn wanted(
        self,
        token: Option<Asset>,
        currency: Option<Asset>,
        offer: &Offer,
    ) -> Result<(Wanted, Option<Parameter>), ApiError> {
        let filter = match (token, currency) {
            (_, Some(_)) => Some(Parameter::Currency),
            (Some(_), None) => Some(Parameter::Token),
            (None, None) => None,
        };
        let has_base = |direction: &&Direction| token.is_none_or(|base| direction.base == base);
        let has_counter =
            |direction: &&Direction| currency.is_none_or(|counter| direction.counter == counter);
        let passing: Vec<_> = offer.directions.iter().filter(has_base).filter(has_counter).copied().collect();
        if passing.is_empty() && filter.is_some() {
            return Err(ApiError::Refused {
                fault: Fault::InvalidParameter,
                parameter: Parameter::Currency.as_str().to_owned(),
                detail: "no configured direction has this base and this counter".to_owned(),
                allowed: texts(offer.directions.iter().filter(has_base).map(|direction| direction.counter)),
            });
        }
        Ok(match (self.named, filter) {
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
        })
    }
}

/// As of when the courses are asked for. What only a past time can have, or only the present, names itself.
fn past_time(values: &Values<'_>, now: DateTime<Utc>) -> Result<Option<PastTime>, ApiError> {
    let at = values.once(Parameter::At, |text| {
        let at = moment(text)?;
        if at <= now { Ok(at) } else { Err(format!("{} is in the future", written(at))) }
    })?;
    let policy = values.once(Parameter::Policy, policy)?;
    let tolerance = values.once(Parameter::Tolerance, tolerance)?;
    let Some(at) = at else {
        let only_with_at = [Parameter::Policy, Parameter::Tolerance];
        return match only_with_at.into_iter().find(|parameter| values.has(*parameter)) {
            None => Ok(None),
            Some(parameter) => {
                let detail = format!("`{}` means nothing without `at`", parameter.as_str());
                Err(values.invalid(parameter, detail))
            }
        };
    };
    if values.has(Parameter::MaxAgeMs) {
        let detail = "`max_age_ms` means nothing with `at`; `tolerance` does";
        return Err(values.invalid(Parameter::MaxAgeMs, detail));
    }
    let (policy, tolerance) = (policy.unwrap_or(Policy::ALL[0]), tolerance.unwrap_or(USUAL_TOLERANCE));
    Ok(Some(PastTime { at, policy, tolerance }))
}

fn policy(text: &str) -> Result<Policy, String> {
    let found = Policy::ALL.into_iter().find(|policy| policy.as_str() == text);
    found.ok_or_else(|| format!("`{}` is no policy", cut(text)))
}

fn tolerance(text: &str) -> Result<Duration, String> {
    let tolerance = humantime::parse_duration(text).ok();
    let tolerance = tolerance.filter(|length| (MIN_TOLERANCE..=MAX_TOLERANCE).contains(length));
    tolerance.ok_or_else(|| format!("`{}` is no duration from 1 s to 7 days", cut(text)))
}

/// The asset that a text names, which has to be one of those on the asked side of the configured directions.
fn configured(
    parameter: Parameter,
    text: &str,
    mut side: impl Iterator<Item = Asset>,
) -> Result<Asset, String> {
    let asset: Asset = text.parse().map_err(|error| format!("{error}"))?;
    if side.any(|configured| configured == asset) {
        return Ok(asset);
    }
    Err(format!("no configured direction has `{asset}` as its `{}`", parameter.as_str()))
}

fn max_age(text: &str) -> Result<Duration, String> {
    // `parse` alone would accept a sign.
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let milliseconds = if is_digits { text.parse().ok() } else { None };
    let age = milliseconds.map(Duration::from_millis);
    age.ok_or_else(|| format!("`{}` is no number of milliseconds", cut(text)))
}

#[cfg(test)]
mod tests {
    use super::super::parameter::MAX_ECHO;
    use super::*;
    use crate::market::ExchangeName;

    fn offer() -> Offer {
        let directions = ["BTC-RUB", "BTC-USD", "ETH-RUB", "USDTTRC-USD"];
        let exchanges = ["binance", "kraken", "cbr"];
        Offer {
            directions: directions.iter().map(|text| text.parse().unwrap()).collect(),
            exchanges: exchanges.iter().map(|name| ExchangeName::new(name)).collect(),
        }
    }

    fn now() -> DateTime<Utc> {
        "2026-11-20T12:00:00Z".parse().unwrap()
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
            let message = Question::of_all(query, &offer(), now())
                .unwrap_or_else(|error| panic!("{query}: {error}"))
                .message;
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
        let names: Vec<&str> = OF_ALL.iter().map(|parameter| parameter.as_str()).collect();
        let names = names.as_slice();
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
            check_refusal(query, Question::of_all(query, &offer(), now()), fault, parameter, allowed);
        }
    }

    #[test]
    fn one_course_takes_its_direction_from_the_path_and_few_parameters() {
        let question =
            Question::of_one("btc-usd", "exchanger=binance&max_age_ms=7", &offer(), now()).unwrap();
        assert_eq!(question.message.wanted, Wanted::All(directions(&["BTC-USD"])));
        assert_eq!(question.message.exchanger.map(|name| name.as_str()), Some("binance"));
        assert_eq!(question.message.max_age, Some(Duration::from_millis(7)));

        let configured: &[&str] = &["BTC-RUB", "BTC-USD", "ETH-RUB", "USDTTRC-USD"];
        for path in ["BTCUSD", "BTC-USD,ETH-RUB", "..", "BTC-USD\0", "%2e", "\u{fffd}"] {
            let refusal = Question::of_one(path, "", &offer(), now());
            check_refusal(path, refusal, Fault::InvalidParameter, "direction", configured);
        }
        for query in ["directions=BTC-USD", "direction=BTC-USD", "token=BTC", "currency=USD"] {
            let refusal = Question::of_one("BTC-USD", query, &offer(), now());
            let parameter = query.split('=').next().unwrap();
            let allowed: &[&str] = &["exchanger", "max_age_ms", "at", "policy", "tolerance"];
            check_refusal(query, refusal, Fault::InvalidParameter, parameter, allowed);
        }
    }

    #[test]
    fn a_past_time_is_asked_for_with_its_policy_and_its_tolerance() {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        for (query, at, policy, tolerance) in [
            ("at=2026-11-20", "2026-11-20T00:00:00Z", Policy::Previous, minutes(10)),
            ("at=2026-11-20T12:00:00Z", "2026-11-20T12:00:00Z", Policy::Previous, minutes(10)),
            ("at=2026-11-20T15:00:00+03:00", "2026-11-20T12:00:00Z", Policy::Previous, minutes(10)),
            ("at=2026-11-20T15:00:00%2B03:00", "2026-11-20T12:00:00Z", Policy::Previous, minutes(10)),
            ("policy=nearest&at=2026-11-20", "2026-11-20T00:00:00Z", Policy::Nearest, minutes(10)),
            ("policy=exact&at=2026-11-20&tolerance=1s", "2026-11-20T00:00:00Z", Policy::Exact, MIN_TOLERANCE),
            ("at=2026-11-20&tolerance=1h%2030m", "2026-11-20T00:00:00Z", Policy::Previous, minutes(90)),
            ("at=2026-11-20&tolerance=7d", "2026-11-20T00:00:00Z", Policy::Previous, MAX_TOLERANCE),
        ] {
            let expected = PastTime { at: at.parse().unwrap(), policy, tolerance };
            let all = Question::of_all(query, &offer(), now()).unwrap();
            let one = Question::of_one("BTC-USD", query, &offer(), now()).unwrap();
            assert_eq!((all.past, one.past), (Some(expected), Some(expected)), "{query}");
            assert_eq!(all.message.max_age, None, "{query}");
        }
        assert_eq!(Question::of_all("token=BTC", &offer(), now()).unwrap().past, None);
    }

    #[test]
    fn what_a_past_time_cannot_have_is_refused_by_name() {
        for (query, parameter) in [
            ("at=", "at"),
            ("at=yesterday", "at"),
            ("at=2026-11-20T12:00:01Z", "at"),
            ("at=2026-11-21", "at"),
            ("at=2026-11-20&at=2026-11-20", "at"),
            ("at=2026-11-20&max_age_ms=5", "max_age_ms"),
            ("at=2026-11-20&policy=", "policy"),
            ("at=2026-11-20&policy=next", "policy"),
            ("at=2026-11-20&tolerance=10", "tolerance"),
            ("at=2026-11-20&tolerance=999ms", "tolerance"),
            ("at=2026-11-20&tolerance=7d%201s", "tolerance"),
            ("at=2026-11-20&tolerance=-1s", "tolerance"),
            ("at=2026-11-20&tolerance=99999999999999999999y", "tolerance"),
            ("policy=previous", "policy"),
            ("tolerance=10m", "tolerance"),
            ("policy=previous&tolerance=10m&max_age_ms=1", "policy"),
        ] {
            match Question::of_all(query, &offer(), now()) {
                Err(ApiError::Refused { fault: Fault::InvalidParameter, parameter: named, .. }) => {
                    assert_eq!(named, parameter, "{query}");
                }
                other => panic!("{query} gave {other:?}"),
            }
        }
    }

    #[test]
    fn a_hundred_different_directions_are_accepted_and_one_more_is_not() {
        let many = |count: usize| {
            let texts: Vec<String> = (0..count).map(|number| format!("A{number}X-USD")).collect();
            Question::of_all(&format!("directions={},{}", texts[0], texts.join(",")), &offer(), now())
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
            let question = Question::of_all(query, &offer, now()).unwrap();
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
            let ApiError::Refused { parameter, detail, .. } =
                Question::of_all(&query, &offer(), now()).unwrap_err()
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
