//! The real server on a port of its own, with a fake book behind it, and the least client that shows every byte.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use actix_web::dev::ServerHandle;
use ratebook::clock;
use ratebook::history::HistoryPorts;
use ratebook::http::{HttpSetup, listen, serve};
use ratebook::market::{Course, ExchangeName, number};
use ratebook::metrics::Metrics;
use ratebook::rate_book::{Answer, BookHealth, BookVersion, CoursesError, GetCourses, ReferenceLeg};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::fake_archive::FakeArchive;
use super::fake_book::{Courses, FakeBook, Health};

/// Longest time that any answer may take here; what takes longer hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) const BINANCE: ExchangeName = ExchangeName::new("binance");
pub(super) const KRAKEN: ExchangeName = ExchangeName::new("kraken");

/// A running server.
pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    pub(super) book: Addr<FakeBook>,
    pub(super) handle: ServerHandle,
    /// The version of the book, which a test may change.
    pub(super) version: BookVersion,
    asked: Arc<Mutex<Vec<GetCourses>>>,
}

impl TestServer {
    /// A server whose book gives these courses.
    pub(super) fn with_courses(courses: Courses) -> Self {
        Self::start(courses, Health::Is(healthy()), &[])
    }

    /// A server whose book has no courses.
    pub(super) fn refusing(error: CoursesError) -> Self {
        Self::with_courses(Courses::Refused(error))
    }

    /// A server whose book tells this of itself.
    pub(super) fn with_health(health: Health) -> Self {
        Self::start(Courses::Are(answer()), health, &[])
    }

    /// A server that allows web pages of these origins.
    pub(super) fn with_origins(origins: &[&str]) -> Self {
        Self::start(Courses::Are(answer()), Health::Is(healthy()), origins)
    }

    /// A server that reads this storage.
    pub(super) fn with_archive(archive: FakeArchive) -> Self {
        Self::start_with(Courses::Are(answer()), Health::Is(healthy()), &[], Some(archive.ports()))
    }

    fn start(courses: Courses, health: Health, origins: &[&str]) -> Self {
        Self::start_with(courses, health, origins, None)
    }

    fn start_with(courses: Courses, health: Health, origins: &[&str], history: Option<HistoryPorts>) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let book = FakeBook { courses, health, asked: asked.clone() }.start();
        let version = BookVersion::default();
        let setup = HttpSetup {
            courses: book.clone().recipient(),
            version: version.clone(),
            answers: true,
            health: Some(book.clone().recipient()),
            bus: None,
            directions: ["BTC-USD", "ETH-RUB"].iter().map(|text| text.parse().unwrap()).collect(),
            exchanges: Arc::new([BINANCE, KRAKEN]),
            max_connections: 2000,
            cors_origins: origins.iter().map(ToString::to_string).collect(),
            history,
            metrics: Some(Metrics::new()),
            started_at: clock::now(),
        };
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let server = serve(listener, setup).unwrap();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self { address, book, handle, version, asked }
    }

    /// Every question that the book was asked.
    pub(super) fn asked(&self) -> Vec<GetCourses> {
        self.asked.lock().unwrap().clone()
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "").await
    }

    /// Asks on a connection of its own. `headers` are whole lines, each with its end.
    pub(super) async fn ask(&self, method: &str, path: &str, headers: &str) -> Reply {
        self.send(format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes()).await
    }

    /// Sends these bytes on a connection of its own and reads one answer.
    pub(super) async fn send(&self, bytes: &[u8]) -> Reply {
        let mut connection = self.connect().await;
        connection.write(bytes).await;
        connection.read(bytes.starts_with(b"HEAD ")).await.expect("an answer")
    }

    pub(super) async fn connect(&self) -> Connection {
        Connection { stream: TcpStream::connect(self.address).await.unwrap(), unread: Vec::new() }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // The command is sent here; nobody waits for its end.
        drop(self.handle.stop(false));
    }
}

/// A connection to the server.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    pub(super) async fn write(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the server reads").unwrap();
    }

    /// Reads one answer; `None` if the server closes the connection instead. The answer to a HEAD has no body,
    /// whatever its headers say.
    pub(super) async fn read(&mut self, is_head: bool) -> Option<Reply> {
        loop {
            if let Some((reply, length)) = Reply::parse(&self.unread, is_head) {
                self.unread.drain(..length);
                return Some(reply);
            }
            let mut chunk = [0; 16 * 1024];
            match timeout(PATIENCE, self.stream.read(&mut chunk)).await.expect("an answer in time") {
                Ok(0) | Err(_) => return None,
                Ok(length) => self.unread.extend_from_slice(&chunk[..length]),
            }
        }
    }
}

/// An answer, as it came.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Reply {
    fn parse(bytes: &[u8], is_head: bool) -> Option<(Self, usize)> {
        let head_length = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&bytes[..head_length]).unwrap();
        let mut lines = head.lines();
        let status: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let announced = headers.iter().find(|(name, _)| name == "content-length");
        let has_body = !is_head && status != 304 && status != 204;
        let length = match announced {
            Some((_, length)) if has_body => length.parse().unwrap(),
            _ => 0,
        };
        let body = bytes.get(head_length..head_length + length)?;
        let body = String::from_utf8(body.to_vec()).unwrap();
        Some((Self { status, headers, body }, head_length + length))
    }

    /// The value of a header; all of them with a comma between if it came more than once.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> =
            self.headers.iter().filter(|(key, _)| key == name).map(|(_, v)| v.as_str()).collect();
        if values.is_empty() { None } else { Some(values.join(",")) }
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Every header but those that differ between any two answers.
    pub(super) fn stable_headers(&self) -> Vec<(String, String)> {
        self.headers.iter().filter(|(name, _)| name != "date").cloned().collect()
    }
}

pub(super) fn course(direction: &str, value: &str) -> Course {
    Course { direction: direction.parse().unwrap(), value: number::decimal(value).unwrap() }
}

/// An answer of Binance with everything in it.
pub(super) fn answer() -> Answer {
    Answer {
        exchanger: BINANCE,
        courses: vec![course("BTC-USD", "64321.500250"), course("USDTTRC-USD", "0.00000012")],
        age: Duration::from_millis(1999),
        legs: vec![
            ReferenceLeg {
                direction: "USDT-USD".parse().unwrap(),
                source: Some(KRAKEN),
                age: Duration::from_millis(310),
                held: true,
            },
            ReferenceLeg {
                direction: "USD-RUB".parse().unwrap(),
                source: None,
                age: Duration::ZERO,
                held: false,
            },
        ],
        missing: vec!["ETH-RUB".parse().unwrap()],
        sequence: 447_000_000_000_256,
        at: clock::now(),
        version: 0,
        fresh_for: Duration::ZERO,
    }
}

pub(super) fn healthy() -> BookHealth {
    BookHealth {
        can_answer: true,
        impairments: Vec::new(),
        answering: Some(BINANCE),
        exchanges: Vec::new(),
        legs: Vec::new(),
        disagreements: Vec::new(),
        failovers: BTreeMap::new(),
        left_to_store: None,
    }
}
