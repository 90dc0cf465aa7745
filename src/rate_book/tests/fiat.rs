//! Several sources of fiat rates: whose rate counts, and what is said where they disagree.

use super::*;

const ECB: ExchangeName = ExchangeName::new("ecb");
const ERAPI: ExchangeName = ExchangeName::new("erapi");

impl Scene {
    /// Binance with dollars of its own, and three sources of fiat rates in this order: the Bank of Russia, one that
    /// sets nothing, the European Central Bank.
    fn with_banks() -> Self {
        let mut scene = Self::with(|settings| {
            let bank = |name, official_of| ListedExchange {
                name,
                enabled: true,
                stale_after: ms(600_000),
                official_of,
            };
            settings.exchanges.retain(|it| it.name != CBR);
            settings.exchanges.push(bank(CBR, Some(Asset::RUB)));
            settings.exchanges.push(bank(ERAPI, None));
            settings.exchanges.push(bank(ECB, Some(Asset::EUR)));
            settings.fiat_priority = vec![CBR, ERAPI, ECB];
        });
        scene.list(BINANCE, &["BTC-USD"]);
        scene.list(CBR, &["USD-RUB", "EUR-RUB", "KZT-RUB"]);
        scene.list(ERAPI, &["USD-RUB", "USD-EUR", "USD-KZT", "USD-NGN"]);
        scene.list(ECB, &["EUR-USD"]);
        scene.link(BINANCE, Link::Up(Transport::WebSocket));
        scene.quote(BINANCE, "BTC-USD", "99999", "100001");
        scene
    }

    fn agree(&mut self) {
        self.fix_by(CBR, "2026-11-20", &[("USD-RUB", "80"), ("EUR-RUB", "92"), ("KZT-RUB", "0.16")]);
        self.fix_by(
            ERAPI,
            "2026-11-20",
            &[("USD-RUB", "80.4"), ("USD-EUR", "0.87"), ("USD-KZT", "500"), ("USD-NGN", "1500")],
        );
        self.fix_by(ECB, "2026-11-20", &[("EUR-USD", "1.15")]);
        self.tick();
    }

    fn source_of(&self, it: &str) -> Option<&'static str> {
        let answer = self.ask(Wanted::All(vec![direction(it)])).unwrap();
        answer.legs.first().and_then(|leg| leg.source).map(|source| source.as_str())
    }

    fn disagreements(&self) -> Vec<String> {
        self.book.health(self.now).disagreements.iter().map(ToString::to_string).collect()
    }

    fn told(&mut self) -> Vec<Change> {
        let is_of_fiats = |it: &Change| !matches!(it, Change::Switched { .. });
        std::mem::take(&mut self.changes).into_iter().filter(is_of_fiats).collect()
    }
}

#[test]
fn the_first_fresh_source_counts_while_all_agree() {
    let mut scene = Scene::with_banks();
    scene.agree();
    for (it, course, source) in [
        ("BTC-RUB", "8000000", "cbr"),
        ("BTC-EUR", "86956.52174", "cbr"),
        ("BTC-KZT", "50000000", "cbr"),
        ("BTC-NGN", "150000000", "erapi"),
        ("USD-NGN", "1500", "erapi"),
        ("EUR-RUB", "92", "cbr"),
        ("EUR-NGN", "1724.137931", "erapi"),
    ] {
        assert_eq!((scene.course(it).unwrap().as_str(), scene.source_of(it)), (course, Some(source)), "{it}");
    }
    assert_eq!(scene.disagreements(), [""; 0]);
    assert_eq!(scene.told(), []);
}

#[test]
fn a_source_that_is_not_fresh_leaves_its_place_to_the_next() {
    let mut scene = Scene::with_banks();
    scene.agree();
    scene.fix_by(ERAPI, "2026-11-24", &[("USD-RUB", "81"), ("USD-EUR", "0.87"), ("USD-KZT", "500")]);
    scene.now = Moment { wall: "2026-11-25T12:00:00Z".parse().unwrap(), ..scene.now };
    scene.tick();
    scene.link(BINANCE, Link::Up(Transport::WebSocket));
    scene.wait(1_000);
    scene.quote(BINANCE, "BTC-USD", "99999", "100001");
    assert_eq!(scene.course("BTC-RUB").unwrap(), "8100000");
    assert_eq!(scene.source_of("BTC-RUB"), Some("erapi"));
}

#[test]
fn sources_are_compared_again_when_only_time_has_passed() {
    let mut scene = Scene::with_banks();
    scene.agree();
    scene.fix_by(ERAPI, "2026-11-20", &[("USD-RUB", "90")]);
    scene.tick();
    assert!(matches!(scene.told().as_slice(), [Change::FiatSourcesDisagree(_)]), "{:?}", scene.changes);
    // The next fixing agrees, and begins in a minute and a half.
    let starts_at = scene.now.wall + TimeDelta::seconds(90);
    let validity = Validity::Fixing { starts_at, ends_at: starts_at + TimeDelta::days(5) };
    let agrees = Quote { validity, ..Quote::last(direction("USD-RUB"), Decimal::from(80)) };
    scene.report(ERAPI, vec![agrees]);
    let mut told_after = Vec::new();
    for second in 1..=200 {
        scene.wait(1_000);
        if !scene.told().is_empty() {
            told_after.push(second);
        }
    }
    assert_eq!(told_after.len(), 1, "{told_after:?}");
    assert!((115..=125).contains(&told_after[0]), "{told_after:?}");
}

