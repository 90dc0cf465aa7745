//! Where RateBook leaves what it accepted for whoever stores it, without ever waiting.
//!
//! Separate from messages because nothing may be lost here: what lies in the mailbox of an actor that panics is gone,
//! and nobody is told. A batch that was taken stays until it is confirmed, so that the next life of a taker that
//! failed gets it again. Quotes of one market within the same `every` are conflated to the newest; when takers fall
//! far behind, more and more are, each of them counted.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

use super::record::{Accepted, Record, RecordedEvent};
use crate::market::{Direction, ExchangeName, Validity};

#[cfg(test)]
mod tests;

/// Most records that wait; a batch that was taken and one open step of each market are not given up. One takes some
/// 250 bytes, so that a taker that is away costs at most some 16 MB; a busy market changes its price a few times a
/// second, so that hundreds of markets get over minutes without a loss.
const MOST_WAITING: usize = 50_000;

/// How often an unchanged price is kept all the same: often enough that a gap in what is stored is a gap in what was
/// heard, seldom enough that quiet markets cost nothing.
const CONFIRM_EVERY: TimeDelta = TimeDelta::seconds(60);

/// By how much the wall clock may go back before times of receipt follow it. Quotes that come within the same
/// microsecond, or while NTP slews, stay distinct and in order.
const MAX_SLEW: TimeDelta = TimeDelta::seconds(1);

/// After which silence a market is forgotten, so that markets of the past take no memory. Its next quote is kept
/// whatever it says, as it is after [`CONFIRM_EVERY`] anyway.
const FORGET_AFTER: TimeDelta = TimeDelta::hours(1);

/// The steps by which waiting quotes are conflated when there are too many.
const UNDER_PRESSURE: [Duration; 2] = [Duration::from_secs(1), MINUTE];

const MINUTE: Duration = Duration::from_secs(60);

/// What has been counted since the start. Every record that was pushed waits, was conflated, dropped or confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HandOverCounters {
    /// Records that were pushed: quotes that say something new or confirm what they repeat, and events.
    pub pushed: u64,
    /// The quotes among them.
    pub pushed_quotes: u64,
    /// Quotes that were not taken in because they repeat a price that was confirmed within the last minute.
    pub repeated: u64,
    /// Records that wait, those of a batch that is not confirmed and of steps that are not over included.
    pub waiting: u64,
    /// When the oldest of those was received whose step is over; `None` if there is none.
    pub oldest_at: Option<DateTime<Utc>>,
    /// Quotes for which a later one of the same market stood at that time.
    pub conflated: u64,
    /// Records that were given up because too many waited.
    pub dropped: u64,
    /// Quotes that those stood for; more than `dropped` where they had been conflated.
    pub dropped_quotes: u64,
}

/// Records on their way from RateBook to whoever stores them. Clones are the same.
#[derive(Clone)]
pub struct HandOver {
    queue: Arc<Mutex<Queue>>,
}

impl fmt::Debug for HandOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandOver").field("counters", &self.counters()).finish_non_exhaustive()
    }
}

impl HandOver {
    /// An empty one that conflates the quotes of a market within each `every`, counted from the full minute and at
    /// most one long; zero for none.
    pub fn new(every: Duration) -> Self {
        Self::bounded(every, MOST_WAITING)
    }

    fn bounded(every: Duration, most_waiting: usize) -> Self {
        let queue = Queue {
            every,
            most_waiting,
            markets: HashMap::default(),
            num_open: 0,
            ready: VecDeque::new(),
            taken: None,
            counters: HandOverCounters::default(),
        };
        Self { queue: Arc::new(Mutex::new(queue)) }
    }

    /// Leaves quotes. The flag of each says whether its price differs from the one before.
    pub fn push_quotes(&self, quotes: impl Iterator<Item = (Accepted, bool)>) {
        let mut queue = self.lock();
        for (accepted, is_change) in quotes {
            queue.push_quote(accepted, is_change);
        }
    }

    /// Leaves records as they are: they were conflated where they come from. Whoever leaves them leaves few at a time.
    pub fn push_whole(&self, records: impl Iterator<Item = Record>) {
        let mut queue = self.lock();
        for record in records {
            queue.count_in();
            queue.ready.push_back(record);
        }
    }

