//! The actor around the book: it unpacks messages, reads the clock, and says in the log what changed.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use actix::prelude::*;
use log::{error, info, warn};

use super::book::Book;
use super::book_settings::BookSettings;
use super::change::{Change, Event};
use super::hand_over::HandOver;
use super::messages::{
    Answer, BookHealth, BookVersion, CoursesError, Disagreement, FollowStream, GetCourses, GetHealth,
    ReportLife, ReportLink, ReportListing, ReportQuotes, ReportReconnect,
};
use super::newest::{Hearing, Newest};
use super::record::{EventKind, RecordedEvent};
use crate::clock;
use crate::market::{ExchangeName, Moment, Refusal};

/// How often refusals are told as events: one a minute for each exchange and reason, however many there are.
const TELL_REFUSALS_EVERY: Duration = Duration::from_secs(60);

/// How often the passing of time is looked at. Courses are judged when they are asked for; this only tells the log
/// who answers, so it has to be short against the seconds in which people read.
const TICK: Duration = Duration::from_millis(100);

/// Messages that may wait. Producers keep and conflate what does not fit.
const MAILBOX_CAPACITY: usize = 4096;

/// The hub. A panic in a rule is caught: the book then forgets every quote, whoever is told by [`BookFailed`] makes
/// the exchanges begin anew, and addresses stay as they are.
#[derive(Debug)]
pub struct RateBook {
    book: Book,
    version: BookVersion,
    failures: Recipient<BookFailed>,
    /// Where what is accepted, and what happens, is left to be stored; `None` where nothing is stored.
    storage: Option<HandOver>,
    /// Where what other machines are to know is left; `None` where nobody is told.
    newest: Option<Newest>,
    /// The refusals that were told as events.
    told_refusals: HashMap<(ExchangeName, Refusal), u64>,
}

/// A rule of the book panicked. All of its quotes are forgotten.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct BookFailed;

impl RateBook {
    /// A hub without quotes, which tells its state in `version`. What it accepts it leaves in `storage`, if there is one.
    pub fn new(
        settings: BookSettings,
        version: BookVersion,
        failures: Recipient<BookFailed>,
        storage: Option<HandOver>,
    ) -> Self {
        let book = Book::new(settings, clock::now());
        let book = if storage.is_some() { book.recording() } else { book };
        Self { book, version, failures, storage, newest: None, told_refusals: HashMap::new() }
    }

    /// The same hub, which also leaves in `newest` what other machines are to know.
    pub fn telling(self, newest: Newest) -> Self {
        Self { book: self.book.recording(), newest: Some(newest), ..self }
    }

    /// The same hub, whose sequence is that of the stream which [`FollowStream`] brings.
    pub fn following(self) -> Self {
        Self { book: self.book.following(), ..self }
    }

    /// Takes in what happened, and leaves what was accepted.
    pub(super) fn apply(&mut self, event: Event) {
        let (exchange, hearing) = (event.exchange(), hearing(&event));
        let changes = self.guarded(|book, now| {
            fail::fail_point!("rate_book::apply");
            book.apply(event, now)
        });
        self.tell(changes.unwrap_or_default());
        if let Some(newest) = &self.newest {
            leave_newest(newest, &self.book, exchange, hearing);
        }
        let accepted = self.book.drain_accepted();
        match &self.storage {
            Some(storage) => storage.push_quotes(accepted),
            None => drop(accepted),
        }
    }

    /// Tells what changed by the mere passing of time.
    pub(super) fn look_at_the_time(&mut self) {
        let changes = self.guarded(|book, now| {
            fail::fail_point!("rate_book::tick");
            book.tick(now)
        });
        self.tell(changes.unwrap_or_default());
    }

    /// Tells the log and the storage what changed.
    fn tell(&self, changes: Vec<Change>) {
        for change in changes {
            log_change(&change);
            self.record(kind_of(&change), concerned(&change), described(&change), 1);
        }
    }

    fn record(&self, kind: EventKind, exchange: Option<ExchangeName>, reason: String, count: u64) {
        if let Some(storage) = &self.storage {
            storage.push_event(RecordedEvent { at: clock::now().wall, kind, exchange, reason, count });
        }
    }

