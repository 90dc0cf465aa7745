//! How late frames are that do not tell when they were made.
//!
//! A ping is answered behind everything that the exchange has already sent: what comes after the answer was sent after
//! the ping was. While an answer is overdue, what is read may be as old as the last ping that was answered. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use crate::market::Moment;

/// Pings that may wait for their answers; while so many do, no further one is sent. Few, because what was held up on the
/// way comes together, and counts together.
const MOST_WAITING: usize = 3;

/// Two pings are no closer together than this: exchanges count them among the few messages a second that they take.
const MIN_GAP: Duration = Duration::from_millis(300);

/// The pings of one socket.
#[derive(Debug)]
pub(super) struct Probes {
    every: Duration,
    overdue_after: Duration,
    next_at: Option<Moment>,
    num_sent: u64,
    waiting: VecDeque<(u64, Moment)>,
    /// When the last ping was sent that was answered, or the socket opened; `None` for an exchange that has answered none.
    answered_at: Option<Moment>,
}

impl Probes {
    /// Pings often enough for quotes that are stale after this time. `opened_at` is when the socket was opened, of an
    /// exchange that is known to answer pings.
    pub(super) fn new(stale_after: Duration, opened_at: Option<Moment>) -> Self {
        Self {
            every: (stale_after / 4).max(MIN_GAP),
            overdue_after: stale_after / 4,
            next_at: None,
            num_sent: 0,
            waiting: VecDeque::new(),
            answered_at: opened_at,
        }
    }

    /// The number of a ping that is to be sent now.
    pub(super) fn due(&mut self, now: Moment) -> Option<u64> {
        let is_time = self.next_at.is_none_or(|at| now.monotonic >= at.monotonic);
        if !is_time || self.waiting.len() >= MOST_WAITING {
            return None;
        }
        self.next_at = Some(now.after(self.every));
        self.num_sent += 1;
        self.waiting.push_back((self.num_sent, now));
        Some(self.num_sent)
    }

    /// A ping of this number was answered, and so were those before it.
    pub(super) fn on_answer(&mut self, number: u64) {
        if !self.waiting.iter().any(|(sent, _)| *sent == number) {
            return;
        }
        while let Some((sent, at)) = self.waiting.pop_front() {
            self.answered_at = Some(at);
            if sent == number {
                return;
            }
        }
    }

    /// The latest moment of which it is known that what is read now was sent after it; `None` while it comes in time,
    /// and for an exchange that has never answered: it may not know pings.
    pub(super) fn late_since(&self, now: Moment) -> Option<Moment> {
        let is_overdue = self.waiting.front().is_some_and(|(_, at)| now.since(*at) > self.overdue_after);
        self.answered_at.filter(|_| is_overdue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Moment, ms: u64) -> Moment {
        start.after(Duration::from_millis(ms))
    }

    #[test]
    fn what_is_read_while_an_answer_is_overdue_may_be_as_old_as_the_last_ping_that_was_answered() {
        let start = crate::clock::now();
        let mut probes = Probes::new(Duration::from_secs(4), None);
        assert_eq!(probes.due(at(start, 0)), Some(1));
        assert_eq!(probes.due(at(start, 999)), None);
        assert_eq!(probes.late_since(at(start, 9_000)), None, "it may not know pings");
        probes.on_answer(1);
        assert_eq!(probes.late_since(at(start, 9_000)), None, "no answer is awaited");

        assert_eq!(probes.due(at(start, 10_000)), Some(2));
        assert_eq!(probes.due(at(start, 11_000)), Some(3));
        assert_eq!(probes.late_since(at(start, 11_000)), None);
        assert_eq!(probes.late_since(at(start, 11_001)), Some(at(start, 0)));
        probes.on_answer(7);
        probes.on_answer(1);
        assert_eq!(probes.late_since(at(start, 11_900)), Some(at(start, 0)), "nobody was asked that");
        probes.on_answer(2);
        assert_eq!(probes.late_since(at(start, 12_000)), None);
        assert_eq!(probes.late_since(at(start, 12_001)), Some(at(start, 10_000)));
        probes.on_answer(3);
        assert_eq!(probes.late_since(at(start, 99_000)), None);
    }

    #[test]
    fn before_the_first_answer_nothing_is_older_than_the_socket_where_answers_are_known_to_come() {
        let start = crate::clock::now();
        let mut probes = Probes::new(Duration::from_secs(4), Some(at(start, 0)));
        assert_eq!(probes.due(at(start, 10)), Some(1));
        assert_eq!(probes.late_since(at(start, 1_010)), None);
        assert_eq!(probes.late_since(at(start, 1_011)), Some(at(start, 0)));
    }

    #[test]
    fn an_answer_stands_for_those_before_it() {
        let start = crate::clock::now();
        let mut probes = Probes::new(Duration::from_secs(4), None);
        for second in 0..3 {
            assert_eq!(probes.due(at(start, second * 1_000)), Some(second + 1));
        }
        probes.on_answer(3);
        assert_eq!(probes.late_since(at(start, 99_000)), None);
    }

    #[test]
    fn so_many_answers_are_awaited_and_no_more() {
        let start = crate::clock::now();
        let mut probes = Probes::new(Duration::from_millis(100), None);
        let sent: Vec<u64> = (0..100).filter_map(|nth| probes.due(at(start, nth * 150))).collect();
        assert_eq!(sent, [1, 2, 3]);
        probes.on_answer(3);
        assert_eq!(probes.due(at(start, 99_000)), Some(4));
    }
}
