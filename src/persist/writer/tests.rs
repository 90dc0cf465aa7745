//! What the writer does when a database, made up by the tests, fails.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;

use super::*;
use crate::persist::store::{Tidied, Written};
use crate::persist::testing::{accepted, at};
use crate::rate_book::HandOver;

const NOON: &str = "2026-11-20T12:00:00Z";

fn records(num: usize) -> Vec<Record> {
    let record = |number: usize| {
        let mut quote = accepted("60000", NOON);
        quote.received_at += TimeDelta::seconds(i64::try_from(number).unwrap());
        Record::Quote(quote)
    };
    (0..num).map(record).collect()
}

fn failed() -> StoreError {
    StoreError::Failed("for a test".to_owned())
}

/// What a made up database and a made up source share with the test.
struct World {
    /// What the source has.
    waiting: VecDeque<Record>,
    /// How many records were asked for, each time.
    claims: Vec<usize>,
    num_connections: usize,
    stored: Vec<Record>,
    set_aside: Vec<Record>,
    num_tidied: usize,
    /// What becomes of the next questions; nothing of the sort where there is none.
    connecting: VecDeque<StoreError>,
    writing: VecDeque<StoreError>,
    tidying: VecDeque<StoreError>,
    bad: Vec<Record>,
    /// Records over which a transaction fails without a word about their content.
    stubborn: Vec<Record>,
    /// Failures that the writer remembers when it begins.
    num_failures: u32,
    /// Tells the writer to stop when the database is written to.
    stops_at_write: bool,
    signal: Signal,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<World>>);

impl Source for Shared {
    type Claim = (Vec<Record>, bool);

    fn claim(&mut self, most: usize) -> Result<Option<Self::Claim>, StoreError> {
        let mut world = self.0.lock().unwrap();
        if world.waiting.is_empty() {
            world.signal.stop();
            return Ok(None);
        }
        world.claims.push(most);
        let records = world.waiting.iter().take(most).cloned().collect();
        Ok(Some((records, world.waiting.len() > most)))
    }

    fn records(claim: &Self::Claim) -> &[Record] {
        &claim.0
    }

    fn has_more(claim: &Self::Claim) -> bool {
        claim.1
    }

    fn num_lost(_: &Self::Claim) -> u64 {
        1
    }

    fn done(&mut self, claim: Self::Claim) -> Result<(), StoreError> {
        self.0.lock().unwrap().waiting.drain(..claim.0.len());
        Ok(())
    }
}

impl Store for Shared {
    fn finish(&mut self) {}

