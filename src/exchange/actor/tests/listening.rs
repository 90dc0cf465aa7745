//! What a healthy exchange brings: listings, quotes of both ways, confirmations, planned replacements.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_http::ws::OpCode;

use super::hub::{Log, Told, eventually, setup, start, start_setup, start_with, throughout};
use super::speech::{feed, ping, subscription, with_socket};
use super::venue::{Heard, Reply, Venue, Welcome, frame};
use crate::exchange::{Method, Request};
use crate::market::Transport;
use crate::rate_book::Link;

const WEB_SOCKET: Link = Link::Up(Transport::WebSocket);

#[actix::test]
async fn an_exchange_is_listed_then_polled_and_dialled_at_the_same_time() {
    let venue = Venue::open("BTC-USDT 100").await;
    venue.answer("/poll", Reply { delay: Duration::from_millis(300), ..Reply::ok("BTC-USDT 100") });
    let running = start(&venue, feed(&["BTC-USDT"]));
    let peer = venue.peer(0).await;
    assert_eq!(venue.num_asked("/poll"), 1);
    assert!(running.log.prices(Transport::Rest).is_empty());
    peer.say("BTC-USDT 101");
    running.log.until_price("BTC-USDT", 101, Transport::WebSocket).await;
    assert!(
        matches!(&running.log.told()[0], Told::Listing { listens_to, .. } if listens_to == &["BTC-USDT"])
    );
}

#[actix::test]
async fn the_state_of_the_link_is_told_before_the_quotes_that_came_over_it() {
    let venue = Venue::open("BTC-USDT 100").await;
    let running = start(&venue, feed(&["BTC-USDT"]));
    running.log.until_price("BTC-USDT", 100, Transport::Rest).await;
    let peer = venue.peer(0).await;
    peer.say("BTC-USDT 101");
    running.log.until_price("BTC-USDT", 101, Transport::WebSocket).await;
    let told = running.log.told();
    let place = |wanted: &dyn Fn(&Told) -> bool| told.iter().position(wanted).unwrap();
    let socket_up = place(&|told| *told == Told::Link(WEB_SOCKET));
    let socket_quote = place(&|told| matches!(told, Told::Quote { price: 101, .. }));
    let first_link = place(&|told| matches!(told, Told::Link(Link::Up(_))));
    let first_quote = place(&|told| matches!(told, Told::Quote { .. }));
    assert!(socket_up < socket_quote && first_link < first_quote, "{told:?}");
}

#[actix::test]
async fn all_quotes_of_a_frame_have_one_moment() {
    let venue = Venue::open("").await;
    let running = start(&venue, feed(&["BTC-USDT", "ETH-USDT"]));
    venue.peer(0).await.say("BTC-USDT 100\nETH-USDT 10\nETH-USDT words");
    running
        .log
        .until("a refusal", |log| log.told().iter().any(|told| matches!(told, Told::Refused(_))))
        .await;
    let moments = running.log.told().into_iter().filter_map(|told| match told {
        Told::Quote { received_at, .. } => Some(received_at),
        _ => None,
    });
    let moments: Vec<_> = moments.collect();
    assert_eq!(moments.len(), 2);
    assert_eq!(moments[0], moments[1]);
}

#[actix::test]
async fn subscriptions_leave_in_order_and_no_closer_together_than_allowed() {
    let venue = Venue::open("").await;
    let gap = Duration::from_millis(60);
    let wanted = with_socket(feed(&["BTC-USDT", "ETH-USDT", "SOL-USDT"]), |socket| socket.min_gap = gap);
    let _running = start(&venue, wanted);
    let peer = venue.peer(0).await;
    eventually("three subscriptions", || peer.texts().len() == 3).await;
    let asked = ["subscribe 1 BTC-USDT", "subscribe 2 ETH-USDT", "subscribe 3 SOL-USDT"];
    assert_eq!(peer.texts(), asked);
    let times = peer.heard().into_iter().filter_map(|heard| match heard {
        Heard::Text(_, at) => Some(at),
        _ => None,
    });
    let times: Vec<_> = times.collect();
    // A little less than the gap, for what the system delays the one before.
    assert!(times.windows(2).all(|pair| pair[1].since(pair[0]) >= gap / 2), "{times:?}");
}

