//! Requests that no proper client sends, and more of them at once than usual.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::Instant;

use super::raw::{Next, Raw};
use super::{site_of, small_site};
use crate::row::{Figures, Options, ms};
use crate::site::Site;
use crate::support::bad_requests::{self, BadRequests};
use crate::wire::Answer;

/// How soon a refusal comes.
const REFUSED_WITHIN: Duration = Duration::from_millis(10);

/// What was found of many requests.
#[derive(Default)]
struct Count {
    tried: u64,
    wrong: Vec<String>,
    slowest: Duration,
}

impl Count {
    fn check(&mut self, what: &str, is_right: bool, seen: &dyn std::fmt::Debug) {
        self.tried += 1;
        if !is_right {
            self.wrong.push(format!("{what}: {seen:?}"));
        }
    }

    /// The row of requests that are all answered as they should be, by a service that goes on.
    fn figures(mut self, site: &Site, options: &Options, target: &str) -> Figures {
        let next = site.get("/v1/courses").status;
        self.check("a good request afterwards", next == 200, &next);
        // Beside other rows the time of one request says nothing.
        let is_slow = options.full && self.slowest > REFUSED_WITHIN;
        let mut measured = format!(
            "{} of {} as they should be, the slowest after {}",
            self.tried - self.wrong.len() as u64,
            self.tried,
            ms(self.slowest)
        );
        if let Some(first) = self.wrong.first() {
            write!(measured, "; {}", first.chars().take(500).collect::<String>()).unwrap();
        }
        Figures {
            pass: self.wrong.is_empty() && !is_slow,
            n: self.tried,
            measured,
            target: format!("{target}; in calm within {}", ms(REFUSED_WITHIN)),
            ..Figures::default()
        }
    }
}

/// Sends a request on a connection of its own; its answer, and the connection.
fn ask(site: &Site, request: &str, count: &mut Count) -> (Next, Raw) {
    let mut raw = Raw::connect(site.address).unwrap();
    let began = Instant::now();
    // The service may close before it has read all of a request.
    drop(raw.write(request.as_bytes()));
    let next = raw.read();
    count.slowest = count.slowest.max(began.elapsed());
    (next, raw)
}

pub(super) fn large_heads(options: &Options) -> Figures {
    let site = small_site(options);
    let mut count = Count::default();
    for _ in 0..options.scaled(1, 20) {
        for (what, request, status) in bad_requests::large_heads() {
            let (next, mut raw) = ask(&site, &request, &mut count);
            let then = raw.read();
            let is_right = next.status() == status && matches!(then, Next::Closed);
            count.check(what, is_right, &(next.status(), then));
        }
        let many: String = (0..10_000).map(|number| format!("A{number}-B,")).collect();
        let many = format!("/v1/courses?directions={}", &many[..60_000]);
        let (next, _) = ask(&site, &format!("GET {many} HTTP/1.1\r\nHost: x\r\n\r\n"), &mut count);
        count.check("thousands of directions", is_problem(&next, 422, "invalid_parameter"), &next);
    }
    count.figures(&site, options, "431 or 400 and closed, thousands of directions a 422")
}

