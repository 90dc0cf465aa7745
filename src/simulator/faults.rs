//! Which faults an exchange plays, from when until when.
//!
//! Separate from the sockets, which ask here before every byte, so that a fault is the same on every exchange.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::market::Transport;

use super::book::Book;
use super::order::{Kind, Order};

/// Faults that one exchange plays at once. More than this is a test that forgets to clear.
const MAX_FAULTS: usize = 64;

/// One fault with its time.
#[derive(Debug)]
struct Fault {
    id: u64,
    order: Order,
    begins_at: Instant,
    ends_at: Option<Instant>,
    /// What symbols stood at when the freeze was first asked about them.
    frozen: RefCell<HashMap<String, Book>>,
}

impl Fault {
    fn is_active(&self, now: Instant) -> bool {
        self.begins_at <= now && !self.is_over(now)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.ends_at.is_some_and(|ends_at| ends_at <= now)
    }

    fn freeze(&self, names: &[&str], book: Book) -> Book {
        let key = names.first().copied().unwrap_or_default();
        let mut frozen = self.frozen.borrow_mut();
        let kept = frozen.entry(key.to_owned()).or_insert_with(|| book.clone());
        Book { bid: kept.bid.clone(), ask: kept.ask.clone(), last: kept.last.clone(), ..book }
    }
}

/// The faults of one exchange.
#[derive(Debug, Default)]
pub(super) struct Faults {
    list: Vec<Fault>,
    ordered: u64,
}

impl Faults {
    /// Adds a fault; gives its number, and when it begins and ends.
    ///
    /// # Errors
    /// When there are too many.
    pub(super) fn add(
        &mut self,
        order: Order,
        now: Instant,
    ) -> Result<(u64, Instant, Option<Instant>), String> {
        self.list.retain(|fault| !fault.is_over(now));
        if self.list.len() >= MAX_FAULTS {
            return Err(format!("there are {MAX_FAULTS} faults already: clear them first"));
        }
        self.ordered += 1;
        let begins_at = now + order.begins_after();
        let ends_at = order.for_ms.map(|ms| begins_at + Duration::from_millis(ms));
        let id = self.ordered;
        self.list.push(Fault { id, order, begins_at, ends_at, frozen: RefCell::default() });
        Ok((id, begins_at, ends_at))
    }

