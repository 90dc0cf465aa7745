//! The thread that writes to the database: it connects, migrates, writes what a source has, and tidies up.
//!
//! Separate from the sources, so that what happens when a database fails is said once: the session ends, the records
//! stay where they are, and the next session begins after a delay.

use std::time::Duration;

use chrono::{DateTime, Utc};
use log::{debug, error, info, warn};

use super::status::Status;
use super::store::{Keep, Store, StoreError};
use super::worker::Signal;
use crate::clock;
use crate::market::Moment;
use crate::rate_book::Record;

#[cfg(test)]
mod tests;

/// Records of one transaction at first, at least, and at most. The number doubles while there is more than fits, so
/// that a database that fell behind catches up, and halves when a transaction fails, in case it was too much.
const FIRST_BATCH: usize = 1_000;
const SMALLEST_BATCH: usize = 100;
const LARGEST_BATCH: usize = 10_000;

/// Largest delay before a database that failed is tried again; a delay is drawn evenly below a bound that doubles.
const LONGEST_DELAY: Duration = Duration::from_secs(5);
const FIRST_DELAY: Duration = Duration::from_millis(250);

/// Failures in a row of a database that answers, after which a single record is suspected: a lock or a full disk has
/// mostly passed by then, and a rule that only one record breaks would hold up all the others for ever.
const SUSPECT_AFTER: u32 = 8;

/// How often old rows are looked for, and partitions made ready.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// Rest between two steps of dropping old rows, so that what is written goes first.
const TIDY_PAUSE: Duration = Duration::from_millis(100);

/// Where records come from.
pub(super) trait Source {
    /// What was claimed.
    type Claim;

    /// At most `most` records, the oldest first; the same again until they are done. `None` if there are none.
    ///
    /// # Errors
    /// When they cannot be read.
    fn claim(&mut self, most: usize) -> Result<Option<Self::Claim>, StoreError>;

    /// The records of a claim.
    fn records(claim: &Self::Claim) -> &[Record];

    /// Whether more was there than the claim holds.
    fn has_more(claim: &Self::Claim) -> bool;

    /// Records of a claim that were lost before they came here.
    fn num_lost(claim: &Self::Claim) -> u64;

    /// The database has them for good.
    ///
    /// # Errors
    /// When that cannot be noted; they will be claimed again.
    fn done(&mut self, claim: Self::Claim) -> Result<(), StoreError>;
}

/// Opens the database.
pub(super) type Connect = Box<dyn Fn() -> Result<Box<dyn Store>, StoreError> + Send>;

/// What the thread knows.
pub(super) struct Writer<S> {
    pub(super) source: S,
    pub(super) connect: Connect,
    pub(super) status: Status,
    pub(super) keep: Keep,
    /// How long records may gather, while the database keeps up.
    pub(super) gather_for: Duration,
    pub(super) signal: Signal,
    /// Records of the next transaction.
    batch: usize,
    /// How often in a row a database that answers has not taken what it was given.
    num_failures: u32,
}

impl<S: Source> Writer<S> {
    pub(super) fn new(
        source: S,
        connect: Connect,
        status: Status,
        keep: Keep,
        gather_for: Duration,
        signal: Signal,
    ) -> Self {
        Self { source, connect, status, keep, gather_for, signal, batch: FIRST_BATCH, num_failures: 0 }
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        let mut bound = FIRST_DELAY;
        while !self.signal.is_stopped() {
            let stored_before = self.status.known().stored;
            let Err(error) = self.session() else { return };
            if self.status.known().stored > stored_before {
                bound = FIRST_DELAY;
            }
            self.batch = (self.batch / 2).max(SMALLEST_BATCH);
            self.num_failures = match error {
                StoreError::Failed(_) => self.num_failures.saturating_add(1),
                _ => 0,
            };
            self.tell(&error);
            self.signal.pause(bound.mul_f64(rand::random()));
            bound = (bound * 2).min(LONGEST_DELAY);
        }
    }

    /// Works with one connection until it fails, or until this is told to stop.
    fn session(&mut self) -> Result<(), StoreError> {
        let mut store = (self.connect)()?;
        for name in store.migrate()? {
            info!("storage: applied the migration {name}");
        }
        let last_quote_at = store.last_quote_at()?;
        {
            let mut known = self.status.known();
            known.last_quote_at = known.last_quote_at.max(last_quote_at);
        }
        let mut tidied_at: Option<Moment> = None;
        let mut has_more_to_tidy = false;
        while !self.signal.is_stopped() {
            let has_more = self.write_claim(&mut *store)?;
            self.tell_that_it_takes();
            let now = clock::now();
            let pause = if has_more_to_tidy { TIDY_PAUSE } else { TIDY_EVERY };
            if tidied_at.is_none_or(|at| now.since(at) >= pause) {
                tidied_at = Some(now);
                has_more_to_tidy = self.tidy(&mut *store, now.wall)?;
            }
            if !has_more {
                self.signal.pause(self.gather_for);
            }
        }
        store.finish();
        Ok(())
    }

