//! Numbers between text and decimal, without floating point on the way.
//!
//! Separate because every source and every answer needs it, and because `rust_decimal` alone would round: digits
//! beyond its 28 vanish silently in `from_str`, and a JSON number read through serde passes through `f64`.

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Reads a number as exchanges write it: `64010.10`, `-1`, `1e-7`, `5.39E-05`.
///
/// `None` for everything else (white space, `+`, grouping, other alphabets, `NaN`), and for what a decimal cannot
/// hold exactly (more than 28 digits after the point, a coefficient of more than 96 bits). Nothing is ever
/// rounded, so nothing becomes zero that was not.
pub fn decimal(text: &str) -> Option<Decimal> {
    let (coefficient, exponent) = match text.split_once(['e', 'E']) {
        Some((coefficient, exponent)) => (coefficient, signed_exponent(exponent)?),
        None => (text, 0),
    };
    let digits = coefficient.strip_prefix('-').unwrap_or(coefficient);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    // Trailing zeros of the fraction and leading zeros carry no value, and would count against the limits.
    let plain = match coefficient.contains('.') {
        true => coefficient.trim_end_matches('0').trim_end_matches('.'),
        false => coefficient,
    };
    let plain = Decimal::from_str_exact(if plain == "-" || plain.is_empty() { "0" } else { plain }).ok()?;
    scaled(plain, exponent)
}

/// An exponent of at most three digits: what is beyond cannot be a price.
fn signed_exponent(text: &str) -> Option<i32> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_small = (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_small { None } else { text.parse().ok() }
}

/// `value` times ten to the `exponent`, or `None` where that cannot be held exactly.
fn scaled(value: Decimal, exponent: i32) -> Option<Decimal> {
    if value.is_zero() {
        return Some(Decimal::ZERO);
    }
    let value = value.normalize();
    let scale = i32::try_from(value.scale()).ok()?.checked_sub(exponent)?;
    if scale >= 0 {
        return Decimal::try_from_i128_with_scale(value.mantissa(), u32::try_from(scale).ok()?).ok();
    }
    let factor = 10_i128.checked_pow(scale.unsigned_abs())?;
    Decimal::try_from_i128_with_scale(value.mantissa().checked_mul(factor)?, 0).ok()
}

/// The shortest plain form of a decimal, valid as a JSON number: no exponent, no trailing zeros.
pub fn plain(value: Decimal) -> String {
    value.normalize().to_string()
}

/// A price as it stands in JSON: a number, or a string that holds one. Keeps the text.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
pub struct JsonNumber<'a>(#[serde(borrow)] &'a RawValue);

