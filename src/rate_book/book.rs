//! The pure state machine: what happened and when goes in, what changed comes out. No clock, no actor, no log.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::book_settings::{BookSettings, ListedExchange, UsdtUsdLeg};
use super::change::{Change, Event};
use super::fiat::Compared;
use super::gates;
use super::messages::{
    CoursesError, Epoch, Failover, FailoverCause, GetCourses, Life, Link, LinkFailure, ReportLife,
    ReportLink, ReportListing, ReportQuotes, Status, Wanted,
};
use super::newest::{ExchangeState, Listing};
use super::record::{Accepted, Span};
use super::route::{Leg, Map, Route};
use super::selection::Since;
use super::shelf::{Kept, Shelf};
use crate::market::{Asset, Direction, ExchangeName, Moment, Quote, Refusal, Validity};
use crate::seeded_bug::{self, SeededBug};

/// By how much wall and monotonic clock may part between two events before the difference counts as a jump: more
/// than NTP slews in a minute, less than any `stale_after` in use.
const MAX_CLOCK_JUMP: Duration = Duration::from_secs(2);

/// How long a time stamp counts in the judgement whether our own clock is slow.
const STAMP_MEMORY: Duration = Duration::from_secs(60);

/// Most directions whose routes are remembered, so that clients who ask for everything cannot fill the memory.
const MAX_REMEMBERED_ROUTES: usize = 4096;

/// How long the book may hear nothing of the end of a stream that it follows. By then what markets quoted is stale, and
/// what is left is an aggregator's price: another replica may have a better one.
const MAX_SILENCE: Duration = Duration::from_secs(6);

/// How long nothing may happen here. The time is looked at ten times a second: whoever was away for longer was stopped,
/// and has to hear where its stream is before it answers.
const MAX_ABSENCE: Duration = Duration::from_secs(1);

/// How long ago something may have been read that says where the stream is now.
const MAX_READ_AGE: Duration = Duration::from_millis(500);

const USDT_USD: Direction = Direction::new(Asset::USDT, Asset::USD);

/// Routes that were found, by exchange (an index into the shelves) and direction.
type RememberedRoutes = HashMap<(usize, Direction), Arc<[Route]>, foldhash::fast::RandomState>;

/// The state of every exchange, and the rules over it.
#[derive(Debug)]
pub struct Book {
    pub(super) settings: BookSettings,
    pub(super) shelves: Vec<Shelf>,
    pub(super) index: HashMap<ExchangeName, usize, foldhash::fast::RandomState>,
    /// Who may answer, as indexes into `shelves`.
    pub(super) priority: Vec<usize>,
    fiat_sources: Vec<usize>,
    usdt_sources: Vec<usize>,
    known: HashSet<Asset>,
    routes: RefCell<RememberedRoutes>,
    /// Of each exchange the routes of the configured directions, in their order, because nearly every question needs
    /// them all.
    configured_routes: Vec<OnceCell<Vec<Arc<[Route]>>>>,
    started_at: Moment,
    last: Moment,
    /// Live quotes received at or before this are not even held: the clocks jumped since.
    jumped_at: Option<Duration>,
    /// Since when USDT-USD has been there without a gap.
    pub(super) usdt_usd_since: Since,
    pub(super) clock_is_slow: bool,
    /// Dollars into every currency that several sources may have.
    dollar_rates: OnceCell<Vec<Leg>>,
    pub(super) compared: Compared,
    sequence: u64,
    /// Counts every change of what could be answered.
    version: u64,
    answering: Option<usize>,
    pub(super) failovers: BTreeMap<Failover, u64>,
    /// Whether its sequence is that of a stream that it follows.
    follows: bool,
    /// When it was last at the end of that stream; `None` before the first time, and since it was away.
    caught_up_at: Option<Duration>,
    /// What was accepted since it was drained last, each with whether its price is news; `None` where nobody wants it.
    accepted: Option<Vec<(Accepted, bool)>>,
}

