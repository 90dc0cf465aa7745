//! How the JSON of exchanges is read: by its text, row by row, and never by position.
//!
//! Separate because every exchange needs the same care: a price must not pass through floating point, one bad row
//! must not drop its siblings, and a list where an object is documented must not be read as that object's fields
//! in order, which is what serde does by default.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::FrameError;
use crate::market::{Refusal, number};
use crate::seeded_bug::{self, SeededBug};

/// Characters of foreign text that are kept for people: enough for every real symbol, and no more of a page of
/// HTML.
const MAX_SHOWN: usize = 60;

/// The text of a frame. All of it has to be UTF-8, also the parts that nobody looks at.
pub(super) fn text(bytes: &[u8]) -> Result<&str, FrameError> {
    std::str::from_utf8(bytes).map_err(|_| FrameError::Encoding)
}

/// Reads a JSON object by the names of its members.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, FrameError> {
    if !is_object(text) {
        return Err(FrameError::Syntax(format!("no object: `{}`", shown(text))));
    }
    Ok(serde_json::from_str(text)?)
}

/// Reads a JSON list, each element left as it is.
pub(super) fn list(text: &str) -> Result<Vec<&RawValue>, FrameError> {
    Ok(serde_json::from_str(text)?)
}

/// Whether the text begins as a JSON object does.
pub(super) fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// Whether the text begins as a JSON list does.
pub(super) fn is_list(text: &str) -> bool {
    text.trim_start().starts_with('[')
}

/// Those of some rows that are objects of this form.
pub(super) fn objects<'a, T: Deserialize<'a>>(rows: &[&'a RawValue]) -> impl Iterator<Item = T> {
    rows.iter().filter_map(|row| object(row.get()).ok())
}

/// The content of a string, or whatever else stands there.
pub(super) fn text_of(raw: &RawValue) -> String {
    string(raw).map_or_else(|| raw.get().to_owned(), |text| text.into_owned())
}

/// The content of a JSON string; `None` if something else stands there.
pub(super) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0)
}

/// A whole number that is not negative; `None` if something else stands there, a string too.
pub(super) fn natural(raw: &RawValue) -> Option<u64> {
    raw.get().parse().ok()
}

/// A price that has to stand there as a JSON number.
pub(super) fn number(raw: &RawValue) -> Result<Decimal, Refusal> {
    decimal(raw.get()).ok_or(Refusal::Syntax)
}

/// A price that has to stand there as a JSON number or as a string that holds one.
pub(super) fn price(raw: &RawValue) -> Result<Decimal, Refusal> {
    let text = raw.get();
    let unquoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    decimal(unquoted).ok_or(Refusal::Syntax)
}

fn decimal(text: &str) -> Option<Decimal> {
    if seeded_bug::is_on(SeededBug::DecimalThroughF64) {
        return number::decimal(&text.parse::<f64>().ok()?.to_string());
    }
    number::decimal(text)
}

/// One side of a book. A side that is missing, `null` or an empty string is a side that nobody offers.
pub(super) fn side(raw: Option<&RawValue>) -> Result<Option<Decimal>, Refusal> {
    match raw.map(RawValue::get) {
        None | Some("null" | "\"\"") => Ok(None),
        Some(_) => raw.map(price).transpose(),
    }
}

/// Both sides of a book. A row that has neither is no book, and is refused: its last price alone may be that of a
/// market that was closed years ago.
pub(super) fn book(
    bid: Option<&RawValue>,
    ask: Option<&RawValue>,
) -> Result<(Option<Decimal>, Option<Decimal>), Refusal> {
    match (side(bid)?, side(ask)?) {
        (None, None) => Err(Refusal::Syntax),
        book => Ok(book),
    }
}

/// A time in milliseconds since 1970.
pub(super) fn time_in_ms(raw: &RawValue) -> Result<DateTime<Utc>, Refusal> {
    let ms = natural(raw).and_then(|ms| i64::try_from(ms).ok());
    ms.and_then(DateTime::from_timestamp_millis).ok_or(Refusal::Syntax)
}

