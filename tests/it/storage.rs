//! A service stores what it hears, tells it later, and does without a database for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use awc::Client;
use chrono::{DateTime, TimeDelta, Timelike, Utc};
use ratebook::config::{Role, Settings};
use ratebook::market::{ExchangeName, Quote};
use ratebook::persist::Database;
use ratebook::rate_book::{Accepted, Record, Span};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::postgres::Postgres;
use crate::support::program::{Running, demo};
use crate::support::{PATIENCE, World};

const TICKS: &str = "/v1/history?direction=BTC-USDT&exchanger=binance&interval=tick";
const MINUTES: &str = "/v1/history?direction=BTC-USDT&exchanger=binance&interval=1m";

fn sqlite_url(directory: &Path) -> String {
    format!("sqlite://{}", directory.join("ratebook.db").display())
}

/// Every accepted quote is stored, at this database.
fn storing(url: &str) -> impl FnOnce(&mut Settings) + '_ {
    move |settings| {
        settings.database_url = url.to_owned();
        settings.storage.every = Duration::ZERO;
    }
}

/// Nobody is there at any exchange's address.
fn refused(settings: &mut Settings) {
    for exchange in settings.exchanges.values_mut() {
        exchange.rest_url = "http://127.0.0.1:1".to_owned();
        exchange.ws_url = "ws://127.0.0.1:1".to_owned();
    }
}

async fn postgres() -> Postgres {
    tokio::task::spawn_blocking(Postgres::start).await.unwrap()
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap_or_else(|_| panic!("no time: {text}"))
}

fn written(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// What a candle of a minute is made of these ticks: start, open, high, low, close, number.
fn minutes_of(ticks: &[Vec<String>]) -> Vec<Vec<String>> {
    let mut minutes: BTreeMap<DateTime<Utc>, Vec<Decimal>> = BTreeMap::new();
    for tick in ticks {
        let [bid, ask] = [&tick[2], &tick[3]].map(|price| price.parse::<Decimal>().unwrap());
        let minute = time(&tick[0]).with_second(0).unwrap().with_nanosecond(0).unwrap();
        minutes.entry(minute).or_default().push((bid + ask) / Decimal::TWO);
    }
    let row = |(minute, values): (DateTime<Utc>, Vec<Decimal>)| {
        let (high, low) = (values.iter().max().unwrap(), values.iter().min().unwrap());
        let mut row = vec![minute.format("%Y-%m-%dT%H:%M:%SZ").to_string()];
        let prices = [values[0], *high, *low, values[values.len() - 1]];
        row.extend(prices.map(|price| price.normalize().to_string()));
        row.push(values.len().to_string());
        row
    };
    minutes.into_iter().map(row).collect()
}

/// A service stores, says so, and its next life at the same database knows it.
async fn quotes_outlive_the_service(url: &str, database: &str) {
    let world = World::start(11, 1.0, storing(url)).await;
    world.until("/health", |answer| answer.body["storage"]["status"] == "ok").await;
    world.until(TICKS, |answer| answer.body["ticks"].as_array().is_some_and(|ticks| ticks.len() >= 20)).await;
    // The first minute may have been nearly over.
    let num_quotes = |body: &Value| {
        let candles = body["candles"].as_array().into_iter().flatten();
        candles.filter_map(|candle| candle["quotes"].as_u64()).sum::<u64>()
    };
    world.until(MINUTES, |answer| num_quotes(&answer.body) >= 20).await;
    let before = world.storage().await;
    assert_eq!(before["database"], database);
    for quiet in ["duplicate_rows", "rejected_rows", "dropped_rows", "conflated_quotes"] {
        assert_eq!(before[quiet], 0, "{quiet}: {before}");
    }
    assert_eq!(before["last_error"], Value::Null);
    assert!(before["lag_ms"].as_u64().unwrap() < 10_000, "{before}");
    let rows = |storage: &Value| storage["stored_rows"].as_u64().unwrap();
    let last_at = |storage: &Value| time(storage["last_quote_at"].as_str().unwrap());
    assert!(rows(&before) >= 20, "{before}");
    assert!(Utc::now() - last_at(&before) < TimeDelta::seconds(10), "{before}");
    world
        .until("/health", |answer| {
            let now = &answer.body["storage"];
            rows(now) > rows(&before) && last_at(now) > last_at(&before)
        })
        .await;
    let seen = world.csv(TICKS).await;
    world.stop().await;

    let world = World::start(11, 1.0, |settings| {
        storing(url)(settings);
        refused(settings);
    })
    .await;
    world.until("/health", |answer| answer.body["storage"]["status"] == "ok").await;
    let health = world.storage().await;
    assert_eq!(rows(&health), 0, "nothing came since: {health}");
    let ticks = world.csv(TICKS).await;
    assert_eq!(ticks[..seen.len()], seen, "what was told before is there");
    let newest = time(&ticks[ticks.len() - 1][0]);
    assert!(last_at(&health) >= newest.max(last_at(&before)), "{health}, {newest}");
    assert_eq!(world.csv(MINUTES).await, minutes_of(&ticks));
    let pages = world.csv(&format!("{TICKS}&limit=7")).await;
    assert_eq!(pages, ticks[..7]);
    let courses = world.get("/v1/courses").await;
    assert_eq!((courses.status, &courses.body["reason"]), (503, &json!("starting")), "{}", courses.text);
    world.stop().await;
}

#[actix_web::test]
async fn quotes_outlive_the_service_in_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    quotes_outlive_the_service(&sqlite_url(directory.path()), "sqlite").await;
}

