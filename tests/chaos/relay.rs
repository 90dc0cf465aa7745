//! A relay between the service and the simulator, for what no simulated exchange says: other bytes, other statuses, TLS.
//!
//! Separate from the simulator because what passes here breaks every rule of a protocol, and each row breaks another one.
//! It knows requests and frames only as far as is needed to put something else in their place.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use actix_http::ws::{OpCode, Parser};
use bytes::BytesMut;
use ratebook::exchange;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::site::Plan;

/// What a relay does to what passes.
pub(crate) trait Tamper: Send {
    /// What becomes of a request.
    fn request(&mut self, _request: &Request) -> Act {
        Act::Pass
    }

    /// The body that the client gets instead, and headers beside its length.
    fn body(&mut self, _request: &Request, body: Vec<u8>) -> (String, Vec<u8>) {
        (String::new(), body)
    }

    /// The bytes that the client gets instead of a frame of the exchange.
    fn down(&mut self, _exchange: &str, frame: Message) -> Vec<u8> {
        frame.raw
    }

    /// The bytes that the exchange gets instead of a frame of the client.
    fn up(&mut self, _exchange: &str, frame: Message) -> Vec<u8> {
        frame.raw
    }
}

/// Everything passes.
pub(crate) struct Honest;

impl Tamper for Honest {}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// It goes to the simulator.
    Pass,
    /// It is answered with these bytes, and the connection is closed.
    Say(Vec<u8>),
}

/// A request as far as rows need it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) at: Instant,
    pub(crate) exchange: String,
    pub(crate) is_get: bool,
    pub(crate) is_upgrade: bool,
}

/// A WebSocket's frame.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) opcode: OpCode,
    pub(crate) payload: Vec<u8>,
    /// As it came.
    pub(crate) raw: Vec<u8>,
}

impl Message {
    /// Whether it holds data and is no ping, pong or goodbye.
    pub(crate) fn is_data(&self) -> bool {
        matches!(self.opcode, OpCode::Text | OpCode::Binary)
    }

    /// Takes one frame from the front; `None` while it is incomplete.
    fn take(buffer: &mut BytesMut) -> Option<Self> {
        let (first, second) = (*buffer.first()?, *buffer.get(1)?);
        let (length, mut at) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(buffer.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(buffer.get(2..10)?.try_into().ok()?), 10),
            length => (u64::from(length), 2),
        };
        let mask: Option<[u8; 4]> = match second & 0x80 {
            0 => None,
            _ => Some(buffer.get(at..at + 4)?.try_into().ok()?),
        };
        at += if mask.is_some() { 4 } else { 0 };
        let end = at + usize::try_from(length).ok()?;
        if buffer.len() < end {
            return None;
        }
        let raw = buffer.split_to(end).to_vec();
        let mut payload = raw[at..].to_vec();
        for (byte, key) in payload.iter_mut().zip(mask.iter().flatten().cycle()) {
            *byte ^= key;
        }
        Some(Self { opcode: OpCode::from(first & 0x0f), payload, raw })
    }
}

/// A whole frame as an exchange says it.
pub(crate) fn said(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    fragment(opcode, payload, true)
}

/// A frame as an exchange says it, `is_last` of its message or not.
pub(crate) fn fragment(opcode: OpCode, payload: &[u8], is_last: bool) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    Parser::write_message(&mut bytes, payload, opcode, is_last, false);
    bytes.to_vec()
}

/// A whole answer to a request.
pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

struct Shared {
    simulator: Mutex<Option<SocketAddr>>,
    tamper: Mutex<Box<dyn Tamper>>,
    accepted: Mutex<Vec<Instant>>,
    requests: Mutex<Vec<Request>>,
    tls: Option<TlsAcceptor>,
}

/// A relay at work.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub(crate) fn open(tamper: impl Tamper + 'static) -> Self {
        Self::start(Box::new(tamper), None)
    }

    /// A relay that speaks TLS to the service.
    pub(crate) fn secured(tls: TlsAcceptor) -> Self {
        Self::start(Box::new(Honest), Some(tls))
    }

    fn start(tamper: Box<dyn Tamper>, tls: Option<TlsAcceptor>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            simulator: Mutex::default(),
            tamper: Mutex::new(tamper),
            accepted: Mutex::default(),
            requests: Mutex::default(),
            tls,
        });
        let (stop, stopped) = oneshot::channel();
        let own = shared.clone();
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept(listener, own) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Where everything goes; before this, it goes nowhere.
    pub(crate) fn lead_to(&self, simulator: SocketAddr) {
        *self.shared.simulator.lock().unwrap() = Some(simulator);
    }

    /// From now on something else becomes of what passes.
    pub(crate) fn tamper(&self, tamper: impl Tamper + 'static) {
        *self.shared.tamper.lock().unwrap() = Box::new(tamper);
    }

    /// When connections came in.
    pub(crate) fn accepted(&self) -> Vec<Instant> {
        self.shared.accepted.lock().unwrap().clone()
    }

    /// The requests so far, upgrades among them.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Dropping the sender is the word to stop.
        self.stop = None;
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl Plan {
    /// With an exchange behind a relay.
    pub(crate) fn through(self, exchange: &'static str, relay: &Relay) -> Self {
        let (rest_url, ws_url) = exchange::row(exchange).unwrap().served_at(relay.address);
        self.at(exchange, &rest_url, &ws_url)
    }

    /// With an exchange behind a relay that speaks TLS under the name `localhost`.
    pub(crate) fn through_secured(self, exchange: &'static str, relay: &Relay) -> Self {
        let host = format!("localhost:{}", relay.address.port());
        let (rest_url, ws_url) = exchange::row(exchange).unwrap().served_at(host);
        self.at(exchange, &rest_url.replacen("http:", "https:", 1), &ws_url.replacen("ws:", "wss:", 1))
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        drop(stream.set_nodelay(true));
        shared.accepted.lock().unwrap().push(Instant::now());
        let shared = shared.clone();
        tokio::spawn(async move {
            // How a connection ends is what rows look at from outside.
            drop(match shared.tls.clone() {
                None => serve(stream, &shared).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(secured) => serve(secured, &shared).await,
                    Err(error) => Err(error),
                },
            });
        });
    }
}

