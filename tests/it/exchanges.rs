//! Every exchange, as the whole service hears it: over its socket, over REST when that is lost, and back.

use std::time::Duration;

use ratebook::config::Settings;
use ratebook::exchange::{EXCHANGES, Kind, Row};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::support::{PATIENCE, World};

/// The markets with a socket.
fn listened_to() -> impl Iterator<Item = &'static Row> {
    EXCHANGES.iter().filter(|row| row.kind == Kind::Market && !row.ws_url.is_empty())
}

/// Only this exchange, and what it needs for legs that it does not quote.
fn alone(row: &'static Row) -> impl FnOnce(&mut Settings) {
    move |settings| {
        for (name, exchange) in &mut settings.exchanges {
            exchange.enabled = *name == row.name || matches!(name.as_str(), "coingecko" | "cbr");
        }
    }
}

#[actix::test]
async fn every_market_is_heard_over_its_socket_and_over_rest_while_that_is_lost() {
    for row in listened_to() {
        let name = row.name.as_str();
        let world = World::start(21, 1.0, alone(row)).await;
        let path = format!("/v1/courses?directions=BTC-USD&exchanger={name}");
        world.until(&path, |answer| answer.status == 200 && answer.exchanger() == Some(name)).await;
        let is_on = async |transport: &str| {
            let row = world.health_of(name).await;
            row["transport"] == transport && row["status"] == "fresh"
        };
        let until_on = async |transport: &str| {
            let deadline = Instant::now() + PATIENCE;
            while !is_on(transport).await {
                let row = world.health_of(name).await;
                assert!(Instant::now() < deadline, "{name} is not on {transport}: {row}");
                sleep(Duration::from_millis(20)).await;
            }
        };
        until_on("websocket").await;
        world.break_exchange(name, json!({"kind": "refuse", "transport": "websocket"})).await;
        until_on("rest").await;
        assert_eq!(world.get(&path).await.status, 200, "{name}");
        world.mend(name).await;
        until_on("websocket").await;
        world.stop().await;
    }
}
