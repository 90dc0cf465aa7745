//! Settings, with what an operator wants to know beside them: warnings, and where each value was said.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::given::Given;
use super::key::{KEYS, variable};
use super::problem::{ConfigError, Origin, Problem, Warning};
use super::value::{self, Value};
use super::{
    ApiKey, EXCHANGES, ExchangeSettings, NatsSettings, Role, Settings, StorageSettings, effective, limits,
};
use crate::exchange::{self, KeyUse, Row};
use crate::market::ExchangeName;

/// Settings, with what an operator wants to know beside them.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What does not stop the start.
    pub warnings: Vec<Warning>,
    /// Where each value was said that is not a default, by key.
    origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// Reads `config_path` (no file where `None`), lets the environment override it, and checks everything.
    ///
    /// # Errors
    /// When the file cannot be read, or with every setting that is refused.
    pub fn read(
        config_path: Option<&Path>,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let Given { values, problems, mut warnings } = Given::read(config_path, environment)?;
        let mut reader = Reader { values, problems };
        let settings = reader.settings();
        let Reader { values, problems } = reader;
        let Some(settings) = settings.filter(|_| problems.is_empty()) else {
            return Err(ConfigError::Bad(problems));
        };
        let origins = values.into_iter().map(|(key, (_, origin))| (key, origin)).collect();
        warnings.extend(limits::warnings(&settings, &origins));
        Ok(Self { settings, warnings, origins })
    }

    /// The effective settings as TOML, secrets masked; each value that is not a default with where it was said.
    pub fn to_toml(&self) -> String {
        effective::toml(&self.settings, &self.origins)
    }
}

/// Makes values of what was said, and goes on after a mistake, so that all of them are told at once.
struct Reader {
    values: BTreeMap<String, (Value, Origin)>,
    problems: Vec<Problem>,
}

impl Reader {
    /// `None` where at least one value was refused.
    fn settings(&mut self) -> Option<Settings> {
        let simulator = self.read("simulator", value::host_and_port);
        let exchange =
            |row: &Row| (row.name, self.exchange(row, simulator.as_ref().and_then(Option::as_deref)));
        let exchanges = EXCHANGES.iter().map(exchange).collect();
        let listen = self.read("listen", value::address);
        let database_url = self.read("database_url", value::database_url);
        let directions = self.read("directions", value::directions);
        let priority = self.enabled("priority", &exchanges);
        let fail_back_after = self.read("fail_back_after", value::duration_or_zero);
        let hold_reference = self.read("hold_reference", value::duration_or_zero);
        let usdt_usd = self.read("usdt_usd", value::usdt_usd);
        let reference_priority = self.enabled("reference_priority", &exchanges);
        let fiat_priority = self.enabled("fiat_priority", &exchanges);
        let max_fiat_difference = self.read("max_fiat_difference", value::share);
        let state_file = self.read("state_file", value::path);
        let tls_ca_file = self.read("tls_ca_file", value::readable_file);
        let max_connections = self.read("max_connections", value::connections);
        let cors_origins = self.read("cors_origins", value::origins);
        let roles = self.read("roles", value::roles);
        let nats = self.nats();
        self.check_roles(roles.as_deref(), nats.as_ref());
        let storage = self.storage();
        Some(Settings {
            listen: listen?,
            database_url: database_url?,
            directions: directions?,
            priority: priority?,
            fail_back_after: fail_back_after?,
            hold_reference: hold_reference?,
            usdt_usd: usdt_usd?,
            reference_priority: reference_priority?,
            fiat_priority: fiat_priority?,
            max_fiat_difference: max_fiat_difference?,
            state_file: state_file?,
            tls_ca_file: tls_ca_file?,
            max_connections: max_connections?,
            cors_origins: cors_origins?,
            roles: roles?,
            simulator: simulator?,
            nats: nats?,
            storage: storage?,
            exchanges,
        })
    }

    /// The outer `None` where at least one value was refused.
    fn nats(&mut self) -> Option<Option<NatsSettings>> {
        let url = self.read("nats_url", value::nats_url);
        let user = self.read("nats_user", value::credential);
        let password = self.read("nats_password", value::credential);
        let nats = NatsSettings { url: url?, user: user?, password: password? };
        Some((!nats.url.is_empty()).then_some(nats))
    }

    /// Refuses roles that would do nothing in a process by itself.
    fn check_roles(&mut self, roles: Option<&[Role]>, nats: Option<&Option<NatsSettings>>) {
        let (Some(roles), Some(None)) = (roles, nats) else { return };
        let message = match (roles.contains(&Role::Collect), roles.len()) {
            (false, _) => "without `collect` there is nothing to answer or to store",
            (true, 1) => "`collect` alone collects for nobody",
            (true, _) => return,
        };
        let origin = self.values.get("roles").map_or(Origin::Default, |(_, origin)| origin.clone());
        let message = format!(
            "{message} (allowed: `nats_url` of a broker that other processes share, or `collect` and another role)"
        );
        self.refuse("roles", origin, message);
    }

