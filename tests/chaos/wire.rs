//! Questions over a kept connection, without a client's help: what came is seen as it came.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

/// Longest time for an answer; what takes longer hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// A connection that is opened with the first question, and again after it broke.
pub(crate) struct Wire {
    to: SocketAddr,
    stream: Option<TcpStream>,
}

/// What was answered; status 0 where the connection broke.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The body; null if it is no JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// A header's value, whatever the case of its name.
    pub(crate) fn header(&self, wanted: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    }

    /// A header that is a whole number.
    pub(crate) fn number(&self, wanted: &str) -> Option<u64> {
        self.header(wanted)?.parse().ok()
    }
}

impl Wire {
    pub(crate) fn to(to: SocketAddr) -> Self {
        Self { to, stream: None }
    }

    /// `GET` of a path.
    ///
    /// # Errors
    /// When the connection breaks or there is no answer within [`LIMIT`]; the next question has a new connection.
    pub(crate) fn ask(&mut self, path: &str) -> io::Result<Answer> {
        self.send("GET", path, "")
    }

    /// A request with a body.
    ///
    /// # Errors
    /// As for [`Wire::ask`].
    pub(crate) fn send(&mut self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let length = match body {
            "" => String::new(),
            _ => format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()),
        };
        self.write(format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{length}\r\n{body}").as_bytes())
    }

    /// Any bytes, and the answer to them.
    ///
    /// # Errors
    /// As for [`Wire::ask`].
    pub(crate) fn write(&mut self, request: &[u8]) -> io::Result<Answer> {
        let answer = self.try_write(request);
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    fn try_write(&mut self, request: &[u8]) -> io::Result<Answer> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect_timeout(&self.to, LIMIT)?;
                stream.set_nodelay(true)?;
                none.insert(stream)
            }
        };
        stream.write_all(request)?;
        let give_up_at = Instant::now() + LIMIT;
        let mut bytes = Vec::new();
        loop {
            let left = give_up_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            let mut chunk = [0; 65_536];
            let length = stream.read(&mut chunk)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(&chunk[..length]);
            if let Some((answer, _)) = whole(&bytes) {
                return Ok(answer);
            }
        }
    }
}

/// The first answer, once all of it is there, and how many bytes it takes.
pub(crate) fn whole(bytes: &[u8]) -> Option<(Answer, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let answer = Answer { status, head, body: String::new() };
    let length = usize::try_from(answer.number("content-length").unwrap_or(0)).ok()?;
    let body = bytes[end + 4..].get(..length)?;
    Some((Answer { body: String::from_utf8_lossy(body).into_owned(), ..answer }, end + 4 + length))
}
