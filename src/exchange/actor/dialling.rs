//! Opens the sockets of one exchange: when to dial, where to, and what to say first.
//!
//! Separate from what is done with an open socket, because a dial passes through several answers that come later: a
//! handshake, the upgrade, the acknowledgements.

use actix::prelude::*;
use futures_util::StreamExt;
use rand::RngExt;

use super::dial::{Dialled, dial};
use super::fetch::Answer;
use super::session::Session;
use super::sockets::{OpenSocket, SocketEvent};
use super::trouble::Trouble;
use super::wire::{self, Decoder};
use super::{ExchangeActor, fail_point, lifetime};
use crate::clock;
use crate::exchange::{Feed, Frame, Request, Signal, Socket, Source};
use crate::market::Moment;
use crate::seeded_bug::{self, SeededBug};

impl ExchangeActor {
    /// Dials if a socket is missing, or has to be replaced.
    pub(super) fn mind_dialling(&mut self, now: Moment, ctx: &mut Context<Self>) {
        let Some(mut socket) = self.feed.socket.clone() else { return };
        socket.lifetime = lifetime(&socket, self.setup.name);
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
        let name = self.setup.name;
        let dialling = async move {
            fail_point("spawned", name);
            dial(client, url, time_limit).await
        };
        ctx.spawn(dialling.into_actor(self).map(move |dialled, actor, ctx| {
            actor.setup.metrics.count_dial(actor.setup.name, dialled.is_ok());
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
        if seeded_bug::is_on(SeededBug::BackoffResetsOnConnect) {
            self.sockets.backoff.reset();
        }
        let number = self.sockets.num_opened;
        let (read_half, write_half) = tokio::io::split(dialled.socket);
        let (writer, pen, signs) = wire::writer(write_half, socket.min_gap, limits.write_timeout);
        let decoder = Decoder::new(limits.max_frame, limits.max_message);
        let incoming = wire::incoming(read_half, dialled.already_read, decoder, signs);
        let events = incoming.map(move |came| SocketEvent { number, came });
        let mut session = Session::new(socket, limits, now, rand::rng().random_range(0.0..=1.0));
        if self.exchange.speaks_first() {
            session.await_greeting(now);
        }
        if !self.exchange.tells_times() {
            session.probe(self.setup.stale_after, self.sockets.answers_pings);
        }
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
    pub(super) fn subscribe(&mut self, number: u64, now: Moment, ctx: &mut Context<Self>) {
        let Some(wanted) = &self.feed.socket else { return };
        let Some(socket) = self.sockets.get(number) else { return };
        let frames = socket.session.subscribe(&wanted.subscriptions, now);
        self.send(number, frames, now, ctx);
    }

    pub(super) fn send(&mut self, number: u64, frames: Vec<Frame>, now: Moment, ctx: &mut Context<Self>) {
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
