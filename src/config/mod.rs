//! Every setting: typed, defaulted, documented; the only reader of the settings file and of the environment.
//!
//! [`Settings::load`] takes what the file and the environment say (`given`), makes values of it (`value`),
//! fills in the defaults of the table (`key`) and of the exchanges' rows, and warns of what exchanges are going
//! to resent (`limits`). Every mistake is reported at once, each with its key and where it was said.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rust_decimal::Decimal;

use crate::exchange::{EXCHANGES, KeyUse, Row};
use crate::market::{Direction, ExchangeName};

mod effective;
mod given;
mod key;
mod limits;
mod loaded;
mod problem;
#[cfg(test)]
mod tests;
mod value;

pub use given::environment;
pub use key::{EXCHANGE_KEYS, KEYS, Key, variable};
pub use loaded::Loaded;
pub use problem::{ConfigError, Origin, Problem, Warning};

/// The settings file that is read when none is named, where it is present.
const USUAL_FILE: &str = "ratebook.toml";

/// Every setting, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the service listens.
    pub listen: SocketAddr,
    /// Where quotes are stored: `sqlite://PATH`, `sqlite://:memory:` or `postgres://…`.
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
    /// How far two sources of a fiat rate may be apart before they are named, as a share: 0.01 is one per cent.
    pub max_fiat_difference: Decimal,
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
    /// Host and port of a simulator that plays every exchange; `None` for the real ones.
    pub simulator: Option<String>,
    /// The broker; `None` where everything is in one process.
    pub nats: Option<NatsSettings>,
    /// What is stored, and for how long.
    pub storage: StorageSettings,
    /// Every exchange of the table.
    pub exchanges: BTreeMap<ExchangeName, ExchangeSettings>,
}

impl Settings {
    /// Reads `config_path` (no file where `None`), lets the environment override it, and checks everything.
    ///
    /// # Errors
    /// When the file cannot be read, or with every setting that is refused.
    pub fn load(
        config_path: Option<&Path>,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<(Self, Vec<Warning>), ConfigError> {
        Loaded::read(config_path, environment).map(|loaded| (loaded.settings, loaded.warnings))
    }
}

impl Default for Settings {
    fn default() -> Self {
        let (settings, _) = Self::load(None, std::iter::empty()).expect("a test loads the table of defaults");
        settings
    }
}

/// As TOML without secrets, because a database's URL may hold a password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&effective::toml(self, &BTreeMap::new()))
    }
}

/// Which settings file to read: the one that was named, else the one that `RATEBOOK_CONFIG` names, else
/// `ratebook.toml` if it is present in the working directory.
pub fn settings_file(named: Option<PathBuf>) -> Option<PathBuf> {
    let usual = || Some(PathBuf::from(USUAL_FILE)).filter(|path| path.symlink_metadata().is_ok());
    named.or_else(|| given::no_key("RATEBOOK_CONFIG").map(PathBuf::from)).or_else(usual)
}

/// What `RATEBOOK_LOG` says; `None` where it is not set or empty.
pub fn log_filter() -> Option<OsString> {
    given::no_key("RATEBOOK_LOG")
}

/// Which bug to put in on purpose; `None` where `SEEDED_BUG` is not set or empty.
#[cfg(feature = "fault-injection")]
pub fn seeded_bug() -> Option<OsString> {
    given::no_key("SEEDED_BUG")
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

/// What is stored, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageSettings {
    /// Of each exchange and direction the last quote of every such step is stored; zero for all.
    pub every: Duration,
    /// How long quotes and events are kept.
    pub keep_quotes: Duration,
    /// How long candles are kept.
    pub keep_candles: Duration,
    /// Where quotes wait on the disk until PostgreSQL has them.
    pub outbox: PathBuf,
    /// Size of the outbox, in bytes, above which the oldest quotes in it are given up.
    pub outbox_limit: u64,
}

/// The broker, and who we are to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsSettings {
    /// Where it is, without credentials.
    pub url: String,
    /// As whom we speak to it; `None` where it asks nobody.
    pub user: Option<ApiKey>,
    /// The password for that.
    pub password: Option<ApiKey>,
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

impl ExchangeSettings {
    /// The defaults of its row, without a key.
    fn of(row: &Row) -> Self {
        Self {
            enabled: row.key != KeyUse::Required,
            rest_url: row.rest_url.to_owned(),
            ws_url: row.ws_url.to_owned(),
            stale_after: row.stale_after,
            poll_every: row.poll_every,
            api_key: None,
        }
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

impl UsdtUsd {
    /// The word in the settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Peg => "peg",
        }
    }
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

impl Role {
    /// Every role, in the order of the default.
    pub const ALL: [Self; 3] = [Self::Collect, Self::Answer, Self::Store];

    /// The word in the settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Collect => "collect",
            Self::Answer => "answer",
            Self::Store => "store",
        }
    }
}
