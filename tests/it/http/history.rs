//! Stored rows: as pages of JSON, as CSV that streams, and as a picture.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ratebook::history::{Candle, Interval, Tick};
use ratebook::market::number::decimal;
use ratebook::rate_book::{EventKind, RecordedEvent};
use rust_decimal::Decimal;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::check_problem;
use super::fake_archive::{Asked, Behaviour, FakeArchive};
use super::server::{BINANCE, KRAKEN, PATIENCE, TestServer};

const CSV: &str = "Accept: text/csv\r\n";
const DAY: &str = "from=2024-11-20&to=2024-11-21";
const FIRST_LINE: &str = "at,open,high,low,close,quotes";

fn start() -> DateTime<Utc> {
    "2024-11-20T00:00:00Z".parse().unwrap()
}

/// An archive with so many candles, one after the other.
fn with_candles(count: i64, step: TimeDelta) -> FakeArchive {
    let candle = |number| Candle {
        starts_at: start() + step * number,
        open: Decimal::new(6_400_010, 2),
        high: decimal("64123.4567890123456789").unwrap(),
        low: decimal("0.00000012").unwrap(),
        close: decimal("64100").unwrap(),
        num_quotes: 57,
    };
    let candles = (0..i32::try_from(count).unwrap()).map(candle).collect();
    FakeArchive { exchange: Some(BINANCE), candles, ..FakeArchive::empty() }
}

fn with_events() -> FakeArchive {
    let event = |at: &str, kind, exchange, reason: &str| RecordedEvent {
        at: at.parse().unwrap(),
        kind,
        exchange,
        reason: reason.to_owned(),
        count: 2,
    };
    let events = vec![
        event("2024-11-20T12:00:00Z", EventKind::Restart, Some(KRAKEN), "it \"broke\", twice"),
        event("2024-11-20T12:00:00.000001Z", EventKind::Clock, None, "jump"),
        event("2024-11-20T13:00:00Z", EventKind::Restart, Some(BINANCE), "again"),
    ];
    FakeArchive { events, ..FakeArchive::empty() }
}

