//! One WebSocket of a simulated exchange, from the handshake to its end.
//!
//! The only runner of [`Conversation`]s: it does what the exchange's rules want (`upkeep`), plays recordings, and knows
//! every fault that concerns messages, so that the exchange's own file only translates.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use actix_http::ws::{CloseCode, CloseReason, OpCode, Parser, hash_key};
use bytes::{Bytes, BytesMut};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::market::Transport;

use super::exchange::{Ending, Exchange};
use super::http::Request;
use super::journal::Event;
use super::listing::{Listing, Listings};
use super::order::Kind;
use super::protocol::{Conversation, Frame, Protocol, Say, Scene};
use super::truth::noise;
use super::upkeep::{Closing, Upkeep};
use super::wire::{Hangup, Wire};

/// Largest message of a client. A subscription to 1024 streams has about 30 kB.
const MAX_MESSAGE: usize = 512 * 1024;

/// Bytes that are written at once when there is much to say; between two such pieces the client is listened to.
const MAX_PIECE: usize = 64 * 1024;

/// Frames that a delay holds back at most; past it live prices are skipped, and recordings wait.
const MAX_DELAYED: usize = 10_000;

/// How often frames of a flood are written; a shorter time is below the timer's grain.
const FLOOD_EVERY: Duration = Duration::from_millis(10);

/// Prices that a shuffle holds back to say them in another order.
const SHUFFLED: usize = 10;

/// Frames of a flood that are written at once; a client that is too slow for them gets fewer a second.
const MAX_FLOOD: f64 = 5000.0;

const WS: Transport = Transport::WebSocket;

/// The answer that accepts a handshake.
pub(super) fn accept(key: &str) -> String {
    let accept = hash_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        String::from_utf8_lossy(&accept)
    )
}

/// Talks until one side ends it.
pub(super) async fn run(
    wire: &mut Wire,
    exchange: Rc<Exchange>,
    request: &Request,
    talk: Box<dyn Conversation>,
) -> Hangup {
    let port = wire.client.port();
    exchange.log.borrow_mut().add(exchange.row.name, Event::Connect, &request.target, port);
    let mut session = Session::new(wire, Rc::clone(&exchange), talk);
    let hangup = match session.talk_on().await {
        Err(hangup) => hangup,
        Ok(()) => Hangup::Done,
    };
    session.last_words(&hangup).await;
    let why = format!("{hangup:?}");
    exchange.log.borrow_mut().add(exchange.row.name, Event::Close, &why, port);
    hangup
}

struct Session<'a> {
    wire: &'a mut Wire,
    exchange: Rc<Exchange>,
    talk: Box<dyn Conversation>,
    upkeep: Upkeep,
    /// What is going to be written next.
    out: BytesMut,
    /// What a delay holds back, and until when.
    delayed: VecDeque<(Instant, Bytes)>,
    /// What a shuffle holds back.
    shuffled: Vec<Frame>,
    /// The sequence of each symbol's book that was last told or may be taken as known.
    told: HashMap<String, u64>,
    /// The next frame of each recording.
    places: Vec<usize>,
    ticks: watch::Receiver<u64>,
    /// The fragments so far of a message that comes in several.
    fragments: BytesMut,
    farewells_seen: u64,
    flooded_at: Option<Instant>,
    /// Counts frames, for what is done in turn or by luck.
    turn: usize,
    /// A close code and its reason, once the exchange wants to hang up.
    closing: Option<(u16, String)>,
}

