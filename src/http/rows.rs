//! Rows of stored data as clients get them: one page as JSON, or all of them as CSV, page by page.
//!
//! Separate because candles, ticks and events differ in their fields alone. CSV is RFC 4180: a line of names, CRLF
//! behind every line, quotes around a field that needs them; what is absent is empty. It is told as it is read: the
//! next page is asked for when the client has taken the one before, so that a year of rows costs the memory of one
//! page. A page that fails breaks the connection off, so that a part is never taken for the whole.

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{Stream, StreamExt, TryStreamExt, future, stream};
use rust_decimal::Decimal;

use super::error::ApiError;
use super::query::written;
use crate::history::{Candle, HistoryError, Page, Tick};
use crate::market::{ExchangeName, number};
use crate::rate_book::RecordedEvent;

/// Rows that are asked for at once for CSV: some 400 KB, and a question that storage answers within a moment.
const CSV_PAGE: usize = 5000;

/// One row, the same in both forms.
pub(crate) trait Row: Sized + 'static {
    /// What a list of them is called in JSON.
    const LIST: &'static str;
    /// The names of the fields.
    const NAMES: &'static [&'static str];
    /// The fields, in the order of their names.
    fn fields(&self) -> impl Iterator<Item = Field<'_>>;
}

/// One value of a row.
pub(crate) enum Field<'a> {
    Absent,
    At(DateTime<Utc>),
    Number(Decimal),
    Count(u64),
    Text(&'a str),
}

impl<'a> Field<'a> {
    fn or_absent<T>(value: Option<T>, field: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Absent, field)
    }

    fn write_json(&self, to: &mut String) {
        match self {
            Self::Absent => to.push_str("null"),
            Self::At(at) => push_all(to, ["\"", &written(*at), "\""]),
            Self::Number(value) => to.push_str(&number::plain(*value)),
            Self::Count(count) => to.push_str(&count.to_string()),
            Self::Text(text) => to.push_str(&serde_json::Value::from(*text).to_string()),
        }
    }

    fn write_csv(&self, to: &mut String) {
        match self {
            Self::Absent => {}
            Self::At(at) => to.push_str(&written(*at)),
            Self::Number(value) => to.push_str(&number::plain(*value)),
            Self::Count(count) => to.push_str(&count.to_string()),
            Self::Text(text) if text.contains(['"', ',', '\r', '\n']) => {
                push_all(to, ["\"", &text.replace('"', "\"\""), "\""]);
            }
            Self::Text(text) => to.push_str(text),
        }
    }
}

impl Row for Candle {
    const LIST: &'static str = "candles";
    const NAMES: &'static [&'static str] = &["at", "open", "high", "low", "close", "quotes"];

    fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        let prices = [self.open, self.high, self.low, self.close].map(Field::Number);
        [Field::At(self.starts_at)].into_iter().chain(prices).chain([Field::Count(self.num_quotes)])
    }
}

impl Row for Tick {
    const LIST: &'static str = "ticks";
    const NAMES: &'static [&'static str] = &["at", "quoted_at", "bid", "ask", "last"];

    fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        let times = [Field::At(self.received_at), Field::or_absent(self.quoted_at, Field::At)];
        let prices = [self.bid, self.ask, self.last].map(|price| Field::or_absent(price, Field::Number));
        times.into_iter().chain(prices)
    }
}

impl Row for RecordedEvent {
    const LIST: &'static str = "events";
    const NAMES: &'static [&'static str] = &["at", "kind", "exchanger", "reason", "count"];

    fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        let exchanger = self.exchange.map(|name| name.as_str());
        [
            Field::At(self.at),
            Field::Text(self.kind.as_str()),
            Field::or_absent(exchanger, Field::Text),
            Field::Text(&self.reason),
            Field::Count(self.count),
        ]
        .into_iter()
    }
}

