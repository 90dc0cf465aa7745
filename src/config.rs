//! Every setting: typed, defaulted, documented; the only reader of the settings file and of the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::market::{Direction, ExchangeName};

/// Every setting, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the service listens.
    pub listen: SocketAddr,
    /// Where quotes are stored: `sqlite://PATH` or `postgres://…`.
    pub database_url: String,
    /// What `/v1/courses` answers without parameters.
    pub directions: Vec<Direction>,
    /// Who may answer, best first.
    pub priority: Vec<ExchangeName>,
    /// How long an exchange has to be fresh without a gap before it gets its place back.
    pub fail_back_after: Duration,
    /// How long the last USDT-USD is held after its last source went stale.
    pub hold_reference: Duration,
    /// Where USDT-USD comes from.
    pub usdt_usd: UsdtUsd,
    /// Sources of the leg USDT-USD, best first.
    pub reference_priority: Vec<ExchangeName>,
    /// Sources of fiat legs, best first.
    pub fiat_priority: Vec<ExchangeName>,
    /// Where bans are remembered across restarts.
    pub state_file: PathBuf,
    /// Certificates of further authorities to trust, as PEM; `None` for the usual ones alone.
    pub tls_ca_file: Option<PathBuf>,
    /// Connections that the HTTP server holds at once.
    pub max_connections: usize,
    /// Origins that browsers may ask from; empty for none.
    pub cors_origins: Vec<String>,
    /// Which parts of the service run in this process.
    pub roles: Vec<Role>,
    /// Every exchange of the table.
    pub exchanges: BTreeMap<ExchangeName, ExchangeSettings>,
}

/// The settings of one exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeSettings {
    /// Whether it is listened to.
    pub enabled: bool,
    /// The part of its REST addresses before its own paths, without a slash at the end.
    pub rest_url: String,
    /// The part of its WebSocket addresses before its own paths; empty for REST only.
    pub ws_url: String,
    /// Age at which its quotes are stale.
    pub stale_after: Duration,
    /// Time between two polls.
    pub poll_every: Duration,
    /// The user's key; from the environment only.
    pub api_key: Option<ApiKey>,
}

/// A key, which no log and no error ever shows.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Takes a key as it is.
    pub fn new(key: String) -> Self {
        Self(key)
    }

    /// The key itself, for the header that carries it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where the leg USDT-USD comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsdtUsd {
    /// The first fresh source of `reference_priority`.
    Reference,
    /// One to one, because the user said so.
    Peg,
}

/// A part of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Talks to exchanges.
    Collect,
    /// Answers HTTP.
    Answer,
    /// Stores what was accepted.
    Store,
}
