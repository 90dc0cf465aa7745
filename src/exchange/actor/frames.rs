//! What comes over a socket: quotes, and everything else that a frame can say.
//!
//! Separate because the same signals come in bodies too.

use actix::prelude::*;
use bytes::Bytes;

use super::coverage::Worth;
use super::requests::refusals;
use super::sockets::OpenSocket;
use super::trouble::printable;
use super::wire::{Batch, Incoming};
use super::{ExchangeActor, fail_point, manners};
use crate::exchange::{FrameError, Reading, Signal, Source};
use crate::market::{Moment, Quote, Refusal, Transport};

/// What a batch says, while it is read.
struct Heard {
    /// What their age counts from.
    counts_from: Moment,
    quotes: Vec<Quote>,
    refused: Vec<Refusal>,
}

impl ExchangeActor {
    /// Reads frames that came together, and reports what they say.
    pub(super) fn take_batch(&mut self, number: u64, batch: Batch, now: Moment, ctx: &mut Context<Self>) {
        let counts_from = self.sockets.count_from(number, batch.arrived_at, now);
        let behind = now.since(counts_from);
        if behind >= self.setup.stale_after {
            self.complain(now, &format!("what it sends comes up to {:.1} s late", behind.as_secs_f64()));
        }
        let mut heard = Heard { counts_from, quotes: Vec::new(), refused: Vec::new() };
        for frame in batch.frames {
            let Some(socket) = self.sockets.get(number) else { break };
            socket.session.on_sign(now);
            let bytes = match frame {
                Incoming::Message(bytes) => bytes,
                Incoming::Pong(Some(number)) => {
                    socket.session.on_pong(number);
                    self.sockets.answers_pings = true;
                    continue;
                }
                Incoming::Pong(None) | Incoming::Sign => continue,
            };
            match self.read_frame(number, &bytes) {
                Ok(reading) => self.take_reading(number, reading, &mut heard, now, ctx),
                Err(error) => self.take_unreadable(number, &error, &mut heard, now, ctx),
            }
        }
        self.mind_take_over(now, ctx);
        if !heard.quotes.is_empty() && self.coverage.deaf(now).is_none() {
            self.link.on_socket_heard();
        }
        self.tell_link(now);
        self.report_quotes(Transport::WebSocket, counts_from, now, heard.quotes, heard.refused);
    }

    fn read_frame(&mut self, number: u64, bytes: &Bytes) -> Result<Reading, FrameError> {
        fail_point("frame", self.setup.name);
        let own_reader = self.sockets.get(number).and_then(|socket| socket.exchange.as_mut());
        own_reader.unwrap_or(&mut self.exchange).read(Source::Socket, bytes)
    }

    fn take_reading(
        &mut self,
        number: u64,
        mut reading: Reading,
        heard: &mut Heard,
        now: Moment,
        ctx: &mut Context<Self>,
    ) {
        heard.refused.append(&mut refusals(&mut reading));
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
            let worth = self.coverage.on_frame(&quote, heard.counts_from);
            // What is too old in itself is refused by RateBook, under that name.
            let is_stale = quote.quoted_at.is_some_and(|at| now.wall_since(at) > self.setup.stale_after);
            if worth == Worth::Newest || is_stale {
                heard.quotes.push(quote);
            } else {
                heard.refused.push(Refusal::OutOfOrder);
            }
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
        heard: &mut Heard,
        now: Moment,
        ctx: &mut Context<Self>,
    ) {
        heard.refused.push(Refusal::Syntax);
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
                Signal::Greeted => {
                    if let Some(socket) = socket {
                        socket.session.on_greeted();
                    }
                    if let Some(number) = number {
                        self.subscribe(number, now, ctx);
                    }
                }
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
