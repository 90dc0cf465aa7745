//! Coinbase as it is simulated.

use awc::ws::Message;
use serde_json::{Value, json};

use super::{Sim, number};

fn subscribe(products: &[&str], channels: Value) -> Message {
    let message = json!({ "type": "subscribe", "product_ids": products, "channels": channels });
    Message::Text(message.to_string().into())
}

#[actix_web::test]
async fn coinbase_lists_all_subscriptions_and_begins_with_the_last_trade() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = sim.socket("/coinbase/").await;
    socket.send(subscribe(&["BTC-USD"], json!(["ticker", "heartbeat"]))).await;
    let subscriptions = socket.json().await;
    assert_eq!(subscriptions["channels"][1]["name"], "ticker");
    assert_eq!(subscriptions["channels"][1]["product_ids"], json!(["BTC-USD"]));
    let ticker = socket.json().await;
    assert_eq!((&ticker["type"], &ticker["product_id"]), (&json!("ticker"), &json!("BTC-USD")));
    assert!(number(&ticker["best_bid"]) < number(&ticker["best_ask"]));
    let is_traded = [&ticker["best_bid"], &ticker["best_ask"]].contains(&&ticker["price"]);
    assert!(is_traded && ticker["time"].is_string(), "{ticker}");
    socket.send(subscribe(&[], json!([{ "name": "ticker", "product_ids": ["ETH-USD"] }]))).await;
    let (mut sequence, mut has_beaten, mut both) = (0, false, None);
    while both.is_none() || !has_beaten {
        let frame = socket.json().await;
        match frame["type"].as_str() {
            Some("ticker") if frame["product_id"] == "BTC-USD" => {
                assert!(frame["sequence"].as_u64().unwrap() > sequence);
                sequence = frame["sequence"].as_u64().unwrap();
            }
            Some("heartbeat") => has_beaten = frame["product_id"] == "BTC-USD",
            Some("subscriptions") => both = Some(frame["channels"][1]["product_ids"].clone()),
            _ => {}
        }
    }
    assert_eq!(both, Some(json!(["BTC-USD", "ETH-USD"])));
}

#[actix_web::test]
async fn coinbase_refuses_a_whole_message_for_one_product_and_hangs_up_on_silence() {
    let sim = Sim::start(|options| options.speed = 50.0).await;
    let mut socket = sim.socket("/coinbase").await;
    socket.send(subscribe(&["BTC-USD", "FOO-USD"], json!(["ticker"]))).await;
    let refused = socket.json().await;
    assert_eq!(refused["reason"], "FOO-USD is not a valid product");
    socket.send(subscribe(&["BTC-USD"], json!(["dance"]))).await;
    assert_eq!(socket.json().await["reason"], "dance is not a valid channel");
    assert_eq!(socket.close_code().await, Some(1000));
}

#[actix_web::test]
async fn coinbases_rest_tells_one_product_at_a_time_and_has_a_limit() {
    let sim = Sim::start(|_| {}).await;
    let products = sim.get("/coinbase/products").await;
    let products = products.as_array().unwrap();
    let bitcoin = products.iter().find(|product| product["id"] == "BTC-USD").unwrap();
    assert_eq!((&bitcoin["status"], &bitcoin["trading_disabled"]), (&json!("online"), &json!(false)));
    assert!(products.iter().all(|product| product["id"] != "USDC-USD"));
    let ticker = sim.get("/coinbase/products/BTC-USD/ticker").await;
    assert!(number(&ticker["bid"]) < number(&ticker["ask"]) && ticker["product_id"].is_null(), "{ticker}");
    let (status, body) = sim.body("/coinbase/products/FOO-USD/ticker").await;
    assert_eq!((status.as_u16(), &body["message"]), (404, &json!("NotFound")));
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(sim.body("/coinbase/time").await.0.as_u16());
    }
    assert!(statuses.contains(&429), "{statuses:?}");
}
