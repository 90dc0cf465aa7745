//! Where RateBook leaves the newest quote of each market and the newest state of each exchange, for whoever tells other
//! machines.
//!
//! Separate from the hand-over because this is about prices of now: what nobody took is replaced by what is newer, so
//! that it never grows, however long nobody takes anything.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::messages::{Epoch, Link};
use super::record::Accepted;
use super::selection::Since;
use crate::market::{Direction, ExchangeName, Moment, Quote, Transport, Validity};

/// How often an unchanged price is told again. It costs a message, and until it comes the price is older elsewhere than
/// here: a tenth of the shortest `stale_after` in use.
const REPEAT_EVERY: TimeDelta = TimeDelta::milliseconds(500);

/// A quote that was accepted, with what others need to judge it as it was judged here.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveQuote {
    /// Who quoted it.
    pub exchange: ExchangeName,
    /// Which incarnation of the exchange's actor heard it.
    pub epoch: Epoch,
    /// By which way it came.
    pub transport: Transport,
    /// When it came.
    pub heard_at: DateTime<Utc>,
    /// What its age counts from, where that is earlier: when it was asked for, or since when it may have waited unread.
    pub counts_from: Option<DateTime<Utc>>,
    /// Since when this market has been fresh without a gap; `None` since the collector began.
    pub fresh_since: Option<DateTime<Utc>>,
    /// What was quoted.
    pub quote: Quote,
    /// Whether it says the price that was told last.
    pub is_repeat: bool,
}

/// What is known of an exchange beside its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeState {
    /// Who.
    pub exchange: ExchangeName,
    /// Which incarnation of its actor.
    pub epoch: Epoch,
    /// What it quotes; `None` before it has said so.
    pub listing: Option<Listing>,
    /// The last word on its connection; `None` before the first.
    pub link: Option<Link>,
}

/// What an exchange quotes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// What it quotes.
    pub listens_to: Vec<Direction>,
    /// What was wanted of it and it does not trade.
    pub unsupported: Vec<Direction>,
}

/// How the quotes of a report came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hearing {
    pub(super) epoch: Epoch,
    pub(super) transport: Transport,
    pub(super) received_at: Moment,
}

/// The newest of everything. Clones are the same.
#[derive(Clone, Default)]
pub struct Newest {
    shared: Arc<Mutex<Shared>>,
}

impl fmt::Debug for Newest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Newest").field("num_waiting", &self.num_waiting()).finish_non_exhaustive()
    }
}

/// One direction of one exchange; of fixings each date by itself, because the one of today counts beside the one of
/// tomorrow.
type Market = (ExchangeName, Direction, Option<DateTime<Utc>>);

#[derive(Default)]
struct Shared {
    markets: HashMap<Market, Slot, foldhash::fast::RandomState>,
    states: HashMap<ExchangeName, StateSlot, foldhash::fast::RandomState>,
}

struct Slot {
    newest: LiveQuote,
    is_due: bool,
    /// The quote that was taken last, and when it had come.
    told: Option<(Quote, DateTime<Utc>)>,
}

struct StateSlot {
    state: ExchangeState,
    /// Since when the connection is in this state.
    link_at: DateTime<Utc>,
    is_due: bool,
}

impl Newest {
    /// Leaves a quote that was accepted at `now`; the flag says whether its price differs from the one before.
    pub(super) fn push_quote(
        &self,
        accepted: &Accepted,
        is_change: bool,
        hearing: Hearing,
        since: Since,
        now: Moment,
    ) {
        let counts_from = wall_at(hearing.received_at.monotonic, now);
        let live = LiveQuote {
            exchange: accepted.exchange,
            epoch: hearing.epoch,
            transport: hearing.transport,
            heard_at: hearing.received_at.wall,
            counts_from: (counts_from < hearing.received_at.wall).then_some(counts_from),
            fresh_since: match since {
                Since::Start => None,
                Since::At(monotonic) => Some(wall_at(monotonic, now)),
            },
            quote: accepted.quote.clone(),
            is_repeat: false,
        };
        let mut shared = self.lock();
        match shared.markets.get_mut(&market(&live)) {
            Some(slot) => slot.replace(live, is_change),
            None => {
                shared.markets.insert(market(&live), Slot { newest: live, is_due: true, told: None });
            }
        }
    }

    /// Leaves the state of an exchange.
    pub(super) fn push_state(&self, state: ExchangeState, now: DateTime<Utc>) {
        let mut shared = self.lock();
        let link_at = match shared.states.get(&state.exchange) {
            Some(known) if known.state == state => return,
            Some(known) if known.state.link == state.link => known.link_at,
            _ => now,
        };
        shared.states.insert(state.exchange, StateSlot { state, link_at, is_due: true });
    }

