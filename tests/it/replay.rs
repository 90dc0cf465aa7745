//! Real sessions of an exchange, played to the service: every recorded price arrives, is believed, and stays.
//!
//! The recordings lie beside the project, not in it. Where they are absent, each test says so and passes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use awc::Client;
use awc::ws::{Frame, Message};
use futures_util::{SinkExt as _, StreamExt as _};
use ratebook::config::Settings;
use ratebook::exchange;
use ratebook::rate_book::{ExchangeHealth, GetHealth};
use ratebook::simulator::{Simulator, SimulatorOptions};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use crate::recordings::recordings;
use crate::support::{MACHINE, World};

mod exchanges;

/// Plays the six minutes of the longest recordings in 18 s.
const SPEED: f64 = 20.0;

/// Silence that means the end of a play: at this speed a minute of the recording, which has no gap of this length.
const QUIET: Duration = Duration::from_secs(3);

/// Best prices in the recordings of 2024, and what the middles of the last ones are.
const FRAMES: [(&str, u64); 2] = [("BTCUSDT", 28_040), ("ETHUSDT", 24_077)];
const QUESTION: &str = "/v1/courses?directions=BTC-USDT,ETH-USDT&exchanger=binance";
const LAST_COURSES: &str = concat!(
    r#"{"exchanger":"binance","courses":[{"direction":"BTC-USDT","value":61685.995},"#,
    r#"{"direction":"ETH-USDT","value":2682.505}]}"#
);

/// How long the last courses are watched: longer than a quote is believed that nobody confirms.
const HOLD: Duration = Duration::from_secs(7);

async fn simulator(replay: Vec<PathBuf>) -> Simulator {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    Simulator::start(SimulatorOptions { listen, seed: 24, speed: SPEED, replay }).await.unwrap()
}

/// A reader without any knowledge of ours: connects, says `first` if it is told to, answers pings, and counts the best
/// prices of each symbol until no more come.
///
/// Returns once it is connected; what it returns ends with the play.
async fn reader(
    simulator: SocketAddr,
    path: &str,
    first: Option<Value>,
) -> impl Future<Output = BTreeMap<String, u64>> + use<> {
    let url = format!("http://{simulator}/binance{path}");
    let (_, socket) = Client::default().ws(url).max_frame_size(1 << 20).connect().await.unwrap();
    async move {
        let mut socket = pin!(socket);
        if let Some(first) = first {
            socket.send(Message::Text(first.to_string().into())).await.unwrap();
        }
        let mut counts = BTreeMap::new();
        let mut quiet_at = Instant::now() + QUIET;
        while let Ok(frame) = timeout_at(quiet_at, socket.next()).await {
            match frame.expect("the exchange does not hang up").unwrap() {
                Frame::Ping(payload) => socket.send(Message::Pong(payload)).await.unwrap(),
                Frame::Text(text) => {
                    if let Some(symbol) = symbol_of_best_price(&text) {
                        *counts.entry(symbol).or_default() += 1;
                        quiet_at = Instant::now() + QUIET;
                    }
                }
                frame => panic!("{frame:?}"),
            }
        }
        counts
    }
}

/// The symbol of a best price, in the envelope of combined streams or without; `None` for other frames.
fn symbol_of_best_price(text: &[u8]) -> Option<String> {
    let mut frame: Value = serde_json::from_slice(text).unwrap();
    let best = if frame["data"].is_object() { frame["data"].take() } else { frame };
    let has_both_sides = best["b"].is_string() && best["a"].is_string();
    has_both_sides.then(|| best["s"].as_str().unwrap().to_owned())
}

fn total(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().sum()
}

fn recorded() -> BTreeMap<String, u64> {
    FRAMES.into_iter().map(|(symbol, count)| (symbol.to_owned(), count)).collect()
}

/// What the service says of the exchange, asked without HTTP: refusals are counted there by their reasons.
async fn heard(world: &World, exchange: &str) -> ExchangeHealth {
    let health = world.book().send(GetHealth).await.unwrap();
    health.exchanges.into_iter().find(|row| row.name.as_str() == exchange).unwrap()
}

