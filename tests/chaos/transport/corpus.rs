//! Ways in which frames and bodies break, made of healthy ones, whose prices are changed first: what is taken for a price
//! nevertheless shows.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

/// One way to break a text.
pub(super) type Break = Box<dyn Fn(&str) -> Vec<u8> + Send>;

/// Most bytes that are read of a packed frame.
const MOST_UNPACKED: u64 = 1024 * 1024;

/// How deep brackets are nested.
const DEPTH: usize = 200_000;

/// Texts that are malformed for every exchange.
const MALFORMED: &str = include_str!("../../fixtures/malformed.json");

/// What cannot stand behind a whole text.
const TRAILING: [&str; 8] = ["}", "]", ",", "{}", "x", "\u{0}", "null", "\"\""];

/// What cannot stand before one.
const LEADING: [&str; 8] =
    ["\u{feff}", "\u{0}", "}", ",", "callback(", ")]}',\n", "HTTP/1.1 200 OK\r\n\r\n", "data: "];

/// What stands instead of numbers.
const WRONG_TYPES: [&str; 8] = ["true", "{}", "[]", "\"\"", "null", "\"x\"", "[[]]", "{\"a\":0}"];

/// Number of texts that are cut short, and of those with a byte that is none of theirs.
const CUTS: usize = 60;
const HOLES: usize = 40;

/// What is malformed: at least 200 of them.
pub(super) fn malformed() -> Vec<Break> {
    let mut all: Vec<Break> = Vec::new();
    for text in serde_json::from_str::<Vec<String>>(MALFORMED).unwrap() {
        all.push(Box::new(move |_| text.clone().into_bytes()));
    }
    for bracket in ["[", "{\"a\":", "[{\"a\":"] {
        all.push(Box::new(move |_| bracket.repeat(DEPTH / bracket.len()).into_bytes()));
    }
    for text in TRAILING {
        all.push(Box::new(move |healthy| format!("{healthy}{text}").into_bytes()));
    }
    for text in LEADING {
        all.push(Box::new(move |healthy| format!("{text}{healthy}").into_bytes()));
    }
    for value in WRONG_TYPES {
        let value: Value = serde_json::from_str(value).unwrap();
        all.push(Box::new(move |healthy| changed(healthy, &|it| with_type(it, &value))));
    }
    for nth in 0..CUTS {
        all.push(Box::new(move |healthy| {
            // At least the last byte is missing, and at least the first is there.
            let end = 1 + nth * healthy.len().saturating_sub(2) / CUTS;
            healthy.as_bytes()[..end.min(healthy.len())].to_vec()
        }));
    }
    for nth in 0..HOLES {
        for byte in [0xff, 0x01] {
            all.push(Box::new(move |healthy| {
                let mut bytes = healthy.as_bytes().to_vec();
                bytes.insert(nth * healthy.len() / HOLES, byte);
                bytes
            }));
        }
    }
    all
}

