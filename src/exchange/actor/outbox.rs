//! What is on its way to RateBook.
//!
//! Separate because RateBook's mailbox is bounded and may be full: then the newest quote of each direction waits
//! here, older ones are dropped, and the order between quotes and the state of the link is kept.

use std::collections::VecDeque;

use actix::prelude::*;

use crate::market::{Direction, Refusal};
use crate::rate_book::{ReportLink, ReportListing, ReportQuotes, ReportReconnect};

/// Refusals that wait to be reported; what is beyond is lost to the counters, and nothing else.
const MOST_REFUSED: usize = 1000;

/// Reconnects that wait to be reported.
const MOST_RECONNECTS: usize = 20;

/// Where reports go.
#[derive(Debug, Clone)]
pub(super) struct Recipients {
    pub(super) quotes: Recipient<ReportQuotes>,
    pub(super) links: Recipient<ReportLink>,
    pub(super) listings: Recipient<ReportListing>,
    pub(super) reconnects: Recipient<ReportReconnect>,
}

/// One report.
#[derive(Debug)]
pub(super) enum Report {
    Quotes(ReportQuotes),
    Link(ReportLink),
    Listing(ReportListing),
    Reconnect(ReportReconnect),
}

/// Reports that could not be delivered yet.
#[derive(Debug)]
pub(super) struct Outbox {
    to: Recipients,
    waiting: VecDeque<Report>,
    num_refused: u64,
}

/// What became of one attempt to deliver.
enum Delivery {
    Done,
    Full(Report),
}

impl Outbox {
    pub(super) fn new(to: Recipients) -> Self {
        Self { to, waiting: VecDeque::new(), num_refused: 0 }
    }

    /// Delivers what waits and then this, as far as the mailbox takes it.
    pub(super) fn send(&mut self, report: Report) {
        conflate(&mut self.waiting, &report);
        self.waiting.push_back(report);
        self.flush();
    }

    /// Delivers what waits, as far as the mailbox takes it.
    pub(super) fn flush(&mut self) {
        while let Some(report) = self.waiting.pop_front() {
            if let Delivery::Full(report) = self.deliver(report) {
                self.num_refused += 1;
                self.waiting.push_front(report);
                return;
            }
        }
    }

    /// How often RateBook's mailbox was full since this was asked last.
    pub(super) fn take_num_refused(&mut self) -> u64 {
        std::mem::take(&mut self.num_refused)
    }

    fn deliver(&self, report: Report) -> Delivery {
        match report {
            Report::Quotes(message) => delivery(self.to.quotes.try_send(message), Report::Quotes),
            Report::Link(message) => delivery(self.to.links.try_send(message), Report::Link),
            Report::Listing(message) => delivery(self.to.listings.try_send(message), Report::Listing),
            Report::Reconnect(message) => delivery(self.to.reconnects.try_send(message), Report::Reconnect),
        }
    }
}

fn delivery<M>(sent: Result<(), SendError<M>>, report: impl FnOnce(M) -> Report) -> Delivery {
    match sent {
        Err(SendError::Full(message)) => Delivery::Full(report(message)),
        // A RateBook that has gone takes the process with it, so nothing has to be kept for it.
        Ok(()) | Err(SendError::Closed(_)) => Delivery::Done,
    }
}

/// Drops from what waits what `newer` makes superfluous. So there are at most as many reports of quotes as
/// directions, one of each other kind, and a bounded number of refusals and reconnects.
fn conflate(waiting: &mut VecDeque<Report>, newer: &Report) {
    match newer {
        Report::Quotes(newer) => {
            let directions: Vec<Direction> = newer.quotes.iter().map(|quote| quote.direction).collect();
            for report in waiting.iter_mut() {
                if let Report::Quotes(older) = report {
                    older.quotes.retain(|quote| !directions.contains(&quote.direction));
                }
            }
            gather_refusals(waiting);
            let is_empty = |older: &ReportQuotes| older.quotes.is_empty() && older.refused.is_empty();
            waiting.retain(|report| !matches!(report, Report::Quotes(older) if is_empty(older)));
        }
        Report::Link(_) => waiting.retain(|report| !matches!(report, Report::Link(_))),
        Report::Listing(_) => waiting.retain(|report| !matches!(report, Report::Listing(_))),
        Report::Reconnect(_) => {
            let num_waiting = waiting.iter().filter(|report| matches!(report, Report::Reconnect(_))).count();
            if num_waiting >= MOST_RECONNECTS
                && let Some(at) = waiting.iter().position(|report| matches!(report, Report::Reconnect(_)))
            {
                waiting.remove(at);
            }
        }
    }
}

