//! The parameters of every route, what each accepts, and how a refusal says so.
//!
//! Separate so that the names, and the words in which an error tells what would have been accepted, are one table.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::super::error::{ApiError, Fault};
use crate::history::{Interval, MAX_PAGE, Policy};
use crate::market::{Direction, ExchangeName};
use crate::rate_book::EventKind;

/// Most characters of a client's text that an error repeats.
pub(super) const MAX_ECHO: usize = 40;

/// What can be asked for.
#[derive(Debug, Clone)]
pub(in crate::http) struct Offer {
    /// The configured directions.
    pub(in crate::http) directions: Arc<[Direction]>,
    /// The enabled exchanges.
    pub(in crate::http) exchanges: Arc<[ExchangeName]>,
}

/// A parameter. Two of one name accept different values on different routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parameter {
    Exchanger,
    Directions,
    Direction,
    /// A direction that exchanges quote, whether it is configured or not.
    StoredDirection,
    Token,
    Currency,
    MaxAgeMs,
    At,
    Policy,
    Tolerance,
    Interval,
    /// The interval of a picture, which shows no ticks.
    ChartInterval,
    From,
    To,
    Since,
    Kind,
    Limit,
    Cursor,
    Width,
    Height,
}

/// Rows of one page.
pub(super) const LIMITS: RangeInclusive<usize> = 1..=MAX_PAGE;

/// Pixels of a picture: from what still has room for the labels to what every viewer still opens.
pub(super) const WIDTHS: RangeInclusive<u32> = 200..=4000;

/// The same for its other side.
pub(super) const HEIGHTS: RangeInclusive<u32> = 100..=3000;

/// The word for quotes one by one, where an interval is asked for.
pub(super) const TICK: &str = "tick";

impl Parameter {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Exchanger => "exchanger",
            Self::Directions => "directions",
            Self::Direction | Self::StoredDirection => "direction",
            Self::Token => "token",
            Self::Currency => "currency",
            Self::MaxAgeMs => "max_age_ms",
            Self::At => "at",
            Self::Policy => "policy",
            Self::Tolerance => "tolerance",
            Self::Interval | Self::ChartInterval => "interval",
            Self::From => "from",
            Self::To => "to",
            Self::Since => "since",
            Self::Kind => "kind",
            Self::Limit => "limit",
            Self::Cursor => "cursor",
            Self::Width => "width",
            Self::Height => "height",
        }
    }

    /// What it accepts: the values where they can be listed, else their form. For `directions` of courses these are
    /// the configured ones, although others may have a path too: which ones changes with what is listened to.
    fn allowed(self, offer: &Offer) -> Vec<String> {
        let form = |text: &str| vec![text.to_owned()];
        match self {
            Self::Exchanger => texts(offer.exchanges.iter()),
            Self::Directions | Self::Direction => texts(offer.directions.iter()),
            Self::StoredDirection => form("one direction that an exchange quotes, such as `BTC-USDT`"),
            Self::Token => texts(offer.directions.iter().map(|direction| direction.base)),
            Self::Currency => texts(offer.directions.iter().map(|direction| direction.counter)),
            Self::MaxAgeMs => form("a whole number of milliseconds, in digits alone"),
            Self::At => form("a time until now, such as `2026-11-20T12:00:00Z` or `2026-11-20`"),
            Self::Policy => texts(Policy::ALL.iter().map(|policy| policy.as_str())),
            Self::Tolerance => form("a duration from `1s` to `7d`, such as `10m`"),
            Self::Interval => texts(intervals().chain([TICK])),
            Self::ChartInterval => texts(intervals()),
            Self::From => form("a time before `to`, such as `2026-11-20T12:00:00Z` or `2026-11-20`"),
            Self::To | Self::Since => form("a time, such as `2026-11-20T12:00:00Z` or `2026-11-20`"),
            Self::Kind => texts(EventKind::ALL.iter().map(|kind| kind.as_str())),
            Self::Limit => vec![whole_numbers(&LIMITS)],
            Self::Cursor => form("the `next` of the page before, asked with the same parameters"),
            Self::Width => vec![whole_numbers(&WIDTHS)],
            Self::Height => vec![whole_numbers(&HEIGHTS)],
        }
    }

    /// A refusal of a value that it cannot have.
    pub(super) fn invalid(self, detail: impl fmt::Display, offer: &Offer) -> ApiError {
        self.refused(Fault::InvalidParameter, detail, offer)
    }

    /// A refusal of its value.
    pub(super) fn refused(self, fault: Fault, detail: impl fmt::Display, offer: &Offer) -> ApiError {
        ApiError::Refused {
            fault,
            parameter: self.as_str().to_owned(),
            detail: detail.to_string(),
            allowed: self.allowed(offer),
        }
    }
}

fn whole_numbers<T: fmt::Display>(range: &RangeInclusive<T>) -> String {
    format!("a whole number from {} to {}", range.start(), range.end())
}

fn intervals() -> impl Iterator<Item = &'static str> {
    Interval::ALL.iter().map(|interval| interval.as_str())
}

/// Each text once, in the order of its first appearance.
pub(super) fn texts(items: impl Iterator<Item = impl ToString>) -> Vec<String> {
    let mut texts = Vec::new();
    for text in items.map(|item| item.to_string()) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}

/// The start of a client's text, for an error.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(MAX_ECHO).collect()
}
