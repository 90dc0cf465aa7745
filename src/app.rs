//! Composition root: which actors start, in which order, and who restarts whom.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::Settings;

/// Why the service ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Somebody else listens there.
    #[error("address {address} is in use")]
    AddressInUse {
        /// Where.
        address: SocketAddr,
    },
    /// A file that the service has to write cannot be written.
    #[error("path `{}` cannot be written: {reason}", path.display())]
    PathNotWritable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// RateBook keeps failing.
    #[error("the rate book keeps failing")]
    RateBookFailed,
}

/// Runs the service until it is asked to stop.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub fn serve(settings: Settings) -> Result<(), AppError> {
    drop(settings);
    Ok(())
}

/// Runs the service over a simulator of its own until it is asked to stop.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub fn demo(settings: Settings, seed: u64, speed: f64) -> Result<(), AppError> {
    let _ = (settings, seed, speed);
    Ok(())
}