    /// Takes one fault away; tells whether it was still there.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        let before = self.list.len();
        self.list.retain(|fault| fault.id != id);
        self.list.len() < before
    }

    /// Takes all of them away, and tells how many there were.
    pub(super) fn clear(&mut self, now: Instant) -> usize {
        self.list.retain(|fault| !fault.is_over(now));
        self.list.drain(..).count()
    }

    /// The first active fault of this kind on this transport that is not confined to a symbol.
    pub(super) fn active(&self, kind: Kind, transport: Transport, now: Instant) -> Option<&Order> {
        let is_it =
            |fault: &&Fault| fault.order.kind == kind && fault.order.is_on(transport) && fault.is_active(now);
        let is_whole = |order: &&Order| kind != Kind::Mute || order.symbol.is_none();
        self.list.iter().filter(is_it).map(|fault| &fault.order).find(is_whole)
    }

    /// What is shown of a symbol whose healthy book is `book`; `None` if it is muted.
    pub(super) fn shown(
        &self,
        transport: Transport,
        names: &[&str],
        book: Book,
        now: Instant,
    ) -> Option<Book> {
        let mut book = book;
        let of_it = |fault: &&Fault| {
            fault.is_active(now) && fault.order.is_on(transport) && fault.order.concerns(names)
        };
        for fault in self.list.iter().filter(of_it) {
            match fault.order.kind {
                Kind::Mute if fault.order.symbol.is_some() => return None,
                Kind::Freeze => book = fault.freeze(names, book),
                Kind::WrongValue => book = fault.order.bend(book),
                _ => {}
            }
        }
        Some(book)
    }

    /// Whether a frame may not be repeated as it was recorded, because prices of its symbol are bent.
    pub(super) fn bends(&self, transport: Transport, names: &[&str], now: Instant) -> bool {
        self.list.iter().any(|fault| {
            matches!(fault.order.kind, Kind::Mute | Kind::Freeze | Kind::WrongValue)
                && fault.is_active(now)
                && fault.order.is_on(transport)
                && fault.order.concerns(names)
        })
    }

    /// By how many milliseconds the exchange's clock is off.
    pub(super) fn clock_shift_ms(&self, transport: Transport, now: Instant) -> i64 {
        let is_on = |fault: &&Fault| fault.is_active(now) && fault.order.is_on(transport);
        self.list.iter().filter(is_on).filter_map(|fault| fault.order.shift_ms).sum()
    }

    /// Every fault that is not over, for `GET /control/<exchange>/faults`.
    pub(super) fn listed(&self, now: Instant) -> Vec<Value> {
        let listed = |fault: &Fault| {
            let mut value = serde_json::to_value(&fault.order).unwrap_or_default();
            if let Value::Object(fields) = &mut value {
                fields.insert("id".to_owned(), fault.id.into());
                fields.insert("active".to_owned(), fault.is_active(now).into());
            }
            value
        };
        self.list.iter().filter(|fault| !fault.is_over(now)).map(listed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rust_decimal::Decimal;

    fn faults(orders: &[&str]) -> (Faults, Instant) {
        let mut faults = Faults::default();
        let now = Instant::now();
        for order in orders {
            faults.add(Order::read(order.as_bytes()).unwrap(), now).unwrap();
        }
        (faults, now)
    }

    fn healthy() -> Book {
        Book::around(Decimal::from(64_000), 2, 10)
    }

    #[test]
    fn a_fault_begins_and_ends_when_it_was_ordered_to() {
        let (faults, now) = faults(&[r#"{"kind":"mute","from_ms":1000,"for_ms":2000,"transport":"rest"}"#]);
        let at = |ms| now + Duration::from_millis(ms);
        for (ms, transport, expected) in [
            (0, Transport::Rest, false),
            (999, Transport::Rest, false),
            (1000, Transport::Rest, true),
            (2999, Transport::Rest, true),
            (3000, Transport::Rest, false),
            (2000, Transport::WebSocket, false),
        ] {
            assert_eq!(faults.active(Kind::Mute, transport, at(ms)).is_some(), expected, "{ms}");
            assert!(faults.active(Kind::Drip, transport, at(ms)).is_none());
        }
    }

    #[test]
    fn a_fault_of_one_symbol_leaves_the_others_alone() {
        let (faults, now) = faults(&[r#"{"kind":"mute","symbol":"btc-usdt"}"#]);
        assert!(faults.active(Kind::Mute, Transport::Rest, now).is_none());
        assert_eq!(faults.shown(Transport::Rest, &["BTCUSDT"], healthy(), now), None);
        assert_eq!(faults.shown(Transport::Rest, &["ETHUSDT"], healthy(), now), Some(healthy()));
        assert!(faults.bends(Transport::Rest, &["BTCUSDT"], now));
        assert!(!faults.bends(Transport::Rest, &["ETHUSDT"], now));
    }

    #[test]
    fn a_freeze_holds_prices_while_the_sequence_goes_on() {
        let (faults, now) = faults(&[r#"{"kind":"freeze"}"#]);
        let first = faults.shown(Transport::Rest, &["BTCUSDT"], healthy(), now).unwrap();
        let moved = Book { sequence: 9, ..Book::around(Decimal::from(70_000), 2, 10) };
        let shown = faults.shown(Transport::WebSocket, &["BTCUSDT"], moved, now).unwrap();
        assert_eq!((&shown.bid, &shown.ask, &shown.last), (&first.bid, &first.ask, &first.last));
        assert_eq!(shown.sequence, 9);
    }

    #[test]
    fn a_clock_can_be_off_without_a_price_being_wrong() {
        let (faults, now) = faults(&[r#"{"kind":"wrong_value","shift_ms":-60000}"#]);
        assert_eq!(faults.clock_shift_ms(Transport::Rest, now), -60_000);
        assert_eq!(faults.shown(Transport::Rest, &["BTCUSDT"], healthy(), now), Some(healthy()));
    }

    #[test]
    fn faults_are_bounded_and_over_ones_make_room() {
        let mut faults = Faults::default();
        let now = Instant::now();
        let order = || Order::read(br#"{"kind":"mute","for_ms":10}"#).unwrap();
        for _ in 0..MAX_FAULTS {
            faults.add(order(), now).unwrap();
        }
        assert!(faults.add(order(), now).is_err());
        assert!(faults.add(order(), now + Duration::from_millis(10)).is_ok());
        assert_eq!(faults.clear(now), 1);
    }
}
