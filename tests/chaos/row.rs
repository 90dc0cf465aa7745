//! A row of the matrix, what it measured, and how that is told.

use std::any::Any;
use std::time::Duration;

use serde_json::json;

/// How rows are run.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Which rows; empty for all.
    rows: Vec<String>,
    /// On which markets the rows of transport are tried; empty for those that belong to the form.
    pub(crate) exchanges: Vec<String>,
    /// At full length, for the night.
    pub(crate) full: bool,
    pub(crate) seed: u64,
    /// How long the soak lasts.
    pub(crate) soak: Duration,
    /// Rows that run at the same time. More than one disturb each other's times, and not what is counted.
    pub(crate) jobs: usize,
}

/// Rows of the short form that run at the same time: most of them wait most of their time.
const SHORT_JOBS: usize = 8;

/// One row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    /// What holds whatever the fault does.
    pub(crate) claim: &'static str,
    pub(crate) run: fn(&Options) -> Figures,
}

/// Rows that load the machine: each runs after all others, and alone.
const ALONE: [&str; 2] = ["O-07", "S-07"];

impl Row {
    pub(crate) fn runs_alone(&self) -> bool {
        ALONE.contains(&self.id)
    }
}

/// What a row measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) pass: bool,
    /// How many were counted.
    pub(crate) n: u64,
    /// Answers that the checker found wrong. No other trial excuses them.
    pub(crate) violations: u64,
    /// For people: what was seen.
    pub(crate) measured: String,
    /// For people: what had to be seen.
    pub(crate) target: String,
}

impl Options {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut options = Self {
            rows: Vec::new(),
            exchanges: Vec::new(),
            full: false,
            seed: rand::random(),
            soak: Duration::ZERO,
            jobs: 0,
        };
        let number = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok()).expect("a number");
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--full" => options.full = true,
                "--row" => options.rows.extend(arguments.next()),
                "--exchange" => options.exchanges.extend(arguments.next()),
                "--seed" => options.seed = number(arguments.next()),
                "--minutes" => options.soak = Duration::from_secs(60 * number(arguments.next())),
                "--jobs" => options.jobs = usize::try_from(number(arguments.next())).unwrap(),
                // `cargo test` passes filters and flags of its own; `--all` is what happens anyway.
                _ => {}
            }
        }
        if options.soak.is_zero() {
            options.soak = options.scaled(Duration::from_secs(20), Duration::from_secs(7200));
        }
        if options.jobs == 0 {
            options.jobs = options.scaled(SHORT_JOBS, 1);
        }
        options
    }

    pub(crate) fn wants(&self, id: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|row| id.starts_with(row.as_str()))
    }

    /// A limit of time: beside other rows everything waits for a processor too, so there it is twice as long.
    pub(crate) fn limit(&self, in_calm: Duration) -> Duration {
        self.scaled(in_calm * 2, in_calm)
    }

    /// A length or a number that is short in the tests of every change and `full` in the night.
    pub(crate) fn scaled<T>(&self, short: T, full: T) -> T {
        if self.full { full } else { short }
    }
}

impl Figures {
    /// A row that broke off.
    pub(crate) fn failed(message: String) -> Self {
        Self { measured: message, ..Self::default() }
    }

    /// With more that was seen.
    pub(crate) fn told(self, more: &str) -> Self {
        Self { measured: format!("{}; {more}", self.measured), ..self }
    }

    /// With another condition.
    pub(crate) fn and(self, holds: bool) -> Self {
        Self { pass: self.pass && holds, ..self }
    }

    /// Together with those of another database.
    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            pass: self.pass && other.pass,
            n: self.n + other.n,
            violations: self.violations + other.violations,
            measured: format!("{}; {}", self.measured, other.measured),
            target: self.target,
        }
    }

    pub(crate) fn to_json(&self, row: &Row, options: &Options) -> String {
        json!({
            "row": row.id, "claim": row.claim, "seed": options.seed, "n": self.n, "measured": self.measured,
            "target": self.target, "pass": self.pass,
        })
        .to_string()
    }
}

/// What a panic said.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
}

pub(crate) fn print_table(outcomes: &[(Row, Figures)]) {
    println!("\n{:<6} {:<5} {:>9}  measured", "row", "", "n");
    for (row, figures) in outcomes {
        let verdict = if figures.pass { "pass" } else { "FAIL" };
        println!("{:<6} {verdict:<5} {:>9}  {}: {}", row.id, figures.n, row.claim, figures.measured);
    }
}

pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
