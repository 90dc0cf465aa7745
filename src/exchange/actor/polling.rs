//! When the next round of requests begins, and how a round goes.
//!
//! Pure. Separate because "at once", "every two seconds", "not before the ban of the minute ends" and "one at a
//! time" meet here.

use std::collections::VecDeque;
use std::time::Duration;

use actix::SpawnHandle;
use rand::Rng;

use super::limits::Limits;
use super::trouble::Trouble;
use crate::exchange::Request;
use crate::exchange::backoff::Backoff;
use crate::market::Moment;

/// Requests of one round that are on their way at the same time. More would look like an attack to an exchange with
/// one request per symbol.
const MOST_AT_ONCE: usize = 4;

/// Why one would poll now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// Nothing else brings quotes: poll at the configured pace.
    Regular,
    /// A socket brings quotes, and every direction has been heard lately.
    NothingQuiet,
    /// A socket brings quotes, but not of every direction.
    SomethingQuiet,
}

/// When to poll.
#[derive(Debug)]
pub(super) struct Polling {
    poll_every: Duration,
    most_server_failures: u32,
    probe_every: Duration,
    certificate_retry: Duration,
    backoff: Backoff,
    num_server_failures: u32,
    num_failed_rounds: usize,
    at_once: bool,
    retry_at: Option<Moment>,
    held_until: Option<Moment>,
    ended_at: Option<Moment>,
    round: Option<Round>,
}

/// A round of requests.
#[derive(Debug)]
struct Round {
    began_at: Moment,
    waiting: VecDeque<Request>,
    sent: Vec<SpawnHandle>,
    num_asked: usize,
    was_good: bool,
    trouble: Option<Trouble>,
}

/// How a round ended.
#[derive(Debug, PartialEq)]
pub(super) struct RoundEnd {
    pub(super) began_at: Moment,
    /// Why it brought nothing, and how long the next one waits; `None` if it brought quotes.
    pub(super) trouble: Option<(Trouble, Duration)>,
}

impl Polling {
    /// Polls at once, then every `poll_every` from the end of one round to the beginning of the next.
    pub(super) fn new(poll_every: Duration, limits: &Limits) -> Self {
        let (least, most) = limits.poll_cap;
        Self {
            poll_every,
            most_server_failures: limits.most_server_failures,
            probe_every: limits.probe_every,
            certificate_retry: limits.certificate_retry,
            backoff: Backoff::new(limits.poll_backoff, poll_every.clamp(least, most)),
            num_server_failures: 0,
            num_failed_rounds: 0,
            at_once: true,
            retry_at: None,
            held_until: None,
            ended_at: None,
            round: None,
        }
    }

    /// Asks for a round without waiting for the pace or a retry; a hold is still kept.
    pub(super) fn poll_at_once(&mut self) {
        self.at_once = true;
    }

    /// Nothing is asked before `until`: the budget is used up.
    pub(super) fn hold_until(&mut self, until: Moment) {
        self.held_until = Some(until);
    }

    /// Whether asking is held back for reasons that even a lost socket does not override.
    pub(super) fn is_held(&self, now: Moment) -> bool {
        self.held_until.is_some_and(|until| now.monotonic < until.monotonic)
    }

    /// Whether a round may be asked for anything now; other requests to the same exchange keep to it too.
    pub(super) fn is_due(&self, occasion: Occasion, now: Moment) -> bool {
        if self.round.is_some() || self.is_held(now) {
            return false;
        }
        if self.at_once {
            return true;
        }
        if self.retry_at.is_some_and(|at| now.monotonic < at.monotonic) {
            return false;
        }
        match occasion {
            Occasion::NothingQuiet => false,
            Occasion::SomethingQuiet => true,
            Occasion::Regular if self.retry_at.is_some() => true,
            Occasion::Regular => self.ended_at.is_none_or(|ended_at| now.since(ended_at) >= self.poll_every),
        }
    }

    /// Whether the exchange answers only with failures of its own: then it is left to recover, and only probed.
    pub(super) fn only_probes(&self) -> bool {
        self.num_server_failures >= self.most_server_failures
    }

    /// Whether a round has begun and not ended.
    pub(super) fn is_under_way(&self) -> bool {
        self.round.is_some()
    }

