//! Requests to exchanges that fail, lead elsewhere, or do not answer.

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::time::Instant;

use super::{PATH, on_crowds};
use crate::checker::Checker;
use crate::outside::wait_until;
use crate::relay::{Act, Relay, Request, Tamper, answer};
use crate::row::{Figures, Options};
use crate::site::{Control, Plan, Site};

/// Failures in a row after which an exchange is only probed, and the time between two probes.
const MOST_FAILURES: usize = 5;
const PROBE_EVERY: f64 = 30.0;

/// Most requests in ten minutes.
const MOST_IN_TEN_MINUTES: usize = 25;

/// Seconds after which a request is given up.
const TIME_LIMIT: f64 = 5.0;

/// From the start every request is answered with a failure of the server, and no socket can be opened.
pub(super) fn storm(options: &Options) -> Figures {
    let length = Duration::from_secs(options.scaled(16, 600));
    on_crowds(options, |crowd, options| {
        let site = Site::start_after(crowd.plan(options), |control| {
            crowd.break_all(*control, &json!({"kind": "refuse", "transport": "websocket"}));
            crowd.break_all(*control, &json!({"kind": "status", "status": 502, "transport": "rest"}));
        });
        let began = Instant::now();
        site.until(PATH, |answer| answer.status == 200);
        let checker = Checker::start(&site);
        thread::sleep(length.saturating_sub(began.elapsed()));
        let verdict = checker.finish();
        let requests = |exchange: &&str| -> Vec<DateTime<Utc>> {
            let asked = site.control().asked(exchange, 0).into_iter();
            // A hand-shake before a dial is a dial.
            let polls = asked.filter(|it| it.kind == "request" && it.detail.starts_with("GET "));
            polls.map(|it| it.at).collect()
        };
        let asked: Vec<Vec<DateTime<Utc>>> = crowd.tried.iter().map(requests).collect();
        let numbers: Vec<usize> = asked.iter().map(Vec::len).collect();
        // Polls and lists fail until five in a row have, and one that is on its way; then comes one probe in half a
        // minute.
        let most = options.scaled(MOST_FAILURES + 2, MOST_IN_TEN_MINUTES);
        let is_probed = |asked: &Vec<DateTime<Utc>>| {
            let after = asked.iter().skip(MOST_FAILURES + 1);
            let mut gaps = after.clone().zip(after.skip(1)).map(|(a, b)| (*b - *a).as_seconds_f64());
            gaps.all(|gap| gap >= PROBE_EVERY - 0.5)
        };
        Figures {
            pass: verdict.holds()
                && verdict.not_200 + verdict.broken == 0
                && numbers.iter().all(|number| (1..=most).contains(number))
                && asked.iter().all(is_probed),
            n: numbers.iter().sum::<usize>() as u64,
            violations: verdict.num_violations,
            measured: format!(
                "{} asked {numbers:?} times in {} s; {}",
                crowd.tried.join(" "),
                length.as_secs(),
                verdict.told()
            ),
            target: format!(
                "at most {most} requests to each, in the end one in half a minute, every answer 200"
            ),
        }
    })
}

struct Redirect {
    to: String,
}

impl Tamper for Redirect {
    fn request(&mut self, request: &Request) -> Act {
        let status = if request.is_upgrade { "301 Moved Permanently" } else { "302 Found" };
        Act::Say(answer(status, &format!("Location: {}\r\n", self.to), b""))
    }
}

