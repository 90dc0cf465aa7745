//! Every way from one currency to another, found by trying all of them.
//!
//! Separate from the model because it depends on what is listed alone.

use super::model::Source;
use crate::market::{Asset, Direction};

/// A way from base to counter.
#[derive(Debug, Clone)]
pub(super) struct Path {
    pub(super) legs: Vec<Leg>,
    /// The currencies on the way, both ends included.
    via: Vec<Asset>,
}

/// One step of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leg {
    /// Of the exchange itself.
    Own(Rate),
    /// Of the reference sources, from USDT to USD or back.
    UsdtUsd { is_inverted: bool },
    /// Of the sources of fiat rates.
    Fiat(Direction),
}

/// What one source says of two currencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rate {
    /// What is listed so.
    Quote(Direction),
    /// What is listed the other way round, which is this direction.
    Inverse(Direction),
    /// By way of the currency in which its table is printed.
    Table(Direction, Asset),
}

impl Path {
    fn num_fixings(&self) -> usize {
        self.legs.iter().filter(|leg| matches!(leg, Leg::Fiat(_))).count()
    }

    fn num_shared(&self) -> usize {
        self.legs.iter().filter(|leg| !matches!(leg, Leg::Own(_))).count()
    }
}

fn listed(source: &Source, direction: Direction) -> Option<Rate> {
    if source.lists(direction) {
        return Some(Rate::Quote(direction));
    }
    let inverse = direction.inverse();
    source.lists(inverse).then_some(Rate::Inverse(inverse))
}

fn printed(source: &Source, direction: Direction) -> Option<Rate> {
    let is_of_fiats = direction.base.is_fiat() && direction.counter.is_fiat();
    let mut fiats: Vec<Asset> = source.listing.iter().flat_map(|it| [it.base, it.counter]).collect();
    fiats.sort_unstable();
    let has_both = |middle: &Asset| {
        listed(source, Direction::new(direction.base, *middle)).is_some()
            && listed(source, Direction::new(*middle, direction.counter)).is_some()
    };
    let through = fiats.into_iter().rev().filter(Asset::is_fiat).find(has_both);
    through.filter(|_| is_of_fiats).map(|middle| Rate::Table(direction, middle))
}

/// What a source says of a direction.
pub(super) fn rate(source: &Source, direction: Direction) -> Option<Rate> {
    listed(source, direction).or_else(|| printed(source, direction))
}

/// The two rates of a table.
pub(super) fn rows(source: &Source, direction: Direction, through: Asset) -> Option<(Rate, Rate)> {
    let there = listed(source, Direction::new(direction.base, through))?;
    Some((there, listed(source, Direction::new(through, direction.counter))?))
}

/// Every way of at most three legs, best first: fewest legs, fewest fixings, fewest legs of others, then by the names
/// on the way. At most six, and none with more fixings than the best.
pub(super) fn find(
    source: &Source,
    fiat_sources: &[&Source],
    has_usdt_usd: bool,
    direction: Direction,
) -> Vec<Path> {
    let Direction { base, counter } = direction;
    if base == counter {
        return Vec::new();
    }
    let priced_in = source.listing.iter().flat_map(|it| [(it.base, it.counter), (it.counter, it.base)]);
    let mut stops: Vec<Asset> =
        priced_in.filter(|(what, fiat)| !what.is_fiat() && fiat.is_fiat()).map(|(_, fiat)| fiat).collect();
    stops.extend([Asset::USD, counter]);
    let legs = |from: Asset, to: Asset| -> Vec<Leg> {
        let direction = Direction::new(from, to);
        let mut legs: Vec<Leg> = listed(source, direction).map(Leg::Own).into_iter().collect();
        if has_usdt_usd && (from, to) == (Asset::USDT, Asset::USD) {
            legs.push(Leg::UsdtUsd { is_inverted: false });
        }
        if has_usdt_usd && (from, to) == (Asset::USD, Asset::USDT) {
            legs.push(Leg::UsdtUsd { is_inverted: true });
        }
        if from.is_fiat() && to.is_fiat() && stops.contains(&to) {
            if legs.is_empty() {
                legs.extend(printed(source, direction).map(Leg::Own));
            }
            if fiat_sources.iter().any(|it| rate(it, direction).is_some()) {
                legs.push(Leg::Fiat(direction));
            }
        }
        legs
    };
    let all = [source].into_iter().chain(fiat_sources.iter().copied()).flat_map(|it| &it.listing);
    let mut between: Vec<Asset> = all.flat_map(|it| [it.base, it.counter]).collect();
    between.extend([Asset::USDT, Asset::USD]);
    between.sort_unstable();
    between.dedup();
    between.retain(|it| ![base, counter].contains(it));

    let mut ways: Vec<Vec<Asset>> = vec![vec![base, counter]];
    for one in &between {
        ways.push(vec![base, *one, counter]);
        let others = between.iter().filter(|other| *other != one);
        ways.extend(others.map(|other| vec![base, *one, *other, counter]));
    }
    let has_fiats_in_a_row = |via: &[Asset]| via.windows(3).any(|it| it.iter().all(Asset::is_fiat));
    let mut found: Vec<Path> = Vec::new();
    for via in ways.into_iter().filter(|via| !has_fiats_in_a_row(via)) {
        let mut of_way: Vec<Vec<Leg>> = vec![Vec::new()];
        for pair in via.windows(2) {
            let steps = legs(pair[0], pair[1]);
            let with = |before: &Vec<Leg>| {
                let before = before.clone();
                steps.iter().map(move |step| [before.as_slice(), &[*step]].concat()).collect::<Vec<_>>()
            };
            of_way = of_way.iter().flat_map(with).collect();
        }
        found.extend(of_way.into_iter().map(|legs| Path { legs, via: via.clone() }));
    }
    found.sort_by_key(|path| (path.legs.len(), path.num_fixings(), path.num_shared(), path.via.clone()));
    let fewest = found.first().map_or(0, Path::num_fixings);
    found.retain(|path| path.num_fixings() <= fewest);
    found.truncate(6);
    found
}
