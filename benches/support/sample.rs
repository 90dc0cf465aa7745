//! Numbers that were measured, and what they say together.

/// Numbers that were measured, in ascending order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    pub(crate) fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn median(&self) -> f64 {
        self.percentile(50.0)
    }

    /// The smallest number that at least `percent` of them do not exceed; not a number if there are none.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.clamp(1, self.0.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
    }

    /// The smallest and the largest, to show how far rounds differ.
    pub(crate) fn span(&self) -> (f64, f64) {
        (self.percentile(0.0), self.percentile(100.0))
    }
}
