//! Clients that take their time.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::small_site;
use crate::load::{Client, Times};
use crate::row::{Figures, Options, ms};

/// By when a connection whose head does not come is closed.
const CLOSED_WITHIN: Duration = Duration::from_secs(6);

/// What the answers to others may take more than in calm.
const MOST_MORE: Duration = Duration::from_millis(5);

/// A head that comes by one byte a second.
const HEAD: &[u8] = b"GET /v1/courses HTTP/1.1\r\nHost: x\r\n";

/// One slow client.
struct Slow {
    stream: TcpStream,
    /// How much of the head was said.
    said: usize,
    heard: Vec<u8>,
    closed_after: Option<Duration>,
}

impl Slow {
    /// Reads what there is, and sees an end.
    fn look(&mut self, began: Instant) {
        let mut chunk = [0; 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(length) if length > 0 => self.heard.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                _ => {
                    self.closed_after.get_or_insert(began.elapsed());
                    return;
                }
            }
        }
    }
}

/// A third says nothing, a third stops in the middle, a third goes on byte by byte.
pub(super) fn heads(options: &Options) -> Figures {
    let site = small_site(options);
    let client = Client::start(site.address);
    let calm_from = Instant::now();
    thread::sleep(options.scaled(Duration::from_secs(1), Duration::from_secs(10)));
    let began = Instant::now();
    let number = options.scaled(150, 500);
    let mut slow: Vec<Slow> = (0..number)
        .map(|number| {
            let mut stream = TcpStream::connect(site.address).unwrap();
            let said = if number % 3 == 1 { HEAD.len() } else { 0 };
            stream.write_all(&HEAD[..said]).unwrap();
            stream.set_nonblocking(true).unwrap();
            Slow { stream, said, heard: Vec::new(), closed_after: None }
        })
        .collect();
    let mut next_byte = began;
    while slow.iter().any(|it| it.closed_after.is_none()) && began.elapsed() < CLOSED_WITHIN * 2 {
        slow.iter_mut().filter(|it| it.closed_after.is_none()).for_each(|it| it.look(began));
        if Instant::now() >= next_byte {
            next_byte += Duration::from_secs(1);
            for it in slow.iter_mut().skip(2).step_by(3).filter(|it| it.closed_after.is_none()) {
                // A connection that was closed meanwhile is seen at the next look.
                drop(it.stream.write_all(&HEAD[it.said..=it.said]));
                it.said += 1;
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    let ended = Instant::now();
    let calm = Times::of(&client.replies(calm_from, began));
    let during = Times::of(&client.replies(began, ended));
    let num_closed =
        slow.iter().filter(|it| it.closed_after.is_some_and(|after| after <= CLOSED_WITHIN)).count();
    let num_408 = slow.iter().filter(|it| it.heard.starts_with(b"HTTP/1.1 408 ")).count();
    let longest = slow.iter().filter_map(|it| it.closed_after).max().unwrap_or_default();
    let more = during.p99.saturating_sub(calm.p99);
    Figures {
        pass: num_closed == number
            && num_408 == number
            && calm.not_200 + during.not_200 == 0
            && (!options.full || more <= MOST_MORE),
        n: number as u64,
        measured: format!(
            "{num_closed} of {number} closed within 6 s, the last after {}, {num_408} by a 408; {} of {} other answers \
             not 200, p99 {} in calm and {} meanwhile",
            ms(longest),
            calm.not_200 + during.not_200,
            calm.n + during.n,
            ms(calm.p99),
            ms(during.p99)
        ),
        target: "each closed within 6 s by a 408; others all 200, in calm p99 at most +5 ms".to_owned(),
        ..Figures::default()
    }
}