    /// `None` where at least one value was refused.
    fn storage(&mut self) -> Option<StorageSettings> {
        let every = self.read("storage.every", value::storage_step);
        let keep_quotes = self.read("storage.keep_quotes", value::retention);
        let keep_candles = self.read("storage.keep_candles", value::retention);
        let outbox = self.read("storage.outbox", value::path);
        let outbox_limit = self.read("storage.outbox_limit", value::size);
        Some(StorageSettings {
            every: every?,
            keep_quotes: keep_quotes?,
            keep_candles: keep_candles?,
            outbox: outbox?,
            outbox_limit: outbox_limit?,
        })
    }

    /// A setting of the service: what was said, else the default of the table.
    fn read<T>(&mut self, key: &str, parse: fn(&Value) -> Result<T, String>) -> Option<T> {
        let said = self.said(key, parse);
        if said.is_some() || self.values.contains_key(key) {
            return said;
        }
        match parse(&Value::Plain(default_of(key).to_owned())) {
            Ok(value) => Some(value),
            Err(message) => {
                self.refuse(key, Origin::Default, message);
                None
            }
        }
    }

    /// What was said of `key`; `None` where nothing was, or where it is refused.
    fn said<T>(&mut self, key: &str, parse: fn(&Value) -> Result<T, String>) -> Option<T> {
        let (value, origin) = self.values.get(key)?;
        match parse(value) {
            Ok(value) => Some(value),
            Err(message) => {
                let origin = origin.clone();
                self.refuse(key, origin, message);
                None
            }
        }
    }

    /// An exchange: what was said, else the defaults of its row, with the addresses of the simulator if there is one. A refused value leaves the default behind, so
    /// that one mistake gives one message.
    fn exchange(&mut self, row: &Row, simulator: Option<&str>) -> ExchangeSettings {
        let key = |name: &str| format!("exchanges.{}.{name}", row.name);
        let mut default = ExchangeSettings::of(row);
        if let Some(simulator) = simulator {
            (default.rest_url, default.ws_url) = row.served_at(simulator);
        }
        let api_key = self.said(&key("api_key"), value::api_key).flatten();
        let usual_pace = match row.poll_every_with_key {
            Some(pace) if api_key.is_some() => pace,
            _ => default.poll_every,
        };
        let enabled = self.said(&key("enabled"), value::switch);
        if enabled == Some(true)
            && lacks_key(row, api_key.as_ref())
            && let Some((_, origin)) = self.values.get(&key("enabled"))
        {
            let (origin, message) = (origin.clone(), format!("needs a key: {}", how_to_give_a_key(row.name)));
            self.refuse(&key("enabled"), origin, message);
        }
        ExchangeSettings {
            enabled: enabled.unwrap_or(default.enabled || api_key.is_some()),
            rest_url: self.said(&key("rest_url"), value::rest_url).unwrap_or(default.rest_url),
            ws_url: self.said(&key("ws_url"), value::ws_url).unwrap_or(default.ws_url),
            stale_after: self.said(&key("stale_after"), value::duration).unwrap_or(default.stale_after),
            poll_every: self.said(&key("poll_every"), value::duration).unwrap_or(usual_pace),
            api_key,
        }
    }

    /// A list of exchanges. Who writes one means everybody in it, so one that is disabled is a mistake; the
    /// default is for everybody, and is filtered to those that exist and are enabled.
    fn enabled(
        &mut self,
        key: &str,
        exchanges: &BTreeMap<ExchangeName, ExchangeSettings>,
    ) -> Option<Vec<ExchangeName>> {
        let is_enabled = |name: ExchangeName| exchanges.get(&name).is_some_and(|exchange| exchange.enabled);
        let Some((_, origin)) = self.values.get(key) else {
            let rows = default_of(key).split(',').filter_map(exchange::row);
            return Some(rows.map(|row| row.name).filter(|&name| is_enabled(name)).collect());
        };
        let origin = origin.clone();
        let rows = self.said(key, value::exchanges)?;
        let disabled = rows.iter().filter(|row| !is_enabled(row.name));
        let api_key = |row: &Row| exchanges.get(&row.name).and_then(|exchange| exchange.api_key.as_ref());
        let (keyless, switched_off): (Vec<&Row>, Vec<&Row>) =
            disabled.copied().partition(|row| lacks_key(row, api_key(row)));
        if let Some(row) = keyless.first() {
            let message =
                format!("names {}, which is off without a key: {}", row.name, how_to_give_a_key(row.name));
            self.refuse(key, origin, message);
            return None;
        }
        if !switched_off.is_empty() {
            let names: Vec<&str> = switched_off.iter().map(|row| row.name.as_str()).collect();
            let message = format!("names what `enabled = false` switches off: {}", names.join(", "));
            self.refuse(key, origin, message);
            return None;
        }
        Some(rows.iter().map(|row| row.name).collect())
    }

    fn refuse(&mut self, key: &str, origin: Origin, message: String) {
        self.problems.push(Problem { key: Some(key.to_owned()), origin, message });
    }
}

/// Whether an exchange is of no use because it needs a key and has none.
fn lacks_key(row: &Row, api_key: Option<&ApiKey>) -> bool {
    row.key == KeyUse::Required && api_key.is_none()
}

fn how_to_give_a_key(exchange: ExchangeName) -> String {
    format!("set {}", variable(&format!("exchanges.{exchange}.api_key")))
}

fn default_of(key: &str) -> &'static str {
    KEYS.iter().find(|known| known.name == key).map_or("", |known| known.default)
}
