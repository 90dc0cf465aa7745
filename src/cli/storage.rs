//! `ratebook migrate` and `ratebook export`: the two commands that speak to the database and need no service.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::failure::written;
use super::{ExportOptions, Failure, MigrateOptions, SettingsOptions, loaded_settings};
use crate::clock;
use crate::config::Settings;
use crate::exchange;
use crate::history::{Interval, MAX_PAGE, Page, Range};
use crate::http::rows::{self, Row};
use crate::market::ExchangeName;
use crate::persist::{Database, Reader, StoreError};

/// How often a progress bar is drawn.
const REDRAW_EVERY: Duration = Duration::from_millis(100);

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// RFC 4180, with a line of names
    Csv,
    /// One JSON object per line
    Jsonl,
}

/// How finely history is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Rows {
    /// Every stored quote
    Tick,
    /// Candles of a minute
    #[value(name = "1m")]
    Minute,
    /// Candles of an hour
    #[value(name = "1h")]
    Hour,
    /// Candles of a day
    #[value(name = "1d")]
    Day,
}

/// Applies the migrations that are pending, or only says which they are.
///
/// # Errors
/// When the database does not answer, a migration fails, or `--check` finds some pending.
pub(super) fn migrate(settings: SettingsOptions, options: &MigrateOptions) -> Result<(), Failure> {
    let settings = loaded_settings(settings)?;
    let mut store = Database::new(&settings.database_url).open().map_err(unavailable)?;
    if options.check {
        let pending = store.pending_migrations().map_err(unavailable)?;
        if !pending.is_empty() {
            let message =
                format!("pending migrations: {}; apply them by `ratebook migrate`", pending.join(", "));
            return Err(Failure::Unavailable(message));
        }
    } else {
        for name in store.migrate().map_err(unavailable)? {
            written(writeln!(io::stdout(), "applied {name}"))?;
        }
    }
    written(writeln!(io::stdout(), "the database is up to date"))
}

/// Writes what is stored of one direction to standard output.
///
/// # Errors
/// When the database does not answer, or standard output cannot be written.
pub(super) fn export(settings: SettingsOptions, options: &ExportOptions) -> Result<(), Failure> {
    let settings = loaded_settings(settings)?;
    let range = range(options, &settings)?;
    let reader = Reader::new(&settings.database_url, &order(&settings));
    let interval = match options.interval {
        Rows::Tick => None,
        Rows::Minute => Some(Interval::Minute),
        Rows::Hour => Some(Interval::Hour),
        Rows::Day => Some(Interval::Day),
    };
    let output = BufWriter::new(io::stdout().lock());
    match interval {
        None => write_rows(output, options.format, range, |range| reader.ticks(range)),
        Some(interval) => write_rows(output, options.format, range, |range| reader.candles(range, interval)),
    }
}

/// Whose data is exported where nobody was named: those of `priority`, then the others by name.
fn order(settings: &Settings) -> Vec<ExchangeName> {
    let others = settings.exchanges.keys().filter(|name| !settings.priority.contains(name));
    settings.priority.iter().chain(others).copied().collect()
}

fn range(options: &ExportOptions, settings: &Settings) -> Result<Range, Failure> {
    let exchange = match options.exchanger.as_deref() {
        None => None,
        Some(name) => Some(exchange::row(name).map(|row| row.name).ok_or_else(|| {
            let known: Vec<&str> = settings.exchanges.keys().map(|name| name.as_str()).collect();
            Failure::Usage(format!("unknown exchange `{name}` (known: {})", known.join(", ")))
        })?),
    };
    let to = options.to.unwrap_or_else(|| clock::now().wall);
    let from = options.from.unwrap_or(to - TimeDelta::days(1));
    if from >= to {
        return Err(Failure::Usage(format!("`--from` ({from}) is not before `--to` ({to})")));
    }
    Ok(Range { direction: options.direction.priced_as(), exchange, from, to, limit: MAX_PAGE })
}

