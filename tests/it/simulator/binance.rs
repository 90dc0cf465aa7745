//! Binance as its clients see it.

use std::time::Duration;

use awc::ws::Message;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Sim, eventually, number, subscribe};

#[actix_web::test]
async fn binance_answers_for_one_symbol_for_several_and_for_all() {
    let sim = Sim::start(|_| {}).await;
    assert_eq!(sim.get("/binance/api/v3/ping").await, json!({}));
    assert!(sim.get("/binance/api/v3/time").await["serverTime"].as_i64().unwrap() > 1_700_000_000_000);
    let one = sim.get("/binance/api/v3/ticker/bookTicker?symbol=BTCUSDT").await;
    assert!(number(&one["bidPrice"]) < number(&one["askPrice"]));
    assert!((number(&one["bidPrice"]) / 64_000.0 - 1.0).abs() < 0.01, "{one}");
    let list = sim.get("/binance/api/v3/ticker/price?symbols=%5B%22ETHUSDT%22,%22BTCUSDT%22%5D").await;
    let names: Vec<_> = list.as_array().unwrap().iter().map(|row| row["symbol"].as_str().unwrap()).collect();
    assert_eq!(names, ["ETHUSDT", "BTCUSDT"]);
    let all = sim.get("/binance/api/v3/ticker/bookTicker").await;
    assert!(all.as_array().unwrap().len() > 20);
    let day = sim.get("/binance/api/v3/ticker/24hr?symbol=ETHBTC").await;
    assert!(day["closeTime"].is_i64() && number(&day["openPrice"]) < number(&day["lastPrice"]), "{day}");
    assert!(sim.get("/binance/api/v3/ticker/24hr?symbol=ETHBTC&type=MINI").await["bidPrice"].is_null());
    let depth = sim.get("/binance/api/v3/depth?symbol=BTCUSDT&limit=5").await;
    assert_eq!(depth["bids"].as_array().unwrap().len(), 5);
    assert_eq!(
        sim.get("/binance/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=3").await.as_array().unwrap().len(),
        3
    );
    assert!(number(&sim.get("/binance/api/v3/avgPrice?symbol=BTCUSDT").await["price"]) > 0.0);
}

#[actix_web::test]
async fn binance_refuses_in_its_own_codes() {
    let sim = Sim::start(|_| {}).await;
    for (target, code) in [
        ("ticker/bookTicker?symbol=NOTHING", -1121),
        ("ticker/bookTicker?symbols=%5B%22BTCUSDT%22,%22NOTHING%22%5D", -1121),
        ("ticker/bookTicker?symbol=btcusdt", -1100),
        ("ticker/bookTicker?symbols=BTCUSDT", -1100),
        ("ticker/bookTicker?symbol=", -1105),
        ("ticker/bookTicker?symbol=BTCUSDT&symbols=%5B%22BTCUSDT%22%5D", -1128),
        ("ticker/bookTicker?symbols=%5B%22BTCUSDT%22,%22BTCUSDT%22%5D", -1151),
        ("ticker/price?symbol=BTCRUB&symbolStatus=TRADING", -1220),
        ("depth", -1102),
        ("exchangeInfo?symbol=NOTHING", -1121),
    ] {
        let (status, body) = sim.body(&format!("/binance/api/v3/{target}")).await;
        assert_eq!((status.as_u16(), &body["code"]), (400, &json!(code)), "{target}: {body}");
        assert!(body["msg"].is_string());
    }
    assert_eq!(sim.body("/binance/api/v3/nothing").await.0, 404);
    assert_eq!(sim.body("/nothing").await.0, 404);
}

