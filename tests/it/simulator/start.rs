//! Starting, and what cannot start.

use std::io::Write as _;

use ratebook::simulator::{Simulator, SimulatorError, SimulatorOptions};
use tokio::net::TcpStream;

use super::{Sim, options};

#[actix_web::test]
async fn several_simulators_run_in_one_process_and_stop() {
    let (one, two) = (Sim::start(|_| {}).await, Sim::start(|_| {}).await);
    assert_ne!(one.simulator.address(), two.simulator.address());
    one.get("/binance/api/v3/ping").await;
    let address = one.simulator.address();
    one.simulator.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
    two.get("/binance/api/v3/ping").await;
}

#[actix_web::test]
async fn a_start_that_cannot_be_says_why() {
    let sim = Sim::start(|_| {}).await;
    let taken = SimulatorOptions { listen: sim.simulator.address(), ..options() };
    let error = Simulator::start(taken).await.unwrap_err();
    assert!(matches!(error, SimulatorError::AddressInUse { .. }), "{error}");
    for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = Simulator::start(SimulatorOptions { speed, ..options() }).await.unwrap_err();
        assert!(matches!(error, SimulatorError::Speed(_)), "{error}");
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"this is no recording\n").unwrap();
    let bad = SimulatorOptions { replay: vec![file.path().to_owned()], ..options() };
    let error = Simulator::start(bad).await.unwrap_err().to_string();
    assert!(error.contains("line 1") && error.contains(&file.path().display().to_string()), "{error}");
}
