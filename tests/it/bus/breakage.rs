//! What replicas say when the broker, a collector or they themselves are away for a while.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::node::{Node, Site};

/// Only a market answers, whose quotes are stale after 5 s.
const MARKETS: [(&str, &str); 1] = [("RATEBOOK_PRIORITY", "binance,kraken")];

/// A course whose age is that of the exchange's own quotes, and not of what else it needs.
const COURSE: &str = "/v1/courses?directions=BTC-USD";

/// Asks for so long, and says how often there were courses. None may be stale.
async fn never_stale(replica: &Node, length: Duration) -> usize {
    let until = Instant::now() + length;
    let mut num_answers = 0;
    while Instant::now() < until {
        let answer = replica.get(COURSE).await;
        if answer.status == 200 {
            num_answers += 1;
            assert!(answer.age.unwrap() <= Duration::from_secs(5), "{answer:?}");
        } else {
            assert_eq!(answer.status, 503, "{answer:?}");
        }
        sleep(Duration::from_millis(2)).await;
    }
    num_answers
}

#[actix_web::test]
async fn replicas_answer_until_quotes_are_stale_and_heal_by_themselves_when_the_broker_is_back() {
    let mut site = Site::start().await;
    let collector = site.node("collector", "collect", &MARKETS);
    let replica = site.node("replica", "answer", &MARKETS);
    replica.until_it_answers().await;
    let before = replica.get("/v1/courses").await.sequence;
    for round in 0..2 {
        site.nats.kill();
        assert_eq!(replica.get("/v1/courses").await.status, 200, "young quotes are good without a broker");
        let went_stale = replica.until(COURSE, |answer| answer.status == 503).await;
        assert!(went_stale < Duration::from_secs(7), "{went_stale:?}");
        for node in [&collector, &replica] {
            let told = node.health().await;
            assert_eq!(told["bus"]["status"], "impaired", "{told}");
            assert_ne!(told["status"], "ok");
        }
        assert_eq!(never_stale(&replica, Duration::from_secs(2)).await, 0);
        site.nats.start_again();
        let healed = replica.until(COURSE, |answer| answer.body["exchanger"] == "binance").await;
        println!("round {round}: stale after {went_stale:?}, back {healed:?} after the broker");
        assert!(healed < Duration::from_secs(5), "{healed:?}");
        assert!(never_stale(&replica, Duration::from_secs(1)).await > 10);
        collector.until("/health", |answer| answer.body["bus"]["status"] == "ok").await;
    }
    assert!(replica.get("/v1/courses").await.sequence > before);
    site.stop().await;
}

#[actix_web::test]
async fn a_broker_that_hangs_is_noticed_and_nobody_is_replaced_over_it() {
    let site = Site::start().await;
    let collector = site.node("collector", "collect", &MARKETS);
    let replica = site.node("replica", "answer", &MARKETS);
    let store = site.node("store", "store", &[]);
    replica.until_it_answers().await;
    store.until("/health", |answer| answer.body["bus"]["status"] == "ok").await;
    site.nats.freeze();
    let frozen = Instant::now();
    for node in [&collector, &replica, &store] {
        node.until("/health", |answer| answer.body["bus"]["status"] == "impaired").await;
    }
    println!("noticed by all after {:?}", frozen.elapsed());
    sleep(Duration::from_secs(12).saturating_sub(frozen.elapsed())).await;
    assert_eq!(never_stale(&replica, Duration::from_millis(200)).await, 0);
    site.nats.thaw();
    let healed = replica.until(COURSE, |answer| answer.body["exchanger"] == "binance").await;
    println!("back {healed:?} after the broker went on");
    assert!(healed < Duration::from_secs(5), "{healed:?}");
    for node in [&collector, &replica, &store] {
        node.until("/health", |answer| answer.body["bus"]["status"] == "ok").await;
        assert!(!node.log().contains("restarting"), "{}", node.log());
    }
    site.stop().await;
}

#[actix_web::test]
async fn a_replica_that_was_paused_says_nothing_stale_and_is_soon_up_to_date() {
    let site = Site::start().await;
    let _collector = site.node("collector", "collect", &MARKETS);
    let replica = site.node("replica", "answer", &MARKETS);
    let witness = site.node("witness", "answer", &MARKETS);
    replica.until_it_answers().await;
    witness.until_it_answers().await;
    for pause in [3, 8] {
        replica.running.signal("-STOP");
        sleep(Duration::from_secs(pause)).await;
        replica.running.signal("-CONT");
        let resumed = Instant::now();
        // Its clocks went on without it: what it knew is judged by them.
        let sequence = witness.get("/v1/courses").await.sequence;
        while replica.get("/v1/courses").await.sequence < sequence {
            let answer = replica.get(COURSE).await;
            assert!(answer.status == 503 || answer.age.unwrap() <= Duration::from_secs(5), "{answer:?}");
            assert!(resumed.elapsed() < Duration::from_secs(2), "{answer:?}\n{}", replica.log());
        }
        println!("up to date {:?} after a pause of {pause} s", resumed.elapsed());
        never_stale(&replica, Duration::from_secs(1)).await;
    }
    site.stop().await;
}

