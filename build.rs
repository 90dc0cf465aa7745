//! Puts the commit into the program, so that `--version` says exactly what runs, and the migrations, of which the
//! compiler alone would not notice a new one.
//!
//! A build without git, or from an archive, says `unknown`; a container build, which has no repository, may pass
//! `RATEBOOK_COMMIT` instead.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-env-changed=RATEBOOK_COMMIT");
    let told = std::env::var_os("RATEBOOK_COMMIT").and_then(|commit| commit.into_string().ok());
    let told =
        told.filter(|commit| !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let commit = told.or_else(asked).unwrap_or_else(|| "unknown".to_owned());
    // Not under a name of ours: `cargo run` gives it to the program too, which would take it for a setting.
    println!("cargo:rustc-env=BUILT_FROM_COMMIT={commit}");
}

/// The commit that git tells, if this directory is the top of a repository. An archive that was unpacked inside
/// of another project's repository must not show that project's commit.
fn asked() -> Option<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().ok()?;
    let top = Path::new(&git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()?;
    if top != here {
        return None;
    }
    // HEAD changes with the branch, the branch's own file or `packed-refs` with its commit. The log of HEAD
    // changes with all of them, but not every repository keeps one.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "logs/HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        let watched = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists());
        if let Some(path) = watched {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
