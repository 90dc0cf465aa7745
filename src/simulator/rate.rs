//! How often one address may ask a simulated exchange.
//!
//! Separate because most exchanges count plain requests within a time; they differ in the numbers, and in how they
//! say that it was too much.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::protocol::Scene;

/// The requests of every address within a time.
#[derive(Debug)]
pub(super) struct Rate {
    most: u32,
    window: Duration,
    usages: HashMap<IpAddr, Usage>,
}

#[derive(Debug)]
struct Usage {
    window_ends_at: Instant,
    num_requests: u32,
}

impl Rate {
    /// At most so many requests of an address within `window`, a documented length before `speed` shortens it.
    pub(super) fn new(most: u32, window: Duration) -> Self {
        Self { most, window, usages: HashMap::new() }
    }

    /// Counts a request. Gives whether it is within the limit.
    pub(super) fn allows(&mut self, client: IpAddr, scene: &Scene<'_>) -> bool {
        let now = scene.now;
        self.usages.retain(|_, usage| usage.window_ends_at > now);
        let window_ends_at = now + scene.scaled(self.window);
        let usage = self.usages.entry(client).or_insert(Usage { window_ends_at, num_requests: 0 });
        usage.num_requests = usage.num_requests.saturating_add(1);
        usage.num_requests <= self.most
    }
}
