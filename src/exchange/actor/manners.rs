//! What the answers of an exchange ask of us beyond their content: to stay away for a while, or to slow down.
//!
//! Pure, and separate because these rules are the difference between a short refusal and a ban of days.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::market::Moment;

/// Least and longest wait that is taken from a header. Zero would repeat the request at once; Binance bans for up to
/// three days.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(3 * 86_400);

/// After a 429 that does not say for how long. Most exchanges count by the minute.
pub(super) const UNMEASURED_WAIT: Duration = Duration::from_secs(60);

/// After the first 418 that does not say for how long: the shortest ban that Binance imposes. It doubles each time.
const FIRST_BAN: Duration = Duration::from_secs(120);

/// After a 401, 403 or 451. Neither a key that was refused nor a firewall's mood nor a law changes within seconds.
const FORBIDDEN_WAIT: Duration = Duration::from_secs(300);

/// Share of its budget, in percent, that an exchange may report before we stop asking: the rest is for others behind
/// the same address.
const MOST_OF_BUDGET: u64 = 80;

/// How long to stay away, and whether that is by law or by rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StayAway {
    pub(super) wait: Duration,
    pub(super) forbidden: bool,
}

/// What `status` asks for; `None` if nothing. `num_unmeasured` counts the 418 in a row that did not say for how long.
pub(super) fn stay_away(status: u16, retry_after: Option<Duration>, num_unmeasured: u32) -> Option<StayAway> {
    let (wait, forbidden) = match (status, retry_after) {
        (401 | 403 | 451, asked) => (asked.unwrap_or_default().max(FORBIDDEN_WAIT), true),
        (429 | 418 | 503, Some(asked)) => (asked, false),
        (429, None) => (UNMEASURED_WAIT, false),
        (418, None) => (FIRST_BAN.saturating_mul(1 << num_unmeasured.saturating_sub(1).min(12)), false),
        _ => return None,
    };
    Some(StayAway { wait: wait.clamp(SHORTEST_WAIT, LONGEST_WAIT), forbidden })
}

/// Reads the header `Retry-After`: seconds or a date.
pub(super) fn retry_after(header: &str, now: DateTime<Utc>) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(header).ok()?;
    Some((date.with_timezone(&Utc) - now).to_std().unwrap_or_default())
}

/// When the budget may be used again, if too much of it is used; `None` if it is not. Windows begin at the multiples
/// of their length, by the wall clock.
pub(super) fn budget_returns_at(used: u32, limit: u32, window: Duration, now: Moment) -> Option<Moment> {
    if u64::from(used) * 100 <= u64::from(limit) * MOST_OF_BUDGET {
        return None;
    }
    let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX).max(1);
    let wall_ms = u64::try_from(now.wall.timestamp_millis()).unwrap_or_default();
    Some(now.after(Duration::from_millis(window_ms - wall_ms % window_ms)))
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::*;

    #[test]
    fn refusals_are_obeyed_for_as_long_as_they_say_and_by_rule_where_they_do_not() {
        let seconds = Duration::from_secs;
        for (status, asked, num_unmeasured, expected) in [
            (429, Some(7), 0, Some((7, false))),
            (429, Some(0), 0, Some((1, false))),
            (429, None, 0, Some((60, false))),
            (418, Some(120), 1, Some((120, false))),
            (418, None, 1, Some((120, false))),
            (418, None, 2, Some((240, false))),
            (418, None, 3, Some((480, false))),
            (418, None, 99, Some((3 * 86_400, false))),
            (418, Some(99_999_999), 1, Some((3 * 86_400, false))),
            (503, Some(30), 0, Some((30, false))),
            (503, None, 0, None),
            (401, None, 0, Some((300, true))),
            (403, None, 0, Some((300, true))),
            (451, Some(3), 0, Some((300, true))),
            (451, Some(3600), 0, Some((3600, true))),
            (200, Some(5), 0, None),
            (404, None, 0, None),
            (500, Some(5), 0, None),
        ] {
            let expected = expected.map(|(wait, forbidden)| StayAway { wait: seconds(wait), forbidden });
            assert_eq!(stay_away(status, asked.map(seconds), num_unmeasured), expected, "{status} {asked:?}");
        }
    }

    #[test]
    fn a_retry_after_is_read_as_seconds_or_as_a_date() {
        let now = Utc.with_ymd_and_hms(2026, 3, 4, 5, 6, 7).unwrap();
        for (header, expected) in [
            ("7", Some(7)),
            (" 120 ", Some(120)),
            ("Wed, 04 Mar 2026 05:07:07 GMT", Some(60)),
            ("Wed, 04 Mar 2026 05:00:00 GMT", Some(0)),
            ("-5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(header, now), expected.map(Duration::from_secs), "{header:?}");
        }
    }

    #[test]
    fn above_four_fifths_of_the_budget_nothing_is_asked_until_its_window_ends() {
        let wall = Utc.with_ymd_and_hms(2026, 3, 4, 5, 6, 47).unwrap();
        let now = Moment { monotonic: Duration::from_secs(1000), wall };
        let minute = Duration::from_secs(60);
        assert_eq!(budget_returns_at(4800, 6000, minute, now), None);
        assert_eq!(budget_returns_at(4801, 6000, minute, now), Some(now.after(Duration::from_secs(13))));
        assert_eq!(budget_returns_at(u32::MAX, 6000, minute, now), Some(now.after(Duration::from_secs(13))));
    }
}
