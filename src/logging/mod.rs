//! Log records: five levels, text or JSON lines, to standard error.
//!
//! A record is always one line, whatever text of others it repeats: line breaks and other control characters are
//! escaped, and a long message is cut. Records pass through a bounded queue to a thread that writes them, so that
//! a standard error that nobody reads (a full disk, a blocked pipe) costs log lines and never prices.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use env_logger::{Target, WriteStyle};
use log::{Level, LevelFilter};
use serde::Serialize;

use self::queue::{Queue, Writer};
use crate::clock;

mod filter;
mod queue;

pub use filter::Filter;

/// The target by which a record is CRITICAL: the crate `log` has no such level.
const CRITICAL: &str = "critical";

/// Longest message in bytes. A stack of causes or a server's answer fits; a page of HTML does not fill the disk.
const LONGEST_MESSAGE: usize = 2048;

/// How long the end of the process waits for the last records to be written.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// How long a panic waits for its record to be written. Usually microseconds; it must not hold up a restart.
const PANIC_FLUSH_LIMIT: Duration = Duration::from_millis(100);

/// How a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// Time, level, target, message.
    #[default]
    Text,
    /// One JSON object: `at`, `level`, `target`, `message`.
    Json,
}

/// Starts the log, once per process. `filter` is what `RATEBOOK_LOG` says (see [`Filter`]); one that cannot be
/// understood is told as a WARNING, and the usual one applies: what is logged never decides whether prices flow.
pub fn start(filter: Option<&OsStr>, debug: bool, format: Format) {
    let (mut filter, complaint) = match filter.map(|text| text.to_str().ok_or("not UTF-8".to_owned())) {
        None => (Filter::default(), None),
        Some(text) => match text.and_then(Filter::parse) {
            Ok(filter) => (filter, None),
            Err(complaint) => (Filter::default(), Some(complaint)),
        },
    };
    if debug {
        filter.set("ratebook", LevelFilter::Debug);
    }
    let is_terminal = io::stderr().is_terminal();
    let mut builder = env_logger::Builder::new();
    builder.filter_level(filter.others);
    for (target, level) in &filter.targets {
        builder.filter(Some(target), *level);
    }
    builder.filter(Some(CRITICAL), LevelFilter::Error);
    builder.write_style(if is_terminal { WriteStyle::Always } else { WriteStyle::Never });
    builder.target(Target::Pipe(Box::new(Writer(Arc::clone(queue())))));
    builder.format(move |buffer, record| {
        let style = buffer.default_level_style(record.level());
        let line = Line::new(clock::now().wall, record);
        let level = format!("{style}{}{style:#}", line.level);
        buffer.write_all(line.render(format, &level).as_bytes())
    });
    // A second start in one process (tests) leaves the first one's log in place.
    if builder.try_init().is_ok() {
        let write = move || queue().write_for_ever(&mut io::stderr(), &|lost| loss(format, lost));
        // Without the thread nothing is written; there is no better place to complain at than this log.
        drop(std::thread::Builder::new().name("log".to_owned()).spawn(write));
        log_panics();
    }
    if let Some(complaint) = complaint {
        log::warn!("`RATEBOOK_LOG`: {complaint}; the usual filter applies");
    }
}

/// Logs that the process cannot do its job, and what to do about it.
pub fn critical(message: impl fmt::Display) {
    log::error!(target: CRITICAL, "{message}");
}

/// Waits until every record is written, at most a second.
pub fn flush() {
    queue().flush(FLUSH_LIMIT);
}

/// A panic is a record like any other: one line, in the chosen format.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text =
            payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        log::error!(
            "thread `{}` panicked at {place}: {}",
            thread.name().unwrap_or("?"),
            text.unwrap_or("no message")
        );
        queue().flush(PANIC_FLUSH_LIMIT);
    }));
}

/// One record, ready to be written.
#[derive(Debug, Serialize)]
struct Line {
    at: String,
    level: &'static str,
    target: String,
    message: String,
}

