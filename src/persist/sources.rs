//! Where the writer's records come from: straight from RateBook's hand-over, or from the outbox that a thread of its
//! own fills.
//!
//! Separate because this is the one difference between the two databases that matters to the writer: SQLite is on this
//! machine and keeps the only copy, PostgreSQL may be away, so that what is for it waits on this disk.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::{error, info};

use super::outbox::{Claim, Outbox};
use super::status::Status;
use super::store::StoreError;
use super::worker::Signal;
use super::writer::Source;
use crate::clock;
use crate::market::Moment;
use crate::rate_book::{HandOver, Record};

#[cfg(test)]
mod tests;

/// Most records of one batch of the outbox: some 2 MB.
const MOST_IN_BATCH: usize = 10_000;

/// How often the outbox is given what came: twice within the 100 ms in which a quote is stored for good.
const COLLECT_EVERY: Duration = Duration::from_millis(40);

/// How often it is looked how full the outbox is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Rest before an outbox that failed is opened again.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// Straight from RateBook.
pub(super) struct FromHandOver(pub(super) HandOver);

/// What was taken, and whether there was more.
pub(super) struct Taken {
    records: Arc<[Record]>,
    has_more: bool,
}

impl Source for FromHandOver {
    type Claim = Taken;

    fn claim(&mut self, most: usize) -> Result<Option<Taken>, StoreError> {
        let records = self.0.take(most, clock::now().wall);
        Ok(records.map(|records| Taken { has_more: records.len() >= most, records }))
    }

    fn records(claim: &Taken) -> &[Record] {
        &claim.records
    }

    fn has_more(claim: &Taken) -> bool {
        claim.has_more
    }

    fn num_lost(_: &Taken) -> u64 {
        0
    }

    fn done(&mut self, claim: Taken) -> Result<(), StoreError> {
        self.0.confirm(&claim.records);
        Ok(())
    }
}

/// An outbox that two threads share; `None` while it cannot be opened.
#[derive(Clone, Default)]
pub(super) struct SharedOutbox(Arc<Mutex<Option<Outbox>>>);

impl SharedOutbox {
    fn lock(&self) -> MutexGuard<'_, Option<Outbox>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an open outbox says. One that turns out to be damaged is let go of: it is looked at when it is opened anew.
    fn ask<T: Default>(
        &self,
        question: impl FnOnce(&mut Outbox) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut outbox = self.lock();
        let answer = outbox.as_mut().map_or_else(|| Ok(T::default()), question);
        if matches!(answer, Err(StoreError::BadContent(_))) {
            *outbox = None;
        }
        answer
    }
}

/// From the outbox.
pub(super) struct FromOutbox(pub(super) SharedOutbox);

impl Source for FromOutbox {
    type Claim = Claim;

    fn claim(&mut self, most: usize) -> Result<Option<Claim>, StoreError> {
        self.0.ask(|outbox| outbox.claim(most))
    }

    fn records(claim: &Claim) -> &[Record] {
        &claim.records
    }

    fn has_more(claim: &Claim) -> bool {
        claim.has_more
    }

    fn num_lost(claim: &Claim) -> u64 {
        claim.num_damaged
    }

    fn done(&mut self, claim: Claim) -> Result<(), StoreError> {
        self.0.ask(|outbox| outbox.remove(&claim))
    }
}

/// The thread that fills the outbox.
pub(super) struct Collector {
    pub(super) hand_over: HandOver,
    pub(super) outbox: SharedOutbox,
    pub(super) path: PathBuf,
    pub(super) limit: u64,
    pub(super) status: Status,
    pub(super) signal: Signal,
}

impl Collector {
    /// Runs until it is told to stop.
    pub(super) fn run(self) {
        let mut looked_at: Option<Moment> = None;
        while !self.signal.is_stopped() {
            let collected = self.collect();
            let is_open = collected.is_ok();
            match collected {
                Ok(()) => self.tell_of_return(),
                Err(error) => self.give_up(&error),
            }
            let now = clock::now();
            if looked_at.is_none_or(|at| now.since(at) >= LOOK_EVERY) {
                looked_at = Some(now);
                self.look();
            }
            self.signal.pause(if is_open { COLLECT_EVERY } else { REOPEN_AFTER });
        }
    }

    /// Commits what came.
    fn collect(&self) -> Result<(), StoreError> {
        loop {
            if self.outbox.lock().is_none() {
                self.open()?;
            }
            let Some(batch) = self.hand_over.take(MOST_IN_BATCH, clock::now().wall) else { return Ok(()) };
            let num_dropped = self.outbox.lock().as_mut().map_or(Ok(0), |outbox| outbox.push(&batch))?;
            fail::fail_point!("persist::outbox_after_commit");
            self.hand_over.confirm(&batch);
            self.note(num_dropped);
        }
    }

    fn open(&self) -> Result<(), StoreError> {
        let outbox = Outbox::open(&self.path, self.limit)?;
        *self.outbox.lock() = Some(outbox);
        self.look();
        Ok(())
    }

    fn note(&self, num_dropped: u64) {
        if num_dropped > 0 {
            self.status.known().dropped += num_dropped;
            let path = self.path.display();
            error!("storage: the outbox `{path}` is full, so its {num_dropped} oldest records were given up");
        }
    }

    /// Says that an outbox which had failed has taken what waited.
    fn tell_of_return(&self) {
        if std::mem::take(&mut self.status.known().outbox_fails) {
            info!("storage: the outbox takes quotes again");
        }
    }

    /// Looks how full the outbox is.
    fn look(&self) {
        let Some(Ok(fill)) = self.outbox.lock().as_mut().map(Outbox::fill) else { return };
        let mut known = self.status.known();
        (known.outbox_rows, known.outbox_bytes) = (fill.rows, fill.bytes);
        known.outbox_oldest_at = fill.oldest_at;
    }

    /// Lets go of an outbox that failed, so that it is opened anew: its disk may have come back. One whose disk is full
    /// stays open, since room comes from what the writer takes out of it.
    fn give_up(&self, error: &StoreError) {
        if !matches!(error, StoreError::DiskFull(_)) {
            *self.outbox.lock() = None;
        }
        let mut known = self.status.known();
        let is_news = !std::mem::replace(&mut known.outbox_fails, true);
        known.last_error = Some(format!("the outbox: {error}"));
        drop(known);
        if is_news {
            let path = self.path.display();
            error!("storage: the outbox `{path}` takes nothing ({error}); quotes wait in memory");
        }
    }
}
