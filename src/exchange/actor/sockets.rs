//! The sockets of one exchange: their deadlines, their loss, and replacement without a gap.
//!
//! There are at most two sockets: the active one, and the next one while it proves that it can take over. An event
//! carries the number of its socket, so that what an abandoned one still says is ignored.

use std::collections::BTreeSet;
use std::time::Duration;

use actix::prelude::*;
use actix_http::ws::CloseCode;
use rand::RngExt;

use super::ExchangeActor;
use super::limits::Limits;
use super::session::{Duty, Session};
use super::trouble::Trouble;
use super::wire::{Batch, Pen};
use crate::clock;
use crate::exchange::Exchange;
use crate::exchange::backoff::Backoff;
use crate::market::Moment;

/// Longest delay of a dial after polls have begun to work again: the network is back.
const DIAL_SOON: Duration = Duration::from_secs(1);

/// The sockets of one exchange.
pub(super) struct Sockets {
    pub(super) active: Option<OpenSocket>,
    pub(super) next: Option<OpenSocket>,
    pub(super) num_opened: u64,
    pub(super) is_dialling: bool,
    pub(super) dial_at: Moment,
    pub(super) dialled_at: Option<Moment>,
    pub(super) backoff: Backoff,
    /// Why the active socket has to be replaced.
    pub(super) replace: Option<String>,
    pub(super) replace_backoff: Backoff,
    pub(super) replace_not_before: Option<Moment>,
    /// What the age of the newest frames counts from. It never goes back: what turns out to be late is no newer than what
    /// was told before, and no older.
    pub(super) counts_from: Moment,
    /// Whether the exchange has answered a ping of ours.
    pub(super) answers_pings: bool,
    /// Subscriptions whose refusal was told.
    pub(super) refused: BTreeSet<u64>,
}

/// A socket in use.
pub(super) struct OpenSocket {
    pub(super) number: u64,
    pub(super) session: Session,
    pub(super) pen: Pen,
    pub(super) reading: SpawnHandle,
    /// A reader of its own, where the exchange needs one per connection.
    pub(super) exchange: Option<Box<dyn Exchange>>,
}

/// Something came over a socket, or will not come any more.
pub(super) struct SocketEvent {
    pub(super) number: u64,
    pub(super) came: Result<Batch, Trouble>,
}

impl Sockets {
    pub(super) fn new(limits: &Limits, now: Moment) -> Self {
        let (base, cap) = limits.dial_backoff;
        let (replace_base, replace_cap) = limits.replace_backoff;
        Self {
            active: None,
            next: None,
            num_opened: 0,
            is_dialling: false,
            dial_at: now,
            dialled_at: None,
            backoff: Backoff::new(base, cap),
            replace: None,
            replace_backoff: Backoff::new(replace_base, replace_cap),
            replace_not_before: None,
            counts_from: now,
            answers_pings: false,
            refused: BTreeSet::new(),
        }
    }

    /// Whether there is no socket, and none is on its way.
    pub(super) fn are_closed(&self) -> bool {
        self.active.is_none() && self.next.is_none() && !self.is_dialling
    }

    /// Brings the next dial nearer: there is a sign that it would succeed.
    pub(super) fn dial_soon(&mut self, now: Moment) {
        let soon = now.after(rand::rng().random_range(Duration::ZERO..=DIAL_SOON));
        if soon.monotonic < self.dial_at.monotonic {
            self.dial_at = soon;
        }
    }

    pub(super) fn get(&mut self, number: u64) -> Option<&mut OpenSocket> {
        [&mut self.active, &mut self.next].into_iter().flatten().find(|socket| socket.number == number)
    }

    /// What the age of frames counts from that are read now, and arrived at `arrived_at` or later.
    pub(super) fn count_from(&mut self, number: u64, arrived_at: Moment, now: Moment) -> Moment {
        let late_since = self.get(number).and_then(|socket| socket.session.late_since(now));
        let since = late_since.filter(|at| at.monotonic < arrived_at.monotonic).unwrap_or(arrived_at);
        if since.monotonic > self.counts_from.monotonic {
            self.counts_from = since;
        }
        self.counts_from
    }

    pub(super) fn numbers(&self) -> Vec<u64> {
        [&self.active, &self.next].into_iter().flatten().map(|socket| socket.number).collect()
    }

