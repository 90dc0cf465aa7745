//! The parameters of `/v1/history`: which stored rows of one direction are asked for.

use chrono::{DateTime, TimeDelta, Utc};

use super::super::error::ApiError;
use super::cursor::{Cursor, Series};
use super::parameter::{LIMITS, Offer, Parameter, TICK};
use super::time::{moment, written};
use super::values::{Values, stored_direction, whole_number};
use crate::history::{Interval, Range};
use crate::market::{Direction, ExchangeName};

const ACCEPTED: &[Parameter] = &[
    Parameter::StoredDirection,
    Parameter::Exchanger,
    Parameter::Interval,
    Parameter::From,
    Parameter::To,
    Parameter::Limit,
    Parameter::Cursor,
];

/// Rows of a page where the client does not say: about 100 KB of JSON.
pub(super) const DEFAULT_LIMIT: usize = 1000;

/// Which rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Kind {
    /// Candles of this length.
    Candles(Interval),
    /// Quotes one by one.
    Ticks,
}

impl Kind {
    /// The word for it in questions and answers.
    pub(in crate::http) const fn as_str(self) -> &'static str {
        match self {
            Self::Candles(interval) => interval.as_str(),
            Self::Ticks => TICK,
        }
    }

    fn read(text: &str) -> Result<Self, String> {
        let candles = || Interval::parse(text).map(Self::Candles);
        let kind = if text == TICK { Some(Self::Ticks) } else { candles() };
        kind.ok_or_else(|| format!("`{}` is no interval", super::parameter::cut(text)))
    }

    fn series(self) -> Series {
        match self {
            Self::Candles(interval) => Series::Candles(interval),
            Self::Ticks => Series::Ticks,
        }
    }

    /// How far back it goes where the client does not say: a number of rows that a person can look at.
    fn usual_span(self) -> TimeDelta {
        match self {
            Self::Candles(interval) => usual_span(interval),
            Self::Ticks => TimeDelta::hours(1),
        }
    }
}

/// How far back candles go where the client does not say.
pub(super) const fn usual_span(interval: Interval) -> TimeDelta {
    match interval {
        Interval::Minute => TimeDelta::days(1),
        Interval::Hour => TimeDelta::days(30),
        Interval::Day => TimeDelta::days(365),
    }
}

/// A question for stored rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) struct HistoryQuestion {
    /// The direction as it was asked for; what is stored is what it is priced as.
    pub(in crate::http) direction: Direction,
    /// Which rows.
    pub(in crate::http) kind: Kind,
    /// Most rows; `None` where the client does not say.
    limit: Option<usize>,
    exchanger: Option<ExchangeName>,
    /// Whose rows: those of the pages before, else of `exchanger`.
    exchange: Option<ExchangeName>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

impl HistoryQuestion {
    /// Reads the query of `/v1/history`.
    ///
    /// # Errors
    /// [`ApiError::Refused`] for everything that is not understood.
    pub(in crate::http) fn read(query: &str, offer: &Offer, now: DateTime<Utc>) -> Result<Self, ApiError> {
        let values = Values::read(query, ACCEPTED, offer)?;
        let direction = values.once(Parameter::StoredDirection, stored_direction)?;
        let direction =
            direction.ok_or_else(|| values.invalid(Parameter::StoredDirection, "`direction` is missing"))?;
        let exchanger = values.exchanger()?;
        let kind = values.once(Parameter::Interval, Kind::read)?.unwrap_or(Kind::Candles(Interval::Minute));
        let limit = values.once(Parameter::Limit, |text| whole_number(text, LIMITS))?;
        let (from, to) = span(&values, kind.usual_span(), now)?;
        let mut question = Self { direction, kind, limit, exchanger, exchange: exchanger, from, to };

        let series = kind.series();
        if let Some(cursor) = values.once(Parameter::Cursor, |text| Cursor::decode(text, series, offer))? {
            question
                .go_on(cursor, values.has(Parameter::From))
                .map_err(|detail| values.invalid(Parameter::Cursor, detail))?;
        }
        Ok(question)
    }

