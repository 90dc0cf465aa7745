//! What is told late, or looked at late.

use super::*;

/// The moment `length` later, for which the machine slept an hour of them.
fn after_sleep(now: Moment, length: u64) -> Moment {
    let awake = now.after(ms(length));
    Moment { wall: awake.wall + TimeDelta::hours(1), ..awake }
}

#[test]
fn a_word_that_comes_late_makes_no_quote_believed_again() {
    let mut scene = Scene::usual();
    let sent_at = Moment { monotonic: scene.now.monotonic - ms(1), ..scene.now };
    scene.now = after_sleep(scene.now, 100);
    scene.tick();
    assert_eq!(scene.status(BINANCE), Status::Stale);
    let life = Life::Started(Epoch(2));
    scene.apply(Event::Life(ReportLife { exchange: BINANCE, at: sent_at, life }));
    assert_eq!(scene.status(BINANCE), Status::Down, "its quotes are older than the sleep");
    assert_eq!(scene.answering(), None);
}

#[test]
fn a_new_incarnation_is_another_state_of_the_book_whatever_it_says_first() {
    let mut scene = Scene::usual();
    let version = scene.book.version();
    scene.apply(Event::Reconnect(ReportReconnect { exchange: BINANCE, epoch: Epoch(2) }));
    assert_ne!(scene.answering(), Some("binance"));
    assert_ne!(scene.book.version(), version, "an answer that was kept would still count");
}
