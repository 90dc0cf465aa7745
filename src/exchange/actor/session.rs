//! What is owed on one socket: acknowledgements, pings, signs of life, and an end before the exchange's.
//!
//! Pure, and separate from the socket itself, so that every deadline is tested with a `now` of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use super::limits::Limits;
use super::probes::Probes;
use super::trouble::Trouble;
use crate::exchange::{ClientPing, Frame, Socket, Subscription};
use crate::market::{Direction, Moment};

/// One socket, as far as time is concerned.
#[derive(Debug)]
pub(super) struct Session {
    subscriptions: Vec<Asked>,
    link_silence: Duration,
    min_gap: Duration,
    acknowledge_within: Duration,
    settle: Duration,
    most_bad_frames: u32,
    opened_at: Moment,
    last_sign_at: Moment,
    first_quote_at: Option<Moment>,
    last_quote_at: Option<Moment>,
    settled_at: Option<Moment>,
    retire_at: Option<Moment>,
    /// When the exchange has to have greeted; `None` once it has, or if it does not.
    greeting_due_at: Option<Moment>,
    ping: Option<(ClientPing, Moment)>,
    /// Where frames do not tell how old they are.
    probes: Option<Probes>,
    num_bad_frames: u32,
    quoted: BTreeSet<Direction>,
}

#[derive(Debug)]
struct Asked {
    subscription: Subscription,
    standing: Standing,
    /// When its acknowledgement has to be there.
    due_at: Moment,
}

/// Where a subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Asked so often, and not heard of.
    Open(u32),
    /// Acknowledged, or proved by a quote.
    Stands,
    /// Refused by the exchange, or given up.
    Closed,
}

/// What has to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// Say this.
    Send(Frame),
    /// Ping with this number.
    Ping(u64),
    /// This socket is of no use any more.
    Lose(Trouble),
    /// This socket works, but a new one has to take its place.
    Replace(String),
}

impl Session {
    /// A socket that was opened now. `chance`, from 0 to 1, spreads planned ends, so
    /// that not all sockets are replaced at once.
    pub(super) fn new(socket: &Socket, limits: &Limits, now: Moment, chance: f64) -> Self {
        let retire_after =
            |lifetime: Duration| lifetime.mul_f64((45.0 + 2.0 * chance.clamp(0.0, 1.0)) / 48.0);
        Self {
            subscriptions: Vec::new(),
            link_silence: socket.link_silence,
            min_gap: socket.min_gap,
            acknowledge_within: limits.acknowledge_within,
            settle: limits.settle,
            most_bad_frames: limits.most_bad_frames,
            opened_at: now,
            last_sign_at: now,
            first_quote_at: None,
            last_quote_at: None,
            settled_at: None,
            retire_at: socket.lifetime.map(|lifetime| now.after(retire_after(lifetime))),
            greeting_due_at: None,
            ping: socket.ping.clone().map(|ping| (ping.clone(), now.after(ping.every))),
            probes: None,
            num_bad_frames: 0,
            quoted: BTreeSet::new(),
        }
    }

    /// Finds out by pings how late frames are, for quotes that are stale after this time. The flag says whether the
    /// exchange is known to answer them.
    pub(super) fn probe(&mut self, stale_after: Duration, answers_pings: bool) {
        // Nothing was sent on this socket before there was one.
        self.probes = Some(Probes::new(stale_after, answers_pings.then_some(self.opened_at)));
    }

    /// The latest moment of which it is known that what is read now was sent after it; `None` while it comes in time.
    pub(super) fn late_since(&self, now: Moment) -> Option<Moment> {
        self.probes.as_ref()?.late_since(now)
    }

    /// A ping of this number was answered.
    pub(super) fn on_pong(&mut self, number: u64) {
        if let Some(probes) = &mut self.probes {
            probes.on_answer(number);
        }
    }

    /// The exchange speaks first: nothing is asked for before it has.
    pub(super) fn await_greeting(&mut self, now: Moment) {
        self.greeting_due_at = Some(now.after(self.acknowledge_within));
    }

    /// The exchange has greeted.
    pub(super) fn on_greeted(&mut self) {
        self.greeting_due_at = None;
    }

    /// Adds what has not been asked for yet, and gives it to be sent; nothing before a greeting that has to come.
    pub(super) fn subscribe(&mut self, wanted: &[Subscription], now: Moment) -> Vec<Frame> {
        if self.greeting_due_at.is_some() {
            return Vec::new();
        }
        let mut frames = Vec::new();
        for subscription in wanted {
            let is_known =
                self.subscriptions.iter().any(|asked| asked.subscription.frame == subscription.frame);
            if !is_known {
                frames.push(subscription.frame.clone());
                let asked = Asked {
                    subscription: subscription.clone(),
                    standing: Standing::Open(1),
                    due_at: due_at(frames.len(), self.min_gap, self.acknowledge_within, now),
                };
                self.subscriptions.push(asked);
            }
        }
        frames
    }