/// Gathers the refusals of all reports in the first, so that reports without quotes can go.
fn gather_refusals(waiting: &mut VecDeque<Report>) {
    let mut refused: Vec<Refusal> = Vec::new();
    for report in waiting.iter_mut() {
        if let Report::Quotes(report) = report {
            refused.append(&mut report.refused);
        }
    }
    refused.truncate(MOST_REFUSED);
    let first = waiting.iter_mut().find_map(|report| match report {
        Report::Quotes(report) => Some(report),
        _ => None,
    });
    if let Some(first) = first {
        first.refused = refused;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rust_decimal::Decimal;

    use super::*;
    use crate::market::{ExchangeName, Quote, Transport};
    use crate::rate_book::{Epoch, Link};

    const NAME: ExchangeName = ExchangeName::new("binance");

    /// Keeps what it gets, in a mailbox that is only emptied when asked to.
    struct Hub {
        got: Vec<Report>,
    }

    impl Actor for Hub {
        type Context = Context<Self>;

        fn started(&mut self, ctx: &mut Self::Context) {
            ctx.set_mailbox_capacity(1);
        }
    }

    #[derive(Message)]
    #[rtype(result = "Vec<String>")]
    struct Told;

    impl Handler<Told> for Hub {
        type Result = Vec<String>;

        fn handle(&mut self, _: Told, _: &mut Self::Context) -> Self::Result {
            self.got.iter().map(words).collect()
        }
    }

    macro_rules! keep {
        ($($message:ident => $report:ident),*) => {$(
            impl Handler<$message> for Hub {
                type Result = ();

                fn handle(&mut self, message: $message, _: &mut Self::Context) {
                    self.got.push(Report::$report(message));
                }
            }
        )*};
    }
    keep!(ReportQuotes => Quotes, ReportLink => Link, ReportListing => Listing, ReportReconnect => Reconnect);

    fn words(report: &Report) -> String {
        match report {
            Report::Quotes(report) => {
                let quotes = report.quotes.iter();
                let quotes: Vec<String> =
                    quotes.map(|quote| format!("{}={}", quote.direction, quote.bid.unwrap())).collect();
                format!("{} -{}", quotes.join(" "), report.refused.len())
            }
            Report::Link(report) => format!("{:?}", report.link),
            Report::Listing(_) => "listing".to_owned(),
            Report::Reconnect(_) => "reconnect".to_owned(),
        }
    }

    fn quotes(direction: &str, price: i64) -> Report {
        let quote = Quote::book(direction.parse().unwrap(), Decimal::from(price), Decimal::from(price + 1));
        Report::Quotes(ReportQuotes {
            exchange: NAME,
            epoch: Epoch(1),
            transport: Transport::WebSocket,
            received_at: crate::clock::now(),
            quotes: vec![quote],
            refused: vec![Refusal::Syntax],
        })
    }

    fn link(transport: Transport) -> Report {
        let link = Link::Up(transport);
        Report::Link(ReportLink { exchange: NAME, epoch: Epoch(1), at: crate::clock::now(), link })
    }

    #[actix::test]
    async fn a_full_mailbox_gets_the_newest_quote_of_each_direction_later_and_in_order() {
        let hub = Hub { got: Vec::new() }.start();
        let to = Recipients {
            quotes: hub.clone().recipient(),
            links: hub.clone().recipient(),
            listings: hub.clone().recipient(),
            reconnects: hub.clone().recipient(),
        };
        let mut outbox = Outbox::new(to);
        // The hub has no turn before the first `await`, so its mailbox fills up.
        for price in 0..1000 {
            outbox.send(quotes("BTC-USDT", price));
            outbox.send(link(Transport::Rest));
            outbox.send(quotes("ETH-USDT", price));
        }
        outbox.send(link(Transport::WebSocket));
        assert!(outbox.take_num_refused() > 0);
        assert!(outbox.waiting.len() <= 4, "{}", outbox.waiting.len());

        while !outbox.waiting.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            outbox.flush();
        }
        let told = hub.send(Told).await.unwrap();
        let last = &told[told.len() - 3..];
        assert!(last[0].starts_with("BTC-USDT=999 "), "{last:?}");
        assert!(last[1].starts_with("ETH-USDT=999 "), "{last:?}");
        assert_eq!(last[2], "Up(WebSocket)");
    }
}