/// `"candles":[…],"next":…`: the end of the body of a page.
pub(super) fn json_members<R: Row>(rows: &[R], cursor: Option<&str>) -> String {
    // A candle takes about 110 characters.
    let mut json = String::with_capacity(64 + 120 * rows.len());
    push_all(&mut json, ["\"", R::LIST, "\":["]);
    for (at, row) in rows.iter().enumerate() {
        json.push_str(if at == 0 { "" } else { "," });
        push_object(&mut json, row);
    }
    // A cursor is letters, digits, `-` and `_` alone.
    match cursor {
        Some(cursor) => push_all(&mut json, ["],\"next\":\"", cursor, "\""]),
        None => json.push_str("],\"next\":null"),
    }
    json
}

/// The rows as lines of JSON, an object each.
pub(crate) fn json_lines<R: Row>(rows: &[R]) -> String {
    let mut lines = String::with_capacity(120 * rows.len());
    for row in rows {
        push_object(&mut lines, row);
        lines.push('\n');
    }
    lines
}

fn push_object<R: Row>(to: &mut String, row: &R) {
    for (number, (name, field)) in R::NAMES.iter().zip(row.fields()).enumerate() {
        push_all(to, [if number == 0 { "{\"" } else { ",\"" }, name, "\":"]);
        field.write_json(to);
    }
    to.push('}');
}

/// The answer with one page as JSON; `next_link` is where the next one is.
pub(super) fn json_response(body: String, next_link: Option<String>) -> Result<HttpResponse, ApiError> {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-cache")))
        .insert_header((header::VARY, HeaderValue::from_static("accept")));
    if let Some(link) = next_link {
        response.insert_header((header::LINK, format!("<{link}>; rel=\"next\"")));
    }
    Ok(response.content_type(HeaderValue::from_static("application/json")).body(body))
}

/// Which rows are asked for next: from when, of whom (of whoever has any, if that is not decided yet), and how many.
pub(super) struct Step {
    pub(super) from: Option<DateTime<Utc>>,
    pub(super) exchange: Option<ExchangeName>,
    pub(super) limit: usize,
}

/// The answer with all rows, at most `most`, as CSV. `ask` gets their pages, and `file_name` is told whose they are.
///
/// # Errors
/// What the first page ended in.
pub(super) async fn csv_response<R, Ask, Asking>(
    request: &HttpRequest,
    most: usize,
    file_name: impl FnOnce(Option<ExchangeName>) -> String,
    ask: Ask,
) -> Result<HttpResponse, ApiError>
where
    R: Row,
    Ask: Fn(Step) -> Asking + 'static,
    Asking: Future<Output = Result<Page<R>, HistoryError>> + 'static,
{
    let first = ask(Step { from: None, exchange: None, limit: most.min(CSV_PAGE) }).await?;
    let disposition = format!("attachment; filename=\"{}\"", file_name(first.exchange));
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-cache")))
        .insert_header((header::VARY, HeaderValue::from_static("accept")))
        .insert_header((header::CONTENT_DISPOSITION, disposition))
        .content_type(HeaderValue::from_static("text/csv; charset=utf-8; header=present"));
    if request.method() == Method::HEAD {
        // The rows would be read, and then not sent.
        return Ok(response.streaming(stream::empty::<Result<Bytes, ApiError>>()));
    }
    let path = request.path().to_owned();
    let lines = csv_lines(first, most, ask).inspect_err(move |error| {
        log::warn!("`{path}` as CSV is broken off before its end: {error}");
    });
    Ok(response.streaming(lines))
}

/// The line of names and the first page, then each page that follows.
fn csv_lines<R, Ask, Asking>(
    first: Page<R>,
    most: usize,
    ask: Ask,
) -> impl Stream<Item = Result<Bytes, ApiError>>
where
    R: Row,
    Ask: Fn(Step) -> Asking,
    Asking: Future<Output = Result<Page<R>, HistoryError>>,
{
    let start = csv_header::<R>() + &csv(&first.rows);
    let exchange = first.exchange;
    let left = most.saturating_sub(first.rows.len());
    let rest = stream::try_unfold((first.next, left, ask), move |(next, left, ask)| async move {
        let Some(from) = next.filter(|_| left > 0) else { return Ok(None) };
        let page = ask(Step { from: Some(from), exchange, limit: left.min(CSV_PAGE) }).await?;
        if page.next.is_some_and(|next| next <= from) {
            // Else this would go on for ever.
            log::error!("a page of `{}` from {from} on is followed by itself", R::LIST);
            return Err(ApiError::HistoryUnavailable);
        }
        let left = left.saturating_sub(page.rows.len());
        Ok(Some((Bytes::from(csv(&page.rows)), (page.next, left, ask))))
    });
    stream::once(future::ready(Ok(Bytes::from(start)))).chain(rest)
}

