//! The way of records through the broker: each is stored exactly once, whatever is killed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use actix::Addr;
use ratebook::app::Service;
use ratebook::clock;
use ratebook::config::{NatsSettings, Role, Settings};
use ratebook::market::{ExchangeName, Quote, Transport};
use ratebook::rate_book::{Epoch, RateBook, ReportQuotes};
use rust_decimal::Decimal;
use tokio::time::{Instant, sleep};

use super::node::{Node, Site};
use crate::support::PATIENCE;
use crate::support::postgres::Postgres;
use crate::support::sqlite;

/// A collector in this process, whose one exchange is the test: each quote has a number, and every one is to be stored.
struct Source {
    service: Service,
    next: u32,
    _directory: tempfile::TempDir,
}

impl Source {
    async fn start(site: &Site) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = Settings {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            state_file: directory.path().join("state.json"),
            roles: vec![Role::Collect],
            nats: Some(NatsSettings { url: site.nats.url(), user: None, password: None }),
            ..Settings::default()
        };
        settings.storage.every = Duration::ZERO;
        settings.exchanges.values_mut().for_each(|exchange| exchange.enabled = false);
        let service = Service::start(settings).await.unwrap();
        Self { service, next: 0, _directory: directory }
    }

    fn book(&self) -> &Addr<RateBook> {
        self.service.book()
    }

    /// Quotes for so long, some hundred times a second.
    async fn quote_for(&mut self, length: Duration) {
        let until = Instant::now() + length;
        while Instant::now() < until {
            self.quote().await;
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Quotes the next numbers.
    async fn quote(&mut self) {
        let quotes = (0..5).map(|_| {
            self.next += 1;
            let bid = Decimal::from(50_000) + Decimal::new(i64::from(self.next), 4);
            let quote = Quote::book("BTC-USDT".parse().unwrap(), bid, bid + Decimal::ONE);
            Quote { sequence: Some(u64::from(self.next)), ..quote }
        });
        let report = ReportQuotes {
            exchange: ExchangeName::new("binance"),
            epoch: Epoch(1),
            transport: Transport::WebSocket,
            received_at: clock::now(),
            quotes: quotes.collect(),
            refused: Vec::new(),
        };
        self.book().send(report).await.unwrap();
    }
}

/// A message of a stream.
struct Message {
    subject: String,
    id: String,
    body: serde_json::Value,
}

/// All messages of a stream, asked of the server as its tools do.
async fn messages(url: &str, stream: &str) -> Vec<Message> {
    use futures_util::StreamExt;
    let jetstream = async_nats::jetstream::new(async_nats::connect(url).await.unwrap());
    let stream = jetstream.get_stream(stream).await.unwrap();
    let total = stream.cached_info().state.messages;
    let config = async_nats::jetstream::consumer::pull::Config {
        ack_policy: async_nats::jetstream::consumer::AckPolicy::None,
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await.unwrap();
    let messages = consumer.messages().await.unwrap().take(usize::try_from(total).unwrap());
    messages
        .map(|message| {
            let message = message.unwrap();
            let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id"));
            Message {
                subject: message.subject.to_string(),
                id: id.map(ToString::to_string).unwrap_or_default(),
                body: serde_json::from_slice(&message.payload).unwrap(),
            }
        })
        .collect()
        .await
}

/// How often each number is stored, and how many quotes the candles have counted.
struct Stored {
    numbers: BTreeMap<u32, u32>,
    counted: u32,
}

impl Stored {
    fn of(bids: Vec<Vec<String>>, counted: Vec<Vec<String>>) -> Self {
        let mut numbers = BTreeMap::new();
        for bid in bids.concat() {
            let over = bid.parse::<Decimal>().unwrap() - Decimal::from(50_000);
            let number = (over * Decimal::from(10_000)).normalize().to_string().parse().unwrap();
            *numbers.entry(number).or_default() += 1;
        }
        Self { numbers, counted: counted[0][0].parse().unwrap_or_default() }
    }

    fn in_sqlite(site: &Site) -> Self {
        let rows = |sql: &str| sqlite::rows(&site.path("ratebook.db"), sql);
        let tables = "SELECT 1 FROM sqlite_master WHERE name IN ('quotes', 'candles')";
        if !site.path("ratebook.db").exists() || rows(tables).len() < 2 {
            return Self { numbers: BTreeMap::new(), counted: 0 };
        }
        Self::of(rows(BIDS), rows(COUNTED))
    }

    /// Whether every number until `last` is there.
    fn has_all(&self, last: u32) -> bool {
        self.numbers.len() == usize::try_from(last).unwrap()
    }

    fn check_exactly_once(&self, last: u32) {
        let lost: Vec<u32> = (1..=last).filter(|number| !self.numbers.contains_key(number)).collect();
        let doubled: Vec<u32> = self.numbers.iter().filter(|(_, num)| **num > 1).map(|(it, _)| *it).collect();
        assert_eq!((lost, doubled), (Vec::new(), Vec::new()), "lost and doubled of {last}");
        assert_eq!(self.counted, last, "the candles count otherwise");
    }
}

const BIDS: &str = "SELECT bid FROM quotes";
const COUNTED: &str = "SELECT sum(num_quotes) FROM candles WHERE length = '1d'";

async fn until_all(last: u32, stored: impl Fn() -> Stored, store: &Node) -> Stored {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = stored();
        if now.has_all(last) {
            return now;
        }
        assert!(Instant::now() < deadline, "{} of {last} are stored\n{}", now.numbers.len(), store.log());
        sleep(Duration::from_millis(50)).await;
    }
}

#[actix_web::test]
async fn nothing_is_lost_or_doubled_when_the_broker_is_killed_again_and_again() {
    let mut site = Site::start().await;
    let mut source = Source::start(&site).await;
    let store = site.node("store", "store", &[]);
    source.quote_for(Duration::from_secs(1)).await;
    for _ in 0..4 {
        site.nats.kill();
        source.quote_for(Duration::from_millis(1500)).await;
        site.nats.start_again();
        source.quote_for(Duration::from_millis(1500)).await;
    }
    let last = source.next;
    let began = Instant::now();
    let stored = until_all(last, || Stored::in_sqlite(&site), &store).await;
    println!(
        "{last} quotes, stored {:?} after the last; {}",
        began.elapsed(),
        store.health().await["storage"]
    );
    stored.check_exactly_once(last);
    source.service.stop().await;
    site.stop().await;
}

#[actix_web::test]
async fn what_two_collectors_hear_of_one_exchange_is_told_and_stored_once() {
    let site = Site::start().await;
    let mut sources = [Source::start(&site).await, Source::start(&site).await];
    let store = site.node("store", "store", &[]);
    for _ in 0..100 {
        for source in &mut sources {
            source.quote().await;
        }
        sleep(Duration::from_millis(15)).await;
        // Now the one is first, and now the other.
        sources.reverse();
    }
    let last = sources[0].next;
    until_all(last, || Stored::in_sqlite(&site), &store).await.check_exactly_once(last);

    let quotes = messages(&site.nats.url(), "QUOTES").await;
    let mut told: BTreeMap<u64, u32> = BTreeMap::new();
    let mut collectors: BTreeMap<String, u32> = BTreeMap::new();
    for message in quotes.iter().filter(|it| it.subject == "quotes.binance.BTC-USDT") {
        *collectors.entry(message.body["collector"].to_string()).or_default() += 1;
        // What names a repetition ends in its second.
        if message.id.ends_with(':') {
            *told.entry(message.body["quote"]["sequence"].as_u64().unwrap()).or_default() += 1;
        }
    }
    println!("told by {:?}: {} quotes, {} of them news", collectors.values(), quotes.len(), told.len());
    assert_eq!(collectors.len(), 2, "each was first at some time");
    assert!(told.len() > 50, "{}", told.len());
    assert!(told.values().all(|num| *num == 1), "{told:?}");
    for source in sources {
        source.service.stop().await;
    }
    site.stop().await;
}

#[actix_web::test]
async fn a_store_that_is_killed_between_commit_and_acknowledgement_stores_nothing_twice() {
    let site = Site::start().await;
    let mut source = Source::start(&site).await;
    let store = site.node("store", "store", &[("FAILPOINTS", "bus::before_ack=sleep(60000)")]);
    source.quote_for(Duration::from_secs(1)).await;
    let deadline = Instant::now() + PATIENCE;
    while Stored::in_sqlite(&site).numbers.is_empty() {
        assert!(Instant::now() < deadline, "nothing is stored: {}", store.log());
        sleep(Duration::from_millis(20)).await;
    }
    let num_committed = Stored::in_sqlite(&site).numbers.len();
    drop(store);
    source.quote_for(Duration::from_secs(1)).await;
    let store = site.node("store", "store", &[]);
    let stored = until_all(source.next, || Stored::in_sqlite(&site), &store).await;
    stored.check_exactly_once(source.next);
    // What was committed comes again once the broker has waited for its acknowledgement.
    let come_again = |answer: &super::node::Answer| {
        answer.body["storage"]["duplicate_rows"].as_u64() >= u64::try_from(num_committed).ok()
    };
    let mut waited = Duration::ZERO;
    while !come_again(&store.get("/health").await) {
        waited += Duration::from_millis(200);
        assert!(waited < Duration::from_secs(45), "it never came again: {}", store.health().await);
        sleep(Duration::from_millis(200)).await;
    }
    println!("{num_committed} had been committed; {}", store.health().await["storage"]);
    Stored::in_sqlite(&site).check_exactly_once(source.next);
    source.service.stop().await;
    site.stop().await;
}

#[actix_web::test]
async fn records_wait_in_the_stream_while_postgres_is_away_and_are_acknowledged_when_it_has_them() {
    let site = Site::start().await;
    let mut postgres = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    let mut source = Source::start(&site).await;
    let store = site.node("store", "store", &[("RATEBOOK_DATABASE_URL", &postgres.url())]);
    source.quote_for(Duration::from_secs(1)).await;
    let (bids, counted) = (BIDS, COUNTED);
    until_all(source.next, || Stored::of(postgres.psql(bids), postgres.psql(counted)), &store).await;
    postgres.stop_immediately();
    source.quote_for(Duration::from_secs(2)).await;
    store.until("/health", |answer| answer.body["storage"]["status"] == "impaired").await;
    let told = store.health().await;
    assert_eq!(told["storage"]["outbox_rows"], 0, "nothing is acknowledged that lies elsewhere: {told}");
    // It is killed while it holds a batch that no database has.
    drop(store);
    let store = site.node("store", "store", &[("RATEBOOK_DATABASE_URL", &postgres.url())]);
    postgres.start_again();
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        let stored = Stored::of(postgres.psql(bids), postgres.psql(counted));
        if stored.has_all(source.next) {
            break stored.check_exactly_once(source.next);
        }
        assert!(Instant::now() < limit, "{} of {}: {}", stored.numbers.len(), source.next, store.log());
        sleep(Duration::from_millis(100)).await;
    }
    source.service.stop().await;
    site.stop().await;
}

