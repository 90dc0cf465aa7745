//! What has to hold after every step, whatever has happened.

use std::time::Duration;

use rand::RngExt;
use rust_decimal::Decimal;

use super::super::*;
use super::cast::{self, CAST, name};
use super::world::World;
use crate::market::{Direction, ExchangeName, Transport};

/// What may be asked for by name: what is configured, the same the other way, what takes a detour, what one or nobody has.
const ASKED: [&str; 16] = [
    "BTC-USD",
    "ETH-USD",
    "BTC-RUB",
    "USDTTRC-RUB",
    "EUR-RUB",
    "USD-BTC",
    "RUB-USDTTRC",
    "ETH-BTC",
    "BTC-EUR",
    "USDTERC-USD",
    "USD-EUR",
    "RUB-EUR",
    "ETH-RUB",
    "BTC-USDT",
    "USDT-USDTTRC",
    "BTC-GBP",
];

impl World {
    /// What the book says that changed has to be what changed.
    pub(super) fn check_changes(&mut self, changes: &[Change], has_jumped: bool) {
        for change in changes {
            self.tell("changed", change);
            if let Change::Switched { from, to, reason } = change {
                assert_eq!(*from, self.told_answering, "who is told to have answered");
                assert_ne!(from, to);
                assert!(!reason.is_empty());
                self.told_answering = *to;
                self.num_switches += 1;
            }
        }
        let told_jumps = changes.iter().filter(|it| matches!(it, Change::ClockJumped { .. })).count();
        assert_eq!(told_jumps, usize::from(has_jumped), "whether the clocks have parted");
    }

    /// Whatever is asked is answered as the model answers it.
    pub(super) fn ask(&mut self, request: &GetCourses) -> Result<Answer, CoursesError> {
        let has_jumped = self.model.look(self.now);
        let changes = self.book.look(self.now);
        self.check_changes(&changes, has_jumped);
        let found = self.book.courses(request, self.now);
        self.tell("answers", &(request, &found));
        let mut expected = self.model.courses(request, self.now);
        match (&mut expected, &found) {
            (Ok(expected), Ok(found)) => {
                // The model has no opinion on these; `check_kept` sees that they are right.
                (expected.version, expected.fresh_for) = (self.book.version(), found.fresh_for);
                assert!(found.courses.iter().all(|course| course.value > Decimal::ZERO));
            }
            (Err(expected), Err(found)) => copy_reasons(expected, found),
            _ => {}
        }
        assert_eq!(found, expected, "{request:?}");
        found
    }

    /// Everything that has to hold now.
    pub(super) fn check(&mut self) {
        self.check_kept();
        let answer = self.ask(&GetCourses::default());
        let answering = answer.as_ref().ok().map(|answer| answer.exchanger);
        assert_eq!(answering, self.told_answering, "a change of who answers was not told");
        self.kept = answer.ok().map(|answer| (self.now, answer));
        let request = self.request();
        self.ask(&request).ok();
        assert_eq!(self.book.sequence(), self.model.sequence);
        assert!(self.book.sequence() >= self.last_sequence, "the sequence fell");
        self.last_sequence = self.book.sequence();
        if self.once_in(8) {
            self.check_health();
        }
        self.check_independence();
    }

    fn request(&mut self) -> GetCourses {
        let exchanger = match self.below(8) {
            0..4 => None,
            4..7 => Some(name(self.below(CAST.len()))),
            _ => Some(ExchangeName::new("omega")),
        };
        let num = 1 + self.below(3);
        let wanted = match self.below(4) {
            0 => Wanted::Configured,
            1 => {
                let configured = &self.model.settings.directions;
                let some: Vec<Direction> =
                    (0..num).map(|at| configured[(at * 2 + num) % configured.len()]).collect();
                Wanted::OfConfigured(some)
            }
            _ => Wanted::All((0..num).map(|_| cast::direction(ASKED[self.below(ASKED.len())])).collect()),
        };
        let max_age = if self.once_in(3) {
            Some(Duration::from_millis(self.random.random_range(0..8_000)))
        } else {
            None
        };
        GetCourses { exchanger, wanted, max_age }
    }

