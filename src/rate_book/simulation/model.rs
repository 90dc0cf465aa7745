//! What the book has to say, worked out anew for every question from everything that was ever told: slow, and plain
//! enough to be believed.
//!
//! Separate from the world, which decides what happens: the model only hears of it, as the book does.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use rust_decimal::Decimal;

use super::super::*;
use super::paths::{self, Path};
use crate::market::{Asset, Direction, ExchangeName, Moment, Quote, Refusal, Validity};

pub(super) const USDT_USD: Direction = Direction::new(Asset::USDT, Asset::USD);

/// How far clocks may part.
const CLOCKS_PART: Duration = Duration::from_secs(2);

/// A quote that was accepted.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) quote: Quote,
    pub(super) value: Decimal,
    pub(super) received_at: Moment,
    /// Since when its direction has been fresh without a gap; `None` since the start.
    pub(super) since: Option<Duration>,
}

impl Said {
    pub(super) fn age(&self, now: Moment) -> Duration {
        match self.quote.validity {
            Validity::Fixing { starts_at, .. } => now.wall_since(starts_at),
            Validity::Live => {
                let by_stamp = self.quote.quoted_at.map_or(Duration::ZERO, |stamp| now.wall_since(stamp));
                by_stamp.max(now.since(self.received_at))
            }
        }
    }
}

/// All that is known of one exchange.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: ExchangeName,
    stale_after: Duration,
    pub(super) official_of: Option<Asset>,
    epoch: Epoch,
    pub(super) link: Option<Link>,
    is_quarantined: bool,
    /// When its connection was lost, its actor ended, or the clocks parted.
    lost: Vec<Duration>,
    pub(super) listing: Vec<Direction>,
    has_listing: bool,
    pub(super) unsupported: Vec<Direction>,
    /// Of what is listed, everything that was accepted.
    said: Vec<(Direction, Vec<Said>)>,
    pub(super) num_quotes: u64,
    pub(super) refused: BTreeMap<Refusal, u64>,
    pub(super) restarts: u64,
    pub(super) reconnects: u64,
}

impl Source {
    fn new(listed: &ListedExchange) -> Self {
        Self {
            name: listed.name,
            stale_after: listed.stale_after,
            official_of: listed.official_of,
            epoch: Epoch(0),
            link: None,
            is_quarantined: false,
            lost: Vec::new(),
            listing: Vec::new(),
            has_listing: false,
            unsupported: Vec::new(),
            said: Vec::new(),
            num_quotes: 0,
            refused: BTreeMap::new(),
            restarts: 0,
            reconnects: 0,
        }
    }

    pub(super) fn lists(&self, direction: Direction) -> bool {
        self.listing.contains(&direction)
    }

    fn said(&self, direction: Direction) -> &[Said] {
        let of = self.said.iter().find(|(it, _)| *it == direction);
        of.map_or(&[], |(_, said)| said.as_slice())
    }

    /// What counts of a direction if nothing could go stale: the last quote, or the fixing of the latest date that has
    /// begun, or the one that waits.
    pub(super) fn last(&self, direction: Direction, now: Moment) -> Option<&Said> {
        let said = self.said(direction);
        let date = |it: &&Said| match it.quote.validity {
            Validity::Fixing { starts_at, .. } => Some(starts_at),
            Validity::Live => None,
        };
        let last = said.last()?;
        if date(&last).is_none() {
            return Some(last);
        }
        let has_begun = |it: &&Said| date(it) <= Some(now.wall);
        said.iter().filter(has_begun).max_by_key(date).or(Some(last))
    }

    /// What is to be believed of a direction.
    pub(super) fn believed(&self, direction: Direction, now: Moment) -> Option<&Said> {
        let said = self.last(direction, now)?;
        let counts = match said.quote.validity {
            Validity::Fixing { starts_at, ends_at } => starts_at <= now.wall && now.wall < ends_at,
            Validity::Live => {
                let is_trusted = self.lost.iter().all(|lost| said.received_at.monotonic > *lost);
                is_trusted && said.age(now) <= self.stale_after
            }
        };
        counts.then_some(said)
    }

    pub(super) fn believes_anything_since(&self, now: Moment) -> Option<Option<Duration>> {
        self.listing.iter().filter_map(|it| Some(self.believed(*it, now)?.since)).min()
    }

    /// Whether this is the age of what came last, believed or not. Of fixings that overtake one another on the way, any
    /// may be the last.
    pub(super) fn is_newest_age(&self, age: Option<Duration>, now: Moment) -> bool {
        let last = self.said.iter().filter_map(|(_, said)| said.last());
        let ages = last.map(|it| (it.quote.validity == Validity::Live).then(|| it.age(now)));
        match ages.collect::<Option<Vec<_>>>() {
            Some(live) => live.into_iter().min() == age,
            None => {
                let all = self.said.iter().flat_map(|(_, said)| said);
                all.map(|it| now.since(it.received_at)).any(|it| Some(it) == age)
            }
        }
    }

