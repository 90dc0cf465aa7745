//! The one actor that runs every exchange: it owns the sockets, the polling, the clocks and the limits.
//!
//! It interprets a [`Feed`] and nothing else, so that an exchange stays a pure translation. What has to be decided
//! is decided by the pure types below (`session`, `coverage`, `polling`, `link`), each with a `now` passed
//! in; here their verdicts are carried out. Everything with a deadline is looked at once a [`Limits::tick`].

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use awc::Client;
use chrono::TimeDelta;
use log::{debug, info, warn};

use super::bans::{Ban, Bans};
use super::dial_budget::DialBudget;
use super::{Exchange, Feed, Socket};
use crate::clock;
use crate::market::{ExchangeName, Moment, Quote, Refusal, Transport};
use crate::metrics::ExchangeMetrics;
use crate::rate_book::{Epoch, LinkFailure, ReportLink, ReportListing, ReportQuotes, ReportReconnect};
use crate::supervisor::{Lifeline, Progress};

mod complaints;
mod coverage;
mod dial;
mod dialling;
mod fetch;
mod frames;
mod limits;
mod link;
mod manners;
mod outbox;
mod polling;
mod probes;
mod requests;
mod session;
mod sockets;
mod trouble;
mod wire;

#[cfg(test)]
mod tests;

use complaints::Complaints;
use coverage::Coverage;
pub use limits::Limits;
use link::LinkState;
use outbox::{Outbox, Recipients, Report};
use polling::Polling;
use requests::Instruments;
use sockets::Sockets;
use trouble::Trouble;

/// Makes the plug-in of an exchange.
pub type MakeExchange = Arc<dyn Fn() -> Box<dyn Exchange> + Send + Sync>;

/// What the actor of one exchange needs, the same for all of its incarnations.
#[derive(Clone)]
pub struct ExchangeSetup {
    /// The exchange's name.
    pub name: ExchangeName,
    /// Makes its plug-in, anew for every incarnation.
    pub plugin: MakeExchange,
    /// The part of REST addresses before the exchange's own paths.
    pub rest_url: String,
    /// The part of WebSocket addresses before the exchange's own paths; empty for REST only.
    pub ws_url: String,
    /// Age at which its quotes are stale.
    pub stale_after: Duration,
    /// Time between two polls, where polls are what brings quotes.
    pub poll_every: Duration,
    /// Takes the quotes.
    pub quotes: Recipient<ReportQuotes>,
    /// Takes the state of the connection.
    pub links: Recipient<ReportLink>,
    /// Takes what the exchange is going to quote.
    pub listings: Recipient<ReportListing>,
    /// Counts lost sockets.
    pub reconnects: Recipient<ReportReconnect>,
    /// Whom to trust.
    pub tls: Arc<rustls::ClientConfig>,
    /// The bans of all exchanges.
    pub bans: Bans,
    /// The dials of this exchange, all incarnations together.
    pub budget: DialBudget,
    /// Where requests and dials are counted.
    pub metrics: ExchangeMetrics,
    /// Timeouts and sizes.
    pub limits: Limits,
}

/// The actor of one exchange, in one incarnation.
pub struct ExchangeActor {
    setup: ExchangeSetup,
    epoch: Epoch,
    _lifeline: Lifeline,
    progress: Progress,
    exchange: Box<dyn Exchange>,
    feed: Feed,
    client: Client,
    sockets: Sockets,
    polling: Polling,
    instruments: Instruments,
    coverage: Coverage,
    link: LinkState,
    outbox: Outbox,
    complaints: Complaints,
    ticked_at: Moment,
}

impl ExchangeActor {
    /// An actor that begins to listen and to poll when it is started. `lifeline` is dropped with it; `progress` is
    /// ticked as long as its thread and its timers go on.
    pub fn new(setup: ExchangeSetup, epoch: Epoch, lifeline: Lifeline, progress: Progress) -> Self {
        let limits = &setup.limits;
        let recipients = Recipients {
            quotes: setup.quotes.clone(),
            links: setup.links.clone(),
            listings: setup.listings.clone(),
            reconnects: setup.reconnects.clone(),
        };
        let now = clock::now();
        let exchange = (setup.plugin)();
        let coverage = Coverage::new(setup.stale_after / 2, limits.contradiction_grace, exchange.pushes());
        Self {
            epoch,
            _lifeline: lifeline,
            progress,
            exchange,
            feed: Feed::default(),
            client: dial::client(setup.tls.clone()),
            sockets: Sockets::new(limits, now),
            polling: Polling::new(setup.poll_every, limits),
            instruments: Instruments::new(limits, now),
            coverage,
            link: LinkState::new(limits.rest_takeover),
            outbox: Outbox::new(recipients),
            complaints: Complaints::default(),
            ticked_at: now,
            setup,
        }
    }
}

