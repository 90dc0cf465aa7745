//! The service that is broken: the program's own parts in a process of its own, with one numbered stream of quotes.
//!
//! Every quote goes the whole way, through RateBook's gates, the hand-over and the Persister. Its bid says its number,
//! and what RateBook has accepted is told on standard output, so that whoever started this keeps the list outside.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use actix::prelude::*;
use chrono::{TimeDelta, Utc};
use ratebook::app::Service;
use ratebook::clock;
use ratebook::config::{Role, Settings};
use ratebook::logging;
use ratebook::market::{Direction, ExchangeName, Quote, Transport, Validity};
use ratebook::rate_book::{Epoch, Link, RateBook, ReportLink, ReportListing, ReportQuotes};
use rust_decimal::Decimal;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Between two bursts of quotes.
const TICK: Duration = Duration::from_millis(10);

/// How long RateBook may take for a burst.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first number's price. A number is worth a ten-thousandth, so that ten million stay within what bitcoin may cost.
const FIRST_BID: i64 = 50_000;

/// What the runner tells the service to be, as arguments.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) database_url: String,
    pub(crate) directory: PathBuf,
    /// The first number.
    pub(crate) from: u64,
    pub(crate) quotes_per_second: u64,
    pub(crate) outbox: PathBuf,
    pub(crate) outbox_limit: u64,
    /// Whether anything is quoted at all.
    pub(crate) is_quoting: bool,
}

impl Plan {
    pub(crate) fn arguments(&self) -> Vec<String> {
        vec![
            "--service".to_owned(),
            self.database_url.clone(),
            self.directory.display().to_string(),
            self.from.to_string(),
            self.quotes_per_second.to_string(),
            self.outbox.display().to_string(),
            self.outbox_limit.to_string(),
            self.is_quoting.to_string(),
        ]
    }

    fn read(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut next = || arguments.next().expect("an argument");
        Self {
            database_url: next(),
            directory: next().into(),
            from: next().parse().unwrap(),
            quotes_per_second: next().parse().unwrap(),
            outbox: next().into(),
            outbox_limit: next().parse().unwrap(),
            is_quoting: next().parse().unwrap(),
        }
    }
}

/// The bid that says this number.
pub(crate) fn bid_of(number: u64) -> Decimal {
    Decimal::from(FIRST_BID) + Decimal::new(i64::try_from(number).unwrap(), 4)
}

/// The number that a bid says, as a database or a journal wrote it.
pub(crate) fn number_of(bid: &str) -> u64 {
    let number = (bid.parse::<Decimal>().unwrap() - Decimal::from(FIRST_BID)) * Decimal::from(10_000);
    u64::try_from(number).unwrap()
}

/// Runs the service until it is killed, told to stop by SIGTERM, or alone: whoever started it holds its standard input.
/// SIGUSR1 makes it quote nothing more.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    let plan = Plan::read(arguments);
    std::thread::spawn(|| {
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        std::process::exit(1);
    });
    let _scenario = fail::FailScenario::setup();
    logging::start(None, false, logging::Format::Text);
    let settings = Settings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        database_url: plan.database_url.clone(),
        state_file: plan.directory.join("state.json"),
        roles: vec![Role::Answer, Role::Store],
        storage: ratebook::config::StorageSettings {
            every: Duration::ZERO,
            outbox: plan.outbox.clone(),
            outbox_limit: plan.outbox_limit,
            ..Settings::default().storage
        },
        ..Settings::default()
    };
    System::new().block_on(async move {
        let service = Service::start(settings).await.unwrap();
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        let quiet = signal(SignalKind::user_defined1()).unwrap();
        say(&format!("listening {}", service.address()));
        let book = service.book().clone();
        tokio::select! {
            () = quote(&book, &plan, quiet), if plan.is_quoting => {}
            _ = terminate.recv() => {}
        }
        service.stop().await;
        say("stopped");
    });
    logging::flush();
    ExitCode::SUCCESS
}

fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    output.write_all(format!("{line}\n").as_bytes()).unwrap();
    output.flush().unwrap();
}

/// Quotes until it is told to be quiet, and then says how many quotes there were: the numbered stream, and what the
/// other directions need. Each differs from the one before it, so that each is kept.
async fn quote(book: &Addr<RateBook>, plan: &Plan, mut quiet: Signal) {
    let (binance, coingecko, cbr) =
        (ExchangeName::new("binance"), ExchangeName::new("coingecko"), ExchangeName::new("cbr"));
    for (exchange, listed) in
        [(binance, vec!["BTC-USDT", "ETH-USDT"]), (coingecko, vec!["USDT-USD"]), (cbr, vec!["USD-RUB"])]
    {
        let listens_to = listed.into_iter().map(direction).collect();
        let listing = ReportListing { exchange, epoch: Epoch(1), listens_to, unsupported: Vec::new() };
        book.send(listing).timeout(PATIENCE).await.unwrap();
        let link = Link::Up(Transport::WebSocket);
        let link = ReportLink { exchange, epoch: Epoch(1), at: clock::now(), link };
        book.send(link).timeout(PATIENCE).await.unwrap();
    }
    let starts_at = Utc::now() - TimeDelta::hours(1);
    let validity = Validity::Fixing { starts_at, ends_at: starts_at + TimeDelta::days(5) };
    let fixing = Quote { validity, ..Quote::last(direction("USD-RUB"), Decimal::new(7_941, 2)) };
    report(book, cbr, vec![fixing]).await;

    let mut number = plan.from;
    let began_at = clock::now();
    let mut tick = 0_u64;
    let mut total = 1;
    loop {
        let due = plan.from + tick_share(plan.quotes_per_second, tick);
        let numbered = (number..due).map(|number| {
            let bid = bid_of(number);
            Quote::book(direction("BTC-USDT"), bid, bid + Decimal::new(5, 1))
        });
        let mut quotes: Vec<Quote> = numbered.collect();
        let eth = Decimal::new(2_500_000 + i64::try_from(tick % 1000).unwrap(), 3);
        quotes.push(Quote::book(direction("ETH-USDT"), eth, eth + Decimal::ONE));
        total += quotes.len();
        report(book, binance, quotes).await;
        if tick.is_multiple_of(50) {
            let tether = Quote::last(
                direction("USDT-USD"),
                Decimal::new(9_990 + i64::from(tick.is_multiple_of(100)), 4),
            );
            report(book, coingecko, vec![tether]).await;
            total += 1;
        }
        if due > number {
            number = due;
            say(&format!("accepted {}", number - 1));
        }
        tick += 1;
        let next = TICK * u32::try_from(tick).unwrap();
        tokio::select! {
            () = tokio::time::sleep(next.saturating_sub(clock::now().since(began_at))) => {}
            _ = quiet.recv() => {
                say(&format!("quiet {total}"));
                std::future::pending::<()>().await;
            }
        }
    }
}

/// How many quotes are due after so many ticks.
fn tick_share(per_second: u64, ticks: u64) -> u64 {
    per_second * ticks / 100
}

async fn report(book: &Addr<RateBook>, exchange: ExchangeName, quotes: Vec<Quote>) {
    let report = ReportQuotes {
        exchange,
        epoch: Epoch(1),
        transport: Transport::WebSocket,
        received_at: clock::now(),
        quotes,
        refused: Vec::new(),
    };
    book.send(report).timeout(PATIENCE).await.unwrap();
}

fn direction(text: &str) -> Direction {
    text.parse().unwrap()
}
