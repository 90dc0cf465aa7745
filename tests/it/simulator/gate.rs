//! Gate as its clients see it.

use awc::ws::Message;
use ratebook::clock;
use serde_json::{Value, json};

use super::{Sim, Socket, number};

async fn ask(socket: &mut Socket, event: &str, pairs: &[&str], time_off: i64) -> Value {
    let time = clock::now().wall.timestamp() + time_off;
    let message =
        json!({ "time": time, "id": 5, "channel": "spot.book_ticker", "event": event, "payload": pairs });
    socket.send(Message::Text(message.to_string().into())).await;
    socket.json().await
}

#[actix_web::test]
async fn gate_acknowledges_and_then_tells_what_changes() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = sim.socket("/gate/ws/v4/").await;
    let said = ask(&mut socket, "subscribe", &["BTC_USDT"], 0).await;
    assert_eq!((&said["id"], &said["result"]["status"]), (&json!(5), &json!("success")));
    let first = socket.json().await;
    let second = socket.json().await;
    assert_eq!((&first["event"], &first["result"]["s"]), (&json!("update"), &json!("BTC_USDT")));
    assert!(number(&first["result"]["b"]) < number(&first["result"]["a"]));
    assert!(first["result"]["u"].as_u64() < second["result"]["u"].as_u64());
    socket.send(Message::Text(r#"{"time":1,"channel":"spot.ping"}"#.into())).await;
    while socket.json().await["channel"] != "spot.pong" {}
}

#[actix_web::test]
async fn gate_refuses_a_whole_message_for_one_unknown_pair_or_a_wrong_time() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = sim.socket("/gate/ws/v4").await;
    for (pairs, time_off) in [(&["BTC_USDT", "FOO_USDT"][..], 0), (&["BTC_USDT"], -120), (&[], 0)] {
        let said = ask(&mut socket, "subscribe", pairs, time_off).await;
        assert_eq!((&said["id"], &said["error"]["code"]), (&json!(5), &json!(2)), "{said}");
    }
    assert!(socket.is_silent(std::time::Duration::from_millis(500)).await);
    let (status, body) = sim.body("/gate/api/v4/spot/tickers?currency_pair=FOO_USDT").await;
    assert_eq!((status.as_u16(), &body["label"]), (400, &json!("INVALID_CURRENCY_PAIR")));
}

#[actix_web::test]
async fn gate_lists_its_pairs_and_tells_one_ticker_or_all() {
    let sim = Sim::start(|_| {}).await;
    let one = sim.get("/gate/api/v4/spot/tickers?currency_pair=GRAM_USDT").await;
    assert_eq!(one.as_array().unwrap().len(), 1);
    assert!(number(&one[0]["highest_bid"]) < number(&one[0]["lowest_ask"]), "{one}");
    assert!(sim.get("/gate/api/v4/spot/tickers").await.as_array().unwrap().len() > 10);
    sim.post("/control/gate/symbols", json!({ "direction": "LTC-USDT", "status": "untradable" })).await;
    let listed = sim.get("/gate/api/v4/spot/currency_pairs/LTC_USDT").await;
    assert_eq!((&listed["base"], &listed["trade_status"]), (&json!("LTC"), &json!("untradable")));
    sim.post("/control/gate/symbols", json!({ "direction": "LTC-USDT", "status": "ABSENT" })).await;
    assert_eq!(sim.body("/gate/api/v4/spot/currency_pairs/LTC_USDT").await.0, 400);
}

#[actix_web::test]
async fn gate_answers_two_hundred_requests_and_then_asks_for_less() {
    let sim = Sim::start(|_| {}).await;
    for _ in 0..200 {
        sim.get("/gate/api/v4/spot/time").await;
    }
    let (status, body) = sim.body("/gate/api/v4/spot/time").await;
    assert_eq!((status.as_u16(), &body["label"]), (429, &json!("TOO_MANY_REQUESTS")));
    sim.get("/gate/api/v4/spot/tickers?currency_pair=BTC_USDT").await;
}
