//! What `/control` tells and takes.

use super::{Sim, number};

#[actix_web::test]
async fn bad_orders_are_told_what_is_allowed() {
    let sim = Sim::start(|_| {}).await;
    for (path, body, status) in [
        ("/control/binance/faults", r#"{"kind":"dance"}"#, 400),
        ("/control/binance/faults", "", 400),
        ("/control/nobody/faults", r#"{"kind":"mute"}"#, 404),
        ("/control/nothing", "{}", 404),
        ("/control/truth", r#"{"BTC":"-1"}"#, 400),
        ("/control/truth", r#"{"NOTHING":"1"}"#, 400),
        ("/control/ports", "{}", 405),
    ] {
        let (code, said) = sim.post_any(path, body.to_owned()).await;
        assert_eq!(code.as_u16(), status, "{path} {body}: {said}");
        assert!(said["error"].as_str().unwrap().len() > 10, "{said}");
    }
    let (_, said) = sim.post_any("/control/binance/faults", r#"{"kind":"dance"}"#.to_owned()).await;
    for word in ["close", "half_open", "wrong_value", "for_ms", "transport"] {
        assert!(said["error"].as_str().unwrap().contains(word), "{said}");
    }
}

#[actix_web::test]
async fn the_truth_is_what_exchanges_publish_within_their_spread() {
    let sim = Sim::start(|_| {}).await;
    let truth = sim.get("/control/truth").await;
    let usd = |code: &str| number(&truth["usd"][code]);
    let book = &truth["quotes"]["binance"]["BTC-USDT"];
    let middle = (number(&book["bid"]) + number(&book["ask"])) / 2.0;
    assert!((middle / (usd("BTC") / usd("USDT")) - 1.0).abs() < 0.001, "{truth}");
    let last = number(&truth["quotes"]["coingecko"]["BTC-USD"]["last"]);
    assert!((last / usd("BTC") - 1.0).abs() < 0.005);
    assert!(truth["quotes"]["binance"]["USDT-RUB"].is_null());
    chrono::DateTime::parse_from_rfc3339(truth["at"].as_str().unwrap()).unwrap();
}

#[actix_web::test]
async fn the_log_tells_what_was_asked_by_whom() {
    let sim = Sim::start(|_| {}).await;
    sim.get("/binance/api/v3/ping?x=1").await;
    sim.get("/coingecko/api/v3/ping").await;
    sim.listening().await;
    let requests = sim.log("exchange=binance&kind=request").await;
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0]["detail"], "GET /binance/api/v3/ping?x=1");
    assert_eq!(requests[0]["status"], 200);
    assert!(requests[0]["client_port"].as_u64().unwrap() > 0);
    let kinds: Vec<_> = sim
        .log("exchange=binance")
        .await
        .iter()
        .map(|entry| entry["kind"].as_str().unwrap().to_owned())
        .collect();
    assert!(kinds.contains(&"connect".to_owned()) && kinds.contains(&"frame".to_owned()), "{kinds:?}");
    let after = requests[0]["id"].as_u64().unwrap();
    assert!(
        sim.log(&format!("after={after}")).await.iter().all(|entry| entry["id"].as_u64().unwrap() > after)
    );
    assert_eq!(sim.client.delete(sim.url("/control/log")).send().await.unwrap().status(), 200);
    assert!(sim.log("exchange=coingecko").await.is_empty());
}
