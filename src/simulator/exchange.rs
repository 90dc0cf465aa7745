//! One simulated exchange as it runs: its protocol, its faults and its recordings, and who has to hear of a change.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::market::Transport;

use super::book::Book;
use super::faults::Faults;
use super::http::{Answer, Request};
use super::journal::Journal;
use super::order::{Kind, Order};
use super::protocol::{Conversation, Protocol, Reply, Row, Scene, shifted};
use super::recorded::{Received, Recogniser};
use super::replay::Recording;
use super::truth::Truth;

/// Ends of connections that are remembered, for connections that have not looked yet; each looks within a moment.
const MAX_CUTS: usize = 64;

/// How a connection ends that has not ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// In order.
    Close,
    /// With a reset.
    Reset,
    /// Never, as far as the client can see.
    Silence,
}

/// An end that was ordered once, for the connections that were open then.
#[derive(Debug, Clone)]
struct Cut {
    number: u64,
    order: Order,
}

/// One simulated exchange.
pub(super) struct Exchange {
    /// Its row in the table.
    pub row: &'static Row,
    /// By what its lifetimes, limits and bans are shortened.
    pub speed: f64,
    /// What was asked, of all exchanges.
    pub log: Rc<RefCell<Journal>>,
    truth: Rc<RefCell<Truth>>,
    protocol: RefCell<Box<dyn Protocol>>,
    faults: RefCell<Faults>,
    recordings: RefCell<Vec<Recording>>,
    sequence: Cell<u64>,
    cuts: RefCell<Vec<Cut>>,
    num_cuts: Cell<u64>,
    /// How often the exchange has announced that it is going to close connections.
    num_farewells: Cell<u64>,
    /// Changes when a fault begins, ends or is cleared.
    changed: watch::Sender<u64>,
    /// Changes with every tick of the truth.
    ticked: watch::Sender<u64>,
}

impl Exchange {
    /// The exchange of a row, in its first moment.
    pub(super) fn new(
        row: &'static Row,
        truth: &Rc<RefCell<Truth>>,
        log: &Rc<RefCell<Journal>>,
        speed: f64,
    ) -> Self {
        // A client that outlives a restart of the simulator must not see the sequence fall, so it begins with the
        // time: 100 numbers a millisecond are more than are ever used.
        let unix_ms = u64::try_from(crate::clock::now().wall.timestamp_millis()).unwrap_or_default();
        let sequence = Cell::new(unix_ms.saturating_mul(100));
        let protocol = {
            let truth = truth.borrow();
            let scene = Scene {
                transport: Transport::Rest,
                wall: crate::clock::now().wall,
                now: Instant::now(),
                speed,
                truth: &truth,
                faults: &Faults::default(),
                recordings: &[],
                sequence: &sequence,
            };
            let mut protocol = (row.make)(&scene);
            protocol.tick(&scene);
            protocol
        };
        Self {
            row,
            speed,
            log: Rc::clone(log),
            truth: Rc::clone(truth),
            protocol: RefCell::new(protocol),
            faults: RefCell::default(),
            recordings: RefCell::default(),
            sequence,
            cuts: RefCell::default(),
            num_cuts: Cell::new(0),
            num_farewells: Cell::new(0),
            changed: watch::Sender::new(0),
            ticked: watch::Sender::new(0),
        }
    }