#[actix_web::test]
async fn quotes_outlive_the_service_in_postgres() {
    let server = postgres().await;
    quotes_outlive_the_service(&server.url(), "postgres").await;
}

/// Courses are asked for, with the time, and then as of that time: where no quote came in between, they are the same.
async fn past_courses_are_those_that_were_answered(url: &str) {
    let world = World::start(12, 1.0, storing(url)).await;
    world.until("/v1/courses", |answer| answer.exchanger() == Some("binance")).await;
    let mut answers = Vec::new();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        let asked_at = Utc::now();
        let answer = world.get("/v1/courses").await;
        answers.push((asked_at, Utc::now(), answer));
        sleep(Duration::from_millis(50)).await;
    }
    let last_at = answers[answers.len() - 1].1;
    let is_stored = |storage: &Value| time(storage["last_quote_at"].as_str().unwrap()) > last_at;
    world.until("/health", |answer| is_stored(&answer.body["storage"])).await;

    let past = async |at: DateTime<Utc>| world.get(&format!("/v1/courses?at={}", written(at))).await;
    let mut compared = BTreeSet::new();
    for (asked_at, at, answer) in &answers {
        // The book answered at some time between, and a quote takes a moment from its socket to the book.
        let (earlier, then) = (past(*asked_at - TimeDelta::milliseconds(60)).await, past(*at).await);
        if earlier.status == 200 && earlier.text == then.text {
            assert_eq!(answer.text, then.text, "as of {at}");
            compared.insert(then.text);
        }
    }
    assert!(compared.len() >= 3, "too few of {} could be compared: {compared:?}", answers.len());
    let long_ago = world.get("/v1/courses?at=2020-01-01").await;
    assert_eq!((long_ago.status, &long_ago.body["reason"]), (404, &json!("no_data_at")));
    world.stop().await;
}

#[actix_web::test]
async fn past_courses_are_those_that_were_answered_then_in_sqlite() {
    past_courses_are_those_that_were_answered("sqlite://:memory:").await;
}

#[actix_web::test]
async fn past_courses_are_those_that_were_answered_then_in_postgres() {
    let server = postgres().await;
    past_courses_are_those_that_were_answered(&server.url()).await;
}

