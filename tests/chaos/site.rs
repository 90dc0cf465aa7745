//! The program and a simulator as processes: what a row of the market side breaks, and how it looks at it.
//!
//! Every exchange is behind a port of its own, so that it can refuse for real. Times are scaled down by settings;
//! tolerances are not.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use ratebook::exchange::{self, EXCHANGES, Kind};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::outside::wait_until;
use crate::wire::{Answer, Wire};

/// What a course of a market may be old in rows, and of the aggregator, which stamps whole seconds.
pub(crate) const STALE_AFTER: Duration = Duration::from_secs(1);
pub(crate) const AGGREGATOR_STALE_AFTER: Duration = Duration::from_secs(3);
pub(crate) const FAIL_BACK_AFTER: Duration = Duration::from_secs(1);

/// The simulator's seconds in one of ours: the aggregator renews its body every second.
const SPEED: u32 = 60;

/// Settings of a site before it starts.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    exchanges: Vec<&'static str>,
    settings: BTreeMap<String, String>,
    /// Settings of one exchange.
    of_exchanges: BTreeMap<&'static str, BTreeMap<String, String>>,
    environment: BTreeMap<String, String>,
    /// What stands before the program, and its arguments behind `serve`.
    launcher: Vec<String>,
    arguments: Vec<String>,
    /// Whether fail points can be set while the service runs.
    takes_fail_points: bool,
    seed: u64,
    simulator_speed: u32,
}

impl Plan {
    /// A site of these exchanges, in this order of priority; fiat sources may stand among them.
    pub(crate) fn of(exchanges: &[&'static str], seed: u64) -> Self {
        let mut plan = Self {
            exchanges: exchanges.to_vec(),
            settings: BTreeMap::new(),
            of_exchanges: BTreeMap::new(),
            environment: BTreeMap::new(),
            launcher: Vec::new(),
            arguments: Vec::new(),
            takes_fail_points: false,
            seed,
            simulator_speed: SPEED,
        };
        plan.set("fail_back_after", &quoted(&format!("{}ms", FAIL_BACK_AFTER.as_millis())));
        for name in exchanges {
            let (stale_after, poll_every) = match exchange::row(name).unwrap().kind {
                Kind::Fiat { .. } => continue,
                _ if *name == "coingecko" => (AGGREGATOR_STALE_AFTER, 400),
                _ => (STALE_AFTER, 300),
            };
            plan.set_of(name, "stale_after", &quoted(&format!("{}ms", stale_after.as_millis())));
            plan.set_of(name, "poll_every", &quoted(&format!("{poll_every}ms")));
        }
        plan
    }

    /// With another setting; the value as TOML.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.set(key, value);
        self
    }

    /// With another setting of one exchange; the value as TOML.
    pub(crate) fn with_of(mut self, exchange: &'static str, key: &str, value: &str) -> Self {
        self.set_of(exchange, key, value);
        self
    }

    /// With an exchange at other addresses.
    pub(crate) fn at(self, exchange: &'static str, rest_url: &str, ws_url: &str) -> Self {
        self.with_of(exchange, "rest_url", &quoted(rest_url)).with_of(exchange, "ws_url", &quoted(ws_url))
    }

    /// With a variable of the environment.
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With another argument of `serve`.
    pub(crate) fn with_argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// With a program that becomes the service: it is given the service and its arguments.
    pub(crate) fn launched_by(self, launcher: &[&str]) -> Self {
        Self { launcher: launcher.iter().map(|&word| word.to_owned()).collect(), ..self }
    }

    /// With fail points, as the crate `fail` reads them.
    pub(crate) fn with_fail_points(self, fail_points: &str) -> Self {
        self.with_variable("FAILPOINTS", fail_points)
    }

    /// With a service that [`Site::fail`] can break while it runs.
    pub(crate) fn breakable(self) -> Self {
        Self { takes_fail_points: true, ..self }
    }

    pub(crate) fn with_simulator_speed(self, simulator_speed: u32) -> Self {
        Self { simulator_speed, ..self }
    }

    pub(crate) fn exchanges(&self) -> &[&'static str] {
        &self.exchanges
    }

    fn set(&mut self, key: &str, value: &str) {
        self.settings.insert(key.to_owned(), value.to_owned());
    }

    fn set_of(&mut self, exchange: &'static str, key: &str, value: &str) {
        self.of_exchanges.entry(exchange).or_default().insert(key.to_owned(), value.to_owned());
    }

