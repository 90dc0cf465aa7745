//! Kraken as it is simulated.

use std::collections::BTreeSet;
use std::time::Duration;

use awc::ws::Message;
use serde_json::{Value, json};

use super::{Sim, Socket, number};

fn subscribe(symbols: &[&str]) -> Message {
    let params = json!({ "channel": "ticker", "symbol": symbols, "event_trigger": "bbo" });
    Message::Text(json!({ "method": "subscribe", "params": params, "req_id": 7 }).to_string().into())
}

/// The next frame of a channel, or the next answer to a method.
async fn next_of(socket: &mut Socket, field: &str, value: &str) -> Value {
    loop {
        let frame = socket.json().await;
        if frame[field] == value {
            return frame;
        }
    }
}

#[actix_web::test]
async fn kraken_answers_every_symbol_for_itself_and_begins_with_a_snapshot() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = sim.socket("/kraken/v2").await;
    let status = socket.json().await;
    assert_eq!((&status["channel"], &status["data"][0]["system"]), (&json!("status"), &json!("online")));
    socket.send(subscribe(&["BTC/USD", "FOO/USD", "DOGE/EUR"])).await;
    let (mut stand, mut snapshots) = (BTreeSet::new(), BTreeSet::new());
    let mut num_refused = 0;
    while stand.len() + snapshots.len() + num_refused < 5 {
        let frame = socket.json().await;
        if frame["method"] == "subscribe" {
            assert_eq!(frame["req_id"], 7);
            match frame["success"].as_bool() {
                Some(true) => drop(stand.insert(frame["result"]["symbol"].to_string())),
                _ => {
                    assert_eq!(frame["error"], "Currency pair not supported FOO/USD");
                    num_refused += 1;
                }
            }
        } else if frame["type"] == "snapshot" {
            let row = &frame["data"][0];
            assert!(row["bid"].as_f64() < row["ask"].as_f64() && row["timestamp"].is_string(), "{frame}");
            snapshots.insert(row["symbol"].to_string());
        }
    }
    assert_eq!((num_refused, stand.len(), snapshots.len()), (1, 2, 2));
    socket.send(subscribe(&["BTC/USD"])).await;
    assert_eq!(next_of(&mut socket, "method", "subscribe").await["error"], "Already subscribed");
    assert_eq!(next_of(&mut socket, "type", "update").await["channel"], "ticker");
    socket.send(Message::Text(r#"{"method":"ping","req_id":9}"#.into())).await;
    assert_eq!(next_of(&mut socket, "method", "pong").await["req_id"], 9);
}

#[actix_web::test]
async fn kraken_sends_heartbeats_while_it_has_no_prices_and_none_to_an_idle_socket() {
    let sim = Sim::start(|_| {}).await;
    let mut idle = sim.socket("/kraken/v2").await;
    idle.json().await;
    let mut socket = sim.socket("/kraken/v2").await;
    socket.send(subscribe(&["BTC/USD"])).await;
    next_of(&mut socket, "channel", "ticker").await;
    sim.fault("kraken", json!({ "kind": "mute", "symbol": "BTC-USD" })).await;
    next_of(&mut socket, "channel", "heartbeat").await;
    assert!(idle.is_silent(Duration::from_millis(100)).await);
    let hurried = Sim::start(|options| options.speed = 100.0).await;
    assert_eq!(hurried.socket("/kraken/v2").await.close_code().await, Some(1001));
}

#[actix_web::test]
async fn krakens_rest_has_other_names_and_fails_as_a_whole_with_a_status_of_success() {
    let sim = Sim::start(|_| {}).await;
    let pairs = sim.get("/kraken/0/public/AssetPairs").await["result"].clone();
    assert_eq!(pairs["XXBTZUSD"]["wsname"], "XBT/USD");
    assert_eq!(pairs["XDGUSD"]["altname"], "XDGUSD");
    let body = sim.get("/kraken/0/public/Ticker?pair=XBTUSD,USDTUSD").await;
    assert_eq!(body["error"], json!([]));
    let row = &body["result"]["XXBTZUSD"];
    assert!(number(&row["b"][0]) < number(&row["a"][0]), "{row}");
    assert!(number(&body["result"]["USDTZUSD"]["c"][0]) > 0.9);
    let failed = sim.get("/kraken/0/public/Ticker?pair=XBTUSD,FOOUSD").await;
    assert_eq!(failed, json!({ "error": ["EQuery:Unknown asset pair"] }));
    sim.post("/control/kraken/symbols", json!({ "direction": "BTC-USD", "status": "cancel_only" })).await;
    let pair = sim.get("/kraken/0/public/AssetPairs?pair=XBTUSD").await;
    assert_eq!(pair["result"]["XXBTZUSD"]["status"], "cancel_only");
    let mut num_asked = 0;
    while sim.get("/kraken/0/public/Time").await["error"] == json!([]) {
        num_asked += 1;
        assert!(num_asked < 70, "no limit");
    }
    let limited = sim.get("/kraken/0/public/Time").await;
    assert_eq!(limited["error"], json!(["EGeneral:Too many requests"]));
}
