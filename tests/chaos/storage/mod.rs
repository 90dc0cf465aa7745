//! Rows about storage: what it survives, and that prices never feel it.
//!
//! A file for each kind of fault. K is a kill, F a freeze, M memory; D, P, S and W are the matrix's own letters.

use crate::row::{Figures, Options, Row};

mod disks;
mod ends;
mod files;
mod kills;
mod locks;
mod memory;
mod outages;
mod outbox;
mod panics;
mod questions;
mod records;
mod starts;
mod trial;

/// Quotes a second of the numbered stream.
const LOAD: u64 = 2_000;

pub(crate) fn rows() -> Vec<Row> {
    let row = |id, claim, run: fn(&Options) -> Figures| Row { id, claim, run };
    vec![
        row("K-01", "a kill takes nothing that SQLite had committed", kills::with_sqlite),
        row("K-02", "a kill takes nothing that the outbox had committed", kills::with_postgres),
        row("F-01", "quotes outlive a database that is frozen", outages::frozen),
        row("D-01", "quotes outlive a database that is down", outages::down),
        row(
            "D-02",
            "quotes outlive every kind of end of the database in the middle of batches",
            outages::restarts,
        ),
        row("D-03", "slow commits make batches grow and hold up nothing", outages::slow_commits),
        row("D-04", "a locked table holds up nothing else, and loses nothing", locks::table),
        row("D-05p", "quotes outlive a full disk of PostgreSQL", disks::of_postgres),
        row("D-05s", "quotes outlive a full disk of SQLite", disks::of_sqlite),
        row("D-06p", "PostgreSQL refuses one record, and gets the others", records::poison_for_postgres),
        row("D-06s", "SQLite refuses one record, and gets the others", records::poison_for_sqlite),
        row("D-07", "batches that are replayed change nothing", outbox::replayed),
        row("D-08", "what a full outbox gives up is counted exactly", outbox::at_its_limit),
        row("D-10a", "quotes outlive a full disk of the outbox", disks::of_outbox),
        row("D-10b", "quotes outlive an outbox that fills its disk itself", disks::filled_by_outbox),
        row("D-10c", "quotes outlive an outbox that cannot be opened", outbox::cannot_be_opened),
        row("D-11p", "many that start together migrate PostgreSQL once", starts::together_on_postgres),
        row("D-11s", "many that start together migrate SQLite once", starts::together_on_sqlite),
        row("D-12p", "a migration that fails leaves nothing in PostgreSQL", starts::failing_on_postgres),
        row("D-12s", "a migration that fails leaves nothing in SQLite", starts::failing_on_sqlite),
        row("D-13", "a migration goes on after the death of whoever began one", starts::holder_dies),
        row("D-14", "quotes outlive another writer of SQLite", locks::writer_of_sqlite),
        row("D-15r", "quotes outlive a file that may only be read", files::read_only),
        row("D-15d", "what comes after a file was deleted is stored, and the loss is told", files::deleted),
        row("D-15c", "a file that is no database is left as it is", files::corrupt),
        row("D-16", "slow questions about history are refused, and prices are not", questions::slow),
        row("D-17", "quotes outlive a database that refuses to write, or us", outages::refusing),
        row("P-33", "what was stored is never told as a course", starts::with_stored_quotes),
        row(
            "S-08p",
            "panics around the commits of outbox and PostgreSQL cost nothing",
            panics::with_postgres,
        ),
        row("S-08s", "panics around the commits of SQLite cost nothing", panics::with_sqlite),
        row("M-01p", "memory stays while PostgreSQL is away", memory::without_postgres),
        row("M-01s", "memory stays while SQLite is locked", memory::without_sqlite),
        row("W-15a", "an end in order loses nothing", ends::database_works),
        row("W-15b", "an end without the database loses nothing", ends::database_is_down),
        row("W-15c", "an end with a frozen database loses nothing", ends::database_is_frozen),
    ]
}