impl Book {
    /// A book without quotes.
    pub fn new(settings: BookSettings, now: Moment) -> Self {
        let shelf = |it: &ListedExchange| Shelf::new(it.name, it.enabled, it.stale_after, it.official_of);
        let shelves: Vec<Shelf> = settings.exchanges.iter().map(shelf).collect();
        let index: HashMap<_, _, _> =
            shelves.iter().enumerate().map(|(at, shelf)| (shelf.name, at)).collect();
        let enabled = |names: &[ExchangeName]| -> Vec<usize> {
            let known = names.iter().filter_map(|name| index.get(name).copied());
            known.filter(|at| shelves[*at].enabled).collect()
        };
        Self {
            priority: enabled(&settings.priority),
            fiat_sources: enabled(&settings.fiat_priority),
            usdt_sources: enabled(&settings.reference_priority),
            configured_routes: vec![OnceCell::new(); shelves.len()],
            settings,
            shelves,
            index,
            known: HashSet::new(),
            routes: RefCell::default(),
            started_at: now,
            last: now,
            jumped_at: None,
            usdt_usd_since: Since::Start,
            clock_is_slow: false,
            dollar_rates: OnceCell::new(),
            compared: Compared::default(),
            sequence: 0,
            version: 0,
            answering: None,
            failovers: BTreeMap::new(),
            follows: false,
            caught_up_at: None,
            accepted: None,
        }
    }

    /// The same book, which from now on keeps what it accepts for [`Book::drain_accepted`].
    pub fn recording(self) -> Self {
        Self { accepted: Some(Vec::new()), ..self }
    }

    /// The same book, whose sequence is from now on the one that it is given by [`Book::reach`].
    pub fn following(self) -> Self {
        Self { follows: true, ..self }
    }

    /// It has taken in all that its stream has until `sequence`, which was read at `read_at`, and may be all of it.
    pub fn reach(&mut self, sequence: u64, is_caught_up: bool, read_at: Moment, now: Moment) {
        if is_caught_up && now.since(read_at) <= MAX_READ_AGE {
            if self.caught_up_at.is_none() {
                self.version += 1;
            }
            self.caught_up_at = Some(now.monotonic);
        }
        if sequence > self.sequence {
            self.sequence = sequence;
            self.version += 1;
        }
    }

    /// Whether it follows a stream and is not at its end, as far as it knows.
    pub(super) fn is_behind(&self, now: Moment) -> bool {
        let since = |at: Duration| now.monotonic.saturating_sub(at);
        let is_away = since(self.last.monotonic) > MAX_ABSENCE;
        self.follows && (is_away || self.caught_up_at.is_none_or(|at| since(at) > MAX_SILENCE))
    }

    /// What is known of an exchange beside its quotes; `None` if it is not listened to.
    pub fn state_of(&self, exchange: ExchangeName) -> Option<ExchangeState> {
        let shelf = &self.shelves[*self.index.get(&exchange)?];
        let listing = || Listing {
            listens_to: shelf.listing().map(|(_, direction)| direction).collect(),
            unsupported: shelf.unsupported.clone(),
        };
        shelf.enabled.then(|| ExchangeState {
            exchange,
            epoch: shelf.epoch,
            listing: shelf.has_listing.then(listing),
            link: shelf.link.clone(),
        })
    }

    /// Since when a market has been fresh without a gap.
    pub(super) fn fresh_since(&self, exchange: ExchangeName, direction: Direction) -> Since {
        let shelf = self.index.get(&exchange).map(|at| &self.shelves[*at]);
        let kept = shelf.and_then(|shelf| shelf.kept(shelf.listed(direction)?));
        kept.map_or(Since::Start, |kept| kept.fresh_since)
    }

    /// What was accepted since it was drained last.
    pub(super) fn accepted(&self) -> &[(Accepted, bool)] {
        self.accepted.as_deref().unwrap_or_default()
    }

    /// The quotes that were accepted since this was asked last, in their order, each with whether it says something
    /// new; none from a book that does not record.
    pub fn drain_accepted(&mut self) -> impl Iterator<Item = (Accepted, bool)> {
        self.accepted.iter_mut().flat_map(|accepted| accepted.drain(..))
    }

