//! How many frames a second each exchange's plug-in reads: every one that its fixtures hold and that gives quotes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ratebook::exchange::{Access, EXCHANGES, Exchange, Row, Scope, Source};
use tokio::time::Instant;

use super::rounds::{Contender, interleave};
use crate::Scale;

/// Reads between two looks at the clock.
const BURST: usize = 100;

/// Measures every exchange of the table that has fixtures.
pub(crate) fn measure(scale: Scale) -> io::Result<()> {
    // There are many frames, and reading has no neighbours to wait for: a tenth of a round is enough for each.
    let length = scale.round / 10;
    let mut contenders = Vec::new();
    for row in EXCHANGES {
        for (name, source, bytes) in fixtures(row)? {
            let mut plug_in = (row.make)(&Access::default(), Scope::Everything);
            let Some(num_quotes) = num_quotes(plug_in.as_mut(), source, &bytes) else { continue };
            let title = format!("{} {name}: {} B, {num_quotes} quotes", row.name, bytes.len());
            let run = move || {
                let (began_at, mut num_read) = (Instant::now(), 0_usize);
                while began_at.elapsed() < length {
                    num_read += (0..BURST).filter(|_| plug_in.read(source, &bytes).is_ok()).count();
                }
                num_read as f64 / began_at.elapsed().as_secs_f64()
            };
            contenders.push((title, Box::new(run) as Box<dyn FnMut() -> f64>) as Contender<'_>);
        }
    }
    if contenders.is_empty() {
        println!("\nno fixture below tests/fixtures gives quotes");
        return Ok(());
    }
    println!("\nFrames and bodies read\n{:<60} {:>12} {:>10}", "", "frames/s", "ns each");
    for (name, sample) in interleave(scale.num_rounds, contenders) {
        println!("{name:<60} {:>12.0} {:>10.0}", sample.median(), 1e9 / sample.median());
    }
    Ok(())
}

/// How many quotes it gives; `None` if none.
fn num_quotes(plug_in: &mut dyn Exchange, source: Source, bytes: &[u8]) -> Option<usize> {
    let num_quotes = plug_in.read(source, bytes).ok()?.quotes.len();
    (num_quotes > 0).then_some(num_quotes)
}

/// The first frame that gives quotes of every `.jsonl`, and every other fixture as a body.
fn fixtures(row: &Row) -> io::Result<Vec<(String, Source, Vec<u8>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(row.name.as_str());
    let mut found = Vec::new();
    for path in files(&folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".expected.json") {
            continue;
        }
        if name.ends_with(".jsonl") {
            let mut plug_in = (row.make)(&Access::default(), Scope::Everything);
            let text = fs::read_to_string(&path)?;
            let mut frames = text.lines().map(frame);
            let gives_quotes =
                |bytes: &Vec<u8>| num_quotes(plug_in.as_mut(), Source::Socket, bytes).is_some();
            found.extend(frames.find(gives_quotes).map(|bytes| (name, Source::Socket, bytes)));
        } else {
            found.push((name, Source::Poll, fs::read(&path)?));
        }
    }
    Ok(found)
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// A line as the socket had it: a JSON string is its text, and `b64:` marks a binary frame.
fn frame(line: &str) -> Vec<u8> {
    let text = serde_json::from_str::<String>(line).unwrap_or_else(|_| line.to_owned());
    let binary = text.strip_prefix("b64:").and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
    binary.unwrap_or_else(|| text.into_bytes())
}
