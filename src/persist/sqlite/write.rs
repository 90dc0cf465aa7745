//! Records into tables, in a transaction of the caller's.

use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_types::Text;

use super::column::{Micros, Price};
use crate::market::Validity;
use crate::persist::candle::{CandleKey, CandlePart, candles_of};
use crate::persist::column::DirectionText;
use crate::persist::event::storable_reason;
use crate::persist::schema::sqlite::{candles, events, quotes};
use crate::persist::store::Written;
use crate::rate_book::{Accepted, Record, RecordedEvent};

#[derive(Insertable)]
#[diesel(table_name = quotes, treat_none_as_default_value = false)]
struct NewQuote<'a> {
    exchange: &'a str,
    direction: DirectionText,
    received_at_us: Micros,
    quoted_at_us: Option<Micros>,
    bid: Option<Price>,
    ask: Option<Price>,
    last: Option<Price>,
    valid_from_us: Option<Micros>,
    valid_until_us: Option<Micros>,
}

/// What may change in a candle.
#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = candles, treat_none_as_default_value = false)]
struct PartRow {
    open: Price,
    high: Price,
    low: Price,
    close: Price,
    opened_at_us: Micros,
    closed_at_us: Micros,
    num_quotes: i64,
}

/// Writes records, and brings the candles up to date with the quotes that were new.
///
/// Row by row: within one transaction that is as fast as many rows per statement, and every row says whether it was new.
/// Only a key that is there already is passed over, since `OR IGNORE` would pass over rows that break a rule as well.
pub(super) fn records(connection: &mut SqliteConnection, records: &[Record]) -> QueryResult<Written> {
    let mut new_quotes: Vec<&Accepted> = Vec::with_capacity(records.len());
    let mut num_new_events = 0;
    for record in records {
        match record {
            Record::Quote(accepted) => {
                if insert_quote(connection, accepted)? > 0 {
                    new_quotes.push(accepted);
                }
            }
            Record::Event(event) => num_new_events += insert_event(connection, event)?,
        }
    }
    let stored = new_quotes.len() + num_new_events;
    for (key, part) in candles_of(new_quotes.into_iter()) {
        bring_up_to_date(connection, key, part)?;
    }
    fail::fail_point!("persist::before_commit");
    Ok(Written { stored, duplicates: records.len() - stored })
}

fn insert_quote(connection: &mut SqliteConnection, accepted: &Accepted) -> QueryResult<usize> {
    let quote = &accepted.quote;
    let (valid_from, valid_until) = match quote.validity {
        Validity::Live => (None, None),
        Validity::Fixing { starts_at, ends_at } => (Some(starts_at), Some(ends_at)),
    };
    let row = NewQuote {
        exchange: accepted.exchange.as_str(),
        direction: DirectionText(quote.direction),
        received_at_us: Micros(accepted.received_at),
        quoted_at_us: quote.quoted_at.map(Micros),
        bid: quote.bid.map(Price),
        ask: quote.ask.map(Price),
        last: quote.last.map(Price),
        valid_from_us: valid_from.map(Micros),
        valid_until_us: valid_until.map(Micros),
    };
    // Without the conflict in it, Diesel finds the statement again by its type, and does not write its text for each row.
    match diesel::insert_into(quotes::table).values(row).execute(connection) {
        Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => Ok(0),
        inserted => inserted,
    }
}

fn insert_event(connection: &mut SqliteConnection, event: &RecordedEvent) -> QueryResult<usize> {
    let row = (
        events::at_us.eq(Micros(event.at)),
        events::kind.eq(event.kind.as_str()),
        events::exchange.eq(event.exchange.map_or("", |exchange| exchange.as_str())),
        events::reason.eq(storable_reason(&event.reason)),
        events::num.eq(i64::try_from(event.count).unwrap_or(i64::MAX)),
    );
    let insert = diesel::insert_into(events::table).values(row);
    insert
        .on_conflict((events::at_us, events::kind, events::exchange, events::reason))
        .do_nothing()
        .execute(connection)
}

/// Prices as text cannot be compared by SQLite, so the candle is read and written back; no other writer comes between.
///
/// Both statements are prepared once for each connection, and not for each candle, which would take longer than the rest
/// of the batch. Diesel does not keep an upsert; and since `candles_of_days` has a condition on `length`, SQLite prepares
/// whatever compares that to a mere parameter anew for every value. An expression escapes that, and uses the key alike.
fn bring_up_to_date(connection: &mut SqliteConnection, key: CandleKey, part: CandlePart) -> QueryResult<()> {
    let exchange = key.market.exchange.as_str();
    let direction = DirectionText(key.market.direction);
    let length = key.interval.as_str().into_sql::<Text>().concat("");
    let known = candles::table
        .find((exchange, direction, length, Micros(key.starts_at)))
        .select(PartRow::as_select())
        .get_result(connection)
        .optional()?;
    let part = known.map_or(part, |known| CandlePart::from(known).and(part));
    let row = (
        candles::exchange.eq(exchange),
        candles::direction.eq(direction),
        candles::length.eq(key.interval.as_str()),
        candles::starts_at_us.eq(Micros(key.starts_at)),
        PartRow::from(part),
    );
    diesel::replace_into(candles::table).values(row).execute(connection)?;
    Ok(())
}

impl From<PartRow> for CandlePart {
    fn from(row: PartRow) -> Self {
        Self {
            open: row.open.0,
            high: row.high.0,
            low: row.low.0,
            close: row.close.0,
            opened_at: row.opened_at_us.0,
            closed_at: row.closed_at_us.0,
            num_quotes: row.num_quotes,
        }
    }
}

impl From<CandlePart> for PartRow {
    fn from(part: CandlePart) -> Self {
        Self {
            open: Price(part.open),
            high: Price(part.high),
            low: Price(part.low),
            close: Price(part.close),
            opened_at_us: Micros(part.opened_at),
            closed_at_us: Micros(part.closed_at),
            num_quotes: part.num_quotes,
        }
    }
}