    fn toml(&self, directory: &Path, simulator: &Value, address: SocketAddr) -> String {
        let mut toml = String::new();
        let path = |name: &str| quoted(&directory.join(name).display().to_string());
        let named = |wanted: fn(&Kind) -> bool| {
            let names = self.exchanges.iter().filter(|name| wanted(&exchange::row(name).unwrap().kind));
            format!("[{}]", names.map(|name| quoted(name)).collect::<Vec<_>>().join(", "))
        };
        let mut settings = BTreeMap::from([
            ("listen".to_owned(), quoted("127.0.0.1:0")),
            ("database_url".to_owned(), quoted("sqlite://:memory:")),
            ("state_file".to_owned(), path("state.json")),
            ("storage.outbox".to_owned(), path("outbox.db")),
            ("priority".to_owned(), named(|kind| !matches!(kind, Kind::Fiat { .. }))),
            ("fiat_priority".to_owned(), named(|kind| matches!(kind, Kind::Fiat { .. }))),
        ]);
        if self.exchanges.contains(&"coingecko") {
            settings.insert("reference_priority".to_owned(), "[\"coingecko\"]".to_owned());
        }
        // A list without items is no setting.
        settings.retain(|_, value| value != "[]");
        settings.extend(self.settings.clone());
        for (key, value) in &settings {
            writeln!(toml, "{key} = {value}").unwrap();
        }
        for row in EXCHANGES {
            let name = row.name.as_str();
            writeln!(toml, "[exchanges.{name}]\nenabled = {}", self.exchanges.contains(&name)).unwrap();
            let (rest_url, ws_url) = row.served_at(address.to_string());
            let at_port = |url: String, port: &Value| match port.as_u64() {
                Some(port) => url.replace(&address.to_string(), &format!("127.0.0.1:{port}")),
                None => url,
            };
            let mut own = BTreeMap::from([
                ("rest_url".to_owned(), quoted(&at_port(rest_url, &simulator[name]["rest"]))),
                ("ws_url".to_owned(), quoted(&at_port(ws_url, &simulator[name]["ws"]))),
            ]);
            own.extend(self.of_exchanges.get(name).cloned().unwrap_or_default());
            for (key, value) in own {
                writeln!(toml, "{key} = {value}").unwrap();
            }
        }
        toml
    }
}

/// Text as TOML.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The program: the one of this build, or the one that `RATEBOOK_PROGRAM` names, such as a release.
fn program() -> PathBuf {
    std::env::var_os("RATEBOOK_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_ratebook").into(), PathBuf::from)
}

/// The program with fail points that can be set while it runs: this runner, which reads them from its standard input.
fn breakable_program() -> Vec<OsString> {
    vec![std::env::current_exe().unwrap().into(), "--program".into()]
}

/// The program as a process of its own; it is killed with its handle.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    /// Where fail points are told.
    fail_points: Option<ChildStdin>,
}

impl Process {
    /// Starts the program in this directory, without our own variables. What it says goes to a file there.
    pub(crate) fn start(
        directory: &Path,
        name: &str,
        arguments: &[&str],
        environment: &BTreeMap<String, String>,
    ) -> Self {
        let mut command = Command::new(program());
        command.args(arguments).stdin(Stdio::null());
        Self::spawn(command, directory, name, environment)
    }

