//! Sockets that end, fall silent, lie or flood, and what takes their place.

use std::time::Duration;

use actix_http::ws::OpCode;

use super::hub::{Running, Told, eventually, scaled, setup, start, start_setup, start_with, throughout};
use super::speech::{feed, with_socket};
use super::venue::{Heard, Peer, Reply, Venue, Welcome, frame};
use crate::clock;
use crate::exchange::actor::{Limits, Tick};
use crate::exchange::dial_budget::DialBudget;
use crate::market::{Refusal, Transport};
use crate::rate_book::Link;

const WEB_SOCKET: Link = Link::Up(Transport::WebSocket);
const REST: Link = Link::Up(Transport::Rest);

/// An actor whose socket delivers, with nothing quiet, and whose next dials are not welcome.
async fn listening(venue: &Venue, welcome: Welcome) -> (Running, Peer) {
    let running = start(venue, feed(&["BTC-USDT"]));
    let peer = venue.peer(0).await;
    peer.say("BTC-USDT 100");
    running.log.until_price("BTC-USDT", 100, Transport::WebSocket).await;
    running.log.until_link(&WEB_SOCKET).await;
    running.log.until("the first poll", |_| venue.num_asked("/poll") == 1).await;
    venue.welcome(welcome);
    (running, peer)
}

#[actix::test]
async fn a_lost_socket_is_covered_up_by_rest_until_it_is_dialled_again() {
    let close = |peer: &Peer| peer.send(frame(OpCode::Close, true, b"\x03\xe9going away"));
    let reset_in_a_frame = |peer: &Peer| {
        peer.send(b"\x81\x7d{\"half".to_vec());
        peer.reset();
    };
    for (name, end) in [("end", Peer::end as fn(&Peer)), ("close", close), ("reset", reset_in_a_frame)] {
        let venue = Venue::open("BTC-USDT 100").await;
        let (running, peer) = listening(&venue, Welcome::Stall).await;
        running.log.clear();
        let lost_at = clock::now();
        end(&peer);
        running.log.until_link(&REST).await;
        let told_at = running.log.all().iter().find(|(_, told)| *told == Told::Link(REST)).unwrap().0;
        assert!(told_at.since(lost_at) < Duration::from_millis(500), "{name}");
        assert_eq!(running.log.num_reconnects(), 1, "{name}");
        let num_asked = venue.num_asked("/poll");
        eventually("polls at their pace", || venue.num_asked("/poll") >= num_asked + 3).await;

        venue.welcome(Welcome::Acknowledge);
        running.log.until_link(&WEB_SOCKET).await;
        assert_eq!(running.log.links(), [REST, WEB_SOCKET], "{name}");
    }
}

#[actix::test]
async fn a_lost_socket_is_a_reason_to_poll_at_once_whatever_the_pace() {
    let venue = Venue::open("BTC-USDT 100").await;
    let running =
        start_with(&venue, feed(&["BTC-USDT"]), |setup| setup.poll_every = Duration::from_secs(3600));
    let peer = venue.peer(0).await;
    peer.say("BTC-USDT 100");
    running.log.until_price("BTC-USDT", 100, Transport::WebSocket).await;
    eventually("the first poll", || venue.num_asked("/poll") == 1).await;
    venue.welcome(Welcome::Stall);
    running.log.clear();
    peer.end();
    running.log.until_link(&REST).await;
    assert_eq!(venue.num_asked("/poll"), 2);
}

#[actix::test]
async fn a_lost_socket_without_rest_is_down_at_once_and_comes_back() {
    let venue = Venue::open("BTC-USDT 100").await;
    let (running, peer) = listening(&venue, Welcome::Stall).await;
    venue.answer("/poll", Reply::status(500, ""));
    let lost_at = clock::now();
    peer.end();
    let failure = running.log.until_down().await;
    assert!(clock::now().since(lost_at) < Duration::from_millis(400));
    assert_eq!(failure.detail, "closed by peer; REST: answered 500");

    venue.answer("/poll", Reply::ok("BTC-USDT 100"));
    running.log.until_link(&REST).await;
    venue.answer("/poll", Reply::status(500, ""));
    running.log.until_down().await;
}

#[actix::test]
async fn a_lost_socket_is_down_when_rest_does_not_answer_in_time() {
    let venue = Venue::open("BTC-USDT 100").await;
    let running =
        start_with(&venue, feed(&["BTC-USDT"]), |setup| setup.poll_every = Duration::from_secs(3600));
    let peer = venue.peer(0).await;
    peer.say("BTC-USDT 100");
    running.log.until_price("BTC-USDT", 100, Transport::WebSocket).await;
    eventually("the first poll", || venue.num_asked("/poll") == 1).await;
    venue.welcome(Welcome::Stall);
    venue.answer("/poll", Reply { delay: Duration::from_millis(800), ..Reply::ok("BTC-USDT 100") });
    let lost_at = clock::now();
    peer.end();
    assert_eq!(running.log.until_down().await.detail, "closed by peer");
    let took = clock::now().since(lost_at);
    assert!(took >= Duration::from_millis(500) && took < Duration::from_millis(700), "{took:?}");
    running.log.until_link(&REST).await;
    // That answer is older than the loss, and RateBook does not believe it; the next one is.
    eventually("another poll", || venue.num_asked("/poll") == 3).await;
}

