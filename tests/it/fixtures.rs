//! Every exchange has fixtures, and reads each of them as it says.
//!
//! `tests/fixtures/<exchange>/<name>.jsonl` holds frames, one per line; any other ending is one body. What
//! `ratebook decode` makes of it is in `<name>.expected.json`, one line for each frame. Of an error only the fact
//! is compared.

use std::fs;
use std::path::{Path, PathBuf};

use ratebook::exchange::decode::decode;
use ratebook::exchange::{EXCHANGES, Row, Scope};

/// The beginning of a line that is an error.
const ERROR: &str = r#"{"error":"#;

fn folder(row: &Row) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(row.name.as_str())
}

/// The fixtures of an exchange, in the order of their names.
fn fixtures(row: &Row) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder(row)) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| !file.to_string_lossy().ends_with(".expected.json"));
    files.sort();
    files
}

fn decoded(row: &'static Row, file: &Path) -> Vec<String> {
    let input = fs::read(file).unwrap();
    let is_body = file.extension().is_none_or(|extension| extension != "jsonl");
    let mut output = Vec::new();
    decode(row, Scope::Everything, is_body, |_| Ok(()), &mut &input[..], &mut output).unwrap();
    String::from_utf8(output).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn every_exchange_reads_its_fixtures_as_they_say() {
    for row in EXCHANGES {
        let mut num_quotes = 0;
        for file in fixtures(row) {
            let expected = fs::read_to_string(file.with_extension("expected.json"))
                .unwrap_or_else(|error| panic!("what is expected of {}: {error}", file.display()));
            let expected: Vec<&str> = expected.lines().collect();
            let decoded = decoded(row, &file);
            assert_eq!(decoded.len(), expected.len(), "lines of {}", file.display());
            for (number, (decoded, expected)) in decoded.iter().zip(&expected).enumerate() {
                let both_are_errors = decoded.starts_with(ERROR) && expected.starts_with(ERROR);
                assert!(
                    both_are_errors || decoded == expected,
                    "{}, line {}\n decoded {decoded}\nexpected {expected}",
                    file.display(),
                    number + 1,
                );
                num_quotes += decoded.matches(r#""direction":"#).count();
            }
        }
        assert!(
            num_quotes > 0,
            "`{}` has no fixture in {} that gives a quote",
            row.name,
            folder(row).display()
        );
    }
}
