//! The bytes of one connection, and every fault that is played with bytes.
//!
//! Separate so that nobody above has to think of faults while reading or writing: a read or a write that a fault
//! interrupts gives a [`Hangup`], which ends the connection in the way that was ordered.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::market::Transport;

use super::exchange::{Ending, Exchange};
use super::order::Kind;

/// Time without progress after which a client counts as too slow, and is cut off as real exchanges do.
const WRITE_STALL: Duration = Duration::from_secs(10);

/// Bytes that are read ahead of being understood; more is no client of an exchange.
const MAX_READ_AHEAD: usize = 1024 * 1024;

/// How long a connection that plays dead is kept, at most.
const MAX_SILENCE: Duration = Duration::from_secs(3600);

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum Hangup {
    /// The client has gone, or speaks what is no protocol of ours.
    Client,
    /// Everything was said.
    Done,
    /// As a fault wants it.
    Fault(Ending),
}

/// A connection that belongs to an exchange, since then.
struct Link {
    exchange: Rc<Exchange>,
    transport: Transport,
    opened_at: Instant,
    cuts_seen: u64,
    changes: watch::Receiver<u64>,
}

impl Link {
    /// Waits until a fault ends the connection.
    async fn ended(&mut self) -> Ending {
        loop {
            let ending = self.exchange.ending(self.transport, self.opened_at, self.cuts_seen);
            let changed = self.changes.changed();
            match ending {
                Some((ending, at)) if at <= Instant::now() => return ending,
                Some((_, at)) => {
                    tokio::select! {
                        () = sleep_until(at) => {}
                        _ = changed => {}
                    }
                }
                None => {
                    if changed.await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            }
        }
    }
}

/// The bytes of one connection.
pub(super) struct Wire {
    stream: TcpStream,
    /// What has been read and not been understood yet.
    pub buffer: BytesMut,
    /// The client.
    pub client: SocketAddr,
    link: Option<Link>,
    /// Whether a write was interrupted, so that nothing sensible can follow.
    is_torn: bool,
}

/// Waits for the fault that ends a link; for ever where there is no link yet.
async fn ended(link: &mut Option<Link>) -> Ending {
    match link {
        Some(link) => link.ended().await,
        None => std::future::pending().await,
    }
}

impl Wire {
    /// Takes over a connection.
    pub(super) fn new(stream: TcpStream, client: SocketAddr) -> Self {
        Self { stream, buffer: BytesMut::new(), client, link: None, is_torn: false }
    }

    /// From now on the faults of this exchange are played with this connection. A request keeps the age that the
    /// connection has with its exchange; a WebSocket begins with its handshake.
    pub(super) fn belong(&mut self, exchange: &Rc<Exchange>, transport: Transport) {
        let is_known = |link: &Link| Rc::ptr_eq(&link.exchange, exchange) && link.transport == transport;
        if transport == Transport::WebSocket || !self.link.as_ref().is_some_and(is_known) {
            self.link = Some(Link {
                exchange: Rc::clone(exchange),
                transport,
                opened_at: Instant::now(),
                cuts_seen: exchange.num_cuts(),
                changes: exchange.changes(),
            });
        }
    }

    /// From now on no exchange's faults are played with this connection.
    pub(super) fn belong_to_nobody(&mut self) {
        self.link = None;
    }

    /// Whether a fault wants the connection to end already.
    pub(super) fn check(&self) -> Result<(), Hangup> {
        let Some(link) = &self.link else { return Ok(()) };
        match link.exchange.ending(link.transport, link.opened_at, link.cuts_seen) {
            Some((ending, at)) if at <= Instant::now() => Err(Hangup::Fault(ending)),
            _ => Ok(()),
        }
    }