#[actix::test]
async fn a_link_without_a_sign_of_life_is_dialled_again() {
    let venue = Venue::open("BTC-USDT 100").await;
    let silence = Duration::from_millis(300);
    let running = start(&venue, with_socket(feed(&["BTC-USDT"]), |socket| socket.link_silence = silence));
    let peer = venue.peer(0).await;
    throughout(Duration::from_millis(900), "pings keep the link", || {
        peer.send(frame(OpCode::Ping, true, b""));
        venue.num_peers() == 1
    })
    .await;
    venue.peer(1).await;
    assert_eq!(running.log.num_reconnects(), 1);
}

#[actix::test]
async fn a_mute_socket_is_covered_by_rest_and_replaced() {
    let venue = Venue::open("BTC-USDT 100").await;
    let running =
        start_with(&venue, feed(&["BTC-USDT"]), |setup| setup.stale_after = Duration::from_millis(300));
    let peer = venue.peer(0).await;
    peer.say("BTC-USDT 100");
    running.log.until_link(&WEB_SOCKET).await;
    running.log.clear();
    // Signs of life and heartbeats go on, only the price does not.
    let beating = peer.clone();
    actix::spawn(async move {
        for _ in 0..2000 {
            beating.say("beat");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    venue.answer("/poll", Reply::ok("BTC-USDT 105"));
    running.log.until_price("BTC-USDT", 105, Transport::Rest).await;
    running.log.until_link(&REST).await;
    let replacement = venue.peer(1).await;
    assert_eq!(running.log.num_reconnects(), 0);
    eventually("a goodbye to the mute one", || peer.heard().contains(&Heard::Close(Some(1000)))).await;
    assert_eq!(running.log.links().last(), Some(&REST));
    replacement.say("BTC-USDT 106");
    running.log.until_link(&WEB_SOCKET).await;
    running.log.until_price("BTC-USDT", 106, Transport::WebSocket).await;
}

#[actix::test]
async fn a_socket_that_stays_mute_is_replaced_ever_less_often() {
    let venue = Venue::open("BTC-USDT 100").await;
    let limits = Limits { replace_backoff: (Duration::from_secs(60), Duration::from_secs(60)), ..scaled() };
    let _running = start_with(&venue, feed(&["BTC-USDT"]), |setup| {
        setup.stale_after = Duration::from_millis(100);
        setup.limits = limits;
    });
    venue.peer(0).await.say("BTC-USDT 100");
    for price in 101..120 {
        venue.answer("/poll", Reply::ok(&format!("BTC-USDT {price}")));
        let num_asked = venue.num_asked("/poll");
        eventually("two more polls", || venue.num_asked("/poll") >= num_asked + 2).await;
    }
    assert_eq!(venue.num_peers(), 2);
}

#[actix::test]
async fn one_mute_direction_is_found_while_others_move() {
    let venue = Venue::open("BTC-USDT 100\nETH-USDT 10").await;
    let wanted = feed(&["BTC-USDT", "ETH-USDT"]);
    let running = start_with(&venue, wanted, |setup| setup.stale_after = Duration::from_millis(300));
    let peer = venue.peer(0).await;
    peer.say("BTC-USDT 100\nETH-USDT 10");
    running.log.until_link(&WEB_SOCKET).await;
    venue.answer("/poll", Reply::ok("BTC-USDT 100\nETH-USDT 11"));
    eventually("a replacement", || {
        peer.say("BTC-USDT 100");
        venue.num_peers() == 2
    })
    .await;
    running.log.until_price("ETH-USDT", 11, Transport::Rest).await;
}

#[actix::test]
async fn a_missing_acknowledgement_is_asked_for_once_more_and_leaves_the_others_alone() {
    let venue = Venue::open("BTC-USDT 100\nETH-USDT 10").await;
    venue.welcome(Welcome::Silent);
    let running = start(&venue, feed(&["BTC-USDT", "ETH-USDT"]));
    let peer = venue.peer(0).await;
    peer.say("ack 1\nBTC-USDT 100");
    running.log.until_link(&WEB_SOCKET).await;
    let subscribed = || peer.texts().iter().filter(|text| *text == "subscribe 2 ETH-USDT").count();
    eventually("one more try", || subscribed() == 2).await;
    peer.say("ack 2");
    throughout(Duration::from_millis(500), "nothing is asked for again", || {
        peer.texts().len() == 3 && venue.num_peers() == 1
    })
    .await;
}

#[actix::test]
async fn a_socket_that_acknowledges_nothing_is_dialled_again() {
    let venue = Venue::open("BTC-USDT 100").await;
    venue.welcome(Welcome::Silent);
    let running = start(&venue, feed(&["BTC-USDT"]));
    let first = venue.peer(0).await;
    venue.peer(1).await;
    assert_eq!(first.texts(), ["subscribe 1 BTC-USDT", "subscribe 1 BTC-USDT"]);
    assert_eq!(running.log.links(), [REST]);
}

#[actix::test]
async fn a_refused_subscription_is_no_reason_to_dial_again() {
    let venue = Venue::open("BTC-USDT 100").await;
    venue.welcome(Welcome::Silent);
    let running = start(&venue, feed(&["BTC-USDT", "ETH-USDT"]));
    let peer = venue.peer(0).await;
    peer.say("ack 1\nrefuse 2\nBTC-USDT 100");
    running.log.until_link(&WEB_SOCKET).await;
    throughout(Duration::from_millis(600), "the socket stays", || venue.num_peers() == 1).await;
    assert_eq!(running.log.num_reconnects(), 0);
    assert_eq!(peer.texts().len(), 2);
}

#[actix::test]
async fn what_is_too_big_closes_the_socket_with_1009() {
    let announced_64_mib = vec![0x81, 127, 0, 0, 0, 0, 4, 0, 0, 0];
    let mut fragments = frame(OpCode::Text, false, &[b'x'; 200_000]);
    for _ in 0..10 {
        fragments.extend(frame(OpCode::Continue, false, &[b'x'; 200_000]));
    }
    for bytes in [announced_64_mib, fragments] {
        let venue = Venue::open("BTC-USDT 100").await;
        let (running, peer) = listening(&venue, Welcome::Acknowledge).await;
        peer.send(bytes);
        eventually("a goodbye", || peer.heard().contains(&Heard::Close(Some(1009)))).await;
        venue.peer(1).await;
        assert_eq!(running.log.num_reconnects(), 1);
    }
}

#[actix::test]
async fn twenty_unreadable_frames_in_a_row_replace_the_socket_and_are_counted() {
    let venue = Venue::open("BTC-USDT 100").await;
    let (running, peer) = listening(&venue, Welcome::Acknowledge).await;
    let rubbish: [&[u8]; 5] = [b"{\"truncated", b"<!DOCTYPE html>", b"\xff\xfe", b"\0", &[b'['; 100_000]];
    let refused = |log: &super::hub::Log| {
        log.told().iter().filter(|told| **told == Told::Refused(Refusal::Syntax)).count()
    };
    for nth in 0..19 {
        peer.send(frame(OpCode::Text, true, rubbish[nth % 5]));
    }
    peer.say("BTC-USDT 101");
    running.log.until_price("BTC-USDT", 101, Transport::WebSocket).await;
    assert_eq!((refused(&running.log), venue.num_peers()), (19, 1));
    for nth in 0..20 {
        peer.send(frame(OpCode::Text, true, rubbish[nth % 5]));
    }
    venue.peer(1).await;
    assert_eq!(refused(&running.log), 39);
}

#[actix::test]
async fn a_flapping_exchange_is_dialled_with_growing_delays() {
    let venue = Venue::open("BTC-USDT 100").await;
    venue.welcome(Welcome::HangUp);
    let _running = start(&venue, feed(&["BTC-USDT"]));
    eventually("twelve dials", || venue.dialled_at().len() >= 12).await;
    let dialled_at = venue.dialled_at();
    let gaps: Vec<Duration> = dialled_at.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert!(gaps.iter().all(|gap| *gap >= Duration::from_millis(2)), "{gaps:?}");
    // Six delays with ceilings of 20 to 200 ms, then six with the longest: 100 ms on average.
    let (early, late) = (gaps[..5].iter().sum::<Duration>(), gaps[6..].iter().sum::<Duration>());
    assert!(late > Duration::from_millis(100), "{early:?} {late:?}");
}

#[actix::test]
async fn the_dial_budget_bounds_all_incarnations_together() {
    let venue = Venue::open("BTC-USDT 100").await;
    venue.welcome(Welcome::HangUp);
    let log = super::hub::Log::default();
    let wanted = std::sync::Arc::new(std::sync::Mutex::new(feed(&["BTC-USDT"])));
    let mut setup = setup(&venue, &wanted, &log);
    setup.budget = DialBudget::new(6, Duration::from_secs(60));
    setup.limits.dial_backoff = (Duration::from_millis(5), Duration::from_millis(10));
    let first = start_setup(setup.clone());
    eventually("some dials", || venue.dialled_at().len() >= 3).await;
    let second = start_setup(setup);
    eventually("the rest of the budget", || venue.dialled_at().len() == 6).await;
    throughout(Duration::from_millis(300), "no dial beyond the budget", || venue.dialled_at().len() == 6)
        .await;
    assert!(first.connected() && second.connected());
}

#[actix::test]
async fn an_upgrade_that_stalls_is_given_up_in_time() {
    let venue = Venue::open("").await;
    venue.answer("/poll", Reply::status(500, ""));
    venue.welcome(Welcome::Stall);
    let began_at = clock::now();
    let running = start_with(&venue, feed(&["BTC-USDT"]), |setup| {
        setup.limits.dial_timeout = Duration::from_millis(300);
    });
    let failure = running.log.until_down().await;
    assert!(failure.detail.starts_with("no answer within 0.3 s"), "{}", failure.detail);
    assert!(clock::now().since(began_at) < Duration::from_millis(600));
}

#[actix::test]
async fn a_refused_connection_and_a_failing_poll_are_down() {
    let venue = Venue::open("").await;
    let running = start_with(&venue, feed(&["BTC-USDT"]), |setup| {
        // Port 1 of loopback listens nowhere that tests run.
        setup.ws_url = "ws://127.0.0.1:1".to_owned();
        setup.rest_url = "http://127.0.0.1:1".to_owned();
    });
    assert_eq!(running.log.until_down().await.detail, "connection refused");
}

#[actix::test]
async fn a_suspended_machine_begins_anew_at_once() {
    let venue = Venue::open("BTC-USDT 100").await;
    let (running, peer) = listening(&venue, Welcome::Acknowledge).await;
    let mut now = clock::now();
    running.actor.send(Tick(now)).await.unwrap();
    assert_eq!(venue.num_peers(), 1);
    now.wall += chrono::TimeDelta::hours(1);
    running.actor.send(Tick(now)).await.unwrap();
    eventually("the old socket to end", || peer.has_ended()).await;
    eventually("a poll at once", || venue.num_asked("/poll") >= 2).await;
    venue.peer(1).await;
    running.log.until_link(&WEB_SOCKET).await;
}

#[actix::test]
async fn what_came_while_the_process_stood_still_is_not_taken_for_new() {
    let venue = Venue::open("BTC-USDT 100").await;
    let running = start_with(&venue, feed(&["BTC-USDT"]), |setup| {
        setup.limits.longest_pause = Duration::from_millis(700);
    });
    let peer = venue.peer(0).await;
    peer.say("BTC-USDT 100");
    running.log.until_price("BTC-USDT", 100, Transport::WebSocket).await;
    peer.say("BTC-USDT 101");
    // The venue gets its turn to write, and the actor none to read, because this thread does not wait for anything.
    let num_written = peer.num_written();
    while peer.num_written() == num_written {
        tokio::task::yield_now().await;
    }
    std::thread::sleep(Duration::from_millis(1000));
    eventually("the old socket to end", || peer.has_ended()).await;
    venue.peer(1).await.say("BTC-USDT 102");
    running.log.until_price("BTC-USDT", 102, Transport::WebSocket).await;
    assert!(!running.log.prices(Transport::WebSocket).contains(&("BTC-USDT".to_owned(), 101)));
}

#[actix::test]
async fn a_peer_that_has_gone_without_a_goodbye_is_replaced_before_the_link_is_given_up() {
    let venue = Venue::open("BTC-USDT 100").await;
    let running = start_with(&venue, feed(&["BTC-USDT"]), |setup| {
        setup.stale_after = Duration::from_millis(400);
        setup.limits.request_timeout = Duration::from_millis(200);
    });
    venue.peer(0).await.say("BTC-USDT 100");
    running.log.until_link(&WEB_SOCKET).await;
    venue.answer("/poll", Reply { delay: Duration::from_secs(5), ..Reply::ok("") });
    venue.peer(1).await;
    assert_eq!(running.log.num_reconnects(), 0);
}

#[actix::test]
async fn a_flood_reaches_the_hub_with_its_newest_price_and_leaves_the_actor_responsive() {
    let venue = Venue::open("BTC-USDT 0").await;
    let (running, peer) = listening(&venue, Welcome::Acknowledge).await;
    for chunk in 0..50 {
        let frames = (0..1000).flat_map(|nth| {
            frame(OpCode::Text, true, format!("BTC-USDT {}", 1 + chunk * 1000 + nth).as_bytes())
        });
        peer.send(frames.collect());
    }
    let answered = running.actor.send(Tick(clock::now())).timeout(Duration::from_secs(5)).await;
    assert!(answered.is_ok(), "the mailbox has its turn during a flood");
    running.log.until_price("BTC-USDT", 50_000, Transport::WebSocket).await;
}
