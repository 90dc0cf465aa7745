//! Bitstamp as it is simulated.

use awc::ws::Message;
use serde_json::{Value, json};

use super::{Sim, number};

fn say(event: &str, channel: &str) -> Message {
    Message::Text(json!({ "event": event, "data": { "channel": channel } }).to_string().into())
}

#[actix_web::test]
async fn bitstamp_pushes_whole_order_books_of_the_channels_that_exist() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = sim.socket("/bitstamp").await;
    socket.send(say("bts:subscribe", "order_book_btcusd")).await;
    let acknowledged = socket.json().await;
    assert_eq!(acknowledged["event"], "bts:subscription_succeeded");
    assert_eq!(acknowledged["channel"], "order_book_btcusd");
    let book = socket.json().await;
    assert_eq!((&book["event"], &book["channel"]), (&json!("data"), &json!("order_book_btcusd")));
    let levels = |side: &str| book["data"][side].as_array().unwrap().clone();
    let (bids, asks) = (levels("bids"), levels("asks"));
    assert_eq!((bids.len(), asks.len()), (100, 100));
    let price = |level: &Value| number(&level[0]);
    assert!(price(&bids[1]) < price(&bids[0]) && price(&bids[0]) < price(&asks[0]));
    assert!(price(&asks[0]) < price(&asks[1]));
    assert!(number(&book["data"]["microtimestamp"]) > 1e15);
    socket.send(say("bts:subscribe", "order_book_foousd")).await;
    socket.send(say("bts:heartbeat", "")).await;
    socket.send(say("bts:unsubscribe", "order_book_btcusd")).await;
    let mut events = Vec::new();
    while events.len() < 3 {
        let frame = socket.json().await;
        if frame["event"] != "data" {
            events.push(frame["event"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(events, ["bts:error", "bts:heartbeat", "bts:unsubscription_succeeded"]);
}

#[actix_web::test]
async fn bitstamps_rest_tells_all_tickers_at_once() {
    let sim = Sim::start(|_| {}).await;
    sim.post("/control/bitstamp/symbols", json!({ "direction": "DOGE-EUR", "status": "Disabled" })).await;
    sim.post("/control/bitstamp/symbols", json!({ "direction": "ETH-EUR", "status": "ABSENT" })).await;
    let tickers = sim.get("/bitstamp/api/v2/ticker/").await;
    let tickers = tickers.as_array().unwrap();
    assert!(tickers.len() > 30 && tickers.iter().all(|row| number(&row["bid"]) < number(&row["ask"])));
    assert!(tickers.iter().all(|row| row["pair"] != "ETH/EUR"));
    let one = sim.get("/bitstamp/api/v2/ticker/btcusd/").await;
    assert_eq!(one["pair"], "BTC/USD");
    for (path, symbol) in [("trading-pairs-info", "url_symbol"), ("markets", "market_symbol")] {
        let pairs = sim.get(&format!("/bitstamp/api/v2/{path}/")).await;
        let doge = pairs.as_array().unwrap().iter().find(|pair| pair[symbol] == "dogeeur").unwrap().clone();
        assert_eq!((&doge["trading"], &doge["name"]), (&json!("Disabled"), &json!("DOGE/EUR")));
    }
    let (status, body) = sim.body("/bitstamp/api/v2/ticker/foousd/").await;
    assert_eq!((status.as_u16(), &body["code"]), (404, &json!("404.002")));
}
