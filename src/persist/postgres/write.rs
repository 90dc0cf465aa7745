//! Records into tables, in one transaction.
//!
//! Quotes that are all new, as they nearly always are, go in by COPY. Where one of them is there already, COPY fails as a
//! whole, and an INSERT finds out which are new.

use std::collections::HashSet;

use chrono::{DateTime, NaiveDate, Utc};
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_types::{Array, BigInt, Nullable, Numeric, Text, Timestamptz};
use rust_decimal::Decimal;

use crate::market::Validity;
use crate::persist::candle::{CandleKey, CandlePart, candles_of};
use crate::persist::column::DirectionText;
use crate::persist::event::storable_reason;
use crate::persist::schema::postgres::quotes;
use crate::persist::store::Written;
use crate::rate_book::{Accepted, Record, RecordedEvent};

#[derive(Insertable)]
#[diesel(table_name = quotes, treat_none_as_default_value = false)]
struct NewQuote {
    exchange: &'static str,
    direction: DirectionText,
    received_at: DateTime<Utc>,
    quoted_at: Option<DateTime<Utc>>,
    bid: Option<Decimal>,
    ask: Option<Decimal>,
    last: Option<Decimal>,
    valid_from: Option<DateTime<Utc>>,
    valid_until: Option<DateTime<Utc>>,
}

#[derive(QueryableByName, PartialEq, Eq, Hash)]
#[diesel(table_name = quotes)]
struct Key {
    exchange: String,
    direction: DirectionText,
    received_at: DateTime<Utc>,
}

/// The days whose partitions the records need.
pub(super) fn days_of(records: &[Record]) -> impl Iterator<Item = NaiveDate> {
    let day = |record: &Record| match record {
        Record::Quote(accepted) => Some(accepted.received_at.date_naive()),
        Record::Event(_) => None,
    };
    records.iter().filter_map(day)
}

/// Writes records, and brings the candles up to date with the quotes that were new.
pub(super) fn records(connection: &mut PgConnection, records: &[Record]) -> QueryResult<Written> {
    let mut accepted: Vec<&Accepted> = Vec::with_capacity(records.len());
    let mut events: Vec<&RecordedEvent> = Vec::new();
    for record in records {
        match record {
            Record::Quote(quote) => accepted.push(quote),
            Record::Event(event) => events.push(event),
        }
    }
    let all_new = connection.transaction(|connection| {
        copy_quotes(connection, &accepted)?;
        upsert_candles(connection, &candles_of(accepted.iter().copied()))?;
        let stored = accepted.len() + insert_events(connection, &events)?;
        fail::fail_point!("persist::before_commit");
        Ok(stored)
    });
    let stored = match all_new {
        Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => {
            connection.transaction(|connection| {
                let new = insert_quotes(connection, &accepted)?;
                upsert_candles(connection, &candles_of(new.iter().copied()))?;
                let stored = new.len() + insert_events(connection, &events)?;
                fail::fail_point!("persist::before_commit");
                Ok(stored)
            })
        }
        other => other,
    }?;
    Ok(Written { stored, duplicates: records.len() - stored })
}

fn copy_quotes(connection: &mut PgConnection, accepted: &[&Accepted]) -> QueryResult<()> {
    if accepted.is_empty() {
        return Ok(());
    }
    let rows: Vec<NewQuote> = accepted.iter().map(|accepted| NewQuote::from(*accepted)).collect();
    diesel::copy_from(quotes::table).from_insertable(rows).execute(connection).map(|_| ())
}

/// Inserts what is new and says which that was.
fn insert_quotes<'a>(
    connection: &mut PgConnection,
    accepted: &[&'a Accepted],
) -> QueryResult<Vec<&'a Accepted>> {
    let rows: Vec<NewQuote> = accepted.iter().map(|accepted| NewQuote::from(*accepted)).collect();
    let inserted: Vec<Key> = diesel::sql_query(
        "INSERT INTO quotes
             (exchange, direction, received_at, quoted_at, bid, ask, last, valid_from, valid_until)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT DO NOTHING
         RETURNING exchange, direction, received_at",
    )
    .bind::<Array<Text>, _>(column(&rows, |row| row.exchange))
    .bind::<Array<Text>, _>(column(&rows, |row| row.direction))
    .bind::<Array<Timestamptz>, _>(column(&rows, |row| row.received_at))
    .bind::<Array<Nullable<Timestamptz>>, _>(column(&rows, |row| row.quoted_at))
    .bind::<Array<Nullable<Numeric>>, _>(column(&rows, |row| row.bid))
    .bind::<Array<Nullable<Numeric>>, _>(column(&rows, |row| row.ask))
    .bind::<Array<Nullable<Numeric>>, _>(column(&rows, |row| row.last))
    .bind::<Array<Nullable<Timestamptz>>, _>(column(&rows, |row| row.valid_from))
    .bind::<Array<Nullable<Timestamptz>>, _>(column(&rows, |row| row.valid_until))
    .load(connection)?;
    let mut inserted: HashSet<Key> = inserted.into_iter().collect();
    // Taken out as they are found: of two that are the same, one was inserted.
    let is_new = |accepted: &&Accepted| {
        inserted.remove(&Key {
            exchange: accepted.exchange.as_str().to_owned(),
            direction: DirectionText(accepted.quote.direction),
            received_at: accepted.received_at,
        })
    };
    Ok(accepted.iter().copied().filter(is_new).collect())
}

