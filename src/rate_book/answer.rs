//! What the book answers: courses over the best routes, from the exchange that may answer.

use std::cell::{OnceCell, RefCell};
use std::time::Duration;

use rust_decimal::Decimal;

use super::book::Book;
use super::book_settings::UsdtUsdLeg;
use super::cross;
use super::messages::{Answer, CoursesError, GetCourses, Judgement, ReferenceLeg, Status, Wanted};
use super::route::{Leg, Rate, Route, Step};
use super::selection::{self, Candidate, Since};
use super::shelf::{Kept, Shelf};
use crate::market::{Asset, Course, Direction, ExchangeName, Moment};
use crate::seeded_bug::{self, SeededBug};

/// The courses of one exchange for what is asked.
pub(super) struct Offer {
    exchange: usize,
    pub(super) courses: Vec<Course>,
    pub(super) legs: Vec<ReferenceLeg>,
    /// What it does not support of the configured directions.
    missing: Vec<Direction>,
    /// What it supports and has nothing fresh for.
    stale: Vec<Direction>,
    /// Age of the oldest of those; `None` if one could never have been answered since the start.
    stale_age: Option<Duration>,
    since: Since,
    age: Age,
    /// For how long what it has stays fresh.
    fresh_for: Duration,
}

/// Ages of the oldest legs of each kind; `None` where there is no such leg.
#[derive(Debug, Clone, Copy, Default)]
struct Ages {
    own: Option<Duration>,
    usdt_usd: Option<Duration>,
    fixing: Option<Duration>,
}

/// How old what is told is: a course by the exchange's own legs, where there are none by USDT-USD, and by fixings only
/// where there is nothing else. An answer is as old as its oldest course, and a course of fixings alone counts only
/// among its like: a fixing is not stale by being yesterday's, and `Ratebook-Legs` tells its age.
#[derive(Debug, Clone, Copy, Default)]
struct Age {
    of_markets: Option<Duration>,
    of_fixings: Option<Duration>,
}

impl From<Ages> for Age {
    fn from(ages: Ages) -> Self {
        let of_markets = ages.own.or(ages.usdt_usd);
        Self { of_markets, of_fixings: ages.fixing.filter(|_| of_markets.is_none()) }
    }
}

impl Age {
    fn told(&self) -> Duration {
        self.of_markets.or(self.of_fixings).unwrap_or_default()
    }

    fn max(self, other: Self) -> Self {
        Self {
            of_markets: self.of_markets.max(other.of_markets),
            of_fixings: self.of_fixings.max(other.of_fixings),
        }
    }
}

/// One direction of one exchange, now.
struct Fresh {
    value: Decimal,
    since: Since,
    ages: Ages,
    fresh_for: Duration,
}

/// A leg, now.
#[derive(Clone, Copy)]
pub(super) struct Priced {
    pub(super) value: Decimal,
    pub(super) age: Duration,
    /// For how long it stays fresh.
    pub(super) fresh_for: Duration,
    pub(super) since: Since,
}

/// A reference leg, now.
#[derive(Clone, Copy)]
pub(super) struct Reference {
    pub(super) priced: Priced,
    pub(super) source: Option<ExchangeName>,
    pub(super) held: bool,
}

/// The state of the book at one moment, with the legs that many courses share computed once.
pub(super) struct Pricing<'a> {
    pub(super) book: &'a Book,
    now: Moment,
    usdt_usd: OnceCell<Option<Reference>>,
    fiats: RefCell<Vec<(Direction, Option<Reference>)>>,
    alive: RefCell<Vec<(usize, Option<Since>)>>,
}

impl Book {
    /// Courses from one exchange.
    ///
    /// # Errors
    /// When what is asked is not known, not supported by any single exchange, or not fresh enough now.
    pub fn courses(&self, request: &GetCourses, now: Moment) -> Result<Answer, CoursesError> {
        let may_answer = match request.exchanger {
            None => self.priority.as_slice(),
            Some(name) => {
                let at = self.index.get(&name).filter(|at| self.shelves[**at].enabled);
                std::slice::from_ref(at.ok_or(CoursesError::UnknownExchanger(name))?)
            }
        };
        let pricing = Pricing::new(self, now);
        if self.is_behind(now) {
            let judge = |at: &usize| pricing.judge(*at, None, Vec::new());
            return Err(CoursesError::Starting(may_answer.iter().map(judge).collect()));
        }
        if let Wanted::All(directions) = &request.wanted {
            pricing.check_support(may_answer, directions)?;
        }
        let mut offers: Vec<Offer> = Vec::new();
        let mut candidates = Vec::new();
        for exchange in may_answer.iter().copied() {
            let Some(offer) = pricing.offer(exchange, &request.wanted) else { continue };
            let fresh_since = offer.stale.is_empty().then_some(offer.since);
            let is_young = request.max_age.is_none_or(|max_age| offer.age.told() <= max_age);
            let is_settled = fresh_since
                .is_some_and(|it| selection::is_settled(it, now.monotonic, self.settings.fail_back_after));
            if is_settled && is_young {
                // Nobody before it is settled, so nobody behind it can take its place.
                return Ok(offer.into_answer(self, now));
            }
            candidates.push(Candidate { fresh_since: fresh_since.filter(|_| is_young) });
            offers.push(offer);
        }
        match selection::answering(&candidates, now.monotonic, self.settings.fail_back_after) {
            Some(at) => Ok(offers.swap_remove(at).into_answer(self, now)),
            None => Err(pricing.refusal(may_answer, &offers)),
        }
    }
}

