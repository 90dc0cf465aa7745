//! What every plug-in has to survive: frames that are broken in the ways in which frames break.
//!
//! Separate because the same list holds for every exchange, so a plug-in is tested against it in one line.

use super::{Exchange, Source};

/// Texts that are malformed for every exchange.
const MALFORMED: &str = include_str!("../../tests/fixtures/malformed.json");

/// Feeds `exchange` every known kind of broken frame, and every way of breaking the `valid` ones, and fails if one
/// of them gives a quote. Each of the `valid` frames has to give one, so that breaking it means something.
pub(super) fn check(exchange: &mut dyn Exchange, sources: &[Source], valid: &[&str]) {
    let mut num_quotes = |bytes: &[u8]| -> usize {
        sources
            .iter()
            .map(|source| exchange.read(*source, bytes).map_or(0, |reading| reading.quotes.len()))
            .sum()
    };
    for frame in valid {
        assert!(num_quotes(frame.as_bytes()) > 0, "no quote from {frame}");
    }
    for broken in always_broken().into_iter().chain(valid.iter().flat_map(|frame| breakages(frame))) {
        let beginning = String::from_utf8_lossy(&broken[..broken.len().min(400)]).into_owned();
        assert_eq!(num_quotes(&broken), 0, "{beginning}");
    }
    for frame in valid {
        // A flipped bit may leave a frame valid, so all that is asked is that it is survived.
        for at in 0..frame.len() {
            for bit in 0..8 {
                let mut flipped = frame.as_bytes().to_vec();
                flipped[at] ^= 1 << bit;
                num_quotes(&flipped);
            }
        }
    }
}

/// Frames that are no exchange's.
fn always_broken() -> Vec<Vec<u8>> {
    let texts: Vec<String> = serde_json::from_str(MALFORMED).unwrap();
    let mut frames: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    frames.extend([
        vec![0],
        vec![0xff],
        vec![0xfe, 0xff, 0, b'{'],
        vec![0xed, 0xa0, 0x80],
        vec![b' '; 100_000],
    ]);
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("<a>", "</a>"), ("{\"data\":[", "]}")] {
        frames.push(open.repeat(200_000).into_bytes());
        frames.push([open.repeat(200_000), close.repeat(200_000)].concat().into_bytes());
    }
    frames
}

/// Every way of breaking a frame as a whole.
fn breakages(frame: &str) -> Vec<Vec<u8>> {
    let bytes = frame.as_bytes();
    let mut broken: Vec<Vec<u8>> = (0..bytes.len()).map(|len| bytes[..len].to_vec()).collect();
    broken.extend((1..bytes.len()).map(|from| bytes[from..].to_vec()));
    broken.push([&b"\xef\xbb\xbf"[..], bytes].concat());
    broken.push([bytes, &b"\0"[..]].concat());
    broken.push([bytes, &b"\xff"[..]].concat());
    broken.push([bytes, bytes].concat());
    broken.push(bytes.iter().flat_map(|byte| [*byte, 0]).collect());
    broken
}