    /// Whether something was asked for that is not wanted any more.
    pub(super) fn asked_too_much(&self, wanted: &[Subscription]) -> bool {
        let is_wanted = |asked: &Asked| wanted.iter().any(|wanted| wanted.frame == asked.subscription.frame);
        !self.subscriptions.iter().all(is_wanted)
    }

    /// Anything came: the link lives.
    pub(super) fn on_sign(&mut self, now: Moment) {
        self.last_sign_at = now;
    }

    /// A frame was of the documented form.
    pub(super) fn on_readable(&mut self) {
        self.num_bad_frames = 0;
    }

    /// A frame was not of the documented form.
    ///
    /// # Errors
    /// When too many in a row were not.
    pub(super) fn on_unreadable(&mut self) -> Result<(), Trouble> {
        self.num_bad_frames += 1;
        if self.num_bad_frames < self.most_bad_frames {
            return Ok(());
        }
        Err(Trouble::Other(format!("{} unreadable frames in a row", self.num_bad_frames)))
    }

    /// A quote came, which proves its subscription too.
    pub(super) fn on_quote(&mut self, direction: Direction, now: Moment) {
        self.first_quote_at.get_or_insert(now);
        self.last_quote_at = Some(now);
        if self.quoted.insert(direction) {
            for asked in &mut self.subscriptions {
                if asked.subscription.directions.contains(&direction) {
                    asked.standing = Standing::Stands;
                }
            }
        }
    }

    /// The exchange acknowledged a subscription.
    pub(super) fn on_acknowledged(&mut self, id: u64) {
        for asked in self.subscriptions.iter_mut().filter(|asked| asked.subscription.id == id) {
            asked.standing = Standing::Stands;
        }
    }

    /// The exchange refused a subscription: which directions it was for, and `None` if that was known.
    pub(super) fn on_refused(&mut self, id: u64) -> Option<Vec<Direction>> {
        let is_it = |asked: &&mut Asked| asked.subscription.id == id && asked.standing != Standing::Closed;
        let asked = self.subscriptions.iter_mut().find(is_it)?;
        asked.standing = Standing::Closed;
        Some(asked.subscription.directions.clone())
    }

    /// The exchange announced that it is going to close this socket.
    pub(super) fn retire(&mut self, now: Moment) {
        self.retire_at = Some(now);
    }

    /// Whether this socket has quoted the direction.
    pub(super) fn has_quoted(&self, direction: Direction) -> bool {
        self.quoted.contains(&direction)
    }

    /// Whether anything proves that data flows here: a quote or an acknowledgement.
    pub(super) fn is_up(&self) -> bool {
        let stands = |asked: &Asked| asked.standing == Standing::Stands;
        self.first_quote_at.is_some() || self.subscriptions.iter().any(stands)
    }

    /// Whether this socket can take the place of another: everything is acknowledged, and it quotes or has been
    /// given the time to.
    pub(super) fn can_take_over(&mut self, now: Moment) -> bool {
        let is_open = |asked: &Asked| matches!(asked.standing, Standing::Open(_));
        if self.greeting_due_at.is_some() || self.subscriptions.iter().any(is_open) {
            return false;
        }
        let settled_at = *self.settled_at.get_or_insert(now);
        let begins_at = if self.subscriptions.is_empty() { self.opened_at } else { settled_at };
        self.first_quote_at.is_some() || now.since(begins_at) >= self.settle
    }

    /// Whether data has flowed for `length`.
    pub(super) fn has_flowed_for(&self, length: Duration, now: Moment) -> bool {
        self.first_quote_at.is_some_and(|first| now.since(first) >= length)
    }

    /// Whether no quote has come for `length`.
    pub(super) fn has_been_mute_for(&self, length: Duration, now: Moment) -> bool {
        now.since(self.last_quote_at.unwrap_or(self.opened_at)) >= length
    }

    /// Whether its planned end has come.
    pub(super) fn is_retired(&self, now: Moment) -> bool {
        self.retire_at.is_some_and(|at| now.monotonic >= at.monotonic)
    }

