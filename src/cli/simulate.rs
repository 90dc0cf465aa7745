//! `ratebook simulate`: runs the simulator until it is asked to stop, and says how to point a service at it.

use std::io::{self, Write};
use std::net::SocketAddr;

use tokio::signal::unix::{SignalKind, signal};

use super::failure::written;
use super::{Failure, SimulateOptions};
use crate::config::variable;
use crate::exchange::{EXCHANGES, KeyUse};
use crate::simulator::{Simulator, SimulatorError, SimulatorOptions};

/// Runs the simulator until SIGTERM or SIGINT.
///
/// # Errors
/// When a recording is not there, or the simulator cannot start.
pub(super) fn run(options: SimulateOptions) -> Result<(), Failure> {
    for file in &options.replay {
        std::fs::File::open(file).map_err(|error| {
            Failure::NoFile(format!("recording `{}` cannot be read: {error}; name another", file.display()))
        })?;
    }
    let SimulateOptions { listen, prices, replay } = options;
    actix_rt::System::new().block_on(async {
        let unheard = |error: io::Error| {
            Failure::RateBookFailed(format!("signals cannot be heard: {error}; start again"))
        };
        let mut terminated = signal(SignalKind::terminate()).map_err(unheard)?;
        let mut interrupted = signal(SignalKind::interrupt()).map_err(unheard)?;
        let options = SimulatorOptions { listen, seed: prices.seed, speed: prices.speed, replay };
        let simulator = Simulator::start(options).await.map_err(|error| match error {
            SimulatorError::Replay(_) => Failure::NoFile(format!("{error}; name another with `--replay`")),
            _ => Failure::Unavailable(format!(
                "the simulator cannot start: {error}; `--listen` chooses another address"
            )),
        })?;
        written(io::stdout().lock().write_all(welcome(simulator.address()).as_bytes()))?;
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        simulator.stop().await;
        Ok(())
    })
}

fn welcome(address: SocketAddr) -> String {
    let mut text = format!(
        "simulator listens on http://{address}\n\nto point a service at it:\n  export {}={address}\n",
        variable("simulator")
    );
    for row in EXCHANGES {
        if row.key == KeyUse::Required {
            let name = variable(&format!("exchanges.{}.api_key", row.name));
            text += &format!("  export {name}=simulated\n");
        }
    }
    text + &format!(
        "\nto break an exchange, and to mend it:\n  \
           curl -X POST http://{address}/control/binance/faults -d '{{\"kind\":\"mute\",\"for_ms\":8000}}'\n  \
           curl -X DELETE http://{address}/control/binance/faults\n"
    )
}
