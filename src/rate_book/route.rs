//! The ways from one asset to another: over an exchange's own quotes, and over the reference legs that all share.
//!
//! Separate from the arithmetic because a route depends on what is listed, not on any price or time: it is found
//! once, and used until a listing changes.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::shelf::Shelf;
use crate::market::{Asset, Direction};

/// Most legs of a route: base to USDT, USDT to USD, USD to a fiat.
const MAX_LEGS: usize = 3;

/// Most routes that are kept for one direction; those behind them are worse in every respect.
const MAX_ROUTES: usize = 6;

/// One way from base to counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) legs: Vec<Leg>,
}

/// One step of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leg {
    /// A rate of the exchange itself.
    Own(Rate),
    /// Between USDT and USD, from the first fresh source of `reference_priority`.
    UsdtUsd {
        /// Whether it is walked from USD to USDT.
        inverted: bool,
    },
    /// Between two fiats, from the first fresh of these sources: an index into the shelves, and its rate.
    Fiat {
        /// From which fiat to which.
        direction: Direction,
        /// The sources, best first.
        sources: Vec<(usize, Rate)>,
    },
}

/// A rate that one source gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rate {
    /// One quote.
    Quote(Step),
    /// Two rows of a source's own table, by the currency that it is printed in: KZT and RUB of the Bank of Russia.
    Table(Step, Step),
}

/// A quote, walked one way or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// Slot in the source's shelf.
    pub(super) slot: usize,
    /// Whether it is walked from counter to base.
    pub(super) inverted: bool,
}

/// What routes depend on: all listings and the order of the reference sources.
#[derive(Debug, Clone, Copy)]
pub(super) struct Map<'a> {
    pub(super) shelves: &'a [Shelf],
    /// Whether anyone gives USDT-USD, or it is pegged.
    pub(super) has_usdt_usd: bool,
    /// Sources of fiat legs, best first, as indexes into the shelves.
    pub(super) fiat_sources: &'a [usize],
}

impl Map<'_> {
    /// The routes of one exchange for a direction, best first: fewest legs, then fewest fiat fixings among them (they
    /// are a day old), then fewest reference legs, then by the names on the way. A route with more fixings than the
    /// best one has is left out: it would answer a stale market with yesterday's rate.
    pub(super) fn routes(&self, exchange: usize, direction: Direction) -> Vec<Route> {
        if direction.base == direction.counter {
            // The networks of USDT have one market price, and between them there is no market.
            return Vec::new();
        }
        let own = own_edges(&self.shelves[exchange]);
        let fiat_stops = fiat_stops(&own, direction.counter);
        let mut walk =
            Walk { map: self, exchange, own, fiat_stops, goal: direction.counter, found: Vec::new() };
        walk.step(direction.base, &mut vec![direction.base], &mut Vec::new());
        let mut found = walk.found;
        found.sort_by(|(a, via_a), (b, via_b)| rank(a).cmp(&rank(b)).then_with(|| via_a.cmp(via_b)));
        let fewest_fixings = found.first().map_or(0, |(route, _)| num_fixings(route));
        let routes = found.into_iter().map(|(route, _)| route);
        routes.filter(|route| num_fixings(route) <= fewest_fixings).take(MAX_ROUTES).collect()
    }

    /// The reference leg between two fiats; `None` if no source has both.
    pub(super) fn fiat_leg(&self, direction: Direction) -> Option<Leg> {
        let rate = |at: &usize| Some((*at, rate_of(&self.shelves[*at], direction)?));
        let sources: Vec<_> = self.fiat_sources.iter().filter_map(rate).collect();
        (!sources.is_empty()).then_some(Leg::Fiat { direction, sources })
    }
}

fn rank(route: &Route) -> (usize, usize, usize) {
    let num_references = route.legs.iter().filter(|leg| !matches!(leg, Leg::Own(_))).count();
    (route.legs.len(), num_fixings(route), num_references)
}

