//! What the roles do together while nothing is broken.

use std::collections::HashMap;
use std::time::Duration;

use awc::http::StatusCode;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::node::{Node, Site};
use crate::support::sqlite;

/// How long answers of two replicas are compared.
const COMPARE_FOR: Duration = Duration::from_secs(3);

/// Asks both for as long as this, and says how many numbers of the stream both were asked at. Whoever is asked at the same
/// number says the same, byte for byte, from its first answer on.
async fn compare(replicas: [&Node; 2]) -> usize {
    let mut answers: HashMap<u64, [Option<String>; 2]> = HashMap::new();
    let mut last = [0; 2];
    let until = Instant::now() + COMPARE_FOR;
    while Instant::now() < until {
        for (at, replica) in replicas.iter().enumerate() {
            let answer = replica.get("/v1/courses").await;
            if answer.body["reason"] == "starting" {
                continue;
            }
            assert_eq!(answer.status, 200, "{answer:?}");
            let sequence = answer.sequence.unwrap();
            assert!(sequence >= last[at], "it fell from {} to {sequence}", last[at]);
            last[at] = sequence;
            let said = answers.entry(sequence).or_default();
            let text = format!("{} {}", answer.etag.unwrap(), answer.text);
            for other in said.iter().flatten() {
                assert_eq!(&text, other, "at {sequence}");
            }
            said[at] = Some(text);
        }
    }
    answers.values().filter(|said| said.iter().all(Option::is_some)).count()
}

#[actix_web::test]
async fn replicas_say_the_same_at_the_same_place_of_the_stream_and_what_they_hear_is_stored() {
    let site = Site::start().await;
    // Replicas are there before anybody tells them anything.
    let first = site.node("first", "answer", &[]);
    let second = site.node("second", "answer", &[]);
    assert_eq!(first.get("/v1/courses").await.body["reason"], "starting");
    let collector = site.node("collector", "collect", &[]);
    let store = site.node("store", "store", &[]);
    first.until_it_answers().await;
    second.until_it_answers().await;

    let num_compared = compare([&first, &second]).await;
    println!("{num_compared} places of the stream compared");
    assert!(num_compared >= 20, "{num_compared}");

    // One that comes late knows all of it at once, or says nothing.
    let late = site.node("late", "answer", &[]);
    let num_compared = compare([&late, &first]).await;
    assert!(num_compared >= 20, "{num_compared}");
    drop(late);

    // Everybody tells how he is, and nobody does what is not his.
    for node in [&first, &second, &collector, &store] {
        let well = |answer: &super::node::Answer| {
            answer.body["status"] == "ok" && answer.body["bus"]["status"] == "ok"
        };
        node.until("/health", well).await;
        assert_eq!(node.get("/health/ready").await.status, 200);
        assert_eq!(node.health().await["bus"]["unreadable_total"], 0);
    }
    for node in [&collector, &store] {
        let answer = node.get("/v1/courses").await;
        assert_eq!((answer.status, answer.body["reason"].as_str()), (404, Some("not_found")));
    }
    let binance = first.health().await["exchanges"][0].clone();
    assert_eq!(
        (binance["name"].as_str(), binance["transport"].as_str()),
        (Some("binance"), Some("websocket"))
    );

    // A replica reads what the store has stored.
    let stored = |answer: &super::node::Answer| answer.body["storage"]["stored_rows"].as_u64() >= Some(20);
    store.until("/health", stored).await;
    let history = first.get("/v1/history?direction=BTC-USDT&interval=tick").await;
    assert_eq!((history.status, history.body["exchanger"].as_str()), (200, Some("binance")), "{history:?}");
    let doubled = "SELECT count(*) FROM (SELECT 1 FROM quotes WHERE valid_from_us IS NULL
                   GROUP BY exchange, direction, received_at_us / 1000000 HAVING count(*) > 1)";
    assert_eq!(sqlite::rows(&site.path("ratebook.db"), doubled), [["0"]], "one row for each second");
    site.stop().await;
}

