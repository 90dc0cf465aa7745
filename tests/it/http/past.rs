//! Courses of a past time, and what `/health` says of the storage that they come from.

use std::time::Duration;

use ratebook::history::{HistoryError, PastAnswer, Policy, StorageState};
use ratebook::rate_book::Wanted;
use serde_json::json;
use tokio::time::Instant;

use super::fake_archive::{Asked, Behaviour, FakeArchive, storage_health};
use super::server::{KRAKEN, TestServer, answer};
use super::{BODY, check_problem};

const AS_OF: &str = "2026-11-20T11:58:03.000001Z";

fn with_past_courses() -> FakeArchive {
    let past = PastAnswer { answer: answer(), as_of: AS_OF.parse().unwrap() };
    FakeArchive { past: Some(past), ..FakeArchive::empty() }
}

#[actix_web::test]
async fn past_courses_say_which_stored_point_they_are() {
    let archive = with_past_courses();
    let asked = archive.asked.clone();
    let server = TestServer::with_archive(archive);
    let reply = server.get("/v1/courses?at=2024-11-20T15:00:00+03:00&token=BTC").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, BODY));
    for (name, expected) in [
        ("ratebook-as-of", Some(AS_OF)),
        ("ratebook-legs", Some("USDT-USD=kraken;age_ms=310;held=1,USD-RUB=peg;age_ms=0;held=0")),
        ("ratebook-missing", Some("ETH-RUB")),
        ("cache-control", Some("no-cache")),
        ("age", None),
        ("ratebook-age-ms", None),
        ("ratebook-sequence", None),
    ] {
        assert_eq!(reply.header(name).as_deref(), expected, "{name}");
    }
    let known = format!("If-None-Match: {}\r\n", reply.header("etag").unwrap());
    let known = server.ask("GET", "/v1/courses?at=2024-11-20T12:00:00Z", &known).await;
    assert_eq!((known.status, known.header("ratebook-as-of").as_deref()), (304, Some(AS_OF)));

    let one = "/v1/courses/eth-rub?at=2024-11-20&policy=nearest&tolerance=1h&exchanger=kraken";
    assert_eq!(server.get(one).await.body, BODY);
    assert!(server.asked().is_empty(), "the book was asked");
    let asked = asked.lock().unwrap();
    let [Asked::PastCourses(first), _, Asked::PastCourses(last)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(first.at, "2024-11-20T12:00:00Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap());
    assert_eq!((first.policy, first.tolerance), (Policy::Previous, Duration::from_secs(600)));
    assert_eq!(first.question.wanted, Wanted::OfConfigured(vec!["BTC-USD".parse().unwrap()]));
    assert_eq!((last.policy, last.tolerance), (Policy::Nearest, Duration::from_secs(3600)));
    assert_eq!(last.question.wanted, Wanted::All(vec!["ETH-RUB".parse().unwrap()]));
    assert_eq!(last.question.exchanger, Some(KRAKEN));
}

#[actix_web::test]
async fn current_courses_never_ask_storage() {
    let archive = FakeArchive { behaviour: Behaviour::Stuck, ..with_past_courses() };
    let asked = archive.asked.clone();
    let server = TestServer::with_archive(archive);
    for path in ["/v1/courses", "/v1/courses/BTC-USD"] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.header("ratebook-as-of")), (200, None));
    }
    assert!(asked.lock().unwrap().is_empty());
}

#[actix_web::test]
async fn a_time_without_stored_data_is_a_404_that_says_how_far_was_looked() {
    let server = TestServer::with_archive(FakeArchive::empty());
    let reply = server.get("/v1/courses?at=2024-11-20T12:00:00Z&policy=exact&tolerance=90s").await;
    check_problem(&reply, 404, "no_data_at");
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    for part in ["2024-11-20T12:00:00Z", "`exact`", "1m 30s"] {
        assert!(detail.contains(part), "{part} in {detail}");
    }
}

