//! Every fault, as it arrives.

use std::time::Duration;

use awc::ws::Frame;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{PATIENCE, Sim, Socket, eventually, number, raw, subscribe};

#[actix_web::test]
async fn muted_prices_leave_pings_acknowledgements_and_other_symbols() {
    let sim = Sim::start(|options| options.speed = 100.0).await;
    let mut socket = sim.listening().await;
    sim.fault("binance", json!({ "kind": "mute", "transport": "websocket" })).await;
    while !socket.is_silent(Duration::from_millis(300)).await {}
    socket.send(subscribe(&["ethusdt@bookTicker"])).await;
    assert_eq!(socket.json().await["id"], 1);
    assert!(matches!(socket.next().await, Some(Ok(Frame::Ping(_)))));
    sim.get("/binance/api/v3/ticker/bookTicker?symbol=BTCUSDT").await;
    sim.clear("binance").await;
    assert!(socket.json().await["u"].is_u64());

    sim.fault("binance", json!({ "kind": "mute", "symbol": "BTC-USDT" })).await;
    let mut others = 0;
    while others < 20 {
        if socket.json().await["s"] == "ETHUSDT" {
            others += 1;
        } else {
            others = others.min(3);
        }
    }
    let rows = sim.get("/binance/api/v3/ticker/bookTicker?symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D").await;
    assert_eq!(rows.as_array().unwrap().len(), 1);
}

#[actix_web::test]
async fn a_muted_request_is_answered_when_the_fault_is_over() {
    let sim = Sim::start(|_| {}).await;
    sim.fault("binance", json!({ "kind": "mute", "for_ms": 600 })).await;
    let asked_at = Instant::now();
    sim.get("/binance/api/v3/ping").await;
    assert!(asked_at.elapsed() >= Duration::from_millis(500));
}

#[actix_web::test]
async fn a_frozen_price_is_repeated_with_growing_numbers() {
    let sim = Sim::start(|_| {}).await;
    sim.fault("binance", json!({ "kind": "freeze" })).await;
    let mut socket = sim.listening().await;
    let first = socket.json().await;
    for _ in 0..8 {
        let next = socket.json().await;
        assert_eq!((&next["b"], &next["a"]), (&first["b"], &first["a"]));
        assert!(next["u"].as_u64() > first["u"].as_u64());
    }
    let row = sim.get("/binance/api/v3/ticker/bookTicker?symbol=BTCUSDT").await;
    assert_eq!(row["bidPrice"], first["b"]);
    let healthy = sim.get("/control/truth").await["quotes"]["binance"]["BTC-USDT"]["bid"].clone();
    sim.post("/control/truth", json!({ "BTC": 50_000 })).await;
    let moved = sim.get("/control/truth").await["quotes"]["binance"]["BTC-USDT"]["bid"].clone();
    assert!(number(&healthy) - number(&moved) > 10_000.0);
    assert_eq!(socket.json().await["b"], first["b"]);
}

#[actix_web::test]
async fn a_delay_holds_back_frames_and_answers_in_their_order() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = sim.listening().await;
    sim.fault("binance", json!({ "kind": "delay", "ms": 800, "jitter_ms": 400 })).await;
    let asked_at = Instant::now();
    sim.get("/binance/api/v3/ping").await;
    assert!(asked_at.elapsed() >= Duration::from_millis(350));
    let mut last = 0;
    for _ in 0..20 {
        let u = socket.json().await["u"].as_u64().unwrap();
        assert!(u > last);
        last = u;
    }
}

#[actix_web::test]
async fn shuffled_prices_overtake_each_other_and_come_twice() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = sim.listening().await;
    sim.fault("binance", json!({ "kind": "shuffle" })).await;
    let (mut numbers, mut overtaken) = (Vec::new(), 0);
    for _ in 0..33 {
        let u = socket.json().await["u"].as_u64().unwrap();
        overtaken += u32::from(numbers.last().is_some_and(|last| *last > u));
        numbers.push(u);
    }
    let num_frames = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert!(overtaken > 5 && numbers.len() < num_frames, "{overtaken} {numbers:?}");
}

