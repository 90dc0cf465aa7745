//! Why an exchange could not be asked or heard, in words for people.
//!
//! Separate because sockets and requests fail in the same ways, and because no address may slip into these words:
//! it may hold a key.

use std::io;
use std::time::Duration;

use actix_http::error::ParseError;
use awc::error::{ConnectError, SendRequestError, WsClientError};

use super::dial::CONNECT_WITHIN;

/// Characters of another's text that are shown.
const MOST_SHOWN: usize = 200;

/// Why an exchange could not be asked or heard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    #[error("connection refused")]
    Refused,
    #[error("name not resolved")]
    Name,
    #[error("not reached within {} s", .0.as_secs_f64())]
    NotReached(Duration),
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    #[error("certificate or TLS refused: {0}")]
    Tls(String),
    #[error("closed by peer")]
    Closed,
    #[error("closed by peer: {0}")]
    ClosedWith(String),
    #[error("connection reset")]
    Reset,
    #[error("answered {0}")]
    Status(u16),
    #[error("answered {0}, and redirects are not followed")]
    Redirect(u16),
    #[error("larger than {limit} bytes")]
    TooBig { limit: usize },
    /// An answer of which nothing can be used.
    #[error("{0}")]
    Unusable(String),
    #[error("{0}")]
    Other(String),
}

impl Trouble {
    /// Whether the exchange itself says that it does not work at the moment.
    pub(super) fn is_server_failure(&self) -> bool {
        matches!(self, Self::Status(500..))
    }

    /// Whether another request may well be answered: the trouble is with what was asked for.
    pub(super) fn is_of_one_request(&self) -> bool {
        matches!(self, Self::Status(400 | 404 | 422) | Self::Unusable(_))
    }
}

/// The text of somebody else, fit for one line of a log: no control characters, none that turn the direction of
/// writing, and not long.
pub(super) fn printable(text: &str) -> String {
    let is_harmless = |c: char| {
        !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().take(MOST_SHOWN).map(|c| if is_harmless(c) { c } else { '\u{fffd}' }).collect()
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(error) = inner {
            return Self::Tls(printable(&error.to_string()));
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                Self::Reset
            }
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Other(printable(&error.to_string())),
        }
    }
}

impl From<ConnectError> for Trouble {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Resolver(_) | ConnectError::NoRecords | ConnectError::Unresolved => Self::Name,
            ConnectError::Disconnected => Self::Closed,
            ConnectError::Io(error) => error.into(),
            ConnectError::Timeout => Self::NotReached(CONNECT_WITHIN),
            _ => Self::Other("no connection".to_owned()),
        }
    }
}

impl From<SendRequestError> for Trouble {
    fn from(error: SendRequestError) -> Self {
        match error {
            SendRequestError::Connect(error) => error.into(),
            SendRequestError::Send(error) => error.into(),
            SendRequestError::Url(_) => Self::Other("not a usable address".to_owned()),
            SendRequestError::Timeout => Self::Other("no answer in time".to_owned()),
            SendRequestError::Response(ParseError::Io(error)) => error.into(),
            SendRequestError::Response(error) => Self::Other(printable(&format!("not HTTP: {error}"))),
            _ => Self::Other("the request could not be sent".to_owned()),
        }
    }
}

impl From<WsClientError> for Trouble {
    fn from(error: WsClientError) -> Self {
        match error {
            WsClientError::SendRequest(error) => error.into(),
            WsClientError::InvalidResponseStatus(status) => Self::status(status.as_u16()),
            _ => Self::Other("not a WebSocket".to_owned()),
        }
    }
}

impl Trouble {
    /// What a status other than success means.
    pub(super) fn status(status: u16) -> Self {
        if (300..400).contains(&status) { Self::Redirect(status) } else { Self::Status(status) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_somebody_else_stays_on_one_short_line() {
        for (text, expected) in [
            ("plain words", "plain words"),
            ("two\nlines\u{1b}[31m", "two\u{fffd}lines\u{fffd}[31m"),
            ("turned \u{202e}round", "turned \u{fffd}round"),
        ] {
            assert_eq!(printable(text), expected);
        }
        assert_eq!(printable(&"x".repeat(10_000)).len(), MOST_SHOWN);
    }
}
