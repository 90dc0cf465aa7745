//! A hub that is told more than it can take in at once.
//!
//! The hub is the program's own, in a process of its own, and is told quotes in bursts that are larger than its mailbox.
//! What it has no room for is kept by whoever says it, and of that the newest.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use actix::dev::SendError;
use actix::prelude::*;
use ratebook::app::Service;
use ratebook::clock;
use ratebook::config::{Role, Settings};
use ratebook::market::{Direction, ExchangeName, Quote, Transport};
use ratebook::rate_book::{Epoch, Link, RateBook, ReportLink, ReportListing, ReportQuotes};
use rust_decimal::Decimal;
use tokio::time::Instant;

use crate::outside::wait_until;
use crate::row::{Figures, Options};
use crate::wire::Wire;

/// Who tells quotes, of which directions.
const EXCHANGES: [&str; 2] = ["binance", "kraken"];
const DIRECTIONS: [&str; 2] = ["BTC-USDT", "ETH-USDT"];

/// Messages of each for each direction in one burst, and between two bursts: 50,000 a second together.
const BURST: u64 = 2_500;
const BURST_EVERY: Duration = Duration::from_millis(200);

/// What memory may grow by, and how old a course may be.
const MOST_MEMORY_KIB: u64 = 32 * 1024;
const MOST_AGE: Duration = Duration::from_secs(1);

/// The first price; each message is a hundredth more.
const FIRST: i64 = 50_000;

