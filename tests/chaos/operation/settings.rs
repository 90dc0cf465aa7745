//! Settings files that somebody got wrong.

use std::collections::BTreeMap;
use std::fs;

use crate::row::{Figures, Options, ms};
use crate::site::Process;
use tokio::time::Instant;

/// The exit code of bad settings.
const SETTINGS: i32 = 78;

/// The line of a file on which the mistake stands, below two good ones.
const LINE: usize = 3;

/// A mistake, and the key that has to be named.
const FILES: [(&str, &str); 30] = [
    ("listn = \"127.0.0.1:0\"", "listn"),
    ("listen = \"localhost:8080\"", "listen"),
    ("listen = 8080", "listen"),
    ("database_url = \"mysql://db\"", "database_url"),
    ("directions = [\"BTC-USD\", \"BTCRUB\"]", "directions"),
    ("directions = [\"BTC-USD\", \"btc-usd\"]", "directions"),
    ("directions = [\"BTC-BTC\"]", "directions"),
    ("directions = []", "directions"),
    ("priority = [\"binance\", \"krakn\"]", "priority"),
    ("priority = [\"kraken\", \"kraken\"]", "priority"),
    ("priority = []", "priority"),
    ("reference_priority = [\"nobody\"]", "reference_priority"),
    ("fiat_priority = [\"freecurrencyapi\"]", "fiat_priority"),
    ("fail_back_after = \"-5s\"", "fail_back_after"),
    ("fail_back_after = 15", "fail_back_after"),
    ("hold_reference = \"\"", "hold_reference"),
    ("usdt_usd = \"pegged\"", "usdt_usd"),
    ("max_connections = 0", "max_connections"),
    ("cors_origins = [\"shop.example\"]", "cors_origins"),
    ("roles = [\"cook\"]", "roles"),
    ("roles = [\"answer\"]", "roles"),
    ("tls_ca_file = \"absent.pem\"", "tls_ca_file"),
    ("storage.every = \"61s\"", "storage.every"),
    ("storage.outbox_limit = \"1KiB\"", "storage.outbox_limit"),
    ("nats_url = \"http://broker\"", "nats_url"),
    ("[exchanges.krakn]", "exchanges.krakn"),
    ("exchanges.binance.stale_after = \"-1s\"", "exchanges.binance.stale_after"),
    ("exchanges.binance.rest_url = \"binance.com\"", "exchanges.binance.rest_url"),
    ("exchanges.binance.url = \"https://h\"", "exchanges.binance.url"),
    ("exchanges.coingecko.api_key = \"k\"", "exchanges.coingecko.api_key"),
];

pub(super) fn refused(_: &Options) -> Figures {
    let directory = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let mut wrong = Vec::new();
    for (number, (mistake, key)) in FILES.iter().enumerate() {
        let (name, log) = (format!("bad-{number}.toml"), format!("bad-{number}"));
        let file = format!("# Ours.\nstate_file = \"state.json\"\n{mistake}\n");
        fs::write(directory.path().join(&name), file).unwrap();
        let arguments = ["serve", "--config", &name];
        let mut process = Process::start(directory.path(), &log, &arguments, &BTreeMap::new());
        let (code, log) = (process.wait(), process.log());
        let critical: Vec<&str> = log.lines().filter(|line| line.contains(" CRITICAL ")).collect();
        let place = format!("`{key}` ({name}:{LINE})");
        let is_told = matches!(critical.as_slice(), [line] if line.contains(&place));
        if code != Some(SETTINGS) || !is_told || log.contains("listening on") {
            wrong.push(format!("{mistake}: {code:?}: {log}"));
        }
    }
    let took = began.elapsed();
    Figures {
        pass: wrong.is_empty(),
        n: FILES.len() as u64,
        measured: format!(
            "{} of {} files end with {SETTINGS} and one line that names file, line and key, in {} each{}",
            FILES.len() - wrong.len(),
            FILES.len(),
            ms(took / 30),
            wrong.first().map_or(String::new(), |first| format!("; {first}"))
        ),
        target: format!("exit {SETTINGS}, one CRITICAL line with the file, the line and the key"),
        ..Figures::default()
    }
}
