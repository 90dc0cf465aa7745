//! What is left to be stored: what the book accepted, and what happened to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::prelude::*;

use super::*;
use crate::rate_book::actor::RateBook;

impl Scene {
    fn recording() -> Self {
        let scene = Self::new();
        Self { book: scene.book.recording(), ..scene }
    }

    /// What was accepted since this was asked last: exchange, direction, value, and `=` where it says nothing new.
    fn accepted(&mut self) -> Vec<String> {
        let told = |(it, is_change): (Accepted, bool)| {
            assert_eq!(it.received_at, self.now.wall);
            assert_eq!(it.span, Span::of(it.value));
            let mark = if is_change { "" } else { " =" };
            format!("{} {} {}{mark}", it.exchange, it.quote.direction, plain(it.value))
        };
        self.book.drain_accepted().map(told).collect()
    }
}

#[test]
fn what_is_accepted_is_drained_once_and_in_order() {
    let mut scene = Scene::recording();
    scene.quote(BINANCE, "BTC-USDT", "64000", "64001");
    scene.quote(KRAKEN, "BTC-USD", "63990", "63991");
    assert_eq!(scene.accepted(), ["binance BTC-USDT 64000.5", "kraken BTC-USD 63990.5"]);
    assert!(scene.accepted().is_empty());
}

#[test]
fn a_book_that_does_not_record_keeps_nothing_for_anybody() {
    let mut scene = Scene::usual();
    assert!(scene.accepted().is_empty());
}

#[test]
fn what_is_refused_is_counted_and_never_left() {
    let mut scene = Scene::recording();
    let good = book("BTC-USDT", "64000", "64001");
    scene.report(BINANCE, vec![book("ETH-USDT", "3001", "3000"), good, book("BNB-USDT", "0", "0")]);
    assert_eq!(scene.accepted(), ["binance BTC-USDT 64000.5"]);
    scene.epoch = Epoch(0);
    scene.quote(BINANCE, "BTC-USDT", "64002", "64003");
    assert!(scene.accepted().is_empty());
    let refusals: Vec<_> = scene.book.refusals().collect();
    let reasons = [Refusal::NonPositive, Refusal::Crossed, Refusal::OldEpoch];
    assert_eq!(refusals, reasons.map(|reason| (BINANCE, reason, 1)));
}

#[test]
fn a_repeated_price_is_no_change_while_the_one_before_is_believed() {
    let mut scene = Scene::recording();
    let step = |scene: &mut Scene, wait, bid| {
        scene.wait(wait);
        scene.quote(BINANCE, "BTC-USDT", bid, "64010");
        scene.accepted()
    };
    assert_eq!(step(&mut scene, 0, "64000"), ["binance BTC-USDT 64005"]);
    assert_eq!(step(&mut scene, 4_000, "64000"), ["binance BTC-USDT 64005 ="]);
    assert_eq!(step(&mut scene, 4_000, "64002"), ["binance BTC-USDT 64006"]);
    assert_eq!(
        step(&mut scene, 5_001, "64002"),
        ["binance BTC-USDT 64006"],
        "nothing was believed before it"
    );
}

#[test]
fn a_fixing_of_a_new_date_is_a_change_although_its_price_is_not() {
    let mut scene = Scene::recording();
    let fix = |scene: &mut Scene, date| {
        scene.fix(date, &[("USD-RUB", "80")]);
        scene.accepted()
    };
    assert_eq!(fix(&mut scene, "2026-11-20"), ["cbr USD-RUB 80"]);
    assert_eq!(fix(&mut scene, "2026-11-20"), ["cbr USD-RUB 80 ="]);
    assert_eq!(fix(&mut scene, "2026-11-21"), ["cbr USD-RUB 80"]);
    assert_eq!(fix(&mut scene, "2026-11-21"), ["cbr USD-RUB 80 ="], "it waits for its date, and is known");
    assert_eq!(fix(&mut scene, "2026-11-20"), ["cbr USD-RUB 80 ="]);
}

/// Counts the failures of the book that it is told.
struct Failures(Arc<AtomicU64>);

impl Actor for Failures {
    type Context = Context<Self>;
}

impl Handler<BookFailed> for Failures {
    type Result = ();

    fn handle(&mut self, _: BookFailed, _: &mut Self::Context) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Somebody to whom failures can be told.
pub(super) fn nobody() -> Recipient<BookFailed> {
    Failures(Arc::default()).start().recipient()
}

/// An actor without a mailbox, and what it leaves.
fn actor(scene: &Scene) -> (RateBook, HandOver) {
    let storage = HandOver::new(Duration::ZERO);
    let book =
        RateBook::new(scene.book.settings.clone(), BookVersion::default(), nobody(), Some(storage.clone()));
    (book, storage)
}

/// Takes what was left: quotes as their direction; events as kind, exchange, reason and count.
fn left(storage: &HandOver) -> Vec<String> {
    let batch = storage.take(usize::MAX, Utc::now());
    batch.iter().for_each(|batch| storage.confirm(batch));
    let told = |record: &Record| match record {
        Record::Quote(accepted) => accepted.quote.direction.to_string(),
        Record::Event(RecordedEvent { kind, exchange, reason, count, .. }) => {
            let exchange = exchange.map_or("nobody", |name| name.as_str());
            format!("{} {exchange} {reason} {count}", kind.as_str())
        }
    };
    batch.iter().flat_map(|batch| batch.iter()).map(told).collect()
}

fn report(quotes: Vec<Quote>, refused: Vec<Refusal>) -> Event {
    let (exchange, epoch, transport) = (KRAKEN, Epoch(1), Transport::WebSocket);
    let received_at = crate::clock::now();
    Event::Quotes(ReportQuotes { exchange, epoch, transport, received_at, quotes, refused })
}

#[actix::test]
async fn the_actor_leaves_quotes_and_switches() {
    let (mut actor, storage) =
        actor(&Scene::with(|settings| settings.directions = vec![direction("BTC-USD")]));
    actor.apply(report(vec![book("BTC-USD", "64000", "64001")], Vec::new()));
    assert_eq!(left(&storage), ["BTC-USD"]);
    actor.look_at_the_time();
    assert_eq!(left(&storage), ["failover kraken kraken answers (kraken is fresh) 1"]);
    let failure = LinkFailure { detail: "reset".to_owned(), forbidden: false, banned_until: None };
    let (epoch, at, link) = (Epoch(1), crate::clock::now(), Link::Down(failure));
    actor.apply(Event::Link(ReportLink { exchange: KRAKEN, epoch, at, link }));
    assert_eq!(left(&storage), ["failover kraken nobody can answer (kraken: reset) 1"]);
}

#[actix::test]
async fn refusals_are_told_together_and_each_once() {
    let (mut actor, storage) = actor(&Scene::new());
    actor.tell_refusals();
    assert!(left(&storage).is_empty());
    for _ in 0..3 {
        actor.apply(report(vec![book("BTC-USD", "64001", "64000")], vec![Refusal::Syntax]));
    }
    actor.tell_refusals();
    assert_eq!(left(&storage), ["refusal kraken syntax 3", "refusal kraken crossed 3"]);
    actor.apply(report(Vec::new(), vec![Refusal::Syntax]));
    actor.tell_refusals();
    actor.tell_refusals();
    assert_eq!(left(&storage), ["refusal kraken syntax 1"]);
}
