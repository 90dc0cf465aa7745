//! How often a client may ask within a length of time.
//!
//! Separate because most exchanges count requests in the same way and differ only in the numbers.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::protocol::Scene;

/// A limit of requests, and what everybody has used of it.
#[derive(Debug)]
pub(super) struct Quota {
    limit: u32,
    window: Duration,
    /// When the window of each client ends, and what it has used.
    usages: HashMap<String, (Instant, u32)>,
}

impl Quota {
    /// `limit` requests, or their weight, within each `window`, a documented length before `speed` shortens it.
    pub(super) fn new(limit: u32, window: Duration) -> Self {
        Self { limit, window, usages: HashMap::new() }
    }

    /// Counts a request of `who` by its weight, and gives what is left of the limit.
    ///
    /// # Errors
    /// Whole seconds, upwards, until it may ask again.
    pub(super) fn take(&mut self, who: &str, weight: u32, scene: &Scene<'_>) -> Result<u32, u64> {
        let now = scene.now;
        self.usages.retain(|_, (ends_at, _)| *ends_at > now);
        let new = (now + scene.scaled(self.window), 0);
        let (ends_at, used) = self.usages.entry(who.to_owned()).or_insert(new);
        *used = used.saturating_add(weight);
        match self.limit.checked_sub(*used) {
            Some(left) => Ok(left),
            None => Err((*ends_at - now).as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)),
        }
    }
}