    /// The incarnation of an exchange whose state was left last.
    pub(super) fn epoch_of(&self, exchange: ExchangeName) -> Option<Epoch> {
        self.lock().states.get(&exchange).map(|slot| slot.state.epoch)
    }

    /// Takes the states that are news, each with since when its connection is in it.
    pub fn take_states(&self) -> Vec<(ExchangeState, DateTime<Utc>)> {
        let mut shared = self.lock();
        let take = |slot: &mut StateSlot| {
            std::mem::take(&mut slot.is_due).then(|| (slot.state.clone(), slot.link_at))
        };
        shared.states.values_mut().filter_map(take).collect()
    }

    /// Makes every state news, as a sign of life.
    pub fn repeat_states(&self) {
        self.lock().states.values_mut().for_each(|slot| slot.is_due = true);
    }

    /// Takes the quotes that are news.
    pub fn take_quotes(&self, now: DateTime<Utc>) -> Vec<LiveQuote> {
        let mut shared = self.lock();
        shared.markets.retain(|_, slot| match slot.newest.quote.validity {
            Validity::Live => true,
            Validity::Fixing { ends_at, .. } => now < ends_at,
        });
        let take = |slot: &mut Slot| {
            std::mem::take(&mut slot.is_due).then(|| {
                slot.told = Some((slot.newest.quote.clone(), slot.newest.heard_at));
                slot.newest.clone()
            })
        };
        shared.markets.values_mut().filter_map(take).collect()
    }

    /// Makes everything news, because what was taken last may not have been heard.
    pub fn tell_anew(&self) {
        let mut shared = self.lock();
        shared.markets.values_mut().for_each(|slot| (slot.is_due, slot.told) = (true, None));
        shared.states.values_mut().for_each(|slot| slot.is_due = true);
    }