#[actix_web::test]
async fn what_a_stream_gives_up_is_told_and_so_is_what_differs_of_it() {
    let site = Site::start().await;
    let jetstream = async_nats::jetstream::new(async_nats::connect(site.nats.url()).await.unwrap());
    let small = async_nats::jetstream::stream::Config {
        name: "RECORDS".to_owned(),
        subjects: vec!["records.>".to_owned(), "dead.records".to_owned()],
        max_messages: 20,
        max_bytes: 1 << 20,
        ..Default::default()
    };
    jetstream.create_stream(small).await.unwrap();
    let all = site.node("all", "collect", &[]);
    let deadline = Instant::now() + PATIENCE;
    while !all.log().contains("of the stream RECORDS `max_bytes` is 1048576, and not 2147483648") {
        assert!(Instant::now() < deadline, "{}", all.log());
        sleep(Duration::from_millis(20)).await;
    }
    drop(all);
    let mut source = Source::start(&site).await;
    source.quote_for(Duration::from_secs(1)).await;
    // The last of them is in the stream before anybody stores it.
    sleep(Duration::from_millis(500)).await;
    let store = site.node("store", "store", &[]);
    let told = |answer: &super::node::Answer| {
        let error = answer.body["bus"]["last_error"].as_str().unwrap_or_default().to_owned();
        error.contains("was full, and gave up")
    };
    store.until("/health", told).await;
    let kept = until_kept(&site, &store, source.next).await;
    println!("{} of {} kept", kept.numbers.len(), source.next);
    assert!(kept.numbers.values().all(|num| *num == 1));
    source.service.stop().await;
    site.stop().await;
}

