//! Who answers: the first fresh exchange in `priority`, with a wait before a returning one gets its place back.
//!
//! Separate because it is the rule that people ask about at night, and it is one function without state: when an
//! exchange began to be fresh is kept by the book with each quote.

use std::time::Duration;

use crate::seeded_bug::{self, SeededBug};

/// Since when something has been fresh without a gap. `Start` is earlier than any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Since {
    /// Since the start of the service, when nobody waits for a place.
    Start,
    /// Since this reading of the monotonic clock.
    At(Duration),
}

/// An exchange that could answer what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Since when all that is asked has been fresh without a gap; `None` if it is not fresh now.
    pub(super) fresh_since: Option<Since>,
}

/// Which of `candidates`, best first, answers at `now` (monotonic): the first that has been fresh for
/// `fail_back_after`. While nobody has been fresh for that long, whoever has been so for longest, so that the place
/// does not go to and fro among exchanges that have just come back. `None` if nobody is fresh.
pub(super) fn answering(candidates: &[Candidate], now: Duration, fail_back_after: Duration) -> Option<usize> {
    let fresh = || candidates.iter().enumerate().filter_map(|(at, it)| Some((at, it.fresh_since?)));
    let settled = fresh().find(|(_, since)| is_settled(*since, now, fail_back_after));
    settled.or_else(|| fresh().min_by_key(|(_, since)| *since)).map(|(at, _)| at)
}

/// Whether what is fresh since `since` has waited for its place.
pub(super) fn is_settled(since: Since, now: Duration, fail_back_after: Duration) -> bool {
    match since {
        Since::Start => true,
        Since::At(_) if seeded_bug::is_on(SeededBug::FailoverNeverReturns) => false,
        Since::At(began) => now.saturating_sub(began) >= fail_back_after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fresh_since: &[Option<u64>], expected: Option<usize>) {
        let since = |at: u64| if at == 0 { Since::Start } else { Since::At(Duration::from_secs(at)) };
        let candidates: Vec<_> =
            fresh_since.iter().map(|at| Candidate { fresh_since: at.map(since) }).collect();
        let answering = answering(&candidates, Duration::from_secs(100), Duration::from_secs(15));
        assert_eq!(answering, expected, "{fresh_since:?}");
    }

    #[test]
    fn the_first_fresh_exchange_answers_and_a_returning_one_waits() {
        check(&[Some(0), Some(0)], Some(0));
        check(&[None, Some(0)], Some(1));
        check(&[None, None], None);
        check(&[], None);
        check(&[Some(90), Some(0)], Some(1));
        check(&[Some(85), Some(0)], Some(0));
        check(&[Some(86), Some(0)], Some(1));
        check(&[Some(90), None], Some(0));
        check(&[Some(95), Some(90), Some(0)], Some(2));
    }

    #[test]
    fn after_an_outage_of_all_the_first_to_return_answers_until_a_better_one_has_settled() {
        check(&[Some(98), Some(95)], Some(1));
        check(&[Some(95), Some(98)], Some(0));
        check(&[Some(95), Some(95)], Some(0));
    }
}
