//! From which web pages a browser may read the answers: the ones that the user lists, by default none.
//!
//! Written out because the whole policy is four headers: everything here is public and read-only, and no answer
//! ever depends on a cookie, so credentials are never allowed.

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};

use super::READ_ONLY_METHODS;

/// Headers of answers that scripts may read.
const EXPOSED: &str = "age, content-disposition, etag, link, retry-after, ratebook-age-ms, ratebook-as-of, \
                       ratebook-legs, ratebook-missing, ratebook-sequence";

/// Time for which a browser remembers what it was allowed. Short enough that a changed setting works the same hour.
const REMEMBER_S: &str = "600";

/// The origins that are allowed.
#[derive(Debug, Clone)]
pub(super) struct Cors {
    origins: Vec<String>,
}

impl Cors {
    /// `*` among the origins allows every one; an empty list allows none.
    pub(super) fn new(origins: Vec<String>) -> Self {
        Self { origins }
    }

    /// Whether there is nothing to do.
    pub(super) fn is_off(&self) -> bool {
        self.origins.is_empty()
    }

    /// Adds to the headers of an answer what a browser needs in order to show it to the page that asked.
    pub(super) fn apply(&self, method: &Method, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
        // A cache must not give the answer for one origin to another, nor to a request without one.
        answer.append(header::VARY, HeaderValue::from_static("origin"));
        let Some(allowed) = origin.and_then(|origin| self.allowed(origin)) else { return };
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        if method == Method::OPTIONS {
            let methods = HeaderValue::from_static(READ_ONLY_METHODS);
            answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
            answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("if-none-match"));
            answer.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(REMEMBER_S));
        }
    }

    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        if self.origins.iter().any(|allowed| allowed == "*") {
            return Some(HeaderValue::from_static("*"));
        }
        self.origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_origins_are_allowed() {
        for (listed, origin, expected) in [
            (&["https://a.example"][..], Some("https://a.example"), Some("https://a.example")),
            (
                &["https://b.example", "https://a.example"],
                Some("https://a.example"),
                Some("https://a.example"),
            ),
            (&["https://a.example"], Some("https://a.example.evil.example"), None),
            (&["https://a.example"], Some("http://a.example"), None),
            (&["https://a.example"], Some("https://a.example:8443"), None),
            (&["https://a.example"], Some("null"), None),
            (&["https://a.example"], None, None),
            (&["*"], Some("https://a.example"), Some("*")),
        ] {
            let cors = Cors::new(listed.iter().map(ToString::to_string).collect());
            let origin = origin.map(HeaderValue::from_static);
            let mut answer = HeaderMap::new();
            cors.apply(&Method::GET, origin.as_ref(), &mut answer);
            let allowed =
                answer.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).and_then(|value| value.to_str().ok());
            assert_eq!(allowed, expected, "{listed:?} {origin:?}");
            assert_eq!(answer.get(header::VARY).unwrap(), "origin");
            assert!(!answer.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
        }
    }
}
