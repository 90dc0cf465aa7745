//! The parameters of `/v1/history/{direction}.svg`: which candles, and how large the picture is.

use chrono::{DateTime, TimeDelta, Utc};

use super::super::error::ApiError;
use super::history::{span, usual_span};
use super::parameter::{HEIGHTS, Offer, Parameter, WIDTHS, cut};
use super::values::{Values, stored_direction, whole_number};
use crate::history::{GetCandles, Interval, MAX_PAGE, Range};
use crate::market::{Direction, ExchangeName};

const ACCEPTED: &[Parameter] = &[
    Parameter::Exchanger,
    Parameter::ChartInterval,
    Parameter::From,
    Parameter::To,
    Parameter::Width,
    Parameter::Height,
];

/// Points of a picture whose interval the client leaves to us. Many more than that are closer than its pixels.
const MAX_POINTS: i32 = 1500;

/// Size of a picture in pixels where the client does not say: half of a usual screen.
const USUAL_SIZE: (u32, u32) = (960, 420);

/// A question for a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) struct ChartQuestion {
    /// The direction as it was asked for; what is stored is what it is priced as.
    pub(in crate::http) direction: Direction,
    /// Length of the candles.
    pub(in crate::http) interval: Interval,
    /// Where the time axis begins.
    pub(in crate::http) from: DateTime<Utc>,
    /// Where it ends.
    pub(in crate::http) to: DateTime<Utc>,
    /// Width and height in pixels.
    pub(in crate::http) size: (u32, u32),
    exchanger: Option<ExchangeName>,
}

impl ChartQuestion {
    /// Reads the path and the query of `/v1/history/{direction}.svg`.
    ///
    /// # Errors
    /// [`ApiError::Refused`] for everything that is not understood.
    pub(in crate::http) fn read(
        direction: &str,
        query: &str,
        offer: &Offer,
        now: DateTime<Utc>,
    ) -> Result<Self, ApiError> {
        let values = Values::read(query, ACCEPTED, offer)?;
        let direction = stored_direction(direction)
            .map_err(|detail| values.invalid(Parameter::StoredDirection, detail))?;
        let exchanger = values.exchanger()?;
        let interval = values.once(Parameter::ChartInterval, |text| {
            Interval::parse(text).ok_or_else(|| format!("`{}` is no interval of a picture", cut(text)))
        })?;
        let (from, to) = span(&values, usual_span(interval.unwrap_or(Interval::Minute)), now)?;
        let interval = interval.unwrap_or_else(|| readable_interval(to - from));
        let width = values.once(Parameter::Width, |text| whole_number(text, WIDTHS))?;
        let height = values.once(Parameter::Height, |text| whole_number(text, HEIGHTS))?;
        let size = (width.unwrap_or(USUAL_SIZE.0), height.unwrap_or(USUAL_SIZE.1));
        Ok(Self { direction, interval, from, to, size, exchanger })
    }

    /// The candles of the picture.
    pub(in crate::http) fn candles(&self) -> GetCandles {
        let Self { direction, exchanger: exchange, from, to, interval, .. } = *self;
        let range = Range { direction: direction.priced_as(), exchange, from, to, limit: MAX_PAGE };
        GetCandles { range, interval }
    }

    /// The refusal where there are more candles than one picture shows: one that leaves some out would be wrong.
    pub(in crate::http) fn too_many(&self, offer: &Offer) -> ApiError {
        let detail = format!("there are more than {MAX_PAGE} candles between `from` and `to`");
        let longest = Interval::ALL.last() == Some(&self.interval);
        let parameter = if longest { Parameter::From } else { Parameter::ChartInterval };
        parameter.invalid(detail, offer)
    }
}

/// The shortest interval that a picture of this span does not need too many points for.
fn readable_interval(span: TimeDelta) -> Interval {
    let is_readable = |interval: &Interval| span <= interval.length() * MAX_POINTS;
    Interval::ALL.into_iter().find(is_readable).unwrap_or(Interval::Day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_follows_from_the_span_so_that_points_can_be_told_apart() {
        for (span, expected) in [
            (TimeDelta::minutes(1), Interval::Minute),
            (TimeDelta::minutes(1500), Interval::Minute),
            (TimeDelta::minutes(1501), Interval::Hour),
            (TimeDelta::hours(1500), Interval::Hour),
            (TimeDelta::hours(1501), Interval::Day),
            (TimeDelta::days(40_000), Interval::Day),
        ] {
            assert_eq!(readable_interval(span), expected, "{span}");
        }
    }
}
