//! Connections: where a request belongs, and the faults that are played with whole requests.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::market::Transport;

use super::World;
use super::control;
use super::exchange::Exchange;
use super::http::{Answer, Request};
use super::journal::Event;
use super::order::Kind;
use super::protocol::Reply;
use super::session;
use super::truth::noise;
use super::wire::{Hangup, Wire};

/// How long a connection may be idle between requests, or take for one.
const IDLE: Duration = Duration::from_secs(75);

/// By which door a client came in.
#[derive(Clone)]
pub(super) enum Door {
    /// The port that all exchanges and `/control` share.
    Main,
    /// A port of one exchange alone, meant for one transport.
    Front(Rc<Exchange>, Transport),
}

/// Serves one connection until it ends.
pub(super) async fn serve(world: Rc<World>, door: Door, stream: TcpStream, client: SocketAddr) {
    if let Err(error) = stream.set_nodelay(true) {
        log::debug!("simulator: no TCP_NODELAY: {error}");
    }
    let mut wire = Wire::new(stream, client);
    if let Door::Front(exchange, transport) = &door {
        wire.belong(exchange, *transport);
    }
    let hangup = match converse(&world, &door, &mut wire).await {
        Ok(()) => Hangup::Done,
        Err(hangup) => hangup,
    };
    wire.end(hangup).await;
}

async fn converse(world: &Rc<World>, door: &Door, wire: &mut Wire) -> Result<(), Hangup> {
    wire.check()?;
    loop {
        let request = match timeout(IDLE, next_request(wire)).await {
            Ok(request) => request?,
            Err(_) => return Ok(()),
        };
        let answer = match place(world, door, &request.path) {
            Place::Control(path) => {
                // A client that orders a reset on the connection that it used before has to hear the answer.
                wire.belong_to_nobody();
                control::answer(world, &path, &request).await
            }
            Place::Nowhere => Answer::error(404, nowhere(world)),
            Place::Exchange(exchange, path) => match request.websocket_key() {
                Some(key) => {
                    wire.belong(&exchange, Transport::WebSocket);
                    wire.check()?;
                    match open(wire, &exchange, &path, &request).await? {
                        Ok(talk) => {
                            let accepted = session::accept(key);
                            wire.write(accepted.as_bytes()).await?;
                            return Err(session::run(wire, exchange, &request, talk).await);
                        }
                        Err(answer) => answer,
                    }
                }
                None => {
                    wire.belong(&exchange, Transport::Rest);
                    wire.check()?;
                    rest(wire, &exchange, &path, &request).await?
                }
            },
        };
        let bytes = answer.bytes(&request, request.closes);
        wire.write(&bytes).await?;
        if request.closes {
            return Ok(());
        }
    }
}

async fn next_request(wire: &mut Wire) -> Result<Request, Hangup> {
    let mut was_encouraged = false;
    loop {
        match Request::take(&mut wire.buffer) {
            Ok(Some(request)) => return Ok(request),
            Ok(None) => {}
            Err(bad) => {
                let answer = Answer::error(bad.status, bad.reason).bytes(&Request::default(), true);
                wire.write(&answer).await?;
                return Err(Hangup::Done);
            }
        }
        let expects =
            wire.buffer.windows(16).any(|window| window.eq_ignore_ascii_case(b"100-continue\r\n\r\n"));
        if expects && !was_encouraged {
            was_encouraged = true;
            wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        wire.read().await?;
    }
}

/// Where a request belongs.
enum Place {
    Control(String),
    Exchange(Rc<Exchange>, String),
    Nowhere,
}

fn place(world: &World, door: &Door, path: &str) -> Place {
    let own = |exchange: &Rc<Exchange>| {
        let below = path.strip_prefix('/')?.strip_prefix(exchange.row.name)?;
        (below.is_empty() || below.starts_with('/')).then(|| trimmed(below))
    };
    match door {
        Door::Front(exchange, _) => {
            let path = own(exchange).unwrap_or_else(|| trimmed(path));
            Place::Exchange(Rc::clone(exchange), path)
        }
        Door::Main => {
            if let Some(below) = path.strip_prefix("/control/") {
                return Place::Control(below.trim_end_matches('/').to_owned());
            }
            let found = world.exchanges.iter().find_map(|exchange| Some((exchange, own(exchange)?)));
            found.map_or(Place::Nowhere, |(exchange, path)| Place::Exchange(Rc::clone(exchange), path))
        }
    }
}

fn trimmed(path: &str) -> String {
    path.trim_end_matches('/').to_owned()
}

fn nowhere(world: &World) -> String {
    let names: Vec<String> =
        world.exchanges.iter().map(|exchange| format!("/{}", exchange.row.name)).collect();
    format!("nothing here (there are {}, and /control)", names.join(", "))
}

/// Opens a WebSocket, or says why not.
async fn open(
    wire: &mut Wire,
    exchange: &Rc<Exchange>,
    path: &str,
    request: &Request,
) -> Result<Result<Box<dyn super::protocol::Conversation>, Answer>, Hangup> {
    if let Some(order) = exchange.fault(Kind::Status, Transport::WebSocket) {
        let (status, retry_after) = order.status();
        log_request(wire, exchange, request, Some(status));
        return Ok(Err(exchange.refusal(Transport::WebSocket, status, retry_after)));
    }
    delay(wire, exchange, Transport::WebSocket).await?;
    let opened = exchange.open(path, request);
    if let Err(answer) = &opened {
        log_request(wire, exchange, request, Some(answer.status));
    }
    Ok(opened)
}

/// Answers a request, with the faults of whole requests.
async fn rest(
    wire: &mut Wire,
    exchange: &Rc<Exchange>,
    path: &str,
    request: &Request,
) -> Result<Answer, Hangup> {
    let logged = log_request(wire, exchange, request, None);
    let mut changes = exchange.changes();
    let mut answer = loop {
        changes.mark_unchanged();
        if !exchange.suffers(Kind::Mute, Transport::Rest) {
            if let Some(order) = exchange.fault(Kind::Status, Transport::Rest) {
                let (status, retry_after) = order.status();
                break exchange.refusal(Transport::Rest, status, retry_after);
            }
            if request.method != "GET" && request.method != "HEAD" && request.method != "POST" {
                break Answer::new(405, "text/plain", "Method Not Allowed");
            }
            if let Reply::Answer(answer) = exchange.rest(path, request, wire.client.ip()) {
                break answer;
            }
        }
        wire.linger_for_change(&mut changes).await?;
    };
    if let Some(garbage) = exchange.fault(Kind::Garbage, Transport::Rest)
        && answer.status == 200
    {
        answer.body = Bytes::from(garbage.garbage(usize::try_from(logged).unwrap_or_default()));
    }
    delay(wire, exchange, Transport::Rest).await?;
    exchange.log.borrow_mut().answered(logged, answer.status);
    Ok(answer)
}

async fn delay(wire: &mut Wire, exchange: &Exchange, transport: Transport) -> Result<(), Hangup> {
    if let Some(order) = exchange.fault(Kind::Delay, transport) {
        let luck = noise(0, "delay", u64::from(wire.client.port()), 1000);
        wire.linger(Instant::now() + order.delay(luck)).await?;
    }
    Ok(())
}

fn log_request(wire: &Wire, exchange: &Exchange, request: &Request, status: Option<u16>) -> u64 {
    let detail = format!("{} {}", request.method, request.target);
    let mut log = exchange.log.borrow_mut();
    let id = log.add(exchange.row.name, Event::Request, &detail, wire.client.port());
    if let Some(status) = status {
        log.answered(id, status);
    }
    id
}
