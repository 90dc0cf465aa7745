//! Ends of the service while it is asked.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::raw::{Next, Raw};
use super::site_of;
use crate::outside::wait_until;
use crate::row::{Figures, Options, ms};
use crate::site::Site;
use crate::support::sqlite;

/// After which an orchestrator kills, and an end that was asked for twice.
const GONE_WITHIN: Duration = Duration::from_secs(15);
const GONE_AT_ONCE_WITHIN: Duration = Duration::from_secs(2);

/// Clients that keep their connection, and those that have a new one for each question.
const KEEPING: usize = 6;
const RENEWING: usize = 2;

/// For how long the hub does not answer around an end: less than what a question may take.
const HUB_WAITS: Duration = Duration::from_millis(600);

/// What clients saw.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    answers: u64,
    not_200: u64,
    /// Answers that ended in their middle.
    broken: u64,
    /// Questions on an open connection that was closed without an answer.
    unanswered: u64,
}

impl Seen {
    fn with(self, other: Self) -> Self {
        Self {
            answers: self.answers + other.answers,
            not_200: self.not_200 + other.not_200,
            broken: self.broken + other.broken,
            unanswered: self.unanswered + other.unanswered,
        }
    }
}

/// Asks until nobody listens any more.
fn ask_until_the_end(service: SocketAddr, keeps: bool, gave_up: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut connection = None;
    while !gave_up.load(Ordering::Relaxed) {
        let (mut raw, is_new) = match connection.take() {
            Some(raw) => (raw, false),
            None => match Raw::connect(service) {
                Ok(raw) => (raw, true),
                Err(_) => return seen,
            },
        };
        let is_said = raw.write(b"GET /v1/courses HTTP/1.1\r\nHost: x\r\n\r\n").is_ok();
        match raw.read() {
            Next::Answer(answer) => {
                seen.answers += 1;
                seen.not_200 += u64::from(answer.status != 200);
                let is_kept = keeps && answer.header("connection") != Some("close");
                connection = is_kept.then_some(raw);
            }
            Next::Broken => seen.broken += 1,
            Next::Closed | Next::Silent => seen.unanswered += u64::from(is_said || is_new),
        }
    }
    seen
}

/// Ends a site while clients ask, some of whose questions are being answered at that moment.
fn end(site: &mut Site, signal: &str) -> (Seen, Duration, Option<i32>) {
    let gave_up = AtomicBool::new(false);
    let service = site.address;
    thread::scope(|scope| {
        let clients: Vec<_> = (0..KEEPING + RENEWING)
            .map(|number| {
                scope.spawn({
                    let gave_up = &gave_up;
                    move || ask_until_the_end(service, number < KEEPING, gave_up)
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(300));
        // Every client waits for its answer when the end comes.
        site.fail("rate_book::courses", &format!("1*sleep({})", HUB_WAITS.as_millis()));
        thread::sleep(HUB_WAITS / 2);
        let began = Instant::now();
        site.service.signal(signal);
        let code = site.service.wait();
        let took = began.elapsed();
        gave_up.store(true, Ordering::Relaxed);
        let seen = clients.into_iter().map(|client| client.join().unwrap()).fold(Seen::default(), Seen::with);
        (seen, took, code)
    })
}

pub(super) fn under_load(options: &Options) -> Figures {
    ended(options, "-TERM", options.scaled(3, 20))
}

pub(super) fn interrupted(options: &Options) -> Figures {
    ended(options, "-INT", options.scaled(1, 10))
}

fn ended(options: &Options, signal: &str, num_ends: u64) -> Figures {
    let mut site = Site::settled(site_of(options).breakable());
    let (mut all, mut longest, mut codes) = (Seen::default(), Duration::ZERO, Vec::new());
    for number in 0..num_ends {
        if number > 0 {
            site.restart();
            site.settle();
        }
        let (seen, took, code) = end(&mut site, signal);
        all = all.with(seen);
        longest = longest.max(took);
        codes.push(code);
    }
    let is_in_order = codes.iter().all(|code| *code == Some(0));
    Figures {
        pass: is_in_order
            && longest <= GONE_WITHIN
            && all.broken + all.not_200 + all.unanswered == 0
            && all.answers > 0,
        n: all.answers,
        measured: format!(
            "{num_ends} ends by {signal}: exit {}, the longest took {}; of {} answers {} broken and {} not 200; {} \
             questions without an answer",
            if is_in_order { "0".to_owned() } else { format!("{codes:?}") },
            ms(longest),
            all.answers,
            all.broken,
            all.not_200,
            all.unanswered
        ),
        target: "exit 0 within 15 s, every question answered that waits as the end comes, none in part"
            .to_owned(),
        ..Figures::default()
    }
}

/// Nobody is there: what is accepted waits in the outbox.
const NO_DATABASE: &str = "\"postgres://ratebook:nobody@127.0.0.1:1/ratebook\"";

/// What has to wait there before the end.
const LEAST_ROWS: u64 = 200;

pub(super) fn twice(options: &Options) -> Figures {
    let plan = site_of(options).with("database_url", NO_DATABASE).with("storage.every", "\"0s\"").breakable();
    let mut site = Site::settled(plan);
    let (mut longest, mut codes, mut num_told, mut num_lost) = (Duration::ZERO, Vec::new(), 0, 0);
    for number in 0..options.scaled(2, 10) {
        if number > 0 {
            site.restart();
            site.settle();
        }
        let rows = |site: &Site| site.health()["storage"]["outbox_rows"].as_u64().unwrap_or_default();
        wait_until("quotes wait in the outbox", || rows(&site) >= num_told + LEAST_ROWS);
        // A question that takes longer than an end may take, so that the end waits for it.
        site.fail("http::courses", "1*sleep(14000)");
        let mut raw = Raw::connect(site.address).unwrap();
        raw.write(b"GET /v1/courses HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        num_told = rows(&site);
        site.service.signal("-TERM");
        let line = "finishing what has begun";
        wait_until(line, || site.service.log().matches(line).count() > number);
        let began = Instant::now();
        site.service.signal("-TERM");
        codes.push(site.service.wait());
        longest = longest.max(began.elapsed());
        num_lost += num_told.saturating_sub(rows_in_outbox(&site.directory().join("outbox.db")));
    }
    let is_in_order = codes.iter().all(|code| *code == Some(0));
    Figures {
        pass: is_in_order && num_lost == 0 && longest <= options.limit(GONE_AT_ONCE_WITHIN),
        n: num_told,
        measured: format!(
            "{} second signals: exit {}, the longest took {}; {num_lost} lost of {num_told} in the outbox",
            codes.len(),
            if is_in_order { "0".to_owned() } else { format!("{codes:?}") },
            ms(longest)
        ),
        target: "exit 0, in calm within 2 s of the second signal, nothing of the outbox lost".to_owned(),
        ..Figures::default()
    }
}

/// Records in the outbox of a service that has ended, read without its own code.
fn rows_in_outbox(path: &Path) -> u64 {
    let bodies = sqlite::rows(path, "SELECT CAST(body AS TEXT) FROM batches");
    bodies.iter().map(|row| row[0].lines().count() as u64).sum()
}
