//! Which directions have been quiet for too long, and whether a body or the socket is to be believed.
//!
//! Pure. Separate because it is the answer to the worst fault of all: a socket that lives and says nothing of one
//! symbol, or an old price for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::exchange::Pushes;
use crate::market::{Direction, Moment, Quote};

/// What was heard of every direction, and when.
#[derive(Debug)]
pub(super) struct Coverage {
    /// Silence of a direction after which it is asked for.
    quiet_after: Duration,
    /// How long a contradiction may stand before the socket counts as deaf.
    contradiction_grace: Duration,
    /// What makes a socket say something.
    pushes: Pushes,
    /// Whether a socket is listened to, whose words can be compared with bodies.
    is_listening: bool,
    directions: BTreeMap<Direction, Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    frame_at: Option<Moment>,
    body_at: Option<Moment>,
    /// When the last body was asked for that quoted it, and when it was made at the earliest.
    body_quote_at: Option<(Moment, DateTime<Utc>)>,
    /// What the socket last said or, where it has said nothing yet, what the first body said.
    baseline: Option<Quote>,
    contradicted_at: Option<Moment>,
    /// Rounds in a row that had no quote of it.
    num_absences: u32,
}

/// What a quote is worth beside what came the other way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    /// The other way has said something newer: drop it.
    Outdated,
    /// It is the newest that is known.
    Newest,
}

/// A direction that every body leaves out is asked for at most this many quiet times apart.
const MOST_ABSENCES: u32 = 12;

impl Coverage {
    /// Nothing is listened to yet.
    pub(super) fn new(quiet_after: Duration, contradiction_grace: Duration, pushes: Pushes) -> Self {
        Self { quiet_after, contradiction_grace, pushes, is_listening: false, directions: BTreeMap::new() }
    }

    /// These directions, and no others.
    pub(super) fn cover(&mut self, listens_to: &[Direction]) {
        self.directions.retain(|direction, _| listens_to.contains(direction));
        for direction in listens_to {
            self.directions.entry(*direction).or_default();
        }
    }

    /// A socket stands: from now on bodies are compared with what it says.
    pub(super) fn begin_listening(&mut self) {
        self.is_listening = true;
    }

    /// Another socket stands in the place of the last: what only the last one said contradicts nothing any more.
    pub(super) fn change_socket(&mut self, has_quoted: impl Fn(Direction) -> bool) {
        self.is_listening = true;
        for (_, heard) in self.directions.iter_mut().filter(|(direction, _)| !has_quoted(**direction)) {
            heard.baseline = None;
            heard.contradicted_at = None;
        }
    }

    /// No socket stands.
    pub(super) fn end_listening(&mut self) {
        self.change_socket(|_| false);
        self.is_listening = false;
    }

    /// The socket quoted, at `arrived_at` or later. What was on its way for so long that it was made before a body, or may
    /// have been before that was asked for, is outdated; it shows nevertheless that the socket speaks.
    pub(super) fn on_frame(&mut self, quote: &Quote, arrived_at: Moment) -> Worth {
        let Some(heard) = self.directions.get_mut(&quote.direction) else { return Worth::Newest };
        heard.frame_at = Some(arrived_at);
        heard.contradicted_at = None;
        heard.baseline = Some(quote.clone());
        let is_outdated = heard.body_quote_at.is_some_and(|(asked_at, made_at)| {
            arrived_at.monotonic < asked_at.monotonic || quote.quoted_at.is_some_and(|at| at < made_at)
        });
        if is_outdated { Worth::Outdated } else { Worth::Newest }
    }

