//! `GET /v1/courses` and `GET /v1/courses/{direction}`: courses from one exchange, the current ones or, with `at`,
//! those of a past time. Only the latter ask storage.
//!
//! The body is written by hand: it is the one on the hot path, its shape never changes, and a decimal goes out
//! digit by digit, without floating point.

use std::rc::Rc;
use std::time::Duration;

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use crate::clock;
use crate::history::PastAnswer;
use crate::http::answers::Answers;
use crate::http::error::ApiError;
use crate::http::query::{PastTime, Question, written};
use crate::http::{BOOK_TIMEOUT, Shared, age_ms, ask_storage};
use crate::market::{Moment, number};
use crate::metrics::WorkerMetrics;
use crate::rate_book::{Answer, ReferenceLeg};

const RATEBOOK_AGE_MS: HeaderName = HeaderName::from_static("ratebook-age-ms");
const RATEBOOK_AS_OF: HeaderName = HeaderName::from_static("ratebook-as-of");
const RATEBOOK_LEGS: HeaderName = HeaderName::from_static("ratebook-legs");
const RATEBOOK_MISSING: HeaderName = HeaderName::from_static("ratebook-missing");
const RATEBOOK_SEQUENCE: HeaderName = HeaderName::from_static("ratebook-sequence");

/// `GET /v1/courses`.
pub(in crate::http) async fn all(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, ApiError> {
    let read = || Question::of_all(request.query_string(), &shared.offer, clock::now().wall);
    courses(&request, &shared, read).await
}

/// `GET /v1/courses/{direction}`.
pub(in crate::http) async fn one(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, ApiError> {
    let read = || {
        let direction = request.match_info().query("direction");
        Question::of_one(direction, request.query_string(), &shared.offer, clock::now().wall)
    };
    courses(&request, &shared, read).await
}

async fn courses(
    request: &HttpRequest,
    shared: &Shared,
    read: impl FnOnce() -> Result<Question, ApiError>,
) -> Result<HttpResponse, ApiError> {
    fail::fail_point!("http::courses");
    let asked_at = clock::now();
    let answers = request.app_data::<Answers>();
    let text = request.uri().path_and_query().map_or("", |text| text.as_str());
    if let Some(kept) = answers.and_then(|answers| answers.get(text, asked_at)) {
        count(request, true);
        return Ok(current(request.headers(), &kept.rendered, asked_at));
    }
    let question = read()?;
    if let Some(past) = question.past {
        return past_courses(request, shared, &question, past).await;
    }
    count(request, false);
    let reply = shared.courses.send(question.message.clone()).timeout(BOOK_TIMEOUT).await;
    match reply {
        Ok(Ok(answer)) => {
            let rendered = Rendered::new(answer);
            let response = current(request.headers(), &rendered, rendered.at());
            // How young is young enough depends on the client, and is judged by the book.
            if let Some(answers) = answers.filter(|_| question.message.max_age.is_none()) {
                answers.keep(text, rendered);
            }
            Ok(response)
        }
        Ok(Err(error)) => Err(question.refusal(error, &shared.offer)),
        Err(_) => Err(ApiError::Stalled),
    }
}

fn count(request: &HttpRequest, is_kept: bool) {
    if let Some(worker) = request.app_data::<Rc<WorkerMetrics>>() {
        worker.count_question(is_kept);
    }
}

async fn past_courses(
    request: &HttpRequest,
    shared: &Shared,
    question: &Question,
    past: PastTime,
) -> Result<HttpResponse, ApiError> {
    let ports = shared.history()?;
    let reply = ask_storage(&ports.past_courses, past.question(question.message.clone())).await;
    match reply {
        Ok(PastAnswer { answer, as_of }) => {
            let rendered = Rendered::new(answer);
            let mut response = response(request.headers(), &rendered, Duration::ZERO, []);
            let as_of = HeaderValue::try_from(written(as_of)).map_err(|_| ApiError::Internal)?;
            response.headers_mut().insert(RATEBOOK_AS_OF, as_of);
            Ok(response)
        }
        Err(error) => Err(past.refusal(error)),
    }
}

/// An answer with its body, which is the same for whoever asks.
pub(in crate::http) struct Rendered {
    answer: Answer,
    body: Bytes,
    etag: String,
}

impl Rendered {
    pub(in crate::http) fn new(answer: Answer) -> Self {
        let body = body(&answer);
        let etag = etag(body.as_bytes());
        Self { answer, body: body.into(), etag }
    }

    /// When it was computed.
    pub(in crate::http) fn at(&self) -> Moment {
        self.answer.at
    }

    /// The state of the book that it was computed from.
    pub(in crate::http) fn version(&self) -> u64 {
        self.answer.version
    }

    /// For how long after it was computed every leg is within its limit.
    pub(in crate::http) fn fresh_for(&self) -> Duration {
        self.answer.fresh_for
    }
}

/// Current courses as they are told at `now`, with the headers that only they have: those of the past do not grow older, and have no place in
/// the book.
fn current(asked: &HeaderMap, rendered: &Rendered, now: Moment) -> HttpResponse {
    let elapsed = now.since(rendered.answer.at);
    let age = rendered.answer.age.saturating_add(elapsed);
    let headers = [
        (header::AGE, HeaderValue::from(age.as_secs())),
        (RATEBOOK_AGE_MS, HeaderValue::from(age_ms(age))),
        (RATEBOOK_SEQUENCE, HeaderValue::from(rendered.answer.sequence)),
    ];
    response(asked, rendered, elapsed, headers)
}

/// The answer, `elapsed` after it was computed.
fn response(
    asked: &HeaderMap,
    rendered: &Rendered,
    elapsed: Duration,
    headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
) -> HttpResponse {
    let Rendered { answer, body, etag } = rendered;
    let is_known = is_known_to_client(asked, etag);
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-cache")));
    headers.into_iter().for_each(|pair| {
        response.insert_header(pair);
    });
    response.insert_header((header::ETAG, etag.as_str()));
    if !answer.legs.is_empty() {
        response.insert_header((RATEBOOK_LEGS, legs(&answer.legs, elapsed)));
    }
    if !answer.missing.is_empty() {
        response.insert_header((RATEBOOK_MISSING, joined(answer.missing.iter())));
    }
    if is_known {
        return response.finish();
    }
    response.content_type(HeaderValue::from_static("application/json")).body(body.clone())
}

/// The body. Names and directions are letters, digits and hyphens, so nothing in it needs to be escaped.
fn body(answer: &Answer) -> String {
    // A course takes 27 characters of frame, at most 31 of direction and mostly less than 20 of value.
    let mut body = String::with_capacity(64 + 80 * answer.courses.len());
    body.push_str(r#"{"exchanger":""#);
    body.push_str(answer.exchanger.as_str());
    body.push_str(r#"","courses":["#);
    for (at, course) in answer.courses.iter().enumerate() {
        body.push_str(if at == 0 { r#"{"direction":""# } else { r#",{"direction":""# });
        body.push_str(course.direction.base.as_str());
        body.push('-');
        body.push_str(course.direction.counter.as_str());
        body.push_str(r#"","value":"#);
        body.push_str(&number::plain(course.value));
        body.push('}');
    }
    body.push_str("]}");
    body
}

/// A strong validator: two bodies with the same one are the same byte for byte.
fn etag(body: &[u8]) -> String {
    format!("\"{:032x}\"", xxh3_128(body))
}

/// Whether the client says that it already has the body that `etag` stands for. The comparison is weak, as RFC 9110
/// wants it for `If-None-Match`.
fn is_known_to_client(asked: &HeaderMap, etag: &str) -> bool {
    let lines = asked.get_all(header::IF_NONE_MATCH).filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == etag)
}

/// Reference legs as `Ratebook-Legs` writes them: `USDT-USD=kraken;age_ms=310;held=0`.
fn legs(legs: &[ReferenceLeg], elapsed: Duration) -> String {
    let mut text = String::with_capacity(48 * legs.len());
    for (at, leg) in legs.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let source = leg.source.map_or("peg", |name| name.as_str());
        let age = age_ms(leg.age.saturating_add(elapsed));
        text.push_str(&format!("{comma}{}={source};age_ms={age};held={}", leg.direction, u8::from(leg.held)));
    }
    text
}

fn joined(items: impl Iterator<Item = impl ToString>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}
