//! Exchanges that ask to be left alone.

use std::thread;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{Crowd, PATH, at_once, on_crowds};
use crate::asked::Asked;
use crate::checker::Checker;
use crate::outside::wait_until;
use crate::relay::{Act, Relay, Request, Tamper, answer};
use crate::row::{Figures, Options};
use crate::site::{Control, Site};

/// What was on its way when the first refusal came may still arrive.
const ON_ITS_WAY: f64 = 0.25;

/// How much later than at its end a ban may be over.
const OVER_WITHIN: f64 = 2.0;

/// Least ban after a refusal by law or by rule.
const FORBIDDEN: TimeDelta = TimeDelta::seconds(290);

/// A 429 with `Retry-After`, while the sockets end, so that there would be reason to ask and to dial.
pub(super) fn paused(options: &Options) -> Figures {
    let pause = options.scaled(4, 7);
    on_crowds(options, |crowd, options| {
        let site = Site::settled(crowd.plan(options));
        let control = site.control();
        let checker = Checker::start(&site);
        let newest = control.newest_entry();
        let fault = json!({"kind": "status", "status": 429, "retry_after": pause, "transport": "rest"});
        crowd.break_all(control, &fault);
        crowd.break_all(control, &json!({"kind": "close", "transport": "websocket"}));
        wait_until("all of them are told as banned", || {
            crowd.tried.iter().all(|exchange| banned_until(&site.health_of(exchange)).is_some())
        });
        // The words of a body may ask for more than the header does.
        let lengths: Vec<f64> = crowd
            .tried
            .iter()
            .map(|exchange| {
                let began = refusal(control, exchange, newest, 429).map(|refusal| refusal.at);
                let until = banned_until(&site.health_of(exchange));
                until.zip(began).map_or(0.0, |(until, began)| (until - began).as_seconds_f64())
            })
            .collect();
        crowd.mend_all(control);
        site.settle();
        let verdict = checker.finish();
        let bans = crowd.tried.iter().zip(&lengths).map(|(exchange, length)| {
            let length = length.max(f64::from(pause));
            (Ban::of(control, exchange, newest, 429, length), length)
        });
        let (bans, lengths): (Vec<Ban>, Vec<f64>) = bans.unzip();
        let are_kept = bans
            .iter()
            .zip(&lengths)
            .all(|(ban, length)| ban.num_within == 0 && ban.is_over_in_time(*length));
        Figures {
            pass: verdict.holds() && verdict.not_200 + verdict.broken == 0 && are_kept,
            n: verdict.answers,
            violations: verdict.num_violations,
            measured: format!("{}: {}; {}", crowd.tried.join(" "), told(&bans), verdict.told()),
            target: format!("nothing asked for {pause} s, and the next thing at most {OVER_WITHIN} s later"),
        }
    })
}

/// A 418, and the service is killed and starts again while it lasts.
pub(super) fn banned(options: &Options) -> Figures {
    let length = options.scaled(8, 20);
    on_crowds(options, |crowd, options| {
        let mut site = Site::settled(crowd.plan(options));
        let control = site.control();
        let newest = control.newest_entry();
        let fault = json!({"kind": "status", "status": 418, "retry_after": length, "transport": "rest"});
        crowd.break_all(control, &fault);
        crowd.break_all(control, &json!({"kind": "close", "transport": "websocket"}));
        wait_until("all of them are told as banned", || {
            crowd.tried.iter().all(|exchange| banned_until(&site.health_of(exchange)).is_some())
        });
        crowd.mend_all(control);
        site.service.kill();
        site.restart();
        site.until(PATH, |answer| answer.status == 200);
        // It knows of the bans before it has asked anybody.
        let num_known =
            crowd.tried.iter().filter(|exchange| banned_until(&site.health_of(exchange)).is_some()).count();
        let checker = Checker::start(&site);
        site.settle();
        let verdict = checker.finish();
        let bans =
            crowd.tried.iter().map(|exchange| Ban::of(control, exchange, newest, 418, f64::from(length)));
        let bans: Vec<Ban> = bans.collect();
        Figures {
            pass: verdict.holds()
                && verdict.not_200 + verdict.broken == 0
                && num_known == crowd.tried.len()
                && bans.iter().all(|ban| ban.num_within == 0 && ban.is_over_in_time(f64::from(length))),
            n: verdict.answers,
            violations: verdict.num_violations,
            measured: format!(
                "{}: {num_known} bans known after a kill; {}; {}",
                crowd.tried.join(" "),
                told(&bans),
                verdict.told()
            ),
            target: format!("nothing asked for {length} s, across a kill of the service"),
        }
    })
}

