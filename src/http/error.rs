//! Everything that clients get instead of what they asked for, as problem details (RFC 9457).
//!
//! Separate so that the table of cases, statuses and reasons is one screen: clients branch on `reason`, and an
//! error is never kept by a cache, because the next moment may have the answer.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use chrono::{DateTime, Utc};
use humantime::format_duration;
use serde::Serialize;

use super::accept::FORMS;
use super::query::written;
use super::{NO_SNIFF, READ_ONLY_METHODS, age_ms};
use crate::history::{HistoryError, Policy};
use crate::rate_book::Judgement;

/// Why a request is not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// The request asks for what cannot be, whoever is fresh.
    #[error("{detail}")]
    Refused {
        /// In which way.
        fault: Fault,
        /// The parameter that has to change.
        parameter: String,
        /// For people.
        detail: String,
        /// What would have been accepted in its place.
        allowed: Vec<String>,
    },
    /// No data has come yet since the start.
    #[error("no data has come yet since the start")]
    Starting(Vec<Judgement>),
    /// Nothing is fresh for what was asked.
    #[error("no exchange has fresh data for all that was asked")]
    Stale(Vec<Judgement>),
    /// Every exchange that could answer is down.
    #[error("every exchange that could answer is down")]
    Down(Vec<Judgement>),
    /// There is fresh data, but it is older than `max_age_ms`.
    #[error("the youngest data is {} ms old, which is more than `max_age_ms`", age_ms(*.0))]
    TooOld(Duration),
    /// The book of quotes did not answer in time, or is not there.
    #[error("the book of quotes does not answer")]
    Stalled,
    /// The database does not answer, or not in time.
    #[error("the database does not answer; current courses do not need it")]
    HistoryUnavailable,
    /// So many questions about stored data wait that one more would wait too long.
    #[error("too many questions about stored data are waiting")]
    HistoryBusy,
    /// This process reads no storage, and never will.
    #[error("this process reads no storage")]
    HistoryDisabled,
    /// Nothing that may stand for the time asked for is stored.
    #[error(
        "nothing is stored for {} by policy `{}` within a tolerance of {}",
        written(*.at), .policy.as_str(), format_duration(*.tolerance)
    )]
    NoDataAt {
        /// The time that was asked for.
        at: DateTime<Utc>,
        /// Which stored points may stand for it.
        policy: Policy,
        /// How far from it they may be.
        tolerance: Duration,
    },
    /// The client reads none of the forms that there are.
    #[error("the answer can be had as {}, and `Accept` names neither", FORMS.join(" or "))]
    NotAcceptable,
    /// Nothing is served at this path.
    #[error("nothing is served at this path; courses are at `/v1/courses`, without a slash at the end")]
    UnknownPath,
    /// The path is served, but not by this method.
    #[error("only {READ_ONLY_METHODS} are served here")]
    WrongMethod,
    /// The request carries a longer body than is read to its end.
    #[error("requests need no body here, and one this long is not read")]
    LongBody,
    /// The request's body broke off or is not framed as HTTP frames it.
    #[error("the body of the request cannot be read to its end")]
    BrokenBody,
    /// The request's body did not come in time.
    #[error("the body of the request did not come in time")]
    SlowBody,
    /// The handler panicked.
    #[error("the request met a defect of this service, which is in its log now")]
    Internal,
}

/// In which way a request asks for what cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A parameter that does not exist, or a value that it cannot have.
    InvalidParameter,
    /// A currency that no enabled source has.
    UnknownDirection,
    /// Currencies that are known, and no path between them.
    UnsupportedDirection,
    /// A source that is not enabled.
    UnknownExchanger,
}

impl From<HistoryError> for ApiError {
    fn from(error: HistoryError) -> Self {
        match error {
            // What the database said may name hosts and users: it is for the log of storage. A range is never without
            // data, only empty.
            HistoryError::Unavailable(_) | HistoryError::NoDataAt => Self::HistoryUnavailable,
            HistoryError::Busy => Self::HistoryBusy,
        }
    }
}

/// One row of the table of errors.
struct Row {
    status: StatusCode,
    reason: &'static str,
    title: &'static str,
    /// Seconds after which asking again may help; `None` where the same request never will.
    retry_after: Option<u16>,
}

/// A moment passes quickly: exchanges quote several times a second.
const RETRY_SOON: Option<u16> = Some(1);

/// A connection takes some seconds to come back, and a crowd that asks each second does not help it.
const RETRY_LATER: Option<u16> = Some(5);

