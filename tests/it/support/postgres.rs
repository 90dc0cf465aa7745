//! A PostgreSQL server of a test's own, which can be broken as servers break.
//!
//! Everything ends with the test, also when it panics: server and mount are kept by a shell that ends them as soon as
//! its standard input is closed, which the system does even for a process that is killed. All methods block their
//! thread; a test that shares its thread with what it tests calls them on another.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tempfile::TempDir;

use self::keeper::Keeper;
use self::programs::{Programs, succeed};

pub(crate) mod keeper;
mod programs;

/// The role and the database of the program under test, which owns its database and is no superuser.
const OURS: &str = "ratebook";

const PASSWORD: &str = "first";

/// Written once into the template of every server.
const CREATE_OURS: &str =
    "CREATE ROLE ratebook LOGIN PASSWORD 'first'\nCREATE DATABASE ratebook OWNER ratebook\n";

/// Ports below those that the system gives to outgoing connections, so that nobody takes one while its server is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

const NUM_TRIES: usize = 5;

/// A running server. Its superuser is `postgres`, and may connect through the socket in `directory` without a password.
#[derive(Debug)]
pub(crate) struct Postgres {
    // In the order in which they have to go.
    server: Option<Keeper>,
    disk: Option<Keeper>,
    directory: TempDir,
    programs: Programs,
    data: PathBuf,
    port: u16,
    fsync: &'static str,
}

/// A lock that is held until this is dropped, or for as long as was said.
#[derive(Debug)]
pub(crate) struct TableLock(Child);

impl Drop for TableLock {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Postgres {
    /// A server that survives `kill`, and not the loss of power.
    pub(crate) fn start() -> Self {
        Self::begin("off", None)
    }

    /// A server that waits for its disk with every commit. After a crash it first syncs each of its files, which takes
    /// seconds on a busy disk; a mere `kill` loses nothing of the others either.
    pub(crate) fn start_durable() -> Self {
        Self::begin("on", None)
    }

    /// A server whose disk is no larger than this; an empty database takes some 25 MB.
    pub(crate) fn on_small_disk(num_bytes: u64) -> Self {
        Self::begin("off", Some(num_bytes))
    }

    fn begin(fsync: &'static str, disk_size: Option<u64>) -> Self {
        let programs = Programs::find();
        let template = programs.template(CREATE_OURS);
        let directory = programs.directory();
        let mount_point = directory.path().join("disk");
        let disk = disk_size.map(|num_bytes| Keeper::mount(&mount_point, num_bytes));
        let data = if disk.is_some() { mount_point.join("data") } else { directory.path().join("data") };
        programs.copy(&template, &data);
        let mut postgres = Self { server: None, disk, directory, programs, data, port: 0, fsync };
        for _ in 0..NUM_TRIES {
            postgres.port = free_port();
            if postgres.try_start() {
                return postgres;
            }
        }
        panic!("PostgreSQL does not start: {}", postgres.log());
    }

    /// Where the program under test finds it, over TCP.
    pub(crate) fn url(&self) -> String {
        format!("postgres://{OURS}:{PASSWORD}@127.0.0.1:{}/{OURS}", self.port)
    }

    /// Asks as superuser, in the database of the program under test: rows of texts, NULL as an empty one.
    pub(crate) fn psql(&self, sql: &str) -> Vec<Vec<String>> {
        self.ask(OURS, sql)
    }

    fn ask(&self, database: &str, sql: &str) -> Vec<Vec<String>> {
        let text = succeed(self.client(database).args(["-c", sql]));
        text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    }

    fn client(&self, database: &str) -> Command {
        let mut command = Command::new(self.programs.path("psql"));
        command.env_clear().arg("-h").arg(self.directory.path()).args(["-p", &self.port.to_string()]);
        command.args(["-U", "postgres", "-d", database, "-XqAt", "-F", "\t", "-v", "ON_ERROR_STOP=1"]);
        command
    }

    /// Ends it as a crash does: connections break, and nothing is written any more.
    pub(crate) fn stop_immediately(&mut self) {
        self.stop("QUIT");
    }

    /// Kills one process that serves the program under test, over which the server starts anew by itself.
    pub(crate) fn kill_backend(&self) {
        let sql = format!("SELECT pid FROM pg_stat_activity WHERE usename = '{OURS}' LIMIT 1");
        if let Some(process) = self.ask("postgres", &sql).first().and_then(|row| row.first()) {
            // It may have ended by itself meanwhile.
            Command::new("kill").args(["-KILL", process]).stderr(Stdio::null()).status().unwrap();
        }
    }

    /// Starts what was stopped, or has ended by itself, at the same place.
    pub(crate) fn start_again(&mut self) {
        self.server = None;
        assert!(self.try_start(), "PostgreSQL does not start again: {}", self.log());
    }

    /// Stops it in good order, and starts it again.
    pub(crate) fn restart(&mut self) {
        self.stop("INT");
        self.start_again();
    }

    /// Stops every process of it, so that connections stay open and nobody answers.
    pub(crate) fn freeze(&self) {
        self.running().signal("STOP");
        self.running().signal_children("STOP");
    }

    /// Lets a frozen one go on.
    pub(crate) fn thaw(&self) {
        self.running().signal_children("CONT");
        self.running().signal("CONT");
    }

