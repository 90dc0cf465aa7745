//! Records come to the writer until it has them for good, straight or through the outbox.

use std::fs;

use chrono::TimeDelta;
use tempfile::TempDir;

use super::*;
use crate::persist::testing::{accepted, at};

const NOON: &str = "2026-11-20T12:00:00Z";

fn hand_over(num: i64) -> HandOver {
    let hand_over = HandOver::new(Duration::ZERO);
    push(&hand_over, 0, num);
    hand_over
}

fn push(hand_over: &HandOver, first: i64, num: i64) {
    let quotes = (first..first + num).map(|number| {
        let mut quote = accepted(&(60_000 + number).to_string(), NOON);
        quote.received_at += TimeDelta::seconds(number);
        (quote, true)
    });
    hand_over.push_quotes(quotes);
}

fn seconds(records: &[Record]) -> Vec<i64> {
    records.iter().map(|record| (record.at() - at(NOON)).num_seconds()).collect()
}

#[test]
fn what_comes_straight_comes_again_until_it_is_done() {
    let mut source = FromHandOver(hand_over(5));
    let claim = source.claim(2).unwrap().unwrap();
    assert_eq!(seconds(FromHandOver::records(&claim)), [0, 1]);
    assert!(FromHandOver::has_more(&claim));
    assert_eq!(FromHandOver::num_lost(&claim), 0);
    let again = source.claim(5).unwrap().unwrap();
    assert_eq!(seconds(FromHandOver::records(&again)), [0, 1]);
    source.done(again).unwrap();
    let rest = source.claim(10).unwrap().unwrap();
    assert_eq!(
        (seconds(FromHandOver::records(&rest)), FromHandOver::has_more(&rest)),
        (vec![2, 3, 4], false)
    );
    source.done(claim).unwrap();
    assert_eq!(source.0.counters().waiting, 3, "a claim that was done before confirms nothing of the next");
    source.done(rest).unwrap();
    assert!(source.claim(10).unwrap().is_none());
}

struct Scene {
    folder: TempDir,
    collector: Collector,
    source: FromOutbox,
}

impl Scene {
    fn at(path: &str, limit: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let outbox = SharedOutbox::default();
        let hand_over = hand_over(5);
        let collector = Collector {
            status: Status::new("postgres", Some(hand_over.clone())),
            hand_over,
            outbox: outbox.clone(),
            path: folder.path().join(path),
            limit,
            signal: Signal::default(),
        };
        Self { folder, collector, source: FromOutbox(outbox) }
    }

    fn waiting(&self) -> u64 {
        self.collector.hand_over.counters().waiting
    }
}

#[test]
fn what_is_collected_waits_in_the_outbox_until_it_is_done() {
    let mut scene = Scene::at("outbox.db", 1 << 30);
    assert!(scene.source.claim(10).unwrap().is_none(), "nobody has opened it");
    scene.collector.collect().unwrap();
    assert_eq!(scene.waiting(), 0);
    push(&scene.collector.hand_over, 5, 1);
    scene.collector.collect().unwrap();
    scene.collector.look();
    {
        let known = scene.collector.status.known();
        assert_eq!((known.outbox_rows, known.outbox_oldest_at), (6, Some(at(NOON))));
        assert!(known.outbox_bytes > 0);
    }
    let claim = scene.source.claim(5).unwrap().unwrap();
    assert_eq!(
        (seconds(FromOutbox::records(&claim)), FromOutbox::has_more(&claim)),
        (vec![0, 1, 2, 3, 4], true)
    );
    scene.source.done(claim).unwrap();
    let claim = scene.source.claim(5).unwrap().unwrap();
    assert_eq!((seconds(FromOutbox::records(&claim)), FromOutbox::has_more(&claim)), (vec![5], false));
    scene.source.done(claim).unwrap();
    assert!(scene.source.claim(5).unwrap().is_none());
    scene.collector.look();
    assert!(scene.collector.status.is_drained());
}

#[test]
fn an_outbox_that_takes_nothing_leaves_the_records_in_memory_and_says_so() {
    let scene = Scene::at("absent/outbox.db", 1 << 30);
    let error = scene.collector.collect().unwrap_err();
    scene.collector.give_up(&error);
    assert_eq!(scene.waiting(), 5);
    {
        let known = scene.collector.status.known();
        assert!(known.outbox_fails);
        assert!(known.last_error.as_deref().unwrap().starts_with("the outbox: "), "{known:?}");
    }
    fs::create_dir(scene.folder.path().join("absent")).unwrap();
    scene.collector.collect().unwrap();
    assert_eq!(scene.waiting(), 0);
    scene.collector.tell_of_return();
    assert!(!scene.collector.status.known().outbox_fails);
    scene.collector.look();
    assert_eq!(scene.collector.status.known().outbox_rows, 5);
}

#[test]
fn what_a_full_outbox_gives_up_is_counted() {
    let scene = Scene::at("outbox.db", 100_000);
    for first in 0..100 {
        push(&scene.collector.hand_over, 100 * first + 5, 100);
        scene.collector.collect().unwrap();
    }
    scene.collector.look();
    let known = scene.collector.status.known();
    assert!(known.dropped > 0);
    assert_eq!(known.dropped + known.outbox_rows, 10_005);
}

#[test]
fn a_claim_from_before_the_outbox_was_made_anew_costs_nothing_of_what_is_in_it() {
    let mut scene = Scene::at("outbox.db", 1 << 30);
    scene.collector.collect().unwrap();
    let claim = scene.source.claim(10).unwrap().unwrap();
    scene.collector.give_up(&StoreError::Failed("for a test".to_owned()));
    fs::remove_file(&scene.collector.path).unwrap();
    push(&scene.collector.hand_over, 5, 3);
    scene.collector.collect().unwrap();
    scene.source.done(claim).unwrap();
    let claim = scene.source.claim(10).unwrap().unwrap();
    assert_eq!(seconds(FromOutbox::records(&claim)), [5, 6, 7]);
}

#[test]
fn the_thread_collects_until_it_is_told_to_stop() {
    let scene = Scene::at("outbox.db", 1 << 30);
    let (signal, hand_over) = (scene.collector.signal.clone(), scene.collector.hand_over.clone());
    let collector = scene.collector;
    let thread = std::thread::spawn(move || collector.run());
    let began_at = clock::now();
    while hand_over.counters().waiting > 0 {
        assert!(clock::now().since(began_at) < Duration::from_secs(20), "nothing was collected");
        std::thread::yield_now();
    }
    signal.stop();
    thread.join().unwrap();
    let mut source = scene.source;
    let claim = source.claim(10).unwrap().unwrap();
    assert_eq!(seconds(FromOutbox::records(&claim)), [0, 1, 2, 3, 4]);
}