#[actix_web::test]
async fn stray_prices_are_of_symbols_that_nobody_asked_for() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = sim.listening().await;
    assert_eq!(socket.json().await["s"], "BTCUSDT");
    sim.fault("binance", json!({ "kind": "stray" })).await;
    let stray = timeout(PATIENCE, async {
        loop {
            let frame = socket.json().await;
            if frame["s"] != "BTCUSDT" {
                break frame;
            }
        }
    });
    let stray = stray.await.unwrap();
    assert!(stray["s"].is_string() && stray["b"].is_string(), "{stray}");
}

#[actix_web::test]
async fn garbage_comes_instead_of_prices_and_not_of_acknowledgements() {
    let sim = Sim::start(|_| {}).await;
    sim.fault("binance", json!({ "kind": "garbage", "body": "rubbish" })).await;
    let mut socket = sim.listening().await;
    assert_eq!(socket.text().await.as_deref(), Some("rubbish"));
    let mut answer = sim.client.get(sim.url("/binance/api/v3/ping")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.body().await.unwrap()[..]), (200, &b"rubbish"[..]));
}

#[actix_web::test]
async fn wrong_values_reach_every_exchange_and_transport() {
    let sim = Sim::start(|_| {}).await;
    for exchange in ["binance", "coingecko", "cbr"] {
        sim.fault(exchange, json!({ "kind": "wrong_value", "value": "NaN" })).await;
    }
    let mut socket = sim.listening().await;
    assert_eq!(socket.json().await["b"], "NaN");
    assert_eq!(sim.get("/binance/api/v3/ticker/price?symbol=BTCUSDT").await["price"], "NaN");
    let price = sim.get("/coingecko/api/v3/simple/price?ids=bitcoin&vs_currencies=usd").await;
    assert_eq!(price["bitcoin"]["usd"], "NaN");
    let rates =
        sim.client.get(sim.url("/cbr/scripts/XML_daily.asp")).send().await.unwrap().body().await.unwrap();
    assert!(String::from_utf8_lossy(&rates).contains("<Value>NaN</Value>"));
    for exchange in ["binance", "coingecko", "cbr"] {
        sim.clear(exchange).await;
        sim.fault(exchange, json!({ "kind": "wrong_value", "factor": 1000 })).await;
    }
    let row = sim.get("/binance/api/v3/ticker/bookTicker?symbol=BTCUSDT").await;
    assert!(number(&row["bidPrice"]) > 60_000_000.0);
    let price = sim.get("/coingecko/api/v3/simple/price?ids=bitcoin&vs_currencies=usd").await;
    assert!(price["bitcoin"]["usd"].as_f64().unwrap() > 60_000_000.0);
}

#[actix_web::test]
async fn a_status_answers_requests_and_handshakes_alike() {
    let sim = Sim::start(|_| {}).await;
    for (status, retry_after) in [(429, Some(7)), (418, Some(9)), (451, None), (503, None), (502, None)] {
        sim.clear("binance").await;
        let mut order = json!({ "kind": "status", "status": status });
        if let Some(seconds) = retry_after {
            order["retry_after"] = json!(seconds);
        }
        sim.fault("binance", order).await;
        let answer = sim.client.get(sim.url("/binance/api/v3/ping")).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
        let told =
            answer.headers().get("Retry-After").map(|told| told.to_str().unwrap().parse::<u64>().unwrap());
        assert_eq!(told, retry_after);
        let refused = sim.client.ws(sim.url("/binance/ws")).connect().await.err().unwrap();
        let refused = format!("{refused:?}");
        assert!(refused.contains(&status.to_string()), "{refused}");
    }
    sim.clear("binance").await;
    sim.fault("binance", json!({ "kind": "status", "status": 503, "transport": "rest" })).await;
    sim.listening().await;
}

