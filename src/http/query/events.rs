//! The parameters of `/v1/events`: since when, and of which kind.

use chrono::{DateTime, TimeDelta, Utc};

use super::super::error::ApiError;
use super::cursor::{Cursor, Series};
use super::history::DEFAULT_LIMIT;
use super::parameter::{LIMITS, Offer, Parameter, cut};
use super::time::moment;
use super::values::{Values, whole_number};
use crate::history::GetEvents;
use crate::rate_book::EventKind;

const ACCEPTED: &[Parameter] = &[Parameter::Since, Parameter::Kind, Parameter::Limit, Parameter::Cursor];

/// How far back events go where the client does not say: a night and the day before it.
const USUAL_SPAN: TimeDelta = TimeDelta::hours(24);

/// A question for events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct EventsQuestion {
    since: DateTime<Utc>,
    kind: Option<EventKind>,
    limit: Option<usize>,
}

impl EventsQuestion {
    /// Reads the query of `/v1/events`.
    ///
    /// # Errors
    /// [`ApiError::Refused`] for everything that is not understood.
    pub(in crate::http) fn read(query: &str, offer: &Offer, now: DateTime<Utc>) -> Result<Self, ApiError> {
        let values = Values::read(query, ACCEPTED, offer)?;
        let since = values.once(Parameter::Since, moment)?;
        let kind = values.once(Parameter::Kind, |text| {
            EventKind::parse(text).ok_or_else(|| format!("`{}` is no kind of event", cut(text)))
        })?;
        let limit = values.once(Parameter::Limit, |text| whole_number(text, LIMITS))?;
        let cursor = values.once(Parameter::Cursor, |text| Cursor::decode(text, Series::Events, offer))?;
        if let (Some(since), Some(cursor)) = (since, cursor)
            && cursor.from < since
        {
            return Err(values.invalid(Parameter::Cursor, "this cursor lies before `since`"));
        }
        let usual = || now.checked_sub_signed(USUAL_SPAN).unwrap_or(now);
        let since = cursor.map(|cursor| cursor.from).or(since).unwrap_or_else(usual);
        Ok(Self { since, kind, limit })
    }

    /// The events of one page.
    pub(in crate::http) fn page(&self) -> GetEvents {
        self.part(None, self.limit.unwrap_or(DEFAULT_LIMIT))
    }

    /// At most `limit` of the events, from another time on where there is one.
    pub(in crate::http) fn part(&self, from: Option<DateTime<Utc>>, limit: usize) -> GetEvents {
        GetEvents { since: from.unwrap_or(self.since), kind: self.kind, limit }
    }

    /// Most events in all, where pages follow one another without being asked for.
    pub(in crate::http) fn most_rows(&self) -> usize {
        self.limit.unwrap_or(usize::MAX)
    }

    /// The cursor of the page that begins at `next`.
    pub(in crate::http) fn cursor(&self, next: DateTime<Utc>) -> String {
        Cursor { from: next, exchange: None }.encode(Series::Events)
    }

    /// The query that asks for the page of this cursor.
    pub(in crate::http) fn next_query(&self, cursor: &str) -> String {
        let mut query = String::new();
        if let Some(kind) = self.kind {
            query.push_str(&format!("kind={}&", kind.as_str()));
        }
        if let Some(limit) = self.limit {
            query.push_str(&format!("limit={limit}&"));
        }
        query + "cursor=" + cursor
    }
}
