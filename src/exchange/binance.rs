//! Stub.

use std::time::Duration;

use super::{Exchange, Feed, FrameError, Kind, Reading, Row, Source};
use crate::market::ExchangeName;

pub(super) const ROW: Row = Row {
    name: ExchangeName::new("binance"),
    kind: Kind::Market,
    rest_url: "https://data-api.binance.vision",
    ws_url: "wss://data-stream.binance.vision",
    stale_after: Duration::from_secs(5),
    poll_every: Duration::from_secs(2),
    poll_every_with_key: None,
    takes_key: false,
    make: |_access, _scope| Box::new(Binance),
};

struct Binance;

impl Exchange for Binance {
    fn feed(&self) -> Feed {
        Feed::default()
    }

    fn read(&mut self, _source: Source, _bytes: &[u8]) -> Result<Reading, FrameError> {
        Ok(Reading::default())
    }
}
