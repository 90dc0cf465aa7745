//! What one life of a supervised actor is given: its number, its lifeline and its counter of progress.
//!
//! Separate because actors need these three words of the supervisor and nothing else of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use actix::prelude::*;

/// One life of a supervised actor.
#[derive(Debug)]
pub struct Incarnation {
    /// Its number: every later life of the same child has a larger one.
    pub epoch: u64,
    /// Tells the supervisor when the life is over.
    pub lifeline: Lifeline,
    /// Tells the supervisor that it goes on.
    pub progress: Progress,
}

impl Incarnation {
    /// A life that nobody watches, for an actor that is started without a supervisor.
    pub fn unsupervised(epoch: u64) -> Self {
        let cut = LifelineCut { child: 0, epoch, panicked: false };
        Self { epoch, lifeline: Lifeline { to: None, cut }, progress: Progress::new(Duration::MAX) }
    }
}

/// A guard that an actor keeps in a field for as long as it lives.
///
/// When it is dropped, the supervisor hears of it, whatever the cause: a stop, a panic in a handler, a timer, a
/// spawned future, `started` or the factory, or the end of the thread.
pub struct Lifeline {
    /// Who hears of it; `None` if nobody does.
    to: Option<Recipient<LifelineCut>>,
    cut: LifelineCut,
}

/// A lifeline was dropped.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(super) struct LifelineCut {
    /// Which child, by its place in the supervisor's list.
    pub(super) child: usize,
    pub(super) epoch: u64,
    /// Whether the thread was unwinding.
    pub(super) panicked: bool,
}

impl Lifeline {
    pub(super) fn new(to: Recipient<LifelineCut>, child: usize, epoch: u64) -> Self {
        Self { to: Some(to), cut: LifelineCut { child, epoch, panicked: false } }
    }
}

impl fmt::Debug for Lifeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifeline").field("cut", &self.cut).finish_non_exhaustive()
    }
}

impl Drop for Lifeline {
    /// Runs during unwinding too, where a second panic would abort the process: nothing here can panic. The message
    /// may not be refused, so it passes the mailbox's limit; there is one per life, and lives are rationed.
    fn drop(&mut self) {
        if let Some(to) = &self.to {
            to.do_send(LifelineCut { panicked: thread::panicking(), ..self.cut });
        }
    }
}

/// A counter by which an actor shows that it is not frozen.
#[derive(Debug, Clone)]
pub struct Progress {
    ticks: Arc<AtomicU64>,
    heartbeat: Duration,
}

impl Progress {
    pub(super) fn new(heartbeat: Duration) -> Self {
        Self { ticks: Arc::default(), heartbeat }
    }

    /// Says that the actor goes on. Call it from a timer of the actor's own context, at least once per
    /// [`Progress::heartbeat`], so that a blocked thread and an endless `ctx.wait` both silence it.
    pub fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a tick is expected. An actor without one for two heartbeats is replaced.
    pub fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    pub(super) fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }
}