/// Follows a play to its end: the last courses come, digit by digit, and hold.
async fn follow(world: &World) -> ExchangeHealth {
    world.until(QUESTION, |answer| answer.text == LAST_COURSES).await;
    // The same middles may have been there before the end; from the end on they are for good.
    let mut told = heard(world, "binance").await.quotes_total;
    let mut ends_at = Instant::now() + QUIET;
    while Instant::now() < ends_at {
        sleep(Duration::from_millis(100)).await;
        let tells = heard(world, "binance").await.quotes_total;
        // Polls confirm the last prices: a few quotes a second. The play brings thousands.
        if tells > told + 20 {
            ends_at = Instant::now() + QUIET;
        }
        told = tells;
    }
    let holds_until = Instant::now() + HOLD;
    while Instant::now() < holds_until {
        let answer = world.get(QUESTION).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, LAST_COURSES));
        sleep(Duration::from_millis(50)).await;
    }
    heard(world, "binance").await
}

/// A reader first, because the play begins with its subscription; the service joins while it is under way.
async fn beside_a_reader(files: Vec<PathBuf>) -> (BTreeMap<String, u64>, ExchangeHealth) {
    let simulator = simulator(files).await;
    let path = "/stream?streams=btcusdt@bookTicker/ethusdt@bookTicker";
    let reading = actix::spawn(reader(simulator.address(), path, None).await);
    let world = World::around(simulator, |_| {}).await;
    let health = follow(&world).await;
    let counts = reading.await.unwrap();
    world.stop().await;
    (counts, health)
}

/// The service alone: the play begins with its subscription, so it hears all of it. What is stale so late is not
/// confirmed by polls either, so that nothing but the play is counted.
async fn alone(files: Vec<PathBuf>) -> ExchangeHealth {
    let unconfirmed = |settings: &mut Settings| {
        let binance = exchange::row("binance").unwrap().name;
        settings.exchanges.get_mut(&binance).unwrap().stale_after = Duration::from_secs(600);
    };
    let world = World::around(simulator(files).await, unconfirmed).await;
    let health = follow(&world).await;
    world.stop().await;
    health
}

#[actix::test]
async fn every_recorded_price_arrives_is_believed_and_the_last_ones_stay() {
    let _machine = MACHINE.lock().await;
    let Some(recordings) = recordings() else { return };
    let files = || -> Vec<PathBuf> {
        let file = |symbol| recordings.join(format!("ws/binance_spot_{symbol}_20240808.txt.gz"));
        ["btcusdt", "ethusdt"].into_iter().map(file).collect()
    };
    let ((counts, joined), alone) = tokio::join!(beside_a_reader(files()), alone(files()));
    println!("the reader counted {counts:?}");
    for (what, health) in [("joined", &joined), ("alone", &alone)] {
        println!(
            "the service ({what}) took {} quotes, refused {:?}, reconnected {} times, restarted {} times",
            health.quotes_total, health.refused, health.reconnects, health.restarts
        );
        assert_eq!(health.refused, [], "{what}");
        assert_eq!((health.reconnects, health.restarts), (0, 0), "{what}: {:?}", health.last_error);
    }
    assert_eq!(counts, recorded());
    // The service conflates nothing while RateBook keeps up: one quote per frame, and one of each symbol by the poll
    // at the start, unless a frame was there sooner. Fewer would be frames that got lost on the way.
    let frames = total(&recorded());
    assert!((frames..=frames + 2).contains(&alone.quotes_total), "{} of {frames}", alone.quotes_total);
    // Who joins later misses the beginning, and nothing else.
    assert!(joined.quotes_total * 10 > frames * 8, "{} of {frames}", joined.quotes_total);
}

#[actix::test]
async fn a_recording_of_several_connections_is_played_to_who_subscribes_its_symbols() {
    let Some(recordings) = recordings() else { return };
    let simulator = simulator(vec![recordings.join("ws/binance_2021-10-12.jsonl.gz")]).await;
    let streams = ["nknusdt", "blzeth", "lrcbtc", "runeeur"].map(|symbol| format!("{symbol}@bookTicker"));
    let subscribe = json!({ "method": "SUBSCRIBE", "params": streams, "id": 7 });
    let counts = reader(simulator.address(), "/ws", Some(subscribe)).await.await;
    println!("the reader counted {counts:?}");
    // The fourth symbol had no best price in that half minute.
    let expected = [("BLZETH", 1), ("LRCBTC", 9), ("NKNUSDT", 74)];
    assert_eq!(counts, expected.map(|(symbol, count)| (symbol.to_owned(), count)).into());
    assert_eq!(total(&counts), 84);
    simulator.stop().await;
}
