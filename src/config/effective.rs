//! The effective settings as TOML that can be read back, without secrets.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::time::Duration;

use rust_decimal::Decimal;

use super::key::STORAGE;
use super::problem::Origin;
use super::{EXCHANGES, ExchangeSettings, NatsSettings, Settings, StorageSettings, value};
use crate::exchange::{KeyUse, Row};

/// The settings as TOML; each value that is in `origins` with where it was said.
pub(super) fn toml(settings: &Settings, origins: &BTreeMap<String, Origin>) -> String {
    let mut page = Page { text: String::new(), origins };
    // Writing into a `String` cannot fail.
    page.settings(settings).map(|()| page.text).unwrap_or_default()
}

/// The URL without the password that it may hold, before the host or as a parameter. Where a password with
/// unescaped signs makes the URL ambiguous, too much is left out rather than too little.
pub(super) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return String::new() };
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (user.split_once(':').map_or(user, |(user, _)| user), rest),
        None => ("", rest),
    };
    let at = if user.is_empty() { "" } else { "@" };
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let is_harmless = |parameter: &&str| !parameter.to_ascii_lowercase().contains("pass");
    let parameters: Vec<&str> = query.split('&').filter(is_harmless).collect();
    let mark = if parameters.concat().is_empty() { "" } else { "?" };
    format!("{scheme}://{user}{at}{address}{mark}{}", parameters.join("&"))
}

/// Seconds of a day.
const DAY: u64 = 24 * 3600;

/// Seconds of a year as durations are read: of 365.25 days.
const YEAR: u64 = DAY / 4 * 1461;

struct Page<'a> {
    text: String,
    origins: &'a BTreeMap<String, Origin>,
}

impl Page<'_> {
    fn settings(&mut self, settings: &Settings) -> fmt::Result {
        self.line("", "listen", quoted(&settings.listen.to_string()))?;
        let database_url = without_password(&settings.database_url);
        if database_url != settings.database_url {
            writeln!(self.text, "# the password of database_url is set, and not shown")?;
        }
        self.line("", "database_url", quoted(&database_url))?;
        self.list("directions", &settings.directions)?;
        self.list("priority", &settings.priority)?;
        self.line("", "fail_back_after", length(settings.fail_back_after))?;
        self.line("", "hold_reference", length(settings.hold_reference))?;
        self.line("", "usdt_usd", quoted(settings.usdt_usd.as_str()))?;
        self.list("reference_priority", &settings.reference_priority)?;
        self.list("fiat_priority", &settings.fiat_priority)?;
        let percent = settings.max_fiat_difference.saturating_mul(Decimal::ONE_HUNDRED).normalize();
        self.line("", "max_fiat_difference", quoted(&format!("{percent}%")))?;
        self.line("", "state_file", quoted(&settings.state_file.to_string_lossy()))?;
        let tls_ca_file =
            settings.tls_ca_file.as_ref().map(|path| path.to_string_lossy()).unwrap_or_default();
        self.line("", "tls_ca_file", quoted(&tls_ca_file))?;
        self.line("", "max_connections", settings.max_connections.to_string())?;
        self.list("cors_origins", &settings.cors_origins)?;
        self.list("roles", &settings.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>())?;
        self.line("", "simulator", quoted(settings.simulator.as_deref().unwrap_or_default()))?;
        self.nats(settings.nats.as_ref())?;
        self.storage(&settings.storage)?;
        for row in EXCHANGES {
            if let Some(exchange) = settings.exchanges.get(&row.name) {
                self.exchange(row, exchange)?;
            }
        }
        Ok(())
    }

    fn nats(&mut self, nats: Option<&NatsSettings>) -> fmt::Result {
        self.line("", "nats_url", quoted(nats.map_or("", |nats| &nats.url)))?;
        let credentials = [
            ("nats_user", nats.and_then(|nats| nats.user.as_ref())),
            ("nats_password", nats.and_then(|nats| nats.password.as_ref())),
        ];
        for (name, _) in credentials.iter().filter(|(_, credential)| credential.is_some()) {
            writeln!(self.text, "# {name} is set, and not shown")?;
        }
        Ok(())
    }

    fn storage(&mut self, storage: &StorageSettings) -> fmt::Result {
        writeln!(self.text, "\n[storage]")?;
        self.line(STORAGE, "every", length(storage.every))?;
        self.line(STORAGE, "keep_quotes", length(storage.keep_quotes))?;
        self.line(STORAGE, "keep_candles", length(storage.keep_candles))?;
        self.line(STORAGE, "outbox", quoted(&storage.outbox.to_string_lossy()))?;
        self.line(STORAGE, "outbox_limit", size(storage.outbox_limit))
    }

    fn exchange(&mut self, row: &Row, exchange: &ExchangeSettings) -> fmt::Result {
        let section = format!("exchanges.{}.", row.name);
        writeln!(self.text, "\n[exchanges.{}]", row.name)?;
        self.line(&section, "enabled", exchange.enabled.to_string())?;
        self.line(&section, "rest_url", quoted(&exchange.rest_url))?;
        self.line(&section, "ws_url", quoted(&exchange.ws_url))?;
        self.line(&section, "stale_after", length(exchange.stale_after))?;
        self.line(&section, "poll_every", length(exchange.poll_every))?;
        match &exchange.api_key {
            Some(_) => writeln!(self.text, "# api_key is set, and not shown"),
            None => match row.key {
                KeyUse::None => Ok(()),
                KeyUse::Optional => writeln!(self.text, "# api_key is not set"),
                KeyUse::Required => writeln!(self.text, "# api_key is not set, and needed"),
            },
        }
    }

    /// A list; one that is empty although it must not be (every exchange of the default is disabled) stands as a
    /// comment, so that the page can be read back.
    fn list(&mut self, name: &str, items: &[impl Display]) -> fmt::Result {
        if items.is_empty() && name != "cors_origins" {
            return writeln!(self.text, "# {name}: nobody of the default is enabled");
        }
        let items: Vec<String> = items.iter().map(|item| quoted(&item.to_string())).collect();
        self.line("", name, format!("[{}]", items.join(", ")))
    }

    fn line(&mut self, section: &str, name: &str, value: String) -> fmt::Result {
        match self.origins.get(&format!("{section}{name}")) {
            Some(origin) => writeln!(self.text, "{name} = {value}  # {}", origin.to_string().escape_debug()),
            None => writeln!(self.text, "{name} = {value}"),
        }
    }
}

/// A length of time in years where they are whole ones, else in days and what is left over: the months between them
/// have 30.44 days, which reads back to the same and which nobody can read.
fn length(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let num_days = seconds / DAY;
    let over = Duration::new(seconds % DAY, duration.subsec_nanos());
    let text = match (num_days, over) {
        (0, over) => humantime::format_duration(over).to_string(),
        _ if seconds.is_multiple_of(YEAR) && duration.subsec_nanos() == 0 => format!("{}y", seconds / YEAR),
        (num_days, Duration::ZERO) => format!("{num_days}d"),
        (num_days, over) => format!("{num_days}d {}", humantime::format_duration(over)),
    };
    quoted(&text)
}

/// A size in the largest unit that divides it.
fn size(bytes: u64) -> String {
    let units = value::UNITS.iter().rev();
    let (name, factor) = units.copied().find(|(_, factor)| bytes.is_multiple_of(*factor)).unwrap_or(("", 1));
    quoted(&format!("{}{name}", bytes / factor))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
