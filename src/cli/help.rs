//! What `--help` says beyond the options: examples, settings, exit codes.
//!
//! Separate because it is read by people, and because settings and exit codes come from their tables: help that
//! is written by hand goes stale.

use super::EXIT_CODES;
use crate::config::{EXCHANGE_KEYS, KEYS, Key, variable};

pub(super) fn program() -> String {
    page(
        &[
            "ratebook demo",
            "ratebook serve --config /etc/ratebook.toml",
            "curl 'http://127.0.0.1:8080/v1/courses?directions=BTC-USD'",
        ],
        &format!("{}\n{}", environment(), exit_codes()),
    )
}

pub(super) fn serve() -> String {
    page(
        &[
            "ratebook serve",
            "ratebook serve --config /etc/ratebook.toml --log-format json",
            "RATEBOOK_LISTEN=0.0.0.0:80 RATEBOOK_PRIORITY=coingecko,binance ratebook serve",
            "RATEBOOK_LOG=info,ratebook::exchange=debug ratebook serve",
        ],
        &format!("{}\n{}\n{}", settings(), environment(), exit_codes()),
    )
}

pub(super) fn demo() -> String {
    page(
        &[
            "ratebook demo",
            "ratebook demo --seed 7 --speed 10",
            "RATEBOOK_LISTEN=127.0.0.1:8081 ratebook demo",
        ],
        &format!(
            "Exchanges and database are the demo's own; other settings apply as usual (`ratebook serve --help`).\n\n{}",
            exit_codes()
        ),
    )
}

pub(super) fn simulate() -> String {
    page(
        &[
            "ratebook simulate",
            "ratebook simulate --listen 127.0.0.1:9901 --seed 7",
            "ratebook simulate --replay monday.jsonl --replay tuesday.jsonl --speed 60",
            "curl -X POST http://127.0.0.1:9900/control/binance/faults -d '{\"kind\":\"mute\",\"for_ms\":8000}'",
            "curl -X DELETE http://127.0.0.1:9900/control/binance/faults",
        ],
        &exit_codes(),
    )
}

pub(super) fn courses() -> String {
    page(
        &[
            "ratebook courses",
            "ratebook courses --directions BTC-USD,ETH-RUB --watch",
            "ratebook courses --url https://rates.example --exchanger coingecko",
        ],
        &exit_codes(),
    )
}

pub(super) fn health() -> String {
    page(
        &["ratebook health", "ratebook health --live", "ratebook health --url https://rates.example"],
        &format!(
            "Degraded is well enough: the reasons are told, and the exit code is 0. Run it as the health check of a \
             container.\n\n{}",
            exit_codes()
        ),
    )
}

pub(super) fn exchanges() -> String {
    page(
        &["ratebook exchanges", "RATEBOOK_DIRECTIONS=BTC-EUR ratebook exchanges"],
        &format!(
            "Symbols are those that the configured directions need, before an exchange has said what it trades; \
             `/health` of a running service tells which of them it does not (`unsupported`).\n\n{}",
            exit_codes()
        ),
    )
}

pub(super) fn check_config() -> String {
    page(
        &[
            "ratebook check-config",
            "ratebook check-config --config new.toml > /dev/null && mv new.toml ratebook.toml",
        ],
        &exit_codes(),
    )
}

pub(super) fn migrate() -> String {
    page(&["ratebook migrate --check", "ratebook migrate --config /etc/ratebook.toml"], &exit_codes())
}

pub(super) fn export() -> String {
    page(
        &[
            "ratebook export --direction BTC-USDT > btc.csv",
            "ratebook export --direction BTC-USDT --interval 1m --from 2026-11-01 --to 2026-12-01 --format jsonl",
        ],
        &format!(
            "Rows are read page by page, whatever their number; a progress bar is drawn where standard error is a \
             terminal. The export reads the database itself, and disturbs no running service.\n\n{}",
            exit_codes()
        ),
    )
}

pub(super) fn decode() -> String {
    page(
        &[
            "ratebook decode binance < frames.jsonl",
            "ratebook decode coingecko --body --directions BTC-USD < answer.json",
        ],
        &format!(
            "One frame per line. A line that is a JSON string is unquoted first; `b64:` marks a binary frame.\n\n{}",
            exit_codes()
        ),
    )
}

/// A mistake on the command line, on one line, with where to read on.
pub(super) fn usage_error(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.split("For more information").next().unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let told = lines.join("; ").replace(":; ", ": ");
    format!("{}; `ratebook --help` explains the commands", told.strip_prefix("error: ").unwrap_or(&told))
}

fn page(examples: &[&str], rest: &str) -> String {
    let examples: String = examples.iter().map(|line| format!("  {line}\n")).collect();
    format!("Examples:\n{examples}\n{rest}")
}

fn exit_codes() -> String {
    let rows = EXIT_CODES.iter().map(|(code, meaning)| format!("  {code:<3} {meaning}\n"));
    format!("Exit codes:\n{}", rows.collect::<String>())
}

fn environment() -> String {
    format!(
        "Environment:\n  \
           RATEBOOK_LOG     what is logged: `info` (default), `warning`, `info,ratebook::exchange=debug`, …\n  \
           RATEBOOK_CONFIG  the settings file, where `--config` is not given\n  \
           RATEBOOK_…       any setting: `{}` is `exchanges.binance.ws_url`; lists with commas\n",
        variable("exchanges.binance.ws_url")
    )
}

fn settings() -> String {
    let mut text = "Settings (in the file, or as RATEBOOK_… in the environment):\n".to_owned();
    let mut add = |key: &Key, default: &str| {
        text += &format!("  {}  ({}; default: {default})\n      {}\n", key.name, key.form, key.meaning);
    };
    for key in KEYS {
        add(key, if key.default.is_empty() { "none" } else { key.default });
    }
    for key in EXCHANGE_KEYS {
        let name = format!("exchanges.<exchange>.{}", key.name);
        text += &format!("  {name}  ({}; default: {})\n      {}\n", key.form, key.default, key.meaning);
    }
    text
}
