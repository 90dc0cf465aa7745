//! What sources of fiat rates really sent, beside the Bank of Russia.

use std::collections::BTreeMap;
use std::fs;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use ratebook::exchange::{Access, Scope, Source, row};
use ratebook::market::{Validity, number};
use serde_json::Value;

use super::{Quote, quotes_of, read_gz, recordings, run};

/// The only pair of Frankfurter is of the first version of its API, which is frozen and not used.
const UNUSED: [&str; 1] = ["p0098"];

#[test]
fn every_sample_of_a_fiat_source_gives_the_rates_that_it_says_or_none() {
    let Some(folder) = recordings() else { return };
    let mut num_compared = BTreeMap::new();
    for line in fs::read_to_string(folder.join("pairs.jsonl")).unwrap().lines() {
        let sample: Value = serde_json::from_str(line).unwrap();
        let (id, source) = (sample["id"].as_str().unwrap(), sample["venue"].as_str().unwrap());
        if !["ecb", "freecurrencyapi", "frankfurter", "erapi"].contains(&source) {
            continue;
        }
        *num_compared.entry(source.to_owned()).or_insert(0) += 1;
        let quotes: BTreeMap<String, Quote> =
            quotes_of(source, sample["kind"] == "rest", sample["payload"].as_str().unwrap())
                .into_iter()
                .map(|quote| (quote.0.clone(), quote))
                .collect();
        let rates = sample["expected"]["rates"].as_object().filter(|_| !UNUSED.contains(&id));
        let Some(rates) = rates else {
            assert!(quotes.is_empty(), "{id}: {quotes:?}");
            continue;
        };
        for (pair, rate) in rates {
            let direction = pair.replace('/', "-");
            let expected = (direction.clone(), None, None, number::decimal(rate.as_str().unwrap()), None);
            assert_eq!(quotes[&direction], expected, "{id}");
        }
        // All but the dollar itself.
        let payload: Value = serde_json::from_str(sample["payload"].as_str().unwrap()).unwrap();
        assert_eq!(quotes.len(), payload["data"].as_object().unwrap().len() - 1, "{id}");
    }
    let expected = [("frankfurter".to_owned(), 1), ("freecurrencyapi".to_owned(), 5)];
    assert_eq!(num_compared, BTreeMap::from(expected));
}

/// The European Central Bank has tables of commas too, of a day and of its history, and a service of statistics. Only
/// its XML is used.
#[test]
fn tables_of_commas_of_the_european_central_bank_are_not_used_and_give_no_rate() {
    let Some(folder) = recordings() else { return };
    let files = ["eurofxref_daily_2026-04-13.csv", "ecb_sdmx_csv_2026-02-17_on.csv"];
    let mut tables = files.map(|file| fs::read_to_string(folder.join("fx").join(file)).unwrap()).to_vec();
    tables.push(read_gz(folder.join("fx/ecb_eurofxref-hist_2023_2025.csv.gz")));
    for table in tables {
        assert_eq!(quotes_of("ecb", true, &table), []);
        let lines = run("ecb", false, table.as_bytes());
        assert!(lines.iter().all(|line| line.quotes.is_empty() && line.error.is_some()));
    }
}

/// The dates of three years on which it really set rates, with the holidays of its payment system between them: each
/// fixing has to be believed until the next one is published and asked for.
#[test]
fn a_fixing_of_the_european_central_bank_lasts_until_the_next_one_through_three_years() {
    let Some(folder) = recordings() else { return };
    let history = read_gz(folder.join("fx/ecb_eurofxref-hist_2023_2025.csv.gz"));
    let mut days: Vec<(NaiveDate, &str)> = history
        .lines()
        .skip(1)
        .map(|line| (line[..10].parse().unwrap(), line[11..].split(',').next().unwrap()))
        .collect();
    days.reverse();
    assert!(days.len() > 750 && days.is_sorted());
    let mut ecb = (row("ecb").unwrap().make)(&Access::default(), Scope::Everything);
    let mut window = |date: NaiveDate, rate: &str| -> (DateTime<Utc>, DateTime<Utc>) {
        let table = format!(
            "<?xml version=\"1.0\"?><Envelope><Cube><Cube time='{date}'><Cube currency='USD' rate='{rate}'/></Cube>\
             </Cube></Envelope>"
        );
        let quote = ecb.read(Source::Poll, table.as_bytes()).unwrap().quotes.remove(0);
        assert_eq!(quote.last, number::decimal(rate));
        match quote.validity {
            Validity::Fixing { starts_at, ends_at } => (starts_at, ends_at),
            Validity::Live => panic!("{date}"),
        }
    };
    let mut longest = TimeDelta::zero();
    for pair in days.windows(2) {
        let (_, ends_at) = window(pair[0].0, pair[0].1);
        let (next_starts_at, _) = window(pair[1].0, pair[1].1);
        let is_heard_at = next_starts_at + TimeDelta::hours(18);
        assert!(ends_at >= is_heard_at, "{} ends at {ends_at}, before {}", pair[0].0, pair[1].0);
        longest = longest.max(pair[1].0 - pair[0].0);
    }
    // Easter, and Christmas before a weekend.
    assert_eq!(longest, TimeDelta::days(5));
}
