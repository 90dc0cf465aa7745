//! What the outbox was given is there until it is removed, whatever happens to its file.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use super::*;
use crate::persist::testing::{accepted, at};

const NOON: &str = "2026-11-20T12:00:00Z";

/// Room for everything.
const ROOMY: u64 = 1 << 30;

/// So many records from the one with this number on, a second apart.
fn records(first: i64, num: i64) -> Vec<Record> {
    let record = |number: i64| {
        let mut quote = accepted(&(60_000 + number).to_string(), NOON);
        quote.received_at += TimeDelta::seconds(number);
        Record::Quote(quote)
    };
    (first..first + num).map(record).collect()
}

struct Place {
    folder: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db");
        Self { folder, path }
    }

    fn open(&self) -> Outbox {
        self.open_with(ROOMY)
    }

    fn open_with(&self, limit: u64) -> Outbox {
        Outbox::open(&self.path, limit).unwrap()
    }

    /// Files that were moved aside.
    fn aside(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().path());
        files.filter(|path| path.to_string_lossy().contains(".damaged-")).collect()
    }
}

/// Claims, and removes, until nothing is left.
fn drain(outbox: &mut Outbox, most: usize) -> (Vec<Record>, u64) {
    let (mut records, mut num_damaged) = (Vec::new(), 0);
    while let Some(claim) = outbox.claim(most).unwrap() {
        outbox.remove(&claim).unwrap();
        records.extend(claim.records);
        num_damaged += claim.num_damaged;
    }
    (records, num_damaged)
}

#[test]
fn batches_are_claimed_in_order_whole_and_at_least_one() {
    let mut outbox = Place::new().open();
    assert!(outbox.claim(10).unwrap().is_none());
    outbox.push(&[]).unwrap();
    assert!(outbox.claim(10).unwrap().is_none(), "no records are no batch");
    for (first, num) in [(0, 3), (3, 4), (7, 1), (8, 20)] {
        assert_eq!(outbox.push(&records(first, num)).unwrap(), 0);
    }
    for (most, num_claimed, has_more) in
        [(0, 3, true), (3, 3, true), (6, 3, true), (7, 7, true), (8, 8, true), (27, 8, true), (28, 28, false)]
    {
        let claim = outbox.claim(most).unwrap().unwrap();
        assert_eq!(claim.records, records(0, num_claimed), "most {most}");
        assert_eq!((claim.has_more, claim.num_damaged), (has_more, 0), "most {most}");
    }
    let first = outbox.claim(7).unwrap().unwrap();
    outbox.remove(&first).unwrap();
    let next = outbox.claim(1).unwrap().unwrap();
    assert_eq!((next.records, next.has_more), (records(7, 1), true));
    outbox.remove(&first).unwrap();
    assert_eq!(drain(&mut outbox, 5), (records(7, 21), 0));
    assert_eq!(outbox.fill().unwrap(), Fill::default());
}

#[test]
fn what_was_there_is_found_when_it_is_opened_again() {
    let place = Place::new();
    let mut outbox = place.open();
    for first in [0, 10, 20] {
        outbox.push(&records(first, 10)).unwrap();
    }
    let claim = outbox.claim(10).unwrap().unwrap();
    outbox.remove(&claim).unwrap();
    let fill = outbox.fill().unwrap();
    assert_eq!((fill.rows, fill.oldest_at), (20, Some(at(NOON) + TimeDelta::seconds(10))));
    assert!(fill.bytes > 0);
    drop(outbox);
    let mut outbox = place.open();
    assert_eq!(outbox.fill().unwrap(), fill);
    assert_eq!(drain(&mut outbox, 100), (records(10, 20), 0));
}

#[test]
fn a_claim_of_another_opening_removes_nothing() {
    let (first, second) = (Place::new(), Place::new());
    let mut outbox = first.open();
    outbox.push(&records(0, 5)).unwrap();
    let claim = outbox.claim(5).unwrap().unwrap();
    let mut other = second.open();
    other.push(&records(5, 5)).unwrap();
    other.remove(&claim).unwrap();
    assert_eq!(drain(&mut other, 100), (records(5, 5), 0));
}

#[test]
fn a_full_outbox_gives_up_the_oldest_that_nobody_has_claimed_and_counts_them() {
    let mut outbox = Place::new().open_with(400_000);
    for first in 0..3 {
        assert_eq!(outbox.push(&records(first * 100, 100)).unwrap(), 0);
    }
    let claim = outbox.claim(200).unwrap().unwrap();
    let (mut num_pushed, mut num_dropped) = (300, 0);
    for first in 3..60 {
        let dropped = outbox.push(&records(first * 100, 100)).unwrap();
        num_pushed += 100;
        num_dropped += dropped;
        let fill = outbox.fill().unwrap();
        assert_eq!(fill.rows, num_pushed - num_dropped);
        assert!(fill.bytes <= 400_000 + 4096 * 8, "{fill:?}");
    }
    assert!(num_dropped > 0);
    outbox.remove(&claim).unwrap();
    let (left, num_damaged) = drain(&mut outbox, 1_000);
    assert_eq!((claim.records, num_damaged), (records(0, 200), 0));
    let num_left = i64::try_from(left.len()).unwrap();
    assert_eq!(left, records(6_000 - num_left, num_left), "the newest are left");
    assert_eq!(200 + num_dropped + u64::try_from(num_left).unwrap(), num_pushed);
}