/// What is no text, or one that no terminal should show, most of it where a symbol should be.
pub(super) fn unprintable() -> Vec<Break> {
    // What an exchange says of an error gets into the log, but only for the first few.
    let mut all: Vec<Break> =
        ["\n2026-01-01 CRITICAL forged", "\u{1b}[31m\u{202e}", "long words ", "\u{0}\u{2066}"]
            .map(|rubbish| -> Break { Box::new(move |_| complaint(&rubbish.repeat(2_000))) })
            .into();
    let in_symbols = [
        "\u{feff}",
        "\u{0}",
        "\u{7f}",
        "\u{1b}[31m",
        "\r\n",
        "\n2026-01-01 CRITICAL forged",
        "\u{202e}",
        "\u{2066}",
        "\u{200f}",
        "\u{2028}",
        "😀",
        "👩‍👩‍👧‍👦",
        "ＢＴＣ",
        "'; DROP TABLE quotes; --",
        "<script>",
        "\\",
        "\"}",
    ];
    for rubbish in in_symbols {
        all.push(Box::new(move |healthy| changed(healthy, &|text| with_symbol(text, rubbish))));
        all.push(Box::new(move |healthy| changed(healthy, &|text| with_symbol(text, &rubbish.repeat(50)))));
    }
    for bytes in
        [&b"\xff\xfe"[..], b"\xc3\x28", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\0", b"\xef\xbb\xbf"]
    {
        all.push(Box::new(move |healthy| [bytes, healthy.as_bytes()].concat()));
        all.push(Box::new(move |healthy| [healthy.as_bytes(), bytes].concat()));
        all.push(Box::new(move |_| bytes.repeat(100)));
        all.push(Box::new(move |healthy| in_every_text(healthy, bytes)));
    }
    for length in [300, 100_000, 10_000_000] {
        all.push(Box::new(move |healthy| changed(healthy, &|text| with_symbol(text, &"A".repeat(length)))));
    }
    all
}

/// With these bytes at the beginning of every text and every name, or else of the whole: a row that is left as it is would be
/// a good one.
fn in_every_text(healthy: &str, bytes: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = healthy.split('"').map(str::as_bytes).collect();
    if let [whole] = parts[..] {
        return [bytes, whole].concat();
    }
    let is_text = |nth: usize| nth % 2 == 1;
    let part =
        |(nth, part): (usize, &&[u8])| if is_text(nth) { [bytes, *part].concat() } else { part.to_vec() };
    parts.iter().enumerate().map(part).collect::<Vec<_>>().join(&b'"')
}

/// An error in the forms of all exchanges, with these words.
fn complaint(words: &str) -> Vec<u8> {
    let complaint = json!({
        "event": "error", "type": "error", "status": "error", "method": "subscribe", "success": false, "code": -1,
        "msg": words, "message": words, "error": words, "err-code": words, "err-msg": words, "data": words,
    });
    complaint.to_string().into_bytes()
}

/// A name of a symbol with something in it; `None` for other texts.
fn with_symbol(value: &Value, rubbish: &str) -> Option<Value> {
    let text = value.as_str()?;
    let is_name = text.to_ascii_uppercase().contains("BTC") || text.to_ascii_uppercase().contains("ETH");
    is_name.then(|| Value::from(format!("{}{rubbish}{}", &text[..1], &text[1..])))
}

/// Something else where a number is, as a number or as a text; `None` for other values.
fn with_type(value: &Value, other: &Value) -> Option<Value> {
    let is_number = value.is_number() || value.as_str().is_some_and(|text| text.parse::<f64>().is_ok());
    is_number.then(|| other.clone())
}

/// A text in which every number and every text is what `change` makes of it; cut short where it changes nothing.
fn changed(healthy: &str, change: &dyn Fn(&Value) -> Option<Value>) -> Vec<u8> {
    fn walk(value: &mut Value, change: &dyn Fn(&Value) -> Option<Value>) -> usize {
        match value {
            Value::Array(items) => items.iter_mut().map(|item| walk(item, change)).sum(),
            Value::Object(fields) => fields.values_mut().map(|item| walk(item, change)).sum(),
            other => {
                let changed = change(other);
                let num_changed = usize::from(changed.is_some());
                *other = changed.unwrap_or_else(|| other.take());
                num_changed
            }
        }
    }
    let mut value = serde_json::from_str(healthy).unwrap_or_default();
    match walk(&mut value, change) {
        0 => healthy.as_bytes()[..healthy.len() / 2].to_vec(),
        _ => value.to_string().into_bytes(),
    }
}

/// The text of a frame or of a body, whether it is packed or not; `None` if it is no text.
pub(super) fn unpacked(bytes: &[u8]) -> Option<String> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return String::from_utf8(bytes.to_vec()).ok();
    }
    let mut text = String::new();
    GzDecoder::new(bytes).take(MOST_UNPACKED).read_to_string(&mut text).ok()?;
    Some(text)
}

pub(super) fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// A text with other prices: the first digit of everything that has a point is another one.
pub(super) fn bent(healthy: &str) -> String {
    let mut bent = healthy.as_bytes().to_vec();
    let mut first = None;
    for at in 0..bent.len() {
        match bent[at] {
            b'0'..=b'9' => {
                first.get_or_insert(at);
            }
            b'.' => {
                if let Some(first) = first.take() {
                    bent[first] = if bent[first] == b'9' { b'8' } else { bent[first] + 1 };
                }
            }
            _ => first = None,
        }
    }
    String::from_utf8(bent).unwrap()
}
