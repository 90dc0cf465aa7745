//! Questions about what is stored.

use std::ops::DerefMut;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_types::{Text, Timestamptz};
use rust_decimal::Decimal;

use super::fault::meaning;
use crate::history::{Candle, Interval, Policy, Tick};
use crate::market::{Direction, Quote, Validity};
use crate::persist::column::DirectionText;
use crate::persist::event::{self, EventsPage};
use crate::persist::past::{self, End, Kind, Search};
use crate::persist::schema::postgres::{candles, events, quotes};
use crate::persist::store::{Archive, Market, StoreError, StoredQuote, Window};
use crate::rate_book::EventKind;

/// A connection that reads from PostgreSQL.
pub(in crate::persist) struct PostgresArchive<C>(pub(in crate::persist) C);

#[derive(Queryable, Selectable, QueryableByName)]
#[diesel(table_name = quotes)]
struct QuoteRow {
    exchange: String,
    direction: DirectionText,
    received_at: DateTime<Utc>,
    quoted_at: Option<DateTime<Utc>>,
    bid: Option<Decimal>,
    ask: Option<Decimal>,
    last: Option<Decimal>,
    valid_from: Option<DateTime<Utc>>,
    valid_until: Option<DateTime<Utc>>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = candles)]
struct CandleRow {
    starts_at: DateTime<Utc>,
    open: Decimal,
    high: Decimal,
    low: Decimal,
    close: Decimal,
    num_quotes: i64,
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    exchange: String,
}

type EventRow = (DateTime<Utc>, String, String, String, i64);

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
        WHERE c.exchange = names.exchange AND c.direction = $1 AND c.length = '1m'
          AND c.starts_at >= $2 AND c.starts_at < $3
    )
    ORDER BY exchange";

impl<C: DerefMut<Target = PgConnection>> PostgresArchive<C> {
    fn meant<T>(&mut self, asked: Result<T, Error>) -> Result<T, StoreError> {
        asked.map_err(|error| meaning(&error, &mut self.0))
    }
}

impl<C: DerefMut<Target = PgConnection>> Archive for PostgresArchive<C> {
    fn exchanges(
        &mut self,
        direction: Direction,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<String>, StoreError> {
        let query = diesel::sql_query(EXCHANGES)
            .bind::<Text, _>(DirectionText(direction))
            .bind::<Timestamptz, _>(Interval::Minute.start_of(from))
            .bind::<Timestamptz, _>(to);
        let names: Result<Vec<Name>, Error> = query.load(&mut *self.0);
        Ok(self.meant(names)?.into_iter().map(|name| name.exchange).collect())
    }

    fn candles(&mut self, of: &Market, interval: Interval, span: Window) -> Result<Vec<Candle>, StoreError> {
        let rows = candles::table
            .filter(candles::exchange.eq(of.exchange.as_str()))
            .filter(candles::direction.eq(DirectionText(of.direction)))
            .filter(candles::length.eq(interval.as_str()))
            .filter(candles::starts_at.ge(span.from))
            .filter(candles::starts_at.lt(span.to))
            .order(candles::starts_at)
            .limit(span.num_rows())
            .select(CandleRow::as_select())
            .load(&mut *self.0);
        Ok(self.meant(rows)?.into_iter().map(Candle::from).collect())
    }

    fn ticks(&mut self, of: &Market, span: Window) -> Result<Vec<Tick>, StoreError> {
        let rows = quotes::table
            .filter(quotes::exchange.eq(of.exchange.as_str()))
            .filter(quotes::direction.eq(DirectionText(of.direction)))
            .filter(quotes::received_at.ge(span.from))
            .filter(quotes::received_at.lt(span.to))
            .order(quotes::received_at)
            .limit(span.num_rows())
            .select(QuoteRow::as_select())
            .load(&mut *self.0);
        Ok(self.meant(rows)?.into_iter().map(Tick::from).collect())
    }

    fn markets(&mut self, at: DateTime<Utc>) -> Result<Vec<(String, Direction)>, StoreError> {
        // The literal makes the index of days usable.
        let markets = candles::table
            .filter(candles::length.eq(sql::<Text>("'1d'")))
            .filter(candles::starts_at.between(past::first_day(at), at))
            .select((candles::exchange, candles::direction))
            .distinct()
            .load::<(String, DirectionText)>(&mut *self.0);
        let markets = self.meant(markets)?;
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
            let rows = searched(&mut self.0, search);
            found.extend(self.meant(rows)?.into_iter().map(StoredQuote::from));
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
            query = query.filter(events::at.ge(since)).filter(events::kind.eq_any(event::words_of(kind)));
            if let Some(to) = to {
                query = query.filter(events::at.le(to));
            }
            if let Some(limit) = limit {
                query = query.limit(limit);
            }
            let rows = query.order((events::at, events::kind, events::exchange, events::reason));
            let rows: Result<Vec<EventRow>, Error> = rows.load(&mut *self.0);
            let read = |(at, kind, exchange, reason, count)| event::read(at, kind, exchange, reason, count);
            Ok(self.meant(rows)?.into_iter().filter_map(read).collect())
        };
        event::page_by(limit, &mut load)
    }
}

