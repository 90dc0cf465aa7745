//! Local exchanges that speak the real protocols, for demo, tests and load.
//!
//! Tests have no internet, and neither has a user who wants to rehearse a failure. Every exchange follows one seeded
//! true price per asset (`truth`, `listing`, `book`) or a recording (`replay`, `recorded`), answers as the real one does
//! (one file each, behind the traits of `protocol`), and plays faults on order (`order`, `faults`, told by `/control` in `control`).
//! true price per asset (`truth`, `book`, for daily rates `daily`) or a recording (`replay`), answers as the real one does (one file each,
//! behind the traits of `protocol`), and plays faults on order (`order`, `faults`, told by `/control` in `control`).
//! true price per asset (`truth`, `listing`, `book`) or a recording (`replay`, `recorded`), answers as the real one
//! does (one file each, behind the traits of `protocol`), and plays faults on order (`order`, `faults`, told by
//! `/control` in `control`).
//!
//! The bytes of a connection go a short way, all of it ours, because a fault may strike anywhere on it: `front`
//! accepts, `server` reads requests (`http`), `session` talks on a WebSocket, `wire` reads and writes, `journal` keeps
//! what was asked.
//!
//! Everything runs on one thread of its own, so that a service in the same process neither slows the exchanges down
//! nor is slowed down by them; a fault of 20,000 frames a second is meant to burden the client alone.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::market::Transport;

mod binance;
mod bitfinex;
mod bitstamp;
mod book;
mod bybit;
mod cbr;
mod coinbase;
mod coingecko;
mod control;
mod daily;
mod ecb;
mod erapi;
mod exchange;
mod faults;
mod frankfurter;
mod freecurrencyapi;
mod front;
mod gate;
mod http;
mod htx;
mod journal;
mod kraken;
mod kucoin;
mod listing;
mod okx;
mod order;
mod protocol;
mod quota;
mod recorded;
mod replay;
mod server;
mod session;
mod truth;
mod upkeep;
mod wire;

use exchange::Exchange;
use front::Front;
use journal::Journal;
use protocol::PROTOCOLS;
use recorded::Received;
use truth::Truth;

/// Time between two steps of the true prices. Symbols follow in turns, each with one step out of
/// [`truth::TURNS`], so each changes ten times a second.
const TICK: Duration = Duration::from_millis(20);

/// Speeds that are allowed. A slower one would stretch a day beyond what clocks can add up.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.001..=1_000_000.0;

/// How long the end of the simulator's thread is waited for.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// What a simulator needs to know.
#[derive(Debug, Clone)]
pub struct SimulatorOptions {
    /// Where it listens; port 0 for any free one. The exchanges' own ports are free ones of the same address.
    pub listen: SocketAddr,
    /// Decides the walk of every true price.
    pub seed: u64,
    /// By what lifetimes, limits, bans, pings and recordings are sped up; 1 for real time. Prices walk at their own
    /// pace, and lengths of faults are real time.
    pub speed: f64,
    /// Recordings to play instead of the true prices.
    pub replay: Vec<PathBuf>,
}

/// The simulator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// Somebody else listens there.
    #[error("`{address}` is in use by another program (choose another port with `--listen`)")]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on `{address}`: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A recording cannot be played.
    #[error("{0}")]
    Replay(String),
    /// The speed is no speed.
    #[error("`{0}` is no speed (allowed: 0.001 to 1000000)")]
    Speed(f64),
    /// No thread for it.
    #[error("cannot start the simulator's thread: {0}")]
    Thread(io::Error),
}

/// A running simulator. It ends when this is dropped; [`Simulator::stop`] waits for that.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
}