#[actix_web::test]
async fn candles_have_exactly_their_shape_digit_by_digit() {
    let archive = with_candles(1, TimeDelta::minutes(1));
    let asked = archive.asked.clone();
    let server = TestServer::with_archive(archive);
    let reply =
        server.get(&format!("/v1/history?direction=usdttrc-usd&exchanger=Kraken&interval=1h&{DAY}")).await;
    let body = r#"{"exchanger":"kraken","direction":"USDTTRC-USD","interval":"1h","candles":[{"at":"2024-11-20T00:00:00Z","open":64000.1,"high":64123.4567890123456789,"low":0.00000012,"close":64100,"quotes":57}],"next":null}"#;
    assert_eq!((reply.status, reply.body.as_str()), (200, body));
    for (name, expected) in [
        ("content-type", Some("application/json")),
        ("cache-control", Some("no-cache")),
        ("vary", Some("accept")),
        ("link", None),
    ] {
        assert_eq!(reply.header(name).as_deref(), expected, "{name}");
    }
    let asked = asked.lock().unwrap();
    let [Asked::Candles(question)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(question.range.direction, "USDT-USD".parse().unwrap());
    assert_eq!((question.range.exchange, question.interval), (Some(KRAKEN), Interval::Hour));
    assert_eq!(question.range.to - question.range.from, TimeDelta::days(1));
}

#[actix_web::test]
async fn ticks_have_exactly_their_shape_and_null_where_nothing_was_quoted() {
    let tick = Tick {
        received_at: "2024-11-20T12:00:00.000001Z".parse().unwrap(),
        quoted_at: None,
        bid: decimal("1.5"),
        ask: None,
        last: None,
    };
    let archive = FakeArchive { exchange: Some(BINANCE), ticks: vec![tick], ..FakeArchive::empty() };
    let asked = archive.asked.clone();
    let server = TestServer::with_archive(archive);
    let reply = server.get(&format!("/v1/history?direction=BTC-USDT&interval=tick&{DAY}")).await;
    let body = r#"{"exchanger":"binance","direction":"BTC-USDT","interval":"tick","ticks":[{"at":"2024-11-20T12:00:00.000001Z","quoted_at":null,"bid":1.5,"ask":null,"last":null}],"next":null}"#;
    assert_eq!((reply.status, reply.body.as_str()), (200, body));
    let asked = asked.lock().unwrap().clone();
    let [Asked::Ticks(question)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((question.range.from, question.range.limit), (start(), 1000));
    let nothing = server.get("/v1/history?direction=BTC-USDT").await;
    let body = r#"{"exchanger":null,"direction":"BTC-USDT","interval":"1m","candles":[],"next":null}"#;
    assert_eq!((nothing.status, nothing.body.as_str()), (200, body));
}

#[actix_web::test]
async fn a_cursor_goes_on_where_the_page_ended() {
    for by_link in [false, true] {
        let archive = with_candles(25, TimeDelta::minutes(1));
        let asked = archive.asked.clone();
        let server = TestServer::with_archive(archive);
        let question = format!("/v1/history?direction=BTC-USDT&limit=10&{DAY}");
        let (mut path, mut pages) = (question.clone(), Vec::new());
        loop {
            let reply = server.get(&path).await;
            let body = reply.json();
            pages.push(body["candles"].as_array().unwrap().clone());
            let link = reply.header("link");
            let Some(cursor) = body["next"].as_str() else {
                assert_eq!(link, None);
                break;
            };
            let link = link.unwrap();
            let link = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")).unwrap();
            path = if by_link { link.to_owned() } else { format!("{question}&cursor={cursor}") };
        }
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
        let times: Vec<_> = pages.concat().iter().map(|candle| candle["at"].clone()).collect();
        let expected = (0..25).map(|minute| json!(start() + TimeDelta::minutes(minute)));
        assert_eq!(times, expected.collect::<Vec<_>>());
        // The first page was of whoever has any; the others are of the same one.
        for (at, question) in asked.lock().unwrap().iter().enumerate() {
            let Asked::Candles(question) = question else { panic!("{question:?}") };
            assert_eq!(question.range.exchange, (at > 0).then_some(BINANCE));
            assert_eq!(question.range.to, start() + TimeDelta::days(1));
        }
    }
}

#[actix_web::test]
async fn an_unknown_interval_is_a_422_that_names_what_is_allowed() {
    let server = TestServer::with_archive(FakeArchive::empty());
    for (path, allowed) in [
        ("/v1/history?direction=BTC-USDT&interval=5m", json!(["1m", "1h", "1d", "tick"])),
        ("/v1/history/BTC-USDT.svg?interval=tick", json!(["1m", "1h", "1d"])),
    ] {
        let reply = server.get(path).await;
        check_problem(&reply, 422, "invalid_parameter");
        assert_eq!((&reply.json()["parameter"], &reply.json()["allowed"]), (&json!("interval"), &allowed));
    }
}

#[actix_web::test]
async fn csv_streams_every_page_and_breaks_off_when_one_fails() {
    let year = "from=2024-01-01&to=2025-01-01";
    let path = format!("/v1/history?direction=BTC-USDT&{year}");
    let archive = with_candles(12_345, TimeDelta::minutes(1));
    let asked = archive.asked.clone();
    let server = TestServer::with_archive(archive.clone());
    let (head, body, is_whole) = streamed(&server, &path).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && is_whole, "{head}");
    assert!(head.contains("content-type: text/csv; charset=utf-8; header=present\r\n"), "{head}");
    let disposition = "content-disposition: attachment; filename=\"BTC-USDT-1m-binance.csv\"\r\n";
    assert!(head.contains(disposition), "{head}");
    let lines: Vec<&str> = body.split_terminator("\r\n").collect();
    assert_eq!((lines.len(), lines[0]), (12_346, FIRST_LINE));
    assert_eq!(lines[1], "2024-11-20T00:00:00Z,64000.1,64123.4567890123456789,0.00000012,64100,57");
    assert!(lines.iter().skip(1).is_sorted(), "not in the order of time");
    let asked: Vec<_> = asked.lock().unwrap().drain(..).collect();
    let limits = asked.iter().map(|question| match question {
        Asked::Candles(question) => (question.range.limit, question.range.exchange),
        other => panic!("{other:?}"),
    });
    let expected = [(5000, None), (5000, Some(BINANCE)), (5000, Some(BINANCE))];
    assert_eq!(limits.collect::<Vec<_>>(), expected);

    let failing =
        FakeArchive { behaviour: Behaviour::FailsAfter(2), ..with_candles(12_345, TimeDelta::minutes(1)) };
    let server = TestServer::with_archive(failing);
    let (head, body, is_whole) = streamed(&server, &path).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && !is_whole, "{head}");
    assert_eq!(body.lines().count(), 10_001);
    assert_eq!(server.get("/health/live").await.status, 200);
}