    /// What has to be done now.
    pub(super) fn duties(&mut self, now: Moment) -> Vec<Duty> {
        if now.since(self.last_sign_at) >= self.link_silence {
            return vec![Duty::Lose(Trouble::Other(format!(
                "silent for {} s",
                self.link_silence.as_secs_f64()
            )))];
        }
        if self.greeting_due_at.is_some_and(|at| now.monotonic >= at.monotonic) {
            return vec![Duty::Lose(Trouble::Other("not greeted".to_owned()))];
        }
        let mut duties = self.overdue(now);
        if let Some((ping, next_at)) = &mut self.ping
            && now.monotonic >= next_at.monotonic
        {
            *next_at = now.after(ping.every);
            duties.push(Duty::Send(ping.frame.clone()));
        }
        duties.extend(self.probes.as_mut().and_then(|probes| probes.due(now)).map(Duty::Ping));
        duties
    }

    /// Subscriptions that were not acknowledged in time are asked for once more, then given up.
    fn overdue(&mut self, now: Moment) -> Vec<Duty> {
        let mut duties = Vec::new();
        let mut given_up = Vec::new();
        let (min_gap, acknowledge_within) = (self.min_gap, self.acknowledge_within);
        let is_overdue = |asked: &&mut Asked| now.monotonic >= asked.due_at.monotonic;
        for asked in self.subscriptions.iter_mut().filter(is_overdue) {
            match asked.standing {
                Standing::Open(1) => {
                    duties.push(Duty::Send(asked.subscription.frame.clone()));
                    asked.standing = Standing::Open(2);
                    asked.due_at = due_at(duties.len(), min_gap, acknowledge_within, now);
                }
                Standing::Open(_) => {
                    asked.standing = Standing::Closed;
                    given_up.push(asked.subscription.id);
                }
                Standing::Stands | Standing::Closed => {}
            }
        }
        if !given_up.is_empty() {
            let what =
                format!("{} of {} subscriptions not acknowledged", given_up.len(), self.subscriptions.len());
            duties.push(if self.is_up() { Duty::Replace(what) } else { Duty::Lose(Trouble::Other(what)) });
        }
        duties
    }
}

