//! Who takes part: eleven exchanges of every kind, what they quote, and what it is worth.

use std::sync::LazyLock;
use std::time::Duration;

use rust_decimal::Decimal;

use super::super::*;
use crate::market::{Asset, Direction, ExchangeName};

/// How an exchange quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Bid and ask.
    Book,
    /// One price.
    Last,
    /// One rate for each date; days begin so many hours before they begin in UTC.
    Fixing { ahead: i64 },
}

/// One exchange.
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) style: Style,
    pub(super) stale_after: Duration,
    official_of: Option<Asset>,
    pub(super) quotes: &'static [&'static str],
}

const fn market(name: &'static str, quotes: &'static [&'static str]) -> Member {
    Member { name, style: Style::Book, stale_after: Duration::from_secs(5), official_of: None, quotes }
}

const fn bank(
    name: &'static str,
    ahead: i64,
    official_of: Option<Asset>,
    quotes: &'static [&'static str],
) -> Member {
    let stale_after = Duration::from_secs(600);
    Member { name, style: Style::Fixing { ahead }, stale_after, official_of, quotes }
}

/// The best one first.
pub(super) const CAST: [Member; 11] = [
    market("alpha", &["BTC-USDT", "ETH-USDT"]),
    market("beta", &["BTC-USD", "ETH-USD", "USDT-USD"]),
    market("gamma", &["BTC-USDT", "BTC-USD", "ETH-BTC"]),
    market("delta", &["BTC-USDT", "ETH-USDT", "USDT-RUB"]),
    market("epsilon", &["BTC-USD", "ETH-USD", "USDT-USD"]),
    market("zeta", &["BTC-RUB", "USDT-RUB"]),
    Member { stale_after: Duration::from_secs(3), ..market("eta", &["USD-BTC", "ETH-USD"]) },
    Member {
        name: "theta",
        style: Style::Last,
        stale_after: Duration::from_secs(60),
        official_of: None,
        quotes: &["BTC-USD", "ETH-USD", "USDT-USD", "BTC-RUB", "USDT-RUB"],
    },
    bank("iota", 3, Some(Asset::RUB), &["USD-RUB", "EUR-RUB"]),
    bank("kappa", 1, Some(Asset::EUR), &["EUR-USD", "EUR-RUB"]),
    bank("lambda", 0, None, &["USD-RUB", "USD-EUR"]),
];

/// What is asked for when nothing is named.
const CONFIGURED: [&str; 5] = ["BTC-USD", "ETH-USD", "BTC-RUB", "USDTTRC-RUB", "EUR-RUB"];

/// What one of each is worth in dollars.
const WORTH: [(&str, i64, u32); 6] = [
    ("BTC", 64_000, 0),
    ("ETH", 3_000, 0),
    ("USDT", 9_995, 4),
    ("USD", 1, 0),
    ("EUR", 116, 2),
    ("RUB", 125, 4),
];

pub(super) fn direction(text: &str) -> Direction {
    text.parse().unwrap()
}

pub(super) fn name(at: usize) -> ExchangeName {
    ExchangeName::new(CAST[at].name)
}

/// What a direction is worth, with five digits.
pub(super) fn worth(direction: Direction) -> Decimal {
    static KNOWN: LazyLock<Vec<(Direction, Decimal)>> = LazyLock::new(|| {
        let codes =
            WORTH.map(|(code, mantissa, scale)| (Asset::new(code).unwrap(), Decimal::new(mantissa, scale)));
        let of = |(base, worth): (Asset, Decimal)| {
            let others = codes.into_iter().filter(move |(counter, _)| *counter != base);
            others.map(move |(counter, of_counter)| {
                (Direction::new(base, counter), (worth / of_counter).round_sf(5).unwrap())
            })
        };
        codes.into_iter().flat_map(of).collect()
    });
    KNOWN.iter().find(|(it, _)| *it == direction).unwrap().1
}

/// Everybody may answer but the last one, and `beta` and `theta` tell what USDT is worth.
pub(super) fn settings() -> BookSettings {
    let listed = |member: &Member| ListedExchange {
        name: ExchangeName::new(member.name),
        enabled: true,
        stale_after: member.stale_after,
        official_of: member.official_of,
    };
    let names = |range: std::ops::Range<usize>| range.map(name).collect::<Vec<_>>();
    BookSettings {
        directions: CONFIGURED.map(direction).to_vec(),
        priority: names(0..9),
        fail_back_after: Duration::from_secs(15),
        hold_reference: Duration::from_secs(300),
        usdt_usd: UsdtUsdLeg::Reference,
        reference_priority: vec![ExchangeName::new("beta"), ExchangeName::new("theta")],
        fiat_priority: names(8..11),
        max_fiat_difference: Decimal::new(1, 2),
        exchanges: CAST.iter().map(listed).collect(),
    }
}