impl Line {
    fn new(at: DateTime<Utc>, record: &log::Record) -> Self {
        let (level, target) = match (record.target(), record.level()) {
            (CRITICAL, _) => ("CRITICAL", "ratebook"),
            (target, Level::Error) => ("ERROR", target),
            (target, Level::Warn) => ("WARNING", target),
            (target, Level::Info) => ("INFO", target),
            (target, Level::Debug | Level::Trace) => ("DEBUG", target),
        };
        Self {
            at: at.to_rfc3339_opts(SecondsFormat::Millis, true),
            level,
            target: one_line(target),
            message: one_line(&record.args().to_string()),
        }
    }

    /// The record with its line break; `level` is its level as a terminal may show it.
    fn render(&self, format: Format, level: &str) -> String {
        match format {
            Format::Text => format!("{} {level} {} {}\n", self.at, self.target, self.message),
            Format::Json => serde_json::to_string(self).map(|json| json + "\n").unwrap_or_default(),
        }
    }
}

/// The record that tells of lost ones.
fn loss(format: Format, lost: u64) -> String {
    let args = format!("{lost} records were lost, because nobody read standard error");
    let args = format_args!("{args}");
    let record = log::Record::builder().level(Level::Warn).target("ratebook::logging").args(args).build();
    let line = Line::new(clock::now().wall, &record);
    line.render(format, line.level)
}

/// The text on one line: what would break it, move the cursor or turn the reading direction is escaped, and what
/// is longer than a record may be is cut.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(LONGEST_MESSAGE));
    for (at, character) in text.char_indices() {
        if line.len() >= LONGEST_MESSAGE {
            line.push_str(&format!("… ({} bytes more)", text.len() - at));
            break;
        }
        match character {
            '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                line.extend(character.escape_unicode());
            }
            _ if character.is_control() => line.extend(character.escape_default()),
            _ => line.push(character),
        }
    }
    line
}

fn queue() -> &'static Arc<Queue> {
    static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();
    QUEUE.get_or_init(Arc::default)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: Level, target: &str, message: &str) -> Line {
        let at = DateTime::from_timestamp_millis(1_795_176_000_123).unwrap();
        Line::new(
            at,
            &log::Record::builder().level(level).target(target).args(format_args!("{message}")).build(),
        )
    }

    #[test]
    fn a_record_is_one_line_in_both_formats() {
        let line = line(
            Level::Warn,
            "ratebook::exchange",
            "binance:\nno \"quote\" for 60 s\u{1b}[2J\u{2028}\u{202e}",
        );
        assert_eq!(
            line.render(Format::Text, line.level),
            "2026-11-20T12:00:00.123Z WARNING ratebook::exchange \
             binance:\\nno \"quote\" for 60 s\\u{1b}[2J\\u{2028}\\u{202e}\n"
        );
        let json = line.render(Format::Json, line.level);
        assert_eq!(json.lines().count(), 1);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["at"], "2026-11-20T12:00:00.123Z");
        assert_eq!(json["level"], "WARNING");
        assert_eq!(json["target"], "ratebook::exchange");
        assert_eq!(json["message"], "binance:\\nno \"quote\" for 60 s\\u{1b}[2J\\u{2028}\\u{202e}");
    }

    #[test]
    fn the_levels_have_our_names() {
        for (level, target, expected) in [
            (Level::Error, CRITICAL, ("CRITICAL", "ratebook")),
            (Level::Error, "ratebook::app", ("ERROR", "ratebook::app")),
            (Level::Warn, "ratebook", ("WARNING", "ratebook")),
            (Level::Info, "ratebook", ("INFO", "ratebook")),
            (Level::Debug, "ratebook", ("DEBUG", "ratebook")),
        ] {
            let line = line(level, target, "");
            assert_eq!((line.level, line.target.as_str()), expected);
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let cut = one_line(&"é".repeat(LONGEST_MESSAGE));
        assert!(cut.len() < LONGEST_MESSAGE + 40, "{}", cut.len());
        assert!(cut.ends_with("é… (2048 bytes more)"), "{cut}");
        assert_eq!(one_line(&"a".repeat(LONGEST_MESSAGE)).len(), LONGEST_MESSAGE);
    }
}
