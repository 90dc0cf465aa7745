//! The arithmetic of crosses: checked decimals, rounded once, at the end.

use rust_decimal::{Decimal, RoundingStrategy};

use super::shelf::Kept;

/// Significant digits of a course that had to be rounded. Half-even, so that many conversions do not drift.
const SIGNIFICANT_DIGITS: u32 = 10;

/// Smallest product of legs that still holds [`SIGNIFICANT_DIGITS`] within a decimal's 28 places.
const MIN_PRODUCT: Decimal = Decimal::from_parts(1, 0, 0, false, 18);

/// The value of a quote walked from counter to base: its inverse, bid and ask swapped. `None` where it overflows.
pub(super) fn inverse(kept: &Kept) -> Option<Decimal> {
    let inverse = |price| Decimal::ONE.checked_div(price);
    match (kept.quote.bid, kept.quote.ask) {
        (Some(bid), Some(ask)) => inverse(ask)?.checked_add(inverse(bid)?)?.checked_mul(Decimal::new(5, 1)),
        _ => inverse(kept.value),
    }
}

/// The product of the values of up to three legs, rounded. `None` where it overflows, or is too small to be exact.
pub(super) fn product(values: &mut [Decimal]) -> Option<Decimal> {
    let product = exact_product(values).or_else(|| long_product(values))?;
    let may_be_too_small = product.scale() > MIN_PRODUCT.scale();
    if may_be_too_small && product < MIN_PRODUCT { None } else { round(product) }
}

/// The product, where no step has to be rounded: nearly always, and several times faster.
fn exact_product(values: &[Decimal]) -> Option<Decimal> {
    let (mut mantissa, mut scale) = (1_i128, 0);
    for value in values {
        mantissa = mantissa.checked_mul(value.mantissa())?;
        scale += value.scale();
    }
    Decimal::try_from_i128_with_scale(mantissa, scale).ok()
}

/// The product with as many digits as a decimal holds.
fn long_product(values: &mut [Decimal]) -> Option<Decimal> {
    // The largest with the smallest first: so no step leaves the range of a decimal unless the result does.
    values.sort_unstable();
    let mut product = Decimal::ONE;
    let (mut low, mut high) = (0, values.len());
    while low < high {
        high -= 1;
        product = product.checked_mul(values[high])?;
        if low < high {
            product = product.checked_mul(values[low])?;
            low += 1;
        }
    }
    Some(product)
}