#[actix::test]
async fn pings_are_answered_with_their_own_payload_while_data_floods() {
    let venue = Venue::open("").await;
    let running = start(&venue, feed(&["BTC-USDT"]));
    let peer = venue.peer(0).await;
    let flood: Vec<u8> = (0..500)
        .flat_map(|price| frame(OpCode::Text, true, format!("BTC-USDT {price}").as_bytes()))
        .collect();
    let payloads: Vec<Vec<u8>> = (0..200_u8).map(|nth| vec![nth; usize::from(nth % 120)]).collect();
    for payload in &payloads {
        peer.send(flood.clone());
        peer.send(frame(OpCode::Ping, true, payload));
    }
    let pongs = || -> Vec<Vec<u8>> {
        let pong = |heard| if let Heard::Pong(payload) = heard { Some(payload) } else { None };
        peer.heard().into_iter().filter_map(pong).collect()
    };
    eventually("all pongs", || pongs().len() == payloads.len()).await;
    assert_eq!(pongs(), payloads);
    running.log.until_price("BTC-USDT", 499, Transport::WebSocket).await;
}

#[actix::test]
async fn frames_without_times_are_no_newer_than_before_while_a_ping_is_not_answered() {
    let venue = Venue::open("ETH-USDT 10").await;
    let running = start_with(&venue, feed(&["BTC-USDT"]), |setup| {
        setup.stale_after = Duration::from_millis(400);
    });
    let peer = venue.peer(0).await;
    let received_at = |price: i64| {
        let is_it = |told: &Told| matches!(told, Told::Quote { price: it, .. } if *it == price);
        match running.log.told().into_iter().find(is_it) {
            Some(Told::Quote { received_at, .. }) => received_at.monotonic,
            other => panic!("{other:?}"),
        }
    };
    let (first, pinged_at) = peer.ping(0).await;
    peer.send(frame(OpCode::Pong, true, &first));
    peer.say("BTC-USDT 100");
    running.log.until_price("BTC-USDT", 100, Transport::WebSocket).await;
    assert!(received_at(100) > pinged_at.monotonic);

    let (second, pinged_again_at) = peer.ping(1).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    peer.say("BTC-USDT 101");
    running.log.until_price("BTC-USDT", 101, Transport::WebSocket).await;
    assert_eq!(received_at(101), received_at(100));

    peer.send(frame(OpCode::Pong, true, &second));
    peer.say("BTC-USDT 102");
    running.log.until_price("BTC-USDT", 102, Transport::WebSocket).await;
    // What is read together with the pong may have been sent before it.
    peer.say("BTC-USDT 103");
    running.log.until_price("BTC-USDT", 103, Transport::WebSocket).await;
    assert!(received_at(103) > pinged_again_at.monotonic);
}

#[actix::test]
async fn a_message_in_fragments_is_read_as_one() {
    let venue = Venue::open("").await;
    let running = start(&venue, feed(&["BTC-USDT"]));
    let peer = venue.peer(0).await;
    peer.send(frame(OpCode::Text, false, b"BTC-U"));
    peer.send(frame(OpCode::Ping, true, b"?"));
    peer.send(frame(OpCode::Continue, false, b"SDT 1"));
    peer.send(frame(OpCode::Continue, true, b"23"));
    running.log.until_price("BTC-USDT", 123, Transport::WebSocket).await;
}

#[actix::test]
async fn echoes_and_the_clients_own_pings_are_sent() {
    let venue = Venue::open("").await;
    let wanted =
        with_socket(feed(&["BTC-USDT"]), |socket| socket.ping = Some(ping(Duration::from_millis(40))));
    let _running = start(&venue, wanted);
    let peer = venue.peer(0).await;
    peer.say("echo pong 17");
    eventually("an echo and pings", || {
        let texts = peer.texts();
        texts.contains(&"pong 17".to_owned())
            && texts.iter().filter(|text| *text == "how are you").count() >= 3
    })
    .await;
}

#[actix::test]
async fn a_handshake_tells_where_to_dial_and_how_often_to_ping() {
    let venue = Venue::open("").await;
    let request = Request { method: Method::Post, ..Request::get("/token") };
    venue.answer("/token", Reply::ok(&format!("dial {}/other?token=secret", venue.ws_url())));
    let wanted = with_socket(feed(&["BTC-USDT"]), |socket| {
        socket.handshake = Some(request);
        socket.ping = Some(ping(Duration::from_secs(3600)));
    });
    let running = start(&venue, wanted);
    let peer = venue.peer(0).await;
    let heads = venue.heads();
    assert!(heads.iter().any(|head| head.starts_with("POST /token ")), "{heads:?}");
    assert!(heads.iter().any(|head| head.starts_with("GET /other?token=secret ")), "{heads:?}");
    eventually("a ping at the told pace", || peer.texts().contains(&"how are you".to_owned())).await;
    peer.say("BTC-USDT 100");
    running.log.until_price("BTC-USDT", 100, Transport::WebSocket).await;
}