impl Actor for ExchangeActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        fail_point("started", self.setup.name);
        let now = clock::now();
        self.ticked_at = now;
        self.take_feed(self.exchange.feed(), now, ctx);
        self.report_listing();
        self.tick(now, ctx);
        ctx.run_interval(self.setup.limits.tick, |actor, ctx| actor.tick(clock::now(), ctx));
    }
}

/// Says what time it is. The actor's timer does the same; a test can send any time.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Tick(pub(crate) Moment);

impl Handler<Tick> for ExchangeActor {
    type Result = ();

    fn handle(&mut self, message: Tick, ctx: &mut Self::Context) {
        self.tick(message.0, ctx);
    }
}

impl ExchangeActor {
    /// Looks at everything that has a deadline.
    fn tick(&mut self, now: Moment, ctx: &mut Context<Self>) {
        fail_point("timer", self.setup.name);
        if waits_for_ever(self.setup.name) {
            ctx.wait(actix::fut::wrap_future(std::future::pending()));
        }
        self.progress.tick();
        self.mind_clock(now, ctx);
        self.ticked_at = now;
        self.mind_outbox();
        self.mind_ban(now);
        self.mind_sockets(now, ctx);
        self.mind_dialling(now, ctx);
        // The list first: where only probes are made, polls would leave no room for it.
        self.mind_instruments(now, ctx);
        self.mind_polling(now, ctx);
        self.tell_link(now);
    }

    /// After a pause of the machine or of the process, what the sockets hold is old, and their peers have given up:
    /// nothing of it may be taken for new.
    fn mind_clock(&mut self, now: Moment, ctx: &mut Context<Self>) {
        let pause = unnoticed(self.ticked_at, now);
        if pause <= self.setup.limits.longest_pause {
            return;
        }
        self.ticked_at = now;
        self.complain(now, &format!("nothing happened here for {} s, beginning anew", pause.as_secs()));
        self.client = dial::client(self.setup.tls.clone());
        self.abandon_polls(ctx);
        self.drop_sockets(now, ctx);
        self.polling.poll_at_once();
    }

    /// Tries again to deliver what RateBook had no room for.
    fn mind_outbox(&mut self) {
        self.outbox.flush();
        let num_refused = self.outbox.take_num_refused();
        if num_refused > 0 {
            debug!(
                "{}: RateBook had no room for {num_refused} reports, the newest quotes wait",
                self.setup.name
            );
        }
    }

    /// During a ban nothing is asked, and nobody waits for an answer.
    fn mind_ban(&mut self, now: Moment) {
        let Some(ban) = self.current_ban(now) else { return };
        let failure =
            LinkFailure { detail: ban.reason, forbidden: ban.forbidden, banned_until: Some(ban.until) };
        self.link.on_poll_failed(failure.clone());
        if self.feed.socket.is_some() && self.sockets.are_closed() {
            self.link.on_socket_lost(failure, now);
        }
    }

    fn current_ban(&self, now: Moment) -> Option<Ban> {
        self.setup.bans.current(self.setup.name, now)
    }

    /// Obeys an exchange that asks to be left alone.
    fn take_ban(&mut self, wait: Duration, forbidden: bool, reason: &str, now: Moment) {
        let ban = Ban { until: now.after(wait).wall, reason: reason.to_owned(), forbidden };
        // Always said, however much was said before: it explains the silence that follows.
        warn!("{}: {reason}, nothing is asked of it for {} s", self.setup.name, wait.as_secs());
        self.setup.bans.impose(self.setup.name, ban);
    }

    /// Tells RateBook of the connection, if there is news.
    fn tell_link(&mut self, now: Moment) {
        if let Some(link) = self.link.news(now) {
            debug!("{}: {link:?}", self.setup.name);
            let report = ReportLink { exchange: self.setup.name, epoch: self.epoch, at: now, link };
            self.outbox.send(Report::Link(report));
        }
    }

    fn report_listing(&mut self) {
        self.outbox.send(Report::Listing(ReportListing {
            exchange: self.setup.name,
            epoch: self.epoch,
            listens_to: self.feed.listens_to.clone(),
            unsupported: self.feed.unsupported.clone(),
        }));
    }

