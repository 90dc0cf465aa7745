//! What the model answers, and why it does not: the same questions as the book is asked, worked out path by path.

use std::time::Duration;

use rust_decimal::{Decimal, RoundingStrategy};

use super::super::*;
use super::model::{Model, Said, USDT_USD};
use super::paths::{self, Leg, Path, Rate};
use crate::market::{Asset, Course, Direction, Moment};

/// What a leg gives.
#[derive(Debug, Clone)]
struct Worth {
    value: Decimal,
    age: Duration,
    since: Option<Duration>,
}

/// What a path gives.
struct Walked {
    value: Decimal,
    since: Option<Duration>,
    own: Option<Duration>,
    usdt_usd: Option<Duration>,
    fixing: Option<Duration>,
}

/// How old an answer is: by its markets, else by its fixings.
#[derive(Debug, Clone, Copy, Default)]
struct Age {
    markets: Option<Duration>,
    fixings: Option<Duration>,
}

impl Age {
    fn of(own: Option<Duration>, usdt_usd: Option<Duration>, fixing: Option<Duration>) -> Self {
        match own.or(usdt_usd) {
            Some(markets) => Self { markets: Some(markets), fixings: None },
            None => Self { markets: None, fixings: fixing },
        }
    }

    fn told(&self) -> Duration {
        self.markets.or(self.fixings).unwrap_or_default()
    }
}

/// What one exchange could answer.
pub(super) struct Offer {
    at: usize,
    pub(super) courses: Vec<Course>,
    pub(super) legs: Vec<ReferenceLeg>,
    missing: Vec<Direction>,
    stale: Vec<Direction>,
    stale_age: Option<Duration>,
    since: Option<Duration>,
    age: Age,
}

fn inverse(said: &Said) -> Decimal {
    match (said.quote.bid, said.quote.ask) {
        (Some(bid), Some(ask)) => (Decimal::ONE / ask + Decimal::ONE / bid) / Decimal::TWO,
        _ => Decimal::ONE / said.value,
    }
}

impl Model {
    /// What the book has to answer. What this does not work out (the version, reasons for people, for how long the
    /// answer stays fresh) is left empty.
    pub(super) fn courses(&self, request: &GetCourses, now: Moment) -> Result<Answer, CoursesError> {
        let asked = match request.exchanger {
            None => self.priority.clone(),
            Some(name) => vec![self.index(name).ok_or(CoursesError::UnknownExchanger(name))?],
        };
        if self.is_behind(now) {
            let all = asked.iter().map(|at| self.judgement(*at, None, Vec::new(), now));
            return Err(CoursesError::Starting(all.collect()));
        }
        if let Wanted::All(directions) = &request.wanted {
            self.check_support(&asked, directions, now)?;
        }
        let is_wanted = |offer: &Offer| {
            offer.stale.is_empty() && request.max_age.is_none_or(|max_age| offer.age.told() <= max_age)
        };
        let has_waited = |offer: &Offer| match offer.since {
            None => true,
            Some(since) => now.monotonic.saturating_sub(since) >= self.settings.fail_back_after,
        };
        let mut offers: Vec<Offer> = Vec::new();
        for offer in asked.iter().filter_map(|at| self.offer(*at, &request.wanted, now)) {
            if is_wanted(&offer) && has_waited(&offer) {
                return Ok(self.answer(&offer, now));
            }
            offers.push(offer);
        }
        let longest = offers.iter().filter(|offer| is_wanted(offer)).min_by_key(|offer| offer.since);
        match longest {
            Some(offer) => Ok(self.answer(offer, now)),
            None => Err(self.refusal(&asked, &offers, now)),
        }
    }

    fn answer(&self, offer: &Offer, now: Moment) -> Answer {
        Answer {
            exchanger: self.sources[offer.at].name,
            courses: offer.courses.clone(),
            age: offer.age.told(),
            legs: offer.legs.clone(),
            missing: offer.missing.clone(),
            sequence: self.sequence,
            at: now,
            version: 0,
            fresh_for: Duration::ZERO,
        }
    }

