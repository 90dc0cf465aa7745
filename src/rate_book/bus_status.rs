//! What is known of the broker, shared by those who speak to it and those who tell of it.
//!
//! Separate because it outlives the actors that speak to the broker: one that failed does not take the counters with it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::market::Moment;

/// How long something may wait before that counts as impaired: far more than a slow broker, far less than people take to
/// notice.
const MAX_LAG: Duration = Duration::from_secs(10);

/// The state of the bus, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusHealth {
    /// Why it is impaired; `None` where all goes well.
    pub impairment: Option<String>,
    /// How long the oldest message has been waiting to be told, taken in or stored.
    pub lag: Duration,
    /// How many wait.
    pub pending: u64,
    /// Messages that were told or taken in since the start.
    pub messages: u64,
    /// Messages that could not be read.
    pub unreadable: u64,
    /// Messages that were given up by the storing role, and set aside.
    pub dead: u64,
    /// What went wrong last; it stays after it is mended.
    pub last_error: Option<String>,
}

/// The state of the bus. Clones are the same.
#[derive(Clone, Default)]
pub struct BusStatus {
    parts: Arc<Mutex<Vec<Arc<Mutex<BusPart>>>>>,
}

impl fmt::Debug for BusStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BusStatus(..)")
    }
}

/// What one actor that speaks to the broker tells of itself.
#[derive(Debug, Default)]
pub struct BusPart {
    /// What is wrong at present, for people; `None` where nothing is.
    pub fault: Option<String>,
    /// What was wrong last.
    pub last_error: Option<String>,
    /// How much waits.
    pub pending: u64,
    /// Since when the oldest of that waits.
    pub oldest_at: Option<DateTime<Utc>>,
    /// What was told or taken in since the start.
    pub messages: u64,
    /// What could not be read.
    pub unreadable: u64,
    /// What was set aside.
    pub dead: u64,
}

impl BusPart {
    /// Notes what is wrong; says whether that is news.
    pub fn fail(&mut self, fault: &str) -> bool {
        self.last_error = Some(fault.to_owned());
        self.fault.replace(fault.to_owned()).as_deref() != Some(fault)
    }

    /// Notes that nothing is wrong; says whether something was.
    pub fn recover(&mut self) -> bool {
        self.fault.take().is_some()
    }
}

/// The place where an actor tells of itself. Clones are the same.
#[derive(Debug, Clone)]
pub struct PartStatus(Arc<Mutex<BusPart>>);

impl PartStatus {
    /// What it tells, to be changed.
    pub fn lock(&self) -> MutexGuard<'_, BusPart> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BusStatus {
    /// A place for one more actor, which has not connected yet.
    pub fn part(&self) -> PartStatus {
        let part =
            BusPart { fault: Some("not connected to the broker yet".to_owned()), ..BusPart::default() };
        let part = Arc::new(Mutex::new(part));
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).push(part.clone());
        PartStatus(part)
    }

    /// All of it together.
    pub fn health(&self, now: Moment) -> BusHealth {
        let mut health = BusHealth {
            impairment: None,
            lag: Duration::ZERO,
            pending: 0,
            messages: 0,
            unreadable: 0,
            dead: 0,
            last_error: None,
        };
        for part in self.parts.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let part = part.lock().unwrap_or_else(PoisonError::into_inner);
            let lag = part.oldest_at.map(|at| now.wall_since(at)).unwrap_or_default();
            let fault = part.fault.as_ref().map(|fault| format!("the broker: {fault}"));
            let delay = || format!("the broker: messages wait for {} s", lag.as_secs());
            let impairment = fault.or_else(|| (lag > MAX_LAG).then(delay));
            health.impairment = health.impairment.or(impairment);
            health.last_error = health.last_error.or_else(|| part.last_error.clone());
            health.lag = health.lag.max(lag);
            health.pending = health.pending.saturating_add(part.pending);
            health.messages = health.messages.saturating_add(part.messages);
            health.unreadable = health.unreadable.saturating_add(part.unreadable);
            health.dead = health.dead.saturating_add(part.dead);
        }
        health
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn the_bus_is_as_well_as_the_worst_of_its_parts() {
        let now = Moment { monotonic: Duration::from_secs(100), wall: DateTime::UNIX_EPOCH };
        let status = BusStatus::default();
        let (first, second) = (status.part(), status.part());
        assert!(status.health(now).impairment.is_some(), "nobody has connected");
        assert!(first.lock().recover());
        assert!(second.lock().recover());
        assert!(!second.lock().recover(), "told twice");
        assert_eq!(status.health(now).impairment, None);

        assert!(second.lock().fail("connection refused"));
        assert!(!second.lock().fail("connection refused"), "told twice");
        let told = status.health(now);
        assert_eq!(told.impairment.as_deref(), Some("the broker: connection refused"));
        second.lock().recover();
        assert_eq!(status.health(now).impairment, None);
        assert_eq!(status.health(now).last_error.as_deref(), Some("connection refused"));

        for (seconds, is_impaired) in [(10, false), (11, true)] {
            first.lock().oldest_at = Some(now.wall - TimeDelta::seconds(seconds));
            (first.lock().pending, second.lock().pending) = (3, 4);
            let told = status.health(now);
            assert_eq!((told.impairment.is_some(), told.pending), (is_impaired, 7));
            assert_eq!(told.lag, Duration::from_secs(seconds.unsigned_abs()));
        }
    }
}
