//! The two axes of a picture: where values lie, and which of them are labelled.
//!
//! Separate because plotters knows no times without further parts of it, and labels prices with whatever digits a
//! float has.

use std::ops::Range;

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime, TimeDelta, Utc};
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

use super::price;
use crate::history::Candle;

/// Distances of labels that are round to people, within a month.
const STEPS: [TimeDelta; 16] = [
    TimeDelta::seconds(1),
    TimeDelta::seconds(10),
    TimeDelta::minutes(1),
    TimeDelta::minutes(2),
    TimeDelta::minutes(5),
    TimeDelta::minutes(10),
    TimeDelta::minutes(15),
    TimeDelta::minutes(30),
    TimeDelta::hours(1),
    TimeDelta::hours(2),
    TimeDelta::hours(3),
    TimeDelta::hours(6),
    TimeDelta::hours(12),
    TimeDelta::days(1),
    TimeDelta::days(2),
    TimeDelta::days(7),
];

/// The same in months.
const MONTH_STEPS: [u32; 13] = [1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200, 6000, 12_000];

/// Time from left to right.
#[derive(Debug, Clone)]
pub(super) struct TimeAxis {
    span: Range<DateTime<Utc>>,
    labelled: Vec<DateTime<Utc>>,
    form: Form,
}

/// How a time is labelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Second,
    Minute,
    Day,
    Month,
}

impl TimeAxis {
    /// From one time to a later one, with at most about `most` labels.
    pub(super) fn new(from: DateTime<Utc>, to: DateTime<Utc>, most: u32) -> Self {
        let span = to - from;
        let most = i32::try_from(most.max(1)).unwrap_or(i32::MAX);
        let is_enough = |step: &&TimeDelta| span / most <= **step;
        let (labelled, form) = match STEPS.iter().find(is_enough) {
            Some(step) => (multiples(*step, from, to), form_of(*step)),
            None => (months(from, to, most), Form::Month),
        };
        Self { span: from..to, labelled, form }
    }

    /// The text at a time: the date where a day begins.
    pub(super) fn label(&self, at: &DateTime<Utc>) -> String {
        let is_midnight = at.time() == NaiveTime::MIN;
        let form = match self.form {
            Form::Second | Form::Minute if is_midnight => "%-d %b",
            Form::Second => "%H:%M:%S",
            Form::Minute => "%H:%M",
            Form::Day => "%-d %b",
            Form::Month if at.month() == 1 => "%Y",
            Form::Month => "%b %Y",
        };
        at.format(form).to_string()
    }
}

fn form_of(step: TimeDelta) -> Form {
    if step >= TimeDelta::days(1) {
        Form::Day
    } else if step >= TimeDelta::minutes(1) {
        Form::Minute
    } else {
        Form::Second
    }
}

/// The multiples of `step` from `from` to `to`, counted from a Monday that is a midnight.
fn multiples(step: TimeDelta, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let monday = NaiveDate::from_ymd_opt(1970, 1, 5).unwrap_or_default().and_time(NaiveTime::MIN).and_utc();
    let step = step.num_seconds();
    let to = to.timestamp();
    let first = from.timestamp() + (monday.timestamp() - from.timestamp()).rem_euclid(step);
    let times = std::iter::successors(Some(first), |at| Some(at + step)).take_while(|at| *at <= to);
    times.filter_map(|at| DateTime::from_timestamp(at, 0)).filter(|at| *at >= from).collect()
}

/// The beginnings of every so many months, of January among them.
fn months(from: DateTime<Utc>, to: DateTime<Utc>, most: i32) -> Vec<DateTime<Utc>> {
    let is_enough = |step: &u32| (to - from).num_days() <= 30 * i64::from(*step) * i64::from(most);
    let step = MONTH_STEPS.into_iter().find(is_enough).unwrap_or(MONTH_STEPS[MONTH_STEPS.len() - 1]);
    let first_year = from.year().div_euclid(1000) * 1000;
    let first = NaiveDate::from_ymd_opt(first_year, 1, 1).map(|date| date.and_time(NaiveTime::MIN).and_utc());
    let times = std::iter::successors(first, |at| at.checked_add_months(Months::new(step)));
    times.skip_while(|at| *at < from).take_while(|at| *at <= to).collect()
}

impl Ranged for TimeAxis {
    type FormatOption = DefaultFormatting;
    type ValueType = DateTime<Utc>;