    /// A body that was asked for at `asked_at` quoted.
    pub(super) fn on_body(&mut self, quote: &Quote, asked_at: Moment, now: Moment) -> Worth {
        let Some(heard) = self.directions.get_mut(&quote.direction) else { return Worth::Newest };
        if heard.frame_at.is_some_and(|frame_at| frame_at.monotonic > asked_at.monotonic) {
            return Worth::Outdated;
        }
        heard.body_at = Some(asked_at);
        // Its own time is no better than the exchange's clock: nothing is made after it has come.
        let made_at =
            quote.quoted_at.map_or(asked_at.wall, |at| at.clamp(asked_at.wall, now.wall.max(asked_at.wall)));
        heard.body_quote_at = Some((asked_at, made_at));
        heard.num_absences = 0;
        if self.is_listening {
            match &heard.baseline {
                Some(baseline) if contradicts(quote, baseline, self.pushes) => {
                    heard.contradicted_at.get_or_insert(now);
                }
                Some(_) => heard.contradicted_at = None,
                None => heard.baseline = Some(quote.clone()),
            }
        }
        Worth::Newest
    }

    /// A round that began at `began_at` has ended well: what it left out will not be in the next one either.
    pub(super) fn on_round(&mut self, began_at: Moment) {
        for heard in self.directions.values_mut() {
            let is_absent = heard.heard_at().is_none_or(|heard_at| heard_at.monotonic < began_at.monotonic);
            if is_absent {
                heard.num_absences = (heard.num_absences + 1).min(MOST_ABSENCES);
                heard.body_at = Some(began_at);
            }
        }
    }

    /// Whether any direction has been quiet for so long that it has to be asked for.
    pub(super) fn has_quiet(&self, now: Moment) -> bool {
        self.directions.values().any(|heard| {
            let quiet_after = self.quiet_after.saturating_mul(heard.num_absences.max(1));
            heard.heard_at().is_none_or(|heard_at| now.since(heard_at) >= quiet_after)
        })
    }

    /// A direction in which bodies have contradicted the socket for so long that it must be deaf.
    pub(super) fn deaf(&self, now: Moment) -> Option<Direction> {
        let is_deaf =
            |heard: &Heard| heard.contradicted_at.is_some_and(|at| now.since(at) >= self.contradiction_grace);
        self.directions.iter().find(|(_, heard)| is_deaf(heard)).map(|(direction, _)| *direction)
    }
}

impl Heard {
    fn heard_at(&self) -> Option<Moment> {
        [self.frame_at, self.body_at].into_iter().flatten().max_by_key(|at| at.monotonic)
    }
}

