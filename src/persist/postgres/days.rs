//! The partitions of `quotes`, one per day of UTC.

use chrono::{Days, NaiveDate};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};

/// Taken by whoever makes partitions, so that of several writers one does. Any constant that nobody else uses.
const MAKING: i64 = 0x7261_7465_0002;

/// Taken by whoever drops partitions: one of several writers is enough.
const DROPPING: i64 = 0x7261_7465_0003;

/// A table that is, was or is about to be a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) day: NaiveDate,
    pub(super) state: State,
}

/// How far a partition belongs to `quotes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It does.
    Attached,
    /// Somebody began to detach it and did not end.
    Detaching,
    /// It does not, and is still there.
    Detached,
}

#[derive(QueryableByName)]
struct PartitionRow {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<diesel::sql_types::Bool>)]
    is_detaching: Option<bool>,
}

/// Those that have the names which we give, the oldest first.
pub(super) fn all(connection: &mut PgConnection) -> QueryResult<Vec<Partition>> {
    let rows: Vec<PartitionRow> = diesel::sql_query(
        "SELECT c.relname::text AS name, i.inhdetachpending AS is_detaching
         FROM pg_class AS parent
         JOIN pg_class AS c ON c.relnamespace = parent.relnamespace AND c.relkind = 'r'
         LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid AND i.inhparent = parent.oid
         WHERE parent.oid = 'quotes'::regclass AND c.relname ~ '^quotes_[0-9]{8}$'
         ORDER BY 1",
    )
    .load(connection)?;
    let read = |row: PartitionRow| {
        let day = NaiveDate::parse_from_str(row.name.strip_prefix("quotes_")?, "%Y%m%d").ok()?;
        let state = match row.is_detaching {
            Some(false) => State::Attached,
            Some(true) => State::Detaching,
            None => State::Detached,
        };
        Some(Partition { day, state })
    };
    Ok(rows.into_iter().filter_map(read).collect())
}

/// Makes the partition of a day, unless it is there. Safe with several writers, and with one that reads: attaching a
/// table takes no lock that stops them.
pub(super) fn make(connection: &mut PgConnection, day: NaiveDate) -> QueryResult<()> {
    connection.transaction(|connection| {
        diesel::sql_query("SELECT pg_advisory_xact_lock($1)")
            .bind::<diesel::sql_types::BigInt, _>(MAKING)
            .execute(connection)?;
        let known = all(connection)?.into_iter().find(|partition| partition.day == day);
        let name = name_of(day);
        if known.as_ref().is_some_and(|partition| partition.state == State::Attached) {
            return Ok(());
        }
        if known.is_none() {
            connection.batch_execute(&format!("CREATE TABLE {name} (LIKE quotes INCLUDING ALL)"))?;
        }
        let next = day.checked_add_days(Days::new(1)).unwrap_or(day);
        connection.batch_execute(&format!(
            "ALTER TABLE quotes ATTACH PARTITION {name} FOR VALUES FROM ('{day} 00:00+00') TO ('{next} 00:00+00')"
        ))
    })
}

/// Drops a partition with all its rows, unless somebody else is dropping one. Says whether it did.
pub(super) fn drop(connection: &mut PgConnection, partition: &Partition) -> QueryResult<bool> {
    let lock = diesel::sql_query("SELECT 1 WHERE pg_try_advisory_lock($1)");
    if lock.bind::<diesel::sql_types::BigInt, _>(DROPPING).execute(connection)? == 0 {
        return Ok(false);
    }
    let name = name_of(partition.day);
    // Not in a transaction: readers and writers of the other days go on meanwhile.
    let detached = match partition.state {
        State::Attached => {
            connection.batch_execute(&format!("ALTER TABLE quotes DETACH PARTITION {name} CONCURRENTLY"))
        }
        State::Detaching => {
            connection.batch_execute(&format!("ALTER TABLE quotes DETACH PARTITION {name} FINALIZE"))
        }
        State::Detached => Ok(()),
    };
    let dropped = detached.and_then(|()| connection.batch_execute(&format!("DROP TABLE IF EXISTS {name}")));
    let unlock = diesel::sql_query("SELECT pg_advisory_unlock($1)");
    let unlocked = unlock.bind::<diesel::sql_types::BigInt, _>(DROPPING).execute(connection);
    dropped.and(unlocked).map(|_| true)
}

fn name_of(day: NaiveDate) -> String {
    format!("quotes_{}", day.format("%Y%m%d"))
}
