//! A record that was set aside, in a form that people can read and programs can take up again.

use serde_json::{Value, json};

use crate::market::{Validity, number};
use crate::rate_book::{Accepted, Record, RecordedEvent};

/// The whole record, as JSON; prices are texts, exact.
pub(super) fn json_of(record: &Record) -> String {
    let value = match record {
        Record::Quote(accepted) => quote(accepted),
        Record::Event(event) => happening(event),
    };
    // PostgreSQL has no character 0. JSON writes it as an escape, so none is left in the text.
    value.to_string()
}

fn quote(accepted: &Accepted) -> Value {
    let Accepted { exchange, quote, value, received_at, span } = accepted;
    let price = |price: Option<_>| price.map(number::plain);
    let validity = match quote.validity {
        Validity::Live => None,
        Validity::Fixing { starts_at, ends_at } => Some((starts_at, ends_at)),
    };
    json!({
        "exchange": exchange.as_str(),
        "direction": quote.direction.to_string(),
        "received_at": received_at.to_rfc3339(),
        "quoted_at": quote.quoted_at.map(|at| at.to_rfc3339()),
        "bid": price(quote.bid),
        "ask": price(quote.ask),
        "last": price(quote.last),
        "valid_from": validity.map(|(starts_at, _)| starts_at.to_rfc3339()),
        "valid_until": validity.map(|(_, ends_at)| ends_at.to_rfc3339()),
        "value": number::plain(*value),
        "open": number::plain(span.open),
        "high": number::plain(span.high),
        "low": number::plain(span.low),
        "num_quotes": span.num_quotes,
    })
}

fn happening(event: &RecordedEvent) -> Value {
    json!({
        "at": event.at.to_rfc3339(),
        "kind": event.kind.as_str(),
        "exchange": event.exchange.map(|exchange| exchange.as_str()),
        "reason": event.reason,
        "count": event.count,
    })
}
