//! Clients that ask `/v1/courses` all the time on kept connections, and remember every answer and how long it took.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::time::Instant;

use crate::wire::Wire;

/// Between two questions of one client.
const EVERY: Duration = Duration::from_millis(2);

/// One answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply {
    pub(crate) asked_at: Instant,
    pub(crate) took: Duration,
    /// 0 where the connection broke.
    pub(crate) status: u16,
}

/// A client that asks until it is stopped.
pub(crate) struct Client {
    replies: Arc<Mutex<Vec<Reply>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    pub(crate) fn start(service: SocketAddr) -> Self {
        let (replies, stopped) = (Arc::<Mutex<Vec<Reply>>>::default(), Arc::<AtomicBool>::default());
        let (to, until) = (replies.clone(), stopped.clone());
        let thread = thread::spawn(move || {
            let mut wire = Wire::to(service);
            while !until.load(Ordering::Relaxed) {
                let asked_at = Instant::now();
                let status = wire.ask("/v1/courses").map_or(0, |answer| answer.status);
                let took = asked_at.elapsed();
                to.lock().unwrap().push(Reply { asked_at, took, status });
                thread::sleep(EVERY.saturating_sub(took));
            }
        });
        Self { replies, stopped, thread: Some(thread) }
    }

    /// Every answer to what was asked between two times.
    pub(crate) fn replies(&self, from: Instant, to: Instant) -> Vec<Reply> {
        let replies = self.replies.lock().unwrap();
        replies.iter().filter(|reply| reply.asked_at >= from && reply.asked_at < to).copied().collect()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// One question on a connection of its own: the status, and the body as JSON.
pub(crate) fn get(service: SocketAddr, path: &str) -> (u16, serde_json::Value) {
    let answer = Wire::to(service).ask(path).unwrap_or_default();
    (answer.status, answer.json())
}

/// What answers took: how many, and the time that half and 99 of 100 of them did not pass.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Times {
    pub(crate) n: usize,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) not_200: usize,
}

impl Times {
    pub(crate) fn of(replies: &[Reply]) -> Self {
        let mut took: Vec<Duration> = replies.iter().map(|reply| reply.took).collect();
        took.sort();
        let at = |percent: usize| took.get((took.len() * percent / 100).min(took.len().saturating_sub(1)));
        let not_200 = replies.iter().filter(|reply| reply.status != 200).count();
        Self {
            n: took.len(),
            p50: at(50).copied().unwrap_or_default(),
            p99: at(99).copied().unwrap_or_default(),
            not_200,
        }
    }
}
