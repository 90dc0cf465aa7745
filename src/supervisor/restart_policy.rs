//! When an actor is started again, and when it is left alone: plain rules over `now`.
//!
//! Separate from the actor that obeys them, so that every figure is tested without waiting for it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::market::Moment;

/// How often children may be started again, and how soon.
#[derive(Debug, Clone, PartialEq)]
pub struct RestartPolicy {
    /// Upper bound of the first delay. A delay is drawn evenly between zero and its bound, so that actors that
    /// ended together do not come back together, and the bound doubles with every recent restart. The silence of a
    /// frozen actor is a part of it.
    pub first_delay: Duration,
    /// What the bound never passes.
    pub longest_delay: Duration,
    /// Restarts that are tolerated within `window`.
    pub max_restarts: usize,
    /// The time in which restarts are counted, and for which an actor has to live to count as well again.
    pub window: Duration,
    /// How long an actor that ends too often is left alone.
    pub quarantine: Duration,
    /// How often a healthy actor reports progress. One that reports none for two of these is replaced.
    pub heartbeat: Duration,
}

impl Default for RestartPolicy {
    /// The figures of production: back within a second after a single panic and within two after the next ones, so that
    /// every restart that is tolerated delivers within five; at most 5 restarts a minute, since a
    /// fault that survives five fresh starts is not cured by a sixth; a frozen actor is noticed within 4 s, which
    /// is before its quotes are stale, and replaced at once.
    fn default() -> Self {
        Self {
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_secs(2),
            max_restarts: 5,
            window: Duration::from_secs(60),
            quarantine: Duration::from_secs(300),
            heartbeat: Duration::from_secs(2),
        }
    }
}

impl RestartPolicy {
    /// How often progress is looked at: often enough that two heartbeats are measured to within a quarter.
    pub(super) fn check_every(&self) -> Duration {
        self.heartbeat / 4
    }

    /// Silence after which an actor counts as frozen.
    pub(super) fn longest_silence(&self) -> Duration {
        self.heartbeat * 2
    }

    /// The delay before a restart that has `recent` others before it; `draw` is a random number from 0 to 1.
    fn delay(&self, recent: usize, draw: f64) -> Duration {
        let doublings = u32::try_from(recent).unwrap_or(u32::MAX);
        let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
        self.first_delay.saturating_mul(factor).min(self.longest_delay).mul_f64(draw.clamp(0.0, 1.0))
    }
}

/// What is done with an actor that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is started again.
    Restart {
        /// After this time.
        after: Duration,
    },
    /// It is left alone for `RestartPolicy::quarantine`, because it had too many restarts.
    Quarantine,
    /// It is left alone again, because it did not survive its trial.
    QuarantineAgain,
}

impl Verdict {
    /// The same after so much of the wait.
    pub(super) fn sooner_by(self, waited: Duration) -> Self {
        match self {
            Self::Restart { after } => Self::Restart { after: after.saturating_sub(waited) },
            Self::Quarantine | Self::QuarantineAgain => self,
        }
    }
}

/// The restarts of one child, as far as they matter for the next one.
#[derive(Debug, Default)]
pub(super) struct RestartHistory {
    /// The newest restarts, oldest first; never more than `max_restarts`.
    restarted_at: VecDeque<Moment>,
    /// The start after a quarantine, until the child has lived for a window.
    trial_since: Option<Moment>,
    num_restarts: u64,
}

impl RestartHistory {
    /// Restarts since the process began.
    pub(super) fn num_restarts(&self) -> u64 {
        self.num_restarts
    }

    /// Decides about an actor that ended at `now`.
    ///
    /// Counts restarts and not ends, so that however the delays fall, no window ever holds more than
    /// `max_restarts` of them.
    pub(super) fn judge(&mut self, policy: &RestartPolicy, now: Moment, draw: f64) -> Verdict {
        let is_recent = |at: &Moment| now.since(*at) < policy.window;
        if self.trial_since.take().is_some_and(|at| is_recent(&at)) {
            return Verdict::QuarantineAgain;
        }
        let recent = self.restarted_at.iter().filter(|at| is_recent(at)).count();
        match recent < policy.max_restarts {
            true => Verdict::Restart { after: policy.delay(recent, draw) },
            false => Verdict::Quarantine,
        }
    }

    /// Notes a restart after a delay.
    pub(super) fn note_restart(&mut self, policy: &RestartPolicy, now: Moment) {
        self.num_restarts += 1;
        self.restarted_at.push_back(now);
        while self.restarted_at.len() > policy.max_restarts {
            self.restarted_at.pop_front();
        }
    }

    /// Notes a restart that was asked for, which is nobody's fault and does not count towards a quarantine.
    pub(super) fn note_asked(&mut self) {
        self.num_restarts += 1;
    }

    /// Notes the one restart after a quarantine, which is a trial until it has lasted for a window.
    pub(super) fn note_trial(&mut self, now: Moment) {
        self.num_restarts += 1;
        self.restarted_at.clear();
        self.trial_since = Some(now);
    }
}

/// How long an actor has been without progress.
#[derive(Debug)]
pub(super) struct Silence {
    ticks: u64,
    checked_at: Moment,
    length: Duration,
}

impl Silence {
    /// An actor that begins now.
    pub(super) fn new(now: Moment) -> Self {
        Self { ticks: 0, checked_at: now, length: Duration::ZERO }
    }

