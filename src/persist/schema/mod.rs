//! The tables as diesel knows them. One schema per database: prices are NUMERIC in PostgreSQL and text in SQLite, which
//! has no exact decimals, and one definition cannot say both.
//!
//! Written by hand, like the migrations; a test compares the two.

pub(super) mod outbox;
pub(super) mod postgres;
pub(super) mod sqlite;

#[cfg(test)]
mod tests;
