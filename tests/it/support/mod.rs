//! The whole service and a simulator in one process, over real sockets, for tests that break exchanges.

use std::net::SocketAddr;
use std::time::Duration;

use actix::Addr;
use awc::Client;
use ratebook::app::Service;
use ratebook::config::Settings;
use ratebook::exchange::EXCHANGES;
use ratebook::rate_book::RateBook;
use ratebook::simulator::{Simulator, SimulatorOptions};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

pub(crate) mod bad_requests;
pub(crate) mod exchanges;
pub(crate) mod nats;
pub(crate) mod postgres;
pub(crate) mod program;
pub(crate) mod sqlite;

/// How long a test waits for what has to happen some time; the limits that it checks are shorter.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Whoever measures times of many things at once, or loads the machine, has it for itself: beside each other such tests
/// would be trials of the processor. The others may run meanwhile, because they are small.
pub(crate) static MACHINE: Mutex<()> = Mutex::const_new(());

/// A service whose exchanges are simulated.
pub(crate) struct World {
    pub(crate) simulator: SocketAddr,
    pub(crate) service: SocketAddr,
    pub(crate) client: Client,
    running: (Simulator, Service),
    /// Where bans are remembered, and quotes wait for PostgreSQL; removed with the world.
    _directory: tempfile::TempDir,
}

/// One answer of `/v1/courses`.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The body as it came, for numbers digit by digit.
    pub(crate) text: String,
    /// The same as JSON; null if it is none.
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn exchanger(&self) -> Option<&str> {
        self.body["exchanger"].as_str()
    }
}

impl World {
    /// Starts both; every exchange is reached through a port of its own, so that it can refuse for real.
    pub(crate) async fn start(seed: u64, speed: f64, change: impl FnOnce(&mut Settings)) -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = SimulatorOptions { listen, seed, speed, replay: Vec::new() };
        Self::start_with(options, change).await
    }

    pub(crate) async fn start_with(options: SimulatorOptions, change: impl FnOnce(&mut Settings)) -> Self {
        Self::around(Simulator::start(options).await.unwrap(), change).await
    }

    /// Starts a service for a simulator that somebody else may be listening to already.
    pub(crate) async fn around(simulator: Simulator, change: impl FnOnce(&mut Settings)) -> Self {
        let address = simulator.address();
        let client = Client::builder().timeout(Duration::from_secs(5)).finish();
        let ports = get(&client, &format!("http://{address}/control/ports")).await.body;

        let directory = tempfile::tempdir().unwrap();
        let mut settings = Settings {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            state_file: directory.path().join("state.json"),
            database_url: "sqlite://:memory:".to_owned(),
            ..Settings::default()
        };
        settings.storage.outbox = directory.path().join("outbox.db");
        for row in EXCHANGES {
            let exchange = settings.exchanges.get_mut(&row.name).unwrap();
            let (rest_url, ws_url) = row.served_at(address);
            let port = |which: &str| ports[row.name.as_str()][which].as_u64();
            let at_port = |url: String, port: Option<u64>| match port {
                Some(port) => url.replace(&address.to_string(), &format!("127.0.0.1:{port}")),
                None => url,
            };
            exchange.rest_url = at_port(rest_url, port("rest"));
            exchange.ws_url = at_port(ws_url, port("ws"));
        }
        for row in exchanges::unusual() {
            settings.exchanges.get_mut(&row.name).unwrap().enabled = false;
        }
        change(&mut settings);
        let exchanges = &settings.exchanges;
        settings.priority.retain(|name| exchanges[name].enabled);
        settings.reference_priority.retain(|name| exchanges[name].enabled);
        settings.fiat_priority.retain(|name| exchanges[name].enabled);
        let service = Service::start(settings).await.unwrap();
        Self {
            simulator: address,
            service: service.address(),
            client,
            running: (simulator, service),
            _directory: directory,
        }
    }

    pub(crate) async fn stop(self) {
        let (simulator, service) = self.running;
        service.stop().await;
        simulator.stop().await;
    }

    /// The service's hub.
    pub(crate) fn book(&self) -> &Addr<RateBook> {
        self.running.1.book()
    }

    /// Asks the service.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        get(&self.client, &format!("http://{}{path}", self.service)).await
    }

    /// Asks the service for CSV: the rows without the line of names.
    pub(crate) async fn csv(&self, path: &str) -> Vec<Vec<String>> {
        let url = format!("http://{}{path}", self.service);
        let mut response = self.client.get(url).insert_header(("accept", "text/csv")).send().await.unwrap();
        let body = response.body().limit(16 << 20).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(response.status(), 200, "{path}: {text}");
        text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
    }

    /// What `/health` says of the storage.
    pub(crate) async fn storage(&self) -> Value {
        self.get("/health").await.body["storage"].clone()
    }

    /// Breaks an exchange.
    pub(crate) async fn break_exchange(&self, exchange: &str, fault: Value) {
        let url = format!("http://{}/control/{exchange}/faults", self.simulator);
        let mut answer = self.client.post(url).send_json(&fault).await.unwrap();
        let body = answer.body().await.unwrap();
        assert_eq!(answer.status(), 200, "{fault}: {body:?}");
    }

    /// Mends it.
    pub(crate) async fn mend(&self, exchange: &str) {
        let url = format!("http://{}/control/{exchange}/faults", self.simulator);
        let answer = self.client.delete(url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }

    /// What the simulator knows.
    pub(crate) async fn control(&self, path: &str) -> Value {
        get(&self.client, &format!("http://{}/control/{path}", self.simulator)).await.body
    }

    /// Asks until the answer is as wanted; says how long that took.
    pub(crate) async fn until(&self, path: &str, is_wanted: impl Fn(&Answer) -> bool) -> Duration {
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
        let in_time = timeout(PATIENCE, asking).await.is_ok();
        assert!(in_time, "{path} was not as wanted within {PATIENCE:?}: {last:?}");
        began.elapsed()
    }

    /// The row of an exchange in `/health`.
    pub(crate) async fn health_of(&self, exchange: &str) -> Value {
        let health = self.get("/health").await.body;
        let rows = health["exchanges"].as_array().cloned().unwrap_or_default();
        rows.into_iter().find(|row| row["name"] == exchange).unwrap_or_default()
    }
}

async fn get(client: &Client, url: &str) -> Answer {
    let mut response = client.get(url).send().await.unwrap();
    let text = response.body().limit(16 << 20).await.unwrap();
    Answer {
        status: response.status().as_u16(),
        body: serde_json::from_slice(&text).unwrap_or_default(),
        text: String::from_utf8_lossy(&text).into_owned(),
    }
}