#[actix_web::test]
async fn a_failover_is_an_event() {
    let world = World::start(13, 60.0, |settings| {
        let binance = ExchangeName::new("binance");
        let exchange = settings.exchanges.get_mut(&binance).unwrap();
        (exchange.stale_after, exchange.poll_every) = (Duration::from_secs(1), Duration::from_millis(300));
    })
    .await;
    world.until("/v1/courses", |answer| answer.exchanger() == Some("binance")).await;
    let broken_at = Utc::now();
    world.break_exchange("binance", json!({ "kind": "mute" })).await;
    let path = format!("/v1/events?kind=failover&since={}", written(broken_at));
    let of_binance = |body: &Value| {
        let events = body["events"].as_array().cloned().unwrap_or_default();
        let is_it =
            |reason: &str| reason.starts_with("coingecko answers instead of binance (binance: no quote for ");
        events.into_iter().find(|event| event["reason"].as_str().is_some_and(is_it))
    };
    world.until(&path, |answer| of_binance(&answer.body).is_some()).await;
    let event = of_binance(&world.get(&path).await.body).unwrap();
    let told = json!([event["kind"], event["exchanger"], event["count"]]);
    assert_eq!(told, json!(["failover", "binance", 1]), "{event}");
    println!("{event}");
    assert!(time(event["at"].as_str().unwrap()) >= broken_at, "{event}");
    assert_eq!(world.csv(&path).await[0][1], "failover");
    world.stop().await;
}

#[actix_web::test]
async fn the_restart_of_an_exchange_is_an_event_and_a_demo_writes_no_file() {
    let (directory, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = logs.path().join("log");
    let process = demo(directory.path())
        .env("FAILPOINTS", "exchange::frame(binance)=60*off->1*panic")
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut demo = Running(process);
    let client = Client::builder().timeout(PATIENCE).finish();
    let deadline = Instant::now() + PATIENCE;
    let event = loop {
        let log = std::fs::read_to_string(&log).unwrap();
        assert!(Instant::now() < deadline, "no event: {log}");
        sleep(Duration::from_millis(20)).await;
        let Some((_, rest)) = log.split_once("listening on http://") else { continue };
        let url = format!("http://{}/v1/events?kind=restart", rest.split('/').next().unwrap());
        let Ok(mut answer) = client.get(url).send().await else { continue };
        let body: Value = serde_json::from_slice(&answer.body().await.unwrap()).unwrap();
        if body["events"][0].is_object() {
            break body["events"][0].clone();
        }
    };
    assert_eq!((&event["exchanger"], &event["reason"]), (&json!("binance"), &json!("panicked")));
    demo.signal("-TERM");
    assert_eq!(demo.code(), Some(0));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "the demo left files behind");
}

#[actix_web::test]
async fn a_service_answers_while_postgres_is_down_and_stores_once_it_comes() {
    let mut server = postgres().await;
    server = tokio::task::spawn_blocking(move || {
        server.stop_immediately();
        server
    })
    .await
    .unwrap();
    let world = World::start(14, 1.0, storing(&server.url())).await;
    world.until("/v1/courses", |answer| answer.exchanger() == Some("binance")).await;
    let waits = |answer: &crate::support::Answer| {
        let storage = &answer.body["storage"];
        storage["outbox_rows"].as_u64() >= Some(10) && storage["last_error"].is_string()
    };
    world.until("/health", waits).await;
    let health = world.get("/health").await;
    assert_eq!((health.status, &health.body["status"]), (200, &json!("degraded")), "{}", health.text);
    assert_eq!(health.body["storage"]["status"], "impaired");
    assert!(health.body["storage"]["outbox_bytes"].as_u64() > Some(0), "{}", health.text);
    assert!(!health.text.contains("first"), "the password is told: {}", health.text);
    let history = world.get(TICKS).await;
    assert_eq!((history.status, &history.body["reason"]), (503, &json!("history_unavailable")));
    assert_eq!(world.get("/v1/courses").await.status, 200);

    let comes_at = Utc::now();
    let server = tokio::task::spawn_blocking(move || {
        server.start_again();
        server
    })
    .await
    .unwrap();
    let is_stored =
        |storage: &Value| storage["status"] == "ok" && storage["stored_rows"].as_u64() >= Some(10);
    world.until("/health", |answer| is_stored(&answer.body["storage"])).await;
    let ticks = world.csv(TICKS).await;
    assert!(time(&ticks[0][0]) < comes_at, "what waited was stored: {ticks:?}");
    assert_eq!(world.storage().await["dropped_rows"], 0);
    world.stop().await;
    drop(server);
}

