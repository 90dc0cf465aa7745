//! The book as a whole: what is answered after what happened, at which time.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;

use super::*;
use crate::market::number::{decimal, plain};
use crate::market::{Asset, Direction, ExchangeName, Moment, Quote, Refusal, Transport, Validity};

mod addressed;
mod fiat;
mod figures;
mod following;
mod late;
mod recording;

const BINANCE: ExchangeName = ExchangeName::new("binance");
const KRAKEN: ExchangeName = ExchangeName::new("kraken");
const COINGECKO: ExchangeName = ExchangeName::new("coingecko");
const CBR: ExchangeName = ExchangeName::new("cbr");

const EIGHT: [&str; 8] =
    ["BTC-RUB", "BTC-USD", "ETH-RUB", "ETH-USD", "USDTTRC-RUB", "USDTTRC-USD", "USDTERC-RUB", "USDTERC-USD"];

fn direction(text: &str) -> Direction {
    text.parse().unwrap()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A book with a clock that the test turns.
struct Scene {
    book: Book,
    now: Moment,
    epoch: Epoch,
    changes: Vec<Change>,
}

impl Scene {
    fn with(change: impl FnOnce(&mut BookSettings)) -> Self {
        let wall: DateTime<Utc> = "2026-11-20T12:00:00Z".parse().unwrap();
        let now = Moment { monotonic: ms(1_000_000), wall };
        let listed =
            |name, stale_after| ListedExchange { name, enabled: true, stale_after, official_of: None };
        let mut settings = BookSettings {
            directions: EIGHT.map(direction).to_vec(),
            priority: vec![BINANCE, KRAKEN, COINGECKO],
            fail_back_after: ms(15_000),
            hold_reference: ms(3_600_000),
            usdt_usd: UsdtUsdLeg::Reference,
            reference_priority: vec![KRAKEN, COINGECKO],
            fiat_priority: vec![CBR],
            max_fiat_difference: Decimal::new(1, 2),
            exchanges: vec![
                listed(BINANCE, ms(5_000)),
                listed(KRAKEN, ms(5_000)),
                listed(COINGECKO, ms(180_000)),
                listed(CBR, ms(600_000)),
            ],
        };
        change(&mut settings);
        Self { book: Book::new(settings, now), now, epoch: Epoch(1), changes: Vec::new() }
    }

    fn new() -> Self {
        Self::with(|_| {})
    }

    /// Binance with USDT books, CoinGecko with dollars, and the Bank of Russia; all fresh.
    fn usual() -> Self {
        let mut scene = Self::new();
        scene.list(BINANCE, &["BTC-USDT", "ETH-USDT"]);
        scene.list(KRAKEN, &["BTC-USD", "ETH-USD", "USDT-USD"]);
        scene.list(COINGECKO, &["BTC-USD", "ETH-USD", "USDT-USD", "BTC-RUB", "ETH-RUB", "USDT-RUB"]);
        scene.list(CBR, &["USD-RUB", "KZT-RUB", "EUR-RUB"]);
        for exchange in [BINANCE, COINGECKO] {
            scene.link(exchange, Link::Up(Transport::WebSocket));
        }
        scene.fix("2026-11-20", &[("USD-RUB", "80"), ("KZT-RUB", "0.16"), ("EUR-RUB", "90")]);
        scene.gecko();
        scene.binance();
        scene.tick();
        scene
    }

    fn binance(&mut self) {
        self.quote(BINANCE, "BTC-USDT", "64000", "64000.01");
        self.quote(BINANCE, "ETH-USDT", "3000", "3000.02");
    }

    fn kraken(&mut self) {
        self.quote(KRAKEN, "BTC-USD", "63990", "63990.1");
        self.quote(KRAKEN, "ETH-USD", "2999", "2999.1");
        self.quote(KRAKEN, "USDT-USD", "0.9990", "0.9992");
    }

    fn gecko(&mut self) {
        let rows = [
            ("BTC-USD", "63980"),
            ("ETH-USD", "2998"),
            ("USDT-USD", "0.9995"),
            ("BTC-RUB", "5110000"),
            ("ETH-RUB", "239000"),
            ("USDT-RUB", "79.9"),
        ];
        let quoted_at = Some(self.now.wall);
        let quotes =
            rows.map(|(it, last)| Quote { quoted_at, ..Quote::last(direction(it), decimal(last).unwrap()) });
        self.report(COINGECKO, quotes.to_vec());
    }

    fn fix(&mut self, date: &str, rows: &[(&str, &str)]) {
        self.fix_by(CBR, date, rows);
    }

    fn fix_by(&mut self, bank: ExchangeName, date: &str, rows: &[(&str, &str)]) {
        let starts_at: DateTime<Utc> = format!("{date}T00:00:00+03:00").parse().unwrap();
        let validity = Validity::Fixing { starts_at, ends_at: starts_at + TimeDelta::days(5) };
        let quotes = rows
            .iter()
            .map(|(it, last)| Quote { validity, ..Quote::last(direction(it), decimal(last).unwrap()) });
        self.report(bank, quotes.collect());
    }

    fn quote(&mut self, exchange: ExchangeName, it: &str, bid: &str, ask: &str) {
        self.report(exchange, vec![book(it, bid, ask)]);
    }

    fn report(&mut self, exchange: ExchangeName, quotes: Vec<Quote>) {
        let report = ReportQuotes {
            exchange,
            epoch: self.epoch,
            transport: Transport::WebSocket,
            received_at: self.now,
            quotes,
            refused: Vec::new(),
        };
        self.apply(Event::Quotes(report));
    }

    fn list(&mut self, exchange: ExchangeName, listens_to: &[&str]) {
        let listens_to = listens_to.iter().map(|it| direction(it)).collect();
        let epoch = self.epoch;
        self.apply(Event::Listing(ReportListing { exchange, epoch, listens_to, unsupported: Vec::new() }));
    }

    fn link(&mut self, exchange: ExchangeName, link: Link) {
        self.apply(Event::Link(ReportLink { exchange, epoch: self.epoch, at: self.now, link }));
    }

    fn down(&mut self, exchange: ExchangeName) {
        let failure =
            LinkFailure { detail: "connection refused".to_owned(), forbidden: false, banned_until: None };
        self.link(exchange, Link::Down(failure));
    }

    fn life(&mut self, exchange: ExchangeName, life: Life) {
        self.apply(Event::Life(ReportLife { exchange, at: self.now, life }));
    }

    fn apply(&mut self, event: Event) {
        self.changes.extend(self.book.apply(event, self.now));
    }

    fn tick(&mut self) {
        self.changes.extend(self.book.tick(self.now));
    }

    fn wait(&mut self, length: u64) {
        self.now = self.now.after(ms(length));
        self.tick();
    }

    /// Waits in steps of a second, with quotes of those that stay alive.
    fn live(&mut self, seconds: u64, alive: &[ExchangeName]) {
        for _ in 0..seconds {
            self.wait(1_000);
            for exchange in alive {
                match *exchange {
                    BINANCE => self.binance(),
                    KRAKEN => self.kraken(),
                    _ => self.gecko(),
                }
            }
        }
        self.tick();
    }

    fn ask(&self, wanted: Wanted) -> Result<Answer, CoursesError> {
        self.book.courses(&GetCourses { wanted, ..GetCourses::default() }, self.now)
    }

    fn answering(&self) -> Option<&'static str> {
        self.ask(Wanted::Configured).ok().map(|answer| answer.exchanger.as_str())
    }

    fn course(&self, it: &str) -> Result<String, CoursesError> {
        let answer = self.ask(Wanted::All(vec![direction(it)]))?;
        Ok(plain(answer.courses[0].value))
    }

    fn course_of(&self, exchange: ExchangeName, it: &str) -> Result<String, CoursesError> {
        let wanted = Wanted::All(vec![direction(it)]);
        let request = GetCourses { exchanger: Some(exchange), wanted, max_age: None };
        Ok(plain(self.book.courses(&request, self.now)?.courses[0].value))
    }

    fn refused(&self, exchange: ExchangeName, reason: Refusal) -> u64 {
        let health = self.book.health(self.now);
        let of = health.exchanges.iter().find(|it| it.name == exchange).unwrap();
        of.refused.iter().find(|(it, _)| *it == reason).map_or(0, |(_, count)| *count)
    }

    fn status(&self, exchange: ExchangeName) -> Status {
        let health = self.book.health(self.now);
        health.exchanges.iter().find(|it| it.name == exchange).unwrap().status
    }
}