#[actix_web::test]
async fn a_flood_is_as_dense_as_it_was_ordered() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = sim.listening().await;
    sim.fault("binance", json!({ "kind": "flood", "per_second": 3000 })).await;
    let began_at = Instant::now();
    let mut last = 0;
    for _ in 0..6000 {
        let u = socket.json().await["u"].as_u64().unwrap();
        assert!(u > last);
        last = u;
    }
    let took = began_at.elapsed();
    assert!((1500..=10_000).contains(&took.as_millis()), "{took:?}");
}

#[actix_web::test]
async fn a_close_ends_open_connections_once() {
    let sim = Sim::start(|_| {}).await;
    let mut socket = sim.listening().await;
    let mut idle = TcpStream::connect(sim.front("binance", "rest").await).await.unwrap();
    sim.get("/binance/api/v3/ping").await;
    sim.fault("binance", json!({ "kind": "close" })).await;
    assert_eq!(socket.close_code().await, Some(1001));
    let mut byte = [0];
    assert_eq!(timeout(PATIENCE, idle.read(&mut byte)).await.unwrap().unwrap(), 0);
    let mut again = sim.listening().await;
    assert!(again.json().await["u"].is_u64());
}

#[actix_web::test]
async fn a_close_that_lasts_lets_every_new_socket_flap() {
    let sim = Sim::start(|_| {}).await;
    sim.fault("binance", json!({ "kind": "close", "transport": "websocket", "for_ms": 60_000, "ms": 100 }))
        .await;
    for _ in 0..3 {
        let mut socket = sim.socket("/binance/ws").await;
        assert_eq!(socket.close_code().await, Some(1001));
    }
    sim.get("/binance/api/v3/ping").await;
}

#[actix_web::test]
async fn a_close_can_be_announced() {
    let sim = Sim::start(|_| {}).await;
    let mut raw = sim.socket("/binance/ws").await;
    let mut combined = sim.socket("/binance/stream").await;
    sim.fault("binance", json!({ "kind": "close", "announce_ms": 300 })).await;
    assert_eq!(raw.json().await["e"], "serverShutdown");
    assert_eq!(combined.json().await["stream"], "!serverShutdown");
    assert_eq!(raw.close_code().await, Some(1001));
}

#[actix_web::test]
async fn a_reset_resets_on_the_front_and_on_the_main_port() {
    let sim = Sim::start(|_| {}).await;
    for address in [sim.front("binance", "rest").await, sim.simulator.address()] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (bytes, _) = raw(&mut stream, "/binance/api/v3/ping", Duration::from_millis(300)).await;
        assert!(bytes.starts_with(b"HTTP/1.1 200"));
        sim.fault("binance", json!({ "kind": "reset" })).await;
        let mut byte = [0];
        let error = timeout(PATIENCE, stream.read(&mut byte)).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        let mut again = TcpStream::connect(address).await.unwrap();
        let (bytes, _) = raw(&mut again, "/binance/api/v3/ping", Duration::from_millis(300)).await;
        assert!(bytes.starts_with(b"HTTP/1.1 200"));
    }
}

#[actix_web::test]
async fn a_reset_strikes_in_the_middle_of_a_frame() {
    let sim = Sim::start(|_| {}).await;
    let mut stream = TcpStream::connect(sim.front("binance", "ws").await).await.unwrap();
    let handshake = "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(handshake.as_bytes()).await.unwrap();
    let mut answer = [0; 129];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8(answer.to_vec()).unwrap();
    assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
    sim.fault("binance", json!({ "kind": "reset", "transport": "websocket" })).await;
    // What was said before the reset may be lost with it; what arrives is no whole frame.
    let mut rest = Vec::new();
    let error = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(rest.is_empty() || rest.len() < 2 + usize::from(rest[1]), "{rest:?}");
}

