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
        scene
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
        scene.book.reach(sequence);
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