impl Offer {
    fn into_answer(self, book: &Book, now: Moment) -> Answer {
        Answer {
            exchanger: book.shelves[self.exchange].name,
            courses: self.courses,
            age: self.age.told(),
            legs: self.legs,
            missing: self.missing,
            sequence: book.sequence(),
            at: now,
            version: book.version(),
            fresh_for: self.fresh_for,
        }
    }
}

impl<'a> Pricing<'a> {
    pub(super) fn new(book: &'a Book, now: Moment) -> Self {
        Self { book, now, usdt_usd: OnceCell::new(), fiats: RefCell::default(), alive: RefCell::default() }
    }

    /// Whether every currency is known, and one exchange supports all of the directions.
    fn check_support(&self, may_answer: &[usize], directions: &[Direction]) -> Result<(), CoursesError> {
        let unknown = directions.iter().find(|it| !self.book.knows(it.base) || !self.book.knows(it.counter));
        if let Some(unknown) = unknown {
            return Err(self.unless_awaited(*unknown, may_answer, CoursesError::UnknownDirection(*unknown)));
        }
        let supports = |at: usize, it: &Direction| !self.book.routes(at, it.priced_as()).is_empty();
        if may_answer.iter().any(|at| directions.iter().all(|it| supports(*at, it))) {
            return Ok(());
        }
        let nowhere = |it: &&Direction| !may_answer.iter().any(|at| supports(*at, it));
        let first = may_answer.first().copied();
        let not_by_first = |it: &&Direction| first.is_none_or(|at| !supports(at, it));
        let unsupported = directions.iter().find(nowhere).or_else(|| directions.iter().find(not_by_first));
        match unsupported {
            None => Ok(()),
            Some(it) => Err(self.unless_awaited(*it, may_answer, CoursesError::UnsupportedDirection(*it))),
        }
    }

    /// `error`, unless some source has yet to say what it quotes.
    fn unless_awaited(
        &self,
        direction: Direction,
        may_answer: &[usize],
        error: CoursesError,
    ) -> CoursesError {
        if !self.book.awaits_listing(direction) {
            return error;
        }
        CoursesError::Starting(may_answer.iter().map(|at| self.judge(*at, None, vec![direction])).collect())
    }

    /// What an exchange can say to what is wanted; `None` if it supports nothing of it, or not all that it has to.
    pub(super) fn offer(&self, exchange: usize, wanted: &Wanted) -> Option<Offer> {
        let (directions, needs_all) = match wanted {
            Wanted::Configured => (self.book.settings.directions.as_slice(), false),
            Wanted::OfConfigured(directions) => (directions.as_slice(), false),
            Wanted::All(directions) => (directions.as_slice(), true),
        };
        let mut offer = Offer {
            exchange,
            courses: Vec::with_capacity(directions.len()),
            legs: Vec::new(),
            missing: Vec::new(),
            stale: Vec::new(),
            stale_age: Some(Duration::ZERO),
            since: Since::Start,
            age: Age::default(),
            fresh_for: Duration::MAX,
        };
        let configured = match wanted {
            Wanted::Configured => Some(self.book.configured_routes(exchange)),
            Wanted::OfConfigured(_) | Wanted::All(_) => None,
        };
        for (at, &direction) in directions.iter().enumerate() {
            let found;
            let routes: &[Route] = match configured {
                Some(routes) => &routes[at],
                None => {
                    found = self.book.routes(exchange, direction.priced_as());
                    &found
                }
            };
            if routes.is_empty() {
                if needs_all {
                    return None;
                }
                offer.missing.push(direction);
                continue;
            }
            match self.best(exchange, routes, &mut offer.legs) {
                Some(fresh) => {
                    offer.courses.push(Course { direction, value: fresh.value });
                    offer.since = offer.since.max(fresh.since);
                    offer.age = offer.age.max(fresh.ages.into());
                    offer.fresh_for = offer.fresh_for.min(fresh.fresh_for);
                }
                None => {
                    let age = routes.iter().filter_map(|route| self.last_age(exchange, route)).min();
                    offer.stale_age = offer.stale_age.and_then(|oldest| Some(oldest.max(age?)));
                    offer.stale.push(direction);
                }
            }
        }
        let supports_any = offer.missing.len() < directions.len();
        supports_any.then_some(offer)
    }

