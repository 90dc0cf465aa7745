//! Every source of fiat rates, as the whole service hears it: any of its currencies is a counter of any coin, and another
//! source stands in where it fails.

use std::net::SocketAddr;

use chrono::{DateTime, Utc};
use ratebook::config::{ApiKey, Settings};
use ratebook::exchange::row;
use ratebook::simulator::{Simulator, SimulatorOptions};
use serde_json::{Value, json};

use crate::support::World;

/// Listens to these sources of fiat rates, best first, and to no other.
fn only(sources: &'static [&'static str]) -> impl FnOnce(&mut Settings) {
    move |settings| {
        settings.fiat_priority = sources.iter().map(|name| row(name).unwrap().name).collect();
        for (name, exchange) in &mut settings.exchanges {
            let is_market = ["binance", "coingecko"].contains(&name.as_str());
            exchange.enabled = is_market || settings.fiat_priority.contains(name);
            if name.as_str() == "freecurrencyapi" {
                exchange.api_key = Some(ApiKey::new("planted".to_owned()));
            }
        }
    }
}

impl World {
    /// The answer of Binance to a question about one direction, and the header of its legs, once there is an answer.
    async fn legs_of(&self, direction: &str) -> String {
        let path = format!("/v1/courses?exchanger=binance&directions={direction}");
        self.until(&path, |answer| answer.status == 200).await;
        let url = format!("http://{}{path}", self.service);
        let answer = self.client.get(url).send().await.unwrap();
        let legs = answer.headers().get("ratebook-legs").map(|legs| legs.to_str().unwrap().to_owned());
        legs.unwrap_or_default()
    }

    /// Waits until the row of an exchange in `/health` is as wanted.
    async fn until_health(&self, exchange: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let is_row_wanted = |health: &Value| {
            let rows = health["exchanges"].as_array().cloned().unwrap_or_default();
            rows.iter().any(|row| row["name"] == exchange && is_wanted(row))
        };
        self.until("/health", |answer| is_row_wanted(&answer.body)).await;
        self.health_of(exchange).await
    }
}

#[actix::test]
async fn every_source_alone_gives_a_price_in_each_of_its_currencies() {
    for (sources, directions) in [
        (&["ecb"][..], &["BTC-JPY", "USDT-ISK", "EUR-USD", "CHF-BTC"][..]),
        (&["freecurrencyapi"], &["BTC-RUB", "EUR-RUB", "ETH-IDR"]),
        (&["frankfurter"], &["BTC-KZT", "EUR-RUB", "USDT-AED"]),
        (&["erapi"], &["BTC-NGN", "BTC-KZT", "EUR-RUB", "USDT-AED", "USD-KWD"]),
    ] {
        let world = World::start(31, 1.0, only(sources)).await;
        for direction in directions {
            let legs = world.legs_of(direction).await;
            assert!(legs.contains(&format!("={};", sources[0])), "{direction}: {legs}");
        }
        world.until_health(sources[0], |row| row["status"] == "fresh" && row["transport"] == "rest").await;
        world.stop().await;
    }
}

#[actix::test]
async fn the_next_source_gives_what_the_first_one_lacks_or_cannot_give() {
    let world = World::start(32, 1.0, only(&["ecb", "frankfurter", "erapi"])).await;
    for (direction, source) in [("BTC-CHF", "ecb"), ("BTC-KZT", "frankfurter"), ("BTC-NGN", "erapi")] {
        world.until_health(source, |row| row["status"] == "fresh").await;
        let legs = world.legs_of(direction).await;
        assert!(legs.contains(&format!("={source};")), "{direction}: {legs}");
    }
    let unsupported = world.health_of("ecb").await["unsupported"].clone();
    assert_eq!(unsupported, json!(["EUR-RUB"]));
    world.stop().await;
}