fn book(it: &str, bid: &str, ask: &str) -> Quote {
    Quote::book(direction(it), decimal(bid).unwrap(), decimal(ask).unwrap())
}

#[test]
fn binance_answers_all_eight_directions_by_crosses() {
    let scene = Scene::usual();
    let answer = scene.ask(Wanted::Configured).unwrap();
    assert_eq!(answer.exchanger, BINANCE);
    let courses: Vec<_> =
        answer.courses.iter().map(|it| (it.direction.to_string(), plain(it.value))).collect();
    let expected = [
        ("BTC-RUB", "5117440.4"),
        ("BTC-USD", "63968.005"),
        ("ETH-RUB", "239880.7996"),
        ("ETH-USD", "2998.509995"),
        ("USDTTRC-RUB", "79.96"),
        ("USDTTRC-USD", "0.9995"),
        ("USDTERC-RUB", "79.96"),
        ("USDTERC-USD", "0.9995"),
    ];
    assert_eq!(courses, expected.map(|(it, value)| (it.to_owned(), value.to_owned())));
    let legs: Vec<_> = answer.legs.iter().map(|it| (it.direction.to_string(), it.source, it.held)).collect();
    let expected =
        [("USDT-USD".to_owned(), Some(COINGECKO), false), ("USD-RUB".to_owned(), Some(CBR), false)];
    assert_eq!(legs, expected);
    assert!(answer.missing.is_empty());
}

