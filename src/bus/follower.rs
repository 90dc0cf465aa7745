//! The following actor's work: it tells RateBook what collectors tell, and where in the stream that is.
//!
//! Every session begins with the last message of each subject and follows from there. Whatever is not as it should be,
//! it ends and another begins, since the last messages are all that matters: nothing has to be caught up.

use std::time::Duration;

use actix::prelude::*;
use async_nats::jetstream::consumer::pull::{Config, Stream};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::{Message, message};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{FutureExt, StreamExt};
use log::{debug, warn};
use tokio::time::timeout;

use super::collectors::Collectors;
use super::connection::{ANSWER_WITHIN, Access, BusError, Connection};
use super::streams::{self, QUOTES};
use super::wire::{self, Names};
use super::{FOLLOWER, INBOX, subject};
use crate::clock;
use crate::market::Moment;
use crate::rate_book::{Event, FollowStream, PartStatus};

/// How far behind a session may be. One that is further behind ends: what it would read is old, and the next begins with
/// what is new.
const MOST_BEHIND: u64 = 5_000;

/// Silence after which the stream is looked at anew. Every collector gives a sign of life every 5 s.
const LONGEST_SILENCE: Duration = Duration::from_secs(7);

/// Messages that are asked for at a time, and that RateBook is told at once.
const MOST_ASKED: usize = 1_000;
const MOST_AT_ONCE: usize = 500;

/// How long a message may have waited here that counts as the end of the stream.
const MAX_WAIT: TimeDelta = TimeDelta::milliseconds(250);

/// How long one request stands; the broker gives signs of life meanwhile.
const ASK_FOR: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long a silence lasts before it is looked who is heard.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often a message that cannot be read is told; after an update of some processes alone, all may be.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// How long the broker remembers a session that ended.
const FORGET_AFTER: Duration = Duration::from_secs(30);

/// What a life of the follower needs.
#[derive(Debug, Clone)]
pub(super) struct FollowerSetup {
    pub(super) access: Access,
    pub(super) book: Recipient<FollowStream>,
    pub(super) names: Names,
    pub(super) status: PartStatus,
}

/// Follows for as long as the actor lives.
///
/// # Errors
/// When the settings of the broker cannot be used.
pub(super) async fn follow(setup: FollowerSetup) -> Result<(), BusError> {
    let status = setup.status.clone();
    let connection = Connection::open(&setup.access, FOLLOWER, INBOX.replica, status).await?;
    let mut follower =
        Follower { setup, connection, collectors: Collectors::default(), reached: 0, complained_at: None };
    loop {
        let Err(error) = follower.session().await else { continue };
        follower.connection.pause_after(&error).await;
    }
}

struct Follower {
    setup: FollowerSetup,
    connection: Connection,
    collectors: Collectors,
    /// Where RateBook was told that it is.
    reached: u64,
    /// When a message that cannot be read was last told.
    complained_at: Option<Moment>,
}

/// How far a session has come.
struct Position {
    /// What is added to the numbers of the stream.
    base: u64,
    /// The last number of the stream when the session began.
    last_at_start: u64,
    /// Of the last message, in this session and in the stream.
    consumer_sequence: u64,
    stream_sequence: u64,
    /// Messages behind it, when it came.
    pending: u64,
    /// When it was published.
    published_at: Option<DateTime<Utc>>,
    /// The shortest time that a message of this session took from the broker's clock to ours, so that clocks which
    /// differ do not count.
    least_delay: Option<TimeDelta>,
}

/// What was read and RateBook has not been told.
#[derive(Default)]
struct Unsaid {
    states: Vec<Event>,
    quotes: Vec<Event>,
}

