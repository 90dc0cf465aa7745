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

#[test]
fn who_looks_at_the_clocks_first_after_a_sleep_is_not_told_what_was_fresh_before() {
    let mut scene = Scene::usual();
    scene.now = after_sleep(scene.now, 10);
    let changes = scene.book.look(scene.now);
    assert!(matches!(changes.as_slice(), [Change::ClockJumped { .. }]), "{changes:?}");
    assert_eq!(scene.answering(), None);
}

#[test]
fn the_age_of_a_fixing_that_has_ended_is_told_by_the_last_one_that_began() {
    let mut scene = Scene::usual();
    scene.fix("2026-11-21", &[("USD-RUB", "81"), ("KZT-RUB", "0.17"), ("EUR-RUB", "91")]);
    scene.now = Moment { wall: "2026-12-01T00:00:00+03:00".parse().unwrap(), ..scene.now };
    scene.tick();
    let wanted = Wanted::All(vec![direction("USD-RUB")]);
    let request = GetCourses { exchanger: Some(CBR), wanted, max_age: None };
    let Err(CoursesError::Stale(judgements) | CoursesError::Down(judgements)) =
        scene.book.courses(&request, scene.now)
    else {
        panic!("it has ended")
    };
    assert_eq!(judgements[0].age, Some(Duration::from_secs(10 * 24 * 3600)));
}