    pub(super) fn status(&self, now: Moment) -> Status {
        match &self.link {
            _ if self.is_quarantined => Status::Quarantined,
            _ if self.believes_anything_since(now).is_some() => Status::Fresh,
            Some(Link::Up(_)) => Status::Stale,
            Some(Link::Down(why) | Link::PollFailed(why)) if why.forbidden => Status::Forbidden,
            _ => Status::Down,
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(self.link, Some(Link::Down(_) | Link::PollFailed(_)))
    }

    /// Why a quote has to be refused; `flaw` is what is known to be wrong with its numbers.
    fn refusal(&self, quote: &Quote, flaw: Option<Refusal>, received_at: Moment) -> Option<Refusal> {
        let is_of_size =
            |flaw: &Refusal| matches!(flaw, Refusal::Syntax | Refusal::NonPositive | Refusal::Magnitude);
        if let Some(flaw) = flaw.filter(is_of_size) {
            return Some(flaw);
        }
        if self.unsupported.contains(&quote.direction) {
            return Some(Refusal::UnexpectedSymbol);
        }
        if let (Validity::Live, Some(stamp)) = (quote.validity, quote.quoted_at) {
            if received_at.wall_since(stamp) > self.stale_after {
                return Some(Refusal::Stale);
            }
            if received_at.wall_until(stamp) > CLOCKS_PART {
                return Some(Refusal::Future);
            }
        }
        let is_older =
            self.believed(quote.direction, received_at).is_some_and(|it| is_older(quote, &it.quote));
        if is_older { Some(Refusal::OutOfOrder) } else { flaw }
    }
}

fn is_older(new: &Quote, old: &Quote) -> bool {
    if let (Validity::Fixing { starts_at: new, .. }, Validity::Fixing { starts_at: old, .. }) =
        (new.validity, old.validity)
    {
        return new < old;
    }
    match (new.sequence, old.sequence) {
        (Some(number), Some(before)) if number == before => {
            (new.bid, new.ask) != (old.bid, old.ask) || (new.bid.is_none() && new.last != old.last)
        }
        (Some(number), Some(before)) => number < before,
        _ => new.quoted_at.is_some() && old.quoted_at.is_some() && new.quoted_at < old.quoted_at,
    }
}

/// The ways of an exchange for a direction, until a listing changes.
type Paths = HashMap<(usize, Direction), Rc<[Path]>, foldhash::fast::RandomState>;

/// Everything that was ever told.
pub(super) struct Model {
    pub(super) settings: BookSettings,
    pub(super) sources: Vec<Source>,
    /// Who may answer, who tells what USDT is worth, and who tells fiat rates: the best one first.
    pub(super) priority: Vec<usize>,
    pub(super) usdt_sources: Vec<usize>,
    pub(super) fiat_sources: Vec<usize>,
    started: Moment,
    last: Moment,
    jumps: Vec<Duration>,
    pub(super) usdt_since: Option<Duration>,
    pub(super) sequence: u64,
    follows: bool,
    caught_up_at: Option<Duration>,
    paths: RefCell<Paths>,
}

impl Model {
    pub(super) fn new(settings: BookSettings, follows: bool, now: Moment) -> Self {
        let sources: Vec<Source> = settings.exchanges.iter().map(Source::new).collect();
        let indexes = |names: &[ExchangeName]| {
            let index = |name: &ExchangeName| sources.iter().position(|source| source.name == *name);
            names.iter().filter_map(index).collect()
        };
        Self {
            priority: indexes(&settings.priority),
            usdt_sources: indexes(&settings.reference_priority),
            fiat_sources: indexes(&settings.fiat_priority),
            settings,
            sources,
            started: now,
            last: now,
            jumps: Vec::new(),
            usdt_since: None,
            sequence: 0,
            follows,
            caught_up_at: None,
            paths: RefCell::default(),
        }
    }

    pub(super) fn index(&self, name: ExchangeName) -> Option<usize> {
        self.sources.iter().position(|source| source.name == name)
    }

    /// Looks at the clocks; says whether they have parted.
    pub(super) fn look(&mut self, now: Moment) -> bool {
        let by_monotonic = now.since(self.last);
        if self.follows && by_monotonic > Duration::from_secs(1) {
            self.caught_up_at = None;
        }
        let expected = self.last.after(by_monotonic).wall;
        let parted = now.wall_since(expected).max(now.wall_until(expected));
        self.last = now;
        let has_jumped = parted > CLOCKS_PART;
        if has_jumped {
            self.jumps.push(now.monotonic);
            self.sources.iter_mut().for_each(|source| source.lost.push(now.monotonic));
            self.count(now);
        }
        has_jumped
    }

