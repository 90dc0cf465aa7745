//! What a user may set and an exchange, or the service, is going to suffer from. Honoured, with a warning.

use std::collections::BTreeMap;
use std::time::Duration;

use super::problem::{Origin, Warning};
use super::{ExchangeSettings, Settings, UsdtUsd};
use crate::exchange::{EXCHANGES, KeyUse, Kind, Row};
use crate::market::Asset;

/// Shortest pace of polling a market that no exchange resents. The stricter ones publish eight to ten requests a
/// second for one address (Coinbase); the ban that follows costs minutes of prices.
const MARKET_PACE: Duration = Duration::from_millis(100);

/// What should be known about settings that are allowed.
pub(super) fn warnings(settings: &Settings, origins: &BTreeMap<String, Origin>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |key: String, message: String| warnings.push(Warning { key, message });
    for row in EXCHANGES {
        let Some(exchange) = settings.exchanges.get(&row.name).filter(|exchange| exchange.enabled) else {
            continue;
        };
        of_exchange(row, exchange, &mut warn);
    }
    let has_file_password = matches!(origins.get("database_url"), Some(Origin::File { .. }))
        && super::effective::without_password(&settings.database_url) != settings.database_url;
    if has_file_password {
        warn(
            "database_url".to_owned(),
            "a password in the file; `RATEBOOK_DATABASE_URL` keeps it out".to_owned(),
        );
    }
    if settings.priority.is_empty() {
        warn("priority".to_owned(), "nobody in it is enabled, so no question will be answered".to_owned());
    }
    if settings.usdt_usd == UsdtUsd::Reference && settings.reference_priority.is_empty() {
        warn("reference_priority".to_owned(), "nobody in it is enabled, so there is no USDT-USD".to_owned());
    }
    let is_other_fiat = |asset: Asset| asset.is_fiat() && asset != Asset::USD;
    let needs_fiat = settings.directions.iter().find(|d| is_other_fiat(d.base) || is_other_fiat(d.counter));
    if let Some(direction) = needs_fiat.filter(|_| settings.fiat_priority.is_empty()) {
        let message = format!("nobody in it is enabled, so `{direction}` may have no fiat leg");
        warn("fiat_priority".to_owned(), message);
    }
    warnings
}

fn of_exchange(row: &Row, exchange: &ExchangeSettings, warn: &mut impl FnMut(String, String)) {
    let key = |name: &str| format!("exchanges.{}.{name}", row.name);
    let seconds = humantime::format_duration;
    let has_key = exchange.api_key.is_some();
    let limit = least_pace(row, has_key);
    if exchange.poll_every < limit {
        let whose = if has_key { "with a key" } else { "without a key" };
        let message = format!(
            "{} is faster than {} {whose} allows ({}); expect refusals and bans",
            seconds(exchange.poll_every),
            row.name,
            seconds(limit),
        );
        warn(key("poll_every"), message);
    }
    let is_polled_alone = exchange.ws_url.is_empty() && !matches!(row.kind, Kind::Fiat { .. });
    if is_polled_alone && exchange.stale_after <= exchange.poll_every {
        let message = format!(
            "{} is not longer than `poll_every` ({}), so {} is stale between two polls",
            seconds(exchange.stale_after),
            seconds(exchange.poll_every),
            row.name,
        );
        warn(key("stale_after"), message);
    }
    if has_key && row.key == KeyUse::None {
        warn(key("api_key"), format!("{} has no use for a key; it is not sent", row.name));
    }
    if has_key && row.key != KeyUse::None && is_plain_http_abroad(&exchange.rest_url) {
        warn(key("rest_url"), "the key travels unencrypted (`http://`)".to_owned());
    }
}

/// Shortest `poll_every` that the exchange does not resent. An aggregator or a fiat source publishes at a pace of
/// its own, which is its default here, and asking more often only spends the budget.
fn least_pace(row: &Row, has_key: bool) -> Duration {
    match (row.kind, row.poll_every_with_key) {
        (Kind::Market, _) => MARKET_PACE,
        (_, Some(pace)) if has_key => pace,
        _ => row.poll_every,
    }
}

fn is_plain_http_abroad(url: &str) -> bool {
    let is_here = |host: &str| ["127.", "localhost", "[::1]"].iter().any(|here| host.starts_with(here));
    url.strip_prefix("http://").is_some_and(|host| !is_here(host))
}