impl Follower {
    async fn session(&mut self) -> Result<(), BusError> {
        let connection = self.connection.clone();
        connection.until_up(async || self.look(false).await).await;
        let (mut messages, mut position) = self.begin(&connection).await?;
        self.collectors = Collectors::default();
        // RateBook is told the first messages together: half of them would be a state that the stream never had.
        let mut is_whole = position.is_whole();
        let (mut first, mut heard_at) = (Vec::new(), clock::now());
        loop {
            let Ok(next) = timeout(LOOK_EVERY, messages.next()).await else {
                if !connection.is_up() {
                    return Err(BusError::NotConnected);
                }
                self.look(is_whole && position.pending == 0).await;
                if clock::now().since(heard_at) > LONGEST_SILENCE {
                    let seconds = LONGEST_SILENCE.as_secs();
                    return Err(BusError::Failed(format!("nothing came for {seconds} s")));
                }
                continue;
            };
            heard_at = clock::now();
            let mut came = vec![taken(next)?];
            while came.len() < MOST_AT_ONCE
                && let Some(next) = messages.next().now_or_never()
            {
                came.push(taken(next)?);
            }
            for message in &came {
                position.advance(&message.info().map_err(BusError::from_display)?)?;
            }
            first.append(&mut came);
            is_whole |= position.is_whole();
            if !is_whole {
                continue;
            }
            let unsaid = self.read(std::mem::take(&mut first), heard_at);
            let is_caught_up = position.is_at_the_end(heard_at);
            self.say(unsaid, position.base + position.stream_sequence, is_caught_up).await?;
            self.note(&position, heard_at);
            if position.pending > MOST_BEHIND {
                return Err(BusError::Failed(format!(
                    "{} messages behind, beginning anew",
                    position.pending
                )));
            }
        }
    }

    async fn begin(&self, connection: &Connection) -> Result<(Stream, Position), BusError> {
        let stream = connection.jetstream.get_stream(QUOTES).await.map_err(BusError::from_display)?;
        let info = stream.cached_info();
        let position = Position {
            base: streams::sequence_base(info),
            last_at_start: if info.state.messages == 0 { 0 } else { info.state.last_sequence },
            consumer_sequence: 0,
            stream_sequence: 0,
            pending: 0,
            published_at: None,
            least_delay: None,
        };
        let config = Config {
            deliver_policy: DeliverPolicy::LastPerSubject,
            filter_subject: ">".to_owned(),
            ack_policy: AckPolicy::None,
            inactive_threshold: FORGET_AFTER,
            memory_storage: true,
            num_replicas: 1,
            ..Config::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(BusError::from_display)?;
        let messages = consumer.stream().max_messages_per_batch(MOST_ASKED).expires(ASK_FOR);
        let messages = timeout(ANSWER_WITHIN, messages.heartbeat(HEARTBEAT).messages()).await;
        let messages = messages.map_err(BusError::from_display)?.map_err(BusError::from_display)?;
        Ok((messages, position))
    }

    /// Reads messages, and refuses those that are not ours.
    fn read(&mut self, messages: Vec<Message>, now: Moment) -> Unsaid {
        let mut unsaid = Unsaid::default();
        let num_messages = u64::try_from(messages.len()).unwrap_or(u64::MAX);
        let (mut states, mut quotes) = (Vec::new(), Vec::new());
        for message in &messages {
            let (subject, names) = (message.subject.as_str(), &self.setup.names);
            let read = if subject.starts_with(subject::STATE_PREFIX) {
                wire::read_state(subject, &message.payload, names).map(|told| states.push(told))
            } else {
                wire::read_quote(subject, &message.payload, names).map(|told| quotes.push(told))
            };
            if let Err(error) = read {
                self.connection.status.lock().unreadable += 1;
                if self.complained_at.is_none_or(|at| now.since(at) >= COMPLAIN_EVERY) {
                    self.complained_at = Some(now);
                    warn!("{FOLLOWER}: a message on `{subject}` is refused: {error}");
                }
            }
        }
        self.connection.status.lock().messages += num_messages;
        // A state before the quotes that it is needed for: of the last messages of all subjects it may come behind them.
        states.into_iter().for_each(|told| self.collectors.hear_state(told));
        unsaid.states = self.collectors.news(now);
        unsaid.quotes = quotes.into_iter().map(|told| self.collectors.hear_quote(told, now)).collect();
        unsaid
    }

    /// Tells RateBook, and that it has come as far as `sequence`, perhaps to the end.
    async fn say(&mut self, unsaid: Unsaid, sequence: u64, is_caught_up: bool) -> Result<(), BusError> {
        let events = unsaid.states.into_iter().chain(unsaid.quotes).collect();
        self.reached = self.reached.max(sequence);
        let stream = FollowStream { events, sequence, is_caught_up, read_at: clock::now() };
        let told = self.setup.book.send(stream).timeout(ANSWER_WITHIN).await;
        told.map_err(|error| BusError::Failed(format!("RateBook does not listen: {error}")))
    }

    /// Looks who is heard, which passes with the time, and tells RateBook whether the stream is merely silent.
    async fn look(&mut self, is_caught_up: bool) {
        let now = clock::now();
        let states = self.collectors.news(now);
        if states.is_empty() && !is_caught_up {
            return;
        }
        let unsaid = Unsaid { states, quotes: Vec::new() };
        if let Err(error) = self.say(unsaid, self.reached, is_caught_up).await {
            debug!("{FOLLOWER}: {error}");
            // It is told all of it by the next session.
            self.collectors = Collectors::default();
        }
    }

    fn note(&self, position: &Position, now: Moment) {
        let mut status = self.connection.status.lock();
        status.pending = position.pending;
        status.oldest_at = position.published_at.filter(|_| position.pending > 0);
        drop(status);
        if self.collectors.is_any_heard(now) {
            self.connection.recover();
        } else {
            self.connection.fail("no collector is heard");
        }
    }
}

impl Position {
    /// Whether all has come that the stream had when the session began.
    fn is_whole(&self) -> bool {
        let has_come = self.consumer_sequence > 0 && self.pending == 0;
        has_come || self.stream_sequence >= self.last_at_start
    }