#[actix::test]
async fn a_source_that_needs_a_key_is_disabled_without_one_and_is_sent_it_in_a_header_only() {
    let world = World::start(33, 1.0, |_| {}).await;
    assert_eq!(world.until_health("freecurrencyapi", |_| true).await["status"], "disabled");
    world.stop().await;

    let world = World::start(34, 1.0, only(&["freecurrencyapi"])).await;
    world.until_health("freecurrencyapi", |row| row["status"] == "fresh").await;
    let log = world.control("log?exchange=freecurrencyapi").await;
    let asked = log["entries"].as_array().unwrap();
    assert_eq!(asked.len(), 1, "{log}");
    assert!(
        log.to_string().contains("/v1/latest?base_currency=USD") && !log.to_string().contains("planted"),
        "{log}"
    );
    world.stop().await;

    let refused = |settings: &mut Settings| {
        only(&["freecurrencyapi"])(settings);
        let exchange = settings.exchanges.get_mut(&row("freecurrencyapi").unwrap().name).unwrap();
        exchange.api_key = Some(ApiKey::new("wrong".to_owned()));
    };
    let world = World::start(35, 1.0, refused).await;
    let row = world.until_health("freecurrencyapi", |row| row["status"] == "forbidden").await;
    assert!(row["last_error"].as_str().unwrap().contains("401"), "{row}");
    world.stop().await;
}

#[actix::test]
async fn who_refuses_us_without_saying_for_how_long_is_left_alone_for_as_long_as_is_known() {
    for (sources, minutes) in [(&["erapi"][..], 20), (&["freecurrencyapi"], 60)] {
        let source = sources[0];
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = SimulatorOptions { listen, seed: 36, speed: 1.0, replay: Vec::new() };
        let simulator = Simulator::start(options).await.unwrap();
        let url = format!("http://{}/control/{source}/faults", simulator.address());
        let fault = json!({"kind": "status", "status": 429});
        assert_eq!(awc::Client::new().post(url).send_json(&fault).await.unwrap().status(), 200);
        let world = World::around(simulator, only(sources)).await;
        let row = world.until_health(source, |row| !row["banned_until"].is_null()).await;
        let until: DateTime<Utc> = row["banned_until"].as_str().unwrap().parse().unwrap();
        let left = (until - Utc::now()).num_seconds();
        assert!((minutes * 60 - 30..=minutes * 60).contains(&left), "{source}: {left}");
        world.stop().await;
    }
}

#[actix::test]
async fn a_source_that_contradicts_the_official_one_is_named_and_not_believed() {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let options = SimulatorOptions { listen, seed: 37, speed: 1.0, replay: Vec::new() };
    let simulator = Simulator::start(options).await.unwrap();
    let url = format!("http://{}/control/frankfurter/faults", simulator.address());
    let fault = json!({"kind": "wrong_value", "transport": "rest", "symbol": "RUB", "factor": "1.07"});
    assert_eq!(awc::Client::new().post(url).send_json(&fault).await.unwrap().status(), 200);
    // The bank comes last, and its word counts all the same.
    let world = World::around(simulator, only(&["frankfurter", "erapi", "cbr"])).await;
    let named = |health: &Value| {
        let all = health["disagreements"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|it| it["direction"] == "USD-RUB" && it["source"] == "frankfurter")
    };
    world.until("/health", |answer| named(&answer.body).is_some()).await;
    let health = world.get("/health").await.body;
    let disagreement = named(&health).unwrap();
    assert_eq!(disagreement["believed"], "cbr", "{health}");
    let percent = disagreement["percent"].as_f64().unwrap();
    assert!((6.0..8.0).contains(&percent), "{health}");
    assert_eq!(health["status"], "degraded");
    assert!(health["reasons"][0].as_str().unwrap().starts_with("sources disagree on USD-RUB: "), "{health}");
    let legs = world.legs_of("BTC-RUB").await;
    assert!(legs.contains("USD-RUB=cbr;"), "{legs}");
    world.stop().await;
}