    /// The course over the best route of which every leg is fresh. It counts as fresh for as long as any route has
    /// been, so that a change of route costs nobody its place.
    fn best(&self, exchange: usize, routes: &[Route], told: &mut Vec<ReferenceLeg>) -> Option<Fresh> {
        let walk = |route| self.walk(exchange, route);
        let (at, mut fresh) = routes.iter().enumerate().find_map(|(at, route)| Some((at, walk(route)?)))?;
        if fresh.since != Since::Start {
            let others = routes[at + 1..].iter().filter_map(walk).map(|other| other.since);
            fresh.since = others.fold(fresh.since, Since::min);
        }
        for leg in &routes[at].legs {
            if let Some(direction) = told_as(leg)
                && !told.iter().any(|it| it.direction == direction)
                && let Some(Reference { priced, source, held }) = self.reference(leg)
            {
                told.push(ReferenceLeg { direction, source, age: priced.age, held });
            }
        }
        Some(fresh)
    }

    /// The value of a route; `None` if one of its legs is not fresh.
    fn walk(&self, exchange: usize, route: &Route) -> Option<Fresh> {
        let mut fresh = Fresh {
            value: Decimal::ONE,
            since: Since::Start,
            ages: Ages::default(),
            fresh_for: Duration::MAX,
        };
        let mut values = [Decimal::ONE; 3];
        for (at, leg) in route.legs.iter().enumerate() {
            let (priced, oldest) = match leg {
                Leg::Own(rate) => (self.rate(&self.book.shelves[exchange], *rate)?, &mut fresh.ages.own),
                Leg::UsdtUsd { .. } => (self.reference(leg)?.priced, &mut fresh.ages.usdt_usd),
                Leg::Fiat { .. } => (self.reference(leg)?.priced, &mut fresh.ages.fixing),
            };
            *oldest = (*oldest).max(Some(priced.age));
            fresh.since = fresh.since.max(priced.since);
            fresh.fresh_for = fresh.fresh_for.min(priced.fresh_for);
            *values.get_mut(at)? = priced.value;
        }
        if fresh.ages.own.is_none() {
            // Nobody lends its name to others' quotes alone while it has none of its own.
            fresh.since = fresh.since.max(self.alive(exchange)?);
        }
        fresh.value = match route.legs.as_slice() {
            // An exchange's own middle is exact.
            [Leg::Own(Rate::Quote(Step { inverted: false, .. }))] => values[0],
            legs if seeded_bug::is_on(SeededBug::CrossLegMissing) => {
                cross::product(&mut values[..legs.len().max(2) - 1])?
            }
            legs => cross::product(&mut values[..legs.len()])?,
        };
        Some(fresh)
    }

    /// Since when an exchange has had anything fresh of its own; `None` if it has nothing.
    fn alive(&self, exchange: usize) -> Option<Since> {
        let mut alive = self.alive.borrow_mut();
        if let Some((_, known)) = alive.iter().find(|(it, _)| *it == exchange) {
            return *known;
        }
        let since = self.book.shelves[exchange].fresh_since(self.now);
        alive.push((exchange, since));
        since
    }

    /// A rate out of one source; `None` if it is not fresh.
    pub(super) fn rate(&self, shelf: &Shelf, rate: Rate) -> Option<Priced> {
        let step = |step: Step| {
            let kept = shelf.usable(step.slot, self.now)?;
            let age = kept.age(self.now);
            let fresh_for = shelf.fresh_for(kept, age, self.now);
            Some(Priced { value: walked(kept, step)?, age, fresh_for, since: kept.fresh_since })
        };
        match rate {
            Rate::Quote(it) => step(it),
            Rate::Table(there, on) => {
                let (there, on) = (step(there)?, step(on)?);
                Some(Priced {
                    value: there.value.checked_mul(on.value)?,
                    age: there.age.max(on.age),
                    fresh_for: there.fresh_for.min(on.fresh_for),
                    since: there.since.max(on.since),
                })
            }
        }
    }

    fn reference(&self, leg: &Leg) -> Option<Reference> {
        match leg {
            Leg::Own(_) => None,
            Leg::UsdtUsd { inverted } => {
                let mut usdt_usd = (*self.usdt_usd.get_or_init(|| self.read_usdt_usd()))?;
                if *inverted {
                    usdt_usd.priced.value = Decimal::ONE.checked_div(usdt_usd.priced.value)?;
                }
                Some(usdt_usd)
            }
            Leg::Fiat { direction, sources } => {
                let mut fiats = self.fiats.borrow_mut();
                if let Some((_, known)) = fiats.iter().find(|(it, _)| it == direction) {
                    return *known;
                }
                let fiat = self.read_fiat(*direction, sources);
                fiats.push((*direction, fiat));
                fiat
            }
        }
    }

