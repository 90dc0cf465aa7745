//! The WebSocket side of the actor: dialling, frames, loss, and replacement without a gap.
//!
//! There are at most two sockets: the active one, and the next one while it proves that it can take over. An event
//! carries the number of its socket, so that what an abandoned one still says is ignored.

use std::collections::BTreeSet;
use std::time::Duration;

use actix::prelude::*;
use actix_http::ws::CloseCode;
use bytes::Bytes;
use futures_util::StreamExt;
use rand::RngExt;

use super::ExchangeActor;
use super::dial::{Dialled, dial};
use super::fetch::Answer;
use super::limits::Limits;
use super::manners;
use super::requests::refusals;
use super::session::{Duty, Session};
use super::trouble::{Trouble, printable};
use super::wire::{self, Decoder, Incoming, Pen};
use crate::clock;
use crate::exchange::backoff::Backoff;
use crate::exchange::{Exchange, Feed, Frame, FrameError, Reading, Request, Signal, Socket, Source};
use crate::market::{Moment, Quote, Refusal, Transport};

/// Longest delay of a dial after polls have begun to work again: the network is back.
const DIAL_SOON: Duration = Duration::from_secs(1);

/// The sockets of one exchange.
pub(super) struct Sockets {
    active: Option<OpenSocket>,
    next: Option<OpenSocket>,
    num_opened: u64,
    is_dialling: bool,
    dial_at: Moment,
    dialled_at: Option<Moment>,
    backoff: Backoff,
    /// Why the active socket has to be replaced.
    replace: Option<String>,
    replace_backoff: Backoff,
    replace_not_before: Option<Moment>,
    /// Subscriptions whose refusal was told.
    refused: BTreeSet<u64>,
}

struct OpenSocket {
    number: u64,
    session: Session,
    pen: Pen,
    reading: SpawnHandle,
    /// A reader of its own, where the exchange needs one per connection.
    exchange: Option<Box<dyn Exchange>>,
}

/// Something came over a socket, or will not come any more.
pub(super) struct SocketEvent {
    number: u64,
    came: Result<Vec<Incoming>, Trouble>,
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

    fn get(&mut self, number: u64) -> Option<&mut OpenSocket> {
        [&mut self.active, &mut self.next].into_iter().flatten().find(|socket| socket.number == number)
    }

    fn numbers(&self) -> Vec<u64> {
        [&self.active, &self.next].into_iter().flatten().map(|socket| socket.number).collect()
    }

    fn is_active(&self, number: u64) -> bool {
        self.active.as_ref().is_some_and(|active| active.number == number)
    }

    /// How long the next dial waits.
    fn delay_dial(&mut self, trouble: &Trouble, limits: &Limits, now: Moment) -> Duration {
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
            Ok(frames) => self.take_frames(event.number, frames, now, ctx),
            Err(trouble) => self.lose(event.number, trouble, now, ctx),
        }
    }

    /// Keeps the actor running: the default would stop it with the first socket.
    fn finished(&mut self, _: &mut Self::Context) {}
}

/// Dialling.
impl ExchangeActor {
    /// Dials if a socket is missing, or has to be replaced.
    pub(super) fn mind_dialling(&mut self, now: Moment, ctx: &mut Context<Self>) {
        let Some(socket) = self.feed.socket.clone() else { return };
        let sockets = &self.sockets;
        let is_wanted = sockets.active.is_none() || sockets.replace.is_some();
        let is_time = now.monotonic >= sockets.dial_at.monotonic;
        if !is_wanted
            || !is_time
            || sockets.next.is_some()
            || sockets.is_dialling
            || self.current_ban(now).is_some()
        {
            return;
        }
        if let Err(wait) = self.setup.budget.take(now) {
            self.complain(now, &format!("dialled too often, waiting {:.1} s", wait.as_secs_f64()));
            self.sockets.dial_at = now.after(wait);
            return;
        }
        self.sockets.is_dialling = true;
        self.sockets.dialled_at = Some(now);
        let Some(request) = socket.handshake.clone() else {
            let url = format!("{}{}", self.setup.ws_url, socket.path);
            self.dial(socket, url, ctx);
            return;
        };
        let fetching = self.fetching(&request, self.setup.limits.max_body);
        ctx.spawn(fetching.into_actor(self).map(move |answered, actor, ctx| {
            actor.take_handshake(socket, &request, answered, ctx);
        }));
    }

    /// The answer to a request that tells where to dial.
    fn take_handshake(
        &mut self,
        mut socket: Socket,
        request: &Request,
        answered: Result<Answer, Trouble>,
        ctx: &mut Context<Self>,
    ) {
        let now = clock::now();
        let read = self.read_answer(Source::Handshake, request, answered, now, ctx);
        let address = read.and_then(|reading| {
            let told = reading.signals.into_iter().find_map(|signal| match signal {
                Signal::Dial { url, ping_every } => Some((url, ping_every)),
                _ => None,
            });
            let (url, ping_every) =
                told.ok_or_else(|| Trouble::Other("a handshake without an address".to_owned()))?;
            let leaves_tls = self.setup.ws_url.starts_with("wss:") && !url.starts_with("wss:");
            if leaves_tls {
                return Err(Trouble::Tls("the handshake leads to an address without it".to_owned()));
            }
            Ok((url, ping_every))
        });
        match address {
            Ok((url, ping_every)) => {
                if let Some(ping) = &mut socket.ping {
                    ping.every = ping_every;
                }
                self.dial(socket, url, ctx);
            }
            Err(trouble) => self.take_dialled(&socket, Err(trouble), ctx),
        }
    }

