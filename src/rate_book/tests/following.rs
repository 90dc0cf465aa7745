//! A book that another machine feeds over a stream: quotes come late, by another clock, and as a whole.

use super::*;
use crate::rate_book::actor::RateBook;
use crate::rate_book::newest::Newest;

impl Scene {
    /// A book that follows, to which everything is listed.
    fn following() -> Self {
        let scene = Self::new();
        let mut scene = Self { book: scene.book.following(), ..scene };
        scene.list(BINANCE, &["BTC-USDT"]);
        scene.list(KRAKEN, &["BTC-USD", "USDT-USD"]);
        scene.reach(0, true, 0);
        scene
    }

    /// It came so far in the stream, perhaps to its end, by what was read so many milliseconds ago.
    fn reach(&mut self, sequence: u64, is_caught_up: bool, ago: u64) {
        let read_at = Moment { monotonic: self.now.monotonic - ms(ago), ..self.now };
        self.book.reach(sequence, is_caught_up, read_at, self.now);
    }

    fn is_starting(&self, it: &str) -> bool {
        matches!(self.course(it), Err(CoursesError::Starting(_)))
    }

    /// A quote that was heard so long ago elsewhere, and is fresh since then; `None` since the start there.
    fn heard(&mut self, exchange: ExchangeName, quote: Quote, ago: u64, since: Option<u64>) {
        let at = |ago: u64| {
            let wall = self.now.wall - TimeDelta::milliseconds(i64::try_from(ago).unwrap());
            self.now.at_wall(wall)
        };
        let report = ReportQuotes {
            exchange,
            epoch: self.epoch,
            transport: Transport::WebSocket,
            received_at: at(ago),
            quotes: vec![quote],
            refused: Vec::new(),
        };
        let since = since.map(at);
        self.apply(Event::QuotesElsewhere(report, since));
    }
}

#[test]
fn the_sequence_is_where_the_stream_is_and_never_falls() {
    let mut scene = Scene::following();
    scene.heard(BINANCE, book("BTC-USDT", "64000", "64001"), 0, None);
    assert_eq!(scene.book.sequence(), 0, "nobody has said where it is");
    for (sequence, expected) in [(7, 7), (9, 9), (8, 9)] {
        scene.reach(sequence, true, 0);
        scene.down(BINANCE);
        scene.wait(1_000);
        assert_eq!(scene.book.sequence(), expected);
    }
}

#[test]
fn a_quote_that_comes_late_is_as_old_as_it_is() {
    let mut scene = Scene::following();
    for (ago, is_fresh) in [(60_000, false), (5_001, false), (5_000, true)] {
        scene.heard(BINANCE, book("BTC-USDT", "64000", "64001"), ago, None);
        assert_eq!(scene.course("BTC-USDT").is_ok(), is_fresh, "{ago}");
    }
    let age = scene.ask(Wanted::All(vec![direction("BTC-USDT")])).unwrap().age;
    assert_eq!(age, ms(5_000));
}

#[test]
fn a_clock_that_is_ahead_by_little_is_borne_and_one_by_much_is_refused() {
    let mut scene = Scene::following();
    let ahead = |scene: &mut Scene, by: i64| {
        let received_at = scene.now.at_wall(scene.now.wall + TimeDelta::milliseconds(by));
        let report = ReportQuotes {
            exchange: BINANCE,
            epoch: scene.epoch,
            transport: Transport::WebSocket,
            received_at,
            quotes: vec![book("BTC-USDT", "64000", "64001")],
            refused: Vec::new(),
        };
        scene.apply(Event::QuotesElsewhere(report, None));
    };
    ahead(&mut scene, 2_001);
    assert_eq!(scene.refused(BINANCE, Refusal::Future), 1);
    assert!(scene.course("BTC-USDT").is_err());
    scene.tick();
    assert!(scene.changes.contains(&Change::OurClockIsSlow), "{:?}", scene.changes);
    ahead(&mut scene, 2_000);
    assert_eq!(scene.refused(BINANCE, Refusal::Future), 1);
    assert!(scene.course("BTC-USDT").is_ok());
}

#[test]
fn a_follower_that_starts_late_has_the_same_exchange_wait_for_its_place() {
    for (since, expected) in [(None, "binance"), (Some(14_999), "kraken"), (Some(15_000), "binance")] {
        let mut scene = Scene::following();
        scene.heard(KRAKEN, book("USDT-USD", "0.999", "0.9991"), 0, None);
        scene.heard(KRAKEN, book("BTC-USD", "64000", "64001"), 0, None);
        scene.heard(BINANCE, book("BTC-USDT", "64000", "64001"), 0, since);
        let answer = scene.ask(Wanted::All(vec![direction("BTC-USD")])).unwrap();
        assert_eq!(answer.exchanger.as_str(), expected, "{since:?}");
    }
}

