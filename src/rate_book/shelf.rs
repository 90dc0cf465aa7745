//! What the book keeps of one exchange: its last quote per direction, its connection, and its counters.

use std::collections::HashMap;
use std::time::Duration;

use rust_decimal::Decimal;

use super::messages::{Epoch, ExchangeHealth, Link, Status};
use super::selection::Since;
use crate::market::{Asset, Direction, ExchangeName, Moment, Quote, Refusal, Transport, Validity};
use crate::seeded_bug::{self, SeededBug};

/// One exchange.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) name: ExchangeName,
    pub(super) enabled: bool,
    pub(super) stale_after: Duration,
    /// The currency whose rates it sets.
    pub(super) official_of: Option<Asset>,
    pub(super) epoch: Epoch,
    /// The last word on its connection; `None` before the first.
    pub(super) link: Option<Link>,
    /// Why its actor is being left alone; `None` while it is not.
    pub(super) quarantine: Option<String>,
    /// Live quotes received at or before this are not believed, however young: the connection was lost, the actor
    /// ended, or the clocks jumped.
    pub(super) distrusted_until: Option<Duration>,
    /// One per direction, never removed, so that routes may hold indexes.
    slots: Vec<Slot>,
    by_direction: HashMap<Direction, usize, foldhash::fast::RandomState>,
    pub(super) has_listing: bool,
    pub(super) unsupported: Vec<Direction>,
    pub(super) counters: Counters,
}

/// The quotes of one direction.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) direction: Direction,
    /// Whether the exchange quotes it at present.
    pub(super) listed: bool,
    pub(super) kept: Option<Kept>,
    /// A fixing whose date has not begun.
    pub(super) waiting: Option<Kept>,
}

/// A quote that was accepted.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) quote: Quote,
    /// Its value, computed once.
    pub(super) value: Decimal,
    pub(super) received_at: Moment,
    /// Since when this direction of this exchange has been fresh without a gap.
    pub(super) fresh_since: Since,
}

/// What has been counted since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) quotes: u64,
    pub(super) refused: [u64; Refusal::ALL.len()],
    pub(super) restarts: u64,
    pub(super) reconnects: u64,
    pub(super) last_error: Option<String>,
    /// When a quote with the exchange's own time was last accepted, and last refused as from the future.
    pub(super) stamped_at: Option<Duration>,
    pub(super) future_at: Option<Duration>,
    /// The last refusal, and when the quote came.
    pub(super) last_refusal: Option<(Refusal, Moment)>,
}

impl Kept {
    /// Its age: the larger of the time since it was received and of what its own time says. A fixing counts from
    /// the start of its date.
    pub(super) fn age(&self, now: Moment) -> Duration {
        match self.quote.validity {
            Validity::Fixing { starts_at, .. } => now.wall_since(starts_at),
            Validity::Live => {
                let by_stamp = self.quote.quoted_at.map(|stamp| now.wall_since(stamp)).unwrap_or_default();
                now.since(self.received_at).max(by_stamp)
            }
        }
    }

    fn is_fixing(&self) -> bool {
        matches!(self.quote.validity, Validity::Fixing { .. })
    }
}

