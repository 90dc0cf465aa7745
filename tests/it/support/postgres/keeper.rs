//! A shell that keeps a server or a mount until its standard input is closed.
//!
//! Separate because this is what ends things, by the same way after a test, after its panic, and after the end of the
//! whole process by whatever signal.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::support::PATIENCE;

/// Tells the number of the process, and ends it and what it started, frozen or not.
const RUN: &str = r#"
"$@" >&2 &
server=$!
echo $server
read -r _
children=$(grep -ls "^PPid:[[:space:]]*$server\$" /proc/[0-9]*/status | cut -d/ -f3)
kill -CONT $server $children 2>/dev/null
kill -QUIT $server 2>/dev/null
wait
"#;

const MOUNT: &str = r#"
mount -t tmpfs -o "size=$1,mode=0777" tmpfs "$2" && echo mounted || exit 1
read -r _
umount -l "$2"
"#;

/// What a shell keeps. Dropping it ends that, and waits for the end.
#[derive(Debug)]
pub(crate) struct Keeper {
    shell: Child,
    /// The number of the process that is kept; of a mount the shell's own.
    process: u32,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        drop(self.shell.wait());
    }
}

impl Keeper {
    /// Starts a program in `shell`, which brings the user and the directory; what it says goes to `log`.
    pub(crate) fn run(mut shell: Command, program: &Path, arguments: &[String], log: File) -> Self {
        shell.args(["-c", RUN, "keeper"]).arg(program).args(arguments).stderr(log);
        let (shell, told) = start(shell);
        let process = told.trim().parse().unwrap_or_else(|_| panic!("no process began: `{told}`"));
        Self { shell, process }
    }

    /// Mounts a disk in memory that is no larger than this.
    pub(crate) fn mount(mount_point: &Path, num_bytes: u64) -> Self {
        fs::create_dir(mount_point).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", MOUNT, "keeper", &num_bytes.to_string()]).arg(mount_point).stderr(Stdio::piped());
        let (mut shell, told) = start(shell);
        if told.trim() != "mounted" {
            let mut why = String::new();
            drop(shell.stderr.take().map(|mut error| error.read_to_string(&mut why)));
            panic!("a test of a full disk has to mount a tmpfs, as root: {}", why.trim());
        }
        let process = shell.id();
        Self { shell, process }
    }

    pub(crate) fn process(&self) -> u32 {
        self.process
    }

    /// Whether the process is there, and not only not waited for.
    pub(crate) fn is_running(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process)).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
    }

    /// Waits until `is_so`; false if the process ends before that.
    pub(crate) fn until(&self, is_so: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            if !self.is_running() {
                return false;
            }
            assert!(Instant::now() < deadline, "process {} does not get ready", self.process);
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    pub(crate) fn until_it_ended(&self) {
        assert!(!self.until(|| false));
    }

    pub(crate) fn signal(&self, name: &str) {
        assert!(send(name, &[self.process]), "process {} is not there", self.process);
    }

    /// Signals whatever the process has started; one that has just ended is no mistake.
    pub(super) fn signal_children(&self, name: &str) {
        send(name, &children_of(self.process));
    }
}

/// Starts a shell, and reads the one line that it says when it has begun.
fn start(mut command: Command) -> (Child, String) {
    // In a group of its own: Ctrl-C is for us, and our end ends it.
    command.process_group(0);
    let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    let output = shell.stdout.take().map(BufReader::new);
    drop(output.map(|mut output| output.read_line(&mut told)));
    (shell, told)
}

fn send(signal: &str, processes: &[u32]) -> bool {
    let processes: Vec<String> = processes.iter().map(u32::to_string).collect();
    let mut shell = Command::new("sh");
    shell.args(["-c", "kill \"$@\" 2>/dev/null", "kill", &format!("-{signal}")]).args(processes);
    shell.status().unwrap().success()
}

fn children_of(parent: u32) -> Vec<u32> {
    let is_child = |process: &u32| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        line.is_some_and(|number| number.trim() == parent.to_string())
    };
    let names = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).filter(is_child).collect()
}
