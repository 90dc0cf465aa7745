//! Dropping what is older than it is kept: quotes by whole days, the rest a few thousand rows at a time.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Timestamptz};

use super::days;
use crate::persist::store::{Keep, Tidied};

/// Most rows of one statement.
const STEP_ROWS: i64 = 5_000;

/// Days of markets whose candles go in one step, each of up to 1,465 rows.
const STEP_DAYS: i64 = 10;

/// One step. Says which day's quotes it dropped, if any.
pub(super) fn step(
    connection: &mut PgConnection,
    keep: Keep,
    now: DateTime<Utc>,
) -> QueryResult<(Tidied, Option<NaiveDate>)> {
    let before = |kept: Duration| {
        let kept = TimeDelta::from_std(kept).unwrap_or(TimeDelta::MAX);
        now.checked_sub_signed(kept).unwrap_or(DateTime::UNIX_EPOCH)
    };
    let (quotes_before, candles_before) = (before(keep.quotes), before(keep.candles));
    let first_kept_day = quotes_before.date_naive();
    let mut old_days = days::all(connection)?;
    old_days.retain(|partition| partition.day < first_kept_day);
    let dropped_day = match old_days.first() {
        Some(partition) => days::drop(connection, partition)?.then_some(partition.day),
        None => None,
    };
    let num_events = drop_events(connection, quotes_before)?;
    drop_rejected(connection, quotes_before)?;
    let (num_candles, has_more_candles) = drop_candles(connection, candles_before)?;
    let has_more_days = dropped_day.is_some() && old_days.len() > 1;
    let has_more_events = i64::try_from(num_events) == Ok(STEP_ROWS);
    let tidied = Tidied {
        dropped: usize::from(dropped_day.is_some()) + num_events + num_candles,
        has_more: has_more_days || has_more_events || has_more_candles,
    };
    Ok((tidied, dropped_day))
}

fn drop_events(connection: &mut PgConnection, before: DateTime<Utc>) -> QueryResult<usize> {
    diesel::sql_query(
        "DELETE FROM events WHERE ctid = ANY (ARRAY(SELECT ctid FROM events WHERE at < $1 ORDER BY at LIMIT $2))",
    )
    .bind::<Timestamptz, _>(before)
    .bind::<BigInt, _>(STEP_ROWS)
    .execute(connection)
}

/// They are few.
fn drop_rejected(connection: &mut PgConnection, before: DateTime<Utc>) -> QueryResult<usize> {
    diesel::sql_query("DELETE FROM rejected_quotes WHERE rejected_at < $1")
        .bind::<Timestamptz, _>(before)
        .execute(connection)
}

/// The candle of a day goes with the others of its market and day, and until then says that there are such.
fn drop_candles(connection: &mut PgConnection, before: DateTime<Utc>) -> QueryResult<(usize, bool)> {
    let old_days: Vec<OldDay> = diesel::sql_query(
        "SELECT exchange, direction, starts_at FROM candles
         WHERE length = '1d' AND starts_at < $1
         ORDER BY starts_at LIMIT $2",
    )
    .bind::<Timestamptz, _>(before - TimeDelta::days(1))
    .bind::<BigInt, _>(STEP_DAYS)
    .load(connection)?;
    let mut dropped = 0;
    for day in &old_days {
        dropped += diesel::sql_query(
            "DELETE FROM candles
             WHERE exchange = $1 AND direction = $2 AND length IN ('1m', '1h', '1d')
               AND starts_at >= $3 AND starts_at < $4",
        )
        .bind::<diesel::sql_types::Text, _>(&day.exchange)
        .bind::<diesel::sql_types::Text, _>(&day.direction)
        .bind::<Timestamptz, _>(day.starts_at)
        .bind::<Timestamptz, _>(day.starts_at + TimeDelta::days(1))
        .execute(connection)?;
    }
    Ok((dropped, i64::try_from(old_days.len()) == Ok(STEP_DAYS)))
}

#[derive(QueryableByName)]
#[diesel(table_name = crate::persist::schema::postgres::candles)]
struct OldDay {
    exchange: String,
    direction: String,
    starts_at: DateTime<Utc>,
}
