//! The two streams: what they hold, for how long, and that they are there.
//!
//! Two, because they are kept for different reasons: of prices of now only the last counts, and what is to be stored must
//! wait for a storing role that is away.

use std::time::Duration;

use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, StorageType};
use async_nats::jetstream::{Context, ErrorCode};
use chrono::{DateTime, Utc};

use super::connection::BusError;
use super::subject;

/// Prices of now and states of exchanges.
pub(super) const QUOTES: &str = "QUOTES";

/// What is to be stored.
pub(super) const RECORDS: &str = "RECORDS";

/// Messages of one market that are kept. A replica that is further behind begins anew with the last ones, long before it
/// could miss one of these.
const KEPT_OF_A_MARKET: i64 = 10_000;

/// How long the last quote of a market is kept: a fixing holds over the New Year holidays.
const KEEP_QUOTES: Duration = Duration::from_secs(15 * 24 * 3600);

/// How long a record waits for the storing role.
const KEEP_RECORDS: Duration = Duration::from_secs(7 * 24 * 3600);

/// Sizes of the streams: some hours of busy markets, of which a replica needs the last seconds; and some days of a
/// hundred markets that are stored every second.
const MOST_BYTES_OF_QUOTES: i64 = 512 << 20;
const MOST_BYTES_OF_RECORDS: i64 = 2 << 30;

/// How long a message is known again. Longer than a publisher that hears no answer takes to come back with it.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// Both streams, as we make them.
pub(super) fn ours(now: DateTime<Utc>) -> [Config; 2] {
    let stream = |name: &str, subjects: &[&str]| Config {
        name: name.to_owned(),
        subjects: subjects.iter().map(ToString::to_string).collect(),
        discard: DiscardPolicy::Old,
        storage: StorageType::File,
        num_replicas: 1,
        duplicate_window: DUPLICATE_WINDOW,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        ..Config::default()
    };
    let quotes = Config {
        max_messages_per_subject: KEPT_OF_A_MARKET,
        max_age: KEEP_QUOTES,
        max_bytes: MOST_BYTES_OF_QUOTES,
        first_sequence: Some(first_sequence(now)),
        ..stream(QUOTES, &[subject::QUOTES, subject::STATES])
    };
    let records = Config {
        max_age: KEEP_RECORDS,
        max_bytes: MOST_BYTES_OF_RECORDS,
        ..stream(RECORDS, &[subject::RECORDS, subject::DEAD])
    };
    [quotes, records]
}

/// Where a stream that is made at `now` begins to count: above every number that an earlier one, or a process without a
/// broker, can have reached.
fn first_sequence(now: DateTime<Utc>) -> u64 {
    u64::try_from(now.timestamp_millis()).unwrap_or_default() << 8
}

/// What has to be added to the numbers of a stream so that they never fall. Servers before 2.10 let every stream begin
/// with 1.
pub(super) fn sequence_base(info: &Info) -> u64 {
    match info.config.first_sequence {
        Some(first) if first > 1 => 0,
        _ => first_sequence(info.created),
    }
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Streams that were not there, and had to be made.
    pub(super) made: Vec<String>,
    /// What differs of those that were.
    pub(super) differences: Vec<String>,
}

/// Makes the streams that are not there. What differs of those that are is only told: whoever changed that meant it.
///
/// # Errors
/// When the broker does not answer, or refuses.
pub(super) async fn ensure(jetstream: &Context, now: DateTime<Utc>) -> Result<Found, BusError> {
    let mut found = Found::default();
    for config in ours(now) {
        match jetstream.get_stream(&config.name).await {
            Ok(stream) => {
                let differences = differences(&stream.cached_info().config, &config);
                let named = differences.into_iter().map(|it| format!("of the stream {} {it}", config.name));
                found.differences.extend(named);
            }
            Err(error) if is_not_found(&error.kind()) => {
                jetstream.create_stream(&config).await.map_err(BusError::from_display)?;
                found.made.push(config.name);
            }
            Err(error) => return Err(BusError::from_display(error)),
        }
    }
    Ok(found)
}

fn is_not_found(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// What of a stream is not as we make it.
fn differences(theirs: &Config, ours: &Config) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |name: &str, theirs: String, ours: String| {
        if theirs != ours {
            differences.push(format!("`{name}` is {theirs}, and not {ours}"));
        }
    };
    compare("subjects", theirs.subjects.join(","), ours.subjects.join(","));
    compare("storage", format!("{:?}", theirs.storage), format!("{:?}", ours.storage));
    compare("discard", format!("{:?}", theirs.discard), format!("{:?}", ours.discard));
    compare("max_bytes", theirs.max_bytes.to_string(), ours.max_bytes.to_string());
    compare("max_age", seconds(theirs.max_age), seconds(ours.max_age));
    compare("duplicate_window", seconds(theirs.duplicate_window), seconds(ours.duplicate_window));
    let per_subject = |config: &Config| config.max_messages_per_subject.to_string();
    compare("max_msgs_per_subject", per_subject(theirs), per_subject(ours));
    differences
}

fn seconds(length: Duration) -> String {
    format!("{} s", length.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::testing::at;

    #[test]
    fn a_stream_that_was_changed_is_told_by_what_differs() {
        for ours in ours(at("2026-11-25T12:00:00Z")) {
            assert_eq!(differences(&ours, &ours), [""; 0]);
            let theirs = Config { max_bytes: 5, max_age: Duration::ZERO, num_replicas: 3, ..ours.clone() };
            let told = differences(&theirs, &ours);
            assert_eq!(told.len(), 2, "{told:?}");
            assert!(told[0].starts_with("`max_bytes` is 5, and not "), "{told:?}");
        }
    }

    #[test]
    fn a_stream_that_is_made_later_counts_on_above_the_one_before() {
        let [earlier, later] =
            ["2026-11-25T12:00:00Z", "2026-11-25T12:00:01Z"].map(|time| first_sequence(at(time)));
        // As many messages as no broker takes in a second.
        assert!(later - earlier >= 250_000);
    }
}