#[actix_web::test]
async fn storage_that_cannot_answer_is_a_503_and_its_secrets_stay_inside() {
    for (behaviour, reason) in [
        (Behaviour::Fails(HistoryError::Busy), "history_busy"),
        (Behaviour::Fails(HistoryError::Unavailable("user=secret".to_owned())), "history_unavailable"),
    ] {
        let server = TestServer::with_archive(FakeArchive { behaviour, ..with_past_courses() });
        for path in [
            "/v1/courses?at=2024-11-20",
            "/v1/history?direction=BTC-USDT",
            "/v1/history?direction=BTC-USDT&interval=tick",
            "/v1/history/BTC-USDT.svg",
            "/v1/events",
        ] {
            for accept in ["", "Accept: text/csv\r\n"] {
                let reply = server.ask("GET", path, accept).await;
                check_problem(&reply, 503, reason);
                assert!(!reply.body.contains("secret"), "{reply:?}");
            }
        }
    }
}

#[actix_web::test]
async fn without_storage_history_is_a_503_that_promises_nothing() {
    let server = TestServer::with_health(super::fake_book::Health::Is(super::server::healthy()));
    for path in [
        "/v1/courses?at=2024-11-20",
        "/v1/history?direction=BTC-USDT",
        "/v1/history/BTC-USDT.svg",
        "/v1/events",
    ] {
        check_problem(&server.get(path).await, 503, "history_disabled");
    }
    assert_eq!(server.get("/health").await.json()["storage"], json!({"status": "disabled"}));
}

#[actix_web::test]
async fn health_tells_the_state_of_storage() {
    let mut health = storage_health(StorageState::Ok);
    let told = |status: &str, last_error: serde_json::Value| {
        json!({
            "status": status, "database": "sqlite", "lag_ms": 41, "waiting_rows": 1, "outbox_rows": 2,
            "outbox_bytes": 3, "stored_rows": 4, "duplicate_rows": 5, "rejected_rows": 6, "dropped_rows": 7,
            "conflated_quotes": 8, "last_quote_at": "2026-11-20T12:00:00.000001Z", "last_error": last_error,
        })
    };
    for (state, last_error, status, storage) in [
        (StorageState::Ok, None, "ok", told("ok", json!(null))),
        (StorageState::Ok, Some("once"), "ok", told("ok", json!("once"))),
        (StorageState::Starting, None, "ok", told("starting", json!(null))),
        (StorageState::Starting, Some("refused"), "degraded", told("starting", json!("refused"))),
        (StorageState::Impaired, Some("full"), "degraded", told("impaired", json!("full"))),
        (StorageState::Disabled, None, "ok", json!({"status": "disabled"})),
    ] {
        (health.state, health.last_error) = (state, last_error.map(str::to_owned));
        let server = TestServer::with_archive(FakeArchive { health: health.clone(), ..FakeArchive::empty() });
        let body = server.get("/health").await.json();
        assert_eq!((&body["status"], &body["storage"]), (&json!(status), &storage), "{state:?}");
        assert_eq!(body["reasons"].is_array(), status == "degraded", "{body}");
    }
}

#[actix_web::test]
async fn storage_that_is_away_degrades_health_and_not_readiness() {
    let server =
        TestServer::with_archive(FakeArchive { behaviour: Behaviour::Stuck, ..FakeArchive::empty() });
    let asked_at = Instant::now();
    assert_eq!(server.get("/health/ready").await.status, 200);
    assert!(asked_at.elapsed() < Duration::from_millis(500), "{:?}", asked_at.elapsed());
    let reply = server.get("/health").await;
    assert!(asked_at.elapsed() < Duration::from_millis(1700), "{:?}", asked_at.elapsed());
    let body = reply.json();
    assert_eq!((reply.status, &body["status"]), (200, &json!("degraded")));
    assert_eq!(body["reasons"], json!(["storage does not answer"]));
    assert_eq!(body["storage"], json!({"status": "starting"}));
}
