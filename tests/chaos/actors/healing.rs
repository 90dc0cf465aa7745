//! How long exchanges that were broken take until they deliver again, as `/health` tells it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::checker::Verdict;
use crate::outside::wait_until;
use crate::row::{Figures, Options, ms};
use crate::site::Site;
use crate::wire::Wire;

/// From a panic to the next life. A delay is at most two seconds; the rest is what it takes to look. Beside other rows
/// even a thread waits to begin, so there it is told and not judged.
const RESTARTED_WITHIN: Duration = Duration::from_millis(2_100);

/// From a panic to the first fresh quote of the next life.
pub(super) const DELIVERS_WITHIN: Duration = Duration::from_secs(5);

/// Age up to which a quote is of now.
const YOUNG_MS: u64 = 1_000;

/// One look at `/health`.
pub(super) struct Look {
    pub(super) asked_at: Instant,
    pub(super) answered_at: Instant,
    exchanges: BTreeMap<String, Value>,
}

impl Look {
    pub(super) fn at(wire: &mut Wire) -> Option<Self> {
        let asked_at = Instant::now();
        let health = wire.ask("/health").ok()?.json();
        let rows = health["exchanges"].as_array().cloned().unwrap_or_default();
        let exchanges =
            rows.into_iter().map(|mut row| (row["name"].as_str().unwrap_or_default().to_owned(), row.take()));
        Some(Self { asked_at, answered_at: Instant::now(), exchanges: exchanges.collect() })
    }

    pub(super) fn number(&self, exchange: &str, field: &str) -> u64 {
        self.exchanges[exchange][field].as_u64().unwrap_or(u64::MAX)
    }

    pub(super) fn text(&self, exchange: &str, field: &str) -> &str {
        self.exchanges[exchange][field].as_str().unwrap_or_default()
    }

    pub(super) fn restarts(&self, exchange: &str) -> u64 {
        self.number(exchange, "restarts")
    }

    pub(super) fn is_fresh(&self, exchange: &str) -> bool {
        self.text(exchange, "status") == "fresh"
    }
}

/// How one exchange came back, from the last look at which it was well.
#[derive(Debug, Clone, Copy)]
pub(super) struct Healing {
    pub(super) restarted_after: Duration,
    pub(super) delivers_after: Duration,
}

/// What is seen of one exchange while it is watched.
struct Patient {
    exchange: &'static str,
    restarts: u64,
    well_at: Instant,
    /// When its next life was seen, and how many quotes there were by then.
    restarted: Option<(Instant, u64)>,
    healing: Option<Healing>,
}

impl Patient {
    fn look(&mut self, look: &Look) {
        let (exchange, restarts) = (self.exchange, look.restarts(self.exchange));
        if self.healing.is_some() {
            return;
        }
        match self.restarted {
            None if restarts >= self.restarts => {
                self.restarted = Some((look.answered_at, look.number(exchange, "quotes_total")));
            }
            None if look.is_fresh(exchange) => self.well_at = look.asked_at,
            None => {}
            Some((restarted_at, quotes)) => {
                let delivers = look.is_fresh(exchange)
                    && look.number(exchange, "quotes_total") > quotes
                    && look.number(exchange, "last_quote_age_ms") < YOUNG_MS;
                self.healing = delivers.then(|| Healing {
                    restarted_after: restarted_at - self.well_at,
                    delivers_after: look.answered_at - self.well_at,
                });
            }
        }
    }
}

/// Harms exchanges at the same time, each of which has to begin anew so many times, and waits until they deliver.
pub(super) fn heal(
    site: &Site,
    exchanges: &[&'static str],
    num_restarts: u64,
    harm: impl Fn(&str),
) -> Vec<Healing> {
    let mut wire = Wire::to(site.address);
    let before = Look::at(&mut wire).unwrap();
    let patient = |exchange: &&'static str| Patient {
        exchange,
        restarts: before.restarts(exchange) + num_restarts,
        well_at: before.asked_at,
        restarted: None,
        healing: None,
    };
    let mut patients: Vec<Patient> = exchanges.iter().map(patient).collect();
    exchanges.iter().for_each(|exchange| harm(exchange));
    wait_until(&format!("{} deliver again", exchanges.join(", ")), || {
        if let Some(look) = Look::at(&mut wire) {
            patients.iter_mut().for_each(|patient| patient.look(&look));
        }
        patients.iter().all(|patient| patient.healing.is_some())
    });
    patients.into_iter().filter_map(|patient| patient.healing).collect()
}

/// The row of exchanges that have to be back in time while every answer is a good one.
pub(super) fn figures(options: &Options, what: &str, healings: &[Healing], verdict: &Verdict) -> Figures {
    let longest = |of: fn(&Healing) -> Duration| healings.iter().map(of).max().unwrap_or_default();
    let (restarted, delivers) = (longest(|it| it.restarted_after), longest(|it| it.delivers_after));
    Figures {
        pass: verdict.holds()
            && verdict.not_200 + verdict.broken == 0
            && (!options.full || restarted <= RESTARTED_WITHIN)
            && delivers <= options.limit(DELIVERS_WITHIN),
        n: healings.len() as u64,
        violations: verdict.num_violations,
        measured: format!(
            "{what}: {} times, begun anew within {}, delivering within {}; {}",
            healings.len(),
            ms(restarted),
            ms(delivers),
            verdict.told()
        ),
        target: format!(
            "in calm begun anew within {}, delivering within {}, every answer 200",
            ms(RESTARTED_WITHIN),
            ms(options.limit(DELIVERS_WITHIN))
        ),
    }
}
