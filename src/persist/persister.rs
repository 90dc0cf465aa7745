//! The actor that stores what RateBook accepted: it starts the threads that do it, and ends when one of them does, so
//! that the supervisor begins its next life.
//!
//! What it was given survives it: records wait in the hand-over or in the outbox until the database has them.

use std::time::Duration;

use actix::prelude::*;
use log::error;

use super::database::Database;
use super::sources::{Collector, FromHandOver, FromOutbox, SharedOutbox};
use super::status::Status;
use super::store::Keep;
use super::worker::{self, Signal, WorkerEnded};
use super::writer::Writer;
use crate::config::StorageSettings;
use crate::rate_book::HandOver;
use crate::supervisor::{Incarnation, Lifeline, Progress};

/// How long records gather before they are written to SQLite, or come from a stream: a quote is stored for good within
/// 100 ms.
const GATHER_DIRECTLY: Duration = Duration::from_millis(50);

/// The same for PostgreSQL, before which the outbox has them already: so long that candles are not written for every
/// quote, so short that history is never felt to be behind.
const GATHER_FOR_POSTGRES: Duration = Duration::from_millis(200);

/// What a life of the Persister needs.
#[derive(Debug, Clone)]
pub(super) struct PersisterSetup {
    pub(super) database: Database,
    pub(super) settings: StorageSettings,
    pub(super) hand_over: HandOver,
    /// Whether records wait on this disk until the database has them.
    pub(super) needs_outbox: bool,
    pub(super) status: Status,
}

/// The actor.
#[derive(Debug)]
pub(super) struct Persister {
    setup: PersisterSetup,
    progress: Progress,
    _lifeline: Lifeline,
    signal: Signal,
}

impl Persister {
    pub(super) fn new(setup: PersisterSetup, incarnation: Incarnation) -> Self {
        let Incarnation { lifeline, progress, .. } = incarnation;
        Self { setup, progress, _lifeline: lifeline, signal: Signal::default() }
    }

    fn start_threads(&self, to: &Recipient<WorkerEnded>) {
        let PersisterSetup { database, settings, hand_over, needs_outbox, status } = self.setup.clone();
        let signal = self.signal.clone();
        let keep = Keep { quotes: settings.keep_quotes, candles: settings.keep_candles };
        let connect = database.connect();
        let running = status.count_thread();
        if !needs_outbox {
            let source = FromHandOver(hand_over);
            let writer = Writer::new(source, connect, status, keep, GATHER_DIRECTLY, signal.clone());
            return worker::start("persister-writer", &signal, to.clone(), move || {
                let _running = running;
                writer.run();
            });
        }
        let collecting = status.count_thread();
        let outbox = SharedOutbox::default();
        let source = FromOutbox(outbox.clone());
        let writer = Writer::new(source, connect, status.clone(), keep, GATHER_FOR_POSTGRES, signal.clone());
        worker::start("persister-writer", &signal, to.clone(), move || {
            let _running = running;
            writer.run();
        });
        let collector = Collector {
            hand_over,
            outbox,
            path: settings.outbox,
            limit: settings.outbox_limit,
            status,
            signal: signal.clone(),
        };
        worker::start("persister-outbox", &signal, to.clone(), move || {
            let _running = collecting;
            collector.run();
        });
    }
}

impl Actor for Persister {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.start_threads(&ctx.address().recipient());
        ctx.run_interval(self.progress.heartbeat() / 2, |actor, _| actor.progress.tick());
    }
}

impl Handler<WorkerEnded> for Persister {
    type Result = ();

    /// Nothing is left to do without the thread. What panicked there is told to the supervisor as a panic here.
    fn handle(&mut self, ended: WorkerEnded, ctx: &mut Self::Context) {
        error!("storage: the thread {} ended", ended.name);
        ctx.stop();
        assert!(!ended.panicked, "a thread of the storage panicked");
    }
}

impl Drop for Persister {
    fn drop(&mut self) {
        self.signal.stop();
    }
}