    /// Begins a round. After every one that failed another request comes first, so that none stands before all others.
    pub(super) fn begin(&mut self, requests: &[Request], now: Moment) {
        self.at_once = false;
        let mut waiting: VecDeque<Request> = requests.iter().cloned().collect();
        if !waiting.is_empty() {
            waiting.rotate_left(self.num_failed_rounds % requests.len());
        }
        self.round = Some(Round {
            began_at: now,
            waiting,
            sent: Vec::new(),
            num_asked: 0,
            was_good: false,
            trouble: None,
        });
    }

    /// The next request of the round that may leave now. After a round that brought nothing the first one goes alone.
    pub(super) fn next_request(&mut self) -> Option<Request> {
        let round = self.round.as_mut()?;
        let most_at_once = if self.retry_at.is_none() || round.was_good { MOST_AT_ONCE } else { 1 };
        if round.num_asked >= most_at_once {
            return None;
        }
        let request = round.waiting.pop_front()?;
        round.num_asked += 1;
        Some(request)
    }

    /// Leaves out what has not been asked of the round.
    pub(super) fn ask_no_more(&mut self) {
        if let Some(round) = &mut self.round {
            round.waiting.clear();
        }
    }

    /// A request brought quotes.
    pub(super) fn on_good(&mut self) {
        if let Some(round) = &mut self.round {
            round.num_asked = round.num_asked.saturating_sub(1);
            round.was_good = true;
        }
        self.num_server_failures = 0;
    }

    /// A request brought none. What troubles the whole exchange ends the round.
    pub(super) fn on_trouble(&mut self, trouble: Trouble) {
        self.count_failure(&trouble);
        if let Some(round) = &mut self.round {
            round.num_asked = round.num_asked.saturating_sub(1);
            if !trouble.is_of_one_request() {
                round.waiting.clear();
            }
            round.trouble = Some(trouble);
        }
    }

    /// A list was not given. That counts beside failures of polls, and never for itself: a list that fails is no reason to
    /// hold back polls that work. Where the exchange is only probed, it was the probe.
    pub(super) fn on_list_trouble(&mut self, trouble: &Trouble, now: Moment) {
        if self.num_server_failures > 0 {
            self.count_failure(trouble);
        }
        if self.only_probes() {
            self.held_until = Some(now.after(self.probe_every));
        }
    }

    /// A list was given: the exchange works.
    pub(super) fn on_good_list(&mut self) {
        self.num_server_failures = 0;
    }

    fn count_failure(&mut self, trouble: &Trouble) {
        if trouble.is_server_failure() {
            self.num_server_failures = self.num_server_failures.saturating_add(1);
        }
    }

    /// Ends the round if nothing of it is on its way or waiting.
    pub(super) fn end(&mut self, now: Moment, rng: &mut impl Rng) -> Option<RoundEnd> {
        let round = self.round.take_if(|round| round.num_asked == 0 && round.waiting.is_empty())?;
        self.ended_at = Some(now);
        let Some(trouble) = round.trouble.filter(|_| !round.was_good) else {
            self.backoff.reset();
            self.retry_at = None;
            return Some(RoundEnd { began_at: round.began_at, trouble: None });
        };
        self.num_failed_rounds = self.num_failed_rounds.wrapping_add(1);
        let mut delay = self.backoff.next_delay(rng);
        if matches!(trouble, Trouble::Tls(_)) {
            delay = delay.max(self.certificate_retry);
        }
        // Probes keep to their pace also where a socket is lost.
        if self.only_probes() {
            delay = delay.max(self.probe_every);
            self.held_until = Some(now.after(delay));
        }
        self.retry_at = Some(now.after(delay));
        Some(RoundEnd { began_at: round.began_at, trouble: Some((trouble, delay)) })
    }

    /// Keeps the handle of a request that is on its way.
    pub(super) fn sent(&mut self, handle: SpawnHandle) {
        if let Some(round) = &mut self.round {
            round.sent.push(handle);
        }
    }

