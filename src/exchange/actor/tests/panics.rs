//! Panics in every place where one can happen: each ends the incarnation, and the next one works.

use std::thread;

use super::hub::{NAME, eventually, start};
use super::speech::feed;
use super::venue::Venue;
use crate::market::Transport;

#[actix::test]
async fn a_panic_anywhere_ends_the_incarnation_and_nothing_else() {
    let this_thread = thread::current().id();
    for place in ["started", "timer", "frame", "spawned"] {
        let point = format!("exchange::{place}({NAME})");
        let venue = Venue::open("BTC-USDT 100").await;
        // Other tests run at the same time on threads of their own.
        fail::cfg_callback(&point, move || {
            assert!(thread::current().id() != this_thread, "injected");
        })
        .unwrap();
        let running = start(&venue, feed(&["BTC-USDT"]));
        eventually(place, || !running.actor.connected()).await;
        fail::remove(&point);
        let next = start(&venue, feed(&["BTC-USDT"]));
        next.log.until_price("BTC-USDT", 100, Transport::Rest).await;
        assert!(next.actor.connected());
    }
}