/// When the acknowledgement of the `nth` message from now has to be there: messages leave `min_gap` apart.
fn due_at(nth: usize, min_gap: Duration, acknowledge_within: Duration, now: Moment) -> Moment {
    let nth = u32::try_from(nth).unwrap_or(u32::MAX);
    now.after(min_gap.saturating_mul(nth).saturating_add(acknowledge_within))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BTC: &str = "BTC-USDT";
    const ETH: &str = "ETH-USDT";

    fn direction(text: &str) -> Direction {
        text.parse().unwrap()
    }

    fn subscription(id: u64, text: &str) -> Subscription {
        Subscription {
            id,
            frame: Frame::Text(format!("subscribe {text}")),
            directions: vec![direction(text)],
        }
    }

    fn socket() -> Socket {
        Socket {
            handshake: None,
            path: String::new(),
            subscriptions: vec![subscription(1, BTC), subscription(2, ETH)],
            ping: Some(ClientPing { every: Duration::from_secs(20), frame: Frame::Text("ping".to_owned()) }),
            link_silence: Duration::from_secs(60),
            lifetime: Some(Duration::from_secs(4800)),
            min_gap: Duration::from_secs(1),
        }
    }

    fn session(start: Moment) -> Session {
        let mut session = Session::new(&socket(), &Limits::default(), start, 0.5);
        assert_eq!(session.subscribe(&socket().subscriptions, start).len(), 2);
        session
    }

    fn at(start: Moment, seconds: u64) -> Moment {
        start.after(Duration::from_secs(seconds))
    }

    #[test]
    fn what_is_not_acknowledged_is_asked_for_once_more_whatever_else_comes() {
        let start = crate::clock::now();
        let mut session = session(start);
        session.on_acknowledged(1);
        for seconds in 1..=6 {
            session.on_sign(at(start, seconds));
            assert_eq!(session.duties(at(start, seconds)), [], "{seconds}");
        }
        assert_eq!(session.duties(at(start, 7)), [Duty::Send(subscription(2, ETH).frame)]);
        assert_eq!(session.duties(at(start, 12)), []);
        let given_up = "1 of 2 subscriptions not acknowledged".to_owned();
        assert_eq!(session.duties(at(start, 13)), [Duty::Replace(given_up)]);
        assert_eq!(session.duties(at(start, 19)), []);
    }

    #[test]
    fn a_socket_that_acknowledges_nothing_is_lost() {
        let start = crate::clock::now();
        let mut session = session(start);
        assert_eq!(session.duties(at(start, 7)).len(), 2);
        let lost = Trouble::Other("2 of 2 subscriptions not acknowledged".to_owned());
        assert_eq!(session.duties(at(start, 14)), [Duty::Lose(lost)]);
    }

    #[test]
    fn an_exchange_that_speaks_first_is_asked_for_nothing_before_it_has() {
        let start = crate::clock::now();
        let mut session = Session::new(&socket(), &Limits::default(), start, 0.5);
        session.await_greeting(start);
        assert_eq!(session.subscribe(&socket().subscriptions, start), []);
        assert!(!session.can_take_over(at(start, 4)));
        assert_eq!(session.duties(at(start, 4)), []);
        session.on_greeted();
        assert_eq!(session.subscribe(&socket().subscriptions, at(start, 4)).len(), 2);
        assert_eq!(session.duties(at(start, 5)), []);

        let mut mute = Session::new(&socket(), &Limits::default(), start, 0.5);
        mute.await_greeting(start);
        assert_eq!(mute.duties(at(start, 5)), [Duty::Lose(Trouble::Other("not greeted".to_owned()))]);
    }

    #[test]
    fn a_refused_subscription_is_told_once_and_asked_for_no_more() {
        let start = crate::clock::now();
        let mut session = session(start);
        session.on_acknowledged(1);
        assert_eq!(session.on_refused(2), Some(vec![direction(ETH)]));
        assert_eq!(session.on_refused(2), None);
        assert_eq!(session.on_refused(77), None);
        assert_eq!(session.duties(at(start, 15)), []);
        assert!(session.is_up());
    }

    #[test]
    fn a_quote_proves_its_subscription() {
        let start = crate::clock::now();
        let mut session = session(start);
        assert!(!session.is_up());
        session.on_quote(direction(ETH), start);
        assert!(session.is_up());
        assert_eq!(session.duties(at(start, 7)), [Duty::Send(subscription(1, BTC).frame)]);
    }

    #[test]
    fn a_silent_link_is_lost_and_any_sign_of_life_keeps_it() {
        let start = crate::clock::now();
        let mut session = session(start);
        session.on_acknowledged(1);
        session.on_acknowledged(2);
        session.on_sign(at(start, 50));
        assert!(!session.duties(at(start, 109)).iter().any(|duty| matches!(duty, Duty::Lose(_))));
        assert_eq!(
            session.duties(at(start, 110)),
            [Duty::Lose(Trouble::Other("silent for 60 s".to_owned()))]
        );
    }

    #[test]
    fn the_clients_ping_is_sent_at_its_own_pace() {
        let start = crate::clock::now();
        let mut session = session(start);
        session.on_acknowledged(1);
        session.on_acknowledged(2);
        let num_pings = (1..=120).filter(|seconds| {
            session.on_sign(at(start, *seconds));
            !session.duties(at(start, *seconds)).is_empty()
        });
        assert_eq!(num_pings.count(), 6);
    }

    #[test]
    fn a_socket_retires_between_forty_five_and_forty_seven_forty_eighths_of_its_lifetime() {
        let start = crate::clock::now();
        for (chance, seconds) in [(0.0, 4500), (0.5, 4600), (1.0, 4700)] {
            let session = Session::new(&socket(), &Limits::default(), start, chance);
            assert!(!session.is_retired(at(start, seconds - 1)));
            assert!(session.is_retired(at(start, seconds + 1)));
        }
        let mut announced = session(start);
        announced.retire(at(start, 5));
        assert!(announced.is_retired(at(start, 5)));
    }

    #[test]
    fn a_new_socket_takes_over_when_it_delivers_or_has_had_the_time_to() {
        let start = crate::clock::now();
        let mut session = session(start);
        session.on_acknowledged(1);
        session.on_quote(direction(BTC), start);
        assert!(!session.can_take_over(at(start, 4)));
        session.on_acknowledged(2);
        assert!(session.can_take_over(at(start, 4)));

        let mut quiet = self::session(start);
        quiet.on_acknowledged(1);
        quiet.on_acknowledged(2);
        assert!(!quiet.can_take_over(at(start, 1)));
        assert!(!quiet.can_take_over(at(start, 3)));
        assert!(quiet.can_take_over(at(start, 4)));
    }

    #[test]
    fn only_unreadable_frames_in_a_row_lose_a_socket() {
        let start = crate::clock::now();
        let mut session = session(start);
        assert!((0..19).all(|_| session.on_unreadable().is_ok()));
        session.on_readable();
        assert!((0..19).all(|_| session.on_unreadable().is_ok()));
        assert!(session.on_unreadable().is_err());
    }

    #[test]
    fn a_changed_feed_adds_what_is_new_and_tells_what_is_too_much() {
        let start = crate::clock::now();
        let mut session = session(start);
        let wanted = [subscription(2, ETH), subscription(3, "SOL-USDT")];
        assert_eq!(session.subscribe(&wanted, start), [subscription(3, "SOL-USDT").frame]);
        assert!(session.asked_too_much(&wanted));
        assert!(!session.asked_too_much(&[subscription(1, BTC), wanted[0].clone(), wanted[1].clone()]));
    }
}