    /// Forgets the round, and gives what has to be cancelled of it.
    pub(super) fn abandon(&mut self) -> Vec<SpawnHandle> {
        self.round.take().map(|round| round.sent).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn at(start: Moment, seconds: u64) -> Moment {
        start.after(Duration::from_secs(seconds))
    }

    fn requests(num: usize) -> Vec<Request> {
        (0..num).map(|n| Request::get(format!("/{n}"))).collect()
    }

    fn polling() -> (Polling, StdRng) {
        (Polling::new(Duration::from_secs(60), &Limits::default()), StdRng::seed_from_u64(1))
    }

    fn round(polling: &mut Polling, rng: &mut StdRng, trouble: Option<Trouble>, now: Moment) {
        polling.begin(&requests(1), now);
        polling.next_request().unwrap();
        match trouble {
            None => polling.on_good(),
            Some(trouble) => polling.on_trouble(trouble),
        }
        polling.end(now, rng).unwrap();
    }

    #[test]
    fn rounds_are_paced_from_the_end_of_one_to_the_beginning_of_the_next() {
        let start = crate::clock::now();
        let (mut polling, mut rng) = polling();
        assert!(polling.is_due(Occasion::Regular, start));
        polling.begin(&requests(1), start);
        polling.next_request().unwrap();
        assert!(!polling.is_due(Occasion::Regular, at(start, 300)));
        polling.on_good();
        assert!(polling.end(at(start, 300), &mut rng).is_some());
        assert!(!polling.is_due(Occasion::Regular, at(start, 359)));
        assert!(polling.is_due(Occasion::Regular, at(start, 360)));
    }

    #[test]
    fn beside_a_socket_only_quiet_directions_are_a_reason_to_poll() {
        let start = crate::clock::now();
        let (mut polling, mut rng) = polling();
        round(&mut polling, &mut rng, None, start);
        assert!(!polling.is_due(Occasion::NothingQuiet, at(start, 9999)));
        assert!(polling.is_due(Occasion::SomethingQuiet, at(start, 1)));
        polling.poll_at_once();
        assert!(polling.is_due(Occasion::NothingQuiet, at(start, 1)));
    }

    #[test]
    fn a_failed_round_is_tried_again_sooner_than_the_pace_and_ever_later() {
        let start = crate::clock::now();
        let (mut polling, mut rng) = polling();
        round(&mut polling, &mut rng, Some(Trouble::Refused), start);
        assert!(!polling.is_due(Occasion::Regular, start));
        assert!(polling.is_due(Occasion::Regular, at(start, 1)));
        let mut num_rounds = 0;
        for seconds in 0..3600 {
            if polling.is_due(Occasion::Regular, at(start, seconds)) {
                round(&mut polling, &mut rng, Some(Trouble::Refused), at(start, seconds));
                num_rounds += 1;
            }
        }
        assert!((80..180).contains(&num_rounds), "{num_rounds}");
    }

    fn sent(polling: &mut Polling) -> Vec<String> {
        std::iter::from_fn(|| polling.next_request()).map(|request| request.path).collect()
    }

    #[test]
    fn after_a_round_that_failed_another_request_goes_first_and_alone() {
        let start = crate::clock::now();
        let (mut polling, mut rng) = polling();
        polling.begin(&requests(6), start);
        assert_eq!(sent(&mut polling), ["/0", "/1", "/2", "/3"]);
        (0..4).for_each(|_| polling.on_trouble(Trouble::Status(503)));
        assert!(polling.end(start, &mut rng).is_some());
        for (seconds, first) in [(9, "/1"), (18, "/2")] {
            polling.begin(&requests(6), at(start, seconds));
            assert_eq!(sent(&mut polling), [first]);
            polling.on_trouble(Trouble::Timeout(Duration::from_secs(5)));
            assert!(polling.end(at(start, seconds), &mut rng).is_some());
        }
        polling.begin(&requests(6), at(start, 27));
        assert_eq!(sent(&mut polling), ["/3"]);
        polling.on_good();
        assert_eq!(sent(&mut polling), ["/4", "/5", "/0", "/1"]);
    }

    #[test]
    fn an_answer_that_is_of_no_use_keeps_no_other_request_waiting() {
        let start = crate::clock::now();
        let (mut polling, mut rng) = polling();
        for seconds in [0, 9] {
            polling.begin(&requests(3), at(start, seconds));
            let mut num_sent = sent(&mut polling).len();
            for _ in 0..3 {
                polling.on_trouble(Trouble::Unusable("an answer without quotes".to_owned()));
                num_sent += sent(&mut polling).len();
            }
            assert_eq!(num_sent, 3);
            assert!(polling.end(at(start, seconds), &mut rng).unwrap().trouble.is_some());
        }
    }

    #[test]
    fn a_round_of_which_no_more_is_asked_ends_with_what_is_on_its_way() {
        let start = crate::clock::now();
        let (mut polling, mut rng) = polling();
        polling.begin(&requests(6), start);
        assert_eq!(sent(&mut polling).len(), 4);
        polling.ask_no_more();
        (0..4).for_each(|_| polling.on_trouble(Trouble::Unusable("too many requests".to_owned())));
        assert!(sent(&mut polling).is_empty());
        assert!(polling.end(start, &mut rng).unwrap().trouble.is_some());
    }

    #[test]
    fn a_list_that_fails_counts_beside_polls_and_is_a_probe_where_there_are_only_probes() {
        let start = crate::clock::now();
        let (mut polling, mut rng) = polling();
        (0..9).for_each(|_| polling.on_list_trouble(&Trouble::Status(503), start));
        round(&mut polling, &mut rng, Some(Trouble::Status(503)), start);
        assert!(!polling.only_probes() && !polling.is_held(start), "lists alone hold nothing back");
        (0..4).for_each(|_| polling.on_list_trouble(&Trouble::Status(503), at(start, 5)));
        assert!(polling.only_probes());
        assert!(polling.is_held(at(start, 34)) && !polling.is_held(at(start, 36)));
        polling.on_list_trouble(&Trouble::Refused, at(start, 40));
        assert!(polling.is_held(at(start, 69)) && !polling.is_held(at(start, 71)));
        polling.on_good_list();
        assert!(!polling.only_probes());
    }

    #[test]
    fn five_server_failures_in_a_row_leave_one_probe_in_thirty_seconds() {
        let start = crate::clock::now();
        let (mut polling, mut rng) = polling();
        let mut num_rounds = 0;
        for seconds in 0..600 {
            polling.poll_at_once();
            if polling.is_due(Occasion::Regular, at(start, seconds)) {
                round(&mut polling, &mut rng, Some(Trouble::Status(503)), at(start, seconds));
                num_rounds += 1;
            }
        }
        assert!((20..=25).contains(&num_rounds), "{num_rounds}");
        round(&mut polling, &mut rng, None, at(start, 600));
        round(&mut polling, &mut rng, Some(Trouble::Status(503)), at(start, 601));
        polling.poll_at_once();
        assert!(!polling.is_held(at(start, 640)));
    }

    #[test]
    fn a_hold_is_kept_even_when_a_poll_is_wanted_at_once() {
        let start = crate::clock::now();
        let (mut polling, _) = polling();
        polling.hold_until(at(start, 13));
        polling.poll_at_once();
        assert!(!polling.is_due(Occasion::SomethingQuiet, at(start, 12)));
        assert!(polling.is_due(Occasion::SomethingQuiet, at(start, 13)));
    }

    #[test]
    fn a_round_of_many_requests_leaves_a_few_at_a_time_and_is_good_if_one_is() {
        let start = crate::clock::now();
        let (mut polling, mut rng) = polling();
        polling.begin(&requests(6), start);
        assert_eq!(std::iter::from_fn(|| polling.next_request()).count(), MOST_AT_ONCE);
        polling.on_trouble(Trouble::Status(404));
        assert_eq!(std::iter::from_fn(|| polling.next_request()).count(), 1);
        polling.on_good();
        assert_eq!(polling.end(start, &mut rng), None);
        assert_eq!(std::iter::from_fn(|| polling.next_request()).count(), 1);
        for _ in 0..4 {
            polling.on_good();
        }
        assert_eq!(polling.end(start, &mut rng), Some(RoundEnd { began_at: start, trouble: None }));
    }

    #[test]
    fn what_troubles_the_whole_exchange_ends_the_round() {
        let start = crate::clock::now();
        let (mut polling, mut rng) = polling();
        polling.begin(&requests(10), start);
        polling.next_request().unwrap();
        polling.on_trouble(Trouble::Refused);
        assert_eq!(polling.next_request(), None);
        let ended = polling.end(start, &mut rng).unwrap();
        assert_eq!(ended.trouble.unwrap().0, Trouble::Refused);
    }

    #[test]
    fn a_refused_certificate_is_not_looked_at_again_within_thirty_seconds() {
        let start = crate::clock::now();
        let (mut polling, mut rng) = polling();
        round(&mut polling, &mut rng, Some(Trouble::Tls("expired".to_owned())), start);
        assert!(!polling.is_due(Occasion::Regular, at(start, 29)));
    }
}
