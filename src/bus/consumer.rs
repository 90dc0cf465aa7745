//! The consuming actor's work: it hands records over to whoever stores them, and acknowledges them when they are stored
//! for good.
//!
//! One batch at a time: what is not acknowledged comes again, and what was stored is known by its key.

use std::time::Duration;

use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{AckPolicy, Consumer};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{AckKind, Message};
use futures_util::StreamExt;
use log::{error, warn};
use tokio::time::timeout;

use super::connection::{ANSWER_WITHIN, Access, BusError, Connection};
use super::streams::RECORDS;
use super::wire::{self, Names};
use super::{CONSUMER, INBOX, subject};
use crate::clock;
use crate::rate_book::{HandOver, PartStatus, Record};

/// The name of the durable consumer, which remembers what is stored. All storing roles share it.
const DURABLE: &str = "store";

/// Records of one batch: what the database takes in one transaction.
const MOST_AT_ONCE: usize = 500;

/// Records that may be on their way to databases at once.
const MOST_PENDING: i64 = 2_000;

/// How long a batch gathers.
const GATHER_FOR: Duration = Duration::from_millis(500);

/// How long the broker waits before it sends a record again: longer than any commit, and a database that is away says so
/// every third of it.
const ACK_WITHIN: Duration = Duration::from_secs(10);

/// Deliveries after which a record is set aside: whoever took it so often ended over it each time.
const MOST_DELIVERIES: i64 = 20;

/// How often it is looked whether a batch is stored.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a life of the consumer needs.
#[derive(Debug, Clone)]
pub(super) struct ConsumerSetup {
    pub(super) access: Access,
    pub(super) hand_over: HandOver,
    pub(super) names: Names,
    pub(super) status: PartStatus,
}

/// Consumes for as long as the actor lives.
///
/// # Errors
/// When the settings of the broker cannot be used.
pub(super) async fn consume(setup: ConsumerSetup) -> Result<(), BusError> {
    let status = setup.status.clone();
    let connection = Connection::open(&setup.access, CONSUMER, INBOX.store, status).await?;
    let storing = Storing { setup, connection };
    loop {
        let Err(error) = storing.session().await else { continue };
        storing.connection.pause_after(&error).await;
    }
}

struct Storing {
    setup: ConsumerSetup,
    connection: Connection,
}

