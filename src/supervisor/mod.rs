//! Starts actors from factories, hears of every end of theirs, and starts them again with a delay.
//!
//! Separate from actix's own `Supervisor`, which does not survive a panic of its actor and restarts without delay.
//! [`Supervisor`] keeps a factory per child. Every life of a child is an [`Incarnation`] on a thread of its own, so
//! that a child that blocks harms no other. It is handed a [`Lifeline`], whose drop is always heard, and a counter
//! of [`Progress`], whose silence means a freeze. [`RestartPolicy`] says what follows.
//!
//! Others never hold a child's address: it changes with every life.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, io, mem};

use actix::prelude::*;
use tokio::sync::oneshot;

use crate::clock;
use crate::market::Moment;

mod event;
mod incarnation;
mod restart_policy;

pub use event::{ChildEvent, ChildEventKind, Occasion, Why};
pub use incarnation::{Incarnation, Lifeline, Progress};
pub use restart_policy::RestartPolicy;

use incarnation::LifelineCut;
use restart_policy::{RestartHistory, Silence, Verdict};

/// How often a shutdown looks whether the threads have ended.
const SHUTDOWN_CHECK: Duration = Duration::from_millis(10);

/// A child: its name, and how a life of it begins.
#[derive(Clone)]
pub struct ChildSpec {
    name: &'static str,
    start: Factory,
}

type Factory = Arc<dyn Fn(Incarnation) + Send + Sync>;

impl ChildSpec {
    /// A child of this name, which is also the name of its threads. `start` runs on a fresh thread with an event
    /// loop of its own, and starts the actor there; the actor keeps the incarnation's lifeline.
    pub fn new(name: &'static str, start: impl Fn(Incarnation) + Send + Sync + 'static) -> Self {
        Self { name, start: Arc::new(start) }
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The actor that keeps its children alive.
#[derive(Debug)]
pub struct Supervisor {
    children: Vec<Child>,
    policy: RestartPolicy,
    events: Recipient<ChildEvent>,
    /// Threads of lives that are over, until they have ended.
    retired: Vec<RetiredThread>,
    shutting_down: bool,
}

#[derive(Debug)]
struct Child {
    spec: ChildSpec,
    /// Number of the newest life.
    epoch: u64,
    history: RestartHistory,
    /// The life, or `None` between two of them, while a timer for the next one runs.
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    progress: Progress,
    silence: Silence,
    thread: ChildThread,
}

/// A thread with an event loop, which ends when `stop` is dropped.
#[derive(Debug)]
struct ChildThread {
    stop: oneshot::Sender<()>,
    handle: JoinHandle<()>,
}

#[derive(Debug)]
struct RetiredThread {
    name: &'static str,
    handle: JoinHandle<()>,
    retired_at: Moment,
    /// Whether listeners know that it is blocked.
    told: bool,
}

impl Supervisor {
    /// A supervisor that starts `children` when it starts itself, and tells `events` what happens to them.
    pub fn new(children: Vec<ChildSpec>, policy: RestartPolicy, events: Recipient<ChildEvent>) -> Self {
        let child = |spec| Child { spec, epoch: 0, history: RestartHistory::default(), running: None };
        Self {
            children: children.into_iter().map(child).collect(),
            policy,
            events,
            retired: Vec::new(),
            shutting_down: false,
        }
    }

    /// Begins the next life of a child that has none.
    fn begin(&mut self, child: usize, ctx: &mut Context<Self>) {
        let now = clock::now();
        let Child { spec, epoch, running, .. } = &mut self.children[child];
        if self.shutting_down || running.is_some() {
            return;
        }
        *epoch += 1;
        let (name, epoch) = (spec.name, *epoch);
        let progress = Progress::new(self.policy.heartbeat);
        let lifeline = Lifeline::new(ctx.address().recipient(), child, epoch);
        let incarnation = Incarnation { epoch, lifeline, progress: progress.clone() };
        let factory = Arc::clone(&spec.start);
        self.tell(name, now, ChildEventKind::Started { epoch });
        match ChildThread::start(name, move || factory(incarnation)) {
            Ok(thread) => {
                self.children[child].running = Some(Running { progress, silence: Silence::new(now), thread });
            }
            Err(error) => {
                log::error!("{name}: no thread for it: {error}");
                self.plan_restart(child, Why::Stopped, ctx);
            }
        }
    }

    /// Ends the life of a child that has one, and plans the next.
    fn end(&mut self, child: usize, why: Why, ctx: &mut Context<Self>) {
        if self.retire(child) {
            self.plan_restart(child, why, ctx);
        }
    }

    /// Lets go of a child's life: its thread is told to end, and nothing that it says counts any more. False if it
    /// had none.
    fn retire(&mut self, child: usize) -> bool {
        let Child { spec, running, .. } = &mut self.children[child];
        let Some(Running { thread, .. }) = running.take() else {
            return false;
        };
        drop(thread.stop);
        let handle = thread.handle;
        self.retired.push(RetiredThread { name: spec.name, handle, retired_at: clock::now(), told: false });
        true
    }

    fn plan_restart(&mut self, child: usize, why: Why, ctx: &mut Context<Self>) {
        let now = clock::now();
        let Child { spec, epoch, history, .. } = &mut self.children[child];
        let (name, epoch, restarts) = (spec.name, *epoch, history.num_restarts());
        let verdict = match why {
            Why::Asked => Verdict::Restart { after: Duration::ZERO },
            Why::Stopped | Why::Panicked => history.judge(&self.policy, now, rand::random()),
            // Its silence was a part of the wait, or all of it.
            Why::NoProgress => {
                let verdict = history.judge(&self.policy, now, rand::random());
                verdict.sooner_by(self.policy.longest_silence())
            }
        };
        let length = self.policy.quarantine;
        let (wait, kind) = match verdict {
            Verdict::Restart { after } => {
                let restarts = restarts + 1;
                (after, ChildEventKind::Ended { epoch, why, restart_in: after, restarts })
            }
            Verdict::Quarantine => {
                let occasion = Occasion::TooManyRestarts;
                (length, ChildEventKind::Quarantined { epoch, why, length, restarts, occasion })
            }
            Verdict::QuarantineAgain => {
                let occasion = Occasion::FailedTrial;
                (length, ChildEventKind::Quarantined { epoch, why, length, restarts, occasion })
            }
        };
        self.tell(name, now, kind);
        ctx.notify_later(Restart { child, why, verdict }, wait);
    }

    /// Tells listeners and the log.
    ///
    /// Passes the limit of the listener's mailbox: a start that is not heard would leave its quotes refused for
    /// ever, and the policy rations how many events there are.
    fn tell(&self, name: &'static str, at: Moment, kind: ChildEventKind) {
        let event = ChildEvent { name, at, kind };
        log::log!(event.level(), "{event}");
        self.events.do_send(event);
    }

    /// Tells of threads that should have ended a heartbeat ago, and forgets those that have ended.
    fn look_for_leaks(&mut self, now: Moment) {
        self.retired.retain(|thread| !thread.handle.is_finished());
        let heartbeat = self.policy.heartbeat;
        let is_overdue = |thread: &RetiredThread| now.since(thread.retired_at) >= heartbeat;
        let count = self.retired.iter().filter(|thread| is_overdue(thread)).count();
        let mut news = Vec::new();
        for thread in self.retired.iter_mut().filter(|thread| is_overdue(thread)) {
            if !mem::replace(&mut thread.told, true) {
                news.push(thread.name);
            }
        }
        for name in news {
            self.tell(name, now, ChildEventKind::Leaked { count });
        }
    }
}

impl ChildThread {
    fn start(name: &'static str, factory: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let life = move || {
            let system = System::new();
            let asked_itself = system.stop_future();
            system.block_on(async move {
                // A task of its own, so that a panic of the factory ends the task and not the event loop.
                actix::spawn(async move { factory() });
                tokio::select! {
                    _ = stopped => {}
                    _ = asked_itself => {}
                }
            });
        };
        let handle = thread::Builder::new().name(name.to_owned()).spawn(life)?;
        Ok(Self { stop, handle })
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        (0..self.children.len()).for_each(|child| self.begin(child, ctx));
        ctx.notify_later(CheckProgress, self.policy.check_every());
    }
}

impl Handler<LifelineCut> for Supervisor {
    type Result = ();

