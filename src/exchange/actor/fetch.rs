//! Asks an exchange over REST, under limits of time and size.
//!
//! Separate because a body is inflated here, piece by piece: awc would inflate a whole chunk before any limit sees
//! it.

use std::io::Read;
use std::time::Duration;

use awc::Client;
use awc::http::Method as HttpMethod;
use awc::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, RETRY_AFTER, USER_AGENT};
use bytes::BytesMut;
use flate2::read::GzDecoder;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::dial;
use super::manners;
use super::trouble::Trouble;
use crate::clock;
use crate::exchange::{Method, Request};

/// Bytes that are read of the body of a refusal: enough for any error object.
const MOST_OF_REFUSAL: usize = 64 * 1024;

/// What an exchange answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// How long it asks us to wait.
    pub(super) retry_after: Option<Duration>,
    /// What it says of our use of its budget.
    pub(super) used_weight: Option<u32>,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// The limits of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct FetchLimits {
    pub(super) time: Duration,
    pub(super) size: usize,
    /// The header that tells the used part of the budget.
    pub(super) weight_header: Option<&'static str>,
}

/// Asks once, and once more at once where a kept connection turned out to be closed.
pub(super) async fn fetch(
    client: Client,
    rest_url: String,
    request: Request,
    limits: FetchLimits,
) -> Result<Answer, Trouble> {
    let asking = async {
        match fetch_once(&client, &rest_url, &request, limits).await {
            Err(Trouble::Closed | Trouble::Reset) => fetch_once(&client, &rest_url, &request, limits).await,
            answered => answered,
        }
    };
    timeout(limits.time, asking).await.unwrap_or(Err(Trouble::Timeout(limits.time)))
}

async fn fetch_once(
    client: &Client,
    rest_url: &str,
    request: &Request,
    limits: FetchLimits,
) -> Result<Answer, Trouble> {
    let method = match request.method {
        Method::Get => HttpMethod::GET,
        Method::Post => HttpMethod::POST,
    };
    let mut asked = client.request(method, format!("{rest_url}{}", request.path));
    asked = asked.insert_header((USER_AGENT, dial::USER_AGENT)).insert_header((ACCEPT_ENCODING, "gzip"));
    for (name, value) in &request.headers {
        asked = asked.insert_header((*name, value.as_str()));
    }
    let mut response = asked.send().await?;
    let status = response.status();
    let retry_after = header(response.headers(), RETRY_AFTER.as_str());
    let used_weight = limits.weight_header.and_then(|name| header(response.headers(), name)?.parse().ok());
    let mut answer = Answer {
        status: status.as_u16(),
        body: Vec::new(),
        retry_after: retry_after.and_then(|header| manners::retry_after(&header, clock::now().wall)),
        used_weight,
    };
    if status.is_redirection() {
        return Ok(answer);
    }
    let size = if answer.is_success() { limits.size } else { limits.size.min(MOST_OF_REFUSAL) };
    let encoding = header(response.headers(), CONTENT_ENCODING.as_str());
    let mut raw = BytesMut::new();
    while let Some(chunk) = response.next().await {
        let chunk = chunk.map_err(|_| Trouble::Other("the answer broke off".to_owned()))?;
        if raw.len() + chunk.len() > size {
            // The status and the headers of a refusal say enough.
            return if answer.is_success() { Err(Trouble::TooBig { limit: size }) } else { Ok(answer) };
        }
        raw.extend_from_slice(&chunk);
    }
    match inflated(&raw, encoding.as_deref(), size) {
        Ok(body) => answer.body = body,
        Err(trouble) if answer.is_success() => return Err(trouble),
        Err(_) => {}
    }
    Ok(answer)
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// The body as it was before it was compressed, if that is not larger than `limit`.
fn inflated(raw: &[u8], encoding: Option<&str>, limit: usize) -> Result<Vec<u8>, Trouble> {
    match encoding.map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "identity") => Ok(raw.to_vec()),
        Some("gzip" | "x-gzip") => {
            let mut body = Vec::new();
            let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
            let read = GzDecoder::new(raw).take(most).read_to_end(&mut body);
            read.map_err(|_| Trouble::Other("not the announced compression".to_owned()))?;
            if body.len() > limit { Err(Trouble::TooBig { limit }) } else { Ok(body) }
        }
        Some(_) => Err(Trouble::Other("a compression that was not asked for".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_small_body_that_inflates_beyond_the_limit_is_refused() {
        let bomb = gzip(&vec![0; 50 * 1024 * 1024]);
        assert!(bomb.len() < 64 * 1024);
        let limit = 4 * 1024 * 1024;
        assert_eq!(inflated(&bomb, Some("gzip"), limit), Err(Trouble::TooBig { limit }));
        assert_eq!(inflated(&gzip(b"words"), Some("GZIP"), 5), Ok(b"words".to_vec()));
        assert_eq!(inflated(&gzip(b"words"), Some("gzip"), 4), Err(Trouble::TooBig { limit: 4 }));
    }

    #[test]
    fn a_body_that_is_not_what_was_announced_is_refused() {
        assert!(inflated(b"{}", Some("gzip"), 100).is_err());
        assert!(inflated(&gzip(b"words")[..12], Some("gzip"), 100).is_err());
        assert!(inflated(b"{}", Some("br"), 100).is_err());
        assert_eq!(inflated(b"{}", None, 100), Ok(b"{}".to_vec()));
    }
}
