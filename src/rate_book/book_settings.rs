//! What the book needs to know of the settings.
//!
//! Separate so that the book depends on these few, and not on the settings of everything else.

use std::time::Duration;

use rust_decimal::Decimal;

use crate::market::{Asset, Direction, ExchangeName};

/// Who may answer with what, and for how long.
#[derive(Debug, Clone)]
pub struct BookSettings {
    /// What is answered to a question without directions.
    pub directions: Vec<Direction>,
    /// Who may answer, best first.
    pub priority: Vec<ExchangeName>,
    /// How long an exchange has to be fresh without a gap before it gets its place back.
    pub fail_back_after: Duration,
    /// How long the last USDT-USD is held after its last source went stale.
    pub hold_reference: Duration,
    /// Where USDT-USD comes from.
    pub usdt_usd: UsdtUsdLeg,
    /// Sources of USDT-USD, best first.
    pub reference_priority: Vec<ExchangeName>,
    /// Sources of fiat legs, best first.
    pub fiat_priority: Vec<ExchangeName>,
    /// How far two sources of a fiat rate may be apart, as a share of the one that counts.
    pub max_fiat_difference: Decimal,
    /// Every exchange.
    pub exchanges: Vec<ListedExchange>,
}

/// Where the leg USDT-USD comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsdtUsdLeg {
    /// The first fresh source of `reference_priority`.
    Reference,
    /// One to one, because the user configured it.
    Peg,
}

/// What the book needs to know of one exchange.
#[derive(Debug, Clone)]
pub struct ListedExchange {
    /// Its name.
    pub name: ExchangeName,
    /// Whether it is listened to.
    pub enabled: bool,
    /// Age at which its quotes are stale.
    pub stale_after: Duration,
    /// The currency whose rates it sets; `None` if it is no central bank.
    pub official_of: Option<Asset>,
}