impl<'a> Session<'a> {
    fn new(wire: &'a mut Wire, exchange: Rc<Exchange>, talk: Box<dyn Conversation>) -> Self {
        let now = Instant::now();
        // A recording comes `speed` times as fast as the client was made for, and pings wait behind its frames in the
        // system's buffers: such a client gets the real time for its pongs.
        let is_replaying = exchange.with_recordings(|all| !all.is_empty());
        let pong_speed = if is_replaying { exchange.speed.min(1.0) } else { exchange.speed };
        let upkeep = Upkeep::new(&talk.rules(), exchange.speed, pong_speed, now);
        let places = exchange.with_recordings(|all| all.iter().map(|one| one.place(now)).collect());
        let ticks = exchange.ticks();
        let farewells_seen = exchange.num_farewells();
        Self {
            wire,
            exchange,
            talk,
            upkeep,
            out: BytesMut::new(),
            delayed: VecDeque::new(),
            shuffled: Vec::new(),
            told: HashMap::new(),
            places,
            ticks,
            fragments: BytesMut::new(),
            farewells_seen,
            flooded_at: None,
            turn: 0,
            closing: None,
        }
    }

    async fn talk_on(&mut self) -> Result<(), Hangup> {
        let greeting = self.with_talk(|talk, _, scene| talk.greet(scene));
        self.say_all(greeting);
        self.subscribed();
        loop {
            self.hear()?;
            self.keep_rules();
            self.announce_end();
            self.play_recordings();
            self.flood();
            self.release_delayed();
            if !self.out.is_empty() {
                let out = self.out.split();
                self.wire.write(&out).await?;
            }
            if let Some((code, reason)) = self.closing.take() {
                self.exchange_closes(code, &reason).await;
                return Ok(());
            }
            let wake_at = self.wake_at();
            tokio::select! {
                biased;
                read = self.wire.read() => read?,
                () = sleep_until(wake_at) => {}
                ticked = self.ticks.changed() => {
                    ticked.map_err(|_| Hangup::Done)?;
                    self.tick();
                }
            }
        }
    }

