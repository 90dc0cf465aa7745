//! What happens, by chance: a scheduler that a seed decides, and clocks that it turns.
//!
//! Separate from the checks, which look at what came of it.

use std::fmt::Debug;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rust_decimal::Decimal;

use super::super::*;
use super::cast::{self, CAST, Style, name, worth};
use super::model::Model;
use crate::market::{Direction, ExchangeName, Moment, Quote, Refusal, Transport, Validity};

/// One of how many seeds has a book that follows a stream.
const FOLLOWS_ONE_OF: u64 = 5;

/// A quote, and what is known to be wrong with its numbers.
type Flawed = (Quote, Option<Refusal>);

/// The book, the model beside it, and the world that both hear of.
pub(super) struct World {
    pub(super) book: Book,
    pub(super) model: Model,
    /// A second book that never hears of one exchange, and that exchange.
    pub(super) deaf: Option<(Book, ExchangeName)>,
    pub(super) now: Moment,
    pub(super) random: StdRng,
    follows: bool,
    /// The moment of the last step: what was sent then may come only now.
    before: Moment,
    epochs: [u64; CAST.len()],
    sequences: [u64; CAST.len()],
    /// Of each exchange the last report, which may come again.
    last_reports: [Option<(ReportQuotes, Vec<Option<Refusal>>)>; CAST.len()],
    stream: u64,
    /// Who answered after the last change, as the changes tell it.
    pub(super) told_answering: Option<ExchangeName>,
    pub(super) num_switches: u64,
    pub(super) last_sequence: u64,
    /// The last answer and when it was given, while nothing has happened to the clocks.
    pub(super) kept: Option<(Moment, Answer)>,
    pub(super) num_kept: u64,
    /// Whether everything is told on the way.
    is_told: bool,
}