fn num_fixings(route: &Route) -> usize {
    route.legs.iter().filter(|leg| matches!(leg, Leg::Fiat { .. })).count()
}

/// A rate between two currencies out of one source: its quote, that quote's inverse, or two rows of its table.
fn rate_of(shelf: &Shelf, direction: Direction) -> Option<Rate> {
    if let Some(step) = step_of(shelf, direction) {
        return Some(Rate::Quote(step));
    }
    let through = |middle: Asset| {
        let there = step_of(shelf, Direction::new(direction.base, middle))?;
        let on = step_of(shelf, Direction::new(middle, direction.counter))?;
        Some(Rate::Table(there, on))
    };
    let mut printed_in: Vec<Asset> =
        shelf.listing().flat_map(|(_, listed)| [listed.base, listed.counter]).collect();
    printed_in.retain(Asset::is_fiat);
    printed_in.sort_by_key(|asset| Reverse(*asset));
    printed_in.dedup();
    let is_fiat_pair = direction.base.is_fiat() && direction.counter.is_fiat();
    if is_fiat_pair { printed_in.into_iter().find_map(through) } else { None }
}

fn step_of(shelf: &Shelf, direction: Direction) -> Option<Step> {
    let direct = shelf.listed(direction).map(|slot| Step { slot, inverted: false });
    direct.or_else(|| shelf.listed(direction.inverse()).map(|slot| Step { slot, inverted: true }))
}

fn own_edges(shelf: &Shelf) -> HashMap<Asset, Vec<(Asset, Step)>> {
    let mut edges: HashMap<Asset, Vec<(Asset, Step)>> = HashMap::new();
    for (slot, direction) in shelf.listing() {
        let Direction { base, counter } = direction;
        edges.entry(base).or_default().push((counter, Step { slot, inverted: false }));
        if shelf.listed(direction.inverse()).is_none() {
            edges.entry(counter).or_default().push((base, Step { slot, inverted: true }));
        }
    }
    edges
}

/// The fiats that a fixing may lead to: the goal, the dollar, and those in which the exchange prices what is no fiat.
/// The other rows of its own table lead nowhere that one fixing does not, and there may be a hundred of them.
fn fiat_stops(own: &HashMap<Asset, Vec<(Asset, Step)>>, goal: Asset) -> Vec<Asset> {
    let prices_a_market = |to: &[(Asset, Step)]| to.iter().any(|(asset, _)| !asset.is_fiat());
    let of_markets = own.iter().filter(|(_, to)| prices_a_market(to)).map(|(asset, _)| *asset);
    let mut stops: Vec<Asset> = of_markets.chain([Asset::USD, goal]).filter(Asset::is_fiat).collect();
    stops.sort();
    stops.dedup();
    stops
}

struct Walk<'a> {
    map: &'a Map<'a>,
    exchange: usize,
    own: HashMap<Asset, Vec<(Asset, Step)>>,
    fiat_stops: Vec<Asset>,
    goal: Asset,
    /// Routes with the assets that they lead through.
    found: Vec<(Route, Vec<Asset>)>,
}