    fn spawn(
        mut command: Command,
        directory: &Path,
        name: &str,
        environment: &BTreeMap<String, String>,
    ) -> Self {
        let log = directory.join(format!("{name}.log"));
        let errors = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let output = errors.try_clone().unwrap();
        command.current_dir(directory).env_clear().envs(environment).stdout(output).stderr(errors);
        let mut child = command.spawn().unwrap();
        let fail_points = child.stdin.take();
        Self { child, log, fail_points }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last address that its log names after these words.
    fn address_after(&mut self, words: &str, from: usize) -> SocketAddr {
        let mut found = None;
        wait_until(words, || {
            let reader = BufReader::new(fs::File::open(&self.log).unwrap());
            let lines = reader.lines().map_while(Result::ok);
            found = lines.skip(from).find_map(|line| {
                let (_, rest) = line.split_once(words)?;
                rest.split(|c: char| c != '.' && c != ':' && !c.is_ascii_digit()).next()?.parse().ok()
            });
            assert!(
                found.is_some() || self.child.try_wait().unwrap().is_none(),
                "the program ended: {}",
                fs::read_to_string(&self.log).unwrap_or_default()
            );
            found.is_some()
        });
        found.unwrap()
    }

    /// Sends a signal, such as `-TERM`.
    pub(crate) fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.pid().to_string()]).status().unwrap().success());
    }

    /// Ends it as a power cut of the process would.
    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        self.child.wait().unwrap();
    }

    /// Waits for its end, and says the exit code; `None` if a signal ended it.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let mut code = None;
        wait_until("the program ends", || match self.child.try_wait().unwrap() {
            Some(status) => {
                code = status.code();
                true
            }
            None => false,
        });
        code
    }

    /// A line of its `/proc/PID/status`, as a number: `VmRSS` in KiB, `Threads`.
    pub(crate) fn status_of(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Its open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Processor time that it has taken, of user and system.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = rest.split(' ').collect();
        // Fields 14 and 15 of the whole line, in hundredths of a second.
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sites for each processor: more would measure how long each waits for the others.
const SITES_FOR_A_PROCESSOR: usize = 3;

/// How many sites run.
static RUNNING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// The right to run a site. Whoever holds one and waits for another may wait for ever.
struct Permit;

impl Permit {
    fn wait() -> Self {
        let most = thread::available_parallelism().map_or(1, usize::from) * SITES_FOR_A_PROCESSOR;
        let (running, ended) = (&RUNNING.0, &RUNNING.1);
        let mut running = ended.wait_while(running.lock().unwrap(), |running| *running >= most).unwrap();
        *running += 1;
        Self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *RUNNING.0.lock().unwrap() -= 1;
        RUNNING.1.notify_one();
    }
}

/// A running site.
pub(crate) struct Site {
    pub(crate) plan: Plan,
    pub(crate) service: Process,
    /// Where the service answers.
    pub(crate) address: SocketAddr,
    /// Ends with the site.
    _simulator: Process,
    pub(crate) simulator_address: SocketAddr,
    directory: TempDir,
    _permit: Permit,
}

impl Site {
    /// Starts both, and returns once the service listens.
    pub(crate) fn start(plan: Plan) -> Self {
        Self::start_after(plan, |_| {})
    }

    /// Starts the simulator, does something to it, and starts the service then.
    pub(crate) fn start_after(plan: Plan, prepare: impl FnOnce(&Control)) -> Self {
        let permit = Permit::wait();
        let directory = tempfile::tempdir().unwrap();
        let (seed, speed) = (plan.seed.to_string(), plan.simulator_speed.to_string());
        let arguments = ["simulate", "--listen", "127.0.0.1:0", "--seed", &seed, "--speed", &speed];
        let mut simulator = Process::start(directory.path(), "simulator", &arguments, &BTreeMap::new());
        let simulator_address = simulator.address_after("simulator listens on http://", 0);
        let control = Control { address: simulator_address };
        prepare(&control);
        let ports = control.get("ports");
        fs::write(
            directory.path().join("ratebook.toml"),
            plan.toml(directory.path(), &ports, simulator_address),
        )
        .unwrap();
        let (service, address) = serve(&plan, directory.path());
        Self { plan, service, address, _simulator: simulator, simulator_address, directory, _permit: permit }
    }

    /// A site whose service answers with courses of the first exchange, over its socket if it has one.
    pub(crate) fn settled(plan: Plan) -> Self {
        let site = Self::start(plan);
        site.settle();
        site
    }

    /// Sets a fail point of a breakable service, as the crate `fail` reads its actions.
    pub(crate) fn fail(&self, point: &str, actions: &str) {
        let mut input = self.service.fail_points.as_ref().expect("a breakable service");
        writeln!(input, "{point}={actions}").unwrap();
    }

    /// Waits until every exchange is fresh, and the first answers.
    pub(crate) fn settle(&self) {
        wait_until("every exchange is fresh, and the first answers", || {
            let health = self.health();
            let rows = health["exchanges"].as_array().cloned().unwrap_or_default();
            let is_well = |row: &Value| match row["status"].as_str() {
                Some("disabled") => true,
                status => {
                    status == Some("fresh")
                        && (row["name"] == "coingecko" || row["transport"] == "websocket" || !has_socket(row))
                }
            };
            !rows.is_empty() && rows.iter().all(is_well) && health["answering"] == self.plan.exchanges[0]
        });
    }

    /// Starts the service anew, on what the one before it left behind.
    pub(crate) fn restart(&mut self) {
        let (service, address) = serve(&self.plan, self.directory.path());
        (self.service, self.address) = (service, address);
    }

    pub(crate) fn control(&self) -> Control {
        Control { address: self.simulator_address }
    }

    /// One question to the service, on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Answer {
        Wire::to(self.address).ask(path).unwrap_or_default()
    }

    pub(crate) fn health(&self) -> Value {
        self.get("/health").json()
    }

    /// The row of an exchange in `/health`.
    pub(crate) fn health_of(&self, exchange: &str) -> Value {
        let health = self.health();
        let rows = health["exchanges"].as_array().cloned().unwrap_or_default();
        rows.into_iter().find(|row| row["name"] == exchange).unwrap_or_default()
    }

    /// Asks until an answer is as wanted, and says how long that took from the call.
    pub(crate) fn until(&self, path: &str, is_wanted: impl Fn(&Answer) -> bool) -> Duration {
        let began = Instant::now();
        let mut wire = Wire::to(self.address);
        wait_until(path, || wire.ask(path).is_ok_and(|reply| is_wanted(&reply)));
        began.elapsed()
    }

    /// The settings file and whatever else the service keeps.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }
}

