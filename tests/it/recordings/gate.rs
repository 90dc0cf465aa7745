//! What Gate really sent.

use std::collections::BTreeMap;

use super::samples::{check_pairs, documented};
use super::{QuoteLine, quotes_of, recordings, session};
use ratebook::market::number;

fn direction_of(symbol: &str) -> String {
    symbol.replace('_', "-")
}

#[test]
fn every_sample_of_gate_gives_the_price_that_it_says() {
    let Some(folder) = recordings() else { return };
    assert_eq!(check_pairs(&folder, "gate", direction_of, &[]), 2);
}

#[test]
fn every_documented_sample_of_gate_gives_its_price_or_none() {
    let Some(folder) = recordings() else { return };
    let quote = |direction: &str, bid: &str, ask: &str, last: &str, ms| {
        let number = |text: &str| number::decimal(text);
        (direction.to_owned(), number(bid), number(ask), number(last), ms)
    };
    let mut expected = BTreeMap::from([
        ("GetTickers.txt", quote("BTC3L-USDT", "2.4606821", "2.477", "2.46140352", None)),
        (
            "SubscribeToBookTickerUpdates.txt",
            quote("ETH-USDT", "19177.79", "19179.38", "", Some(1_606_293_275_123)),
        ),
        (
            "SubscribeToTickerUpdates.txt",
            quote("ETH-USDT", "70773", "70773.1", "70775.2", Some(1_717_595_233_666)),
        ),
    ]);
    for (name, is_body, payload) in documented(&folder, "gateio.jsonl") {
        for quote in quotes_of("gate", is_body, &payload) {
            assert_eq!(Some(quote), expected.remove(name.as_str()), "{name}");
        }
    }
    assert!(expected.is_empty(), "no price from {expected:?}");
}

#[test]
fn a_session_of_gate_gives_a_quote_for_every_ticker_and_for_nothing_else() {
    let Some(folder) = recordings() else { return };
    let lines = session("gate", &folder.join("ws/gate_v4_2021-04-22.jsonl.gz"));
    let quotes: Vec<&QuoteLine> = lines.iter().flat_map(|line| &line.quotes).collect();
    assert_eq!(quotes.len(), 22);
    assert_eq!(lines.iter().filter(|line| line.quotes.len() == 1).count(), 22);
    assert!(lines.iter().all(|line| line.refused.is_empty()));
    let (direction, bid, ask, ..) = quotes.last().unwrap().quote();
    assert_eq!(
        (direction.as_str(), bid, ask),
        ("NEO-BTC", number::decimal("0.0018678"), number::decimal("0.001873"))
    );
}
