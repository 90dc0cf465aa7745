//! What the book answers: courses over the best routes, from the exchange that may answer.

use std::cell::OnceCell;
use std::time::Duration;

use rust_decimal::Decimal;

use super::book::{Book, UsdtUsdLeg};
use super::cross;
use super::messages::{Answer, CoursesError, GetCourses, Judgement, ReferenceLeg, Status, Wanted};
use super::route::{Leg, Rate, Route, Step};
use super::selection::{self, Candidate, Since};
use super::shelf::{Kept, Shelf};
use crate::market::{Asset, Course, Direction, ExchangeName, Moment};

/// The courses of one exchange for what is asked.
struct Offer {
    exchange: usize,
    courses: Vec<Course>,
    legs: Vec<ReferenceLeg>,
    /// What it does not support of the configured directions.
    missing: Vec<Direction>,
    /// What it supports and has nothing fresh for.
    stale: Vec<Direction>,
    /// Age of the oldest of those; `None` if one could never have been answered since the start.
    stale_age: Option<Duration>,
    since: Since,
    ages: Ages,
}

/// Ages of the oldest legs of each kind; `None` where there is no such leg.
///
/// What is told of an answer is the age of the exchange's own legs. Where there are none, that of USDT-USD, and of
/// fixings only where there is nothing else: a fixing is not stale by being yesterday's, and `Ratebook-Legs` tells
/// its age.
#[derive(Debug, Clone, Copy, Default)]
struct Ages {
    own: Option<Duration>,
    usdt_usd: Option<Duration>,
    fixing: Option<Duration>,
}

impl Ages {
    fn told(&self) -> Duration {
        self.own.or(self.usdt_usd).or(self.fixing).unwrap_or_default()
    }

    /// The older of each kind.
    fn max(self, other: Self) -> Self {
        Self {
            own: self.own.max(other.own),
            usdt_usd: self.usdt_usd.max(other.usdt_usd),
            fixing: self.fixing.max(other.fixing),
        }
    }
}

/// One direction of one exchange, now.
struct Fresh {
    value: Decimal,
    since: Since,
    ages: Ages,
}

/// A reference leg, now.
#[derive(Clone)]
struct Reference {
    value: Decimal,
    since: Since,
    told: ReferenceLeg,
}

/// The state of the book at one moment, with the leg that nearly every course needs computed once.
pub(super) struct Pricing<'a> {
    book: &'a Book,
    now: Moment,
    usdt_usd: OnceCell<Option<Reference>>,
}

impl Book {
    /// Courses from one exchange.
    ///
    /// # Errors
    /// When what is asked is not known, not supported by any single exchange, or not fresh enough now.
    pub fn courses(&self, request: &GetCourses, now: Moment) -> Result<Answer, CoursesError> {
        let may_answer = match request.exchanger {
            None => self.priority.clone(),
            Some(name) => {
                let at = self.index.get(&name).filter(|at| self.shelves[**at].enabled);
                vec![*at.ok_or(CoursesError::UnknownExchanger(name))?]
            }
        };
        let pricing = Pricing::new(self, now);
        if let Wanted::All(directions) = &request.wanted {
            pricing.check_support(&may_answer, directions)?;
        }
        let mut offers: Vec<Offer> = Vec::new();
        let mut candidates = Vec::new();
        for exchange in may_answer.iter().copied() {
            let Some(offer) = pricing.offer(exchange, &request.wanted) else { continue };
            let fresh_since = offer.stale.is_empty().then_some(offer.since);
            let is_young = request.max_age.is_none_or(|max_age| offer.ages.told() <= max_age);
            let is_settled = fresh_since
                .is_some_and(|it| selection::is_settled(it, now.monotonic, self.settings.fail_back_after));
            candidates.push(Candidate { fresh_since: fresh_since.filter(|_| is_young) });
            offers.push(offer);
            if is_settled && is_young {
                break;
            }
        }
        match selection::answering(&candidates, now.monotonic, self.settings.fail_back_after) {
            Some(at) => Ok(offers.swap_remove(at).into_answer(self)),
            None => Err(pricing.refusal(&may_answer, &offers)),
        }
    }
}

impl Offer {
    fn into_answer(self, book: &Book) -> Answer {
        Answer {
            exchanger: book.shelves[self.exchange].name,
            courses: self.courses,
            age: self.ages.told(),
            legs: self.legs,
            missing: self.missing,
            sequence: book.sequence(),
        }
    }
}