#[actix_web::test]
async fn binance_lists_its_symbols_and_has_no_roubles_and_no_dollars() {
    let sim = Sim::start(|_| {}).await;
    let info = sim.get("/binance/api/v3/exchangeInfo").await;
    let symbols = info["symbols"].as_array().unwrap();
    let trading = |counter: &str| {
        let is_it = |row: &&Value| row["quoteAsset"] == counter && row["status"] == "TRADING";
        symbols.iter().filter(is_it).count()
    };
    assert!(trading("USDT") >= 10);
    assert_eq!((trading("RUB"), trading("USD")), (0, 0));
    let filtered = sim.get("/binance/api/v3/exchangeInfo?symbolStatus=BREAK&showPermissionSets=false").await;
    let broken = filtered["symbols"].as_array().unwrap();
    assert_eq!(broken.len(), 3);
    assert!(broken.iter().all(|row| row["status"] == "BREAK" && row["permissionSets"] == json!([])));
    assert_eq!(sim.get("/binance/api/v3/exchangeInfo?permissions=MARGIN").await["symbols"], json!([]));
    let frozen = sim.get("/binance/api/v3/ticker/price?symbol=USDTRUB").await;
    let book = sim.get("/binance/api/v3/ticker/bookTicker?symbol=USDTRUB").await;
    assert!(number(&frozen["price"]) > 50.0);
    assert_eq!((&book["bidPrice"], &book["askPrice"]), (&json!("0.00000000"), &json!("0.00000000")));
    let mut tick = sim.get("/control/truth").await["tick"].as_u64().unwrap();
    let start = tick;
    while tick < start + 5 {
        tick = sim.get("/control/truth").await["tick"].as_u64().unwrap();
    }
    assert_eq!(sim.get("/binance/api/v3/ticker/price?symbol=USDTRUB").await, frozen);
}

#[actix_web::test]
async fn a_symbol_can_be_listed_and_taken_off() {
    let sim = Sim::start(|_| {}).await;
    let status = |symbol: &str, status: &str| json!({ "symbol": symbol, "status": status });
    sim.post("/control/binance/symbols", status("BTCUSD", "TRADING")).await;
    let row = sim.get("/binance/api/v3/ticker/bookTicker?symbol=BTCUSD").await;
    assert!((number(&row["bidPrice"]) / 64_000.0 - 1.0).abs() < 0.01, "{row}");
    let mut socket = sim.socket("/binance/ws/btcusd@bookTicker").await;
    assert_eq!(socket.json().await["s"], "BTCUSD");
    sim.post("/control/binance/symbols", status("BTCUSDT", "BREAK")).await;
    let row = sim.get("/binance/api/v3/ticker/bookTicker?symbol=BTCUSDT").await;
    assert_eq!(row["bidPrice"], "0.00000000");
    sim.post("/control/binance/symbols", status("BTCUSDT", "ABSENT")).await;
    assert_eq!(sim.body("/binance/api/v3/ticker/bookTicker?symbol=BTCUSDT").await.0, 400);
    for bad in [status("FOOBAR", "TRADING"), status("BTCUSD", "DANCING"), json!({})] {
        let (code, said) = sim.post_any("/control/binance/symbols", bad.to_string()).await;
        assert_eq!(code, 400, "{said}");
    }
}

#[actix_web::test]
async fn binance_pushes_changes_only_and_its_numbers_grow() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = sim.listening().await;
    let mut last = 0;
    for _ in 0..10 {
        let frame = socket.json().await;
        let fields: Vec<_> = frame.as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields, ["A", "B", "a", "b", "s", "u"]);
        let u = frame["u"].as_u64().unwrap();
        assert!(u > last);
        last = u;
        assert!(number(&frame["b"]) < number(&frame["a"]));
    }
}

#[actix_web::test]
async fn both_framings_and_several_streams_work() {
    let sim = Sim::start(|_| {}).await;
    let mut combined = sim.socket("/binance/stream?streams=btcusdt@bookTicker/ethusdt@bookTicker").await;
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 2 {
        let frame = combined.json().await;
        assert!(frame["data"]["u"].is_u64(), "{frame}");
        seen.insert(frame["stream"].as_str().unwrap().to_owned());
    }
    let mut raw = sim.socket("/binance/ws/").await;
    raw.send(subscribe(&["btcusdt@miniTicker", "btcusdt@ticker", "btcusdt@trade", "btcusdt@aggTrade"])).await;
    let mut events = std::collections::BTreeSet::new();
    while events.len() < 5 {
        let frame = raw.json().await;
        events.insert(frame["e"].as_str().unwrap_or("acknowledgement").to_owned());
    }
}