/// One search in every market that had quotes around its stretch, by the candles of those days.
fn searched(connection: &mut PgConnection, search: Search) -> QueryResult<Vec<QuoteRow>> {
    let condition = match search.of {
        Kind::Live => "valid_from IS NULL",
        Kind::Fixing => "valid_from IS NOT NULL",
        Kind::FixingAt(_) => "valid_from IS NOT NULL AND valid_from <= $4 AND valid_until > $4",
    };
    let order = match search.take {
        End::Newest => "DESC",
        End::Oldest => "ASC",
    };
    let query = diesel::sql_query(format!(
        "SELECT q.* FROM (
            SELECT DISTINCT exchange, direction FROM candles
            WHERE length = '1d' AND starts_at BETWEEN $1 AND $3
        ) AS m CROSS JOIN LATERAL (
            SELECT * FROM quotes
            WHERE exchange = m.exchange AND direction = m.direction
              AND received_at BETWEEN $2 AND $3 AND {condition}
            ORDER BY received_at {order} LIMIT 1
        ) AS q"
    ));
    let query = query
        .bind::<Timestamptz, _>(Interval::Day.start_of(search.from))
        .bind::<Timestamptz, _>(search.from)
        .bind::<Timestamptz, _>(search.to);
    match search.of {
        Kind::FixingAt(at) => query.bind::<Timestamptz, _>(at).load(connection),
        Kind::Live | Kind::Fixing => query.load(connection),
    }
}

impl From<CandleRow> for Candle {
    fn from(row: CandleRow) -> Self {
        Self {
            starts_at: row.starts_at,
            open: row.open,
            high: row.high,
            low: row.low,
            close: row.close,
            num_quotes: row.num_quotes.unsigned_abs(),
        }
    }
}

impl From<QuoteRow> for Tick {
    fn from(row: QuoteRow) -> Self {
        let QuoteRow { received_at, quoted_at, bid, ask, last, .. } = row;
        Self { received_at, quoted_at, bid, ask, last }
    }
}

impl From<QuoteRow> for StoredQuote {
    fn from(row: QuoteRow) -> Self {
        let validity = match (row.valid_from, row.valid_until) {
            (Some(starts_at), Some(ends_at)) => Validity::Fixing { starts_at, ends_at },
            _ => Validity::Live,
        };
        let quote = Quote {
            bid: row.bid,
            ask: row.ask,
            last: row.last,
            quoted_at: row.quoted_at,
            validity,
            ..Quote::empty(row.direction.0)
        };
        Self { exchange: row.exchange, quote, received_at: row.received_at }
    }
}