impl ApiError {
    fn row(&self) -> Row {
        #[rustfmt::skip]
        let (status, reason, title, retry_after) = match self {
            Self::Refused { fault, .. } => {
                let (reason, title) = match fault {
                    Fault::InvalidParameter     => ("invalid_parameter", "A parameter is not valid"),
                    Fault::UnknownDirection     => ("unknown_direction", "No source has this currency"),
                    Fault::UnsupportedDirection => ("unsupported_direction", "No path leads through this direction"),
                    Fault::UnknownExchanger     => ("unknown_exchanger", "No such source is enabled"),
                };
                (StatusCode::UNPROCESSABLE_ENTITY, reason, title, None)
            }
            Self::Starting(_) => (StatusCode::SERVICE_UNAVAILABLE, "starting", "No data yet", RETRY_SOON),
            Self::Stale(_)    => (StatusCode::SERVICE_UNAVAILABLE, "stale", "Nothing is fresh", RETRY_SOON),
            Self::Down(_)     => (StatusCode::SERVICE_UNAVAILABLE, "down", "No exchange can be reached", RETRY_LATER),
            Self::TooOld(_)   => (StatusCode::SERVICE_UNAVAILABLE, "too_old_for_request", "Nothing is as young as was asked", RETRY_SOON),
            Self::Stalled     => (StatusCode::SERVICE_UNAVAILABLE, "ratebook_stalled", "The service is not at work", RETRY_SOON),
            Self::HistoryUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "history_unavailable", "The database does not answer", RETRY_LATER),
            Self::HistoryBusy        => (StatusCode::SERVICE_UNAVAILABLE, "history_busy", "Too many questions are waiting", RETRY_SOON),
            Self::HistoryDisabled    => (StatusCode::SERVICE_UNAVAILABLE, "history_disabled", "Nothing is stored here", None),
            Self::NoDataAt { .. }    => (StatusCode::NOT_FOUND, "no_data_at", "Nothing is stored within the tolerance of that time", None),
            Self::NotAcceptable      => (StatusCode::NOT_ACCEPTABLE, "not_acceptable", "No such form of the answer", None),
            Self::UnknownPath => (StatusCode::NOT_FOUND, "not_found", "Nothing is here", None),
            Self::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This method is not served here", None),
            Self::LongBody    => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_long", "The body is too long", None),
            Self::BrokenBody  => (StatusCode::BAD_REQUEST, "bad_body", "The body cannot be read", None),
            Self::SlowBody    => (StatusCode::REQUEST_TIMEOUT, "slow_body", "The body came too slowly", None),
            Self::Internal    => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "A defect of this service", None),
        };
        Row { status, reason, title, retry_after }
    }

    fn problem(&self, row: &Row) -> Problem<'_> {
        let mut problem = Problem {
            r#type: format!("urn:ratebook:problem:{}", row.reason),
            title: row.title,
            status: row.status.as_u16(),
            detail: self.to_string(),
            reason: row.reason,
            parameter: None,
            allowed: None,
            exchanges: None,
            age_ms: None,
        };
        match self {
            Self::Refused { parameter, allowed, .. } => {
                problem.parameter = Some(parameter);
                problem.allowed = Some(allowed.iter().map(String::as_str).collect());
            }
            Self::NotAcceptable => problem.allowed = Some(FORMS.to_vec()),
            Self::Starting(judgements) | Self::Stale(judgements) | Self::Down(judgements) => {
                problem.exchanges = Some(judgements.iter().map(Verdict::from).collect());
            }
            Self::TooOld(age) => problem.age_ms = Some(age_ms(*age)),
            _ => {}
        }
        problem
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.row().status
    }

    fn error_response(&self) -> HttpResponse {
        let row = self.row();
        let mut response = HttpResponse::build(row.status);
        response.insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-store")));
        response.insert_header((header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF));
        if let Some(seconds) = row.retry_after {
            response.insert_header((header::RETRY_AFTER, HeaderValue::from(seconds)));
        }
        if matches!(self, Self::WrongMethod) {
            response.insert_header((header::ALLOW, HeaderValue::from_static(READ_ONLY_METHODS)));
        }
        if matches!(self, Self::LongBody | Self::BrokenBody | Self::SlowBody) {
            // What is left of the body would be read as the next request.
            response.force_close();
        }
        // A problem is made of texts and numbers, which always serialise; an empty body would still be honest.
        let body = serde_json::to_vec(&self.problem(&row)).unwrap_or_default();
        response.content_type(HeaderValue::from_static("application/problem+json")).body(body)
    }
}

/// The body of an error.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exchanges: Option<Vec<Verdict<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_ms: Option<u64>,
}

/// Why one exchange could not answer.
#[derive(Serialize)]
struct Verdict<'a> {
    name: &'static str,
    status: &'static str,
    reason: &'a str,
    age_ms: Option<u64>,
    missing: Vec<String>,
}

impl<'a> From<&'a Judgement> for Verdict<'a> {
    fn from(judgement: &'a Judgement) -> Self {
        Self {
            name: judgement.name.as_str(),
            status: judgement.status.as_str(),
            reason: &judgement.reason,
            age_ms: judgement.age.map(age_ms),
            missing: judgement.missing.iter().map(ToString::to_string).collect(),
        }
    }
}
