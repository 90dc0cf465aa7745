//! Questions about what is stored.

use std::ops::DerefMut;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::column::{Micros, Price};
use super::database::meaning;
use crate::history::{Candle, Interval, Policy, Tick};
use crate::market::{Direction, Quote, Validity};
use crate::persist::column::DirectionText;
use crate::persist::event::{self, EventsPage};
use crate::persist::past::{self, End, Kind, Search};
use crate::persist::schema::sqlite::{candles, events, quotes};
use crate::persist::store::{Archive, Market, StoreError, StoredQuote, Window};
use crate::rate_book::EventKind;

/// A connection that reads from SQLite.
pub(in crate::persist) struct SqliteArchive<C>(pub(in crate::persist) C);

#[derive(Queryable, Selectable, QueryableByName)]
#[diesel(table_name = quotes)]
struct QuoteRow {
    exchange: String,
    direction: DirectionText,
    received_at_us: Micros,
    quoted_at_us: Option<Micros>,
    bid: Option<Price>,
    ask: Option<Price>,
    last: Option<Price>,
    valid_from_us: Option<Micros>,
    valid_until_us: Option<Micros>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = candles)]
struct CandleRow {
    starts_at_us: Micros,
    open: Price,
    high: Price,
    low: Price,
    close: Price,
    num_quotes: i64,
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    exchange: String,
}

type EventRow = (Micros, String, String, String, i64);

/// The names one after another by the key, and of each whether it has a candle: a step per exchange, however large the
/// table is.
const EXCHANGES: &str = "
    WITH RECURSIVE names (exchange) AS (
        SELECT min(exchange) FROM candles
        UNION ALL
        SELECT (SELECT min(c.exchange) FROM candles AS c WHERE c.exchange > n.exchange)
        FROM names AS n WHERE n.exchange IS NOT NULL
    )
    SELECT exchange FROM names
    WHERE exchange IS NOT NULL AND EXISTS (
        SELECT 1 FROM candles AS c
        WHERE c.exchange = names.exchange AND c.direction = ?1 AND c.length = '1m'
          AND c.starts_at_us >= ?2 AND c.starts_at_us < ?3
    )
    ORDER BY exchange";

