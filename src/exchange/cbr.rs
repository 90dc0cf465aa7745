//! Stub.

use std::time::Duration;

use super::{Exchange, Feed, FrameError, Kind, Reading, Row, Source};
use crate::market::ExchangeName;

pub(super) const ROW: Row = Row {
    name: ExchangeName::new("cbr"),
    kind: Kind::Fiat,
    rest_url: "https://www.cbr.ru",
    ws_url: "",
    stale_after: Duration::from_secs(600),
    poll_every: Duration::from_secs(3600),
    poll_every_with_key: None,
    takes_key: false,
    make: |_access, _scope| Box::new(Cbr),
};

struct Cbr;

impl Exchange for Cbr {
    fn feed(&self) -> Feed {
        Feed::default()
    }

    fn read(&mut self, _source: Source, _bytes: &[u8]) -> Result<Reading, FrameError> {
        Ok(Reading::default())
    }
}
