//! The HTTP contract, asked of the real server over real sockets, with a fake book and a fake storage behind it.

mod bad_questions;
mod caching;
mod fake_archive;
mod fake_book;
mod history;
mod metrics;
mod past;
mod server;
mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{TimeZone, Utc};
use fake_book::{Courses, Health};
use ratebook::market::{ExchangeName, Refusal, Transport};
use ratebook::rate_book::{
    BookHealth, CoursesError, Disagreement, ExchangeHealth, Judgement, ReferenceLeg, Status, Wanted,
};
use serde_json::json;
use server::{BINANCE, KRAKEN, Reply, TestServer, answer, healthy};
use tokio::time::Instant;

const BODY: &str = r#"{"exchanger":"binance","courses":[{"direction":"BTC-USD","value":64321.50025},{"direction":"USDTTRC-USD","value":0.00000012}]}"#;

#[actix_web::test]
async fn courses_have_exactly_the_shape_of_the_contract() {
    let server = TestServer::with_courses(Courses::Are(answer()));
    let reply = server.get("/v1/courses").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, BODY));
    for (name, expected) in [
        ("content-type", "application/json"),
        ("cache-control", "no-cache"),
        ("age", "1"),
        ("ratebook-age-ms", "1999"),
        ("ratebook-legs", "USDT-USD=kraken;age_ms=310;held=1,USD-RUB=peg;age_ms=0;held=0"),
        ("ratebook-missing", "ETH-RUB"),
        ("ratebook-sequence", "447000000000256"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(reply.header(name).as_deref(), Some(expected), "{name}");
    }
    assert_eq!(server.asked()[0].wanted, Wanted::Configured);
}

#[actix_web::test]
async fn an_answer_without_legs_and_without_gaps_says_nothing_of_them() {
    let mut plain = answer();
    (plain.legs, plain.missing) = (Vec::new(), Vec::new());
    let server = TestServer::with_courses(Courses::Are(plain));
    let reply = server.get("/v1/courses").await;
    assert_eq!((reply.header("ratebook-legs"), reply.header("ratebook-missing")), (None, None));
}

#[actix_web::test]
async fn an_ordinary_client_reads_one_course_by_its_path() {
    let server = TestServer::with_courses(Courses::Are(answer()));
    let client = awc::Client::default();
    let url = format!("http://{}/v1/courses/bTc-usd?exchanger=KRAKEN&max_age_ms=900", server.address);
    let mut reply = client.get(url).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.body().await.unwrap(), BODY);
    let asked = &server.asked()[0];
    assert_eq!(asked.wanted, Wanted::All(vec!["BTC-USD".parse().unwrap()]));
    assert_eq!((asked.exchanger, asked.max_age), (Some(KRAKEN), Some(Duration::from_millis(900))));
}

#[actix_web::test]
async fn a_known_body_is_a_304_with_the_headers_of_the_200() {
    let server = TestServer::with_courses(Courses::Are(answer()));
    let full = server.get("/v1/courses").await;
    let etag = full.header("etag").unwrap();
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() == 34, "{etag}");
    for known in [etag.clone(), format!("W/{etag}"), format!("\"other\" , {etag}"), "*".to_owned()] {
        for method in ["GET", "HEAD"] {
            let reply = server.ask(method, "/v1/courses", &format!("If-None-Match: {known}\r\n")).await;
            assert_eq!((reply.status, reply.body.as_str()), (304, ""), "{known}");
            for name in [
                "etag",
                "cache-control",
                "age",
                "ratebook-age-ms",
                "ratebook-legs",
                "ratebook-missing",
                "ratebook-sequence",
            ] {
                assert_eq!(reply.header(name), full.header(name), "{name}");
            }
        }
    }
    let two_lines = format!("If-None-Match: \"other\"\r\nIf-None-Match: {etag}\r\n");
    assert_eq!(server.ask("GET", "/v1/courses", &two_lines).await.status, 304);
    for unknown in ["\"other\"".to_owned(), etag.replace('"', ""), etag.to_uppercase(), String::new()] {
        let reply = server.ask("GET", "/v1/courses", &format!("If-None-Match: {unknown}\r\n")).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, BODY), "{unknown}");
    }
}