    pub(super) fn is_active(&self, number: u64) -> bool {
        self.active.as_ref().is_some_and(|active| active.number == number)
    }

    /// How long the next dial waits.
    pub(super) fn delay_dial(&mut self, trouble: &Trouble, limits: &Limits, now: Moment) -> Duration {
        let mut delay = self.backoff.next_delay(&mut rand::rng());
        if matches!(trouble, Trouble::Tls(_)) {
            delay = delay.max(limits.certificate_retry);
        }
        self.dial_at = now.after(delay);
        delay
    }
}

impl StreamHandler<SocketEvent> for ExchangeActor {
    fn handle(&mut self, event: SocketEvent, ctx: &mut Self::Context) {
        let now = clock::now();
        self.progress.tick();
        self.mind_clock(now, ctx);
        if self.sockets.get(event.number).is_none() {
            return;
        }
        match event.came {
            Ok(batch) => self.take_batch(event.number, batch, now, ctx),
            Err(trouble) => self.lose(event.number, trouble, now, ctx),
        }
    }

    /// Keeps the actor running: the default would stop it with the first socket.
    fn finished(&mut self, _: &mut Self::Context) {}
}

impl ExchangeActor {
    /// Looks at every deadline of the open sockets.
    pub(super) fn mind_sockets(&mut self, now: Moment, ctx: &mut Context<Self>) {
        for number in self.sockets.numbers() {
            let duties =
                self.sockets.get(number).map(|socket| socket.session.duties(now)).unwrap_or_default();
            for duty in duties {
                match duty {
                    Duty::Send(frame) => self.send(number, vec![frame], now, ctx),
                    Duty::Ping(ping) => {
                        let sent = self.sockets.get(number).map(|socket| socket.pen.ping(ping));
                        if let Some(Err(trouble)) = sent {
                            self.lose(number, trouble, now, ctx);
                        }
                    }
                    Duty::Lose(trouble) => self.lose(number, trouble, now, ctx),
                    Duty::Replace(reason) if self.sockets.is_active(number) => {
                        self.want_replacement(reason, now)
                    }
                    Duty::Replace(_) => {}
                }
            }
        }
        self.mind_take_over(now, ctx);
        self.mind_active(now);
    }

    fn mind_active(&mut self, now: Moment) {
        let Some(active) = &self.sockets.active else { return };
        if active.session.has_flowed_for(self.setup.limits.steady_after, now) {
            self.sockets.backoff.reset();
        }
        let is_retired = active.session.is_retired(now);
        if is_retired && self.sockets.replace.is_none() && self.sockets.next.is_none() {
            self.plan_replacement("its planned end has come".to_owned(), now);
        }
        if let Some(direction) = self.coverage.deaf(now) {
            self.link.on_socket_deaf();
            self.want_replacement(format!("REST contradicts what it says of {direction}"), now);
        }
    }

    /// Marks the active socket as up when it has proved to be, and lets the next take over when it can.
    pub(super) fn mind_take_over(&mut self, now: Moment, ctx: &mut Context<Self>) {
        let is_up = self.sockets.active.as_ref().is_some_and(|active| active.session.is_up());
        if is_up && !self.link.is_socket_up() {
            self.announce("listening over a WebSocket");
            if self.link.is_rest_failing() {
                self.polling.poll_at_once();
            }
            self.link.on_socket_up();
            self.coverage.begin_listening();
        }
        if !self.sockets.next.as_mut().is_some_and(|next| next.session.can_take_over(now)) {
            return;
        }
        let reason = self.sockets.replace.take().unwrap_or_default();
        let old = std::mem::replace(&mut self.sockets.active, self.sockets.next.take());
        if let Some(old) = old {
            ctx.cancel_future(old.reading);
        }
        self.announce(&format!("moved to a new socket ({reason})"));
        self.change_socket();
    }

    /// Compares bodies with what the active socket has said, and with nothing that another one said.
    fn change_socket(&mut self) {
        let active = self.sockets.active.as_ref();
        let has_quoted = |direction| active.is_some_and(|active| active.session.has_quoted(direction));
        self.coverage.change_socket(has_quoted);
    }