    /// Leaves an event.
    pub fn push_event(&self, event: RecordedEvent) {
        let event = RecordedEvent { at: event.at.trunc_subsecs(6), ..event };
        let mut queue = self.lock();
        queue.count_in();
        queue.ready.push_back(Record::Event(event));
    }

    /// Takes at most `most` records, the oldest first: those that were taken last and are not confirmed, else those
    /// that are ready at `now`. `None` if there is nothing.
    pub fn take(&self, most: usize, now: DateTime<Utc>) -> Option<Arc<[Record]>> {
        let mut queue = self.lock();
        if queue.taken.is_none() {
            let every = queue.every;
            queue.close_steps(|open| is_over(open, every, now));
            queue.forget(now);
            let length = queue.ready.len().min(most);
            let batch: Arc<[Record]> = queue.ready.drain(..length).collect();
            queue.taken = (!batch.is_empty()).then_some(batch);
        }
        queue.taken.clone()
    }

    /// A batch that was taken is stored for good. One that was confirmed already changes nothing, so that a taker that
    /// was given up and comes back late does no harm.
    pub fn confirm(&self, batch: &Arc<[Record]>) {
        self.lock().taken.take_if(|taken| Arc::ptr_eq(taken, batch));
    }

    /// Makes everything ready that waits for the end of its step, because nothing will follow.
    pub fn close(&self) {
        self.lock().close_steps(|_| true);
    }