/// Waits until the last number is stored.
async fn until_kept(site: &Site, store: &Node, last: u32) -> Stored {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stored = Stored::in_sqlite(site);
        if stored.numbers.contains_key(&last) {
            return stored;
        }
        assert!(Instant::now() < deadline, "{last} is not stored: {}", store.log());
        sleep(Duration::from_millis(20)).await;
    }
}

#[actix_web::test]
async fn a_record_that_nobody_can_read_is_set_aside_and_the_others_are_stored() {
    let site = Site::start().await;
    let mut source = Source::start(&site).await;
    source.quote_for(Duration::from_millis(200)).await;
    let store = site.node("store", "store", &[]);
    until_all(source.next, || Stored::in_sqlite(&site), &store).await;
    let jetstream = async_nats::jetstream::new(async_nats::connect(site.nats.url()).await.unwrap());
    let junk = "{\"version\":7}";
    jetstream.publish("records.binance.BTC-USDT", junk.into()).await.unwrap().await.unwrap();
    source.quote_for(Duration::from_millis(200)).await;
    until_all(source.next, || Stored::in_sqlite(&site), &store).await;
    store.until("/health", |answer| answer.body["bus"]["dead_total"] == 1).await;
    assert!(store.log().contains("on `records.binance.BTC-USDT` is set aside"), "{}", store.log());
    let records = jetstream.get_stream("RECORDS").await.unwrap();
    let dead = records.get_last_raw_message_by_subject("dead.records").await.unwrap();
    assert_eq!(dead.payload, junk);
    assert!(dead.headers.get("Ratebook-Reason").is_some());
    Stored::in_sqlite(&site).check_exactly_once(source.next);
    source.service.stop().await;
    site.stop().await;
}
