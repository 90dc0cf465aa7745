//! The hub: it holds every exchange's last quotes, and decides at every moment which exchange can be believed.
//!
//! [`RateBook`] is the actor, and only unpacks messages; [`Book`] is the state machine, pure and driven by the
//! `Moment` that it is given. Producers send [`ReportQuotes`], [`ReportLink`] and [`ReportListing`]; consumers ask
//! with [`GetCourses`] and [`GetHealth`]. What is to be stored it leaves in a [`HandOver`], what other machines are to
//! know in [`Newest`]; a book that follows another machine's is told by [`FollowStream`].

mod messages;

pub mod gates;

mod actor;
mod answer;
mod book;
mod book_settings;
mod bus_status;
mod change;
mod cross;
mod fiat;
mod hand_over;
mod health;
mod newest;
mod record;
mod route;
mod selection;
mod shelf;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use actor::{BookFailed, RateBook};
pub use book::Book;
pub use book_settings::{BookSettings, ListedExchange, UsdtUsdLeg};
pub use bus_status::{BusHealth, BusPart, BusStatus, PartStatus};
pub use change::{Change, Event};
pub use hand_over::{HandOver, HandOverCounters, step};
pub use messages::*;
pub use newest::{ExchangeState, Listing, LiveQuote, Newest};
pub use record::{Accepted, EventKind, Record, RecordedEvent, Span};
