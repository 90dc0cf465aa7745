//! The REST side of the actor: rounds of polls, instrument lists, and what an answer asks of us.
//!
//! Separate from the sockets because each side is whole without the other; they meet in the state of the link and
//! in the coverage of directions.

use std::future::Future;
use std::time::Duration;

use actix::prelude::*;

use super::coverage::Worth;
use super::fetch::{Answer, FetchLimits, fetch};
use super::limits::Limits;
use super::polling::Occasion;
use super::trouble::{Trouble, printable};
use super::{ExchangeActor, fail_point, manners};
use crate::clock;
use crate::exchange::backoff::Backoff;
use crate::exchange::{Reading, Request, Signal, Source};
use crate::market::{Moment, Refusal, Transport};

/// When to ask for the instrument list.
#[derive(Debug)]
pub(super) struct Instruments {
    due_at: Moment,
    backoff: Backoff,
    is_asked: bool,
}

impl Instruments {
    pub(super) fn new(limits: &Limits, now: Moment) -> Self {
        let (base, cap) = limits.instruments_backoff;
        Self { due_at: now, backoff: Backoff::new(base, cap), is_asked: false }
    }
}

impl ExchangeActor {
    /// Begins a round of polls if there is reason to.
    pub(super) fn mind_polling(&mut self, now: Moment, ctx: &mut Context<Self>) {
        let is_probed = self.polling.only_probes() && self.instruments.is_asked;
        if self.feed.polls.is_empty() || is_probed || self.current_ban(now).is_some() {
            return;
        }
        let occasion = match self.link.is_socket_up() {
            false => Occasion::Regular,
            true if self.coverage.has_quiet(now) => Occasion::SomethingQuiet,
            true => Occasion::NothingQuiet,
        };
        if self.polling.is_due(occasion, now) {
            self.polling.begin(&self.feed.polls, now);
            self.ask(now, ctx);
        }
    }

    /// Sends the requests of the round that may leave now. The answer to one of them may have forbidden the others.
    fn ask(&mut self, now: Moment, ctx: &mut Context<Self>) {
        if self.current_ban(now).is_some() {
            self.polling.ask_no_more();
        }
        while let Some(request) = self.polling.next_request() {
            let fetching = self.fetching(&request, self.setup.limits.max_body);
            let answered = fetching.into_actor(self).map(move |answered, actor, ctx| {
                actor.take_poll(&request, now, answered, ctx);
            });
            let handle = ctx.spawn(answered);
            self.polling.sent(handle);
        }
    }

    /// Stops waiting for the answers to a round.
    pub(super) fn abandon_polls(&mut self, ctx: &mut Context<Self>) {
        for handle in self.polling.abandon() {
            ctx.cancel_future(handle);
        }
    }

