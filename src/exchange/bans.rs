//! Which exchanges have told us to stay away, and until when.
//!
//! Separate from the actor because a ban outlives it, and outlives the process: an exchange that is asked again
//! during a ban makes the ban longer. So bans are kept in a small file, which is replaced by a rename and is
//! therefore always whole. What was used of a quota that is longer than a run is kept there too, since using it up is
//! what brings the next ban.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use log::warn;
use serde::{Deserialize, Serialize};

use super::Quota;
use crate::clock;
use crate::market::{ExchangeName, Moment};

/// Longest ban that is believed. Binance's go up to three days; a date further away is a damaged file or a clock
/// that was wrong, and must not silence an exchange for years.
const LONGEST_BAN: TimeDelta = TimeDelta::days(7);

/// A time in which nothing is asked of an exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// When it ends.
    pub until: DateTime<Utc>,
    /// For people: `answered 429`.
    pub reason: String,
    /// Whether the exchange refuses us by law or by rule (401, 403, 451).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forbidden: bool,
}

/// The bans of all exchanges, shared by all actors.
#[derive(Debug, Clone)]
pub struct Bans {
    path: Option<Arc<PathBuf>>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    bans: BTreeMap<String, Ban>,
    /// When each exchange with a quota gave an answer that counts.
    answered_at: BTreeMap<String, Vec<DateTime<Utc>>>,
    /// How often in a row an exchange answered 418 without saying for how long.
    num_unmeasured: BTreeMap<String, u32>,
}

/// The file's form.
#[derive(Debug, Default, Serialize, Deserialize)]
struct StateFile {
    bans: BTreeMap<String, Ban>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    answered_at: BTreeMap<String, Vec<DateTime<Utc>>>,
}

/// Bans cannot be remembered in the given file.
#[derive(Debug, thiserror::Error)]
pub enum BansError {
    /// It is there and cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It could not be replaced.
    #[error("cannot write `{}`: {source}", path.display())]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Bans {
    /// Bans that end with the process.
    pub fn in_memory() -> Self {
        Self { path: None, state: Arc::default() }
    }

