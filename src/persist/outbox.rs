//! The outbox: a small SQLite file in which batches of records wait until PostgreSQL has them.
//!
//! Separate from the stores because it knows batches and not rows: a batch is one blob, so that committing one costs
//! the same however many records it holds, and each record in it has its own checksum (`journal`).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_types::BigInt;
use diesel::sqlite::SqliteConnection;
use log::error;

use super::journal::{self, Journal};
use super::migrations::{self, MigrationError};
use super::schema::outbox::batches;
use super::store::StoreError;
use crate::clock;
use crate::rate_book::Record;

#[cfg(test)]
mod tests;

/// Settings of the connection. It is the only copy of what is in it, so every commit reaches the disk. The write-ahead
/// log may not grow beyond some megabytes while nobody checkpoints.
const PRAGMAS: &str = "PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA busy_timeout = 5000;
    PRAGMA journal_size_limit = 4194304;";

/// Pages that hold something.
const USED_PAGES: &str =
    "SELECT page_count - freelist_count AS number FROM pragma_page_count, pragma_freelist_count";

/// Pages that hold nothing any more.
const FREE_PAGES: &str = "SELECT freelist_count AS number FROM pragma_freelist_count";

/// Free pages that are kept for what comes; beyond them they are given back to the disk.
const MAX_FREE_PAGES: u64 = 4096;

/// Free pages that are given back to the disk at a time; 4 MiB, so that no commit waits long for it.
const VACUUM: &str = "PRAGMA incremental_vacuum(1024)";

/// Share of the limit that is left when the oldest batches have been given up, in percent. Less than all, so that
/// this does not happen for each batch anew.
const KEPT_PERCENT: u64 = 95;

/// Looks whether the pages of the file fit together: a flipped bit there would hide batches, and nobody would be told.
const CHECK: &str = "SELECT count(*) AS number FROM pragma_quick_check WHERE quick_check <> 'ok'";

/// What SQLite says when it is not the content of the file that keeps it from being opened.
const NOT_THE_CONTENT: &[&str] = &["locked", "full", "I/O", "readonly", "unable to open", "out of memory"];

/// Batches that are looked at in one step when the oldest are given up.
const DROPPED_AT_ONCE: i64 = 64;

/// The outbox.
pub(super) struct Outbox {
    connection: SqliteConnection,
    path: PathBuf,
    /// Bytes above which the oldest batches are given up.
    limit: u64,
    rows: u64,
    /// Which opening of an outbox this is.
    opening: u64,
    /// Batches until here are being written to the database, and are not given up meanwhile.
    claimed_up_to: i64,
    /// Batches until here are in the database, and only still here because the disk was too full to remove them: also
    /// that takes room. A restart forgets this, and the database knows what comes again.
    done_up_to: i64,
}

/// Batches that were read to be written to the database.
#[derive(Debug, Default)]
pub(super) struct Claim {
    /// Of which opening: another file may have batches of the same numbers.
    opening: u64,
    /// The last of them.
    up_to: i64,
    /// The records of all of them, oldest first.
    pub(super) records: Vec<Record>,
    /// Whether more was there than fits.
    pub(super) has_more: bool,
    /// Records that are damaged beyond reading.
    pub(super) num_damaged: u64,
}

/// How full the outbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fill {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// When the oldest record was received.
    pub(super) oldest_at: Option<DateTime<Utc>>,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// What is known of a batch without its records.
type Label = (i64, i64);

impl Outbox {
    /// Opens the outbox, or makes one. One that is damaged beyond opening is moved aside, and that is logged: nothing
    /// that happened to old quotes may keep new ones from being stored.
    ///
    /// # Errors
    /// When the file cannot be opened, made or moved.
    pub(super) fn open(path: &Path, limit: u64) -> Result<Self, StoreError> {
        match Self::open_as_it_is(path, limit) {
            Err(StoreError::BadContent(why) | StoreError::Migration(why)) if is_the_content(&why) => {
                let aside = move_aside(path)?;
                error!("storage: the outbox is damaged ({why}); it is kept as `{}`", aside.display());
                Self::open_as_it_is(path, limit)
            }
            opened => opened,
        }
    }

    fn open_as_it_is(path: &Path, limit: u64) -> Result<Self, StoreError> {
        let connection = SqliteConnection::establish(&path.to_string_lossy());
        let mut connection = connection.map_err(|error| StoreError::Failed(error.to_string()))?;
        connection.batch_execute(PRAGMAS).map_err(failure)?;
        let migrated =
            connection.immediate_transaction(|connection| migrations::apply(connection, migrations::OUTBOX));
        migrated.map_err(|error| match error {
            MigrationError::Database(error) => failure(error),
            MigrationError::Failed(text) => StoreError::Migration(text),
        })?;
        static NUM_OPENED: AtomicU64 = AtomicU64::new(0);
        let opening = NUM_OPENED.fetch_add(1, Ordering::Relaxed);
        let path = path.to_owned();
        let mut outbox = Self { connection, path, limit, rows: 0, opening, claimed_up_to: 0, done_up_to: 0 };
        if outbox.number(CHECK)? > 0 {
            return Err(StoreError::BadContent("its pages do not fit together".to_owned()));
        }
        outbox.rows = outbox.number("SELECT coalesce(sum(num_records), 0) AS number FROM batches")?;
        Ok(outbox)
    }

