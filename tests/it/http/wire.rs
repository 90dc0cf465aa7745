//! What arrives as bytes that no proper client sends: the server answers with a status that says so, or closes,
//! and serves the next one.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::check_problem;
use super::fake_book::Courses;
use super::server::{Connection, PATIENCE, TestServer, answer};
use crate::support::bad_requests::{BadRequests, large_heads, long_bodies, small_bodies};

const GET: &[u8] = b"GET /v1/courses HTTP/1.1\r\nHost: x\r\n\r\n";

#[actix_web::test]
async fn slow_heads_are_answered_408_and_closed() {
    let server = TestServer::with_courses(Courses::Are(answer()));
    let started_at = Instant::now();
    let mut connections = Vec::new();
    for head in [&b""[..], b"G", b"GET /v1/courses HTTP/1.1\r\nHost: x\r\n"] {
        for _ in 0..20 {
            let mut connection = server.connect().await;
            connection.write(head).await;
            connections.push(connection);
        }
    }
    assert_eq!(server.get("/v1/courses").await.status, 200);
    for mut connection in connections {
        let reply = connection.read(false).await.expect("a 408");
        assert_eq!((reply.status, reply.body.as_str()), (408, ""));
        assert_closes(&mut connection).await;
    }
    assert!(started_at.elapsed() < Duration::from_secs(6), "{:?}", started_at.elapsed());
}

#[actix_web::test]
async fn heads_that_are_too_large_are_refused() {
    let server = TestServer::with_courses(Courses::Are(answer()));
    for (what, request, status) in large_heads() {
        let mut connection = server.connect().await;
        connection.write(request.as_bytes()).await;
        assert_eq!(connection.read(false).await.expect(what).status, status, "{what}");
        assert_closes(&mut connection).await;
    }
    let many: String = (0..1000).map(|number| format!("A{number}X-USD,")).collect();
    check_problem(&server.get(&format!("/v1/courses?directions={many}")).await, 422, "invalid_parameter");
}

#[actix_web::test]
async fn requests_whose_end_is_ambiguous_are_refused_and_the_connection_is_closed() {
    let server = TestServer::with_courses(Courses::Are(answer()));
    for method in ["GET", "POST"] {
        for (what, rest) in &BadRequests::read().ambiguous {
            let mut connection = server.connect().await;
            // A second request follows: it must never be answered.
            let bytes = format!(
                "{method} /v1/courses HTTP/1.1\r\nHost: x\r\n{rest}GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
            );
            connection.write(bytes.as_bytes()).await;
            let reply = connection.read(false).await.expect(what);
            assert_eq!(reply.status, 400, "{method} with {what}");
            assert_eq!(reply.header("connection").as_deref(), Some("close"), "{method} with {what}");
            while let Some(reply) = connection.read(false).await {
                assert_eq!(reply.status, 400, "{method} with {what}");
            }
        }
    }
    assert!(server.asked().is_empty());
    assert_eq!(server.get("/v1/courses").await.status, 200);
}

#[actix_web::test]
async fn bad_queries_and_paths_are_refused_and_never_break_anything() {
    let server = TestServer::with_courses(Courses::Are(answer()));
    let paths = BadRequests::read().paths();
    for path in &paths {
        refuses(&server, path).await;
    }
    assert!(paths.len() >= 500 && server.asked().is_empty(), "{} {:?}", paths.len(), server.asked());
    assert_eq!(server.get("/v1/courses").await.status, 200);
}

/// Checks that a path is refused by our own error or by the HTTP parser, without its text in any header.
async fn refuses(server: &TestServer, path: &str) {
    let reply = server.get(path).await;
    match reply.status {
        400 => assert_eq!(reply.body, "", "{path}"),
        404 => check_problem(&reply, 404, "not_found"),
        422 => {
            let reason = reply.json()["reason"].as_str().unwrap().to_owned();
            assert!(
                ["invalid_parameter", "unknown_exchanger"].contains(&reason.as_str()),
                "{path}: {reason}"
            );
            assert!(reply.body.len() < 2000 && !reply.body.contains(['\0', '\r', '\n']), "{path}: {reply:?}");
        }
        status => panic!("{path}: {status}"),
    }
    assert_eq!(reply.header("set-cookie"), None, "{path}");
}