#[actix_web::test]
async fn the_next_page_is_asked_for_when_the_one_before_was_taken() {
    let archive = with_candles(400_000, TimeDelta::seconds(1));
    let asked = archive.asked.clone();
    let server = TestServer::with_archive(archive);
    let mut connection = server.connect().await;
    let path = "/v1/history?direction=BTC-USDT&from=2024-01-01&to=2025-01-01";
    connection.write(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{CSV}\r\n").as_bytes()).await;
    // Nobody reads: when the sockets hold all they can, no page follows.
    let num_asked = || asked.lock().unwrap().len();
    let mut stalled_at = usize::MAX;
    while num_asked() == 0 || num_asked() != stalled_at {
        stalled_at = num_asked();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(stalled_at < 70, "{stalled_at} of 80 pages were asked for");
    let mut taken = vec![0; 1 << 20];
    while num_asked() < 80 {
        let read = timeout(PATIENCE, connection.stream.read(&mut taken)).await.expect("more of it");
        assert_ne!(read.unwrap(), 0, "it ended after {} pages", num_asked());
    }
}

#[actix_web::test]
async fn csv_stops_at_the_limit_and_head_has_its_headers_alone() {
    let archive = with_candles(8_000, TimeDelta::minutes(1));
    let asked = archive.asked.clone();
    let server = TestServer::with_archive(archive);
    let path = "/v1/history?direction=BTC-USDT&from=2024-01-01&to=2025-01-01";
    for (limit, num_questions) in [(1, 1), (5000, 1), (5001, 2), (7999, 2), (8000, 2), (10_000, 2)] {
        asked.lock().unwrap().clear();
        let (_, body, is_whole) = streamed(&server, &format!("{path}&limit={limit}")).await;
        assert_eq!((body.lines().count(), is_whole), (1 + limit.min(8000), true));
        assert_eq!(asked.lock().unwrap().len(), num_questions, "{limit}");
    }
    asked.lock().unwrap().clear();
    let head = server.ask("HEAD", path, CSV).await;
    let (whole, ..) = streamed(&server, path).await;
    assert_eq!(head.status, 200);
    for (name, value) in head.stable_headers() {
        assert!(whole.contains(&format!("{name}: {value}\r\n")), "{name}: {value} in {whole}");
    }
    assert_eq!(asked.lock().unwrap().len(), 3);
}

#[actix_web::test]
async fn events_are_told_as_json_and_csv_page_by_page() {
    let archive = with_events();
    let asked = archive.asked.clone();
    let server = TestServer::with_archive(archive);
    let reply = server.get("/v1/events?since=2024-11-20&limit=2").await;
    let body = reply.json();
    assert_eq!(
        body["events"],
        json!([
            {"at": "2024-11-20T12:00:00Z", "kind": "restart", "exchanger": "kraken", "reason": "it \"broke\", twice", "count": 2},
            {"at": "2024-11-20T12:00:00.000001Z", "kind": "clock", "exchanger": null, "reason": "jump", "count": 2},
        ])
    );
    let link = reply.header("link").unwrap();
    let next = server.get(link.split(['<', '>']).nth(1).unwrap()).await.json();
    assert_eq!((&next["events"][0]["reason"], &next["next"]), (&json!("again"), &json!(null)));
    let restarts = server.get("/v1/events?since=2024-11-20&kind=restart&limit=1").await;
    assert!(restarts.header("link").unwrap().contains("kind=restart&"));
    let (head, csv, _) = streamed(&server, "/v1/events?since=2024-11-20&kind=restart").await;
    assert!(head.contains("filename=\"events.csv\""), "{head}");
    let expected = "at,kind,exchanger,reason,count\r\n\
                    2024-11-20T12:00:00Z,restart,kraken,\"it \"\"broke\"\", twice\",2\r\n\
                    2024-11-20T13:00:00Z,restart,binance,again,2\r\n";
    assert_eq!(csv, expected);
    assert_eq!(server.get("/v1/events").await.body, r#"{"events":[],"next":null}"#);
    let asked = asked.lock().unwrap();
    let Some(Asked::Events(question)) = asked.last() else { panic!("{asked:?}") };
    assert_eq!((question.kind, question.limit), (None, 1000));
    let since = Utc::now() - question.since;
    assert!(since >= TimeDelta::hours(24) && since < TimeDelta::hours(25), "{since}");
}

#[actix_web::test]
async fn a_picture_shows_what_is_stored_and_can_do_nothing_else() {
    let server = TestServer::with_archive(with_candles(90, TimeDelta::minutes(1)));
    let reply = server.get(&format!("/v1/history/btc-usdt.svg?{DAY}&width=640&height=320")).await;
    assert_eq!(reply.status, 200);
    for (name, expected) in [
        ("content-type", "image/svg+xml"),
        ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'"),
        ("cache-control", "no-cache"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(reply.header(name).as_deref(), Some(expected), "{name}");
    }
    for part in ["width=\"640\" height=\"320\"", "BTC-USDT · binance · 1 minute", "<polyline"] {
        assert!(reply.body.contains(part), "{part} in {}", reply.body);
    }
    assert!(!reply.body.contains("no data"));
    let nothing = server.get("/v1/history/ETH-USDT.svg?from=2023-01-01&to=2023-12-31").await;
    for part in ["no data", "ETH-USDT · 1 day"] {
        assert!(nothing.body.contains(part), "{part} in {}", nothing.body);
    }
}

#[actix_web::test]
async fn a_picture_that_would_leave_candles_out_is_refused() {
    let server = TestServer::with_archive(with_candles(10_001, TimeDelta::minutes(1)));
    let path = "/v1/history/BTC-USDT.svg?from=2024-01-01&to=2025-01-01";
    for (query, parameter) in [("&interval=1m", "interval"), ("&interval=1d", "from")] {
        let reply = server.get(&format!("{path}{query}")).await;
        check_problem(&reply, 422, "invalid_parameter");
        assert_eq!(reply.json()["parameter"], parameter);
    }
}

/// Asks for CSV and reads until the end: the head, the body, and whether the body came to an end of its own.
async fn streamed(server: &TestServer, path: &str) -> (String, String, bool) {
    let mut connection = server.connect().await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{CSV}\r\n");
    connection.write(request.as_bytes()).await;
    let mut bytes = Vec::new();
    // A connection that is broken off may be reset; what came before counts.
    drop(timeout(PATIENCE, connection.stream.read_to_end(&mut bytes)).await.expect("an end"));
    let text = String::from_utf8(bytes).unwrap();
    let (head, mut rest) = text.split_once("\r\n\r\n").unwrap();
    let (head, mut body) = (format!("{head}\r\n"), String::new());
    while let Some((length, chunk)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return (head, body, true);
        }
        let Some((chunk, next)) = chunk.split_at_checked(length) else { break };
        body.push_str(chunk);
        rest = next.strip_prefix("\r\n").unwrap();
    }
    (head, body, false)
}
