//! The actor that is asked about stored data: it reads on a pool of its own, on threads where waiting harms nobody.
//!
//! Separate from the Persister because it must be there at one address for as long as the process lives, and because
//! slow readers must hold up neither what is written nor prices: few read at once, few wait, and the rest is told so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::prelude::*;
use log::{debug, info, warn};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::timeout;

use super::event::StoredEvent;
use super::past_courses::Known;
use super::readers::{MAX_CONNECTIONS, Readers};
use super::status::Status;
use super::store::{Archive, StoreError};
use super::{names, pages, past_courses};
use crate::history::{
    Candle, EventPage, GetCandles, GetEvents, GetPastCourses, GetStorageHealth, GetTicks, HistoryError,
    HistoryPorts, MAX_PAGE, Page, PastAnswer, Tick,
};
use crate::market::ExchangeName;
use crate::rate_book::{BookSettings, RecordedEvent};

#[cfg(test)]
mod tests;

/// Few read at once, few wait, and none for long.
const LIMITS: Limits = Limits {
    most_reading: MAX_CONNECTIONS as usize,
    most_waiting: 16,
    answer_within: Duration::from_secs(8),
};

/// Questions that may lie in the mailbox, which is emptied at once.
const MAILBOX_CAPACITY: usize = 1024;

/// How much is asked at once.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Questions that are read at once; each has a connection.
    most_reading: usize,
    /// Questions that may wait for one that is read.
    most_waiting: usize,
    /// Longest time for one question, waiting included: longer than any statement may take, shorter than clients wait.
    answer_within: Duration,
}

/// The actor.
pub(super) struct Librarian {
    readers: Readers,
    status: Status,
    rules: Arc<BookSettings>,
    /// Whose data is told where nobody said: those of `priority`, then the others by name.
    order: Arc<[ExchangeName]>,
    /// Whether the last question ended in a failure, so that an outage is told once.
    fails: Arc<AtomicBool>,
    /// A permit for each question that is read.
    reading: Arc<Semaphore>,
    /// A permit for each question that is read or waits.
    asked: Arc<Semaphore>,
    answer_within: Duration,
}

impl Librarian {
    /// An actor that answers past courses by these rules.
    pub(super) fn new(readers: Readers, status: Status, rules: BookSettings) -> Self {
        Self::limited(readers, status, rules, LIMITS)
    }

    fn limited(readers: Readers, status: Status, rules: BookSettings, limits: Limits) -> Self {
        let Limits { most_reading, most_waiting, answer_within } = limits;
        Self {
            readers,
            status,
            order: order(&rules).into(),
            rules: Arc::new(rules),
            fails: Arc::default(),
            reading: Arc::new(Semaphore::new(most_reading)),
            asked: Arc::new(Semaphore::new(most_reading + most_waiting)),
            answer_within,
        }
    }

    /// Where it can be asked.
    pub(super) fn ports(address: &Addr<Self>) -> HistoryPorts {
        HistoryPorts {
            candles: address.clone().recipient(),
            ticks: address.clone().recipient(),
            past_courses: address.clone().recipient(),
            events: address.clone().recipient(),
            health: address.clone().recipient(),
        }
    }

    /// Reads on a thread where waiting harms nobody. A reader that hangs keeps its permits until it ends.
    fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Archive) -> Result<T, StoreError> + Send + 'static,
    ) -> ResponseFuture<Result<T, HistoryError>> {
        let asked = match self.asked.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                return Box::pin(async { Err(HistoryError::Busy) });
            }
        };
        let (readers, reading) = (self.readers.clone(), self.reading.clone());
        let answer = async move {
            let reading = reading.acquire_owned().await.map_err(|_| HistoryError::Busy)?;
            let held: [OwnedSemaphorePermit; 2] = [asked, reading];
            let read = move || {
                let answer = readers.read(question);
                drop(held);
                answer
            };
            match tokio::task::spawn_blocking(read).await {
                Ok(answer) => answer.map_err(|error| HistoryError::Unavailable(error.to_string())),
                Err(_) => Err(HistoryError::Unavailable("the reader failed".to_owned())),
            }
        };
        let (limit, fails) = (self.answer_within, self.fails.clone());
        Box::pin(async move {
            let in_time = timeout(limit, answer).await;
            let answer =
                in_time.unwrap_or_else(|_| Err(HistoryError::Unavailable("no answer in time".to_owned())));
            tell(&fails, answer.as_ref().err());
            answer
        })
    }
}

