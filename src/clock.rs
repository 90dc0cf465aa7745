//! The one place that reads the clocks.
//!
//! Separate so that every rule takes a [`Moment`] as an argument and can be tested with any time, and because
//! tokio's clock can be paused by a test.

use std::sync::OnceLock;
use std::time::Duration;

use chrono::Utc;
use tokio::time::Instant;

use crate::market::Moment;

/// What the monotonic clock says at the first call: so much that the time at which something was heard elsewhere, before
/// this process began, can be said by it too, and is not taken for a later one.
const HEAD_START: Duration = Duration::from_secs(400 * 24 * 3600);

/// Both clocks now; the monotonic one counts from some time before the first call in this process.
pub fn now() -> Moment {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let origin = *ORIGIN.get_or_init(Instant::now);
    Moment { monotonic: HEAD_START + Instant::now().saturating_duration_since(origin), wall: Utc::now() }
}
