//! `GET /health`: the state of every exchange for people and monitors, and two probes for orchestrators.
//!
//! Storage or a broker that is away degrades it and no more: whether there are prices is seen by the prices.
//!
//! `live` says that the process serves, and asks nobody; `ready` says that there are courses to give, and depends
//! on nothing else, so that a database that is down never takes a replica out of service.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use futures_util::future;
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{BOOK_TIMEOUT, Shared, age_ms};
use crate::clock;
use crate::history::{GetStorageHealth, StorageHealth, StorageState};
use crate::market::number;
use crate::rate_book::{BookHealth, BusHealth, Disagreement, ExchangeHealth, GetHealth, ReferenceLeg};

/// What is said when the book does not answer.
const STALLED: &str = "the book of quotes does not answer";

/// `GET /health`.
pub(super) async fn report(shared: web::Data<Shared>) -> HttpResponse {
    let (book, storage) = future::join(ask(&shared), ask_storage(&shared)).await;
    let now = clock::now();
    let bus = shared.bus.as_ref().map(|bus| bus.health(now));
    let report = Report::new(&book, &storage, bus.as_ref(), now.since(shared.started_at).as_secs());
    uncached(report.status.code(), &report)
}

/// `GET /health/live`.
pub(super) async fn live() -> HttpResponse {
    uncached(StatusCode::OK, &Probe { status: State::Ok })
}

/// `GET /health/ready`.
pub(super) async fn ready(shared: web::Data<Shared>) -> HttpResponse {
    let status = if ask(&shared).await.is_well() { State::Ok } else { State::Down };
    uncached(status.code(), &Probe { status })
}

/// What is known of the exchanges.
pub(super) enum Book {
    /// This process hears nothing of them.
    Absent,
    /// The book does not answer in time, or is not there.
    Silent,
    /// It told this.
    Told(BookHealth),
}

impl Book {
    /// Whether there is a course to give, as far as this process has to do with courses.
    fn is_well(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::Silent => false,
            Self::Told(health) => health.can_answer,
        }
    }

    pub(super) fn told(&self) -> Option<&BookHealth> {
        match self {
            Self::Absent | Self::Silent => None,
            Self::Told(health) => Some(health),
        }
    }
}

pub(super) async fn ask(shared: &Shared) -> Book {
    let Some(health) = &shared.health else { return Book::Absent };
    health.send(GetHealth).timeout(BOOK_TIMEOUT).await.map_or(Book::Silent, Book::Told)
}

/// What is known of storage.
pub(super) enum Storage {
    /// There is none in this process.
    Absent,
    /// It does not answer in time, or is being started again.
    Silent,
    /// It told this.
    Told(StorageHealth),
}

impl Storage {
    /// Why the service is not at its best, as far as storage goes; `None` where it is.
    pub(super) fn impairment(&self) -> Option<&'static str> {
        match self {
            Self::Absent => None,
            Self::Silent => Some("storage does not answer"),
            Self::Told(health) => match health.state {
                StorageState::Impaired => Some("the database takes nothing at present"),
                StorageState::Starting if health.last_error.is_some() => {
                    Some("the database cannot be reached since the start")
                }
                StorageState::Starting | StorageState::Ok | StorageState::Disabled => None,
            },
        }
    }
}

pub(super) async fn ask_storage(shared: &Shared) -> Storage {
    let Some(ports) = &shared.history else { return Storage::Absent };
    let reply = ports.health.send(GetStorageHealth).timeout(BOOK_TIMEOUT).await;
    reply.map_or(Storage::Silent, Storage::Told)
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
    disagreements: Vec<DisagreementReport>,
    storage: StorageReport<'a>,
    bus: BusReport<'a>,
}