#[actix_web::test]
async fn another_value_has_another_etag() {
    let mut other = answer();
    other.courses[0].value += ratebook::market::number::decimal("0.00001").unwrap();
    let etags = [
        TestServer::with_courses(Courses::Are(answer())).get("/v1/courses").await.header("etag"),
        TestServer::with_courses(Courses::Are(other)).get("/v1/courses").await.header("etag"),
    ];
    assert_ne!(etags[0], etags[1]);
}

#[actix_web::test]
async fn a_validator_never_turns_an_error_into_a_304() {
    let server = TestServer::refusing(CoursesError::Stale(Vec::new()));
    for (path, status) in [("/v1/courses", 503), ("/v1/courses?x=1", 422), ("/v1/nothing", 404)] {
        assert_eq!(server.ask("GET", path, "If-None-Match: *\r\n").await.status, status, "{path}");
    }
}

#[actix_web::test]
async fn every_refusal_of_the_book_is_a_problem_with_its_reason() {
    let judgements = vec![
        Judgement {
            name: BINANCE,
            status: Status::Stale,
            reason: "no \"quote\" for 7 s".to_owned(),
            age: Some(Duration::from_millis(7100)),
            missing: vec!["BTC-USD".parse().unwrap()],
        },
        Judgement {
            name: KRAKEN,
            status: Status::Down,
            reason: String::new(),
            age: None,
            missing: Vec::new(),
        },
    ];
    let told = json!([
        {"name": "binance", "status": "stale", "reason": "no \"quote\" for 7 s", "age_ms": 7100, "missing": ["BTC-USD"]},
        {"name": "kraken", "status": "down", "reason": "", "age_ms": null, "missing": []},
    ]);
    let direction = "FOO-USD".parse().unwrap();
    let configured = json!(["BTC-USD", "ETH-RUB"]);
    let exchanges = json!(["binance", "kraken"]);
    for (error, status, reason, extension, expected) in [
        (CoursesError::UnknownDirection(direction), 422, "unknown_direction", "allowed", &configured),
        (CoursesError::UnsupportedDirection(direction), 422, "unsupported_direction", "allowed", &configured),
        (CoursesError::UnknownExchanger(KRAKEN), 422, "unknown_exchanger", "allowed", &exchanges),
        (CoursesError::Starting(judgements.clone()), 503, "starting", "exchanges", &told),
        (CoursesError::Stale(judgements.clone()), 503, "stale", "exchanges", &told),
        (CoursesError::Down(judgements), 503, "down", "exchanges", &told),
        (
            CoursesError::TooOld { age: Duration::from_millis(88) },
            503,
            "too_old_for_request",
            "age_ms",
            &json!(88),
        ),
    ] {
        let server = TestServer::refusing(error);
        for path in ["/v1/courses?directions=FOO-USD", "/v1/courses/foo-usd"] {
            let reply = server.get(path).await;
            check_problem(&reply, status, reason);
            assert_eq!(&reply.json()[extension], expected, "{reason}");
        }
    }
}

#[actix_web::test]
async fn a_bad_parameter_is_a_422_before_the_book_is_asked() {
    let server = TestServer::with_courses(Courses::Are(answer()));
    for (path, reason, parameter, allowed) in [
        ("/v1/courses?exchanger=mtgox", "unknown_exchanger", "exchanger", json!(["binance", "kraken"])),
        ("/v1/courses?directions=BTCUSD", "invalid_parameter", "directions", json!(["BTC-USD", "ETH-RUB"])),
        ("/v1/courses?token=DOGE", "invalid_parameter", "token", json!(["BTC", "ETH"])),
        ("/v1/courses?currency=EUR", "invalid_parameter", "currency", json!(["USD", "RUB"])),
        ("/v1/courses/BTCUSD", "invalid_parameter", "direction", json!(["BTC-USD", "ETH-RUB"])),
        (
            "/v1/courses/BTC-USD?token=BTC",
            "invalid_parameter",
            "token",
            json!(["exchanger", "max_age_ms", "at", "policy", "tolerance"]),
        ),
    ] {
        let reply = server.get(path).await;
        check_problem(&reply, 422, reason);
        assert_eq!(reply.json()["parameter"], parameter, "{path}");
        assert_eq!(reply.json()["allowed"], allowed, "{path}");
    }
    assert!(server.asked().is_empty());
}