    /// Records how many quotes were refused since this was told last.
    pub(super) fn tell_refusals(&mut self) {
        let totals: Vec<_> = self.book.refusals().collect();
        for (exchange, refusal, total) in totals {
            let told = self.told_refusals.insert((exchange, refusal), total).unwrap_or_default();
            if total > told {
                self.record(EventKind::Refusal, Some(exchange), refusal.as_str().to_owned(), total - told);
            }
        }
    }

    /// Runs a rule; `None` if it panicked.
    fn guarded<R>(&mut self, rule: impl FnOnce(&mut Book, Moment) -> R) -> Option<R> {
        let now = clock::now();
        let book = &mut self.book;
        let result = catch_unwind(AssertUnwindSafe(|| rule(book, now)));
        if result.is_err() {
            error!("rate_book: panicked, forgetting every quote");
            self.record(EventKind::BookFailure, None, "panicked, every quote forgotten".to_owned(), 1);
            self.book.forget_quotes(now);
            if self.failures.try_send(BookFailed).is_err() {
                error!("rate_book: nobody hears that it panicked");
            }
        }
        self.version.set(self.book.version());
        result.ok()
    }
}

/// How the quotes of an event came; `None` for one without quotes.
fn hearing(event: &Event) -> Option<Hearing> {
    match event {
        Event::Quotes(report) | Event::QuotesElsewhere(report, _) => Some(Hearing {
            epoch: report.epoch,
            transport: report.transport,
            received_at: report.received_at,
        }),
        _ => None,
    }
}

/// Leaves for other machines what an event of an exchange has brought.
fn leave_newest(newest: &Newest, book: &Book, exchange: ExchangeName, hearing: Option<Hearing>) {
    let now = clock::now();
    let is_known = hearing.is_some_and(|hearing| newest.epoch_of(exchange) == Some(hearing.epoch));
    if !is_known && let Some(state) = book.state_of(exchange) {
        newest.push_state(state, now.wall);
    }
    if let Some(hearing) = hearing {
        for (accepted, is_change) in book.accepted() {
            let since = book.fresh_since(exchange, accepted.quote.direction);
            newest.push_quote(accepted, *is_change, hearing, since, now);
        }
    }
}

fn log_change(change: &Change) {
    let text = described(change);
    match change {
        Change::Switched { from: None, to: Some(_), .. } => info!("rate_book: {text}"),
        Change::FiatSourcesAgree { .. } | Change::FiatSourcesDisagreeElsewhere(_) => {
            info!("rate_book: {text}");
        }
        Change::Switched { to: Some(_), .. }
        | Change::ClockJumped { .. }
        | Change::FiatSourcesDisagree(_) => warn!("rate_book: {text}"),
        Change::Switched { to: None, .. } | Change::OurClockIsSlow => error!("rate_book: {text}"),
    }
}

/// What changed, for people.
fn described(change: &Change) -> String {
    match change {
        Change::Switched { from: None, to: Some(to), reason } => format!("{to} answers ({reason})"),
        Change::Switched { from: Some(from), to: Some(to), reason } => {
            format!("{to} answers instead of {from} ({reason})")
        }
        Change::Switched { to: None, reason, .. } => format!("nobody can answer ({reason})"),
        Change::ClockJumped { by } => {
            format!("the clocks parted by {} s, so every quote is stale", by.as_secs())
        }
        Change::FiatSourcesDisagree(disagreement) => format!("sources disagree on {disagreement}"),
        Change::FiatSourcesAgree { direction, source } => {
            format!("{source} contradicts nobody on {direction} any more")
        }
        Change::FiatSourcesDisagreeElsewhere(directions) => {
            let directions: Vec<String> = directions.iter().map(ToString::to_string).collect();
            format!(
                "sources also disagree on {}, which nobody asks for (`/health` has the rates)",
                directions.join(", ")
            )
        }
        Change::OurClockIsSlow => {
            "most exchanges are ahead of this machine's clock: set it by NTP".to_owned()
        }
    }
}

fn kind_of(change: &Change) -> EventKind {
    match change {
        Change::Switched { .. } => EventKind::Failover,
        Change::ClockJumped { .. } | Change::OurClockIsSlow => EventKind::Clock,
        Change::FiatSourcesDisagree(_)
        | Change::FiatSourcesAgree { .. }
        | Change::FiatSourcesDisagreeElsewhere(_) => EventKind::Disagreement,
    }
}

