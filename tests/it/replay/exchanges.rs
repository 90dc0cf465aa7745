//! A real session of every exchange, played to the service through real sockets, each against what its plug-in makes
//! of the same frames without one.

use std::collections::BTreeMap;
use std::path::Path;

use awc::Client;
use ratebook::market::{Direction, Quote, Refusal};
use ratebook::rate_book::gates::check_form;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;

use super::*;
use crate::recordings::{QuoteLine, session};
use crate::support::PATIENCE;

/// Plays the half minute of each recording in 3 s.
const SPEED: f64 = 10.0;

/// Time without a quote after which it is clear that none follows.
const SILENCE: Duration = Duration::from_millis(500);

/// A direction that no exchange trades: the service says so when it has read the list.
const NOWHERE: &str = "NOPE-BTC";

/// What a client makes of a whole recording.
#[derive(Debug, Default)]
struct Expected {
    num_taken: u64,
    refused: BTreeMap<Refusal, u64>,
    /// The last value of every direction; `None` while it has only been refused.
    values: BTreeMap<Direction, Option<Decimal>>,
}

impl Expected {
    /// Quotes that are read of the recording without a socket, judged by the gates that need no clock.
    fn of(exchange: &str, file: &Path) -> Self {
        let mut expected = Self::default();
        for line in session(exchange, file).iter().flat_map(|line| &line.quotes) {
            let quote = quote(line);
            let value = expected.values.entry(quote.direction).or_default();
            match check_form(&quote) {
                Ok(()) => {
                    expected.num_taken += 1;
                    *value = quote.value();
                }
                Err(refusal) => *expected.refused.entry(refusal).or_default() += 1,
            }
        }
        expected
    }

    fn num_told(&self) -> u64 {
        self.num_taken + self.refused.values().sum::<u64>()
    }
}

fn quote(line: &QuoteLine) -> Quote {
    let (direction, bid, ask, last, _) = line.quote();
    Quote { bid, ask, last, ..Quote::empty(direction.parse().unwrap()) }
}

/// The simulator's control of one exchange.
struct Control {
    client: Client,
    url: String,
    exchange: &'static str,
}

impl Control {
    /// Directions that the exchange publishes.
    async fn published(&self) -> Vec<String> {
        let mut answer = self.client.get(format!("{}/truth", self.url)).send().await.unwrap();
        let truth: Value = answer.json().limit(1 << 20).await.unwrap();
        truth["quotes"][self.exchange].as_object().unwrap().keys().cloned().collect()
    }

    async fn order(&self, what: &str, order: Value) -> Value {
        let url = format!("{}/{}/{what}", self.url, self.exchange);
        let mut answer = self.client.post(url).send_json(&order).await.unwrap();
        assert_eq!(answer.status(), 200, "{order}");
        answer.json().await.unwrap()
    }

    async fn clear(&self, fault: &Value) {
        let url = format!("{}/{}/faults?id={}", self.url, self.exchange, fault["id"]);
        assert_eq!(self.client.delete(url).send().await.unwrap().status(), 200, "{fault}");
    }