#[actix_web::test]
async fn a_small_body_is_thrown_away_and_a_long_one_is_a_413() {
    let server = TestServer::with_courses(Courses::Are(answer()));
    for headers_and_body in small_bodies() {
        // The connection goes on to serve, in step: the body is never read as a request.
        let mut connection = server.connect().await;
        for _ in 0..2 {
            let request = format!("GET /v1/courses HTTP/1.1\r\nHost: x\r\n{headers_and_body}");
            connection.write(request.as_bytes()).await;
            assert_eq!(connection.read(false).await.expect("an answer").status, 200, "{headers_and_body}");
        }
    }
    for headers_and_body in long_bodies() {
        for method in ["GET", "POST"] {
            let mut connection = server.connect().await;
            let request = format!("{method} /v1/courses HTTP/1.1\r\nHost: x\r\n{headers_and_body}");
            // The server may close before all of it is written.
            let (mut reader, mut writer) = connection.stream.split();
            let mut start = [0; 16];
            let writing = async {
                // Refused bytes are what is wanted here.
                drop(writer.write_all(request.as_bytes()).await);
            };
            let ((), read) = tokio::join!(writing, timeout(PATIENCE, reader.read_exact(&mut start)));
            read.expect("an answer in time").unwrap();
            assert!(start.starts_with(b"HTTP/1.1 413 "), "{method} {:?}", String::from_utf8_lossy(&start));
        }
    }
    assert_eq!(server.get("/v1/courses").await.status, 200);
}

#[actix_web::test]
async fn a_body_that_does_not_come_is_a_408() {
    let server = TestServer::with_courses(Courses::Are(answer()));
    let started_at = Instant::now();
    let mut connection = server.connect().await;
    connection.write(b"GET /v1/courses HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx").await;
    check_problem(&connection.read(false).await.expect("an answer"), 408, "slow_body");
    assert!(started_at.elapsed() < Duration::from_secs(6), "{:?}", started_at.elapsed());
    assert_closes(&mut connection).await;
}

#[actix_web::test]
async fn a_thousand_pipelined_requests_are_answered_in_order() {
    let server = TestServer::with_courses(Courses::Are(answer()));
    let mut connection = server.connect().await;
    let paths = ["/v1/courses", "/v1/courses?x=1", "/health/live", "/nothing"];
    let statuses = [200, 422, 200, 404];
    let requests: String = paths
        .iter()
        .cycle()
        .take(1000)
        .map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .collect();
    connection.write(requests.as_bytes()).await;
    for (at, status) in statuses.iter().cycle().take(1000).enumerate() {
        assert_eq!(connection.read(false).await.expect("an answer").status, *status, "request {at}");
    }
    connection.write(GET).await;
    assert_eq!(connection.read(false).await.expect("one more").status, 200);
}

#[actix_web::test]
async fn a_client_that_leaves_before_its_answer_harms_nobody() {
    let server = TestServer::with_courses(Courses::Stuck);
    for _ in 0..50 {
        let mut connection = server.connect().await;
        connection.write(GET).await;
        drop(connection);
    }
    assert_eq!(server.get("/health/live").await.status, 200);
}

#[actix_web::test]
async fn a_client_that_closes_its_side_is_not_waited_for() {
    let server = TestServer::with_courses(Courses::Stuck);
    let started_at = Instant::now();
    let mut connection = server.connect().await;
    connection.write(GET).await;
    connection.stream.shutdown().await.unwrap();
    assert_closes(&mut connection).await;
    assert!(started_at.elapsed() < Duration::from_millis(800), "{:?}", started_at.elapsed());
}

#[actix_web::test]
async fn a_body_without_end_is_not_read_for_ever() {
    let server = TestServer::with_courses(Courses::Are(answer()));
    let mut connection = server.connect().await;
    connection.write(b"POST /v1/courses HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
    let endless = async { while connection.stream.write_all(chunk.as_bytes()).await.is_ok() {} };
    timeout(PATIENCE, endless).await.expect("the server closes the connection");
}

async fn assert_closes(connection: &mut Connection) {
    assert!(connection.read(false).await.is_none(), "the server keeps the connection open");
}
