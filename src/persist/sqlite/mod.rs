//! The embedded SQLite: one file, one connection that writes, and readers that never wait for it.

mod archive;
mod column;
mod database;
mod reader;
mod store;
mod tidy;
mod write;

#[cfg(test)]
mod tests;

pub(super) use archive::SqliteArchive;
pub(super) use database::Database;
pub(super) use reader::{ReaderManager, SqliteReader};
pub(super) use store::SqliteStore;
