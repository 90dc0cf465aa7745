//! What `/health` says of the exchanges and of the courses.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::answer::Pricing;
use super::book::Book;
use super::messages::{BookHealth, ExchangeHealth, ReferenceLeg, Wanted};
use crate::market::{Course, Moment};

/// Fewest courses of one direction, its own included, that an exchange is compared with.
const MIN_COMPARED: usize = 3;

impl Book {
    /// The state of everything at `now`.
    pub fn health(&self, now: Moment) -> BookHealth {
        let pricing = Pricing::new(self, now);
        let mut offers = BTreeMap::new();
        let mut legs: Vec<ReferenceLeg> = Vec::new();
        for exchange in &self.priority {
            let Some(offer) = pricing.offer(*exchange, &Wanted::Configured) else { continue };
            for leg in offer.legs {
                if !legs.iter().any(|it| it.direction == leg.direction) {
                    legs.push(leg);
                }
            }
            offers.insert(*exchange, offer.courses);
        }
        let can_answer = !self.is_behind(now) && offers.values().any(|courses| !courses.is_empty());
        let answering = self.answering(now).map(|at| self.shelves[at].name);

        let mut impairments = Vec::new();
        if let Some(first) = self.first_of_priority()
            && answering != Some(first)
        {
            impairments.push(format!("`{first}`, the first of `priority`, is not answering"));
        }
        for leg in legs.iter().filter(|leg| leg.held) {
            impairments.push(format!("{} has no fresh source, and its last value is held", leg.direction));
        }
        if self.is_behind(now) {
            impairments.push("this replica is behind the stream, and does not answer".to_owned());
        }
        if self.clock_is_slow {
            impairments
                .push("most exchanges seem to be ahead of this machine's clock: is it slow?".to_owned());
        }

        let disagreements = pricing.disagreements();
        for it in disagreements.iter().filter(|it| it.matters) {
            impairments.push(format!("sources disagree on {it}"));
        }

        let by_name = {
            let mut rest: Vec<usize> =
                (0..self.shelves.len()).filter(|at| !self.priority.contains(at)).collect();
            rest.sort_by_key(|at| self.shelves[*at].name);
            rest
        };
        let health = |at: &usize| ExchangeHealth {
            deviation: offers.get(at).and_then(|own| deviation(own, offers.values())),
            ..self.shelves[*at].health(now)
        };
        let exchanges = self.priority.iter().chain(&by_name).map(health).collect();
        BookHealth {
            can_answer,
            impairments,
            answering,
            exchanges,
            legs,
            disagreements,
            failovers: self.failovers.clone(),
            left_to_store: None,
        }
    }
}

/// The largest distance of an exchange's courses from the median of all exchanges, as a share of the median; `None`
/// where no direction has enough courses to compare.
fn deviation<'a>(own: &[Course], all: impl Iterator<Item = &'a Vec<Course>> + Clone) -> Option<Decimal> {
    let of = |course: &Course| {
        let same = |courses: &'a Vec<Course>| courses.iter().find(|it| it.direction == course.direction);
        let mut values: Vec<Decimal> = all.clone().filter_map(same).map(|it| it.value).collect();
        let enough = values.len() >= MIN_COMPARED;
        values.sort_unstable();
        let (low, high) = (values.get((values.len() - 1) / 2)?, values.get(values.len() / 2)?);
        let median = low.checked_add(*high)?.checked_div(Decimal::TWO)?;
        enough.then(|| course.value.checked_sub(median)?.checked_div(median))?
    };
    own.iter().filter_map(of).max_by_key(Decimal::abs)
}
