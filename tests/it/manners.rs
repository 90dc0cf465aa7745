//! What an exchange asks of us is obeyed to the letter.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ratebook::config::Settings;
use ratebook::simulator::{Simulator, SimulatorOptions};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::support::{PATIENCE, World};

#[actix::test]
async fn a_wait_that_is_asked_for_is_kept_and_not_lengthened_by_the_words_of_the_body() {
    let world = World::start(7, 1.0, |_| {}).await;
    world.until("/v1/courses?exchanger=binance", |answer| answer.status == 200).await;
    let fault = json!({"kind": "status", "status": 429, "retry_after": 3, "transport": "rest"});
    world.break_exchange("binance", fault).await;
    world.break_exchange("binance", json!({"kind": "close", "transport": "websocket"})).await;
    let began = Instant::now();
    let banned_until = loop {
        let row = world.health_of("binance").await;
        if let Some(until) = row["banned_until"].as_str() {
            assert!(row["last_error"].as_str().unwrap().contains("429"), "{row}");
            break until.parse::<DateTime<Utc>>().unwrap();
        }
        assert!(began.elapsed() < PATIENCE, "no ban: {row}");
        sleep(Duration::from_millis(10)).await;
    };
    let wait = banned_until - Utc::now();
    assert!(wait.num_milliseconds() <= 3_000, "{wait}");
    assert!(wait.num_milliseconds() >= 1_500, "{wait}");
    world.mend("binance").await;
    let last =
        |log: &serde_json::Value| log["entries"].as_array().unwrap().last().unwrap()["id"].as_u64().unwrap();
    let before = last(&world.control("log?exchange=binance").await);
    while Utc::now() < banned_until {
        assert_eq!(last(&world.control("log?exchange=binance").await), before, "it was asked during the ban");
        sleep(Duration::from_millis(50)).await;
    }
    world.until("/v1/courses?exchanger=binance", |answer| answer.status == 200).await;
    world.stop().await;
}

#[actix::test]
async fn whoever_refuses_us_by_law_is_shown_as_forbidden_and_left_alone() {
    for status in [451, 403] {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = SimulatorOptions { listen, seed: 8, speed: 1.0, replay: Vec::new() };
        let simulator = Simulator::start(options).await.unwrap();
        let names: Vec<&str> = Settings::default()
            .exchanges
            .iter()
            .filter(|(_, exchange)| exchange.enabled)
            .map(|(name, _)| name.as_str())
            .collect();
        let address = simulator.address();
        for name in &names {
            refuse_by_law(address, name, status).await;
        }
        let world = World::around(simulator, |settings| {
            for (name, exchange) in &mut settings.exchanges {
                exchange.enabled = names.contains(&name.as_str());
            }
        })
        .await;
        for name in &names {
            let deadline = Instant::now() + PATIENCE;
            let row = loop {
                let row = world.health_of(name).await;
                // The 403 that Bybit's simulator says on order is the one that asks for less.
                let is_told = row["status"] == "forbidden" || (*name == "bybit" && status == 403);
                if is_told && row["banned_until"].is_string() {
                    break row;
                }
                assert!(Instant::now() < deadline, "{status}: {row}");
                sleep(Duration::from_millis(20)).await;
            };
            let until: DateTime<Utc> = row["banned_until"].as_str().unwrap().parse().unwrap();
            assert!((until - Utc::now()).num_seconds() > 240, "{status}: {row}");
        }
        let num_asked = async || world.control("log").await["entries"].as_array().unwrap().len();
        // What was on its way when the last one was forbidden may still arrive.
        let mut before = num_asked().await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            sleep(Duration::from_secs(3)).await;
            let after = num_asked().await;
            assert!(
                after <= names.len() * 4,
                "{status}: {after} requests and dials of {} sources",
                names.len()
            );
            if after == before {
                break;
            }
            assert!(Instant::now() < deadline, "{status}: somebody is asked again and again");
            before = after;
        }
        world.stop().await;
    }
}

async fn refuse_by_law(simulator: SocketAddr, name: &str, status: u16) {
    let fault = json!({"kind": "status", "status": status, "transport": "both"});
    let url = format!("http://{simulator}/control/{name}/faults");
    let answer = awc::Client::new().post(url).send_json(&fault).await.unwrap();
    assert_eq!(answer.status(), 200, "{name}");
}