#[test]
fn any_direction_with_a_path_is_answered_and_others_say_why_not() {
    let scene = Scene::usual();
    for (it, expected) in [
        ("BTC-KZT", "31984002.5"),
        ("USD-EUR", "0.8888888889"),
        ("EUR-USD", "1.125"),
        ("USD-KZT", "500"),
        ("KZT-USD", "0.002"),
        ("BTC-ETH", "21.33326389"),
        ("ETH-BTC", "0.04687515259"),
        ("USD-USDTTRC", "1.00050025"),
        ("RUB-USDTTRC", "0.01250625313"),
        ("USD-BTC", "0.00001563281519"),
        ("BTC-USDT", "64000.005"),
        ("BTC-USDTERC", "64000.005"),
    ] {
        assert_eq!(scene.course(it).as_deref(), Ok(expected), "{it}");
    }
    for (it, expected) in [
        ("BTC-GBP", CoursesError::UnknownDirection(direction("BTC-GBP"))),
        ("FOO-USD", CoursesError::UnknownDirection(direction("FOO-USD"))),
        ("USD-FOO", CoursesError::UnknownDirection(direction("USD-FOO"))),
        ("USDT-USDTTRC", CoursesError::UnsupportedDirection(direction("USDT-USDTTRC"))),
    ] {
        assert_eq!(scene.course(it), Err(expected), "{it}");
    }
    assert_eq!(
        scene.course_of(CBR, "BTC-RUB"),
        Err(CoursesError::UnsupportedDirection(direction("BTC-RUB")))
    );
    assert_eq!(scene.course_of(CBR, "EUR-KZT").as_deref(), Ok("562.5"));
}

#[test]
fn an_exchange_that_trades_usd_itself_needs_no_reference() {
    let mut scene = Scene::usual();
    scene.list(BINANCE, &["BTC-USDT", "ETH-USDT", "BTC-USD"]);
    scene.quote(BINANCE, "BTC-USD", "63970", "63970.3");
    assert_eq!(scene.course("BTC-USD").as_deref(), Ok("63970.15"));
}

#[test]
fn stale_exchange_is_not_selected() {
    let mut scene = Scene::usual();
    scene.wait(5_000);
    assert_eq!(scene.answering(), Some("binance"));
    scene.wait(1);
    assert_eq!(scene.answering(), Some("coingecko"));
    assert_eq!(scene.status(BINANCE), Status::Stale);
    let switched = scene.changes.last().unwrap();
    assert!(
        matches!(switched, Change::Switched { from: Some(BINANCE), to: Some(COINGECKO), reason } if reason.contains("no quote for 5.0 s")),
        "{switched:?}"
    );
}

#[test]
fn one_stale_direction_disqualifies_where_it_is_asked_for_and_not_where_it_is_not() {
    let mut scene = Scene::usual();
    for _ in 0..10 {
        scene.wait(1_000);
        scene.quote(BINANCE, "BTC-USDT", "64000", "64000.01");
    }
    assert_eq!(scene.answering(), Some("coingecko"));
    let btc = scene.ask(Wanted::All(vec![direction("BTC-USD")])).unwrap();
    assert_eq!(btc.exchanger, BINANCE);
    let both = scene.ask(Wanted::All(vec![direction("BTC-USD"), direction("ETH-USD")])).unwrap();
    assert_eq!(both.exchanger, COINGECKO);
}

#[test]
fn a_lost_connection_is_felt_at_once_however_young_the_data() {
    let mut scene = Scene::usual();
    scene.down(BINANCE);
    assert_eq!(scene.answering(), Some("coingecko"));
    assert_eq!(scene.status(BINANCE), Status::Down);
    scene.wait(10);
    scene.link(BINANCE, Link::Up(Transport::Rest));
    assert_eq!(scene.status(BINANCE), Status::Stale, "quotes of before the loss stay disbelieved");
}

