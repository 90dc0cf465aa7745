//! A connection on which anything is said, and every answer is read, in order.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::wire::{Answer, LIMIT, whole};

/// A connection of its own.
pub(super) struct Raw {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// What came next on a connection.
#[derive(Debug)]
pub(super) enum Next {
    Answer(Answer),
    /// It was closed, or reset, between two answers.
    Closed,
    /// It ended in the middle of an answer.
    Broken,
    /// Nothing came in time.
    Silent,
}

impl Next {
    /// 0 where there is no answer.
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Answer(answer) => answer.status,
            Self::Closed | Self::Broken | Self::Silent => 0,
        }
    }
}

impl Raw {
    /// # Errors
    /// When nobody listens.
    pub(super) fn connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// # Errors
    /// When the other side has closed: it may have answered before.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub(super) fn read(&mut self) -> Next {
        loop {
            if let Some((answer, length)) = whole(&self.unread) {
                self.unread.drain(..length);
                return Next::Answer(answer);
            }
            let mut chunk = [0; 65_536];
            match self.stream.read(&mut chunk) {
                Ok(length) if length > 0 => self.unread.extend_from_slice(&chunk[..length]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Next::Silent;
                }
                _ if self.unread.is_empty() => return Next::Closed,
                _ => return Next::Broken,
            }
        }
    }
}
