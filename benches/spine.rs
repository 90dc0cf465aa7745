//! How fast the way of a quote is, from frame to answer, and how much of that is ours: `cargo bench --bench spine`.
//!
//! Every figure stands beside what the same machine does in the same minute with nothing of ours in between, since
//! figures of different machines and different days say nothing to each other. Without `--bench` every round is
//! short, which only shows that it runs.

#![expect(clippy::print_stdout, reason = "what was measured is shown")]

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use self::support::bare::{self, Body};
use self::support::client::{self, Connection, LIMIT};
use self::support::load::Load;
use self::support::pusher::Pusher;
use self::support::rounds::{interleave, print_rates, print_times};
use self::support::sample::Sample;
use self::support::{book, frames};

mod support;

/// How long and how often is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) round: Duration,
    pub(crate) num_rounds: usize,
    /// Frames whose way to an answer is timed.
    num_frames: usize,
}

const FULL: Scale = Scale { round: Duration::from_secs(2), num_rounds: 7, num_frames: 2_000 };
const SHORT: Scale = Scale { round: Duration::from_millis(20), num_rounds: 1, num_frames: 20 };

/// Connections of the load: enough that the server always has work, on one thread so that it leaves it the cores.
const CONNECTIONS: usize = 64;

fn main() -> io::Result<()> {
    let scale = if std::env::args().any(|argument| argument == "--bench") { FULL } else { SHORT };
    book::measure(scale);
    frames::measure(scale)?;
    let service = book::serve(&book::start())?;
    measure_requests(scale, &[("ratebook", service, "/v1/courses")])?;
    measure_visibility(scale, Vec::new())
}

/// Requests per second of `services` (name, address, path), beside a handler that gives the same bytes as the first.
fn measure_requests(scale: Scale, services: &[(&str, SocketAddr, &'static str)]) -> io::Result<()> {
    let load = Load { connections: CONNECTIONS, length: scale.round };
    let Some((_, address, path)) = services.first() else { return Ok(()) };
    let bytes = Connection::open(*address)?.ask(&client::get(*address, path))?.1.to_vec();
    let bare = bare::handler(Body::new(Bytes::from(bytes).into()))?;
    let mut latencies = Vec::new();
    let all = [&[("a handler that gives the same bytes", bare, "/")], services].concat();
    for (name, address, path) in &all {
        latencies.push(((*name).to_owned(), load.run(*address, path)?.latencies));
    }
    let round = |(name, address, path): (&str, SocketAddr, &'static str)| {
        let run = move || load.run(address, path).map_or(f64::NAN, |served| served.per_second);
        (name.to_owned(), Box::new(run) as Box<dyn FnMut() -> f64>)
    };
    let measured = interleave(scale.num_rounds, all.into_iter().map(round).collect());
    print_rates(&format!("Requests over {CONNECTIONS} connections"), "requests/s", &measured);
    print_times("Time of one of those requests", &latencies);
    Ok(())
}

/// Something that turns frames of a socket into answers.
struct Follower {
    name: String,
    pusher: Pusher,
    address: SocketAddr,
    path: &'static str,
    /// The frame number `n`, and what its answer contains.
    frame: fn(usize) -> (String, String),
}

/// Time from a frame's way into the socket until a busy client sees it in an answer.
fn measure_visibility(scale: Scale, mut followers: Vec<Follower>) -> io::Result<()> {
    let pusher = Pusher::start(|_| None)?;
    let address = bare::echo(pusher.address)?;
    let frame = |n: usize| {
        let mark = format!("{}.{:02}", 60_000 + n / 100, n % 100);
        (format!(r#"{{"value":{mark}}}"#), mark)
    };
    followers.insert(
        0,
        Follower { name: "a socket echoed by a handler".to_owned(), pusher, address, path: "/", frame },
    );
    let mut times = vec![Vec::new(); followers.len()];
    for follower in &followers {
        let began_at = Instant::now();
        while follower.pusher.num_listeners() == 0 {
            if began_at.elapsed() > LIMIT {
                return Err(io::Error::other(format!("{} does not listen", follower.name)));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    // Blocks rather than single frames, so that each follower is as warm as it is in real use.
    let block = 100.min(scale.num_frames);
    for first in (0..scale.num_frames).step_by(block) {
        for (follower, times) in followers.iter().zip(&mut times) {
            let mut connection = Connection::open(follower.address)?;
            for number in first..first + block {
                times.push(time_to_see(follower, &mut connection, number + 1)?);
            }
        }
    }
    let names = followers.into_iter().map(|follower| follower.name);
    let measured: Vec<(String, Sample)> = names.zip(times.into_iter().map(Sample::new)).collect();
    print_times("From frame to answer", &measured);
    Ok(())
}

/// The time for one frame, in microseconds.
fn time_to_see(follower: &Follower, connection: &mut Connection, number: usize) -> io::Result<f64> {
    let (frame, mark) = (follower.frame)(number);
    let request = client::get(follower.address, follower.path);
    let look = || {
        let began_at = Instant::now();
        while began_at.elapsed() < LIMIT {
            let (_, body) = connection.ask(&request)?;
            if body.windows(mark.len()).any(|window| window == mark.as_bytes()) {
                return Ok(Instant::now());
            }
        }
        Err(io::Error::other(format!("{}: `{mark}` was never seen", follower.name)))
    };
    let (sent_at, seen_at) = follower.pusher.push(frame, look).map_err(io::Error::other)?;
    Ok((seen_at? - sent_at).as_secs_f64() * 1e6)
}
