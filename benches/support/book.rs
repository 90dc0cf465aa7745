//! How many quotes a second the actor `RateBook` takes, and how many questions of ten directions it answers.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use actix::dev::Request;
use actix::prelude::*;
use futures_util::future::join_all;
use ratebook::clock;
use ratebook::http::{self, HttpSetup};
use ratebook::market::{Asset, Direction, ExchangeName, Quote, Transport};
use ratebook::metrics::Metrics;
use ratebook::rate_book::{
    Book, BookFailed, BookSettings, BookVersion, Epoch, Event, GetCourses, Life, Link, ListedExchange,
    RateBook, ReportLife, ReportLink, ReportListing, ReportQuotes, UsdtUsdLeg,
};
use rust_decimal::Decimal;
use tokio::time::Instant;

use super::bare::in_background;
use super::client::LIMIT;
use super::rounds::{Contender, interleave, print_rates};
use crate::Scale;

/// Eight crosses over USDT and the rouble, and two more over the euro.
const DIRECTIONS: [&str; 10] = [
    "BTC-RUB",
    "BTC-USD",
    "ETH-RUB",
    "ETH-USD",
    "USDTTRC-RUB",
    "USDTTRC-USD",
    "USDTERC-RUB",
    "USDTERC-USD",
    "BTC-EUR",
    "ETH-EUR",
];

/// Who quotes what, and its first price in hundredths.
const QUOTED: [(ExchangeName, Direction, i64); 5] = [
    (BINANCE, Direction::new(Asset::BTC, Asset::USDT), 6_400_000),
    (BINANCE, Direction::new(Asset::ETH, Asset::USDT), 180_000),
    (KRAKEN, Direction::new(Asset::USDT, Asset::USD), 100),
    (CBR, Direction::new(Asset::USD, Asset::RUB), 8_000),
    (CBR, Direction::new(Asset::EUR, Asset::RUB), 9_000),
];

const BINANCE: ExchangeName = ExchangeName::new("binance");
const KRAKEN: ExchangeName = ExchangeName::new("kraken");
const CBR: ExchangeName = ExchangeName::new("cbr");

/// Messages that are sent before the book is waited for, so that its queue stays short.
const BURST: usize = 500;

/// Measures the actor on a thread of its own, as the service runs it.
pub(crate) fn measure(scale: Scale) {
    let book = start().address;
    let system = System::new();
    let contender = |name: &str, quotes_per_message: usize, messages_per_answer: usize| {
        let (book, system) = (&book, &system);
        let run = move || system.block_on(round(book, scale.round, quotes_per_message, messages_per_answer));
        (name.to_owned(), Box::new(run) as Box<dyn FnMut() -> f64>) as Contender<'_>
    };
    let (mut alone, request) = (alone(), GetCourses::default());
    let alone = || round_alone(&mut alone, &request, scale.round);
    let in_flight = || system.block_on(round_in_flight(&book, scale.round));
    let contenders = vec![
        contender("one quote a message", 1, BURST),
        contender("twenty quotes a message", 20, BURST),
        contender("one quote, then ten directions answered", 1, 1),
        ("the same, without waiting for each answer".to_owned(), Box::new(in_flight)),
        ("the same, without the actor around the book".to_owned(), Box::new(alone)),
    ];
    print_rates("RateBook", "quotes/s", &interleave(scale.num_rounds, contenders));
}

struct Nobody;

impl Actor for Nobody {
    type Context = Context<Self>;
}

impl Handler<BookFailed> for Nobody {
    type Result = ();

    fn handle(&mut self, _: BookFailed, _: &mut Self::Context) {}
}

/// A running book, and where it tells its state.
#[derive(Clone)]
pub(crate) struct Hub {
    pub(crate) address: Addr<RateBook>,
    version: BookVersion,
}

/// Starts a book in which everything is fresh and stays so.
pub(crate) fn start() -> Hub {
    let (address, started) = channel();
    let version = BookVersion::default();
    let told = version.clone();
    let run = move || {
        System::new().block_on(async move {
            let book = RateBook::new(settings(), told, Nobody.start().recipient(), None).start();
            address.send(book).expect("somebody waits for it");
            std::future::pending::<()>().await;
        });
    };
    thread::Builder::new().name("rate-book".to_owned()).spawn(run).expect("a thread");
    let book = started.recv_timeout(LIMIT).expect("the book starts");
    for event in introduction() {
        match event {
            Event::Quotes(report) | Event::QuotesElsewhere(report, _) => book.do_send(report),
            Event::Link(report) => book.do_send(report),
            Event::Listing(report) => book.do_send(report),
            Event::Reconnect(report) => book.do_send(report),
            Event::Life(report) => book.do_send(report),
        }
    }
    System::new().block_on(answer(&book));
    Hub { address: book, version }
}

/// The same book without an actor around it.
fn alone() -> Book {
    let mut book = Book::new(settings(), clock::now());
    for event in introduction() {
        book.apply(event, clock::now());
    }
    book
}

fn settings() -> BookSettings {
    BookSettings {
        directions: directions(),
        priority: vec![BINANCE, KRAKEN],
        fail_back_after: Duration::from_secs(15),
        hold_reference: Duration::from_secs(3600),
        usdt_usd: UsdtUsdLeg::Reference,
        reference_priority: vec![KRAKEN],
        fiat_priority: vec![CBR],
        max_fiat_difference: Decimal::new(1, 2),
        exchanges: [BINANCE, KRAKEN, CBR].map(listed).to_vec(),
    }
}

/// Serves a book over HTTP as the service does.
pub(crate) fn serve(book: &Hub) -> io::Result<SocketAddr> {
    serve_with(book, Some(Metrics::new()))
}

