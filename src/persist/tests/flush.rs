//! The end of the service waits until what was accepted is stored, and no longer than it may.

use std::path::PathBuf;

use super::*;
use crate::clock;
use crate::config::StorageSettings;
use crate::persist::Storage;
use crate::rate_book::HandOver;

/// Longer than any of these tests takes.
const LONG: Duration = Duration::from_secs(60);

/// Longer than a look takes, too short to be waited for in vain.
const SHORT: Duration = Duration::from_millis(40);

fn storage(hand_over: Option<HandOver>) -> Storage {
    let settings = StorageSettings {
        every: Duration::from_secs(1),
        keep_quotes: LONG,
        keep_candles: LONG,
        outbox: PathBuf::new(),
        outbox_limit: 0,
    };
    Storage::new("sqlite://:memory:", settings, hand_over)
}

/// A hand-over with a quote whose step is not over at noon.
fn with_an_open_step() -> HandOver {
    let hand_over = HandOver::new(Duration::from_secs(60));
    hand_over.push_quotes([(accepted("60000", NOON), true)].into_iter());
    hand_over
}

async fn timed(storage: &Storage, limit: Duration, for_database: Duration) -> (bool, Duration) {
    let began_at = clock::now();
    let is_stored = storage.flush(limit, for_database).await;
    (is_stored, clock::now().since(began_at))
}

#[actix::test]
async fn nothing_to_store_is_not_waited_for() {
    let (is_stored, took) = timed(&storage(None), LONG, LONG).await;
    assert!(is_stored && took < LONG / 2);
    let (is_stored, took) = timed(&storage(Some(HandOver::new(LONG))), LONG, LONG).await;
    assert!(is_stored && took < LONG / 2);
}

#[actix::test]
async fn what_nobody_stores_is_waited_for_until_the_limit() {
    let (is_stored, took) = timed(&storage(Some(with_an_open_step())), SHORT, Duration::ZERO).await;
    assert!(!is_stored && took >= SHORT, "{took:?}");
}

#[actix::test]
async fn steps_that_are_not_over_are_stored_too() {
    let hand_over = with_an_open_step();
    let taker = hand_over.clone();
    actix::spawn(async move {
        loop {
            if let Some(batch) = taker.take(10, at(NOON)) {
                taker.confirm(&batch);
            }
            tokio::task::yield_now().await;
        }
    });
    let (is_stored, took) = timed(&storage(Some(hand_over)), LONG / 6, LONG).await;
    assert!(is_stored, "nobody could take it for {took:?}");
}

#[actix::test]
async fn a_database_that_does_not_have_what_the_outbox_has_is_waited_for_a_while() {
    let storage = storage(Some(HandOver::new(LONG)));
    storage.status.known().outbox_rows = 5;
    let (is_stored, took) = timed(&storage, LONG, SHORT).await;
    assert!(is_stored, "the outbox has it for good");
    assert!(took >= SHORT && took < LONG / 2, "{took:?}");
}
