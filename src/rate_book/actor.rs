//! The actor around the book: it unpacks messages, reads the clock, and says in the log what changed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use actix::prelude::*;
use log::{error, info, warn};

use super::book::{Book, BookSettings, Change, Event};
use super::messages::{
    Answer, BookHealth, CoursesError, GetCourses, GetHealth, ReportLife, ReportLink, ReportListing,
    ReportQuotes, ReportReconnect,
};
use crate::clock;
use crate::market::Moment;

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
    failures: Recipient<BookFailed>,
}

/// A rule of the book panicked. All of its quotes are forgotten.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct BookFailed;

impl RateBook {
    /// A hub without quotes.
    pub fn new(settings: BookSettings, failures: Recipient<BookFailed>) -> Self {
        Self { book: Book::new(settings, clock::now()), failures }
    }

    fn apply(&mut self, event: Event) {
        let changes = self.guarded(|book, now| {
            fail::fail_point!("rate_book::apply");
            book.apply(event, now)
        });
        log_changes(changes.unwrap_or_default());
    }

    /// Runs a rule; `None` if it panicked.
    fn guarded<R>(&mut self, rule: impl FnOnce(&mut Book, Moment) -> R) -> Option<R> {
        let now = clock::now();
        let book = &mut self.book;
        let result = catch_unwind(AssertUnwindSafe(|| rule(book, now)));
        if result.is_err() {
            error!("rate_book: panicked, forgetting every quote");
            self.book.forget_quotes(now);
            if self.failures.try_send(BookFailed).is_err() {
                error!("rate_book: nobody hears that it panicked");
            }
        }
        result.ok()
    }
}

fn log_changes(changes: Vec<Change>) {
    for change in changes {
        match change {
            Change::Switched { from, to: Some(to), reason } => match from {
                None => info!("rate_book: {to} answers ({reason})"),
                Some(from) => warn!("rate_book: {to} answers instead of {from} ({reason})"),
            },
            Change::Switched { to: None, reason, .. } => error!("rate_book: nobody can answer ({reason})"),
            Change::ClockJumped { by } => {
                warn!("rate_book: the clocks parted by {} s, so every quote is stale", by.as_secs());
            }
            Change::OurClockIsSlow => {
                error!("rate_book: most exchanges are ahead of this machine's clock: set it by NTP");
            }
        }
    }
}

impl Actor for RateBook {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_CAPACITY);
        ctx.run_interval(TICK, |actor, _| {
            let changes = actor.guarded(|book, now| {
                fail::fail_point!("rate_book::tick");
                book.tick(now)
            });
            log_changes(changes.unwrap_or_default());
        });
    }
}

impl Handler<ReportQuotes> for RateBook {
    type Result = ();

    fn handle(&mut self, report: ReportQuotes, _: &mut Self::Context) {
        self.apply(Event::Quotes(report));
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

impl Handler<GetCourses> for RateBook {
    type Result = Result<Answer, CoursesError>;

    fn handle(&mut self, request: GetCourses, _: &mut Self::Context) -> Self::Result {
        let answer = self.guarded(|book, now| {
            fail::fail_point!("rate_book::courses");
            book.courses(&request, now)
        });
        answer.unwrap_or_else(|| Err(CoursesError::Starting(Vec::new())))
    }
}

impl Handler<GetHealth> for RateBook {
    type Result = MessageResult<GetHealth>;

    fn handle(&mut self, _: GetHealth, _: &mut Self::Context) -> Self::Result {
        let health = self.guarded(|book, now| book.health(now));
        MessageResult(health.unwrap_or_else(BookHealth::failed))
    }
}
