//! The publishing actor's work: it tells the broker what this process collects.
//!
//! Two loops over one connection, because prices of now and what is to be stored go wrong differently: of prices only the
//! newest counts when the broker comes back, and of records none may be lost. Every message is acknowledged; many are on
//! their way at a time. Whatever fails, a new session begins, which tells everything anew: a message that was there already
//! is known by its name.

use std::time::Duration;

use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use futures_util::future;
use log::{debug, error, info, warn};

use super::connection::{Access, BusError, Connection};
use super::streams;
use super::wire::{self, ToldState};
use super::{INBOX, PUBLISHER, subject};
use crate::clock;
use crate::market::Moment;
use crate::rate_book::{HandOver, Newest, PartStatus};

/// How often prices are told: often enough that nobody notices, seldom enough that a burst of one market is one message.
const TELL_EVERY: Duration = Duration::from_millis(10);

/// How often every state is told again as a sign of life.
const REPEAT_STATES_EVERY: Duration = Duration::from_secs(5);

/// How often records are told, and how many at once.
const TELL_RECORDS_EVERY: Duration = Duration::from_millis(40);
const MOST_RECORDS: usize = 500;

/// How often it is looked how much waits.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a life of the publisher needs.
#[derive(Debug, Clone)]
pub(super) struct PublisherSetup {
    pub(super) access: Access,
    /// The name of this collector, another one in every process.
    pub(super) collector: String,
    pub(super) newest: Newest,
    pub(super) hand_over: HandOver,
    /// Length of the steps of which one record is stored each.
    pub(super) every: Duration,
    pub(super) status: PartStatus,
}

/// Publishes for as long as the actor lives.
///
/// # Errors
/// When the settings of the broker cannot be used.
pub(super) async fn publish(setup: PublisherSetup) -> Result<(), BusError> {
    let status = setup.status.clone();
    let connection = Connection::open(&setup.access, PUBLISHER, INBOX.collector, status).await?;
    let mut publisher = Publisher { setup, connection, has_had_streams: false };
    loop {
        let Err(error) = publisher.session().await else { continue };
        publisher.look();
        publisher.connection.pause_after(&error).await;
    }
}

struct Publisher {
    setup: PublisherSetup,
    connection: Connection,
    /// Whether this life has seen the streams, so that their absence means that they were deleted.
    has_had_streams: bool,
}

impl Publisher {
    async fn session(&mut self) -> Result<(), BusError> {
        self.connection.until_up(async || self.look()).await;
        let found = streams::ensure(&self.connection.jetstream, clock::now().wall).await?;
        for name in found.made {
            match self.has_had_streams {
                true => error!(
                    "{PUBLISHER}: the stream {name} was deleted, and is made anew: what was in it is lost"
                ),
                false => info!("{PUBLISHER}: made the stream {name}"),
            }
        }
        if !std::mem::replace(&mut self.has_had_streams, true) {
            found.differences.iter().for_each(|difference| warn!("{PUBLISHER}: {difference}"));
        }
        self.connection.recover();
        // What was taken last may not have been heard.
        self.setup.newest.tell_anew();
        future::try_join(self.tell_prices(), self.tell_records()).await.map(drop)
    }

    async fn tell_prices(&self) -> Result<(), BusError> {
        let Self { setup: PublisherSetup { newest, collector, .. }, connection, .. } = self;
        let mut repeated_at = clock::now();
        loop {
            if !connection.is_up() {
                return Err(BusError::NotConnected);
            }
            let now = clock::now();
            if now.since(repeated_at) >= REPEAT_STATES_EVERY {
                repeated_at = now;
                newest.repeat_states();
            }
            let mut on_the_way = Vec::new();
            // A state before the quotes that it is needed for.
            for (state, link_at) in newest.take_states() {
                let subject = subject::of_state(state.exchange, collector);
                let told = ToldState { collector: collector.clone(), state, link_at, told_at: now.wall };
                on_the_way.push(self.send(subject, wire::write_state(&told), None).await?);
            }
            for live in newest.take_quotes(now.wall) {
                let id = subject::id_of_quote(&live, collector);
                let message = wire::write_quote(&live, collector);
                on_the_way.push(self.send(subject::of_quote(&live), message, Some(id)).await?);
            }
            self.arrive(on_the_way).await?;
            tokio::time::sleep(TELL_EVERY).await;
        }
    }

    async fn tell_records(&self) -> Result<(), BusError> {
        let PublisherSetup { hand_over, collector, every, .. } = &self.setup;
        let mut looked_at: Option<Moment> = None;
        loop {
            while let Some(batch) = hand_over.take(MOST_RECORDS, clock::now().wall) {
                let mut on_the_way = Vec::with_capacity(batch.len());
                for record in batch.iter() {
                    let id = subject::id_of_record(record, *every, collector);
                    let message = wire::write_record(record);
                    on_the_way.push(self.send(subject::of_record(record), message, Some(id)).await?);
                }
                self.arrive(on_the_way).await?;
                fail::fail_point!("bus::before_confirm");
                hand_over.confirm(&batch);
            }
            let now = clock::now();
            if looked_at.is_none_or(|at| now.since(at) >= LOOK_EVERY) {
                looked_at = Some(now);
                self.look();
            }
            tokio::time::sleep(TELL_RECORDS_EVERY).await;
        }
    }

    /// Sends a message; one of the same `id` that is there already stands for it.
    async fn send(
        &self,
        subject: String,
        message: Vec<u8>,
        id: Option<String>,
    ) -> Result<PublishAckFuture, BusError> {
        let message = PublishMessage::build().payload(Bytes::from(message));
        let message = match id {
            Some(id) => message.message_id(id),
            None => message,
        };
        self.connection.jetstream.send_publish(subject, message).await.map_err(BusError::from_display)
    }

    /// Waits until the broker has all of these.
    async fn arrive(&self, on_the_way: Vec<PublishAckFuture>) -> Result<(), BusError> {
        if on_the_way.is_empty() {
            return Ok(());
        }
        let num_messages = u64::try_from(on_the_way.len()).unwrap_or(u64::MAX);
        let acks = future::try_join_all(on_the_way.into_iter().map(IntoFuture::into_future)).await;
        let acks = acks.map_err(BusError::from_display)?;
        let num_known = acks.iter().filter(|ack| ack.duplicate).count();
        if num_known > 0 {
            debug!("{PUBLISHER}: {num_known} messages were there already");
        }
        self.connection.status.lock().messages += num_messages;
        self.connection.recover();
        Ok(())
    }

    /// Notes how much waits.
    fn look(&self) {
        let counters = self.setup.hand_over.counters();
        let num_waiting = u64::try_from(self.setup.newest.num_waiting()).unwrap_or(u64::MAX);
        // What is left open is not ready to be told.
        let num_records = counters.oldest_at.map_or(0, |_| counters.waiting);
        let mut status = self.connection.status.lock();
        status.pending = num_records.saturating_add(num_waiting);
        status.oldest_at = counters.oldest_at;
    }
}