impl Simulator {
    /// Starts all exchanges; when this returns, they can be reached.
    ///
    /// # Errors
    /// When the address cannot be listened on, a recording cannot be played, or the speed is none.
    pub async fn start(options: SimulatorOptions) -> Result<Self, SimulatorError> {
        if !SPEEDS.contains(&options.speed) {
            return Err(SimulatorError::Speed(options.speed));
        }
        let (started, is_started) = oneshot::channel();
        let (stop, is_stopping) = oneshot::channel();
        let (has_stopped, stopped) = oneshot::channel();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => {
                    LocalSet::new().block_on(&runtime, run(options, started, is_stopping));
                    runtime.shutdown_background();
                }
                Err(error) => drop(started.send(Err(SimulatorError::Thread(error)))),
            }
            drop(has_stopped);
        };
        std::thread::Builder::new()
            .name("simulator".to_owned())
            .spawn(run)
            .map_err(SimulatorError::Thread)?;
        let ended = || SimulatorError::Thread(io::Error::other("it ended before it had started"));
        let address = is_started.await.map_err(|_| ended())??;
        Ok(Self { address, stop, stopped })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every exchange and connection.
    pub async fn stop(self) {
        drop(self.stop);
        if timeout(STOP_WITHIN, self.stopped).await.is_err() {
            log::warn!("simulator: its thread has not ended within {} s", STOP_WITHIN.as_secs());
        }
    }
}

/// Everything that the exchanges share.
struct World {
    truth: Rc<RefCell<Truth>>,
    log: Rc<RefCell<Journal>>,
    exchanges: Vec<Rc<Exchange>>,
    fronts: Vec<Rc<Front>>,
    permits: Arc<Semaphore>,
}

impl World {
    /// Moves the truth by one step, and lets every exchange follow.
    fn step(&self) {
        self.truth.borrow_mut().step();
        for exchange in &self.exchanges {
            exchange.tick();
        }
    }
}

/// The simulator's thread, until it is told to stop or nobody is left who could.
async fn run(
    options: SimulatorOptions,
    started: oneshot::Sender<Result<SocketAddr, SimulatorError>>,
    stop: oneshot::Receiver<()>,
) {
    match begin(options) {
        Ok((address, world)) => {
            if started.send(Ok(address)).is_ok() {
                let walking = tokio::task::spawn_local(walk(world));
                // An error says the same as a message: the handle is gone.
                drop(stop.await);
                walking.abort();
            }
        }
        Err(error) => drop(started.send(Err(error))),
    }
}

/// Moves the true prices for ever.
async fn walk(world: Rc<World>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        world.step();
    }
}

fn begin(options: SimulatorOptions) -> Result<(SocketAddr, Rc<World>), SimulatorError> {
    let main = front::listen(options.listen).map_err(|source| listen_error(options.listen, source))?;
    let address = main.local_addr().map_err(|source| listen_error(options.listen, source))?;
    let truth = Rc::new(RefCell::new(Truth::new(options.seed)));
    let log = Rc::new(RefCell::new(Journal::default()));
    let exchange = |row| Rc::new(Exchange::new(row, &truth, &log, options.speed));
    let exchanges: Vec<Rc<Exchange>> = PROTOCOLS.iter().map(exchange).collect();
    replay_all(&options, &exchanges)?;

    let mut fronts = Vec::new();
    let mut listeners = Vec::new();
    for exchange in &exchanges {
        let sockets = exchange.row.has_socket.then_some(Transport::WebSocket);
        for transport in [Some(Transport::Rest), sockets].into_iter().flatten() {
            let (front, listener) = front::front(exchange, transport, address)
                .map_err(|source| listen_error(SocketAddr::new(address.ip(), 0), source))?;
            let front = Rc::new(front);
            fronts.push(Rc::clone(&front));
            listeners.push((front, listener));
        }
    }
    let world = Rc::new(World { truth, log, exchanges, fronts, permits: front::connection_permits() });
    world.step();
    tokio::task::spawn_local(front::run_main(Rc::clone(&world), main));
    for (front, listener) in listeners {
        tokio::task::spawn_local(front::run_front(Rc::clone(&world), front, listener));
    }
    Ok((address, world))
}

fn replay_all(options: &SimulatorOptions, exchanges: &[Rc<Exchange>]) -> Result<(), SimulatorError> {
    let names: Vec<&'static str> = exchanges.iter().map(|exchange| exchange.row.name).collect();
    let recogniser = |index: usize, frames: &[Received]| exchanges[index].recogniser(frames);
    for path in &options.replay {
        let (index, recording) = replay::read(path, options.speed, &names, recogniser)
            .map_err(|error| SimulatorError::Replay(error.to_string()))?;
        exchanges[index].replay(recording);
    }
    Ok(())
}

fn listen_error(address: SocketAddr, source: io::Error) -> SimulatorError {
    match source.kind() {
        io::ErrorKind::AddrInUse => SimulatorError::AddressInUse { address },
        _ => SimulatorError::Listen { address, source },
    }
}
