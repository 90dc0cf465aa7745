//! Processes of one role each, around a simulator and a broker.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use awc::Client;
use ratebook::exchange::EXCHANGES;
use ratebook::simulator::{Simulator, SimulatorOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use crate::support::PATIENCE;
use crate::support::exchanges;
use crate::support::nats::Nats;
use crate::support::program::{Running, ratebook};

/// One answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
    pub(super) body: Value,
    pub(super) sequence: Option<u64>,
    pub(super) etag: Option<String>,
    pub(super) age: Option<Duration>,
}

/// A simulator, a broker, and a place for the files of the processes.
pub(super) struct Site {
    pub(super) nats: Nats,
    pub(super) simulator: Simulator,
    pub(super) client: Client,
    directory: TempDir,
}

impl Site {
    pub(super) async fn start() -> Self {
        Self::with(Nats::start).await
    }

    pub(super) async fn with(nats: impl FnOnce() -> Nats + Send + 'static) -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = SimulatorOptions { listen, seed: 7, speed: 60.0, replay: Vec::new() };
        Self {
            nats: tokio::task::spawn_blocking(nats).await.unwrap(),
            simulator: Simulator::start(options).await.unwrap(),
            client: Client::builder().timeout(Duration::from_secs(5)).finish(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// A file of this site's.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A process of these roles.
    pub(super) fn node(&self, name: &str, roles: &str, environment: &[(&str, &str)]) -> Node {
        let directory = self.path(name);
        let mut command = ratebook(&directory);
        for row in EXCHANGES {
            let prefix = format!("RATEBOOK_EXCHANGES__{}__", row.name.as_str().to_ascii_uppercase());
            let (rest_url, ws_url) = row.served_at(self.simulator.address());
            command.env(format!("{prefix}REST_URL"), rest_url).env(format!("{prefix}WS_URL"), ws_url);
        }
        for row in exchanges::unusual().filter(|row| row.name.as_str() != "kraken") {
            let name = row.name.as_str().to_ascii_uppercase();
            command.env(format!("RATEBOOK_EXCHANGES__{name}__ENABLED"), "false");
        }
        command.env("RATEBOOK_LISTEN", "127.0.0.1:0").env("RATEBOOK_ROLES", roles);
        command.env("RATEBOOK_NATS_URL", self.nats.url());
        command.env("RATEBOOK_DATABASE_URL", database_url(&self.path("ratebook.db")));
        command.envs(environment.iter().copied()).arg("serve");
        Node::start(directory, command, self.client.clone())
    }

    pub(super) async fn stop(self) {
        self.simulator.stop().await;
    }
}

pub(super) fn database_url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

/// A process, killed when it is dropped.
pub(super) struct Node {
    pub(super) running: Running,
    address: SocketAddr,
    log: PathBuf,
    client: Client,
}

impl Node {
    fn start(directory: PathBuf, mut command: Command, client: Client) -> Self {
        fs::create_dir_all(&directory).unwrap();
        let log = directory.join("log");
        let errors = File::options().create(true).append(true).open(&log).unwrap();
        let before = fs::read_to_string(&log).unwrap().len();
        let running = Running(command.stderr(errors).spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        let address = loop {
            let text = fs::read_to_string(&log).unwrap();
            let url = text[before..].lines().find_map(|line| line.split_once("listening on http://"));
            if let Some((_, url)) = url {
                break url.split('/').next().unwrap().parse().unwrap();
            }
            assert!(Instant::now() < deadline, "it does not listen: {text}");
            thread::sleep(Duration::from_millis(10));
        };
        Self { running, address, log, client }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.try_get(path).await.unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.log()))
    }

    async fn try_get(&self, path: &str) -> Result<Answer, String> {
        let request = self.client.get(format!("http://{}{path}", self.address));
        let mut response = request.send().await.map_err(|error| error.to_string())?;
        let body = response.body().limit(16 << 20).await.map_err(|error| error.to_string())?;
        let header = |name: &str| response.headers().get(name).map(|it| it.to_str().unwrap().to_owned());
        let number = |name: &str| header(name).map(|text| text.parse::<u64>().unwrap());
        Ok(Answer {
            status: response.status().as_u16(),
            text: String::from_utf8_lossy(&body).into_owned(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
            sequence: number("ratebook-sequence"),
            etag: header("etag"),
            age: number("ratebook-age-ms").map(Duration::from_millis),
        })
    }

    pub(super) async fn health(&self) -> Value {
        self.get("/health").await.body
    }

    /// Asks until the answer is as wanted; says how long that took.
    pub(super) async fn until(&self, path: &str, is_wanted: impl Fn(&Answer) -> bool) -> Duration {
        let began = Instant::now();
        let mut last = None;
        let asking = async {
            loop {
                let answer = self.get(path).await;
                if is_wanted(&answer) {
                    return;
                }
                last = Some(answer);
                sleep(Duration::from_millis(10)).await;
            }
        };
        let is_in_time = timeout(PATIENCE, asking).await.is_ok();
        assert!(is_in_time, "{path} was not as wanted within {PATIENCE:?}: {last:?}\n{}", self.log());
        began.elapsed()
    }

    /// Waits for courses of Binance.
    pub(super) async fn until_it_answers(&self) -> Duration {
        self.until("/v1/courses", |answer| answer.body["exchanger"] == "binance").await
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}
