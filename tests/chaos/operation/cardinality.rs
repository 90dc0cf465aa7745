//! Questions for what nobody has, as somebody asks them who looks for a way in.

use crate::row::{Figures, Options};
use crate::site::{Plan, Site};
use crate::wire::Wire;

/// Questions of each kind that are asked before counting: a status and a route may come up for the first time.
const BEFORE: usize = 50;

const NUM_PAIRS: usize = 1_000;

/// Series that may come up later.
const MOST_MORE: usize = 10;

pub(super) fn bogus(options: &Options) -> Figures {
    let plan = Plan::of(&["binance", "coingecko", "cbr"], options.seed);
    let site = Site::settled(plan);
    ask(&site, 0..BEFORE);
    let before = num_series(&site);
    let num_good = ask(&site, BEFORE..BEFORE + NUM_PAIRS);
    let after = num_series(&site);
    let more = after.saturating_sub(before);
    let num_asked = NUM_PAIRS * KINDS;
    Figures {
        pass: more <= MOST_MORE && num_good == num_asked && before > 0,
        n: num_asked as u64,
        measured: format!(
            "{num_good} of {num_asked} questions answered and none by a 5xx; series {before} -> {after}"
        ),
        target: format!("at most {MOST_MORE} series more"),
        ..Figures::default()
    }
}

/// Kinds of questions.
const KINDS: usize = 6;

/// Asks each kind of question with a name of its own, now and then on a new connection; counts the answers below 500.
fn ask(site: &Site, numbers: std::ops::Range<usize>) -> usize {
    let mut num_good = 0;
    let mut wire = Wire::to(site.address);
    for number in numbers {
        let name = format!("X{number}Y");
        let questions: [(&str, String); KINDS] = [
            ("GET", format!("/v1/courses?directions={name}-USD")),
            ("GET", format!("/v1/courses/{name}-USD")),
            ("GET", format!("/v1/courses?exchanger={name}")),
            ("GET", format!("/v1/{name}")),
            ("GET", format!("/v1/history?direction={name}-USD")),
            ("POST", "/v1/courses".to_owned()),
        ];
        for (method, path) in questions {
            let status = wire.send(method, &path, "").map_or(0, |answer| answer.status);
            num_good += usize::from((200..500).contains(&status));
        }
        if number % 10 == 0 {
            wire = Wire::to(site.address);
            // Whoever counts is counted too, by each thread.
            num_series(site);
        }
    }
    num_good
}

fn num_series(site: &Site) -> usize {
    let metrics = site.get("/metrics").body;
    metrics.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count()
}
