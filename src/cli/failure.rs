//! Why a command failed, and the exit code that says so to a script.
//!
//! Separate because the codes are a contract: one table, which the README, `--help` and the tests share. The
//! numbers are those of `sysexits.h`, so that they mean to others what they mean here.

use std::io;

use crate::app::AppError;
use crate::config::ConfigError;

/// Why a command failed, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The command line cannot be understood, or asks for what does not exist.
    #[error("{0}")]
    Usage(String),
    /// A file that was named is not there.
    #[error("{0}")]
    NoFile(String),
    /// An address is in use, or a service does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// The rate book failed for good.
    #[error("{0}")]
    RateBookFailed(String),
    /// A path cannot be written.
    #[error("{0}")]
    NotWritable(String),
    /// Settings are refused.
    #[error("{0}")]
    BadSettings(String),
}

/// Every exit code, and what it means.
pub const EXIT_CODES: &[(u8, &str)] = &[
    (0, "done, or stopped by SIGTERM or SIGINT"),
    (64, "usage: the command line cannot be understood"),
    (66, "no such settings file (or recording), or it cannot be read"),
    (
        69,
        "address in use; for `courses` and `health`: the service does not answer, or has no fresh course; for `migrate` and `export`: the database does not answer, or is not up to date",
    ),
    (70, "the rate book failed for good; start the process again"),
    (73, "a path cannot be written"),
    (78, "settings: unknown keys, unknown exchanges or bad values"),
];

impl Failure {
    /// The exit code.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::NoFile(_) => 66,
            Self::Unavailable(_) => 69,
            Self::RateBookFailed(_) => 70,
            Self::NotWritable(_) => 73,
            Self::BadSettings(_) => 78,
        }
    }
}

/// Several mistakes are an ERROR each, before the one CRITICAL line that counts them.
impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let problems = match error {
            ConfigError::NoFile { .. } => {
                return Self::NoFile(format!("{error}; name another with `--config`, or start without one"));
            }
            ConfigError::Bad(problems) => problems,
        };
        if let [problem] = problems.as_slice() {
            return Self::BadSettings(format!(
                "{problem}; mend it, then `ratebook check-config` tells if it is right"
            ));
        }
        for problem in &problems {
            log::error!(target: "ratebook::config", "{problem}");
        }
        let keys: Vec<String> =
            problems.iter().map(|problem| format!("`{}`", problem.key.as_deref().unwrap_or("?"))).collect();
        Self::BadSettings(format!(
            "{} settings are refused ({}); mend them as said above, then `ratebook check-config` tells if all is right",
            problems.len(),
            keys.join(", ")
        ))
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        match error {
            AppError::AddressInUse { .. } => Self::Unavailable(format!(
                "{error}; stop the other program, or set `listen` (`RATEBOOK_LISTEN=127.0.0.1:8081`)"
            )),
            AppError::Listen { .. } | AppError::Simulator(_) => Self::Unavailable(error.to_string()),
            AppError::Tls(_) => Self::BadSettings(format!("`tls_ca_file`: {error}; mend it or leave it out")),
            AppError::PathNotWritable(_) => {
                Self::NotWritable(format!("{error}; mend its rights or its disk, or set another path"))
            }
            AppError::RateBookFailed => Self::RateBookFailed(format!(
                "{error}; start the process again, and report the ERROR lines above"
            )),
        }
    }
}

/// What became of writing to standard output. Whoever closes a pipe has seen enough, so that is no failure.
///
/// # Errors
/// When the output cannot be written for any other reason.
pub(super) fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::NotWritable(format!(
            "standard input or output failed: {error}; look at what it is redirected to"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Origin, Problem};

    #[test]
    fn every_failure_has_a_code_of_the_table() {
        let text = String::new;
        for (failure, code) in [
            (Failure::Usage(text()), 64),
            (Failure::NoFile(text()), 66),
            (Failure::Unavailable(text()), 69),
            (Failure::RateBookFailed(text()), 70),
            (Failure::NotWritable(text()), 73),
            (Failure::BadSettings(text()), 78),
        ] {
            assert_eq!(failure.code(), code);
            assert!(EXIT_CODES.iter().any(|(known, _)| *known == code));
        }
    }

    #[test]
    fn several_mistakes_are_all_named_in_the_one_message() {
        let problem = |key: &str| Problem {
            key: Some(key.to_owned()),
            origin: Origin::Default,
            message: "bad".to_owned(),
        };
        let one = Failure::from(ConfigError::Bad(vec![problem("listen")])).to_string();
        assert!(one.starts_with("setting `listen` (default): bad; "), "{one}");
        let two = Failure::from(ConfigError::Bad(vec![problem("listen"), problem("roles")])).to_string();
        assert!(two.starts_with("2 settings are refused (`listen`, `roles`); "), "{two}");
    }

    #[test]
    fn a_closed_pipe_is_no_failure_and_a_full_disk_is_one() {
        assert_eq!(written(Err(io::ErrorKind::BrokenPipe.into())), Ok(()));
        assert_eq!(
            written(Err(io::ErrorKind::StorageFull.into())).map_err(|failure| failure.code()),
            Err(73)
        );
    }
}
