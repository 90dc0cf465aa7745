//! Where the database is, and what of that may be told.
//!
//! Separate because a URL holds a password: it stays in here, and every text that may repeat it is cleaned first.

use std::fmt;

use diesel::pg::PgConnection;
use diesel::prelude::*;
use percent_encoding::percent_decode_str;

use crate::persist::store::StoreError;

/// What the URL gets where the user has not said it. A host that vanishes must not hold the thread that writes: libpq
/// has no limit of time of its own, and TCP would wait for 15 minutes.
const DEFAULTS: &[(&str, &str)] = &[
    ("connect_timeout", "3"),
    ("keepalives_idle", "10"),
    ("keepalives_interval", "5"),
    ("keepalives_count", "3"),
    ("tcp_user_timeout", "10000"),
    ("application_name", "ratebook"),
];

/// Words of libpq's about an address that it cannot read. It repeats parts of it then, the password perhaps.
const UNREADABLE: &[&str] =
    &["URI", "percent-encoded", "connection option", "connection info string", "service file"];

/// The address of a database.
#[derive(Clone)]
pub(in crate::persist) struct Address {
    url: String,
    /// The password as it stands in the URL and as it is meant, each if it is not empty.
    secrets: Vec<String>,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(..)")
    }
}

impl Address {
    /// The address in a URL of PostgreSQL's (`postgres://…`), or in words such as `host=… user=…`.
    pub(in crate::persist) fn new(url: &str) -> Self {
        let secrets = secrets_in(url);
        let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let mut full = url.to_owned();
        for (name, value) in DEFAULTS {
            let is_said = if is_url { has_parameter(url, name) } else { url.contains(&format!("{name}=")) };
            if is_said {
                continue;
            }
            full.push(match (is_url, full.contains('?')) {
                (false, _) => ' ',
                (true, true) => '&',
                (true, false) => '?',
            });
            full.push_str(&format!("{name}={value}"));
        }
        Self { url: full, secrets }
    }

    /// Connects.
    ///
    /// # Errors
    /// When there is no connection within the time that the URL allows.
    pub(super) fn connect(&self) -> Result<PgConnection, StoreError> {
        PgConnection::establish(&self.url)
            .map_err(|error| StoreError::Disconnected(self.cleaned(&error.to_string())))
    }

    /// What diesel's pool connects with.
    pub(in crate::persist) fn url(&self) -> &str {
        &self.url
    }

    /// A text of libpq's without what is secret, in one line.
    pub(in crate::persist) fn cleaned(&self, text: &str) -> String {
        if text.contains("SSL support is not compiled in") {
            return "the URL asks for TLS, and this program was built without it: build it with the feature \
                    `postgres-tls`"
                .to_owned();
        }
        if UNREADABLE.iter().any(|words| text.contains(words)) || text.contains(&self.url) {
            return "the URL of the database cannot be read (expected: `postgres://user:password@host:port/database`, \
                    with special characters percent-encoded)"
                .to_owned();
        }
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        self.secrets.iter().fold(lines.join("; "), |text, secret| text.replace(secret.as_str(), "***"))
    }
}

fn has_parameter(url: &str, name: &str) -> bool {
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    parameters.split('&').any(|parameter| parameter.split('=').next() == Some(name))
}

fn secrets_in(url: &str) -> Vec<String> {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let credentials = authority.rsplit_once('@').map_or("", |(credentials, _)| credentials);
    let in_authority = credentials.split_once(':').map(|(_, password)| password);
    let in_words = url.split([' ', '?', '&']).filter_map(|word| word.strip_prefix("password="));
    let raw: Vec<&str> = in_authority.into_iter().chain(in_words).map(|raw| raw.trim_matches('\'')).collect();
    let decoded = raw.iter().map(|raw| percent_decode_str(raw).decode_utf8_lossy().into_owned());
    let mut secrets: Vec<String> = raw.iter().map(|raw| (*raw).to_owned()).chain(decoded).collect();
    secrets.retain(|secret| !secret.is_empty());
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_time_are_added_where_the_user_has_not_said_them() {
        for (url, expected) in [
            ("postgres://h/d", "postgres://h/d?connect_timeout=3&keepalives_idle=10&"),
            ("postgres://h/d?sslmode=disable", "postgres://h/d?sslmode=disable&connect_timeout=3&"),
            ("postgres://h/d?connect_timeout=9", "postgres://h/d?connect_timeout=9&keepalives_idle=10&"),
            ("host=h dbname=d", "host=h dbname=d connect_timeout=3 keepalives_idle=10 "),
        ] {
            let full = Address::new(url).url;
            assert!(full.starts_with(expected), "{full}");
            assert_eq!(full.matches("connect_timeout").count(), 1, "{full}");
        }
    }

    #[test]
    fn no_text_holds_the_password() {
        let libpq =
            r#"connection to server at "10.0.0.1", port 5432 failed: FATAL: password authentication failed"#;
        for (url, text, expected) in [
            ("postgres://me:s3cret@h/d", libpq, libpq),
            ("postgres://me:s3cret@h/d", "no luck with s3cret\n\there", "no luck with ***; here"),
            ("postgres://me:s3%21cret@h/d", "no luck with s3!cret", "no luck with ***"),
            ("host=h password=s3cret", "no luck with s3cret", "no luck with ***"),
            (
                "postgres://me:s3%cret@h/d",
                r#"invalid percent-encoded token: "s3%cret""#,
                "the URL of the database",
            ),
            ("postgres://h/d?sslmode=require", "SSL support is not compiled in", "the URL asks for TLS"),
        ] {
            let cleaned = Address::new(url).cleaned(text);
            assert!(cleaned.starts_with(expected), "{cleaned}");
            assert!(!cleaned.contains("cret"), "{cleaned}");
        }
    }
}
