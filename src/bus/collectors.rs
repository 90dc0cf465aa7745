//! Who collects, and whose word on an exchange counts: pure, over what collectors told and a `now`.
//!
//! Separate because this is what makes several collectors look like one to RateBook, which knows one connection and one
//! incarnation of each exchange.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::wire::{ToldQuote, ToldState};
use crate::market::{Direction, ExchangeName, Moment, Refusal, Transport, Validity};
use crate::rate_book::{
    Epoch, Event, Link, LinkFailure, Listing, LiveQuote, ReportLink, ReportListing, ReportQuotes,
};

/// Silence after which a collector counts as gone. Each gives a sign of life every 5 s; its quotes go on to age by their
/// own times.
const HEARD_WITHIN: Duration = Duration::from_secs(15);

/// By how much the clocks of two collectors may differ, when a body of one is compared with a frame of the other. A body
/// that is refused over this is asked for again in a moment.
const MAX_SKEW: TimeDelta = TimeDelta::milliseconds(500);

/// Most collectors of one exchange that are remembered: each life of a process is a new one.
const MOST_COLLECTORS: usize = 32;

/// The one incarnation of each exchange that RateBook sees. Those of the collectors are judged here.
const EPOCH: Epoch = Epoch(1);

/// What all collectors told.
#[derive(Debug, Default)]
pub(super) struct Collectors {
    exchanges: BTreeMap<ExchangeName, Voices>,
}

/// What the collectors of one exchange told.
#[derive(Debug, Default)]
struct Voices {
    /// The last state that each told.
    states: BTreeMap<String, ToldState>,
    /// Of each direction, who was believed last.
    marks: HashMap<Direction, Mark, foldhash::fast::RandomState>,
    /// What RateBook was told.
    listing: Option<Listing>,
    link: Option<Link>,
}

/// The last quote of a direction that was believed.
#[derive(Debug, Clone)]
struct Mark {
    collector: String,
    transport: Transport,
    counts_from: DateTime<Utc>,
}

impl Collectors {
    /// Takes in a state.
    pub(super) fn hear_state(&mut self, told: ToldState) {
        let voices = self.exchanges.entry(told.state.exchange).or_default();
        let is_old = |known: &ToldState| told.state.epoch < known.state.epoch || told.told_at < known.told_at;
        if voices.states.get(&told.collector).is_some_and(is_old) {
            return;
        }
        voices.states.insert(told.collector.clone(), told);
        while voices.states.len() > MOST_COLLECTORS {
            let oldest = voices.states.values().min_by_key(|told| told.told_at);
            let Some(oldest) = oldest.map(|told| told.collector.clone()) else { return };
            voices.states.remove(&oldest);
        }
    }

    /// Takes in a quote, and gives it as RateBook takes it: to be judged, or refused.
    pub(super) fn hear_quote(&mut self, told: ToldQuote, now: Moment) -> Event {
        let ToldQuote { collector, live } = told;
        let voices = self.exchanges.entry(live.exchange).or_default();
        let judged = voices.judge(&collector, &live);
        let counts_from = live.counts_from.unwrap_or(live.heard_at);
        if judged.is_ok() {
            let mark = Mark { collector, transport: live.transport, counts_from };
            voices.marks.insert(live.quote.direction, mark);
        }
        let received_at = Moment { wall: live.heard_at, ..now.at_wall(counts_from) };
        let fresh_since = live.fresh_since.map(|since| now.at_wall(since));
        let report = ReportQuotes {
            exchange: live.exchange,
            epoch: EPOCH,
            transport: live.transport,
            received_at,
            quotes: if judged.is_ok() { vec![live.quote] } else { Vec::new() },
            refused: judged.err().into_iter().collect(),
        };
        Event::QuotesElsewhere(report, fresh_since)
    }

    /// What RateBook does not know yet of listings and connections at `now`.
    pub(super) fn news(&mut self, now: Moment) -> Vec<Event> {
        let news = |(exchange, voices): (&ExchangeName, &mut Voices)| voices.news(*exchange, now);
        self.exchanges.iter_mut().flat_map(news).collect()
    }

    /// Whether any collector was heard lately.
    pub(super) fn is_any_heard(&self, now: Moment) -> bool {
        self.exchanges.values().any(|voices| voices.heard(now).next().is_some())
    }
}

