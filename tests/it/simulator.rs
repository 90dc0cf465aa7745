//! The simulated exchanges, seen from a client: real sockets, real faults.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use actix_web::http::StatusCode;
use awc::error::WsProtocolError;
use awc::ws::{Frame, Message};
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use ratebook::simulator::{Simulator, SimulatorError, SimulatorOptions};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// Longest wait for anything that has to happen.
const PATIENCE: Duration = Duration::from_secs(20);

fn options() -> SimulatorOptions {
    SimulatorOptions { listen: "127.0.0.1:0".parse().unwrap(), seed: 7, speed: 1.0, replay: Vec::new() }
}

struct Sim {
    simulator: Simulator,
    client: awc::Client,
}

/// A WebSocket, boxed because awc's has no type that can be named here.
struct Socket {
    frames: Pin<Box<dyn Stream<Item = Result<Frame, WsProtocolError>>>>,
    messages: Pin<Box<dyn Sink<Message, Error = WsProtocolError>>>,
}

impl Socket {
    fn new<S>(socket: S) -> Self
    where
        S: Stream<Item = Result<Frame, WsProtocolError>> + Sink<Message, Error = WsProtocolError> + 'static,
    {
        let (messages, frames) = socket.split();
        Self { frames: Box::pin(frames), messages: Box::pin(messages) }
    }

    async fn send(&mut self, message: Message) {
        self.messages.send(message).await.unwrap();
    }

    /// The next frame; `None` at the end, in order or not.
    async fn next(&mut self) -> Option<Result<Frame, WsProtocolError>> {
        timeout(PATIENCE, self.frames.next()).await.expect("a frame or an end in time")
    }

