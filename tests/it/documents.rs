//! README and `.env.example` say what the program does: both are held against its tables.

use std::ffi::OsString;

use ratebook::cli::EXIT_CODES;
use ratebook::config::{EXCHANGE_KEYS, KEYS, Settings, variable};
use ratebook::exchange::{EXCHANGES, KeyUse, row};

const README: &str = include_str!("../../README.md");
const ENV_EXAMPLE: &str = include_str!("../../.env.example");

/// The variables of `.env.example`, with the commented ones.
fn example_variables() -> Vec<(&'static str, &'static str)> {
    let lines = ENV_EXAMPLE.lines().map(|line| line.trim_start_matches("# "));
    lines.filter(|line| line.starts_with("RATEBOOK_")).filter_map(|line| line.split_once('=')).collect()
}

#[test]
fn readme_has_a_row_for_every_setting_with_its_default_and_its_meaning() {
    for key in KEYS.iter().chain(EXCHANGE_KEYS) {
        let default = match key.default {
            "" => "none".to_owned(),
            "none" | "its own" => key.default.to_owned(),
            default => format!("`{default}`"),
        };
        let row = format!("| `{}` | {} | {default} | {} |\n", key.name, key.form, key.meaning);
        assert!(README.contains(&row), "missing from the README, or different there:\n{row}");
    }
}

#[test]
fn readme_has_a_row_for_every_exit_code() {
    for (code, meaning) in EXIT_CODES {
        let row = format!("| {code} | {meaning} |\n");
        assert!(README.contains(&row), "missing from the README, or different there:\n{row}");
    }
}

#[test]
fn env_example_has_every_setting_with_its_default() {
    let variables = example_variables();
    for key in KEYS {
        let expected = (variable(key.name), key.default);
        let is_there =
            variables.iter().any(|(name, value)| (*name, *value) == (expected.0.as_str(), expected.1));
        assert!(is_there, "missing from .env.example, or different there: {}={}", expected.0, expected.1);
    }
    for key in EXCHANGE_KEYS.iter().filter(|key| key.name != "api_key") {
        let name = variable(&format!("exchanges.binance.{}", key.name));
        assert!(variables.iter().any(|(known, _)| *known == name), "missing from .env.example: {name}");
    }
}

#[test]
fn env_example_has_a_line_for_every_secret() {
    for row in EXCHANGES.iter().filter(|row| row.key != KeyUse::None) {
        let line = format!("\n{}=\n", variable(&format!("exchanges.{}.api_key", row.name)));
        assert!(ENV_EXAMPLE.contains(&line), "missing from .env.example: {line}");
    }
}

#[test]
fn env_example_changes_nothing_when_it_is_loaded_as_it_is() {
    let is_setting = |name: &str| !["RATEBOOK_LOG", "RATEBOOK_CONFIG"].contains(&name);
    let variables = example_variables().into_iter().filter(|(name, value)| {
        // Lists of exchanges are defaults for everybody: this version may not know all of them, and who needs a key is
        // left out of the default without one, but may not be named.
        let is_usable = |name| row(name).is_some_and(|row| row.key != KeyUse::Required);
        let is_unusable_list = name.ends_with("PRIORITY") && !value.split(',').all(is_usable);
        is_setting(name) && !is_unusable_list && !value.contains("PASSWORD")
    });
    let variables = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let (settings, warnings) = Settings::load(None, variables).unwrap();
    assert_eq!(settings, Settings::default());
    assert!(warnings.is_empty(), "{warnings:?}");
}
