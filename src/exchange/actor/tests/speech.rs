//! A small plug-in of our own: lines of words, the same on the socket and in bodies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use rust_decimal::Decimal;

use crate::exchange::actor::MakeExchange;
use crate::exchange::{
    ClientPing, Exchange, Feed, Frame, FrameError, Reading, Request, Signal, Socket, Source, Subscription,
};
use crate::market::{Direction, Quote, Refusal};

/// Reads `BTC-USDT 100` as a quote, and some other words as signals.
pub(super) struct Speech {
    feed: Arc<Mutex<Feed>>,
    /// Numbers that stand for directions, on a connection that has said so.
    channels: BTreeMap<String, Direction>,
}

/// Makes plug-ins with this feed, which a test can change.
pub(super) fn speech(feed: Arc<Mutex<Feed>>) -> MakeExchange {
    Arc::new(move || Box::new(Speech { feed: feed.clone(), channels: BTreeMap::new() }))
}

pub(super) fn direction(text: &str) -> Direction {
    text.parse().unwrap()
}

pub(super) fn subscription(id: u64, text: &str) -> Subscription {
    Subscription {
        id,
        frame: Frame::Text(format!("subscribe {id} {text}")),
        directions: vec![direction(text)],
    }
}

/// A feed with a socket and one poll, for these directions.
pub(super) fn feed(directions: &[&str]) -> Feed {
    let subscriptions = (1..).zip(directions).map(|(id, text)| subscription(id, text)).collect();
    Feed {
        listens_to: directions.iter().map(|text| direction(text)).collect(),
        socket: Some(Socket {
            handshake: None,
            path: "/ws".to_owned(),
            subscriptions,
            ping: None,
            link_silence: Duration::from_secs(60),
            lifetime: None,
            min_gap: Duration::ZERO,
        }),
        polls: vec![Request::get("/poll")],
        ..Feed::default()
    }
}

/// The same feed with another socket.
pub(super) fn with_socket(mut feed: Feed, change: impl FnOnce(&mut Socket)) -> Feed {
    change(feed.socket.as_mut().unwrap());
    feed
}

pub(super) fn ping(every: Duration) -> ClientPing {
    ClientPing { every, frame: Frame::Text("how are you".to_owned()) }
}

impl Exchange for Speech {
    fn feed(&self) -> Feed {
        self.feed.lock().unwrap().clone()
    }

    fn read(&mut self, _: Source, bytes: &[u8]) -> Result<Reading, FrameError> {
        let text = std::str::from_utf8(bytes).map_err(|_| FrameError::Encoding)?;
        let mut reading = Reading::default();
        for line in text.lines() {
            let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
            match first {
                "ack" => reading.signals.push(Signal::Acknowledged(rest.parse().unwrap())),
                "refuse" => {
                    let detail = "unknown symbol".to_owned();
                    reading.signals.push(Signal::SubscriptionRefused { id: rest.parse().unwrap(), detail });
                }
                "soon" => reading.signals.push(Signal::ReconnectSoon),
                "changed" => reading.signals.push(Signal::FeedChanged),
                "fewer" => {
                    let wait = rest.parse().ok().map(Duration::from_millis);
                    reading.signals.push(Signal::RateLimited { wait });
                }
                "error" => reading.signals.push(Signal::Error(rest.to_owned())),
                "dial" => {
                    let ping_every = Duration::from_millis(30);
                    reading.signals.push(Signal::Dial { url: rest.to_owned(), ping_every });
                }
                "channel" => {
                    let (number, text) = rest.split_once(' ').unwrap();
                    self.channels.insert(format!("#{number}"), direction(text));
                }
                "echo" => reading.reply = Some(Frame::Text(rest.to_owned())),
                "beat" | "" => {}
                _ if self.channels.contains_key(first) => {
                    reading.quotes.push(quote(self.channels[first], rest.parse().unwrap()));
                }
                _ => match (first.parse::<Direction>(), rest.parse::<i64>()) {
                    (Ok(direction), Ok(price)) => reading.quotes.push(quote(direction, price)),
                    (Ok(_), Err(_)) => reading.refused.push((first.to_owned(), Refusal::Syntax)),
                    (Err(error), _) => return Err(FrameError::Syntax(error.to_string())),
                },
            }
        }
        Ok(reading)
    }

    fn tells_times(&self) -> bool {
        false
    }

    fn for_connection(&self) -> Option<Box<dyn Exchange>> {
        Some(Box::new(Speech { feed: self.feed.clone(), channels: BTreeMap::new() }))
    }
}

fn quote(direction: Direction, price: i64) -> Quote {
    Quote::book(direction, Decimal::from(price), Decimal::from(price + 1))
}