    /// Commits records as one batch. Where that would pass the limit, the oldest batches are given up first; says
    /// how many records that cost.
    ///
    /// # Errors
    /// When the disk does not take them; then nothing is changed.
    pub(super) fn push(&mut self, records: &[Record]) -> Result<u64, StoreError> {
        let Some(first) = records.first() else { return Ok(0) };
        let body = journal::write(records);
        let is_full = self.bytes()? + count(body.len()) > self.limit;
        let num_dropped = if is_full { self.drop_oldest()? } else { 0 };
        let batch = (
            batches::num_records.eq(i64::try_from(records.len()).unwrap_or(i64::MAX)),
            batches::first_at_us.eq(first.at().timestamp_micros()),
            batches::body.eq(body.as_bytes()),
        );
        let inserted = self.connection.immediate_transaction(|connection| {
            let inserted = diesel::insert_into(batches::table).values(batch).execute(connection)?;
            fail::fail_point!("persist::outbox_before_commit");
            Ok(inserted)
        });
        inserted.map_err(failure)?;
        self.rows += count(records.len());
        Ok(num_dropped)
    }

    /// The oldest batches, as far as they hold at most `most` records together, and at least one. `None` if there is
    /// nothing. They stay until [`Outbox::remove`].
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn claim(&mut self, most: usize) -> Result<Option<Claim>, StoreError> {
        let mut claim = Claim { opening: self.opening, ..Claim::default() };
        let mut after = self.done_up_to;
        loop {
            let batch = batches::table
                .filter(batches::id.gt(after))
                .order(batches::id)
                .select((batches::id, batches::num_records, batches::body))
                .first::<(i64, i64, Vec<u8>)>(&mut self.connection)
                .optional();
            let (id, num_records, body) = match batch {
                Ok(Some(batch)) => batch,
                Ok(None) => break,
                Err(error) => match failure(error) {
                    StoreError::BadContent(why) => match self.step_over(after, &why)? {
                        Some((id, num_records)) => (id, num_records, Vec::new()),
                        None => break,
                    },
                    other => return Err(other),
                },
            };
            let num_records = usize::try_from(num_records).unwrap_or_default();
            if after > self.done_up_to && claim.records.len() + num_records > most {
                claim.has_more = true;
                break;
            }
            let Journal { records, .. } = journal::read(&body);
            claim.num_damaged += count(num_records.saturating_sub(records.len()));
            claim.records.extend(records);
            (claim.up_to, after) = (id, id);
        }
        self.claimed_up_to = self.claimed_up_to.max(claim.up_to);
        if after > self.done_up_to {
            return Ok(Some(claim));
        }
        if self.done_up_to > 0 {
            self.empty()?;
        }
        Ok(None)
    }

