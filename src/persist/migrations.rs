//! The migrations that are built in, and which of them a database lacks.
//!
//! A database may know migrations that we do not: then a newer version has been there, and whatever we need still is.

use std::collections::HashSet;

use diesel::backend::Backend;
use diesel::migration::{MigrationSource, MigrationVersion};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::store::StoreError;

/// Those of PostgreSQL.
pub(super) const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Those of SQLite.
pub(super) const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// Those of the outbox.
pub(super) const OUTBOX: EmbeddedMigrations = embed_migrations!("migrations/outbox");

diesel::table! {
    #[sql_name = "__diesel_schema_migrations"]
    applied_migrations (version) {
        version -> Text,
    }
}

/// Why migrations were not applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum MigrationError {
    /// The database did not take part.
    #[error(transparent)]
    Database(#[from] diesel::result::Error),
    /// One of them failed.
    #[error("{0}")]
    Failed(String),
}

/// Applies what is missing and says its names. Runs in a transaction under a lock of the caller's.
///
/// # Errors
/// With the name of the migration that failed and why; the caller's transaction has to be rolled back.
pub(super) fn apply<DB, C>(
    connection: &mut C,
    source: impl MigrationSource<DB>,
) -> Result<Vec<String>, MigrationError>
where
    DB: Backend,
    C: MigrationHarness<DB>,
{
    let pending = connection.pending_migrations(source);
    let pending = pending.map_err(|error| MigrationError::Failed(error.to_string()))?;
    let mut applied = Vec::new();
    for migration in pending {
        let name = migration.name().to_string();
        if let Err(error) = connection.run_migration(migration.as_ref()) {
            let text = error.to_string();
            // diesel repeats the name: `Failed to run … with: …`.
            let why = text.split_once(" with: ").map_or(text.as_str(), |(_, why)| why);
            return Err(MigrationError::Failed(format!("migration `{name}` failed: {why}")));
        }
        applied.push(name);
    }
    Ok(applied)
}

/// The names of those that are not among the versions that the database has.
pub(super) fn missing<DB: Backend>(
    source: impl MigrationSource<DB>,
    applied: &[String],
) -> Result<Vec<String>, StoreError> {
    let applied: HashSet<MigrationVersion> = applied.iter().map(MigrationVersion::from).collect();
    let mut migrations = source.migrations().map_err(|error| StoreError::Migration(error.to_string()))?;
    migrations.retain(|migration| !applied.contains(&migration.name().version()));
    let mut names: Vec<String> = migrations.iter().map(|migration| migration.name().to_string()).collect();
    names.sort_unstable();
    Ok(names)
}