    fn with_talk<R>(&mut self, act: impl FnOnce(&mut dyn Conversation, &dyn Protocol, &Scene<'_>) -> R) -> R {
        let talk = self.talk.as_mut();
        self.exchange.stage(WS, |protocol, scene| act(talk, protocol, scene))
    }

    /// Understands everything that has come.
    fn hear(&mut self) -> Result<(), Hangup> {
        loop {
            let parsed = Parser::parse(&mut self.wire.buffer, true, MAX_MESSAGE);
            let (is_last, op, payload) = match parsed {
                Ok(None) => return Ok(()),
                Ok(Some(parsed)) => parsed,
                Err(_) => return Err(Hangup::Client),
            };
            let payload = payload.unwrap_or_default();
            let now = Instant::now();
            self.upkeep.heard(now);
            match op {
                OpCode::Close => {
                    self.closing.get_or_insert((1000, String::new()));
                    return Ok(());
                }
                OpCode::Ping => {
                    self.log(Event::Frame, "ping");
                    let verdict = self.upkeep.message(now);
                    self.close_if(verdict);
                    self.put(OpCode::Pong, &payload);
                }
                OpCode::Pong => {
                    self.log(Event::Pong, &String::from_utf8_lossy(&payload));
                    let verdict = self.upkeep.pong(&payload, now);
                    self.close_if(verdict);
                }
                OpCode::Text | OpCode::Binary if is_last => self.message(&payload),
                OpCode::Text | OpCode::Binary | OpCode::Continue => {
                    self.fragments.extend_from_slice(&payload);
                    if self.fragments.len() > MAX_MESSAGE {
                        return Err(Hangup::Client);
                    }
                    if is_last {
                        let whole = self.fragments.split();
                        self.message(&whole);
                    }
                }
                OpCode::Bad => return Err(Hangup::Client),
            }
        }
    }

    fn message(&mut self, payload: &[u8]) {
        self.log(Event::Frame, &String::from_utf8_lossy(payload));
        let verdict = self.upkeep.message(Instant::now());
        self.close_if(verdict);
        let answers = self.with_talk(|talk, protocol, scene| talk.hear(payload, protocol, scene));
        self.say_all(answers);
        self.subscribed();
    }

    fn close_if(&mut self, verdict: Option<Closing>) {
        if let Some((code, reason)) = verdict {
            self.closing.get_or_insert((code, reason.to_owned()));
        }
    }

    /// After a change of what is subscribed: new symbols are known from here on, and a recording that holds one of
    /// them begins to play.
    fn subscribed(&mut self) {
        let (talk, told) = (&self.talk, &mut self.told);
        told.retain(|symbol, _| talk.symbols().contains(symbol));
        self.exchange.stage(WS, |protocol, _| {
            for symbol in talk.symbols() {
                if !told.contains_key(symbol) {
                    let sequence = protocol.book(symbol).map_or(0, |book| book.sequence);
                    told.insert(symbol.clone(), sequence);
                }
            }
        });
        self.exchange.with_recordings(|all| {
            for recording in all {
                let is_wanted = recording.symbols().any(|symbol| talk.symbols().contains(symbol));
                if is_wanted {
                    recording.start(Instant::now());
                }
            }
        });
    }

    /// Tells what has changed.
    fn tick(&mut self) {
        if self.delayed.len() >= MAX_DELAYED {
            return;
        }
        let is_straying = self.exchange.suffers(Kind::Stray, WS);
        let (talk, told) = (self.talk.as_mut(), &mut self.told);
        let mut said = Vec::new();
        self.exchange.stage(WS, |protocol, scene| {
            let mut others = protocol.listings().filter(|_| is_straying).into_iter().flat_map(Listings::open);
            let stray = others.find(|listing| !told.contains_key(&listing.symbol)).cloned();
            for (symbol, known) in told.iter_mut() {
                let Some(book) = protocol.book(symbol) else { continue };
                if book.sequence <= *known || scene.is_replayed(symbol) {
                    continue;
                }
                *known = book.sequence;
                if let Some(book) = scene.shown(&[symbol, &direction_of(symbol, protocol)], book) {
                    let frames = talk.tell(symbol, &book, scene);
                    if let Some(stray) = &stray {
                        let by_its_name =
                            frames.iter().filter_map(|frame| renamed(frame, symbol, &stray.symbol));
                        said.extend(by_its_name.map(Say::Data));
                        said.extend(talk.tell(&stray.symbol, &stray.book, scene).into_iter().map(Say::Data));
                    }
                    said.extend(frames.into_iter().map(Say::Data));
                }
            }
            said.extend(talk.beat(protocol, scene));
        });
        self.say_all(said);
    }

    /// Puts the frames of recordings that are due into the next piece.
    fn play_recordings(&mut self) {
        let now = Instant::now();
        for index in 0..self.places.len() {
            while self.out.len() < MAX_PIECE && self.delayed.len() < MAX_DELAYED {
                let place = self.places[index];
                let due = self.exchange.with_recordings(|all| {
                    let recording = all.get(index)?;
                    if recording.due_at(place)? > now { None } else { recording.frame(place).cloned() }
                });
                let Some(recorded) = due else { break };
                self.places[index] = place + 1;
                let (symbol, tells) = (&recorded.symbol, recorded.told.is_some());
                let frame = self.with_talk(|talk, _, scene| talk.repeat(&recorded, scene));
                let Some(frame) = frame else { continue };
                match self.exchange.bends(symbol) {
                    false => self.say(Say::Data(frame)),
                    true if tells => self.tell_bent(symbol),
                    true => {}
                }
            }
        }
    }

    /// Tells a replayed symbol as faults bend it.
    fn tell_bent(&mut self, symbol: &str) {
        let frames = self.with_talk(|talk, _, scene| {
            let book = scene.recorded(&[symbol]).and_then(|book| scene.shown(&[symbol], book));
            book.map(|book| talk.tell(symbol, &book, scene)).unwrap_or_default()
        });
        self.say_all(frames.into_iter().map(Say::Data).collect());
    }

    /// Tells every symbol again and again.
    fn flood(&mut self) {
        let Some(flood) = self.exchange.fault(Kind::Flood, WS) else {
            self.flooded_at = None;
            return;
        };
        let now = Instant::now();
        let since = self.flooded_at.map_or(FLOOD_EVERY, |at| now.duration_since(at));
        if since < FLOOD_EVERY || self.delayed.len() >= MAX_DELAYED {
            return;
        }
        self.flooded_at = Some(now);
        let wanted = (since.as_secs_f64() * flood.flood_rate() as f64).min(MAX_FLOOD) as usize;
        let (talk, told) = (self.talk.as_mut(), &mut self.told);
        let mut said = Vec::new();
        self.exchange.stage(WS, |protocol, scene| {
            let symbols: Vec<String> = talk.symbols().iter().cloned().collect();
            let mut told_any = true;
            while said.len() < wanted && told_any {
                told_any = false;
                for symbol in &symbols {
                    let Some(mut book) = protocol.book(symbol) else { continue };
                    if !scene.is_replayed(symbol) {
                        // The book of an earlier tick must not follow with a smaller number.
                        book.sequence = scene.next_sequence();
                        told.insert(symbol.clone(), book.sequence);
                    }
                    let names = [symbol.as_str(), &direction_of(symbol, protocol)];
                    let frames = scene.shown(&names, book).map(|book| talk.tell(symbol, &book, scene));
                    let before = said.len();
                    said.extend(frames.unwrap_or_default().into_iter().map(Say::Data));
                    told_any |= said.len() > before;
                    if said.len() >= wanted {
                        break;
                    }
                }
            }
        });
        self.say_all(said);
    }

    /// Pings, and hangs up on a client that breaks the rules or has outlived them.
    fn keep_rules(&mut self) {
        let now = Instant::now();
        if let Some(payload) = self.upkeep.ping(crate::clock::now().wall.timestamp_millis(), now) {
            self.put(OpCode::Ping, payload.as_bytes());
        }
        let verdict = self.upkeep.verdict(now);
        self.close_if(verdict);
    }

    fn announce_end(&mut self) {
        if self.exchange.num_farewells() != self.farewells_seen {
            self.farewells_seen = self.exchange.num_farewells();
            let farewell = self.with_talk(|talk, _, scene| talk.farewell(scene));
            if let Some(frame) = farewell {
                self.say(Say::Control(frame));
            }
        }
    }

    /// When something is to be done next, whatever comes.
    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let delayed_until = self.delayed.front().map(|(until, _)| *until);
        let flood_at = self.exchange.suffers(Kind::Flood, WS).then(|| match self.flooded_at {
            Some(at) => at + FLOOD_EVERY,
            None => now,
        });
        let is_full = self.delayed.len() >= MAX_DELAYED;
        let recorded_at = self.exchange.with_recordings(|all| {
            let due = |(index, recording): (usize, &mut super::replay::Recording)| {
                recording.due_at(*self.places.get(index)?)
            };
            if is_full { None } else { all.iter_mut().enumerate().filter_map(due).min() }
        });
        let times =
            [self.upkeep.wake_at(), delayed_until, flood_at, recorded_at, Some(now + Duration::from_secs(1))];
        times.into_iter().flatten().min().unwrap_or(now)
    }

