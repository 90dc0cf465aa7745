//! `GET /metrics`: the page that Prometheus reads, and under which name each route is counted.
//!
//! What RateBook and storage know is asked of them when the page is read. One that does not answer in time leaves its
//! part of the page out, and `ratebook_up` says so.

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, web};
use futures_util::future;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::Shared;
use super::error::ApiError;
use super::health::{Book, Storage, ask, ask_storage};
use crate::clock;
use crate::history::{StorageHealth, StorageState};
use crate::metrics::{self, Page};
use crate::rate_book::{BookHealth, BusHealth, ExchangeHealth, Status};

/// Every state that an exchange can be in.
const STATUSES: [Status; 6] =
    [Status::Fresh, Status::Stale, Status::Down, Status::Forbidden, Status::Quarantined, Status::Disabled];

/// `GET /metrics`.
pub(super) async fn page(shared: web::Data<Shared>) -> Result<HttpResponse, ApiError> {
    let counted = shared.metrics.as_ref().ok_or(ApiError::UnknownPath)?;
    let (book, storage) = future::join(ask(&shared), ask_storage(&shared)).await;
    let page = Page::new();
    page.gauges(
        "ratebook_build_info",
        "Always 1; the labels say what runs",
        ["version"],
        [([env!("CARGO_PKG_VERSION")], 1.0)],
    );
    let bus = shared.bus.as_ref().map(|bus| bus.health(clock::now()));
    let is_up = [
        ("book", book_is_up(&book)),
        ("storage", storage_is_up(&storage)),
        ("bus", bus.as_ref().map(|bus| bus.impairment.is_none())),
    ];
    page.gauges(
        "ratebook_up",
        "Whether a part of this process does its work",
        ["part"],
        is_up.iter().filter_map(|(part, is_up)| Some(([*part], flag((*is_up)?)))),
    );
    let is_impaired = book.told().is_some_and(|book| !book.impairments.is_empty())
        || storage.impairment().is_some()
        || bus.as_ref().is_some_and(|bus| bus.impairment.is_some());
    page.gauge("ratebook_degraded", "Whether something is not at its best", flag(is_impaired));
    if let Some(book) = book.told() {
        tell_book(&page, book);
        tell_exchanges(&page, &book.exchanges);
    }
    if let Storage::Told(health) = &storage
        && health.state != StorageState::Disabled
    {
        tell_storage(&page, health);
    }
    if let Some(bus) = &bus {
        tell_bus(&page, bus);
    }
    let response = HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .content_type(metrics::CONTENT_TYPE)
        .body(counted.page(&page));
    Ok(response)
}

/// Under which name a path is counted: its route, or `other`, however many paths there are.
pub(super) fn route(path: &str) -> &'static str {
    match path {
        "/v1/courses" => "/v1/courses",
        "/v1/history" => "/v1/history",
        "/v1/events" => "/v1/events",
        "/health" => "/health",
        "/health/live" => "/health/live",
        "/health/ready" => "/health/ready",
        "/metrics" => "/metrics",
        path if path.starts_with("/v1/courses/") => "/v1/courses/{direction}",
        path if path.starts_with("/v1/history/") => "/v1/history/{direction}.svg",
        _ => "other",
    }
}

/// `None` where this process hears nothing of exchanges.
fn book_is_up(book: &Book) -> Option<bool> {
    match book {
        Book::Absent => None,
        Book::Silent => Some(false),
        Book::Told(_) => Some(true),
    }
}