    fn dial(&mut self, socket: Socket, url: String, ctx: &mut Context<Self>) {
        let (client, time_limit) = (self.client.clone(), self.setup.limits.dial_timeout);
        let dialling = async move {
            fail::fail_point!("exchange::spawned");
            dial(client, url, time_limit).await
        };
        ctx.spawn(dialling.into_actor(self).map(move |dialled, actor, ctx| {
            if let Err(Trouble::Status(status)) = dialled {
                actor.obey_status(status, None, clock::now());
            }
            actor.take_dialled(&socket, dialled, ctx);
        }));
    }

    fn take_dialled(&mut self, socket: &Socket, dialled: Result<Dialled, Trouble>, ctx: &mut Context<Self>) {
        let now = clock::now();
        self.sockets.is_dialling = false;
        match dialled {
            Ok(dialled) => self.open(socket, dialled, now, ctx),
            Err(trouble) => {
                let delay = self.sockets.delay_dial(&trouble, &self.setup.limits, now);
                let words =
                    format!("no connection ({trouble}), dialling again in {:.1} s", delay.as_secs_f64());
                self.complain(now, &words);
                if self.sockets.active.is_none() {
                    let failure = self.failure(&trouble, now);
                    self.link.on_socket_lost(failure, now);
                    self.tell_link(now);
                }
            }
        }
    }

    /// Begins to use a socket: as the active one, or as the next where another is still in use.
    fn open(&mut self, socket: &Socket, dialled: Dialled, now: Moment, ctx: &mut Context<Self>) {
        let limits = &self.setup.limits;
        self.sockets.num_opened += 1;
        let number = self.sockets.num_opened;
        let (read_half, write_half) = tokio::io::split(dialled.socket);
        let (writer, pen, pongs) = wire::writer(write_half, socket.min_gap, limits.write_timeout);
        let decoder = Decoder::new(limits.max_frame, limits.max_message);
        let incoming = wire::incoming(read_half, dialled.already_read, decoder, pongs);
        let events = incoming.map(move |came| SocketEvent { number, came });
        let session = Session::new(socket, limits, now, rand::rng().random_range(0.0..=1.0));
        let reading = Self::add_stream(events, ctx);
        ctx.spawn(writer.run().into_actor(self).map(move |trouble, actor, ctx| {
            actor.lose(number, trouble, clock::now(), ctx);
        }));
        let exchange = self.exchange.for_connection();
        let opened = OpenSocket { number, session, pen, reading, exchange };
        match self.sockets.active {
            None => self.sockets.active = Some(opened),
            Some(_) => self.sockets.next = Some(opened),
        }
        self.subscribe(number, now, ctx);
    }

    /// Asks on a socket for what has not been asked for yet.
    fn subscribe(&mut self, number: u64, now: Moment, ctx: &mut Context<Self>) {
        let Some(wanted) = &self.feed.socket else { return };
        let Some(socket) = self.sockets.get(number) else { return };
        let frames = socket.session.subscribe(&wanted.subscriptions, now);
        self.send(number, frames, now, ctx);
    }

    fn send(&mut self, number: u64, frames: Vec<Frame>, now: Moment, ctx: &mut Context<Self>) {
        let Some(socket) = self.sockets.get(number) else { return };
        let sent = frames.into_iter().try_for_each(|frame| socket.pen.send(frame));
        if let Err(trouble) = sent {
            self.lose(number, trouble, now, ctx);
        }
    }

    /// Follows a change of the feed on the sockets that are open.
    pub(super) fn follow_feed(&mut self, old: &Feed, now: Moment, ctx: &mut Context<Self>) {
        let Some(wanted) = self.feed.socket.clone() else { return };
        let is_elsewhere = old
            .socket
            .as_ref()
            .is_some_and(|old| old.path != wanted.path || old.handshake != wanted.handshake);
        for number in self.sockets.numbers() {
            self.subscribe(number, now, ctx);
        }
        let Some(active) = &self.sockets.active else { return };
        if is_elsewhere || active.session.asked_too_much(&wanted.subscriptions) {
            self.want_replacement("its symbols have changed".to_owned(), now);
        }
    }
}

