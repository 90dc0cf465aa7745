//! How many quotes a second the actor `RateBook` takes, and how many questions of ten directions it answers.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use actix::prelude::*;
use futures_util::future::join_all;
use ratebook::clock;
use ratebook::http::{self, HttpSetup};
use ratebook::market::{Direction, ExchangeName, Quote, Transport};
use ratebook::rate_book::{
    BookFailed, BookSettings, Epoch, GetCourses, Life, Link, ListedExchange, RateBook, ReportLife,
    ReportLink, ReportListing, ReportQuotes, UsdtUsdLeg,
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
const QUOTED: [(ExchangeName, &str, i64); 5] = [
    (BINANCE, "BTC-USDT", 6_400_000),
    (BINANCE, "ETH-USDT", 180_000),
    (KRAKEN, "USDT-USD", 100),
    (CBR, "USD-RUB", 8_000),
    (CBR, "EUR-RUB", 9_000),
];

const BINANCE: ExchangeName = ExchangeName::new("binance");
const KRAKEN: ExchangeName = ExchangeName::new("kraken");
const CBR: ExchangeName = ExchangeName::new("cbr");

/// Messages that are sent before the book is waited for, so that its queue stays short.
const BURST: usize = 500;

/// Measures the actor on a thread of its own, as the service runs it.
pub(crate) fn measure(scale: Scale) {
    let book = start();
    let system = System::new();
    let contender = |name: &str, quotes_per_message: usize, messages_per_answer: usize| {
        let (book, system) = (&book, &system);
        let run = move || system.block_on(round(book, scale.round, quotes_per_message, messages_per_answer));
        (name.to_owned(), Box::new(run) as Box<dyn FnMut() -> f64>) as Contender<'_>
    };
    let in_flight = || system.block_on(round_in_flight(&book, scale.round));
    let contenders = vec![
        contender("one quote a message", 1, BURST),
        contender("twenty quotes a message", 20, BURST),
        contender("one quote, then ten directions answered", 1, 1),
        ("the same, without waiting for each answer".to_owned(), Box::new(in_flight)),
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

/// Starts a book in which everything is fresh and stays so.
pub(crate) fn start() -> Addr<RateBook> {
    let (address, started) = channel();
    let run = move || {
        System::new().block_on(async move {
            let settings = BookSettings {
                directions: directions(),
                priority: vec![BINANCE, KRAKEN],
                fail_back_after: Duration::from_secs(15),
                hold_reference: Duration::from_secs(3600),
                usdt_usd: UsdtUsdLeg::Reference,
                reference_priority: vec![KRAKEN],
                fiat_priority: vec![CBR],
                exchanges: [BINANCE, KRAKEN, CBR].map(listed).to_vec(),
            };
            address
                .send(RateBook::new(settings, Nobody.start().recipient()).start())
                .expect("somebody waits for it");
            std::future::pending::<()>().await;
        });
    };
    thread::Builder::new().name("rate-book".to_owned()).spawn(run).expect("a thread");
    let book = started.recv_timeout(LIMIT).expect("the book starts");
    System::new().block_on(introduce(&book));
    book
}

/// Serves a book over HTTP as the service does.
pub(crate) fn serve(book: &Addr<RateBook>) -> io::Result<SocketAddr> {
    let listener = http::listen(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = listener.local_addr()?;
    let setup = HttpSetup {
        courses: book.clone().recipient(),
        health: book.clone().recipient(),
        directions: directions().into(),
        exchanges: [BINANCE, KRAKEN, CBR].into(),
        max_connections: 2_000,
        cors_origins: Vec::new(),
        started_at: clock::now(),
    };
    in_background("http", move || http::serve(listener, setup));
    Ok(address)
}

fn directions() -> Vec<Direction> {
    DIRECTIONS.map(|direction| direction.parse().expect("a direction")).to_vec()
}

/// Listed with a limit that no measurement reaches.
fn listed(name: ExchangeName) -> ListedExchange {
    ListedExchange { name, enabled: true, stale_after: Duration::from_secs(3600) }
}

/// Brings every exchange up, with its first quotes.
async fn introduce(book: &Addr<RateBook>) {
    let at = clock::now();
    for exchange in [BINANCE, KRAKEN, CBR] {
        let quoted = QUOTED.iter().filter(|(who, _, _)| *who == exchange);
        let listens_to = quoted.map(|(_, direction, _)| direction.parse().expect("a direction")).collect();
        let epoch = Epoch(1);
        book.do_send(ReportLife { exchange, at, life: Life::Started(epoch) });
        book.do_send(ReportListing { exchange, epoch, listens_to, unsupported: Vec::new() });
        book.do_send(ReportLink { exchange, epoch, at, link: Link::Up(Transport::WebSocket) });
    }
    for row in 0..QUOTED.len() {
        book.do_send(report(row, 1, 0));
    }
    answer(book).await;
}

/// The quotes of one message: some of one direction, the price of each a little above the last one's.
fn report(row: usize, num_quotes: usize, number: usize) -> ReportQuotes {
    let (exchange, direction, cents) = QUOTED[row];
    let direction = direction.parse().expect("a direction");
    let quote = |nth: usize| {
        let bid = Decimal::new(cents * 100 + ((number + nth) % 50) as i64, 4);
        Quote::book(direction, bid, bid + Decimal::new(1, 4))
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
    while began_at.elapsed() < length {
        let mut answers = Vec::with_capacity(BURST);
        for _ in 0..BURST {
            book.do_send(report(num_quotes % 2, 1, num_quotes));
            num_quotes += 1;
            answers.push(book.send(GetCourses::default()));
        }
        for asked in join_all(answers).await {
            let answer = asked.expect("the book lives").expect("everything is fresh");
            assert_eq!(answer.courses.len(), DIRECTIONS.len(), "{answer:?}");
        }
    }
    num_quotes as f64 / began_at.elapsed().as_secs_f64()
}
