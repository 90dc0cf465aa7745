//! The hub: it holds every exchange's last quotes, and decides at every moment which exchange can be believed.
//!
//! [`RateBook`] is the actor, and only unpacks messages; [`Book`] is the state machine, pure and driven by the
//! `Moment` that it is given. Producers send [`ReportQuotes`], [`ReportLink`] and [`ReportListing`]; consumers ask
//! with [`GetCourses`] and [`GetHealth`]. What is to be stored it leaves in a [`HandOver`].

mod messages;

pub mod gates;

mod actor;
mod answer;
mod book;
mod cross;
mod fiat;
mod hand_over;
mod health;
mod record;
mod route;
mod selection;
mod shelf;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use actor::{BookFailed, RateBook};
pub use book::{Book, BookSettings, Change, Event, ListedExchange, UsdtUsdLeg};
pub use hand_over::{HandOver, HandOverCounters};
pub use messages::*;
pub use record::{Accepted, EventKind, Record, RecordedEvent, Span};