    fn map(&self, at: &DateTime<Utc>, limit: (i32, i32)) -> i32 {
        let seconds = |length: TimeDelta| length.as_seconds_f64();
        place(seconds(*at - self.span.start), seconds(self.span.end - self.span.start), limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<DateTime<Utc>> {
        self.labelled.clone()
    }

    fn range(&self) -> Range<DateTime<Utc>> {
        self.span.clone()
    }
}

/// Prices from the bottom to the top.
#[derive(Debug, Clone)]
pub(super) struct PriceAxis {
    span: Range<f64>,
    labelled: Vec<f64>,
    /// Digits behind the point of a label.
    num_digits: usize,
}

impl PriceAxis {
    /// From below the lowest price to above the highest, with at most about `most` labels; without any where there
    /// is no candle.
    pub(super) fn around(candles: &[Candle], most: u32) -> Self {
        let low = candles.iter().map(|candle| price(candle.low)).fold(f64::INFINITY, f64::min);
        let high = candles.iter().map(|candle| price(candle.high)).fold(f64::NEG_INFINITY, f64::max);
        if low > high {
            return Self { span: 0.0..1.0, labelled: Vec::new(), num_digits: 0 };
        }
        // A price that never moved lies in the middle.
        let padding = if high > low { (high - low) * 0.06 } else { high.abs().max(1e-9) * 0.01 };
        let span = low - padding..high + padding;
        let (step, num_digits) = round_step((span.end - span.start) / f64::from(most.max(1)));
        let first = (span.start / step).ceil();
        let num_labels = ((span.end / step).floor() - first).clamp(0.0, 1000.0) as u32;
        let labelled = (0..=num_labels).map(|number| (first + f64::from(number)) * step).collect();
        Self { span, labelled, num_digits }
    }

    /// The text at a price.
    pub(super) fn label(&self, price: f64) -> String {
        format!("{price:.*}", self.num_digits)
    }

    /// Characters of the longest label.
    pub(super) fn longest_label(&self) -> u32 {
        let lengths = self.labelled.iter().map(|price| self.label(*price).len());
        u32::try_from(lengths.max().unwrap_or(0)).unwrap_or(u32::MAX)
    }
}

/// The next larger of 1, 2 and 5 times a power of ten, and the digits that it has behind the point.
fn round_step(least: f64) -> (f64, usize) {
    let exponent = least.log10().floor();
    let power = 10_f64.powf(exponent);
    let (step, exponent) = match least / power {
        ratio if ratio <= 1.0 => (power, exponent),
        ratio if ratio <= 2.0 => (2.0 * power, exponent),
        ratio if ratio <= 5.0 => (5.0 * power, exponent),
        _ => (10.0 * power, exponent + 1.0),
    };
    (step, (-exponent).clamp(0.0, 28.0) as usize)
}

impl Ranged for PriceAxis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, price: &f64, limit: (i32, i32)) -> i32 {
        place(price - self.span.start, self.span.end - self.span.start, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.labelled.clone()
    }

    fn range(&self) -> Range<f64> {
        self.span.clone()
    }
}

/// The pixel between two of them that lies as far along as `at` along `length`.
fn place(at: f64, length: f64, (first, last): (i32, i32)) -> i32 {
    let share = (at / length).clamp(0.0, 1.0);
    first + (f64::from(last - first) * share).round() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_at_round_times_and_are_never_many() {
        for (from, to, first, last) in [
            ("2026-11-20T00:00:00Z", "2026-11-20T00:00:30Z", "20 Nov", "00:00:30"),
            ("2026-11-20T12:07:03Z", "2026-11-20T13:07:03Z", "12:10", "13:00"),
            ("2026-11-19T12:34:56Z", "2026-11-20T12:34:56Z", "15:00", "12:00"),
            ("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z", "20 Nov", "21 Nov"),
            ("2026-10-21T12:00:00Z", "2026-11-20T12:00:00Z", "26 Oct", "16 Nov"),
            ("2025-11-20T12:00:00Z", "2026-11-20T12:00:00Z", "2026", "Nov 2026"),
            ("1999-05-05T00:00:00Z", "2026-11-20T00:00:00Z", "2000", "2025"),
            ("0000-01-01T00:00:00Z", "9999-12-31T00:00:00Z", "0000", "9000"),
        ] {
            let axis = TimeAxis::new(from.parse().unwrap(), to.parse().unwrap(), 9);
            let labels: Vec<String> = axis.labelled.iter().map(|at| axis.label(at)).collect();
            assert!(labels.len() <= 10, "{from}: {labels:?}");
            assert_eq!(labels.first().map(String::as_str), Some(first), "{from}: {labels:?}");
            assert_eq!(labels.last().map(String::as_str), Some(last), "{from}: {labels:?}");
        }
    }

    #[test]
    fn a_step_is_round_and_its_labels_have_its_digits() {
        for (least, step, num_digits) in [
            (1.0, 1.0, 0),
            (1.1, 2.0, 0),
            (3.0, 5.0, 0),
            (700.0, 1000.0, 0),
            (0.03, 0.05, 2),
            (0.06, 0.1, 1),
            (1.2e-8, 2e-8, 8),
        ] {
            let (found, digits) = round_step(least);
            assert!((found / step - 1.0).abs() < 1e-9, "{least} gave {found}");
            assert_eq!(digits, num_digits, "{least}");
        }
    }
}
