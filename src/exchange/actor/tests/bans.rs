//! Exchanges that ask to be left alone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::hub::{Log, NAME, Running, eventually, setup, start, start_setup, start_with, throughout};
use super::speech::{feed, with_socket};
use super::venue::{Reply, Venue, Welcome};
use crate::clock;
use crate::exchange::actor::ExchangeSetup;
use crate::exchange::bans::{Ban, Bans};
use crate::exchange::{Feed, Quota, Request};
use crate::market::Transport;
use crate::rate_book::{Link, LinkFailure};

const WEB_SOCKET: Link = Link::Up(Transport::WebSocket);
const REST: Link = Link::Up(Transport::Rest);

async fn until_banned(running: &Running) -> LinkFailure {
    let banned = |link: Link| match link {
        Link::Down(failure) | Link::PollFailed(failure) if failure.banned_until.is_some() => Some(failure),
        _ => None,
    };
    running.log.until("a ban", |log| log.links().pop().and_then(banned).is_some()).await;
    running.log.links().pop().and_then(banned).unwrap()
}

/// Asks for everything that a feed can ask for.
fn greedy() -> Feed {
    let mut wanted =
        with_socket(feed(&["BTC-USDT"]), |socket| socket.handshake = Some(Request::get("/token")));
    wanted.instruments = Some(Request::get("/instruments"));
    wanted
}

#[actix::test]
async fn a_retry_after_silences_every_request_and_every_dial() {
    for (status, forbidden) in [(429, false), (418, false), (503, false)] {
        let venue = Venue::open("").await;
        let refusal = Reply::status(status, "Retry-After: 1\r\n");
        for path in ["/poll", "/token", "/instruments"] {
            venue.answer(path, refusal.clone());
        }
        let running = start(&venue, greedy());
        let failure = until_banned(&running).await;
        assert_eq!(failure.forbidden, forbidden);
        assert!(failure.detail.contains(&format!("answered {status}")), "{}", failure.detail);
        // What left before the first answer came is done; nothing leaves after it.
        let banned_at = clock::now();
        let num_asked = venue.heads().len();
        assert!(num_asked <= 3);
        throughout(Duration::from_millis(800), "nothing is asked during a ban", || {
            venue.heads().len() == num_asked
        })
        .await;
        eventually("asked again", || venue.heads().len() > num_asked).await;
        assert!(clock::now().since(banned_at) >= Duration::from_millis(900));
    }
}

#[actix::test]
async fn a_refusal_by_key_or_by_law_is_told_as_forbidden_and_asked_again_minutes_later() {
    for status in [401, 403, 451] {
        let venue = Venue::open("").await;
        venue.answer("/poll", Reply::status(status, ""));
        venue.welcome(Welcome::Status(status));
        let running = start(&venue, feed(&["BTC-USDT"]));
        let failure = until_banned(&running).await;
        assert!(failure.forbidden);
        let minutes_away = failure.banned_until.unwrap() - clock::now().wall;
        assert!((290..=300).contains(&minutes_away.num_seconds()));
        let num_asked = venue.heads().len();
        throughout(Duration::from_millis(400), "nothing is asked", || venue.heads().len() == num_asked).await;
    }
}

#[actix::test]
async fn a_body_that_asks_for_less_ends_the_round() {
    let venue = Venue::open("").await;
    let mut wanted = feed(&["BTC-USDT"]);
    wanted.socket = None;
    wanted.polls = (0..9).map(|nth| Request::get(format!("/poll/{nth}"))).collect();
    for nth in 0..9 {
        venue.answer(&format!("/poll/{nth}"), Reply::ok("fewer"));
    }
    let running = start(&venue, wanted);
    until_banned(&running).await;
    // Four leave together, and none after the first of their answers.
    throughout(Duration::from_millis(300), "no more is asked", || venue.heads().len() <= 4).await;
}

#[actix::test]
async fn an_upgrade_that_is_refused_by_a_limit_is_a_ban_too() {
    for (status, least) in [(429, 55), (418, 115), (451, 290)] {
        let venue = Venue::open("BTC-USDT 100").await;
        venue.welcome(Welcome::Status(status));
        let running = start(&venue, feed(&["BTC-USDT"]));
        let failure = until_banned(&running).await;
        let length = failure.banned_until.unwrap() - clock::now().wall;
        assert!(length.num_seconds() >= least, "{status} {length}");
        assert_eq!(venue.dialled_at().len(), 1);
        let num_asked = venue.num_asked("/poll");
        throughout(Duration::from_millis(300), "no polls either", || venue.num_asked("/poll") == num_asked)
            .await;
    }
}