async fn serve(mut client: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) -> io::Result<()> {
    let (mut buffer, mut exchange_buffer) = (BytesMut::new(), BytesMut::new());
    let simulator = *shared.simulator.lock().unwrap();
    let mut simulated = TcpStream::connect(simulator.ok_or(io::ErrorKind::NotConnected)?).await?;
    simulated.set_nodelay(true)?;
    loop {
        let head = read_head(&mut client, &mut buffer).await?;
        let request = request(&head);
        let body = read_exactly(&mut client, &mut buffer, content_length(&head)).await?;
        shared.requests.lock().unwrap().push(request.clone());
        let act = shared.tamper.lock().unwrap().request(&request);
        match act {
            Act::Pass => {}
            Act::Say(bytes) => {
                client.write_all(&bytes).await?;
                client.shutdown().await?;
                // Until the client has heard it.
                return drain(&mut client).await;
            }
        }
        simulated.write_all(&[head.as_bytes(), &body].concat()).await?;
        let head = read_head(&mut simulated, &mut exchange_buffer).await?;
        if head.starts_with("HTTP/1.1 101") {
            client.write_all(head.as_bytes()).await?;
            let (from_client, to_client) = split(client);
            let (from_exchange, to_exchange) = split(simulated);
            let up = pass(from_client, to_exchange, buffer, |frame| {
                shared.tamper.lock().unwrap().up(&request.exchange, frame)
            });
            let down = pass(from_exchange, to_client, exchange_buffer, |frame| {
                shared.tamper.lock().unwrap().down(&request.exchange, frame)
            });
            // What the client says last is heard although it hears nothing any more.
            return tokio::try_join!(
                async {
                    drop(down.await);
                    io::Result::Ok(())
                },
                up
            )
            .map(|_| ());
        }
        let body = read_exactly(&mut simulated, &mut exchange_buffer, content_length(&head)).await?;
        let (status, kept) = told(&head);
        let (headers, body) = match status == "200" {
            true => shared.tamper.lock().unwrap().body(&request, body),
            false => (String::new(), body),
        };
        let whole = format!("{kept}{headers}Content-Length: {}\r\n\r\n", body.len());
        client.write_all(&[whole.as_bytes(), &body].concat()).await?;
    }
}

/// Passes frames on until one side ends, and ends the other.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut buffer: BytesMut,
    mut change: impl FnMut(Message) -> Vec<u8>,
) -> io::Result<()> {
    let passed = async {
        loop {
            while let Some(frame) = Message::take(&mut buffer) {
                to.write_all(&change(frame)).await?;
            }
            if from.read_buf(&mut buffer).await? == 0 {
                return io::Result::Ok(());
            }
        }
    }
    .await;
    drop(to.shutdown().await);
    passed
}

async fn drain(client: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut heard = BytesMut::new();
    while client.read_buf(&mut heard).await? > 0 {
        heard.clear();
    }
    Ok(())
}

async fn read_head(from: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> io::Result<String> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(String::from_utf8_lossy(&buffer.split_to(end + 4)).into_owned());
        }
        if from.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn read_exactly(
    from: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    length: usize,
) -> io::Result<Vec<u8>> {
    while buffer.len() < length {
        if from.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(buffer.split_to(length).to_vec())
}

fn request(head: &str) -> Request {
    let target = head.split(' ').nth(1).unwrap_or_default();
    let exchange = target.trim_start_matches('/').split(['/', '?']).next().unwrap_or_default().to_owned();
    let is_upgrade = head.to_ascii_lowercase().contains("upgrade: websocket");
    Request { at: Instant::now(), exchange, is_get: head.starts_with("GET "), is_upgrade }
}

fn content_length(head: &str) -> usize {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let length = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.filter_map(|(_, value)| value.trim().parse().ok()).next().unwrap_or(0)
}

/// The status of an answer, and its head without the length and without its end.
fn told(head: &str) -> (&str, String) {
    let status = head.split(' ').nth(1).unwrap_or_default();
    let is_kept = |line: &&str| !line.is_empty() && !line.to_ascii_lowercase().starts_with("content-length:");
    (status, head.lines().filter(is_kept).map(|line| format!("{line}\r\n")).collect())
}