    /// Takes in what happened. Of quotes, `flaws` says what is known to be wrong with the numbers of each.
    pub(super) fn take(&mut self, event: &Event, flaws: &[Option<Refusal>], now: Moment) -> bool {
        let has_jumped = self.look(now);
        let Some(at) = self.index(event.exchange()) else { return has_jumped };
        match event {
            Event::Quotes(report) => self.take_quotes(at, report, None, flaws, now),
            Event::QuotesElsewhere(report, since) => {
                let since = since.map(|since| since.monotonic);
                self.take_quotes(at, report, Some(since), flaws, now);
            }
            Event::Listing(report) => {
                if self.is_current(at, report.epoch, now) {
                    let source = &mut self.sources[at];
                    source.listing.clone_from(&report.listens_to);
                    source.said.retain(|(direction, _)| report.listens_to.contains(direction));
                    source.unsupported.clone_from(&report.unsupported);
                    source.has_listing = true;
                    self.paths.borrow_mut().clear();
                }
            }
            Event::Reconnect(report) => {
                if self.is_current(at, report.epoch, now) {
                    self.sources[at].reconnects += 1;
                }
            }
            Event::Link(report) => {
                if self.is_current(at, report.epoch, now) {
                    let source = &mut self.sources[at];
                    if let Link::Down(_) = report.link {
                        source.lost.push(report.at.monotonic);
                    }
                    source.link = Some(report.link.clone());
                    self.count(now);
                }
            }
            Event::Life(report) => {
                match &report.life {
                    Life::Started(epoch) => self.begin(at, *epoch, report.at),
                    Life::Ended { detail } | Life::Quarantined { detail } => {
                        let source = &mut self.sources[at];
                        source.lost.push(report.at.monotonic);
                        source.is_quarantined |= matches!(report.life, Life::Quarantined { .. });
                        let detail = detail.clone();
                        let why = LinkFailure { detail, forbidden: false, banned_until: None };
                        source.link = Some(Link::Down(why));
                    }
                }
                self.count(now);
            }
        }
        has_jumped
    }

    /// A rule panicked: nothing that was heard until now counts.
    pub(super) fn forget(&mut self, now: Moment) {
        for source in &mut self.sources {
            source.said.clear();
            source.lost.push(now.monotonic);
        }
        self.count(now);
    }

    /// The stream was read until `sequence`.
    pub(super) fn reach(&mut self, sequence: u64, is_caught_up: bool, read_at: Moment, now: Moment) {
        if is_caught_up && now.since(read_at) <= Duration::from_millis(500) {
            self.caught_up_at = Some(now.monotonic);
        }
        self.sequence = self.sequence.max(sequence);
    }

    pub(super) fn is_behind(&self, now: Moment) -> bool {
        let is_away = now.since(self.last) > Duration::from_secs(1);
        let silence = self.caught_up_at.map(|at| now.monotonic.saturating_sub(at));
        self.follows && (is_away || silence.is_none_or(|silence| silence > Duration::from_secs(6)))
    }

    fn take_quotes(
        &mut self,
        at: usize,
        report: &ReportQuotes,
        told_since: Option<Option<Duration>>,
        flaws: &[Option<Refusal>],
        now: Moment,
    ) {
        let received_at = report.received_at;
        let is_current = self.is_current(at, report.epoch, now);
        let count = |source: &mut Source, refusal| *source.refused.entry(refusal).or_default() += 1;
        if !is_current {
            report.quotes.iter().for_each(|_| count(&mut self.sources[at], Refusal::OldEpoch));
            return;
        }
        report.refused.iter().for_each(|refusal| count(&mut self.sources[at], *refusal));
        if now.wall_until(received_at.wall) > CLOCKS_PART {
            report.quotes.iter().for_each(|_| count(&mut self.sources[at], Refusal::Future));
            return;
        }
        let mut is_changed = false;
        for (quote, flaw) in report.quotes.iter().zip(flaws) {
            if let Some(refusal) = self.sources[at].refusal(quote, *flaw, received_at) {
                count(&mut self.sources[at], refusal);
                continue;
            }
            is_changed = true;
            if quote.direction == USDT_USD && self.usdt_usd(received_at).is_none() {
                self.usdt_since = told_since.unwrap_or_else(|| self.since(received_at));
            }
            self.remember(at, quote, received_at, told_since);
        }
        if is_changed {
            self.count(now);
        }
    }

