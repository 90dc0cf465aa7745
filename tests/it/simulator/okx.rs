//! OKX as its clients see it.

use std::time::Duration;

use awc::ws::Message;
use serde_json::{Value, json};

use super::{Sim, number};

fn command(op: &str, symbols: &[&str]) -> Message {
    let args: Vec<Value> =
        symbols.iter().map(|symbol| json!({ "channel": "tickers", "instId": symbol })).collect();
    Message::Text(json!({ "op": op, "args": args }).to_string().into())
}

#[actix_web::test]
async fn okx_answers_for_one_instrument_and_for_all_and_lists_them() {
    let sim = Sim::start(|_| {}).await;
    let one = sim.get("/okx/api/v5/market/ticker?instId=BTC-USDT").await;
    let row = &one["data"][0];
    assert_eq!((&one["code"], &row["instId"]), (&json!("0"), &json!("BTC-USDT")));
    assert!(number(&row["bidPx"]) < number(&row["askPx"]));
    assert!((number(&row["bidPx"]) / 64_000.0 - 1.0).abs() < 0.01, "{one}");
    let all = sim.get("/okx/api/v5/market/tickers?instType=SPOT").await;
    let list = sim.get("/okx/api/v5/public/instruments?instType=SPOT").await;
    let num_rows = all["data"].as_array().unwrap().len();
    assert!(num_rows > 20);
    assert_eq!(list["data"].as_array().unwrap().len(), num_rows);
    assert!(list["data"].as_array().unwrap().iter().all(|row| row["state"] == "live"));
    for (target, status, code) in [
        ("market/ticker?instId=NOTHING", 200, "51001"),
        ("market/tickers", 400, "50014"),
        ("market/nothing", 404, "50404"),
    ] {
        let (answered, body) = sim.body(&format!("/okx/api/v5/{target}")).await;
        assert_eq!((answered.as_u16(), &body["code"]), (status, &json!(code)), "{target}: {body}");
    }
}

#[actix_web::test]
async fn okx_acknowledges_each_argument_and_sends_what_stands_at_once() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = sim.socket("/okx/ws/v5/public").await;
    socket.send(command("subscribe", &["BTC-USDT", "NO-USDT"])).await;
    let acknowledged = socket.json().await;
    assert_eq!(
        (&acknowledged["event"], &acknowledged["arg"]["instId"]),
        (&json!("subscribe"), &json!("BTC-USDT"))
    );
    let snapshot = socket.json().await;
    assert_eq!(snapshot["arg"], json!({ "channel": "tickers", "instId": "BTC-USDT" }));
    assert!(snapshot["data"][0]["ts"].is_string());
    let refused = socket.json().await;
    assert_eq!(refused["code"], "60018");
    assert!(refused["msg"].as_str().unwrap().contains("instId:NO-USDT doesn't exist"));
    for _ in 0..3 {
        assert_eq!(socket.json().await["data"][0]["instId"], "BTC-USDT");
    }
    socket.send(command("unsubscribe", &["BTC-USDT"])).await;
    while socket.json().await["event"] != "unsubscribe" {}
    assert!(socket.is_silent(Duration::from_millis(400)).await);
    socket.send(Message::Text("ping".into())).await;
    assert_eq!(socket.text().await.unwrap(), "pong");
    socket.send(Message::Text("hello".into())).await;
    assert_eq!(socket.json().await["code"], "60012");
}

#[actix_web::test]
async fn okx_hangs_up_when_neither_side_says_anything_and_a_ping_is_enough() {
    // Half a minute passes in 600 ms.
    let sim = Sim::start(|options| options.speed = 50.0).await;
    let mut silent = sim.socket("/okx/ws/v5/public").await;
    let mut pinging = sim.socket("/okx/ws/v5/public").await;
    for _ in 0..6 {
        pinging.send(Message::Text("ping".into())).await;
        assert_eq!(pinging.text().await.unwrap(), "pong");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(silent.close_code().await, Some(4004));
    pinging.send(Message::Text("ping".into())).await;
    assert_eq!(pinging.text().await.unwrap(), "pong");
}

#[actix_web::test]
async fn okx_announces_an_end_and_refuses_who_asks_too_often() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = sim.socket("/okx/ws/v5/public").await;
    socket.send(command("subscribe", &["BTC-USDT"])).await;
    sim.fault("okx", json!({ "kind": "close", "announce_ms": 200 })).await;
    while socket.json().await["code"] != "64008" {}
    socket.close_code().await;
    let mut codes = Vec::new();
    for _ in 0..21 {
        let (status, body) = sim.body("/okx/api/v5/market/ticker?instId=BTC-USDT").await;
        codes.push((status.as_u16(), body["code"].as_str().unwrap().to_owned()));
    }
    codes.dedup();
    assert_eq!(codes, [(200, "0".to_owned()), (429, "50011".to_owned())]);
}

#[actix_web::test]
async fn an_instrument_that_is_suspended_has_no_book() {
    let sim = Sim::start(|_| {}).await;
    sim.post("/control/okx/symbols", json!({ "symbol": "ETH-USDT", "status": "suspend" })).await;
    let ticker = sim.get("/okx/api/v5/market/ticker?instId=ETH-USDT").await["data"][0].clone();
    assert_eq!((&ticker["bidPx"], &ticker["askPx"]), (&json!(""), &json!("")));
    sim.post("/control/okx/symbols", json!({ "symbol": "LTC-EUR", "status": "live" })).await;
    assert!(number(&sim.get("/okx/api/v5/market/ticker?instId=LTC-EUR").await["data"][0]["bidPx"]) > 50.0);
    let (status, _) = sim.post_any("/control/okx/symbols", json!({ "symbol": "FOO-BAR" }).to_string()).await;
    assert_eq!(status, 400);
}