/// Writes page after page, until the last one or until nobody takes them. Only one is in memory at a time.
fn write_rows<R: Row>(
    mut output: impl Write,
    format: Format,
    mut range: Range,
    read: impl Fn(Range) -> Result<Page<R>, StoreError>,
) -> Result<(), Failure> {
    let mut bar = Bar::new(&range);
    let mut text = match format {
        Format::Csv => rows::csv_header::<R>(),
        Format::Jsonl => String::new(),
    };
    loop {
        let page = read(range).map_err(unavailable)?;
        text += &match format {
            Format::Csv => rows::csv(&page.rows),
            Format::Jsonl => rows::json_lines(&page.rows),
        };
        if let Err(error) = output.write_all(text.as_bytes()) {
            return written(Err(error));
        }
        text.clear();
        bar.add(page.rows.len(), page.next.unwrap_or(range.to));
        let Some(next) = page.next else { break };
        (range.from, range.exchange) = (next, page.exchange);
    }
    let flushed = output.flush();
    bar.end();
    written(flushed)
}

/// A progress bar on a terminal; nothing is drawn elsewhere.
struct Bar {
    bar: ProgressBar,
    from: DateTime<Utc>,
    num_rows: usize,
}

impl Bar {
    fn new(range: &Range) -> Self {
        let length = u64::try_from((range.to - range.from).num_seconds()).unwrap_or_default();
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
        // The template is a constant that a test draws; without it there is a plain bar.
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}  {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(REDRAW_EVERY);
        Self { bar, from: range.from, num_rows: 0 }
    }

    fn add(&mut self, num_rows: usize, until: DateTime<Utc>) {
        self.num_rows += num_rows;
        self.bar.set_message(format!("{} rows", self.num_rows));
        self.bar.set_position(u64::try_from((until - self.from).num_seconds()).unwrap_or_default());
    }

    fn end(&self) {
        self.bar.finish();
    }
}

fn unavailable(error: StoreError) -> Failure {
    let advice = match error {
        StoreError::Migration(_) => "nothing of it was kept; mend what it says, then migrate again",
        _ => "look at `database_url` and at the database itself",
    };
    Failure::Unavailable(format!("the database: {error}; {advice}"))
}

/// A time on the command line: RFC 3339, or a date for its first moment in UTC.
pub(super) fn time(text: &str) -> Result<DateTime<Utc>, String> {
    let at = DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()).ok();
    let of_date = || text.parse::<NaiveDate>().ok().map(|date| date.and_time(NaiveTime::MIN).and_utc());
    let allowed = || "allowed: such as `2026-11-20T12:00:00Z`, or a date `2026-11-20`".to_owned();
    at.or_else(of_date).ok_or_else(allowed)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::history::Tick;

    /// Takes a few bytes, and then fails as it was told.
    struct Pipe(usize, io::ErrorKind);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(self.1.into());
            }
            let length = bytes.len().min(self.0);
            self.0 -= length;
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_more_is_read_once_nobody_takes_it() {
        let from: DateTime<Utc> = "2026-11-20T12:00:00Z".parse().unwrap();
        let direction = "BTC-USDT".parse().unwrap();
        let range = Range { direction, exchange: None, from, to: from + TimeDelta::days(1), limit: 1 };
        for (kind, code) in [(io::ErrorKind::BrokenPipe, None), (io::ErrorKind::StorageFull, Some(73))] {
            let num_read = Cell::new(0);
            let read = |range: Range| {
                num_read.set(num_read.get() + 1);
                assert!(num_read.get() < 100, "it goes on and on");
                let tick =
                    Tick { received_at: range.from, quoted_at: None, bid: None, ask: None, last: None };
                let next = Some(range.from + TimeDelta::seconds(1));
                Ok(Page { exchange: None, rows: vec![tick], next })
            };
            // Two lines of 25 bytes fit behind the names.
            let outcome = write_rows(Pipe(90, kind), Format::Csv, range, read);
            assert_eq!(outcome.map_err(|failure| failure.code()).err(), code);
            assert_eq!(num_read.get(), 3, "{kind:?}");
        }
    }
}
