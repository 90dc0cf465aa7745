//! Times in questions and in answers.
//!
//! Separate because every route of stored data reads and writes them in the same form.

use chrono::{DateTime, SecondsFormat, Utc};

use super::parameter::cut;

/// A time by RFC 3339, or a plain date for its beginning in UTC.
///
/// # Errors
/// For people: what is wrong with it.
pub(super) fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let is_date = text.len() == "2026-11-20".len();
    let full = if is_date { &format!("{text}T00:00:00Z") } else { text };
    let at = DateTime::parse_from_rfc3339(full).ok().map(|at| at.to_utc());
    at.ok_or_else(|| format!("`{}` is no time with its offset from UTC, and no date", cut(text)))
}

/// A time as answers write it: RFC 3339 in UTC with `Z`, and as many digits of a second as it has.
pub(in crate::http) fn written(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_dates_are_read_and_everything_else_is_refused() {
        for (text, expected) in [
            ("2026-11-20T12:00:00Z", Some("2026-11-20T12:00:00Z")),
            ("2026-11-20t12:00:00z", Some("2026-11-20T12:00:00Z")),
            ("2026-11-20T12:00:00.5Z", Some("2026-11-20T12:00:00.500Z")),
            ("2026-11-20T12:00:00.000001Z", Some("2026-11-20T12:00:00.000001Z")),
            ("2026-11-20T12:00:00+00:00", Some("2026-11-20T12:00:00Z")),
            ("2026-11-20T15:00:00+03:00", Some("2026-11-20T12:00:00Z")),
            ("2026-11-20T06:30:00-05:30", Some("2026-11-20T12:00:00Z")),
            ("2026-11-20", Some("2026-11-20T00:00:00Z")),
            ("2024-02-29", Some("2024-02-29T00:00:00Z")),
            ("2026-02-29", None),
            ("2026-13-01", None),
            ("2026-11-20T12:00:00", None),
            ("2026-11-20T12:00Z", None),
            ("2026-11-20T25:00:00Z", None),
            ("2026-11-20T12:00:00 00:00", None),
            ("2026-11-2", None),
            ("+2026-11-2", None),
            ("20261120", None),
            ("1795176000", None),
            ("now", None),
            ("", None),
        ] {
            assert_eq!(moment(text).ok().map(written).as_deref(), expected, "{text:?}");
        }
    }
}