/// The same without counting anything.
pub(crate) fn serve_uncounted(book: &Hub) -> io::Result<SocketAddr> {
    serve_with(book, None)
}

/// Tells the book one quote that moves a price.
pub(crate) fn tell(book: &Hub, number: usize) {
    book.address.do_send(report(number % 2, 1, number));
}

fn serve_with(book: &Hub, metrics: Option<Metrics>) -> io::Result<SocketAddr> {
    let listener = http::listen(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = listener.local_addr()?;
    let setup = HttpSetup {
        courses: book.address.clone().recipient(),
        version: book.version.clone(),
        answers: true,
        health: Some(book.address.clone().recipient()),
        bus: None,
        directions: directions().into(),
        exchanges: [BINANCE, KRAKEN, CBR].into(),
        max_connections: 2_000,
        cors_origins: Vec::new(),
        history: None,
        metrics,
        started_at: clock::now(),
    };
    in_background("http", move || http::serve(listener, setup));
    Ok(address)
}

pub(crate) fn directions() -> Vec<Direction> {
    DIRECTIONS.map(|direction| direction.parse().expect("a direction")).to_vec()
}

/// Listed with a limit that no measurement reaches.
fn listed(name: ExchangeName) -> ListedExchange {
    ListedExchange { name, enabled: true, stale_after: Duration::from_secs(3600), official_of: None }
}

/// Brings every exchange up, with its first quotes.
fn introduction() -> Vec<Event> {
    let (at, epoch) = (clock::now(), Epoch(1));
    let mut events = Vec::new();
    for exchange in [BINANCE, KRAKEN, CBR] {
        let quoted = QUOTED.iter().filter(|(who, _, _)| *who == exchange);
        let listens_to = quoted.map(|(_, direction, _)| *direction).collect();
        events.push(Event::Life(ReportLife { exchange, at, life: Life::Started(epoch) }));
        events.push(Event::Listing(ReportListing { exchange, epoch, listens_to, unsupported: Vec::new() }));
        let link = Link::Up(Transport::WebSocket);
        events.push(Event::Link(ReportLink { exchange, epoch, at, link }));
    }
    events.extend((0..QUOTED.len()).map(|row| Event::Quotes(report(row, 1, 0))));
    events
}

/// The quotes of one message: some of one direction, the middle of each a little above the last one's.
fn report(row: usize, num_quotes: usize, number: usize) -> ReportQuotes {
    let (exchange, direction, cents) = QUOTED[row];
    let quote = |nth: usize| {
        let middle = cents * 100 + ((number + nth) % 50) as i64;
        Quote::book(direction, Decimal::new(middle - 1, 4), Decimal::new(middle + 1, 4))
    };
    ReportQuotes {
        exchange,
        epoch: Epoch(1),
        transport: Transport::WebSocket,
        received_at: clock::now(),
        quotes: (0..num_quotes).map(quote).collect(),
        refused: Vec::new(),
    }
}

async fn answer(book: &Addr<RateBook>) {
    let asked = book.send(GetCourses::default()).timeout(LIMIT).await;
    let answer = asked.expect("the book lives").expect("everything is fresh");
    assert_eq!(answer.courses.len(), DIRECTIONS.len(), "{answer:?}");
}

/// Quotes per second over one round.
async fn round(
    book: &Addr<RateBook>,
    length: Duration,
    quotes_per_message: usize,
    messages_per_answer: usize,
) -> f64 {
    let (began_at, mut num_messages) = (Instant::now(), 0);
    while began_at.elapsed() < length {
        for _ in 0..BURST / messages_per_answer {
            for _ in 0..messages_per_answer {
                book.do_send(report(num_messages % 2, quotes_per_message, num_messages));
                num_messages += 1;
            }
            answer(book).await;
        }
    }
    (num_messages * quotes_per_message) as f64 / began_at.elapsed().as_secs_f64()
}

/// Quotes per second over one round in which each is followed by a question for the crosses of all ten directions,
/// asked without waiting for the answers before it, so that the book itself is measured and not the way to it.
async fn round_in_flight(book: &Addr<RateBook>, length: Duration) -> f64 {
    let (began_at, mut num_quotes) = (Instant::now(), 0);
    let mut asked = Vec::new();
    while began_at.elapsed() < length {
        let mut next = Vec::with_capacity(BURST);
        for _ in 0..BURST {
            book.do_send(report(num_quotes % 2, 1, num_quotes));
            num_quotes += 1;
            next.push(book.send(GetCourses::default()));
        }
        // The book has these to do while the answers to those before them are looked at.
        check_answers(std::mem::replace(&mut asked, next)).await;
    }
    check_answers(asked).await;
    num_quotes as f64 / began_at.elapsed().as_secs_f64()
}

async fn check_answers(asked: Vec<Request<RateBook, GetCourses>>) {
    for asked in join_all(asked).await {
        let answer = asked.expect("the book lives").expect("everything is fresh");
        assert_eq!(answer.courses.len(), DIRECTIONS.len(), "{answer:?}");
    }
}

/// Quotes per second over one round that drives the book itself: what is left of the rounds above when messages,
/// threads and futures are taken away.
fn round_alone(book: &mut Book, request: &GetCourses, length: Duration) -> f64 {
    let (began_at, mut num_quotes) = (Instant::now(), 0);
    while began_at.elapsed() < length {
        for _ in 0..BURST {
            book.apply(Event::Quotes(report(num_quotes % 2, 1, num_quotes)), clock::now());
            let answer = book.courses(request, clock::now()).expect("everything is fresh");
            assert_eq!(answer.courses.len(), DIRECTIONS.len(), "{answer:?}");
            num_quotes += 1;
        }
    }
    num_quotes as f64 / began_at.elapsed().as_secs_f64()
}
