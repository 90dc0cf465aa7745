//! In RateBook's place: keeps every report, and waits for what a test expects.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;

use super::speech::speech;
use super::venue::Venue;
use crate::clock;
use crate::exchange::Feed;
use crate::exchange::actor::{ExchangeActor, ExchangeSetup, Limits};
use crate::exchange::bans::Bans;
use crate::exchange::dial_budget::DialBudget;
use crate::exchange::tls::tls_config;
use crate::market::{ExchangeName, Moment, Refusal, Transport};
use crate::metrics::ExchangeMetrics;
use crate::rate_book::{Epoch, Link, LinkFailure, ReportLink, ReportListing, ReportQuotes, ReportReconnect};
use crate::supervisor::Incarnation;

/// How long a test waits for what it expects. Far more than it takes, because a machine may be busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const NAME: ExchangeName = ExchangeName::new("binance");

/// What was reported, in order.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Told {
    Quote { direction: String, price: i64, transport: Transport, received_at: Moment },
    Refused(Refusal),
    Link(Link),
    Listing { listens_to: Vec<String>, unsupported: Vec<String> },
    Reconnect,
}

#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<(Moment, Told)>>>);

impl Log {
    fn push(&self, told: Told) {
        self.0.lock().unwrap().push((clock::now(), told));
    }

    pub(super) fn all(&self) -> Vec<(Moment, Told)> {
        self.0.lock().unwrap().clone()
    }

    /// Everything told, without the times.
    pub(super) fn told(&self) -> Vec<Told> {
        self.all().into_iter().map(|(_, told)| told).collect()
    }

    pub(super) fn links(&self) -> Vec<Link> {
        let link = |told| if let Told::Link(link) = told { Some(link) } else { None };
        self.told().into_iter().filter_map(link).collect()
    }

    /// Prices by this way, in order.
    pub(super) fn prices(&self, by: Transport) -> Vec<(String, i64)> {
        let price = |told| match told {
            Told::Quote { direction, price, transport, .. } if transport == by => Some((direction, price)),
            _ => None,
        };
        self.told().into_iter().filter_map(price).collect()
    }

    pub(super) fn num_reconnects(&self) -> usize {
        self.told().iter().filter(|told| **told == Told::Reconnect).count()
    }

    /// Forgets what was told so far.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    /// Waits until something like this has been told.
    pub(super) async fn until(&self, what: &str, mut condition: impl FnMut(&Log) -> bool) {
        eventually(&format!("{what}; told {:?}", "so far"), || condition(self)).await;
    }

    pub(super) async fn until_link(&self, expected: &Link) {
        self.until(&format!("{expected:?}"), |log| log.links().last() == Some(expected)).await;
    }

    pub(super) async fn until_down(&self) -> LinkFailure {
        self.until("down", |log| matches!(log.links().last(), Some(Link::Down(_)))).await;
        match self.links().pop() {
            Some(Link::Down(failure)) => failure,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn until_price(&self, direction: &str, price: i64, transport: Transport) {
        let expected = (direction.to_owned(), price);
        let what = format!("{expected:?} by {transport:?}");
        self.until(&what, |log| log.prices(transport).contains(&expected)).await;
    }
}

/// Waits until the condition holds.
pub(super) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let began_at = clock::now();
    while !condition() {
        assert!(clock::now().since(began_at) < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Watches that the condition holds all the time.
pub(super) async fn throughout(length: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let began_at = clock::now();
    while clock::now().since(began_at) < length {
        assert!(condition(), "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

struct Hub(Log);

impl Actor for Hub {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1000);
    }
}

impl Handler<ReportQuotes> for Hub {
    type Result = ();

    fn handle(&mut self, report: ReportQuotes, _: &mut Self::Context) {
        assert_eq!((report.exchange, report.epoch), (NAME, Epoch(7)));
        for quote in report.quotes {
            self.0.push(Told::Quote {
                direction: quote.direction.to_string(),
                price: quote.bid.unwrap().to_string().parse().unwrap(),
                transport: report.transport,
                received_at: report.received_at,
            });
        }
        for refusal in report.refused {
            self.0.push(Told::Refused(refusal));
        }
    }
}

impl Handler<ReportLink> for Hub {
    type Result = ();

    fn handle(&mut self, report: ReportLink, _: &mut Self::Context) {
        self.0.push(Told::Link(report.link));
    }
}

impl Handler<ReportListing> for Hub {
    type Result = ();

    fn handle(&mut self, report: ReportListing, _: &mut Self::Context) {
        let texts =
            |directions: Vec<crate::market::Direction>| directions.iter().map(ToString::to_string).collect();
        self.0.push(Told::Listing {
            listens_to: texts(report.listens_to),
            unsupported: texts(report.unsupported),
        });
    }
}

impl Handler<ReportReconnect> for Hub {
    type Result = ();

    fn handle(&mut self, _: ReportReconnect, _: &mut Self::Context) {
        self.0.push(Told::Reconnect);
    }
}

/// The production limits, with waits that a test can afford.
pub(super) fn scaled() -> Limits {
    let ms = Duration::from_millis;
    Limits {
        tick: ms(5),
        dial_timeout: ms(1000),
        request_timeout: ms(1000),
        write_timeout: ms(1000),
        acknowledge_within: ms(200),
        rest_takeover: ms(500),
        settle: ms(60),
        contradiction_grace: ms(100),
        steady_after: ms(300),
        dial_backoff: (ms(20), ms(200)),
        poll_backoff: ms(20),
        poll_cap: (ms(50), ms(100)),
        instruments_backoff: (ms(20), ms(50)),
        replace_backoff: (ms(100), ms(1000)),
        probe_every: ms(400),
        certificate_retry: ms(700),
        ..Limits::default()
    }
}

/// A running actor, and what it told.
pub(super) struct Running {
    pub(super) actor: Addr<ExchangeActor>,
    pub(super) log: Log,
}

/// What a test may want to have otherwise.
pub(super) fn setup(venue: &Venue, feed: &Arc<Mutex<Feed>>, log: &Log) -> ExchangeSetup {
    let hub = Hub(log.clone()).start();
    ExchangeSetup {
        name: NAME,
        plugin: speech(feed.clone()),
        rest_url: venue.rest_url(),
        ws_url: venue.ws_url(),
        stale_after: Duration::from_secs(5),
        poll_every: Duration::from_millis(50),
        quotes: hub.clone().recipient(),
        links: hub.clone().recipient(),
        listings: hub.clone().recipient(),
        reconnects: hub.recipient(),
        tls: tls_config(None).unwrap(),
        bans: Bans::in_memory(),
        budget: DialBudget::new(1000, Duration::from_secs(60)),
        metrics: ExchangeMetrics::default(),
        limits: scaled(),
    }
}

/// Starts an actor that listens to the venue.
pub(super) fn start(venue: &Venue, feed: Feed) -> Running {
    start_with(venue, feed, |_| {})
}

/// Starts an actor with a changed setup.
pub(super) fn start_with(venue: &Venue, feed: Feed, change: impl FnOnce(&mut ExchangeSetup)) -> Running {
    let log = Log::default();
    let mut setup = setup(venue, &Arc::new(Mutex::new(feed)), &log);
    change(&mut setup);
    Running { actor: start_setup(setup), log }
}

pub(super) fn start_setup(setup: ExchangeSetup) -> Addr<ExchangeActor> {
    let Incarnation { epoch, lifeline, progress } = Incarnation::unsupervised(7);
    ExchangeActor::new(setup, Epoch(epoch), lifeline, progress).start()
}