    /// How many quotes of each exchange were refused since the start, and why.
    pub fn refusals(&self) -> impl Iterator<Item = (ExchangeName, Refusal, u64)> {
        self.shelves.iter().flat_map(|shelf| {
            let counted = Refusal::ALL.into_iter().zip(shelf.counters.refused);
            counted.filter(|(_, count)| *count > 0).map(|(refusal, count)| (shelf.name, refusal, count))
        })
    }

    /// Takes in what happened, and says what changed by it.
    pub fn apply(&mut self, event: Event, now: Moment) -> Vec<Change> {
        let mut changes = self.observe(now);
        match event {
            // A quote by itself switches nobody at once: `tick` sees who answers now.
            Event::Quotes(report) => self.take_quotes(report, None, now),
            Event::QuotesElsewhere(report, since) => {
                let since = since.map_or(Since::Start, |since| Since::At(since.monotonic));
                self.take_quotes(report, Some(since), now);
            }
            Event::Listing(report) => self.take_listing(report),
            Event::Reconnect(report) => {
                if let Some(at) = self.current(report.exchange, report.epoch, now) {
                    let counters = &mut self.shelves[at].counters;
                    counters.reconnects = counters.reconnects.saturating_add(1);
                }
            }
            Event::Link(report) => {
                self.take_link(report, now);
                changes.extend(self.switch(now));
            }
            Event::Life(report) => {
                self.take_life(report, now);
                changes.extend(self.switch(now));
            }
        }
        changes
    }

    /// Looks at the clocks, as every event does: whoever asks first after the machine has slept is not told what was
    /// fresh before.
    pub fn look(&mut self, now: Moment) -> Vec<Change> {
        self.observe(now)
    }

    /// Says what changed by the mere passing of time.
    pub fn tick(&mut self, now: Moment) -> Vec<Change> {
        let mut changes = self.observe(now);
        changes.extend(self.switch(now));
        changes.extend(self.judge_our_clock(now));
        changes.extend(self.compare_fiat_sources(now));
        changes
    }

    /// Forgets every quote and keeps the listings: after a failure nothing half applied may be believed.
    pub fn forget_quotes(&mut self, now: Moment) {
        for shelf in &mut self.shelves {
            shelf.forget_quotes();
            shelf.distrust(now);
        }
        self.bump(now);
    }

    /// Number of this state of the book: wall milliseconds of the newest change shifted left by 8, plus a counter; of one
    /// that follows a stream, where it is in that.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Number of everything that courses are computed from, time excepted; a change of it is another number.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether any enabled source lists this currency.
    pub(super) fn knows(&self, asset: Asset) -> bool {
        self.known.contains(&asset.priced_as())
    }

    /// Whether some source has not said yet what it quotes, so that an unknown currency may still become known.
    pub(super) fn awaits_listing(&self, direction: Direction) -> bool {
        // A source that fails since the start may have the currency that nobody else has, and adds nothing to others.
        let may_come = |fiat: Asset, at: usize| {
            let shelf = &self.shelves[at];
            !shelf.has_quoted() && (!shelf.has_failed() || !self.knows(fiat))
        };
        let fiats = [direction.base, direction.counter].into_iter().filter(Asset::is_fiat);
        let is_coming = |fiat| self.fiat_sources.iter().any(|at| may_come(fiat, *at));
        fiats.into_iter().any(is_coming)
            || self.shelves.iter().any(|shelf| shelf.enabled && !shelf.has_listing)
    }

    /// The routes of an exchange for a direction (as markets price it), best first.
    pub(super) fn routes(&self, exchange: usize, direction: Direction) -> Arc<[Route]> {
        if let Some(routes) = self.routes.borrow().get(&(exchange, direction)) {
            return routes.clone();
        }
        let routes: Arc<[Route]> = self.map().routes(exchange, direction).into();
        let mut remembered = self.routes.borrow_mut();
        if remembered.len() >= MAX_REMEMBERED_ROUTES {
            remembered.clear();
        }
        remembered.insert((exchange, direction), routes.clone());
        routes
    }

