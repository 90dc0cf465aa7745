//! A server for the tests, down to the bytes: REST and WebSocket on one port of loopback, with every fault that an
//! HTTP library would not let it play.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_http::ws::{OpCode, Parser, hash_key};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::hub::eventually;
use crate::clock;
use crate::market::Moment;

/// What the venue answers to a request.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: String,
    pub(super) body: Vec<u8>,
    pub(super) delay: Duration,
    /// Time between two bytes of the body.
    pub(super) drip: Option<Duration>,
}

impl Reply {
    pub(super) fn ok(body: &str) -> Self {
        Self::status(200, "").with_body(body.as_bytes())
    }

    pub(super) fn status(status: u16, headers: &str) -> Self {
        Self { status, headers: headers.to_owned(), body: Vec::new(), delay: Duration::ZERO, drip: None }
    }

    pub(super) fn with_body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }
}

/// What the venue does with an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Welcome {
    /// Answers it, and acknowledges what is subscribed.
    Acknowledge,
    /// Answers it, and leaves the acknowledgements to the test.
    Silent,
    /// Answers it, and hangs up at once.
    HangUp,
    /// Answers with this status.
    Status(u16),
    /// Does not answer.
    Stall,
}

struct State {
    replies: Vec<(String, Reply)>,
    welcome: Welcome,
    requests: Vec<(Moment, String)>,
    num_open_requests: usize,
    most_open_requests: usize,
    dialled_at: Vec<Moment>,
    peers: Vec<Peer>,
}

#[derive(Clone)]
pub(super) struct Venue {
    port: u16,
    state: Arc<Mutex<State>>,
}

/// One WebSocket, from the venue's side.
#[derive(Clone)]
pub(super) struct Peer {
    orders: mpsc::UnboundedSender<Order>,
    heard: Arc<Mutex<Vec<Heard>>>,
    num_written: Arc<AtomicUsize>,
}

/// What came from the actor.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Heard {
    Text(String, Moment),
    Ping(Vec<u8>, Moment),
    Pong(Vec<u8>),
    Close(Option<u16>),
    End,
}

enum Order {
    Bytes(Vec<u8>),
    /// Ends the connection, with a reset instead of a goodbye where asked for.
    Reset,
    End,
}

/// The bytes of a server's frame.
pub(super) fn frame(code: OpCode, is_last: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    Parser::write_message(&mut bytes, payload, code, is_last, false);
    bytes.to_vec()
}

impl Peer {
    pub(super) fn say(&self, text: &str) {
        self.send(frame(OpCode::Text, true, text.as_bytes()));
    }

    pub(super) fn send(&self, bytes: Vec<u8>) {
        self.orders.send(Order::Bytes(bytes)).ok();
    }

    pub(super) fn reset(&self) {
        self.orders.send(Order::Reset).ok();
    }

    pub(super) fn end(&self) {
        self.orders.send(Order::End).ok();
    }

    pub(super) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    pub(super) fn texts(&self) -> Vec<String> {
        let text = |heard| if let Heard::Text(text, _) = heard { Some(text) } else { None };
        self.heard().into_iter().filter_map(text).collect()
    }

    /// The nth ping that came, and when, once it is there.
    pub(super) async fn ping(&self, nth: usize) -> (Vec<u8>, Moment) {
        let ping = || {
            let ping = |heard| if let Heard::Ping(payload, at) = heard { Some((payload, at)) } else { None };
            self.heard().into_iter().filter_map(ping).nth(nth)
        };
        eventually(&format!("ping {nth}"), || ping().is_some()).await;
        ping().unwrap()
    }

    /// How many messages were handed to the system.
    pub(super) fn num_written(&self) -> usize {
        self.num_written.load(Ordering::Relaxed)
    }

    /// Whether the actor has left.
    pub(super) fn has_ended(&self) -> bool {
        self.heard().contains(&Heard::End)
    }
}