    fn go_on(&mut self, cursor: Cursor, is_from_given: bool) -> Result<(), &'static str> {
        if cursor.from >= self.to || is_from_given && cursor.from < self.from {
            return Err("this cursor lies outside `from` and `to`");
        }
        if self.exchanger.is_some() && cursor.exchange != self.exchanger {
            return Err("this cursor goes on with another exchange than `exchanger`");
        }
        (self.from, self.exchange) = (cursor.from, cursor.exchange);
        Ok(())
    }

    /// The rows of one page.
    pub(in crate::http) fn page(&self) -> Range {
        self.part(None, None, self.limit.unwrap_or(DEFAULT_LIMIT))
    }

    /// At most `limit` of the rows, from another time on and of another exchange where there is one.
    pub(in crate::http) fn part(
        &self,
        from: Option<DateTime<Utc>>,
        exchange: Option<ExchangeName>,
        limit: usize,
    ) -> Range {
        Range {
            direction: self.direction.priced_as(),
            exchange: exchange.or(self.exchange),
            from: from.unwrap_or(self.from),
            to: self.to,
            limit,
        }
    }

    /// Most rows in all, where pages follow one another without being asked for.
    pub(in crate::http) fn most_rows(&self) -> usize {
        self.limit.unwrap_or(usize::MAX)
    }

    /// The cursor of the page that begins at `next`.
    pub(in crate::http) fn cursor(&self, next: DateTime<Utc>, exchange: Option<ExchangeName>) -> String {
        Cursor { from: next, exchange }.encode(self.kind.series())
    }

    /// The query that asks for the page of this cursor, with an end that does not move.
    pub(in crate::http) fn next_query(&self, cursor: &str) -> String {
        let Self { direction, kind, limit, exchanger, to, .. } = self;
        let mut query = format!("direction={direction}&interval={}&to={}", kind.as_str(), written(*to));
        if let Some(exchanger) = exchanger {
            query.push_str(&format!("&exchanger={exchanger}"));
        }
        if let Some(limit) = limit {
            query.push_str(&format!("&limit={limit}"));
        }
        query + "&cursor=" + cursor
    }
}

