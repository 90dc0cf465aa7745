//! `GET /v1/courses` and `GET /v1/courses/{direction}`: courses from one exchange, the current ones or, with `at`,
//! those of a past time. Only the latter ask storage.
//!
//! The body is written by hand: it is the one on the hot path, its shape never changes, and a decimal goes out
//! digit by digit, without floating point.

use std::fmt;

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use xxhash_rust::xxh3::xxh3_128;

use crate::clock;
use crate::history::PastAnswer;
use crate::http::error::ApiError;
use crate::http::query::{PastTime, Question, written};
use crate::http::{BOOK_TIMEOUT, Shared, age_ms, ask_storage};
use crate::market::number;
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
    let question = Question::of_all(request.query_string(), &shared.offer, clock::now().wall)?;
    courses(&request, &shared, question).await
}

/// `GET /v1/courses/{direction}`.
pub(in crate::http) async fn one(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, ApiError> {
    let direction = request.match_info().query("direction");
    let question = Question::of_one(direction, request.query_string(), &shared.offer, clock::now().wall)?;
    courses(&request, &shared, question).await
}

async fn courses(
    request: &HttpRequest,
    shared: &Shared,
    question: Question,
) -> Result<HttpResponse, ApiError> {
    fail::fail_point!("http::courses");
    if let Some(past) = question.past {
        return past_courses(request, shared, &question, past).await;
    }
    let reply = shared.courses.send(question.message.clone()).timeout(BOOK_TIMEOUT).await;
    match reply {
        Ok(Ok(answer)) => Ok(response(request.headers(), &answer, current(&answer))),
        Ok(Err(error)) => Err(question.refusal(error, &shared.offer)),
        Err(_) => Err(ApiError::Stalled),
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
            let mut response = response(request.headers(), &answer, []);
            let as_of = HeaderValue::try_from(written(as_of)).map_err(|_| ApiError::Internal)?;
            response.headers_mut().insert(RATEBOOK_AS_OF, as_of);
            Ok(response)
        }
        Err(error) => Err(past.refusal(error)),
    }
}

/// The headers that only current courses have: those of the past do not grow older, and have no place in the book.
fn current(answer: &Answer) -> [(HeaderName, HeaderValue); 3] {
    [
        (header::AGE, HeaderValue::from(answer.age.as_secs())),
        (RATEBOOK_AGE_MS, HeaderValue::from(age_ms(answer.age))),
        (RATEBOOK_SEQUENCE, HeaderValue::from(answer.sequence)),
    ]
}

fn response(
    asked: &HeaderMap,
    answer: &Answer,
    headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
) -> HttpResponse {
    let body = body(answer);
    let etag = etag(body.as_bytes());
    let is_known = is_known_to_client(asked, &etag);
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-cache")));
    headers.into_iter().for_each(|pair| {
        response.insert_header(pair);
    });
    response.insert_header((header::ETAG, etag));
    if !answer.legs.is_empty() {
        response.insert_header((RATEBOOK_LEGS, joined(answer.legs.iter().map(Leg))));
    }
    if !answer.missing.is_empty() {
        response.insert_header((RATEBOOK_MISSING, joined(answer.missing.iter())));
    }
    if is_known {
        return response.finish();
    }
    response.content_type(HeaderValue::from_static("application/json")).body(body)
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

/// A reference leg as `Ratebook-Legs` writes it: `USDT-USD=kraken;age_ms=310;held=0`.
struct Leg<'a>(&'a ReferenceLeg);

impl fmt::Display for Leg<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(leg) = self;
        let source = leg.source.map_or("peg", |name| name.as_str());
        write!(f, "{}={source};age_ms={};held={}", leg.direction, age_ms(leg.age), u8::from(leg.held))
    }
}

fn joined(items: impl Iterator<Item = impl ToString>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}