    /// How much waits to be taken.
    pub fn num_waiting(&self) -> usize {
        let shared = self.lock();
        let quotes = shared.markets.values().filter(|slot| slot.is_due).count();
        quotes + shared.states.values().filter(|slot| slot.is_due).count()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn replace(&mut self, live: LiveQuote, is_change: bool) {
        let is_repeat = self.told.as_ref().is_some_and(|(told, _)| told.same_price(&live.quote));
        let is_again_time =
            self.told.as_ref().is_none_or(|(_, told_at)| (live.heard_at - *told_at).abs() >= REPEAT_EVERY);
        self.is_due |= is_change || !is_repeat || is_again_time;
        self.newest = LiveQuote { is_repeat, ..live };
    }
}

/// What the wall clock said when the monotonic one said `monotonic`.
fn wall_at(monotonic: Duration, now: Moment) -> DateTime<Utc> {
    let ago = TimeDelta::from_std(now.monotonic.saturating_sub(monotonic)).unwrap_or(TimeDelta::MAX);
    now.wall.checked_sub_signed(ago).unwrap_or(now.wall)
}

fn market(live: &LiveQuote) -> Market {
    let starts_at = match live.quote.validity {
        Validity::Live => None,
        Validity::Fixing { starts_at, .. } => Some(starts_at),
    };
    (live.exchange, live.quote.direction, starts_at)
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::super::record::Span;
    use super::*;

    const EXCHANGE: ExchangeName = ExchangeName::new("binance");

    struct Scene {
        newest: Newest,
        now: Moment,
    }

    impl Scene {
        fn new() -> Self {
            let now = Moment { monotonic: Duration::from_secs(1000), wall: DateTime::UNIX_EPOCH };
            Self { newest: Newest::default(), now }
        }

        fn push(&mut self, after_ms: u64, price: i64, is_change: bool) {
            self.now = self.now.after(Duration::from_millis(after_ms));
            self.push_as(price, is_change, Transport::WebSocket, self.now);
        }

        fn push_as(&self, price: i64, is_change: bool, transport: Transport, received_at: Moment) {
            let direction = "BTC-USDT".parse().unwrap();
            let quote = Quote::book(direction, Decimal::from(price), Decimal::from(price + 1));
            let value = Decimal::from(price);
            let accepted = Accepted {
                exchange: EXCHANGE,
                quote,
                value,
                received_at: received_at.wall,
                span: Span::of(value),
            };
            let hearing = Hearing { epoch: Epoch(1), transport, received_at };
            self.newest.push_quote(&accepted, is_change, hearing, Since::Start, self.now);
        }

        fn taken(&self) -> Vec<(i64, bool)> {
            let quotes = self.newest.take_quotes(self.now.wall);
            let price = |live: &LiveQuote| i64::try_from(live.quote.bid.unwrap().mantissa()).unwrap();
            quotes.iter().map(|live| (price(live), live.is_repeat)).collect()
        }
    }

    fn state(link: Option<Link>) -> ExchangeState {
        ExchangeState { exchange: EXCHANGE, epoch: Epoch(1), listing: None, link }
    }

    #[test]
    fn only_the_newest_quote_of_a_market_is_told_and_each_once() {
        let mut scene = Scene::new();
        (0..1000).for_each(|price| scene.push(1, price, true));
        scene.newest.push_state(state(None), scene.now.wall);
        assert_eq!(scene.newest.num_waiting(), 2);
        assert_eq!(scene.newest.take_states().len(), 1);
        let newest = scene.newest.take_quotes(scene.now.wall);
        assert_eq!(newest.len(), 1);
        assert_eq!((newest[0].quote.bid, newest[0].counts_from), (Some(Decimal::from(999)), None));
        assert_eq!(scene.newest.num_waiting(), 0);
        assert_eq!(scene.taken(), []);
    }

    #[test]
    fn a_price_that_stands_is_told_again_now_and_then() {
        let mut scene = Scene::new();
        scene.push(0, 10, true);
        assert_eq!(scene.taken(), [(10, false)]);
        scene.push(499, 10, false);
        assert_eq!(scene.taken(), []);
        scene.push(1, 10, false);
        assert_eq!(scene.taken(), [(10, true)]);
        // After a gap the book calls it news.
        scene.push(1, 10, true);
        assert_eq!(scene.taken(), [(10, true)]);
        scene.push(1, 11, true);
        scene.push(1, 11, false);
        assert_eq!(scene.taken(), [(11, false)]);
        scene.push(1, 12, true);
        scene.push(1, 11, true);
        assert_eq!(scene.taken(), [(11, true)]);
    }

    #[test]
    fn everything_is_news_again_by_what_is_newest_when_it_was_not_heard() {
        let mut scene = Scene::new();
        scene.push(0, 10, true);
        assert_eq!(scene.taken(), [(10, false)]);
        scene.newest.tell_anew();
        assert_eq!(scene.taken(), [(10, false)]);
        scene.push(1, 11, true);
        scene.newest.tell_anew();
        scene.push(1, 12, true);
        assert_eq!(scene.taken(), [(12, false)]);
    }

    #[test]
    fn the_age_of_what_was_asked_for_counts_from_the_question() {
        let mut scene = Scene::new();
        let asked_at = scene.now;
        scene.now = asked_at.after(Duration::from_millis(300));
        // What asked says when it did by the monotonic clock, and when the answer came by the other.
        let received_at = Moment { monotonic: asked_at.monotonic, wall: scene.now.wall };
        scene.now = scene.now.after(Duration::from_millis(50));
        scene.push_as(10, true, Transport::Rest, received_at);
        let live = scene.newest.take_quotes(scene.now.wall).remove(0);
        assert_eq!((live.heard_at, live.counts_from), (received_at.wall, Some(asked_at.wall)));
    }

    #[test]
    fn the_fixings_of_two_dates_are_told_side_by_side_until_they_end() {
        let newest = Newest::default();
        let now = Moment { monotonic: Duration::from_secs(1000), wall: DateTime::UNIX_EPOCH };
        for day in 0..2 {
            let starts_at = now.wall + TimeDelta::days(day);
            let validity = Validity::Fixing { starts_at, ends_at: starts_at + TimeDelta::days(5) };
            let quote =
                Quote { validity, ..Quote::last("USD-RUB".parse().unwrap(), Decimal::from(80 + day)) };
            let (value, received_at) = (Decimal::from(80 + day), now.wall);
            let accepted = Accepted { exchange: EXCHANGE, quote, value, received_at, span: Span::of(value) };
            let hearing = Hearing { epoch: Epoch(1), transport: Transport::Rest, received_at: now };
            newest.push_quote(&accepted, true, hearing, Since::Start, now);
        }
        assert_eq!(newest.take_quotes(now.wall).len(), 2);
        newest.tell_anew();
        assert_eq!(newest.take_quotes(now.wall + TimeDelta::days(5)).len(), 1);
    }

    #[test]
    fn a_state_is_told_when_it_changes_and_as_a_sign_of_life() {
        let newest = Newest::default();
        let (early, late) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH + TimeDelta::seconds(9));
        let up = state(Some(Link::Up(Transport::Rest)));
        newest.push_state(up.clone(), early);
        assert_eq!(newest.epoch_of(EXCHANGE), Some(Epoch(1)));
        assert_eq!(newest.take_states(), [(up.clone(), early)]);
        newest.push_state(up.clone(), late);
        assert_eq!(newest.take_states(), []);
        newest.repeat_states();
        assert_eq!(newest.take_states(), [(up.clone(), early)]);
        let listed = ExchangeState { listing: Some(Listing::default()), ..up };
        newest.push_state(listed.clone(), late);
        assert_eq!(newest.take_states(), [(listed, early)], "the connection is as it was");
        newest.push_state(state(None), late);
        assert_eq!(newest.take_states(), [(state(None), late)]);
    }
}