    fn say_all(&mut self, all: Vec<Say>) {
        for say in all {
            self.say(say);
        }
    }

    fn say(&mut self, say: Say) {
        let frame = match say {
            Say::Control(frame) => frame,
            Say::Data(frame) => {
                if self.exchange.suffers(Kind::Mute, WS) {
                    return;
                }
                self.turn += 1;
                if self.exchange.suffers(Kind::Shuffle, WS) {
                    self.shuffled.push(frame);
                    return self.say_shuffled();
                }
                self.shuffled.clear();
                match self.exchange.fault(Kind::Garbage, WS) {
                    Some(garbage) => Frame::Text(garbage.garbage(self.turn)),
                    None => frame,
                }
            }
            Say::Close(code, reason) => {
                self.closing.get_or_insert((code, reason));
                return;
            }
        };
        self.put_frame(&frame);
    }

    fn put_frame(&mut self, frame: &Frame) {
        match frame {
            Frame::Text(text) => self.put(OpCode::Text, text.as_bytes()),
            Frame::Binary(bytes) => self.put(OpCode::Binary, bytes),
        }
    }

    /// Says what a shuffle has held back, once it is enough: in an order by chance, and the last of them twice.
    fn say_shuffled(&mut self) {
        if self.shuffled.len() < SHUFFLED {
            return;
        }
        let frames = std::mem::take(&mut self.shuffled);
        let turn = self.turn as u64;
        let luck = |at: usize| noise(turn, "shuffle", at as u64, 1000);
        let mut order: Vec<usize> = (0..frames.len()).collect();
        order.sort_by_key(|at| luck(*at));
        order.extend(order.last().copied());
        order.into_iter().for_each(|at| self.put_frame(&frames[at]));
    }

