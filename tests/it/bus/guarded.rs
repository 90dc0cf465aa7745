//! The permissions of `deploy/nats.conf`: each role can do its work, and nobody else can say what a price is.

use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use tokio::time::{sleep, timeout};

use super::node::Site;
use crate::support::nats::{Nats, PASSWORDS};
use crate::tls::certified;

fn credentials(role: usize) -> [(&'static str, &'static str); 2] {
    let user = ["collector", "replica", "store"][role];
    [("RATEBOOK_NATS_USER", user), ("RATEBOOK_NATS_PASSWORD", PASSWORDS[role].1)]
}

async fn connected(url: &str, role: usize) -> Client {
    let [(_, user), (_, password)] = credentials(role);
    let options = ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned());
    options.custom_inbox_prefix(format!("_INBOX.{user}")).connect(url).await.unwrap()
}

#[actix_web::test]
async fn a_broker_that_speaks_tls_is_trusted_by_its_certificate() {
    let (authority, certificate, key) = certified();
    let site = Site::with(move || Nats::start_secured(certificate, key)).await;
    let path = site.path("authority.pem").display().to_string();
    std::fs::write(&path, authority).unwrap();
    let trusting = [("RATEBOOK_TLS_CA_FILE", path.as_str())];
    let collector = site.node("collector", "collect", &trusting);
    let replica = site.node("replica", "answer", &trusting);
    let stranger = site.node("stranger", "answer", &[]);
    replica.until_it_answers().await;
    assert_eq!(collector.health().await["bus"]["status"], "ok");
    let told = stranger.health().await["bus"].clone();
    assert_eq!((told["status"].as_str(), told["messages_total"].as_u64()), (Some("impaired"), Some(0)));
    assert!(told["last_error"].as_str().unwrap().contains("certificate is not trusted"), "{told}");
    site.stop().await;
}

#[actix_web::test]
async fn only_collectors_can_say_what_a_price_is() {
    let site = Site::with(Nats::start_guarded).await;
    let collector = site.node("collector", "collect", &credentials(0));
    let replica = site.node("replica", "answer", &credentials(1));
    let store = site.node("store", "store", &credentials(2));
    let stranger = site.node(
        "stranger",
        "answer",
        &[("RATEBOOK_NATS_USER", "replica"), ("RATEBOOK_NATS_PASSWORD", "x")],
    );
    replica.until_it_answers().await;
    let stored = |answer: &super::node::Answer| answer.body["storage"]["stored_rows"].as_u64() >= Some(5);
    store.until("/health", stored).await;
    let is_well = |answer: &super::node::Answer| answer.body["bus"]["status"] == "ok";
    collector.until("/health", is_well).await;

    let url = site.nats.url();
    // Somebody who listens would hear what the server lets pass.
    let listener = connected(&url, 0).await;
    for (role, subject) in [
        (1, "quotes.binance.BTC-USDT"),
        (1, "state.binance.thief"),
        (1, "records.binance.BTC-USDT"),
        (1, "$JS.API.STREAM.DELETE.QUOTES"),
        (1, "$JS.API.STREAM.PURGE.QUOTES"),
        (1, "$JS.API.STREAM.UPDATE.QUOTES"),
        (2, "quotes.binance.BTC-USDT"),
        (2, "state.binance.thief"),
        (2, "records.binance.BTC-USDT"),
        (2, "$JS.API.STREAM.DELETE.RECORDS"),
        (0, "$JS.API.STREAM.DELETE.QUOTES"),
        (0, "dead.records"),
    ] {
        let client = connected(&url, role).await;
        let refused = client.request(subject, "{\"fake\":true}".into());
        let refused = timeout(Duration::from_millis(300), refused).await;
        assert!(!matches!(refused, Ok(Ok(_))), "{role} was answered on `{subject}`");
    }
    let quotes = async_nats::jetstream::new(listener).get_stream("QUOTES").await.unwrap();
    assert!(quotes.cached_info().state.messages > 0, "the stream is there");
    sleep(Duration::from_millis(500)).await;
    for node in [&replica, &store] {
        assert_eq!(node.health().await["bus"]["unreadable_total"], 0, "something came through");
    }
    assert!(site.nats.log().contains("Publish Violation"), "{}", site.nats.log());

    let told = stranger.health().await["bus"].clone();
    assert_eq!(told["status"], "impaired");
    assert!(told["last_error"].as_str().unwrap().contains("refuses our user or password"), "{told}");
    assert!(!stranger.log().contains("password-of"), "{}", stranger.log());
    site.stop().await;
}