fn has_socket(row: &Value) -> bool {
    let name = row["name"].as_str().unwrap_or_default();
    exchange::row(name).is_some_and(|row| !row.ws_url.is_empty())
}

fn serve(plan: &Plan, directory: &Path) -> (Process, SocketAddr) {
    let from = fs::read_to_string(directory.join("service.log")).map_or(0, |log| log.lines().count());
    let program = if plan.takes_fail_points { breakable_program() } else { vec![program().into()] };
    let words: Vec<OsString> = plan.launcher.iter().map(OsString::from).chain(program).collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg("serve").args(&plan.arguments);
    command.stdin(if plan.takes_fail_points { Stdio::piped() } else { Stdio::null() });
    let mut service = Process::spawn(command, directory, "service", &plan.environment);
    let address = service.address_after("listening on http://", from);
    (service, address)
}

/// Orders to the simulator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Control {
    pub(crate) address: SocketAddr,
}

impl Control {
    /// `/control/<path>`.
    pub(crate) fn get(&self, path: &str) -> Value {
        Wire::to(self.address).ask(&format!("/control/{path}")).unwrap().json()
    }

    /// Plays a fault.
    pub(crate) fn break_exchange(&self, exchange: &str, fault: &Value) {
        self.post(&format!("{exchange}/faults"), fault);
    }

    /// Plays a fault, and gives its number.
    pub(crate) fn order(&self, exchange: &str, fault: &Value) -> u64 {
        let mut wire = Wire::to(self.address);
        let reply = wire.send("POST", &format!("/control/{exchange}/faults"), &fault.to_string()).unwrap();
        reply.json()["id"].as_u64().unwrap_or_else(|| panic!("{exchange} {fault}: {}", reply.body))
    }

    /// Ends the fault of this number.
    pub(crate) fn end(&self, exchange: &str, number: u64) {
        let mut wire = Wire::to(self.address);
        let reply = wire.send("DELETE", &format!("/control/{exchange}/faults?id={number}"), "").unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
    }

    /// Any order.
    pub(crate) fn post(&self, path: &str, body: &Value) {
        let mut wire = Wire::to(self.address);
        let reply = wire.send("POST", &format!("/control/{path}"), &body.to_string()).unwrap();
        assert_eq!(reply.status, 200, "{path} {body}: {}", reply.body);
    }

    /// Ends every fault of an exchange.
    pub(crate) fn mend(&self, exchange: &str) {
        let mut wire = Wire::to(self.address);
        let reply = wire.send("DELETE", &format!("/control/{exchange}/faults"), "").unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
    }

    /// What an exchange was asked since an entry: entries of this kind (`request`, `connect`, `frame`, `pong`, `close`).
    pub(crate) fn log(&self, exchange: &str, kind: &str, after: u64) -> Vec<Value> {
        let told = self.get(&format!("log?exchange={exchange}&kind={kind}&after={after}"));
        told["entries"].as_array().cloned().unwrap_or_default()
    }

    /// The number of the newest entry of the log.
    pub(crate) fn newest_entry(&self) -> u64 {
        let told = self.get("log");
        let entries = told["entries"].as_array().cloned().unwrap_or_default();
        entries.last().and_then(|entry| entry["id"].as_u64()).unwrap_or_default()
    }
}
