//! The fault matrix: each row breaks something under load, and counts what that cost.
//!
//! `cargo test --test chaos` runs every row in its short form, some at a time. Behind `--`:
//!
//! - `--row D-01` runs the rows whose name begins so; it may stand several times.
//! - `--exchange NAME` tries the rows of transport on that market; it may stand several times.
//! - `--full` runs them at full length, one after the other, and judges how long answers took. That takes two hours.
//! - `--jobs N` runs so many rows at a time.
//! - `--minutes N` is how long the soak (O-01) lasts instead of two hours, or of the seconds of its short form.
//! - `--seed N` makes the random choices of an earlier run again.
//!
//! A row that fails beside others is tried once more, alone, and that counts; both are told.
//!
//! Each row prints one JSON line, and a table comes at the end; the exit code is 0 if every row passed. Rows of small
//! disks mount them, so they need root.

#![expect(clippy::unwrap_used, reason = "an unwrap that fails is a row that fails")]
#![expect(clippy::print_stdout, reason = "rows print their figures")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use self::row::{Figures, Options, Row};

mod actors;
mod asked;
mod bugs;
mod checker;
mod counted;
mod disk;
mod load;
mod operation;
mod outside;
mod prices;
mod program;
mod relay;
mod row;
mod service;
mod site;
mod soak;
mod storage;
mod target;
mod transport;
mod web;
mod wire;

/// Real databases that can be broken, as the other tests have them.
#[path = "../it/support"]
#[expect(dead_code, reason = "rows need no database that survives the loss of power, and no guarded broker")]
mod support {
    pub(crate) mod bad_requests;
    pub(crate) mod nats;
    pub(crate) mod postgres;
    pub(crate) mod sqlite;

    pub(crate) use crate::outside::PATIENCE;
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    // The runner starts itself anew as the service that it breaks.
    match arguments.next().as_deref() {
        Some("--service") => return service::run(arguments),
        Some("--program") => return program::run(arguments),
        Some("--flood") => return actors::run_flood(arguments),
        _ => {}
    }
    let options = Options::read(std::env::args().skip(1));
    let rows: Vec<Row> = [
        actors::rows(),
        bugs::rows(),
        operation::rows(),
        prices::rows(),
        storage::rows(),
        transport::rows(),
        web::rows(),
        vec![soak::ROW],
    ]
    .into_iter()
    .flatten()
    .filter(|row| options.wants(row.id))
    .collect();
    let (alone, beside): (Vec<Row>, Vec<Row>) = rows.iter().partition(|row| row.runs_alone());
    let (waiting, outcomes) = (Mutex::new(beside.iter()), Mutex::new(Vec::new()));
    let try_out = |row: &Row| {
        let outcome = run(row, &options);
        println!("{}", outcome.to_json(row, &options));
        outcomes.lock().unwrap().push((*row, outcome));
    };
    let work = || {
        let next = || waiting.lock().unwrap().next();
        while let Some(row) = next() {
            try_out(row);
        }
    };
    thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(work);
        }
    });
    alone.iter().for_each(try_out);
    let mut outcomes = outcomes.into_inner().unwrap();
    if options.jobs > 1 {
        // Beside others a row may have waited for the processor, and not for the service: what it says alone counts. A
        // wrong answer stays wrong.
        let may_have_waited = |outcome: &Figures| !outcome.pass && outcome.violations == 0;
        for (row, outcome) in outcomes.iter_mut().filter(|(_, outcome)| may_have_waited(outcome)) {
            let again = run(row, &options);
            println!("{}", again.to_json(row, &options));
            let beside_others = std::mem::take(&mut outcome.measured);
            *outcome = again
                .told(&format!("this was its second trial, alone; beside others it was: {beside_others}"));
        }
    }
    outcomes.sort_by_key(|(row, _)| rows.iter().position(|other| other.id == row.id));
    row::print_table(&outcomes);
    let num_failed = outcomes.iter().filter(|(_, outcome)| !outcome.pass).count();
    println!("\n{} passed, {num_failed} failed", outcomes.len() - num_failed);
    if num_failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a row measured, also if it broke off.
fn run(row: &Row, options: &Options) -> Figures {
    println!("# {} {}", row.id, row.claim);
    let ran = catch_unwind(AssertUnwindSafe(|| (row.run)(options)));
    ran.unwrap_or_else(|panic| Figures::failed(row::message(&*panic)))
}
