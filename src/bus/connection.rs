//! A connection to the broker: it dials again by itself, its waits have limits, and its failures are told once.
//!
//! Separate because every actor of this part has one, and only the options of this file keep the client library from
//! waiting for minutes or from coming back together with all others.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions, Event, ServerError};
use log::{debug, info, warn};

use crate::config::NatsSettings;
use crate::rate_book::PartStatus;

/// How long a question to the broker may take, and the acknowledgement of a message.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How long dialling may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// How often the broker is asked whether it is there; the second question without an answer ends the connection.
const PING_EVERY: Duration = Duration::from_secs(2);

/// Longest delay before the broker is dialled again. A delay is drawn evenly below a bound that doubles, so that not all
/// come back together.
const LONGEST_DELAY: Duration = Duration::from_secs(1);
const FIRST_DELAY: Duration = Duration::from_millis(50);

/// Messages that may wait for the socket, and for the reader of a subscription.
const MOST_TO_SEND: usize = 2048;
const MOST_TO_READ: usize = 16_384;

/// Messages whose acknowledgement may be outstanding.
const MOST_IN_FLIGHT: usize = 1024;

/// What is said when the broker does not let us in.
const REFUSED: &str = "the broker refuses our user or password";

/// How often it is looked whether the broker is there again.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What keeps an actor from its work. Texts hold no secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BusError {
    /// There is no connection.
    #[error("not connected")]
    NotConnected,
    /// Something else, for people.
    #[error("{0}")]
    Failed(String),
}

impl BusError {
    /// What somebody else's error says.
    pub(super) fn from_display(error: impl Display) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Where the broker is, and who we are to it.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub(super) nats: NatsSettings,
    /// Whom to trust.
    pub(super) tls: Arc<rustls::ClientConfig>,
}

/// A connection.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    client: Client,
    pub(super) jetstream: Context,
    name: &'static str,
    pub(super) status: PartStatus,
}

impl Connection {
    /// Begins to dial, for the actor of this `name`. Answers are for `inbox` alone, so that permissions can keep others
    /// from reading them.
    ///
    /// # Errors
    /// When the address or a certificate cannot be used.
    pub(super) async fn open(
        access: &Access,
        name: &'static str,
        inbox: &str,
        status: PartStatus,
    ) -> Result<Self, BusError> {
        let told = status.clone();
        let mut options = ConnectOptions::new()
            .name(format!("ratebook {name}"))
            .tls_client_config((*access.tls).clone())
            .custom_inbox_prefix(inbox)
            .retry_on_initial_connect()
            .connection_timeout(CONNECT_WITHIN)
            .request_timeout(Some(ANSWER_WITHIN))
            .ping_interval(PING_EVERY)
            .client_capacity(MOST_TO_SEND)
            .subscription_capacity(MOST_TO_READ)
            .reconnect_delay_callback(delay)
            .event_callback(move |event| {
                tell(name, &told, &event);
                std::future::ready(())
            });
        if let (Some(user), Some(password)) = (&access.nats.user, &access.nats.password) {
            options = options.user_and_password(user.reveal().to_owned(), password.reveal().to_owned());
        }
        let client = options.connect(access.nats.url.as_str()).await.map_err(BusError::from_display)?;
        let jetstream = jetstream::ContextBuilder::new()
            .timeout(ANSWER_WITHIN)
            .max_ack_inflight(MOST_IN_FLIGHT)
            .backpressure_on_inflight(true)
            .build(client.clone());
        Ok(Self { client, jetstream, name, status })
    }

    /// Whether it stands.
    pub(super) fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Waits until it stands; `look` is called now and then meanwhile.
    pub(super) async fn until_up(&self, mut look: impl AsyncFnMut()) {
        while !self.is_up() {
            look().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Notes that all goes well, and says so in the log if it did not.
    pub(super) fn recover(&self) {
        if self.status.lock().recover() {
            info!("{}: goes on", self.name);
        }
    }

    /// Notes what keeps the actor from its work, says it in the log if it is news, and waits a little before the next
    /// attempt.
    pub(super) async fn pause_after(&self, error: &BusError) {
        self.fail(&error.to_string());
        tokio::time::sleep(delay(3)).await;
    }

    /// Notes what is wrong, and says it in the log if it is news.
    pub(super) fn fail(&self, fault: &str) {
        if self.status.lock().fail(fault) {
            warn!("{}: {fault}", self.name);
        }
    }
}

/// The delay before the attempt of this number.
fn delay(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts).unwrap_or(u32::MAX).min(10);
    let bound = FIRST_DELAY.saturating_mul(1 << doublings).min(LONGEST_DELAY);
    bound.mul_f64(rand::random())
}

/// Notes what the client library tells of its connection.
fn tell(name: &str, status: &PartStatus, event: &Event) {
    let fault = match event {
        Event::Connected => return info!("{name}: connected to the broker"),
        Event::Disconnected => "the connection to the broker was lost".to_owned(),
        Event::SlowConsumer(_) | Event::ServerError(ServerError::SlowConsumer(_)) => {
            "messages came faster than they were read, and some were lost".to_owned()
        }
        Event::ServerError(ServerError::AuthorizationViolation) => REFUSED.to_owned(),
        Event::ServerError(error) => format!("the broker says: {error}"),
        // Said of every attempt to dial.
        Event::ClientError(error) if error.to_string().contains("authorization violation") => {
            REFUSED.to_owned()
        }
        Event::ClientError(error) => {
            format!("the broker cannot be reached, or its certificate is not trusted ({error})")
        }
        Event::LameDuckMode | Event::Draining | Event::Closed => return debug!("{name}: {event}"),
    };
    if status.lock().fail(&fault) {
        warn!("{name}: {fault}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_up_to_a_second_and_are_drawn() {
        let delays: Vec<Duration> = (0..1000).map(|_| delay(100)).collect();
        assert!(delays.iter().all(|delay| *delay <= LONGEST_DELAY));
        assert!(delays.iter().any(|delay| *delay > LONGEST_DELAY / 2));
        assert!((0..1000).all(|_| delay(0) <= FIRST_DELAY));
        assert_ne!(delays[0], delays[1]);
    }
}
