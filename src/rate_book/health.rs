//! What `/health` says of the exchanges and of the courses.

use super::answer::Pricing;
use super::book::Book;
use super::messages::BookHealth;
use crate::market::Moment;

impl Book {
    /// The state of everything at `now`.
    pub fn health(&self, now: Moment) -> BookHealth {
        let pricing = Pricing::new(self, now);
        let mut legs = Vec::new();
        let mut can_answer = false;
        for exchange in &self.priority {
            can_answer |= pricing.has_any(*exchange, &mut legs);
        }
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
        let exchanges =
            self.priority.iter().chain(&by_name).map(|at| self.shelves[*at].health(now)).collect();
        BookHealth { can_answer, impairments, answering, exchanges, legs, disagreements }
    }
}