/// Frames.
impl ExchangeActor {
    fn take_frames(&mut self, number: u64, frames: Vec<Incoming>, now: Moment, ctx: &mut Context<Self>) {
        let (mut quotes, mut refused) = (Vec::new(), Vec::new());
        for frame in frames {
            let Some(socket) = self.sockets.get(number) else { break };
            socket.session.on_sign(now);
            let Incoming::Message(bytes) = frame else { continue };
            match self.read_frame(number, &bytes) {
                Ok(reading) => self.take_reading(number, reading, &mut quotes, &mut refused, now, ctx),
                Err(error) => self.take_unreadable(number, &error, &mut refused, now, ctx),
            }
        }
        self.mind_take_over(now, ctx);
        if !quotes.is_empty() && self.coverage.deaf(now).is_none() {
            self.link.on_socket_heard();
        }
        self.tell_link(now);
        self.report_quotes(Transport::WebSocket, now, quotes, refused);
    }

    fn read_frame(&mut self, number: u64, bytes: &Bytes) -> Result<Reading, FrameError> {
        fail::fail_point!("exchange::frame");
        let own_reader = self.sockets.get(number).and_then(|socket| socket.exchange.as_mut());
        own_reader.unwrap_or(&mut self.exchange).read(Source::Socket, bytes)
    }

    fn take_reading(
        &mut self,
        number: u64,
        mut reading: Reading,
        quotes: &mut Vec<Quote>,
        refused: &mut Vec<Refusal>,
        now: Moment,
        ctx: &mut Context<Self>,
    ) {
        refused.append(&mut refusals(&mut reading));
        let is_active = self.sockets.is_active(number);
        for quote in reading.quotes {
            // While two sockets overlap, the newer one has the word as soon as it has quoted a direction.
            let has_newer_word = |next: &OpenSocket| next.session.has_quoted(quote.direction);
            if is_active && self.sockets.next.as_ref().is_some_and(has_newer_word) {
                continue;
            }
            if let Some(socket) = self.sockets.get(number) {
                socket.session.on_quote(quote.direction, now);
            }
            self.coverage.on_frame(&quote, now);
            quotes.push(quote);
        }
        if let Some(socket) = self.sockets.get(number) {
            socket.session.on_readable();
        }
        self.take_signals(&reading.signals, Some(number), now, ctx);
        if let Some(reply) = reading.reply {
            self.send(number, vec![reply], now, ctx);
        }
    }

    fn take_unreadable(
        &mut self,
        number: u64,
        error: &FrameError,
        refused: &mut Vec<Refusal>,
        now: Moment,
        ctx: &mut Context<Self>,
    ) {
        refused.push(Refusal::Syntax);
        self.complain(now, &printable(&format!("unreadable frame ({error})")));
        let judged = self.sockets.get(number).map(|socket| socket.session.on_unreadable());
        if let Some(Err(trouble)) = judged {
            self.lose(number, trouble, now, ctx);
        }
    }

    /// Does what a reading asks for; `number` is its socket, `None` for a body.
    pub(super) fn take_signals(
        &mut self,
        signals: &[Signal],
        number: Option<u64>,
        now: Moment,
        ctx: &mut Context<Self>,
    ) {
        for signal in signals {
            let socket = number.and_then(|number| self.sockets.get(number));
            match signal {
                Signal::Acknowledged(id) => {
                    if let Some(socket) = socket {
                        socket.session.on_acknowledged(*id);
                    }
                }
                Signal::SubscriptionRefused { id, detail } => {
                    let refused = socket.and_then(|socket| socket.session.on_refused(*id));
                    if let Some(directions) = refused.filter(|_| self.sockets.refused.insert(*id)) {
                        let words = format!("subscription of {directions:?} refused ({})", printable(detail));
                        self.complain(now, &words);
                    }
                }
                Signal::ReconnectSoon => {
                    if let Some(socket) = socket {
                        socket.session.retire(now);
                    }
                }
                Signal::FeedChanged => self.refresh_feed(now, ctx),
                Signal::RateLimited { wait } => {
                    let wait = wait.unwrap_or(manners::UNMEASURED_WAIT);
                    self.take_ban(wait, false, "asks for fewer requests", now);
                }
                Signal::Error(detail) => self.complain(now, &format!("reports `{}`", printable(detail))),
                // Only the answer to a handshake can say that, and it is read where that was asked for.
                Signal::Dial { .. } => {}
            }
        }
    }
}

/// Watching.
impl ExchangeActor {
    /// Looks at every deadline of the open sockets.
    pub(super) fn mind_sockets(&mut self, now: Moment, ctx: &mut Context<Self>) {
        for number in self.sockets.numbers() {
            let duties =
                self.sockets.get(number).map(|socket| socket.session.duties(now)).unwrap_or_default();
            for duty in duties {
                match duty {
                    Duty::Send(frame) => self.send(number, vec![frame], now, ctx),
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
    fn mind_take_over(&mut self, now: Moment, ctx: &mut Context<Self>) {
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
    fn want_replacement(&mut self, reason: String, now: Moment) {
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

/// Losing.
impl ExchangeActor {
    /// A socket has ended, or is of no use any more.
    fn lose(&mut self, number: u64, trouble: Trouble, now: Moment, ctx: &mut Context<Self>) {
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
