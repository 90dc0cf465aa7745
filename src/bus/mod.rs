//! The message broker: collectors tell replicas and the storing role what they hear, over NATS JetStream.
//!
//! ```text
//! collect   RateBook ─┬▶ Newest ───▶ publisher ─▶ stream QUOTES ─▶ follower ─▶ RateBook   answer
//!                     └▶ HandOver ─▶ publisher ─▶ stream RECORDS ▶ consumer ─▶ HandOver   store
//! ```
//!
//! The only place that knows the broker. [`Bus`] puts it together: three actors, one for each role, which supervisors keep
//! alive. Each has a connection of its own and a loop of sessions; what is told is pure (`wire`, `subject`), and so is whose
//! word counts (`collectors`).

mod collectors;
mod connection;
mod consumer;
mod follower;
mod publisher;
mod streams;
mod subject;
#[cfg(test)]
mod testing;
mod wire;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use log::error;

use self::connection::{Access, BusError};
use self::consumer::ConsumerSetup;
use self::follower::FollowerSetup;
use self::publisher::PublisherSetup;
use self::wire::Names;
use crate::clock;
use crate::config::Settings;
use crate::rate_book::{BusStatus, FollowStream, HandOver, Newest};
use crate::supervisor::{ChildSpec, Incarnation, Lifeline, Progress};

/// The names of the actors.
const PUBLISHER: &str = "bus-publisher";
const FOLLOWER: &str = "bus-follower";
const CONSUMER: &str = "bus-consumer";

/// Where the broker's answers to each role go. A user may be allowed to read its own and no others.
struct Inboxes {
    collector: &'static str,
    replica: &'static str,
    store: &'static str,
}

const INBOX: Inboxes =
    Inboxes { collector: "_INBOX.collector", replica: "_INBOX.replica", store: "_INBOX.store" };

/// How often a flush looks whether everything was told.
const FLUSH_CHECK: Duration = Duration::from_millis(10);

/// The broker, and what this process has to do with it.
#[derive(Debug, Clone)]
pub struct Bus {
    access: Access,
    names: Names,
    every: Duration,
    collector: String,
    status: BusStatus,
    /// What the publisher has to tell.
    telling: Option<(Newest, HandOver)>,
}

impl Bus {
    /// The broker of these settings, whose certificate is judged by `tls`; `None` where there is none.
    pub fn new(settings: &Settings, tls: &Arc<rustls::ClientConfig>) -> Option<Self> {
        Some(Self {
            access: Access { nats: settings.nats.clone()?, tls: tls.clone() },
            names: Names(settings.exchanges.keys().copied().collect()),
            every: settings.storage.every,
            // Another one in every process: nobody has to give out names, and none can be given out twice.
            collector: format!("{:016x}", rand::random::<u64>()),
            status: BusStatus::default(),
            telling: None,
        })
    }

    /// What is known of it.
    pub fn status(&self) -> BusStatus {
        self.status.clone()
    }

    /// The actor that tells what this process collects.
    pub fn publisher(&mut self, newest: Newest, hand_over: HandOver) -> ChildSpec {
        self.telling = Some((newest.clone(), hand_over.clone()));
        let setup = PublisherSetup {
            access: self.access.clone(),
            collector: self.collector.clone(),
            newest,
            hand_over,
            every: self.every,
            status: self.status.part(),
        };
        child(PUBLISHER, move || Box::pin(publisher::publish(setup.clone())))
    }

    /// The actor that tells `book` what other processes collect.
    pub fn follower(&self, book: Recipient<FollowStream>) -> ChildSpec {
        let (access, names) = (self.access.clone(), self.names.clone());
        let setup = FollowerSetup { access, book, names, status: self.status.part() };
        child(FOLLOWER, move || Box::pin(follower::follow(setup.clone())))
    }

    /// The actor that hands over what is to be stored here.
    pub fn consumer(&self, hand_over: HandOver) -> ChildSpec {
        let (access, names) = (self.access.clone(), self.names.clone());
        let setup = ConsumerSetup { access, hand_over, names, status: self.status.part() };
        child(CONSUMER, move || Box::pin(consumer::consume(setup.clone())))
    }

    /// Waits until everything that this process collected was told; at most `limit`. Says whether it was.
    pub async fn flush(&self, limit: Duration) -> bool {
        let Some((newest, hand_over)) = &self.telling else { return true };
        let began_at = clock::now();
        loop {
            // Whoever still accepts, accepts into a step that is over.
            hand_over.close();
            let is_told = hand_over.counters().waiting == 0;
            if is_told && newest.num_waiting() == 0 || clock::now().since(began_at) >= limit {
                return is_told;
            }
            tokio::time::sleep(FLUSH_CHECK).await;
        }
    }
}

/// The work of an actor, which has no end. None of its waits is longer than some seconds.
type Work = Pin<Box<dyn Future<Output = Result<(), BusError>>>>;

fn child(name: &'static str, work: impl Fn() -> Work + Send + Sync + 'static) -> ChildSpec {
    ChildSpec::new(name, move |incarnation| {
        let Incarnation { lifeline, progress, .. } = incarnation;
        Worker { name, work: Some(work()), progress, _lifeline: lifeline }.start();
    })
}

/// The actor around a role's work: it ends with it, so that the supervisor begins its next life.
struct Worker {
    name: &'static str,
    work: Option<Work>,
    progress: Progress,
    _lifeline: Lifeline,
}

impl Actor for Worker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.progress.heartbeat() / 2, |actor, _| actor.progress.tick());
        let Some(work) = self.work.take() else { return };
        ctx.spawn(work.into_actor(self).map(|ended, actor, ctx| {
            if let Err(error) = ended {
                error!("{}: {error}", actor.name);
            }
            ctx.stop();
        }));
    }
}
