//! A NATS server of a test's own, which can be killed and started again at the same place.
//!
//! It ends with the test, also when that panics: a shell keeps it.

use std::env;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::postgres::free_port;
use super::postgres::keeper::Keeper;

/// Where Debian's package puts it.
const USUAL: &str = "/usr/sbin/nats-server";

const NUM_TRIES: usize = 5;

/// Passwords of the users of `deploy/nats.conf`.
pub(crate) const PASSWORDS: [(&str, &str); 3] = [
    ("COLLECTOR_PASSWORD", "password-of-collector"),
    ("REPLICA_PASSWORD", "password-of-replica"),
    ("STORE_PASSWORD", "password-of-store"),
];

/// A server.
#[derive(Debug)]
pub(crate) struct Nats {
    // In the order in which they have to go.
    server: Option<Keeper>,
    directory: TempDir,
    port: u16,
    /// Whether only the users of `deploy/nats.conf` may do something.
    is_guarded: bool,
    /// The certificate and the key by which it speaks TLS, as PEM.
    tls: Option<(String, String)>,
}

impl Nats {
    /// A server where everybody may do everything.
    pub(crate) fn start() -> Self {
        Self::begin(false, None)
    }

    /// A server with the users and permissions of `deploy/nats.conf`.
    pub(crate) fn start_guarded() -> Self {
        Self::begin(true, None)
    }

    /// A server that speaks TLS, by this certificate and its key, as PEM.
    pub(crate) fn start_secured(certificate: String, key: String) -> Self {
        Self::begin(false, Some((certificate, key)))
    }

    fn begin(is_guarded: bool, tls: Option<(String, String)>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut nats = Self { server: None, directory, port: 0, is_guarded, tls };
        for _ in 0..NUM_TRIES {
            nats.port = free_port();
            if nats.try_start() {
                return nats;
            }
        }
        panic!("nats-server does not start: {}", nats.log());
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "tls" } else { "nats" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        let server = self.server.take().expect("it runs");
        server.signal("KILL");
        server.until_it_ended();
    }

    /// Stops it, so that connections stay open and nobody answers.
    pub(crate) fn freeze(&self) {
        self.server.as_ref().expect("it runs").signal("STOP");
    }

    /// Lets a frozen one go on.
    pub(crate) fn thaw(&self) {
        self.server.as_ref().expect("it runs").signal("CONT");
    }

    /// Starts it again at the same place, with what it had stored.
    pub(crate) fn start_again(&mut self) {
        assert!(self.try_start(), "nats-server does not start again: {}", self.log());
    }

    fn try_start(&mut self) -> bool {
        let path = |name: &str| self.directory.path().join(name);
        let store = path("jetstream");
        let settings = if self.is_guarded {
            self.shipped_settings(&store)
        } else {
            let store = store.display();
            format!("listen: \"127.0.0.1:{}\"\njetstream {{ store_dir: \"{store}\" }}\n", self.port)
        };
        let tls = self.tls.as_ref().map_or(String::new(), |(certificate, key)| {
            fs::write(path("certificate.pem"), certificate).unwrap();
            fs::write(path("key.pem"), key).unwrap();
            "\ntls { cert_file: \"certificate.pem\", key_file: \"key.pem\" }\n".to_owned()
        });
        fs::write(path("nats.conf"), settings + &tls).unwrap();
        let log = File::options().create(true).append(true).open(path("log")).unwrap();
        let mut shell = Command::new("sh");
        shell.env_clear().env("PATH", "/usr/bin:/bin").envs(PASSWORDS).current_dir(self.directory.path());
        let arguments = ["-c".to_owned(), path("nats.conf").display().to_string()];
        let server = Keeper::run(shell, &program(), &arguments, log);
        let is_ready = server.until(|| TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok());
        self.server = is_ready.then_some(server);
        is_ready
    }

    /// What we ship, but for where it listens and stores.
    fn shipped_settings(&self, store: &Path) -> String {
        let shipped = fs::read_to_string("deploy/nats.conf").unwrap();
        let replaced = |text: String, from: &str, to: String| {
            assert!(text.contains(from), "`{from}` is not in deploy/nats.conf");
            text.replace(from, &to)
        };
        let text = replaced(shipped, "port: 4222", format!("listen: \"127.0.0.1:{}\"", self.port));
        let text = replaced(text, "http: \"127.0.0.1:8222\"", String::new());
        replaced(text, "\"/data\"", format!("\"{}\"", store.display()))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

/// The one that `NATS_SERVER` names, else Debian's.
fn program() -> PathBuf {
    let program = env::var_os("NATS_SERVER").map_or_else(|| PathBuf::from(USUAL), PathBuf::from);
    assert!(
        program.exists(),
        "these tests start NATS servers: install Debian's package `nats-server`, or name the program in `NATS_SERVER`"
    );
    program
}
