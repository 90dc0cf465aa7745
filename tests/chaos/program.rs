//! The program with fail points that can be set while it runs, so that a row breaks it at the moment when it looks.
//!
//! Separate from the program itself, which reads fail points from its environment once, as it starts.

use std::ffi::OsString;
use std::io::BufRead;
use std::process::ExitCode;
use std::{iter, thread};

/// Runs the program with these arguments. Each line of standard input is a fail point, as `name=actions`.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    thread::spawn(|| {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let (name, actions) = line.split_once('=').expect("a fail point is `name=actions`");
            fail::cfg(name, actions).unwrap();
        }
    });
    ratebook::cli::main(iter::once("ratebook".to_owned()).chain(arguments).map(OsString::from))
}