    fn migrate(&mut self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn pending_migrations(&mut self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn write(&mut self, records: &[Record]) -> Result<Written, StoreError> {
        let mut world = self.0.lock().unwrap();
        if world.stops_at_write {
            world.signal.stop();
        }
        if let Some(error) = world.writing.pop_front() {
            return Err(error);
        }
        if records.iter().any(|record| world.bad.contains(record)) {
            return Err(StoreError::BadContent("a rule".to_owned()));
        }
        if records.iter().any(|record| world.stubborn.contains(record)) {
            return Err(failed());
        }
        let new: Vec<Record> =
            records.iter().filter(|record| !world.stored.contains(record)).cloned().collect();
        let written = Written { stored: new.len(), duplicates: records.len() - new.len() };
        world.stored.extend(new);
        Ok(written)
    }

    fn set_aside(&mut self, record: &Record, _: &str) -> Result<(), StoreError> {
        self.0.lock().unwrap().set_aside.push(record.clone());
        Ok(())
    }

    fn tidy(&mut self, _: Keep, _: DateTime<Utc>) -> Result<Tidied, StoreError> {
        let mut world = self.0.lock().unwrap();
        world.num_tidied += 1;
        world.tidying.pop_front().map_or(Ok(Tidied::default()), Err)
    }

    fn last_quote_at(&mut self) -> Result<Option<DateTime<Utc>>, StoreError> {
        Ok(Some(at("2026-11-19T00:00:00Z")))
    }
}

/// Runs a writer until its source is empty, or something told it to stop.
fn run(first_batch: usize, num: usize, change: impl FnOnce(&mut World)) -> (Shared, Status) {
    let signal = Signal::default();
    let mut world = World {
        waiting: records(num).into(),
        claims: Vec::new(),
        num_connections: 0,
        stored: Vec::new(),
        set_aside: Vec::new(),
        num_tidied: 0,
        connecting: VecDeque::new(),
        writing: VecDeque::new(),
        tidying: VecDeque::new(),
        bad: Vec::new(),
        stubborn: Vec::new(),
        num_failures: 0,
        stops_at_write: false,
        signal: signal.clone(),
    };
    change(&mut world);
    let num_failures = world.num_failures;
    let shared = Shared(Arc::new(Mutex::new(world)));
    let store = shared.clone();
    let connect: Connect = Box::new(move || {
        let mut world = store.0.lock().unwrap();
        world.num_connections += 1;
        world.connecting.pop_front().map_or_else(|| Ok(Box::new(store.clone()) as Box<dyn Store>), Err)
    });
    let status = Status::new("postgres", Some(HandOver::new(Duration::ZERO)));
    let keep = Keep { quotes: Duration::from_secs(3600), candles: Duration::from_secs(3600) };
    let mut writer = Writer::new(shared.clone(), connect, status.clone(), keep, Duration::ZERO, signal);
    (writer.batch, writer.num_failures) = (first_batch, num_failures);
    writer.run();
    (shared, status)
}

#[test]
fn a_failure_ends_the_session_and_the_same_records_come_again() {
    let (shared, status) = run(1_000, 50, |world| world.writing = [failed()].into());
    let world = shared.0.lock().unwrap();
    assert_eq!((world.stored.as_slice(), world.num_connections), (&records(50)[..], 2));
    let known = status.known();
    assert_eq!((known.stored, known.duplicates, known.rejected, known.dropped), (50, 0, 0, 1));
    assert_eq!(known.last_quote_at, Some(at(NOON) + TimeDelta::seconds(49)));
    assert_eq!((known.is_taking, known.last_error.as_deref()), (Some(true), Some("for a test")));
}

#[test]
fn a_store_that_is_not_there_is_connected_to_until_it_is() {
    let gone = || StoreError::Disconnected("connection refused".to_owned());
    let (shared, status) = run(1_000, 5, |world| {
        world.connecting = [gone(), gone()].into();
        world.writing = [gone()].into();
    });
    let world = shared.0.lock().unwrap();
    assert_eq!((world.stored.len(), world.num_connections), (5, 4));
    assert_eq!(status.known().last_error.as_deref(), Some("connection refused"));
}

#[test]
fn what_the_last_life_stored_is_known_before_anything_is_written() {
    let (_, status) = run(1_000, 0, |_| {});
    assert_eq!(status.known().last_quote_at, Some(at("2026-11-19T00:00:00Z")));
    assert_eq!(status.known().is_taking, Some(true));
}

#[test]
fn a_record_that_the_database_refuses_is_set_aside_and_all_the_others_are_stored() {
    for bad in [0, 456, 999] {
        let (shared, status) = run(1_000, 1_000, |world| world.bad = vec![records(1_000)[bad].clone()]);
        let world = shared.0.lock().unwrap();
        let mut expected = records(1_000);
        let refused = expected.remove(bad);
        assert_eq!((world.stored.as_slice(), world.set_aside.as_slice()), (&expected[..], &[refused][..]));
        let known = status.known();
        assert_eq!((known.stored, known.rejected, world.num_connections), (999, 1, 1));
    }
}

#[test]
fn what_fails_for_another_reason_is_not_set_aside() {
    let (shared, status) = run(1_000, 8, |world| {
        world.bad = vec![records(8)[5].clone()];
        world.writing = [StoreError::BadContent("a rule".to_owned()), failed()].into();
    });
    let world = shared.0.lock().unwrap();
    assert_eq!((world.stored.len(), world.set_aside.as_slice()), (7, &records(8)[5..6]));
    assert_eq!((world.num_connections, status.known().rejected), (2, 1));
}

#[test]
fn a_record_over_which_only_its_own_transaction_fails_is_set_aside_once_it_is_suspect() {
    let (shared, status) = run(1_000, 100, |world| {
        world.stubborn = vec![records(100)[37].clone()];
        world.num_failures = SUSPECT_AFTER;
    });
    let world = shared.0.lock().unwrap();
    assert_eq!((world.stored.len(), world.set_aside.as_slice()), (99, &records(100)[37..38]));
    assert_eq!((status.known().rejected, world.num_connections), (1, 1));
}

#[test]
fn nothing_is_set_aside_while_the_database_takes_nothing() {
    let (shared, _) = run(1_000, 4, |world| {
        world.stubborn = records(4);
        world.num_failures = SUSPECT_AFTER;
        world.stops_at_write = true;
    });
    let world = shared.0.lock().unwrap();
    assert_eq!((world.stored.len(), world.set_aside.len(), world.waiting.len()), (0, 0, 4));
}

#[test]
fn a_transaction_grows_while_there_is_more_and_shrinks_when_it_fails_within_limits() {
    let (shared, _) = run(150, 2_000, |world| world.writing = [failed(), failed()].into());
    assert_eq!(shared.0.lock().unwrap().claims, [150, 100, 100, 200, 400, 800, 1_600]);
    let (shared, _) = run(4_000, 0, |world| world.waiting = vec![records(1).remove(0); 40_000].into());
    assert_eq!(shared.0.lock().unwrap().claims, [4_000, 8_000, 10_000, 10_000, 10_000]);
}

#[test]
fn old_rows_that_cannot_be_dropped_do_not_end_the_session_and_a_lost_connection_does() {
    let (shared, status) = run(1_000, 5, |world| world.tidying = [failed()].into());
    assert_eq!((shared.0.lock().unwrap().num_connections, status.known().stored), (1, 5));
    assert_eq!(status.known().last_error, None);
    let (shared, _) = run(1_000, 2_000, |world| {
        world.tidying = [StoreError::Disconnected("gone".to_owned())].into();
    });
    let world = shared.0.lock().unwrap();
    assert_eq!((world.num_connections, world.stored.len(), world.num_tidied), (2, 2_000, 2));
}

#[test]
fn nothing_is_claimed_after_the_stop() {
    let (shared, _) = run(100, 500, |world| world.stops_at_write = true);
    let world = shared.0.lock().unwrap();
    assert_eq!((world.claims.as_slice(), world.stored.len(), world.waiting.len()), (&[100][..], 100, 400));
    let (shared, _) = run(100, 500, |world| world.signal.stop());
    assert_eq!(shared.0.lock().unwrap().num_connections, 0);
}
