//! The way from a command to a running service, for those that ask one.

use std::sync::Arc;
use std::time::Duration;

use awc::http::header::HeaderMap;
use awc::{Client, Connector};
use bytes::Bytes;

use super::Failure;
use crate::logging::one_line;

/// How long a service may take. It answers in milliseconds or says within a second that it cannot.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Largest answer that is read: a hundred courses are some 5 kB.
const LARGEST_ANSWER: usize = 1 << 20;

/// An answer as it came.
pub(super) struct Reply {
    pub(super) status: u16,
    headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header; empty where it is absent or no text.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A client that knows the usual authorities.
pub(super) fn new() -> Client {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider knows the usual versions of TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = Connector::new().timeout(ANSWER_LIMIT).rustls_0_23(Arc::new(tls));
    Client::builder().connector(connector).timeout(ANSWER_LIMIT).disable_redirects().finish()
}

/// Asks once, whatever the status of the answer is.
///
/// # Errors
/// When there is no answer in time.
pub(super) async fn get(client: &Client, url: &str) -> Result<Reply, Failure> {
    let silent = |error: String| {
        let url = one_line(url);
        Failure::Unavailable(format!(
            "no answer from {url}: {error}; start it (`ratebook serve`), or name it with `--url`"
        ))
    };
    let asking = async {
        let mut answer = client.get(url).send().await.map_err(|error| error.to_string())?;
        let body = answer.body().limit(LARGEST_ANSWER).await.map_err(|error| error.to_string())?;
        Ok(Reply { status: answer.status().as_u16(), headers: answer.headers().clone(), body })
    };
    let in_time = tokio::time::timeout(ANSWER_LIMIT, asking).await;
    let in_time = in_time.unwrap_or_else(|_| Err(format!("nothing within {} s", ANSWER_LIMIT.as_secs())));
    in_time.map_err(silent)
}

/// Whoever answers there speaks of something else.
pub(super) fn no_ratebook(url: &str) -> Failure {
    Failure::Unavailable(format!("what answers at {} is no ratebook; name one with `--url`", one_line(url)))
}

/// A length of time in seconds with one digit behind the point.
pub(super) fn seconds(milliseconds: u64) -> String {
    format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
}