    fn check_support(
        &self,
        asked: &[usize],
        directions: &[Direction],
        now: Moment,
    ) -> Result<(), CoursesError> {
        let unless_awaited = |it: Direction, error| {
            let all = asked.iter().map(|at| self.judgement(*at, None, vec![it], now));
            if self.awaits(it) { CoursesError::Starting(all.collect()) } else { error }
        };
        if let Some(it) = directions.iter().find(|it| !(self.knows(it.base) && self.knows(it.counter))) {
            return Err(unless_awaited(*it, CoursesError::UnknownDirection(*it)));
        }
        let has = |at: usize, it: &Direction| !self.paths(at, *it).is_empty();
        if asked.iter().any(|at| directions.iter().all(|it| has(*at, it))) {
            return Ok(());
        }
        let by_nobody = directions.iter().find(|it| asked.iter().all(|at| !has(*at, it)));
        let by_the_first = || directions.iter().find(|it| !has(asked[0], it));
        let it = *by_nobody.or_else(by_the_first).unwrap();
        Err(unless_awaited(it, CoursesError::UnsupportedDirection(it)))
    }

    /// What one exchange could answer; `None` if it has nothing of it, or not all that it has to have.
    pub(super) fn offer(&self, at: usize, wanted: &Wanted, now: Moment) -> Option<Offer> {
        let (directions, needs_all) = match wanted {
            Wanted::Configured => (&self.settings.directions, false),
            Wanted::OfConfigured(directions) => (directions, false),
            Wanted::All(directions) => (directions, true),
        };
        let mut offer = Offer {
            at,
            courses: Vec::new(),
            legs: Vec::new(),
            missing: Vec::new(),
            stale: Vec::new(),
            stale_age: Some(Duration::ZERO),
            since: None,
            age: Age::default(),
        };
        for direction in directions {
            let paths = self.paths(at, *direction);
            let mut walked = paths.iter().filter_map(|path| Some((path, self.walk(at, path, now)?)));
            if paths.is_empty() {
                offer.missing.push(*direction);
            } else if let Some((path, best)) = walked.next() {
                offer.courses.push(Course { direction: *direction, value: best.value });
                // It has been fresh for as long as any path has; `None` is earlier than any time.
                let since = walked.fold(best.since, |since, (_, other)| since.min(other.since));
                offer.since = offer.since.max(since);
                let age = Age::of(best.own, best.usdt_usd, best.fixing);
                offer.age.markets = offer.age.markets.max(age.markets);
                offer.age.fixings = offer.age.fixings.max(age.fixings);
                for leg in path.legs.iter().filter_map(|leg| self.told(*leg, now)) {
                    if offer.legs.iter().all(|it| it.direction != leg.direction) {
                        offer.legs.push(leg);
                    }
                }
            } else {
                offer.stale.push(*direction);
                let age = paths.iter().filter_map(|path| self.last_age(at, path, now)).min();
                offer.stale_age = offer.stale_age.zip(age).map(|(oldest, age)| oldest.max(age));
            }
        }
        let is_some = offer.missing.len() < directions.len();
        let is_all = offer.missing.is_empty();
        (is_some && (is_all || !needs_all)).then_some(offer)
    }

    /// What a path gives; `None` if one of its legs is not to be believed.
    fn walk(&self, at: usize, path: &Path, now: Moment) -> Option<Walked> {
        let mut walked = Walked { value: Decimal::ONE, since: None, own: None, usdt_usd: None, fixing: None };
        for leg in &path.legs {
            let worth = self.worth(at, *leg, now)?;
            let oldest = match leg {
                Leg::Own(_) => &mut walked.own,
                Leg::UsdtUsd { .. } => &mut walked.usdt_usd,
                Leg::Fiat(_) => &mut walked.fixing,
            };
            *oldest = (*oldest).max(Some(worth.age));
            walked.since = walked.since.max(worth.since);
            walked.value *= worth.value;
        }
        if walked.own.is_none() {
            // Who has nothing of its own does not repeat what others say.
            walked.since = walked.since.max(self.sources[at].believes_anything_since(now)?);
        }
        let is_as_said = matches!(path.legs.as_slice(), [Leg::Own(Rate::Quote(_))]);
        if !is_as_said {
            let rounding = RoundingStrategy::MidpointNearestEven;
            walked.value = walked.value.round_sf_with_strategy(10, rounding)?;
        }
        Some(walked)
    }

