//! Rates that a fiat source sets once a day: near the prices at the start, and a little different at each source.
//!
//! Separate because those sources differ in form and calendar, and agree in what they speak of.

use chrono::{Datelike, NaiveDate};
use rust_decimal::Decimal;

use super::truth::{Truth, noise};

/// How far a rate may lie from the price at the start, in parts of a million. Sources that publish the same day are never
/// further apart than twice this, which is what such sources really differ by.
const MOST_PARTS: i64 = 500;

/// Units of `counter` for one `base` that `source` sets for a date; `None` if either is unknown. The same all day.
pub(super) fn daily_rate(
    truth: &Truth,
    source: &str,
    base: &str,
    counter: &str,
    date: NaiveDate,
) -> Option<Decimal> {
    let day = u64::try_from(date.num_days_from_ce()).unwrap_or_default();
    let parts = noise(truth.seed(), &format!("{source} {base}-{counter}"), day, MOST_PARTS);
    let moved = Decimal::ONE + Decimal::new(parts, 6);
    truth.usd_at_start(base)?.checked_div(truth.usd_at_start(counter)?)?.checked_mul(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_differ_by_a_tenth_of_a_percent_at_most_and_keep_their_rate_all_day() {
        let mut truth = Truth::new(3);
        let date = |day| NaiveDate::from_ymd_opt(2026, 3, day).unwrap();
        let rate = |truth: &Truth, source, day| daily_rate(truth, source, "USD", "RUB", date(day)).unwrap();
        for day in 1..=31 {
            let (one, other) = (rate(&truth, "ecb", day), rate(&truth, "erapi", day));
            assert_ne!(one, other, "{day}");
            assert!((one / other - Decimal::ONE).abs() <= Decimal::new(1001, 6), "{day}: {one} {other}");
        }
        let before = rate(&truth, "ecb", 1);
        truth.step();
        assert_eq!(rate(&truth, "ecb", 1), before);
        assert_ne!(rate(&truth, "ecb", 2), before);
        assert_eq!(daily_rate(&truth, "ecb", "USD", "NOTHING", date(1)), None);
    }
}