#[actix_web::test]
async fn an_unknown_symbol_is_acknowledged_and_never_delivered() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = sim.socket("/binance/ws").await;
    socket.send(subscribe(&["nothing@bookTicker", "BTCUSDT@bookTicker", "btcrub@bookTicker"])).await;
    assert_eq!(socket.json().await, json!({ "result": null, "id": 1 }));
    assert!(socket.is_silent(Duration::from_millis(700)).await);
}

#[actix_web::test]
async fn more_than_five_messages_a_second_end_the_connection() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = sim.socket("/binance/ws").await;
    for _ in 0..6 {
        socket.send(Message::Ping("x".into())).await;
    }
    assert_eq!(socket.close_code().await, Some(1008));
}

#[actix_web::test]
async fn a_client_that_answers_pings_stays_and_one_that_does_not_goes() {
    // A ping every 100 ms, a pong within 300 ms.
    let sim = Sim::start(|options| options.speed = 200.0).await;
    let mut good = sim.socket("/binance/ws").await;
    let mut bad = sim.socket("/binance/ws").await;
    eventually("ten pongs, and no end", async || {
        assert!(good.is_silent(Duration::from_millis(300)).await);
        sim.log("exchange=binance&kind=pong").await.len() >= 10
    })
    .await;
    assert_eq!(bad.close_code().await, Some(1008));
}

#[actix_web::test]
async fn a_connection_ends_at_its_age() {
    let sim = Sim::start(|options| options.speed = 240_000.0).await;
    let began_at = Instant::now();
    let mut socket = sim.socket("/binance/ws").await;
    assert_eq!(socket.close_code().await, Some(1001));
    assert!(began_at.elapsed() >= Duration::from_millis(300));
}

#[actix_web::test]
async fn too_much_weight_is_a_429_and_then_a_418() {
    let sim = Sim::start(|options| options.speed = 20.0).await;
    let url = sim.url("/binance/api/v3/ticker/24hr");
    let mut statuses = Vec::new();
    let mut waits = Vec::new();
    for _ in 0..110 {
        let answer = sim.client.get(&url).send().await.unwrap();
        statuses.push(answer.status().as_u16());
        waits.extend(answer.headers().get("Retry-After").map(|wait| wait.to_str().unwrap().to_owned()));
        if answer.status() == 200 {
            assert!(answer.headers().contains_key("X-MBX-USED-WEIGHT-1M"));
        }
        if statuses.last() == Some(&418) {
            break;
        }
    }
    statuses.dedup();
    assert_eq!(statuses, [200, 429, 418]);
    assert_eq!(waits.last().map(String::as_str), Some("6"));
    assert_eq!(sim.body("/binance/api/v3/ping").await.0, 418);
}

#[actix_web::test]
async fn weight_that_others_use_is_told_and_counts() {
    let sim = Sim::start(|_| {}).await;
    sim.post("/control/binance/weight", json!({ "used_by_others": 5990 })).await;
    let url = sim.url("/binance/api/v3/ticker/price?symbol=BTCUSDT");
    let mut used = Vec::new();
    for _ in 0..6 {
        let answer = sim.client.get(&url).send().await.unwrap();
        let weight = answer.headers().get("X-MBX-USED-WEIGHT-1M");
        used.push(weight.map_or(0, |weight| weight.to_str().unwrap().parse::<u64>().unwrap()));
        assert_eq!(answer.status() == 200, used.last() != Some(&0));
    }
    assert_eq!(used, [5992, 5994, 5996, 5998, 6000, 0]);
    assert_eq!(sim.post_any("/control/binance/weight", "{}".to_owned()).await.0, 400);
}
