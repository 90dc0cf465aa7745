//! Between an exchange's own spelling of a symbol and our directions.
//!
//! Separate because every exchange differs from us in the same few ways, and each of them is data: what stands
//! between base and counter, which letters, and which assets go by another name.

use crate::market::{Asset, Direction};

/// How an exchange spells its symbols.
#[derive(Debug)]
pub(super) struct Spelling {
    /// What stands between base and counter; empty where nothing does (`BTCUSDT`).
    pub(super) separator: &'static str,
    /// Whether it writes symbols in small letters (`btcusdt`).
    pub(super) is_lower_case: bool,
    /// Codes of the exchange that are not ours, each with ours: (`XBT`, `BTC`). They are preferred to our own code;
    /// among several for one asset, the first is.
    pub(super) aliases: &'static [(&'static str, &'static str)],
    /// Where there is no separator: the codes that a symbol may end with.
    pub(super) counters: &'static [&'static str],
    /// Where there is no separator: further codes that a symbol may end with, if a well-known asset stands before
    /// them. For short codes that are also the end of longer ones (`USD` and `TUSD`).
    pub(super) rare_counters: &'static [&'static str],
}

impl Spelling {
    /// The symbol of `direction`, by the preferred code of each side.
    pub(super) fn symbol(&self, direction: Direction) -> String {
        let symbol =
            [self.code(direction.base), self.separator.to_owned(), self.code(direction.counter)].concat();
        if self.is_lower_case { symbol.to_ascii_lowercase() } else { symbol }
    }

    /// The direction of a symbol; `None` if it is not clear what stands before and behind. Only for when there is
    /// no list of the exchange's instruments to ask.
    pub(super) fn direction(&self, symbol: &str) -> Option<Direction> {
        let is_foreign =
            |b: u8| if self.is_lower_case { b.is_ascii_uppercase() } else { b.is_ascii_lowercase() };
        if symbol.bytes().any(is_foreign) {
            return None;
        }
        let symbol = symbol.to_ascii_uppercase();
        match self.separator {
            "" => self.split(&symbol),
            separator => {
                let (base, counter) = symbol.split_once(separator)?;
                self.pair(base, counter)
            }
        }
    }

    /// Our asset for a code of the exchange.
    pub(super) fn asset(&self, code: &str) -> Option<Asset> {
        let alias = self.aliases.iter().find(|(theirs, _)| theirs.eq_ignore_ascii_case(code));
        let asset = Asset::new(alias.map_or(code, |(_, ours)| ours))?;
        // The codes of networks are ours alone; a coin that an exchange lists under one of them is another thing.
        (asset.priced_as() == asset).then_some(asset)
    }

    /// Base and counter by the exchange's codes; `None` if they are no codes, or the same asset.
    pub(super) fn pair(&self, base: &str, counter: &str) -> Option<Direction> {
        let direction = Direction::new(self.asset(base)?, self.asset(counter)?);
        (direction.base != direction.counter).then_some(direction)
    }

    /// How much a code is preferred among those of its asset: 0 is best.
    pub(super) fn preference(&self, code: &str) -> usize {
        let at = self.aliases.iter().position(|(theirs, _)| theirs.eq_ignore_ascii_case(code));
        at.unwrap_or(self.aliases.len())
    }

    /// The preferred code of an asset.
    fn code(&self, asset: Asset) -> String {
        let alias = self.aliases.iter().find(|(_, ours)| *ours == asset.as_str());
        alias.map_or_else(|| asset.to_string(), |(theirs, _)| (*theirs).to_owned())
    }

    /// Splits a symbol without separator at a counter that it ends with. Where it ends with several (`USDTUSD` with
    /// `USD` and `TUSD`), a well-known base decides; among those the longest counter, and without any nothing does.
    fn split(&self, symbol: &str) -> Option<Direction> {
        let usual = self.counters.iter().map(|counter| (*counter, false));
        let rare = self.rare_counters.iter().map(|counter| (*counter, true));
        let mut splits = Vec::new();
        for (counter, is_rare) in usual.chain(rare) {
            let Some(direction) = symbol.strip_suffix(counter).and_then(|base| self.pair(base, counter))
            else {
                continue;
            };
            let is_known = is_well_known(direction.base);
            if is_known || !is_rare {
                splits.push((is_known, counter.len(), direction));
            }
        }
        let best = splits.iter().max_by_key(|(is_known, len, _)| (*is_known, *len))?;
        (best.0 || splits.len() == 1).then_some(best.2)
    }
}

/// Whether an asset is among those that most exchanges trade.
fn is_well_known(asset: Asset) -> bool {
    WELL_KNOWN.binary_search(&asset.as_str()).is_ok()
}

