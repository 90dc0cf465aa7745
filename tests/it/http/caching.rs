//! The same question on one connection, again and again: when the book is asked, and when it need not be.

use std::time::Duration;

use ratebook::rate_book::Answer;
use tokio::time::Instant;

use super::fake_book::Courses;
use super::server::{Connection, PATIENCE, Reply, TestServer, answer};

/// A server whose answers stay fresh for this long.
fn server(fresh_for: Duration) -> TestServer {
    TestServer::with_courses(Courses::Are(Answer { fresh_for, ..answer() }))
}

async fn ask(connection: &mut Connection, path: &str) -> Reply {
    connection.write(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
    connection.read(false).await.expect("an answer")
}

/// Asks until an answer came without the book; it is the same as the one before, and not younger.
async fn ask_until_kept(server: &TestServer, connection: &mut Connection, path: &str) {
    let deadline = Instant::now() + PATIENCE;
    let age = |reply: &Reply| reply.header("ratebook-age-ms").unwrap().parse::<u64>().unwrap();
    let mut last = ask(connection, path).await;
    loop {
        let before = server.asked().len();
        let reply = ask(connection, path).await;
        assert_eq!((reply.status, &reply.body), (200, &last.body));
        for name in ["etag", "ratebook-sequence", "ratebook-missing", "cache-control", "content-type"] {
            assert_eq!(reply.header(name), last.header(name), "{name}");
        }
        if server.asked().len() == before {
            assert!(age(&reply) >= age(&last), "{reply:?} after {last:?}");
            return;
        }
        assert!(Instant::now() < deadline, "the book is asked every time");
        last = reply;
    }
}

#[actix_web::test]
async fn the_same_question_is_answered_without_the_book_until_the_book_changes() {
    let server = server(Duration::from_secs(5));
    let mut connection = server.connect().await;
    for version in 1..=3 {
        ask_until_kept(&server, &mut connection, "/v1/courses").await;
        ask_until_kept(&server, &mut connection, "/v1/courses/BTC-USD").await;
        // The book is in another state, so what is kept no longer counts.
        server.version.set(version);
        let before = server.asked().len();
        ask(&mut connection, "/v1/courses").await;
        assert_eq!(server.asked().len(), before + 1);
        server.version.set(0);
    }
}

#[actix_web::test]
async fn a_kept_answer_knows_what_the_client_has() {
    let server = server(Duration::from_secs(5));
    let mut connection = server.connect().await;
    ask_until_kept(&server, &mut connection, "/v1/courses").await;
    let etag = ask(&mut connection, "/v1/courses").await.header("etag").unwrap();
    for _ in 0..20 {
        let request = format!("GET /v1/courses HTTP/1.1\r\nHost: x\r\nIf-None-Match: {etag}\r\n\r\n");
        connection.write(request.as_bytes()).await;
        let reply = connection.read(false).await.unwrap();
        assert_eq!((reply.status, reply.body.as_str()), (304, ""));
    }
}

#[actix_web::test]
async fn an_answer_that_goes_stale_at_once_or_is_asked_for_by_age_is_never_kept() {
    for (fresh_for, path) in
        [(Duration::ZERO, "/v1/courses"), (Duration::from_secs(5), "/v1/courses?max_age_ms=5000")]
    {
        let server = server(fresh_for);
        let mut connection = server.connect().await;
        for number in 1..=50 {
            assert_eq!(ask(&mut connection, path).await.status, 200);
            assert_eq!(server.asked().len(), number, "{path}");
        }
    }
}
