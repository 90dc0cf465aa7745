//! Listeners: the main port, and for each exchange a port of its own per transport.
//!
//! A front serves the exchange's paths at its root and below the exchange's name as well, so that both
//! `http://front/api/v3/ping` and `http://front/binance/api/v3/ping` work. While an exchange refuses, its fronts do not
//! listen at all, so a client's connection is refused by the system itself; they come back on the same ports. The
//! main port cannot do that for one exchange alone: it resets the connection as soon as it knows who is asked.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;

use crate::market::Transport;

use super::World;
use super::exchange::Exchange;
use super::order::Kind;
use super::server::{Door, serve};

/// Connections at once, over all ports. What comes beyond waits in the system's queue.
const MAX_CONNECTIONS: usize = 4096;

/// Connections that wait in the system's queue of one port.
const BACKLOG: u32 = 1024;

/// The bound on connections of all ports.
pub(super) fn connection_permits() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_CONNECTIONS))
}

/// A port of one exchange alone.
pub(super) struct Front {
    /// The exchange.
    pub exchange: Rc<Exchange>,
    /// What the port is meant for; it serves the other as well, but plays the faults of this one on connections that
    /// have asked for nothing yet.
    pub transport: Transport,
    /// Where it listens.
    pub address: SocketAddr,
    is_open: Cell<bool>,
}

impl Front {
    /// Whether the port is as faults want it: closed while the exchange refuses, else open.
    pub(super) fn is_settled(&self) -> bool {
        self.is_open.get() != self.exchange.suffers(Kind::Refuse, self.transport)
    }
}

/// Listens on an address, whether or not connections of an earlier listener still linger there.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Makes the front of an exchange for a transport, on any free port of the address.
pub(super) fn front(
    exchange: &Rc<Exchange>,
    transport: Transport,
    address: SocketAddr,
) -> io::Result<(Front, TcpListener)> {
    let listener = listen(SocketAddr::new(address.ip(), 0))?;
    let address = listener.local_addr()?;
    let front = Front { exchange: Rc::clone(exchange), transport, address, is_open: Cell::new(true) };
    Ok((front, listener))
}

/// Accepts connections of the main port for ever.
pub(super) async fn run_main(world: Rc<World>, listener: TcpListener) {
    loop {
        accept(&world, &listener, &Door::Main).await;
    }
}

/// Accepts connections of a front for ever, except while its exchange refuses.
pub(super) async fn run_front(world: Rc<World>, front: Rc<Front>, listener: TcpListener) {
    let door = Door::Front(Rc::clone(&front.exchange), front.transport);
    let mut changes = front.exchange.changes();
    let mut listener = Some(listener);
    loop {
        changes.mark_unchanged();
        let refuses = front.exchange.suffers(Kind::Refuse, front.transport);
        match &listener {
            Some(_) if refuses => {
                listener = None;
                front.is_open.set(false);
            }
            None if refuses => {
                if changes.changed().await.is_err() {
                    return;
                }
            }
            Some(open) => {
                tokio::select! {
                    biased;
                    changed = changes.changed() => if changed.is_err() { return },
                    () = accept(&world, open, &door) => {}
                }
            }
            None => match listen(front.address) {
                Ok(again) => {
                    listener = Some(again);
                    front.is_open.set(true);
                }
                Err(error) => {
                    log::warn!("simulator: {} cannot be listened on again yet: {error}", front.address);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
}

/// Accepts one connection, and serves it beside the others.
async fn accept(world: &Rc<World>, listener: &TcpListener, door: &Door) {
    let Ok(permit) = Arc::clone(&world.permits).acquire_owned().await else { return };
    match listener.accept().await {
        Ok((stream, client)) => {
            let (world, door) = (Rc::clone(world), door.clone());
            tokio::task::spawn_local(async move {
                serve(world, door, stream, client).await;
                drop(permit);
            });
        }
        Err(error) => {
            // Out of descriptors, most likely: a moment later some may be free.
            log::warn!("simulator: cannot accept a connection: {error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