    /// Whoever keeps an answer while the book's version is the same and its legs are fresh keeps one that is right.
    fn check_kept(&mut self) {
        let Some((given_at, kept)) = self.kept.take() else { return };
        let elapsed = self.now.since(given_at);
        if kept.version != self.book.version() || elapsed >= kept.fresh_for {
            return;
        }
        let request = GetCourses { exchanger: Some(kept.exchanger), ..GetCourses::default() };
        let now = self.model.courses(&request, self.now).expect("what was kept is fresh");
        assert_eq!((kept.courses, kept.sequence), (now.courses, now.sequence), "what was kept");
        // What was received by a clock that is ahead is as young as can be until ours has caught up.
        let too_old = (kept.age + elapsed).checked_sub(now.age).expect("nothing is told younger than it is");
        assert!(too_old <= Duration::from_secs(2), "the age of what was kept");
        self.num_kept += 1;
    }

    fn check_health(&mut self) {
        let (now, health) = (self.now, self.book.health(self.now));
        self.tell("health", &health);
        let model = &self.model;
        let has_course = |at: &usize| {
            model.offer(*at, &Wanted::Configured, now).is_some_and(|offer| !offer.courses.is_empty())
        };
        assert_eq!(health.can_answer, !model.is_behind(now) && model.priority.iter().any(has_course));
        assert_eq!(health.answering, self.told_answering);
        assert_eq!(health.legs, model.legs_in_use(now));
        assert_eq!(health.failovers.values().sum::<u64>(), self.num_switches);
        let disputes: Vec<_> =
            health.disagreements.iter().map(|it| (it.direction, it.believed, it.source)).collect();
        let named = |(direction, believed, source)| (direction, name(believed), name(source));
        assert_eq!(disputes, model.disputes(now).into_iter().map(named).collect::<Vec<_>>());
        assert_eq!(health.exchanges.len(), CAST.len());
        for found in health.exchanges {
            let source = &model.sources[model.index(found.name).unwrap()];
            let status = source.status(now);
            assert!(source.is_newest_age(found.last_quote_age, now), "{found:?}");
            let is_connected = matches!(status, Status::Fresh | Status::Stale);
            let transport = match &source.link {
                Some(Link::Up(transport)) => Some(*transport),
                Some(Link::PollFailed(_)) => Some(Transport::Rest),
                Some(Link::Down(_)) | None => None,
            };
            let banned_until = match &source.link {
                Some(Link::PollFailed(why) | Link::Down(why)) => why.banned_until,
                _ => None,
            };
            let expected = ExchangeHealth {
                name: source.name,
                status,
                transport: transport.filter(|_| is_connected),
                last_quote_age: found.last_quote_age,
                quotes_total: source.num_quotes,
                refused: source.refused.iter().map(|(why, count)| (*why, *count)).collect(),
                restarts: source.restarts,
                reconnects: source.reconnects,
                last_error: found.last_error.clone(),
                banned_until: banned_until.filter(|until| *until > now.wall),
                unsupported: source.unsupported.clone(),
                deviation: found.deviation,
            };
            assert_eq!(found, expected);
        }
    }

    /// What one exchange does changes nothing in what another one answers.
    fn check_independence(&mut self) {
        let Some((deaf, mute)) = &self.deaf else { return };
        let of = |answer: Answer| (answer.courses, answer.age, answer.legs, answer.missing);
        // One a step: over the steps everybody has its turn.
        let exchanger = name(self.now.monotonic.subsec_millis() as usize % CAST.len());
        if exchanger != *mute {
            let request = GetCourses { exchanger: Some(exchanger), ..GetCourses::default() };
            let with = self.book.courses(&request, self.now).map(of);
            let without = deaf.courses(&request, self.now).map(of);
            assert_eq!(with, without, "{exchanger} depends on {mute}");
        }
    }
}

/// Reasons are for people, and only have to be there.
fn copy_reasons(to: &mut CoursesError, from: &CoursesError) {
    use CoursesError::{Down, Stale, Starting};
    let (Starting(to) | Stale(to) | Down(to), Starting(from) | Stale(from) | Down(from)) = (to, from) else {
        return;
    };
    for (to, from) in to.iter_mut().zip(from) {
        assert!(!from.reason.is_empty(), "{from:?}");
        to.reason.clone_from(&from.reason);
    }
}