    /// Puts a frame into the next piece, or behind a delay.
    fn put(&mut self, op: OpCode, payload: &[u8]) {
        let delay = self.exchange.fault(Kind::Delay, WS);
        if delay.is_none() && self.delayed.is_empty() {
            Parser::write_message(&mut self.out, payload, op, true, false);
            return;
        }
        self.turn += 1;
        let luck = noise(0, "delay", self.turn as u64, 1000);
        let until = Instant::now() + delay.map_or(Duration::ZERO, |delay| delay.delay(luck));
        // Frames never overtake each other: TCP keeps their order.
        let until = self.delayed.back().map_or(until, |(last, _)| until.max(*last));
        let mut bytes = BytesMut::new();
        Parser::write_message(&mut bytes, payload, op, true, false);
        self.delayed.push_back((until, bytes.freeze()));
    }

    fn release_delayed(&mut self) {
        let now = Instant::now();
        while self.out.len() < MAX_PIECE && self.delayed.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, bytes)) = self.delayed.pop_front() {
                self.out.extend_from_slice(&bytes);
            }
        }
    }

    /// Says goodbye with a code, and why.
    async fn exchange_closes(&mut self, code: u16, reason: &str) {
        self.log(Event::Close, &format!("closed with {code} {reason}"));
        let reason = (!reason.is_empty()).then(|| reason.to_owned());
        let mut bytes = BytesMut::new();
        Parser::write_close(
            &mut bytes,
            Some(CloseReason { code: CloseCode::from(code), description: reason }),
            false,
        );
        self.wire.write_last(&bytes).await;
    }

    /// What a fault lets the client still hear.
    async fn last_words(&mut self, hangup: &Hangup) {
        match hangup {
            Hangup::Fault(Ending::Close) => {
                let mut bytes = BytesMut::new();
                let reason = CloseReason { code: CloseCode::Away, description: None };
                Parser::write_close(&mut bytes, Some(reason), false);
                self.wire.write_last(&bytes).await;
            }
            // The first half of a frame, so that the reset falls into the middle of it.
            Hangup::Fault(Ending::Reset) => self.wire.write_last(b"\x81\x7d{\"u\":400900217,\"s\":\"").await,
            _ => {}
        }
    }

    fn log(&self, event: Event, detail: &str) {
        let port = self.wire.client.port();
        self.exchange.log.borrow_mut().add(self.exchange.row.name, event, detail, port);
    }
}

/// Our direction of a symbol, by which faults may name it; empty where it has none.
fn direction_of(symbol: &str, protocol: &dyn Protocol) -> String {
    let listing = protocol.listings().and_then(|all| all.get(symbol));
    listing.map(Listing::direction).unwrap_or_default()
}

/// A frame as it would be of another symbol; `None` where it does not name its own.
fn renamed(frame: &Frame, symbol: &str, other: &str) -> Option<Frame> {
    match frame {
        Frame::Text(text) => text.contains(symbol).then(|| Frame::Text(text.replace(symbol, other))),
        Frame::Binary(_) => None,
    }
}
