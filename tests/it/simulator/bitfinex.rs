//! Bitfinex as its clients see it.

use awc::ws::Message;
use serde_json::{Value, json};

use super::{Sim, Socket};

async fn subscribe(socket: &mut Socket, symbol: &str) {
    let message = json!({ "event": "subscribe", "channel": "ticker", "symbol": symbol });
    socket.send(Message::Text(message.to_string().into())).await;
}

/// The next event, frames of channels passed over.
async fn event(socket: &mut Socket) -> Value {
    loop {
        let said = socket.json().await;
        if said.is_object() {
            return said;
        }
    }
}

#[actix_web::test]
async fn bitfinex_greets_acknowledges_and_gives_a_snapshot_at_once() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = sim.socket("/bitfinex/ws/2").await;
    let greeting = socket.json().await;
    assert_eq!((&greeting["event"], &greeting["platform"]["status"]), (&json!("info"), &json!(1)));
    subscribe(&mut socket, "tUSTUSD").await;
    let acknowledged = socket.json().await;
    assert_eq!((&acknowledged["event"], &acknowledged["symbol"]), (&json!("subscribed"), &json!("tUSTUSD")));
    let snapshot = socket.json().await;
    assert_eq!(snapshot[0], acknowledged["chanId"]);
    let numbers = snapshot[1].as_array().unwrap();
    assert_eq!(numbers.len(), 10);
    assert!(numbers[0].as_f64() < numbers[2].as_f64() && numbers[0].as_f64() > Some(0.9));

    let mut other = sim.socket("/bitfinex/ws/2").await;
    other.json().await;
    subscribe(&mut other, "tUSTUSD").await;
    assert_ne!(other.json().await["chanId"], acknowledged["chanId"]);
}

#[actix_web::test]
async fn bitfinex_refuses_in_its_own_codes() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = sim.socket("/bitfinex/ws/2").await;
    socket.json().await;
    for (message, code) in [
        (json!({ "event": "subscribe", "channel": "ticker", "symbol": "tFOOUSD" }), 10300),
        (json!({ "event": "subscribe", "channel": "dance", "symbol": "tBTCUSD" }), 10302),
        (json!({ "event": "dance" }), 10000),
        (json!(7), 10000),
    ] {
        socket.send(Message::Text(message.to_string().into())).await;
        let said = socket.json().await;
        assert_eq!((&said["event"], &said["code"]), (&json!("error"), &json!(code)), "{message}");
    }
    subscribe(&mut socket, "tBTCUSD").await;
    assert_eq!(event(&mut socket).await["event"], "subscribed");
    subscribe(&mut socket, "tBTCUSD").await;
    assert_eq!(event(&mut socket).await["code"], 10301);
}

#[actix_web::test]
async fn bitfinex_answers_thirty_requests_for_tickers_a_minute_and_leaves_out_what_it_does_not_know() {
    let sim = Sim::start(|_| {}).await;
    let rows = sim.get("/bitfinex/v2/tickers?symbols=tBTCUSD,tFOOUSD,tDOGE:USD").await;
    let names: Vec<&Value> = rows.as_array().unwrap().iter().map(|row| &row[0]).collect();
    assert_eq!(names, ["tBTCUSD", "tDOGE:USD"]);
    let lists = sim.get("/bitfinex/v2/conf/pub:list:pair:exchange,pub:map:currency:sym").await;
    assert!(lists[0].as_array().unwrap().contains(&json!("USTUSD")));
    assert!(lists[1].as_array().unwrap().contains(&json!(["UST", "USDt"])));
    for _ in 1..30 {
        sim.get("/bitfinex/v2/ticker/tBTCUSD").await;
    }
    let (status, body) = sim.body("/bitfinex/v2/tickers?symbols=ALL").await;
    assert_eq!((status.as_u16(), body), (429, json!(["error", 11010, "ratelimit: error"])));
}
