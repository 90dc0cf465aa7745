//! The actor against small real servers on loopback. The waits are scaled down; every expectation is a condition
//! with a deadline.

mod hub;
mod listening;
mod speech;
mod venue;