    /// The silence up to `now`, given the actor's count of `ticks`.
    ///
    /// A change counts from the look before it, since that is the earliest time at which it can have happened. No
    /// step counts for more than two looks: after the whole process was stopped for ten seconds, the actors get
    /// their chance to move before they are judged.
    pub(super) fn measure(&mut self, policy: &RestartPolicy, ticks: u64, now: Moment) -> Duration {
        let step = now.since(self.checked_at).min(policy.check_every() * 2);
        self.length = if ticks == self.ticks { self.length + step } else { step };
        self.ticks = ticks;
        self.checked_at = now;
        self.length
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn at(millis: u64) -> Moment {
        let monotonic = Duration::from_millis(millis);
        Moment { monotonic: Duration::ZERO, wall: DateTime::UNIX_EPOCH }.after(monotonic)
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn delays_double_up_to_a_limit_and_are_drawn_evenly_below_it() {
        let policy = RestartPolicy::default();
        for (recent, draw, expected) in [
            (0, 0.0, 0),
            (0, 0.25, 250),
            (0, 1.0, 1_000),
            (1, 1.0, 2_000),
            (4, 0.5, 1_000),
            (5, 1.0, 2_000),
            (31, 1.0, 2_000),
            (32, 1.0, 2_000),
            (usize::MAX, 1.0, 2_000),
            (0, 7.0, 1_000),
            (0, -1.0, 0),
        ] {
            assert_eq!(policy.delay(recent, draw), ms(expected), "{recent} restarts, draw {draw}");
        }
    }

    #[test]
    fn more_than_five_restarts_in_a_minute_are_a_quarantine() {
        let policy = RestartPolicy::default();
        for (restarts_at, ends_at, expected) in [
            (vec![], 0, Verdict::Restart { after: ms(1_000) }),
            (vec![0, 1_000, 2_000, 3_000], 4_000, Verdict::Restart { after: ms(2_000) }),
            (vec![0, 1_000, 2_000, 3_000, 4_000], 5_000, Verdict::Quarantine),
            (vec![0, 1_000, 2_000, 3_000, 4_000], 59_999, Verdict::Quarantine),
            (vec![0, 1_000, 2_000, 3_000, 4_000], 60_000, Verdict::Restart { after: ms(2_000) }),
            (vec![0, 1_000, 2_000, 3_000, 4_000], 64_000, Verdict::Restart { after: ms(1_000) }),
            (vec![0, 1_000, 2_000, 3_000, 4_000, 61_000], 61_500, Verdict::Restart { after: ms(2_000) }),
        ] {
            let mut history = RestartHistory::default();
            for restart in &restarts_at {
                history.note_restart(&policy, at(*restart));
            }
            assert_eq!(history.judge(&policy, at(ends_at), 1.0), expected, "{restarts_at:?}, then {ends_at}");
            assert_eq!(history.num_restarts(), restarts_at.len() as u64);
        }
    }

    #[test]
    fn what_has_been_waited_is_not_waited_again() {
        for (after, waited, expected) in [(1_000, 400, 600), (1_000, 4_000, 0)] {
            let sooner = Verdict::Restart { after: ms(after) }.sooner_by(ms(waited));
            assert_eq!(sooner, Verdict::Restart { after: ms(expected) });
        }
        for verdict in [Verdict::Quarantine, Verdict::QuarantineAgain] {
            assert_eq!(verdict.sooner_by(ms(4_000)), verdict);
        }
    }

    #[test]
    fn an_actor_on_trial_is_put_back_at_its_first_end_and_is_well_after_a_window() {
        let policy = RestartPolicy::default();
        for (ends_after, expected) in [
            (1, Verdict::QuarantineAgain),
            (59_999, Verdict::QuarantineAgain),
            (60_000, Verdict::Restart { after: ms(1_000) }),
        ] {
            let mut history = RestartHistory::default();
            (0..5).for_each(|n| history.note_restart(&policy, at(n * 1_000)));
            assert_eq!(history.judge(&policy, at(5_000), 1.0), Verdict::Quarantine);
            history.note_trial(at(305_000));
            assert_eq!(history.judge(&policy, at(305_000 + ends_after), 1.0), expected, "{ends_after}");
        }
    }

    #[test]
    fn no_window_ever_holds_more_than_five_restarts() {
        let policy = RestartPolicy::default();
        for draw in [0.0, 0.1, 0.5, 0.9, 1.0] {
            for life_ms in [0, 10, 700, 3_000, 9_000, 20_000] {
                let (mut history, mut now, mut restarts) = (RestartHistory::default(), at(0), Vec::new());
                for _ in 0..200 {
                    now = now.after(ms(life_ms));
                    match history.judge(&policy, now, draw) {
                        Verdict::Restart { after } => {
                            now = now.after(after);
                            history.note_restart(&policy, now);
                        }
                        Verdict::Quarantine | Verdict::QuarantineAgain => {
                            now = now.after(policy.quarantine);
                            history.note_trial(now);
                        }
                    }
                    restarts.push(now);
                }
                let crowded = restarts.windows(6).any(|six| six[5].since(six[0]) < policy.window);
                assert!(!crowded, "draw {draw}, life {life_ms} ms");
            }
        }
    }

    #[test]
    fn silence_is_counted_from_the_look_before_the_last_progress() {
        let policy = RestartPolicy::default();
        for (looks, expected) in [
            (vec![(500, 0)], 500),
            (vec![(500, 0), (1_000, 0), (1_500, 0)], 1_500),
            (vec![(500, 0), (1_000, 1)], 500),
            (vec![(500, 1), (1_000, 1), (1_500, 1)], 1_500),
            (vec![(500, 1), (1_000, 2), (1_500, 3)], 500),
            (vec![(500, 1), (60_000, 1)], 1_500),
            (vec![(500, 1), (60_000, 2)], 1_000),
        ] {
            let mut silence = Silence::new(at(0));
            let measured = looks.iter().map(|(now, ticks)| silence.measure(&policy, *ticks, at(*now))).last();
            assert_eq!(measured, Some(ms(expected)), "{looks:?}");
        }
    }
}
