//! Whatever ends a child, the supervisor hears of it and starts it again; what ends too often is left alone.

use std::future;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use actix::prelude::*;
use ratebook::clock;
use ratebook::supervisor::{
    ChildEvent, ChildEventKind, ChildSpec, Incarnation, Occasion, RestartAll, RestartPolicy, StopAll,
    Supervisor, Why,
};

/// What happens in one life of a child.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Live,
    PanicInFactory,
    PanicInStarted,
    PanicInHandler,
    PanicInTimer,
    PanicInFuture,
    Stop,
    StopInStarted,
    EndOfThread,
    NeverStarted,
    BlockThread,
    WaitForEver,
}

/// Everything that a test and its children share.
#[derive(Debug, Clone, Default)]
struct Stage {
    events: Arc<Mutex<Vec<ChildEvent>>>,
    /// Lives that have blocked their thread so far.
    num_blocked: Arc<AtomicU64>,
    /// Lets every blocked thread go on.
    thaw: Arc<AtomicBool>,
    /// Heartbeats of every life of every child.
    beats: Arc<AtomicU64>,
}

struct Puppet {
    incarnation: Incarnation,
    fate: Fate,
    stage: Stage,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Meet;

/// A panic that writes nothing to the output of the tests.
fn quiet_panic() {
    panic::resume_unwind(Box::new("as planned"))
}

impl Actor for Puppet {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.incarnation.progress.heartbeat() / 8, |act, _| {
            act.incarnation.progress.tick();
            act.stage.beats.fetch_add(1, Ordering::Relaxed);
        });
        match self.fate {
            Fate::PanicInStarted => quiet_panic(),
            Fate::StopInStarted => ctx.stop(),
            _ => ctx.notify(Meet),
        }
    }
}

impl Handler<Meet> for Puppet {
    type Result = ();

    fn handle(&mut self, _: Meet, ctx: &mut Self::Context) {
        match self.fate {
            Fate::PanicInHandler => quiet_panic(),
            Fate::PanicInTimer => {
                ctx.run_later(Duration::from_millis(1), |_, _| quiet_panic());
            }
            Fate::PanicInFuture => {
                ctx.spawn(async { quiet_panic() }.into_actor(self));
            }
            Fate::Stop => ctx.stop(),
            Fate::EndOfThread => System::current().stop(),
            Fate::WaitForEver => ctx.wait(future::pending().into_actor(self)),
            Fate::BlockThread => {
                self.stage.num_blocked.fetch_add(1, Ordering::Relaxed);
                let began_at = clock::now();
                let is_over = || clock::now().since(began_at) > Duration::from_secs(60);
                while !self.stage.thaw.load(Ordering::Relaxed) && !is_over() {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            Fate::Live
            | Fate::PanicInFactory
            | Fate::PanicInStarted
            | Fate::StopInStarted
            | Fate::NeverStarted => {}
        }
    }
}

struct Recorder(Arc<Mutex<Vec<ChildEvent>>>);

impl Actor for Recorder {
    type Context = Context<Self>;
}

impl Handler<ChildEvent> for Recorder {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, _: &mut Self::Context) {
        self.0.lock().unwrap().push(event);
    }
}

impl Stage {
    /// A child whose lives have these fates; the last one repeats.
    fn child(&self, name: &'static str, fates: &[Fate]) -> ChildSpec {
        let (stage, fates) = (self.clone(), fates.to_vec());
        ChildSpec::new(name, move |incarnation| {
            let life = usize::try_from(incarnation.epoch).unwrap() - 1;
            let fate = fates[life.min(fates.len() - 1)];
            match fate {
                Fate::PanicInFactory => quiet_panic(),
                Fate::NeverStarted => {}
                _ => {
                    Puppet { incarnation, fate, stage: stage.clone() }.start();
                }
            }
        })
    }

    fn supervise(&self, policy: RestartPolicy, children: Vec<ChildSpec>) -> Addr<Supervisor> {
        let recorder = Recorder(Arc::clone(&self.events)).start();
        Supervisor::new(children, policy, recorder.recipient()).start()
    }

