//! Which exchanges take part in a test.

use ratebook::exchange::{EXCHANGES, Row};

/// The exchanges of a world that does not ask for more: a market, an aggregator and a source of fiat rates, which
/// fail over to each other in a way that a test can foretell.
const USUAL_EXCHANGES: [&str; 3] = ["binance", "coingecko", "cbr"];

/// The exchanges that are switched off unless a test asks for them.
pub(crate) fn unusual() -> impl Iterator<Item = &'static Row> {
    EXCHANGES.iter().filter(|row| !USUAL_EXCHANGES.contains(&row.name.as_str()))
}