    /// Tells RateBook of quotes that came `now` and may have been made any time since `since`. The state of the
    /// connection by which they came has to be told before.
    fn report_quotes(
        &mut self,
        transport: Transport,
        since: Moment,
        now: Moment,
        quotes: Vec<Quote>,
        refused: Vec<Refusal>,
    ) {
        if quotes.is_empty() && refused.is_empty() {
            return;
        }
        // Age counts from the earliest, and what the exchange says of the time is compared with the clock of now.
        let received_at = Moment { monotonic: since.monotonic, wall: now.wall };
        self.outbox.send(Report::Quotes(ReportQuotes {
            exchange: self.setup.name,
            epoch: self.epoch,
            transport,
            received_at,
            quotes,
            refused,
        }));
    }

    fn report_reconnect(&mut self) {
        self.outbox.send(Report::Reconnect(ReportReconnect { exchange: self.setup.name, epoch: self.epoch }));
    }

    /// Puts a new feed into force.
    fn take_feed(&mut self, mut feed: Feed, now: Moment, ctx: &mut Context<Self>) {
        if self.setup.ws_url.is_empty() {
            feed.socket = None;
        }
        let old = std::mem::replace(&mut self.feed, feed);
        self.coverage.cover(&self.feed.listens_to);
        if self.feed.socket.is_some() {
            self.link.expect_socket();
        }
        if self.feed.polls != old.polls {
            self.polling.poll_at_once();
        }
        self.follow_feed(&old, now, ctx);
    }

    /// The plug-in has learnt something.
    fn refresh_feed(&mut self, now: Moment, ctx: &mut Context<Self>) {
        let feed = self.exchange.feed();
        let is_listing_new =
            feed.listens_to != self.feed.listens_to || feed.unsupported != self.feed.unsupported;
        self.take_feed(feed, now, ctx);
        if is_listing_new {
            self.report_listing();
        }
    }

    /// What RateBook is told of a trouble, with the ban that it may have brought.
    fn failure(&self, trouble: &Trouble, now: Moment) -> LinkFailure {
        let ban = self.current_ban(now);
        LinkFailure {
            detail: trouble.to_string(),
            forbidden: ban.as_ref().is_some_and(|ban| ban.forbidden),
            banned_until: ban.map(|ban| ban.until),
        }
    }

    /// Says a failure in the log, unless so much was said lately that it would drown the rest.
    fn complain(&mut self, now: Moment, words: &str) {
        let name = self.setup.name;
        match self.complaints.allow(now) {
            Some(0) => warn!("{name}: {words}"),
            Some(num_unsaid) => warn!("{name}: {words} ({num_unsaid} failures before it not logged)"),
            None => debug!("{name}: {words}"),
        }
    }

    fn announce(&self, words: &str) {
        info!("{}: {words}", self.setup.name);
    }
}

/// Time since `before` in which nothing can have been noticed. The monotonic clock of a suspended machine stands
/// still, and that of a stopped process goes on: the first shows in the difference of the two clocks, the second in
/// the time itself.
fn unnoticed(before: Moment, now: Moment) -> Duration {
    let stopped = now.since(before);
    let by_monotonic = TimeDelta::from_std(stopped).unwrap_or(TimeDelta::MAX);
    let suspended = (now.wall - before.wall).checked_sub(&by_monotonic).unwrap_or(TimeDelta::MAX);
    stopped.max(suspended.abs().to_std().unwrap_or_default())
}

/// The age at which a socket is replaced. A test may shorten it, in milliseconds:
/// `FAILPOINTS="exchange::lifetime(binance)=return(10000)"`.
#[cfg_attr(not(feature = "failpoints"), expect(unused_variables, reason = "only tests have fail points"))]
fn lifetime(socket: &Socket, name: ExchangeName) -> Option<Duration> {
    fail::fail_point!(&format!("exchange::lifetime({name})"), |ms| {
        ms?.parse().ok().map(Duration::from_millis)
    });
    socket.lifetime
}

/// A place where a test may break the actor of one exchange: `FAILPOINTS="exchange::timer(binance)=1*panic"`.
#[cfg_attr(not(feature = "failpoints"), expect(unused_variables, reason = "only tests have fail points"))]
fn fail_point(place: &str, name: ExchangeName) {
    fail::fail_point!(&format!("exchange::{place}({name})"));
}

/// Whether a test wants the actor to wait for what never comes: `FAILPOINTS="exchange::wait(binance)=1*return"`.
#[cfg_attr(not(feature = "failpoints"), expect(unused_variables, reason = "only tests have fail points"))]
fn waits_for_ever(name: ExchangeName) -> bool {
    fail::fail_point!(&format!("exchange::wait({name})"), |_| true);
    false
}
