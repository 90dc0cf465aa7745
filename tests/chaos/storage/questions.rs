//! Questions about history that the database does not answer.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::trial::Trial;
use crate::load::get;
use crate::row::{Figures, Options};
use crate::target::Target;

const QUESTION: &str = "/v1/history?direction=BTC-USDT&interval=1m&limit=10";

/// Questions at once: more than are read or may wait.
const NUM_ASKING: usize = 50;

/// Both tables are locked, so that every reader waits as long as it may.
pub(super) fn slow(options: &Options) -> Figures {
    let target = Target::postgres();
    let num_rounds = options.scaled(1, 10);
    let mut answers = BTreeMap::<String, usize>::new();
    let mut longest = Duration::ZERO;
    let cost = Trial::of(options, &target).run(|service| {
        let locks =
            ["quotes", "candles"].map(|table| target.server().lock_table(table, Duration::from_secs(300)));
        for _ in 0..num_rounds {
            let ask = || {
                let address = service.address;
                thread::spawn(move || {
                    let began = Instant::now();
                    let (status, body) = get(address, QUESTION);
                    (format!("{status} {}", body["reason"].as_str().unwrap_or_default()), began.elapsed())
                })
            };
            let asking: Vec<_> = (0..NUM_ASKING).map(|_| ask()).collect();
            for asked in asking {
                let (answer, took) = asked.join().unwrap();
                *answers.entry(answer).or_default() += 1;
                longest = longest.max(took);
            }
        }
        drop(locks);
    });
    let is_refused = |answer: &String| answer == "503 history_busy" || answer == "503 history_unavailable";
    let pass = answers.keys().all(is_refused) && answers.len() == 2;
    cost.figures(options)
        .told(&format!("history: {answers:?}, the longest {:.1} s", longest.as_secs_f64()))
        .and(pass)
}
