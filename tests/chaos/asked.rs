//! What exchanges were asked, by the simulator's own log, and what the service counted of it.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::site::{Control, Site};

/// An entry of the simulator's log.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) at: DateTime<Utc>,
    /// `request`, `connect`, `frame`, `pong` or `close`.
    pub(crate) kind: String,
    pub(crate) detail: String,
    pub(crate) status: Option<u16>,
    /// The client's port, which tells one socket from another.
    pub(crate) port: u64,
}

impl Asked {
    fn read(entry: &Value) -> Option<Self> {
        Some(Self {
            at: entry["at"].as_str()?.parse().ok()?,
            kind: entry["kind"].as_str()?.to_owned(),
            detail: entry["detail"].as_str()?.to_owned(),
            status: entry["status"].as_u64().and_then(|status| u16::try_from(status).ok()),
            port: entry["client_port"].as_u64()?,
        })
    }

    /// Whether something new was wanted of the exchange: a request or a socket.
    pub(crate) fn is_new(&self) -> bool {
        matches!(self.kind.as_str(), "request" | "connect")
    }

    /// Seconds from another entry to this one.
    pub(crate) fn seconds_after(&self, other: DateTime<Utc>) -> f64 {
        (self.at - other).as_seconds_f64()
    }
}

impl Control {
    /// Everything that an exchange was asked after an entry, oldest first; after entry 0, everything of all.
    pub(crate) fn asked(&self, exchange: &str, after: u64) -> Vec<Asked> {
        let after = if after > 0 { format!("&after={after}") } else { String::new() };
        let told = self.get(&format!("log?exchange={exchange}{after}"));
        told["entries"].as_array().into_iter().flatten().filter_map(Asked::read).collect()
    }
}

impl Site {
    /// A metric of the service, summed over everything that has these labels; 0 if there is none.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let page = self.get("/metrics").body;
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let lines = page.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        let of_it = lines.filter(|(rest, _)| {
            (rest.is_empty() || rest.starts_with('{')) && labels.iter().all(|label| rest.contains(label))
        });
        of_it.filter_map(|(_, number)| number.parse::<f64>().ok()).sum()
    }
}
