//! Answers beside the truth, and `/health` beside the answers: pure, with the time passed in.

use std::time::Duration;

use ratebook::exchange::{self, Kind};
use tokio::time::Instant;

use super::seen::Seen;
use super::truth::{Published, Truth};
use super::verdict::Verdict;
use super::{State, Watch};
use crate::site::AGGREGATOR_STALE_AFTER;
use crate::wire::Answer;

/// How far a course may be from the true price: spreads and last prices of exchanges are well within.
const NEAR: f64 = 0.02;

/// How far `/health` may be behind.
const HEALTH_WITHIN: Duration = Duration::from_secs(2);

/// For how long after a look at `/health` clients have to go on to see the same, because it may be ahead of them.
pub(super) const HEALTH_AFTER: Duration = Duration::from_millis(250);

/// Compares an answer with what was published.
pub(super) fn compare(verdict: &mut Verdict, truth: &Truth, seen: &Seen, watch: Watch) {
    let is_aggregator = !exchange::row(&seen.exchanger).is_some_and(|row| matches!(row.kind, Kind::Market));
    let is_patient = is_aggregator || watch.patient == Some(seen.exchanger.as_str());
    let limit = if is_patient { AGGREGATOR_STALE_AFTER } else { watch.stale_after };
    if seen.age > limit {
        verdict.violate(format!("I2: {} answered with an age of {:?}", seen.exchanger, seen.age));
    }
    let from = seen.asked_at - limit - watch.slack;
    if !truth.covers(from, seen.answered_at) {
        return;
    }
    let is_between = |value: f64, (low, high): (f64, f64), share: f64| {
        (low * (1.0 - share)..=high * (1.0 + share)).contains(&value)
    };
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::MAX, f64::MIN), |(low, high), it| (low.min(it), high.max(it)))
    };
    for (direction, value) in &seen.courses {
        let Some((base, counter)) = direction.split_once('-') else { continue };
        let told = truth.usd.iter().filter(|(at, _)| *at >= from);
        let near = range(&mut told.filter_map(|(_, usd)| Some(usd.get(base)? / usd.get(counter)?)));
        if !is_between(*value, near, NEAR) {
            verdict
                .violate(format!("I3: {} says {direction} is {value}, and it was {near:?}", seen.exchanger));
            continue;
        }
        let said_since = |from: Instant, exchange: &str, direction: &str| -> Vec<&Published> {
            let published = truth.published.get(&(exchange.to_owned(), direction.to_owned()));
            let is_within = |it: &&Published| it.last_seen >= from && it.first_seen <= seen.answered_at;
            published.into_iter().flatten().filter(is_within).collect()
        };
        let values = |from: Instant, exchange: &str, code: &str| {
            range(&mut said_since(from, exchange, &format!("{code}-USD")).iter().map(|it| it.value))
        };
        // Another source may lend what a dollar of the counter is worth, and what it said last may be held.
        let by_dollars = || {
            let base_in_dollars = values(from, &seen.exchanger, base);
            let lent = seen.legs.iter().find(|leg| leg.direction == format!("{counter}-USD"));
            let counter_in_dollars = match lent {
                Some(leg) => values(seen.asked_at - leg.age - watch.slack, &leg.source, counter),
                None => values(from, &seen.exchanger, counter),
            };
            is_between(
                *value,
                (base_in_dollars.0 / counter_in_dollars.1, base_in_dollars.1 / counter_in_dollars.0),
                1e-7,
            )
        };
        let within = said_since(from, &seen.exchanger, direction);
        if within.iter().any(|it| (it.value / value - 1.0).abs() < 1e-9) {
            verdict.exact += 1;
        } else if within.iter().any(|it| it.is_after_a_gap)
            && is_between(*value, range(&mut within.iter().map(|it| it.value)), 1e-4)
        {
            verdict.beside_a_gap += 1;
        } else if by_dollars() {
            verdict.by_dollars += 1;
        } else {
            let all = truth.published.get(&(seen.exchanger.clone(), direction.clone())).into_iter().flatten();
            let last_said =
                all.filter(|it| (it.value / value - 1.0).abs() < 1e-9).map(|it| it.last_seen).next_back();
            let ago = last_said.map(|at| seen.asked_at.saturating_duration_since(at));
            let told = range(&mut within.iter().map(|it| it.value));
            verdict.violate(format!(
                "I1: {} says that {direction} is {value}, {:?} old, and said so last {ago:?} before; within {limit:?} it \
                 said {} other values: {told:?}",
                seen.exchanger,
                seen.age,
                within.len(),
            ));
        }
    }
}

/// What `/health` said at `told_at` or soon after has to agree with what clients saw all the time around it. Gives what
/// does not.
pub(super) fn compare_health(
    health: &Answer,
    told_at: Instant,
    slack: Duration,
    state: &State,
) -> Vec<String> {
    let (from, to) = (told_at - HEALTH_WITHIN - slack, told_at + HEALTH_AFTER + slack);
    let at = |moment: Instant| state.seen.partition_point(|seen| seen.answered_at < moment);
    let recent = &state.seen[at(from)..at(to)];
    // Enough of them, over all of the time.
    if recent.len() < 10 || state.seen.first().is_none_or(|seen| seen.answered_at > from) {
        return Vec::new();
    }
    let (body, mut problems) = (health.json(), Vec::new());
    let is_all = |is_it: &dyn Fn(&Seen) -> bool| recent.iter().all(is_it);
    if is_all(&|seen| seen.status == 200) && health.status != 200 {
        problems.push(format!("I8: health is {} while courses are told: {}", health.status, health.body));
    }
    let rows = body["exchanges"].as_array().cloned().unwrap_or_default();
    let exchanger = recent[0].exchanger.clone();
    if is_all(&|seen| seen.is_from(&exchanger)) {
        let status = rows.iter().find(|row| row["name"] == *exchanger).map(|row| row["status"].clone());
        if status != Some("fresh".into()) {
            problems.push(format!("I8: {exchanger} answers, and health says that it is {status:?}"));
        }
    }
    if is_all(&|seen| seen.status == 503) && body["status"] == "ok" {
        problems.push("I8: health is ok while no course is told".to_owned());
    }
    problems
}
