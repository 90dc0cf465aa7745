//! What every request passes on its way in and out, whichever route it takes.
//!
//! A panic in a handler becomes an answer, because actix would drop the connection without a word. A body is read
//! to its end and thrown away before the handler runs: no route needs one, and one that is left in the connection
//! is what request smuggling is made of.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, web};
use futures_util::{FutureExt, StreamExt};
use log::Level;
use tokio::time::{Instant, timeout};

use super::error::ApiError;
use super::{NO_SNIFF, REQUEST_TIMEOUT, Shared};

/// Longest body that is read and thrown away. Clients that send one at all send a small one by habit; beyond this
/// the connection is closed instead.
const MAX_BODY: usize = 8 * 1024;

/// Longest part of a path that the log repeats.
const MAX_LOGGED: usize = 200;

/// Runs the handler of one request.
///
/// # Errors
/// An [`ApiError`], which actix turns into the answer.
pub(super) async fn every_request(
    mut request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    discard_body(&mut request).await?;
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let started_at = log::log_enabled!(Level::Debug).then(Instant::now);

    // Nothing is shared with a handler that a panic could leave half changed: it reads, and asks by message.
    let outcome = AssertUnwindSafe(async { next.call(request).await }).catch_unwind().await;
    let mut response = outcome.unwrap_or_else(|panic| {
        let message = panic_message(&*panic);
        log::error!("the handler of `{method} {}` panicked: {message}", shown(uri.path()));
        Err(ApiError::Internal.into())
    })?;

    if let Some(started_at) = started_at {
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        log::debug!("{method} {} {} in {:?}", shown(path), response.status().as_u16(), started_at.elapsed());
    }
    let (request, head) = (response.request().clone(), response.response_mut().head_mut());
    head.headers.insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    if let Some(shared) = request.app_data::<web::Data<Shared>>()
        && !shared.cors.is_off()
    {
        shared.cors.apply(request.method(), request.headers().get(header::ORIGIN), &mut head.headers);
    }
    Ok(response)
}

async fn discard_body(request: &mut ServiceRequest) -> Result<(), ApiError> {
    let Some(announced) = announced_body(request.headers()) else { return Ok(()) };
    if announced > MAX_BODY {
        return Err(ApiError::LongBody);
    }
    let mut body = request.take_payload();
    let read = async {
        let mut length = 0;
        while let Some(chunk) = body.next().await {
            length += chunk.map_err(|_| ApiError::BrokenBody)?.len();
            if length > MAX_BODY {
                return Err(ApiError::LongBody);
            }
        }
        Ok(())
    };
    timeout(REQUEST_TIMEOUT, read).await.unwrap_or(Err(ApiError::SlowBody))
}

/// The length of the body that the headers announce, 0 if they announce one of unknown length; `None` without a
/// body.
fn announced_body(headers: &HeaderMap) -> Option<usize> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Some(0);
    }
    let length = headers.get(header::CONTENT_LENGTH)?;
    let length = length.to_str().ok().and_then(|length| length.parse().ok()).unwrap_or(usize::MAX);
    (length > 0).then_some(length)
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

/// The start of a path, for the log. A path holds no control characters: the HTTP parser refuses them.
fn shown(path: &str) -> String {
    path.chars().take(MAX_LOGGED).collect()
}
