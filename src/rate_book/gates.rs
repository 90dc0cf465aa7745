//! Which quotes are refused, and why. Refused, never clamped: a price that was mended would look like a price.
//!
//! Separate from the book because the first half of the gates needs no state, so that `ratebook decode` can show
//! what they say of a recording.

use std::time::Duration;

use rust_decimal::Decimal;

use crate::market::{Asset, Direction, Moment, Quote, Refusal, Validity};

/// How far ahead of our clock an exchange's clock may be. Recordings show exchanges 1.3 s ahead of a machine that
/// was synchronised by NTP; a time stamp in wrong units is off by years.
pub const MAX_CLOCK_AHEAD: Duration = Duration::from_secs(2);

/// Smallest price of anything: the cheapest listed coins trade near 1e-8 of a dollar.
const MIN_PRICE: Decimal = Decimal::from_parts(1, 0, 0, false, 10);

/// Largest price of anything: a bitcoin is worth some 1e9 Vietnamese dong.
const MAX_PRICE: Decimal = Decimal::from_parts(1_410_065_408, 2, 0, false, 0);

/// Widest distance of bid and ask, as a share of their middle. Real books of what is served here stay below 1 %;
/// a wider one says that its market has stopped.
const MAX_SPREAD: Decimal = Decimal::from_parts(5, 0, 0, false, 2);

/// What one unit of a known asset may be worth in dollars. Wide enough for a real crash or rally, and narrow enough
/// that a slip of three digits is refused in every pair of them: a bitcoin in roubles is checked by both rows.
const WORTH: &[(Asset, Decimal, Decimal)] = &[
    (Asset::USD, dollars(1, 0), dollars(1, 0)),
    (Asset::USDT, dollars(2, 1), dollars(5, 0)),
    (Asset::USDC, dollars(2, 1), dollars(5, 0)),
    (Asset::FDUSD, dollars(2, 1), dollars(5, 0)),
    (Asset::BTC, dollars(500, 0), dollars(2_000_000, 0)),
    (Asset::ETH, dollars(20, 0), dollars(100_000, 0)),
    (Asset::RUB, dollars(4, 3), dollars(50, 3)),
    (Asset::EUR, dollars(4, 1), dollars(3, 0)),
    (Asset::GBP, dollars(5, 1), dollars(4, 0)),
    (Asset::CNY, dollars(5, 2), dollars(4, 1)),
    (Asset::KZT, dollars(7, 4), dollars(6, 3)),
];

/// `mantissa` divided by ten to the `scale`, in dollars.
const fn dollars(mantissa: u32, scale: u32) -> Decimal {
    Decimal::from_parts(mantissa, 0, 0, false, scale)
}

/// The gates that need neither state nor time: on the numbers by themselves, and on bid and ask together;
/// `syntax` for a quote without any price or with more digits than its middle can keep.
///
/// # Errors
/// The first gate that the quote fails.
pub fn check_form(quote: &Quote) -> Result<(), Refusal> {
    check_size(quote)?;
    check_book(quote).map(drop)
}

/// The gates on the numbers by themselves, which stand before those on time.
pub(super) fn check_size(quote: &Quote) -> Result<(), Refusal> {
    let prices = [quote.bid, quote.ask, quote.last];
    let mut prices = prices.iter().flatten().peekable();
    if prices.peek().is_none() {
        return Err(Refusal::Syntax);
    }
    let (min, max) = limits(quote.direction);
    for price in prices {
        if price.is_zero() || price.is_sign_negative() {
            return Err(Refusal::NonPositive);
        }
        if *price < min || *price > max {
            return Err(Refusal::Magnitude);
        }
    }
    Ok(())
}

/// The gates on bid and ask together, which stand last. Gives the value of a quote that has passed them.
pub(super) fn check_book(quote: &Quote) -> Result<Decimal, Refusal> {
    let (bid, ask) = match (quote.bid, quote.ask) {
        (Some(bid), Some(ask)) => (bid, ask),
        (None, None) => return quote.last.ok_or(Refusal::Syntax),
        _ => return Err(Refusal::OneSided),
    };
    if bid >= ask {
        return Err(Refusal::Crossed);
    }
    let middle = quote.value().ok_or(Refusal::Syntax)?;
    let widest = middle.checked_mul(MAX_SPREAD).ok_or(Refusal::Syntax)?;
    let spread = ask.checked_sub(bid).ok_or(Refusal::Syntax)?;
    if spread > widest { Err(Refusal::WideSpread) } else { Ok(middle) }
}