    /// Waits for more bytes, and puts them behind those in `buffer`. Nothing is lost if it is cancelled.
    pub(super) async fn read(&mut self) -> Result<(), Hangup> {
        if self.buffer.len() > MAX_READ_AHEAD {
            return Err(Hangup::Client);
        }
        tokio::select! {
            biased;
            ending = ended(&mut self.link) => Err(Hangup::Fault(ending)),
            read = self.stream.read_buf(&mut self.buffer) => match read {
                Ok(0) | Err(_) => Err(Hangup::Client),
                Ok(_) => Ok(()),
            },
        }
    }

    /// Waits while the client stays; what it says meanwhile is kept.
    pub(super) async fn linger(&mut self, until: Instant) -> Result<(), Hangup> {
        let elapsed = sleep_until(until);
        tokio::pin!(elapsed);
        loop {
            tokio::select! {
                () = &mut elapsed => return Ok(()),
                read = self.read() => read?,
            }
        }
    }

    /// Waits for a change of faults while the client stays.
    pub(super) async fn linger_for_change(
        &mut self,
        changes: &mut watch::Receiver<u64>,
    ) -> Result<(), Hangup> {
        loop {
            tokio::select! {
                changed = changes.changed() => return changed.map_err(|_| Hangup::Done),
                read = self.read() => read?,
            }
        }
    }

    /// Writes everything, at the pace of the client and of the faults.
    pub(super) async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Hangup> {
        while !bytes.is_empty() {
            let drip = self.link.as_ref().and_then(|link| link.exchange.fault(Kind::Drip, link.transport));
            let (piece, pause) = match drip.map(|drip| drip.drip_rate()) {
                None => (bytes.len(), None),
                // Ten pieces a second at most, so that a fast drip is not a matter of timers.
                Some(rate) => {
                    let piece = usize::try_from(rate / 10).unwrap_or(usize::MAX).clamp(1, bytes.len());
                    let seconds = piece as f64 / rate as f64;
                    (piece, Some(Instant::now() + Duration::from_secs_f64(seconds)))
                }
            };
            let written = self.write_piece(&bytes[..piece]).await;
            self.is_torn = true;
            bytes = &bytes[written?..];
            if let Some(until) = pause {
                self.linger(until).await?;
            }
        }
        self.is_torn = false;
        Ok(())
    }

    async fn write_piece(&mut self, piece: &[u8]) -> Result<usize, Hangup> {
        tokio::select! {
            biased;
            ending = ended(&mut self.link) => Err(Hangup::Fault(ending)),
            written = timeout(WRITE_STALL, self.stream.write(piece)) => match written {
                Ok(Ok(written)) if written > 0 => Ok(written),
                Ok(_) => Err(Hangup::Client),
                Err(_) => Err(Hangup::Fault(Ending::Reset)),
            },
        }
    }

    /// The last bytes before the end, faults or not; nothing if they would land inside of others.
    pub(super) async fn write_last(&mut self, bytes: &[u8]) {
        if !self.is_torn {
            let sent = timeout(Duration::from_millis(200), self.stream.write_all(bytes)).await;
            log::trace!("last bytes sent: {}", matches!(sent, Ok(Ok(()))));
        }
    }

    /// Ends the connection as it was ordered.
    pub(super) async fn end(mut self, hangup: Hangup) {
        match hangup {
            Hangup::Client => {}
            Hangup::Done | Hangup::Fault(Ending::Close) => {
                // What the client still says has to be read, else the system answers it with a reset, which takes
                // the last bytes away from the client.
                if self.stream.shutdown().await.is_ok() {
                    let drained = timeout(Duration::from_secs(1), self.drain()).await;
                    log::trace!("drained: {}", drained.is_ok());
                }
            }
            Hangup::Fault(Ending::Reset) => {
                if let Err(error) = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)) {
                    log::debug!("simulator: no reset possible: {error}");
                }
            }
            Hangup::Fault(Ending::Silence) => {
                let drained = timeout(MAX_SILENCE, self.drain()).await;
                log::trace!("drained: {}", drained.is_ok());
            }
        }
    }

    /// Reads until the client has gone, and forgets what it says.
    async fn drain(&mut self) {
        loop {
            self.buffer.clear();
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}
