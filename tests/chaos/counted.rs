//! What the service counts, as `/metrics` tells it.

use std::collections::BTreeMap;

use crate::site::Site;

/// What was counted of one exchange since the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counted {
    /// Quotes that were accepted.
    pub(crate) accepted: u64,
    /// Quotes that were refused, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Dials of its sockets, with or without success.
    pub(crate) dials: u64,
}

impl Counted {
    pub(crate) fn of(site: &Site, exchange: &str) -> Self {
        Self::of_all(site, &[exchange]).pop().unwrap_or_default()
    }

    pub(crate) fn of_all(site: &Site, exchanges: &[&str]) -> Vec<Self> {
        let page = site.get("/metrics").body;
        exchanges.iter().map(|exchange| Self::read(&page, exchange)).collect()
    }

    fn read(page: &str, exchange: &str) -> Self {
        let mut counted = Self::default();
        let named = format!("exchange=\"{exchange}\"");
        for line in page.lines().filter(|line| line.contains(&named)) {
            let Some((series, number)) = line.rsplit_once(' ') else { continue };
            let Some((name, labels)) = series.split_once('{') else { continue };
            let number: u64 = number.parse().unwrap_or_default();
            match name {
                "ratebook_exchange_quotes_total" => counted.accepted += number,
                "ratebook_exchange_dials_total" => counted.dials += number,
                "ratebook_exchange_refused_quotes_total" => {
                    let (_, reason) = labels.split_once("reason=\"").expect("the reason of a refusal");
                    let reason = reason.split('"').next().unwrap_or_default();
                    counted.refused.insert(reason.to_owned(), number);
                }
                _ => {}
            }
        }
        counted
    }

    /// How many were refused for this reason.
    pub(crate) fn refused_as(&self, reason: &str) -> u64 {
        self.refused.get(reason).copied().unwrap_or_default()
    }

    /// What was counted here and not yet there.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let more = |(reason, number): (&String, &u64)| (reason.clone(), number - before.refused_as(reason));
        Self {
            accepted: self.accepted - before.accepted,
            refused: self.refused.iter().map(more).filter(|(_, number)| *number > 0).collect(),
            dials: self.dials - before.dials,
        }
    }
}
