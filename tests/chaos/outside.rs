//! What is kept outside of the service: the process itself, the list of what it accepted, and independent readers of the
//! outbox and of the databases.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::service::{Plan, number_of};
use crate::support::sqlite;

/// How long anything may take that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A running service.
pub(crate) struct Outside {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Every number that was told as accepted is at most the second, when the first had passed.
    accepted: Arc<Mutex<Vec<(Instant, u64)>>>,
    /// How many quotes there were, once it quotes nothing more.
    total: Arc<Mutex<Option<u64>>>,
    log: std::path::PathBuf,
}

/// How a service ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) took: Duration,
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
}

impl Outside {
    /// Starts the service, and returns once it listens.
    pub(crate) fn start(plan: &Plan, fail_points: &str) -> Self {
        let log = plan.directory.join("log");
        let errors = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(plan.arguments())
            .current_dir(&plan.directory)
            .env("FAILPOINTS", fail_points)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().and_then(Result::ok).unwrap_or_default();
        let address = first.strip_prefix("listening ").and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| {
            panic!("the service did not start: {}", fs::read_to_string(&log).unwrap_or_default())
        });
        let accepted = Arc::<Mutex<Vec<(Instant, u64)>>>::default();
        let total = Arc::<Mutex<Option<u64>>>::default();
        let (list, said) = (accepted.clone(), total.clone());
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                match line.split_once(' ').map(|(word, number)| (word, number.parse())) {
                    Some(("accepted", Ok(number))) => list.lock().unwrap().push((Instant::now(), number)),
                    Some(("quiet", Ok(number))) => *said.lock().unwrap() = Some(number),
                    _ => {}
                }
            }
        });
        Self { child, address, accepted, total, log }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last number that was told as accepted until then.
    pub(crate) fn accepted_until(&self, until: Instant) -> Option<u64> {
        let accepted = self.accepted.lock().unwrap();
        accepted.iter().rev().find(|(at, _)| *at <= until).map(|(_, number)| *number)
    }

    /// When this number was told as accepted.
    pub(crate) fn told_at(&self, number: u64) -> Instant {
        let accepted = self.accepted.lock().unwrap();
        accepted.iter().find(|(_, told)| *told >= number).map(|(at, _)| *at).unwrap()
    }

    /// Waits until this number was told as accepted.
    pub(crate) fn wait_for(&self, number: u64) {
        wait_until("the service accepts quotes", || {
            self.accepted_until(Instant::now()).is_some_and(|accepted| accepted >= number)
        });
    }

    /// Ends it as a power cut of the process would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Makes it quote nothing more, and says how many quotes there were, of all directions.
    pub(crate) fn quiet(&self) -> u64 {
        self.signal("-USR1");
        wait_until("the service is quiet", || self.total.lock().unwrap().is_some());
        self.total.lock().unwrap().unwrap_or_default()
    }

    /// Ends it as an orchestrator would.
    pub(crate) fn terminate(&mut self) -> Ended {
        let began = Instant::now();
        self.signal("-TERM");
        let mut code = None;
        wait_until("the service ends", || match self.child.try_wait().unwrap() {
            Some(status) => {
                code = status.code();
                true
            }
            None => false,
        });
        Ended { took: began.elapsed(), code }
    }

    fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// What it and those before it in the same directory have logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Resident memory in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// `storage` of `/health`.
    pub(crate) fn storage(&self) -> serde_json::Value {
        crate::load::get(self.address, "/health").1["storage"].clone()
    }

    /// Waits until the database keeps up again, and says how long that took.
    pub(crate) fn drain(&self) -> Duration {
        let began = Instant::now();
        wait_until("everything is in the database", || {
            let storage = self.storage();
            storage["status"] == "ok" && storage["lag_ms"].as_u64().is_some_and(|lag| lag < 2_000)
        });
        began.elapsed()
    }

    /// Waits until nothing waits any more, of a service that quotes nothing.
    pub(crate) fn settle(&self) {
        wait_until("nothing waits", || {
            let storage = self.storage();
            storage["status"] == "ok" && storage["waiting_rows"] == 0 && storage["outbox_rows"] == 0
        });
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits for a condition.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The numbers that a stopped service's outbox holds, read without the service's own code.
pub(crate) fn numbers_in_outbox(path: &Path) -> BTreeSet<u64> {
    if !path.exists() {
        return BTreeSet::new();
    }
    let bodies = sqlite::rows(path, "SELECT CAST(body AS TEXT) FROM batches ORDER BY id");
    let lines = bodies.iter().flat_map(|row| row[0].lines());
    let quotes = lines.map(|line| line.split('\t').collect::<Vec<_>>());
    quotes
        .filter(|fields| fields.get(1..4) == Some(&["quote", "binance", "BTC-USDT"]))
        .map(|fields| number_of(fields[5]))
        .collect()
}
