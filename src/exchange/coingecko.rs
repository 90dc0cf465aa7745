//! Stub.

use std::time::Duration;

use super::{Exchange, Feed, FrameError, Kind, Reading, Row, Source};
use crate::market::ExchangeName;

pub(super) const ROW: Row = Row {
    name: ExchangeName::new("coingecko"),
    kind: Kind::Aggregator,
    rest_url: "https://api.coingecko.com/api/v3",
    ws_url: "",
    stale_after: Duration::from_secs(180),
    poll_every: Duration::from_secs(60),
    poll_every_with_key: Some(Duration::from_secs(20)),
    takes_key: true,
    make: |_access, _scope| Box::new(CoinGecko),
};

struct CoinGecko;

impl Exchange for CoinGecko {
    fn feed(&self) -> Feed {
        Feed::default()
    }

    fn read(&mut self, _source: Source, _bytes: &[u8]) -> Result<Reading, FrameError> {
        Ok(Reading::default())
    }
}
