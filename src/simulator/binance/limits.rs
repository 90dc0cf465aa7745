//! How much a client of Binance may ask, and how it is told that it asked too much.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::super::http::Answer;
use super::super::protocol::Scene;

/// Weight that one address may use within a minute.
pub(super) const WEIGHT_PER_MINUTE: u64 = 6000;

/// The time in which weight counts.
const WINDOW: Duration = Duration::from_secs(60);

/// Requests that are told to wait before the address is banned. The real number is not published.
const WARNINGS: u32 = 20;

/// The first ban; each further one is twice as long, up to three days.
const FIRST_BAN: Duration = Duration::from_secs(120);
const LONGEST_BAN: Duration = Duration::from_secs(3 * 86_400);

/// What one address has used.
#[derive(Debug)]
struct Usage {
    window_ends_at: Instant,
    weight: u64,
    warnings: u32,
    num_bans: u32,
    banned_until: Option<Instant>,
}

/// What every address has used.
#[derive(Debug, Default)]
pub(super) struct Limits {
    usages: HashMap<IpAddr, Usage>,
    /// What somebody else behind the same address uses of every minute.
    used_by_others: u64,
}

impl Limits {
    /// Pretends that somebody else behind the same address uses so much of every minute.
    pub(super) fn pretend(&mut self, used_by_others: u64) {
        self.used_by_others = used_by_others;
    }

    /// Counts a request; gives the weight used so far.
    ///
    /// # Errors
    /// The refusal, if it is over the limit.
    pub(super) fn count(&mut self, client: IpAddr, weight: u64, scene: &Scene<'_>) -> Result<u64, Answer> {
        let now = scene.now;
        let window_ends_at = now + scene.scaled(WINDOW);
        let usage = self.usages.entry(client).or_insert(Usage {
            window_ends_at,
            weight: 0,
            warnings: 0,
            num_bans: 0,
            banned_until: None,
        });
        if let Some(banned_until) = usage.banned_until.filter(|until| *until > now) {
            return Err(refusal(418, Some(whole_seconds(banned_until - now)), scene));
        }
        usage.banned_until = None;
        if usage.window_ends_at <= now {
            (usage.window_ends_at, usage.weight, usage.warnings) = (window_ends_at, 0, 0);
        }
        usage.weight += weight;
        let used = usage.weight.saturating_add(self.used_by_others);
        if used <= WEIGHT_PER_MINUTE {
            return Ok(used);
        }
        usage.warnings += 1;
        if usage.warnings <= WARNINGS {
            return Err(refusal(429, Some(whole_seconds(usage.window_ends_at - now)), scene));
        }
        let ban = FIRST_BAN.saturating_mul(1 << usage.num_bans.min(12)).min(LONGEST_BAN);
        let ban = scene.scaled(ban);
        usage.num_bans += 1;
        usage.banned_until = Some(now + ban);
        Err(refusal(418, Some(whole_seconds(ban)), scene))
    }
}

/// Whole seconds, upwards: a client that waits for so long is in time.
fn whole_seconds(length: Duration) -> u64 {
    length.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

/// An error of Binance: a status, its own code, and words.
pub(super) fn error(status: u16, code: i32, message: &str) -> Answer {
    Answer::json(status, &json!({ "code": code, "msg": message }))
}

/// How Binance refuses with this status.
pub(super) fn refusal(status: u16, retry_after: Option<u64>, scene: &Scene<'_>) -> Answer {
    let answer = match status {
        429 => error(
            429,
            -1003,
            "Too much request weight used; current limit is 6000 request weight per 1 MINUTE. \
             Please use WebSocket Streams for live updates to avoid polling the API.",
        ),
        418 => {
            let seconds = i64::try_from(retry_after.unwrap_or(0)).unwrap_or(0);
            let until = scene.unix_ms().saturating_add(seconds.saturating_mul(1000));
            let message = format!(
                "Way too much request weight used; IP banned until {until}. \
                 Please use WebSocket Streams for live updates to avoid bans."
            );
            error(418, -1003, &message)
        }
        451 => error(
            451,
            0,
            "Service unavailable from a restricted location according to 'b. Eligibility' in the terms of use. \
             Please contact customer service if you believe you received this message in error.",
        ),
        403 => Answer::new(403, "text/html", "<html><head><title>403 Forbidden</title></head></html>"),
        503 => error(
            503,
            -1008,
            "Server is currently overloaded with other requests. Please try again in a few minutes.",
        ),
        400..=499 => error(status, -1000, "An unknown error occurred while processing the request."),
        _ => Answer::new(status, "text/html", "<html><head><title>Server error</title></head></html>"),
    };
    answer.retry_after(retry_after)
}