#[actix_web::test]
async fn a_silent_book_is_a_503_after_a_second() {
    let server = TestServer::with_courses(Courses::Stuck);
    let asked_at = Instant::now();
    let reply = server.get("/v1/courses").await;
    let waited = asked_at.elapsed();
    check_problem(&reply, 503, "ratebook_stalled");
    assert!(waited >= Duration::from_millis(950) && waited <= Duration::from_millis(1200), "{waited:?}");
}

#[actix_web::test]
async fn a_book_that_is_gone_is_a_503_at_once() {
    let server = TestServer::with_courses(Courses::Are(answer()));
    server.book.do_send(fake_book::Stop);
    wait_until(|| !server.book.connected()).await;
    let asked_at = Instant::now();
    check_problem(&server.get("/v1/courses").await, 503, "ratebook_stalled");
    assert!(asked_at.elapsed() < Duration::from_millis(500));
    assert_eq!(server.get("/health").await.status, 503);
}

#[actix_web::test]
async fn unknown_paths_are_404_and_a_trailing_slash_makes_one() {
    let server = TestServer::with_courses(Courses::Are(answer()));
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/courses/",
        "/v1/courses/BTC-USD/",
        "/v1/courses/BTC/USD",
        "//v1/courses",
        "/v1//courses",
        "/V1/courses",
        "/v2/courses",
        "/health/",
        "/health/live/",
        "/health/dead",
        "/v1/../health",
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            check_problem(&server.ask(method, path, "").await, 404, "not_found");
        }
    }
}

#[actix_web::test]
async fn wrong_methods_are_405_and_say_what_is_allowed() {
    let server = TestServer::with_courses(Courses::Are(answer()));
    for path in [
        "/v1/courses",
        "/v1/courses/BTC-USD",
        "/v1/history",
        "/v1/history/BTC-USD.svg",
        "/v1/events",
        "/health",
        "/health/live",
        "/health/ready",
    ] {
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
            let reply = server.ask(method, path, "").await;
            check_problem(&reply, 405, "method_not_allowed");
            assert_eq!(reply.header("allow").as_deref(), Some("GET, HEAD, OPTIONS"), "{method} {path}");
        }
        let reply = server.ask("OPTIONS", path, "").await;
        assert_eq!((reply.status, reply.body.as_str()), (204, ""));
        assert_eq!(reply.header("allow").as_deref(), Some("GET, HEAD, OPTIONS"), "{path}");
    }
}

