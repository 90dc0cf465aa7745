//! Few questions are read at once, few wait, and none holds up the rest for long.

use std::sync::mpsc::{Sender, channel};

use futures_util::future::join_all;
use rust_decimal::Decimal;

use super::*;
use crate::persist::testing::{BINANCE, CBR, Place, sqlite_place};
use crate::rate_book::{ListedExchange, UsdtUsdLeg};

const KRAKEN: ExchangeName = ExchangeName::new("kraken");

fn rules() -> BookSettings {
    let listed =
        |name| ListedExchange { name, enabled: true, stale_after: Duration::from_secs(5), official_of: None };
    BookSettings {
        directions: Vec::new(),
        priority: vec![KRAKEN, BINANCE],
        fail_back_after: Duration::ZERO,
        hold_reference: Duration::ZERO,
        usdt_usd: UsdtUsdLeg::Peg,
        reference_priority: Vec::new(),
        fiat_priority: Vec::new(),
        max_fiat_difference: Decimal::new(1, 2),
        exchanges: [ExchangeName::new("zaif"), BINANCE, KRAKEN, CBR].map(listed).to_vec(),
    }
}

fn librarian(place: &Place, most_waiting: usize, answer_within: Duration) -> Librarian {
    let limits = Limits { most_reading: 1, most_waiting, answer_within };
    Librarian::limited(place.readers.clone(), Status::new("sqlite", None), rules(), limits)
}

/// A question that hangs until it is let go, begun; and what lets it go.
async fn hanging(librarian: &Librarian) -> (tokio::task::JoinHandle<Result<(), HistoryError>>, Sender<()>) {
    let (let_go, gone) = channel::<()>();
    let (begin, begun) = tokio::sync::oneshot::channel();
    let question = librarian.read(move |_| {
        begin.send(()).unwrap();
        gone.recv().unwrap();
        Ok(())
    });
    let asking = actix::spawn(question);
    begun.await.unwrap();
    (asking, let_go)
}

#[actix::test]
async fn one_question_too_many_is_told_so_at_once_and_those_that_wait_are_answered() {
    let place = sqlite_place();
    let librarian = librarian(&place, 3, Duration::from_secs(60));
    let (hung, let_go) = hanging(&librarian).await;
    let waiting: Vec<_> = (0..3).map(|number| actix::spawn(librarian.read(move |_| Ok(number)))).collect();
    for _ in 0..5 {
        assert_eq!(librarian.read(|_| Ok(())).await, Err(HistoryError::Busy));
    }
    let_go.send(()).unwrap();
    assert_eq!(hung.await.unwrap(), Ok(()));
    let answers = join_all(waiting).await;
    assert_eq!(answers.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [Ok(0), Ok(1), Ok(2)]);
    assert_eq!(librarian.read(|_| Ok(())).await, Ok(()));
}

#[actix::test]
async fn a_reader_that_hangs_is_given_up_and_keeps_its_place_until_it_ends() {
    let place = sqlite_place();
    let librarian = librarian(&place, 1, Duration::from_millis(50));
    let (hung, let_go) = hanging(&librarian).await;
    let late = || Err(HistoryError::Unavailable("no answer in time".to_owned()));
    assert_eq!(hung.await.unwrap(), late());
    // It still has the one connection, so that the next question waits, and no further one is read beside it.
    for _ in 0..2 {
        assert_eq!(librarian.read(|_| Ok(())).await, late());
    }
    assert_eq!(librarian.reading.available_permits(), 0);
    let_go.send(()).unwrap();
    drop(librarian.reading.acquire().await.unwrap());
    assert_eq!(librarian.asked.available_permits(), 2);
}

#[actix::test]
async fn a_question_that_panics_or_fails_is_an_answer_and_takes_no_place() {
    let place = sqlite_place();
    let librarian = librarian(&place, 0, Duration::from_secs(60));
    let panics = librarian.read(|_| -> Result<(), StoreError> { panic!("of this test") });
    assert_eq!(panics.await, Err(HistoryError::Unavailable("the reader failed".to_owned())));
    let fails = librarian.read(|_| Err::<(), _>(StoreError::Failed("locked".to_owned())));
    assert_eq!(fails.await, Err(HistoryError::Unavailable("locked".to_owned())));
    assert_eq!(librarian.read(|_| Ok(7)).await, Ok(7));
}

#[actix::test]
async fn the_state_of_the_storage_is_told_while_every_reader_hangs() {
    let place = sqlite_place();
    let librarian = librarian(&place, 0, Duration::from_secs(60));
    let (hung, let_go) = hanging(&librarian).await;
    let ports = Librarian::ports(&librarian.start());
    let health = ports.health.send(GetStorageHealth).await.unwrap();
    assert_eq!(health.database, "sqlite");
    let busy = ports.events.send(GetEvents { since: chrono::DateTime::UNIX_EPOCH, kind: None, limit: 1 });
    assert_eq!(busy.await.unwrap(), Err(HistoryError::Busy));
    let_go.send(()).unwrap();
    hung.await.unwrap().unwrap();
}

#[test]
fn whose_data_is_told_follows_priority_and_then_the_names() {
    let names: Vec<&str> = order(&rules()).iter().map(|name| name.as_str()).collect();
    assert_eq!(names, ["kraken", "binance", "cbr", "zaif"]);
}