/// Every request and every upgrade leads to another host.
pub(super) fn redirected(options: &Options) -> Figures {
    on_crowds(options, |crowd, options| {
        let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
        elsewhere.set_nonblocking(true).unwrap();
        let to = format!("http://{}/", elsewhere.local_addr().unwrap());
        let relay = Relay::open(Redirect { to });
        let plan = crowd.plan_through(&relay, options);
        let site = Site::start_after(plan, |control| relay.lead_to(control.address));
        site.until(PATH, |answer| answer.status == 200);
        let checker = Checker::start(&site);
        let is_told = |exchange: &&str| {
            let row = site.health_of(exchange);
            row["status"] == "down" && row["last_error"].as_str().is_some_and(|it| it.contains("redirects"))
        };
        wait_until("each is told as redirected", || crowd.tried.iter().all(&is_told));
        thread::sleep(Duration::from_secs(options.scaled(2, 60)));
        let verdict = checker.finish();
        let mut num_followed = 0;
        while elsewhere.accept().is_ok() {
            num_followed += 1;
        }
        Figures {
            pass: verdict.holds() && verdict.not_200 + verdict.broken == 0 && num_followed == 0,
            n: relay.requests().len() as u64,
            violations: verdict.num_violations,
            measured: format!(
                "{}: {} answers that lead elsewhere, {num_followed} followed; {}",
                crowd.tried.join(" "),
                relay.requests().len(),
                verdict.told()
            ),
            target: "no connection to the other host, told as redirected".to_owned(),
        }
    })
}

/// Answers take longer than the time between two requests, and then come all at once.
pub(super) fn stalled(options: &Options) -> Figures {
    let length = Duration::from_secs(options.scaled(8, 30));
    on_crowds(options, |crowd, options| {
        // Over REST alone, so that there is always reason to ask.
        let silent = |plan: Plan, exchange: &&'static str| {
            plan.with_of(exchange, "ws_url", "\"\"").with_of(exchange, "poll_every", "\"600ms\"")
        };
        let plan = crowd.tried.iter().fold(crowd.plan(options), silent);
        let site = Site::start(plan);
        let is_heard = |exchange: &&str| site.health_of(exchange)["status"] == "fresh";
        wait_until("all of them are heard", || crowd.tried.iter().all(&is_heard));
        site.until(PATH, |answer| answer.status == 200);
        let control = site.control();
        let checker = Checker::start(&site);
        let newest = control.newest_entry();
        crowd.break_all(control, &json!({"kind": "mute", "transport": "rest"}));
        let stalled_at = Utc::now();
        thread::sleep(length);
        crowd.mend_all(control);
        let released_at = Utc::now();
        thread::sleep(Duration::from_secs(1));
        let stalls: Vec<Stall> = crowd
            .tried
            .iter()
            .map(|exchange| Stall::of(control, exchange, newest, (stalled_at, released_at)))
            .collect();
        wait_until("all of them are heard again", || crowd.tried.iter().all(&is_heard));
        let verdict = checker.finish();
        Figures {
            pass: verdict.holds()
                && verdict.not_200 + verdict.broken == 0
                && stalls
                    .iter()
                    .all(|stall| stall.num_during > 0 && stall.num_together == 0 && stall.num_after <= 2),
            n: verdict.answers,
            violations: verdict.num_violations,
            measured: format!("{}: {stalls:?}; {}", crowd.tried.join(" "), verdict.told()),
            target: "no request beside the same one, at most 2 in the first second after".to_owned(),
        }
    })
}

/// How an exchange was asked that did not answer for a while.
#[derive(Debug)]
struct Stall {
    /// Requests while it did not answer.
    num_during: usize,
    /// Those of them that were asked while the same one was on its way.
    num_together: usize,
    /// How often the same request came in the first second in which it answered again.
    num_after: usize,
}

impl Stall {
    fn of(control: Control, exchange: &str, after: u64, stall: (DateTime<Utc>, DateTime<Utc>)) -> Self {
        let (from, until) = stall;
        let asked: Vec<_> = control
            .asked(exchange, after)
            .into_iter()
            .filter(|it| it.kind == "request" && it.at >= from)
            .collect();
        let (during, after): (Vec<_>, Vec<_>) = asked.into_iter().partition(|it| it.at < until);
        let is_together = |index: &usize| {
            let earlier = during[..*index].iter().rev().find(|it| it.detail == during[*index].detail);
            earlier.is_some_and(|it| during[*index].seconds_after(it.at) < TIME_LIMIT - 0.1)
        };
        let num_together = (0..during.len()).filter(is_together).count();
        let times = |detail: &str| after.iter().filter(|it| it.detail == detail).count();
        let num_after = after.iter().map(|it| times(&it.detail)).max().unwrap_or_default();
        Self { num_during: during.len(), num_together, num_after }
    }
}
