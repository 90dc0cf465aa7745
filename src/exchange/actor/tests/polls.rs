//! Sources without a socket: pace, limits of time and size, and answers that are none.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::hub::{Log, Running, Told, eventually, start_with, throughout};
use super::speech::feed;
use super::venue::{Reply, Venue};
use crate::exchange::actor::{ExchangeSetup, Limits};
use crate::exchange::{Feed, Request, WeightLimit};
use crate::market::{Refusal, Transport};
use crate::rate_book::Link;

const REST: Link = Link::Up(Transport::Rest);

fn polled() -> Feed {
    Feed { socket: None, ..feed(&["BTC-USDT"]) }
}

fn poll(venue: &Venue, change: impl FnOnce(&mut ExchangeSetup)) -> Running {
    start_with(venue, polled(), change)
}

async fn until_poll_failed(log: &Log) -> String {
    let last_detail = |log: &Log| match log.links().pop() {
        Some(Link::PollFailed(failure)) => Some(failure.detail),
        _ => None,
    };
    log.until("a failed poll", |log| last_detail(log).is_some()).await;
    last_detail(log).unwrap()
}

#[actix::test]
async fn a_source_without_a_socket_is_polled_at_its_pace() {
    let venue = Venue::open("BTC-USDT 100").await;
    let running = poll(&venue, |setup| setup.poll_every = Duration::from_millis(150));
    eventually("five polls", || venue.num_asked("/poll") >= 5).await;
    let asked_at = venue.asked_at("/poll");
    assert!(
        asked_at.windows(2).all(|pair| pair[1].since(pair[0]) >= Duration::from_millis(145)),
        "{asked_at:?}"
    );
    assert_eq!(running.log.links(), [REST]);
    assert!(venue.dialled_at().is_empty());
}

#[actix::test]
async fn an_empty_web_socket_address_means_rest_only() {
    let venue = Venue::open("BTC-USDT 100").await;
    let running = start_with(&venue, feed(&["BTC-USDT"]), |setup| setup.ws_url.clear());
    running.log.until_link(&REST).await;
    eventually("three polls", || venue.num_asked("/poll") >= 3).await;
    assert!(venue.dialled_at().is_empty());
    venue.answer("/poll", Reply::status(500, ""));
    until_poll_failed(&running.log).await;
}

#[actix::test]
async fn a_body_is_as_old_as_its_request() {
    let venue = Venue::open("").await;
    let delay = Duration::from_millis(300);
    venue.answer("/poll", Reply { delay, ..Reply::ok("BTC-USDT 100") });
    let running = poll(&venue, |_| {});
    running.log.until_price("BTC-USDT", 100, Transport::Rest).await;
    let (told_at, told) = running.log.all().pop().unwrap();
    let Told::Quote { received_at, .. } = told else { panic!("{told:?}") };
    assert!(told_at.since(received_at) >= delay);
    assert!(told_at.wall - received_at.wall < chrono::TimeDelta::milliseconds(200));
}

#[actix::test]
async fn polls_never_overlap_and_do_not_burst_after_a_stall() {
    let venue = Venue::open("BTC-USDT 100").await;
    venue.answer("/poll", Reply { delay: Duration::from_millis(700), ..Reply::ok("BTC-USDT 100") });
    let _running = poll(&venue, |setup| setup.poll_every = Duration::from_millis(100));
    eventually("a slow poll", || venue.num_asked("/poll") == 2).await;
    venue.answer("/poll", Reply::ok("BTC-USDT 101"));
    eventually("quick polls", || venue.num_asked("/poll") >= 6).await;
    assert_eq!(venue.most_open_requests(), 1);
    let asked_at = venue.asked_at("/poll");
    assert!(
        asked_at.windows(2).all(|pair| pair[1].since(pair[0]) >= Duration::from_millis(95)),
        "{asked_at:?}"
    );
}

#[actix::test]
async fn a_failed_poll_is_told_and_a_good_one_after_it_too() {
    let venue = Venue::open("BTC-USDT 100").await;
    let running = poll(&venue, |_| {});
    running.log.until_link(&REST).await;
    for (reply, detail) in [
        (Reply::status(500, ""), "answered 500"),
        (Reply::status(404, ""), "answered 404"),
        (Reply::status(302, "Location: /elsewhere\r\n"), "answered 302, and redirects are not followed"),
        (Reply::ok("<!DOCTYPE html>"), "an answer that is not of the documented form"),
        (Reply::ok("beat"), "an answer without quotes"),
        (Reply::ok("error too busy"), "too busy"),
        (
            Reply::status(200, "Content-Encoding: gzip\r\n").with_body(b"BTC-USDT 1"),
            "not the announced compression",
        ),
    ] {
        venue.answer("/poll", reply);
        let told = until_poll_failed(&running.log).await;
        assert!(told.starts_with(detail), "{told} / {detail}");
        venue.answer("/poll", Reply::ok("BTC-USDT 100"));
        running.log.until_link(&REST).await;
    }
    assert_eq!(venue.num_asked("/elsewhere"), 0);
    assert!(running.log.told().contains(&Told::Refused(Refusal::Syntax)));
}