impl Shelf {
    pub(super) fn new(
        name: ExchangeName,
        enabled: bool,
        stale_after: Duration,
        official_of: Option<Asset>,
    ) -> Self {
        Self {
            name,
            enabled,
            stale_after,
            official_of,
            epoch: Epoch::default(),
            link: None,
            quarantine: None,
            distrusted_until: None,
            slots: Vec::new(),
            by_direction: HashMap::default(),
            has_listing: false,
            unsupported: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// The slot of `direction`, as it is listed at present.
    pub(super) fn listed(&self, direction: Direction) -> Option<usize> {
        self.by_direction.get(&direction).copied().filter(|at| self.slots[*at].listed)
    }

    /// Every direction that it quotes at present, with its slot.
    pub(super) fn listing(&self) -> impl Iterator<Item = (usize, Direction)> {
        self.slots.iter().enumerate().filter(|(_, slot)| slot.listed).map(|(at, slot)| (at, slot.direction))
    }

    /// The slot of `direction`, listed from now on.
    pub(super) fn list(&mut self, direction: Direction) -> usize {
        let at = *self.by_direction.entry(direction).or_insert_with(|| {
            self.slots.push(Slot { direction, listed: false, kept: None, waiting: None });
            self.slots.len() - 1
        });
        self.slots[at].listed = true;
        at
    }

    /// Replaces the listing. The quotes of what is no longer in it are forgotten.
    pub(super) fn replace_listing(&mut self, listens_to: &[Direction], unsupported: Vec<Direction>) {
        for slot in &mut self.slots {
            slot.listed = false;
        }
        for direction in listens_to {
            self.list(*direction);
        }
        for slot in self.slots.iter_mut().filter(|slot| !slot.listed) {
            slot.kept = None;
            slot.waiting = None;
        }
        self.unsupported = unsupported;
        self.has_listing = true;
    }

    pub(super) fn slot_mut(&mut self, at: usize) -> &mut Slot {
        &mut self.slots[at]
    }

    /// The quote of a slot that may be believed now.
    pub(super) fn usable(&self, at: usize, now: Moment) -> Option<&Kept> {
        let slot = &self.slots[at];
        let begun = slot.waiting.as_ref().filter(|kept| self.is_usable(kept, now));
        begun.or_else(|| slot.kept.as_ref().filter(|kept| self.is_usable(kept, now)))
    }

    /// The quote of a slot, believed or not.
    pub(super) fn kept(&self, at: usize) -> Option<&Kept> {
        self.slots[at].kept.as_ref().or(self.slots[at].waiting.as_ref())
    }

    /// The quote of a slot that would count if none went stale: of two fixings the one that began last.
    pub(super) fn last(&self, at: usize, now: Moment) -> Option<&Kept> {
        let has_begun = |kept: &&Kept| match kept.quote.validity {
            Validity::Fixing { starts_at, .. } => starts_at <= now.wall,
            Validity::Live => true,
        };
        self.waiting(at).filter(has_begun).or_else(|| self.kept(at))
    }

    /// The fixing of a slot that waits for its date.
    pub(super) fn waiting(&self, at: usize) -> Option<&Kept> {
        self.slots[at].waiting.as_ref()
    }

    pub(super) fn is_usable(&self, kept: &Kept, now: Moment) -> bool {
        match kept.quote.validity {
            Validity::Fixing { starts_at, ends_at } => starts_at <= now.wall && now.wall < ends_at,
            Validity::Live => {
                let is_trusted = self.distrusted_until.is_none_or(|until| kept.received_at.monotonic > until);
                let is_young = kept.age(now) <= self.stale_after || seeded_bug::is_on(SeededBug::NoAgeCheck);
                is_trusted && is_young
            }
        }
    }

    /// For how long a quote of this age that may be believed stays so.
    pub(super) fn fresh_for(&self, kept: &Kept, age: Duration, now: Moment) -> Duration {
        match kept.quote.validity {
            Validity::Fixing { ends_at, .. } => (ends_at - now.wall).to_std().unwrap_or_default(),
            Validity::Live => self.stale_after.saturating_sub(age),
        }
    }

    /// Believes none of the live quotes that were received until then. What is told late takes nothing back: quotes that
    /// were disbelieved for a later reason stay so.
    pub(super) fn distrust(&mut self, until: Moment) {
        self.distrusted_until = self.distrusted_until.max(Some(until.monotonic));
    }

    /// Forgets every quote, and keeps the listing.
    pub(super) fn forget_quotes(&mut self) {
        for slot in &mut self.slots {
            slot.kept = None;
            slot.waiting = None;
        }
    }

    pub(super) fn count_refusal(&mut self, refusal: Refusal, received_at: Moment) {
        self.counters.last_refusal = Some((refusal, received_at));
        let at = Refusal::ALL.iter().position(|reason| *reason == refusal).unwrap_or_default();
        self.counters.refused[at] = self.counters.refused[at].saturating_add(1);
    }

    /// Whether any of its quotes was ever accepted.
    pub(super) fn has_quoted(&self) -> bool {
        self.counters.quotes > 0
    }

    /// Whether the last word on its connection is a failure.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.link, Some(Link::Down(_) | Link::PollFailed(_)))
    }

    /// Since when it has had any fresh quote without a gap; `None` if it has none now.
    pub(super) fn fresh_since(&self, now: Moment) -> Option<Since> {
        let usable = self.listing().filter_map(|(at, _)| self.usable(at, now));
        usable.map(|kept| kept.fresh_since).min()
    }

    pub(super) fn status(&self, now: Moment) -> Status {
        if !self.enabled {
            return Status::Disabled;
        }
        if self.quarantine.is_some() {
            return Status::Quarantined;
        }
        if self.fresh_since(now).is_some() {
            return Status::Fresh;
        }
        match &self.link {
            Some(Link::Up(_)) => Status::Stale,
            Some(Link::PollFailed(failure) | Link::Down(failure)) if failure.forbidden => Status::Forbidden,
            _ => Status::Down,
        }
    }

    /// Why it has no fresh quote, for people.
    pub(super) fn why_not_fresh(&self, now: Moment) -> String {
        if let Some(detail) = &self.quarantine {
            return format!("quarantined: {detail}");
        }
        match &self.link {
            None => "not connected yet".to_owned(),
            Some(Link::Down(failure) | Link::PollFailed(failure)) => failure.detail.clone(),
            Some(Link::Up(_))
                if let Some((refusal, at)) = self.counters.last_refusal
                    && self.newest_age(now).is_none_or(|age| now.since(at) < age) =>
            {
                format!("connected, and its quotes are refused ({refusal})")
            }
            Some(Link::Up(_)) => match self.newest_age(now) {
                None => "connected, no quote yet".to_owned(),
                Some(age) if age > self.stale_after => {
                    format!("no quote for {:.1} s", age.as_secs_f64())
                }
                Some(_) => "some directions are stale".to_owned(),
            },
        }
    }

    /// Age of the quote that came last; a fixing counts from its receipt.
    pub(super) fn newest_age(&self, now: Moment) -> Option<Duration> {
        let kept = self.slots.iter().flat_map(|slot| [&slot.kept, &slot.waiting]).flatten();
        kept.map(|kept| if kept.is_fixing() { now.since(kept.received_at) } else { kept.age(now) }).min()
    }

    pub(super) fn health(&self, now: Moment) -> ExchangeHealth {
        let refused = Refusal::ALL.iter().copied().zip(self.counters.refused);
        let banned_until = match &self.link {
            Some(Link::PollFailed(failure) | Link::Down(failure)) => failure.banned_until,
            _ => None,
        };
        ExchangeHealth {
            name: self.name,
            status: self.status(now),
            transport: self.transport().filter(|_| matches!(self.status(now), Status::Fresh | Status::Stale)),
            last_quote_age: self.newest_age(now),
            quotes_total: self.counters.quotes,
            refused: refused.filter(|(_, count)| *count > 0).collect(),
            restarts: self.counters.restarts,
            reconnects: self.counters.reconnects,
            last_error: match self.status(now) {
                Status::Stale => Some(self.why_not_fresh(now)),
                _ => self.counters.last_error.clone(),
            },
            banned_until: banned_until.filter(|until| *until > now.wall),
            unsupported: self.unsupported.clone(),
            deviation: None,
        }
    }

    fn transport(&self) -> Option<Transport> {
        match &self.link {
            Some(Link::Up(transport)) => Some(*transport),
            Some(Link::PollFailed(_)) => Some(Transport::Rest),
            _ => None,
        }
    }
}
