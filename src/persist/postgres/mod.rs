//! PostgreSQL: one connection that writes, others that read.

mod address;
mod archive;
mod days;
mod fault;
mod store;
mod tidy;
mod write;

#[cfg(test)]
mod tests;

pub(super) use address::Address;
pub(super) use archive::PostgresArchive;
pub(super) use store::{PostgresStore, open_reader};
