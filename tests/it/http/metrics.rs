//! The page that Prometheus reads: what is on it, and that no client can make it grow.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::DateTime;
use ratebook::market::{Refusal, Transport};
use ratebook::rate_book::{BookHealth, ExchangeHealth, Failover, FailoverCause, Status};

use super::fake_book::Health;
use super::server::{BINANCE, KRAKEN, TestServer, healthy};

fn exchange() -> ExchangeHealth {
    ExchangeHealth {
        name: KRAKEN,
        status: Status::Stale,
        transport: Some(Transport::Rest),
        last_quote_age: Some(Duration::from_millis(5_250)),
        quotes_total: 70,
        refused: vec![(Refusal::Crossed, 3)],
        restarts: 2,
        reconnects: 4,
        last_error: None,
        banned_until: DateTime::from_timestamp(1_790_000_000, 0),
        unsupported: Vec::new(),
        deviation: Some("-0.0125".parse().unwrap()),
    }
}

async fn page(server: &TestServer) -> Vec<String> {
    let reply = server.get("/metrics").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type").as_deref(), Some("text/plain; version=0.0.4"));
    assert_eq!(reply.header("cache-control").as_deref(), Some("no-store"));
    reply.body.lines().map(str::to_owned).collect()
}

#[actix_web::test]
async fn what_the_book_knows_is_on_the_page() {
    let failover = Failover { from: Some(BINANCE), cause: FailoverCause::Stale };
    let health = BookHealth {
        exchanges: vec![exchange()],
        failovers: BTreeMap::from([(failover, 9)]),
        left_to_store: Some(81),
        ..healthy()
    };
    let server = TestServer::with_health(Health::Is(health));
    let page = page(&server).await;
    for line in [
        r#"ratebook_up{part="book"} 1"#,
        "ratebook_can_answer 1",
        "ratebook_degraded 0",
        r#"ratebook_answering{exchange="kraken"} 0"#,
        r#"ratebook_failovers_total{cause="stale",from="binance"} 9"#,
        r#"ratebook_exchange_status{exchange="kraken",status="stale"} 1"#,
        r#"ratebook_exchange_status{exchange="kraken",status="fresh"} 0"#,
        r#"ratebook_exchange_quote_age_seconds{exchange="kraken"} 5.25"#,
        r#"ratebook_exchange_quotes_total{exchange="kraken"} 70"#,
        r#"ratebook_exchange_refused_quotes_total{exchange="kraken",reason="crossed"} 3"#,
        r#"ratebook_exchange_restarts_total{exchange="kraken"} 2"#,
        r#"ratebook_exchange_reconnects_total{exchange="kraken"} 4"#,
        r#"ratebook_exchange_deviation_ratio{exchange="kraken"} -0.0125"#,
        r#"ratebook_exchange_banned_until_timestamp_seconds{exchange="kraken"} 1790000000"#,
        "ratebook_fiat_disagreements 0",
        "ratebook_recorded_quotes_total 81",
    ] {
        assert!(page.iter().any(|it| it == line), "{line} is not on {page:#?}");
    }
    assert!(page.iter().any(|line| line.starts_with("process_open_fds ")), "{page:#?}");
    assert!(!page.iter().any(|line| line.contains("storage")), "there is no storage here");
}

#[actix_web::test]
async fn requests_are_counted_by_route_and_status_and_a_stranger_adds_no_series() {
    let server = TestServer::with_health(Health::Is(healthy()));
    assert_eq!(server.get("/v1/courses").await.status, 200);
    assert_eq!(server.get("/v1/courses?x=1").await.status, 422);
    assert_eq!(server.ask("POST", "/v1/courses", "").await.status, 405);
    page(&server).await;
    let before = page(&server).await.len();
    for number in 0..1_000 {
        assert_eq!(server.get(&format!("/v1/courses/X{number}-USD?exchanger=x{number}")).await.status, 422);
        assert_eq!(server.get(&format!("/nowhere/{number}")).await.status, 404);
    }
    let page = page(&server).await;
    for (series, expected) in [
        (r#"ratebook_http_requests_total{route="/v1/courses",status="200","#, 1),
        (r#"ratebook_http_requests_total{route="/v1/courses",status="422","#, 1),
        (r#"ratebook_http_requests_total{route="/v1/courses",status="405","#, 1),
        (r#"ratebook_http_requests_total{route="/v1/courses/{direction}",status="422","#, 1000),
        (r#"ratebook_http_requests_total{route="other",status="404","#, 1000),
        (r#"ratebook_http_kept_answers_total{outcome="miss","#, 1),
        (r#"ratebook_http_request_duration_seconds_count{route="other","#, 1000),
    ] {
        // Every worker counts for itself.
        let of_workers = page.iter().filter(|line| line.starts_with(series));
        let value = |line: &String| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
        assert_eq!(of_workers.map(value).sum::<u64>(), expected, "{series} on {page:#?}");
    }
    // Of each worker two routes with a histogram each, and a count for each of two statuses.
    assert!(page.len() <= before + 4 * 40, "{before} lines became {}", page.len());
}

#[actix_web::test]
async fn a_book_that_does_not_answer_leaves_the_page_without_its_part() {
    let server = TestServer::with_health(Health::Stuck);
    let page = page(&server).await;
    assert!(page.iter().any(|it| it == r#"ratebook_up{part="book"} 0"#), "{page:#?}");
    assert!(!page.iter().any(|it| it.starts_with("ratebook_exchange_status")), "{page:#?}");
}

#[actix_web::test]
async fn an_impairment_makes_it_degraded() {
    for (impairments, expected) in
        [(Vec::new(), "ratebook_degraded 0"), (vec!["a leg is held".to_owned()], "ratebook_degraded 1")]
    {
        let server = TestServer::with_health(Health::Is(BookHealth { impairments, ..healthy() }));
        let page = page(&server).await;
        assert!(page.iter().any(|it| it == expected), "{expected} is not on {page:#?}");
    }
}
