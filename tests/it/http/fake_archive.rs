//! A storage that holds what a test puts into it, so that the HTTP side is tested without a database.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use chrono::{DateTime, Utc};
use ratebook::history::{
    Candle, EventPage, GetCandles, GetEvents, GetPastCourses, GetStorageHealth, GetTicks, HistoryError,
    HistoryPorts, Page, PastAnswer, Range, StorageHealth, StorageState, Tick,
};
use ratebook::market::ExchangeName;
use ratebook::rate_book::RecordedEvent;

/// What storage was asked.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    Candles(GetCandles),
    Ticks(GetTicks),
    PastCourses(GetPastCourses),
    Events(GetEvents),
}

/// What storage does when it is asked.
#[derive(Debug, Clone)]
pub(super) enum Behaviour {
    /// It answers.
    Answers,
    /// It fails.
    Fails(HistoryError),
    /// It answers so many questions, and fails from then on.
    FailsAfter(usize),
    /// It never answers.
    Stuck,
}

/// The storage. Candles and ticks are all of one exchange.
#[derive(Clone)]
pub(super) struct FakeArchive {
    pub(super) exchange: Option<ExchangeName>,
    pub(super) candles: Vec<Candle>,
    pub(super) ticks: Vec<Tick>,
    pub(super) events: Vec<RecordedEvent>,
    pub(super) past: Option<PastAnswer>,
    pub(super) health: StorageHealth,
    pub(super) behaviour: Behaviour,
    /// Every question but those for its health.
    pub(super) asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeArchive {
    /// One that holds nothing and answers.
    pub(super) fn empty() -> Self {
        Self {
            exchange: None,
            candles: Vec::new(),
            ticks: Vec::new(),
            events: Vec::new(),
            past: None,
            health: storage_health(StorageState::Ok),
            behaviour: Behaviour::Answers,
            asked: Arc::default(),
        }
    }

    pub(super) fn ports(self) -> HistoryPorts {
        let archive = self.start();
        HistoryPorts {
            candles: archive.clone().recipient(),
            ticks: archive.clone().recipient(),
            past_courses: archive.clone().recipient(),
            events: archive.clone().recipient(),
            health: archive.recipient(),
        }
    }

    fn answer<T: 'static>(
        &self,
        question: Asked,
        answer: Result<T, HistoryError>,
    ) -> ResponseFuture<Result<T, HistoryError>> {
        let mut asked = self.asked.lock().unwrap();
        asked.push(question);
        let num_asked = asked.len();
        let behaviour = self.behaviour.clone();
        Box::pin(async move {
            match behaviour {
                Behaviour::Fails(error) => Err(error),
                Behaviour::FailsAfter(most) if num_asked > most => {
                    Err(HistoryError::Unavailable("user=secret".to_owned()))
                }
                Behaviour::Answers | Behaviour::FailsAfter(_) => answer,
                Behaviour::Stuck => std::future::pending().await,
            }
        })
    }

    fn page<T: Clone>(&self, rows: &[T], range: Range, at: impl Fn(&T) -> DateTime<Utc>) -> Page<T> {
        let in_range = |row: &&T| range.from <= at(row) && at(row) < range.to;
        let mut rows: Vec<T> = rows.iter().filter(in_range).take(range.limit + 1).cloned().collect();
        let next = rows.get(range.limit).map(at);
        rows.truncate(range.limit);
        let exchange = range.exchange.or(self.exchange).filter(|_| !rows.is_empty());
        Page { exchange, rows, next }
    }
}

pub(super) fn storage_health(state: StorageState) -> StorageHealth {
    StorageHealth {
        state,
        database: "sqlite",
        lag: Duration::from_millis(41),
        waiting_rows: 1,
        outbox_rows: 2,
        outbox_bytes: 3,
        stored_rows: 4,
        duplicate_rows: 5,
        rejected_rows: 6,
        dropped_rows: 7,
        conflated_quotes: 8,
        last_quote_at: Some("2026-11-20T12:00:00.000001Z".parse().unwrap()),
        last_error: None,
    }
}

impl Actor for FakeArchive {
    type Context = Context<Self>;
}

impl Handler<GetCandles> for FakeArchive {
    type Result = ResponseFuture<Result<Page<Candle>, HistoryError>>;

    fn handle(&mut self, question: GetCandles, _: &mut Self::Context) -> Self::Result {
        let page = self.page(&self.candles, question.range, |candle| candle.starts_at);
        self.answer(Asked::Candles(question), Ok(page))
    }
}

impl Handler<GetTicks> for FakeArchive {
    type Result = ResponseFuture<Result<Page<Tick>, HistoryError>>;

    fn handle(&mut self, question: GetTicks, _: &mut Self::Context) -> Self::Result {
        let page = self.page(&self.ticks, question.range, |tick| tick.received_at);
        self.answer(Asked::Ticks(question), Ok(page))
    }
}

impl Handler<GetPastCourses> for FakeArchive {
    type Result = ResponseFuture<Result<PastAnswer, HistoryError>>;

    fn handle(&mut self, question: GetPastCourses, _: &mut Self::Context) -> Self::Result {
        let answer = self.past.clone().ok_or(HistoryError::NoDataAt);
        self.answer(Asked::PastCourses(question), answer)
    }
}

impl Handler<GetEvents> for FakeArchive {
    type Result = ResponseFuture<Result<EventPage, HistoryError>>;

    fn handle(&mut self, question: GetEvents, _: &mut Self::Context) -> Self::Result {
        let is_wanted = |event: &&RecordedEvent| {
            event.at >= question.since && question.kind.is_none_or(|kind| event.kind == kind)
        };
        let mut events: Vec<_> =
            self.events.iter().filter(is_wanted).take(question.limit + 1).cloned().collect();
        let next = events.get(question.limit).map(|event| event.at);
        events.truncate(question.limit);
        self.answer(Asked::Events(question), Ok(EventPage { events, next }))
    }
}

impl Handler<GetStorageHealth> for FakeArchive {
    type Result = ResponseFuture<StorageHealth>;

    fn handle(&mut self, _: GetStorageHealth, _: &mut Self::Context) -> Self::Result {
        let (health, behaviour) = (self.health.clone(), self.behaviour.clone());
        Box::pin(async move {
            match behaviour {
                Behaviour::Stuck => std::future::pending().await,
                _ => health,
            }
        })
    }
}
