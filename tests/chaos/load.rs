//! Clients that ask `/v1/courses` all the time on kept connections, and remember every answer and how long it took.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::time::Instant;

/// Between two questions of one client.
const EVERY: Duration = Duration::from_millis(2);

/// Longest time for an answer; what takes longer hangs.
const LIMIT: Duration = Duration::from_secs(10);

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
            let mut connection = None;
            while !until.load(Ordering::Relaxed) {
                let asked_at = Instant::now();
                let status = ask(&mut connection, service, "/v1/courses").map_or(0, |(status, _)| status);
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

/// One question on a connection that is kept; the status and the body.
pub(crate) fn ask(
    connection: &mut Option<TcpStream>,
    service: SocketAddr,
    path: &str,
) -> std::io::Result<(u16, String)> {
    let answer = try_ask(connection, service, path);
    if answer.is_err() {
        *connection = None;
    }
    answer
}

/// One question on a connection of its own.
pub(crate) fn get(service: SocketAddr, path: &str) -> (u16, serde_json::Value) {
    let (status, body) = ask(&mut None, service, path).unwrap_or_default();
    (status, serde_json::from_str(&body).unwrap_or_default())
}

fn try_ask(
    connection: &mut Option<TcpStream>,
    service: SocketAddr,
    path: &str,
) -> std::io::Result<(u16, String)> {
    if connection.is_none() {
        let stream = TcpStream::connect_timeout(&service, LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        *connection = Some(stream);
    }
    let stream = connection.as_mut().ok_or(std::io::ErrorKind::NotConnected)?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())?;
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 16_384];
        let length = stream.read(&mut chunk)?;
        if length == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&chunk[..length]);
        if let Some(answer) = whole(&bytes) {
            return Ok(answer);
        }
    }
}

/// The status and the body, once all of it is there.
fn whole(bytes: &[u8]) -> Option<(u16, String)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    })?;
    (body.len() >= length).then(|| (status, body.to_owned()))
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
