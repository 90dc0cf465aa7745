//! How fast the way of a quote is, from frame to answer, and how much of that is ours: `cargo bench --bench spine`.
//!
//! Every figure stands beside what the same machine does in the same minute with nothing of ours in between, since
//! figures of different machines and different days say nothing to each other. Without `--bench` every round is
//! short, which only shows that it runs. `cargo bench --bench spine -- book visibility` measures these parts only; the
//! others are `frames`, `requests`, `moving`, and `wrk`: `moving` as the program `wrk` sees it, in ten rounds.

#![expect(clippy::print_stdout, reason = "what was measured is shown")]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use self::support::bare::{self, Body};
use self::support::client::{self, Connection};
use self::support::load::Load;
use self::support::rounds::{interleave, print_rates, print_times};
use self::support::{book, frames, moving, visibility};

mod support;

/// How long and how often is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) round: Duration,
    pub(crate) num_rounds: usize,
    /// Frames whose way to an answer is timed.
    pub(crate) num_frames: usize,
}

const FULL: Scale = Scale { round: Duration::from_secs(2), num_rounds: 7, num_frames: 2_000 };
const SHORT: Scale = Scale { round: Duration::from_millis(20), num_rounds: 1, num_frames: 20 };

/// Connections of the load: enough that the server always has work, on one thread so that it leaves it the cores.
const CONNECTIONS: usize = 64;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let scale = if arguments.iter().any(|argument| argument == "--bench") { FULL } else { SHORT };
    let named: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |part: &str| named.is_empty() || named.iter().any(|name| *name == part);
    if is_wanted("book") {
        book::measure(scale);
    }
    if is_wanted("frames") {
        frames::measure(scale)?;
    }
    if is_wanted("requests") {
        let service = book::serve(&book::start())?;
        measure_requests(scale, &[("ratebook", service, "/v1/courses")])?;
    }
    if is_wanted("moving") {
        let load = Load { connections: CONNECTIONS, length: scale.round };
        moving::measure(load, scale.num_rounds, moving::Asker::Ours)?;
    }
    // By name alone, because it needs a program that is not always there.
    if named.iter().any(|name| *name == "wrk") {
        moving::measure(Load { connections: CONNECTIONS, length: scale.round }, 10, moving::Asker::Wrk)?;
    }
    if is_wanted("visibility") {
        visibility::measure(scale)?;
    }
    Ok(())
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
