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

    /// Some candidates, each with since when it has been fresh: `0` for the start, and of every fourth nothing.
    fn candidates() -> impl proptest::strategy::Strategy<Value = Vec<Candidate>> {
        use proptest::strategy::Strategy;
        let one = (0_u8..4, 0_u64..100).prop_map(|(kind, at)| match kind {
            0 => Candidate { fresh_since: None },
            1 => Candidate { fresh_since: Some(Since::Start) },
            _ => Candidate { fresh_since: Some(Since::At(Duration::from_secs(at))) },
        });
        proptest::collection::vec(one, 0..12)
    }

    proptest::proptest! {
        #[test]
        fn who_answers_is_the_first_that_has_waited_or_else_has_waited_longest(
            candidates in candidates(), fail_back_after in 0_u64..60,
        ) {
            let (now, wait) = (Duration::from_secs(100), Duration::from_secs(fail_back_after));
            let has_waited = |it: &Candidate| it.fresh_since.is_some_and(|since| is_settled(since, now, wait));
            match answering(&candidates, now, wait) {
                None => proptest::prop_assert!(candidates.iter().all(|it| it.fresh_since.is_none())),
                Some(at) => {
                    let chosen = candidates[at].fresh_since;
                    proptest::prop_assert!(chosen.is_some(), "nobody answers who is not fresh");
                    proptest::prop_assert!(!candidates[..at].iter().any(has_waited), "one before it has waited");
                    if !has_waited(&candidates[at]) {
                        let fresh = || candidates.iter().filter_map(|it| it.fresh_since);
                        proptest::prop_assert!(!candidates.iter().any(has_waited));
                        proptest::prop_assert_eq!(chosen, fresh().min());
                    }
                }
            }
        }

        #[test]
        fn who_is_not_fresh_changes_nothing(candidates in candidates(), at in 0_usize..12) {
            let (now, wait) = (Duration::from_secs(100), Duration::from_secs(15));
            let at = at.min(candidates.len());
            let before = answering(&candidates, now, wait);
            let mut more = candidates;
            more.insert(at, Candidate { fresh_since: None });
            proptest::prop_assert_eq!(answering(&more, now, wait), before.map(|it| it + usize::from(it >= at)));
        }

        #[test]
        fn the_place_is_lost_only_to_one_that_comes_before(candidates in candidates(), later in 100_u64..200) {
            let wait = Duration::from_secs(15);
            let now = answering(&candidates, Duration::from_secs(100), wait);
            let then = answering(&candidates, Duration::from_secs(later), wait);
            // While everybody stays fresh, time moves the place to the front alone.
            let is_settled = |at: usize| {
                candidates[at].fresh_since.is_some_and(|it| is_settled(it, Duration::from_secs(100), wait))
            };
            if let (Some(now), Some(then)) = (now, then) {
                proptest::prop_assert!(then <= now || !is_settled(now));
            }
            proptest::prop_assert_eq!(now.is_some(), then.is_some());
        }
    }
}