    /// A replacement because something is wrong; rarer and rarer while it does not help.
    pub(super) fn want_replacement(&mut self, reason: String, now: Moment) {
        let sockets = &mut self.sockets;
        let is_under_way = sockets.replace.is_some() || sockets.next.is_some();
        let is_too_soon = sockets.replace_not_before.is_some_and(|at| now.monotonic < at.monotonic);
        if is_under_way || is_too_soon {
            return;
        }
        let longest_delay = self.setup.limits.replace_backoff.1;
        if sockets.replace_not_before.is_some_and(|at| now.since(at) >= longest_delay) {
            sockets.replace_backoff.reset();
        }
        sockets.replace_not_before = Some(now.after(sockets.replace_backoff.next_delay(&mut rand::rng())));
        self.complain(now, &format!("replacing the socket ({reason})"));
        self.plan_replacement(reason, now);
    }

    /// Replaces a socket that has said nothing for long while REST does not answer: the peer of both may have gone
    /// without a goodbye, and waiting for the link's own deadline would take a minute.
    pub(super) fn mind_half_open(&mut self, now: Moment) {
        let Some(active) = &self.sockets.active else { return };
        if active.session.has_been_mute_for(self.setup.stale_after, now) {
            self.want_replacement("it says nothing, and REST does not answer".to_owned(), now);
        }
    }

    fn plan_replacement(&mut self, reason: String, now: Moment) {
        let sockets = &mut self.sockets;
        let is_recent = |at: Moment| now.since(at) < self.setup.limits.steady_after;
        let delay = match sockets.dialled_at {
            Some(at) if is_recent(at) => sockets.backoff.next_delay(&mut rand::rng()),
            _ => Duration::ZERO,
        };
        sockets.dial_at = now.after(delay);
        sockets.replace = Some(reason);
    }
}

impl ExchangeActor {
    /// A socket has ended, or is of no use any more.
    pub(super) fn lose(&mut self, number: u64, trouble: Trouble, now: Moment, ctx: &mut Context<Self>) {
        let is_next = self.sockets.next.as_ref().is_some_and(|next| next.number == number);
        let slot = if is_next { &mut self.sockets.next } else { &mut self.sockets.active };
        let Some(lost) = slot.take_if(|socket| socket.number == number) else { return };
        ctx.cancel_future(lost.reading);
        if matches!(trouble, Trouble::TooBig { .. }) {
            lost.pen.close(CloseCode::Size);
        }
        if is_next {
            let delay = self.sockets.delay_dial(&trouble, &self.setup.limits, now);
            let words =
                format!("replacement lost ({trouble}), dialling again in {:.1} s", delay.as_secs_f64());
            self.complain(now, &words);
            return;
        }
        self.report_reconnect();
        self.sockets.replace = None;
        self.sockets.active = self.sockets.next.take();
        match &self.sockets.active {
            Some(next) if next.session.is_up() => {
                self.complain(now, &format!("connection lost ({trouble}), its replacement goes on"));
                self.change_socket();
                return;
            }
            Some(_) => {
                self.complain(now, &format!("connection lost ({trouble}), its replacement has yet to speak"));
            }
            None => {
                let delay = self.sockets.delay_dial(&trouble, &self.setup.limits, now);
                let words =
                    format!("connection lost ({trouble}), dialling again in {:.1} s", delay.as_secs_f64());
                self.complain(now, &words);
            }
        }
        self.coverage.end_listening();
        let failure = self.failure(&trouble, now);
        self.link.on_socket_lost(failure, now);
        self.poll_instead(now, ctx);
        self.tell_link(now);
    }

    /// Asks at once for what the lost socket does not say any more.
    fn poll_instead(&mut self, now: Moment, ctx: &mut Context<Self>) {
        self.polling.poll_at_once();
        if self.polling.is_held(now) {
            let failure = self.failure(&Trouble::Other("polls are held back".to_owned()), now);
            self.link.on_poll_failed(failure);
        }
        self.mind_ban(now);
        self.mind_polling(now, ctx);
    }

    /// Ends all sockets, to begin anew without a delay.
    pub(super) fn drop_sockets(&mut self, now: Moment, ctx: &mut Context<Self>) {
        for number in self.sockets.numbers().into_iter().rev() {
            self.lose(number, Trouble::Other("left alone for too long".to_owned()), now, ctx);
        }
        self.sockets.dial_at = now;
    }
}