    fn worth(&self, at: usize, leg: Leg, now: Moment) -> Option<Worth> {
        match leg {
            Leg::Own(rate) => self.rate(at, rate, now),
            Leg::UsdtUsd { is_inverted } => {
                let (_, said, _) = self.usdt_usd(now)?;
                let value = if is_inverted { Decimal::ONE / said.value } else { said.value };
                Some(Worth { value, age: said.age(now), since: self.usdt_since })
            }
            Leg::Fiat(direction) => self.fiat(direction, now).map(|(_, worth)| worth),
        }
    }

    fn rate(&self, at: usize, rate: Rate, now: Moment) -> Option<Worth> {
        let source = &self.sources[at];
        let worth = |said: &Said, value| Worth { value, age: said.age(now), since: said.since };
        match rate {
            Rate::Quote(direction) => source.believed(direction, now).map(|said| worth(said, said.value)),
            Rate::Inverse(direction) => {
                source.believed(direction, now).map(|said| worth(said, inverse(said)))
            }
            Rate::Table(direction, through) => {
                let (there, on) = paths::rows(source, direction, through)?;
                let (there, on) = (self.rate(at, there, now)?, self.rate(at, on, now)?);
                Some(Worth {
                    value: there.value * on.value,
                    age: there.age.max(on.age),
                    since: there.since.max(on.since),
                })
            }
        }
    }

    fn fiat_rates(&self, direction: Direction, now: Moment) -> Vec<(usize, Worth)> {
        let sources = self.fiat_sources.iter().copied();
        let fresh = sources.filter_map(|at| {
            let rate = paths::rate(&self.sources[at], direction)?;
            Some((at, self.rate(at, rate, now)?))
        });
        fresh.collect()
    }

    fn is_contradicted(&self, believed: Decimal, other: Decimal) -> bool {
        (believed - other).abs() > believed * self.settings.max_fiat_difference
    }

    /// The fiat rate that counts: the first fresh one; where another contradicts it, that of a bank which sets it.
    fn fiat(&self, direction: Direction, now: Moment) -> Option<(usize, Worth)> {
        let rates = self.fiat_rates(direction, now);
        let first = rates.first()?.clone();
        let is_disputed = rates.iter().any(|(_, it)| self.is_contradicted(first.1.value, it.value));
        let sets_it = |at: usize| {
            let official_of = self.sources[at].official_of;
            official_of.is_some_and(|it| [direction.base, direction.counter].contains(&it))
        };
        let official = rates.into_iter().find(|(at, _)| sets_it(*at));
        let (at, worth) = official.filter(|_| is_disputed).unwrap_or(first);
        Some((at, Worth { since: None, ..worth }))
    }

    /// How a shared leg is told.
    fn told(&self, leg: Leg, now: Moment) -> Option<ReferenceLeg> {
        match leg {
            Leg::Own(_) => None,
            Leg::UsdtUsd { .. } => {
                let (at, said, held) = self.usdt_usd(now)?;
                let source = Some(self.sources[at].name);
                Some(ReferenceLeg { direction: USDT_USD, source, age: said.age(now), held })
            }
            Leg::Fiat(direction) => {
                let (at, worth) = self.fiat(direction, now)?;
                let is_of_dollars = direction.counter == Asset::USD;
                let direction = if is_of_dollars { direction.inverse() } else { direction };
                let source = Some(self.sources[at].name);
                Some(ReferenceLeg { direction, source, age: worth.age, held: false })
            }
        }
    }