#[actix_web::test]
async fn head_is_get_without_the_body() {
    let server = TestServer::with_courses(Courses::Are(answer()));
    for path in
        ["/v1/courses", "/v1/courses/BTC-USD", "/v1/courses?x=1", "/health", "/health/live", "/nothing"]
    {
        let mut connection = server.connect().await;
        connection.write(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
        let head = connection.read(true).await.unwrap();
        connection.write(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
        let get = connection.read(false).await.unwrap();
        assert_eq!((head.status, head.stable_headers()), (get.status, get.stable_headers()), "{path}");
        assert!(head.header("content-length").is_some(), "{path}");
    }
}

#[actix_web::test]
async fn health_tells_the_state_of_everything() {
    let health = BookHealth {
        can_answer: true,
        impairments: Vec::new(),
        answering: Some(KRAKEN),
        exchanges: vec![
            exchange_health(Status::Fresh, Some(Transport::WebSocket)),
            exchange_health(Status::Forbidden, None),
        ],
        legs: vec![
            ReferenceLeg {
                direction: "USDT-USD".parse().unwrap(),
                source: Some(KRAKEN),
                age: Duration::from_millis(41),
                held: true,
            },
            ReferenceLeg {
                direction: "USDT-USD".parse().unwrap(),
                source: None,
                age: Duration::ZERO,
                held: false,
            },
        ],
        disagreements: vec![Disagreement {
            direction: "USD-RUB".parse().unwrap(),
            believed: ExchangeName::new("cbr"),
            value: "80.1".parse().unwrap(),
            source: ExchangeName::new("erapi"),
            other: "84.12345".parse().unwrap(),
            matters: true,
        }],
        failovers: BTreeMap::new(),
        left_to_store: None,
    };
    let server = TestServer::with_health(Health::Is(health));
    let reply = server.get("/health").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("cache-control").as_deref(), Some("no-store"));
    assert_eq!(reply.header("content-type").as_deref(), Some("application/json"));
    let exchange = |status: &str, transport: &str| {
        json!({
            "name": "binance", "status": status, "transport": transport, "last_quote_age_ms": 12,
            "quotes_total": 70, "restarts": 2, "reconnects": 3, "last_error": "<b>\"reset\"</b>",
            "banned_until": "2031-02-03T04:05:06Z", "unsupported": ["ETH-RUB"],
        })
    };
    let mut body = reply.json();
    assert!(body["uptime_s"].take().is_u64());
    assert_eq!(
        body,
        json!({
            "status": "ok", "answering": "kraken", "version": env!("CARGO_PKG_VERSION"), "uptime_s": null,
            "exchanges": [exchange("fresh", "websocket"), exchange("forbidden", "none")],
            "legs": [
                {"direction": "USDT-USD", "source": "kraken", "age_ms": 41, "held": true},
                {"direction": "USDT-USD", "source": "peg", "age_ms": 0, "held": false},
            ],
            "disagreements": [{
                "direction": "USD-RUB", "believed": "cbr", "value": 80.1, "source": "erapi", "other": 84.12345,
                "percent": 5,
            }],
            "storage": {"status": "disabled"}, "bus": {"status": "disabled"},
        })
    );
}

#[actix_web::test]
async fn health_is_degraded_with_its_reasons_and_down_only_when_nothing_can_be_answered() {
    let impaired = vec!["kraken answers in the place of binance".to_owned()];
    for (can_answer, impairments, code, status, ready) in [
        (true, Vec::new(), 200, "ok", 200),
        (true, impaired.clone(), 200, "degraded", 200),
        (false, impaired, 503, "down", 503),
        (false, Vec::new(), 503, "down", 503),
    ] {
        let reasons = impairments.clone();
        let server = TestServer::with_health(Health::Is(BookHealth { can_answer, impairments, ..healthy() }));
        let reply = server.get("/health").await;
        assert_eq!((reply.status, &reply.json()["status"]), (code, &json!(status)));
        let expected = if reasons.is_empty() { json!(null) } else { json!(reasons) };
        assert_eq!(reply.json()["reasons"], expected);
        assert_eq!(server.get("/health/ready").await.status, ready);
        assert_eq!(server.get("/health/live").await.status, 200);
    }
}

#[actix_web::test]
async fn a_silent_book_takes_health_down_but_not_liveness() {
    let server = TestServer::with_health(Health::Stuck);
    let asked_at = Instant::now();
    assert_eq!(server.get("/health/live").await.status, 200);
    assert!(asked_at.elapsed() < Duration::from_millis(500));
    assert_eq!(server.get("/health/ready").await.status, 503);
    let reply = server.get("/health").await;
    assert!(asked_at.elapsed() < Duration::from_millis(2500));
    assert_eq!((reply.status, &reply.json()["status"]), (503, &json!("down")));
    assert_eq!(reply.json()["reasons"], json!(["the book of quotes does not answer"]));
}

#[actix_web::test]
async fn only_pages_of_listed_origins_may_read_answers() {
    let server = TestServer::with_origins(&["https://shop.example"]);
    let listed = server.ask("GET", "/v1/courses", "Origin: https://shop.example\r\n").await;
    assert_eq!(listed.header("access-control-allow-origin").as_deref(), Some("https://shop.example"));
    assert_eq!(listed.header("vary").as_deref(), Some("origin"));
    let preflight = "Origin: https://shop.example\r\nAccess-Control-Request-Method: GET\r\n";
    let preflight = server.ask("OPTIONS", "/v1/courses", preflight).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-methods").as_deref(), Some("GET, HEAD, OPTIONS"));
    for origin in ["https://evil.example", "null"] {
        let reply = server.ask("GET", "/v1/courses", &format!("Origin: {origin}\r\n")).await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, None), "{origin}");
    }
    let server = TestServer::with_origins(&[]);
    let reply = server.ask("GET", "/v1/courses", "Origin: https://shop.example\r\n").await;
    assert_eq!((reply.header("access-control-allow-origin"), reply.header("vary")), (None, None));
}