#[actix::test]
async fn a_redirect_to_another_host_is_never_followed() {
    let venue = Venue::open("").await;
    let target = Venue::open("BTC-USDT 666").await;
    venue.answer("/poll", Reply::status(301, &format!("Location: {}/poll\r\n", target.rest_url())));
    let running = poll(&venue, |_| {});
    until_poll_failed(&running.log).await;
    eventually("some more polls", || venue.num_asked("/poll") >= 3).await;
    assert!(target.heads().is_empty());
}

#[actix::test]
async fn an_answer_that_drips_is_cut_off_by_the_time_it_takes_in_all() {
    let venue = Venue::open("").await;
    let body = "BTC-USDT 100\n".repeat(100);
    venue.answer("/poll", Reply { drip: Some(Duration::from_millis(20)), ..Reply::ok(&body) });
    let began_at = crate::clock::now();
    let running = poll(&venue, |setup| setup.limits.request_timeout = Duration::from_millis(300));
    assert_eq!(until_poll_failed(&running.log).await, "no answer within 0.3 s");
    assert!(crate::clock::now().since(began_at) >= Duration::from_millis(300));
    assert!(running.log.prices(Transport::Rest).is_empty());
}

#[actix::test]
async fn an_answer_is_refused_by_its_size_also_after_decompression() {
    let venue = Venue::open("").await;
    let body = "BTC-USDT 100\n".repeat(1000);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    assert!(packed.len() < 5000);

    venue.answer("/poll", Reply::ok(&body));
    let running = poll(&venue, |setup| setup.limits.max_body = 5000);
    assert_eq!(until_poll_failed(&running.log).await, "larger than 5000 bytes");
    let gzipped = Reply::status(200, "Content-Encoding: gzip\r\n").with_body(&packed);
    venue.answer("/poll", gzipped.clone());
    let num_asked = venue.num_asked("/poll");
    eventually("compressed answers", || venue.num_asked("/poll") >= num_asked + 3).await;
    assert!(running.log.prices(Transport::Rest).is_empty());

    let roomy = Venue::open("").await;
    roomy.answer("/poll", gzipped);
    let running = poll(&roomy, |setup| setup.limits = Limits { max_body: 50_000, ..super::hub::scaled() });
    running.log.until_price("BTC-USDT", 100, Transport::Rest).await;
}

#[actix::test]
async fn a_request_says_who_asks_and_what_it_understands() {
    let venue = Venue::open("BTC-USDT 100").await;
    let _running = poll(&venue, |_| {});
    eventually("a poll", || venue.num_asked("/poll") > 0).await;
    let head = venue.heads()[0].to_ascii_lowercase();
    let agent = concat!("user-agent: ratebook/", env!("CARGO_PKG_VERSION"), "\r\n");
    assert!(head.contains(agent) && head.contains("accept-encoding: gzip\r\n"), "{head}");
}

#[actix::test]
async fn an_exchange_whose_budget_is_nearly_used_up_is_not_asked_until_it_returns() {
    let venue = Venue::open("").await;
    let used = |weight: u32| Reply {
        headers: format!("X-Weight: {weight}\r\n"),
        ..Reply::ok(&format!("BTC-USDT {weight}"))
    };
    venue.answer("/poll", used(80));
    let window = Duration::from_millis(1500);
    let weight = Some(WeightLimit { header: "x-weight", limit: 100, window });
    let running = start_with(&venue, Feed { weight, ..polled() }, |_| {});
    eventually("polls within the budget", || venue.num_asked("/poll") >= 3).await;
    venue.answer("/poll", used(81));
    running.log.until_price("BTC-USDT", 81, Transport::Rest).await;
    let num_asked = venue.num_asked("/poll");
    let wall_ms = u64::try_from(crate::clock::now().wall.timestamp_millis()).unwrap();
    let rest_of_window = Duration::from_millis((1500 - wall_ms % 1500).saturating_sub(50));
    throughout(rest_of_window, "not polled in this window", || venue.num_asked("/poll") == num_asked).await;
    eventually("polled in the next window", || venue.num_asked("/poll") > num_asked).await;
}

#[actix::test]
async fn one_bad_request_of_a_round_does_not_keep_the_others_from_being_asked() {
    let venue = Venue::open("").await;
    let mut wanted = polled();
    wanted.polls = (0..6).map(|nth| Request::get(format!("/poll/{nth}"))).collect();
    for nth in 0..6 {
        let delay = Duration::from_millis(100);
        venue.answer(&format!("/poll/{nth}"), Reply { delay, ..Reply::ok(&format!("BTC-USDT {nth}")) });
    }
    venue.answer("/poll/0", Reply::status(400, ""));
    let running = start_with(&venue, wanted, |_| {});
    running.log.until_price("BTC-USDT", 5, Transport::Rest).await;
    assert_eq!(running.log.links(), [REST]);
    assert_eq!(venue.most_open_requests(), 4);
}