/// A time as RFC 3339 writes it, in a string.
pub(super) fn time_as_text(raw: &RawValue) -> Result<DateTime<Utc>, Refusal> {
    let text = string(raw).ok_or(Refusal::Syntax)?;
    DateTime::parse_from_rfc3339(&text).map(DateTime::<Utc>::from).map_err(|_| Refusal::Syntax)
}

/// A time in milliseconds since 1970, as a JSON number or as a string that holds one.
pub(super) fn time_in_ms_or_text(raw: &RawValue) -> Result<DateTime<Utc>, Refusal> {
    let text = raw.get();
    let unquoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let ms = unquoted.parse::<u64>().ok().and_then(|ms| i64::try_from(ms).ok());
    ms.and_then(DateTime::from_timestamp_millis).ok_or(Refusal::Syntax)
}

/// For a member that may be missing, where `null` is not the same as missing. Goes with `#[serde(default)]`.
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The beginning of a foreign text, for people.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}

/// Every member of an object whose names are data, in its order. A name that comes twice is an error, because
/// nobody can say which of the two is meant.
pub(super) struct Members<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut members, mut names) = (Vec::new(), HashSet::new());
                while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    let name = string(name).ok_or_else(|| A::Error::custom("a name is no text"))?;
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format_args!("`{}` comes twice", shown(&name))));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Pair<'a> {
        #[serde(borrow, default, deserialize_with = "present")]
        a: Option<&'a RawValue>,
        #[serde(borrow, default, deserialize_with = "present")]
        b: Option<&'a RawValue>,
    }

    #[test]
    fn a_list_is_never_read_as_an_object() {
        assert!(object::<Pair<'_>>(r#"["1","2"]"#).is_err());
        assert!(object::<Pair<'_>>(r#" {"a":"1","b":"2"}"#).is_ok());
    }

    #[test]
    fn null_is_not_the_same_as_missing() {
        let pair: Pair<'_> = object(r#"{"a":null}"#).unwrap();
        assert_eq!((pair.a.map(RawValue::get), pair.b.map(RawValue::get)), (Some("null"), None));
    }

    #[test]
    fn a_side_that_nobody_offers_is_none_and_anything_but_a_number_is_refused() {
        let one = Some(Decimal::ONE);
        for (json, expected) in [
            (r#"{"a":"1"}"#, Ok(one)),
            (r#"{"a":1}"#, Ok(one)),
            (r#"{"a":1.0e0}"#, Ok(one)),
            (r#"{"a":""}"#, Ok(None)),
            (r#"{"a":null}"#, Ok(None)),
            ("{}", Ok(None)),
            (r#"{"a":" "}"#, Err(Refusal::Syntax)),
            (r#"{"a":"$1"}"#, Err(Refusal::Syntax)),
            (r#"{"a":"NaN"}"#, Err(Refusal::Syntax)),
            (r#"{"a":true}"#, Err(Refusal::Syntax)),
            (r#"{"a":["1"]}"#, Err(Refusal::Syntax)),
            (r#"{"a":{}}"#, Err(Refusal::Syntax)),
        ] {
            assert_eq!(side(object::<Pair<'_>>(json).unwrap().a), expected, "{json}");
        }
    }

    #[test]
    fn a_name_that_comes_twice_is_an_error() {
        assert!(object::<Members<'_>>(r#"{"a":1,"a":2}"#).is_err());
        assert!(object::<Members<'_>>(r#"{"a":1,"\u0061":2}"#).is_err());
        let members: Members<'_> = object(r#"{"b":1,"a":[2]}"#).unwrap();
        let members: Vec<_> = members.0.iter().map(|(name, value)| (&**name, value.get())).collect();
        assert_eq!(members, [("b", "1"), ("a", "[2]")]);
    }
}