/// A value as it is served after an inversion or a cross.
fn round(value: Decimal) -> Option<Decimal> {
    let mantissa = value.mantissa().unsigned_abs();
    let num_digits = mantissa.checked_ilog10().map_or(0, |digits| digits + 1);
    let surplus = num_digits.saturating_sub(SIGNIFICANT_DIGITS);
    match value.scale().checked_sub(surplus) {
        _ if surplus == 0 => Some(value),
        Some(places) => {
            // A decimal has at most 29 digits, of which ten stay.
            let unit = u128::from(10_u64.checked_pow(surplus)?);
            let whole = mantissa / unit;
            let twice_rest = (mantissa - whole * unit) * 2;
            let is_up = twice_rest > unit || (twice_rest == unit && whole % 2 == 1);
            let rounded = i128::try_from(if is_up { whole + 1 } else { whole }).ok()?;
            let mut rounded = Decimal::try_from_i128_with_scale(rounded, places).ok()?;
            rounded.set_sign_negative(value.is_sign_negative());
            Some(rounded)
        }
        // Digits before the point have to go, which is rare and takes the library longer.
        None => value.round_sf_with_strategy(SIGNIFICANT_DIGITS, RoundingStrategy::MidpointNearestEven),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::selection::Since;
    use super::*;
    use crate::market::number::{decimal, plain};
    use crate::market::{Moment, Quote};

    #[test]
    fn products_are_rounded_once_to_ten_digits() {
        for (values, expected) in [
            (&["64000.005", "0.99985"][..], Some("63990.405")),
            (&["64000.005", "0.9998512345678", "75.5273"][..], Some("4833028.483")),
            (&["0.000000001", "10000000000", "3"][..], Some("30")),
            (&["10000000000", "10000000000", "0.0000000001"][..], Some("10000000000")),
            (&["10000000000", "10000000000", "10000000000"][..], None),
            (&["0.0000000001", "0.0000000001"][..], None),
            (&["1.00000000005"][..], Some("1")),
            (&["1.00000000015"][..], Some("1")),
            (&["1.000000001500001"][..], Some("1.000000002")),
            (&["1.0000000005"][..], Some("1")),
            (&["1.0000000015"][..], Some("1.000000002")),
            (&["0.0000000010", "0.000000001"][..], Some("0.000000000000000001")),
        ] {
            let mut values: Vec<_> = values.iter().map(|text| decimal(text).unwrap()).collect();
            assert_eq!(product(&mut values).map(plain).as_deref(), expected, "{values:?}");
        }
    }

    #[test]
    fn the_inverse_of_a_book_swaps_bid_and_ask() {
        let now = Moment { monotonic: Duration::ZERO, wall: chrono::Utc::now() };
        let kept = |quote: Quote| Kept {
            value: quote.value().unwrap(),
            quote,
            received_at: now,
            fresh_since: Since::Start,
        };
        let direction = "BTC-USD".parse().unwrap();
        let of = |bid: i64, ask: i64| inverse(&kept(Quote::book(direction, bid.into(), ask.into()))).unwrap();
        assert_eq!(plain(of(100, 125)), "0.009");
        let last = inverse(&kept(Quote::last(direction, 80.into()))).unwrap();
        assert_eq!(plain(last), "0.0125");
    }

    proptest::proptest! {
        #[test]
        fn rounding_agrees_with_the_library(mantissa in 1_i128..=(1_i128 << 95), scale in 0_u32..=28) {
            let value = Decimal::from_i128_with_scale(mantissa, scale);
            let expected = value.round_sf_with_strategy(10, RoundingStrategy::MidpointNearestEven);
            proptest::prop_assert_eq!(round(value), expected);
        }

        #[test]
        fn the_short_way_to_a_product_agrees_with_the_long_one(
            legs in proptest::collection::vec((1_i64..=99_999_999_999, 0_u32..=12), 1..=3),
        ) {
            let mut values: Vec<_> = legs.iter().map(|(mantissa, scale)| Decimal::new(*mantissa, *scale)).collect();
            if let Some(product) = exact_product(&values) {
                proptest::prop_assert_eq!(long_product(&mut values), Some(product));
            }
        }

        #[test]
        fn the_order_of_the_legs_changes_nothing(
            legs in proptest::collection::vec((1_i64..=99_999_999_999, 0_u32..=10), 3..=3),
        ) {
            let of = |order: [usize; 3]| {
                let mut values = order.map(|at| Decimal::new(legs[at].0, legs[at].1));
                product(&mut values)
            };
            let first = of([0, 1, 2]);
            proptest::prop_assert_eq!(of([2, 1, 0]), first);
            proptest::prop_assert_eq!(of([1, 2, 0]), first);
        }

        #[test]
        fn a_product_of_prices_is_off_by_less_than_a_unit_of_its_tenth_digit_and_never_zero(
            legs in proptest::collection::vec((1_u64..=9_999_999, 0_u32..=7), 1..=3),
        ) {
            let mut values: Vec<_> =
                legs.iter().map(|(mantissa, scale)| Decimal::from(*mantissa) / Decimal::from(10_u64.pow(*scale))).collect();
            let exact: Decimal = values.iter().product();
            match product(&mut values) {
                Some(course) => {
                    proptest::prop_assert!(course > Decimal::ZERO);
                    proptest::prop_assert!((course - exact).abs() <= exact * Decimal::new(5, 10), "{} {}", course, exact);
                    proptest::prop_assert_eq!(round(course), Some(course), "rounding twice is rounding once");
                }
                None => proptest::prop_assert!(exact < MIN_PRODUCT),
            }
        }

        #[test]
        fn the_inverse_of_a_book_lies_between_its_sides(bid in 1_u64..=9_999_999_999, spread in 1_u64..=99_999_999) {
            let (bid, ask) = (Decimal::from(bid), Decimal::from(bid + spread));
            let quote = Quote::book("BTC-USD".parse().unwrap(), bid, ask);
            let now = Moment { monotonic: Duration::ZERO, wall: chrono::DateTime::UNIX_EPOCH };
            let kept = Kept { value: quote.value().unwrap(), quote, received_at: now, fresh_since: Since::Start };
            let inverse = inverse(&kept).unwrap();
            proptest::prop_assert!(Decimal::ONE / ask <= inverse && inverse <= Decimal::ONE / bid);
        }

        #[test]
        fn a_course_and_its_reverse_multiply_to_one(mantissa in 1_i64..=9_999_999_999, scale in 0_u32..=10) {
            let value = Decimal::new(mantissa, scale);
            let reverse = round(Decimal::ONE.checked_div(value).unwrap()).unwrap();
            let error = (value * reverse - Decimal::ONE).abs();
            proptest::prop_assert!(error <= Decimal::new(1, 9), "{} {}", value, reverse);
        }
    }
}