#[test]
fn a_damaged_batch_costs_only_its_damaged_records() {
    let place = Place::new();
    let mut outbox = place.open();
    outbox.push(&records(0, 10)).unwrap();
    outbox.push(&records(10, 10)).unwrap();
    let damage = "UPDATE batches SET body = CAST(replace(body, '60003', '6o003') AS BLOB) WHERE id = 1";
    outbox.connection.batch_execute(damage).unwrap();
    drop(outbox);
    let mut outbox = place.open();
    let claim = outbox.claim(100).unwrap().unwrap();
    assert_eq!((claim.records.len(), claim.num_damaged), (19, 1));
    assert!(!claim.records.contains(&records(3, 1)[0]));
    outbox.remove(&claim).unwrap();
    assert_eq!(outbox.fill().unwrap().rows, 0);
    assert!(place.aside().is_empty());
}

#[test]
fn a_file_that_is_no_outbox_is_kept_aside() {
    let place = Place::new();
    fs::write(&place.path, "for a test, something that is no database ".repeat(100)).unwrap();
    let mut outbox = place.open();
    outbox.push(&records(0, 3)).unwrap();
    let aside = place.aside();
    let [file] = &aside[..] else { panic!("{aside:?}") };
    assert!(fs::read_to_string(file).unwrap().starts_with("for a test"));
    assert_eq!(drain(&mut outbox, 100), (records(0, 3), 0));
}

#[test]
fn what_is_moved_aside_takes_its_log_along() {
    let place = Place::new();
    let beside = |suffix: &str| place.folder.path().join(format!("outbox.db{suffix}"));
    for (suffix, text) in [("", "file"), ("-wal", "log"), ("-shm", "memory")] {
        fs::write(beside(suffix), text).unwrap();
    }
    let aside = move_aside(&place.path).unwrap();
    let log = PathBuf::from(format!("{}-wal", aside.display()));
    assert_eq!(
        (fs::read_to_string(&aside).unwrap(), fs::read_to_string(log).unwrap()),
        ("file".into(), "log".into())
    );
    assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 2);
}

#[test]
fn a_place_that_cannot_be_written_is_a_failure_and_moves_nothing() {
    let place = Place::new();
    let path = place.folder.path().join("absent/outbox.db");
    assert!(matches!(Outbox::open(&path, ROOMY), Err(StoreError::Failed(_))));
    assert!(!place.folder.path().join("absent").exists());
}

/// Damages a closed file in a thousand ways: what is read of it is what was written, and what is not is counted.
#[test]
fn damage_is_counted_or_the_file_is_kept_aside_and_nothing_panics() {
    let place = Place::new();
    let (num_batches, size) = (30, 40);
    let mut outbox = place.open();
    for number in 0..num_batches {
        outbox.push(&records(number * size, size)).unwrap();
    }
    drop(outbox);
    let whole = fs::read(&place.path).unwrap();
    let written = records(0, num_batches * size);
    let mut rng = StdRng::seed_from_u64(9);
    let (mut num_aside, mut num_partly, mut num_harmless) = (0, 0, 0);
    for round in 0..1_000 {
        let mut bytes = whole.clone();
        let what = match round % 4 {
            0 => {
                let length = rng.random_range(1..bytes.len());
                bytes.truncate(length);
                format!("cut to {length}")
            }
            // The beginning holds what all the rest depends on.
            kind => {
                let end = if kind == 1 { 3 * 4096 } else { bytes.len() };
                let bits: BTreeSet<usize> =
                    (0..rng.random_range(1..5)).map(|_| rng.random_range(0..end * 8)).collect();
                bits.iter().for_each(|bit| bytes[bit / 8] ^= 1 << (bit % 8));
                format!("bits {bits:?}")
            }
        };
        fs::write(&place.path, &bytes).unwrap();
        let mut outbox = place.open();
        let (read, num_damaged) = drain(&mut outbox, 500);
        outbox.push(&written[..3]).unwrap();
        assert_eq!(drain(&mut outbox, 500).0, written[..3], "round {round}, {what}: it is of no use");
        drop(outbox);

        let mut rest = written.iter();
        assert!(
            read.iter().all(|record| rest.any(|it| it == record)),
            "round {round}, {what}: not as written"
        );
        let aside = place.aside();
        let num_told = read.len() + usize::try_from(num_damaged).unwrap();
        match (aside.is_empty(), num_damaged) {
            (false, _) => num_aside += 1,
            (true, 0) => num_harmless += 1,
            (true, _) => num_partly += 1,
        }
        assert!(!aside.is_empty() || num_told >= written.len(), "round {round}, {what}: {num_told} told");
        // Each bit costs its record, and the next one where it ends a line.
        let may_be_lost = if round % 4 == 0 { num_damaged } else { 8 };
        assert!(!aside.is_empty() || num_damaged <= may_be_lost, "round {round}, {what}: {num_damaged} lost");
        for file in fs::read_dir(place.folder.path()).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
    println!("{num_aside} kept aside, {num_partly} read without what was damaged, {num_harmless} read whole");
    assert!(num_aside > 0 && num_partly > 0);
}
