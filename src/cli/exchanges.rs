//! `ratebook exchanges`: every exchange of this program as a table, and what it is used for with these settings.
//!
//! It asks nobody: which of the symbols an exchange really trades is known once it has been asked, and is in
//! `/health` as `unsupported`.

use super::columns;
use crate::config::{ExchangeSettings, Settings, variable};
use crate::exchange::{Access, EXCHANGES, KeyUse, Kind, Row, Scope};

const HEADINGS: [&str; 5] = ["NAME", "KIND", "TRANSPORT", "SYMBOLS", "NEEDS"];

/// One line for each exchange, under their headings.
pub(super) fn table(settings: &Settings) -> String {
    let rows =
        EXCHANGES.iter().filter_map(|row| Some(cells(row, settings.exchanges.get(&row.name)?, settings)));
    let lines: Vec<[String; 5]> = std::iter::once(HEADINGS.map(str::to_owned)).chain(rows).collect();
    columns(&lines)
}

fn cells(row: &'static Row, exchange: &ExchangeSettings, settings: &Settings) -> [String; 5] {
    let kind = match row.kind.official_of() {
        Some(currency) => format!("{} ({currency})", row.kind.as_str()),
        None => row.kind.as_str().to_owned(),
    };
    let transport = if exchange.ws_url.is_empty() { "rest" } else { "websocket, rest" };
    let access = Access { rest_url: exchange.rest_url.clone(), api_key: None };
    let plugin = (row.make)(&access, Scope::Directions(settings.directions.clone()));
    let symbols = match row.kind {
        Kind::Fiat { .. } => "its whole table".to_owned(),
        Kind::Market | Kind::Aggregator => {
            let symbols = plugin.feed().listens_to.into_iter().map(|direction| plugin.symbol(direction));
            symbols.collect::<Vec<_>>().join(" ")
        }
    };
    [row.name.to_string(), kind, transport.to_owned(), symbols, needs(row, exchange)]
}

/// What the user has to give, and whether that is there.
fn needs(row: &Row, exchange: &ExchangeSettings) -> String {
    let key = || variable(&format!("exchanges.{}.api_key", row.name));
    let mut needs = match (row.key, &exchange.api_key) {
        (KeyUse::None, _) => "nothing".to_owned(),
        (_, Some(_)) => "nothing: its key is set".to_owned(),
        (KeyUse::Optional, None) => format!("nothing; faster with a key in {}", key()),
        (KeyUse::Required, None) => return format!("a key in {}, off without", key()),
    };
    if !exchange.enabled {
        needs.push_str(" (switched off)");
    }
    needs
}