impl Voices {
    /// Whether a quote may be judged by RateBook, which knows nothing of collectors.
    fn judge(&self, collector: &str, live: &LiveQuote) -> Result<(), Refusal> {
        // A collector tells its state before any quote.
        let known = self.states.get(collector).ok_or(Refusal::OldEpoch)?;
        if live.epoch < known.state.epoch {
            return Err(Refusal::OldEpoch);
        }
        let Some(mark) = self.marks.get(&live.quote.direction) else { return Ok(()) };
        // One collector's quotes come in their order, and a fixing is judged by its date.
        if mark.collector == collector || live.quote.validity != Validity::Live {
            return Ok(());
        }
        let counts_from = live.counts_from.unwrap_or(live.heard_at);
        let is_older = match (live.transport, mark.transport) {
            (Transport::Rest, Transport::WebSocket) => counts_from <= mark.counts_from + MAX_SKEW,
            (Transport::Rest, Transport::Rest) => counts_from < mark.counts_from,
            // RateBook compares what the exchange itself says of the order.
            (Transport::WebSocket, _) => {
                let has_own_order = live.quote.sequence.is_some() || live.quote.quoted_at.is_some();
                !has_own_order && counts_from < mark.counts_from
            }
        };
        if is_older { Err(Refusal::OutOfOrder) } else { Ok(()) }
    }

    /// The states of those that were heard lately.
    fn heard(&self, now: Moment) -> impl Iterator<Item = &ToldState> {
        let is_recent = move |told: &&ToldState| {
            now.wall_since(told.told_at).max(now.wall_until(told.told_at)) <= HEARD_WITHIN
        };
        self.states.values().filter(is_recent)
    }

    fn news(&mut self, exchange: ExchangeName, now: Moment) -> Vec<Event> {
        let mut news = Vec::new();
        let listing = self.current_listing(now);
        if let Some(listing) = listing.filter(|listing| self.listing.as_ref() != Some(listing)) {
            news.push(Event::Listing(ReportListing {
                exchange,
                epoch: EPOCH,
                listens_to: listing.listens_to.clone(),
                unsupported: listing.unsupported.clone(),
            }));
            self.listing = Some(listing);
        }
        let link = self.current_link(now);
        if let Some((link, at)) = link.filter(|(link, _)| self.link.as_ref() != Some(link)) {
            self.link = Some(link.clone());
            news.push(Event::Link(ReportLink { exchange, epoch: EPOCH, at: now.at_wall(at), link }));
        }
        news
    }

    /// What all of those together list that were heard lately; where nobody was, what the last one did.
    fn current_listing(&self, now: Moment) -> Option<Listing> {
        let mut listings: Vec<&Listing> =
            self.heard(now).filter_map(|told| told.state.listing.as_ref()).collect();
        if listings.is_empty() {
            let with_listing = self.states.values().filter(|told| told.state.listing.is_some());
            let last = with_listing.max_by_key(|told| told.told_at)?;
            listings.extend(last.state.listing.as_ref());
        }
        let mut all = Listing::default();
        for direction in listings.iter().flat_map(|listing| &listing.listens_to) {
            if !all.listens_to.contains(direction) {
                all.listens_to.push(*direction);
            }
        }
        for direction in listings.iter().flat_map(|listing| &listing.unsupported) {
            if !all.listens_to.contains(direction) && !all.unsupported.contains(direction) {
                all.unsupported.push(*direction);
            }
        }
        Some(all)
    }

    /// The best connection of those that were heard lately, and since when it is so; `None` where nothing was told of any.
    fn current_link(&self, now: Moment) -> Option<(Link, DateTime<Utc>)> {
        let mut heard = self.heard(now).peekable();
        if heard.peek().is_none() {
            let is_known = !self.states.is_empty();
            return is_known
                .then(|| (Link::PollFailed(failure("no collector has been heard of late")), now.wall));
        }
        let link = |told: &ToldState| match &told.state.link {
            Some(link) => link.clone(),
            None => Link::Down(failure("not connected yet")),
        };
        // Of equals the one that changed last: until then another one stood.
        let best = heard.max_by_key(|told| (worth(told.state.link.as_ref()), told.link_at))?;
        let is_first = best.state.link.is_none() && self.link.is_none();
        (!is_first).then(|| (link(best), best.link_at))
    }
}

/// How good a connection is.
fn worth(link: Option<&Link>) -> u8 {
    match link {
        Some(Link::Up(Transport::WebSocket)) => 4,
        Some(Link::Up(Transport::Rest)) => 3,
        Some(Link::PollFailed(_)) => 2,
        Some(Link::Down(_)) => 1,
        None => 0,
    }
}

