//! The actor against small real servers on loopback. The waits are scaled down; every expectation is a condition
//! with a deadline.

mod bans;
mod faults;
mod hub;
mod listening;
mod polls;
mod secured;
mod speech;
mod venue;

#[cfg(feature = "failpoints")]
mod panics;
