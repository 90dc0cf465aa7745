//! Other people's clients take the simulated exchanges for real ones.

use std::path::Path;
use std::time::Duration;

use ratebook::simulator::{Simulator, SimulatorOptions};

/// The first run installs the clients, which takes most of it.
const LIMIT: Duration = Duration::from_secs(600);

#[actix_web::test]
async fn python_binance_pycoingecko_and_ccxt_understand_the_simulated_exchanges() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let options = SimulatorOptions { listen, seed: 11, speed: 1.0, replay: Vec::new() };
    let simulator = Simulator::start(options).await.unwrap();
    let base = format!("http://{}", simulator.address());

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/run");
    let limit = LIMIT.as_secs().to_string();
    let run =
        move || std::process::Command::new("timeout").arg(limit).arg(script).arg(base).output().unwrap();
    let output = tokio::task::spawn_blocking(run).await.unwrap();

    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    assert!(said.trim_end().ends_with(" passed, 0 failed"), "{said}");
    simulator.stop().await;
}