pub(super) fn bad_questions(options: &Options) -> Figures {
    let site = small_site(options);
    let mut count = Count::default();
    for path in BadRequests::read().paths() {
        let (next, _) = ask(&site, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"), &mut count);
        count.check(&path, is_refusal(&next), &next);
    }
    count.figures(
        &site,
        options,
        "400, 404 or 422 with a reason of the contract, never a 500, no text in a header",
    )
}

/// Whether a question was refused by the parser of HTTP or by an error of ours.
fn is_refusal(next: &Next) -> bool {
    let Next::Answer(answer) = next else { return false };
    let is_quiet = answer.header("set-cookie").is_none() && !answer.body.contains(['\0', '\r', '\n']);
    let is_known = match answer.status {
        400 => answer.body.is_empty(),
        404 => reason(answer) == "not_found",
        422 => ["invalid_parameter", "unknown_exchanger"].contains(&reason(answer).as_str()),
        _ => false,
    };
    is_known && is_quiet
}

fn reason(answer: &Answer) -> String {
    answer.json()["reason"].as_str().unwrap_or_default().to_owned()
}

fn is_problem(next: &Next, status: u16, wanted: &str) -> bool {
    let Next::Answer(answer) = next else { return false };
    answer.status == status
        && reason(answer) == wanted
        && answer.header("content-type") == Some("application/problem+json")
        && answer.header("cache-control") == Some("no-store")
}

pub(super) fn methods_and_bodies(options: &Options) -> Figures {
    let site = small_site(options);
    let mut count = Count::default();
    for path in [
        "/v1/courses",
        "/v1/courses/BTC-USDT",
        "/v1/history",
        "/v1/events",
        "/health",
        "/health/live",
        "/metrics",
    ] {
        for method in ["POST", "PUT", "PATCH", "DELETE", "TRACE", "get", "BREW"] {
            let (next, _) = ask(&site, &format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n"), &mut count);
            let allows = matches!(&next, Next::Answer(answer) if answer.header("allow").is_some());
            let is_right = allows && is_problem(&next, 405, "method_not_allowed");
            count.check(&format!("{method} {path}"), is_right, &next);
        }
    }
    for rest in bad_requests::small_bodies() {
        // The connection goes on, in step: the body is never read as a request.
        let request = format!("GET /v1/courses HTTP/1.1\r\nHost: x\r\n{rest}");
        let (first, mut raw) = ask(&site, &request, &mut count);
        drop(raw.write(request.as_bytes()));
        let second = raw.read();
        let is_right = first.status() == 200 && second.status() == 200;
        count.check(&format!("a body: {rest:.60}"), is_right, &(first.status(), second.status()));
    }
    for rest in bad_requests::long_bodies() {
        for method in ["GET", "POST"] {
            let mut raw = Raw::connect(site.address).unwrap();
            let request = format!("{method} /v1/courses HTTP/1.1\r\nHost: x\r\n{rest}");
            drop(raw.write(request.as_bytes()));
            // What was not read of the body resets the connection, and may take the body of the answer with it.
            let next = raw.read();
            let is_right = next.status() == 413 || matches!(next, Next::Broken | Next::Closed);
            count.check(&format!("{method} with a long body: {rest:.40}"), is_right, &next);
        }
    }
    count.figures(&site, options, "405 with `Allow`, a small body thrown away, a long one a 413")
}

pub(super) fn ambiguous(options: &Options) -> Figures {
    let site = small_site(options);
    let mut count = Count::default();
    for (what, rest) in BadRequests::read().ambiguous {
        for method in ["GET", "POST"] {
            // A second request follows: it must never be answered.
            let request = format!(
                "{method} /v1/courses HTTP/1.1\r\nHost: x\r\n{rest}GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
            );
            let (next, mut raw) = ask(&site, &request, &mut count);
            let then = raw.read();
            let is_right = next.status() == 400 && matches!(then, Next::Closed);
            count.check(&format!("{method} with {what}"), is_right, &(next.status(), then));
        }
    }
    count.figures(&site, options, "400 and closed, and what follows is never answered")
}

/// Requests at once, and what memory may grow by.
const PIPELINED: usize = 1_000;

/// How often they come before memory is measured, so that each thread has seen them once and keeps what it took, and how
/// often after.
const WARM: usize = 8;
const MEASURED: usize = 4;
const MOST_MEMORY_KIB: u64 = 4 * 1024;

pub(super) fn pipelined(options: &Options) -> Figures {
    // A database in memory would grow meanwhile.
    let site = Site::settled(site_of(options).with("database_url", "\"sqlite://quotes.db\""));
    let kinds = [("/v1/courses", 200), ("/v1/courses?x=1", 422), ("/health/live", 200), ("/nothing", 404)];
    let wanted: Vec<_> = kinds.iter().cycle().take(PIPELINED).collect();
    let requests: String =
        wanted.iter().map(|(path, _)| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    let memory = || site.service.status_of("VmRSS");
    let (mut num_right, mut before, start) = (0, 0, memory());
    for round in 0..WARM + MEASURED {
        if round == WARM {
            before = memory();
        }
        let mut raw = Raw::connect(site.address).unwrap();
        raw.write(requests.as_bytes()).unwrap();
        num_right += wanted.iter().filter(|(_, status)| raw.read().status() == *status).count();
    }
    let (grown, num_asked) = (memory().saturating_sub(before), PIPELINED * (WARM + MEASURED));
    Figures {
        pass: num_right == num_asked && grown <= MOST_MEMORY_KIB,
        n: num_asked as u64,
        measured: format!(
            "{num_right} of {num_asked} answered in order; memory +{:.1} MiB once, then +{:.1} MiB",
            before.saturating_sub(start) as f64 / 1024.0,
            grown as f64 / 1024.0
        ),
        target: "all in order, memory at most +4 MiB once every thread has seen such a crowd".to_owned(),
        ..Figures::default()
    }
}
