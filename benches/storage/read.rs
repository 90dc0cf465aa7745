//! How long history takes: a day of candles and pages of quotes, from the reader itself and over HTTP.

use std::net::SocketAddr;

use chrono::TimeDelta;
use ratebook::history::{Interval, MAX_PAGE, Range};
use ratebook::market::Direction;
use ratebook::persist::Reader;
use tokio::time::Instant;

use crate::market_day::{EXCHANGES, MarketDay, midnight};
use crate::measuring::client::{self, Connection};
use crate::measuring::rounds::print_times;
use crate::measuring::sample::Sample;
use crate::target::Target;
use crate::{Scale, service};

/// Records of a transaction while the database is filled.
const BATCH: usize = 10_000;

/// A market's day, as a question over HTTP.
const DAY: &str = "/v1/history?direction=BTC-USDT&exchanger=binance&interval=1m&limit=1440\
                   &from=2026-11-20T00:00:00Z&to=2026-11-21T00:00:00Z";

pub(crate) fn measure(scale: Scale) {
    let targets = [Target::sqlite(), Target::durable_postgres()];
    for target in &targets {
        let mut store = target.store();
        let mut day = MarketDay::of_one(scale.num_ticks);
        for _ in 0..scale.num_ticks.div_ceil(BATCH) {
            store.write(&day.batch(BATCH.min(scale.num_ticks))).unwrap();
        }
        // All the other markets, so that there is something to pass over.
        for rows in MarketDay::of_all().batch(scale.num_ticks).chunks(BATCH) {
            store.write(rows).unwrap();
        }
    }
    questions(&targets, scale.num_questions);
}

/// Asks all questions in turns, and prints how long each took.
pub(crate) fn questions(targets: &[Target], num_questions: usize) {
    let asked: Vec<Asked> = targets.iter().map(Asked::new).collect();
    type Question = (&'static str, fn(&mut Asked) -> Vec<f64>, usize);
    let all: [Question; 4] = [
        ("a day of candles of a minute", Asked::candles, 1),
        ("the same over HTTP", Asked::candles_over_http, 1),
        ("10,000 quotes, one of ten pages", Asked::pages, 10),
        ("four courses of a past time, over HTTP", Asked::past_courses, 1),
    ];
    let mut asked = asked;
    for (question, ask, share) in all {
        let mut times = vec![Vec::new(); targets.len()];
        for round in 0..=(num_questions / share).max(1) {
            for (asked, times) in asked.iter_mut().zip(&mut times) {
                let taken = ask(asked);
                // The first opens connections.
                if round > 0 {
                    times.extend(taken);
                }
            }
        }
        let names = targets.iter().map(|target| target.name.to_owned());
        let measured: Vec<(String, Sample)> = names.zip(times.into_iter().map(Sample::new)).collect();
        print_times(question, &measured);
    }
}

/// Who is asked.
struct Asked {
    reader: Reader,
    address: SocketAddr,
    connection: Connection,
    num_asked: usize,
}

impl Asked {
    fn new(target: &Target) -> Self {
        let address = service::serve(target);
        let connection = Connection::open(address).unwrap();
        Self { reader: Reader::new(&target.url, &EXCHANGES), address, connection, num_asked: 0 }
    }

    fn candles(&mut self) -> Vec<f64> {
        let began_at = Instant::now();
        let page = self.reader.candles(day(), Interval::Minute).unwrap();
        let taken = micros(began_at);
        assert!(page.next.is_none() && !page.rows.is_empty());
        vec![taken]
    }

    fn candles_over_http(&mut self) -> Vec<f64> {
        vec![self.ask(DAY, br#""exchanger":"binance""#)]
    }

    /// The first ten pages of the day, each by itself.
    fn pages(&mut self) -> Vec<f64> {
        let (mut range, mut times) = (day(), Vec::new());
        while times.len() < 10 {
            let began_at = Instant::now();
            let page = self.reader.ticks(range).unwrap();
            times.push(micros(began_at));
            let Some(next) = page.next else { break };
            range.from = next;
        }
        times
    }

    /// At another second each time.
    fn past_courses(&mut self) -> Vec<f64> {
        self.num_asked += 1;
        let at = midnight() + TimeDelta::seconds(20 + i64::try_from(self.num_asked % 30).unwrap());
        let at = at.format("%Y-%m-%dT%H:%M:%SZ");
        let path = format!("/v1/courses?directions=BTC-USD,BTC-USDT,ETH-USD,USDT-USD&at={at}");
        vec![self.ask(&path, b"BTC-USD")]
    }

    fn ask(&mut self, path: &str, part: &[u8]) -> f64 {
        let request = client::get(self.address, path);
        let began_at = Instant::now();
        let (status, body) = self.connection.ask(&request).unwrap();
        let taken = micros(began_at);
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(body));
        assert!(body.windows(part.len()).any(|window| window == part), "{path}");
        taken
    }
}

fn micros(began_at: Instant) -> f64 {
    began_at.elapsed().as_secs_f64() * 1e6
}

/// The whole day of one market.
fn day() -> Range {
    let direction: Direction = "BTC-USDT".parse().unwrap();
    let (from, to) = (midnight(), midnight() + TimeDelta::days(1));
    Range { direction, exchange: Some(EXCHANGES[0]), from, to, limit: MAX_PAGE }
}