    fn read_usdt_usd(&self) -> Option<Reference> {
        if self.book.settings.usdt_usd == UsdtUsdLeg::Peg {
            let priced = Priced {
                value: Decimal::ONE,
                age: Duration::ZERO,
                fresh_for: Duration::MAX,
                since: Since::Start,
            };
            return Some(Reference { priced, source: None, held: false });
        }
        let (at, kept, held) = self.book.usdt_usd(self.now)?;
        let (age, since) = (kept.age(self.now), self.book.usdt_usd_since);
        let shelf = &self.book.shelves[at];
        let fresh_for = match held {
            false => shelf.fresh_for(kept, age, self.now),
            true => self.book.settings.hold_reference.saturating_sub(age),
        };
        let priced = Priced { value: kept.value, age, fresh_for, since };
        Some(Reference { priced, source: Some(shelf.name), held })
    }

    /// Age of what a route would give if nothing could go stale; `None` if one of its legs has never been there.
    fn last_age(&self, exchange: usize, route: &Route) -> Option<Duration> {
        let step = |shelf: &Shelf, step: Step| shelf.last(step.slot, self.now).map(|kept| kept.age(self.now));
        let rate = |shelf: &Shelf, rate: Rate| match rate {
            Rate::Quote(it) => step(shelf, it),
            Rate::Table(there, on) => Some(step(shelf, there)?.max(step(shelf, on)?)),
        };
        let mut ages = Ages::default();
        for leg in &route.legs {
            match leg {
                Leg::Own(it) => ages.own = ages.own.max(Some(rate(&self.book.shelves[exchange], *it)?)),
                Leg::UsdtUsd { .. } => ages.usdt_usd = Some(self.book.last_usdt_usd_age(self.now)?),
                Leg::Fiat { sources, .. } => {
                    let of_sources = sources.iter().filter_map(|(at, it)| rate(&self.book.shelves[*at], *it));
                    ages.fixing = ages.fixing.max(Some(of_sources.min()?));
                }
            }
        }
        Some(Age::from(ages).told())
    }

    /// Why nobody could answer.
    fn refusal(&self, may_answer: &[usize], offers: &[Offer]) -> CoursesError {
        if let Some(age) = offers.iter().filter(|it| it.stale.is_empty()).map(|it| it.age.told()).min() {
            return CoursesError::TooOld { age };
        }
        let judgements: Vec<Judgement> = match offers {
            [] => may_answer.iter().map(|at| self.judge(*at, None, Vec::new())).collect(),
            offers => {
                offers.iter().map(|it| self.judge(it.exchange, it.stale_age, it.stale.clone())).collect()
            }
        };
        let is_down = |it: &Judgement| {
            matches!(it.status, Status::Down | Status::Forbidden | Status::Quarantined | Status::Disabled)
        };
        if !offers.iter().any(|it| it.stale_age.is_some()) {
            CoursesError::Starting(judgements)
        } else if judgements.iter().all(is_down) {
            CoursesError::Down(judgements)
        } else {
            CoursesError::Stale(judgements)
        }
    }

    fn judge(&self, exchange: usize, age: Option<Duration>, missing: Vec<Direction>) -> Judgement {
        let shelf = &self.book.shelves[exchange];
        let status = shelf.status(self.now);
        Judgement { name: shelf.name, status, reason: shelf.why_not_fresh(self.now), age, missing }
    }
}

/// By which direction a reference leg is told, the same for both ways of walking it: the dollar first, but USDT
/// before it; else as it is walked. `None` for a leg of the exchange itself.
fn told_as(leg: &Leg) -> Option<Direction> {
    match leg {
        Leg::Own(_) => None,
        Leg::UsdtUsd { .. } => Some(Direction::new(Asset::USDT, Asset::USD)),
        Leg::Fiat { direction, .. } if direction.counter == Asset::USD => Some(direction.inverse()),
        Leg::Fiat { direction, .. } => Some(*direction),
    }
}

fn walked(kept: &Kept, step: Step) -> Option<Decimal> {
    if step.inverted { cross::inverse(kept) } else { Some(kept.value) }
}

impl Book {
    /// Age of the youngest USDT-USD that any source ever gave.
    fn last_usdt_usd_age(&self, now: Moment) -> Option<Duration> {
        if self.settings.usdt_usd == UsdtUsdLeg::Peg {
            return Some(Duration::ZERO);
        }
        self.usdt_usd_quotes().map(|(_, kept)| kept.age(now)).min()
    }

    /// Name of the exchange that should answer if everything were well.
    pub(super) fn first_of_priority(&self) -> Option<ExchangeName> {
        self.priority.first().map(|at| self.shelves[*at].name)
    }
}
