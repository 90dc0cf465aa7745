//! Connections that stay and say nothing.

use std::net::TcpListener;
use std::time::Duration;

use chrono::Utc;
use serde_json::json;
use tokio::time::Instant;

use super::{Crowd, PATH, at_once, longest, markets, on_crowds, on_each, site_of, spread};
use crate::asked::Asked;
use crate::checker::Checker;
use crate::outside::wait_until;
use crate::row::{Figures, Options, ms};
use crate::site::{Control, STALE_AFTER, Site};

/// How much later than at its limit something may happen.
const TOLERANCE: Duration = Duration::from_millis(500);

/// Longest time for a connection with all that belongs to it, and for an answer.
const TIME_LIMIT: Duration = Duration::from_secs(5);

pub(super) fn half_open(options: &Options) -> Figures {
    on_each(markets(options), options, |exchange, options| silent(exchange, options, "half_open"))
}

pub(super) fn mute(options: &Options) -> Figures {
    on_each(markets(options), options, |exchange, options| silent(exchange, options, "mute"))
}

pub(super) fn dripping(options: &Options) -> Figures {
    on_each(markets(options), options, |exchange, options| silent(exchange, options, "drip"))
}

/// Nothing comes on any transport, and nothing says so.
fn silent(exchange: &'static str, options: &Options, kind: &str) -> Figures {
    let site = Site::settled(site_of(exchange, options));
    let control = site.control();
    let checker = Checker::start(&site);
    let (mut failovers, mut given_up) = (Vec::new(), Vec::new());
    let num_given_up =
        || site.metric("ratebook_exchange_requests_total", &[("exchange", exchange), ("status", "none")]);
    for _ in 0..options.scaled(1, 10) {
        let (before, newest) = (num_given_up(), control.newest_entry());
        control.break_exchange(exchange, &json!({"kind": kind}));
        failovers.push(
            checker
                .until("another exchange answers", |seen| seen.status == 200 && seen.exchanger != exchange),
        );
        if kind == "drip" {
            wait_until("an answer that drips is given up", || num_given_up() > before);
            let given_up_at = Utc::now();
            // How soon it was asked depends on when it failed last, and is no matter of this row.
            let is_poll = |it: &Asked| it.kind == "request" && it.detail.starts_with("GET ");
            let poll = control.asked(exchange, newest).into_iter().find(is_poll).unwrap();
            given_up.push((given_up_at - poll.at).to_std().unwrap());
        }
        control.mend(exchange);
        checker.until("the first exchange answers again", |seen| seen.is_from(exchange));
        site.settle();
    }
    let verdict = checker.finish();
    let limit = TIME_LIMIT + TOLERANCE;
    let figures = Figures {
        pass: verdict.holds()
            && verdict.not_200 + verdict.broken == 0
            && longest(&failovers) <= STALE_AFTER + TOLERANCE
            && longest(&given_up) <= limit,
        n: verdict.answers,
        violations: verdict.num_violations,
        measured: format!("{exchange}: another answers after {}; {}", spread(failovers), verdict.told()),
        target: format!("another answers within {}, every answer 200", ms(STALE_AFTER + TOLERANCE)),
    };
    match given_up.is_empty() {
        true => figures,
        false => {
            figures.told(&format!("a poll is given up after {} (at most {})", spread(given_up), ms(limit)))
        }
    }
}

/// From the start connections are accepted and nothing is said on them: not an upgrade, not an answer, not TLS.
pub(super) fn stalled(options: &Options) -> Figures {
    on_crowds(options, |crowd, options| {
        // The system accepts for whoever listens, and nobody ever answers.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let secured = crowd.tried.iter().fold(crowd.plan(options), |plan, exchange| {
            plan.at(exchange, &format!("https://{address}"), &format!("wss://{address}"))
        });
        let half_open = json!({"kind": "half_open"});
        at_once::<&(dyn Fn() -> Figures + Sync), 2>([
            &|| {
                let break_all = |control: &Control| crowd.break_all(*control, &half_open);
                stall(crowd, &Site::start_after(crowd.plan(options), break_all), "")
            },
            &|| stall(crowd, &Site::start(secured.clone()), " with TLS"),
        ])
    })
}

fn stall(crowd: &Crowd, site: &Site, how: &str) -> Figures {
    let began = Instant::now();
    site.until(PATH, |answer| answer.status == 200);
    let checker = Checker::start(site);
    let is_down = |exchange: &&str| {
        let row = site.health_of(exchange);
        row["status"] == "down"
            && row["last_error"].as_str().is_some_and(|it| it.contains("no answer within"))
    };
    wait_until("all of them are given up", || crowd.tried.iter().all(&is_down));
    let took = began.elapsed();
    let seen: Vec<_> = checker.since(began).collect();
    let age = longest(&seen.iter().map(|seen| seen.age).collect::<Vec<_>>());
    let num_others = seen.iter().filter(|seen| !seen.is_from(crowd.well)).count();
    let verdict = checker.finish();
    // What is dialled takes its turn with what is polled and listed.
    let limit = TIME_LIMIT + TOLERANCE;
    Figures {
        pass: verdict.holds() && num_others == 0 && took <= limit && age <= STALE_AFTER,
        n: verdict.answers,
        violations: verdict.num_violations,
        measured: format!(
            "{}{how}: down after {}; all the while {} answers, with an age of at most {}; {}",
            crowd.tried.join(" "),
            ms(took),
            crowd.well,
            ms(age),
            verdict.told()
        ),
        target: format!(
            "given up within {}, and the exchange beside them never older than {}",
            ms(limit),
            ms(STALE_AFTER)
        ),
    }
}