    /// Lets the protocol speak, with everything around it as it is now.
    pub(super) fn stage<R>(
        &self,
        transport: Transport,
        act: impl FnOnce(&mut dyn Protocol, &Scene<'_>) -> R,
    ) -> R {
        let now = Instant::now();
        for recording in self.recordings.borrow_mut().iter_mut() {
            recording.advance(now);
        }
        let (truth, faults, recordings) =
            (self.truth.borrow(), self.faults.borrow(), self.recordings.borrow());
        let scene = Scene {
            transport,
            wall: shifted(crate::clock::now().wall, faults.clock_shift_ms(transport, now)),
            now,
            speed: self.speed,
            truth: &truth,
            faults: &faults,
            recordings: &recordings,
            sequence: &self.sequence,
        };
        act(self.protocol.borrow_mut().as_mut(), &scene)
    }

    /// Follows a tick of the truth, and wakes the sockets.
    pub(super) fn tick(&self) {
        self.stage(Transport::WebSocket, |protocol, scene| protocol.tick(scene));
        self.ticked.send_modify(|ticks| *ticks += 1);
    }

    /// Answers a request.
    pub(super) fn rest(&self, path: &str, request: &Request, client: IpAddr) -> Reply {
        self.stage(Transport::Rest, |protocol, scene| protocol.rest(path, request, client, scene))
    }

    /// Opens a WebSocket.
    pub(super) fn open(&self, path: &str, request: &Request) -> Result<Box<dyn Conversation>, Answer> {
        self.stage(Transport::WebSocket, |protocol, scene| protocol.open(path, request, scene))
    }

    /// The exchange's own words for an error's status.
    pub(super) fn refusal(&self, transport: Transport, status: u16, retry_after: Option<u64>) -> Answer {
        self.stage(transport, |protocol, scene| protocol.refusal(status, retry_after, scene))
    }

    /// What it publishes, faults left out: direction and book.
    pub(super) fn quotes(&self) -> Vec<(String, Book)> {
        self.stage(Transport::Rest, |protocol, scene| {
            let real = |(direction, symbol, book): (String, String, Book)| {
                (direction, scene.recorded(&[&symbol]).unwrap_or(book))
            };
            protocol.quotes(scene).into_iter().map(real).collect()
        })
    }

    /// Adds recordings; before the start.
    pub(super) fn replay(&self, recording: Recording) {
        self.recordings.borrow_mut().push(recording);
    }

    /// How frames of this exchange are read; `None` if it cannot be replayed.
    pub(super) fn recogniser(&self, frames: &[Received]) -> Option<Recogniser> {
        self.protocol.borrow().recogniser(frames)
    }

    /// Looks at the recordings.
    pub(super) fn with_recordings<R>(&self, look: impl FnOnce(&mut [Recording]) -> R) -> R {
        look(&mut self.recordings.borrow_mut())
    }

    /// Whether a frame of this symbol may not be repeated as it was recorded.
    pub(super) fn bends(&self, symbol: &str) -> bool {
        self.faults.borrow().bends(Transport::WebSocket, &[symbol], Instant::now())
    }

    /// The active fault of this kind.
    pub(super) fn fault(&self, kind: Kind, transport: Transport) -> Option<Order> {
        self.faults.borrow().active(kind, transport, Instant::now()).cloned()
    }

    /// Whether a fault of this kind is active.
    pub(super) fn suffers(&self, kind: Kind, transport: Transport) -> bool {
        self.faults.borrow().active(kind, transport, Instant::now()).is_some()
    }

    /// Plays a fault, and wakes everyone whom it concerns when it begins and when it ends.
    ///
    /// # Errors
    /// When there are too many.
    pub(super) fn order(self: &Rc<Self>, order: Order) -> Result<u64, String> {
        let one_shot = order.is_one_shot().then(|| order.clone());
        let (id, begins_at, ends_at) = self.faults.borrow_mut().add(order, Instant::now())?;
        if let Some(order) = one_shot {
            let exchange = Rc::clone(self);
            if begins_at <= Instant::now() && order.announce_ms.is_none() {
                exchange.cut(id, order);
            } else {
                tokio::task::spawn_local(async move {
                    tokio::time::sleep_until(begins_at).await;
                    if let Some(announce_ms) = order.announce_ms {
                        exchange.num_farewells.set(exchange.num_farewells.get() + 1);
                        exchange.announce();
                        tokio::time::sleep(Duration::from_millis(announce_ms)).await;
                    }
                    exchange.cut(id, order);
                });
            }
            return Ok(id);
        }
        self.announce();
        let edges = [Some(begins_at).filter(|at| *at > Instant::now()), ends_at];
        for edge in edges.into_iter().flatten() {
            let exchange = Rc::clone(self);
            tokio::task::spawn_local(async move {
                tokio::time::sleep_until(edge).await;
                exchange.announce();
            });
        }
        Ok(id)
    }

    /// Ends the open connections that a fault of one shot is about, unless it has been cleared meanwhile.
    fn cut(&self, id: u64, order: Order) {
        if !self.faults.borrow_mut().remove(id) {
            return;
        }
        self.num_cuts.set(self.num_cuts.get() + 1);
        let mut cuts = self.cuts.borrow_mut();
        if cuts.len() >= MAX_CUTS {
            cuts.remove(0);
        }
        cuts.push(Cut { number: self.num_cuts.get(), order });
        drop(cuts);
        self.announce();
    }

    /// Clears every fault, and tells how many there were.
    pub(super) fn clear(&self) -> usize {
        let cleared = self.faults.borrow_mut().clear(Instant::now());
        self.announce();
        cleared
    }

    /// Clears the fault of this number, and tells whether there was one.
    pub(super) fn clear_one(&self, id: u64) -> bool {
        let was_there = self.faults.borrow_mut().remove(id);
        self.announce();
        was_there
    }

    /// The faults that are not over.
    pub(super) fn faults(&self) -> Vec<serde_json::Value> {
        self.faults.borrow().listed(Instant::now())
    }

    fn announce(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Wakes when a fault begins, ends or is cleared.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Wakes with every tick.
    pub(super) fn ticks(&self) -> watch::Receiver<u64> {
        self.ticked.subscribe()
    }

    /// How often it has announced that it is going to close connections.
    pub(super) fn num_farewells(&self) -> u64 {
        self.num_farewells.get()
    }

    /// How many ends were ordered so far: a connection that is new now is not concerned by them.
    pub(super) fn num_cuts(&self) -> u64 {
        self.num_cuts.get()
    }

    /// How a connection that was opened then has to end, and when; `None` if it may live on.
    pub(super) fn ending(
        &self,
        transport: Transport,
        opened_at: Instant,
        cuts_seen: u64,
    ) -> Option<(Ending, Instant)> {
        let faults = self.faults.borrow();
        let now = Instant::now();
        let suffers = |kind| faults.active(kind, transport, now);
        if suffers(Kind::Refuse).or(suffers(Kind::Reset).filter(|order| !order.is_one_shot())).is_some() {
            return Some((Ending::Reset, now));
        }
        if suffers(Kind::HalfOpen).is_some() {
            return Some((Ending::Silence, now));
        }
        let cuts = self.cuts.borrow();
        let concerns = |cut: &&Cut| cut.number > cuts_seen && cut.order.is_on(transport);
        if let Some(cut) = cuts.iter().find(concerns) {
            let ending = if cut.order.kind == Kind::Reset { Ending::Reset } else { Ending::Close };
            return Some((ending, now));
        }
        let flap = suffers(Kind::Close).filter(|order| !order.is_one_shot())?;
        let lives = if transport == Transport::WebSocket { flap.flap() } else { Duration::ZERO };
        Some((Ending::Close, opened_at + lives))
    }
}