/// The process that is flooded.
struct Flooded {
    child: Child,
    address: SocketAddr,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Drop for Flooded {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Flooded {
    fn start(directory: &std::path::Path, length: Duration) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--flood", &length.as_millis().to_string()])
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.next().unwrap().unwrap().strip_prefix("listening ").unwrap().parse().unwrap();
        Self { child, address, lines }
    }

    fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

pub(super) fn full(options: &Options) -> Figures {
    let directory = tempfile::tempdir().unwrap();
    let length = options.scaled(Duration::from_secs(5), Duration::from_secs(60));
    let mut flooded = Flooded::start(directory.path(), length);
    let mut wire = Wire::to(flooded.address);
    let path = format!("/v1/courses?directions={}", DIRECTIONS.join(","));
    wait_until("courses are answered", || wire.ask(&path).is_ok_and(|answer| answer.status == 200));
    let (before, began) = (flooded.memory_kib(), Instant::now());
    let (mut num_answers, mut not_200, mut oldest, mut memory) = (0, 0, Duration::ZERO, before);
    while began.elapsed() < length {
        for exchange in EXCHANGES {
            let answer = wire.ask(&format!("{path}&exchanger={exchange}")).unwrap_or_default();
            num_answers += 1;
            not_200 += u64::from(answer.status != 200);
            oldest = oldest.max(Duration::from_millis(answer.number("ratebook-age-ms").unwrap_or_default()));
        }
        memory = memory.max(flooded.memory_kib());
        thread::sleep(Duration::from_millis(10));
    }
    // How many were told, refused, and the last price, of each.
    let told: Vec<Vec<u64>> = EXCHANGES
        .iter()
        .map(|_| {
            let line = flooded.lines.next().unwrap().unwrap();
            line.split(' ').filter_map(|number| number.parse().ok()).collect()
        })
        .collect();
    let sum = |at: usize| told.iter().map(|numbers| numbers[at]).sum::<u64>();
    let (num_told, num_refused) = (sum(0), sum(1));
    let mut num_newest = 0;
    for exchange in EXCHANGES {
        let answer = wire.ask(&format!("{path}&exchanger={exchange}")).unwrap_or_default().json();
        let told = answer["courses"].as_array().into_iter().flatten();
        let last = told.filter_map(|course| course["value"].as_f64());
        num_newest += last.filter(|value| (value - price(BURST - 1).1).abs() < 1e-9).count();
    }
    let rate = num_told as f64 / length.as_secs_f64();
    let grown = memory.saturating_sub(before);
    Figures {
        pass: not_200 == 0
            && num_refused > 0
            && oldest <= MOST_AGE
            && grown <= MOST_MEMORY_KIB
            && num_newest == EXCHANGES.len() * DIRECTIONS.len(),
        n: num_told,
        measured: format!(
            "{rate:.0} messages a second, {num_refused} of {num_told} refused and kept by their producers; {not_200} of \
             {num_answers} answers not 200, the oldest course {} ms; memory +{:.1} MiB; {num_newest} of {} courses are the \
             newest",
            oldest.as_millis(),
            grown as f64 / 1024.0,
            EXCHANGES.len() * DIRECTIONS.len()
        ),
        target:
            "some are refused, every answer 200 and at most 1 s old, memory at most +32 MiB, the newest wins"
                .to_owned(),
        ..Figures::default()
    }
}

/// A hub that is flooded for the milliseconds of the first argument.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let length = Duration::from_millis(arguments.next().unwrap().parse().unwrap());
    thread::spawn(|| {
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        std::process::exit(1);
    });
    let settings = Settings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        database_url: "sqlite://:memory:".to_owned(),
        state_file: "state.json".into(),
        roles: vec![Role::Answer, Role::Store],
        ..Settings::default()
    };
    System::new().block_on(async move {
        let service = Service::start(settings).await.unwrap();
        say(&format!("listening {}", service.address()));
        let book = service.book().clone();
        let producers: Vec<_> = EXCHANGES
            .into_iter()
            .map(|name| {
                let book = book.clone();
                thread::spawn(move || flood(&book, ExchangeName::new(name), length))
            })
            .collect();
        for producer in producers {
            // The system goes on beside it.
            while !producer.is_finished() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let (told, refused) = producer.join().unwrap();
            say(&format!("{told} {refused}"));
        }
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}

fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    output.write_all(format!("{line}\n").as_bytes()).unwrap();
    output.flush().unwrap();
}

/// Bid and ask of the message of a burst that has this number, and their middle.
fn price(number: u64) -> ((Decimal, Decimal), f64) {
    let bid = Decimal::from(FIRST) + Decimal::new(i64::try_from(number).unwrap(), 2);
    ((bid, bid + Decimal::from(2)), FIRST as f64 + number as f64 / 100.0 + 1.0)
}

/// Says bursts of quotes, and says how many messages there were and how many of them the hub had no room for.
fn flood(book: &Addr<RateBook>, exchange: ExchangeName, length: Duration) -> (u64, u64) {
    let directions = DIRECTIONS.map(|text| text.parse::<Direction>().unwrap());
    let listing =
        ReportListing { exchange, epoch: Epoch(1), listens_to: directions.to_vec(), unsupported: Vec::new() };
    book.do_send(listing);
    let link = Link::Up(Transport::WebSocket);
    book.do_send(ReportLink { exchange, epoch: Epoch(1), at: clock::now(), link });
    let (began, mut next) = (Instant::now(), Instant::now());
    let (mut num_told, mut num_refused) = (0, 0);
    while began.elapsed() < length {
        let mut waiting: [Option<ReportQuotes>; 2] = [None, None];
        for number in 0..BURST {
            for (at, direction) in directions.iter().enumerate() {
                num_told += 1;
                waiting[at] = None;
                if let Err(refused) = book.try_send(report(exchange, *direction, number)) {
                    num_refused += 1;
                    waiting[at] = kept(refused);
                }
            }
        }
        // Only the newest of each direction is left, and is said until it is heard.
        for newest in &mut waiting {
            while let Some(message) = newest.take() {
                thread::sleep(Duration::from_millis(1));
                *newest = book.try_send(message).err().and_then(kept);
            }
        }
        next += BURST_EVERY;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    (num_told, num_refused)
}

fn kept(refused: SendError<ReportQuotes>) -> Option<ReportQuotes> {
    match refused {
        SendError::Full(message) => Some(message),
        SendError::Closed(_) => panic!("the hub is gone"),
    }
}

fn report(exchange: ExchangeName, direction: Direction, number: u64) -> ReportQuotes {
    let ((bid, ask), _) = price(number);
    ReportQuotes {
        exchange,
        epoch: Epoch(1),
        transport: Transport::WebSocket,
        received_at: clock::now(),
        quotes: vec![Quote::book(direction, bid, ask)],
        refused: Vec::new(),
    }
}