impl<'a> Report<'a> {
    fn new(book: &'a Book, storage: &'a Storage, bus: Option<&'a BusHealth>, uptime_s: u64) -> Self {
        let mut reasons = match book {
            Book::Absent => Vec::new(),
            Book::Silent => vec![STALLED],
            Book::Told(book) => book.impairments.iter().map(String::as_str).collect(),
        };
        reasons.extend(storage.impairment());
        reasons.extend(bus.and_then(|bus| bus.impairment.as_deref()));
        let status = match book.is_well() {
            true if reasons.is_empty() => State::Ok,
            true => State::Degraded,
            false => State::Down,
        };
        let book = book.told();
        Self {
            status,
            reasons,
            answering: book.and_then(|book| book.answering).map(|name| name.as_str()),
            version: env!("CARGO_PKG_VERSION"),
            uptime_s,
            exchanges: book
                .map_or(Vec::new(), |book| book.exchanges.iter().map(ExchangeReport::from).collect()),
            legs: book.map_or(Vec::new(), |book| book.legs.iter().map(LegReport::from).collect()),
            disagreements: book
                .map_or(Vec::new(), |book| book.disagreements.iter().map(DisagreementReport::from).collect()),
            storage: StorageReport::from(storage),
            bus: BusReport::from(bus),
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

/// A source of fiat rates that contradicts the one that counts.
#[derive(Serialize)]
struct DisagreementReport {
    direction: String,
    believed: &'static str,
    value: Option<Box<RawValue>>,
    source: &'static str,
    other: Option<Box<RawValue>>,
    percent: Option<Box<RawValue>>,
}

impl From<&Disagreement> for DisagreementReport {
    fn from(it: &Disagreement) -> Self {
        Self {
            direction: it.direction.to_string(),
            believed: it.believed.as_str(),
            value: json_number(it.value),
            source: it.source.as_str(),
            other: json_number(it.other),
            percent: it.percent().and_then(json_number),
        }
    }
}

/// A decimal as a JSON number with all of its digits.
fn json_number(value: Decimal) -> Option<Box<RawValue>> {
    RawValue::from_string(number::plain(value)).ok()
}

/// The state of storage: the status alone where nothing more is known.
#[derive(Serialize)]
struct StorageReport<'a> {
    status: &'static str,
    #[serde(flatten)]
    told: Option<ToldByStorage<'a>>,
}

#[derive(Serialize)]
struct ToldByStorage<'a> {
    database: &'static str,
    lag_ms: u64,
    waiting_rows: u64,
    outbox_rows: u64,
    outbox_bytes: u64,
    stored_rows: u64,
    duplicate_rows: u64,
    rejected_rows: u64,
    dropped_rows: u64,
    conflated_quotes: u64,
    last_quote_at: Option<DateTime<Utc>>,
    last_error: Option<&'a str>,
}

impl<'a> From<&'a Storage> for StorageReport<'a> {
    fn from(storage: &'a Storage) -> Self {
        let status = |state: StorageState| state.as_str();
        match storage {
            Storage::Absent => Self { status: status(StorageState::Disabled), told: None },
            Storage::Silent => Self { status: status(StorageState::Starting), told: None },
            Storage::Told(health) => {
                let told = (health.state != StorageState::Disabled).then(|| ToldByStorage::from(health));
                Self { status: status(health.state), told }
            }
        }
    }
}

impl<'a> From<&'a StorageHealth> for ToldByStorage<'a> {
    fn from(health: &'a StorageHealth) -> Self {
        Self {
            database: health.database,
            lag_ms: age_ms(health.lag),
            waiting_rows: health.waiting_rows,
            outbox_rows: health.outbox_rows,
            outbox_bytes: health.outbox_bytes,
            stored_rows: health.stored_rows,
            duplicate_rows: health.duplicate_rows,
            rejected_rows: health.rejected_rows,
            dropped_rows: health.dropped_rows,
            conflated_quotes: health.conflated_quotes,
            last_quote_at: health.last_quote_at,
            last_error: health.last_error.as_deref(),
        }
    }
}

/// The state of the broker: the status alone where there is none.
#[derive(Serialize)]
struct BusReport<'a> {
    status: &'static str,
    #[serde(flatten)]
    told: Option<ToldOfBus<'a>>,
}

#[derive(Serialize)]
struct ToldOfBus<'a> {
    lag_ms: u64,
    pending: u64,
    messages_total: u64,
    unreadable_total: u64,
    dead_total: u64,
    last_error: Option<&'a str>,
}

impl<'a> From<Option<&'a BusHealth>> for BusReport<'a> {
    fn from(health: Option<&'a BusHealth>) -> Self {
        let status = match health {
            None => "disabled",
            Some(health) if health.impairment.is_some() => "impaired",
            Some(_) => "ok",
        };
        let told = health.map(|health| ToldOfBus {
            lag_ms: age_ms(health.lag),
            pending: health.pending,
            messages_total: health.messages,
            unreadable_total: health.unreadable,
            dead_total: health.dead,
            last_error: health.last_error.as_deref(),
        });
        Self { status, told }
    }
}
