//! What an exchange asks of us is obeyed to the letter.

use std::time::Duration;

use chrono::{DateTime, Utc};
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