#[actix::test]
async fn a_handshake_cannot_lead_away_from_tls() {
    let venue = Venue::open("BTC-USDT 100").await;
    venue.answer("/token", Reply::ok(&format!("dial {}/other", venue.ws_url())));
    let wanted = with_socket(feed(&["BTC-USDT"]), |socket| socket.handshake = Some(Request::get("/token")));
    let running = start_with(&venue, wanted, |setup| setup.ws_url = venue.ws_url().replace("ws:", "wss:"));
    eventually("a handshake", || venue.num_asked("/token") > 0).await;
    running.log.until_link(&Link::Up(Transport::Rest)).await;
    throughout(Duration::from_millis(200), "not dialled", || venue.dialled_at().is_empty()).await;
}

#[actix::test]
async fn a_quiet_direction_is_confirmed_by_polls_and_a_lively_one_is_not_polled() {
    let venue = Venue::open("BTC-USDT 100").await;
    let running =
        start_with(&venue, feed(&["BTC-USDT"]), |setup| setup.stale_after = Duration::from_millis(400));
    let peer = venue.peer(0).await;
    peer.say("BTC-USDT 100");
    running.log.until_link(&WEB_SOCKET).await;
    eventually("confirmations", || venue.num_asked("/poll") >= 5).await;
    let asked_at = venue.asked_at("/poll");
    let gaps: Vec<_> = asked_at.windows(2).skip(1).map(|pair| pair[1].since(pair[0])).collect();
    assert!(gaps.iter().all(|gap| *gap >= Duration::from_millis(190)), "{gaps:?}");
    // What confirms is reported, so that it refreshes.
    assert!(running.log.prices(Transport::Rest).len() >= 4);
    assert_eq!(running.log.links().last(), Some(&WEB_SOCKET));

    let num_asked = venue.num_asked("/poll");
    throughout(Duration::from_millis(600), "a lively direction is not polled", || {
        peer.say("BTC-USDT 100");
        venue.num_asked("/poll") <= num_asked + 1
    })
    .await;
}

#[actix::test]
async fn a_body_that_was_asked_for_before_a_newer_frame_is_dropped() {
    let venue = Venue::open("").await;
    venue.answer("/poll", Reply { delay: Duration::from_millis(300), ..Reply::ok("BTC-USDT 1\nETH-USDT 2") });
    let running = start(&venue, feed(&["BTC-USDT", "ETH-USDT"]));
    venue.peer(0).await.say("BTC-USDT 100");
    running.log.until_price("ETH-USDT", 2, Transport::Rest).await;
    assert_eq!(running.log.prices(Transport::Rest), [("ETH-USDT".to_owned(), 2)]);
}

#[actix::test]
async fn a_socket_before_its_forced_end_is_replaced_without_a_gap() {
    let venue = Venue::open("BTC-USDT 100").await;
    let lifetime = Duration::from_millis(600);
    let wanted = with_socket(feed(&["BTC-USDT"]), |socket| socket.lifetime = Some(lifetime));
    let running = start(&venue, wanted);
    for nth in 0..4 {
        let (old, new) = (venue.peer(nth).await, nth + 1);
        old.say("BTC-USDT 100");
        running.log.until_link(&WEB_SOCKET).await;
        let new = venue.peer(new).await;
        assert!(!old.has_ended(), "the old socket is there until the new one delivers");
        new.say("BTC-USDT 101");
        eventually("a goodbye to the old socket", || old.heard().contains(&Heard::Close(Some(1000)))).await;
    }
    assert_eq!(running.log.num_reconnects(), 0);
    let downs = running.log.links().into_iter().filter(|link| !matches!(link, Link::Up(_)));
    assert_eq!(downs.count(), 0);
}

#[actix::test]
async fn an_announced_end_replaces_the_socket_at_once() {
    let venue = Venue::open("BTC-USDT 100").await;
    let running = start(&venue, feed(&["BTC-USDT"]));
    let old = venue.peer(0).await;
    old.say("BTC-USDT 100");
    running.log.until_link(&WEB_SOCKET).await;
    old.say("soon");
    venue.peer(1).await;
    eventually("a goodbye to the old socket", || old.heard().contains(&Heard::Close(Some(1000)))).await;
    assert_eq!(running.log.num_reconnects(), 0);
    assert_eq!(running.log.links().last(), Some(&WEB_SOCKET));
}