impl JsonNumber<'_> {
    /// The exact value; `None` if it is neither a number nor a string that is one.
    pub fn decimal(&self) -> Option<Decimal> {
        let text = self.0.get();
        match text.strip_prefix('"') {
            Some(quoted) => decimal(quoted.strip_suffix('"')?),
            None => decimal(text),
        }
    }

    /// Whether JSON `null` stands there.
    pub fn is_null(&self) -> bool {
        self.0.get() == "null"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_numbers_are_exact_and_everything_else_is_refused() {
        for (text, expected) in [
            ("64010.10000000", Some("64010.1")),
            ("0.00000842", Some("0.00000842")),
            ("1234567.123456789012", Some("1234567.123456789012")),
            ("1e-7", Some("0.0000001")),
            ("1E5", Some("100000")),
            ("5.39256E-05", Some("0.0000539256")),
            ("1.5e+2", Some("150")),
            ("-1.5", Some("-1.5")),
            ("-0", Some("0")),
            ("0.000", Some("0")),
            ("0e999", Some("0")),
            ("100", Some("100")),
            ("0.0000000000000000000000000001", Some("0.0000000000000000000000000001")),
            ("0.00000000000000000000000000001", None),
            ("79228162514264337593543950335", Some("79228162514264337593543950335")),
            ("79228162514264337593543950336", None),
            ("123456789012345678901234567890", None),
            ("1.0000000000000000000000000000000000", Some("1")),
            ("1e400", None),
            ("1e-40", None),
            ("1,234.5", None),
            ("１２３", None),
            (" 1.5", None),
            ("1.5 ", None),
            ("+1.5", None),
            ("1_000", None),
            ("", None),
            (".", None),
            (".5", None),
            ("5.", None),
            ("-", None),
            ("1e", None),
            ("1e1.5", None),
            ("1e5e5", None),
            ("NaN", None),
            ("inf", None),
            ("0x10", None),
            ("$46707.03", None),
        ] {
            assert_eq!(decimal(text).map(plain).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn json_numbers_and_strings_are_read_by_their_text() {
        for (json, expected) in [
            ("67890.12345678901234567890", Some("67890.1234567890123456789")),
            ("\"67890.123\"", Some("67890.123")),
            ("1e-7", Some("0.0000001")),
            ("null", None),
            ("true", None),
            ("\"\"", None),
            ("\"\\u0031\"", None),
            ("{}", None),
        ] {
            let number: JsonNumber = serde_json::from_str(json).unwrap();
            assert_eq!(number.decimal().map(plain).as_deref(), expected, "{json}");
        }
    }

    /// The digits of a number without its point and sign, zeros at both ends left out.
    fn significant(text: &str) -> String {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        digits.trim_matches('0').to_owned()
    }

    proptest::proptest! {
        #[test]
        fn every_digit_survives_the_way_there_and_back(mantissa in 0_i128..=(1_i128 << 95), scale in 0_u32..=28) {
            let value = Decimal::from_i128_with_scale(mantissa, scale);
            proptest::prop_assert_eq!(decimal(&value.to_string()), Some(value));
            proptest::prop_assert_eq!(decimal(&plain(value)), Some(value));
        }

        #[test]
        fn from_a_text_to_json_and_back_every_digit_is_kept(
            whole in "0|[1-9][0-9]{0,13}", fraction in "[0-9]{1,14}", is_negative: bool,
        ) {
            let text = format!("{}{whole}.{fraction}", if is_negative { "-" } else { "" });
            let value = decimal(&text).unwrap();
            let written = plain(value);
            proptest::prop_assert_eq!(significant(&written), significant(&text));
            let is_zero = significant(&text).is_empty();
            proptest::prop_assert_eq!((value.is_zero(), value.is_sign_negative()), (is_zero, is_negative && !is_zero));
            let json: JsonNumber<'_> = serde_json::from_str(&written).unwrap();
            proptest::prop_assert_eq!(json.decimal(), Some(value), "{} is not the JSON number", written);
            let quoted = format!("\"{text}\"");
            let json: JsonNumber<'_> = serde_json::from_str(&quoted).unwrap();
            proptest::prop_assert_eq!(json.decimal(), Some(value));
        }

        #[test]
        fn an_exponent_moves_the_point_and_nothing_else(
            mantissa in 1_i64..=999_999_999_999, scale in 0_u32..=12, exponent in -14_i32..=14, is_upper: bool,
        ) {
            let coefficient = Decimal::new(mantissa, scale);
            let e = if is_upper { 'E' } else { 'e' };
            let moved = decimal(&format!("{coefficient}{e}{exponent}")).unwrap();
            let factor = Decimal::from(10_i64.pow(exponent.unsigned_abs()));
            let expected = if exponent < 0 { coefficient / factor } else { coefficient * factor };
            proptest::prop_assert_eq!(moved, expected);
        }

        #[test]
        fn whatever_the_text_is_it_is_read_exactly_or_not_at_all(text in "-?[0-9]{0,32}\\.?[0-9]{0,32}([eE][-+]?[0-9]{0,4})?") {
            let Some(value) = decimal(&text) else { return Ok(()) };
            let coefficient = text.split(['e', 'E']).next().unwrap_or_default();
            proptest::prop_assert_eq!(significant(&plain(value)), significant(coefficient), "{}", text);
            proptest::prop_assert_eq!(value.is_zero(), significant(coefficient).is_empty(), "{}", text);
        }

        #[test]
        fn no_text_is_too_odd_to_be_refused(text in ".{0,40}") {
            let is_number = |byte: u8| byte.is_ascii_digit() || b".-+eE".contains(&byte);
            proptest::prop_assert!(decimal(&text).is_none() || text.bytes().all(is_number), "{}", text);
        }
    }
}