    /// The next frame that is text, pings answered.
    async fn text(&mut self) -> Option<String> {
        loop {
            match self.next().await {
                Some(Ok(Frame::Text(bytes))) => return Some(String::from_utf8(bytes.to_vec()).unwrap()),
                Some(Ok(Frame::Ping(payload))) => self.send(Message::Pong(payload)).await,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    async fn json(&mut self) -> Value {
        serde_json::from_str(&self.text().await.expect("a text frame")).unwrap()
    }

    /// Whether nothing but pings comes for so long.
    async fn is_silent(&mut self, length: Duration) -> bool {
        let until = Instant::now() + length;
        loop {
            match tokio::time::timeout_at(until, self.frames.next()).await {
                Err(_) => return true,
                Ok(Some(Ok(Frame::Ping(payload)))) => self.send(Message::Pong(payload)).await,
                Ok(_) => return false,
            }
        }
    }

    /// Reads on until the end, and gives the close code if there was one.
    async fn close_code(&mut self) -> Option<u16> {
        loop {
            match self.next().await {
                Some(Ok(Frame::Close(reason))) => return reason.map(|reason| reason.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}

impl Sim {
    async fn start(change: impl FnOnce(&mut SimulatorOptions)) -> Self {
        let mut options = options();
        change(&mut options);
        let simulator = Simulator::start(options).await.unwrap();
        let client = awc::Client::builder().timeout(PATIENCE).no_default_headers().finish();
        Self { simulator, client }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.simulator.address())
    }

    async fn body(&self, path: &str) -> (StatusCode, Value) {
        let mut answer = self.client.get(self.url(path)).send().await.unwrap();
        let body = answer.body().limit(10_000_000).await.unwrap();
        (answer.status(), serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.body(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, said) = self.post_any(path, body.to_string()).await;
        assert_eq!(status, 200, "{path} {body}: {said}");
        said
    }

    async fn post_any(&self, path: &str, body: String) -> (StatusCode, Value) {
        let mut answer = self.client.post(self.url(path)).send_body(body).await.unwrap();
        let body = answer.body().await.unwrap();
        (answer.status(), serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn fault(&self, exchange: &str, order: Value) {
        self.post(&format!("/control/{exchange}/faults"), order).await;
    }

    async fn clear(&self, exchange: &str) {
        let url = self.url(&format!("/control/{exchange}/faults"));
        assert_eq!(self.client.delete(url).send().await.unwrap().status(), 200);
    }

    async fn socket(&self, path: &str) -> Socket {
        let request = self.client.ws(self.url(path)).max_frame_size(1 << 20);
        let (_, socket) = request.connect().await.unwrap();
        Socket::new(socket)
    }

    /// A socket that listens to the best prices of BTCUSDT, acknowledged.
    async fn listening(&self) -> Socket {
        let mut socket = self.socket("/binance/ws").await;
        socket.send(subscribe(&["btcusdt@bookTicker"])).await;
        assert_eq!(socket.json().await, json!({ "result": null, "id": 1 }));
        socket
    }

    async fn log(&self, filter: &str) -> Vec<Value> {
        self.get(&format!("/control/log?{filter}")).await["entries"].as_array().unwrap().clone()
    }

    async fn front(&self, exchange: &str, transport: &str) -> SocketAddr {
        let port = self.get("/control/ports").await[exchange][transport].as_u64().unwrap();
        SocketAddr::new(self.simulator.address().ip(), u16::try_from(port).unwrap())
    }
}

fn subscribe(streams: &[&str]) -> Message {
    Message::Text(json!({ "method": "SUBSCRIBE", "params": streams, "id": 1 }).to_string().into())
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).parse().unwrap()
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Sends a request on a connection of its own, and reads until the end or until nothing comes for a while.
async fn raw(
    stream: &mut TcpStream,
    target: &str,
    silence: Duration,
) -> (Vec<u8>, Option<std::io::ErrorKind>) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
    if let Err(error) = stream.write_all(request.as_bytes()).await {
        return (Vec::new(), Some(error.kind()));
    }
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match timeout(silence, stream.read(&mut piece)).await {
            Err(_) => return (bytes, Some(std::io::ErrorKind::TimedOut)),
            Ok(Ok(0)) => return (bytes, None),
            Ok(Ok(len)) => bytes.extend_from_slice(&piece[..len]),
            Ok(Err(error)) => return (bytes, Some(error.kind())),
        }
    }
}

// --- the start ---

#[actix_web::test]
async fn several_simulators_run_in_one_process_and_stop() {
    let (one, two) = (Sim::start(|_| {}).await, Sim::start(|_| {}).await);
    assert_ne!(one.simulator.address(), two.simulator.address());
    one.get("/binance/api/v3/ping").await;
    let address = one.simulator.address();
    one.simulator.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
    two.get("/binance/api/v3/ping").await;
}

#[actix_web::test]
async fn a_start_that_cannot_be_says_why() {
    let sim = Sim::start(|_| {}).await;
    let taken = SimulatorOptions { listen: sim.simulator.address(), ..options() };
    let error = Simulator::start(taken).await.unwrap_err();
    assert!(matches!(error, SimulatorError::AddressInUse { .. }), "{error}");
    for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = Simulator::start(SimulatorOptions { speed, ..options() }).await.unwrap_err();
        assert!(matches!(error, SimulatorError::Speed(_)), "{error}");
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"this is no recording\n").unwrap();
    let bad = SimulatorOptions { replay: vec![file.path().to_owned()], ..options() };
    let error = Simulator::start(bad).await.unwrap_err().to_string();
    assert!(error.contains("line 1") && error.contains(&file.path().display().to_string()), "{error}");
}

// --- binance ---

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
    assert!(good.is_silent(Duration::from_millis(1500)).await);
    assert_eq!(bad.close_code().await, Some(1008));
    assert!(sim.log("exchange=binance&kind=pong").await.len() >= 10);
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

// --- coingecko and the bank of russia ---

#[actix_web::test]
async fn coingecko_answers_many_coins_in_many_currencies() {
    let sim = Sim::start(|_| {}).await;
    let body = sim
        .get("/coingecko/api/v3/simple/price?ids=bitcoin,tether,unknown&vs_currencies=usd,rub,eur,zzz&include_last_updated_at=true&precision=full")
        .await;
    assert!(body["unknown"].is_null());
    assert!((body["bitcoin"]["usd"].as_f64().unwrap() / 64_000.0 - 1.0).abs() < 0.01);
    assert!(body["tether"]["rub"].as_f64().unwrap() > 50.0);
    assert!(body["bitcoin"]["zzz"].is_null());
    let now = chrono::Utc::now().timestamp();
    assert!((now - body["bitcoin"]["last_updated_at"].as_i64().unwrap()).abs() < 30);
    let unknown = sim.get("/coingecko/api/v3/simple/price?ids=bitcoin&vs_currencies=zzz").await;
    assert_eq!(unknown, json!({ "bitcoin": {} }));
    for missing in ["ids=bitcoin", "vs_currencies=usd"] {
        let (status, body) = sim.body(&format!("/coingecko/api/v3/simple/price?{missing}")).await;
        assert_eq!(status, 422);
        assert!(body["error"].as_str().unwrap().starts_with("Missing parameter"), "{body}");
    }
    let address = "0xdac17f958d2ee523a2206206994597c13d831ec7";
    let path = format!(
        "/coingecko/api/v3/simple/token_price/ethereum?contract_addresses={address}&vs_currencies=usd"
    );
    assert!(sim.get(&path).await[address]["usd"].is_f64());
    assert!(
        sim.get("/coingecko/api/v3/simple/supported_vs_currencies")
            .await
            .as_array()
            .unwrap()
            .contains(&json!("rub"))
    );
    assert!(sim.get("/coingecko/api/v3/coins/list").await.as_array().unwrap().len() > 10);
    assert_eq!(sim.get("/coingecko/api/v3/ping").await["gecko_says"], "(V3) To the Moon!");
}

#[actix_web::test]
async fn coingecko_says_the_same_until_it_refreshes_and_sooner_with_a_key() {
    // A refresh every 3 s, with a key every second.
    let sim = Sim::start(|options| options.speed = 20.0).await;
    let path = "/coingecko/api/v3/simple/price?ids=bitcoin&vs_currencies=usd&precision=full";
    let keyless = sim.get(path).await;
    let with_key = format!("{path}&x_cg_demo_api_key=k");
    let first = sim.get(&with_key).await;
    eventually("a refresh for the key's owner", async || sim.get(&with_key).await != first).await;
    assert_eq!(sim.get(path).await, keyless);
    let quote = async || sim.get("/control/truth").await["quotes"]["coingecko"]["BTC-USD"].clone();
    let before = quote().await;
    eventually("a refresh for everybody", async || quote().await != before).await;
    assert_ne!(sim.get(path).await, keyless);
}

#[actix_web::test]
async fn coingecko_refuses_who_asks_too_often() {
    let sim = Sim::start(|_| {}).await;
    let url = sim.url("/coingecko/api/v3/ping");
    for _ in 0..30 {
        assert_eq!(sim.client.get(&url).send().await.unwrap().status(), 200);
    }
    let mut answer = sim.client.get(&url).send().await.unwrap();
    assert_eq!(answer.status(), 429);
    let wait: u64 = answer.headers().get("retry-after").unwrap().to_str().unwrap().parse().unwrap();
    assert!((50..=60).contains(&wait));
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["status"]["error_code"], 429);
}

#[actix_web::test]
async fn the_bank_of_russia_speaks_its_own_encoding_and_commas() {
    let sim = Sim::start(|_| {}).await;
    let mut answer =
        sim.client.get(sim.url("/cbr/scripts/XML_daily.asp?date_req=26/04/2026")).send().await.unwrap();
    assert_eq!(answer.headers().get("content-type").unwrap(), "text/xml; charset=windows-1251");
    let bytes = answer.body().await.unwrap();
    assert!(String::from_utf8(bytes.to_vec()).is_err(), "Cyrillic in windows-1251 is no UTF-8");
    let (text, _, had_errors) = encoding_rs::WINDOWS_1251.decode(&bytes);
    assert!(
        !had_errors && text.contains("Date=\"25.04.2026\"") && text.contains("<Name>Доллар США</Name>"),
        "{text}"
    );
    assert_eq!(text.matches("<Valute ").count(), 54);
    assert!(text.contains("E-0"), "no exponent: {text}");
    let bad = sim
        .client
        .get(sim.url("/cbr/scripts/XML_daily.asp?date_req=soon"))
        .send()
        .await
        .unwrap()
        .body()
        .await
        .unwrap();
    assert!(bad.ends_with(b"<ValCurs>Error in parameters</ValCurs>"));
    let range = "date_req1=20/04/2026&date_req2=26/04/2026&VAL_NM_RQ=R01235";
    let series = sim
        .client
        .get(sim.url(&format!("/cbr/scripts/XML_dynamic.asp?{range}")))
        .send()
        .await
        .unwrap()
        .body()
        .await
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&series).matches("<Record ").count(), 5);
    let quotes = sim.get("/control/truth").await["quotes"]["cbr"].clone();
    assert!(number(&quotes["USD-RUB"]["last"]) > 50.0);
}

// --- faults ---

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
    let truth = sim.get("/control/truth").await;
    let behind = number(&truth["quotes"]["binance"]["BTC-USDT"]["bid"]);
    assert!(behind > 0.0);
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

// --- control ---

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

// --- recordings ---

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
        assert!(began_at.elapsed() < Duration::from_secs(60), "{num_btc} and {num_eth} frames");
        match socket.json().await["stream"].as_str() {
            Some("btcusdt@bookTicker") => num_btc += 1,
            Some("ethusdt@bookTicker") => num_eth += 1,
            _ => {}
        }
    }
    assert!(socket.is_silent(Duration::from_millis(300)).await);
}
