//! How much a client may ask within a time: the same counting on every exchange that does it by fixed windows.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::protocol::Scene;

/// What every client has used.
#[derive(Debug)]
pub(super) struct Rates {
    window: Duration,
    limit: u64,
    used: HashMap<String, (Instant, u64)>,
}

impl Rates {
    /// `limit` within `window`, which is the documented length, before `speed` shortens it.
    pub(super) fn new(limit: u64, window: Duration) -> Self {
        Self { window, limit, used: HashMap::new() }
    }

    /// Counts a request, and tells whether it is one too many.
    pub(super) fn is_over(&mut self, who: String, weight: u64, scene: &Scene<'_>) -> bool {
        self.used.retain(|_, (ends_at, _)| *ends_at > scene.now);
        let ends_at = scene.now + scene.scaled(self.window);
        let (_, used) = self.used.entry(who).or_insert((ends_at, 0));
        *used = used.saturating_add(weight);
        *used > self.limit
    }
}
