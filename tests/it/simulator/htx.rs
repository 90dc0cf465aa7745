//! HTX as its clients see it.

use std::io::Read as _;

use awc::ws::{Frame, Message};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::{Sim, Socket};

/// The next message, which has to be a gzip; `None` at the end.
async fn unpacked(socket: &mut Socket) -> Option<Value> {
    loop {
        match socket.next().await {
            Some(Ok(Frame::Binary(bytes))) => {
                let mut text = String::new();
                GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
                return Some(serde_json::from_str(&text).unwrap());
            }
            Some(Ok(Frame::Text(text))) => panic!("a text: {text:?}"),
            Some(Ok(Frame::Close(_)) | Err(_)) | None => return None,
            Some(Ok(_)) => {}
        }
    }
}

async fn subscribe(socket: &mut Socket, topic: &str) -> Value {
    socket.send(Message::Text(json!({ "sub": topic, "id": "7" }).to_string().into())).await;
    unpacked(socket).await.unwrap()
}

#[actix_web::test]
async fn htx_packs_every_frame_and_gives_a_snapshot_at_once() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = sim.socket("/htx/ws").await;
    let refused = subscribe(&mut socket, "market.foousdt.bbo").await;
    assert_eq!(
        (&refused["status"], &refused["err-code"], &refused["id"]),
        (&json!("error"), &json!("bad-request"), &json!("7"))
    );
    let acknowledged = subscribe(&mut socket, "market.btcusdt.bbo").await;
    assert_eq!(
        (&acknowledged["status"], &acknowledged["subbed"]),
        (&json!("ok"), &json!("market.btcusdt.bbo"))
    );
    let news = unpacked(&mut socket).await.unwrap();
    assert_eq!(news["ch"], "market.btcusdt.bbo");
    assert!(news["tick"]["bid"].as_f64() < news["tick"]["ask"].as_f64() && news["tick"]["seqId"].is_u64());
}

#[actix_web::test]
async fn htx_hangs_up_on_a_client_that_does_not_answer_two_pings() {
    let sim = Sim::start(|options| options.speed = 20.0).await;
    let mut deaf = sim.socket("/htx/ws").await;
    let mut num_pings = 0;
    while let Some(said) = unpacked(&mut deaf).await {
        assert!(said["ping"].is_i64());
        num_pings += 1;
    }
    assert_eq!(num_pings, 2);
    let mut polite = sim.socket("/htx/ws").await;
    for _ in 0..5 {
        let ping = unpacked(&mut polite).await.unwrap()["ping"].clone();
        polite.send(Message::Text(json!({ "pong": ping }).to_string().into())).await;
    }
}

#[actix_web::test]
async fn htx_tells_errors_with_a_status_of_success_and_its_list_with_the_state_of_each_symbol() {
    let sim = Sim::start(|_| {}).await;
    let tickers = sim.get("/htx/market/tickers").await;
    assert_eq!(tickers["status"], "ok");
    assert!(tickers["data"].as_array().unwrap().iter().any(|row| row["symbol"] == "gramusdt"));
    assert_eq!(sim.get("/htx/market/detail/merged?symbol=foousdt").await["status"], "error");
    sim.post("/control/htx/symbols", json!({ "direction": "LTC-USDT", "status": "suspend" })).await;
    let list = sim.get("/htx/v1/common/symbols").await;
    let state = |symbol: &str| {
        list["data"].as_array().unwrap().iter().find(|row| row["symbol"] == symbol).unwrap()["state"].clone()
    };
    assert_eq!((state("ltcusdt"), state("btcusdt")), (json!("suspend"), json!("online")));
}