/// `None` where this process has no storage.
fn storage_is_up(storage: &Storage) -> Option<bool> {
    match storage {
        Storage::Absent => None,
        Storage::Silent => Some(false),
        Storage::Told(health) => match health.state {
            StorageState::Disabled => None,
            StorageState::Ok => Some(true),
            StorageState::Starting | StorageState::Impaired => Some(false),
        },
    }
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

/// A share as Prometheus counts: in floating point, which no price is computed from.
fn ratio(share: Decimal) -> f64 {
    share.to_f64().unwrap_or(f64::NAN)
}

fn tell_book(page: &Page, book: &BookHealth) {
    page.gauge(
        "ratebook_can_answer",
        "Whether any configured direction can be answered",
        flag(book.can_answer),
    );
    page.gauges(
        "ratebook_answering",
        "Whether an exchange answers questions without parameters",
        ["exchange"],
        book.exchanges.iter().map(|it| ([it.name.as_str()], flag(book.answering == Some(it.name)))),
    );
    page.counters(
        "ratebook_failovers_total",
        "Changes of who answers, by who answered before and why",
        ["from", "cause"],
        book.failovers
            .iter()
            .map(|(it, count)| ([it.from.map_or("nobody", |from| from.as_str()), it.cause.as_str()], *count)),
    );
    if let Some(quotes) = book.left_to_store {
        page.counter(
            "ratebook_recorded_quotes_total",
            "Quotes left to be stored, those that only repeat a price excepted",
            quotes,
        );
    }
    let legs: Vec<_> = book.legs.iter().map(|leg| (leg.direction.to_string(), leg)).collect();
    page.gauges(
        "ratebook_reference_leg_age_seconds",
        "Age of a rate that exchanges share",
        ["direction", "source"],
        legs.iter().map(|(direction, leg)| {
            ([direction.as_str(), leg.source.map_or("peg", |name| name.as_str())], leg.age.as_secs_f64())
        }),
    );
    page.gauges(
        "ratebook_reference_leg_held",
        "Whether its sources are stale, and the last value is held",
        ["direction"],
        legs.iter().map(|(direction, leg)| ([direction.as_str()], flag(leg.held))),
    );
    page.gauge(
        "ratebook_fiat_disagreements",
        "Fiat rates on which a source contradicts the one that counts",
        f64::from(u32::try_from(book.disagreements.len()).unwrap_or(u32::MAX)),
    );
}

fn tell_exchanges(page: &Page, exchanges: &[ExchangeHealth]) {
    let states = exchanges.iter().flat_map(|it| STATUSES.map(|status| (it, status)));
    page.gauges(
        "ratebook_exchange_status",
        "Whether an exchange is in a state",
        ["exchange", "status"],
        states.map(|(it, status)| ([it.name.as_str(), status.as_str()], flag(it.status == status))),
    );
    page.gauges(
        "ratebook_exchange_quote_age_seconds",
        "Age of the newest quote",
        ["exchange"],
        exchanges.iter().filter_map(|it| Some(([it.name.as_str()], it.last_quote_age?.as_secs_f64()))),
    );
    page.gauges(
        "ratebook_exchange_deviation_ratio",
        "Largest distance of its courses from the median of all exchanges, as a share of the median",
        ["exchange"],
        exchanges.iter().filter_map(|it| Some(([it.name.as_str()], ratio(it.deviation?)))),
    );
    page.counters(
        "ratebook_exchange_quotes_total",
        "Quotes accepted",
        ["exchange"],
        exchanges.iter().map(|it| ([it.name.as_str()], it.quotes_total)),
    );
    let refused = exchanges.iter().flat_map(|it| it.refused.iter().map(move |refused| (it, refused)));
    page.counters(
        "ratebook_exchange_refused_quotes_total",
        "Quotes refused, by reason",
        ["exchange", "reason"],
        refused.map(|(it, (reason, count))| ([it.name.as_str(), reason.as_str()], *count)),
    );
    page.counters(
        "ratebook_exchange_restarts_total",
        "Restarts of the actor of an exchange",
        ["exchange"],
        exchanges.iter().map(|it| ([it.name.as_str()], it.restarts)),
    );
    page.counters(
        "ratebook_exchange_reconnects_total",
        "Sockets lost and dialled again",
        ["exchange"],
        exchanges.iter().map(|it| ([it.name.as_str()], it.reconnects)),
    );
    let banned = exchanges.iter().filter_map(|it| Some((it, it.banned_until?)));
    page.gauges(
        "ratebook_exchange_banned_until_timestamp_seconds",
        "Until when nothing is asked of an exchange",
        ["exchange"],
        banned.map(|(it, until)| ([it.name.as_str()], until.timestamp() as f64)),
    );
}

fn tell_storage(page: &Page, health: &StorageHealth) {
    page.gauge(
        "ratebook_storage_lag_seconds",
        "How long the oldest record has been waiting that the database does not have",
        health.lag.as_secs_f64(),
    );
    for (name, help, value) in [
        ("ratebook_storage_waiting_rows", "Records that wait in memory", health.waiting_rows),
        ("ratebook_storage_outbox_rows", "Records that wait in the outbox", health.outbox_rows),
        ("ratebook_storage_outbox_bytes", "Size of the outbox on the disk", health.outbox_bytes),
    ] {
        page.gauge(name, help, value as f64);
    }
    for (name, help, value) in [
        ("ratebook_storage_stored_rows_total", "Rows that the database took", health.stored_rows),
        (
            "ratebook_storage_duplicate_rows_total",
            "Rows that the database had already",
            health.duplicate_rows,
        ),
        ("ratebook_storage_rejected_rows_total", "Rows that the database refused", health.rejected_rows),
        ("ratebook_storage_dropped_rows_total", "Rows that were given up: a loss", health.dropped_rows),
        (
            "ratebook_storage_conflated_quotes_total",
            "Quotes for which a later one of the same market stands",
            health.conflated_quotes,
        ),
    ] {
        page.counter(name, help, value);
    }
}

fn tell_bus(page: &Page, bus: &BusHealth) {
    page.gauge(
        "ratebook_bus_lag_seconds",
        "How long the oldest message has been waiting to be told, taken in or stored",
        bus.lag.as_secs_f64(),
    );
    page.gauge("ratebook_bus_pending_messages", "Messages that wait", bus.pending as f64);
    for (name, help, value) in [
        ("ratebook_bus_messages_total", "Messages told or taken in", bus.messages),
        ("ratebook_bus_unreadable_messages_total", "Messages that could not be read", bus.unreadable),
        ("ratebook_bus_dead_messages_total", "Messages given up by the storing role", bus.dead),
    ] {
        page.counter(name, help, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_counted_under_its_route_and_every_other_one_together() {
        for (path, expected) in [
            ("/v1/courses", "/v1/courses"),
            ("/v1/courses/", "/v1/courses/{direction}"),
            ("/v1/courses/BTC-USD", "/v1/courses/{direction}"),
            ("/v1/courses/BTC-USD/x", "/v1/courses/{direction}"),
            ("/v1/coursesX", "other"),
            ("/v1/history/BTC-USD.svg", "/v1/history/{direction}.svg"),
            ("/metrics", "/metrics"),
            ("/", "other"),
            ("/v2/anything", "other"),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
    }
}
