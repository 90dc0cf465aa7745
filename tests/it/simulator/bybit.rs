//! Bybit as its clients see it.

use std::time::Duration;

use awc::ws::Message;
use serde_json::{Value, json};

use super::{Sim, number};

fn command(op: &str, topics: &[&str]) -> Message {
    Message::Text(json!({ "req_id": "7", "op": op, "args": topics }).to_string().into())
}

#[actix_web::test]
async fn bybit_answers_for_one_symbol_and_for_all_and_lists_them() {
    let sim = Sim::start(|_| {}).await;
    let one = sim.get("/bybit/v5/market/tickers?category=spot&symbol=BTCUSDT").await;
    let row = &one["result"]["list"][0];
    assert_eq!((&one["retCode"], &row["symbol"]), (&json!(0), &json!("BTCUSDT")));
    assert!(number(&row["bid1Price"]) < number(&row["ask1Price"]));
    assert!((number(&row["bid1Price"]) / 64_000.0 - 1.0).abs() < 0.01, "{one}");
    let rows = |body: Value| body["result"]["list"].as_array().unwrap().len();
    let num_rows = rows(sim.get("/bybit/v5/market/tickers?category=spot").await);
    assert!(num_rows > 20);
    assert_eq!(rows(sim.get("/bybit/v5/market/instruments-info?category=spot").await), num_rows);
    assert_eq!(rows(sim.get("/bybit/v5/market/tickers?category=linear").await), 0);
    for target in ["tickers", "tickers?category=spot&symbol=NOTHING"] {
        assert_eq!(sim.get(&format!("/bybit/v5/market/{target}")).await["retCode"], 10001, "{target}");
    }
}

#[actix_web::test]
async fn bybit_acknowledges_a_request_as_one_and_sends_whole_books() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = sim.socket("/bybit/v5/public/spot").await;
    socket.send(command("subscribe", &["orderbook.1.BTCUSDT", "tickers.BTCUSDT"])).await;
    let acknowledged = socket.json().await;
    assert_eq!((&acknowledged["success"], &acknowledged["req_id"]), (&json!(true), &json!("7")));
    let mut last = 0;
    for _ in 0..10 {
        let frame = socket.json().await;
        assert_eq!(frame["type"], "snapshot");
        if frame["topic"] == "tickers.BTCUSDT" {
            assert!(frame["data"]["bid1Price"].is_null() && frame["data"]["lastPrice"].is_string());
        } else {
            let seq = frame["data"]["seq"].as_u64().unwrap();
            assert!(seq > last);
            last = seq;
            assert!(number(&frame["data"]["b"][0][0]) < number(&frame["data"]["a"][0][0]));
        }
    }
}

#[actix_web::test]
async fn bybit_refuses_a_request_as_one() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = sim.socket("/bybit/v5/public/spot").await;
    let many = ["orderbook.1.BTCUSDT"; 11];
    for topics in [&["orderbook.1.BTCUSDT", "orderbook.1.NOTHING"][..], &["orderbook.7.BTCUSDT"], &many] {
        socket.send(command("subscribe", topics)).await;
        assert_eq!(socket.json().await["success"], false);
    }
    assert!(socket.is_silent(Duration::from_millis(400)).await);
    socket.send(command("ping", &[])).await;
    let pong = socket.json().await;
    assert_eq!((&pong["op"], &pong["ret_msg"]), (&json!("ping"), &json!("pong")));
    socket.send(Message::Text("hello".into())).await;
    assert_eq!(socket.json().await["success"], false);
}

#[actix_web::test]
async fn bybit_repeats_a_book_that_does_not_change_and_forbids_who_asks_too_often() {
    // Three seconds pass in 50 ms, half of the time between two changes.
    let sim = Sim::start(|options| options.speed = 60.0).await;
    let mut socket = sim.socket("/bybit/v5/public/spot").await;
    socket.send(command("subscribe", &["orderbook.1.BTCUSDT"])).await;
    let (mut last, mut has_repeated) = (json!(null), false);
    while !has_repeated {
        let frame = socket.json().await;
        has_repeated = !last.is_null() && frame["data"]["u"] == last;
        last = frame["data"]["u"].clone();
    }
    sim.fault("bybit", json!({ "kind": "status", "status": 403 })).await;
    assert_eq!(sim.body("/bybit/v5/market/time").await.0, 403);
}