impl<C: DerefMut<Target = SqliteConnection>> Archive for SqliteArchive<C> {
    fn exchanges(
        &mut self,
        direction: Direction,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<String>, StoreError> {
        let query = diesel::sql_query(EXCHANGES)
            .bind::<Text, _>(DirectionText(direction))
            .bind::<BigInt, _>(Micros(Interval::Minute.start_of(from)))
            .bind::<BigInt, _>(Micros(to));
        let names: Vec<Name> = query.load(&mut *self.0).map_err(|error| meaning(&error))?;
        Ok(names.into_iter().map(|name| name.exchange).collect())
    }

    fn candles(&mut self, of: &Market, interval: Interval, span: Window) -> Result<Vec<Candle>, StoreError> {
        let rows = candles::table
            .filter(candles::exchange.eq(of.exchange.as_str()))
            .filter(candles::direction.eq(DirectionText(of.direction)))
            .filter(candles::length.eq(interval.as_str()))
            .filter(candles::starts_at_us.ge(Micros(span.from)))
            .filter(candles::starts_at_us.lt(Micros(span.to)))
            .order(candles::starts_at_us)
            .limit(span.num_rows())
            .select(CandleRow::as_select())
            .load(&mut *self.0);
        Ok(rows.map_err(|error| meaning(&error))?.into_iter().map(Candle::from).collect())
    }

    fn ticks(&mut self, of: &Market, span: Window) -> Result<Vec<Tick>, StoreError> {
        let rows = quotes::table
            .filter(quotes::exchange.eq(of.exchange.as_str()))
            .filter(quotes::direction.eq(DirectionText(of.direction)))
            .filter(quotes::received_at_us.ge(Micros(span.from)))
            .filter(quotes::received_at_us.lt(Micros(span.to)))
            .order(quotes::received_at_us)
            .limit(span.num_rows())
            .select(QuoteRow::as_select())
            .load(&mut *self.0);
        Ok(rows.map_err(|error| meaning(&error))?.into_iter().map(Tick::from).collect())
    }

    fn markets(&mut self, at: DateTime<Utc>) -> Result<Vec<(String, Direction)>, StoreError> {
        // The literal makes the index of days usable.
        let markets = candles::table
            .filter(candles::length.eq(sql::<Text>("'1d'")))
            .filter(candles::starts_at_us.between(Micros(past::first_day(at)), Micros(at)))
            .select((candles::exchange, candles::direction))
            .distinct()
            .load::<(String, DirectionText)>(&mut *self.0);
        let markets = markets.map_err(|error| meaning(&error))?;
        Ok(markets.into_iter().map(|(exchange, DirectionText(direction))| (exchange, direction)).collect())
    }

    fn quotes_at(
        &mut self,
        at: DateTime<Utc>,
        policy: Policy,
        tolerance: Duration,
    ) -> Result<Vec<StoredQuote>, StoreError> {
        let mut found = Vec::new();
        for search in past::searches(at, policy, tolerance) {
            let rows = searched(&mut self.0, search).map_err(|error| meaning(&error))?;
            found.extend(rows.into_iter().map(StoredQuote::from));
        }
        Ok(past::chosen(found, at))
    }

    fn events(
        &mut self,
        since: DateTime<Utc>,
        kind: Option<EventKind>,
        limit: usize,
    ) -> Result<EventsPage, StoreError> {
        let mut load = |to: Option<DateTime<Utc>>, limit: Option<i64>| {
            let mut query = events::table.into_boxed();
            query = query.filter(events::at_us.ge(Micros(since)));
            query = query.filter(events::kind.eq_any(event::words_of(kind)));
            if let Some(to) = to {
                query = query.filter(events::at_us.le(Micros(to)));
            }
            if let Some(limit) = limit {
                query = query.limit(limit);
            }
            let rows = query.order((events::at_us, events::kind, events::exchange, events::reason));
            let rows: Vec<EventRow> = rows.load(&mut *self.0).map_err(|error| meaning(&error))?;
            let read =
                |(Micros(at), kind, exchange, reason, count)| event::read(at, kind, exchange, reason, count);
            Ok(rows.into_iter().filter_map(read).collect())
        };
        event::page_by(limit, &mut load)
    }
}

/// One search in every market that had quotes around its stretch, by the candles of those days.
fn searched(connection: &mut SqliteConnection, search: Search) -> QueryResult<Vec<QuoteRow>> {
    let condition = match search.of {
        Kind::Live => "valid_from_us IS NULL",
        Kind::Fixing => "valid_from_us IS NOT NULL",
        Kind::FixingAt(_) => "valid_from_us IS NOT NULL AND valid_from_us <= ?5 AND valid_until_us > ?5",
    };
    let order = match search.take {
        End::Newest => "DESC",
        End::Oldest => "ASC",
    };
    // The CROSS JOIN keeps SQLite from walking through the quotes first.
    let query = diesel::sql_query(format!(
        "SELECT q.* FROM (
            SELECT DISTINCT exchange, direction FROM candles
            WHERE length = '1d' AND starts_at_us BETWEEN ?1 AND ?2
        ) AS m CROSS JOIN quotes AS q
        ON q.exchange = m.exchange AND q.direction = m.direction AND q.received_at_us = (
            SELECT received_at_us FROM quotes
            WHERE exchange = m.exchange AND direction = m.direction
              AND received_at_us BETWEEN ?3 AND ?4 AND {condition}
            ORDER BY received_at_us {order} LIMIT 1
        )"
    ));
    let first_day = Interval::Day.start_of(search.from);
    let query = query
        .bind::<BigInt, _>(Micros(first_day))
        .bind::<BigInt, _>(Micros(search.to))
        .bind::<BigInt, _>(Micros(search.from))
        .bind::<BigInt, _>(Micros(search.to));
    match search.of {
        Kind::FixingAt(at) => query.bind::<BigInt, _>(Micros(at)).load(connection),
        Kind::Live | Kind::Fixing => query.load(connection),
    }
}

impl From<CandleRow> for Candle {
    fn from(row: CandleRow) -> Self {
        Self {
            starts_at: row.starts_at_us.0,
            open: row.open.0,
            high: row.high.0,
            low: row.low.0,
            close: row.close.0,
            num_quotes: row.num_quotes.unsigned_abs(),
        }
    }
}

impl From<QuoteRow> for Tick {
    fn from(row: QuoteRow) -> Self {
        let price = |price: Option<Price>| price.map(|Price(price)| price);
        Self {
            received_at: row.received_at_us.0,
            quoted_at: row.quoted_at_us.map(|Micros(at)| at),
            bid: price(row.bid),
            ask: price(row.ask),
            last: price(row.last),
        }
    }
}

impl From<QuoteRow> for StoredQuote {
    fn from(row: QuoteRow) -> Self {
        let price = |price: Option<Price>| price.map(|Price(price)| price);
        let validity = match (row.valid_from_us, row.valid_until_us) {
            (Some(Micros(starts_at)), Some(Micros(ends_at))) => Validity::Fixing { starts_at, ends_at },
            _ => Validity::Live,
        };
        let quote = Quote {
            bid: price(row.bid),
            ask: price(row.ask),
            last: price(row.last),
            quoted_at: row.quoted_at_us.map(|Micros(at)| at),
            validity,
            ..Quote::empty(row.direction.0)
        };
        Self { exchange: row.exchange, quote, received_at: row.received_at_us.0 }
    }
}