    /// Whether it runs, as far as it has not ended by itself.
    pub(crate) fn is_running(&self) -> bool {
        self.server.as_ref().is_some_and(Keeper::is_running)
    }

    /// Locks a table of the program under test against everybody; returns when the lock is held.
    pub(crate) fn lock_table(&self, name: &str, length: Duration) -> TableLock {
        let mut client = self.client(OURS).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (client.stdin.as_mut().unwrap(), client.stdout.take().unwrap());
        let limit = length.as_millis().max(1);
        writeln!(input, "BEGIN; SET idle_in_transaction_session_timeout = {limit};").unwrap();
        writeln!(input, "LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE; SELECT 'locked';").unwrap();
        let lock = TableLock(client);
        let mut told = [0; 6];
        output.take(6).read_exact(&mut told).unwrap_or_else(|error| panic!("`{name}` not locked: {error}"));
        assert_eq!(&told, b"locked");
        lock
    }

    /// Ends every connection of the program under test.
    pub(crate) fn disconnect(&self) {
        let sql = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{OURS}'");
        self.ask("postgres", &sql);
    }

    /// Takes connections over TLS too, with this certificate and its key, both as PEM.
    pub(crate) fn turn_on_tls(&self, certificate: &str, key: &str) {
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let text = BASE64_STANDARD.encode(text);
            self.ask(
                "postgres",
                &format!("COPY (SELECT '{text}') TO PROGRAM 'umask 77; base64 -d > {name}'"),
            );
        }
        self.ask("postgres", "ALTER SYSTEM SET ssl = on");
        self.ask("postgres", "SELECT pg_reload_conf()");
    }

    /// Refuses to write, as a server does after the lead went to another.
    pub(crate) fn make_read_only(&self) {
        self.ask("postgres", &format!("ALTER DATABASE {OURS} SET default_transaction_read_only = on"));
        self.disconnect();
    }

    /// Writes again.
    pub(crate) fn make_writable(&self) {
        self.ask("postgres", &format!("ALTER DATABASE {OURS} RESET default_transaction_read_only"));
        self.disconnect();
    }

    /// Wants another password than `url` says.
    pub(crate) fn change_password(&self) {
        self.set_password("second");
    }

    /// Wants the password that `url` says again.
    pub(crate) fn restore_password(&self) {
        self.set_password(PASSWORD);
    }

    fn set_password(&self, password: &str) {
        self.ask("postgres", &format!("ALTER ROLE {OURS} PASSWORD '{password}'"));
        self.disconnect();
    }

    /// Leaves no byte free on its small disk.
    pub(crate) fn fill_disk(&self) {
        fill(&self.ballast());
    }

    /// Frees what was filled, and starts a server that has ended over it.
    pub(crate) fn free_disk(&mut self) {
        fs::remove_file(self.ballast()).unwrap();
        if !self.is_running() {
            self.start_again();
        }
    }

    fn ballast(&self) -> PathBuf {
        assert!(self.disk.is_some(), "only a small disk can be filled: use `on_small_disk`");
        self.directory.path().join("disk/ballast")
    }

    fn running(&self) -> &Keeper {
        self.server.as_ref().expect("PostgreSQL was stopped by this test")
    }

    fn stop(&mut self, signal: &str) {
        self.running().signal(signal);
        self.running().until_it_ended();
        self.server = None;
    }

    /// Whether it runs and takes connections; not if, for one, somebody else has the port.
    fn try_start(&mut self) -> bool {
        let settings = [
            format!("-D{}", self.data.display()),
            format!("-p{}", self.port),
            format!("-k{}", self.directory.path().display()),
            format!("-cfsync={}", self.fsync),
            "-clisten_addresses=127.0.0.1".to_owned(),
            "-cshared_buffers=16MB".to_owned(),
            "-cmax_connections=60".to_owned(),
        ];
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        let (shell, program) = (self.programs.as_user("sh"), self.programs.path("postgres"));
        let server = Keeper::run(shell, &program, &settings, log);
        let pid_file = self.data.join("postmaster.pid");
        let is_ready = server.until(|| says_ready(&pid_file, server.process()));
        self.server = is_ready.then_some(server);
        is_ready
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }
}

/// Whether the file in which a server writes its state says that this process takes connections.
fn says_ready(pid_file: &Path, process: u32) -> bool {
    let text = fs::read_to_string(pid_file).unwrap_or_default();
    let line = |number: usize| text.lines().nth(number).map(str::trim);
    line(0) == Some(&process.to_string()) && line(7) == Some("ready")
}

/// Writes zeros into a file until its disk has no byte left.
pub(crate) fn fill(ballast: &Path) {
    let mut ballast = File::options().create(true).append(true).open(ballast).unwrap();
    let zeros = vec![0; 1 << 20];
    let mut length = zeros.len();
    while length > 0 {
        match ballast.write(&zeros[..length]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => length /= 2,
            Err(error) => panic!("cannot fill the disk: {error}"),
        }
    }
}

/// A port that nobody listens on, and no other test is told.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u16::try_from(std::process::id() % 120).unwrap() * 100;
    let ports = std::iter::repeat_with(|| {
        let number = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        PORTS.start + number % (PORTS.end - PORTS.start)
    });
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    ports.take(1_000).find(is_free).expect("there is a free port among a thousand")
}
