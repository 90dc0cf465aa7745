//! For how long an official rate of one date may be believed.
//!
//! Separate because every source of fixings publishes by date, and none says for how long.

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use rust_decimal::Decimal;

use crate::market::{Direction, Quote, Validity};

/// Days for which a fixing applies when no later one comes: a long weekend. Some of Russia's May holidays need exactly
/// these; with fewer, an ordinary holiday would leave us without a rate, and with more, a source that has stopped
/// would be believed for too long.
const MAX_DAYS: i64 = 5;

/// The same over the New Year holidays, when the Bank of Russia sets no rates from 1 to 8 January and the days
/// around are often free as well.
const MAX_DAYS_OVER_NEW_YEAR: i64 = 12;

/// Where the days of a source begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zone {
    /// Where the clock is so far ahead of UTC all year.
    Ahead(TimeDelta),
    /// In most of the European Union: one hour ahead of UTC, in summer two.
    CentralEurope,
}

/// On which day a source sets the fixing of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SetOn {
    /// The day before, so that it applies from its first minute.
    DayBefore,
    /// The date itself, in the afternoon, so that this day is not one of those for which it has to last. Over Easter,
    /// and over some Christmases, the European Central Bank's last one is needed for five days and sixteen hours
    /// from its midnight.
    ItsDate,
}

/// From when until when the rates of one table may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fixing {
    /// First moment at which they apply.
    pub(super) starts_at: DateTime<Utc>,
    /// Moment from which they apply no longer.
    pub(super) ends_at: DateTime<Utc>,
}

impl Fixing {
    /// One rate of the table.
    pub(super) fn quote(self, direction: Direction, rate: Decimal) -> Quote {
        let Self { starts_at, ends_at } = self;
        let validity = Validity::Fixing { starts_at, ends_at };
        Quote { quoted_at: Some(starts_at), validity, ..Quote::last(direction, rate) }
    }
}

/// The fixing of `date`. `None` for dates beyond the calendar.
pub(super) fn fixing_of(date: NaiveDate, zone: Zone, set_on: SetOn) -> Option<Fixing> {
    let starts_at: DateTime<Utc> =
        date.and_time(NaiveTime::MIN).checked_sub_signed(zone.ahead_at_midnight(date))?.and_utc();
    let max_days = match set_on {
        SetOn::DayBefore => MAX_DAYS,
        SetOn::ItsDate => MAX_DAYS + 1,
    };
    let mut days = (0..max_days).map(|days| date.checked_add_signed(TimeDelta::days(days)));
    let touches_new_year = days.any(|day| day.is_some_and(|day| day.month() == 1 && day.day() <= 8));
    let max_days = if touches_new_year { MAX_DAYS_OVER_NEW_YEAR } else { max_days };
    let ends_at = starts_at.checked_add_signed(TimeDelta::days(max_days))?;
    Some(Fixing { starts_at, ends_at })
}

impl Zone {
    /// How far its clocks are ahead of UTC as `date` begins.
    fn ahead_at_midnight(self, date: NaiveDate) -> TimeDelta {
        match self {
            Self::Ahead(ahead) => ahead,
            Self::CentralEurope if begins_in_summer(date) => TimeDelta::hours(2),
            Self::CentralEurope => TimeDelta::hours(1),
        }
    }
}