#[test]
fn an_exchange_that_is_down_does_not_lend_its_name_to_others_quotes() {
    let mut scene = Scene::usual();
    scene.live(20, &[COINGECKO, BINANCE]);
    scene.down(BINANCE);
    for it in ["USDTTRC-USD", "USDTTRC-RUB", "USD-RUB"] {
        assert_eq!(scene.ask(Wanted::All(vec![direction(it)])).unwrap().exchanger, COINGECKO, "{it}");
        assert!(scene.course_of(BINANCE, it).is_err(), "{it}");
    }
    scene.link(BINANCE, Link::Up(Transport::WebSocket));
    scene.live(10, &[COINGECKO, BINANCE]);
    let usdt = Wanted::All(vec![direction("USDTTRC-USD")]);
    assert_eq!(scene.ask(usdt.clone()).unwrap().exchanger, COINGECKO, "it waits for its place there too");
    scene.live(10, &[COINGECKO, BINANCE]);
    assert_eq!(scene.ask(usdt).unwrap().exchanger, BINANCE);
}

#[test]
fn an_exchange_whose_quotes_are_refused_says_so() {
    let mut scene = Scene::usual();
    scene.wait(6_000);
    scene.quote(BINANCE, "BTC-USDT", "0", "0");
    let Err(CoursesError::Stale(judgements)) =
        scene.book.courses(&GetCourses { exchanger: Some(BINANCE), ..GetCourses::default() }, scene.now)
    else {
        panic!("not stale")
    };
    assert_eq!(judgements[0].reason, "connected, and its quotes are refused (non_positive)");
}

#[test]
fn a_failed_poll_of_a_source_without_a_socket_leaves_its_quotes_to_age() {
    let mut scene = Scene::usual();
    scene.down(BINANCE);
    let failure = LinkFailure { detail: "answered 429".to_owned(), forbidden: false, banned_until: None };
    scene.link(COINGECKO, Link::PollFailed(failure));
    assert_eq!(scene.answering(), Some("coingecko"));
    scene.wait(180_001);
    assert_eq!(scene.answering(), None);
    assert_eq!(scene.status(COINGECKO), Status::Down);
}

#[test]
fn a_returning_exchange_gets_its_place_back_after_it_has_been_fresh_without_a_gap() {
    let mut scene = Scene::usual();
    scene.down(BINANCE);
    scene.wait(1_000);
    scene.link(BINANCE, Link::Up(Transport::WebSocket));
    scene.binance();
    scene.live(14, &[BINANCE]);
    assert_eq!(scene.answering(), Some("coingecko"));
    scene.live(1, &[BINANCE]);
    assert_eq!(scene.answering(), Some("binance"));
}

#[test]
fn a_gap_begins_the_wait_anew() {
    let mut scene = Scene::usual();
    scene.wait(20_000);
    scene.live(10, &[BINANCE]);
    scene.wait(6_000);
    scene.live(14, &[BINANCE]);
    assert_eq!(scene.answering(), Some("coingecko"));
    scene.live(2, &[BINANCE]);
    assert_eq!(scene.answering(), Some("binance"));
}

#[test]
fn a_returning_exchange_answers_at_once_if_nobody_else_is_fresh() {
    let mut scene = Scene::usual();
    scene.wait(400_000);
    assert_eq!(scene.answering(), None);
    scene.binance();
    assert_eq!(scene.answering(), Some("binance"), "with USDT-USD held");
    assert!(scene.ask(Wanted::Configured).unwrap().legs[0].held);
}

#[test]
fn the_place_does_not_go_to_and_fro_after_an_outage_of_all() {
    let mut scene = Scene::usual();
    scene.wait(400_000);
    scene.gecko();
    scene.live(2, &[COINGECKO]);
    let mut answering = Vec::new();
    for _ in 0..40 {
        scene.live(1, &[BINANCE, COINGECKO]);
        answering.push(scene.answering().unwrap());
    }
    answering.dedup();
    assert_eq!(answering, ["coingecko", "binance"]);
}

#[test]
fn at_the_start_nobody_waits_and_before_any_data_the_answer_is_starting() {
    let mut scene = Scene::new();
    assert!(matches!(scene.ask(Wanted::Configured), Err(CoursesError::Starting(_))));
    assert!(matches!(scene.course("BTC-KZT"), Err(CoursesError::Starting(_))));
    scene.list(BINANCE, &["BTC-USDT", "ETH-USDT"]);
    scene.list(KRAKEN, &["BTC-USD", "ETH-USD", "USDT-USD"]);
    scene.list(COINGECKO, &["BTC-USD", "ETH-USD", "USDT-USD", "BTC-RUB", "ETH-RUB", "USDT-RUB"]);
    scene.list(CBR, &["USD-RUB"]);
    assert!(matches!(scene.ask(Wanted::Configured), Err(CoursesError::Starting(_))));
    scene.gecko();
    assert_eq!(scene.answering(), Some("coingecko"));
    scene.fix("2026-11-20", &[("USD-RUB", "80")]);
    scene.wait(300);
    scene.binance();
    assert_eq!(scene.answering(), Some("binance"));
}

