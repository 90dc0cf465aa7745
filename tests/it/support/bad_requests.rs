//! Requests that no proper client sends. The checks of what is deployed send the same ones, through nginx.

use serde::Deserialize;

/// Parts of bad requests, as the file has them.
#[derive(Debug, Deserialize)]
pub(crate) struct BadRequests {
    /// What makes the end of a request ambiguous: a name, and everything from the headers on.
    pub(crate) ambiguous: Vec<(String, String)>,
    /// What is no value of any parameter.
    values: Vec<String>,
}

/// Every parameter of courses, and one that is none.
const PARAMETERS: [&str; 6] = ["directions", "exchanger", "token", "currency", "max_age_ms", "%00"];

/// More bytes than the body of any request may have.
const MEGABYTE: usize = 1 << 20;

impl BadRequests {
    pub(crate) fn read() -> Self {
        serde_json::from_str(include_str!("../../fixtures/bad_requests.json")).unwrap()
    }

    /// Paths with bad questions for courses.
    pub(crate) fn paths(&self) -> Vec<String> {
        let long = "A".repeat(300);
        let longs = [long.clone(), format!("{long}-USD"), format!("BTC-{long}"), format!("{long}-{long}")];
        let mut paths = Vec::new();
        for value in self.values.iter().chain(&longs) {
            // `0` alone is an age.
            let is_bad = |name: &&&str| !(**name == "max_age_ms" && value == "0");
            let named = PARAMETERS.iter().filter(is_bad);
            paths.extend(named.map(|name| format!("/v1/courses?{name}={value}")));
            paths.push(format!("/v1/courses?{value}"));
            paths.push(format!("/v1/courses/{value}"));
        }
        paths
    }
}

/// Heads that are too large: a name, the request, and its status.
pub(crate) fn large_heads() -> [(&'static str, String, u16); 3] {
    let headers: String = (0..120).map(|number| format!("X-{number}: y\r\n")).collect();
    let long_value = format!("X-Long: {}\r\n", "y".repeat(200_000));
    let long_path = format!("/v1/courses?directions={}", "BTC-USD,".repeat(12_500));
    let head = |path: &str, headers: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    [
        ("120 headers", head("/v1/courses", &headers), 431),
        ("a header of 200 KB", head("/v1/courses", &long_value), 431),
        ("a URL of 100 KB", head(&long_path, ""), 400),
    ]
}

/// Headers and bodies of requests that are answered as if they had none.
pub(crate) fn small_bodies() -> Vec<String> {
    vec![
        "Content-Length: 0\r\n\r\n".to_owned(),
        "Content-Length: 5\r\n\r\nhello".to_owned(),
        "Content-Type: text/nonsense\r\nContent-Length: 2\r\n\r\n{]".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_owned(),
        format!("Content-Length: 8192\r\n\r\n{}", "x".repeat(8192)),
    ]
}

/// Headers and bodies of requests that are a 413.
pub(crate) fn long_bodies() -> Vec<String> {
    let megabyte = "x".repeat(MEGABYTE);
    vec![
        format!("Content-Length: {MEGABYTE}\r\n\r\n{megabyte}"),
        format!("Transfer-Encoding: chunked\r\n\r\n{MEGABYTE:x}\r\n{megabyte}\r\n0\r\n\r\n"),
        "Content-Length: 8193\r\n\r\n".to_owned(),
        "Content-Length: 99999999999\r\n\r\n".to_owned(),
    ]
}