/// Of two openings the earlier one counts, of two closings the later one, as in [`CandlePart::and`].
fn upsert_candles(connection: &mut PgConnection, candles: &[(CandleKey, CandlePart)]) -> QueryResult<()> {
    if candles.is_empty() {
        return Ok(());
    }
    diesel::sql_query(
        "INSERT INTO candles AS c
             (exchange, direction, length, starts_at, open, high, low, close, opened_at, closed_at, num_quotes)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (exchange, direction, length, starts_at) DO UPDATE SET
             open = CASE WHEN excluded.opened_at < c.opened_at THEN excluded.open ELSE c.open END,
             high = greatest(c.high, excluded.high),
             low = least(c.low, excluded.low),
             close = CASE WHEN excluded.closed_at > c.closed_at THEN excluded.close ELSE c.close END,
             opened_at = least(c.opened_at, excluded.opened_at),
             closed_at = greatest(c.closed_at, excluded.closed_at),
             num_quotes = c.num_quotes + excluded.num_quotes",
    )
    .bind::<Array<Text>, _>(column(candles, |(key, _)| key.market.exchange.as_str()))
    .bind::<Array<Text>, _>(column(candles, |(key, _)| DirectionText(key.market.direction)))
    .bind::<Array<Text>, _>(column(candles, |(key, _)| key.interval.as_str()))
    .bind::<Array<Timestamptz>, _>(column(candles, |(key, _)| key.starts_at))
    .bind::<Array<Numeric>, _>(column(candles, |(_, part)| part.open))
    .bind::<Array<Numeric>, _>(column(candles, |(_, part)| part.high))
    .bind::<Array<Numeric>, _>(column(candles, |(_, part)| part.low))
    .bind::<Array<Numeric>, _>(column(candles, |(_, part)| part.close))
    .bind::<Array<Timestamptz>, _>(column(candles, |(_, part)| part.opened_at))
    .bind::<Array<Timestamptz>, _>(column(candles, |(_, part)| part.closed_at))
    .bind::<Array<BigInt>, _>(column(candles, |(_, part)| part.num_quotes))
    .execute(connection)
    .map(|_| ())
}

fn insert_events(connection: &mut PgConnection, events: &[&RecordedEvent]) -> QueryResult<usize> {
    if events.is_empty() {
        return Ok(0);
    }
    let count = |event: &&RecordedEvent| i64::try_from(event.count).unwrap_or(i64::MAX);
    diesel::sql_query(
        "INSERT INTO events (at, kind, exchange, reason, count)
         SELECT * FROM unnest($1, $2, $3, $4, $5)
         ON CONFLICT DO NOTHING",
    )
    .bind::<Array<Timestamptz>, _>(column(events, |event| event.at))
    .bind::<Array<Text>, _>(column(events, |event| event.kind.as_str()))
    .bind::<Array<Text>, _>(column(events, |event| event.exchange.map_or("", |exchange| exchange.as_str())))
    .bind::<Array<Text>, _>(column(events, |event| storable_reason(&event.reason)))
    .bind::<Array<BigInt>, _>(column(events, count))
    .execute(connection)
}

/// One column of rows: a statement takes an array of each, and so has as many parameters as columns.
fn column<'a, R, V>(rows: &'a [R], value: impl Fn(&'a R) -> V) -> Vec<V> {
    rows.iter().map(value).collect()
}

impl From<&Accepted> for NewQuote {
    fn from(accepted: &Accepted) -> Self {
        let quote = &accepted.quote;
        let (valid_from, valid_until) = match quote.validity {
            Validity::Live => (None, None),
            Validity::Fixing { starts_at, ends_at } => (Some(starts_at), Some(ends_at)),
        };
        Self {
            exchange: accepted.exchange.as_str(),
            direction: DirectionText(quote.direction),
            received_at: accepted.received_at,
            quoted_at: quote.quoted_at,
            bid: quote.bid,
            ask: quote.ask,
            last: quote.last,
            valid_from,
            valid_until,
        }
    }
}