    /// What has been counted.
    pub fn counters(&self) -> HandOverCounters {
        let queue = self.lock();
        let oldest = queue.taken.as_deref().and_then(<[Record]>::first).or(queue.ready.front());
        HandOverCounters {
            waiting: count(queue.num_waiting()),
            oldest_at: oldest.map(Record::at),
            ..queue.counters
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Market = (ExchangeName, Direction);

#[derive(Debug)]
struct Queue {
    /// Length of the steps within which quotes of one market are conflated; zero keeps all.
    every: Duration,
    most_waiting: usize,
    markets: HashMap<Market, MarketState, foldhash::fast::RandomState>,
    /// How many markets have an open step.
    num_open: usize,
    /// In the order in which they came.
    ready: VecDeque<Record>,
    /// What was taken and is not confirmed.
    taken: Option<Arc<[Record]>>,
    /// Those that only grow; the others are made when they are asked for.
    counters: HandOverCounters,
}

#[derive(Debug, Default)]
struct MarketState {
    /// The newest quote of a step that is not over.
    open: Option<Accepted>,
    /// When the last quote was received that was taken in.
    last_at: Option<DateTime<Utc>>,
}

impl Queue {
    fn push_quote(&mut self, mut accepted: Accepted, is_change: bool) {
        let market = (accepted.exchange, accepted.quote.direction);
        let state = self.markets.entry(market).or_default();
        accepted.received_at = distinct(accepted.received_at.trunc_subsecs(6), state.last_at);
        if !is_change && !is_due(accepted.received_at, state.last_at) {
            self.counters.repeated += 1;
            return;
        }
        self.counters.pushed_quotes += 1;
        state.last_at = Some(accepted.received_at);
        if self.every.is_zero() {
            self.count_in();
            self.ready.push_back(Record::Quote(accepted));
            return;
        }
        match state.open.take() {
            Some(open) if stands_for(&accepted, &open, self.every) => {
                accepted.span = open.span.then(accepted.span);
                self.counters.pushed += 1;
                self.counters.conflated += 1;
                state.open = Some(accepted);
            }
            open => {
                state.open = Some(accepted);
                match open {
                    Some(over) => self.ready.push_back(Record::Quote(over)),
                    None => self.num_open += 1,
                }
                self.count_in();
            }
        }
    }

    /// Counts a record that comes to those that wait, and makes room where it is one too many.
    fn count_in(&mut self) {
        self.counters.pushed += 1;
        if self.num_waiting() >= self.most_waiting {
            self.make_room();
        }
    }

    fn num_waiting(&self) -> usize {
        let num_taken = self.taken.as_ref().map_or(0, |taken| taken.len());
        num_taken + self.ready.len() + self.num_open
    }

    /// Passes on the quotes of steps that are over.
    fn close_steps(&mut self, is_over: impl Fn(&Accepted) -> bool) {
        if self.num_open == 0 {
            return;
        }
        let states = self.markets.values_mut();
        let mut over: Vec<Accepted> =
            states.filter_map(|state| state.open.take_if(|open| is_over(open))).collect();
        over.sort_unstable_by_key(|accepted| accepted.received_at);
        self.num_open -= over.len();
        self.ready.extend(over.into_iter().map(Record::Quote));
    }

    /// Forgets markets that have been silent for long.
    fn forget(&mut self, now: DateTime<Utc>) {
        let is_recent = |at: DateTime<Utc>| now - at < FORGET_AFTER;
        self.markets.retain(|_, state| state.open.is_some() || state.last_at.is_some_and(is_recent));
    }

    /// Conflates what is ready in ever larger steps. Where that does not make room for a quarter of all, the oldest
    /// are given up until there is: the next time is far enough away, whatever the quotes are like.
    fn make_room(&mut self) {
        let enough = self.most_waiting / 4 * 3;
        for every in UNDER_PRESSURE {
            self.conflate(every);
            if self.num_waiting() <= enough {
                return;
            }
        }
        let num_dropped = self.num_waiting().saturating_sub(enough).min(self.ready.len());
        for record in self.ready.drain(..num_dropped) {
            self.counters.dropped += 1;
            if let Record::Quote(accepted) = record {
                self.counters.dropped_quotes += u64::from(accepted.span.num_quotes);
            }
        }
    }

    /// Keeps the newest quote of each market and step, where it is.
    fn conflate(&mut self, every: Duration) {
        let mut newest: HashMap<_, usize, foldhash::fast::RandomState> = HashMap::default();
        let mut is_kept = vec![true; self.ready.len()];
        for (at, is_kept) in is_kept.iter_mut().enumerate().rev() {
            let Some(Record::Quote(earlier)) = self.ready.get(at) else { continue };
            let market = (earlier.exchange, earlier.quote.direction);
            let key = (market, starts_at(earlier), step(earlier.received_at, every));
            let span = earlier.span;
            match newest.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(at);
                }
                Entry::Occupied(entry) => {
                    if let Some(Record::Quote(later)) = self.ready.get_mut(*entry.get()) {
                        later.span = span.then(later.span);
                        *is_kept = false;
                        self.counters.conflated += 1;
                    }
                }
            }
        }
        let mut is_kept = is_kept.into_iter();
        self.ready.retain(|_| is_kept.next().unwrap_or(true));
    }
}

/// Whether `later` may stand for `earlier`: within the same step, and not where one is a fixing of another date,
/// because both of them hold.
fn stands_for(later: &Accepted, earlier: &Accepted, every: Duration) -> bool {
    let is_same_step = step(later.received_at, every) == step(earlier.received_at, every);
    is_same_step && starts_at(later) == starts_at(earlier)
}

/// From when on a fixing holds; `None` for a market's quote.
fn starts_at(accepted: &Accepted) -> Option<DateTime<Utc>> {
    match accepted.quote.validity {
        Validity::Fixing { starts_at, .. } => Some(starts_at),
        Validity::Live => None,
    }
}

/// Whether the step of a quote is over at `now`: it is, too, when the clock was set back since.
fn is_over(open: &Accepted, every: Duration, now: DateTime<Utc>) -> bool {
    step(open.received_at, every) < step(now, every) || open.received_at - now >= MAX_SLEW
}

/// Whether a price is kept although it repeats the one before.
fn is_due(at: DateTime<Utc>, last_at: Option<DateTime<Utc>>) -> bool {
    last_at.is_none_or(|last_at| at < last_at || at - last_at >= CONFIRM_EVERY)
}

/// The beginning of the step of this length that `at` falls into, in microseconds. Steps begin anew with every
/// minute, so that no record stands for quotes of two candles.
pub fn step(at: DateTime<Utc>, every: Duration) -> i64 {
    let micros = |length: Duration| i64::try_from(length.as_micros()).unwrap_or(i64::MAX).max(1);
    let at = at.timestamp_micros();
    let into_minute = at.rem_euclid(micros(MINUTE));
    at - into_minute % micros(every)
}

/// A time of receipt that differs from the one before it, although the clock may say the same, or slew.
fn distinct(at: DateTime<Utc>, before: Option<DateTime<Utc>>) -> DateTime<Utc> {
    match before {
        Some(before) if at <= before && before - at < MAX_SLEW => before + TimeDelta::microseconds(1),
        _ => at,
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
