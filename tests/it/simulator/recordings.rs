//! Recordings, played.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{Sim, number, subscribe};

fn recording(lines: impl IntoIterator<Item = (u64, String)>) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().prefix("binance_").tempfile().unwrap();
    for (ms, frame) in lines {
        writeln!(file, "{} {frame}", (1_700_000_000_000 + ms) * 1_000_000).unwrap();
    }
    file
}

fn best(symbol: &str, u: u64, bid: f64) -> String {
    let stream = format!("{}@bookTicker", symbol.to_lowercase());
    let (bid, ask) = (format!("{bid:.8}"), format!("{:.8}", bid + 1.0));
    json!({ "stream": stream, "data": { "u": u, "s": symbol, "b": bid, "B": "1.0", "a": ask, "A": "2.0" } })
        .to_string()
}

#[actix_web::test]
async fn a_recording_arrives_whole_and_in_order_at_a_slow_reader_too() {
    const NUM_FRAMES: u64 = 30_000;
    let frames =
        (0..NUM_FRAMES).map(|index| (index / 10, best("BTCUSDT", index + 1, 50_000.0 + index as f64)));
    let file = recording(frames);
    let sim = Sim::start(|options| {
        options.replay = vec![file.path().to_owned()];
        options.speed = 10.0;
    })
    .await;
    let row = "/binance/api/v3/ticker/bookTicker?symbol=BTCUSDT";
    assert_eq!(sim.get(row).await["bidPrice"], "50000.00000000");
    let mut socket = sim.listening().await;
    for u in 1..=NUM_FRAMES {
        assert_eq!(socket.json().await["u"], u);
        if u == 100 {
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
    }
    assert_eq!(sim.get(row).await["bidPrice"], "79999.00000000");
    assert!(socket.is_silent(Duration::from_millis(400)).await, "nothing follows the last price");
    assert_eq!(sim.get(row).await["bidPrice"], "79999.00000000");
    let quotes = sim.get("/control/truth").await["quotes"]["binance"]["BTC-USDT"].clone();
    assert_eq!(quotes["bid"], "79999");
}

#[actix_web::test]
async fn a_recording_begins_with_the_first_subscription_and_gives_what_was_subscribed() {
    let trade = |symbol: &str| {
        let stream = format!("{}@trade", symbol.to_lowercase());
        json!({ "stream": stream, "data": { "e": "trade", "p": "77.0", "s": symbol } }).to_string()
    };
    let file = recording([
        (0, best("ABCUSDT", 1, 1.0)),
        (100, trade("ABCUSDT")),
        (150, best("XYZUSDT", 2, 5.0)),
        (200, best("ABCUSDT", 3, 2.0)),
    ]);
    let sim = Sim::start(|options| options.replay = vec![file.path().to_owned()]).await;
    let mut early = sim.socket("/binance/stream?streams=btcusdt@bookTicker").await;
    assert_eq!(early.json().await["data"]["s"], "BTCUSDT");
    let row = "/binance/api/v3/ticker/bookTicker?symbol=ABCUSDT";
    assert_eq!(sim.get(row).await["bidPrice"], "1.00000000");
    assert!(sim.get("/binance/api/v3/exchangeInfo?symbol=XYZUSDT").await["symbols"][0]["baseAsset"] == "XYZ");
    early.send(subscribe(&["abcusdt@bookTicker"])).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let frame = early.json().await;
        if frame["stream"] == "abcusdt@bookTicker" {
            seen.push(frame["data"]["u"].as_u64().unwrap());
        } else {
            assert!(frame["stream"] == "btcusdt@bookTicker" || frame["id"] == 1, "{frame}");
        }
    }
    assert_eq!(seen, [1, 3]);
    assert_eq!(sim.get(row).await["bidPrice"], "2.00000000");
    assert_eq!(number(&sim.get("/binance/api/v3/ticker/price?symbol=ABCUSDT").await["price"]), 77.0);
}

#[actix_web::test]
async fn faults_bend_recorded_prices_too() {
    let frames = (0..200_u64).map(|index| (index * 20, best("BTCUSDT", index + 1, 50_000.0)));
    let file = recording(frames);
    let sim = Sim::start(|options| options.replay = vec![file.path().to_owned()]).await;
    let mut socket = sim.listening().await;
    assert_eq!(socket.json().await["b"], "50000.00000000");
    sim.fault("binance", json!({ "kind": "wrong_value", "value": "0.00000000" })).await;
    while socket.json().await["b"] != "0.00000000" {}
    sim.clear("binance").await;
    while socket.json().await["b"] != "50000.00000000" {}
}

/// Recordings that are not part of this project; the test says so where they are absent.
#[expect(clippy::print_stderr, reason = "says why a test had nothing to do")]
fn shared(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("{} is absent: nothing to replay", path.display());
    None
}

#[actix_web::test]
async fn real_recordings_arrive_whole() {
    let (Some(btc), Some(eth)) = (
        shared("ws/binance_spot_btcusdt_20240808.txt.gz"),
        shared("ws/binance_spot_ethusdt_20240808.txt.gz"),
    ) else {
        return;
    };
    let sim = Sim::start(|options| {
        options.replay = vec![btc, eth];
        options.speed = 100.0;
    })
    .await;
    let mut socket = sim.socket("/binance/stream").await;
    socket.send(subscribe(&["btcusdt@bookTicker", "ethusdt@bookTicker"])).await;
    let (mut num_btc, mut num_eth) = (0, 0);
    let began_at = Instant::now();
    while (num_btc, num_eth) != (28_040, 24_077) {
        assert!(began_at.elapsed() < Duration::from_secs(180), "{num_btc} and {num_eth} frames");
        match socket.json().await["stream"].as_str() {
            Some("btcusdt@bookTicker") => num_btc += 1,
            Some("ethusdt@bookTicker") => num_eth += 1,
            _ => {}
        }
    }
    assert!(socket.is_silent(Duration::from_millis(300)).await);
}

#[actix_web::test]
async fn recordings_of_other_projects_are_played_too() {
    let Some(file) = shared("ws/binance_2021-10-12.jsonl.gz") else { return };
    let sim = Sim::start(|options| {
        options.replay = vec![file];
        options.speed = 60.0;
    })
    .await;
    let symbols = ["nknusdt", "blzeth", "lrcbtc", "runeeur"];
    let streams: Vec<String> = symbols.iter().map(|symbol| format!("{symbol}@bookTicker")).collect();
    let path = format!("/binance/stream?streams={}", streams.join("/"));
    let mut socket = sim.socket(&path).await;
    let mut last = json!(null);
    for num_frames in 1..=84 {
        last = socket.json().await;
        assert!(streams.iter().any(|stream| last["stream"] == stream.as_str()), "{num_frames}: {last}");
    }
    assert!(socket.is_silent(Duration::from_millis(500)).await);
    let symbol = last["data"]["s"].as_str().unwrap();
    let row = sim.get(&format!("/binance/api/v3/ticker/bookTicker?symbol={symbol}")).await;
    assert_eq!(number(&row["bidPrice"]), number(&last["data"]["b"]));
}