/// What became of a ban.
struct Ban {
    /// What was asked during it.
    num_within: usize,
    /// Seconds from its beginning to the first thing that was asked after it.
    first_after: f64,
}

impl Ban {
    /// The ban that began with the first refusal after an entry.
    fn of(control: Control, exchange: &str, after: u64, status: u16, length: f64) -> Self {
        let began = refusal(control, exchange, after, status).map(|refusal| refusal.at).unwrap();
        let asked = control.asked(exchange, after);
        let new: Vec<f64> =
            asked.iter().filter(|asked| asked.is_new()).map(|asked| asked.seconds_after(began)).collect();
        // The exchange counts from its answer, and its log from the request.
        let end = length - 0.05;
        Self {
            num_within: new.iter().filter(|at| (ON_ITS_WAY..end).contains(*at)).count(),
            first_after: new.iter().copied().find(|at| *at >= end).unwrap_or(f64::INFINITY),
        }
    }

    fn is_over_in_time(&self, length: f64) -> bool {
        self.first_after <= length + OVER_WITHIN
    }
}

fn told(bans: &[Ban]) -> String {
    let told =
        bans.iter().map(|ban| format!("{} asked, the next after {:.1} s", ban.num_within, ban.first_after));
    told.collect::<Vec<_>>().join(", ")
}

fn refusal(control: Control, exchange: &str, after: u64, status: u16) -> Option<Asked> {
    control.asked(exchange, after).into_iter().find(|asked| asked.status == Some(status))
}

fn banned_until(row: &Value) -> Option<DateTime<Utc>> {
    row["banned_until"].as_str()?.parse().ok()
}

/// Every upgrade is answered with one status, while requests work.
pub(super) fn refused_upgrades(options: &Options) -> Figures {
    // 200 is no refusal, and no upgrade either.
    at_once(
        [200, 403, 429, 451].map(|status| {
            move || on_crowds(options, |crowd, options| refused_upgrade(crowd, options, status))
        }),
    )
}

struct Refuse {
    status: u16,
}

impl Tamper for Refuse {
    fn request(&mut self, request: &Request) -> Act {
        match request.is_upgrade {
            true => Act::Say(answer(&format!("{} No", self.status), "", b"no")),
            false => Act::Pass,
        }
    }
}

fn refused_upgrade(crowd: &Crowd, options: &Options, status: u16) -> Figures {
    let relay = Relay::open(Refuse { status });
    let plan = crowd.plan_through(&relay, options);
    let site = Site::start_after(plan, |control| relay.lead_to(control.address));
    site.until(PATH, |answer| answer.status == 200);
    let num_tries = |exchange: &str| {
        relay.requests().iter().filter(|it| it.exchange == exchange && it.is_upgrade).count()
    };
    wait_until("each of them has refused", || crowd.tried.iter().all(|exchange| num_tries(exchange) > 0));
    let is_ban = status != 200;
    let is_told = |exchange: &&str| {
        let row = site.health_of(exchange);
        let until = banned_until(&row).map(|until| until - Utc::now());
        match status {
            200 => row["status"] == "fresh" && row["transport"] == "rest",
            429 => until.is_some_and(|until| until > TimeDelta::seconds(50)),
            _ => {
                row["status"] == "forbidden"
                    && until.is_some_and(|until| until > FORBIDDEN - TimeDelta::seconds(5))
            }
        }
    };
    wait_until("what it means is told", || crowd.tried.iter().all(&is_told));
    let checker = Checker::start(&site);
    thread::sleep(Duration::from_secs(options.scaled(1, if is_ban { 40 } else { 60 })));
    let verdict = checker.finish();
    let tries: Vec<usize> = crowd.tried.iter().map(|exchange| num_tries(exchange)).collect();
    Figures {
        pass: verdict.holds()
            && verdict.not_200 + verdict.broken == 0
            && tries.iter().all(|tries| if is_ban { *tries == 1 } else { *tries <= 20 }),
        n: tries.iter().sum::<usize>() as u64,
        violations: verdict.num_violations,
        measured: format!("{status}: {} tried {tries:?} times; {}", crowd.tried.join(" "), verdict.told()),
        target: "one try during a ban, 403 and 451 told as forbidden for minutes, every answer 200"
            .to_owned(),
    }
}