    /// What was told of this child so far.
    fn told(&self, name: &str) -> Vec<ChildEventKind> {
        let events = self.events.lock().unwrap();
        events.iter().filter(|event| event.name == name).map(|event| event.kind).collect()
    }

    async fn until_told(
        &self,
        name: &str,
        is_met: impl Fn(&[ChildEventKind]) -> bool,
    ) -> Vec<ChildEventKind> {
        until(&format!("events of {name}"), || self.told(name), |told| is_met(told)).await
    }

    /// Waits until a heart beats that has not beaten before now.
    async fn until_another_beat(&self) {
        let before = self.beats.load(Ordering::Relaxed);
        until("a heartbeat", || self.beats.load(Ordering::Relaxed), |beats| *beats > before).await;
    }
}

/// Waits until what `look` sees meets the condition, and gives it back.
async fn until<T: std::fmt::Debug>(what: &str, look: impl Fn() -> T, is_met: impl Fn(&T) -> bool) -> T {
    let began_at = clock::now();
    loop {
        let seen = look();
        if is_met(&seen) {
            return seen;
        }
        assert!(
            clock::now().since(began_at) < Duration::from_secs(30),
            "waited too long for {what}: {seen:?}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn starts(told: &[ChildEventKind]) -> usize {
    told.iter().filter(|kind| matches!(kind, ChildEventKind::Started { .. })).count()
}

fn quarantines(told: &[ChildEventKind]) -> Vec<Occasion> {
    let occasion = |kind: &ChildEventKind| match kind {
        ChildEventKind::Quarantined { occasion, .. } => Some(*occasion),
        _ => None,
    };
    told.iter().filter_map(occasion).collect()
}

/// Short delays, and heartbeats so long that a busy machine does not look frozen.
fn quick() -> RestartPolicy {
    RestartPolicy {
        first_delay: Duration::from_millis(2),
        longest_delay: Duration::from_millis(10),
        quarantine: Duration::from_millis(200),
        heartbeat: Duration::from_secs(2),
        ..RestartPolicy::default()
    }
}

/// As `quick`, with heartbeats short enough to wait for two of them.
fn watchful() -> RestartPolicy {
    RestartPolicy { heartbeat: Duration::from_millis(300), ..quick() }
}

/// Threads of this process by this name.
fn num_threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|comm| comm.trim_end() == name).count()
}

fn num_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[actix::test]
async fn a_child_is_started_again_whatever_ended_it() {
    for (fate, expected) in [
        (Fate::PanicInFactory, Why::Panicked),
        (Fate::PanicInStarted, Why::Panicked),
        (Fate::PanicInHandler, Why::Panicked),
        (Fate::PanicInTimer, Why::Panicked),
        (Fate::PanicInFuture, Why::Panicked),
        (Fate::Stop, Why::Stopped),
        (Fate::StopInStarted, Why::Stopped),
        (Fate::EndOfThread, Why::Stopped),
        (Fate::NeverStarted, Why::Stopped),
    ] {
        let stage = Stage::default();
        let _supervisor = stage.supervise(quick(), vec![stage.child("healed", &[fate, Fate::Live])]);
        let told = stage.until_told("healed", |told| starts(told) == 2).await;
        assert!(
            matches!(
                told[..],
                [
                    ChildEventKind::Started { epoch: 1 },
                    ChildEventKind::Ended { epoch: 1, why, restarts: 1, .. },
                    ChildEventKind::Started { epoch: 2 },
                ] if why == expected
            ),
            "{fate:?}: {told:?}"
        );
        stage.until_another_beat().await;
    }
}

#[actix::test]
async fn a_child_that_blocks_its_thread_is_replaced_and_its_neighbour_does_not_notice() {
    let stage = Stage::default();
    let neighbours = Stage { events: Arc::clone(&stage.events), ..Stage::default() };
    let frozen = stage.child("frozen", &[Fate::BlockThread, Fate::Live]);
    let _supervisor = stage.supervise(watchful(), vec![frozen, neighbours.child("neighbour", &[Fate::Live])]);
    neighbours.until_another_beat().await;
    let told = stage.until_told("frozen", |told| starts(told) == 2).await;
    assert!(matches!(told[1], ChildEventKind::Ended { epoch: 1, why: Why::NoProgress, .. }), "{told:?}");
    stage.until_another_beat().await;
    neighbours.until_another_beat().await;
    assert_eq!(stage.told("neighbour"), [ChildEventKind::Started { epoch: 1 }]);
    stage.thaw.store(true, Ordering::Relaxed);
}

#[actix::test]
async fn a_child_that_waits_for_ever_is_replaced() {
    let stage = Stage::default();
    let waiting = stage.child("waiting", &[Fate::WaitForEver, Fate::Live]);
    let _supervisor = stage.supervise(watchful(), vec![waiting]);
    let told = stage.until_told("waiting", |told| starts(told) == 2).await;
    // Its silence was longer than any delay.
    let ended =
        ChildEventKind::Ended { epoch: 1, why: Why::NoProgress, restart_in: Duration::ZERO, restarts: 1 };
    assert_eq!(told[1], ended);
    until("the old thread's end", || num_threads("waiting"), |threads| *threads == 1).await;
}

#[actix::test]
async fn the_late_end_of_a_replaced_life_is_ignored() {
    let stage = Stage::default();
    let _supervisor =
        stage.supervise(watchful(), vec![stage.child("late", &[Fate::BlockThread, Fate::Live])]);
    let told = stage.until_told("late", |told| told.contains(&ChildEventKind::Leaked { count: 1 })).await;
    assert_eq!(starts(&told), 2, "{told:?}");
    assert_eq!(num_threads("late"), 2);
    stage.thaw.store(true, Ordering::Relaxed);
    until("the old thread's end", || num_threads("late"), |threads| *threads == 1).await;
    // Two more beats of the new life are later than the old one's last words.
    stage.until_another_beat().await;
    stage.until_another_beat().await;
    assert_eq!(stage.told("late"), told);
}

#[actix::test]
async fn a_blocked_thread_is_told_once_and_counted() {
    let stage = Stage::default();
    let fates = [Fate::BlockThread, Fate::BlockThread, Fate::BlockThread, Fate::Live];
    let _supervisor = stage.supervise(watchful(), vec![stage.child("leaking", &fates)]);
    let told = stage.until_told("leaking", |told| told.contains(&ChildEventKind::Leaked { count: 3 })).await;
    let leaks = told.iter().filter(|kind| matches!(kind, ChildEventKind::Leaked { .. })).count();
    assert_eq!((starts(&told), leaks), (4, 3), "{told:?}");
    stage.thaw.store(true, Ordering::Relaxed);
    until("the old threads' end", || num_threads("leaking"), |threads| *threads == 1).await;
}

#[actix::test]
async fn a_child_that_fails_at_every_start_is_quarantined_and_tried_again() {
    let stage = Stage::default();
    let storm = stage.child("storm", &[Fate::PanicInHandler]);
    let steady = stage.child("steady", &[Fate::Live]);
    let _supervisor = stage.supervise(quick(), vec![storm, steady]);
    let told = stage.until_told("storm", |told| quarantines(told).len() == 3).await;
    let before = told.iter().position(|kind| matches!(kind, ChildEventKind::Quarantined { .. })).unwrap();
    assert_eq!(starts(&told[..before]), 1 + quick().max_restarts, "{told:?}");
    assert_eq!(quarantines(&told), [Occasion::TooManyRestarts, Occasion::FailedTrial, Occasion::FailedTrial]);
    assert_eq!(starts(&told[before..]), 2, "one trial after each quarantine: {told:?}");
    assert_eq!(stage.told("steady"), [ChildEventKind::Started { epoch: 1 }]);
}

#[actix::test]
async fn a_child_that_is_cured_during_its_quarantine_comes_back() {
    let stage = Stage::default();
    let mut fates = vec![Fate::Stop; 1 + quick().max_restarts];
    fates.push(Fate::Live);
    let _supervisor = stage.supervise(quick(), vec![stage.child("cured", &fates)]);
    let told = stage.until_told("cured", |told| starts(told) == fates.len()).await;
    assert_eq!(quarantines(&told), [Occasion::TooManyRestarts]);
    stage.until_another_beat().await;
    assert_eq!(stage.told("cured"), told);
}

#[actix::test]
async fn a_hundred_restarts_leave_no_thread_and_no_descriptor_behind() {
    let stage = Stage::default();
    let mut fates = [Fate::Stop, Fate::PanicInTimer].repeat(50);
    fates.push(Fate::Live);
    let policy = RestartPolicy { max_restarts: 1_000, longest_delay: Duration::from_millis(2), ..quick() };
    let before = num_descriptors();
    let _supervisor = stage.supervise(policy, vec![stage.child("hundred", &fates)]);
    let told = stage.until_told("hundred", |told| starts(told) == 101).await;
    let epochs = told.iter().filter_map(|kind| match kind {
        ChildEventKind::Started { epoch } => Some(*epoch),
        _ => None,
    });
    assert!(epochs.eq(1..=101), "{told:?}");
    until("one thread", || num_threads("hundred"), |threads| *threads == 1).await;
    // Tests beside this one have descriptors too; a leak would be at least one per restart.
    until("descriptors as at the start", num_descriptors, |now| *now < before + 100).await;
}

#[actix::test]
async fn asking_for_new_lives_replaces_every_child_and_is_no_reason_for_quarantine() {
    let stage = Stage::default();
    let fates = [&[Fate::Live; 8][..], &[Fate::Stop, Fate::Live]].concat();
    let supervisor =
        stage.supervise(quick(), vec![stage.child("first", &fates), stage.child("second", &fates)]);
    for round in 1..=8 {
        supervisor.send(RestartAll { reason: "the test asks for it".to_owned() }).await.unwrap();
        for name in ["first", "second"] {
            let told = stage.until_told(name, |told| starts(told) > round).await;
            let ended = &told[2 * round - 1];
            assert!(
                matches!(ended, ChildEventKind::Ended { why: Why::Asked, restart_in: Duration::ZERO, .. }),
                "{told:?}"
            );
        }
    }
    for name in ["first", "second"] {
        let told = stage.until_told(name, |told| starts(told) == 10).await;
        assert!(matches!(told[17], ChildEventKind::Ended { why: Why::Stopped, restarts: 9, .. }), "{told:?}");
    }
    until("one thread each", || num_threads("first") + num_threads("second"), |threads| *threads == 2).await;
}

#[actix::test]
async fn stopping_ends_every_child_for_good_and_names_those_that_are_blocked() {
    let stage = Stage::default();
    let children = vec![
        stage.child("stop-live", &[Fate::Live]),
        stage.child("stop-blocked", &[Fate::BlockThread]),
        stage.child("stop-storm", &[Fate::Stop]),
    ];
    let policy = RestartPolicy { quarantine: Duration::from_secs(1), ..quick() };
    let supervisor = stage.supervise(policy.clone(), children);
    stage.until_another_beat().await;
    until("a block", || stage.num_blocked.load(Ordering::Relaxed), |blocked| *blocked == 1).await;
    let told = stage.until_told("stop-storm", |told| !quarantines(told).is_empty()).await;
    let still_running = supervisor.send(StopAll { limit: Duration::from_millis(200) }).await.unwrap();
    assert_eq!(still_running, ["stop-blocked"]);
    until("the live one's end", || num_threads("stop-live"), |threads| *threads == 0).await;

    stage.thaw.store(true, Ordering::Relaxed);
    until("the blocked one's end", || num_threads("stop-blocked"), |threads| *threads == 0).await;
    // Long enough for the trial that a supervisor without a shutdown would start.
    tokio::time::sleep(policy.quarantine + Duration::from_millis(300)).await;
    assert_eq!(stage.told("stop-storm"), told, "a child was started during the shutdown");
    assert_eq!(supervisor.send(StopAll { limit: Duration::ZERO }).await.unwrap(), Vec::<&str>::new());
}