#[actix_web::test]
async fn the_quotes_of_a_collector_that_died_are_old_for_a_replica_that_starts_later() {
    let site = Site::start().await;
    let collector = site.node("collector", "collect", &MARKETS);
    let early = site.node("early", "answer", &MARKETS);
    early.until_it_answers().await;
    drop(collector);
    let died = Instant::now();
    assert!(
        never_stale(&early, Duration::from_secs(7)).await > 10,
        "young quotes are good without a collector"
    );
    let late = site.node("late", "answer", &MARKETS);
    assert_eq!(never_stale(&late, Duration::from_secs(3)).await, 0, "what is old is taken for new");
    // It has all of the last quotes by then, and none of them is fresh.
    let knows =
        |answer: &super::node::Answer| answer.body["reason"] == "stale" || answer.body["reason"] == "down";
    late.until(COURSE, knows).await;
    assert_eq!(never_stale(&early, Duration::from_millis(500)).await, 0);
    let told = |answer: &super::node::Answer| {
        let error = answer.body["bus"]["last_error"].as_str().unwrap_or_default().to_owned();
        answer.body["bus"]["status"] == "impaired"
            && (error.contains("no collector") || error.contains("nothing came"))
    };
    early.until("/health", told).await;
    println!("told {:?} after its end", died.elapsed());

    let _again = site.node("collector", "collect", &MARKETS);
    late.until_it_answers().await;
    early.until_it_answers().await;
    assert!(never_stale(&late, Duration::from_secs(1)).await > 10);
    site.stop().await;
}

#[actix_web::test]
async fn a_stream_that_was_deleted_is_made_again_and_its_numbers_never_fall() {
    let site = Site::start().await;
    let collector = site.node("collector", "collect", &MARKETS);
    let replica = site.node("replica", "answer", &MARKETS);
    replica.until_it_answers().await;
    let before = replica.get("/v1/courses").await.sequence.unwrap();
    let jetstream = async_nats::jetstream::new(async_nats::connect(site.nats.url()).await.unwrap());
    for stream in ["QUOTES", "RECORDS"] {
        jetstream.delete_stream(stream).await.unwrap();
    }
    let deleted = Instant::now();
    while !collector.log().contains("was deleted, and is made anew") {
        assert!(deleted.elapsed() < Duration::from_secs(5), "{}", collector.log());
        sleep(Duration::from_millis(20)).await;
    }
    // A stream begins where the clock is, in 256 numbers to a millisecond; as many as these take minutes to be told.
    let newer =
        |answer: &super::node::Answer| answer.status == 200 && answer.sequence.unwrap() > before + 10_000;
    let healed = replica.until("/v1/courses", newer).await;
    println!("the stream was deleted: replica back after {healed:?}");
    assert!(healed < Duration::from_secs(10), "{healed:?}");
    // Also what is seldom told is told anew: a rate of the Bank of Russia is good for a day.
    let late = site.node("late", "answer", &MARKETS);
    let answers_all = |answer: &super::node::Answer| {
        answer.body["courses"].as_array().is_some_and(|courses| courses.len() == 8)
    };
    let began = late.until("/v1/courses", answers_all).await;
    assert!(began < Duration::from_secs(5), "{began:?}");
    assert!(never_stale(&replica, Duration::from_secs(1)).await > 10);
    site.stop().await;
}

#[actix_web::test]
async fn a_lost_connection_to_an_exchange_is_known_to_replicas_at_once() {
    let site = Site::start().await;
    let _collector = site.node("collector", "collect", &MARKETS);
    let replica = site.node("replica", "answer", &MARKETS);
    replica.until_it_answers().await;
    let fault = |kind: &str| format!("http://{}/control/binance/{kind}", site.simulator.address());
    let body = serde_json::json!({ "kind": "status", "status": 503 });
    for body in [body, serde_json::json!({ "kind": "close" })] {
        let answer = site.client.post(fault("faults")).send_json(&body).await.unwrap();
        assert_eq!(answer.status(), 200, "{body}");
    }
    let switched = replica.until("/v1/courses", |answer| answer.body["exchanger"] == "kraken").await;
    println!("kraken answers {switched:?} after binance was lost");
    assert!(switched < Duration::from_secs(4), "sooner than quotes go stale: {switched:?}");
    let told = replica.health().await["exchanges"][0].clone();
    assert_eq!(told["status"], "down", "{told}");
    assert!(told["last_error"].is_string(), "{told}");
    site.stop().await;
}
