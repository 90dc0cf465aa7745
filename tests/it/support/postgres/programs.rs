//! Where PostgreSQL's programs are, and as whom they run.
//!
//! Separate because this is all that depends on the machine.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

/// A password over TCP as in production, none over the socket; small files of the log, because each server has one.
const INITDB: [&str; 8] = [
    "--no-sync",
    "--auth-local=trust",
    "--auth-host=scram-sha-256",
    "--username=postgres",
    "--encoding=UTF8",
    "--locale=C",
    "--wal-segsize=1",
    "-D",
];

/// The programs of one version.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    directory: PathBuf,
    /// User and group `postgres` if we are root, because PostgreSQL refuses to run as root.
    user: Option<(u32, u32)>,
}

impl Programs {
    /// Those in `PGBIN`, else the newest that Debian's packages have installed.
    pub(super) fn find() -> Self {
        let directory = env::var_os("PGBIN").map(PathBuf::from).or_else(newest);
        let directory = directory.filter(|directory| directory.join("initdb").exists()).expect(
            "these tests start PostgreSQL servers: install Debian's package `postgresql`, or name the directory \
             that holds `initdb` in `PGBIN`",
        );
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        let user = is_root.then(|| {
            user_postgres().expect("PostgreSQL refuses to run as root, and there is no user `postgres`")
        });
        Self { directory, user }
    }

    pub(super) fn path(&self, program: &str) -> PathBuf {
        self.directory.join(program)
    }

    /// A program of PostgreSQL's.
    pub(super) fn command(&self, program: &str) -> Command {
        self.as_user(self.path(program))
    }

    /// A program as the right user, without our environment, and in a directory that this user may enter.
    pub(super) fn as_user(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    /// A new directory that the server may use, removed when it is dropped.
    pub(super) fn directory(&self) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        self.give(directory.path());
        directory
    }

    fn give(&self, path: &Path) {
        if let Some((user, group)) = self.user {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }

    /// Copies a data directory, with its owner.
    pub(super) fn copy(&self, from: &Path, to: &Path) {
        succeed(Command::new("cp").arg("-a").arg(from).arg(to));
    }

    /// A data directory in which `sql` (one statement a line) was done, to be copied. It is made once and kept with
    /// what cargo builds, because making it takes a second.
    pub(super) fn template(&self, sql: &str) -> PathBuf {
        static MAKING: Mutex<()> = Mutex::new(());
        let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hasher = DefaultHasher::new();
        (&self.directory, self.user, INITDB, sql).hash(&mut hasher);
        let template = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("postgres-{:x}", hasher.finish()));
        if template.exists() {
            return template;
        }
        let directory = self.directory();
        let data = directory.path().join("data");
        succeed(self.command("initdb").args(INITDB).arg(&data));
        let mut single = self.command("postgres");
        single.arg("--single").arg("-D").arg(&data).arg("postgres").stdin(Stdio::piped());
        let mut single = single.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        single.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
        assert!(single.wait().unwrap().success(), "PostgreSQL does not take: {sql}");
        // Others may make it at the same time, so it gets its name when it is whole.
        let unfinished = template.with_extension(std::process::id().to_string());
        self.copy(&data, &unfinished);
        if fs::rename(&unfinished, &template).is_err() {
            drop(fs::remove_dir_all(&unfinished));
        }
        template
    }
}

/// What a program says; panics with what it complains of if it fails.
pub(super) fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaints}");
    String::from_utf8(output.stdout).unwrap()
}

fn newest() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let version = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let newest = versions.filter_map(|entry| version(entry.ok()?)).max()?;
    Some(PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin")))
}

/// User and group of the name `postgres`.
fn user_postgres() -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = users.lines().find(|line| line.starts_with("postgres:"))?.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}
