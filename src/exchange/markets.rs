//! Which markets of an exchange are listened to: from what is wanted, and from what the exchange says it trades.
//!
//! Separate because it is the same question on every exchange with order books. A direction such as `BTC-RUB` is
//! rarely a market; it is made of the market of each crypto side against a hub (`BTC-USDT`) and of reference legs.

use std::collections::HashMap;

use super::symbols::Spelling;
use super::{FrameError, Scope, Signal};
use crate::market::{Asset, Direction};

/// The assets against which an exchange trades everything else.
#[derive(Debug)]
pub(super) struct Hubs {
    /// Hubs whose markets are taken for granted until the list of instruments has been read, and reported as
    /// unsupported when it does not have them.
    pub(super) assumed: &'static [Asset],
    /// Hubs whose markets are used only on the word of the list.
    pub(super) on_its_word: &'static [Asset],
}

/// A market that is listened to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Market {
    /// What it quotes.
    pub(super) direction: Direction,
    /// How the exchange spells it.
    pub(super) symbol: String,
}

impl Market {
    /// The number of its subscription.
    pub(super) fn subscription_id(&self) -> u64 {
        subscription_id(&self.symbol)
    }
}

/// The number of the subscription to a symbol, where each has a message of its own: the same whatever else is
/// listened to, because a socket that is open goes on with the numbers that it began with, and because a refusal may
/// name nothing but the symbol. It fits into 32 bits, which every exchange takes (the FNV-1a hash).
pub(super) fn subscription_id(symbol: &str) -> u64 {
    let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    u64::from(symbol.bytes().fold(0x811c_9dc5, mix))
}

/// A row of the list of instruments: a market that is open for trading.
#[derive(Debug, Clone)]
pub(super) struct Instrument<'a> {
    /// How the exchange spells the market.
    pub(super) symbol: &'a str,
    /// Its code of the base.
    pub(super) base: &'a str,
    /// Its code of the counter.
    pub(super) counter: &'a str,
}

/// The markets of one exchange that are listened to.
#[derive(Debug)]
pub(super) struct Markets {
    spelling: &'static Spelling,
    /// Markets that would help; `None` for [`Scope::Everything`].
    candidates: Option<Vec<Candidate>>,
    /// What is listened to, in the order of `candidates`.
    heard: Vec<Market>,
    /// What is read, by symbol.
    by_symbol: HashMap<String, Direction>,
    unsupported: Vec<Direction>,
}

/// A market that would help to answer what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    direction: Direction,
    /// Whether it is taken for granted until the list has been read.
    is_assumed: bool,
}

impl Markets {
    /// What is listened to before the list of instruments has been read.
    pub(super) fn new(scope: &Scope, spelling: &'static Spelling, hubs: &Hubs) -> Self {
        let candidates = match scope {
            Scope::Directions(wanted) => Some(candidates(wanted, hubs)),
            Scope::Everything => None,
        };
        let mut markets = Self {
            spelling,
            candidates,
            heard: Vec::new(),
            by_symbol: HashMap::new(),
            unsupported: Vec::new(),
        };
        for candidate in markets.candidates.iter().flatten() {
            let market =
                Market { direction: candidate.direction, symbol: spelling.symbol(candidate.direction) };
            // Where the exchange gives our code to another asset, only the list can tell how it spells this one.
            if spelling.direction(&market.symbol).is_some_and(|direction| direction != market.direction) {
                continue;
            }
            let is_wanted = scope.names(candidate.direction);
            if candidate.is_assumed || is_wanted {
                markets.by_symbol.insert(market.symbol.clone(), market.direction);
            }
            if candidate.is_assumed {
                markets.heard.push(market);
            }
        }
        markets
    }