impl Storing {
    async fn session(&self) -> Result<(), BusError> {
        self.connection.until_up(async || {}).await;
        let jetstream = &self.connection.jetstream;
        let config = Config {
            durable_name: Some(DURABLE.to_owned()),
            filter_subject: subject::RECORDS.to_owned(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WITHIN,
            max_deliver: -1,
            max_ack_pending: MOST_PENDING,
            ..Config::default()
        };
        let stream = jetstream.get_stream(RECORDS).await.map_err(BusError::from_display)?;
        let consumer = stream.create_consumer(config).await.map_err(BusError::from_display)?;
        self.connection.recover();
        self.tell_what_was_given_up(&stream, &consumer);
        loop {
            if !self.connection.is_up() {
                return Err(BusError::NotConnected);
            }
            let messages = self.fetch(&consumer).await?;
            self.store(messages).await?;
            self.connection.recover();
        }
    }

    /// Says how much the stream had no room for while nobody stored it.
    fn tell_what_was_given_up(&self, stream: &Stream, consumer: &Consumer<Config>) {
        let first = stream.cached_info().state.first_sequence;
        let stored_until = consumer.cached_info().ack_floor.stream_sequence;
        let num_lost = first.saturating_sub(stored_until.saturating_add(1));
        if num_lost > 0 {
            let fault = format!(
                "the stream {RECORDS} was full, and gave up {num_lost} messages that nobody had stored"
            );
            error!("{CONSUMER}: {fault}");
            self.connection.status.lock().last_error = Some(fault);
        }
    }

    /// The records that come within a while.
    async fn fetch(&self, consumer: &Consumer<Config>) -> Result<Vec<Message>, BusError> {
        let batch = consumer.batch().max_messages(MOST_AT_ONCE).expires(GATHER_FOR).messages();
        let mut batch = timeout(ANSWER_WITHIN, batch)
            .await
            .map_err(BusError::from_display)?
            .map_err(BusError::from_display)?;
        let mut messages = Vec::new();
        loop {
            // The broker ends the batch; the limit is for one that is gone.
            match timeout(GATHER_FOR + ANSWER_WITHIN, batch.next()).await {
                Ok(Some(Ok(message))) => messages.push(message),
                Ok(Some(Err(error))) => return Err(BusError::from_display(error)),
                Ok(None) => return Ok(messages),
                Err(_) => return Err(BusError::Failed("the broker does not end a batch".to_owned())),
            }
        }
    }

    /// Hands records over, waits until they are stored for good, and acknowledges them.
    async fn store(&self, messages: Vec<Message>) -> Result<(), BusError> {
        let mut records = Vec::with_capacity(messages.len());
        let mut stored = Vec::with_capacity(messages.len());
        for message in messages {
            match self.read(&message)? {
                Ok(record) => {
                    records.push(record);
                    stored.push(message);
                }
                Err(reason) => self.set_aside(&message, &reason).await?,
            }
        }
        let Some(last) = stored.last() else { return Ok(()) };
        let num_records = u64::try_from(records.len()).unwrap_or(u64::MAX);
        self.note(last, num_records)?;
        self.setup.hand_over.push_whole(records.into_iter());
        self.until_stored(&stored).await?;
        fail::fail_point!("bus::before_ack");
        acknowledge(&stored).await?;
        self.connection.status.lock().messages += num_records;
        self.note(last, 0)
    }

    /// The record of a message, or why it is given up.
    fn read(&self, message: &Message) -> Result<Result<Record, String>, BusError> {
        let delivered = message.info().map_err(BusError::from_display)?.delivered;
        if delivered > MOST_DELIVERIES {
            return Ok(Err(format!("it was taken {delivered} times and never stored")));
        }
        let read = wire::read_record(&message.subject, &message.payload, &self.setup.names);
        if read.is_err() {
            self.connection.status.lock().unreadable += 1;
        }
        Ok(read.map_err(|error| error.to_string()))
    }

    /// Waits until everything that was handed over is stored for good. The broker is told meanwhile that this goes on.
    async fn until_stored(&self, messages: &[Message]) -> Result<(), BusError> {
        let mut told_at = clock::now();
        while self.setup.hand_over.counters().waiting > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = clock::now();
            if now.since(told_at) >= ACK_WITHIN / 3 {
                told_at = now;
                for message in messages {
                    let told = message.ack_with(AckKind::Progress);
                    if !matches!(timeout(ANSWER_WITHIN, told).await, Ok(Ok(()))) {
                        warn!("{CONSUMER}: the broker cannot be told that records wait for the database");
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts a message where people find it, because it will never be stored.
    async fn set_aside(&self, message: &Message, reason: &str) -> Result<(), BusError> {
        let sequence = message.info().map_err(BusError::from_display)?.stream_sequence;
        error!("{CONSUMER}: message {sequence} on `{}` is set aside: {reason}", message.subject);
        let reason: String = reason.chars().filter(|it| !it.is_control()).take(200).collect();
        let copy = PublishMessage::build()
            .payload(message.payload.clone())
            .header("Ratebook-Subject", message.subject.as_str())
            .header("Ratebook-Reason", reason.as_str())
            .message_id(format!("dead:{sequence}"));
        let told = self.connection.jetstream.send_publish(subject::DEAD, copy).await;
        told.map_err(BusError::from_display)?.await.map_err(BusError::from_display)?;
        let ended = timeout(ANSWER_WITHIN, message.double_ack_with(AckKind::Term)).await;
        ended.map_err(BusError::from_display)?.map_err(BusError::from_display)?;
        self.connection.status.lock().dead += 1;
        Ok(())
    }

    /// Notes how much waits: behind this message, and of those that were handed over.
    fn note(&self, last: &Message, num_handed_over: u64) -> Result<(), BusError> {
        let info = last.info().map_err(BusError::from_display)?;
        let mut status = self.connection.status.lock();
        status.pending = info.pending.saturating_add(num_handed_over);
        status.oldest_at = (status.pending > 0).then_some(info.published);
        Ok(())
    }
}

/// Acknowledges messages, and waits until the broker has the last one's word: it takes them in their order.
async fn acknowledge(messages: &[Message]) -> Result<(), BusError> {
    let Some((last, others)) = messages.split_last() else { return Ok(()) };
    for message in others {
        let told = timeout(ANSWER_WITHIN, message.ack()).await;
        told.map_err(BusError::from_display)?.map_err(BusError::from_display)?;
    }
    let told = timeout(ANSWER_WITHIN, last.double_ack()).await;
    told.map_err(BusError::from_display)?.map_err(BusError::from_display)
}