/// Whether summer time holds as `date` begins. The European Union changes its clocks at 01:00 UTC on the last Sundays
/// of March and of October, so each of these days still begins by the old time.
fn begins_in_summer(date: NaiveDate) -> bool {
    let last_sunday = |month| {
        // Both months have 31 days.
        let end = NaiveDate::from_ymd_opt(date.year(), month, 31)?;
        end.checked_sub_days(Days::new(end.weekday().num_days_from_sunday().into()))
    };
    let changes = last_sunday(3).zip(last_sunday(10));
    changes.is_some_and(|(to_summer, to_winter)| to_summer < date && date <= to_winter)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOSCOW: Zone = Zone::Ahead(TimeDelta::hours(3));

    fn window(date: &str, zone: Zone, set_on: SetOn) -> (DateTime<Utc>, DateTime<Utc>) {
        let fixing = fixing_of(date.parse().unwrap(), zone, set_on).unwrap();
        (fixing.starts_at, fixing.ends_at)
    }

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
            let expected = (starts_at.parse().unwrap(), ends_at.parse().unwrap());
            assert_eq!(window(date, MOSCOW, SetOn::DayBefore), expected, "{date}");
        }
        for (date, starts_at, ends_at) in [
            ("2026-03-18", "2026-03-17T23:00:00Z", "2026-03-23T23:00:00Z"),
            ("2026-04-02", "2026-04-01T22:00:00Z", "2026-04-07T22:00:00Z"),
            ("2026-12-26", "2026-12-25T23:00:00Z", "2026-12-31T23:00:00Z"),
            ("2026-12-27", "2026-12-26T23:00:00Z", "2027-01-07T23:00:00Z"),
            ("2026-12-31", "2026-12-30T23:00:00Z", "2027-01-11T23:00:00Z"),
            ("2027-01-11", "2027-01-10T23:00:00Z", "2027-01-16T23:00:00Z"),
        ] {
            let expected = (starts_at.parse().unwrap(), ends_at.parse().unwrap());
            assert_eq!(window(date, Zone::CentralEurope, SetOn::ItsDate), expected, "{date}");
        }
    }

    #[test]
    fn no_holiday_leaves_a_gap_between_two_fixings_of_the_bank_of_russia() {
        for (date, next, why) in [
            ("2026-04-24", "2026-04-25", "working days"),
            ("2026-04-25", "2026-04-28", "a weekend"),
            ("2026-02-21", "2026-02-25", "23 February"),
            ("2026-05-01", "2026-05-05", "1 May"),
            ("2026-05-09", "2026-05-13", "9 May"),
            ("2025-05-01", "2025-05-06", "1 May with a day added to it"),
            ("2025-05-08", "2025-05-13", "9 May with a day added to it"),
            ("2023-12-30", "2024-01-10", "the New Year of 2024"),
            ("2026-12-31", "2027-01-12", "the New Year of 2027"),
        ] {
            let (_, ends_at) = window(date, MOSCOW, SetOn::DayBefore);
            let (next_starts_at, _) = window(next, MOSCOW, SetOn::DayBefore);
            assert!(ends_at >= next_starts_at, "{why}: {date} ends at {ends_at}");
        }
    }

    #[test]
    fn no_holiday_leaves_a_gap_before_the_european_central_bank_sets_the_next_fixing() {
        for (date, next, why) in [
            ("2026-03-17", "2026-03-18", "working days"),
            ("2026-03-13", "2026-03-16", "a weekend"),
            ("2026-03-27", "2026-03-30", "the weekend on which summer time begins"),
            ("2026-10-23", "2026-10-26", "the weekend on which it ends"),
            ("2026-04-30", "2026-05-04", "1 May"),
            ("2026-04-02", "2026-04-07", "Easter"),
            ("2024-03-28", "2024-04-02", "Easter, with the beginning of summer time"),
            ("2025-12-24", "2025-12-29", "Christmas before a weekend"),
            ("2023-12-22", "2023-12-27", "Christmas after a weekend"),
            ("2026-12-24", "2026-12-28", "Christmas on a weekend"),
            ("2025-12-31", "2026-01-02", "New Year"),
            ("2027-12-31", "2028-01-03", "New Year before a weekend"),
        ] {
            let (_, ends_at) = window(date, Zone::CentralEurope, SetOn::ItsDate);
            let (next_starts_at, _) = window(next, Zone::CentralEurope, SetOn::ItsDate);
            // It is set at about 16:00, and asked for once an hour.
            let is_heard_at = next_starts_at + TimeDelta::hours(18);
            assert!(ends_at >= is_heard_at, "{why}: {date} ends at {ends_at}");
        }
    }

    #[test]
    fn days_of_central_europe_begin_by_the_time_that_holds_at_their_midnight() {
        for (date, hours) in [
            ("2026-01-01", 1),
            ("2026-03-28", 1),
            ("2026-03-29", 1),
            ("2026-03-30", 2),
            ("2026-07-01", 2),
            ("2026-10-25", 2),
            ("2026-10-26", 1),
            ("2024-03-31", 1),
            ("2024-04-01", 2),
            ("2027-10-31", 2),
            ("2027-11-01", 1),
        ] {
            let ahead = Zone::CentralEurope.ahead_at_midnight(date.parse().unwrap());
            assert_eq!(ahead, TimeDelta::hours(hours), "{date}");
        }
    }

    #[test]
    fn the_ends_of_the_calendar_are_survived() {
        for zone in [MOSCOW, Zone::CentralEurope] {
            assert_eq!(fixing_of(NaiveDate::MAX, zone, SetOn::ItsDate), None);
            assert_eq!(fixing_of(NaiveDate::MIN, zone, SetOn::DayBefore), None);
        }
    }
}