/// From when until when: `to` is now and `from` is `usual_span` before it, where the client does not say.
pub(super) fn span(
    values: &Values<'_>,
    usual_span: TimeDelta,
    now: DateTime<Utc>,
) -> Result<(DateTime<Utc>, DateTime<Utc>), ApiError> {
    let to = values.once(Parameter::To, moment)?.unwrap_or(now);
    let from = values.once(Parameter::From, moment)?;
    let from = from.unwrap_or_else(|| to.checked_sub_signed(usual_span).unwrap_or(DateTime::<Utc>::MIN_UTC));
    if from >= to {
        return Err(values.invalid(Parameter::From, format!("`from` is not before {}", written(to))));
    }
    Ok((from, to))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::error::Fault;
    use super::*;

    const KRAKEN: ExchangeName = ExchangeName::new("kraken");
    const BINANCE: ExchangeName = ExchangeName::new("binance");

    fn read(query: &str) -> Result<HistoryQuestion, ApiError> {
        let offer = Offer { directions: Arc::new([]), exchanges: Arc::new([BINANCE, KRAKEN]) };
        HistoryQuestion::read(query, &offer, "2026-11-20T12:00:00Z".parse().unwrap())
    }

    fn cursor(from: &str, exchange: Option<ExchangeName>, kind: Kind) -> String {
        Cursor { from: from.parse().unwrap(), exchange }.encode(kind.series())
    }

    #[test]
    fn understood_queries_become_the_page_that_they_mean() {
        for (query, direction, exchange, from, to, limit) in [
            ("direction=btc-usdt", "BTC-USDT", None, "2026-11-19T12:00:00Z", "2026-11-20T12:00:00Z", 1000),
            ("direction=USDTTRC-USD", "USDT-USD", None, "2026-11-19T12:00:00Z", "2026-11-20T12:00:00Z", 1000),
            (
                "direction=A1-B1&exchanger=KRAKEN&limit=10000",
                "A1-B1",
                Some(KRAKEN),
                "2026-11-19T12:00:00Z",
                "2026-11-20T12:00:00Z",
                10_000,
            ),
            (
                "direction=A1-B1&interval=tick&limit=1",
                "A1-B1",
                None,
                "2026-11-20T11:00:00Z",
                "2026-11-20T12:00:00Z",
                1,
            ),
            (
                "direction=A1-B1&interval=1h",
                "A1-B1",
                None,
                "2026-10-21T12:00:00Z",
                "2026-11-20T12:00:00Z",
                1000,
            ),
            (
                "direction=A1-B1&interval=1d",
                "A1-B1",
                None,
                "2025-11-20T12:00:00Z",
                "2026-11-20T12:00:00Z",
                1000,
            ),
            (
                "direction=A1-B1&to=2026-11-02&from=2026-11-01T03:00:00+03:00",
                "A1-B1",
                None,
                "2026-11-01T00:00:00Z",
                "2026-11-02T00:00:00Z",
                1000,
            ),
            (
                "direction=A1-B1&to=2027-01-01",
                "A1-B1",
                None,
                "2026-12-31T00:00:00Z",
                "2027-01-01T00:00:00Z",
                1000,
            ),
        ] {
            let page = read(query).unwrap_or_else(|error| panic!("{query}: {error}")).page();
            let expected = Range {
                direction: direction.parse().unwrap(),
                exchange,
                from: from.parse().unwrap(),
                to: to.parse().unwrap(),
                limit,
            };
            assert_eq!(page, expected, "{query}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_parameter() {
        let minutes = Kind::Candles(Interval::Minute);
        let of_ticks =
            format!("direction=A1-B1&cursor={}", cursor("2026-11-20T11:00:00Z", None, Kind::Ticks));
        let with = |query: &str, from: &str, exchange| {
            format!("direction=A1-B1&{query}&cursor={}", cursor(from, exchange, minutes))
        };
        for (query, parameter) in [
            (String::new(), "direction"),
            ("interval=1m".to_owned(), "direction"),
            ("direction=".to_owned(), "direction"),
            ("direction=A1-B1,A1-C1".to_owned(), "direction"),
            ("direction=A1-B1&direction=A1-B1".to_owned(), "direction"),
            ("direction=USDTTRC-USDTERC".to_owned(), "direction"),
            ("direction=A1-B1&exchanger=mtgox".to_owned(), "exchanger"),
            ("direction=A1-B1&interval=".to_owned(), "interval"),
            ("direction=A1-B1&interval=1M".to_owned(), "interval"),
            ("direction=A1-B1&interval=TICK".to_owned(), "interval"),
            ("direction=A1-B1&limit=0".to_owned(), "limit"),
            ("direction=A1-B1&limit=10001".to_owned(), "limit"),
            ("direction=A1-B1&limit=%2B5".to_owned(), "limit"),
            ("direction=A1-B1&limit=".to_owned(), "limit"),
            ("direction=A1-B1&from=2026-11-20T12:00:00Z".to_owned(), "from"),
            ("direction=A1-B1&from=2026-11-21".to_owned(), "from"),
            ("direction=A1-B1&from=2026-11-02&to=2026-11-01".to_owned(), "from"),
            ("direction=A1-B1&to=tomorrow".to_owned(), "to"),
            ("direction=A1-B1&cursor=".to_owned(), "cursor"),
            (of_ticks, "cursor"),
            (with("limit=1", "2026-11-20T12:00:00Z", None), "cursor"),
            (with("from=2026-11-20", "2026-11-19T23:59:59Z", None), "cursor"),
            (with("exchanger=kraken", "2026-11-20T11:00:00Z", Some(BINANCE)), "cursor"),
        ] {
            match read(&query) {
                Err(ApiError::Refused { parameter: named, fault, .. }) => {
                    assert_eq!(named, parameter, "{query}");
                    assert_eq!(fault == Fault::UnknownExchanger, query.contains("mtgox"), "{query}");
                }
                other => panic!("{query} gave {other:?}"),
            }
        }
    }

    #[test]
    fn the_link_to_the_next_page_asks_for_the_rest_of_the_same_rows() {
        for query in [
            "direction=USDTTRC-USD",
            "direction=A1-B1&exchanger=kraken&interval=tick&limit=7&from=2026-11-20",
        ] {
            let question = read(query).unwrap();
            let next = "2026-11-20T11:30:00.000001Z".parse().unwrap();
            let following = read(&question.next_query(&question.cursor(next, Some(KRAKEN)))).unwrap();
            assert_eq!(following.direction, question.direction);
            assert_eq!(following.kind, question.kind);
            let expected = Range { from: next, exchange: Some(KRAKEN), ..question.page() };
            assert_eq!(following.page(), expected, "{query}");
        }
    }
}
