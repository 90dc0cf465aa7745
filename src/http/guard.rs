//! What every request passes on its way in and out, whichever route it takes.
//!
//! A panic in a handler becomes an answer, because actix would drop the connection without a word. A body is read
//! to its end and thrown away before the handler runs: no route needs one, and one that is left in the connection
//! is what request smuggling is made of.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, ResponseError, web};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use log::Level;
use tokio::time::{Instant, timeout};

use super::error::ApiError;
use super::{NO_SNIFF, REQUEST_TIMEOUT, Shared, metrics};
use crate::metrics::WorkerMetrics;

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
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut body = request.take_payload();
    if let Some(announced) = announced_body(request.headers())
        && let Err(error) = discard(&mut body, announced).await
    {
        let refusal = error.error_response().map_body(|_, problem| Unread { problem, _rest: body }.boxed());
        return Ok(request.into_response(refusal));
    }
    let worker = request.app_data::<Rc<WorkerMetrics>>().cloned();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let started_at = Instant::now();

    // Nothing is shared with a handler that a panic could leave half changed: it reads, and asks by message.
    let outcome = AssertUnwindSafe(async { next.call(request).await }).catch_unwind().await;
    let outcome: Result<ServiceResponse<_>, Error> = outcome.unwrap_or_else(|panic| {
        let message = panic_message(&*panic);
        log::error!("the handler of `{method} {}` panicked: {message}", shown(uri.path()));
        Err(ApiError::Internal.into())
    });

    let (took, status) = (started_at.elapsed(), status_of(&outcome));
    if log::log_enabled!(Level::Debug) {
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        log::debug!("{method} {} {status} in {took:?}", shown(path));
    }
    if let Some(worker) = worker {
        worker.count_request(metrics::route(uri.path()), status, took);
    }
    let mut response = outcome?;
    let (request, head) = (response.request().clone(), response.response_mut().head_mut());
    head.headers.insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    if let Some(shared) = request.app_data::<web::Data<Shared>>()
        && !shared.cors.is_off()
    {
        shared.cors.apply(request.method(), request.headers().get(header::ORIGIN), &mut head.headers);
    }
    Ok(response.map_into_boxed_body())
}

fn status_of<B>(outcome: &Result<ServiceResponse<B>, Error>) -> u16 {
    let status = match outcome {
        Ok(response) => response.status(),
        Err(error) => error.as_response_error().status_code(),
    };
    status.as_u16()
}

/// Reads a body to its end and forgets it.
async fn discard(body: &mut Payload, announced: usize) -> Result<(), ApiError> {
    if announced > MAX_BODY {
        return Err(ApiError::LongBody);
    }
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

/// An error that holds what is left of the request's body until it is sent. actix closes a connection whose body is
/// still held at the end of the answer; one that was dropped it goes on to read, for ever if chunks never end.
struct Unread {
    problem: BoxBody,
    _rest: Payload,
}

impl MessageBody for Unread {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.problem.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().problem).poll_next(context)
    }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::{App, HttpResponse, HttpServer, middleware};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[actix_web::test]
    async fn a_panic_is_a_500_and_its_connection_goes_on_to_serve() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = HttpServer::new(|| {
            App::new()
                .wrap(middleware::from_fn(every_request))
                .route("/text", web::get().to(panic_with_text))
                .route("/fine", web::get().to(HttpResponse::Ok))
        });
        let server = server.workers(1).disable_signals().listen(listener).unwrap().run();
        let handle = server.handle();
        actix_web::rt::spawn(server);

        let mut connection = TcpStream::connect(address).await.unwrap();
        for _ in 0..3 {
            let reply = ask(&mut connection, "/text").await;
            assert!(reply.starts_with("HTTP/1.1 500 "), "{reply}");
            for part in ["problem+json", "no-store", "nosniff", r#""reason":"internal""#] {
                assert!(reply.contains(part), "{part} in {reply}");
            }
            assert!(!reply.contains("out of paper"), "{reply}");
        }
        assert!(ask(&mut connection, "/fine").await.starts_with("HTTP/1.1 200 "));
        handle.stop(false).await;
    }

    async fn panic_with_text() -> HttpResponse {
        panic!("out of paper")
    }

    #[test]
    fn the_message_of_a_panic_is_found_whatever_raised_it() {
        assert_eq!(panic_message(&"static"), "static");
        assert_eq!(panic_message(&"made up".to_owned()), "made up");
        assert_eq!(panic_message(&7), "no message");
    }

    /// Asks and reads one answer, which comes in one piece because it is small.
    async fn ask(connection: &mut TcpStream, path: &str) -> String {
        connection.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut bytes = vec![0; 4096];
        let read = timeout(Duration::from_secs(5), connection.read(&mut bytes));
        let length = read.await.expect("an answer in time").unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }
}