    /// Writes what one claim holds, and says whether there is more.
    fn write_claim(&mut self, store: &mut dyn Store) -> Result<bool, StoreError> {
        let Some(claim) = self.source.claim(self.batch)? else { return Ok(false) };
        let records = S::records(&claim);
        let is_suspect = self.num_failures >= SUSPECT_AFTER;
        let outcome = write(store, records, is_suspect)?;
        self.num_failures = 0;
        fail::fail_point!("persist::after_commit");
        let has_more = S::has_more(&claim);
        let last_quote_at =
            records.iter().filter(|record| matches!(record, Record::Quote(_))).map(Record::at).max();
        {
            let mut known = self.status.known();
            known.stored += outcome.stored;
            known.duplicates += outcome.duplicates;
            known.rejected += outcome.rejected;
            known.dropped += S::num_lost(&claim);
            known.last_quote_at = known.last_quote_at.max(last_quote_at);
        }
        self.source.done(claim)?;
        if has_more {
            self.batch = (self.batch * 2).min(LARGEST_BATCH);
        }
        Ok(has_more)
    }

    /// Takes a step of dropping what is old. That somebody holds a lock on it is no reason to end the session.
    fn tidy(&self, store: &mut dyn Store, now: DateTime<Utc>) -> Result<bool, StoreError> {
        match store.tidy(self.keep, now) {
            Ok(tidied) => {
                if tidied.dropped > 0 {
                    debug!("storage: dropped {} rows or days that are old", tidied.dropped);
                }
                Ok(tidied.has_more)
            }
            Err(StoreError::Failed(why)) => {
                warn!("storage: old rows cannot be dropped now: {why}");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Says that the database has taken what there was, if it did not before.
    fn tell_that_it_takes(&self) {
        if self.status.known().is_taking.replace(true) == Some(false) {
            info!("storage: the database takes quotes again");
        }
    }

    /// Says what failed: in the log once for each outage, and each time it is another failure.
    fn tell(&self, error: &StoreError) {
        let text = error.to_string();
        let mut known = self.status.known();
        let was_taking = known.is_taking.replace(false);
        let is_news = was_taking != Some(false) || known.last_error.as_deref() != Some(text.as_str());
        known.last_error = Some(text);
        drop(known);
        match error {
            _ if !is_news => debug!("storage: {error}"),
            StoreError::Migration(_) => error!("storage: {error}; quotes wait until the migration is mended"),
            _ => warn!("storage: {error}; quotes wait until the database takes them"),
        }
    }
}

/// What became of the records of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Outcome {
    stored: u64,
    duplicates: u64,
    rejected: u64,
}

impl Outcome {
    fn and(self, other: Self) -> Self {
        Self {
            stored: self.stored + other.stored,
            duplicates: self.duplicates + other.duplicates,
            rejected: self.rejected + other.rejected,
        }
    }
}

/// Writes records. Where the database refuses the content of one, it is found by halving, set aside, and the rest is
/// written. Where records are suspect, so is one that fails for whatever reason while its neighbour is taken.
fn write(store: &mut dyn Store, records: &[Record], is_suspect: bool) -> Result<Outcome, StoreError> {
    let error = match store.write(records) {
        Ok(written) => {
            let count = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
            let (stored, duplicates) = (count(written.stored), count(written.duplicates));
            return Ok(Outcome { stored, duplicates, rejected: 0 });
        }
        Err(error) => error,
    };
    match (&error, records) {
        (StoreError::BadContent(reason), [record]) => set_aside(store, record, reason),
        (StoreError::Failed(_), [_]) => Err(error),
        (StoreError::BadContent(_), _) => write_halves(store, records, is_suspect),
        (StoreError::Failed(_), _) if is_suspect => write_halves(store, records, is_suspect),
        _ => Err(error),
    }
}

fn write_halves(store: &mut dyn Store, records: &[Record], is_suspect: bool) -> Result<Outcome, StoreError> {
    let (older, newer) = records.split_at(records.len() / 2);
    if !is_suspect {
        let (older, newer) = (write(store, older, is_suspect)?, write(store, newer, is_suspect)?);
        return Ok(older.and(newer));
    }
    let outcomes = (write(store, older, is_suspect), write(store, newer, is_suspect));
    let (older, newer) = match (outcomes, older, newer) {
        ((Err(StoreError::Failed(reason)), Ok(taken)), [record], _)
        | ((Ok(taken), Err(StoreError::Failed(reason))), _, [record]) => {
            (taken, set_aside(store, record, &reason)?)
        }
        ((older, newer), ..) => (older?, newer?),
    };
    Ok(older.and(newer))
}

/// Puts a record where people find it, because the database refuses it.
fn set_aside(store: &mut dyn Store, record: &Record, reason: &str) -> Result<Outcome, StoreError> {
    error!("storage: the database refuses a record, which is set aside: {reason}");
    store.set_aside(record, reason)?;
    Ok(Outcome { rejected: 1, ..Outcome::default() })
}