/// Assets that most exchanges trade. Sorted, for the binary search.
#[rustfmt::skip]
const WELL_KNOWN: &[&str] = &[
    "1INCH", "AAVE", "ADA", "ALGO", "APE", "APT", "AR", "ARB", "ATOM", "AVAX", "AXS", "BCH", "BNB", "BONK", "BTC",
    "CAKE", "CHZ", "COMP", "CRV", "DAI", "DASH", "DOGE", "DOT", "EGLD", "ENA", "ENS", "EOS", "ETC", "ETH", "FET",
    "FIL", "FLOKI", "FLOW", "FTM", "GALA", "GRT", "HBAR", "ICP", "IMX", "INJ", "JUP", "KAS", "KAVA", "LDO", "LINK",
    "LTC", "LUNA", "MANA", "MATIC", "MKR", "NEAR", "NEO", "NOT", "ONDO", "OP", "PAXG", "PEPE", "POL", "PYTH",
    "QTUM", "RENDER", "RUNE", "SAND", "SEI", "SHIB", "SNX", "SOL", "STX", "SUI", "SUSHI", "TAO", "TIA", "TON",
    "TRUMP", "TRX", "TWT", "UNI", "USDC", "USDT", "VET", "WBTC", "WIF", "WLD", "XLM", "XMR", "XRP", "XTZ", "YFI",
    "ZEC", "ZIL",
];

#[cfg(test)]
mod tests {
    use super::*;

    const JOINED: Spelling = Spelling {
        separator: "",
        is_lower_case: false,
        aliases: &[("GRAM", "TON")],
        counters: &["USDT", "TUSD", "FDUSD", "BUSD", "BTC", "EUR", "AEUR", "UAH"],
        rare_counters: &["USD"],
    };

    const HYPHENATED: Spelling = Spelling {
        separator: "-",
        is_lower_case: false,
        aliases: &[("XBT", "BTC"), ("UST", "USDT")],
        counters: &[],
        rare_counters: &[],
    };

    #[test]
    fn a_symbol_without_separator_is_split_where_it_is_clear_and_only_there() {
        for (symbol, expected) in [
            ("BTCUSDT", Some("BTC-USDT")),
            ("NKNUSDT", Some("NKN-USDT")),
            ("1000SATSUSDT", Some("1000SATS-USDT")),
            ("USDTUSD", Some("USDT-USD")),
            ("USDTUAH", Some("USDT-UAH")),
            ("BNBUSD", Some("BNB-USD")),
            ("BTCBUSD", Some("BTC-BUSD")),
            ("BTCFDUSD", Some("BTC-FDUSD")),
            ("XYZFDUSD", Some("XYZ-FDUSD")),
            ("ADAEUR", Some("ADA-EUR")),
            ("BTCAEUR", Some("BTC-AEUR")),
            ("XYZAEUR", None),
            ("XYZUSD", None),
            ("GRAMUSDT", Some("TON-USDT")),
            ("TONUSDT", Some("TON-USDT")),
            ("TUSDT", None),
            ("USDT", None),
            ("USDTUSDT", None),
            ("USDTTRCUSDT", None),
            ("btcusdt", None),
            ("币安USDT", None),
            ("🚀USDT", None),
            ("BTC🚀", None),
            ("", None),
        ] {
            assert_eq!(JOINED.direction(symbol).map(|d| d.to_string()).as_deref(), expected, "{symbol}");
        }
    }

    #[test]
    fn aliases_hold_both_ways() {
        let direction: Direction = "BTC-USDT".parse().unwrap();
        assert_eq!(HYPHENATED.symbol(direction), "XBT-UST");
        assert_eq!(HYPHENATED.direction("XBT-UST"), Some(direction));
        assert_eq!(HYPHENATED.direction("BTC-USDT"), Some(direction));
        assert_eq!(HYPHENATED.direction("XBT-BTC"), None);
        assert!(HYPHENATED.preference("XBT") < HYPHENATED.preference("BTC"));
        assert_eq!(JOINED.symbol("TON-USDT".parse().unwrap()), "GRAMUSDT");
    }

    #[test]
    fn small_letters_are_read_where_the_exchange_writes_them_and_only_there() {
        let small = Spelling { is_lower_case: true, ..JOINED };
        let direction: Direction = "BTC-USDT".parse().unwrap();
        assert_eq!(small.symbol(direction), "btcusdt");
        assert_eq!(small.direction("btcusdt"), Some(direction));
        assert_eq!(small.direction("BTCUSDT"), None);
    }

    #[test]
    fn the_table_of_well_known_assets_is_sorted_so_that_each_is_found() {
        assert!(WELL_KNOWN.is_sorted());
        assert!(WELL_KNOWN.iter().all(|code| is_well_known(Asset::new(code).unwrap())));
    }
}
