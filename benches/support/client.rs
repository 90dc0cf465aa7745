//! HTTP/1.1 over one kept connection, as bare as it can be, so that the client costs little beside the server.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take before the measurement is given up.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// The request for a path.
pub(crate) fn get(address: SocketAddr, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes()
}

/// Where the parts of an answer lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: usize,
    pub(crate) length: usize,
}

/// Reads the answer at the beginning of `bytes`; `None` if its head is not whole yet.
///
/// # Errors
/// When it is not an answer that names its length.
pub(crate) fn answer(bytes: &[u8]) -> io::Result<Option<Answer>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).map_err(io::Error::other)?;
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse().ok() } else { None }
    });
    match (status, length) {
        (Some(status), Some(length)) => Ok(Some(Answer { status, head: end + 4, length })),
        _ => Err(io::Error::other("an answer without status or length")),
    }
}

/// A connection that waits for each answer.
pub(crate) struct Connection {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self { stream, bytes: Vec::new() })
    }

    /// Asks, and gives the status and the body.
    pub(crate) fn ask(&mut self, request: &[u8]) -> io::Result<(u16, &[u8])> {
        self.stream.write_all(request)?;
        self.bytes.clear();
        let mut chunk = [0; 8192];
        loop {
            let num_read = self.stream.read(&mut chunk)?;
            if num_read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.bytes.extend_from_slice(&chunk[..num_read]);
            if let Some(Answer { status, head, length }) = answer(&self.bytes)?
                && self.bytes.len() >= head + length
            {
                return Ok((status, &self.bytes[head..head + length]));
            }
        }
    }
}