impl Walk<'_> {
    fn step(&mut self, from: Asset, visited: &mut Vec<Asset>, legs: &mut Vec<Leg>) {
        if from == self.goal {
            self.found.push((Route { legs: legs.clone() }, visited.clone()));
            return;
        }
        if legs.len() == MAX_LEGS {
            return;
        }
        // Two rates between fiats in a row are one at best.
        let came_by_fiats =
            matches!(visited.as_slice(), [.., before, here] if before.is_fiat() && here.is_fiat());
        for (to, leg) in self.edges(from) {
            let may_arrive = legs.len() + 1 < MAX_LEGS || to == self.goal;
            let is_detour = came_by_fiats && to.is_fiat();
            if may_arrive && !is_detour && !visited.contains(&to) {
                visited.push(to);
                legs.push(leg);
                self.step(to, visited, legs);
                legs.pop();
                visited.pop();
            }
        }
    }

    fn edges(&self, from: Asset) -> Vec<(Asset, Leg)> {
        let own = self.own.get(&from).into_iter().flatten();
        let mut edges: Vec<(Asset, Leg)> =
            own.map(|(to, step)| (*to, Leg::Own(Rate::Quote(*step)))).collect();
        if self.map.has_usdt_usd && from == Asset::USDT {
            edges.push((Asset::USD, Leg::UsdtUsd { inverted: false }));
        }
        if self.map.has_usdt_usd && from == Asset::USD {
            edges.push((Asset::USDT, Leg::UsdtUsd { inverted: true }));
        }
        if from.is_fiat() {
            for to in self.fiat_stops.iter().copied().filter(|to| *to != from) {
                let direction = Direction::new(from, to);
                if let Some(rate @ Rate::Table(..)) = rate_of(&self.map.shelves[self.exchange], direction) {
                    edges.push((to, Leg::Own(rate)));
                }
                edges.extend(self.map.fiat_leg(direction).map(|leg| (to, leg)));
            }
        }
        edges
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::market::ExchangeName;

    /// Codes of currencies, as many as the longest published table has.
    const FIATS: [&str; 60] = [
        "AED", "AMD", "ARS", "AUD", "AZN", "BDT", "BHD", "BOB", "BRL", "BYN", "CAD", "CHF", "CLP", "CNY",
        "CUP", "CZK", "DKK", "DZD", "EGP", "ETB", "EUR", "GBP", "GEL", "HKD", "HUF", "IDR", "ILS", "INR",
        "IRR", "ISK", "JPY", "KGS", "KRW", "KWD", "KZT", "LKR", "MDL", "MMK", "MNT", "MXN", "MYR", "NGN",
        "NOK", "NZD", "OMR", "PHP", "PKR", "PLN", "QAR", "RON", "RSD", "SAR", "SEK", "SGD", "THB", "TJS",
        "TRY", "UAH", "USD", "UZS",
    ];

    fn shelf(name: &'static str, listing: impl IntoIterator<Item = String>) -> Shelf {
        let mut shelf = Shelf::new(ExchangeName::new(name), true, Duration::from_secs(5), None);
        let listing: Vec<Direction> = listing.into_iter().map(|it| it.parse().unwrap()).collect();
        shelf.replace_listing(&listing, Vec::new());
        shelf
    }

    #[test]
    fn a_search_takes_few_steps_however_long_a_table_is() {
        let bank = shelf("bank", FIATS.iter().map(|fiat| format!("{fiat}-RUB")));
        let markets = ["BTC-USDT", "ETH-USDT", "BTC-EUR"].map(str::to_owned);
        let shelves = [bank, shelf("market", markets)];
        let map = Map { shelves: &shelves, has_usdt_usd: true, fiat_sources: &[0] };
        for (exchange, direction, expected) in [
            (0, "USD-KZT", 1),
            (0, "USD-RUB", 1),
            (0, "KZT-EUR", 1),
            (1, "BTC-KZT", 2),
            (1, "KZT-BTC", 2),
            (1, "ETH-RUB", 3),
            (1, "USDT-RUB", 2),
        ] {
            let mut walk = Walk {
                map: &map,
                exchange,
                own: own_edges(&shelves[exchange]),
                fiat_stops: Vec::new(),
                goal: direction.parse::<Direction>().unwrap().counter,
                found: Vec::new(),
            };
            walk.fiat_stops = fiat_stops(&walk.own, walk.goal);
            assert!(walk.fiat_stops.len() <= 4, "{direction}: {:?}", walk.fiat_stops);
            let base = direction.parse::<Direction>().unwrap().base;
            walk.step(base, &mut vec![base], &mut Vec::new());
            assert!(walk.found.len() <= 20, "{direction}: {} routes", walk.found.len());
            let routes = map.routes(exchange, direction.parse().unwrap());
            assert_eq!(routes.first().map(|route| route.legs.len()), Some(expected), "{direction}");
        }
    }
}
