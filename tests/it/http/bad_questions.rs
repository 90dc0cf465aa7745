//! Questions about stored data that cannot be answered: each names what is wrong with it, and none is our fault.

use super::check_problem;
use super::fake_archive::FakeArchive;
use super::server::TestServer;

#[actix_web::test]
async fn a_bad_question_is_refused_by_name_before_storage_is_asked() {
    let archive = FakeArchive::empty();
    let asked = archive.asked.clone();
    let server = TestServer::with_archive(archive);
    for (path, parameter) in [
        ("/v1/history", "direction"),
        ("/v1/history?", "direction"),
        ("/v1/history?direction", "direction"),
        ("/v1/history?direction=", "direction"),
        ("/v1/history?direction=BTCUSDT", "direction"),
        ("/v1/history?direction=BTC-BTC", "direction"),
        ("/v1/history?direction=BTC-USD,ETH-USD", "direction"),
        ("/v1/history?direction=BTC-USD&direction=ETH-USD", "direction"),
        ("/v1/history?direction=USDTTRC-USDTERC", "direction"),
        ("/v1/history?direction=%ff-USD", "direction"),
        ("/v1/history?direction=BTC-USD%00", "direction"),
        ("/v1/history?direction=BTC-USD'%20OR%201=1", "direction"),
        ("/v1/history?directions=BTC-USD", "directions"),
        ("/v1/history?direction=BTC-USD&exchanger=mtgox", "exchanger"),
        ("/v1/history?direction=BTC-USD&exchanger=", "exchanger"),
        ("/v1/history?direction=BTC-USD&interval=2m", "interval"),
        ("/v1/history?direction=BTC-USD&interval=1m&interval=1h", "interval"),
        ("/v1/history?direction=BTC-USD&from=yesterday", "from"),
        ("/v1/history?direction=BTC-USD&from=2026-11-31", "from"),
        ("/v1/history?direction=BTC-USD&from=2024-11-20T12:00:00", "from"),
        ("/v1/history?direction=BTC-USD&from=2024-11-20T12:00:00%2099:00", "from"),
        ("/v1/history?direction=BTC-USD&from=9999-12-31", "from"),
        ("/v1/history?direction=BTC-USD&from=2024-11-20&to=2024-11-20", "from"),
        ("/v1/history?direction=BTC-USD&to=1732060800", "to"),
        ("/v1/history?direction=BTC-USD&to=%2B99999-01-01T00:00:00Z", "to"),
        ("/v1/history?direction=BTC-USD&limit=0", "limit"),
        ("/v1/history?direction=BTC-USD&limit=10001", "limit"),
        ("/v1/history?direction=BTC-USD&limit=-1", "limit"),
        ("/v1/history?direction=BTC-USD&limit=99999999999999999999999", "limit"),
        ("/v1/history?direction=BTC-USD&cursor=", "cursor"),
        ("/v1/history?direction=BTC-USD&cursor=abc", "cursor"),
        ("/v1/history?direction=BTC-USD&cursor=AAAA%ff", "cursor"),
        ("/v1/history?direction=BTC-USD&page=2", "page"),
        ("/v1/history/BTCUSDT.svg", "direction"),
        ("/v1/history/%3Cscript%3E.svg", "direction"),
        ("/v1/history/BTC-USD.svg?width=199", "width"),
        ("/v1/history/BTC-USD.svg?width=4001", "width"),
        ("/v1/history/BTC-USD.svg?height=99", "height"),
        ("/v1/history/BTC-USD.svg?height=1e3", "height"),
        ("/v1/history/BTC-USD.svg?limit=5", "limit"),
        ("/v1/history/BTC-USD.svg?from=2024-11-21&to=2024-11-20", "from"),
        ("/v1/events?since=now", "since"),
        ("/v1/events?kind=Restart", "kind"),
        ("/v1/events?kind=", "kind"),
        ("/v1/events?limit=x", "limit"),
        ("/v1/events?cursor=x", "cursor"),
        ("/v1/events?exchanger=binance", "exchanger"),
        ("/v1/courses?at=", "at"),
        ("/v1/courses?at=2999-01-01", "at"),
        ("/v1/courses?at=2024-11-20&max_age_ms=1", "max_age_ms"),
        ("/v1/courses?at=2024-11-20&policy=last", "policy"),
        ("/v1/courses?at=2024-11-20&tolerance=8d", "tolerance"),
        ("/v1/courses?policy=exact", "policy"),
        ("/v1/courses/BTC-USD?tolerance=10m", "tolerance"),
        ("/v1/courses/BTC-USD?at=2024-11-20&tolerance=0s", "tolerance"),
    ] {
        for accept in ["", "Accept: text/csv\r\n"] {
            let reply = server.ask("GET", path, accept).await;
            let body = reply.json();
            assert_eq!((reply.status, &body["parameter"]), (422, &parameter.into()), "{path}: {reply:?}");
            let reason = body["reason"].as_str().unwrap_or_default();
            check_problem(&reply, 422, reason);
            assert!(body["allowed"].as_array().is_some_and(|allowed| !allowed.is_empty()), "{path}: {body}");
        }
    }
    assert!(asked.lock().unwrap().is_empty());
    assert!(server.asked().is_empty());
}

#[actix_web::test]
async fn a_form_that_there_is_not_is_a_406_that_names_those_that_there_are() {
    let server = TestServer::with_archive(FakeArchive::empty());
    for path in ["/v1/history?direction=BTC-USD", "/v1/events"] {
        for accept in ["text/html", "application/xml, image/*;q=0.5", "*/*;q=0", "csv"] {
            let reply = server.ask("GET", path, &format!("Accept: {accept}\r\n")).await;
            check_problem(&reply, 406, "not_acceptable");
            assert_eq!(reply.json()["allowed"], serde_json::json!(["application/json", "text/csv"]));
        }
        for accept in ["*/*", "text/html, */*;q=0.1", "application/*", "application/json;q=0.2"] {
            let reply = server.ask("GET", path, &format!("Accept: {accept}\r\n")).await;
            assert_eq!(reply.header("content-type").as_deref(), Some("application/json"), "{accept}");
        }
    }
}

#[actix_web::test]
async fn paths_beside_history_are_404() {
    let server = TestServer::with_archive(FakeArchive::empty());
    for path in [
        "/v1/history/",
        "/v1/history/BTC-USD",
        "/v1/history/BTC-USD.png",
        "/v1/history/a/b.svg",
        "/v1/events/",
    ] {
        check_problem(&server.get(path).await, 404, "not_found");
    }
}
