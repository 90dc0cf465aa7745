//! How long a price takes from an exchange's frame to an answer: through the service, and through a bare echo.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use actix::prelude::*;
use ratebook::exchange::actor::{ExchangeActor, ExchangeSetup, Limits};
use ratebook::exchange::bans::Bans;
use ratebook::exchange::dial_budget::DialBudget;
use ratebook::exchange::tls::tls_config;
use ratebook::exchange::{self, Access, Scope};
use ratebook::metrics::ExchangeMetrics;
use ratebook::rate_book::{Epoch, RateBook};
use ratebook::supervisor::Incarnation;
use tokio::time::Instant;

use super::client::{self, Connection, LIMIT};
use super::pusher::Pusher;
use super::rounds::print_times;
use super::sample::Sample;
use super::{bare, book};
use crate::Scale;

/// Frames in a row for one follower: so many that it is as warm as in real use, so few that a busy minute hits all
/// followers alike.
const BLOCK: usize = 100;

/// A quote of the coin whose price stands still.
const ETHER: &str = r#"{"u":1,"s":"ETHUSDT","b":"1799.99","B":"3.5","a":"1800.01","A":"2.25"}"#;

/// Something that turns frames of a socket into answers.
struct Follower {
    name: &'static str,
    pusher: Pusher,
    address: SocketAddr,
    path: &'static str,
    /// The frame number `n`, and what an answer contains once it has been taken in. Every frame has another price.
    frame: fn(usize) -> (String, String),
}

/// Times from a frame's way into the socket until a client that keeps asking sees its price in an answer.
pub(crate) fn measure(scale: Scale) -> io::Result<()> {
    let followers = [echo()?, service()?];
    let mut times = vec![Vec::new(); followers.len()];
    for first in (0..scale.num_frames).step_by(BLOCK) {
        for (follower, times) in followers.iter().zip(&mut times) {
            let mut connection = Connection::open(follower.address)?;
            // The first frame of a block finds a cold connection, and does not count.
            follower.time_to_see(&mut connection, first + first / BLOCK)?;
            for number in first..scale.num_frames.min(first + BLOCK) {
                times.push(follower.time_to_see(&mut connection, number + first / BLOCK + 1)?);
            }
        }
    }
    let names = followers.iter().map(|follower| follower.name.to_owned());
    let measured: Vec<(String, Sample)> = names.zip(times.into_iter().map(Sample::new)).collect();
    print_times("From frame to answer", &measured);
    Ok(())
}

/// A socket whose last frame a handler gives: no reading, no rules, no choice.
fn echo() -> io::Result<Follower> {
    let pusher = Pusher::start(|_| None)?;
    let address = bare::echo(pusher.address)?;
    let frame = |number| (format!(r#"{{"value":{}}}"#, price(number, 1)), price(number, 1));
    let follower = Follower { name: "a socket echoed by a handler", pusher, address, path: "/", frame };
    follower.wait_until_it_follows(&[])?;
    Ok(follower)
}

/// The service: the actor of Binance on a socket, the book, and the HTTP server, each on threads of its own. The
/// answer has ten directions, of which a frame changes three.
fn service() -> io::Result<Follower> {
    let pusher = Pusher::start(acknowledgement)?;
    let book = book::start();
    let address = book::serve(&book)?;
    listen(pusher.address, book.address);
    let frame = |number: usize| {
        let (bid, middle, ask) = (price(number, 0), price(number, 1), price(number, 2));
        let frame =
            format!(r#"{{"u":{},"s":"BTCUSDT","b":"{bid}","B":"0.75","a":"{ask}","A":"1.5"}}"#, number + 1);
        (frame, format!(r#""direction":"BTC-USD","value":{middle}}}"#))
    };
    let follower = Follower { name: "ratebook", pusher, address, path: "/v1/courses", frame };
    // What the book was given before the actor came is not believed any more, so both coins are quoted anew.
    follower.wait_until_it_follows(&[ETHER])?;
    Ok(follower)
}

/// A price of its own for each number: cents and a digit behind them, which is 0 for the bid, 1 for the middle and 2
/// for the ask.
fn price(number: usize, digit: u8) -> String {
    format!("{}.{:02}{digit}", 60_000 + number / 100, number % 100)
}

/// What Binance says to a subscription.
fn acknowledgement(message: &str) -> Option<String> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    Some(format!(r#"{{"result":null,"id":{}}}"#, message.get("id")?))
}

/// Runs the actor of Binance on a thread of its own. What it asks by REST is refused by the same server, so that all
/// quotes come by the socket.
fn listen(exchange: SocketAddr, book: Addr<RateBook>) {
    let run = move || {
        System::new().block_on(async move {
            let row = exchange::row("binance").expect("a row");
            let rest_url = format!("http://{exchange}");
            let access = Access { rest_url: rest_url.clone(), api_key: None };
            let setup = ExchangeSetup {
                name: row.name,
                plugin: Arc::new(move || (row.make)(&access, Scope::Directions(book::directions()))),
                rest_url,
                ws_url: format!("ws://{exchange}"),
                // So long that nothing quiet is confirmed by REST.
                stale_after: Duration::from_secs(3600),
                poll_every: row.poll_every,
                quotes: book.clone().recipient(),
                links: book.clone().recipient(),
                listings: book.clone().recipient(),
                reconnects: book.recipient(),
                tls: tls_config(None).expect("the built-in authorities are good"),
                bans: Bans::in_memory(),
                budget: DialBudget::default(),
                metrics: ExchangeMetrics::default(),
                limits: Limits::default(),
            };
            let Incarnation { epoch, lifeline, progress } = Incarnation::unsupervised(1);
            ExchangeActor::new(setup, Epoch(epoch), lifeline, progress).start();
            std::future::pending::<()>().await;
        });
    };
    thread::Builder::new().name("binance".to_owned()).spawn(run).expect("a thread");
}

impl Follower {
    /// Repeats frame 0, and others before it, until an answer shows it: so sockets stand and subscriptions too.
    fn wait_until_it_follows(&self, others: &[&str]) -> io::Result<()> {
        let (frame, mark) = (self.frame)(0);
        let mut connection = Connection::open(self.address)?;
        let began_at = Instant::now();
        while began_at.elapsed() < LIMIT {
            for frame in others.iter().copied().chain([frame.as_str()]) {
                // Nobody may be listening yet.
                self.pusher.push(frame.to_owned(), || ()).ok();
            }
            if contains(connection.ask(&client::get(self.address, self.path))?.1, &mark) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Err(io::Error::other(format!("{} does not follow its socket", self.name)))
    }

    /// The time for one frame, in microseconds.
    fn time_to_see(&self, connection: &mut Connection, number: usize) -> io::Result<f64> {
        let (frame, mark) = (self.frame)(number);
        let request = client::get(self.address, self.path);
        let look = || {
            let began_at = Instant::now();
            while began_at.elapsed() < LIMIT {
                let (_, body) = connection.ask(&request)?;
                if contains(body, &mark) {
                    return Ok(Instant::now());
                }
            }
            Err(io::Error::other(format!("{}: `{mark}` was never seen", self.name)))
        };
        let (sent_at, seen_at) = self.pusher.push(frame, look).map_err(io::Error::other)?;
        Ok((seen_at? - sent_at).as_secs_f64() * 1e6)
    }
}

fn contains(body: &[u8], mark: &str) -> bool {
    body.windows(mark.len()).any(|window| window == mark.as_bytes())
}
