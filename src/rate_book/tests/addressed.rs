//! The book as an actor: every message, sent to its address, has its effect on what is answered.

use actix::prelude::*;

use super::*;
use crate::rate_book::actor::RateBook;
use crate::rate_book::hand_over::HandOver;
use crate::rate_book::record::EventKind;

/// How long a test waits for what the actor does by itself. Far more than it takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn settings() -> BookSettings {
    Scene::with(|settings| settings.directions = vec![direction("BTC-USD")]).book.settings
}

fn report(epoch: Epoch) -> ReportQuotes {
    ReportQuotes {
        exchange: KRAKEN,
        epoch,
        transport: Transport::WebSocket,
        received_at: crate::clock::now(),
        quotes: vec![book("BTC-USD", "64000", "64001")],
        refused: Vec::new(),
    }
}

fn link(link: Link) -> ReportLink {
    ReportLink { exchange: KRAKEN, epoch: Epoch(1), at: crate::clock::now(), link }
}

async fn health_of(address: &Addr<RateBook>, name: ExchangeName) -> ExchangeHealth {
    let health = address.send(GetHealth).await.unwrap();
    health.exchanges.into_iter().find(|it| it.name == name).unwrap()
}

#[actix::test]
async fn every_report_changes_what_is_told() {
    let version = BookVersion::default();
    let storage = HandOver::new(Duration::ZERO);
    let book = RateBook::new(settings(), version.clone(), recording::nobody(), Some(storage.clone()));
    let address = book.start();
    let listing = ReportListing {
        exchange: KRAKEN,
        epoch: Epoch(1),
        listens_to: vec![direction("BTC-USD")],
        unsupported: vec![direction("ETH-USD")],
    };
    address.send(listing).await.unwrap();
    assert_eq!(health_of(&address, KRAKEN).await.unsupported, [direction("ETH-USD")]);
    let before = version.get();
    assert!(before > 0);

    address.send(link(Link::Up(Transport::WebSocket))).await.unwrap();
    assert_eq!(health_of(&address, KRAKEN).await.transport, Some(Transport::WebSocket));
    address.send(report(Epoch(1))).await.unwrap();
    let answer = address.send(GetCourses::default()).await.unwrap().unwrap();
    assert_eq!((answer.exchanger, plain(answer.courses[0].value)), (KRAKEN, "64000.5".to_owned()));
    assert!(version.get() > before);
    assert_eq!(answer.version, version.get());
    let health = address.send(GetHealth).await.unwrap();
    assert_eq!((health.can_answer, health.left_to_store), (true, Some(1)));

    address.send(ReportReconnect { exchange: KRAKEN, epoch: Epoch(1) }).await.unwrap();
    assert_eq!(health_of(&address, KRAKEN).await.reconnects, 1);

    let life = Life::Started(Epoch(2));
    address.send(ReportLife { exchange: KRAKEN, at: crate::clock::now(), life }).await.unwrap();
    address.send(report(Epoch(1))).await.unwrap();
    assert_eq!(health_of(&address, KRAKEN).await.refused, [(Refusal::OldEpoch, 1)]);
}

#[actix::test]
async fn time_passes_by_itself() {
    let storage = HandOver::new(Duration::ZERO);
    let version = BookVersion::default();
    let address = RateBook::new(settings(), version, recording::nobody(), Some(storage.clone())).start();
    address.send(report(Epoch(1))).await.unwrap();
    let began_at = crate::clock::now();
    let is_told = || {
        let batch = storage.take(usize::MAX, Utc::now());
        batch.iter().for_each(|batch| storage.confirm(batch));
        batch
            .iter()
            .flat_map(|batch| batch.iter())
            .any(|record| matches!(record, Record::Event(RecordedEvent { kind: EventKind::Failover, .. })))
    };
    while !is_told() {
        assert!(crate::clock::now().since(began_at) < PATIENCE, "nobody is told who answers");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[actix::test]
async fn what_a_stream_brings_is_taken_in_as_a_whole_and_numbered_by_it() {
    let version = BookVersion::default();
    let address = RateBook::new(settings(), version, recording::nobody(), None).following().start();
    let events = vec![Event::QuotesElsewhere(report(Epoch(0)), None)];
    let read_at = crate::clock::now();
    let stream = FollowStream { events, sequence: 7, is_caught_up: true, read_at };
    address.send(stream).await.unwrap();
    let answer = address.send(GetCourses::default()).await.unwrap().unwrap();
    assert_eq!((answer.exchanger, answer.sequence), (KRAKEN, 7));
    assert_eq!(address.send(GetHealth).await.unwrap().left_to_store, None);
}

#[actix::test]
async fn so_many_messages_may_wait_and_no_more() {
    let address = RateBook::new(settings(), BookVersion::default(), recording::nobody(), None).start();
    address.send(GetHealth).await.unwrap();
    // It has begun, and is given no time to read.
    let report = ReportReconnect { exchange: KRAKEN, epoch: Epoch(1) };
    let num_taken = (0..10_000).take_while(|_| address.try_send(report).is_ok()).count();
    assert!((4_000..5_000).contains(&num_taken), "{num_taken}");
}
