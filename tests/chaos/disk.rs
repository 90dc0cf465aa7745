//! A small disk of a row's own, in memory, which can be full, or read-only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::postgres::{fill, keeper::Keeper};

/// A mounted disk; dropping it takes everything on it.
pub(crate) struct Disk {
    // In the order in which they have to go.
    _mount: Keeper,
    directory: TempDir,
}

impl Disk {
    /// A disk that is no larger than this.
    pub(crate) fn of(num_bytes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mount = Keeper::mount(&directory.path().join("disk"), num_bytes);
        Self { _mount: mount, directory }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    /// Leaves no byte free.
    pub(crate) fn fill(&self) {
        fill(&self.ballast());
    }

    /// Frees what was filled.
    pub(crate) fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    /// Refuses to write, while nobody has a file open to write.
    pub(crate) fn make_read_only(&self) {
        remount(&self.path(), "remount,ro");
    }

    pub(crate) fn make_writable(&self) {
        remount(&self.path(), "remount,rw");
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

fn remount(mount_point: &Path, how: &str) {
    assert!(Command::new("mount").args(["-o", how]).arg(mount_point).status().unwrap().success());
}