/// The line of names.
pub(crate) fn csv_header<R: Row>() -> String {
    R::NAMES.join(",") + "\r\n"
}

/// The rows as lines of CSV.
pub(crate) fn csv<R: Row>(rows: &[R]) -> String {
    let mut lines = String::with_capacity(80 * rows.len());
    for row in rows {
        for (number, field) in row.fields().enumerate() {
            lines.push_str(if number == 0 { "" } else { "," });
            field.write_csv(&mut lines);
        }
        lines.push_str("\r\n");
    }
    lines
}

fn push_all<const N: usize>(to: &mut String, parts: [&str; N]) {
    parts.into_iter().for_each(|part| to.push_str(part));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_book::EventKind;

    const KRAKEN: ExchangeName = ExchangeName::new("kraken");

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn price(text: &str) -> Decimal {
        number::decimal(text).unwrap()
    }

    #[test]
    fn a_row_has_the_same_fields_in_both_forms_digit_by_digit() {
        let candle = Candle {
            starts_at: at("2026-11-20T12:00:00Z"),
            open: Decimal::new(6_400_010, 2),
            high: price("79228162514264337593543950335"),
            low: price("0.0000000000000000000000000001"),
            close: Decimal::new(100_000, 3),
            num_quotes: u64::MAX,
        };
        check(
            candle,
            r#""candles":[{"at":"2026-11-20T12:00:00Z","open":64000.1,"high":79228162514264337593543950335,"low":0.0000000000000000000000000001,"close":100,"quotes":18446744073709551615}],"next":null"#,
            "2026-11-20T12:00:00Z,64000.1,79228162514264337593543950335,0.0000000000000000000000000001,100,18446744073709551615\r\n",
        );
        let tick = Tick {
            received_at: at("2026-11-20T12:00:00.000001Z"),
            quoted_at: Some(at("2026-11-20T11:59:59.9Z")),
            bid: Some(price("1e-7")),
            ask: None,
            last: Some(price("1.50")),
        };
        check(
            tick,
            r#""ticks":[{"at":"2026-11-20T12:00:00.000001Z","quoted_at":"2026-11-20T11:59:59.900Z","bid":0.0000001,"ask":null,"last":1.5}],"next":null"#,
            "2026-11-20T12:00:00.000001Z,2026-11-20T11:59:59.900Z,0.0000001,,1.5\r\n",
        );
    }

    #[test]
    fn texts_are_escaped_in_both_forms() {
        for (reason, json, csv) in [
            ("stale", r#""stale""#, "stale"),
            ("", r#""""#, ""),
            ("a, b", r#""a, b""#, "\"a, b\""),
            ("said \"no\"", r#""said \"no\"""#, "\"said \"\"no\"\"\""),
            ("two\nlines\r", r#""two\nlines\r""#, "\"two\nlines\r\""),
            ("\u{1}\\é", r#""\u0001\\é""#, "\u{1}\\é"),
        ] {
            let event = RecordedEvent {
                at: at("2026-11-20T12:00:00Z"),
                kind: EventKind::Refusal,
                exchange: Some(KRAKEN),
                reason: reason.to_owned(),
                count: 7,
            };
            let start =
                r#""events":[{"at":"2026-11-20T12:00:00Z","kind":"refusal","exchanger":"kraken","reason":"#;
            let json = format!(r#"{start}{json},"count":7}}],"next":null"#);
            check(event, &json, &format!("2026-11-20T12:00:00Z,refusal,kraken,{csv},7\r\n"));
        }
    }

    fn check<R: Row>(row: R, json: &str, line: &str) {
        assert_eq!(R::NAMES.len(), row.fields().count(), "{}", R::LIST);
        let rows = [row];
        assert_eq!(json_members(&rows, None), json);
        assert_eq!(csv(&rows), line);
    }
}
