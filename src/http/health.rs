//! `GET /health`: the state of every exchange for people and monitors, and two probes for orchestrators.
//!
//! `live` says that the process serves, and asks nobody; `ready` says that there are courses to give, and depends
//! on nothing else, so that a database that is down never takes a replica out of service.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{BOOK_TIMEOUT, Shared, age_ms};
use crate::clock;
use crate::rate_book::{BookHealth, ExchangeHealth, GetHealth, ReferenceLeg};

/// What is said when the book does not answer.
const STALLED: &str = "the book of quotes does not answer";

/// `GET /health`.
pub(super) async fn report(shared: web::Data<Shared>) -> HttpResponse {
    let book = ask(&shared).await;
    let report = Report::new(book.as_ref(), clock::now().since(shared.started_at).as_secs());
    uncached(report.status.code(), &report)
}

/// `GET /health/live`.
pub(super) async fn live() -> HttpResponse {
    uncached(StatusCode::OK, &Probe { status: State::Ok })
}

/// `GET /health/ready`.
pub(super) async fn ready(shared: web::Data<Shared>) -> HttpResponse {
    let can_answer = ask(&shared).await.is_some_and(|book| book.can_answer);
    let status = if can_answer { State::Ok } else { State::Down };
    uncached(status.code(), &Probe { status })
}

/// The state of everything; `None` if the book does not answer in time, or is not there.
async fn ask(shared: &Shared) -> Option<BookHealth> {
    shared.health.send(GetHealth).timeout(BOOK_TIMEOUT).await.ok()
}

fn uncached(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .json(body)
}

/// The state of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Degraded,
    Down,
}

impl State {
    const fn code(self) -> StatusCode {
        match self {
            Self::Ok | Self::Degraded => StatusCode::OK,
            Self::Down => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

#[derive(Serialize)]
struct Probe {
    status: State,
}

/// The body of `/health`.
#[derive(Serialize)]
struct Report<'a> {
    status: State,
    /// Why the status is not `ok`; absent when it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<&'a str>,
    answering: Option<&'static str>,
    version: &'static str,
    uptime_s: u64,
    exchanges: Vec<ExchangeReport<'a>>,
    legs: Vec<LegReport>,
    storage: PartReport,
    bus: PartReport,
}

impl<'a> Report<'a> {
    fn new(book: Option<&'a BookHealth>, uptime_s: u64) -> Self {
        let status = match book {
            Some(book) if book.can_answer && book.impairments.is_empty() => State::Ok,
            Some(book) if book.can_answer => State::Degraded,
            _ => State::Down,
        };
        Self {
            status,
            reasons: book.map_or(vec![STALLED], |book| book.impairments.iter().map(String::as_str).collect()),
            answering: book.and_then(|book| book.answering).map(|name| name.as_str()),
            version: env!("CARGO_PKG_VERSION"),
            uptime_s,
            exchanges: book
                .map_or(Vec::new(), |book| book.exchanges.iter().map(ExchangeReport::from).collect()),
            legs: book.map_or(Vec::new(), |book| book.legs.iter().map(LegReport::from).collect()),
            storage: PartReport::DISABLED,
            bus: PartReport::DISABLED,
        }
    }
}

#[derive(Serialize)]
struct ExchangeReport<'a> {
    name: &'static str,
    status: &'static str,
    transport: &'static str,
    last_quote_age_ms: Option<u64>,
    quotes_total: u64,
    restarts: u64,
    reconnects: u64,
    last_error: Option<&'a str>,
    banned_until: Option<DateTime<Utc>>,
    unsupported: Vec<String>,
}

impl<'a> From<&'a ExchangeHealth> for ExchangeReport<'a> {
    fn from(health: &'a ExchangeHealth) -> Self {
        Self {
            name: health.name.as_str(),
            status: health.status.as_str(),
            transport: health.transport.map_or("none", |transport| transport.as_str()),
            last_quote_age_ms: health.last_quote_age.map(age_ms),
            quotes_total: health.quotes_total,
            restarts: health.restarts,
            reconnects: health.reconnects,
            last_error: health.last_error.as_deref(),
            banned_until: health.banned_until,
            unsupported: health.unsupported.iter().map(ToString::to_string).collect(),
        }
    }
}

#[derive(Serialize)]
struct LegReport {
    direction: String,
    /// `peg` where the user configured it instead of a source.
    source: &'static str,
    age_ms: u64,
    held: bool,
}

impl From<&ReferenceLeg> for LegReport {
    fn from(leg: &ReferenceLeg) -> Self {
        Self {
            direction: leg.direction.to_string(),
            source: leg.source.map_or("peg", |name| name.as_str()),
            age_ms: age_ms(leg.age),
            held: leg.held,
        }
    }
}

/// The state of a part that this process may run without.
#[derive(Serialize)]
struct PartReport {
    status: &'static str,
}

impl PartReport {
    /// Nothing is stored, or nothing is published: this process has no such part.
    const DISABLED: Self = Self { status: "disabled" };
}