#[actix_web::test]
async fn a_service_without_the_role_stores_nothing_and_reads_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_url(directory.path());
    let mut store = Database::new(&url).open().unwrap();
    store.migrate().unwrap();
    let at = Utc::now() - TimeDelta::minutes(5);
    store.write(&[quote("60000", at)]).unwrap();
    let world = World::start(15, 60.0, |settings| {
        storing(&url)(settings);
        settings.roles = vec![Role::Collect, Role::Answer];
    })
    .await;
    world.until("/v1/courses", |answer| answer.exchanger() == Some("binance")).await;
    assert_eq!(world.storage().await, json!({ "status": "disabled" }));
    let ticks = world.csv(TICKS).await;
    assert_eq!(ticks.iter().map(|tick| tick[4].as_str()).collect::<Vec<_>>(), ["60000"]);
    let heard = |answer: &crate::support::Answer| {
        answer.body["exchanges"].as_array().is_some_and(|rows| rows[0]["quotes_total"].as_u64() >= Some(50))
    };
    world.until("/health", heard).await;
    assert_eq!(world.get("/health").await.body["status"], "ok");
    assert_eq!(world.csv(TICKS).await.len(), 1, "it stored");
    world.stop().await;
    let newest = store.last_quote_at().unwrap().unwrap();
    assert_eq!(newest.timestamp_micros(), at.timestamp_micros());
}

fn quote(price: &str, received_at: DateTime<Utc>) -> Record {
    let value: Decimal = price.parse().unwrap();
    Record::Quote(Accepted {
        exchange: ExchangeName::new("binance"),
        quote: Quote::last("BTC-USDT".parse().unwrap(), value),
        value,
        received_at,
        span: Span::of(value),
    })
}

async fn old_quotes_go(url: &str) {
    let now = Utc::now();
    let mut store = Database::new(url).open().unwrap();
    store.migrate().unwrap();
    // PostgreSQL drops whole days: each of the three is on a day of its own, whatever the hour.
    let old = [now - TimeDelta::days(4), now - TimeDelta::days(2) - TimeDelta::hours(1)];
    let young = now - TimeDelta::minutes(30);
    let records: Vec<Record> = old.iter().chain([&young]).map(|at| quote("60000", *at)).collect();
    assert_eq!(store.write(&records).unwrap().stored, 3);
    drop(store);
    let world = World::start(16, 1.0, |settings| {
        storing(url)(settings);
        refused(settings);
        settings.storage.keep_quotes = Duration::from_secs(3600);
    })
    .await;
    let all = format!("{TICKS}&from={}", written(now - TimeDelta::days(7)));
    let num_ticks = |answer: &crate::support::Answer| answer.body["ticks"].as_array().map(Vec::len);
    world.until(&all, |answer| num_ticks(answer) == Some(1)).await;
    assert_eq!(time(&world.csv(&all).await[0][0]).timestamp_micros(), young.timestamp_micros());
    let days = "/v1/history?direction=BTC-USDT&exchanger=binance&interval=1d";
    assert!(world.csv(days).await.len() >= 3, "candles are kept for longer");
    world.stop().await;
}

#[actix_web::test]
async fn quotes_that_are_older_than_they_are_kept_go_from_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    old_quotes_go(&sqlite_url(directory.path())).await;
}

#[actix_web::test]
async fn quotes_that_are_older_than_they_are_kept_go_from_postgres() {
    let server = postgres().await;
    old_quotes_go(&server.url()).await;
}
