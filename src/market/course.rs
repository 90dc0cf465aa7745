//! The value that is served for a direction.

use rust_decimal::Decimal;

use super::Direction;

/// The value that is served for a direction: so much of the counter for one of the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// What is priced, in what.
    pub direction: Direction,
    /// Units of the counter for one of the base.
    pub value: Decimal,
}