/// The gates on the exchange's own time: a quote may neither be older than its limit when it arrives, nor come
/// from the future.
///
/// # Errors
/// [`Refusal::Stale`] or [`Refusal::Future`].
pub(super) fn check_time(quote: &Quote, now: Moment, stale_after: Duration) -> Result<(), Refusal> {
    let Some(quoted_at) = quote.quoted_at else { return Ok(()) };
    if now.wall_since(quoted_at) > stale_after {
        return Err(Refusal::Stale);
    }
    if now.wall_until(quoted_at) > MAX_CLOCK_AHEAD {
        return Err(Refusal::Future);
    }
    Ok(())
}

/// The gate on order, against a quote of the same symbol that is still believed.
///
/// The same number or the same time again is no older quote: exchanges repeat an unchanged one to show that it
/// stands, and the second socket of a planned change delivers what the first one did.
///
/// # Errors
/// [`Refusal::OutOfOrder`].
pub(super) fn check_order(quote: &Quote, previous: &Quote) -> Result<(), Refusal> {
    if let (Validity::Fixing { starts_at, .. }, Validity::Fixing { starts_at: previous, .. }) =
        (quote.validity, previous.validity)
    {
        return if starts_at < previous { Err(Refusal::OutOfOrder) } else { Ok(()) };
    }
    let is_older = match (quote.sequence, previous.sequence) {
        (Some(new), Some(old)) if new != old => new < old,
        (Some(_), Some(_)) => !quote.same_price(previous),
        _ => matches!((quote.quoted_at, previous.quoted_at), (Some(new), Some(old)) if new < old),
    };
    if is_older { Err(Refusal::OutOfOrder) } else { Ok(()) }
}

