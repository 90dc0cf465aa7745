//! Events as they are stored, and cut into pages.

use std::borrow::Cow;

use chrono::{DateTime, TimeDelta, Utc};

use super::store::StoreError;
use crate::rate_book::EventKind;

/// Most characters of a reason that are stored. It is a part of the key, and PostgreSQL refuses keys of more than
/// 2,700 bytes; the message of a panic may be longer.
const MAX_REASON_CHARS: usize = 600;

/// An event as it was stored; of an exchange that this version may not know any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredEvent {
    pub(super) at: DateTime<Utc>,
    pub(super) kind: EventKind,
    /// `None` where it concerns no single exchange.
    pub(super) exchange: Option<String>,
    pub(super) reason: String,
    pub(super) count: u64,
}

/// The reason as both databases take it: not too long for a key, and without the character 0, which PostgreSQL has not.
pub(super) fn storable_reason(reason: &str) -> Cow<'_, str> {
    let end = reason.char_indices().nth(MAX_REASON_CHARS).map_or(reason.len(), |(at, _)| at);
    let cut = &reason[..end];
    if cut.contains('\0') { Cow::Owned(cut.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(cut) }
}

/// The words of one kind, or of every kind that this version knows.
pub(super) fn words_of(kind: Option<EventKind>) -> Vec<&'static str> {
    let is_meant = |other: &EventKind| kind.is_none_or(|kind| kind == *other);
    EventKind::ALL.into_iter().filter(is_meant).map(EventKind::as_str).collect()
}

/// An event as it stands in a row. `None` for a kind of a newer version.
pub(super) fn read(
    at: DateTime<Utc>,
    kind: String,
    exchange: String,
    reason: String,
    count: i64,
) -> Option<StoredEvent> {
    let kind = EventKind::parse(&kind)?;
    let exchange = (!exchange.is_empty()).then_some(exchange);
    Some(StoredEvent { at, kind, exchange, reason, count: count.unsigned_abs() })
}

/// A page of at most `limit` events. `load` gives the first of them, in the order of time: until and with a moment, and
/// at most so many.
pub(super) fn page_by(limit: usize, load: &mut Load<'_>) -> Result<EventsPage, StoreError> {
    let one_more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let first = load(None, Some(one_more))?;
    let moment = first.first().map(|event| event.at);
    match (page(first, limit), moment) {
        (Some(page), _) => Ok(page),
        (None, moment) => {
            let events = load(moment, None)?;
            Ok(EventsPage { events, next: moment.map(|at| at + TimeDelta::microseconds(1)) })
        }
    }
}

/// Loads events until and with a moment, and at most so many.
type Load<'a> = dyn FnMut(Option<DateTime<Utc>>, Option<i64>) -> Result<Vec<StoredEvent>, StoreError> + 'a;

/// Cuts `events`, in the order of time and one more than `limit` if there are more, before the moment that does not fit
/// whole: pages are asked for by time, so a moment is never divided. `None` if the first moment alone does not fit.
fn page(mut events: Vec<StoredEvent>, limit: usize) -> Option<EventsPage> {
    if events.len() <= limit {
        return Some(EventsPage { events, next: None });
    }
    let next = events[limit].at;
    events.retain(|event| event.at < next);
    if events.is_empty() { None } else { Some(EventsPage { events, next: Some(next) }) }
}

/// Events in the order of time, and from when the next page begins; `None` after the last event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventsPage {
    pub(super) events: Vec<StoredEvent>,
    pub(super) next: Option<DateTime<Utc>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::testing::at;

    #[test]
    fn a_page_ends_before_a_moment_that_does_not_fit_whole() {
        for (seconds, limit, expected) in [
            (&[1, 2, 3][..], 3, Some((3, None))),
            (&[1, 2, 3], 2, Some((2, Some(3)))),
            (&[1, 2, 2], 2, Some((1, Some(2)))),
            (&[1, 1, 1], 2, None),
            (&[], 2, Some((0, None))),
        ] {
            let moment = |second: u32| at(&format!("2026-11-20T12:00:0{second}Z"));
            let event = |second: &u32| StoredEvent {
                at: moment(*second),
                kind: EventKind::Failover,
                exchange: None,
                reason: String::new(),
                count: 1,
            };
            let cut = page(seconds.iter().map(event).collect(), limit);
            let told = cut.map(|page| (page.events.len(), page.next));
            assert_eq!(told, expected.map(|(num, next)| (num, next.map(moment))), "{seconds:?} by {limit}");
        }
    }

    #[test]
    fn a_reason_fits_into_a_key() {
        assert_eq!(storable_reason("link lost"), "link lost");
        assert_eq!(storable_reason("a\0b"), "a\u{fffd}b");
        assert_eq!(storable_reason(&"€".repeat(5_000)).len(), 3 * MAX_REASON_CHARS);
    }
}
