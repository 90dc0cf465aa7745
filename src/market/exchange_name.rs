//! The name of a source of quotes, the same in settings, answers and logs.

use std::fmt;

/// The name of a source of quotes, fiat sources too: `binance`, `cbr`.
///
/// Names are constants of the exchange table, so a name costs nothing to copy; a text becomes a name only by
/// being found in that table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeName(&'static str);

impl ExchangeName {
    /// A name for a row of the exchange table.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// The name as it is written everywhere.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for ExchangeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

impl fmt::Debug for ExchangeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
