//! The one true price of every asset, which moves: a seeded random walk around a starting value.
//!
//! Pure, and separate because every simulated exchange derives its prices from it, so that a checker can compare
//! what a service answers with one number. The same seed gives the same walk, tick by tick: whole numbers only, and
//! a hash of our own, so no version of a library changes it.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use rust_decimal::prelude::RoundingStrategy;

use crate::market::number;

/// Digits that a true price is told with.
const SIGNIFICANT_DIGITS: u32 = 12;

/// What a deviation of one whole is made of.
const PARTS: i64 = 1_000_000_000;

/// How slowly a walk is drawn back to its start: by this part of its deviation with each tick. At fifty ticks a second
/// a price comes back within hours, so a demo of a day never shows an absurd price.
const PULL: i64 = 1_000_000;

/// An exchange moves each of its symbols with one tick out of so many, each symbol in its turn: ten times a second, as
/// a busy real one, and not all of them in the same instant.
pub(super) const TURNS: u64 = 5;

/// Every asset, its price in dollars at the start, and the largest step of one tick in parts of a thousand million.
/// A rouble's or euro's step is what makes a fixing differ from the live price, and no more.
#[rustfmt::skip]
const ASSETS: &[(&str, &str, i64)] = &[
    ("BTC", "64000", 8_945), ("ETH", "3000", 10_733), ("SOL", "150", 13_417), ("XRP", "0.55", 13_417),
    ("LTC", "84", 12_522), ("DOGE", "0.125", 15_206), ("TRX", "0.13", 8_945), ("TON", "5.2", 13_417),
    ("BNB", "560", 9_839), ("BCH", "390", 12_522), ("LINK", "13.5", 13_417), ("DOT", "6.1", 13_417),
    ("EOS", "0.62", 13_417), ("XLM", "0.1", 13_417), ("YFI", "6200", 13_417), ("SHIB", "0.0000172", 16_100),
    // Not one dollar, so that whoever takes it for one is found out.
    ("USDT", "0.9997", 45), ("USDC", "0.9999", 45), ("USD", "1", 0),
    ("EUR", "1.086", 268), ("GBP", "1.27", 268), ("RUB", "0.0125", 268), ("UAH", "0.0244", 268),
    ("KZT", "0.0021", 268), ("BYN", "0.306", 268), ("CNY", "0.138", 179), ("JPY", "0.0065", 268),
    ("CHF", "1.12", 268), ("CAD", "0.73", 268), ("AUD", "0.66", 268), ("NZD", "0.6", 268), ("TRY", "0.0303", 268),
    ("AED", "0.2723", 22), ("AMD", "0.00258", 179), ("AZN", "0.5882", 22), ("BDT", "0.0085", 179),
    ("BHD", "2.653", 22), ("BOB", "0.1447", 179), ("BRL", "0.18", 268), ("CUP", "0.0417", 22),
    ("CZK", "0.0432", 268), ("DKK", "0.1456", 268), ("DZD", "0.00744", 179), ("EGP", "0.0207", 179),
    ("ETB", "0.0173", 179), ("GEL", "0.368", 179), ("HKD", "0.128", 22), ("HUF", "0.00278", 268),
    ("IDR", "0.0000615", 224), ("INR", "0.01195", 134), ("IRR", "0.00000067", 134), ("KGS", "0.01145", 134),
    ("KRW", "0.00073", 224), ("MDL", "0.0565", 179), ("MMK", "0.000476", 22), ("MNT", "0.000296", 134),
    ("NGN", "0.00067", 268), ("NOK", "0.0946", 268), ("OMR", "2.597", 22), ("PLN", "0.252", 268),
    ("QAR", "0.2747", 22), ("RON", "0.218", 224), ("RSD", "0.00928", 224), ("SAR", "0.2666", 22),
    ("SEK", "0.0945", 268), ("SGD", "0.744", 179), ("THB", "0.0275", 224), ("TJS", "0.0938", 134),
    ("TMT", "0.2857", 22), ("UZS", "0.0000795", 134), ("VND", "0.0000394", 134), ("XDR", "1.325", 134),
    ("ZAR", "0.0545", 268), ("ARS", "0.00109", 268), ("BMD", "1", 0), ("CLP", "0.00108", 268), ("ILS", "0.268", 224),
    ("KWD", "3.265", 22), ("LKR", "0.0033", 179), ("MXN", "0.055", 268), ("MYR", "0.213", 224), ("PHP", "0.0171", 224),
    ("PKR", "0.00359", 134), ("TWD", "0.0308", 179), ("XAG", "29.1", 403), ("XAU", "2390", 313),
    ("BGN", "0.5553", 268), ("HRK", "0.1441", 268), ("ISK", "0.0073", 179),
];

/// Other names of an asset: the same coin after its new name of 2026.
const ALIASES: &[(&str, &str)] = &[("GRAM", "TON")];

/// The true price of every asset at one tick.
#[derive(Debug, Clone)]
pub(super) struct Truth {
    seed: u64,
    tick: u64,
    walks: BTreeMap<&'static str, Walk>,
}

#[derive(Debug, Clone)]
struct Walk {
    start: Decimal,
    deviation: i64,
    largest_step: i64,
}

impl Walk {
    fn usd(&self) -> Decimal {
        let factor = Decimal::new(PARTS + self.deviation, 9);
        let exact = self.start.checked_mul(factor).unwrap_or(self.start);
        significant(exact)
    }
}

/// `value` with the digits that prices are told with here.
pub(super) fn significant(value: Decimal) -> Decimal {
    value
        .round_sf_with_strategy(SIGNIFICANT_DIGITS, RoundingStrategy::MidpointNearestEven)
        .unwrap_or(value)
        .normalize()
}

