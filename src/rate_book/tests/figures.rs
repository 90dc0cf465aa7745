//! What the book tells of itself for metrics.

use super::*;

#[test]
fn an_exchange_is_compared_with_the_median_where_three_can_be() {
    let mut scene = Scene::with(|settings| settings.directions = vec![direction("BTC-USD")]);
    let deviation = |scene: &Scene, name| {
        let health = scene.book.health(scene.now);
        let row = health.exchanges.into_iter().find(|it| it.name == name).unwrap();
        row.deviation.map(|share| plain(share.round_dp(4)))
    };
    for exchange in [BINANCE, KRAKEN, COINGECKO] {
        scene.list(exchange, &["BTC-USD"]);
        scene.link(exchange, Link::Up(Transport::WebSocket));
    }
    scene.quote(BINANCE, "BTC-USD", "99999", "100001");
    scene.quote(KRAKEN, "BTC-USD", "100999", "101001");
    assert_eq!(deviation(&scene, BINANCE), None, "of two, nobody can say which one is away");
    scene.quote(COINGECKO, "BTC-USD", "99499", "99501");
    assert_eq!(deviation(&scene, BINANCE).as_deref(), Some("0"));
    assert_eq!(deviation(&scene, KRAKEN).as_deref(), Some("0.01"));
    assert_eq!(deviation(&scene, COINGECKO).as_deref(), Some("-0.005"));
    assert_eq!(deviation(&scene, CBR), None);
}

#[test]
fn the_median_of_an_even_number_lies_between_its_two_middle_ones() {
    let names = ["binance", "kraken", "okx", "bybit"].map(ExchangeName::new);
    let mut scene = Scene::with(|settings| {
        settings.directions = vec![direction("BTC-USD")];
        settings.priority = names.to_vec();
        let listed = |name| ListedExchange { name, enabled: true, stale_after: ms(5_000), official_of: None };
        settings.exchanges = names.map(listed).to_vec();
    });
    for (name, price) in names.into_iter().zip([1_000, 1_900, 2_100, 4_000]) {
        scene.list(name, &["BTC-USD"]);
        scene.report(name, vec![Quote::last(direction("BTC-USD"), Decimal::from(price))]);
    }
    let health = scene.book.health(scene.now);
    let deviations: Vec<_> = health.exchanges.iter().map(|it| it.deviation.map(plain)).collect();
    let expected = ["-0.5", "-0.05", "0.05", "1"].map(|share| Some(share.to_owned()));
    assert_eq!(deviations, expected);
}

#[test]
fn it_is_an_impairment_that_the_first_of_priority_does_not_answer() {
    let mut scene = Scene::usual();
    let is_told = |scene: &Scene| {
        let impairments = scene.book.health(scene.now).impairments;
        impairments.iter().any(|it| it.contains("`binance`, the first of `priority`"))
    };
    assert!(!is_told(&scene));
    scene.down(BINANCE);
    assert!(is_told(&scene));
}

#[test]
fn every_change_of_who_answers_is_counted_with_its_cause() {
    let mut scene = Scene::usual();
    let count = |scene: &Scene, from, cause| {
        scene.book.health(scene.now).failovers.get(&Failover { from, cause }).copied().unwrap_or_default()
    };
    assert_eq!(count(&scene, None, FailoverCause::Recovered), 1);
    scene.down(BINANCE);
    assert_eq!(scene.answering(), Some("coingecko"));
    assert_eq!(count(&scene, Some(BINANCE), FailoverCause::Down), 1);
    scene.link(BINANCE, Link::Up(Transport::WebSocket));
    scene.live(20, &[BINANCE, COINGECKO]);
    assert_eq!(scene.answering(), Some("binance"));
    assert_eq!(count(&scene, Some(COINGECKO), FailoverCause::FailBack), 1);
    scene.live(7, &[COINGECKO]);
    assert_eq!(count(&scene, Some(BINANCE), FailoverCause::Stale), 1);
    assert_eq!(scene.book.health(scene.now).failovers.values().sum::<u64>(), 4);
}
