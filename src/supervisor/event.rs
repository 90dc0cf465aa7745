//! What happens to children, as a message for whoever listens and as a line of the log.
//!
//! Separate so that the words and levels of the log are tested without an actor.

use std::fmt;
use std::time::Duration;

use actix::prelude::*;
use log::Level;

use crate::market::Moment;

/// Something happened to a child.
#[derive(Debug, Clone, Copy, PartialEq, Message)]
#[rtype(result = "()")]
pub struct ChildEvent {
    /// To which.
    pub name: &'static str,
    /// When.
    pub at: Moment,
    /// What.
    pub kind: ChildEventKind,
}

/// What happened to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildEventKind {
    /// A life begins. Sent before the factory runs, so before anything that this life can say.
    Started {
        /// Its number.
        epoch: u64,
    },
    /// A life is over, and another follows.
    Ended {
        /// Its number.
        epoch: u64,
        /// What ended it.
        why: Why,
        /// Time until the next one begins.
        restart_in: Duration,
        /// Restarts since the process began, the coming one included.
        restarts: u64,
    },
    /// A life is over, and the child is left alone for a while, because it ends too often.
    Quarantined {
        /// Number of that life.
        epoch: u64,
        /// What ended it.
        why: Why,
        /// For how long it is left alone.
        length: Duration,
        /// Restarts since the process began.
        restarts: u64,
        /// Whether this is its first quarantine, or it did not survive the trial after the one before.
        occasion: Occasion,
    },
    /// A thread of a life that is over still runs, because something blocks it. It cannot be ended from outside.
    Leaked {
        /// Threads of all children that are in this state now.
        count: usize,
    },
}

/// What ended a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The actor stopped, its factory never started it, or its thread could not begin.
    Stopped,
    /// Something in it panicked.
    Panicked,
    /// It made no progress for two heartbeats, and was replaced.
    NoProgress,
    /// `RestartAll` asked for it. This does not count towards a quarantine.
    Asked,
}

impl Why {
    /// For people: `panicked`, `made no progress`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Panicked => "panicked",
            Self::NoProgress => "made no progress",
            Self::Asked => "was asked to begin anew",
        }
    }
}

/// Whether a quarantine is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// It had too many restarts.
    TooManyRestarts,
    /// It ended soon after the quarantine before.
    FailedTrial,
}

/// Blocked threads from which on someone has to act: each may hold sockets and memory, and their number only grows.
const MANY_LEAKED: usize = 3;

impl ChildEvent {
    /// How much it matters. A quarantine is an error once, and not again each time that its trial fails.
    pub(super) fn level(&self) -> Level {
        match self.kind {
            ChildEventKind::Started { .. } => Level::Info,
            ChildEventKind::Ended { why: Why::Asked, .. } => Level::Info,
            ChildEventKind::Ended { .. } => Level::Warn,
            ChildEventKind::Quarantined { occasion: Occasion::TooManyRestarts, .. } => Level::Error,
            ChildEventKind::Quarantined { occasion: Occasion::FailedTrial, .. } => Level::Warn,
            ChildEventKind::Leaked { count } if count >= MANY_LEAKED => Level::Error,
            ChildEventKind::Leaked { .. } => Level::Warn,
        }
    }
}

impl fmt::Display for ChildEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name)?;
        match self.kind {
            ChildEventKind::Started { epoch } => write!(f, "started (epoch {epoch})"),
            ChildEventKind::Ended { why, restart_in, restarts, .. } => {
                let seconds = restart_in.as_secs_f64();
                write!(f, "{}, restarting in {seconds:.1} s (restart {restarts})", why.as_str())
            }
            ChildEventKind::Quarantined { why, length, restarts, occasion, .. } => {
                let occasion = match occasion {
                    Occasion::TooManyRestarts => "too often",
                    Occasion::FailedTrial => "again after its quarantine",
                };
                let seconds = length.as_secs_f64();
                write!(f, "{} {occasion}, quarantined for {seconds:.0} s ({restarts} restarts)", why.as_str())
            }
            ChildEventKind::Leaked { count } => {
                write!(f, "its old thread is blocked and cannot be ended ({count} such threads)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    #[test]
    fn events_are_told_with_their_level() {
        let length = Duration::from_secs(300);
        let restart_in = Duration::from_millis(430);
        let quarantined = |occasion| ChildEventKind::Quarantined {
            epoch: 6,
            why: Why::Panicked,
            length,
            restarts: 5,
            occasion,
        };
        let ended = |why| ChildEventKind::Ended { epoch: 2, why, restart_in, restarts: 3 };
        for (kind, level, text) in [
            (ChildEventKind::Started { epoch: 1 }, Level::Info, "kraken: started (epoch 1)"),
            (ended(Why::Panicked), Level::Warn, "kraken: panicked, restarting in 0.4 s (restart 3)"),
            (ended(Why::Stopped), Level::Warn, "kraken: stopped, restarting in 0.4 s (restart 3)"),
            (
                ended(Why::NoProgress),
                Level::Warn,
                "kraken: made no progress, restarting in 0.4 s (restart 3)",
            ),
            (
                ended(Why::Asked),
                Level::Info,
                "kraken: was asked to begin anew, restarting in 0.4 s (restart 3)",
            ),
            (
                quarantined(Occasion::TooManyRestarts),
                Level::Error,
                "kraken: panicked too often, quarantined for 300 s (5 restarts)",
            ),
            (
                quarantined(Occasion::FailedTrial),
                Level::Warn,
                "kraken: panicked again after its quarantine, quarantined for 300 s (5 restarts)",
            ),
            (
                ChildEventKind::Leaked { count: 2 },
                Level::Warn,
                "kraken: its old thread is blocked and cannot be ended (2 such threads)",
            ),
            (
                ChildEventKind::Leaked { count: 3 },
                Level::Error,
                "kraken: its old thread is blocked and cannot be ended (3 such threads)",
            ),
        ] {
            let at = Moment { monotonic: Duration::ZERO, wall: DateTime::UNIX_EPOCH };
            let event = ChildEvent { name: "kraken", at, kind };
            assert_eq!((event.level(), event.to_string().as_str()), (level, text));
        }
    }
}