#[actix_web::test]
async fn a_replica_that_starts_while_an_exchange_waits_for_its_place_lets_it_wait() {
    let site = Site::start().await;
    let markets = [("RATEBOOK_PRIORITY", "binance,kraken")];
    let _collector = site.node("collector", "collect", &markets);
    let early = site.node("early", "answer", &markets);
    early.until_it_answers().await;
    let faults = format!("http://{}/control/binance/faults", site.simulator.address());
    let mute = json!({ "kind": "mute" });
    assert_eq!(site.client.post(&faults).send_json(&mute).await.unwrap().status(), 200);
    let is = |status: &'static str| {
        move |answer: &super::node::Answer| answer.body["exchanges"][0]["status"] == status
    };
    early.until("/health", is("stale")).await;
    early.until("/v1/courses", |answer| answer.body["exchanger"] == "kraken").await;
    // Longer than a request hangs, whose answer would count from when it was asked for.
    sleep(Duration::from_secs(6)).await;
    assert_eq!(site.client.delete(&faults).send().await.unwrap().status(), 200);
    early.until("/health", is("fresh")).await;

    let late = site.node("late", "answer", &markets);
    let num_compared = compare([&late, &early]).await;
    println!("{num_compared} places of the stream compared");
    assert!(num_compared >= 20, "{num_compared}");
    assert_eq!(late.get("/v1/courses").await.body["exchanger"], "kraken", "binance has not waited for 15 s");
    site.stop().await;
}

#[actix_web::test]
async fn two_collectors_of_one_exchange_are_one_stream_and_one_may_go() {
    let site = Site::start().await;
    let replica = site.node("replica", "answer", &[]);
    let _store = site.node("store", "store", &[]);
    let one = site.node("one", "collect", &[]);
    let other = site.node("other", "collect", &[]);
    replica.until_it_answers().await;
    sleep(Duration::from_secs(5)).await;

    // Nobody notices that one is killed.
    drop(one);
    let until = Instant::now() + Duration::from_secs(7);
    while Instant::now() < until {
        let answer = replica.get("/v1/courses").await;
        assert_eq!((answer.status, answer.body["exchanger"].as_str()), (200, Some("binance")), "{answer:?}");
        assert!(answer.age < Some(Duration::from_secs(5)), "{answer:?}");
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(replica.health().await["bus"]["status"], "ok");
    drop(other);

    let doubled = "SELECT exchange, direction, received_at_us / 1000000, count(*) FROM quotes
                   WHERE valid_from_us IS NULL GROUP BY 1, 2, 3 HAVING count(*) > 1";
    let rows = sqlite::rows(&site.path("ratebook.db"), doubled);
    assert_eq!(rows, [[""; 0]; 0], "one row for each second, whoever collected it");
    let num_rows = &sqlite::rows(&site.path("ratebook.db"), "SELECT count(*) FROM quotes")[0][0];
    println!("{num_rows} rows");
    assert!(num_rows.parse::<u32>().unwrap() > 30, "{num_rows}");
    site.stop().await;
}

#[actix_web::test]
async fn a_process_of_all_roles_may_share_a_broker_with_others() {
    let site = Site::start().await;
    let all = site.node("all", "collect,answer,store", &[]);
    let replica = site.node("replica", "answer", &[]);
    all.until_it_answers().await;
    replica.until_it_answers().await;
    assert!(compare([&all, &replica]).await > 0);
    let stored = |answer: &super::node::Answer| answer.body["storage"]["stored_rows"].as_u64() >= Some(5);
    all.until("/health", stored).await;
    assert_eq!(all.get("/nowhere").await.status, StatusCode::NOT_FOUND.as_u16());
    let mut all = all;
    all.running.signal("-TERM");
    assert_eq!(all.running.code(), Some(0), "{}", all.log());
    site.stop().await;
}