fn failure(detail: &str) -> LinkFailure {
    LinkFailure { detail: detail.to_owned(), forbidden: false, banned_until: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::testing::live;
    use crate::rate_book::ExchangeState;

    const BINANCE: ExchangeName = ExchangeName::new("binance");
    const START: &str = "2026-11-25T12:00:00Z";

    struct Scene {
        collectors: Collectors,
        now: Moment,
    }

    impl Scene {
        fn new() -> Self {
            let now = Moment { monotonic: Duration::from_secs(1_000_000), wall: START.parse().unwrap() };
            Self { collectors: Collectors::default(), now }
        }

        fn pass(&mut self, seconds: u64) {
            self.now = self.now.after(Duration::from_secs(seconds));
        }

        fn tell(&mut self, collector: &str, epoch: u64, link: Option<Link>, listed: &[&str]) -> Vec<String> {
            let listing = Listing {
                listens_to: listed.iter().map(|text| text.parse().unwrap()).collect(),
                unsupported: Vec::new(),
            };
            let state =
                ExchangeState { exchange: BINANCE, epoch: Epoch(epoch), listing: Some(listing), link };
            let (link_at, told_at) = (self.now.wall, self.now.wall);
            self.collectors.hear_state(ToldState {
                collector: collector.to_owned(),
                state,
                link_at,
                told_at,
            });
            self.news()
        }

        /// What RateBook is told: the length of a listing, or the connection.
        fn news(&mut self) -> Vec<String> {
            let words = |event: Event| match event {
                Event::Listing(report) => format!("lists {}", report.listens_to.len()),
                Event::Link(report) => match report.link {
                    Link::Up(transport) => transport.as_str().to_owned(),
                    Link::PollFailed(failure) => format!("failed: {}", failure.detail),
                    Link::Down(failure) => format!("down: {}", failure.detail),
                },
                other => panic!("{other:?}"),
            };
            self.collectors.news(self.now).into_iter().map(words).collect()
        }

        fn quote(
            &mut self,
            collector: &str,
            epoch: u64,
            change: impl FnOnce(&mut LiveQuote),
        ) -> Option<Refusal> {
            let mut live = live("BTC-USDT", START);
            (live.epoch, live.heard_at) = (Epoch(epoch), self.now.wall);
            change(&mut live);
            let told = ToldQuote { collector: collector.to_owned(), live };
            let Event::QuotesElsewhere(report, _) = self.collectors.hear_quote(told, self.now) else {
                panic!()
            };
            assert_eq!(report.quotes.len() + report.refused.len(), 1);
            report.refused.first().copied()
        }
    }

    fn up() -> Option<Link> {
        Some(Link::Up(Transport::WebSocket))
    }

    fn down(detail: &str) -> Option<Link> {
        Some(Link::Down(failure(detail)))
    }

    #[test]
    fn an_exchange_is_down_only_when_every_collector_that_is_heard_says_so() {
        let mut scene = Scene::new();
        assert_eq!(scene.tell("a", 1, up(), &["BTC-USDT"]), ["lists 1", "websocket"]);
        assert_eq!(scene.tell("b", 1, up(), &["BTC-USDT"]), [""; 0]);
        assert_eq!(scene.tell("a", 1, down("reset"), &["BTC-USDT"]), [""; 0]);
        assert_eq!(scene.tell("b", 1, down("refused"), &["BTC-USDT"]), ["down: refused"]);
        assert_eq!(scene.tell("a", 1, up(), &["BTC-USDT"]), ["websocket"]);
    }

    #[test]
    fn a_collector_that_is_silent_counts_no_more_and_its_quotes_age_by_themselves() {
        let mut scene = Scene::new();
        scene.tell("a", 1, up(), &["BTC-USDT"]);
        scene.tell("b", 1, down("reset"), &["BTC-USDT"]);
        scene.pass(15);
        scene.tell("b", 1, down("reset"), &["BTC-USDT"]);
        scene.pass(1);
        assert_eq!(scene.news(), ["down: reset"], "only b is heard");
        assert!(scene.collectors.is_any_heard(scene.now));
        scene.pass(15);
        assert_eq!(scene.news(), ["failed: no collector has been heard of late"]);
        assert!(!scene.collectors.is_any_heard(scene.now));
        scene.pass(1);
        assert_eq!(scene.news(), [""; 0], "told once");
    }

    #[test]
    fn a_connection_that_has_not_begun_is_no_news_and_one_that_begins_anew_is() {
        let mut scene = Scene::new();
        assert_eq!(scene.tell("a", 1, None, &["BTC-USDT"]), ["lists 1"]);
        scene.tell("a", 1, up(), &["BTC-USDT"]);
        assert_eq!(scene.tell("a", 2, None, &["BTC-USDT"]), ["down: not connected yet"]);
    }

    #[test]
    fn what_is_listed_by_any_collector_is_listed() {
        let mut scene = Scene::new();
        scene.tell("a", 1, up(), &["BTC-USDT"]);
        assert_eq!(scene.tell("b", 1, up(), &["BTC-USDT", "ETH-USDT"]), ["lists 2"]);
        assert_eq!(scene.tell("a", 1, up(), &["BTC-USDT"]), [""; 0], "it does not go to and fro");
        scene.pass(16);
        assert_eq!(scene.tell("a", 1, up(), &["BTC-USDT"]), ["lists 1"]);
    }

    #[test]
    fn quotes_of_an_unknown_collector_and_of_an_old_incarnation_are_refused() {
        let mut scene = Scene::new();
        assert_eq!(scene.quote("a", 1, |_| {}), Some(Refusal::OldEpoch));
        scene.tell("a", 2, up(), &["BTC-USDT"]);
        assert_eq!(scene.quote("a", 1, |_| {}), Some(Refusal::OldEpoch));
        assert_eq!(scene.quote("a", 2, |_| {}), None);
        scene.tell("a", 1, down("late"), &[]);
        assert_eq!(scene.quote("a", 1, |_| {}), Some(Refusal::OldEpoch), "an old state changes nothing");
        assert_eq!(scene.quote("b", 9, |_| {}), Some(Refusal::OldEpoch));
    }

    #[test]
    fn a_body_of_one_collector_never_beats_a_newer_frame_of_another() {
        let mut scene = Scene::new();
        scene.tell("a", 1, up(), &["BTC-USDT"]);
        scene.tell("b", 1, up(), &["BTC-USDT"]);
        assert_eq!(scene.quote("a", 1, |_| {}), None);
        let now = scene.now.wall;
        let asked = |ms: i64| {
            move |live: &mut LiveQuote| {
                live.transport = Transport::Rest;
                live.counts_from = Some(now + TimeDelta::milliseconds(ms));
                (live.quote.sequence, live.quote.quoted_at) = (None, None);
            }
        };
        assert_eq!(scene.quote("b", 1, asked(-100)), Some(Refusal::OutOfOrder));
        assert_eq!(scene.quote("b", 1, asked(500)), Some(Refusal::OutOfOrder), "clocks differ");
        assert_eq!(scene.quote("a", 1, asked(-100)), None, "it has compared that itself");
        assert_eq!(scene.quote("a", 1, |_| {}), None);
        assert_eq!(scene.quote("b", 1, asked(501)), None);
        assert_eq!(scene.quote("a", 1, asked(500)), Some(Refusal::OutOfOrder), "an older body");
        assert_eq!(scene.quote("a", 1, asked(502)), None);
    }

    #[test]
    fn frames_without_an_order_of_their_own_go_by_when_they_came() {
        let mut scene = Scene::new();
        scene.tell("a", 1, up(), &["BTC-USDT"]);
        scene.tell("b", 1, up(), &["BTC-USDT"]);
        let now = scene.now.wall;
        let bare = |ms: i64| {
            move |live: &mut LiveQuote| {
                live.heard_at = now + TimeDelta::milliseconds(ms);
                (live.quote.sequence, live.quote.quoted_at) = (None, None);
            }
        };
        assert_eq!(scene.quote("a", 1, bare(0)), None);
        assert_eq!(scene.quote("b", 1, bare(-1)), Some(Refusal::OutOfOrder));
        assert_eq!(scene.quote("b", 1, bare(1)), None);
        let numbered = |live: &mut LiveQuote| live.heard_at = now - TimeDelta::milliseconds(1);
        assert_eq!(scene.quote("a", 1, numbered), None, "RateBook judges its number");
    }

    #[test]
    fn the_age_of_a_quote_is_that_of_its_own_times_however_late_it_comes() {
        let mut scene = Scene::new();
        scene.tell("a", 1, up(), &["BTC-USDT"]);
        let heard_at = scene.now.wall;
        scene.pass(3600);
        let mut live = live("BTC-USDT", START);
        live.heard_at = heard_at;
        let told = ToldQuote { collector: "a".to_owned(), live };
        let Event::QuotesElsewhere(report, _) = scene.collectors.hear_quote(told, scene.now) else {
            panic!()
        };
        assert_eq!(scene.now.since(report.received_at), Duration::from_secs(3600));
        assert_eq!(report.received_at.wall, heard_at);
    }

    #[test]
    fn lives_of_collectors_do_not_fill_the_memory() {
        let mut scene = Scene::new();
        for number in 0..1000 {
            scene.pass(1);
            scene.tell(&format!("c{number}"), 1, up(), &["BTC-USDT"]);
        }
        assert_eq!(scene.collectors.exchanges[&BINANCE].states.len(), MOST_COLLECTORS);
        assert_eq!(scene.quote("c999", 1, |_| {}), None);
    }
}