    /// Takes the list of instruments, of which only those that are open for trading are given. Says whether what is
    /// listened to has changed by it.
    ///
    /// # Errors
    /// When the list is empty. An exchange without a single open market is in maintenance or has changed its
    /// words, and neither is a reason to forget all of its markets until the list is read again.
    pub(super) fn take_list<'a>(
        &mut self,
        instruments: impl IntoIterator<Item = Instrument<'a>>,
    ) -> Result<Vec<Signal>, FrameError> {
        let mut is_empty = true;
        let mut best: HashMap<Direction, (usize, &str)> = HashMap::new();
        for instrument in instruments {
            is_empty = false;
            let Some(direction) = self.spelling.pair(instrument.base, instrument.counter) else { continue };
            let preference =
                self.spelling.preference(instrument.base) + self.spelling.preference(instrument.counter);
            let known = best.entry(direction).or_insert((preference, instrument.symbol));
            if preference < known.0 {
                *known = (preference, instrument.symbol);
            }
        }
        if is_empty {
            return Err(FrameError::Syntax("the list of instruments has none that is open".to_owned()));
        }
        let Some(candidates) = &self.candidates else { return Ok(Vec::new()) };
        let before = (self.heard.clone(), self.unsupported.clone());
        (self.heard, self.by_symbol, self.unsupported) = Default::default();
        for candidate in candidates {
            match best.get(&candidate.direction) {
                Some((_, symbol)) => {
                    self.by_symbol.insert((*symbol).to_owned(), candidate.direction);
                    self.heard.push(Market { direction: candidate.direction, symbol: (*symbol).to_owned() });
                }
                None if candidate.is_assumed => self.unsupported.push(candidate.direction),
                None => {}
            }
        }
        Ok(self.changes_since(&before))
    }

    /// Stops listening to a market that the exchange turns out not to have, until the list is read again. Says whether
    /// what is listened to has changed by it.
    pub(super) fn drop_market(&mut self, direction: Direction) -> Vec<Signal> {
        let before = (self.heard.clone(), self.unsupported.clone());
        self.heard.retain(|market| market.direction != direction);
        self.by_symbol.retain(|_, known| *known != direction);
        if !self.unsupported.contains(&direction) {
            self.unsupported.push(direction);
        }
        self.changes_since(&before)
    }

    fn changes_since(&self, (heard, unsupported): &(Vec<Market>, Vec<Direction>)) -> Vec<Signal> {
        let is_same = self.heard == *heard && self.unsupported == *unsupported;
        if is_same { Vec::new() } else { vec![Signal::FeedChanged] }
    }

    /// The direction of a symbol; `None` if it is not listened to.
    pub(super) fn direction(&self, symbol: &str) -> Option<Direction> {
        match self.candidates {
            Some(_) => self.by_symbol.get(symbol).copied(),
            None => self.spelling.direction(symbol),
        }
    }

    /// Whether a row of a list of all markets is one that nobody asked for, so that it is no news that it is there.
    pub(super) fn leaves_out(&self, symbol: &str) -> bool {
        self.candidates.is_some() && !self.by_symbol.contains_key(symbol)
    }

    /// The exchange's spelling of a direction.
    pub(super) fn symbol(&self, direction: Direction) -> String {
        let market = self.heard.iter().find(|market| market.direction == direction);
        market.map_or_else(|| self.spelling.symbol(direction), |market| market.symbol.clone())
    }

    /// The markets that are listened to, always in the same order.
    pub(super) fn heard(&self) -> &[Market] {
        &self.heard
    }

    /// The directions of the markets that are listened to.
    pub(super) fn listens_to(&self) -> Vec<Direction> {
        self.heard.iter().map(|market| market.direction).collect()
    }

    /// Markets that would be needed and that the exchange does not trade.
    pub(super) fn unsupported(&self) -> Vec<Direction> {
        self.unsupported.clone()
    }
}

