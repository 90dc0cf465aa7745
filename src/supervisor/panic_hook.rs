//! One record of the log per panic, in place of the text that Rust writes to standard error.
//!
//! Separate because it belongs to the process and not to an actor. It may not panic itself: a panic within a hook
//! aborts the process.

use std::panic::{self, PanicHookInfo};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crate::clock;
use crate::market::Moment;

/// Records per [`WINDOW`]. The supervisor allows a child five restarts in a minute; what is beyond a few of those
/// storms is one fault that repeats, and would only hide the other records.
const MAX_RECORDS: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);

/// Logs every panic from now on as one ERROR record with its message, place and thread.
pub fn install_panic_hook() {
    let quota = Mutex::new(RecordQuota::default());
    panic::set_hook(Box::new(move |info| {
        // A quota that another thread holds right now is not waited for: a hook that blocks is as bad as a panic.
        let left_out = match quota.try_lock() {
            Ok(mut quota) => quota.take(clock::now()),
            Err(_) => Some(0),
        };
        match left_out {
            Some(0) => log::error!("{}", describe(info)),
            Some(left_out) => log::error!("{} ({left_out} earlier panics were not logged)", describe(info)),
            None => {}
        }
    }));
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let message = info.payload_as_str().unwrap_or("no message");
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let thread = thread::current();
    format!("panicked in thread `{}` at {place}: {message}", thread.name().unwrap_or("unnamed"))
}

/// How many records may still be written.
#[derive(Debug, Default)]
struct RecordQuota {
    window_began_at: Option<Moment>,
    num_records: u32,
    num_left_out: u64,
}

impl RecordQuota {
    /// Takes one record out of the quota and tells how many were left out since the last one; `None` if there is
    /// none to take.
    fn take(&mut self, now: Moment) -> Option<u64> {
        if self.window_began_at.is_none_or(|began_at| now.since(began_at) >= WINDOW) {
            self.window_began_at = Some(now);
            self.num_records = 0;
        }
        if self.num_records >= MAX_RECORDS {
            self.num_left_out = self.num_left_out.saturating_add(1);
            return None;
        }
        self.num_records += 1;
        Some(std::mem::take(&mut self.num_left_out))
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    #[test]
    fn a_storm_of_panics_is_told_twenty_times_a_minute_and_then_counted() {
        let start = Moment { monotonic: Duration::ZERO, wall: DateTime::UNIX_EPOCH };
        let mut quota = RecordQuota::default();
        let told = (0..50).filter(|n| quota.take(start.after(Duration::from_millis(*n))) == Some(0)).count();
        assert_eq!(told, 20);
        assert_eq!(quota.take(start.after(Duration::from_millis(59_999))), None);
        assert_eq!(quota.take(start.after(WINDOW)), Some(31));
        assert_eq!(quota.take(start.after(WINDOW)), Some(0));
    }
}