#[test]
fn all_gone_is_stale_while_connected_and_down_without_connections() {
    let mut scene = Scene::usual();
    scene.link(KRAKEN, Link::Up(Transport::WebSocket));
    scene.kraken();
    scene.wait(181_000);
    assert!(matches!(scene.ask(Wanted::Configured), Err(CoursesError::Stale(_))));
    for exchange in [BINANCE, KRAKEN, COINGECKO] {
        scene.down(exchange);
    }
    let Err(CoursesError::Down(judgements)) = scene.ask(Wanted::Configured) else { panic!("not down") };
    assert_eq!(judgements.len(), 3);
    assert_eq!(judgements[0].age, Some(ms(181_000)));
    assert_eq!(judgements[0].reason, "connection refused");
    assert_eq!(judgements[0].missing.len(), 8, "what is down gives nothing, others' quotes neither");
}

#[test]
fn the_reference_leg_changes_its_source_without_costing_anyone_the_place() {
    let mut scene = Scene::usual();
    scene.live(30, &[BINANCE]);
    scene.kraken();
    let answer = scene.ask(Wanted::Configured).unwrap();
    assert_eq!((answer.exchanger, answer.legs[0].source), (BINANCE, Some(KRAKEN)));
    scene.live(6, &[BINANCE]);
    let answer = scene.ask(Wanted::Configured).unwrap();
    assert_eq!((answer.exchanger, answer.legs[0].source), (BINANCE, Some(COINGECKO)));
}

#[test]
fn the_last_reference_is_held_for_an_hour_and_no_longer() {
    let mut scene = Scene::usual();
    scene.live(181, &[BINANCE]);
    let answer = scene.ask(Wanted::All(vec![direction("BTC-USD")])).unwrap();
    assert_eq!((answer.exchanger, answer.legs[0].held), (BINANCE, true));
    assert!(scene.book.health(scene.now).impairments.iter().any(|it| it.contains("held")));
    scene.live(3_419, &[BINANCE]);
    assert_eq!(scene.course("BTC-USD").as_deref(), Ok("63968.005"));
    scene.live(1, &[BINANCE]);
    assert!(matches!(scene.course("BTC-USD"), Err(CoursesError::Stale(_))));
    assert_eq!(scene.course("BTC-USDT").as_deref(), Ok("64000.005"));
}

#[test]
fn usdt_is_one_dollar_only_if_the_user_says_so() {
    let mut scene = Scene::with(|settings| settings.usdt_usd = UsdtUsdLeg::Peg);
    scene.list(BINANCE, &["BTC-USDT", "ETH-USDT"]);
    scene.list(CBR, &["USD-RUB"]);
    scene.binance();
    scene.fix("2026-11-20", &[("USD-RUB", "80")]);
    let answer = scene.ask(Wanted::All(vec![direction("BTC-USD")])).unwrap();
    assert_eq!(plain(answer.courses[0].value), "64000.005");
    assert_eq!(answer.legs[0].source, None);

    // Dollars are known then, although nobody quotes them.
    let ask_for_dollars = |usdt_usd| {
        let mut scene = Scene::with(|settings| settings.usdt_usd = usdt_usd);
        for exchange in [BINANCE, KRAKEN, COINGECKO] {
            scene.list(exchange, &["BTC-USDT"]);
        }
        scene.list(CBR, &["EUR-RUB"]);
        scene.fix("2026-11-20", &[("EUR-RUB", "90")]);
        scene.quote(BINANCE, "BTC-USDT", "64000", "64000.01");
        scene.course("BTC-USD")
    };
    assert_eq!(ask_for_dollars(UsdtUsdLeg::Peg).as_deref(), Ok("64000.005"));
    let unknown = CoursesError::UnknownDirection(direction("BTC-USD"));
    assert_eq!(ask_for_dollars(UsdtUsdLeg::Reference), Err(unknown));
}

#[test]
fn whoever_could_not_answer_without_the_reference_waits_for_its_place_when_it_is_back() {
    let mut scene = Scene::with(|settings| settings.hold_reference = Duration::ZERO);
    scene.list(BINANCE, &["BTC-USDT"]);
    scene.list(KRAKEN, &["BTC-USD"]);
    scene.list(COINGECKO, &["USDT-USD"]);
    let answering = |scene: &Scene| scene.ask(Wanted::All(vec![direction("BTC-USD")])).unwrap().exchanger;
    let live = |scene: &mut Scene, seconds| {
        for _ in 0..seconds {
            scene.wait(1_000);
            scene.quote(BINANCE, "BTC-USDT", "64000", "64000.01");
            scene.quote(KRAKEN, "BTC-USD", "63990", "63990.1");
        }
    };
    scene.gecko();
    live(&mut scene, 1);
    assert_eq!(answering(&scene), BINANCE);
    live(&mut scene, 180);
    assert_eq!(answering(&scene), KRAKEN);
    scene.gecko();
    live(&mut scene, 14);
    assert_eq!(answering(&scene), KRAKEN);
    live(&mut scene, 1);
    assert_eq!(answering(&scene), BINANCE);
}