#[actix_web::test]
async fn a_port_that_is_taken_is_said_so() {
    let taken = ratebook::http::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let error = ratebook::http::listen(taken.local_addr().unwrap()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[actix_web::test]
async fn stopping_finishes_what_was_asked_and_does_not_wait_for_idle_connections() {
    let server = TestServer::with_courses(Courses::Stuck);
    let mut idle = server.connect().await;
    idle.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(idle.read(false).await.unwrap().status, 200);
    let mut busy = server.connect().await;
    busy.write(b"GET /v1/courses HTTP/1.1\r\nHost: x\r\n\r\n").await;
    wait_until(|| !server.asked().is_empty()).await;

    let stopped_at = Instant::now();
    let ((), reply) = tokio::join!(server.handle.stop(true), busy.read(false));
    check_problem(&reply.unwrap(), 503, "ratebook_stalled");
    assert!(stopped_at.elapsed() < Duration::from_secs(5), "{:?}", stopped_at.elapsed());
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}

fn exchange_health(status: Status, transport: Option<Transport>) -> ExchangeHealth {
    ExchangeHealth {
        name: BINANCE,
        status,
        transport,
        last_quote_age: Some(Duration::from_millis(12)),
        quotes_total: 70,
        refused: vec![(Refusal::Stale, 4)],
        restarts: 2,
        reconnects: 3,
        last_error: Some("<b>\"reset\"</b>".to_owned()),
        banned_until: Utc.with_ymd_and_hms(2031, 2, 3, 4, 5, 6).single(),
        unsupported: vec!["ETH-RUB".parse().unwrap()],
        deviation: Some("-0.0125".parse().unwrap()),
    }
}

/// Checks what every error has in common.
fn check_problem(reply: &Reply, status: u16, reason: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    let body = reply.json();
    assert_eq!(body["reason"], reason, "{reply:?}");
    assert_eq!(body["status"], status);
    assert_eq!(body["type"], format!("urn:ratebook:problem:{reason}"));
    for field in ["title", "detail"] {
        assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{field} in {reply:?}");
    }
    assert_eq!(reply.header("content-type").as_deref(), Some("application/problem+json"));
    assert_eq!(reply.header("cache-control").as_deref(), Some("no-store"));
    assert_eq!(reply.header("x-content-type-options").as_deref(), Some("nosniff"));
    assert_eq!(reply.header("etag"), None);
    let retry_after = reply.header("retry-after").map(|seconds| seconds.parse::<u32>().unwrap());
    // What a process never has does not come later.
    let may_come = status == 503 && reason != "history_disabled";
    assert_eq!(retry_after.is_some_and(|seconds| seconds >= 1), may_come, "{reply:?}");
}

async fn wait_until(condition: impl Fn() -> bool) {
    let given_up_at = Instant::now() + server::PATIENCE;
    while !condition() {
        assert!(Instant::now() < given_up_at, "waited in vain");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
