//! For how long an official rate of one date may be believed.
//!
//! Separate because every central bank publishes by date, and none says for how long.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeDelta, Utc};

use crate::market::Validity;

/// Days for which a fixing applies when no later one comes: a long weekend. With fewer, an ordinary holiday would
/// leave us without a rate; with more, a source that has stopped would be believed for too long.
const MAX_DAYS: i64 = 5;

/// The same over the New Year holidays, when the Bank of Russia sets no rates from 1 to 8 January and the days
/// around are often free as well.
const MAX_DAYS_OVER_NEW_YEAR: i64 = 12;

/// The validity of a fixing of `date`, which begins at 00:00 where the clock is `ahead` of UTC. `None` for dates
/// beyond the calendar.
pub(super) fn fixing_of(date: NaiveDate, ahead: TimeDelta) -> Option<Validity> {
    let starts_at: DateTime<Utc> = date.and_time(NaiveTime::MIN).checked_sub_signed(ahead)?.and_utc();
    let mut days = (0..MAX_DAYS).map(|days| date.checked_add_signed(TimeDelta::days(days)));
    let touches_new_year = days.any(|day| day.is_some_and(|day| day.month() == 1 && day.day() <= 8));
    let max_days = if touches_new_year { MAX_DAYS_OVER_NEW_YEAR } else { MAX_DAYS };
    let ends_at = starts_at.checked_add_signed(TimeDelta::days(max_days))?;
    Some(Validity::Fixing { starts_at, ends_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixing_begins_at_midnight_of_its_place_and_lasts_over_the_holidays() {
        for (date, starts_at, ends_at) in [
            ("2026-04-25", "2026-04-24T21:00:00Z", "2026-04-29T21:00:00Z"),
            ("2026-12-27", "2026-12-26T21:00:00Z", "2026-12-31T21:00:00Z"),
            ("2026-12-28", "2026-12-27T21:00:00Z", "2027-01-08T21:00:00Z"),
            ("2026-12-31", "2026-12-30T21:00:00Z", "2027-01-11T21:00:00Z"),
            ("2027-01-08", "2027-01-07T21:00:00Z", "2027-01-19T21:00:00Z"),
            ("2027-01-09", "2027-01-08T21:00:00Z", "2027-01-13T21:00:00Z"),
        ] {
            let expected =
                Validity::Fixing { starts_at: starts_at.parse().unwrap(), ends_at: ends_at.parse().unwrap() };
            assert_eq!(fixing_of(date.parse().unwrap(), TimeDelta::hours(3)), Some(expected), "{date}");
        }
    }

    #[test]
    fn the_ends_of_the_calendar_are_survived() {
        assert_eq!(fixing_of(NaiveDate::MAX, TimeDelta::hours(3)), None);
        assert_eq!(fixing_of(NaiveDate::MIN, TimeDelta::hours(3)), None);
    }
}