#[actix::test]
async fn what_is_accepted_is_left_for_other_machines_with_the_state_of_its_exchange() {
    let scene = Scene::new();
    let newest = Newest::default();
    let failures = recording::nobody();
    let mut actor = RateBook::new(scene.book.settings.clone(), BookVersion::default(), failures, None)
        .telling(newest.clone());
    let now = crate::clock::now();
    let report = |quote: Quote| {
        Event::Quotes(ReportQuotes {
            exchange: BINANCE,
            epoch: Epoch(1),
            transport: Transport::WebSocket,
            received_at: now,
            quotes: vec![quote],
            refused: Vec::new(),
        })
    };
    actor.apply(report(book("BTC-USDT", "64000", "64001")));
    actor.apply(report(book("BTC-USDT", "0", "1")));
    let states = newest.take_states();
    assert_eq!(states.len(), 1);
    assert_eq!((states[0].0.exchange, states[0].0.epoch), (BINANCE, Epoch(1)));
    let quotes = newest.take_quotes(now.wall);
    assert_eq!(quotes.len(), 1);
    assert_eq!((quotes[0].quote.clone(), quotes[0].fresh_since), (book("BTC-USDT", "64000", "64001"), None));

    let down = LinkFailure { detail: "reset".to_owned(), forbidden: false, banned_until: None };
    let link = Link::Down(down);
    actor.apply(Event::Link(ReportLink { exchange: BINANCE, epoch: Epoch(1), at: now, link: link.clone() }));
    assert_eq!(newest.take_states()[0].0.link, Some(link));
    let later = now.after(ms(1));
    let again = ReportQuotes {
        exchange: BINANCE,
        epoch: Epoch(1),
        transport: Transport::WebSocket,
        received_at: later,
        quotes: vec![book("BTC-USDT", "64000", "64001")],
        refused: Vec::new(),
    };
    actor.apply(Event::Quotes(again));
    let told = newest.take_quotes(now.wall);
    assert!(told[0].is_repeat && told[0].fresh_since.is_some(), "it began anew: {told:?}");
}

#[test]
fn a_replica_that_has_not_been_at_the_end_of_its_stream_does_not_answer() {
    let scene = Scene::new();
    let mut scene = Scene { book: scene.book.following(), ..scene };
    scene.list(BINANCE, &["BTC-USDT"]);
    scene.heard(BINANCE, book("BTC-USDT", "64000", "64001"), 0, None);
    for (is_caught_up, ago, is_starting) in [(false, 0, true), (true, 501, true), (true, 500, false)] {
        scene.reach(7, is_caught_up, ago);
        assert_eq!(scene.is_starting("BTC-USDT"), is_starting, "{is_caught_up} {ago}");
    }
}

#[test]
fn a_replica_that_was_stopped_answers_again_when_it_has_heard_where_its_stream_is() {
    let mut scene = Scene::following();
    scene.heard(BINANCE, book("BTC-USDT", "64000", "64001"), 0, None);
    let version = scene.book.version();
    // Nothing was looked at for longer than a second: a question that comes first finds that out as well.
    scene.now = scene.now.after(ms(1_001));
    assert!(scene.is_starting("BTC-USDT"));
    scene.tick();
    assert!(scene.is_starting("BTC-USDT"));
    assert_ne!(scene.book.version(), version, "what was kept counts no more");
    // What was read before it was stopped says nothing.
    scene.reach(8, true, 1_001);
    assert!(scene.is_starting("BTC-USDT"));
    scene.reach(9, true, 0);
    assert!(scene.course("BTC-USDT").is_ok());
    scene.wait(1_000);
    assert!(scene.course("BTC-USDT").is_ok());
}

#[test]
fn a_replica_that_is_cut_off_answers_while_markets_are_fresh_and_not_with_what_is_left() {
    let mut scene = Scene::following();
    scene.list(COINGECKO, &["BTC-USDT"]);
    scene.heard(COINGECKO, Quote::last(direction("BTC-USDT"), decimal("63990").unwrap()), 0, None);
    scene.heard(BINANCE, book("BTC-USDT", "64000", "64001"), 0, None);
    for second in 1..=5 {
        scene.wait(1_000);
        assert_eq!(scene.course("BTC-USDT").unwrap(), "64000.5", "{second}");
    }
    scene.wait(1_000);
    assert_eq!(scene.course("BTC-USDT").unwrap(), "63990");
    scene.wait(1);
    assert!(scene.is_starting("BTC-USDT"), "another replica may have a better price");
    assert!(!scene.book.health(scene.now).can_answer);
    let impairments = scene.book.health(scene.now).impairments;
    assert!(impairments.iter().any(|it| it.contains("behind the stream")), "{impairments:?}");
    scene.reach(9, true, 0);
    assert_eq!(scene.course("BTC-USDT").unwrap(), "63990");
}

#[test]
fn what_was_answered_before_counts_no_more_once_the_place_in_the_stream_has_changed() {
    let mut scene = Scene::new();
    scene.book = scene.book.following();
    let reached = |scene: &mut Scene, sequence, is_caught_up| {
        let before = scene.book.version();
        scene.reach(sequence, is_caught_up, 0);
        scene.book.version() > before
    };
    assert!(!reached(&mut scene, 0, false));
    assert!(reached(&mut scene, 0, true));
    assert!(!reached(&mut scene, 0, true));
    assert!(reached(&mut scene, 1, true));
    assert!(!reached(&mut scene, 1, true));

    let before = scene.book.version();
    scene.wait(1_001);
    assert!(scene.book.version() > before, "it was away, and has to hear where its stream is");
    assert!(reached(&mut scene, 1, true));
}

#[test]
fn whoever_was_away_for_over_a_second_answers_nothing_before_it_has_looked() {
    let mut scene = Scene::following();
    scene.heard(BINANCE, book("BTC-USDT", "64000", "64001"), 0, None);
    scene.now = scene.now.after(ms(1_000));
    assert!(scene.course("BTC-USDT").is_ok());
    scene.now = scene.now.after(ms(1));
    assert!(scene.is_starting("BTC-USDT"));
}