impl Venue {
    /// A venue that answers polls with `body`.
    pub(super) async fn open(body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let venue = Self {
            port: listener.local_addr().unwrap().port(),
            state: Arc::new(Mutex::new(State {
                replies: vec![("/poll".to_owned(), Reply::ok(body))],
                welcome: Welcome::Acknowledge,
                requests: Vec::new(),
                num_open_requests: 0,
                most_open_requests: 0,
                dialled_at: Vec::new(),
                peers: Vec::new(),
            })),
        };
        let serving = venue.clone();
        actix::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                actix::spawn(serving.clone().serve(stream));
            }
        });
        venue
    }

    pub(super) fn rest_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn ws_url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// Answers requests of this path so from now on.
    pub(super) fn answer(&self, path: &str, reply: Reply) {
        let mut state = self.state.lock().unwrap();
        state.replies.retain(|(known, _)| known != path);
        state.replies.push((path.to_owned(), reply));
    }

    pub(super) fn welcome(&self, welcome: Welcome) {
        self.state.lock().unwrap().welcome = welcome;
    }

    /// When this path was asked for.
    pub(super) fn asked_at(&self, path: &str) -> Vec<Moment> {
        let state = self.state.lock().unwrap();
        state
            .requests
            .iter()
            .filter(|(_, head)| head.contains(&format!(" {path} ")))
            .map(|(at, _)| *at)
            .collect()
    }

    pub(super) fn num_asked(&self, path: &str) -> usize {
        self.asked_at(path).len()
    }

    /// The heads of all requests.
    pub(super) fn heads(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.iter().map(|(_, head)| head.clone()).collect()
    }

    pub(super) fn most_open_requests(&self) -> usize {
        self.state.lock().unwrap().most_open_requests
    }

    pub(super) fn dialled_at(&self) -> Vec<Moment> {
        self.state.lock().unwrap().dialled_at.clone()
    }

    /// The nth WebSocket, once it is there.
    pub(super) async fn peer(&self, nth: usize) -> Peer {
        eventually(&format!("WebSocket {nth}"), || self.state.lock().unwrap().peers.len() > nth).await;
        self.state.lock().unwrap().peers[nth].clone()
    }

    pub(super) fn num_peers(&self) -> usize {
        self.state.lock().unwrap().peers.len()
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut buffer = BytesMut::new();
        loop {
            let Some(head) = read_head(&mut stream, &mut buffer).await else { return };
            if head.to_ascii_lowercase().contains("upgrade: websocket") {
                self.upgrade(stream, buffer, &head).await;
                return;
            }
            let reply = {
                let mut state = self.state.lock().unwrap();
                state.requests.push((clock::now(), head.clone()));
                state.num_open_requests += 1;
                state.most_open_requests = state.most_open_requests.max(state.num_open_requests);
                let path = head.split(' ').nth(1).unwrap_or_default();
                let reply = state.replies.iter().find(|(known, _)| known == path);
                reply.map_or(Reply::status(404, ""), |(_, reply)| reply.clone())
            };
            let written = write_reply(&mut stream, reply).await;
            self.state.lock().unwrap().num_open_requests -= 1;
            if written.is_err() {
                return;
            }
        }
    }

    async fn upgrade(self, mut stream: TcpStream, buffer: BytesMut, head: &str) {
        let welcome = {
            let mut state = self.state.lock().unwrap();
            state.dialled_at.push(clock::now());
            state.requests.push((clock::now(), head.to_owned()));
            state.welcome
        };
        match welcome {
            Welcome::Stall => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                return;
            }
            Welcome::Status(status) => {
                write_reply(&mut stream, Reply::status(status, "Retry-After: 1\r\n")).await.ok();
                return;
            }
            Welcome::Acknowledge | Welcome::Silent | Welcome::HangUp => {}
        }
        let key = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
        });
        let accept = String::from_utf8(hash_key(key.unwrap().as_bytes()).to_vec()).unwrap();
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        if stream.write_all(answer.as_bytes()).await.is_err() || welcome == Welcome::HangUp {
            return;
        }
        let (orders, taken) = mpsc::unbounded_channel();
        let peer = Peer { orders, heard: Arc::default(), num_written: Arc::default() };
        self.state.lock().unwrap().peers.push(peer.clone());
        converse(stream, buffer, peer, taken, welcome).await;
    }
}

/// Keeps one WebSocket going until one side ends it.
async fn converse(
    mut stream: TcpStream,
    mut buffer: BytesMut,
    peer: Peer,
    mut orders: mpsc::UnboundedReceiver<Order>,
    welcome: Welcome,
) {
    let heard = |heard| peer.heard.lock().unwrap().push(heard);
    loop {
        while let Ok(Some((_, code, payload))) = Parser::parse(&mut buffer, true, 1 << 20) {
            let payload = payload.unwrap_or_default();
            match code {
                OpCode::Text => {
                    let text = String::from_utf8(payload.to_vec()).unwrap();
                    let id = text.strip_prefix("subscribe ").and_then(|rest| rest.split(' ').next());
                    if let Some(id) = id.filter(|_| welcome == Welcome::Acknowledge) {
                        peer.say(&format!("ack {id}"));
                    }
                    heard(Heard::Text(text, clock::now()));
                }
                OpCode::Ping => heard(Heard::Ping(payload.to_vec(), clock::now())),
                OpCode::Pong => heard(Heard::Pong(payload.to_vec())),
                OpCode::Close => {
                    heard(Heard::Close(payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code))));
                }
                _ => {}
            }
        }
        tokio::select! {
            read = stream.read_buf(&mut buffer) => if !matches!(read, Ok(1..)) {
                heard(Heard::End);
                return;
            },
            order = orders.recv() => match order {
                Some(Order::Bytes(bytes)) => {
                    // Nobody takes it any more; what was said before can still be read, to its end.
                    if stream.write_all(&bytes).await.is_ok() {
                        peer.num_written.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Some(Order::Reset) => {
                    stream.set_zero_linger().unwrap();
                    return;
                }
                Some(Order::End) | None => return,
            },
        }
    }
}

async fn read_head(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = buffer.split_to(end + 4);
            return Some(String::from_utf8_lossy(&head).into_owned());
        }
        if !matches!(stream.read_buf(buffer).await, Ok(1..)) {
            return None;
        }
    }
}

async fn write_reply(stream: &mut TcpStream, reply: Reply) -> std::io::Result<()> {
    tokio::time::sleep(reply.delay).await;
    let head = format!(
        "HTTP/1.1 {} Something\r\n{}Content-Length: {}\r\n\r\n",
        reply.status,
        reply.headers,
        reply.body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    let Some(drip) = reply.drip else { return stream.write_all(&reply.body).await };
    for byte in reply.body {
        stream.write_all(&[byte]).await?;
        tokio::time::sleep(drip).await;
    }
    Ok(())
}
