//! Threads of the storage's own: they wait with a limit, can be told to stop, and are heard when they end.
//!
//! Separate because diesel blocks the thread that calls it, for as long as a database is frozen.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use actix::prelude::*;

/// Tells threads to stop, those too that wait. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Signal {
    shared: Arc<(Mutex<bool>, Condvar)>,
}

impl Signal {
    /// Tells every thread to stop.
    pub(super) fn stop(&self) {
        let (stopped, changed) = &*self.shared;
        *stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    /// Whether threads are to stop.
    pub(super) fn is_stopped(&self) -> bool {
        *self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `length`, or until threads are to stop.
    pub(super) fn pause(&self, length: Duration) {
        let (stopped, changed) = &*self.shared;
        let stopped = stopped.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_timeout_while(stopped, length, |stopped| !*stopped));
    }
}

/// A thread of the storage ended, although nobody told it to stop.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(super) struct WorkerEnded {
    /// Which.
    pub(super) name: &'static str,
    /// Whether it was unwinding.
    pub(super) panicked: bool,
}

/// Tells of the end of its thread, whatever ended it.
struct Ending {
    name: &'static str,
    signal: Signal,
    to: Recipient<WorkerEnded>,
}

impl Drop for Ending {
    /// Runs during unwinding too, where a second panic would abort the process: nothing here can panic. Passes the
    /// mailbox's limit; there is one per thread.
    fn drop(&mut self) {
        if !self.signal.is_stopped() {
            self.to.do_send(WorkerEnded { name: self.name, panicked: thread::panicking() });
        }
    }
}

/// Starts a thread that runs `work`; `to` hears if it ends before `signal` tells it to.
pub(super) fn start(
    name: &'static str,
    signal: &Signal,
    to: Recipient<WorkerEnded>,
    work: impl FnOnce() + Send + 'static,
) {
    let ending = Ending { name, signal: signal.clone(), to };
    let life = move || {
        let _ending = ending;
        work();
    };
    // Without a thread, the closure is dropped, and its ending with it.
    if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(life) {
        log::error!("{name}: no thread for it: {error}");
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    struct Listener(mpsc::UnboundedSender<WorkerEnded>);

    impl Actor for Listener {
        type Context = Context<Self>;
    }

    impl Handler<WorkerEnded> for Listener {
        type Result = ();

        fn handle(&mut self, ended: WorkerEnded, _: &mut Self::Context) {
            self.0.send(ended).unwrap();
        }
    }

    #[actix::test]
    async fn an_end_is_heard_whatever_ended_it_but_not_if_it_was_asked_for() {
        let (heard, mut hears) = mpsc::unbounded_channel();
        let listener = Listener(heard).start().recipient();
        let signal = Signal::default();
        start("returns", &signal, listener.clone(), || {});
        let ended = hears.recv().await.unwrap();
        assert_eq!((ended.name, ended.panicked), ("returns", false));
        start("panics", &signal, listener.clone(), || panic!("of this test"));
        let ended = hears.recv().await.unwrap();
        assert_eq!((ended.name, ended.panicked), ("panics", true));

        let waits = signal.clone();
        start("waits", &signal, listener, move || waits.pause(Duration::from_secs(60)));
        signal.stop();
        // The last address of the listener goes with the thread.
        assert_eq!(hears.recv().await.map(|ended| ended.name), None);
    }

    #[test]
    fn a_pause_takes_its_time_unless_it_is_cut_short() {
        let (signal, began) = (Signal::default(), tokio::time::Instant::now());
        signal.pause(Duration::from_millis(30));
        assert!(began.elapsed() >= Duration::from_millis(30));
        signal.stop();
        signal.pause(Duration::from_secs(60));
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