    /// The end of a life that has already been replaced is no news.
    fn handle(&mut self, cut: LifelineCut, ctx: &mut Self::Context) {
        if self.children[cut.child].epoch == cut.epoch {
            let why = if cut.panicked { Why::Panicked } else { Why::Stopped };
            self.end(cut.child, why, ctx);
        }
    }
}

/// The delay before a restart has passed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Restart {
    child: usize,
    why: Why,
    verdict: Verdict,
}

impl Handler<Restart> for Supervisor {
    type Result = ();

    fn handle(&mut self, Restart { child, why, verdict }: Restart, ctx: &mut Self::Context) {
        let (now, history) = (clock::now(), &mut self.children[child].history);
        match verdict {
            Verdict::Restart { .. } if why == Why::Asked => history.note_asked(),
            Verdict::Restart { .. } => history.note_restart(&self.policy, now),
            Verdict::Quarantine | Verdict::QuarantineAgain => history.note_trial(now),
        }
        self.begin(child, ctx);
    }
}

/// Looks whether the children go on. Re-armed by its handler, since an interval would fire in a burst after a stall.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct CheckProgress;

impl Handler<CheckProgress> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: CheckProgress, ctx: &mut Self::Context) {
        let now = clock::now();
        for child in 0..self.children.len() {
            let Some(running) = &mut self.children[child].running else {
                continue;
            };
            let silence = running.silence.measure(&self.policy, running.progress.ticks(), now);
            if silence >= self.policy.longest_silence() {
                self.end(child, Why::NoProgress, ctx);
            }
        }
        self.look_for_leaks(now);
        ctx.notify_later(CheckProgress, self.policy.check_every());
    }
}

/// Every running child is replaced at once, because what they told has been lost. One that waits for its restart or
/// its quarantine goes on waiting.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct RestartAll {
    /// For the log.
    pub reason: String,
}

impl Handler<RestartAll> for Supervisor {
    type Result = ();

    fn handle(&mut self, RestartAll { reason }: RestartAll, ctx: &mut Self::Context) {
        log::warn!("replacing every child: {reason}");
        (0..self.children.len()).for_each(|child| self.end(child, Why::Asked, ctx));
    }
}

/// Ends every child for good. The answer names those whose threads still run at the limit; empty if all have ended.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Vec<&'static str>")]
pub struct StopAll {
    /// How long to wait for them.
    pub limit: Duration,
}

impl Handler<StopAll> for Supervisor {
    type Result = ResponseFuture<Vec<&'static str>>;

    fn handle(&mut self, StopAll { limit }: StopAll, _ctx: &mut Self::Context) -> Self::Result {
        self.shutting_down = true;
        for child in 0..self.children.len() {
            self.retire(child);
        }
        let mut threads = mem::take(&mut self.retired);
        let asked_at = clock::now();
        Box::pin(async move {
            loop {
                threads.retain(|thread| !thread.handle.is_finished());
                if threads.is_empty() || clock::now().since(asked_at) >= limit {
                    return threads.iter().map(|thread| thread.name).collect();
                }
                tokio::time::sleep(SHUTDOWN_CHECK).await;
            }
        })
    }
}
