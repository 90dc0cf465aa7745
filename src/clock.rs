//! The one place that reads the clocks.
//!
//! Separate so that every rule takes a [`Moment`] as an argument and can be tested with any time, and because
//! tokio's clock can be paused by a test.

use std::sync::OnceLock;

use chrono::Utc;
use tokio::time::Instant;

use crate::market::Moment;

/// Both clocks now; the monotonic one counts from the first call in this process.
pub fn now() -> Moment {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let origin = *ORIGIN.get_or_init(Instant::now);
    Moment { monotonic: Instant::now().saturating_duration_since(origin), wall: Utc::now() }
}
