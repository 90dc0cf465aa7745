//! How often an exchange is dialled that does not work.

use std::thread;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;

use super::{PATH, on_crowds};
use crate::checker::{Checker, Watch};
use crate::row::{Figures, Options};
use crate::site::Site;

/// Most dials of one exchange within a minute, and within five.
const MOST_DIALS: usize = 20;
const MOST_IN_FIVE_MINUTES: usize = 60;

/// Most of one processor that the service may take while it waits for exchanges to come back and answers clients.
const MOST_WORK: f64 = 0.1;

/// How long an exchange is gone.
fn length(options: &Options) -> Duration {
    Duration::from_secs(options.scaled(61, 300))
}

/// Clients that ask seldom, so that the work of the service is its own.
fn patient() -> Watch {
    Watch { ask_every: Duration::from_millis(150), ..Watch::default() }
}

/// Nobody listens at the exchanges' ports.
pub(super) fn refused(options: &Options) -> Figures {
    on_crowds(options, |crowd, options| {
        let site = Site::settled(crowd.plan(options));
        let dials = |exchange: &&str| site.metric("ratebook_exchange_dials_total", &[("exchange", exchange)]);
        // One that is asked for an address before a dial is not dialled without it.
        let unheard = |exchange: &&str| {
            site.metric("ratebook_exchange_requests_total", &[("exchange", exchange), ("status", "none")])
        };
        let checker = Checker::start_as(&site, patient());
        let before: Vec<f64> = crowd.tried.iter().map(&dials).collect();
        crowd.break_all(site.control(), &json!({"kind": "refuse"}));
        let worked = site.service.processor_time();
        thread::sleep(length(options));
        let work = (site.service.processor_time() - worked).as_secs_f64() / length(options).as_secs_f64();
        let after = crowd.tried.iter().map(dials);
        let dialled: Vec<f64> = after.zip(before).map(|(after, before)| after - before).collect();
        crowd.mend_all(site.control());
        site.settle();
        let verdict = checker.finish();
        let minutes = length(options).as_secs_f64() / 60.0;
        Figures {
            pass: verdict.holds()
                && verdict.not_200 + verdict.broken == 0
                && dialled.iter().all(|dialled| *dialled / minutes <= MOST_DIALS as f64)
                && crowd.tried.iter().all(|exchange| unheard(exchange) > 0.0)
                && work <= MOST_WORK,
            n: verdict.answers,
            violations: verdict.num_violations,
            measured: format!(
                "{} dialled {dialled:?} times in {minutes:.0} min, {:.1} % of a processor; {}",
                crowd.tried.join(" "),
                work * 100.0,
                verdict.told()
            ),
            target: format!(
                "at most {MOST_DIALS} dials in every minute, every answer 200, at most {:.0} % of a processor",
                MOST_WORK * 100.0
            ),
        }
    })
}

/// Sockets open and are closed at once, and in the middle of that the service is killed and starts again.
pub(super) fn flapping(options: &Options) -> Figures {
    on_crowds(options, |crowd, options| {
        let mut site = Site::settled(crowd.plan(options));
        let control = site.control();
        let checker = Checker::start_as(&site, patient());
        let newest = control.newest_entry();
        let fault = json!({"kind": "close", "transport": "websocket", "for_ms": 3_600_000, "ms": 50});
        crowd.break_all(control, &fault);
        thread::sleep(length(options) / 2);
        let before = checker.finish();
        site.service.kill();
        site.restart();
        site.until(PATH, |answer| answer.status == 200);
        let checker = Checker::start_as(&site, patient());
        thread::sleep(length(options) / 2);
        let after = checker.finish();
        let dials = |exchange: &&str| -> Vec<DateTime<Utc>> {
            let asked = control.asked(exchange, newest).into_iter();
            asked.filter(|asked| asked.kind == "connect").map(|asked| asked.at).collect()
        };
        let dialled: Vec<(usize, usize)> =
            crowd.tried.iter().map(dials).map(|it| (it.len(), busiest(&it))).collect();
        Figures {
            pass: before.holds()
                && after.holds()
                && before.not_200 + before.broken + after.not_200 + after.broken == 0
                && dialled
                    .iter()
                    .all(|(all, busiest)| (1..=MOST_IN_FIVE_MINUTES).contains(all) && *busiest <= MOST_DIALS),
            n: before.answers + after.answers,
            violations: after.num_violations + before.num_violations,
            measured: format!(
                "{}: dials in all, and in the busiest minute: {dialled:?}; {}; and after a kill: {}",
                crowd.tried.join(" "),
                before.told(),
                after.told()
            ),
            target: format!(
                "at most {MOST_DIALS} dials in every minute and {MOST_IN_FIVE_MINUTES} in five, every answer 200"
            ),
        }
    })
}

/// The most dials in any minute.
fn busiest(dials: &[DateTime<Utc>]) -> usize {
    let within = |from: &DateTime<Utc>| {
        dials.iter().filter(|at| **at >= *from && (**at - *from).num_seconds() < 60).count()
    };
    dials.iter().map(within).max().unwrap_or_default()
}