#[actix::test]
async fn a_ban_of_the_last_run_is_served_before_anything_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let until = clock::now().after(Duration::from_millis(900)).wall;
    let ban = Ban { until, reason: "answered 418".to_owned(), forbidden: false };
    Bans::load(&path).unwrap().impose(NAME, ban.clone());
    let is_written = || std::fs::read_to_string(&path).is_ok_and(|text| text.contains("answered 418"));
    eventually("the file", is_written).await;

    let venue = Venue::open("BTC-USDT 100").await;
    let log = Log::default();
    let setup: ExchangeSetup = setup(&venue, &Arc::new(Mutex::new(greedy())), &log);
    venue.answer("/token", Reply::ok(&format!("dial {}/ws", venue.ws_url())));
    let _actor = start_setup(ExchangeSetup { bans: Bans::load(&path).unwrap(), ..setup });
    let failure = log.until_down().await;
    assert_eq!((failure.detail.as_str(), failure.banned_until), ("answered 418", Some(until)));
    assert!(venue.heads().is_empty());
    log.until_link(&WEB_SOCKET).await;
    assert!(venue.asked_at("/poll")[0].wall >= until);
}

#[actix::test]
async fn a_quota_that_is_used_up_silences_the_next_run_too_and_failures_use_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let venue = Venue::open("").await;
    let quota = Some(Quota { answers: 3, window: Duration::from_secs(3600) });
    let wanted = Arc::new(Mutex::new(Feed { socket: None, quota, ..feed(&["BTC-USDT"]) }));
    let start = || {
        let log = Log::default();
        let setup = setup(&venue, &wanted, &log);
        let actor = start_setup(ExchangeSetup { bans: Bans::load(&path).unwrap(), ..setup });
        Running { actor, log }
    };
    let is_over_quota = |log: &Log| {
        let is_it =
            |failure: &LinkFailure| failure.detail.contains("quota") && failure.banned_until.is_some();
        matches!(log.links().pop(), Some(Link::PollFailed(failure)) if is_it(&failure))
    };

    venue.answer("/poll", Reply::status(500, ""));
    let first = start();
    eventually("failures", || venue.num_asked("/poll") >= 4).await;
    assert!(!is_over_quota(&first.log));
    let num_failed = venue.num_asked("/poll");
    venue.answer("/poll", Reply::ok("BTC-USDT 100"));
    first.log.until("the quota to be used up", is_over_quota).await;
    let num_asked = venue.num_asked("/poll");
    assert!((num_failed + 3..=num_failed + 4).contains(&num_asked), "{num_failed} {num_asked}");
    assert_eq!(first.log.prices(Transport::Rest).len(), 3);
    let is_written = || std::fs::read_to_string(&path).is_ok_and(|text| text.contains("quota"));
    eventually("the file", is_written).await;

    let next = start();
    next.log.until("the ban of the last run", is_over_quota).await;
    throughout(Duration::from_millis(300), "nothing is asked", || venue.num_asked("/poll") == num_asked)
        .await;
}

#[actix::test]
async fn a_source_without_a_socket_is_told_as_banned_and_back_when_it_is_over() {
    let venue = Venue::open("").await;
    venue.answer("/poll", Reply::status(429, "Retry-After: 1\r\n"));
    let running = start(&venue, Feed { socket: None, ..feed(&["BTC-USDT"]) });
    until_banned(&running).await;
    venue.answer("/poll", Reply::ok("BTC-USDT 100"));
    running.log.until_link(&REST).await;
    assert_eq!(venue.num_asked("/poll"), 2);
}

#[actix::test]
async fn a_ban_of_requests_leaves_the_open_socket_alone() {
    let venue = Venue::open("BTC-USDT 100").await;
    let running =
        start_with(&venue, feed(&["BTC-USDT"]), |setup| setup.stale_after = Duration::from_millis(100));
    let peer = venue.peer(0).await;
    peer.say("BTC-USDT 100");
    running.log.until_link(&WEB_SOCKET).await;
    peer.say("fewer 700");
    until_banned(&running).await;
    let num_asked = venue.num_asked("/poll");
    peer.say("BTC-USDT 101");
    running.log.until_price("BTC-USDT", 101, Transport::WebSocket).await;
    throughout(Duration::from_millis(400), "no polls", || venue.num_asked("/poll") <= num_asked + 1).await;
    running.log.until_link(&WEB_SOCKET).await;
    assert_eq!(running.log.num_reconnects(), 0);
    assert_eq!(venue.num_peers(), 1);
}
