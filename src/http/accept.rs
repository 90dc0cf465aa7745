//! In which form a client wants rows: as JSON, or as CSV.
//!
//! Separate because it is the whole of content negotiation here (RFC 9110, section 12.5.1), and pure.

use actix_web::http::header::{self, HeaderMap};

use super::error::ApiError;

/// The media types of all forms, in the order of [`Form::ALL`].
pub(super) const FORMS: [&str; 2] = [Form::Json.media_type(), Form::Csv.media_type()];

/// A form of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One page.
    Json,
    /// All rows.
    Csv,
}

impl Form {
    /// Every form, the one first that is given when the client does not mind.
    const ALL: [Self; 2] = [Self::Json, Self::Csv];

    const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv",
        }
    }

    /// The form that the headers ask for.
    ///
    /// # Errors
    /// [`ApiError::NotAcceptable`] if they accept others only.
    pub(super) fn wanted(asked: &HeaderMap) -> Result<Self, ApiError> {
        let lines: Option<Vec<&str>> = asked.get_all(header::ACCEPT).map(|line| line.to_str().ok()).collect();
        let accept = lines.ok_or(ApiError::NotAcceptable)?.join(",");
        if accept.trim().is_empty() {
            return Ok(Self::ALL[0]);
        }
        let ranges: Vec<MediaRange<'_>> = accept.split(',').filter_map(MediaRange::read).collect();
        let liked = Self::ALL.into_iter().filter_map(|form| Some((liking(form, &ranges)?, form)));
        // Of equals `max_by_key` takes the last, and here the first one counts.
        let best = liked.rev().max_by_key(|(liking, _)| *liking);
        best.map(|(_, form)| form).ok_or(ApiError::NotAcceptable)
    }
}

/// How much a form is liked, in thousandths, and by how exact a word; `None` if it is not accepted. The most exact
/// range that matches decides.
fn liking(form: Form, ranges: &[MediaRange<'_>]) -> Option<(u16, Exactness)> {
    let matching = ranges.iter().filter_map(|range| Some((range.matches(form)?, range.quality)));
    let (exactness, quality) = matching.max()?;
    (quality > 0).then_some((quality, exactness))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Exactness {
    /// `*/*`
    Any,
    /// `text/*`
    Type,
    /// `text/csv`
    Full,
}

/// One element of `Accept`.
#[derive(Debug)]
struct MediaRange<'a> {
    name: &'a str,
    /// In thousandths.
    quality: u16,
}

impl<'a> MediaRange<'a> {
    /// `None` if the element is none: it accepts nothing. Parameters but `q` do not tell our forms apart.
    fn read(element: &'a str) -> Option<Self> {
        let mut parts = element.split(';').map(str::trim);
        let name = parts.next().filter(|name| name.contains('/'))?;
        let mut parameters = parts.filter_map(|parameter| parameter.split_once('='));
        let quality = parameters.find(|(key, _)| key.trim().eq_ignore_ascii_case("q"));
        let quality = quality.map_or(Some(1000), |(_, text)| thousandths(text.trim()))?;
        Some(Self { name, quality })
    }

    fn matches(&self, form: Form) -> Option<Exactness> {
        let media_type = form.media_type();
        if self.name == "*/*" {
            return Some(Exactness::Any);
        }
        if self.name.eq_ignore_ascii_case(media_type) {
            return Some(Exactness::Full);
        }
        let ours = media_type.split_once('/').map(|(kind, _)| kind)?;
        let theirs = self.name.strip_suffix("/*")?;
        theirs.eq_ignore_ascii_case(ours).then_some(Exactness::Type)
    }
}

/// A weight as `Accept` writes it, `0` to `1` with at most three digits behind the point.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_fraction = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" if is_fraction => Some(thousandths),
        "1" if is_fraction && thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn the_form_that_is_liked_most_is_given_and_json_when_the_client_does_not_mind() {
        const JSON: Option<Form> = Some(Form::Json);
        const CSV: Option<Form> = Some(Form::Csv);
        for (accept, expected) in [
            ("", JSON),
            ("*/*", JSON),
            ("application/json", JSON),
            ("application/*", JSON),
            ("Text/CSV", CSV),
            ("text/*", CSV),
            ("text/csv;header=present", CSV),
            ("text/csv ; q=0.3", CSV),
            ("application/json, text/csv", JSON),
            ("text/csv, application/json", JSON),
            ("text/csv, */*", CSV),
            ("text/csv, */*;q=0.1", CSV),
            ("text/csv;q=0.5, application/json;q=0.4", CSV),
            ("text/csv;q=0.5, application/json;Q=0.501", JSON),
            ("application/json;q=0, */*", CSV),
            ("text/csv;q=0, text/*", None),
            ("text/csv;q=0, */*;q=0.001", JSON),
            ("text/html, application/xml;q=0.9, */*;q=0.8", JSON),
            ("text/html", None),
            ("application/xml, image/*", None),
            ("*/*;q=0", None),
            ("application/json;q=0.000", None),
            ("text/csv;q=1.1", None),
            ("text/csv;q=0.1234", None),
            ("text/csv;q=", None),
            ("text/csv;q=-1", None),
            ("csv", None),
            ("*", None),
            ("/", None),
            (",,text/csv,", CSV),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(Form::wanted(&headers).ok(), expected, "{accept:?}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(Form::wanted(&headers).ok(), JSON);
        for line in ["application/json;q=0.1", "text/csv"] {
            headers.append(header::ACCEPT, HeaderValue::from_static(line));
        }
        assert_eq!(Form::wanted(&headers).ok(), CSV);
        headers.insert(header::ACCEPT, HeaderValue::from_bytes(b"\xff/\xff").unwrap());
        assert_eq!(Form::wanted(&headers).ok(), None);
    }
}