    /// The age that a course over this path would have; `None` if one of its legs has never been there.
    fn last_age(&self, at: usize, path: &Path, now: Moment) -> Option<Duration> {
        let (mut own, mut usdt_usd, mut fixing) = (None, None, None);
        for leg in &path.legs {
            match leg {
                Leg::Own(rate) => own = own.max(Some(self.last_age_of(at, *rate, now)?)),
                Leg::UsdtUsd { .. } => {
                    let sources = self.usdt_sources.iter().copied();
                    let last = sources.filter_map(|at| self.sources[at].last(USDT_USD, now));
                    usdt_usd = Some(last.map(|said| said.age(now)).min()?);
                }
                Leg::Fiat(direction) => {
                    let sources = self.fiat_sources.iter().copied();
                    let ages = sources.filter_map(|at| {
                        self.last_age_of(at, paths::rate(&self.sources[at], *direction)?, now)
                    });
                    fixing = fixing.max(Some(ages.min()?));
                }
            }
        }
        Some(Age::of(own, usdt_usd, fixing).told())
    }

    fn last_age_of(&self, at: usize, rate: Rate, now: Moment) -> Option<Duration> {
        let source = &self.sources[at];
        match rate {
            Rate::Quote(direction) | Rate::Inverse(direction) => {
                source.last(direction, now).map(|said| said.age(now))
            }
            Rate::Table(direction, through) => {
                let (there, on) = paths::rows(source, direction, through)?;
                Some(self.last_age_of(at, there, now)?.max(self.last_age_of(at, on, now)?))
            }
        }
    }

    fn refusal(&self, asked: &[usize], offers: &[Offer], now: Moment) -> CoursesError {
        let too_old = offers.iter().filter(|offer| offer.stale.is_empty()).map(|offer| offer.age.told());
        if let Some(age) = too_old.min() {
            return CoursesError::TooOld { age };
        }
        let judge = |offer: &Offer| self.judgement(offer.at, offer.stale_age, offer.stale.clone(), now);
        let judgements: Vec<Judgement> = if offers.is_empty() {
            asked.iter().map(|at| self.judgement(*at, None, Vec::new(), now)).collect()
        } else {
            offers.iter().map(judge).collect()
        };
        let is_down = |it: &Judgement| !matches!(it.status, Status::Fresh | Status::Stale);
        if offers.iter().all(|offer| offer.stale_age.is_none()) {
            CoursesError::Starting(judgements)
        } else if judgements.iter().all(is_down) {
            CoursesError::Down(judgements)
        } else {
            CoursesError::Stale(judgements)
        }
    }

    fn judgement(&self, at: usize, age: Option<Duration>, missing: Vec<Direction>, now: Moment) -> Judgement {
        let source = &self.sources[at];
        Judgement { name: source.name, status: source.status(now), reason: String::new(), age, missing }
    }

    /// The shared legs that anybody who may answer would use for what is configured.
    pub(super) fn legs_in_use(&self, now: Moment) -> Vec<ReferenceLeg> {
        let mut legs: Vec<ReferenceLeg> = Vec::new();
        for at in self.priority.iter().copied() {
            let offered = self.offer(at, &Wanted::Configured, now).map(|offer| offer.legs);
            for leg in offered.into_iter().flatten() {
                if legs.iter().all(|it| it.direction != leg.direction) {
                    legs.push(leg);
                }
            }
        }
        legs
    }

    /// Whose fiat rates contradict the ones that count: the rate, whose word counts, and who says otherwise.
    pub(super) fn disputes(&self, now: Moment) -> Vec<(Direction, usize, usize)> {
        let listed = self.fiat_sources.iter().flat_map(|at| &self.sources[*at].listing);
        let mut currencies: Vec<Asset> = listed.flat_map(|it| [it.base, it.counter]).collect();
        currencies.sort_unstable();
        currencies.dedup();
        let mut found = Vec::new();
        for currency in currencies.into_iter().filter(|it| it.is_fiat() && *it != Asset::USD) {
            let direction = Direction::new(Asset::USD, currency);
            let Some((counts, believed)) = self.fiat(direction, now) else { continue };
            for (other, worth) in self.fiat_rates(direction, now) {
                if self.is_contradicted(believed.value, worth.value) {
                    found.push((direction, counts, other));
                }
            }
        }
        found
    }
}
