//! Which currencies a fiat source quotes: those that were wanted until it has been heard, then all that it publishes.
//!
//! Separate because every fiat source has one table of many currencies, each priced against the source's own. All of
//! them are listened to and not only the wanted ones, so that any of them works as a counter and in crosses.

use super::{Feed, Request, Scope};
use crate::market::{Asset, Direction};

/// The currencies of one fiat source.
#[derive(Debug)]
pub(super) struct FiatListing {
    /// What all of them are priced against.
    own: Asset,
    wanted: Vec<Asset>,
    /// What the last table had; `None` before the first.
    published: Option<Vec<Asset>>,
}

impl FiatListing {
    /// The wanted currencies are those on either side of the directions of `scope`.
    pub(super) fn new(own: Asset, scope: &Scope) -> Self {
        let mut wanted: Vec<Asset> = Vec::new();
        if let Scope::Directions(directions) = scope {
            for side in directions.iter().flat_map(|direction| [direction.base, direction.counter]) {
                if side.is_fiat() && side != own && !wanted.contains(&side) {
                    wanted.push(side);
                }
            }
        }
        Self { own, wanted, published: None }
    }

    /// The currency of a code, if the source can quote it against its own.
    pub(super) fn currency(&self, code: &str) -> Option<Asset> {
        Asset::new(code).filter(|asset| asset.as_str() == code && asset.is_fiat() && *asset != self.own)
    }

    /// Keeps which currencies a table has, and says whether that is news. One whose row cannot be read belongs to them:
    /// the source publishes it all the same.
    pub(super) fn learn<'a>(&mut self, codes: impl IntoIterator<Item = &'a str>) -> bool {
        let mut published: Vec<Asset> = Vec::new();
        for currency in codes.into_iter().filter_map(|code| self.currency(code)) {
            if !published.contains(&currency) {
                published.push(currency);
            }
        }
        let is_news = self.published.as_ref() != Some(&published);
        self.published = Some(published);
        is_news
    }

    /// A feed of every currency, each in the direction that the source prices it in.
    pub(super) fn feed(&self, direction: impl Fn(Asset) -> Direction, polls: Vec<Request>) -> Feed {
        let Some(published) = &self.published else {
            let usual = [Asset::USD, Asset::EUR].into_iter();
            let usual = usual.filter(|asset| *asset != self.own && !self.wanted.contains(asset));
            let listens_to = self.wanted.iter().copied().chain(usual).map(direction).collect();
            return Feed { listens_to, polls, ..Feed::default() };
        };
        let unsupported = self.wanted.iter().copied().filter(|asset| !published.contains(asset));
        Feed {
            listens_to: published.iter().copied().map(&direction).collect(),
            unsupported: unsupported.map(&direction).collect(),
            polls,
            ..Feed::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(own: &str, wanted: &str) -> FiatListing {
        let wanted = wanted.split(',').map(|direction| direction.parse().unwrap()).collect();
        FiatListing::new(Asset::new(own).unwrap(), &Scope::Directions(wanted))
    }

    /// What is listened to, then what is unsupported.
    fn told(listing: &FiatListing) -> String {
        let feed = listing.feed(|asset| Direction::new(listing.own, asset), Vec::new());
        let texts = |directions: &[Direction]| {
            directions.iter().map(Direction::to_string).collect::<Vec<_>>().join(" ")
        };
        format!("{} | {}", texts(&feed.listens_to), texts(&feed.unsupported))
    }

    #[test]
    fn what_is_wanted_stands_in_for_what_is_published_until_that_is_known() {
        for (own, wanted, before, after) in [
            ("EUR", "BTC-RUB,BTC-USD", "EUR-RUB EUR-USD | ", "EUR-USD EUR-JPY | EUR-RUB"),
            ("USD", "BTC-RUB,BTC-USD", "USD-RUB USD-EUR | ", "USD-JPY | USD-RUB"),
            ("USD", "EUR-BTC,USD-EUR", "USD-EUR | ", "USD-JPY | USD-EUR"),
            ("EUR", "BTC-ETH", "EUR-USD | ", "EUR-USD EUR-JPY | "),
        ] {
            let mut listing = listing(own, wanted);
            assert_eq!(told(&listing), before, "{own} {wanted}");
            assert!(listing.learn(["USD", "JPY", "JPY", "XAU", "BTC", ""]));
            assert_eq!(told(&listing), after, "{own} {wanted}");
        }
    }

    #[test]
    fn the_same_table_again_is_no_news_and_another_one_is() {
        let mut listing = listing("EUR", "BTC-USD");
        assert!(listing.learn(["USD", "JPY"]));
        assert!(!listing.learn(["USD", "JPY"]));
        assert!(listing.learn(["USD"]));
        assert!(listing.learn(["USD", "JPY"]));
    }
}