#[test]
fn age_counts_own_legs_and_the_reference_legs_where_there_are_none() {
    let mut scene = Scene::usual();
    scene.wait(3_000);
    assert_eq!(scene.ask(Wanted::All(vec![direction("BTC-RUB")])).unwrap().age, ms(3_000));
    scene.binance();
    assert_eq!(scene.ask(Wanted::All(vec![direction("BTC-RUB")])).unwrap().age, ms(0));
    assert_eq!(scene.ask(Wanted::All(vec![direction("USDT-USD")])).unwrap().age, ms(3_000));
    assert_eq!(scene.ask(Wanted::All(vec![direction("USDT-RUB")])).unwrap().age, ms(3_000));
    assert_eq!(
        scene.ask(Wanted::Configured).unwrap().age,
        ms(3_000),
        "its USDT-USD is older than its own quotes"
    );
    let with_a_fixing = Wanted::All(vec![direction("BTC-USD"), direction("USD-RUB")]);
    assert_eq!(scene.ask(with_a_fixing).unwrap().age, ms(0));
    let since_midnight_in_moscow = ms(15 * 3_600_000 + 3_000);
    assert_eq!(scene.ask(Wanted::All(vec![direction("USD-RUB")])).unwrap().age, since_midnight_in_moscow);
}

#[test]
fn the_exchanges_own_time_counts_where_it_is_older_than_the_receipt() {
    let mut scene = Scene::usual();
    let quoted_at = Some(scene.now.wall - TimeDelta::milliseconds(4_000));
    scene.report(KRAKEN, vec![Quote { quoted_at, ..book("BTC-USD", "64000", "64000.1") }]);
    let request = |it: &Scene| {
        let wanted = Wanted::All(vec![direction("BTC-USD")]);
        it.book.courses(&GetCourses { exchanger: Some(KRAKEN), wanted, max_age: None }, it.now)
    };
    assert_eq!(request(&scene).unwrap().age, ms(4_000));
    scene.wait(1_001);
    assert!(request(&scene).is_err());
}

#[test]
fn fresher_than_there_is_is_refused_and_a_fresher_exchange_is_taken() {
    let mut scene = Scene::usual();
    scene.wait(2_000);
    let ask = |scene: &Scene, max_age| {
        let wanted = Wanted::All(vec![direction("BTC-USD")]);
        scene.book.courses(&GetCourses { exchanger: None, wanted, max_age: Some(ms(max_age)) }, scene.now)
    };
    assert_eq!(ask(&scene, 2_000).unwrap().exchanger, BINANCE);
    assert_eq!(ask(&scene, 1_999), Err(CoursesError::TooOld { age: ms(2_000) }));
    scene.gecko();
    assert_eq!(ask(&scene, 1_000).unwrap().exchanger, COINGECKO);
}

#[test]
fn a_fixing_waits_for_its_date_and_ends_five_days_after_it() {
    let mut scene = Scene::usual();
    scene.fix("2026-11-21", &[("USD-RUB", "81")]);
    assert_eq!(scene.course_of(CBR, "USD-RUB").as_deref(), Ok("80"));
    let until_midnight = 8 * 3_600_000 + 59 * 60_000 + 59_999;
    scene.wait(until_midnight);
    assert_eq!(scene.course_of(CBR, "USD-RUB").as_deref(), Ok("80"));
    scene.wait(1);
    assert_eq!(scene.course_of(CBR, "USD-RUB").as_deref(), Ok("81"));
    scene.fix("2026-11-21", &[("USD-RUB", "81")]);
    scene.fix("2026-11-20", &[("USD-RUB", "80")]);
    assert_eq!(scene.course_of(CBR, "USD-RUB").as_deref(), Ok("81"), "an older date never comes back");
    scene.wait(5 * 86_400_000 - 1);
    assert_eq!(scene.course_of(CBR, "USD-RUB").as_deref(), Ok("81"));
    scene.wait(1);
    assert!(matches!(scene.course_of(CBR, "USD-RUB"), Err(CoursesError::Stale(_) | CoursesError::Down(_))));
}

