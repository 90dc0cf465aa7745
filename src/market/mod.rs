//! The words of the field: assets, directions, quotes, courses. Pure: no actor, no clock, no IO.

mod asset;
mod course;
mod direction;
mod exchange_name;
mod moment;
pub mod number;
mod quote;

pub use asset::{Asset, AssetError};
pub use course::Course;
pub use direction::{Direction, DirectionError};
pub use exchange_name::ExchangeName;
pub use moment::Moment;
pub use quote::{Quote, Refusal, Transport, Validity};