/// Whether the two say different prices of a kind of which the socket tells every change. A last price says nothing
/// against a book.
fn contradicts(quote: &Quote, baseline: &Quote, pushes: Pushes) -> bool {
    match pushes {
        Pushes::Changes => {
            let is_same_kind = quote.bid.is_some() == baseline.bid.is_some()
                && quote.ask.is_some() == baseline.ask.is_some();
            is_same_kind && !quote.same_price(baseline)
        }
        Pushes::Trades => matches!((quote.last, baseline.last), (Some(body), Some(frame)) if body != frame),
    }
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::*;

    fn direction(text: &str) -> Direction {
        text.parse().unwrap()
    }

    fn quote(text: &str, price: i64) -> Quote {
        Quote::book(direction(text), Decimal::from(price), Decimal::from(price + 1))
    }

    fn at(start: Moment, ms: u64) -> Moment {
        start.after(Duration::from_millis(ms))
    }

    fn coverage() -> Coverage {
        coverage_of(Pushes::Changes)
    }

    fn coverage_of(pushes: Pushes) -> Coverage {
        let mut coverage = Coverage::new(Duration::from_millis(2500), Duration::from_millis(1000), pushes);
        coverage.cover(&[direction("BTC-USDT"), direction("ETH-USDT")]);
        coverage.begin_listening();
        coverage
    }

    #[test]
    fn a_frame_that_may_have_waited_since_before_a_body_was_asked_for_is_outdated() {
        let start = crate::clock::now();
        let mut coverage = coverage();
        coverage.on_body(&quote("BTC-USDT", 101), at(start, 1000), at(start, 1050));
        assert_eq!(coverage.on_frame(&quote("BTC-USDT", 100), at(start, 999)), Worth::Outdated);
        assert_eq!(coverage.on_frame(&quote("BTC-USDT", 102), at(start, 1000)), Worth::Newest);
    }

    #[test]
    fn a_frame_that_is_older_than_a_body_by_their_own_times_is_outdated_and_a_clock_ahead_does_not_matter() {
        let start = crate::clock::now();
        let quoted_at = |price, ms| Quote { quoted_at: Some(at(start, ms).wall), ..quote("BTC-USDT", price) };
        for (body_ms, newest_from) in [(900, 1000), (1030, 1030), (3_600_000, 1050)] {
            let mut coverage = coverage();
            coverage.on_body(&quoted_at(101, body_ms), at(start, 1000), at(start, 1050));
            let early = coverage.on_frame(&quoted_at(100, newest_from - 1), at(start, 1060));
            let late = coverage.on_frame(&quoted_at(102, newest_from), at(start, 1060));
            assert_eq!((early, late), (Worth::Outdated, Worth::Newest), "{body_ms}");
        }
    }

    #[test]
    fn a_direction_is_quiet_from_half_of_its_limit_on_and_one_that_was_never_heard_at_once() {
        let start = crate::clock::now();
        let mut coverage = coverage();
        coverage.on_frame(&quote("BTC-USDT", 100), at(start, 0));
        assert!(coverage.has_quiet(at(start, 0)));
        coverage.on_body(&quote("ETH-USDT", 10), at(start, 0), at(start, 50));
        assert!(!coverage.has_quiet(at(start, 2499)));
        assert!(coverage.has_quiet(at(start, 2500)));
        coverage.on_body(&quote("ETH-USDT", 10), at(start, 2400), at(start, 2500));
        coverage.on_frame(&quote("BTC-USDT", 100), at(start, 4000));
        assert!(!coverage.has_quiet(at(start, 4899)));
        assert!(coverage.has_quiet(at(start, 4900)));
    }

    #[test]
    fn a_body_is_dropped_if_a_newer_frame_came_after_it_was_asked_for() {
        let start = crate::clock::now();
        let mut coverage = coverage();
        coverage.on_frame(&quote("BTC-USDT", 100), at(start, 10));
        assert_eq!(coverage.on_body(&quote("BTC-USDT", 99), at(start, 5), at(start, 20)), Worth::Outdated);
        assert_eq!(coverage.on_body(&quote("BTC-USDT", 99), at(start, 15), at(start, 20)), Worth::Newest);
        assert_eq!(coverage.on_body(&quote("ETH-USDT", 10), at(start, 5), at(start, 20)), Worth::Newest);
    }

    #[test]
    fn a_frame_is_dropped_if_it_was_made_before_a_body_was_asked_for() {
        let start = crate::clock::now();
        let mut coverage = coverage();
        coverage.on_body(&quote("BTC-USDT", 100), at(start, 1000), at(start, 1100));
        for (made_ms, expected) in [(999, Worth::Outdated), (1000, Worth::Newest), (1900, Worth::Newest)] {
            let late = Quote { quoted_at: Some(at(start, made_ms).wall), ..quote("BTC-USDT", 99) };
            assert_eq!(coverage.on_frame(&late, at(start, 2000)), expected, "{made_ms}");
        }
        assert_eq!(
            coverage.on_frame(&quote("BTC-USDT", 99), at(start, 2000)),
            Worth::Newest,
            "no time of its own"
        );
    }

    #[test]
    fn a_socket_is_deaf_when_a_contradiction_stands_and_it_says_nothing() {
        let start = crate::clock::now();
        let mut coverage = coverage();
        coverage.on_frame(&quote("BTC-USDT", 100), at(start, 0));
        coverage.on_body(&quote("BTC-USDT", 100), at(start, 2500), at(start, 2600));
        assert_eq!(coverage.deaf(at(start, 9000)), None);
        coverage.on_body(&quote("BTC-USDT", 101), at(start, 9000), at(start, 9100));
        assert_eq!(coverage.deaf(at(start, 10_099)), None);
        assert_eq!(coverage.deaf(at(start, 10_100)), Some(direction("BTC-USDT")));
    }

    #[test]
    fn a_change_that_the_socket_tells_a_little_later_is_no_contradiction() {
        let start = crate::clock::now();
        let mut coverage = coverage();
        coverage.on_frame(&quote("BTC-USDT", 100), at(start, 0));
        coverage.on_body(&quote("BTC-USDT", 101), at(start, 2500), at(start, 2600));
        coverage.on_frame(&quote("BTC-USDT", 101), at(start, 2650));
        assert_eq!(coverage.deaf(at(start, 60_000)), None);
    }

    #[test]
    fn a_socket_that_never_says_a_direction_is_deaf_once_bodies_change() {
        let start = crate::clock::now();
        let mut coverage = coverage();
        coverage.on_body(&quote("ETH-USDT", 10), at(start, 0), at(start, 100));
        coverage.on_body(&quote("ETH-USDT", 11), at(start, 2600), at(start, 2700));
        assert_eq!(coverage.deaf(at(start, 3700)), Some(direction("ETH-USDT")));
    }

    #[test]
    fn a_new_socket_is_judged_by_what_it_said_itself() {
        let start = crate::clock::now();
        let mut coverage = coverage();
        for text in ["BTC-USDT", "ETH-USDT"] {
            coverage.on_frame(&quote(text, 10), at(start, 0));
            coverage.on_body(&quote(text, 11), at(start, 2500), at(start, 2600));
        }
        coverage.on_frame(&quote("BTC-USDT", 12), at(start, 2700));
        coverage.change_socket(|quoted| quoted == direction("BTC-USDT"));
        assert_eq!(coverage.deaf(at(start, 60_000)), None);
        coverage.on_body(&quote("ETH-USDT", 13), at(start, 61_000), at(start, 61_100));
        coverage.on_body(&quote("BTC-USDT", 13), at(start, 61_000), at(start, 61_100));
        assert_eq!(coverage.deaf(at(start, 63_000)), Some(direction("BTC-USDT")));
    }

    #[test]
    fn what_a_socket_said_before_it_was_acknowledged_counts() {
        let start = crate::clock::now();
        let mut coverage = coverage();
        coverage.end_listening();
        coverage.on_frame(&quote("BTC-USDT", 10), at(start, 0));
        coverage.begin_listening();
        coverage.on_body(&quote("BTC-USDT", 11), at(start, 2500), at(start, 2600));
        assert_eq!(coverage.deaf(at(start, 5000)), Some(direction("BTC-USDT")));
    }

    #[test]
    fn a_last_price_contradicts_no_book() {
        let start = crate::clock::now();
        let mut coverage = coverage();
        coverage.on_frame(&quote("BTC-USDT", 100), at(start, 0));
        let last = Quote::last(direction("BTC-USDT"), Decimal::from(500));
        coverage.on_body(&last, at(start, 2500), at(start, 2600));
        assert_eq!(coverage.deaf(at(start, 60_000)), None);
    }

    #[test]
    fn a_socket_that_tells_trades_alone_is_deaf_when_it_misses_one_and_not_when_the_book_moves() {
        let start = crate::clock::now();
        let mut coverage = coverage_of(Pushes::Trades);
        let traded = |price, last| Quote { last: Some(Decimal::from(last)), ..quote("BTC-USDT", price) };
        coverage.on_frame(&traded(100, 100), at(start, 0));
        coverage.on_body(&traded(105, 100), at(start, 2500), at(start, 2600));
        assert_eq!(coverage.deaf(at(start, 9000)), None);
        coverage.on_body(&traded(105, 106), at(start, 9000), at(start, 9100));
        assert_eq!(coverage.deaf(at(start, 10_100)), Some(direction("BTC-USDT")));
    }

    #[test]
    fn a_direction_that_bodies_leave_out_is_asked_for_ever_less_often() {
        let start = crate::clock::now();
        let mut coverage = coverage();
        let mut num_rounds = 0;
        for ms in (0..120_000).step_by(50) {
            let now = at(start, ms);
            coverage.on_frame(&quote("BTC-USDT", 100), now);
            if coverage.has_quiet(now) {
                num_rounds += 1;
                coverage.on_round(now);
            }
        }
        assert!((5..=12).contains(&num_rounds), "{num_rounds}");
    }
}
