//! Where the recordings of one exchange are, for the tests that look at a single exchange.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{Quote, expected_quotes, quotes_of};

/// Reads every pair of a payload and what it means, and tells how many there were. Those that are `unused`, and those
/// that carry no price, have to give none. A sample may name a part of its quotes only, but none that differs.
pub(super) fn check_pairs(
    folder: &Path,
    exchange: &str,
    direction_of: fn(&str) -> String,
    unused: &[&str],
) -> usize {
    let mut num_compared = 0;
    for line in fs::read_to_string(folder.join("pairs.jsonl")).unwrap().lines() {
        let mut sample: Value = serde_json::from_str(line).unwrap();
        if sample["venue"] != exchange {
            continue;
        }
        num_compared += 1;
        let id = sample["id"].as_str().unwrap().to_owned();
        for quote in sample["expected"]["quotes"].as_array_mut().into_iter().flatten() {
            quote["symbol"] = direction_of(quote["symbol"].as_str().unwrap()).replace('-', "/").into();
        }
        let quotes = quotes_of(exchange, sample["kind"] == "rest", sample["payload"].as_str().unwrap());
        let expected =
            if unused.contains(&id.as_str()) { None } else { expected_quotes(&sample["expected"]) };
        let expected = expected.unwrap_or_default();
        if expected.is_empty() {
            assert_eq!(quotes, [], "{id}");
        }
        for expected in &expected {
            let same: Vec<&Quote> = quotes.iter().filter(|quote| quote.0 == expected.0).collect();
            assert_eq!(same, [expected], "{id}");
        }
    }
    num_compared
}

/// Every payload of the documented samples: the sample's name, whether it is a body, and the text.
pub(super) fn documented(folder: &Path, file: &str) -> Vec<(String, bool, String)> {
    let mut payloads = Vec::new();
    for sample in fs::read_to_string(folder.join("doc_samples").join(file)).unwrap().lines() {
        let sample: Value = serde_json::from_str(sample).unwrap();
        let name = sample["path"].as_str().unwrap().rsplit('/').next().unwrap();
        for part in ["body", "ack", "update"] {
            let texts = match &sample[part] {
                Value::Array(texts) => texts.clone(),
                Value::Null => Vec::new(),
                text => vec![text.clone()],
            };
            for text in texts {
                // The samples leave a place for the number of a request.
                let text = text.as_str().unwrap().replace("|1|", "1");
                payloads.push((name.to_owned(), sample["kind"] == "rest", text));
            }
        }
    }
    payloads
}
