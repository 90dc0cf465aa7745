//! Answers as clients see them, one by one: what can be judged without the truth.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::wire::Answer;

/// The reasons of a 503 in the contract.
const REASONS: [&str; 6] =
    ["starting", "stale", "down", "too_old_for_request", "ratebook_stalled", "overload"];

/// One answer as a client saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) asked_at: Instant,
    pub(crate) answered_at: Instant,
    /// 0 where there was no answer.
    pub(crate) status: u16,
    /// Of a 503.
    pub(crate) reason: String,
    /// Of a 200.
    pub(crate) exchanger: String,
    pub(crate) age: Duration,
    pub(super) courses: Vec<(String, f64)>,
    /// What other sources lent.
    pub(super) legs: Vec<Leg>,
}

/// A reference leg.
#[derive(Debug, Clone)]
pub(super) struct Leg {
    pub(super) direction: String,
    pub(super) source: String,
    pub(super) age: Duration,
}

impl Seen {
    pub(crate) fn is_from(&self, exchanger: &str) -> bool {
        self.status == 200 && self.exchanger == exchanger
    }
}

/// What one client has seen.
#[derive(Default)]
pub(super) struct Before {
    sequence: u64,
    /// Not before this moment was the course quoted that was seen last, by exchange.
    quoted_at: HashMap<String, Instant>,
}

impl Before {
    /// Whether an answer is older than one before it.
    pub(super) fn compare(&mut self, seen: &Seen, answer: &Answer, problems: &mut Vec<String>) {
        if seen.status != 200 {
            return;
        }
        let Some(sequence) = answer.number("ratebook-sequence") else {
            problems.push(format!("I6: a 200 without a sequence: {}", answer.head));
            return;
        };
        if sequence < self.sequence {
            problems.push(format!("I4: the sequence fell from {} to {sequence}", self.sequence));
        }
        self.sequence = sequence;
        let (not_before, not_after) = (seen.asked_at - seen.age, seen.answered_at - seen.age);
        if let Some(before) = self.quoted_at.get(&seen.exchanger)
            && not_after + Duration::from_millis(5) < *before
        {
            let older = *before - not_after;
            problems
                .push(format!("I4: a course of {} is {older:?} older than one before it", seen.exchanger));
        }
        let newest = self.quoted_at.entry(seen.exchanger.clone()).or_insert(not_before);
        *newest = not_before.max(*newest);
    }
}

/// Reads an answer; what is not of the contract is a problem.
pub(super) fn read(
    answer: &Answer,
    asked_at: Instant,
    answered_at: Instant,
    problems: &mut Vec<String>,
) -> Seen {
    let mut seen = Seen {
        asked_at,
        answered_at,
        status: answer.status,
        reason: String::new(),
        exchanger: String::new(),
        age: Duration::ZERO,
        courses: Vec::new(),
        legs: Vec::new(),
    };
    let body = answer.json();
    match answer.status {
        0 => {}
        200 => {
            seen.age = Duration::from_millis(answer.number("ratebook-age-ms").unwrap_or(u64::MAX));
            seen.exchanger = body["exchanger"].as_str().unwrap_or_default().to_owned();
            let courses = body["courses"].as_array().into_iter().flatten();
            let read = |it: &Value| Some((it["direction"].as_str()?.to_owned(), it["value"].as_f64()?));
            seen.courses = courses.filter_map(read).collect();
            seen.legs = legs(answer.header("ratebook-legs").unwrap_or_default());
            let names: Vec<&str> = seen.courses.iter().map(|(name, _)| name.as_str()).collect();
            if seen.exchanger.is_empty() || names != ["BTC-USDT", "ETH-USDT"] {
                problems.push(format!("I6: {}", answer.body));
            }
        }
        503 => {
            seen.reason = body["reason"].as_str().unwrap_or_default().to_owned();
            let is_complete =
                REASONS.contains(&seen.reason.as_str()) && answer.number("retry-after") >= Some(1);
            if !is_complete || answer.header("cache-control") != Some("no-store") {
                problems.push(format!("I6: {} {}", answer.head, answer.body));
            }
        }
        _ => problems.push(format!("I6: {} {}", answer.head, answer.body)),
    }
    for (direction, value) in &seen.courses {
        if !(value.is_finite() && *value > 0.0) {
            problems.push(format!("I3: {direction} is {value}"));
        }
    }
    seen
}

/// The reference legs of an answer, as `USDT-USD=kraken;age_ms=310;held=0` tells them.
fn legs(told: &str) -> Vec<Leg> {
    let leg = |text: &str| {
        let (direction, rest) = text.trim().split_once('=')?;
        let (source, rest) = rest.split_once(";age_ms=")?;
        let (age, _) = rest.split_once(';')?;
        let age = Duration::from_millis(age.parse().ok()?);
        Some(Leg { direction: direction.to_owned(), source: source.to_owned(), age })
    };
    told.split(',').filter_map(leg).collect()
}
