//! What Bitfinex really sent.

use super::samples::{check_pairs, documented};
use super::{Quote, QuoteLine, quotes_of, recordings, run, session};
use ratebook::market::number;

fn direction_of(symbol: &str) -> String {
    assert_eq!(symbol, "tBTCUSD");
    "BTC-USD".to_owned()
}

#[test]
fn every_sample_of_bitfinex_gives_the_price_that_it_says_or_none() {
    let Some(folder) = recordings() else { return };
    assert_eq!(check_pairs(&folder, "bitfinex", direction_of, &[]), 2);
}

#[test]
fn every_documented_sample_of_bitfinex_gives_its_price_or_none() {
    let Some(folder) = recordings() else { return };
    let quote = |direction: &str, bid: &str, ask: &str, last: &str| -> Quote {
        let number = |text: &str| number::decimal(text);
        (direction.to_owned(), number(bid), number(ask), number(last), None)
    };
    let btc = quote("BTC-USD", "10645", "10647", "10644.00645389");
    let eth = quote("ETH-USDT", "7616.5", "7617.5", "7617.1");
    let samples = documented(&folder, "bitfinex.jsonl");
    let mut num_quotes = 0;
    for (name, _, payload) in samples.iter().filter(|(_, is_body, _)| *is_body) {
        for given in quotes_of("bitfinex", true, payload) {
            assert_eq!(given, btc, "{name}");
            num_quotes += 1;
        }
    }
    assert_eq!(num_quotes, 2);
    // Each sample of a channel is a connection of its own: the number, then a frame under it.
    let mut channels: Vec<(&str, String)> = Vec::new();
    for (name, _, payload) in samples.iter().filter(|(_, is_body, _)| !*is_body) {
        let line = serde_json::to_string(payload).unwrap() + "\n";
        match channels.last_mut() {
            Some((last, lines)) if last == name => lines.push_str(&line),
            _ => channels.push((name, line)),
        }
    }
    assert_eq!(channels.len(), 4);
    for (name, lines) in channels {
        let given = run("bitfinex", false, lines.as_bytes());
        let given: Vec<Quote> = given.iter().flat_map(|line| &line.quotes).map(QuoteLine::quote).collect();
        let expected = if name == "Ticker.txt" { vec![eth.clone()] } else { vec![] };
        assert_eq!(given, expected, "{name}");
    }
}

#[test]
fn a_session_of_bitfinex_gives_a_quote_for_every_ticker_and_for_nothing_else() {
    let Some(folder) = recordings() else { return };
    let lines = session("bitfinex", &folder.join("ws/bitfinex_2021-04-17.jsonl.gz"));
    let quotes: Vec<Quote> = lines.iter().flat_map(|line| &line.quotes).map(QuoteLine::quote).collect();
    assert_eq!(quotes.len(), 21);
    assert!(lines.iter().all(|line| line.refused.is_empty() && line.error.is_none()));
    let (bid, ask) = (number::decimal("0.068965"), number::decimal("0.0774"));
    assert_eq!(quotes[0], ("BFT-USD".to_owned(), bid, ask, number::decimal("0.076989"), None));
    let count = |direction: &str| quotes.iter().filter(|quote| quote.0 == direction).count();
    // A paper market is no market of the asset that it plays with.
    assert_eq!(
        (count("IOTA-ETH"), count("MANA-BTC"), count("TESTBTC-TESTUSD"), count("BTC-USD")),
        (4, 4, 3, 0)
    );
}
