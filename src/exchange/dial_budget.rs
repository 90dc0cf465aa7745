//! How often an exchange may be dialled, whatever the reason.
//!
//! Separate from the actor because it has to survive it: an actor that panics on the first frame would otherwise
//! dial as fast as it is started again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::market::Moment;

/// Attempts within [`WINDOW`]. Binance bans from 300 in five minutes, for all processes behind one address; a
/// healthy exchange needs one attempt a day.
const MOST_DIALS: usize = 20;

/// The time in which attempts are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// The attempts of one exchange in the last minute, shared by all incarnations of its actor.
#[derive(Debug, Clone)]
pub struct DialBudget {
    most_dials: usize,
    window: Duration,
    dialled_at: Arc<Mutex<VecDeque<Moment>>>,
}

impl Default for DialBudget {
    /// At most 20 attempts in any minute.
    fn default() -> Self {
        Self::new(MOST_DIALS, WINDOW)
    }
}

impl DialBudget {
    /// At most `most_dials` attempts in any `window`.
    pub fn new(most_dials: usize, window: Duration) -> Self {
        Self { most_dials, window, dialled_at: Arc::default() }
    }

    /// Takes one attempt.
    ///
    /// # Errors
    /// The time until one is free again, where none is left.
    pub fn take(&self, now: Moment) -> Result<(), Duration> {
        let mut dialled_at = self.dialled_at.lock().unwrap_or_else(PoisonError::into_inner);
        while dialled_at.front().is_some_and(|first| now.since(*first) >= self.window) {
            dialled_at.pop_front();
        }
        match dialled_at.front() {
            Some(first) if dialled_at.len() >= self.most_dials => {
                Err(self.window.saturating_sub(now.since(*first)))
            }
            _ => {
                dialled_at.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_holds_more_than_twenty_attempts_of_all_incarnations_together() {
        let start = crate::clock::now();
        let budget = DialBudget::default();
        let another_incarnation = budget.clone();
        let mut dials = Vec::new();
        for ms in (0..300_000).step_by(250) {
            let now = start.after(Duration::from_millis(ms));
            if budget.take(now).is_ok() {
                dials.push(ms);
            }
            if another_incarnation.take(now).is_ok() {
                dials.push(ms);
            }
        }
        assert_eq!(dials.len(), 100);
        assert!(dials.windows(21).all(|window| window[20] - window[0] >= 60_000));
    }

    #[test]
    fn an_exhausted_budget_says_how_long_to_wait() {
        let start = crate::clock::now();
        let budget = DialBudget::new(1, Duration::from_secs(60));
        assert_eq!(budget.take(start), Ok(()));
        assert_eq!(budget.take(start.after(Duration::from_secs(45))), Err(Duration::from_secs(15)));
        assert_eq!(budget.take(start.after(Duration::from_secs(60))), Ok(()));
    }
}
