//! What the simulator really published, as far as it was looked at.
//!
//! Separate because it knows nothing of the service.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

/// Steps of the simulator in which each price changes once: where two looks are further apart, one may have been missed.
const STEPS_OF_A_PRICE: u64 = 5;

/// Longest time for which anything is remembered: no limit of a row is longer, and whoever says something old is told
/// how old it is.
const REMEMBERED: Duration = Duration::from_secs(60);

/// What an exchange published of one direction: since when, and whether something before it may have been missed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Published {
    pub(super) first_seen: Instant,
    pub(super) last_seen: Instant,
    pub(super) value: f64,
    pub(super) is_after_a_gap: bool,
}

/// What was published, and what was true.
#[derive(Default)]
pub(super) struct Truth {
    /// By exchange and direction.
    pub(super) published: HashMap<(String, String), VecDeque<Published>>,
    /// True prices in dollars.
    pub(super) usd: VecDeque<(Instant, BTreeMap<String, f64>)>,
    began_at: Option<Instant>,
    pub(super) seen_until: Option<Instant>,
    tick: u64,
}

impl Truth {
    /// Takes what the simulator told of itself at `answered_at`, when it was asked at `at`.
    pub(super) fn look(&mut self, at: Instant, answered_at: Instant, told: &Value) {
        let tick = told["tick"].as_u64().unwrap_or_default();
        let is_after_a_gap = tick > self.tick + STEPS_OF_A_PRICE;
        self.tick = tick;
        self.began_at.get_or_insert(at);
        // What is new was published after the look before this one, and what it replaced may have stood until now.
        let first_seen = self.seen_until.replace(at).unwrap_or(at);
        let usd = told["usd"].as_object().into_iter().flatten();
        let usd =
            usd.filter_map(|(code, value)| Some((code.clone(), value.as_str()?.parse().ok()?))).collect();
        self.usd.push_back((at, usd));
        for (exchange, quotes) in told["quotes"].as_object().into_iter().flatten() {
            let asked = ["BTC-USDT", "ETH-USDT"].map(|direction| (direction, course(quotes, direction)));
            let dollars =
                ["BTC-USD", "ETH-USD", "USDT-USD"].map(|direction| (direction, price(&quotes[direction])));
            for (direction, value) in asked.into_iter().chain(dollars) {
                let Some(value) = value else { continue };
                let list = self.published.entry((exchange.clone(), direction.to_owned())).or_default();
                match list.back_mut() {
                    // After a gap it may have been another one and the same again.
                    Some(last) if last.value == value && !is_after_a_gap => last.last_seen = answered_at,
                    replaced => {
                        // It may have stood until now.
                        if let Some(replaced) = replaced {
                            replaced.last_seen = answered_at;
                        }
                        list.push_back(Published {
                            first_seen,
                            last_seen: answered_at,
                            value,
                            is_after_a_gap,
                        });
                    }
                }
                while list.len() > 1 && list[0].last_seen + REMEMBERED < at {
                    list.pop_front();
                }
            }
        }
        while self.usd.len() > 1 && self.usd[0].0 + REMEMBERED < at {
            self.usd.pop_front();
        }
    }

    /// Whether the truth is known of all that time.
    pub(super) fn covers(&self, from: Instant, to: Instant) -> bool {
        self.began_at.is_some_and(|began_at| began_at < from)
            && self.seen_until.is_some_and(|until| until > to)
    }
}

/// What a direction is by an exchange's published quotes: by its own, or by those in dollars.
fn course(quotes: &Value, direction: &str) -> Option<f64> {
    let in_dollars = |code: &str| price(&quotes[format!("{code}-USD")]);
    let (base, counter) = direction.split_once('-')?;
    price(&quotes[direction]).or_else(|| Some(in_dollars(base)? / in_dollars(counter)?))
}

/// The middle of a published quote, or its last price where it has no book.
fn price(quote: &Value) -> Option<f64> {
    let number = |name: &str| quote[name].as_str()?.parse::<f64>().ok();
    match (number("bid"), number("ask")) {
        (Some(bid), Some(ask)) => Some((bid + ask) / 2.0),
        _ => number("last"),
    }
}