#[test]
fn a_source_that_has_yet_to_quote_is_waited_for_unless_it_fails() {
    let mut scene = Scene::with_banks();
    scene.list(CBR, &["USD-RUB"]);
    scene.fix_by(CBR, "2026-11-20", &[("USD-RUB", "80")]);
    for silent in [ERAPI, ECB, COINGECKO] {
        scene.list(silent, &[]);
    }
    scene.list(KRAKEN, &["ETH-EUR"]);
    scene.fix_by(ECB, "2026-11-20", &[("EUR-NGN", "1700")]);
    scene.list(ECB, &[]);
    assert!(matches!(scene.course("BTC-EUR"), Err(CoursesError::Starting(_))));
    scene.down(ERAPI);
    let unsupported = CoursesError::UnsupportedDirection(direction("BTC-EUR"));
    assert_eq!(scene.course("BTC-EUR"), Err(unsupported));
}

#[test]
fn where_sources_disagree_the_official_one_of_the_currency_counts() {
    let mut scene = Scene::with_banks();
    scene.agree();
    // The Bank of Russia is first, but the euro is not its own.
    scene.fix_by(CBR, "2026-11-20", &[("EUR-RUB", "95")]);
    assert_eq!(scene.source_of("USD-EUR"), Some("ecb"));
    assert_eq!(scene.course("USD-EUR").unwrap(), "0.8695652174");
    // Of its own currency it is right, whoever says otherwise.
    scene.fix_by(ERAPI, "2026-11-20", &[("USD-RUB", "90")]);
    assert_eq!((scene.course("USD-RUB").unwrap().as_str(), scene.source_of("USD-RUB")), ("80", Some("cbr")));
    // Where nobody's own currency is concerned the first one counts.
    scene.fix_by(ERAPI, "2026-11-20", &[("USD-KZT", "600")]);
    assert_eq!((scene.course("USD-KZT").unwrap().as_str(), scene.source_of("USD-KZT")), ("500", Some("cbr")));
}

#[test]
fn a_limit_of_disagreement_is_the_settings() {
    for (limit, rate, expected) in [
        ("0.01", "80.8", 0),
        ("0.01", "80.81", 1),
        ("0.01", "79.2", 0),
        ("0.01", "79.19", 1),
        ("0.02", "81.5", 0),
    ] {
        let mut scene = Scene::with_banks();
        scene.book.settings.max_fiat_difference = decimal(limit).unwrap();
        scene.agree();
        scene.fix_by(ERAPI, "2026-11-20", &[("USD-RUB", rate)]);
        assert_eq!(scene.disagreements().len(), expected, "{limit} {rate}");
    }
}

#[test]
fn a_disagreement_is_told_once_when_it_begins_and_once_when_it_ends() {
    let mut scene = Scene::with_banks();
    scene.agree();
    scene.told();
    scene.fix_by(ERAPI, "2026-11-20", &[("USD-RUB", "84")]);
    scene.tick();
    let expected = "USD-RUB: erapi says 84, cbr 80 (5 % apart); cbr counts";
    assert_eq!(scene.disagreements(), [expected]);
    let health = scene.book.health(scene.now);
    assert!(health.impairments.contains(&format!("sources disagree on {expected}")), "{health:?}");
    assert!(
        matches!(scene.told().as_slice(), [Change::FiatSourcesDisagree(it)] if it.to_string() == expected)
    );
    scene.live(120, &[]);
    scene.agree();
    let ended = Change::FiatSourcesAgree { direction: direction("USD-RUB"), source: ERAPI };
    assert_eq!(scene.told(), [ended]);
    assert_eq!(scene.disagreements(), [""; 0]);
}

#[test]
fn a_disagreement_on_what_nobody_asks_for_is_told_and_impairs_nothing() {
    let mut scene = Scene::with_banks();
    scene.agree();
    scene.told();
    scene.fix_by(ERAPI, "2026-11-20", &[("USD-KZT", "600")]);
    scene.tick();
    assert_eq!(scene.disagreements(), ["USD-KZT: erapi says 600, cbr 500 (20 % apart); cbr counts"]);
    assert!(!scene.book.health(scene.now).impairments.iter().any(|it| it.contains("disagree")));
    assert_eq!(scene.told(), [Change::FiatSourcesDisagreeElsewhere(vec![direction("USD-KZT")])]);
    scene.live(120, &[]);
    assert_eq!(scene.told(), []);
}

#[test]
fn a_disagreement_that_begins_with_a_date_is_told_within_a_minute_of_it() {
    let mut scene = Scene::with_banks();
    scene.agree();
    scene.now = Moment { wall: "2026-11-20T20:59:30Z".parse().unwrap(), ..scene.now };
    scene.tick();
    scene.fix_by(ERAPI, "2026-11-21", &[("USD-RUB", "84")]);
    scene.tick();
    scene.told();
    scene.live(90, &[]);
    assert!(matches!(scene.told().as_slice(), [Change::FiatSourcesDisagree(_)]));
}

#[test]
fn a_source_that_cannot_be_reached_keeps_back_only_what_it_alone_may_have() {
    for (is_failing, it, is_starting) in [
        (false, "BTC-NGN", true),
        (true, "BTC-NGN", true),
        (false, "FOO-BTC", false),
        (true, "FOO-RUB", false),
        (true, "FOO-BTC", false),
    ] {
        let mut scene = Scene::with_banks();
        for silent in [KRAKEN, COINGECKO, ERAPI] {
            scene.list(silent, &[]);
        }
        scene.fix_by(CBR, "2026-11-20", &[("USD-RUB", "80"), ("EUR-RUB", "92"), ("KZT-RUB", "0.16")]);
        scene.fix_by(ECB, "2026-11-20", &[("EUR-USD", "1.15")]);
        if is_failing {
            scene.down(ERAPI);
        }
        let error = scene.course(it).unwrap_err();
        assert_eq!(matches!(error, CoursesError::Starting(_)), is_starting, "{is_failing} {it}: {error:?}");
    }
}