#[test]
fn a_refused_quote_is_counted_and_leaves_the_last_good_one_to_age() {
    let mut scene = Scene::usual();
    scene.wait(1_000);
    for (bid, ask, reason) in [
        ("0", "0", Refusal::NonPositive),
        ("-1", "-1", Refusal::NonPositive),
        ("640000000", "640000001", Refusal::Magnitude),
        ("64000", "63999", Refusal::Crossed),
        ("64000", "70000", Refusal::WideSpread),
    ] {
        let before = scene.refused(BINANCE, reason);
        scene.quote(BINANCE, "BTC-USDT", bid, ask);
        assert_eq!(scene.refused(BINANCE, reason), before + 1, "{bid} {ask}");
    }
    let quoted_at = Some(scene.now.wall + TimeDelta::seconds(10));
    scene.report(BINANCE, vec![Quote { quoted_at, ..book("BTC-USDT", "64100", "64100.1") }]);
    assert_eq!(scene.refused(BINANCE, Refusal::Future), 1);
    let quoted_at = Some(scene.now.wall - TimeDelta::seconds(60));
    scene.report(BINANCE, vec![Quote { quoted_at, ..book("BTC-USDT", "64100", "64100.1") }]);
    assert_eq!(scene.refused(BINANCE, Refusal::Stale), 1);
    assert_eq!(scene.course("BTC-USDT").as_deref(), Ok("64000.005"));
    scene.wait(4_001);
    assert!(scene.course_of(BINANCE, "BTC-USDT").is_err());
}

#[test]
fn an_older_sequence_is_refused_only_while_the_newer_quote_is_believed() {
    let mut scene = Scene::usual();
    let numbered = |sequence, bid: &str| Quote { sequence: Some(sequence), ..book("BTC-USDT", bid, "64010") };
    scene.report(BINANCE, vec![numbered(10, "64001"), numbered(9, "64002")]);
    assert_eq!(scene.refused(BINANCE, Refusal::OutOfOrder), 1);
    assert_eq!(scene.course("BTC-USDT").as_deref(), Ok("64005.5"));
    scene.quote(BINANCE, "BTC-USDT", "64003", "64010");
    scene.report(BINANCE, vec![numbered(9, "64002")]);
    assert_eq!(scene.refused(BINANCE, Refusal::OutOfOrder), 2, "a body without a number does not forget it");
    scene.wait(5_001);
    scene.report(BINANCE, vec![numbered(1, "64004")]);
    assert_eq!(scene.course_of(BINANCE, "BTC-USDT").as_deref(), Ok("64007"));
}

#[test]
fn quotes_of_an_older_incarnation_are_refused() {
    let mut scene = Scene::usual();
    scene.life(BINANCE, Life::Ended { detail: "panicked".to_owned() });
    assert_eq!(scene.answering(), Some("coingecko"));
    scene.life(BINANCE, Life::Started(Epoch(2)));
    scene.wait(10);
    scene.binance();
    assert_eq!(scene.refused(BINANCE, Refusal::OldEpoch), 2);
    assert_eq!(scene.status(BINANCE), Status::Down);
    scene.epoch = Epoch(2);
    scene.binance();
    assert_eq!(scene.status(BINANCE), Status::Fresh);
    let health = scene.book.health(scene.now);
    assert_eq!(health.exchanges[0].restarts, 1);
}

#[test]
fn a_quarantined_exchange_says_so_until_it_begins_again() {
    let mut scene = Scene::usual();
    scene.life(BINANCE, Life::Quarantined { detail: "6 restarts in 60 s".to_owned() });
    assert_eq!(scene.status(BINANCE), Status::Quarantined);
    scene.life(BINANCE, Life::Started(Epoch(7)));
    assert_eq!(scene.status(BINANCE), Status::Down);
}

#[test]
fn a_jump_between_the_clocks_makes_everything_stale() {
    for (monotonic, wall_ms) in [(100, 60_000), (60_000, 100), (100, -60_000)] {
        let mut scene = Scene::usual();
        scene.now.monotonic += ms(monotonic);
        scene.now.wall += TimeDelta::milliseconds(wall_ms);
        scene.tick();
        assert!(scene.changes.iter().any(|it| matches!(it, Change::ClockJumped { .. })));
        assert_eq!(scene.answering(), None, "{monotonic} {wall_ms}");
        scene.wait(1);
        scene.gecko();
        scene.binance();
        assert_eq!(scene.answering(), Some("binance"));
    }
}

#[test]
fn why_an_exchange_is_not_fresh_is_told() {
    let told = |scene: &Scene| {
        let health = scene.book.health(scene.now);
        let row = health.exchanges.into_iter().find(|it| it.name == BINANCE).unwrap();
        assert_eq!(row.status, Status::Stale);
        row.last_error.unwrap()
    };
    let mut scene = Scene::usual();
    let crossed = book("ETH-USDT", "3001", "3000");
    scene.report(BINANCE, vec![crossed.clone()]);
    // What came before the loss is not believed after it, however young it is.
    scene.down(BINANCE);
    scene.wait(1);
    scene.link(BINANCE, Link::Up(Transport::WebSocket));
    assert_eq!(told(&scene), "some directions are stale");
    scene.wait(4_999);
    assert_eq!(told(&scene), "some directions are stale");
    scene.wait(1);
    assert_eq!(told(&scene), "no quote for 5.0 s");
    scene.report(BINANCE, vec![crossed]);
    assert_eq!(told(&scene), "connected, and its quotes are refused (crossed)");
}