/// Says in the log that questions fail, and that they do no longer: each once.
fn tell(fails: &AtomicBool, error: Option<&HistoryError>) {
    let is_failure = matches!(error, Some(HistoryError::Unavailable(_)));
    match (error, fails.swap(is_failure, Ordering::Relaxed)) {
        (Some(HistoryError::Unavailable(why)), false) => warn!("storage: history cannot be read: {why}"),
        (Some(HistoryError::Unavailable(why)), true) => debug!("storage: history cannot be read: {why}"),
        (_, true) => info!("storage: history can be read again"),
        (_, false) => {}
    }
}

/// Every exchange: those of `priority`, then the others by name.
pub(super) fn order(rules: &BookSettings) -> Vec<ExchangeName> {
    let mut others: Vec<ExchangeName> = rules.exchanges.iter().map(|exchange| exchange.name).collect();
    others.retain(|name| !rules.priority.contains(name));
    others.sort();
    rules.priority.iter().copied().chain(others).collect()
}

impl Actor for Librarian {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_CAPACITY);
    }
}

impl Handler<GetCandles> for Librarian {
    type Result = ResponseFuture<Result<Page<Candle>, HistoryError>>;

    fn handle(&mut self, question: GetCandles, _: &mut Self::Context) -> Self::Result {
        let GetCandles { range, interval } = question;
        let order = self.order.clone();
        self.read(move |archive| pages::candles(archive, &range, interval, &order))
    }
}

impl Handler<GetTicks> for Librarian {
    type Result = ResponseFuture<Result<Page<Tick>, HistoryError>>;

    fn handle(&mut self, GetTicks { range }: GetTicks, _: &mut Self::Context) -> Self::Result {
        let order = self.order.clone();
        self.read(move |archive| pages::ticks(archive, &range, &order))
    }
}

impl Handler<GetPastCourses> for Librarian {
    type Result = ResponseFuture<Result<PastAnswer, HistoryError>>;

    fn handle(&mut self, asked: GetPastCourses, _: &mut Self::Context) -> Self::Result {
        let GetPastCourses { question, at, policy, tolerance } = asked;
        let rules = self.rules.clone();
        let known = self.read(move |archive| {
            Ok(Known { markets: archive.markets(at)?, quotes: archive.quotes_at(at, policy, tolerance)? })
        });
        Box::pin(async move { past_courses::courses(&rules, &known.await?, &question, at, tolerance) })
    }
}

impl Handler<GetEvents> for Librarian {
    type Result = ResponseFuture<Result<EventPage, HistoryError>>;

    fn handle(&mut self, question: GetEvents, _: &mut Self::Context) -> Self::Result {
        let GetEvents { since, kind, limit } = question;
        self.read(move |archive| {
            let page = archive.events(since, kind, limit.clamp(1, MAX_PAGE))?;
            let event = |stored: StoredEvent| RecordedEvent {
                at: stored.at,
                kind: stored.kind,
                exchange: stored.exchange.map(|name| names::known(&name)),
                reason: stored.reason,
                count: stored.count,
            };
            Ok(EventPage { events: page.events.into_iter().map(event).collect(), next: page.next })
        })
    }
}

impl Handler<GetStorageHealth> for Librarian {
    type Result = MessageResult<GetStorageHealth>;

    fn handle(&mut self, _: GetStorageHealth, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.status.health())
    }
}