impl Truth {
    /// The prices before the first tick.
    pub(super) fn new(seed: u64) -> Self {
        let walk = |&(code, start, largest_step): &(&'static str, &str, i64)| {
            let start = number::decimal(start).unwrap_or_default();
            (code, Walk { start, deviation: 0, largest_step })
        };
        Self { seed, tick: 0, walks: ASSETS.iter().map(walk).collect() }
    }

    /// Moves every price by one step.
    pub(super) fn step(&mut self) {
        self.tick += 1;
        for (code, walk) in &mut self.walks {
            let step = noise(self.seed, code, self.tick, walk.largest_step);
            walk.deviation += step - walk.deviation / PULL;
        }
    }

    /// How many steps were made.
    pub(super) fn tick(&self) -> u64 {
        self.tick
    }

    /// Whether it is the turn of this symbol to follow.
    pub(super) fn is_turn_of(&self, symbol: &str) -> bool {
        self.tick % TURNS == place_of(symbol, TURNS)
    }

    /// The seed of the walks.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// Dollars for one of the asset; `None` for an unknown one.
    pub(super) fn usd(&self, code: &str) -> Option<Decimal> {
        Some(self.walks.get(canonical(code))?.usd())
    }

    /// Dollars for one of the asset without the walk; `None` for an unknown one. What a daily fixing moves around.
    pub(super) fn usd_at_start(&self, code: &str) -> Option<Decimal> {
        Some(self.walks.get(canonical(code))?.start)
    }

    /// Units of `counter` for one `base`; `None` if either is unknown.
    pub(super) fn price(&self, base: &str, counter: &str) -> Option<Decimal> {
        self.usd(base)?.checked_div(self.usd(counter)?)
    }

    /// Every asset with its price in dollars.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, Decimal)> {
        self.walks.iter().map(|(code, walk)| (*code, walk.usd()))
    }

    /// Sets the price of an asset, from which its walk goes on. Tells whether there is such an asset.
    pub(super) fn set(&mut self, code: &str, usd: Decimal) -> bool {
        match self.walks.get_mut(canonical(code)) {
            Some(walk) => {
                walk.start = usd;
                walk.deviation = 0;
                true
            }
            None => false,
        }
    }
}

/// The code under which an asset is priced here.
fn canonical(code: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == code).map_or(code, |(_, code)| code)
}

/// Every code that has a price, aliases too.
pub(super) fn codes() -> impl Iterator<Item = &'static str> {
    ASSETS.iter().map(|(code, ..)| *code).chain(ALIASES.iter().map(|(alias, _)| *alias))
}

/// A whole number from `-largest` to `largest`, all equally likely: the same for the same seed, subject and index.
pub(super) fn noise(seed: u64, subject: &str, index: u64, largest: i64) -> i64 {
    let hash = mix(mix_all(seed, subject) ^ mix(index));
    let span = largest.unsigned_abs().saturating_mul(2).saturating_add(1);
    i64::try_from(hash % span).unwrap_or_default() - largest.saturating_abs()
}

/// A number from 0 up to `below` that belongs to this subject.
pub(super) fn place_of(subject: &str, below: u64) -> u64 {
    mix_all(0, subject) % below
}

fn mix_all(seed: u64, subject: &str) -> u64 {
    subject.bytes().fold(seed ^ 0x9E37_79B9_7F4A_7C15, |hash, byte| mix(hash ^ u64::from(byte)))
}

/// The finishing function of `SplitMix64`: every input bit changes half of the output bits.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seed: u64, ticks: u32) -> Truth {
        let mut truth = Truth::new(seed);
        for _ in 0..ticks {
            truth.step();
        }
        truth
    }

    #[test]
    fn the_same_seed_walks_the_same_way_and_another_one_does_not() {
        let all = |truth: Truth| truth.all().collect::<Vec<_>>();
        assert_eq!(all(after(7, 500)), all(after(7, 500)));
        assert_ne!(all(after(7, 500)), all(after(8, 500)));
        assert_ne!(all(after(7, 500)), all(after(7, 501)));
    }

    #[test]
    fn hours_of_walking_keep_every_price_near_its_start_and_the_dollar_on_it() {
        let truth = after(42, 100_000);
        for (code, usd) in truth.all() {
            let start = truth.usd_at_start(code).unwrap();
            let off = ((usd - start) / start).abs();
            assert!(off < Decimal::new(4, 2), "{code} moved by {off}");
        }
        assert_eq!(truth.usd("USD"), Some(Decimal::ONE));
        let tether = truth.usd("USDT").unwrap();
        assert!((Decimal::new(9990, 4)..Decimal::new(10005, 4)).contains(&tether), "{tether}");
    }

    #[test]
    fn a_price_that_was_set_is_where_the_walk_goes_on() {
        let mut truth = after(1, 100);
        assert!(truth.set("BTC", Decimal::from(50_000)));
        assert!(!truth.set("NOTHING", Decimal::ONE));
        assert_eq!(truth.usd("BTC"), Some(Decimal::from(50_000)));
        truth.step();
        let moved = truth.usd("BTC").unwrap();
        assert!(moved != Decimal::from(50_000) && (moved - Decimal::from(50_000)).abs() < Decimal::TWO);
    }

    #[test]
    fn the_coin_with_two_names_has_one_price() {
        let truth = after(3, 10);
        assert_eq!(truth.usd("GRAM"), truth.usd("TON"));
        assert_eq!(truth.price("BTC", "USD"), truth.usd("BTC"));
        assert_eq!(truth.price("BTC", "NOTHING"), None);
    }

    #[test]
    fn noise_reaches_both_ends_and_no_further() {
        let seen: std::collections::BTreeSet<i64> =
            (0..1000).map(|index| noise(5, "BTC", index, 2)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [-2, -1, 0, 1, 2]);
    }
}
