//! KuCoin as its clients see it.

use std::time::Duration;

use awc::ws::Message;
use serde_json::{Value, json};

use super::{Sim, Socket, number};

fn say(kind: &str, topic: &str) -> Message {
    Message::Text(json!({ "id": "7", "type": kind, "topic": topic, "response": true }).to_string().into())
}

/// Asks where to dial, and gives the path at the same simulator.
async fn ticket(sim: &Sim) -> (String, Value) {
    let server = sim.post("/kucoin/api/v1/bullet-public", json!({})).await["data"].clone();
    let endpoint = server["instanceServers"][0]["endpoint"].as_str().unwrap().to_owned();
    assert_eq!(endpoint, format!("ws://{}/kucoin/", sim.simulator.address()));
    (format!("/kucoin/?token={}&connectId=me", server["token"].as_str().unwrap()), server)
}

async fn dial(sim: &Sim) -> Socket {
    let mut socket = sim.socket(&ticket(sim).await.0).await;
    assert_eq!(socket.json().await, json!({ "id": "me", "type": "welcome" }));
    socket
}

#[actix_web::test]
async fn kucoin_answers_for_all_symbols_and_lists_them() {
    let sim = Sim::start(|_| {}).await;
    let all = sim.get("/kucoin/api/v1/market/allTickers").await;
    let rows = all["data"]["ticker"].as_array().unwrap();
    let row = rows.iter().find(|row| row["symbol"] == "BTC-USDT").unwrap();
    assert!(number(&row["buy"]) < number(&row["sell"]));
    assert!((number(&row["buy"]) / 64_000.0 - 1.0).abs() < 0.01, "{row}");
    assert!(all["data"]["time"].is_i64());
    let list = sim.get("/kucoin/api/v2/symbols").await;
    assert_eq!(list["data"].as_array().unwrap().len(), rows.len());
    let one = sim.get("/kucoin/api/v1/market/orderbook/level1?symbol=BTC-USDT").await;
    assert!(one["data"]["bestBid"].is_string() && one["data"]["symbol"].is_null());
    sim.post("/control/kucoin/symbols", json!({ "symbol": "ETH-USDT", "status": "disabled" })).await;
    let one = sim.get("/kucoin/api/v1/market/orderbook/level1?symbol=ETH-USDT").await;
    assert!(one["data"]["bestBid"].is_null());
    assert_eq!(sim.body("/kucoin/api/v1/nothing").await.1["code"], "404000");
}

#[actix_web::test]
async fn kucoin_greets_acknowledges_and_sends_changes() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = dial(&sim).await;
    socket.send(say("subscribe", "/market/ticker:BTC-USDT,ETH-USDT")).await;
    assert_eq!(socket.json().await, json!({ "id": "7", "type": "ack" }));
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 2 {
        let frame = socket.json().await;
        assert_eq!((&frame["type"], &frame["subject"]), (&json!("message"), &json!("trade.ticker")));
        assert!(number(&frame["data"]["bestBid"]) < number(&frame["data"]["bestAsk"]));
        seen.insert(frame["topic"].as_str().unwrap().to_owned());
    }
    socket.send(say("unsubscribe", "/market/ticker:BTC-USDT,ETH-USDT")).await;
    while socket.json().await["type"] != "ack" {}
    socket.send(say("subscribe", "/market/ticker:BTC-USDT,NO-USDT")).await;
    assert_eq!(socket.json().await["code"], 404);
    assert!(socket.is_silent(Duration::from_millis(400)).await);
    socket.send(say("ping", "")).await;
    assert_eq!(socket.json().await, json!({ "id": "7", "type": "pong" }));
    socket.send(say("subscribe", "/market/ticker:all")).await;
    while socket.json().await["subject"] != "BTC-USDT" {}
}

#[actix_web::test]
async fn kucoin_turns_an_old_token_away_and_who_does_not_ping() {
    // A minute passes in a second; a token lives for much longer.
    let sim = Sim::start(|options| options.speed = 60.0).await;
    let mut socket = dial(&sim).await;
    socket.send(say("subscribe", "/market/ticker:BTC-USDT")).await;
    assert_eq!(socket.close_code().await, Some(1000));
    let (path, server) = ticket(&sim).await;
    assert_eq!(server["instanceServers"][0]["pingInterval"], 300);
    sim.post("/control/kucoin/expire_tokens", json!({})).await;
    let mut socket = sim.socket(&path).await;
    assert_eq!(socket.json().await["code"], 401);
    assert_eq!(socket.close_code().await, Some(1000));
}
