//! What happens to the book, and what changes by it.
//!
//! Separate because actors, followers and tests speak of these, and only the book of how the one makes the other.

use std::time::Duration;

use super::messages::{Disagreement, ReportLife, ReportLink, ReportListing, ReportQuotes, ReportReconnect};
use crate::market::{Direction, ExchangeName, Moment};

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Quotes were read.
    Quotes(ReportQuotes),
    /// Quotes were read elsewhere, of markets that have been fresh without a gap since then; `None` since the start there.
    QuotesElsewhere(ReportQuotes, Option<Moment>),
    /// A connection changed.
    Link(ReportLink),
    /// An exchange said what it quotes.
    Listing(ReportListing),
    /// An exchange dialled again.
    Reconnect(ReportReconnect),
    /// An actor began or ended.
    Life(ReportLife),
}

impl Event {
    /// Which exchange it is about.
    pub fn exchange(&self) -> ExchangeName {
        match self {
            Self::Quotes(report) | Self::QuotesElsewhere(report, _) => report.exchange,
            Self::Link(report) => report.exchange,
            Self::Listing(report) => report.exchange,
            Self::Reconnect(report) => report.exchange,
            Self::Life(report) => report.exchange,
        }
    }
}

/// What changed, for logs and consumers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Another exchange answers from now on.
    Switched {
        /// Who did before; `None` if nobody.
        from: Option<ExchangeName>,
        /// Who does now; `None` if nobody.
        to: Option<ExchangeName>,
        /// Why, for people.
        reason: String,
    },
    /// Wall and monotonic clock parted by so much: the machine was suspended, or its clock was set.
    ClockJumped {
        /// By how much.
        by: Duration,
    },
    /// A source of fiat rates contradicts the one that counts, on a currency that is asked for.
    FiatSourcesDisagree(Disagreement),
    /// It does no longer, or is no longer fresh.
    FiatSourcesAgree {
        /// Of which rate.
        direction: Direction,
        /// Who contradicted.
        source: ExchangeName,
    },
    /// On these rates, which no configured direction needs, sources disagree as well.
    FiatSourcesDisagreeElsewhere(Vec<Direction>),
    /// Most exchanges that stamp their quotes seem to be ahead of us: it is our clock that is slow.
    OurClockIsSlow,
}