fn limits(direction: Direction) -> (Decimal, Decimal) {
    let worth = |asset: Asset| WORTH.iter().find(|(it, ..)| *it == asset);
    let (Some((_, least, most)), Some((_, counter_least, counter_most))) =
        (worth(direction.base), worth(direction.counter))
    else {
        return (MIN_PRICE, MAX_PRICE);
    };
    let min = least.checked_div(*counter_most).unwrap_or(MIN_PRICE);
    let max = most.checked_div(*counter_least).unwrap_or(MAX_PRICE);
    (min, max)
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, Utc};

    use super::*;
    use crate::market::number;

    fn quote(direction: &str, bid: &str, ask: &str) -> Quote {
        let side = |text: &str| number::decimal(text);
        Quote { bid: side(bid), ask: side(ask), ..Quote::last(direction.parse().unwrap(), Decimal::ONE) }
    }

    fn check(direction: &str, bid: &str, ask: &str, expected: Result<(), Refusal>) {
        let quote = Quote { last: None, ..quote(direction, bid, ask) };
        assert_eq!(check_form(&quote), expected, "{direction} {bid} {ask}");
    }

    #[test]
    fn each_bad_form_is_refused_by_its_own_reason() {
        check("BTC-USDT", "64000", "64000.01", Ok(()));
        check("FOO-BAR", "0.0000000001", "0.000000000101", Ok(()));
        check("FOO-BAR", "0.000000000099", "0.0000000001", Err(Refusal::Magnitude));
        check("FOO-BAR", "9999999999", "10000000000", Ok(()));
        check("FOO-BAR", "9999999999", "10000000001", Err(Refusal::Magnitude));
        check("BTC-USDT", "0", "0.00000000", Err(Refusal::NonPositive));
        check("BTC-USDT", "-1", "64000", Err(Refusal::NonPositive));
        check("BTC-USDT", "64000", "64000", Err(Refusal::Crossed));
        check("BTC-USDT", "64001", "64000", Err(Refusal::Crossed));
        check("BTC-USDT", "64000", "", Err(Refusal::OneSided));
        check("BTC-USDT", "", "64000", Err(Refusal::OneSided));
        check("BTC-USDT", "", "", Err(Refusal::Syntax));
        check("BTC-USDT", "850867136053.72", "850867136053.73", Err(Refusal::Magnitude));
        check("BTC-USDT", "64000000", "64000001", Err(Refusal::Magnitude));
        check("BTC-USDT", "64", "64.01", Err(Refusal::Magnitude));
        check("USDT-USD", "1000", "1000.1", Err(Refusal::Magnitude));
        check("BTC-RUB", "5110000", "5110001", Ok(()));
        check("BTC-RUB", "5110000000", "5110000001", Err(Refusal::Magnitude));
        check("BTC-RUB", "5110", "5111", Err(Refusal::Magnitude));
        check("USDT-RUB", "79973.9", "79974", Err(Refusal::Magnitude));
        check("USD-RUB", "79.8", "79.9", Ok(()));
        check("USD-RUB", "79834.8", "79834.9", Err(Refusal::Magnitude));
        check("USD-RUB", "0.0798", "0.0799", Err(Refusal::Magnitude));
        check("ETH-BTC", "0.04", "0.0401", Ok(()));
        check("SHIB-USDT", "0.00000842", "0.00000843", Ok(()));
        check("SHIB-USDT", "0.00000000001", "0.000000000011", Err(Refusal::Magnitude));
        check("BTC-VND", "1600000000", "1600000001", Ok(()));
        check("SOL-USDT", "100", "105.13", Err(Refusal::WideSpread));
        check("SOL-USDT", "97.5", "102.5", Ok(()));
        check("SOL-USDT", "97.49", "102.51", Err(Refusal::WideSpread));
    }

    #[test]
    fn a_source_without_a_book_needs_its_last_price_alone() {
        let direction = "BTC-USD".parse().unwrap();
        assert_eq!(check_form(&Quote::last(direction, Decimal::from(64_000))), Ok(()));
        assert_eq!(check_form(&Quote::last(direction, Decimal::ZERO)), Err(Refusal::NonPositive));
    }

    #[test]
    fn a_quote_from_the_future_or_from_long_ago_is_refused() {
        let now = Moment { monotonic: Duration::from_secs(100), wall: Utc::now() };
        for (ahead_ms, expected) in [
            (0, Ok(())),
            (2_000, Ok(())),
            (2_001, Err(Refusal::Future)),
            (3_600_000, Err(Refusal::Future)),
            (-5_000, Ok(())),
            (-5_001, Err(Refusal::Stale)),
            (-60_000, Err(Refusal::Stale)),
        ] {
            let quoted_at = Some(now.wall + TimeDelta::milliseconds(ahead_ms));
            let quote = Quote { quoted_at, ..quote("BTC-USDT", "64000", "64001") };
            assert_eq!(check_time(&quote, now, Duration::from_secs(5)), expected, "{ahead_ms}");
        }
    }

    #[test]
    fn an_older_number_or_time_is_out_of_order_and_a_repetition_is_not() {
        let at = |ms| Some(chrono::DateTime::UNIX_EPOCH + TimeDelta::milliseconds(ms));
        let previous =
            Quote { sequence: Some(10), quoted_at: at(1_000), ..quote("BTC-USDT", "64000", "64001") };
        for (sequence, quoted_at, bid, is_ok) in [
            (Some(11), at(1_000), "64000", true),
            (Some(10), at(1_000), "64000", true),
            (Some(10), at(1_000), "64000.5", false),
            (Some(9), at(2_000), "64000", false),
            (None, at(999), "64000", false),
            (None, at(1_000), "64000", true),
            (None, None, "64000", true),
        ] {
            let quote = Quote { sequence, quoted_at, ..quote("BTC-USDT", bid, "64001") };
            assert_eq!(check_order(&quote, &previous).is_ok(), is_ok, "{sequence:?} {quoted_at:?} {bid}");
        }
    }
    proptest::proptest! {
        #[test]
        fn what_passes_is_a_positive_price_between_its_sides(
            bid in -1_000_i64..=10_000_000_000, ask in -1_000_i64..=10_000_000_000, last in -1_i64..=1_000,
            scale in 0_u32..=12, sides in 0_u8..8, pair in 0_usize..4,
        ) {
            let direction = ["BTC-USD", "USDT-RUB", "SHIB-USDT", "BTC-VND"][pair].parse().unwrap();
            let side = |bit: u8, mantissa: i64| (sides & bit > 0).then(|| Decimal::new(mantissa, scale));
            let quote = Quote { bid: side(1, bid), ask: side(2, ask), last: side(4, last), ..Quote::empty(direction) };
            if check_form(&quote).is_ok() {
                let value = check_book(&quote).unwrap();
                proptest::prop_assert!(value > Decimal::ZERO);
                proptest::prop_assert_eq!(quote.value(), Some(value));
                let prices = [quote.bid, quote.ask, quote.last];
                proptest::prop_assert!(prices.into_iter().flatten().all(|price| price >= MIN_PRICE && price <= MAX_PRICE));
                if let (Some(bid), Some(ask)) = (quote.bid, quote.ask) {
                    proptest::prop_assert!(bid < value && value < ask);
                    proptest::prop_assert!(ask - bid <= value * MAX_SPREAD);
                }
            }
        }
    }
}