#[actix_web::test]
async fn a_front_that_refuses_does_not_listen_and_comes_back_on_its_port() {
    let sim = Sim::start(|_| {}).await;
    let (rest, ws) = (sim.front("binance", "rest").await, sim.front("binance", "ws").await);
    let mut live = TcpStream::connect(rest).await.unwrap();
    let mut other = sim.listening().await;
    sim.fault("binance", json!({ "kind": "refuse", "transport": "rest", "for_ms": 700 })).await;
    let error = TcpStream::connect(rest).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    let mut byte = [0];
    assert!(timeout(PATIENCE, live.read(&mut byte)).await.unwrap().is_err());
    TcpStream::connect(ws).await.unwrap();
    assert!(other.json().await["u"].is_u64());
    let mut main = TcpStream::connect(sim.simulator.address()).await.unwrap();
    let (bytes, error) = raw(&mut main, "/binance/api/v3/ping", PATIENCE).await;
    assert_eq!((bytes.len(), error), (0, Some(std::io::ErrorKind::ConnectionReset)));
    sim.get("/coingecko/api/v3/ping").await;
    eventually("the front is back", async || TcpStream::connect(rest).await.is_ok()).await;
    sim.fault("binance", json!({ "kind": "refuse" })).await;
    assert!(TcpStream::connect(ws).await.is_err());
    while other.text().await.is_some() {}
    sim.clear("binance").await;
    TcpStream::connect(ws).await.unwrap();
}

#[actix_web::test]
async fn a_half_open_connection_says_nothing_and_stays() {
    let sim = Sim::start(|options| options.speed = 100.0).await;
    let mut socket = sim.listening().await;
    sim.fault("binance", json!({ "kind": "half_open", "for_ms": 900 })).await;
    for path in ["/binance/api/v3/ping", "/api/v3/ping"] {
        let mut stream = TcpStream::connect(sim.front("binance", "rest").await).await.unwrap();
        let (bytes, error) = raw(&mut stream, path, Duration::from_millis(200)).await;
        assert_eq!((bytes.len(), error), (0, Some(std::io::ErrorKind::TimedOut)));
    }
    // Not even a ping comes, though one is due every 200 ms; and it does not come back to life afterwards.
    eventually("the fault is over", async || {
        let faults = sim.get("/control/binance/faults").await;
        faults["faults"] == json!([])
    })
    .await;
    let mut last_words = 0;
    while let Ok(Some(Ok(_))) = timeout(Duration::from_millis(500), socket.next()).await {
        last_words += 1;
        assert!(last_words < 10, "it goes on");
    }
    sim.listening().await;
}

#[actix_web::test]
async fn a_drip_gives_bytes_at_its_rate() {
    let sim = Sim::start(|_| {}).await;
    sim.fault("binance", json!({ "kind": "drip", "bytes_per_second": 50 })).await;
    let mut stream = TcpStream::connect(sim.front("binance", "rest").await).await.unwrap();
    let began_at = Instant::now();
    stream.write_all(b"GET /api/v3/ping HTTP/1.1\r\n\r\n").await.unwrap();
    let mut bytes = [0; 40];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
    let took = began_at.elapsed();
    assert!((500..=3000).contains(&took.as_millis()), "{took:?}");
    assert!(bytes.starts_with(b"HTTP/1.1 200"));
}

#[actix_web::test]
async fn the_fronts_serve_the_exchange_at_their_root_and_below_its_name() {
    let sim = Sim::start(|_| {}).await;
    let ports = sim.get("/control/ports").await;
    assert!(ports["coingecko"]["ws"].is_null() && ports["cbr"]["rest"].is_u64(), "{ports}");
    let front = sim.front("binance", "ws").await;
    for path in ["/ws/btcusdt@bookTicker", "/binance/ws/btcusdt@bookTicker"] {
        let (_, socket) = sim.client.ws(format!("http://{front}{path}")).connect().await.unwrap();
        assert_eq!(Socket::new(socket).json().await["s"], "BTCUSDT");
    }
    for path in ["/api/v3/ping", "/binance/api/v3/ping"] {
        let answer = sim.client.get(format!("http://{front}{path}")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}
