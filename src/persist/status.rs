//! What is known of the storage, shared by the threads that write and the actor that is asked.
//!
//! Separate because it outlives both: a Persister that failed does not take the counters with it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::clock;
use crate::history::{StorageHealth, StorageState};
use crate::rate_book::HandOver;

/// How far behind the database may be before that counts as impaired: far more than a slow commit, far less than
/// people take to notice.
const MAX_LAG: Duration = Duration::from_secs(10);

/// The state of the storage. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Status {
    database: &'static str,
    hand_over: Option<HandOver>,
    known: Arc<Mutex<Known>>,
    num_threads: Arc<AtomicUsize>,
}

/// A thread of the storage runs as long as it has this.
#[derive(Debug)]
pub(super) struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// What the threads tell.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Whether the database took what it was given last; `None` before the first attempt.
    pub(super) is_taking: Option<bool>,
    /// Whether the outbox takes what is accepted.
    pub(super) outbox_fails: bool,
    pub(super) outbox_rows: u64,
    pub(super) outbox_bytes: u64,
    /// When the oldest record of the outbox was received.
    pub(super) outbox_oldest_at: Option<DateTime<Utc>>,
    pub(super) stored: u64,
    pub(super) duplicates: u64,
    pub(super) rejected: u64,
    /// Records that the outbox gave up.
    pub(super) dropped: u64,
    pub(super) last_quote_at: Option<DateTime<Utc>>,
    pub(super) last_error: Option<String>,
}

impl Status {
    /// Of a storage of this kind, for what comes through `hand_over`; `None` where this process stores nothing.
    pub(super) fn new(database: &'static str, hand_over: Option<HandOver>) -> Self {
        Self { database, hand_over, known: Arc::default(), num_threads: Arc::default() }
    }

    /// What the threads tell, to be changed.
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a thread, until it drops this.
    pub(super) fn count_thread(&self) -> Running {
        self.num_threads.fetch_add(1, Ordering::Relaxed);
        Running(self.num_threads.clone())
    }

    /// Whether every thread has ended.
    pub(super) fn is_over(&self) -> bool {
        self.num_threads.load(Ordering::Acquire) == 0
    }

    /// Whether nothing waits any more, in memory or in the outbox.
    pub(super) fn is_drained(&self) -> bool {
        let waiting = self.hand_over.as_ref().map_or(0, |hand_over| hand_over.counters().waiting);
        waiting == 0 && self.known().outbox_rows == 0
    }

    /// The state of the storage now.
    pub(super) fn health(&self) -> StorageHealth {
        let known = self.known().clone();
        let counters = self.hand_over.as_ref().map(HandOver::counters).unwrap_or_default();
        let oldest_at = [known.outbox_oldest_at, counters.oldest_at].into_iter().flatten().min();
        let lag = oldest_at.map(|at| clock::now().wall_since(at)).unwrap_or_default();
        let state = match known.is_taking {
            _ if self.hand_over.is_none() => StorageState::Disabled,
            _ if known.outbox_fails => StorageState::Impaired,
            None => StorageState::Starting,
            Some(true) if lag <= MAX_LAG => StorageState::Ok,
            Some(_) => StorageState::Impaired,
        };
        StorageHealth {
            state,
            database: self.database,
            lag,
            waiting_rows: counters.waiting,
            outbox_rows: known.outbox_rows,
            outbox_bytes: known.outbox_bytes,
            stored_rows: known.stored,
            duplicate_rows: known.duplicates,
            rejected_rows: known.rejected,
            dropped_rows: known.dropped + counters.dropped,
            conflated_quotes: counters.conflated,
            last_quote_at: known.last_quote_at,
            last_error: known.last_error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::testing::accepted;
    use crate::rate_book::Accepted;

    #[test]
    fn the_state_says_whether_the_database_takes_what_comes() {
        let ago = |seconds: u64| Some(clock::now().wall - Duration::from_secs(seconds));
        for (is_taking, outbox_fails, outbox_oldest_at, expected) in [
            (None, false, None, StorageState::Starting),
            (None, true, None, StorageState::Impaired),
            (Some(true), false, None, StorageState::Ok),
            (Some(true), false, ago(5), StorageState::Ok),
            (Some(true), false, ago(60), StorageState::Impaired),
            (Some(true), true, None, StorageState::Impaired),
            (Some(false), false, None, StorageState::Impaired),
        ] {
            let status = Status::new("postgres", Some(HandOver::new(Duration::ZERO)));
            *status.known() = Known { is_taking, outbox_fails, outbox_oldest_at, ..Known::default() };
            let told = status.health();
            assert_eq!(told.state, expected, "{is_taking:?} {outbox_fails} {outbox_oldest_at:?}");
            let disabled = Status { hand_over: None, ..status };
            assert_eq!(disabled.health().state, StorageState::Disabled);
        }
    }

    #[test]
    fn what_waits_and_what_was_given_up_is_added_up_over_memory_and_outbox() {
        let hand_over = HandOver::new(Duration::ZERO);
        let status = Status::new("sqlite", Some(hand_over.clone()));
        assert!(status.is_drained());
        let now = clock::now().wall;
        let quote = |seconds: u64| Accepted {
            received_at: now - Duration::from_secs(seconds),
            ..accepted(&(60_000 + seconds).to_string(), "2026-11-20T12:00:00Z")
        };
        hand_over.push_quotes([(quote(20), true), (quote(3), true)].into_iter());
        let told = status.health();
        assert_eq!((told.database, told.waiting_rows, told.outbox_rows), ("sqlite", 2, 0));
        assert!(!status.is_drained());
        let is_about = |lag: Duration, seconds: u64| {
            (Duration::from_secs(seconds)..Duration::from_secs(seconds + 10)).contains(&lag)
        };
        assert!(is_about(told.lag, 20), "{told:?}");

        *status.known() = Known {
            outbox_rows: 4,
            outbox_oldest_at: Some(now - Duration::from_secs(100)),
            dropped: 7,
            ..Known::default()
        };
        assert!(is_about(status.health().lag, 100));
        assert_eq!(status.health().dropped_rows, 7);
        let batch = hand_over.take(10, now).unwrap();
        hand_over.confirm(&batch);
        assert!(!status.is_drained(), "the outbox has some");
        status.known().outbox_rows = 0;
        assert!(status.is_drained());
    }
}
