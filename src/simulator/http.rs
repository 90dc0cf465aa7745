//! Requests and answers of HTTP/1.1, as plain values.
//!
//! Separate from any server, and read here by hand, because a simulated exchange has to break the rules on purpose:
//! half an answer, a byte a second, a reset in the middle of a frame. A server that keeps the rules cannot do that.

use bytes::{Bytes, BytesMut};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::json;

/// Largest head of a request. Binance's longest real request, with a list of a thousand streams, needs about 20 kB.
const MAX_HEAD: usize = 64 * 1024;

/// Largest body of a request; only `/control` takes bodies, and they are small.
const MAX_BODY: usize = 256 * 1024;

/// A request, read whole.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    /// The method, in capital letters.
    pub method: String,
    /// The path, decoded, without the query.
    pub path: String,
    /// The query's names and values, decoded, in their order.
    pub query: Vec<(String, String)>,
    /// Path and query as they came.
    pub target: String,
    /// The headers, their names in lower case.
    headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// Whether the client wants the connection closed after the answer.
    pub closes: bool,
}

/// Bytes that are no request that is understood here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadRequest {
    /// The status to refuse it with.
    pub status: u16,
    /// Why.
    pub reason: &'static str,
}

impl Request {
    /// Takes one request from the front of `buffer`; `None` while it is incomplete.
    pub(super) fn take(buffer: &mut BytesMut) -> Result<Option<Self>, BadRequest> {
        let Some(head_len) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            let is_too_long = buffer.len() > MAX_HEAD;
            return match is_too_long {
                true => Err(BadRequest { status: 431, reason: "request head too large" }),
                false => Ok(None),
            };
        };
        let mut request = Self::head(&buffer[..head_len])?;
        if request.header("transfer-encoding").is_some() {
            return Err(BadRequest { status: 411, reason: "chunked bodies are not understood" });
        }
        let body_len = match request.header("content-length").map(str::parse::<usize>) {
            None => 0,
            Some(Ok(len)) if len <= MAX_BODY => len,
            Some(Ok(_)) => return Err(BadRequest { status: 413, reason: "body too large" }),
            Some(Err(_)) => return Err(BadRequest { status: 400, reason: "bad content-length" }),
        };
        if buffer.len() < head_len + 4 + body_len {
            return Ok(None);
        }
        let mut whole = buffer.split_to(head_len + 4 + body_len);
        request.body = whole.split_off(head_len + 4).freeze();
        Ok(Some(request))
    }

    fn head(bytes: &[u8]) -> Result<Self, BadRequest> {
        let bad = BadRequest { status: 400, reason: "bad request head" };
        let text = std::str::from_utf8(bytes).map_err(|_| bad)?;
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(bad);
        };
        if !version.starts_with("HTTP/1.") || !target.starts_with('/') {
            return Err(bad);
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(bad)?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut request = Self {
            method: method.to_ascii_uppercase(),
            path: percent_decode_str(path).decode_utf8().map_err(|_| bad)?.into_owned(),
            query: query.split('&').filter(|pair| !pair.is_empty()).map(parameter).collect(),
            target: target.to_owned(),
            headers,
            body: Bytes::new(),
            closes: false,
        };
        let connection = request.header("connection").unwrap_or_default().to_ascii_lowercase();
        request.closes =
            connection.contains("close") || version == "HTTP/1.0" && !connection.contains("keep-alive");
        Ok(request)
    }

    /// The value of a header, named in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter of the query; the first one if it repeats.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a parameter of the query says `true`.
    pub(super) fn says(&self, name: &str) -> bool {
        self.parameter(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The key of a WebSocket handshake; `None` if this is no such handshake.
    pub(super) fn websocket_key(&self) -> Option<&str> {
        let upgrades = self.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
        if upgrades && self.method == "GET" { self.header("sec-websocket-key") } else { None }
    }
}

fn parameter(pair: &str) -> (String, String) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let decoded = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    (decoded(name), decoded(value))
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    /// The status.
    pub status: u16,
    /// Headers beside length and connection.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// An answer with a body of this type.
    pub(super) fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self { status, headers: vec![("Content-Type", content_type.to_owned())], body: body.into() }
    }

    /// A JSON text that is already written.
    pub(super) fn json_text(status: u16, text: String) -> Self {
        Self::new(status, "application/json; charset=utf-8", text)
    }

    /// A value as JSON.
    pub(super) fn json(status: u16, value: &impl Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(text) => Self::json_text(status, text),
            Err(error) => Self::json_text(500, json!({ "error": error.to_string() }).to_string()),
        }
    }

    /// An error of `/control`, or of a path that no exchange has.
    pub(super) fn error(status: u16, message: impl Into<String>) -> Self {
        Self::json(status, &json!({ "error": message.into() }))
    }

    /// The same with one header more.
    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// The same with the seconds after which to ask again, where there are any.
    pub(super) fn retry_after(self, seconds: Option<u64>) -> Self {
        match seconds {
            Some(seconds) => self.with("Retry-After", seconds),
            None => self,
        }
    }

    /// The bytes of the answer; without the body for `HEAD`.
    pub(super) fn bytes(&self, request: &Request, closes: bool) -> Bytes {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let connection = if closes { "close" } else { "keep-alive" };
        head.push_str(&format!("Content-Length: {}\r\nConnection: {connection}\r\n\r\n", self.body.len()));
        let mut bytes = BytesMut::from(head.as_bytes());
        if request.method != "HEAD" {
            bytes.extend_from_slice(&self.body);
        }
        bytes.freeze()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Payload Too Large",
        418 => "I'm a teapot",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_when_it_is_complete_and_not_before() {
        let whole = b"POST /control/binance/faults?a=1&b=x%20y+z HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}GET";
        for end in 0..whole.len() - 3 {
            let mut buffer = BytesMut::from(&whole[..end]);
            assert!(Request::take(&mut buffer).unwrap().is_none(), "at {end}");
        }
        let mut buffer = BytesMut::from(&whole[..]);
        let request = Request::take(&mut buffer).unwrap().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/control/binance/faults"));
        assert_eq!(request.parameter("b"), Some("x y z"));
        assert_eq!(&request.body[..], b"{}");
        assert_eq!(&buffer[..], b"GET");
        assert!(!request.closes);
    }

    #[test]
    fn what_is_no_request_is_refused_with_a_reason() {
        for (bytes, status) in [
            (&b"GARBAGE\r\n\r\n"[..], 400),
            (b"GET / HTTP/2.0\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
            (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
            (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        ] {
            let error = Request::take(&mut BytesMut::from(bytes)).unwrap_err();
            assert_eq!(error.status, status, "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(Request::take(&mut BytesMut::from(&[b'a'; MAX_HEAD + 1][..])).unwrap_err().status, 431);
    }

    #[test]
    fn an_answer_tells_its_length_and_head_leaves_the_body_out() {
        let answer = Answer::error(404, "nothing here").with("Retry-After", 7);
        let get = String::from_utf8(answer.bytes(&Request::default(), false).to_vec()).unwrap();
        assert!(get.starts_with("HTTP/1.1 404 Not Found\r\n"), "{get}");
        assert!(get.contains("Retry-After: 7\r\n") && get.contains("Content-Length: 24\r\n"), "{get}");
        assert!(get.ends_with("{\"error\":\"nothing here\"}"), "{get}");
        let head = Request { method: "HEAD".to_owned(), ..Request::default() };
        assert!(answer.bytes(&head, true).ends_with(b"Connection: close\r\n\r\n"));
    }
}
