//! Which stored quotes may stand for a past time.
//!
//! Separate because both databases search by the same rules, and each in its own SQL.

use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

use super::store::StoredQuote;
use crate::history::{Interval, Policy};
use crate::market::Validity;

/// How far back a fixing is searched. Sources take their longest pause around New Year, about ten days.
const FIXINGS_FOR: TimeDelta = TimeDelta::days(14);

/// One quote of each market: the newest or the oldest of those of a kind that were received within a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Search {
    pub(super) of: Kind,
    pub(super) take: End,
    /// First moment of the stretch.
    pub(super) from: DateTime<Utc>,
    /// Last moment of the stretch.
    pub(super) to: DateTime<Utc>,
}

/// Which quotes are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Those of a market.
    Live,
    /// Fixings.
    Fixing,
    /// Fixings that apply at this time.
    FixingAt(DateTime<Utc>),
}

/// Which end of a stretch is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Newest,
    Oldest,
}

/// The day before that of `at`: what had quotes since then was a market.
pub(super) fn first_day(at: DateTime<Utc>) -> DateTime<Utc> {
    Interval::Day.start_of(at) - Interval::Day.length()
}

/// What has to be searched for `at`.
pub(super) fn searches(at: DateTime<Utc>, policy: Policy, tolerance: Duration) -> Vec<Search> {
    let tolerance = TimeDelta::from_std(tolerance).unwrap_or(FIXINGS_FOR);
    let before = at.checked_sub_signed(tolerance).unwrap_or(DateTime::UNIX_EPOCH);
    let after = at.checked_add_signed(tolerance).unwrap_or(at);
    let moment = TimeDelta::microseconds(1);
    let second = at.trunc_subsecs(0);
    let previous = Search { of: Kind::Live, take: End::Newest, from: before, to: at };
    let next = Search { of: Kind::Live, take: End::Oldest, from: at + moment, to: after };
    let exact = Search { from: second, to: second + TimeDelta::seconds(1) - moment, ..previous };
    let fixing = Search { of: Kind::Fixing, take: End::Newest, from: at - FIXINGS_FOR, to: at };
    let applying = Search { of: Kind::FixingAt(at), ..fixing };
    let mut searches = match policy {
        Policy::Previous => vec![previous],
        Policy::Nearest => vec![previous, next],
        Policy::Exact => vec![exact],
    };
    searches.extend([fixing, applying]);
    searches
}

/// Keeps of each market the live quote that is nearest to `at`, of two the earlier one, and every fixing once.
pub(super) fn chosen(mut found: Vec<StoredQuote>, at: DateTime<Utc>) -> Vec<StoredQuote> {
    let is_fixing = |stored: &StoredQuote| stored.quote.validity != Validity::Live;
    let market = |stored: &StoredQuote| (stored.exchange.clone(), stored.quote.direction);
    found.sort_by_cached_key(|stored| {
        let distance = (stored.received_at - at).abs();
        (market(stored), is_fixing(stored), distance, stored.received_at)
    });
    found.dedup_by(|later, earlier| {
        let is_same = later.received_at == earlier.received_at;
        market(later) == market(earlier)
            && is_fixing(later) == is_fixing(earlier)
            && (is_same || !is_fixing(later))
    });
    found
}