    /// Takes everything off the list but the recorded symbols, which the exchange lists anew.
    async fn list_nothing_but(&self, num_recorded: usize) {
        for direction in self.published().await {
            self.order("symbols", json!({ "direction": direction, "status": "ABSENT" })).await;
        }
        let until = Instant::now() + PATIENCE;
        while self.published().await.len() != num_recorded {
            assert!(Instant::now() < until, "{:?} is published", self.published().await);
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets REST tell no price.
    async fn mute_rest(&self) {
        for direction in self.published().await {
            self.order("faults", json!({ "kind": "mute", "transport": "rest", "symbol": direction })).await;
        }
    }
}

/// Plays a recording to a service that listens to this exchange alone, and compares what it made of it.
async fn check(exchange: &'static str, file: &str, num_frames: u64) {
    let Some(recordings) = recordings() else { return };
    let file = recordings.join("ws").join(file);
    let expected = Expected::of(exchange, &file);
    assert_eq!(expected.num_told(), num_frames, "{exchange}");

    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let options = SimulatorOptions { listen, seed: 24, speed: SPEED, replay: vec![file] };
    let simulator = Simulator::start(options).await.unwrap();
    let url = format!("http://{}/control", simulator.address());
    let control = Control { client: Client::default(), url, exchange };
    control.list_nothing_but(expected.values.len()).await;
    control.mute_rest().await;
    // A list that differs from what the service took for granted makes it dial anew, and hear the beginning twice. So
    // it reads the list before there is a socket.
    let refuse = control.order("faults", json!({ "kind": "refuse", "transport": "websocket" })).await;
    let world = World::around(simulator, |settings| {
        settings.directions = expected.values.keys().copied().chain([NOWHERE.parse().unwrap()]).collect();
        for (name, exchange_settings) in &mut settings.exchanges {
            exchange_settings.enabled = name.as_str() == exchange;
            exchange_settings.stale_after = Duration::from_secs(600);
            exchange_settings.poll_every = Duration::from_secs(600);
        }
    })
    .await;
    let until = Instant::now() + PATIENCE;
    while heard(&world, exchange).await.unsupported.is_empty() {
        assert!(Instant::now() < until, "{exchange}: the list is not read");
        sleep(Duration::from_millis(20)).await;
    }
    control.clear(&refuse).await;
    let (mut num_told, mut quiet_at) = (0, until);
    while Instant::now() < quiet_at {
        assert!(
            Instant::now() < until,
            "{exchange}: {:?} of {}",
            heard(&world, exchange).await,
            expected.num_told()
        );
        sleep(Duration::from_millis(20)).await;
        let health = heard(&world, exchange).await;
        let tells = health.quotes_total + health.refused.iter().map(|(_, count)| count).sum::<u64>();
        if tells != num_told {
            num_told = tells;
            quiet_at = if num_told < expected.num_told() { until } else { Instant::now() + SILENCE };
        }
    }
    let health = heard(&world, exchange).await;
    println!(
        "{exchange}: {num_frames} frames; took {} quotes, refused {:?}",
        health.quotes_total, health.refused
    );
    assert_eq!(health.refused.iter().copied().collect::<BTreeMap<_, _>>(), expected.refused, "{exchange}");
    assert_eq!(health.quotes_total, expected.num_taken, "{exchange}");
    assert_eq!(health.restarts, 0, "{exchange}: {:?}", health.last_error);
    for (direction, value) in expected.values {
        let Some(value) = value else { continue };
        let question = format!("/v1/courses/{direction}?exchanger={exchange}");
        let course = world.get(&question).await.body["courses"][0]["value"].as_f64();
        assert_eq!(course, value.to_f64(), "{exchange} {direction}");
    }
    world.stop().await;
}

#[actix::test]
async fn every_recorded_ticker_of_coinbase_arrives() {
    check("coinbase", "coinbase_exchange_2021-04-17.jsonl.gz", 107).await;
}

/// Of the 28 tickers three are of a future and a swap, which nobody can subscribe to on the spot market.
#[actix::test]
async fn every_recorded_ticker_of_okx_arrives() {
    check("okx", "okx_v5_2022-05-13.jsonl.gz", 25).await;
}

#[actix::test]
async fn every_recorded_book_of_bybit_arrives() {
    check("bybit", "bybit_v5_2025-06-13.jsonl.gz", 337).await;
}

#[actix::test]
async fn every_recorded_ticker_of_kucoin_arrives() {
    check("kucoin", "kucoin_2021-04-25.jsonl.gz", 830).await;
}

#[actix::test]
async fn every_recorded_ticker_of_bitfinex_arrives_under_a_number_of_this_connection() {
    check("bitfinex", "bitfinex_2021-04-17.jsonl.gz", 21).await;
}

/// Recorded is the channel `spot.tickers`; the service listens to `spot.book_ticker`.
#[actix::test]
async fn every_recorded_ticker_of_gate_arrives_in_the_words_of_the_other_channel() {
    check("gate", "gate_v4_2021-04-22.jsonl.gz", 22).await;
}

#[actix::test]
async fn sessions_without_best_prices_of_today_are_refused_with_what_is_replayed() {
    let Some(recordings) = recordings() else { return };
    for (file, said) in [
        (
            "kraken_v1_2021-04-17.jsonl.gz",
            "109 frames is one that is replayed: kraken (channel `ticker` of the second",
        ),
        ("htx_2021-04-17.jsonl.gz", "362 frames is one that is replayed: htx (topics `market.<symbol>.bbo`)"),
        (
            "bitstamp_2022-01-05.jsonl.gz",
            "747 frames is one that is replayed: bitstamp (channels `order_book_",
        ),
    ] {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let replay = vec![recordings.join("ws").join(file)];
        let error = Simulator::start(SimulatorOptions { listen, seed: 24, speed: SPEED, replay }).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}