#[actix::test]
async fn while_two_sockets_overlap_the_newer_one_has_the_word() {
    let venue = Venue::open("BTC-USDT 100\nETH-USDT 10").await;
    venue.welcome(Welcome::Silent);
    let running = start(&venue, feed(&["BTC-USDT", "ETH-USDT"]));
    let old = venue.peer(0).await;
    old.say("ack 1\nack 2\nBTC-USDT 100");
    running.log.until_link(&WEB_SOCKET).await;
    old.say("soon");
    let new = venue.peer(1).await;
    new.say("BTC-USDT 105");
    running.log.until_price("BTC-USDT", 105, Transport::WebSocket).await;
    old.say("BTC-USDT 101\nETH-USDT 11");
    running.log.until_price("ETH-USDT", 11, Transport::WebSocket).await;
    assert!(!running.log.prices(Transport::WebSocket).contains(&("BTC-USDT".to_owned(), 101)));
}

#[actix::test]
async fn numbers_of_channels_mean_what_their_own_connection_said() {
    let venue = Venue::open("BTC-USDT 100\nETH-USDT 10").await;
    venue.welcome(Welcome::Silent);
    let running = start(&venue, feed(&["BTC-USDT", "ETH-USDT"]));
    let old = venue.peer(0).await;
    old.say("ack 1\nack 2\nchannel 5 ETH-USDT\n#5 10");
    running.log.until_price("ETH-USDT", 10, Transport::WebSocket).await;
    old.say("soon");
    venue.peer(1).await.say("channel 5 BTC-USDT\n#5 100");
    running.log.until_price("BTC-USDT", 100, Transport::WebSocket).await;
    old.say("#5 11");
    running.log.until_price("ETH-USDT", 11, Transport::WebSocket).await;
}

#[actix::test]
async fn a_changed_feed_is_listed_and_what_is_new_is_subscribed_and_polled() {
    let venue = Venue::open("BTC-USDT 100").await;
    venue.answer("/instruments", Reply::ok("changed"));
    let mut wanted = feed(&["BTC-USDT"]);
    wanted.instruments = Some(Request::get("/instruments"));
    let shared = Arc::new(Mutex::new(wanted.clone()));
    let log = Log::default();
    let _actor = start_setup(setup(&venue, &shared, &log));
    let peer = venue.peer(0).await;
    eventually("the first subscription", || peer.texts().len() == 1).await;

    wanted.listens_to.push(super::speech::direction("ETH-USDT"));
    wanted.unsupported.push(super::speech::direction("XRP-USDT"));
    wanted.socket.as_mut().unwrap().subscriptions.push(subscription(2, "ETH-USDT"));
    wanted.polls.push(Request::get("/more"));
    *shared.lock().unwrap() = wanted;
    peer.say("changed");
    eventually("the second subscription", || peer.texts().len() == 2).await;
    eventually("the new poll", || venue.num_asked("/more") > 0).await;
    let expected = Told::Listing {
        listens_to: vec!["BTC-USDT".to_owned(), "ETH-USDT".to_owned()],
        unsupported: vec!["XRP-USDT".to_owned()],
    };
    log.until("the new listing", |log| log.told().contains(&expected)).await;
    assert_eq!(venue.num_peers(), 1);
}

#[actix::test]
async fn instruments_are_asked_for_once_and_again_only_after_a_failure() {
    let venue = Venue::open("BTC-USDT 100").await;
    venue.answer("/instruments", Reply::status(500, ""));
    let mut wanted = feed(&["BTC-USDT"]);
    wanted.instruments = Some(Request::get("/instruments"));
    let running = start(&venue, wanted);
    eventually("three failures", || venue.num_asked("/instruments") >= 3).await;
    venue.answer("/instruments", Reply::ok("beat"));
    let num_failed = venue.num_asked("/instruments");
    eventually("one success", || venue.num_asked("/instruments") > num_failed).await;
    let num_asked = venue.num_asked("/instruments");
    throughout(Duration::from_millis(300), "asked once a day", || {
        venue.num_asked("/instruments") <= num_asked + 1
    })
    .await;
    assert_eq!(running.log.links().last(), Some(&WEB_SOCKET));
}