/// The markets that help to answer `wanted`: each crypto side against every hub, the hubs among themselves, and
/// the wanted direction itself, either way round. First those that are assumed, each group in the order of
/// `wanted`.
fn candidates(wanted: &[Direction], hubs: &Hubs) -> Vec<Candidate> {
    let wanted: Vec<Direction> = wanted.iter().map(|direction| direction.priced_as()).collect();
    let mut sides: Vec<Asset> = Vec::new();
    for side in wanted.iter().flat_map(|direction| [direction.base, direction.counter]) {
        if !side.is_fiat() && !sides.contains(&side) {
            sides.push(side);
        }
    }
    let all_hubs = || hubs.assumed.iter().chain(hubs.on_its_word).copied();
    if !sides.is_empty() {
        for hub in all_hubs() {
            if !hub.is_fiat() && !sides.contains(&hub) {
                sides.push(hub);
            }
        }
    }
    let against = |hub: &Asset, is_assumed| {
        let (hub, sides) = (*hub, sides.clone());
        sides.into_iter().map(move |side| Candidate { direction: Direction::new(side, hub), is_assumed })
    };
    let assumed = hubs.assumed.iter().flat_map(|hub| against(hub, true));
    let on_its_word = hubs.on_its_word.iter().flat_map(|hub| against(hub, false));
    let exact = wanted.iter().flat_map(|direction| [*direction, direction.inverse()]);
    let exact = exact.map(|direction| Candidate { direction, is_assumed: false });

    let mut candidates: Vec<Candidate> = Vec::new();
    for candidate in assumed.chain(on_its_word).chain(exact) {
        let is_identity = candidate.direction.base == candidate.direction.counter;
        let is_known = candidates.iter().any(|known| known.direction == candidate.direction);
        if !is_identity && !is_known {
            candidates.push(candidate);
        }
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    static SPELLING: Spelling = Spelling {
        separator: "",
        is_lower_case: false,
        aliases: &[("GRAM", "TON")],
        counters: &["USDT", "BTC"],
        rare_counters: &["USD"],
    };
    const HUBS: Hubs = Hubs { assumed: &[Asset::USDT], on_its_word: &[Asset::USD] };

    fn markets(wanted: &str) -> Markets {
        let wanted = wanted.split(',').map(|direction| direction.parse().unwrap()).collect();
        Markets::new(&Scope::Directions(wanted), &SPELLING, &HUBS)
    }

    fn instrument<'a>(base: &'a str, counter: &'a str, symbol: &'a str) -> Instrument<'a> {
        Instrument { symbol, base, counter }
    }

    fn symbols(markets: &Markets) -> Vec<&str> {
        markets.heard().iter().map(|market| market.symbol.as_str()).collect()
    }

    #[test]
    fn before_the_list_is_read_only_the_markets_of_assumed_hubs_are_listened_to() {
        for (wanted, expected) in [
            ("BTC-USD,BTC-RUB,ETH-USD", &["BTCUSDT", "ETHUSDT"][..]),
            ("USDTTRC-RUB,USDTERC-USD", &[]),
            ("RUB-USDTTRC,USD-BTC", &["BTCUSDT"]),
            ("ETH-BTC", &["ETHUSDT", "BTCUSDT"]),
            ("TON-USD", &["GRAMUSDT"]),
            ("USD-RUB", &[]),
            ("USDTTRC-USDTERC", &[]),
        ] {
            assert_eq!(symbols(&markets(wanted)), expected, "{wanted}");
        }
    }

    #[test]
    fn a_market_that_is_wanted_by_name_is_read_before_the_list_and_one_that_would_help_is_not() {
        let markets = markets("ETH-BTC,BTC-EUR");
        assert!(markets.direction("ETHBTC").is_some());
        assert!(markets.direction("BTCEUR").is_some());
        assert!(markets.direction("BTCUSD").is_none());
        assert!(!symbols(&markets).contains(&"BTCEUR"), "it is not asked for before the list has it");
    }

    #[test]
    fn the_list_adds_what_is_traded_and_reports_what_is_not() {
        let mut markets = markets("BTC-USD,FOO-USD,USDTTRC-EUR,ETH-BTC");
        let list = [
            instrument("BTC", "USDT", "BTCUSDT"),
            instrument("BTC", "USD", "BTCUSD"),
            instrument("USDT", "USD", "USDTUSD"),
            instrument("EUR", "USDT", "EURUSDT"),
            instrument("ETH", "USDT", "ETHUSDT"),
            instrument("ETH", "BTC", "ETHBTC"),
            instrument("XRP", "USDT", "XRPUSDT"),
        ];
        markets.take_list(list).unwrap();
        assert_eq!(symbols(&markets), ["BTCUSDT", "ETHUSDT", "BTCUSD", "USDTUSD", "EURUSDT", "ETHBTC"]);
        assert_eq!(markets.unsupported(), ["FOO-USDT".parse().unwrap()]);
        assert!(markets.direction("XRPUSDT").is_none());
    }

    #[test]
    fn a_row_that_nobody_asked_for_is_left_out_unless_everything_is_read() {
        let markets = markets("BTC-USD");
        assert!(!markets.leaves_out("BTCUSDT") && markets.leaves_out("ETHUSDT"));
        let everything = Markets::new(&Scope::Everything, &SPELLING, &HUBS);
        assert!(!everything.leaves_out("ETHUSDT") && !everything.leaves_out("nonsense"));
    }

    #[test]
    fn symbols_have_different_numbers_that_stay() {
        assert_eq!(subscription_id("a"), 0xe40c_292c);
        let symbols = ["BTC-USDT", "BTC-USDC", "BTCUSDT", "TBC-USDT", "", "ETH-USDT", "BTC_USDT"];
        let numbers: std::collections::BTreeSet<u64> = symbols.into_iter().map(subscription_id).collect();
        assert_eq!(numbers.len(), symbols.len());
    }

    #[test]
    fn of_two_names_of_an_asset_the_newer_wins_while_it_is_traded() {
        let (ton, gram) = (instrument("TON", "USDT", "TONUSDT"), instrument("GRAM", "USDT", "GRAMUSDT"));
        for (list, expected) in [
            (vec![ton.clone(), gram.clone()], "GRAMUSDT"),
            (vec![gram.clone(), ton.clone()], "GRAMUSDT"),
            (vec![gram], "GRAMUSDT"),
            (vec![ton], "TONUSDT"),
        ] {
            let mut markets = markets("TON-USD");
            markets.take_list(list).unwrap();
            assert_eq!(symbols(&markets), [expected]);
            assert_eq!(markets.direction(expected), Some("TON-USDT".parse().unwrap()));
        }
    }

    #[test]
    fn a_symbol_that_means_another_asset_is_not_assumed() {
        static SPELLING: Spelling = Spelling {
            separator: "_",
            is_lower_case: false,
            aliases: &[("AMP", "AMPL")],
            counters: &[],
            rare_counters: &[],
        };
        let wanted = ["AMP-USDT", "AMPL-USDT"].map(|direction| direction.parse().unwrap()).to_vec();
        let mut markets = Markets::new(&Scope::Directions(wanted), &SPELLING, &HUBS);
        assert_eq!(symbols(&markets), ["AMP_USDT"]);
        assert_eq!(markets.direction("AMP_USDT"), Some("AMPL-USDT".parse().unwrap()));
        markets.take_list([instrument("AMP", "USDT", "AMP_USDT")]).unwrap();
        assert_eq!(markets.unsupported(), ["AMP-USDT".parse().unwrap()]);
    }

    #[test]
    fn an_empty_list_changes_nothing() {
        let mut markets = markets("BTC-USD");
        assert!(markets.take_list([]).is_err());
        assert_eq!(symbols(&markets), ["BTCUSDT"]);
    }

    #[test]
    fn a_market_that_was_dropped_comes_back_with_the_next_list() {
        let mut markets = markets("BTC-USD,ETH-USD");
        markets.drop_market("ETH-USDT".parse().unwrap());
        assert_eq!(symbols(&markets), ["BTCUSDT"]);
        assert_eq!(markets.unsupported(), ["ETH-USDT".parse().unwrap()]);
        markets
            .take_list([instrument("BTC", "USDT", "BTCUSDT"), instrument("ETH", "USDT", "ETHUSDT")])
            .unwrap();
        assert_eq!(symbols(&markets), ["BTCUSDT", "ETHUSDT"]);
        assert!(markets.unsupported().is_empty());
    }
}