    /// A claim is in the database; on a full disk it is only passed over from now on. One from before the outbox was
    /// opened anew changes nothing: it will come again, if it is the same file, and the database will know it.
    ///
    /// # Errors
    /// When the file cannot be written; then, too, the claim will come again.
    pub(super) fn remove(&mut self, claim: &Claim) -> Result<(), StoreError> {
        if claim.opening != self.opening {
            return Ok(());
        }
        match self.remove_until(claim.up_to) {
            // While more waits, SQLite would move that to the front of the file, only to have it removed from there soon.
            Ok(()) if claim.has_more => Ok(()),
            Ok(()) => self.give_back(),
            Err(StoreError::DiskFull(_)) => {
                self.rows = self.rows.saturating_sub(count(claim.records.len()) + claim.num_damaged);
                self.done_up_to = claim.up_to;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn remove_until(&mut self, up_to: i64) -> Result<(), StoreError> {
        let done_up_to = self.done_up_to;
        let removed = self.connection.immediate_transaction(|connection| {
            let until = batches::id.le(up_to);
            let waiting = batches::table.filter(until).filter(batches::id.gt(done_up_to));
            let waiting: Vec<i64> = waiting.select(batches::num_records).load(connection)?;
            diesel::delete(batches::table.filter(until)).execute(connection)?;
            Ok(waiting.iter().map(|num_records| u64::try_from(*num_records).unwrap_or_default()).sum())
        });
        let num_removed: u64 = removed.map_err(failure)?;
        self.rows = self.rows.saturating_sub(num_removed);
        self.done_up_to = 0;
        Ok(())
    }

    /// Gives some of what is free to the disk. That takes room in the log at first, so a full disk has to wait for it.
    fn give_back(&mut self) -> Result<(), StoreError> {
        if self.number(FREE_PAGES)? <= MAX_FREE_PAGES {
            return Ok(());
        }
        match self.connection.batch_execute(VACUUM).map_err(failure) {
            Err(StoreError::DiskFull(_)) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gets rid of batches that are all in the database. Where the disk is too full to remove them from the file, the
    /// file goes, and what its disk had no room for may come into the next.
    fn empty(&mut self) -> Result<(), StoreError> {
        match self.remove_until(self.done_up_to) {
            Err(StoreError::DiskFull(_)) => {
                let failed = |error: std::io::Error| {
                    let path = self.path.display();
                    StoreError::Failed(format!("the outbox `{path}` cannot be made anew: {error}"))
                };
                // The disk gets its room only when nobody has the file open any more.
                self.connection = SqliteConnection::establish(":memory:")
                    .map_err(|error| StoreError::Failed(error.to_string()))?;
                fs::remove_file(&self.path).map_err(failed)?;
                remove_logs(&self.path).map_err(failed)?;
                *self = Self::open_as_it_is(&self.path, self.limit)?;
                Ok(())
            }
            removed => removed,
        }
    }

    /// How full it is.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn fill(&mut self) -> Result<Fill, StoreError> {
        let waiting = batches::table.filter(batches::id.gt(self.done_up_to));
        let oldest = waiting.order(batches::id).select(batches::first_at_us);
        let oldest_at_us = oldest.first::<i64>(&mut self.connection).optional().map_err(failure)?;
        let bytes = if oldest_at_us.is_some() { self.bytes()? } else { 0 };
        Ok(Fill { rows: self.rows, bytes, oldest_at: oldest_at_us.and_then(DateTime::from_timestamp_micros) })
    }

    /// What is in use of the file.
    fn bytes(&mut self) -> Result<u64, StoreError> {
        Ok(self.number(USED_PAGES)? * self.number("SELECT page_size AS number FROM pragma_page_size")?)
    }

    /// Gives up the oldest batches that nobody is writing to the database, until there is room again.
    fn drop_oldest(&mut self) -> Result<u64, StoreError> {
        let mut num_dropped = 0;
        while self.bytes()? > self.limit / 100 * KEPT_PERCENT {
            let claimed_up_to = self.claimed_up_to;
            let dropped = self.connection.immediate_transaction(|connection| {
                let oldest = batches::table.filter(batches::id.gt(claimed_up_to)).order(batches::id);
                let labels = oldest.select((batches::id, batches::num_records)).limit(DROPPED_AT_ONCE);
                let labels: Vec<Label> = labels.load(connection)?;
                let ids: Vec<i64> = labels.iter().map(|(id, _)| *id).collect();
                diesel::delete(batches::table.filter(batches::id.eq_any(ids))).execute(connection)?;
                Ok(labels.iter().map(|(_, records)| u64::try_from(*records).unwrap_or_default()).collect())
            });
            let dropped: Vec<u64> = dropped.map_err(failure)?;
            if dropped.is_empty() {
                break;
            }
            num_dropped += dropped.iter().sum::<u64>();
        }
        self.rows = self.rows.saturating_sub(num_dropped);
        Ok(num_dropped)
    }

    /// What is known of the first batch behind `after`, whose records cannot be read.
    fn step_over(&mut self, after: i64, why: &str) -> Result<Option<Label>, StoreError> {
        let labels = batches::table.select((batches::id, batches::num_records)).filter(batches::id.gt(after));
        let label =
            labels.order(batches::id).first::<Label>(&mut self.connection).optional().map_err(failure)?;
        if let Some((id, _)) = label {
            error!("storage: batch {id} of the outbox cannot be read: {why}");
        }
        Ok(label)
    }

    fn number(&mut self, query: &str) -> Result<u64, StoreError> {
        let number = diesel::sql_query(query).get_result::<Number>(&mut self.connection).map_err(failure)?;
        Ok(u64::try_from(number.number).unwrap_or_default())
    }
}

/// What went wrong, and whether the file itself is damaged.
fn failure(error: Error) -> StoreError {
    let text = error.to_string();
    let is_damaged = ["malformed", "not a database", "no such table"].iter().any(|word| text.contains(word));
    match text {
        _ if is_damaged => StoreError::BadContent(text),
        _ if text.contains("disk is full") => StoreError::DiskFull(text),
        _ => StoreError::Failed(text),
    }
}

/// Removes what SQLite keeps beside a file that is gone.
fn remove_logs(path: &Path) -> std::io::Result<()> {
    for suffix in ["-wal", "-shm"] {
        match fs::remove_file(beside(path, suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Whether it is the content of the file that keeps it from being opened.
fn is_the_content(why: &str) -> bool {
    !NOT_THE_CONTENT.iter().any(|words| why.contains(words))
}

/// Moves the file out of the way, with its write-ahead log, and says where it is now.
fn move_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let at = clock::now().wall.format("%Y%m%dT%H%M%S%.6fZ");
    let aside = beside(path, &format!(".damaged-{at}"));
    let failed = |error: std::io::Error| {
        StoreError::Failed(format!("the damaged outbox `{}` cannot be moved: {error}", path.display()))
    };
    fs::rename(path, &aside).map_err(failed)?;
    // The log belongs to this file alone; what shares memory is made anew.
    let log = fs::rename(beside(path, "-wal"), beside(&aside, "-wal"));
    for moved in [log, fs::remove_file(beside(path, "-shm"))] {
        match moved {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    Ok(aside)
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