#[test]
fn our_own_clock_is_blamed_when_most_exchanges_seem_to_be_ahead() {
    let mut scene = Scene::usual();
    let quoted_at = Some(scene.now.wall + TimeDelta::seconds(3));
    scene.report(KRAKEN, vec![Quote { quoted_at, ..book("BTC-USD", "64000", "64001") }]);
    scene.tick();
    assert!(!scene.changes.contains(&Change::OurClockIsSlow), "one of two is not most");
    let ahead = Quote { quoted_at, ..Quote::last(direction("BTC-USD"), Decimal::from(64_000)) };
    scene.report(COINGECKO, vec![ahead]);
    scene.tick();
    assert!(scene.changes.contains(&Change::OurClockIsSlow));
}

#[test]
fn a_direction_that_is_not_traded_any_more_is_missing_and_not_served() {
    let mut scene = Scene::usual();
    let unsupported = vec![direction("ETH-USDT")];
    let listens_to = vec![direction("BTC-USDT")];
    let listing = ReportListing { exchange: BINANCE, epoch: scene.epoch, listens_to, unsupported };
    scene.apply(Event::Listing(listing));
    let answer = scene.ask(Wanted::Configured).unwrap();
    assert_eq!(answer.exchanger, BINANCE);
    assert_eq!(answer.missing, [direction("ETH-RUB"), direction("ETH-USD")]);
    scene.quote(BINANCE, "ETH-USDT", "3000", "3000.1");
    assert_eq!(scene.refused(BINANCE, Refusal::UnexpectedSymbol), 1);
    assert_eq!(scene.ask(Wanted::All(vec![direction("ETH-USD")])).unwrap().exchanger, COINGECKO);
}

#[test]
fn the_sequence_grows_with_every_change_and_starts_above_that_of_an_earlier_process() {
    let mut scene = Scene::usual();
    let mut last = scene.book.sequence();
    assert_eq!(last >> 8, u64::try_from(scene.now.wall.timestamp_millis()).unwrap());
    for _ in 0..1_000 {
        scene.binance();
        assert!(scene.book.sequence() > last);
        last = scene.book.sequence();
    }
    scene.now.wall -= TimeDelta::hours(1);
    scene.binance();
    assert!(scene.book.sequence() > last);
}

#[test]
fn a_gap_in_a_route_is_bridged_by_another_route_that_stayed_fresh() {
    let mut scene = Scene::usual();
    scene.list(BINANCE, &["BTC-USDT", "ETH-USDT", "BTC-USD"]);
    scene.quote(BINANCE, "BTC-USD", "63970", "63970.3");
    scene.live(20, &[BINANCE]);
    assert_eq!(scene.course("BTC-USD").as_deref(), Ok("63968.005"), "the direct book is stale");
    scene.quote(BINANCE, "BTC-USD", "63970", "63970.3");
    assert_eq!(scene.course("BTC-USD").as_deref(), Ok("63970.15"));
    assert_eq!(scene.answering(), Some("binance"), "its return does not begin a wait");
}

#[test]
fn a_market_that_is_stale_is_not_answered_over_yesterdays_fixing() {
    let mut scene = Scene::usual();
    scene.list(BINANCE, &["BTC-USDT", "ETH-USDT", "BTC-EUR", "BTC-USD"]);
    scene.quote(BINANCE, "BTC-USD", "63970", "63970.3");
    scene.quote(BINANCE, "BTC-EUR", "56000", "56000.3");
    scene.wait(3_000);
    scene.quote(BINANCE, "BTC-EUR", "56000", "56000.3");
    scene.wait(3_000);
    assert!(scene.course_of(BINANCE, "BTC-USD").is_err());
    assert_eq!(scene.course_of(BINANCE, "BTC-EUR").as_deref(), Ok("56000.15"));
}

#[test]
fn a_fixing_that_was_told_only_before_its_date_counts_until_the_next_one_begins() {
    let mut scene = Scene::new();
    scene.list(CBR, &["USD-RUB"]);
    scene.fix("2026-11-21", &[("USD-RUB", "80")]);
    scene.wait(24 * 3_600_000);
    scene.fix("2026-11-23", &[("USD-RUB", "81")]);
    let wanted = Wanted::All(vec![direction("USD-RUB")]);
    let question = GetCourses { exchanger: Some(CBR), wanted, max_age: None };
    let value = |scene: &Scene| plain(scene.book.courses(&question, scene.now).unwrap().courses[0].value);
    assert_eq!(value(&scene), "80");
    scene.wait(36 * 3_600_000);
    assert_eq!(value(&scene), "81");
}