    /// A request on its way.
    pub(super) fn fetching(
        &self,
        request: &Request,
        size: usize,
    ) -> impl Future<Output = Result<Answer, Trouble>> + 'static {
        let (client, rest_url, request) = (self.client.clone(), self.setup.rest_url.clone(), request.clone());
        let name = self.setup.name;
        let limits = FetchLimits {
            time: self.setup.limits.request_timeout,
            size,
            weight_header: self.feed.weight.map(|weight| weight.header),
        };
        async move {
            fail_point("spawned", name);
            fetch(client, rest_url, request, limits).await
        }
    }

    fn take_poll(
        &mut self,
        request: &Request,
        asked_at: Moment,
        answered: Result<Answer, Trouble>,
        ctx: &mut Context<Self>,
    ) {
        let now = clock::now();
        match self.read_poll(request, answered, now, ctx) {
            Ok(reading) => self.take_good_poll(reading, asked_at, now),
            Err(trouble) => self.polling.on_trouble(trouble),
        }
        self.ask(now, ctx);
        self.end_round(now);
        self.tell_link(now);
    }

    /// The quotes of a poll.
    fn read_poll(
        &mut self,
        request: &Request,
        answered: Result<Answer, Trouble>,
        now: Moment,
        ctx: &mut Context<Self>,
    ) -> Result<Reading, Trouble> {
        let mut reading = self.read_answer(Source::Poll, request, answered, now, ctx)?;
        if !reading.quotes.is_empty() {
            return Ok(reading);
        }
        self.report_quotes(Transport::Rest, now, now, Vec::new(), refusals(&mut reading));
        let said = reading.signals.into_iter().find_map(|signal| match signal {
            Signal::Error(detail) => Some(printable(&detail)),
            _ => None,
        });
        Err(Trouble::Unusable(said.unwrap_or_else(|| "an answer without quotes".to_owned())))
    }

    fn take_good_poll(&mut self, mut reading: Reading, asked_at: Moment, now: Moment) {
        if self.link.is_rest_failing() {
            self.announce("answers polls again");
            self.sockets.dial_soon(now);
        }
        self.setup.bans.forgive(self.setup.name);
        self.polling.on_good();
        self.link.on_poll_good();
        let refused = refusals(&mut reading);
        let mut quotes = reading.quotes;
        quotes.retain(|quote| self.coverage.on_body(quote, asked_at, now) == Worth::Newest);
        if self.link.was_down_since(asked_at) {
            // RateBook believes nothing that is older than that.
            self.polling.poll_at_once();
        }
        self.tell_link(now);
        // A body is as old as its request: nobody knows when on the way the exchange looked at its book.
        self.report_quotes(Transport::Rest, asked_at, now, quotes, refused);
    }

    fn end_round(&mut self, now: Moment) {
        let Some(ended) = self.polling.end(now, &mut rand::rng()) else { return };
        let Some((trouble, retry_in)) = ended.trouble else {
            self.coverage.on_round(ended.began_at);
            return;
        };
        let failure = self.failure(&trouble, now);
        if self.link.is_rest_failing_with(&failure) {
            log::debug!("{}: poll failed again ({trouble})", self.setup.name);
        } else {
            let words = format!("poll failed ({trouble}), asking again in {:.1} s", retry_in.as_secs_f64());
            self.complain(now, &words);
        }
        self.link.on_poll_failed(failure);
        if !matches!(trouble, Trouble::Status(_) | Trouble::Redirect(_)) {
            self.mind_half_open(now);
        }
    }

    /// Asks for the instrument list once a day, and sooner again after a failure.
    pub(super) fn mind_instruments(&mut self, now: Moment, ctx: &mut Context<Self>) {
        let is_due = !self.instruments.is_asked && now.monotonic >= self.instruments.due_at.monotonic;
        let is_probed = self.polling.only_probes() && self.polling.is_under_way();
        if !is_due || is_probed || self.current_ban(now).is_some() || self.polling.is_held(now) {
            return;
        }
        let Some(request) = self.feed.instruments.clone() else { return };
        self.instruments.is_asked = true;
        let fetching = self.fetching(&request, self.setup.limits.max_instruments);
        ctx.spawn(fetching.into_actor(self).map(move |answered, actor, ctx| {
            actor.take_instruments(&request, answered, ctx);
        }));
    }

    fn take_instruments(
        &mut self,
        request: &Request,
        answered: Result<Answer, Trouble>,
        ctx: &mut Context<Self>,
    ) {
        let now = clock::now();
        self.instruments.is_asked = false;
        let wait = match self.read_answer(Source::Instruments, request, answered, now, ctx) {
            Ok(_) => {
                self.polling.on_good_list();
                self.instruments.backoff.reset();
                self.setup.limits.instruments_every
            }
            Err(trouble) => {
                self.polling.on_list_trouble(&trouble, now);
                let mut delay = self.instruments.backoff.next_delay(&mut rand::rng());
                if matches!(trouble, Trouble::Tls(_)) {
                    delay = delay.max(self.setup.limits.certificate_retry);
                }
                let words =
                    format!("no instrument list ({trouble}), asking again in {:.1} s", delay.as_secs_f64());
                self.complain(now, &words);
                delay
            }
        };
        self.instruments.due_at = now.after(wait);
    }

    /// Reads an answer of whatever kind, and obeys what it asks of us.
    pub(super) fn read_answer(
        &mut self,
        source: Source,
        request: &Request,
        answered: Result<Answer, Trouble>,
        now: Moment,
        ctx: &mut Context<Self>,
    ) -> Result<Reading, Trouble> {
        let status = answered.as_ref().ok().map(|answer| answer.status);
        self.setup.metrics.count_request(self.setup.name, status);
        let answer = answered?;
        self.mind_budget(&answer, now);
        if !answer.is_success() {
            let is_obeyed = self.obey_status(answer.status, answer.retry_after, now);
            let mut reading = self.exchange.read_failure(request, answer.status, &answer.body);
            if is_obeyed {
                // The status says the same, and its wait is the better guess unless the body has one of its own.
                reading.signals.retain(|signal| !matches!(signal, Signal::RateLimited { wait: None }));
            }
            self.take_signals(&reading.signals, None, now, ctx);
            self.report_quotes(Transport::Rest, now, now, Vec::new(), refusals(&mut reading));
            return Err(Trouble::status(answer.status));
        }
        self.mind_quota(now);
        fail_point("frame", self.setup.name);
        let read = match source {
            Source::Poll => self.exchange.read_poll(request, &answer.body),
            _ => self.exchange.read(source, &answer.body),
        };
        match read {
            Ok(reading) => {
                self.take_signals(&reading.signals, None, now, ctx);
                Ok(reading)
            }
            Err(error) => {
                self.report_quotes(Transport::Rest, now, now, Vec::new(), vec![Refusal::Syntax]);
                Err(Trouble::Unusable(printable(&format!("an answer that is {error}"))))
            }
        }
    }

    /// Asks nothing more while the exchange says that its budget is nearly used up.
    fn mind_budget(&mut self, answer: &Answer, now: Moment) {
        let Some((weight, used)) = self.feed.weight.zip(answer.used_weight) else { return };
        if let Some(until) = manners::budget_returns_at(used, weight.limit, weight.window, now) {
            let wait = until.since(now).as_secs_f64();
            let words =
                format!("{used} of its budget of {} are used, not polling for {wait:.0} s", weight.limit);
            self.complain(now, &words);
            self.polling.hold_until(until);
        }
    }

    /// Counts an answer, and asks nothing more while the quota is used up. That is counted before the answer is read, so
    /// that one on which we fail counts too.
    fn mind_quota(&mut self, now: Moment) {
        let Some(quota) = self.feed.quota else { return };
        let Some(free_at) = self.setup.bans.count_answer(self.setup.name, quota, now) else { return };
        let wait = (free_at - now.wall).to_std().unwrap_or_default();
        let hours = quota.window.as_secs_f64() / 3600.0;
        let reason = format!("{} answers within {hours} h are its quota", quota.answers);
        self.take_ban(wait, false, &reason, now);
    }

    /// Stays away if the status asks for it, and says whether it does.
    pub(super) fn obey_status(&mut self, status: u16, retry_after: Option<Duration>, now: Moment) -> bool {
        let num_unmeasured = match (status, retry_after) {
            (418, None) => self.setup.bans.count_unmeasured(self.setup.name),
            _ => 0,
        };
        let asked = manners::stay_away(status, retry_after, num_unmeasured);
        if let Some(asked) = &asked {
            self.take_ban(asked.wait, asked.forbidden, &format!("answered {status}"), now);
        }
        asked.is_some()
    }
}

/// The reasons of a reading's refusals.
pub(super) fn refusals(reading: &mut Reading) -> Vec<Refusal> {
    std::mem::take(&mut reading.refused).into_iter().map(|(_, refusal)| refusal).collect()
}