    /// Dollars into every currency that any source of fiat rates has.
    pub(super) fn dollar_rates(&self) -> &[Leg] {
        self.dollar_rates.get_or_init(|| {
            let listings = self.fiat_sources.iter().flat_map(|at| self.shelves[*at].listing());
            let currencies: BTreeSet<Asset> = listings.flat_map(|(_, it)| [it.base, it.counter]).collect();
            let map = self.map();
            let others = currencies.into_iter().filter(|it| it.is_fiat() && *it != Asset::USD);
            others.filter_map(|it| map.fiat_leg(Direction::new(Asset::USD, it))).collect()
        })
    }

    fn map(&self) -> Map<'_> {
        let is_listed = |at: &usize| self.shelves[*at].listed(USDT_USD).is_some();
        let is_pegged = self.settings.usdt_usd == UsdtUsdLeg::Peg;
        Map {
            shelves: &self.shelves,
            has_usdt_usd: is_pegged || self.usdt_sources.iter().any(is_listed),
            fiat_sources: &self.fiat_sources,
        }
    }

    /// The routes of an exchange for every configured direction, in their order.
    pub(super) fn configured_routes(&self, exchange: usize) -> &[Arc<[Route]>] {
        let routes = |direction: &Direction| self.routes(exchange, direction.priced_as());
        self.configured_routes[exchange].get_or_init(|| self.settings.directions.iter().map(routes).collect())
    }

    /// The quote that gives USDT-USD now, with its source: of the first fresh source, else the youngest one that may
    /// be held. The flag says that it is held.
    pub(super) fn usdt_usd(&self, now: Moment) -> Option<(usize, &Kept, bool)> {
        let sources =
            || self.usdt_sources.iter().filter_map(|at| Some((*at, self.shelves[*at].listed(USDT_USD)?)));
        let mut fresh = sources().filter_map(|(at, slot)| Some((at, self.shelves[at].usable(slot, now)?)));
        if let Some((at, kept)) = fresh.next() {
            return Some((at, kept, false));
        }
        let is_held = |kept: &Kept| {
            let is_trusted = self.jumped_at.is_none_or(|at| kept.received_at.monotonic > at);
            is_trusted && kept.age(now) <= self.settings.hold_reference
        };
        let held = self.usdt_usd_quotes().filter(|(_, kept)| is_held(kept));
        held.min_by_key(|(_, kept)| kept.age(now)).map(|(at, kept)| (at, kept, true))
    }

    /// Every source's last USDT-USD, believed or not.
    pub(super) fn usdt_usd_quotes(&self) -> impl Iterator<Item = (usize, &Kept)> {
        let slots = self.usdt_sources.iter().map(|at| (*at, &self.shelves[*at]));
        slots.filter_map(|(at, shelf)| Some((at, shelf.kept(shelf.listed(USDT_USD)?)?)))
    }

    /// Takes quotes in. Since when their markets have been fresh is what was told with them, so that whoever follows the
    /// same stream says the same; `None` where this book itself knows.
    fn take_quotes(&mut self, report: ReportQuotes, told_since: Option<Since>, now: Moment) {
        let Some(at) = self.current(report.exchange, report.epoch, now) else {
            if let Some(at) = self.index.get(&report.exchange) {
                report.quotes.iter().for_each(|_| self.shelves[*at].count_refusal(Refusal::OldEpoch, now));
            }
            return;
        };
        for refusal in report.refused {
            self.shelves[at].count_refusal(refusal, report.received_at);
        }
        let received_at = report.received_at;
        // Only what was heard elsewhere can be ahead: by another clock.
        if now.wall_until(received_at.wall) > gates::MAX_CLOCK_AHEAD {
            self.shelves[at].counters.future_at = Some(now.monotonic);
            report.quotes.iter().for_each(|_| self.shelves[at].count_refusal(Refusal::Future, now));
            return;
        }
        let mut is_changed = false;
        for quote in report.quotes {
            let ends_gap = quote.direction == USDT_USD && self.usdt_usd(received_at).is_none();
            match self.take_quote(at, quote, received_at, told_since) {
                Ok(()) => {
                    is_changed = true;
                    if ends_gap {
                        self.usdt_usd_since = told_since.unwrap_or_else(|| self.since(received_at));
                    }
                }
                Err(refusal) => self.shelves[at].count_refusal(refusal, received_at),
            }
        }
        if is_changed {
            if self.fiat_sources.contains(&at) {
                self.compared.at = None;
            }
            self.bump(now);
        }
    }

    /// Passes one quote through the gates, in their order, and keeps it.
    fn take_quote(
        &mut self,
        at: usize,
        quote: Quote,
        received_at: Moment,
        told_since: Option<Since>,
    ) -> Result<(), Refusal> {
        let shelf = &self.shelves[at];
        gates::check_size(&quote)?;
        if shelf.unsupported.contains(&quote.direction) {
            return Err(Refusal::UnexpectedSymbol);
        }
        let is_live = quote.validity == Validity::Live;
        if is_live && let Err(refusal) = gates::check_time(&quote, received_at, shelf.stale_after) {
            if refusal == Refusal::Future {
                self.shelves[at].counters.future_at = Some(received_at.monotonic);
            }
            return Err(refusal);
        }
        let slot = shelf.listed(quote.direction);
        let previous = slot.and_then(|slot| shelf.usable(slot, received_at));
        if let Some(previous) = previous {
            gates::check_order(&quote, &previous.quote)?;
        }
        let value = gates::check_book(&quote)?;

        let is_first = slot.is_none_or(|slot| shelf.kept(slot).is_none());
        let fresh_since = match (told_since, previous) {
            (Some(since), _) => since,
            (None, Some(previous)) => previous.fresh_since,
            (None, None) if is_first => self.since(received_at),
            (None, None) => Since::At(received_at.monotonic),
        };
        // A body without a number confirms the frame that had one.
        let sequence = quote.sequence.or(previous.and_then(|previous| previous.quote.sequence));
        let kept = Kept { quote: Quote { sequence, ..quote }, value, received_at, fresh_since };
        if let Some(accepted) = &mut self.accepted {
            let says_the_same = |known: &Kept| {
                known.quote.same_price(&kept.quote) && known.quote.validity == kept.quote.validity
            };
            let waiting = slot.and_then(|slot| shelf.waiting(slot));
            let is_change = !previous.into_iter().chain(waiting).any(says_the_same);
            accepted.push((
                Accepted {
                    exchange: shelf.name,
                    quote: kept.quote.clone(),
                    value,
                    received_at: received_at.wall,
                    span: Span::of(value),
                },
                is_change,
            ));
        }
        let slot = slot.unwrap_or_else(|| self.list(at, kept.quote.direction));
        self.keep(at, slot, kept);
        Ok(())
    }

    /// The slot of a direction that was not listed.
    fn list(&mut self, at: usize, direction: Direction) -> usize {
        let slot = self.shelves[at].list(direction);
        self.listing_changed();
        slot
    }

    fn keep(&mut self, at: usize, slot: usize, kept: Kept) {
        let received_at = kept.received_at;
        let shelf = &mut self.shelves[at];
        shelf.counters.quotes = shelf.counters.quotes.saturating_add(1);
        if kept.quote.quoted_at.is_some() {
            shelf.counters.stamped_at = Some(received_at.monotonic);
        }
        let slot = shelf.slot_mut(slot);
        let has_begun = |waiting: &Kept| match waiting.quote.validity {
            Validity::Fixing { starts_at, .. } => starts_at <= received_at.wall,
            Validity::Live => true,
        };
        match kept.quote.validity {
            Validity::Live => slot.kept = Some(kept),
            Validity::Fixing { starts_at, .. } if starts_at > received_at.wall => {
                // What waited before, and has begun, counts until this one begins.
                if let Some(begun) = slot.waiting.replace(kept).filter(has_begun) {
                    slot.kept = Some(begun);
                }
            }
            Validity::Fixing { .. } => {
                slot.kept = Some(kept);
                // What has begun was compared as `previous`, and is not newer than what is kept now.
                if slot.waiting.as_ref().is_some_and(has_begun) {
                    slot.waiting = None;
                }
            }
        }
    }

    fn take_listing(&mut self, report: ReportListing) {
        if let Some(at) = self.current(report.exchange, report.epoch, self.last) {
            self.shelves[at].replace_listing(&report.listens_to, report.unsupported);
            self.listing_changed();
        }
    }

    fn listing_changed(&mut self) {
        self.version += 1;
        self.routes.get_mut().clear();
        self.configured_routes.fill(OnceCell::new());
        self.dollar_rates = OnceCell::new();
        let enabled = self.shelves.iter().filter(|shelf| shelf.enabled);
        let listed = enabled.flat_map(|shelf| shelf.listing().map(|(_, direction)| direction));
        self.known = listed.flat_map(|direction| [direction.base, direction.counter]).collect();
        if self.settings.usdt_usd == UsdtUsdLeg::Peg {
            self.known.extend([Asset::USDT, Asset::USD]);
        }
    }

    fn take_link(&mut self, report: ReportLink, now: Moment) {
        let Some(at) = self.current(report.exchange, report.epoch, now) else { return };
        let shelf = &mut self.shelves[at];
        if let Link::Down(failure) | Link::PollFailed(failure) = &report.link {
            shelf.counters.last_error = Some(failure.detail.clone());
        }
        if let Link::Down(_) = report.link {
            shelf.distrust(report.at);
        }
        shelf.link = Some(report.link);
        self.bump(now);
    }

    fn take_life(&mut self, report: ReportLife, now: Moment) {
        let Some(&at) = self.index.get(&report.exchange) else { return };
        match report.life {
            Life::Started(epoch) => self.begin(at, epoch, report.at),
            Life::Ended { detail } => self.end(at, detail, report.at),
            Life::Quarantined { detail } => {
                self.shelves[at].quarantine = Some(detail.clone());
                self.end(at, detail, report.at);
            }
        }
        self.bump(now);
    }

    fn begin(&mut self, at: usize, epoch: Epoch, now: Moment) {
        let shelf = &mut self.shelves[at];
        if epoch <= shelf.epoch {
            return;
        }
        let is_another = shelf.epoch != Epoch::default();
        if is_another {
            shelf.counters.restarts = shelf.counters.restarts.saturating_add(1);
            shelf.distrust(now);
        }
        shelf.epoch = epoch;
        shelf.quarantine = None;
        shelf.link = None;
        if is_another {
            // What it was believed for before is not any more, whether or not this report brings anything new.
            self.bump(now);
        }
    }

    fn end(&mut self, at: usize, detail: String, now: Moment) {
        let shelf = &mut self.shelves[at];
        shelf.distrust(now);
        shelf.counters.last_error = Some(detail.clone());
        shelf.link = Some(Link::Down(LinkFailure { detail, forbidden: false, banned_until: None }));
    }

    /// The shelf of an exchange whose current incarnation speaks; `None` if an earlier one does. A later one than is
    /// known has begun.
    fn current(&mut self, exchange: ExchangeName, epoch: Epoch, now: Moment) -> Option<usize> {
        let at = *self.index.get(&exchange)?;
        self.begin(at, epoch, now);
        let is_current = self.shelves[at].epoch == epoch || seeded_bug::is_on(SeededBug::NoEpochCheck);
        is_current.then_some(at)
    }

    /// Since when what begins to be fresh now counts: while the service starts, nobody waits.
    fn since(&self, now: Moment) -> Since {
        let is_start = now.since(self.started_at) <= self.settings.fail_back_after;
        if is_start { Since::Start } else { Since::At(now.monotonic) }
    }

    fn bump(&mut self, now: Moment) {
        self.version += 1;
        if self.follows {
            return;
        }
        let by_wall = u64::try_from(now.wall.timestamp_millis()).unwrap_or_default() << 8;
        self.sequence = by_wall.max(self.sequence.saturating_add(1));
    }

    /// Compares the clocks with those of the last event.
    fn observe(&mut self, now: Moment) -> Vec<Change> {
        let by_monotonic = now.since(self.last);
        if self.follows && by_monotonic > MAX_ABSENCE {
            self.caught_up_at = None;
            self.version += 1;
        }
        let by_wall = now.wall - self.last.wall;
        let difference = by_wall
            .num_milliseconds()
            .saturating_sub(i64::try_from(by_monotonic.as_millis()).unwrap_or(i64::MAX));
        self.last = Moment { monotonic: self.last.monotonic.max(now.monotonic), wall: now.wall };
        let by = Duration::from_millis(difference.unsigned_abs());
        if by <= MAX_CLOCK_JUMP {
            return Vec::new();
        }
        self.jumped_at = Some(now.monotonic);
        for shelf in &mut self.shelves {
            shelf.distrust(now);
        }
        self.bump(now);
        vec![Change::ClockJumped { by }]
    }

    /// Compares who answers now with who did.
    fn switch(&mut self, now: Moment) -> Option<Change> {
        let answering = self.answering(now);
        if answering == self.answering {
            return None;
        }
        let name = |at: Option<usize>| at.map(|at| self.shelves[at].name);
        let (reason, cause) = match (self.answering, answering) {
            (Some(from), _) if !self.can_answer_alone(from, now) => {
                let from = &self.shelves[from];
                (format!("{}: {}", from.name, from.why_not_fresh(now)), cause(from.status(now)))
            }
            (Some(_), Some(to)) => (format!("{} is fresh", self.shelves[to].name), FailoverCause::FailBack),
            (None, Some(to)) => (format!("{} is fresh", self.shelves[to].name), FailoverCause::Recovered),
            (_, None) => ("nothing is fresh".to_owned(), FailoverCause::Stale),
        };
        let (from, to) = (name(self.answering), name(answering));
        let count = self.failovers.entry(Failover { from, cause }).or_default();
        *count = count.saturating_add(1);
        self.answering = answering;
        Some(Change::Switched { from, to, reason })
    }

    /// Who answers a question without parameters.
    pub(super) fn answering(&self, now: Moment) -> Option<usize> {
        let answer = self.courses(&GetCourses::default(), now).ok()?;
        self.index.get(&answer.exchanger).copied()
    }

    fn can_answer_alone(&self, at: usize, now: Moment) -> bool {
        let exchanger = Some(self.shelves[at].name);
        let alone = GetCourses { exchanger, wanted: Wanted::Configured, max_age: None };
        !matches!(
            self.courses(&alone, now),
            Err(CoursesError::Starting(_) | CoursesError::Stale(_) | CoursesError::Down(_))
        )
    }

    fn judge_our_clock(&mut self, now: Moment) -> Option<Change> {
        let is_recent =
            |at: &Option<Duration>| at.is_some_and(|at| now.monotonic.saturating_sub(at) <= STAMP_MEMORY);
        let num = |pick: fn(&Shelf) -> &Option<Duration>| {
            self.shelves.iter().filter(|shelf| is_recent(pick(shelf))).count()
        };
        let num_ahead = num(|shelf| &shelf.counters.future_at);
        let num_stamping = self
            .shelves
            .iter()
            .filter(|it| is_recent(&it.counters.future_at) || is_recent(&it.counters.stamped_at))
            .count();
        let is_slow = num_ahead > 0 && num_ahead * 2 > num_stamping;
        let was_slow = std::mem::replace(&mut self.clock_is_slow, is_slow);
        (is_slow && !was_slow).then_some(Change::OurClockIsSlow)
    }
}

/// Why somebody in this state can no longer answer alone. Who is fresh has something stale beside it.
fn cause(status: Status) -> FailoverCause {
    match status {
        Status::Fresh | Status::Stale => FailoverCause::Stale,
        Status::Down | Status::Disabled => FailoverCause::Down,
        Status::Forbidden => FailoverCause::Forbidden,
        Status::Quarantined => FailoverCause::Quarantined,
    }
}
