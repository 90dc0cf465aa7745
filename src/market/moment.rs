//! One reading of both clocks, passed into every rule that depends on time.
//!
//! Separate because an age needs both: the monotonic clock says how long ago something was received, whatever
//! an operator or NTP does to the wall clock; the wall clock is what exchanges stamp their quotes with.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// Time since an arbitrary origin that stays the same for the life of the process; never goes back.
    pub monotonic: Duration,
    /// The wall clock.
    pub wall: DateTime<Utc>,
}

impl Moment {
    /// Time that has passed since `earlier` by the monotonic clock; zero if `earlier` is later.
    pub fn since(&self, earlier: Moment) -> Duration {
        self.monotonic.saturating_sub(earlier.monotonic)
    }

    /// Time that has passed since `stamp` by the wall clock; zero if `stamp` is in the future.
    pub fn wall_since(&self, stamp: DateTime<Utc>) -> Duration {
        (self.wall - stamp).to_std().unwrap_or_default()
    }

    /// How far `stamp` lies ahead of the wall clock; zero if it does not.
    pub fn wall_until(&self, stamp: DateTime<Utc>) -> Duration {
        (stamp - self.wall).to_std().unwrap_or_default()
    }

    /// The moment at which the wall clock said `wall`, as far as it went evenly since. For what is longer ago than the
    /// monotonic clock counts, the earliest that it can say.
    pub fn at_wall(&self, wall: DateTime<Utc>) -> Moment {
        let ago = self.wall_since(wall);
        let ahead = self.wall_until(wall);
        let monotonic = self.monotonic.saturating_sub(ago).saturating_add(ahead);
        Moment { monotonic, wall }
    }

    /// The moment `length` later, on both clocks.
    pub fn after(&self, length: Duration) -> Moment {
        let delta = TimeDelta::from_std(length).unwrap_or(TimeDelta::MAX);
        Moment {
            monotonic: self.monotonic.saturating_add(length),
            wall: self.wall.checked_add_signed(delta).unwrap_or(DateTime::<Utc>::MAX_UTC),
        }
    }
}
