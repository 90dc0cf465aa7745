//! How often the log hears of an exchange's failures.
//!
//! Separate because an exchange that sends rubbish a thousand times a second must not fill a disk with it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::market::Moment;

/// Lines of one exchange in any [`WINDOW`]. Enough to see what happens, few enough to see what else happens.
const MOST_LINES: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);

/// The lines that were said about one exchange in the last minute.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    said_at: VecDeque<Moment>,
    num_unsaid: u64,
}

impl Complaints {
    /// Whether one more line may be said: how many were left out before it. `None` if it has to be left out.
    pub(super) fn allow(&mut self, now: Moment) -> Option<u64> {
        while self.said_at.front().is_some_and(|first| now.since(*first) >= WINDOW) {
            self.said_at.pop_front();
        }
        if self.said_at.len() >= MOST_LINES {
            self.num_unsaid += 1;
            return None;
        }
        self.said_at.push_back(now);
        Some(std::mem::take(&mut self.num_unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_failures_is_ten_lines_a_minute_and_a_count_of_the_rest() {
        let start = crate::clock::now();
        let mut complaints = Complaints::default();
        let said =
            (0..6_000).filter(|ms| complaints.allow(start.after(Duration::from_millis(*ms))).is_some());
        assert_eq!(said.count(), 10);
        assert_eq!(complaints.allow(start.after(Duration::from_secs(70))), Some(5_990));
        assert_eq!(complaints.allow(start.after(Duration::from_secs(71))), Some(0));
    }
}
