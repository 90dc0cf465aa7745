//! What arrives as bytes that no proper client sends: the server answers with a status that says so, or closes,
//! and serves the next one.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::check_problem;
use super::fake_book::Courses;
use super::server::{Connection, PATIENCE, TestServer, answer};

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
    let headers: String = (0..120).map(|number| format!("X-{number}: y\r\n")).collect();
    let long_value = format!("X-Long: {}\r\n", "y".repeat(200_000));
    let long_path = format!("/v1/courses?directions={}", "BTC-USD,".repeat(12_500));
    for (what, path, headers, status) in [
        ("120 headers", "/v1/courses", headers.as_str(), 431),
        ("a header of 200 KB", "/v1/courses", long_value.as_str(), 431),
        ("a URL of 100 KB", long_path.as_str(), "", 400),
    ] {
        let mut connection = server.connect().await;
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        connection.write(head.as_bytes()).await;
        assert_eq!(connection.read(false).await.expect(what).status, status, "{what}");
        assert_closes(&mut connection).await;
    }
    let many: String = (0..1000).map(|number| format!("A{number}X-USD,")).collect();
    check_problem(&server.get(&format!("/v1/courses?directions={many}")).await, 422, "invalid_parameter");
}

#[actix_web::test]
async fn requests_whose_end_is_ambiguous_are_refused_and_the_connection_is_closed() {
    let server = TestServer::with_courses(Courses::Are(answer()));
    let cases: &[(&str, &str)] = &[
        ("length and chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("chunks and length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
        ("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        ("a list of lengths", "Content-Length: 5, 6\r\n\r\nhello!"),
        ("a signed length", "Content-Length: +5\r\n\r\nhello"),
        ("a negative length", "Content-Length: -5\r\n\r\nhello"),
        ("a folded header", "X-Folded: a\r\n b\r\n\r\n"),
        ("a space before the colon", "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        ("an unknown encoding", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("a bad chunk", "Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"),
        ("a chunk without its end", "Transfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n"),
        ("NUL in a header", "X-Nul: a\0b\r\n\r\n"),
    ];
    for method in ["GET", "POST"] {
        for (what, rest) in cases {
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
    let long = "A".repeat(300);
    let mut values: Vec<String> = [
        "%",
        "%2",
        "%zz",
        "%%",
        "%00",
        "%0d%0a",
        "%0D%0ASet-Cookie:a=b",
        "%ff",
        "%c3%28",
        "%e2%82",
        "%f0%9f%92%a9",
        "%ed%a0%80",
        "+",
        "+BTC-USD",
        "BTC+USD",
        "BTC--USD",
        "-",
        "--",
        "BTC-",
        "-USD",
        ",",
        ",,",
        "BTC-USD,,ETH-RUB",
        "BTC-USD;ETH-RUB",
        "BTC/USD",
        "BTC_USD",
        "BTC.USD",
        "BTC:USD",
        "'",
        "\"",
        "'%20OR%201=1--",
        "<img%20src=x>",
        "{{7*7}}",
        "${jndi:ldap://x}",
        "..",
        "../../etc/passwd",
        "%2e%2e%2f",
        "%252e",
        "\u{fffd}",
        "null",
        "undefined",
        "NaN",
        "[]",
        "{}",
        "[object%20Object]",
        "true",
        "0",
        "-0",
        "1e309",
        "-1",
        "+1",
        "99999999999999999999",
        "0x10",
        "1_000",
        "%31%",
        "BTC-USD%00",
        "BTC%2FUSD",
        "BTC%5CUSD",
        "BTC|USD",
        "BTC^USD",
        "BTC`USD",
        "\\",
        "~",
        "*",
        "?",
        "=",
        "==",
        "BTC=USD",
        "BTC-USD=",
        "é",
        "Ｂ-ＵＳＤ",
        "B\u{200b}TC-USD",
        "BTC\u{2010}USD",
    ]
    .map(str::to_owned)
    .to_vec();
    values.extend([long.clone(), format!("{long}-USD"), format!("BTC-{long}"), format!("{long}-{long}")]);
    let mut count = 0;
    for value in &values {
        for name in ["directions", "exchanger", "token", "currency", "max_age_ms", "%00"] {
            // `0` alone is an age.
            let is_good = name == "max_age_ms" && value == "0";
            if !is_good {
                refuses(&server, &format!("/v1/courses?{name}={value}")).await;
                count += 1;
            }
        }
        refuses(&server, &format!("/v1/courses?{value}")).await;
        refuses(&server, &format!("/v1/courses/{value}")).await;
        count += 2;
    }
    assert!(count >= 500 && server.asked().is_empty(), "{count} {:?}", server.asked());
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
    for headers_and_body in [
        "Content-Length: 0\r\n\r\n".to_owned(),
        "Content-Length: 5\r\n\r\nhello".to_owned(),
        "Content-Type: text/nonsense\r\nContent-Length: 2\r\n\r\n{]".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_owned(),
        format!("Content-Length: 8192\r\n\r\n{}", "x".repeat(8192)),
    ] {
        // The connection goes on to serve, in step: the body is never read as a request.
        let mut connection = server.connect().await;
        for _ in 0..2 {
            let request = format!("GET /v1/courses HTTP/1.1\r\nHost: x\r\n{headers_and_body}");
            connection.write(request.as_bytes()).await;
            assert_eq!(connection.read(false).await.expect("an answer").status, 200, "{headers_and_body}");
        }
    }
    let megabyte = "x".repeat(1 << 20);
    for headers_and_body in [
        format!("Content-Length: {}\r\n\r\n{megabyte}", megabyte.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{megabyte}\r\n0\r\n\r\n", megabyte.len()),
        "Content-Length: 8193\r\n\r\n".to_owned(),
        "Content-Length: 99999999999\r\n\r\n".to_owned(),
    ] {
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
