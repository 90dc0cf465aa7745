//! The delays between attempts, as a pure sequence.
//!
//! Separate because dialling, polling and instrument lists wait by the same rule, and because the spread of the
//! delays can only be tested where the chance is passed in.

use std::time::Duration;

use rand::{Rng, RngExt};

/// The ceiling doubles at most this often, so that the multiplication cannot overflow; every cap in use is reached
/// long before.
const MOST_DOUBLINGS: u32 = 20;

/// Delays with full jitter: the n-th lies anywhere between a tenth of the base and `base * 2^n`, at most at the cap.
///
/// Full jitter spreads the clients of an exchange that came back; the tenth of the base keeps chance from dialling
/// twice in the same moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    num_failures: u32,
}

impl Backoff {
    /// A sequence whose first delay is at most `base`, and none more than `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, num_failures: 0 }
    }

    /// The delay after one more failure.
    pub fn next_delay(&mut self, rng: &mut impl Rng) -> Duration {
        let ceiling = self.base.saturating_mul(1 << self.num_failures.min(MOST_DOUBLINGS)).min(self.cap);
        self.num_failures = self.num_failures.saturating_add(1);
        let floor = (self.base / 10).min(ceiling);
        rng.random_range(floor..=ceiling)
    }

    /// Begins again: what was tried has worked for a while.
    pub fn reset(&mut self) {
        self.num_failures = 0;
    }

    /// Whether nothing has failed since the beginning.
    pub fn is_fresh(&self) -> bool {
        self.num_failures == 0
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const BASE: Duration = Duration::from_millis(250);
    const CAP: Duration = Duration::from_secs(30);

    #[test]
    fn delays_are_spread_evenly_below_a_ceiling_that_doubles_up_to_the_cap() {
        let mut rng = StdRng::seed_from_u64(7);
        for (num_failures, ceiling_ms) in
            [(0, 250), (1, 500), (4, 4_000), (6, 16_000), (7, 30_000), (40, 30_000)]
        {
            let mut delays: Vec<u128> = (0..400)
                .map(|_| Backoff { base: BASE, cap: CAP, num_failures }.next_delay(&mut rng).as_millis())
                .collect();
            delays.sort_unstable();
            assert!(*delays.last().unwrap() <= ceiling_ms, "{num_failures}");
            // Of an even spread over `25..=ceiling`, the quartiles lie close to the quarters.
            for quarter in [1, 2, 3] {
                let expected = 25 + (ceiling_ms - 25) * quarter / 4;
                let found = delays[(delays.len() as u128 * quarter / 4) as usize];
                assert!(found.abs_diff(expected) < ceiling_ms / 12, "{num_failures} {quarter} {found}");
            }
        }
    }

    #[test]
    fn no_two_attempts_come_within_a_tenth_of_the_base() {
        let mut rng = StdRng::seed_from_u64(8);
        let mut backoff = Backoff::new(BASE, CAP);
        assert!((0..1000).all(|_| backoff.next_delay(&mut rng) >= BASE / 10));
    }

    #[test]
    fn a_success_begins_the_sequence_again() {
        let mut rng = StdRng::seed_from_u64(9);
        let mut backoff = Backoff::new(BASE, CAP);
        for _ in 0..20 {
            backoff.next_delay(&mut rng);
        }
        backoff.reset();
        assert!(backoff.is_fresh());
        assert!(backoff.next_delay(&mut rng) <= BASE);
    }
    proptest::proptest! {
        #[test]
        fn a_delay_stays_between_a_tenth_of_the_base_and_the_ceiling(
            base in 0_u64..=u64::MAX, cap in 0_u64..=u64::MAX, num_failures: u32, seed: u64,
        ) {
            let (base, cap) = (Duration::from_nanos(base), Duration::from_nanos(cap));
            let mut backoff = Backoff { base, cap, num_failures };
            let delay = backoff.next_delay(&mut StdRng::seed_from_u64(seed));
            let doubled = base.saturating_mul(2_u32.saturating_pow(num_failures.min(20)));
            proptest::prop_assert!(delay <= cap, "{:?} is beyond the cap", delay);
            proptest::prop_assert!(delay <= doubled, "{:?} is beyond the ceiling", delay);
            proptest::prop_assert!(delay >= (base / 10).min(cap), "{:?} is too soon", delay);
            proptest::prop_assert!(!backoff.is_fresh());
        }

        #[test]
        fn the_longest_delays_never_grow_beyond_the_cap_however_often_it_fails(
            base in 1_u64..=10_000, cap in 1_u64..=3_600_000, seed: u64,
        ) {
            let (base, cap) = (Duration::from_millis(base), Duration::from_millis(cap));
            let mut rng = StdRng::seed_from_u64(seed);
            let mut backoff = Backoff::new(base, cap);
            for failure in 0..40_u32 {
                let ceiling = base.saturating_mul(1 << failure.min(20)).min(cap);
                proptest::prop_assert!(backoff.next_delay(&mut rng) <= ceiling);
            }
            backoff.reset();
            proptest::prop_assert!(backoff.next_delay(&mut rng) <= base.min(cap));
        }
    }
}
