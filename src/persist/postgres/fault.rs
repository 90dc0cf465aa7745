//! What an error of PostgreSQL's means for whoever waits.
//!
//! Its texts may be in any language, so they decide nothing where something else can be asked.

use diesel::PgConnection;
use diesel::r2d2::R2D2Connection;
use diesel::result::{DatabaseErrorKind, Error};

use crate::persist::store::StoreError;

/// Texts about content that diesel has no kind for.
const ABOUT_CONTENT: &[&str] = &["invalid byte sequence", "out of range", "numeric field overflow"];

/// What the error means. Asks whether the connection still answers, which only a broken one takes long to say.
pub(super) fn meaning(error: &Error, connection: &mut PgConnection) -> StoreError {
    let text = told(error);
    match error {
        Error::DatabaseError(DatabaseErrorKind::CheckViolation | DatabaseErrorKind::NotNullViolation, _)
        | Error::SerializationError(_)
            if !is_missing_partition(error) =>
        {
            StoreError::BadContent(text)
        }
        Error::DatabaseError(
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand,
            _,
        )
        | Error::BrokenTransactionManager => StoreError::Disconnected(text),
        _ if connection.ping().is_err() => StoreError::Disconnected(text),
        _ if ABOUT_CONTENT.iter().any(|words| text.contains(words)) => StoreError::BadContent(text),
        _ => StoreError::Failed(text),
    }
}

/// Whether a row found no partition: a broken rule of the table's that has no name.
pub(super) fn is_missing_partition(error: &Error) -> bool {
    match error {
        Error::DatabaseError(DatabaseErrorKind::CheckViolation, information) => {
            information.constraint_name().is_none()
        }
        _ => false,
    }
}

/// What PostgreSQL said, in one line.
pub(super) fn told(error: &Error) -> String {
    let text = match error {
        Error::DatabaseError(_, information) => information.message().to_owned(),
        other => other.to_string(),
    };
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