    /// Reads the bans of the last run; an absent file holds none. A damaged one is warned about and counts as
    /// absent, because no ban is worth a service that does not start.
    ///
    /// # Errors
    /// When the file cannot be read or cannot be replaced, which is tried at once.
    pub fn load(path: &Path) -> Result<Self, BansError> {
        let read = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(BansError::Unreadable { path: path.to_owned(), source }),
        };
        let file = if read.is_empty() { Ok(StateFile::default()) } else { serde_json::from_slice(&read) };
        let file: StateFile = file.unwrap_or_else(|error| {
            warn!("`{}` is damaged, starting without remembered bans: {error}", path.display());
            StateFile::default()
        });
        let state = State { bans: file.bans, answered_at: file.answered_at, num_unmeasured: BTreeMap::new() };
        let bans = Self { path: Some(Arc::new(path.to_owned())), state: Arc::new(Mutex::new(state)) };
        bans.write(path).map_err(|source| BansError::Unwritable { path: path.to_owned(), source })?;
        Ok(bans)
    }

    /// The ban of `exchange`; `None` without one, and after its end.
    pub fn current(&self, exchange: ExchangeName, now: Moment) -> Option<Ban> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ban = state.bans.get(exchange.as_str())?;
        let is_believable = ban.until - now.wall <= LONGEST_BAN;
        (ban.until > now.wall && is_believable).then(|| ban.clone())
    }

    /// Bans `exchange`, unless a longer ban stands, and remembers it.
    pub fn impose(&self, exchange: ExchangeName, ban: Ban) {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let is_longer =
                state.bans.get(exchange.as_str()).is_none_or(|standing| standing.until < ban.until);
            if !is_longer {
                return;
            }
            state.bans.insert(exchange.as_str().to_owned(), ban);
        }
        self.remember();
    }

    /// Counts an answer of `exchange` against its quota, and remembers it. Gives the time until which nothing more may be
    /// asked; `None` while something of the quota is left.
    pub fn count_answer(&self, exchange: ExchangeName, quota: Quota, now: Moment) -> Option<DateTime<Utc>> {
        let window = TimeDelta::from_std(quota.window).unwrap_or(TimeDelta::MAX);
        let most = usize::try_from(quota.answers).unwrap_or(usize::MAX).max(1);
        let free_at = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let answered_at = state.answered_at.entry(exchange.as_str().to_owned()).or_default();
            // An answer of the future was counted by a clock that was wrong.
            answered_at.retain(|at| *at <= now.wall && now.wall - *at < window);
            answered_at.push(now.wall);
            let oldest = answered_at.len().checked_sub(most).map(|at| answered_at[at]);
            oldest.and_then(|oldest| oldest.checked_add_signed(window))
        };
        self.remember();
        free_at
    }

    /// How often in a row `exchange` has banned us without saying for how long, this time included.
    pub fn count_unmeasured(&self, exchange: ExchangeName) -> u32 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let num_unmeasured = state.num_unmeasured.entry(exchange.as_str().to_owned()).or_default();
        *num_unmeasured = num_unmeasured.saturating_add(1);
        *num_unmeasured
    }

    /// `exchange` has answered as usual.
    pub fn forgive(&self, exchange: ExchangeName) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).num_unmeasured.remove(exchange.as_str());
    }

    /// Writes the file on a thread of its own where there is a runtime, so that a slow disk stops no exchange.
    fn remember(&self) {
        let Some(path) = self.path.clone() else { return };
        let bans = self.clone();
        let write = move || {
            if let Err(error) = bans.write(&path) {
                warn!("cannot write `{}`, so bans will not be remembered: {error}", path.display());
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(write)),
            Err(_) => write(),
        }
    }

    /// Replaces the file. The lock is held meanwhile, so that two writers cannot overtake each other.
    fn write(&self, path: &Path) -> io::Result<()> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now().wall;
        let bans = state.bans.iter().filter(|(_, ban)| ban.until > now);
        let file = StateFile {
            bans: bans.map(|(name, ban)| (name.clone(), ban.clone())).collect(),
            answered_at: state.answered_at.clone(),
        };
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        fs::write(&temporary, serde_json::to_vec_pretty(&file)?)?;
        fs::rename(&temporary, path)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BINANCE: ExchangeName = ExchangeName::new("binance");
    const KRAKEN: ExchangeName = ExchangeName::new("kraken");

    fn ban(now: Moment, seconds: u64) -> Ban {
        Ban {
            until: now.after(Duration::from_secs(seconds)).wall,
            reason: "answered 418".to_owned(),
            forbidden: false,
        }
    }

    #[test]
    fn a_ban_is_remembered_across_restarts_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let now = crate::clock::now();
        Bans::load(&path).unwrap().impose(BINANCE, ban(now, 100));

        let bans = Bans::load(&path).unwrap();
        assert_eq!(bans.current(BINANCE, now).unwrap().reason, "answered 418");
        assert_eq!(bans.current(KRAKEN, now), None);
        assert!(bans.current(BINANCE, now.after(Duration::from_secs(99))).is_some());
        assert_eq!(bans.current(BINANCE, now.after(Duration::from_secs(101))), None);
    }

    #[test]
    fn what_was_used_of_a_quota_is_remembered_across_restarts_until_it_is_free_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let quota = Quota { answers: 3, window: Duration::from_secs(100) };
        let start = crate::clock::now();
        let at = |seconds| start.after(Duration::from_secs(seconds));
        for (seconds, expected) in [
            (0, None),
            (10, None),
            // The first answer leaves the window at 100, the second at 110.
            (20, Some(100)),
            (100, Some(110)),
            (109, Some(120)),
            (250, None),
        ] {
            let bans = Bans::load(&path).unwrap();
            let free_at = bans.count_answer(BINANCE, quota, at(seconds));
            assert_eq!(free_at, expected.map(|seconds| at(seconds).wall), "{seconds}");
            assert_eq!(bans.count_answer(KRAKEN, Quota { answers: 99, ..quota }, at(seconds)), None);
        }
    }

    #[test]
    fn an_answer_of_the_future_uses_nothing_of_a_quota() {
        let quota = Quota { answers: 2, window: Duration::from_secs(100) };
        let now = crate::clock::now();
        let bans = Bans::in_memory();
        bans.count_answer(BINANCE, quota, now.after(Duration::from_secs(86_400)));
        assert_eq!(bans.count_answer(BINANCE, quota, now), None);
    }

    #[test]
    fn a_shorter_ban_does_not_shorten_the_one_that_stands() {
        let now = crate::clock::now();
        let bans = Bans::in_memory();
        let is_banned_after =
            |seconds| bans.current(BINANCE, now.after(Duration::from_secs(seconds))).is_some();
        bans.impose(BINANCE, ban(now, 100));
        bans.impose(BINANCE, ban(now, 10));
        assert!(is_banned_after(50));
        bans.impose(BINANCE, ban(now, 1_000));
        assert!(is_banned_after(500), "a longer one does");
    }

    #[test]
    fn a_damaged_file_counts_as_absent_and_is_replaced() {
        for damaged in ["{", "[]", "{\"bans\":{\"binance\":{\"until\":\"tomorrow\"}}}", "\u{0}"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("state.json");
            fs::write(&path, damaged).unwrap();
            let bans = Bans::load(&path).unwrap();
            assert_eq!(bans.current(BINANCE, crate::clock::now()), None);
            assert!(serde_json::from_slice::<StateFile>(&fs::read(&path).unwrap()).is_ok(), "{damaged}");
        }
    }

    #[test]
    fn a_ban_of_years_is_not_believed() {
        let now = crate::clock::now();
        let bans = Bans::in_memory();
        bans.impose(BINANCE, ban(now, 86_400 * 400));
        assert_eq!(bans.current(BINANCE, now), None);
    }

    #[test]
    fn a_path_that_cannot_be_written_is_an_error_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent").join("state.json");
        assert!(matches!(Bans::load(&absent), Err(BansError::Unwritable { .. })));
        let folder_itself = folder.path();
        assert!(matches!(Bans::load(folder_itself), Err(BansError::Unreadable { .. })));
    }
}
