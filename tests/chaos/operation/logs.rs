//! What is logged while every source says rubbish.

use std::thread;
use std::time::Duration;

use serde_json::json;

use super::every_source;
use crate::row::{Figures, Options};
use crate::site::Site;

/// Lines about one source in a minute, and about everything else.
const MOST_LINES: usize = 50;

pub(super) fn storm(options: &Options) -> Figures {
    let site = Site::settled(every_source(options));
    let control = site.control();
    let sources = site.plan.exchanges();
    let before = site.service.log().lines().count();
    sources.iter().for_each(|source| control.break_exchange(source, &json!({"kind": "garbage"})));
    let length = options.scaled(Duration::from_secs(8), Duration::from_secs(60));
    thread::sleep(length);
    let refused = num_refused(&site);
    let log = site.service.log();
    let lines: Vec<&str> = log.lines().skip(before).collect();
    let is_about = |line: &str, source: &str| line.contains(&format!(" {source}: "));
    let about = |source: &str| lines.iter().filter(|line| is_about(line, source)).count();
    let of_each: Vec<(&str, usize)> = sources.iter().map(|source| (*source, about(source))).collect();
    let (loudest, most) = of_each.iter().max_by_key(|(_, number)| *number).copied().unwrap_or_default();
    let others = lines.iter().filter(|line| !sources.iter().any(|source| is_about(line, source))).count();
    let longest = lines.iter().map(|line| line.len()).max().unwrap_or_default();
    Figures {
        pass: most <= MOST_LINES && others <= MOST_LINES && refused > 0.0,
        n: lines.len() as u64,
        measured: format!(
            "{length:?} of rubbish from {} sources, of which {refused} pieces were refused: at most {most} lines about one \
             ({loudest}), {others} about none; the longest has {longest} bytes",
            sources.len()
        ),
        target: format!("at most {MOST_LINES} lines a minute about each source, and as many about the rest"),
        ..Figures::default()
    }
}

/// Quotes, frames and bodies that were refused because nobody can read them.
fn num_refused(site: &Site) -> f64 {
    let metrics = site.get("/metrics").body;
    let lines = metrics.lines().filter(|line| {
        line.starts_with("ratebook_exchange_refused_quotes_total{") && line.contains("reason=\"syntax\"")
    });
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
