//! How fast storage takes, keeps and gives back what was accepted: `cargo bench --bench storage`.
//!
//! Every figure stands beside what the same database does in the same minute without us. Without `--bench` every round
//! is short, which only shows that it runs. `cargo bench --bench storage -- write read` measures these parts only; the
//! other is `pipeline`, and `day`, which writes more than a gigabyte and takes minutes, runs only where it is named.

#![expect(clippy::print_stdout, reason = "what was measured is shown")]
#![expect(clippy::unwrap_used, reason = "a measurement that fails is none")]

use std::time::Duration;

mod bare;
mod day;
mod market_day;
mod pipeline;
mod read;
mod service;
mod target;
mod write;

/// Statistics and clients as the other measurements have them.
#[path = "../support"]
mod measuring {
    pub(crate) mod client;
    pub(crate) mod rounds;
    pub(crate) mod sample;
}

/// Real databases, as the tests have them.
#[path = "../../tests/it/support"]
mod support {
    #![expect(dead_code, reason = "shared with the tests that break databases")]

    use std::time::Duration;

    pub(crate) mod exchanges;
    pub(crate) mod postgres;
    pub(crate) mod program;
    pub(crate) mod sqlite;

    /// How long anything may take that has to happen.
    pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
}

/// How long, how often and how much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) num_rounds: usize,
    /// Rows that each contender writes in a round.
    pub(crate) rows_per_round: usize,
    /// For how long quotes are pushed in a round of the pipeline.
    pub(crate) push_for: Duration,
    /// Quotes of the market whose day is read.
    pub(crate) num_ticks: usize,
    /// How often each question is asked.
    pub(crate) num_questions: usize,
    /// The part of the day that `day` writes.
    pub(crate) seconds_of_day: usize,
}

const FULL: Scale = Scale {
    num_rounds: 7,
    rows_per_round: 50_000,
    push_for: Duration::from_secs(12),
    num_ticks: 100_000,
    num_questions: 300,
    seconds_of_day: 86_400,
};
const SHORT: Scale = Scale {
    num_rounds: 1,
    rows_per_round: 1_000,
    push_for: Duration::from_millis(50),
    num_ticks: 2_000,
    num_questions: 3,
    seconds_of_day: 60,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_full = arguments.iter().any(|argument| argument == "--bench");
    let scale = if is_full { FULL } else { SHORT };
    let named: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_named = |part: &str| named.iter().any(|name| *name == part);
    let is_wanted = |part: &str| named.is_empty() || is_named(part);
    if is_wanted("write") {
        write::measure(scale);
    }
    if is_wanted("pipeline") {
        pipeline::measure(scale);
    }
    if is_wanted("read") {
        read::measure(scale);
    }
    if is_named("day") || !is_full && named.is_empty() {
        day::measure(scale);
    }
}