/// The exchange that lost its place, else the one that has it now.
fn concerned(change: &Change) -> Option<ExchangeName> {
    match change {
        Change::Switched { from, to, .. } => from.or(*to),
        Change::FiatSourcesDisagree(Disagreement { source, .. })
        | Change::FiatSourcesAgree { source, .. } => Some(*source),
        Change::FiatSourcesDisagreeElsewhere(_) | Change::ClockJumped { .. } | Change::OurClockIsSlow => None,
    }
}

impl Actor for RateBook {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_CAPACITY);
        ctx.run_interval(TICK, |actor, _| actor.look_at_the_time());
        if self.storage.is_some() {
            ctx.run_interval(TELL_REFUSALS_EVERY, |actor, _| actor.tell_refusals());
        }
    }
}

impl Handler<ReportQuotes> for RateBook {
    type Result = ();

    fn handle(&mut self, report: ReportQuotes, ctx: &mut Self::Context) {
        match lateness(report.exchange) {
            None => self.apply(Event::Quotes(report)),
            Some(lateness) => {
                ctx.run_later(lateness, |actor, _| actor.apply(Event::Quotes(report)));
            }
        }
    }
}

impl Handler<ReportLink> for RateBook {
    type Result = ();

    fn handle(&mut self, report: ReportLink, _: &mut Self::Context) {
        self.apply(Event::Link(report));
    }
}

impl Handler<ReportListing> for RateBook {
    type Result = ();

    fn handle(&mut self, report: ReportListing, _: &mut Self::Context) {
        self.apply(Event::Listing(report));
    }
}

impl Handler<ReportReconnect> for RateBook {
    type Result = ();

    fn handle(&mut self, report: ReportReconnect, _: &mut Self::Context) {
        self.apply(Event::Reconnect(report));
    }
}

impl Handler<ReportLife> for RateBook {
    type Result = ();

    fn handle(&mut self, report: ReportLife, _: &mut Self::Context) {
        self.apply(Event::Life(report));
    }
}

impl Handler<FollowStream> for RateBook {
    type Result = ();

    fn handle(&mut self, stream: FollowStream, _: &mut Self::Context) {
        let FollowStream { events, sequence, is_caught_up, read_at } = stream;
        events.into_iter().for_each(|event| self.apply(event));
        let _ = self.guarded(|book, now| book.reach(sequence, is_caught_up, read_at, now));
    }
}

impl Handler<GetCourses> for RateBook {
    type Result = Result<Answer, CoursesError>;

    fn handle(&mut self, request: GetCourses, _: &mut Self::Context) -> Self::Result {
        let answer = self.guarded(|book, now| {
            fail::fail_point!("rate_book::courses");
            // The first to ask after the machine has slept may come before the time is looked at.
            (book.look(now), book.courses(&request, now))
        });
        let Some((changes, answer)) = answer else { return Err(CoursesError::Starting(Vec::new())) };
        self.tell(changes);
        answer
    }
}

impl Handler<GetHealth> for RateBook {
    type Result = MessageResult<GetHealth>;

    fn handle(&mut self, _: GetHealth, _: &mut Self::Context) -> Self::Result {
        let health = self.guarded(|book, now| (book.look(now), book.health(now)));
        let (changes, health) = health.unwrap_or_else(|| (Vec::new(), BookHealth::failed()));
        self.tell(changes);
        let left_to_store = self.storage.as_ref().map(|storage| storage.counters().pushed_quotes);
        MessageResult(BookHealth { left_to_store, ..health })
    }
}

/// By how much a test delays the reports of one exchange, beyond the end of its actor too: five of them come three
/// seconds late with `FAILPOINTS="rate_book::late(binance)=5*return(3000)"`.
#[cfg_attr(not(feature = "failpoints"), expect(unused_variables, reason = "only tests have fail points"))]
fn lateness(exchange: ExchangeName) -> Option<Duration> {
    fail::fail_point!(&format!("rate_book::late({exchange})"), |ms| {
        let ms = ms.and_then(|ms| ms.parse().ok());
        ms.map(Duration::from_millis)
    });
    None
}
