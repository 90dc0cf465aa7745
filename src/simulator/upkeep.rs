//! An exchange's rules for one of its sockets, kept: pings and their pongs, age, silence, too many messages.
//!
//! Pure but for the times that are passed in; separate from `session`, which does what comes out here.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::protocol::{SocketRules, scaled};

/// Shortest time between two pings, and for a pong, however high the speed: less would measure the machine instead of
/// the client.
const MIN_PING_EVERY: Duration = Duration::from_millis(100);
const MIN_PONG_WITHIN: Duration = Duration::from_millis(500);

/// The close code for a client that breaks a rule.
const POLICY: u16 = 1008;

/// The close code for a connection that is too old or too silent.
const GOING_AWAY: u16 = 1001;

/// Why an exchange hangs up: a close code, and words.
pub(super) type Closing = (u16, &'static str);

/// The rules of one socket, and how the client has kept them so far.
#[derive(Debug)]
pub(super) struct Upkeep {
    pings: Option<(Duration, Duration)>,
    messages_per_second: Option<usize>,
    silence: Option<Duration>,
    dies_at: Option<Instant>,
    heard_at: Instant,
    next_ping_at: Option<Instant>,
    num_pings: u64,
    /// Pings without a pong so far, and when each was sent.
    unanswered: VecDeque<(String, Instant)>,
    /// When the messages of the last second came.
    recent: VecDeque<Instant>,
}

impl Upkeep {
    /// The upkeep of a socket that is opened now, its times shortened by `speed`, and the time for a pong by
    /// `pong_speed`.
    pub(super) fn new(rules: &SocketRules, speed: f64, pong_speed: f64, now: Instant) -> Self {
        let pings = rules.pings.map(|(every, pong_within)| {
            (scaled(every, speed).max(MIN_PING_EVERY), scaled(pong_within, pong_speed).max(MIN_PONG_WITHIN))
        });
        Self {
            pings,
            messages_per_second: rules.messages_per_second,
            silence: rules.silence.map(|silence| scaled(silence, speed)),
            dies_at: rules.lifetime.map(|lifetime| now + scaled(lifetime, speed)),
            heard_at: now,
            next_ping_at: pings.map(|(every, _)| now + every),
            num_pings: 0,
            unanswered: VecDeque::new(),
            recent: VecDeque::new(),
        }
    }

    /// Something came from the client.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// A pong came. One that answers a ping proves that the client lives, and is not counted as a message, though the
    /// real exchange does: otherwise `speed`, which shortens the time between pings, would make a crime of answering.
    pub(super) fn pong(&mut self, payload: &[u8], now: Instant) -> Option<Closing> {
        match self.unanswered.iter().position(|(sent, _)| sent.as_bytes() == payload) {
            Some(index) => {
                self.unanswered.drain(..=index);
                None
            }
            None => self.message(now),
        }
    }

    /// A message came, or what counts as one.
    pub(super) fn message(&mut self, now: Instant) -> Option<Closing> {
        let limit = self.messages_per_second?;
        while self.recent.front().is_some_and(|at| now.duration_since(*at) >= Duration::from_secs(1)) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        (self.recent.len() > limit).then_some((POLICY, "Too many requests"))
    }

    /// The payload of the ping that is due, if one is. No two pings of a connection have the same.
    pub(super) fn ping(&mut self, unix_ms: i64, now: Instant) -> Option<String> {
        let (every, _) = self.pings?;
        if self.next_ping_at? > now {
            return None;
        }
        self.next_ping_at = Some(now + every);
        self.num_pings += 1;
        let payload = format!("{unix_ms}-{}", self.num_pings);
        self.unanswered.push_back((payload.clone(), now));
        Some(payload)
    }

    /// Why the exchange hangs up, if it is time to.
    pub(super) fn verdict(&self, now: Instant) -> Option<Closing> {
        if self.pong_by().is_some_and(|at| at <= now) {
            return Some((POLICY, "Pong timeout"));
        }
        if self.dies_at.is_some_and(|at| at <= now) {
            return Some((GOING_AWAY, "the connection has reached its age"));
        }
        self.silent_at().filter(|at| *at <= now).map(|_| (GOING_AWAY, "nothing was heard"))
    }

    /// When there is something to do next; `None` if never.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        [self.next_ping_at, self.pong_by(), self.dies_at, self.silent_at()].into_iter().flatten().min()
    }

    fn pong_by(&self) -> Option<Instant> {
        let (_, pong_within) = self.pings?;
        self.unanswered.front().map(|(_, sent_at)| *sent_at + pong_within)
    }

    fn silent_at(&self) -> Option<Instant> {
        self.silence.map(|silence| self.heard_at + silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn binance_like(speed: f64) -> (Upkeep, Instant) {
        let now = Instant::now();
        let rules = SocketRules {
            pings: Some((20 * SECOND, 60 * SECOND)),
            lifetime: Some(86_400 * SECOND),
            silence: None,
            messages_per_second: Some(5),
        };
        (Upkeep::new(&rules, speed, speed, now), now)
    }

    #[test]
    fn a_ping_is_due_every_twenty_seconds_and_its_pong_within_sixty() {
        let (mut upkeep, start) = binance_like(1.0);
        assert_eq!(upkeep.ping(1, start + 19 * SECOND), None);
        let first = upkeep.ping(1, start + 20 * SECOND).unwrap();
        let second = upkeep.ping(1, start + 40 * SECOND).unwrap();
        assert_ne!(first, second);
        assert_eq!(upkeep.verdict(start + 79 * SECOND), None);
        assert_eq!(upkeep.verdict(start + 80 * SECOND), Some((1008, "Pong timeout")));
        assert_eq!(upkeep.pong(first.as_bytes(), start + 79 * SECOND), None);
        assert_eq!(upkeep.verdict(start + 80 * SECOND), None);
        assert_eq!(upkeep.verdict(start + 100 * SECOND), Some((1008, "Pong timeout")));
        assert_eq!(upkeep.pong(second.as_bytes(), start + 100 * SECOND), None);
        assert_eq!(upkeep.verdict(start + 100 * SECOND), None);
    }

    #[test]
    fn five_messages_in_a_second_are_fine_and_a_sixth_is_not() {
        let (mut upkeep, start) = binance_like(1.0);
        for _ in 0..5 {
            assert_eq!(upkeep.message(start), None);
        }
        assert_eq!(upkeep.message(start + SECOND), None, "a second later");
        for _ in 0..4 {
            assert_eq!(upkeep.pong(b"unsolicited", start + SECOND), None);
        }
        assert_eq!(upkeep.pong(b"unsolicited", start + SECOND), Some((1008, "Too many requests")));
    }

    #[test]
    fn age_and_silence_end_a_connection_at_their_scaled_time() {
        let (upkeep, start) = binance_like(86_400.0);
        assert_eq!(upkeep.verdict(start + SECOND / 2), None);
        assert_eq!(upkeep.verdict(start + SECOND).map(|(code, _)| code), Some(1001));
        let rules = SocketRules { silence: Some(30 * SECOND), ..SocketRules::default() };
        let mut upkeep = Upkeep::new(&rules, 1.0, 1.0, start);
        upkeep.heard(start + 10 * SECOND);
        assert_eq!(upkeep.wake_at(), Some(start + 40 * SECOND));
        assert_eq!(upkeep.verdict(start + 39 * SECOND), None);
        assert_eq!(upkeep.verdict(start + 40 * SECOND).map(|(code, _)| code), Some(1001));
    }
}
