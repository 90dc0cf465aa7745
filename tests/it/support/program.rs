//! The program itself as a process, for tests of what only a process shows.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use super::exchanges;

/// The program in an empty directory of its own, so that no settings file lies about, and without our variables.
pub(crate) fn ratebook(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ratebook"));
    command.current_dir(directory).env_clear().stdin(Stdio::null());
    command
}

/// `ratebook demo` with the exchanges of a usual world.
pub(crate) fn demo(directory: &Path) -> Command {
    let mut command = ratebook(directory);
    command.args(["demo", "--speed", "60"]).env("RATEBOOK_LISTEN", "127.0.0.1:0");
    for row in exchanges::unusual() {
        let name = row.name.as_str().to_ascii_uppercase();
        command.env(format!("RATEBOOK_EXCHANGES__{name}__ENABLED"), "false");
    }
    command
}

/// Kills the program when a test ends early.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Running {
    /// The exit code, within a deadline.
    pub(crate) fn code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match self.0.try_wait().unwrap() {
                Some(status) => return status.code(),
                None => assert!(Instant::now() < deadline, "still running"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let killed = Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }
}