impl<'a> Pricing<'a> {
    pub(super) fn new(book: &'a Book, now: Moment) -> Self {
        Self { book, now, usdt_usd: OnceCell::new() }
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
    fn offer(&self, exchange: usize, wanted: &Wanted) -> Option<Offer> {
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
            ages: Ages::default(),
        };
        for &direction in directions {
            let routes = self.book.routes(exchange, direction.priced_as());
            if routes.is_empty() {
                if needs_all {
                    return None;
                }
                offer.missing.push(direction);
                continue;
            }
            match self.best(exchange, &routes, &mut offer.legs) {
                Some(fresh) => {
                    offer.courses.push(Course { direction, value: fresh.value });
                    offer.since = offer.since.max(fresh.since);
                    offer.ages = offer.ages.max(fresh.ages);
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
        let (at, (mut fresh, legs)) =
            routes.iter().enumerate().find_map(|(at, route)| Some((at, walk(route)?)))?;
        if fresh.since != Since::Start {
            let others = routes[at + 1..].iter().filter_map(walk).map(|(other, _)| other.since);
            fresh.since = others.fold(fresh.since, Since::min);
        }
        for leg in legs.into_iter().flatten() {
            if !told.iter().any(|it| it.direction == leg.direction) {
                told.push(leg);
            }
        }
        Some(fresh)
    }

    /// The value of a route; `None` if one of its legs is not fresh.
    fn walk(&self, exchange: usize, route: &Route) -> Option<(Fresh, [Option<ReferenceLeg>; 3])> {
        let mut fresh = Fresh { value: Decimal::ONE, since: Since::Start, ages: Ages::default() };
        let mut values = [Decimal::ONE; 3];
        let mut told = [const { None }; 3];
        for (at, leg) in route.legs.iter().enumerate() {
            let value = match leg {
                Leg::Own(rate) => {
                    let (value, age, since) = self.rate(&self.book.shelves[exchange], *rate)?;
                    fresh.ages.own = fresh.ages.own.max(Some(age));
                    fresh.since = fresh.since.max(since);
                    value
                }
                reference => {
                    let reference = self.reference(reference)?;
                    let age = Some(reference.told.age);
                    match leg {
                        Leg::Fiat { .. } => fresh.ages.fixing = fresh.ages.fixing.max(age),
                        _ => fresh.ages.usdt_usd = fresh.ages.usdt_usd.max(age),
                    }
                    fresh.since = fresh.since.max(reference.since);
                    told[at] = Some(reference.told);
                    reference.value
                }
            };
            *values.get_mut(at)? = value;
        }
        fresh.value = match route.legs.as_slice() {
            // An exchange's own middle is exact.
            [Leg::Own(Rate::Quote(Step { inverted: false, .. }))] => values[0],
            legs => cross::product(&mut values[..legs.len()])?,
        };
        Some((fresh, told))
    }

    /// Value, age and beginning of a rate out of one source; `None` if it is not fresh.
    fn rate(&self, shelf: &Shelf, rate: Rate) -> Option<(Decimal, Duration, Since)> {
        let step = |step: Step| {
            let kept = shelf.usable(step.slot, self.now)?;
            Some((walked(kept, step)?, kept.age(self.now), kept.fresh_since))
        };
        match rate {
            Rate::Quote(it) => step(it),
            Rate::Table(there, on) => {
                let (there, on) = (step(there)?, step(on)?);
                Some((there.0.checked_mul(on.0)?, there.1.max(on.1), there.2.max(on.2)))
            }
        }
    }

    fn reference(&self, leg: &Leg) -> Option<Reference> {
        match leg {
            Leg::Own(_) => None,
            Leg::UsdtUsd { inverted } => {
                let mut usdt_usd = self.usdt_usd.get_or_init(|| self.read_usdt_usd()).clone()?;
                if *inverted {
                    usdt_usd.value = Decimal::ONE.checked_div(usdt_usd.value)?;
                }
                Some(usdt_usd)
            }
            Leg::Fiat { direction, sources } => sources.iter().find_map(|(at, rate)| {
                let shelf = &self.book.shelves[*at];
                let (value, age, _) = self.rate(shelf, *rate)?;
                // Told in the one way round for both: the dollar first, else as it is walked.
                let told = if direction.counter == Asset::USD { direction.inverse() } else { *direction };
                let told = ReferenceLeg { direction: told, source: Some(shelf.name), age, held: false };
                Some(Reference { value, since: Since::Start, told })
            }),
        }
    }

    fn read_usdt_usd(&self) -> Option<Reference> {
        let direction = Direction::new(Asset::USDT, Asset::USD);
        if self.book.settings.usdt_usd == UsdtUsdLeg::Peg {
            let told = ReferenceLeg { direction, source: None, age: Duration::ZERO, held: false };
            return Some(Reference { value: Decimal::ONE, since: Since::Start, told });
        }
        let (at, kept, held) = self.book.usdt_usd(self.now)?;
        let source = Some(self.book.shelves[at].name);
        let told = ReferenceLeg { direction, source, age: kept.age(self.now), held };
        Some(Reference { value: kept.value, since: self.book.usdt_usd_since, told })
    }

    /// Age of what a route would give if nothing could go stale; `None` if one of its legs has never been there.
    fn last_age(&self, exchange: usize, route: &Route) -> Option<Duration> {
        let step = |shelf: &Shelf, step: Step| shelf.kept(step.slot).map(|kept| kept.age(self.now));
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
        Some(ages.told())
    }

    /// Why nobody could answer.
    fn refusal(&self, may_answer: &[usize], offers: &[Offer]) -> CoursesError {
        if let Some(age) = offers.iter().filter(|it| it.stale.is_empty()).map(|it| it.ages.told()).min() {
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

    /// Whether an exchange has anything fresh for any configured direction; tells the reference legs that it uses.
    pub(super) fn has_any(&self, exchange: usize, told: &mut Vec<ReferenceLeg>) -> bool {
        let Some(offer) = self.offer(exchange, &Wanted::Configured) else { return false };
        for leg in offer.legs {
            if !told.iter().any(|it| it.direction == leg.direction) {
                told.push(leg);
            }
        }
        !offer.courses.is_empty()
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
