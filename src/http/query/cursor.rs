//! Where a page of stored data ended: the text that a client hands back to get the next one.
//!
//! Separate because it comes from outside like any parameter: what this service has not written is refused. It holds
//! whose rows were given, so that a walk through pages never goes on with another exchange's.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};

use super::parameter::Offer;
use super::time::{moment, written};
use crate::history::Interval;
use crate::market::ExchangeName;

/// Stands first in every cursor, so that another form of it can be told from this one.
const VERSION: &str = "1";

/// What is walked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Series {
    /// Candles of this length.
    Candles(Interval),
    /// Quotes one by one.
    Ticks,
    /// Events.
    Events,
}

impl Series {
    /// The word for it in a cursor.
    fn as_str(self) -> &'static str {
        match self {
            Self::Candles(interval) => interval.as_str(),
            Self::Ticks => super::parameter::TICK,
            Self::Events => "events",
        }
    }
}

/// Where the next page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// From when.
    pub(super) from: DateTime<Utc>,
    /// Whose rows; `None` where they are not those of one exchange.
    pub(super) exchange: Option<ExchangeName>,
}

impl Cursor {
    /// The text for clients, letters, digits, `-` and `_` alone.
    pub(super) fn encode(self, series: Series) -> String {
        let exchange = self.exchange.map_or("", |name| name.as_str());
        URL_SAFE_NO_PAD.encode(format!("{VERSION}/{}/{}/{exchange}", series.as_str(), written(self.from)))
    }

    /// Reads such a text.
    ///
    /// # Errors
    /// For people: it is none, it is one of another series, or its exchange is not enabled any more.
    pub(super) fn decode(text: &str, series: Series, offer: &Offer) -> Result<Self, String> {
        let no_cursor = || "this is no cursor of this service".to_owned();
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| no_cursor())?;
        let plain = String::from_utf8(bytes).map_err(|_| no_cursor())?;
        let parts: Vec<&str> = plain.split('/').collect();
        let [VERSION, word, from, exchange] = parts[..] else { return Err(no_cursor()) };
        let from = moment(from).map_err(|_| no_cursor())?;
        let name = offer.exchanges.iter().find(|name| name.as_str() == exchange);
        if word != series.as_str() {
            return Err(format!("this cursor goes on with other rows than `{}`", series.as_str()));
        }
        if name.is_none() && !exchange.is_empty() {
            return Err("the exchange of this cursor is not enabled".to_owned());
        }
        Ok(Self { from, exchange: name.copied() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const KRAKEN: ExchangeName = ExchangeName::new("kraken");

    fn offer() -> Offer {
        Offer { directions: Arc::new([]), exchanges: Arc::new([KRAKEN]) }
    }

    #[test]
    fn a_cursor_is_read_back_as_it_was_written() {
        let all = [Series::Ticks, Series::Events].into_iter().chain(Interval::ALL.map(Series::Candles));
        for series in all {
            for exchange in [None, Some(KRAKEN)] {
                for from in ["2026-11-20T12:00:00Z", "2026-11-20T12:00:00.000001Z", "0000-01-01T00:00:00Z"] {
                    let cursor = Cursor { from: from.parse().unwrap(), exchange };
                    let text = cursor.encode(series);
                    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                    assert!(text.bytes().all(is_safe), "{text}");
                    assert_eq!(Cursor::decode(&text, series, &offer()), Ok(cursor));
                }
            }
        }
    }

    #[test]
    fn what_this_service_has_not_written_is_no_cursor() {
        let encoded = |plain: &str| URL_SAFE_NO_PAD.encode(plain);
        for text in [
            String::new(),
            "garbage".to_owned(),
            "!".to_owned(),
            "MS8xbQ==".to_owned(),
            URL_SAFE_NO_PAD.encode([0xff, 0xfe]),
            encoded("2/1m/2026-11-20T12:00:00Z/kraken"),
            encoded("1/1h/2026-11-20T12:00:00Z/kraken"),
            encoded("1/1m/yesterday/kraken"),
            encoded("1/1m/2026-11-20T12:00:00Z/mtgox"),
            encoded("1/1m/2026-11-20T12:00:00Z"),
            encoded("1/1m/2026-11-20T12:00:00Z/kraken/"),
        ] {
            let read = Cursor::decode(&text, Series::Candles(Interval::Minute), &offer());
            assert!(read.is_err(), "{text} gave {read:?}");
        }
    }
}
