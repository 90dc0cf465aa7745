//! What is priced, and what it is priced in: a currency's code.
//!
//! Separate because the code is the key of every table on the hot path, so it is a small `Copy` value, and
//! because the two networks of USDT are decided here and nowhere else.

use std::fmt;
use std::str::FromStr;

/// Longest code that is accepted. The longest in use here is `USDTTRC` (7); exchanges list meme coins of up to
/// 13 characters, and what is longer than this is never a currency that somebody asked for by hand.
const MAX_LEN: usize = 15;

/// A currency's code in capital letters and digits: `BTC`, `USDTTRC`, `RUB`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Asset {
    bytes: [u8; MAX_LEN],
    len: u8,
}

/// A text is no currency code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no currency code (allowed: 2 to 15 letters and digits, such as `BTC`)")]
pub struct AssetError(pub String);

impl Asset {
    /// The dollar of the United States.
    pub const USD: Self = Self::constant("USD");
    /// Tether, on whatever network: exchanges keep one ledger and one book for it.
    pub const USDT: Self = Self::constant("USDT");
    /// USD Coin.
    pub const USDC: Self = Self::constant("USDC");
    /// First Digital USD.
    pub const FDUSD: Self = Self::constant("FDUSD");
    /// The Russian rouble.
    pub const RUB: Self = Self::constant("RUB");
    /// The euro.
    pub const EUR: Self = Self::constant("EUR");
    /// The pound of the United Kingdom.
    pub const GBP: Self = Self::constant("GBP");
    /// The yuan of China.
    pub const CNY: Self = Self::constant("CNY");
    /// The tenge of Kazakhstan.
    pub const KZT: Self = Self::constant("KZT");
    /// Bitcoin.
    pub const BTC: Self = Self::constant("BTC");
    /// Ether.
    pub const ETH: Self = Self::constant("ETH");

    const USDT_ON_TRON: Self = Self::constant("USDTTRC");
    const USDT_ON_ETHEREUM: Self = Self::constant("USDTERC");

    const fn constant(code: &str) -> Self {
        let code = code.as_bytes();
        let mut bytes = [0; MAX_LEN];
        let mut at = 0;
        while at < code.len() {
            bytes[at] = code[at];
            at += 1;
        }
        Self { bytes, len: code.len() as u8 }
    }

    /// Reads a code; lower case is accepted. `None` if it is empty, too short, too long, or holds anything but
    /// letters and digits of ASCII.
    pub fn new(code: &str) -> Option<Self> {
        let is_code = (2..=MAX_LEN).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_code {
            return None;
        }
        let mut bytes = [0; MAX_LEN];
        for (to, from) in bytes.iter_mut().zip(code.bytes()) {
            *to = from.to_ascii_uppercase();
        }
        Some(Self { bytes, len: code.len() as u8 })
    }

    /// The code in capital letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }

    /// The asset that markets price. USDT on Tron (`USDTTRC`) and on Ethereum (`USDTERC`) have the one market
    /// price of `USDT`; every other asset is priced as itself.
    pub fn priced_as(self) -> Self {
        let is_usdt = self == Self::USDT_ON_TRON || self == Self::USDT_ON_ETHEREUM;
        if is_usdt { Self::USDT } else { self }
    }

    /// Whether it is money of a state (or the IMF's `XDR`), by ISO 4217.
    pub fn is_fiat(&self) -> bool {
        FIAT.binary_search(&self.as_str()).is_ok()
    }
}

impl FromStr for Asset {
    type Err = AssetError;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        Self::new(code).ok_or_else(|| AssetError(code.chars().take(40).collect()))
    }
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Active codes of ISO 4217, those that left it in the last years and that sources still print (`BGN`, `HRK`, `SLL`,
/// `ZWL`), and `XDR`. Metals, units of account of one country (`CLF`) and codes outside of the norm (`CNH`, `GGP`) are no
/// money of a state. Sorted, for the binary search.
#[rustfmt::skip]
const FIAT: &[&str] = &[
    "AED", "AFN", "ALL", "AMD", "ANG", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BGN", "BHD", "BIF",
    "BMD", "BND", "BOB", "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF", "CHF", "CLP", "CNY", "COP", "CRC",
    "CUP", "CVE", "CZK", "DJF", "DKK", "DOP", "DZD", "EGP", "ERN", "ETB", "EUR", "FJD", "FKP", "GBP", "GEL", "GHS",
    "GIP", "GMD", "GNF", "GTQ", "GYD", "HKD", "HNL", "HRK", "HTG", "HUF", "IDR", "ILS", "INR", "IQD", "IRR", "ISK",
    "JMD", "JOD", "JPY", "KES", "KGS", "KHR", "KMF", "KPW", "KRW", "KWD", "KYD", "KZT", "LAK", "LBP", "LKR", "LRD",
    "LSL", "LYD", "MAD", "MDL", "MGA", "MKD", "MMK", "MNT", "MOP", "MRU", "MUR", "MVR", "MWK", "MXN", "MYR", "MZN",
    "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "OMR", "PAB", "PEN", "PGK", "PHP", "PKR", "PLN", "PYG", "QAR", "RON",
    "RSD", "RUB", "RWF", "SAR", "SBD", "SCR", "SDG", "SEK", "SGD", "SHP", "SLE", "SLL", "SOS", "SRD", "SSP", "STN",
    "SVC", "SYP", "SZL", "THB", "TJS", "TMT", "TND", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH", "UGX", "USD", "UYU",
    "UZS", "VED", "VEF", "VES", "VND", "VUV", "WST", "XAF", "XCD", "XCG", "XDR", "XOF", "XPF", "YER", "ZAR", "ZMW",
    "ZWG", "ZWL",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_in_any_case_and_everything_else_is_refused() {
        for (text, expected) in [
            ("btc", Some("BTC")),
            ("UsdtTrc", Some("USDTTRC")),
            ("1INCH", Some("1INCH")),
            ("B", None),
            ("", None),
            ("BTC ", None),
            ("BT-C", None),
            ("БТЦ", None),
            ("ABCDEFGHIJKLMNO", Some("ABCDEFGHIJKLMNO")),
            ("ABCDEFGHIJKLMNOP", None),
        ] {
            assert_eq!(Asset::new(text).map(|asset| asset.to_string()).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn both_networks_of_usdt_are_priced_as_usdt_and_trx_is_not() {
        for (code, priced_as) in [("USDTTRC", "USDT"), ("USDTERC", "USDT"), ("TRX", "TRX"), ("USDT", "USDT")]
        {
            assert_eq!(Asset::new(code).unwrap().priced_as().as_str(), priced_as);
        }
    }

    #[test]
    fn the_table_of_fiat_codes_is_sorted_so_that_each_is_found() {
        assert!(FIAT.is_sorted());
        assert!(FIAT.iter().all(|code| Asset::new(code).unwrap().is_fiat()));
        assert!(!Asset::USDT.is_fiat());
    }
}
