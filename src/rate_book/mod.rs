//! The hub: it holds every exchange's last quotes, and decides at every moment which exchange can be believed.
//!
//! [`RateBook`] is the actor, and only unpacks messages; [`Book`] is the state machine, pure and driven by the
//! `Moment` that it is given. Producers send [`ReportQuotes`], [`ReportLink`] and [`ReportListing`]; consumers ask
//! with [`GetCourses`] and [`GetHealth`].

mod messages;

pub mod gates;

mod actor;
mod answer;
mod book;
mod cross;
mod health;
mod route;
mod selection;
mod shelf;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use actor::{BookFailed, RateBook};
pub use book::{Book, BookSettings, Change, Event, ListedExchange, UsdtUsdLeg};
pub use messages::*;
