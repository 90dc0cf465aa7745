//! What HTX really sent.

use super::samples::{check_pairs, documented};
use super::{Quote, quotes_of, recordings, session};
use ratebook::market::number;

/// The only pair is of `market/detail/merged`, which is not used: one request a symbol is too many.
const UNUSED: [&str; 1] = ["p0080"];

#[test]
fn every_sample_of_htx_is_of_a_format_that_is_not_used_and_gives_nothing() {
    let Some(folder) = recordings() else { return };
    assert_eq!(check_pairs(&folder, "htx", str::to_owned, &UNUSED), UNUSED.len());
}

#[test]
fn every_documented_sample_of_htx_gives_its_price_or_none() {
    let Some(folder) = recordings() else { return };
    let quote = |direction: &str, bid: &str, ask: &str, last: &str| -> Quote {
        let number = |text: &str| number::decimal(text);
        (direction.to_owned(), number(bid), number(ask), number(last), None)
    };
    let tickers = [
        quote("SMT-USDT", "0.004651", "0.004679", "0.00468"),
        quote("LTC-HT", "12.912687", "12.927032", "12.918053"),
    ];
    for (name, is_body, payload) in documented(&folder, "htx.jsonl") {
        let quotes = quotes_of("htx", is_body, &payload);
        // The sample of best prices says of two symbols that the prices are theirs, so nothing is made of it.
        let expected: &[Quote] = if name == "GetTickers.txt" { &tickers } else { &[] };
        assert_eq!(quotes, expected, "{name}");
    }
}

#[test]
fn a_session_of_htx_without_best_prices_is_read_to_the_last_frame_and_gives_none() {
    let Some(folder) = recordings() else { return };
    let lines = session("htx", &folder.join("ws/htx_2021-04-17.jsonl.gz"));
    assert_eq!(lines.len(), 362);
    assert!(
        lines.iter().all(|line| line.quotes.is_empty() && line.refused.is_empty() && line.error.is_none())
    );
}
