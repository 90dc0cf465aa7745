//! Sources of fiat rates beside each other: whose word counts, and which of them contradict it.
//!
//! Separate from the pricing of other legs because a fiat rate has several sources that are believed at once: a
//! central bank is slow and right about its own currency, and who repeats it may have slipped by a day or a digit.

use std::time::Duration;

use rust_decimal::Decimal;

use super::answer::{Priced, Pricing, Reference};
use super::book::Book;
use super::change::Change;
use super::messages::Disagreement;
use super::route::{Leg, Rate};
use super::selection::Since;
use crate::market::{Direction, ExchangeName, Moment};

/// How often sources are compared although no rate has come: a fixing begins or ends at midnight of its place.
const COMPARE_EVERY: Duration = Duration::from_secs(60);

/// Significant digits of a rate that is told; sources themselves print four to seven.
const SHOWN_DIGITS: u32 = 7;

/// What was found when the sources were compared last.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// When that was; `None` if a rate has come since.
    pub(super) at: Option<Duration>,
    /// Of each disagreement that matters its direction, and who contradicts.
    contradictions: Vec<(Direction, ExchangeName)>,
    /// The other directions on which sources disagree.
    elsewhere: Vec<Direction>,
}

impl Pricing<'_> {
    /// The rate that counts: of the first fresh source; where another one contradicts it, of the first fresh source
    /// that sets the rates of either currency.
    pub(super) fn read_fiat(&self, direction: Direction, sources: &[(usize, Rate)]) -> Option<Reference> {
        let mut fresh = self.fresh_rates(sources);
        let first = fresh.next()?;
        let (at, priced) = if fresh.any(|(_, other)| self.book.contradicts(first.1.value, other.value)) {
            let is_official = |at: usize| {
                let official_of = self.book.shelves[at].official_of;
                official_of.is_some_and(|it| it == direction.base || it == direction.counter)
            };
            self.fresh_rates(sources).find(|(at, _)| is_official(*at)).unwrap_or(first)
        } else {
            first
        };
        let priced = Priced { since: Since::Start, ..priced };
        Some(Reference { priced, source: Some(self.book.shelves[at].name), held: false })
    }

    fn fresh_rates(&self, sources: &[(usize, Rate)]) -> impl Iterator<Item = (usize, Priced)> {
        sources.iter().filter_map(|(at, rate)| Some((*at, self.rate(&self.book.shelves[*at], *rate)?)))
    }

    /// Who contradicts whom, for every currency that several sources have, by its rate in dollars.
    pub(super) fn disagreements(&self) -> Vec<Disagreement> {
        let mut found = Vec::new();
        for leg in self.book.dollar_rates() {
            let Leg::Fiat { direction, sources } = leg else { continue };
            let Some(counts) = self.read_fiat(*direction, sources) else { continue };
            let Some(believed) = counts.source else { continue };
            let value = counts.priced.value;
            for (at, other) in self.fresh_rates(sources) {
                if self.book.contradicts(value, other.value) {
                    found.push(Disagreement {
                        direction: *direction,
                        believed,
                        value: shown(value),
                        source: self.book.shelves[at].name,
                        other: shown(other.value),
                        matters: self.book.is_in_use(*direction),
                    });
                }
            }
        }
        found
    }
}

/// A rate for people: with as many digits as tell it from another one.
fn shown(rate: Decimal) -> Decimal {
    rate.round_sf(SHOWN_DIGITS).unwrap_or(rate)
}

impl Book {
    /// Whether two rates of one direction are further apart than sources may be.
    fn contradicts(&self, believed: Decimal, other: Decimal) -> bool {
        let allowed = believed.checked_mul(self.settings.max_fiat_difference);
        let difference = believed.checked_sub(other).map(|difference| difference.abs());
        difference.zip(allowed).is_none_or(|(difference, allowed)| difference > allowed)
    }

    /// Says on what sources of fiat rates begin and cease to disagree.
    pub(super) fn compare_fiat_sources(&mut self, now: Moment) -> Vec<Change> {
        let is_due = |at: Duration| now.monotonic.saturating_sub(at) >= COMPARE_EVERY;
        if !self.compared.at.is_none_or(is_due) {
            return Vec::new();
        }
        let found = Pricing::new(self, now).disagreements();
        let (mattering, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|it| it.matters);
        let contradictions = mattering.iter().map(|it| (it.direction, it.source)).collect();
        let mut elsewhere: Vec<Direction> = others.iter().map(|it| it.direction).collect();
        elsewhere.dedup();
        let compared = Compared { at: Some(now.monotonic), contradictions, elsewhere };
        let before = std::mem::replace(&mut self.compared, compared);

        let is_new = |it: &Disagreement| !before.contradictions.contains(&(it.direction, it.source));
        let mut changes: Vec<Change> =
            mattering.into_iter().filter(is_new).map(Change::FiatSourcesDisagree).collect();
        let ended = before.contradictions.iter().filter(|it| !self.compared.contradictions.contains(it));
        changes.extend(ended.map(|&(direction, source)| Change::FiatSourcesAgree { direction, source }));
        if self.compared.elsewhere != before.elsewhere && !self.compared.elsewhere.is_empty() {
            changes.push(Change::FiatSourcesDisagreeElsewhere(self.compared.elsewhere.clone()));
        }
        changes
    }

    /// Whether a configured direction has the currency of a dollar rate.
    fn is_in_use(&self, dollar_rate: Direction) -> bool {
        let currency = dollar_rate.counter;
        self.settings.directions.iter().any(|it| it.base == currency || it.counter == currency)
    }
}
