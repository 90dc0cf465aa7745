//! Prices with more digits than a float holds, compared as texts from the frame to the answer.

use std::fmt;
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{groups, on_each, refused, site_of};
use crate::row::{Figures, Options};
use crate::site::Site;
use crate::wire::Wire;

/// Within this time a price that is said is a course.
const COMES_WITHIN: Duration = Duration::from_secs(2);

/// Directions whose prices get long ones; each market trades most of them.
const DIRECTIONS: [&str; 8] =
    ["BTC-USDT", "ETH-USDT", "SOL-USDT", "XRP-USDT", "LTC-USDT", "DOGE-USDT", "TRX-USDT", "SHIB-USDT"];

/// A book as texts, and the course that it makes.
#[derive(Debug, Clone)]
pub(crate) struct Book {
    pub(crate) direction: String,
    bid: String,
    ask: String,
    course: String,
}

impl Book {
    fn new(direction: &str, bid: &str, ask: &str, course: &str) -> Self {
        let [direction, bid, ask, course] = [direction, bid, ask, course].map(str::to_owned);
        Self { direction, bid, ask, course }
    }
}

/// How many courses were exactly what their book makes.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    pub(crate) exact: u64,
    pub(crate) differing: u64,
    example: Option<String>,
}

impl Compared {
    pub(crate) fn told(&self) -> String {
        let example = self.example.as_ref().map(|it| format!(", such as {it}")).unwrap_or_default();
        format!("{} courses exact to the last digit, {} not{example}", self.exact, self.differing)
    }

    fn and(self, other: Self) -> Self {
        Self {
            exact: self.exact + other.exact,
            differing: self.differing + other.differing,
            example: self.example.or(other.example),
        }
    }
}

impl fmt::Display for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} and {}", self.direction, self.bid, self.ask)
    }
}

/// A price of each direction with more digits than a float holds.
pub(crate) fn long_prices(directions: &[&str], seed: u64) -> Vec<Book> {
    let mut rng = StdRng::seed_from_u64(seed);
    let book = |direction: &&str| {
        // Digits that a course of this direction may begin with, and how many places these are.
        let (least, most, places) = match *direction {
            "BTC-USDT" => (6_000_000, 6_900_000, 2),
            "ETH-USDT" => (280_000, 320_000, 2),
            "SHIB-USDT" => (1_600, 1_800, 8),
            _ => (100_000, 900_000, 4),
        };
        let more = rng.random_range(12..=14_u32);
        let begin = i128::from(rng.random_range(least..most));
        let bid = begin * 10_i128.pow(more) + rng.random_range(0..10_i128.pow(more));
        let ask = bid + rng.random_range(1..1000);
        let decimal =
            |mantissa, scale| Decimal::from_i128_with_scale(mantissa, scale).normalize().to_string();
        let scale = places + more;
        Book::new(direction, &decimal(bid, scale), &decimal(ask, scale), &decimal((bid + ask) * 5, scale + 1))
    };
    directions.iter().map(book).collect()
}

/// Lets an exchange say these books, and compares the courses that come of them.
pub(crate) fn compare(site: &Site, exchange: &str, books: &[Book]) -> Compared {
    let control = site.control();
    for book in books {
        let fault = json!({
            "kind": "wrong_value", "symbol": book.direction, "bid": book.bid, "ask": book.ask, "last": book.bid,
        });
        control.order(exchange, &fault);
    }
    let asked: Vec<&str> = books.iter().map(|book| book.direction.as_str()).collect();
    let path = format!("/v1/courses?exchanger={exchange}&directions={}", asked.join(","));
    let mut wire = Wire::to(site.address);
    let began = Instant::now();
    let differing = loop {
        let body = wire.ask(&path).unwrap_or_default().body;
        let is_other = |book: &&Book| value_of(&body, &book.direction) != Some(book.course.as_str());
        let other: Vec<&Book> = books.iter().filter(is_other).collect();
        if other.is_empty() || began.elapsed() > COMES_WITHIN {
            let example = other.first().map(|book| {
                let value = value_of(&body, &book.direction);
                format!("{exchange}, {book}: {} ({})", value.unwrap_or("none"), book.course)
            });
            break (other.len() as u64, example);
        }
        thread::sleep(Duration::from_millis(5));
    };
    control.mend(exchange);
    let (differing, example) = differing;
    Compared { exact: books.len() as u64 - differing, differing, example }
}

/// The text of a course in a body, as it stands there.
fn value_of<'a>(body: &'a str, direction: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("\"direction\":\"{direction}\",\"value\":"))?;
    rest.split(['}', ',']).next()
}

pub(super) fn every_digit(options: &Options) -> Figures {
    on_each(groups(options), options, |group, options| {
        let num_rounds = options.scaled(8, 150);
        on_exchanges(group, options, |site, exchange, directions| {
            let rounds = (0..num_rounds).map(|round| {
                compare(site, exchange, &long_prices(directions, options.seed.wrapping_add(round)))
            });
            rounds.fold(Compared::default(), Compared::and)
        })
    })
}

pub(super) fn forms(options: &Options) -> Figures {
    let written = on_each(groups(options), options, |group, options| {
        on_exchanges(group, options, |site, exchange, directions| {
            let forms = [
                Book::new("BTC-USDT", "6.4E4", "64000.5", "64000.25"),
                Book::new("ETH-USDT", "3000.10", "300020e-2", "3000.15"),
                Book::new("DOGE-USDT", "1.25e-1", "125.2E-3", "0.1251"),
                Book::new("TRX-USDT", "0.1300000000000000000000000000000", "0.13002", "0.13001"),
                Book::new("SHIB-USDT", "8.42E-6", "0.00000843", "0.000008425"),
            ];
            let listed: Vec<Book> =
                forms.into_iter().filter(|book| directions.contains(&book.direction.as_str())).collect();
            compare(site, exchange, &listed)
        })
    });
    written.with(refused::no_exact_number(options))
}

/// Tries something on every exchange of a group at the same time.
fn on_exchanges(
    group: Vec<&'static str>,
    options: &Options,
    run: impl Fn(&Site, &str, &[&str]) -> Compared + Sync,
) -> Figures {
    let site = Site::start(site_of(&group, options).with("directions", &json!(DIRECTIONS).to_string()));
    site.settle();
    let told = site.control().get("truth");
    let compared = thread::scope(|scope| {
        let of_one = |exchange: &'static str| {
            let is_listed = |direction: &&&str| told["quotes"][exchange][**direction] != Value::Null;
            let directions: Vec<&str> = DIRECTIONS.iter().filter(is_listed).copied().collect();
            let (site, run) = (&site, &run);
            scope.spawn(move || run(site, exchange, &directions))
        };
        let running: Vec<_> = group.iter().map(|exchange| of_one(exchange)).collect();
        running.into_iter().map(|it| it.join().unwrap()).fold(Compared::default(), Compared::and)
    });
    Figures {
        pass: compared.differing == 0 && compared.exact > 0,
        n: compared.exact + compared.differing,
        measured: format!("{}: {}", group.join(", "), compared.told()),
        target: "no digit differs".to_owned(),
        ..Figures::default()
    }
}
