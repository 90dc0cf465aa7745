//! Courses as of a past time: the rules that answer current questions, applied to what was stored.
//!
//! Separate because it is pure: stored quotes go into a book of their own, as if they had just come, and that book is
//! asked.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::store::StoredQuote;
use crate::history::{HistoryError, PastAnswer};
use crate::market::{Direction, Moment, Quote, Transport, Validity};
use crate::rate_book::{
    Answer, Book, BookSettings, Epoch, Event, GetCourses, ListedExchange, ReportListing, ReportQuotes,
};

#[cfg(test)]
mod tests;

/// How far before the time asked for the book's clock begins: before everything that may still apply then.
const HORIZON: TimeDelta = TimeDelta::days(30);

/// What was known around a time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Known {
    /// The exchanges and directions that were quoted around then.
    pub(super) markets: Vec<(String, Direction)>,
    /// Their quotes that may stand for the time asked for.
    pub(super) quotes: Vec<StoredQuote>,
}

/// What `question` would have been answered at `at` by what was known then, each quote of which is at most `tolerance`
/// away from it, or a fixing that applied. An exchange that quoted a direction around then and has no such quote of it
/// is taken for stale there, as it would have been.
///
/// # Errors
/// [`HistoryError::NoDataAt`] when they answer nothing.
pub(super) fn courses(
    settings: &BookSettings,
    known: &Known,
    question: &GetCourses,
    at: DateTime<Utc>,
    tolerance: Duration,
) -> Result<PastAnswer, HistoryError> {
    let past = Past { at, began_at: at - HORIZON };
    let now = past.moment(at);
    // A point counts for as long as it is within the tolerance, whoever made it.
    let listed = |exchange: &ListedExchange| ListedExchange { stale_after: tolerance, ..exchange.clone() };
    let settings = BookSettings {
        exchanges: settings.exchanges.iter().map(listed).collect(),
        hold_reference: tolerance,
        ..settings.clone()
    };
    let mut book = Book::new(settings.clone(), now);
    for exchange in &settings.exchanges {
        let name = exchange.name.as_str();
        let markets = known.markets.iter().filter(|(exchange, _)| exchange == name);
        let listing = ReportListing {
            exchange: exchange.name,
            epoch: Epoch(1),
            listens_to: markets.map(|(_, direction)| *direction).collect(),
            unsupported: Vec::new(),
        };
        book.apply(Event::Listing(listing), now);
        let mut quotes: Vec<&StoredQuote> =
            known.quotes.iter().filter(|stored| stored.exchange == name).collect();
        quotes.sort_by_key(|stored| stored.received_at);
        for stored in quotes {
            let report = ReportQuotes {
                exchange: exchange.name,
                epoch: Epoch(1),
                transport: Transport::Rest,
                received_at: past.moment(past.shown(stored)),
                quotes: vec![Quote { quoted_at: None, sequence: None, ..stored.quote.clone() }],
                refused: Vec::new(),
            };
            book.apply(Event::Quotes(report), now);
        }
    }
    let answer = book.courses(question, now).map_err(|_| HistoryError::NoDataAt)?;
    let as_of = past.as_of(&answer, &known.quotes).ok_or(HistoryError::NoDataAt)?;
    Ok(PastAnswer { answer, as_of })
}

/// The time that is asked for.
struct Past {
    at: DateTime<Utc>,
    began_at: DateTime<Utc>,
}

impl Past {
    fn moment(&self, wall: DateTime<Utc>) -> Moment {
        Moment { monotonic: (wall - self.began_at).to_std().unwrap_or_default(), wall }
    }

    fn distance(&self, stored: &StoredQuote) -> Duration {
        (stored.received_at - self.at).abs().to_std().unwrap_or_default()
    }

    /// When the book is told that a quote came. One that came after the time asked for counts as if it had come as
    /// long before it, so that its age is how far away it is.
    fn shown(&self, stored: &StoredQuote) -> DateTime<Utc> {
        stored.received_at.min(self.at - (stored.received_at - self.at))
    }

    /// The time of the point that the answer used and that is furthest away; of fixings the newest that had begun, and
    /// only where there is nothing else. `None` if it used none, which a configured peg alone does.
    fn as_of(&self, answer: &Answer, quotes: &[StoredQuote]) -> Option<DateTime<Utc>> {
        let quotes = || quotes.iter();
        let is_own = |stored: &&StoredQuote| stored.exchange == answer.exchanger.as_str();
        let is_live = |stored: &&StoredQuote| stored.quote.validity == Validity::Live;
        let is_leg = |stored: &&StoredQuote| {
            answer.legs.iter().any(|leg| {
                let is_source = leg.source.is_some_and(|source| stored.exchange == source.as_str());
                is_source && is_between(stored.quote.direction, leg.direction)
            })
        };
        // The answer's age is that of its oldest own point.
        let own = quotes().filter(is_own).filter(is_live).filter(|it| self.distance(it) == answer.age);
        let legs = quotes().filter(is_leg).filter(is_live);
        let furthest = own.chain(legs).max_by_key(|stored| self.distance(stored));
        let begun_at = |stored: &StoredQuote| match stored.quote.validity {
            Validity::Fixing { starts_at, .. } if starts_at <= self.at => {
                Some((starts_at, stored.received_at))
            }
            Validity::Fixing { .. } | Validity::Live => None,
        };
        let fixing = || {
            let used = quotes().filter(|stored| is_own(stored) || is_leg(stored));
            used.filter_map(begun_at).max().map(|(_, received_at)| received_at)
        };
        furthest.map(|stored| stored.received_at).or_else(fixing)
    }
}

/// Whether a quote is of this pair, whichever way round.
fn is_between(quoted: Direction, asked: Direction) -> bool {
    quoted == asked || quoted == asked.inverse()
}