impl World {
    pub(super) fn new(seed: u64, is_told: bool) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let start: DateTime<Utc> = "2026-11-20T12:00:00Z".parse().unwrap();
        let wall = start + TimeDelta::milliseconds(random.random_range(0..86_400_000));
        let now = Moment { monotonic: Duration::from_secs(1_000_000), wall };
        let follows = seed % FOLLOWS_ONE_OF == 1;
        let settings = cast::settings();
        let book = Book::new(settings.clone(), now);
        let mut world = Self {
            book: if follows { book.following() } else { book },
            model: Model::new(settings.clone(), follows, now),
            deaf: None,
            now,
            random,
            follows,
            before: now,
            epochs: [1; CAST.len()],
            sequences: [1; CAST.len()],
            last_reports: [const { None }; CAST.len()],
            stream: 0,
            told_answering: None,
            num_switches: 0,
            last_sequence: 0,
            kept: None,
            num_kept: 0,
            is_told,
        };
        if !follows && seed.is_multiple_of(2) {
            // Nobody else depends on what one of these says.
            let mute = [0, 2, 3, 4, 5, 6][world.below(6)];
            world.deaf = Some((Book::new(settings, now), name(mute)));
        }
        let late = world.below(CAST.len() + 1);
        for (at, member) in CAST.iter().enumerate() {
            // One may say what it quotes only later, or never.
            if at != late {
                world.list(at, 1, member.quotes.iter().map(|it| cast::direction(it)).collect(), Vec::new());
            }
        }
        world
    }

    /// Says what happens, where somebody listens.
    pub(super) fn tell(&self, what: &str, detail: &dyn Debug) {
        if self.is_told {
            println!(
                "{:>9} ms {} {what}: {detail:?}",
                self.now.monotonic.as_millis() % 1_000_000_000,
                self.now.wall
            );
        }
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    /// Whether something happens that does so once in `times`.
    pub(super) fn once_in(&mut self, times: u32) -> bool {
        self.random.random_ratio(1, times)
    }

    /// Time passes.
    pub(super) fn wait(&mut self) {
        let ms = match self.below(100) {
            0 => self.random.random_range(200_000..400_000),
            1..4 => self.random.random_range(3_000..20_000),
            4..20 => self.random.random_range(0..20),
            _ => self.random.random_range(20..1_200),
        };
        self.before = self.now;
        self.now = self.now.after(Duration::from_millis(ms));
        if self.once_in(25) {
            self.turn_the_clock();
        }
    }

    /// The wall clock is set, or the machine slept: the monotonic clock does not notice.
    fn turn_the_clock(&mut self) {
        let ms: i64 = match self.below(6) {
            0 | 1 => self.random.random_range(-2_000..=2_000),
            2 => self.random.random_range(-20_000..0),
            3 => self.random.random_range(2_001..20_000),
            4 => self.random.random_range(20_000..7_200_000),
            _ => self.random.random_range(7_200_000..250_000_000),
        };
        let turned = self.now.wall + TimeDelta::milliseconds(ms);
        // Back over midnight, a book would have to have kept every fixing that it ever had; it has none, and says so.
        let is_back_over_midnight = CAST.iter().any(|member| match member.style {
            Style::Fixing { ahead } => day(turned, ahead) < day(self.before.wall, ahead),
            Style::Book | Style::Last => false,
        });
        if !is_back_over_midnight {
            self.now.wall = turned;
            self.kept = None;
            self.tell("the wall clock is turned", &format_args!("by {ms} ms"));
        }
    }

    /// Something happens.
    pub(super) fn happen(&mut self) {
        let at = self.below(CAST.len());
        match self.below(100) {
            0..62 => self.round(),
            62..72 => self.oddity(at),
            72..77 => self.down(at),
            77..82 => self.up(at),
            82..84 => self.poll_fails(at),
            84..88 => self.relist(at),
            88..91 => self.repeat(at),
            91..95 => self.live_and_die(at),
            95..97 => self.speak_late(at),
            97 => self.reconnect(at),
            98 => self.speak_of_the_unknown(),
            _ if self.once_in(6) => self.panic(),
            _ => {}
        }
        if self.follows && !self.once_in(5) {
            self.read_on();
        }
    }

    /// Everybody who has something to say says it.
    fn round(&mut self) {
        let silent = self.below(CAST.len() + 1);
        for (at, member) in CAST.iter().enumerate() {
            let is_slow = !matches!(member.style, Style::Book);
            if at == silent || is_slow && !self.once_in(3) {
                continue;
            }
            let mut quotes = Vec::new();
            for direction in member.quotes.iter().map(|it| cast::direction(it)) {
                if !self.once_in(40) {
                    quotes.push((self.good(at, direction), None));
                }
            }
            self.report(at, self.epochs[at], quotes);
        }
    }

    /// One exchange says something odd.
    fn oddity(&mut self, at: usize) {
        let quotes = CAST[at].quotes;
        let listed = cast::direction(quotes[self.below(quotes.len())]);
        let unlisted = ["BTC-USD", "ETH-USDT", "ETH-RUB", "BTC-EUR"][self.below(4)];
        let is_bank = is_bank(at);
        let direction = if self.once_in(8) && !is_bank { cast::direction(unlisted) } else { listed };
        let good = self.good(at, direction);
        let odd = match self.below(3) {
            0 => self.misprint(good),
            _ if is_bank => (good, None),
            1 => (self.misstamp(at, good), None),
            _ => (self.misnumber(at, good), None),
        };
        let also = if self.once_in(2) { Some((self.good(at, listed), None)) } else { None };
        self.report(at, self.epochs[at], [odd].into_iter().chain(also).collect());
    }

    /// A quote as it should be.
    fn good(&mut self, at: usize, direction: Direction) -> Quote {
        let thousandths =
            |random: &mut StdRng, most: i64| Decimal::new(1_000 + random.random_range(-most..=most), 3);
        match CAST[at].style {
            Style::Book => {
                let bid = worth(direction) * thousandths(&mut self.random, 20);
                let quote = Quote::book(direction, bid, bid + worth(direction) * Decimal::new(2, 4));
                let (quoted_at, sequence) = match at % 4 {
                    0 => (None, None),
                    1 => {
                        (Some(self.now.wall - TimeDelta::milliseconds(self.random.random_range(0..50))), None)
                    }
                    2 => (None, Some(self.next_number(at))),
                    _ => (Some(self.now.wall), Some(self.next_number(at))),
                };
                // A body of REST has no number.
                let sequence = sequence.filter(|_| !self.once_in(10));
                Quote { quoted_at, sequence, ..quote }
            }
            Style::Last => {
                let last = worth(direction) * thousandths(&mut self.random, 20);
                let ago = TimeDelta::milliseconds(self.random.random_range(0..30_000));
                Quote { quoted_at: Some(self.now.wall - ago), ..Quote::last(direction, last) }
            }
            Style::Fixing { ahead } => {
                let most = if self.once_in(12) { 60 } else { 3 };
                let rate = worth(direction) * thousandths(&mut self.random, most);
                let days = match self.below(20) {
                    0 | 1 => 1,
                    2 => -1,
                    3 => -6,
                    _ => 0,
                };
                let hours = TimeDelta::hours(ahead);
                let date = (self.now.wall + hours).date_naive() + TimeDelta::days(days);
                let starts_at = date.and_hms_opt(0, 0, 0).unwrap().and_utc() - hours;
                let validity = Validity::Fixing { starts_at, ends_at: starts_at + TimeDelta::days(5) };
                Quote { quoted_at: Some(starts_at), validity, ..Quote::last(direction, rate) }
            }
        }
    }

    fn next_number(&mut self, at: usize) -> u64 {
        self.sequences[at] += self.random.random_range(1..4);
        self.sequences[at]
    }

    /// A quote whose numbers are wrong.
    fn misprint(&mut self, good: Quote) -> Flawed {
        let one_price = good.bid.is_none();
        let price = good.bid.or(good.last).unwrap();
        let with = |price: Decimal| match one_price {
            true => Quote { last: Some(price), ..good.clone() },
            false => Quote { bid: Some(price), ask: Some(price * Decimal::new(1_001, 3)), ..good.clone() },
        };
        match self.below(if one_price { 4 } else { 8 }) {
            0 => (Quote { bid: None, ask: None, last: None, ..good }, Some(Refusal::Syntax)),
            1 => (with(Decimal::ZERO), Some(Refusal::NonPositive)),
            2 => (with(-price), Some(Refusal::NonPositive)),
            3 if self.once_in(2) => (with(price * Decimal::from(10_000)), Some(Refusal::Magnitude)),
            3 => (with(price * Decimal::new(1, 4)), Some(Refusal::Magnitude)),
            4 => (Quote { bid: good.ask, ask: good.bid, ..good }, Some(Refusal::Crossed)),
            5 => (Quote { ask: good.bid, ..good }, Some(Refusal::Crossed)),
            6 if self.once_in(2) => (Quote { bid: None, ..good }, Some(Refusal::OneSided)),
            6 => (Quote { ask: None, ..good }, Some(Refusal::OneSided)),
            _ => (Quote { ask: Some(price * Decimal::new(106, 2)), ..good }, Some(Refusal::WideSpread)),
        }
    }

    /// A quote with a time of its own that is old, ahead, or just within what is allowed.
    fn misstamp(&mut self, at: usize, good: Quote) -> Quote {
        let limit = TimeDelta::from_std(CAST[at].stale_after).unwrap();
        let ahead = TimeDelta::milliseconds(match self.below(7) {
            0 => 2_000,
            1 => 2_001,
            2 => self.random.random_range(2_001..100_000_000),
            3 => -limit.num_milliseconds(),
            4 => -limit.num_milliseconds() - 1,
            5 => -self.random.random_range(0..100_000_000),
            _ => -self.random.random_range(0..3_000),
        });
        Quote { quoted_at: Some(self.now.wall + ahead), ..good }
    }

    /// A quote with a number that is old, the same, or new.
    fn misnumber(&mut self, at: usize, good: Quote) -> Quote {
        let last = self.sequences[at];
        let sequence = match self.below(4) {
            0 => None,
            1 => Some(last),
            2 => Some(last.saturating_sub(self.random.random_range(1..5))),
            _ => Some(self.next_number(at)),
        };
        Quote { sequence, ..good }
    }

    /// When something was sent that is heard now: now, a moment ago, or before the clocks were turned.
    fn sent_at(&mut self) -> Moment {
        match self.below(8) {
            0 => self.before,
            1 => {
                let since = self.now.since(self.before).as_millis().min(300);
                let ms = self.random.random_range(0..=since) as u64;
                let ago = Duration::from_millis(ms);
                let wall = self.now.wall - TimeDelta::milliseconds(ms as i64);
                Moment { monotonic: self.now.monotonic - ago, wall }
            }
            _ => self.now,
        }
    }

    fn report(&mut self, at: usize, epoch: u64, quotes: Vec<Flawed>) {
        // Nobody can have sent a rate before its date was near.
        let received_at = if is_bank(at) { self.now } else { self.sent_at() };
        let refused = match self.once_in(30) {
            true => vec![Refusal::Syntax, Refusal::UnexpectedSymbol],
            false => Vec::new(),
        };
        let transport = if self.once_in(5) { Transport::Rest } else { Transport::WebSocket };
        let (quotes, flaws) = quotes.into_iter().unzip();
        let report =
            ReportQuotes { exchange: name(at), epoch: Epoch(epoch), transport, received_at, quotes, refused };
        self.last_reports[at] = Some((report.clone(), flaws));
        self.hear(at, report);
    }

    /// A report is heard: mostly from the exchange itself, sometimes by way of another machine.
    fn hear(&mut self, at: usize, mut report: ReportQuotes) {
        let flaws = self.last_reports[at].as_ref().map(|(_, flaws)| flaws.clone()).unwrap_or_default();
        let is_elsewhere = self.once_in(if self.follows { 2 } else { 40 });
        if !is_elsewhere {
            return self.apply(Event::Quotes(report), &flaws);
        }
        // The clock of the other machine is ahead, or too far ahead.
        report.received_at = match self.below(8) {
            0 => self.now.after(Duration::from_millis(self.random.random_range(0..=2_000))),
            1 => self.now.after(Duration::from_millis(self.random.random_range(2_001..60_000))),
            _ => report.received_at,
        };
        let ago = Duration::from_millis(self.random.random_range(0..30_000));
        let received_at = report.received_at;
        let since = Moment { monotonic: received_at.monotonic - ago, wall: received_at.wall };
        let since = Some(since).filter(|_| !self.once_in(3));
        self.apply(Event::QuotesElsewhere(report, since), &flaws);
    }

    /// What was said last comes again, as it was or as if it came now.
    fn repeat(&mut self, at: usize) {
        let Some((report, _)) = self.last_reports[at].clone() else { return };
        let received_at = if self.once_in(2) || is_bank(at) { self.now } else { report.received_at };
        self.hear(at, ReportQuotes { received_at, ..report });
    }

    fn failure(&mut self) -> LinkFailure {
        let banned_until = if self.once_in(4) {
            let ms = self.random.random_range(-1_000..100_000);
            Some(self.now.wall + TimeDelta::milliseconds(ms))
        } else {
            None
        };
        LinkFailure { detail: "answered 451".to_owned(), forbidden: self.once_in(4), banned_until }
    }

    fn link(&mut self, at: usize, link: Link) {
        let report =
            ReportLink { exchange: name(at), epoch: Epoch(self.epochs[at]), at: self.sent_at(), link };
        self.apply(Event::Link(report), &[]);
    }

    fn down(&mut self, at: usize) {
        let failure = self.failure();
        self.link(at, Link::Down(failure));
    }

    fn up(&mut self, at: usize) {
        let transport = if self.once_in(3) { Transport::Rest } else { Transport::WebSocket };
        self.link(at, Link::Up(transport));
    }

    fn poll_fails(&mut self, at: usize) {
        let failure = self.failure();
        self.link(at, Link::PollFailed(failure));
    }

    fn list(&mut self, at: usize, epoch: u64, listens_to: Vec<Direction>, unsupported: Vec<Direction>) {
        let report = ReportListing { exchange: name(at), epoch: Epoch(epoch), listens_to, unsupported };
        self.apply(Event::Listing(report), &[]);
    }

    /// An exchange lists less than before, or all again.
    fn relist(&mut self, at: usize) {
        let mut listed: Vec<Direction> = CAST[at].quotes.iter().map(|it| cast::direction(it)).collect();
        let mut unsupported = Vec::new();
        if self.once_in(2) {
            let dropped = listed.remove(self.below(listed.len()));
            if self.once_in(2) {
                unsupported.push(dropped);
            }
        }
        if self.once_in(4) && matches!(CAST[at].style, Style::Book) {
            listed.push(cast::direction("ETH-RUB"));
        }
        self.list(at, self.epochs[at], listed, unsupported);
    }

    /// An actor ends, begins, or is left alone.
    fn live_and_die(&mut self, at: usize) {
        let life = match self.below(6) {
            0 => Life::Ended { detail: "panicked".to_owned() },
            1 => Life::Quarantined { detail: "panicked too often".to_owned() },
            2 => Life::Started(Epoch(self.epochs[at].saturating_sub(1))),
            3 => Life::Started(Epoch(self.epochs[at])),
            _ => {
                self.epochs[at] += 1;
                self.sequences[at] = 1;
                Life::Started(Epoch(self.epochs[at]))
            }
        };
        let report = ReportLife { exchange: name(at), at: self.sent_at(), life };
        self.apply(Event::Life(report), &[]);
    }

    /// An incarnation speaks that has been replaced, or one that nobody has been told of yet.
    fn speak_late(&mut self, at: usize) {
        let epoch = self.epochs[at];
        let direction = cast::direction(CAST[at].quotes[0]);
        if self.once_in(4) {
            self.epochs[at] += 1;
            self.sequences[at] = 1;
            let good = self.good(at, direction);
            return self.report(at, epoch + 1, vec![(good, None)]);
        }
        if epoch == 1 {
            return;
        }
        let exchange = name(at);
        match self.below(4) {
            0 => self.list(at, epoch - 1, Vec::new(), vec![direction]),
            1 => {
                let failure = self.failure();
                let link = Link::Down(failure);
                let late = ReportLink { exchange, epoch: Epoch(epoch - 1), at: self.now, link };
                self.apply(Event::Link(late), &[]);
            }
            2 => self.apply(Event::Reconnect(ReportReconnect { exchange, epoch: Epoch(epoch - 1) }), &[]),
            _ => {
                let good = self.good(at, direction);
                self.report(at, epoch - 1, vec![(good, None)]);
            }
        }
    }

    fn reconnect(&mut self, at: usize) {
        let report = ReportReconnect { exchange: name(at), epoch: Epoch(self.epochs[at]) };
        self.apply(Event::Reconnect(report), &[]);
    }

    /// Somebody speaks whom the settings do not name.
    fn speak_of_the_unknown(&mut self) {
        let exchange = ExchangeName::new("omega");
        let report = ReportLife { exchange, at: self.now, life: Life::Started(Epoch(9)) };
        self.apply(Event::Life(report), &[]);
    }

    /// A rule panicked, and the book begins anew.
    fn panic(&mut self) {
        self.tell("the book forgets", &());
        self.model.forget(self.now);
        self.book.forget_quotes(self.now);
        if let Some((deaf, _)) = &mut self.deaf {
            deaf.forget_quotes(self.now);
        }
    }

    /// The stream that the book follows is read on.
    fn read_on(&mut self) {
        self.stream += self.random.random_range(0..3);
        let sequence = self.stream.saturating_sub(self.random.random_range(0..2));
        let is_caught_up = !self.once_in(8);
        let read_at = self.sent_at();
        self.tell("read on", &(sequence, is_caught_up, read_at));
        self.model.reach(sequence, is_caught_up, read_at, self.now);
        self.book.reach(sequence, is_caught_up, read_at, self.now);
    }

    fn apply(&mut self, event: Event, flaws: &[Option<Refusal>]) {
        self.tell("happens", &event);
        let has_jumped = self.model.take(&event, flaws, self.now);
        if let Some((deaf, mute)) = &mut self.deaf
            && event.exchange() != *mute
        {
            deaf.apply(event.clone(), self.now);
        }
        let changes = self.book.apply(event, self.now);
        self.check_changes(&changes, has_jumped);
    }

    /// Time is looked at.
    pub(super) fn tick(&mut self) {
        let has_jumped = self.model.look(self.now);
        let changes = self.book.tick(self.now);
        if let Some((deaf, _)) = &mut self.deaf {
            deaf.tick(self.now);
        }
        self.check_changes(&changes, has_jumped);
    }
}

/// Whether an exchange tells one rate for each date.
fn is_bank(at: usize) -> bool {
    matches!(CAST[at].style, Style::Fixing { .. })
}

/// The date at a place whose days begin so many hours before those of UTC.
fn day(wall: DateTime<Utc>, ahead: i64) -> chrono::NaiveDate {
    (wall + TimeDelta::hours(ahead)).date_naive()
}
