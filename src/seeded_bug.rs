//! Bugs that are put in on purpose, to show that whoever watches the service from outside finds them.
//!
//! Separate because they have to be chosen in one place and seen in many, the pure rules among them. A program has them
//! only if it was built with the feature `fault-injection`; in every other one [`is_on`] is a constant, and no trace of
//! them is left.

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SeededBug {
    /// A quote is believed however old it is.
    NoAgeCheck,
    /// An exchange that has lost its place never gets it back.
    FailoverNeverReturns,
    /// The last leg of a cross is left out.
    CrossLegMissing,
    /// Prices are read as floats.
    DecimalThroughF64,
    /// Reports of actors that have been replaced are taken.
    NoEpochCheck,
    /// The delays between dials begin again with every connection, however short.
    BackoffResetsOnConnect,
}

#[cfg(feature = "fault-injection")]
const NAMES: [(&str, SeededBug); 6] = [
    ("no_age_check", SeededBug::NoAgeCheck),
    ("failover_never_returns", SeededBug::FailoverNeverReturns),
    ("cross_leg_missing", SeededBug::CrossLegMissing),
    ("decimal_through_f64", SeededBug::DecimalThroughF64),
    ("no_epoch_check", SeededBug::NoEpochCheck),
    ("backoff_resets_on_connect", SeededBug::BackoffResetsOnConnect),
];

#[cfg(feature = "fault-injection")]
static CHOSEN: std::sync::OnceLock<SeededBug> = std::sync::OnceLock::new();

/// Chooses the bug of this process, once, at its start.
///
/// # Panics
/// When there is no such bug: a trial of it would show nothing.
#[cfg(feature = "fault-injection")]
pub(crate) fn choose(name: &std::ffi::OsStr) {
    let named = NAMES.iter().find(|(known, _)| *known == name);
    let (_, bug) = named.expect("the name of a seeded bug");
    CHOSEN.get_or_init(|| *bug);
}

/// Whether the service has this bug.
#[cfg(feature = "fault-injection")]
pub(crate) fn is_on(bug: SeededBug) -> bool {
    CHOSEN.get() == Some(&bug)
}

/// Whether the service has this bug.
#[cfg(not(feature = "fault-injection"))]
pub(crate) const fn is_on(_: SeededBug) -> bool {
    false
}
