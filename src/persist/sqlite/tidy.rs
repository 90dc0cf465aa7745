//! Dropping what is older than it is kept, a few thousand rows at a time, so that writing never waits long.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Text;

use super::column::Micros;
use crate::persist::schema::sqlite::{candles, events, quotes, rejected_quotes};
use crate::persist::store::{Keep, Tidied};

/// Most rows of one step: about 20 ms of the write lock.
const STEP_ROWS: i64 = 5_000;

/// Days of markets whose candles go in one step, each of up to 1,465 rows.
const STEP_DAYS: i64 = 3;

/// Gives at most 4 MB of freed pages back to the file system.
pub(super) const GIVE_BACK: &str = "PRAGMA incremental_vacuum(1000)";

/// One step. The oldest rows of each market go first, by ranges of the key.
pub(super) fn step(connection: &mut SqliteConnection, keep: Keep, now: DateTime<Utc>) -> QueryResult<Tidied> {
    let before = |kept: std::time::Duration| {
        let kept = TimeDelta::from_std(kept).unwrap_or(TimeDelta::MAX);
        now.checked_sub_signed(kept).unwrap_or(DateTime::<Utc>::MIN_UTC)
    };
    let num_quotes = drop_quotes(connection, before(keep.quotes))?;
    let num_events = drop_events(connection, before(keep.quotes))?;
    drop_rejected(connection, before(keep.quotes))?;
    let (num_candles, has_more_candles) = drop_candles(connection, before(keep.candles))?;
    let is_full = |num: usize| i64::try_from(num).is_ok_and(|num| num >= STEP_ROWS);
    let has_more = has_more_candles || is_full(num_quotes) || is_full(num_events);
    Ok(Tidied { dropped: num_quotes + num_events + num_candles, has_more })
}

fn drop_quotes(connection: &mut SqliteConnection, before: DateTime<Utc>) -> QueryResult<usize> {
    let mut dropped = 0;
    let mut market = first_market(connection)?;
    while let Some((exchange, direction)) = market {
        let left = STEP_ROWS - i64::try_from(dropped).unwrap_or(STEP_ROWS);
        if left <= 0 {
            break;
        }
        let of_market = quotes::exchange.eq(&exchange).and(quotes::direction.eq(&direction));
        let old = quotes::table
            .filter(of_market)
            .filter(quotes::received_at_us.lt(Micros(before)))
            .order(quotes::received_at_us)
            .select(quotes::received_at_us)
            .offset(left - 1)
            .first::<Micros>(connection)
            .optional()?;
        let gone = quotes::table.filter(of_market);
        dropped += match old {
            Some(last) => diesel::delete(gone.filter(quotes::received_at_us.le(last))).execute(connection)?,
            None => {
                diesel::delete(gone.filter(quotes::received_at_us.lt(Micros(before)))).execute(connection)?
            }
        };
        market = market_after(connection, &exchange, &direction)?;
    }
    Ok(dropped)
}

/// Markets one after another by the key: a step per market, however many quotes each has.
fn first_market(connection: &mut SqliteConnection) -> QueryResult<Option<(String, String)>> {
    market_after(connection, "", "")
}

fn market_after(
    connection: &mut SqliteConnection,
    exchange: &str,
    direction: &str,
) -> QueryResult<Option<(String, String)>> {
    let by_key = quotes::table.order((quotes::exchange, quotes::direction));
    let columns = (quotes::exchange, quotes::direction);
    let same_exchange = by_key
        .filter(quotes::exchange.eq(exchange).and(quotes::direction.gt(direction)))
        .select(columns)
        .first(connection)
        .optional()?;
    match same_exchange {
        Some(market) => Ok(Some(market)),
        None => by_key.filter(quotes::exchange.gt(exchange)).select(columns).first(connection).optional(),
    }
}

fn drop_events(connection: &mut SqliteConnection, before: DateTime<Utc>) -> QueryResult<usize> {
    let old = events::table
        .filter(events::at_us.lt(Micros(before)))
        .order((events::at_us, events::kind, events::exchange, events::reason))
        .select(events::at_us)
        .limit(STEP_ROWS)
        .load::<Micros>(connection)?;
    let Some(last) = old.last() else { return Ok(0) };
    diesel::delete(events::table.filter(events::at_us.le(*last))).execute(connection)
}

/// They are few.
fn drop_rejected(connection: &mut SqliteConnection, before: DateTime<Utc>) -> QueryResult<usize> {
    let old = rejected_quotes::table.filter(rejected_quotes::rejected_at_us.lt(Micros(before)));
    let old = old.order(rejected_quotes::id).select(rejected_quotes::id).limit(STEP_ROWS);
    let old: Vec<i64> = old.load(connection)?;
    let Some(last) = old.last() else { return Ok(0) };
    diesel::delete(rejected_quotes::table.filter(rejected_quotes::id.le(*last))).execute(connection)
}

/// The candle of a day goes last, and until then says that there are others of that day.
fn drop_candles(connection: &mut SqliteConnection, before: DateTime<Utc>) -> QueryResult<(usize, bool)> {
    let days = candles::table
        .filter(candles::length.eq(sql::<Text>("'1d'")))
        .filter(candles::starts_at_us.lt(Micros(before - TimeDelta::days(1))))
        .order(candles::starts_at_us)
        .select((candles::exchange, candles::direction, candles::starts_at_us))
        .limit(STEP_DAYS)
        .load::<(String, String, Micros)>(connection)?;
    let mut dropped = 0;
    for (exchange, direction, Micros(day)) in &days {
        for length in ["1m", "1h", "1d"] {
            let gone = candles::table
                .filter(candles::exchange.eq(exchange))
                .filter(candles::direction.eq(direction))
                .filter(candles::length.eq(length))
                .filter(candles::starts_at_us.ge(Micros(*day)))
                .filter(candles::starts_at_us.lt(Micros(*day + TimeDelta::days(1))));
            dropped += diesel::delete(gone).execute(connection)?;
        }
    }
    Ok((dropped, i64::try_from(days.len()) == Ok(STEP_DAYS)))
}
