//! The simulated exchanges, seen from a client: real sockets, real faults.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test")]

mod binance;
mod bitfinex;
mod bitstamp;
mod bybit;
mod coinbase;
mod control;
mod faults;
mod fiat;
mod gate;
mod htx;
mod kraken;
mod kucoin;
mod okx;
mod other_sources;
mod recordings;
mod start;

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use actix_web::http::StatusCode;
use awc::error::WsProtocolError;
use awc::ws::{Frame, Message};
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use ratebook::simulator::{Simulator, SimulatorOptions};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// Longest wait for anything that has to happen.
const PATIENCE: Duration = Duration::from_secs(20);

fn options() -> SimulatorOptions {
    SimulatorOptions { listen: "127.0.0.1:0".parse().unwrap(), seed: 7, speed: 1.0, replay: Vec::new() }
}

struct Sim {
    simulator: Simulator,
    client: awc::Client,
}

/// A WebSocket, boxed because awc's has no type that can be named here.
struct Socket {
    frames: Pin<Box<dyn Stream<Item = Result<Frame, WsProtocolError>>>>,
    messages: Pin<Box<dyn Sink<Message, Error = WsProtocolError>>>,
}

impl Socket {
    fn new<S>(socket: S) -> Self
    where
        S: Stream<Item = Result<Frame, WsProtocolError>> + Sink<Message, Error = WsProtocolError> + 'static,
    {
        let (messages, frames) = socket.split();
        Self { frames: Box::pin(frames), messages: Box::pin(messages) }
    }

    async fn send(&mut self, message: Message) {
        self.messages.send(message).await.unwrap();
    }

    /// The next frame; `None` at the end, in order or not.
    async fn next(&mut self) -> Option<Result<Frame, WsProtocolError>> {
        timeout(PATIENCE, self.frames.next()).await.expect("a frame or an end in time")
    }

    /// The next frame that is text, pings answered.
    async fn text(&mut self) -> Option<String> {
        loop {
            match self.next().await {
                Some(Ok(Frame::Text(bytes))) => return Some(String::from_utf8(bytes.to_vec()).unwrap()),
                Some(Ok(Frame::Ping(payload))) => self.send(Message::Pong(payload)).await,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    async fn json(&mut self) -> Value {
        serde_json::from_str(&self.text().await.expect("a text frame")).unwrap()
    }

    /// Whether nothing but pings comes for so long.
    async fn is_silent(&mut self, length: Duration) -> bool {
        let until = Instant::now() + length;
        loop {
            match timeout_at(until, self.frames.next()).await {
                Err(_) => return true,
                Ok(Some(Ok(Frame::Ping(payload)))) => self.send(Message::Pong(payload)).await,
                Ok(_) => return false,
            }
        }
    }

    /// Reads on until the end, and gives the close code if there was one.
    async fn close_code(&mut self) -> Option<u16> {
        loop {
            match self.next().await {
                Some(Ok(Frame::Close(reason))) => return reason.map(|reason| reason.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}

impl Sim {
    async fn start(change: impl FnOnce(&mut SimulatorOptions)) -> Self {
        let mut options = options();
        change(&mut options);
        let simulator = Simulator::start(options).await.unwrap();
        let client = awc::Client::builder().timeout(PATIENCE).no_default_headers().finish();
        Self { simulator, client }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.simulator.address())
    }

    async fn body(&self, path: &str) -> (StatusCode, Value) {
        let mut answer = self.client.get(self.url(path)).send().await.unwrap();
        let body = answer.body().limit(10_000_000).await.unwrap();
        (answer.status(), serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.body(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, said) = self.post_any(path, body.to_string()).await;
        assert_eq!(status, 200, "{path} {body}: {said}");
        said
    }

    async fn post_any(&self, path: &str, body: String) -> (StatusCode, Value) {
        let mut answer = self.client.post(self.url(path)).send_body(body).await.unwrap();
        let body = answer.body().await.unwrap();
        (answer.status(), serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn fault(&self, exchange: &str, order: Value) {
        self.post(&format!("/control/{exchange}/faults"), order).await;
    }

    async fn clear(&self, exchange: &str) {
        let url = self.url(&format!("/control/{exchange}/faults"));
        assert_eq!(self.client.delete(url).send().await.unwrap().status(), 200);
    }

    async fn socket(&self, path: &str) -> Socket {
        let request = self.client.ws(self.url(path)).max_frame_size(1 << 20);
        let (_, socket) = request.connect().await.unwrap();
        Socket::new(socket)
    }

    /// A socket that listens to the best prices of BTCUSDT, acknowledged.
    async fn listening(&self) -> Socket {
        let mut socket = self.socket("/binance/ws").await;
        socket.send(subscribe(&["btcusdt@bookTicker"])).await;
        assert_eq!(socket.json().await, json!({ "result": null, "id": 1 }));
        socket
    }

    async fn log(&self, filter: &str) -> Vec<Value> {
        self.get(&format!("/control/log?{filter}")).await["entries"].as_array().unwrap().clone()
    }

    async fn front(&self, exchange: &str, transport: &str) -> SocketAddr {
        let port = self.get("/control/ports").await[exchange][transport].as_u64().unwrap();
        SocketAddr::new(self.simulator.address().ip(), u16::try_from(port).unwrap())
    }
}

fn subscribe(streams: &[&str]) -> Message {
    Message::Text(json!({ "method": "SUBSCRIBE", "params": streams, "id": 1 }).to_string().into())
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).parse().unwrap()
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Sends a request on a connection of its own, and reads until the end or until nothing comes for a while.
async fn raw(
    stream: &mut TcpStream,
    target: &str,
    silence: Duration,
) -> (Vec<u8>, Option<std::io::ErrorKind>) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
    if let Err(error) = stream.write_all(request.as_bytes()).await {
        return (Vec::new(), Some(error.kind()));
    }
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match timeout(silence, stream.read(&mut piece)).await {
            Err(_) => return (bytes, Some(std::io::ErrorKind::TimedOut)),
            Ok(Ok(0)) => return (bytes, None),
            Ok(Ok(len)) => bytes.extend_from_slice(&piece[..len]),
            Ok(Err(error)) => return (bytes, Some(error.kind())),
        }
    }
}
