//! What was asked of the simulated exchanges, for tests that count.
//!
//! A ring: a test that runs for days must not fill the memory.

use std::collections::VecDeque;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Value, json};

/// Entries that are kept. A test of ten minutes at twenty entries a second fits.
const MAX_ENTRIES: usize = 20_000;

/// Longest detail that is kept of one entry, in characters; a list of a thousand streams is longer than it is useful.
const MAX_DETAIL: usize = 600;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// A request came.
    Request,
    /// A WebSocket was opened.
    Connect,
    /// A WebSocket's text or binary message came, or a ping.
    Frame,
    /// A pong came.
    Pong,
    /// A WebSocket ended.
    Close,
}

/// One entry.
#[derive(Debug, Clone, Serialize)]
struct Entry {
    id: u64,
    #[serde(serialize_with = "rfc3339")]
    at: DateTime<Utc>,
    exchange: &'static str,
    kind: Event,
    detail: String,
    /// What a request was answered with; `null` while it was not.
    status: Option<u16>,
    client_port: u16,
}

fn rfc3339<S: serde::Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Micros, true))
}

/// The last entries.
#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl Journal {
    /// Adds an entry, and gives its number.
    pub(super) fn add(&mut self, exchange: &'static str, kind: Event, detail: &str, client_port: u16) -> u64 {
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.pop_front();
        }
        let id = self.next_id;
        self.next_id += 1;
        let detail = detail.chars().take(MAX_DETAIL).collect();
        let at = crate::clock::now().wall;
        self.entries.push_back(Entry { id, at, exchange, kind, detail, status: None, client_port });
        id
    }

    /// Notes what a request was answered with.
    pub(super) fn answered(&mut self, id: u64, status: u16) {
        let first = self.entries.front().map_or(0, |entry| entry.id);
        let index = id.checked_sub(first).and_then(|index| usize::try_from(index).ok());
        if let Some(entry) = index.and_then(|index| self.entries.get_mut(index)) {
            entry.status = Some(status);
        }
    }

    /// Forgets everything so far.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// The entries of this exchange and kind, oldest first, after the one numbered `after`.
    pub(super) fn told(&self, exchange: Option<&str>, kind: Option<&str>, after: Option<u64>) -> Value {
        let is_asked = |entry: &&Entry| {
            exchange.is_none_or(|exchange| entry.exchange == exchange)
                && kind.is_none_or(|kind| serde_json::to_value(entry.kind).is_ok_and(|known| known == kind))
                && after.is_none_or(|after| entry.id > after)
        };
        let entries: Vec<&Entry> = self.entries.iter().filter(is_asked).collect();
        json!({ "entries": entries, "forgotten": self.next_id - self.entries.len() as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_filtered_and_the_oldest_are_forgotten() {
        let mut log = Journal::default();
        let first = log.add("binance", Event::Request, "GET /api/v3/ping", 1);
        log.add("cbr", Event::Request, "GET /", 2);
        log.add("binance", Event::Pong, "", 3);
        log.answered(first, 200);
        let told = log.told(Some("binance"), None, None);
        assert_eq!(told["entries"].as_array().unwrap().len(), 2);
        assert_eq!(told["entries"][0]["status"], 200);
        assert_eq!(log.told(None, Some("pong"), None)["entries"][0]["client_port"], 3);
        assert_eq!(log.told(None, None, Some(first))["entries"].as_array().unwrap().len(), 2);
        for _ in 0..MAX_ENTRIES {
            log.add("cbr", Event::Frame, &"x".repeat(5000), 4);
        }
        log.answered(first, 500);
        let told = log.told(None, None, None);
        assert_eq!(told["entries"].as_array().unwrap().len(), MAX_ENTRIES);
        assert_eq!(told["forgotten"], 3);
        assert_eq!(told["entries"][0]["detail"].as_str().unwrap().len(), MAX_DETAIL);
    }
}
