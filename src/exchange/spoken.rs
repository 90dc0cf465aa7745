//! What plug-ins are asked and answer, in short texts: for tests that compare it in tables.

use rust_decimal::Decimal;

use super::{Reading, Scope};
use crate::market::{Direction, Quote};

/// The scope of these directions, with commas between.
pub(super) fn scope(wanted: &str) -> Scope {
    Scope::Directions(wanted.split(',').map(|direction| direction.parse().unwrap()).collect())
}

/// Each quote as one line: direction, bid, ask, last, milliseconds since 1970, sequence.
pub(super) fn lines(reading: &Reading) -> Vec<String> {
    let number = |value: Option<Decimal>| value.map_or("-".to_owned(), |value| value.normalize().to_string());
    let line = |quote: &Quote| {
        let (bid, ask, last) = (number(quote.bid), number(quote.ask), number(quote.last));
        let time = number(quote.quoted_at.map(|time| Decimal::new(time.timestamp_micros(), 3)));
        let sequence = number(quote.sequence.map(Decimal::from));
        format!("{} {bid} {ask} {last} {time} {sequence}", quote.direction)
    };
    reading.quotes.iter().map(line).collect()
}

/// Each direction as it is written.
pub(super) fn strings(directions: &[Direction]) -> Vec<String> {
    directions.iter().map(Direction::to_string).collect()
}