    /// Whether nothing was left behind the last message when it was read at `now`: the broker had no more then, and it
    /// has not been waiting here since.
    fn is_at_the_end(&mut self, now: Moment) -> bool {
        let Some(delay) = self.published_at.map(|published_at| now.wall - published_at) else { return false };
        let least = self.least_delay.map_or(delay, |least| least.min(delay));
        self.least_delay = Some(least);
        self.pending == 0 && delay - least <= MAX_WAIT
    }

    /// Goes on to a message; none may be missing.
    fn advance(&mut self, info: &message::Info<'_>) -> Result<(), BusError> {
        if info.consumer_sequence != self.consumer_sequence + 1 {
            let (before, now) = (self.consumer_sequence, info.consumer_sequence);
            return Err(BusError::Failed(format!("message {now} came after message {before}")));
        }
        self.consumer_sequence = info.consumer_sequence;
        self.stream_sequence = info.stream_sequence;
        self.pending = info.pending;
        self.published_at = Some(info.published);
        Ok(())
    }
}

fn taken<E: std::fmt::Display>(next: Option<Result<Message, E>>) -> Result<Message, BusError> {
    let next = next.ok_or_else(|| BusError::Failed("the broker ended the session".to_owned()))?;
    next.map_err(BusError::from_display)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::testing::at;

    /// Goes on to messages, given as their number in the session, in the stream, and how many are behind them; says after
    /// each whether all has come.
    fn check(last_at_start: u64, messages: &[(u64, u64, u64)], expected: &[Option<bool>]) {
        let mut position = Position {
            base: 0,
            last_at_start,
            consumer_sequence: 0,
            stream_sequence: 0,
            pending: 0,
            published_at: None,
            least_delay: None,
        };
        let told = messages.iter().map(|(consumer_sequence, stream_sequence, pending)| {
            let info = message::Info {
                domain: None,
                acc_hash: None,
                stream: QUOTES,
                consumer: "c",
                stream_sequence: *stream_sequence,
                consumer_sequence: *consumer_sequence,
                delivered: 1,
                pending: *pending,
                published: at("2026-11-25T12:00:00Z"),
                token: None,
            };
            position.advance(&info).ok().map(|()| position.is_whole())
        });
        assert_eq!(told.collect::<Vec<_>>(), expected, "{messages:?}");
    }

    #[test]
    fn a_session_is_whole_with_the_last_message_that_was_there_when_it_began() {
        let (yes, no) = (Some(true), Some(false));
        check(9, &[(1, 4, 2), (2, 7, 1), (3, 9, 5)], &[no, no, yes]);
        check(9, &[(1, 4, 1), (2, 7, 0)], &[no, yes]);
        check(9, &[(1, 4, 3), (2, 12, 4)], &[no, yes]);
        check(0, &[(1, 1, 3)], &[yes]);
    }

    #[test]
    fn a_message_that_is_missing_ends_the_session() {
        check(9, &[(1, 4, 2), (3, 9, 0)], &[Some(false), None]);
        check(9, &[(2, 4, 2)], &[None]);
    }
}