    fn remember(
        &mut self,
        at: usize,
        quote: &Quote,
        received_at: Moment,
        told_since: Option<Option<Duration>>,
    ) {
        let direction = quote.direction;
        let of_start = self.since(received_at);
        let source = &mut self.sources[at];
        source.num_quotes += 1;
        if !source.lists(direction) {
            source.listing.push(direction);
            self.paths.borrow_mut().clear();
        }
        let previous = source.believed(direction, received_at);
        let since = match previous {
            Some(previous) => previous.since,
            None if source.said(direction).is_empty() => of_start,
            None => Some(received_at.monotonic),
        };
        let sequence = quote.sequence.or(previous.and_then(|previous| previous.quote.sequence));
        let value = match (quote.bid, quote.ask, quote.last) {
            (Some(bid), Some(ask), _) => (bid + ask) / Decimal::TWO,
            (_, _, last) => last.unwrap(),
        };
        let quote = Quote { sequence, ..quote.clone() };
        let said = Said { quote, value, received_at, since: told_since.unwrap_or(since) };
        match source.said.iter_mut().find(|(it, _)| *it == direction) {
            Some((_, all)) => all.push(said),
            None => source.said.push((direction, vec![said])),
        }
    }

    fn since(&self, now: Moment) -> Option<Duration> {
        let is_start = now.since(self.started) <= self.settings.fail_back_after;
        (!is_start).then_some(now.monotonic)
    }

    fn is_current(&mut self, at: usize, epoch: Epoch, now: Moment) -> bool {
        self.begin(at, epoch, now);
        self.sources[at].epoch == epoch
    }

    fn begin(&mut self, at: usize, epoch: Epoch, now: Moment) {
        let source = &mut self.sources[at];
        if epoch > source.epoch {
            let is_another = source.epoch > Epoch(0);
            source.epoch = epoch;
            source.is_quarantined = false;
            source.link = None;
            if is_another {
                source.restarts += 1;
                source.lost.push(now.monotonic);
                self.count(now);
            }
        }
    }

    fn count(&mut self, now: Moment) {
        if !self.follows {
            let by_wall = u64::try_from(now.wall.timestamp_millis()).unwrap() << 8;
            self.sequence = by_wall.max(self.sequence + 1);
        }
    }

    /// The USDT-USD that counts, its source, and whether it is held.
    pub(super) fn usdt_usd(&self, now: Moment) -> Option<(usize, &Said, bool)> {
        let sources = &self.usdt_sources;
        let fresh =
            sources.iter().find_map(|at| Some((*at, self.sources[*at].believed(USDT_USD, now)?, false)));
        let is_held = |said: &Said| {
            let is_trusted = self.jumps.iter().all(|jump| said.received_at.monotonic > *jump);
            is_trusted && said.age(now) <= self.settings.hold_reference
        };
        fresh.or_else(|| {
            let last = |at: &usize| Some((*at, self.sources[*at].last(USDT_USD, now)?, true));
            let held = sources.iter().filter_map(last).filter(|(_, said, _)| is_held(said));
            held.min_by_key(|(_, said, _)| said.age(now))
        })
    }

    pub(super) fn knows(&self, asset: Asset) -> bool {
        let is_in = |it: &Direction| [it.base, it.counter].contains(&asset.priced_as());
        self.sources.iter().any(|source| source.listing.iter().any(is_in))
    }

    /// Whether somebody who may have a currency of this direction has yet to say so.
    pub(super) fn awaits(&self, direction: Direction) -> bool {
        let may_come = |fiat: &Asset| {
            self.fiat_sources
                .iter()
                .map(|at| &self.sources[*at])
                .any(|source| source.num_quotes == 0 && !(source.has_failed() && self.knows(*fiat)))
        };
        let fiats = [direction.base, direction.counter].into_iter().filter(Asset::is_fiat);
        self.sources.iter().any(|source| !source.has_listing) || fiats.into_iter().any(|it| may_come(&it))
    }

    /// The ways from base to counter, best first.
    pub(super) fn paths(&self, at: usize, direction: Direction) -> Rc<[Path]> {
        let direction = direction.priced_as();
        if let Some(known) = self.paths.borrow().get(&(at, direction)) {
            return known.clone();
        }
        let fiat_sources: Vec<&Source> = self.fiat_sources.iter().map(|at| &self.sources[*at]).collect();
        let has_usdt_usd = self.usdt_sources.iter().any(|at| self.sources[*at].lists(USDT_USD));
        let found: Rc<[Path]> = paths::find(&self.sources[at], &fiat_sources, has_usdt_usd, direction).into();
        self.paths.borrow_mut().insert((at, direction), found.clone());
        found
    }
}
