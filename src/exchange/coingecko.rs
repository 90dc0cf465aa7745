//! CoinGecko: an average over many exchanges, by one batched request.
//!
//! It has no book and one price for each coin and counter. Counters other than USD are conversions of the USD price
//! by its own table of exchange rates. It has no socket for keyless users, and refreshes once a minute for them.
//!
//! <https://docs.coingecko.com/v3.0.1/reference/simple-price>

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Access, Exchange, Feed, FrameError, KeyUse, Kind, Reading, Request, Row, Scope, Signal, Source, json,
};
use crate::market::{Asset, Direction, ExchangeName, Quote, Refusal};

pub(super) const ROW: Row = Row {
    name: ExchangeName::new("coingecko"),
    kind: Kind::Aggregator,
    rest_url: "https://api.coingecko.com/api/v3",
    ws_url: "",
    stale_after: Duration::from_secs(180),
    poll_every: Duration::from_secs(60),
    poll_every_with_key: Some(Duration::from_secs(20)),
    key: KeyUse::Optional,
    make: |access, scope| Box::new(CoinGecko::new(access, &scope)),
};

/// The host of paying users; a key works on its own host only, and under its own name.
const PRO_HOST: &str = "://pro-api.";

/// Answers in a row without a coin after which it counts as unknown. CoinGecko leaves out ids that it does not know;
/// one answer may lack a coin for other reasons.
const MAX_ABSENCES: u32 = 3;

/// Ends of members that belong to a price and are none.
const OTHER_FIGURES: [&str; 3] = ["_market_cap", "_24h_vol", "_24h_change"];

/// The member that tells when a coin's prices were made, in seconds.
const LAST_UPDATED_AT: &str = "last_updated_at";

/// An error in the body, also with a status of success.
#[derive(Deserialize)]
struct Status {
    error_code: i64,
    #[serde(default)]
    error_message: String,
}

/// The plug-in of CoinGecko.
struct CoinGecko {
    /// What is asked for; `None` for [`Scope::Everything`].
    asked: Option<Asked>,
    key: Option<(&'static str, String)>,
    /// In how many answers in a row a coin was missing.
    absences: HashMap<Asset, u32>,
}

/// The coins and the counters that are asked for, each with each.
struct Asked {
    coins: Vec<Coin>,
    counters: Vec<&'static str>,
    unknown: Vec<Asset>,
}

/// An asset and CoinGecko's name of it.
#[derive(Clone, Copy)]
struct Coin {
    asset: Asset,
    id: &'static str,
}

impl CoinGecko {
    fn new(access: &Access, scope: &Scope) -> Self {
        let header = match access.rest_url.contains(PRO_HOST) {
            true => "x-cg-pro-api-key",
            false => "x-cg-demo-api-key",
        };
        let asked = match scope {
            Scope::Directions(wanted) => Some(Asked::new(wanted)),
            Scope::Everything => None,
        };
        let key = access.api_key.clone().map(|key| (header, key));
        Self { asked, key, absences: HashMap::new() }
    }

    fn is_absent(&self, asset: Asset) -> bool {
        self.absences.get(&asset).is_some_and(|num_absences| *num_absences >= MAX_ABSENCES)
    }

    fn poll(&self, asked: &Asked) -> Request {
        let ids: Vec<&str> = asked.coins.iter().map(|coin| coin.id).collect();
        let path = format!(
            "/simple/price?ids={}&vs_currencies={}&include_last_updated_at=true&precision=full",
            ids.join(","),
            asked.counters.join(","),
        );
        Request { headers: self.key.iter().cloned().collect(), ..Request::get(path) }
    }

    /// Counts which of the asked coins the answer has, and says whether that changed what is supported.
    fn count_absences(&mut self, ids: &[&str]) -> bool {
        let Some(asked) = &self.asked else { return false };
        let mut has_changed = false;
        for coin in &asked.coins {
            let num_absences = self.absences.entry(coin.asset).or_default();
            let was_absent = *num_absences >= MAX_ABSENCES;
            *num_absences = if ids.contains(&coin.id) { 0 } else { num_absences.saturating_add(1) };
            has_changed |= was_absent != (*num_absences >= MAX_ABSENCES);
        }
        has_changed
    }

    /// Reads all prices of one coin.
    fn read_coin(&self, id: &str, raw: &RawValue, reading: &mut Reading) {
        let Some(coin) = coin_of(id).filter(|coin| self.asks_for(*coin)) else {
            reading.push(id, Err(Refusal::UnexpectedSymbol));
            return;
        };
        let Ok(json::Members(members)) = json::object(raw.get()) else {
            reading.push(id, Err(Refusal::Syntax));
            return;
        };
        let quoted_at = members.iter().find(|(name, _)| name == LAST_UPDATED_AT).map(|(_, raw)| *raw);
        let Ok(quoted_at) = quoted_at.filter(|raw| raw.get() != "null").map(time_in_s).transpose() else {
            reading.push(id, Err(Refusal::Syntax));
            return;
        };
        let is_price =
            |name: &str| name != LAST_UPDATED_AT && !OTHER_FIGURES.iter().any(|end| name.ends_with(end));
        let mut has_price = false;
        for (counter, raw) in members.iter().filter(|(name, _)| is_price(name)) {
            has_price = true;
            reading.push(&spelling(id, counter), self.read_price(coin, counter, raw, quoted_at));
        }
        let missing = self.asked.iter().flat_map(|asked| asked.counters_of(coin));
        let missing: Vec<&str> =
            missing.filter(|counter| members.iter().all(|(name, _)| name != counter)).collect();
        for counter in &missing {
            reading.push(&spelling(id, counter), Err(Refusal::Syntax));
        }
        if !has_price && missing.is_empty() {
            reading.push(id, Err(Refusal::Syntax));
        }
    }

    fn read_price(
        &self,
        coin: Coin,
        counter: &str,
        raw: &RawValue,
        quoted_at: Option<DateTime<Utc>>,
    ) -> Result<Quote, Refusal> {
        let last = json::number(raw)?;
        let is_asked = match &self.asked {
            Some(asked) => asked.counters.contains(&counter),
            None => COUNTERS.contains(&counter),
        };
        let counter = Asset::new(counter).filter(|asset| is_asked && *asset != coin.asset);
        let direction = Direction::new(coin.asset, counter.ok_or(Refusal::UnexpectedSymbol)?);
        Ok(Quote { quoted_at, ..Quote::last(direction, last) })
    }

    fn asks_for(&self, coin: Coin) -> bool {
        self.asked.as_ref().is_none_or(|asked| asked.coins.iter().any(|known| known.id == coin.id))
    }
}

impl Exchange for CoinGecko {
    fn feed(&self) -> Feed {
        let Some(asked) = &self.asked else { return Feed::default() };
        let (absent, present): (Vec<Coin>, Vec<Coin>) =
            asked.coins.iter().partition(|coin| self.is_absent(coin.asset));
        let listens_to = present.iter().flat_map(|coin| {
            asked
                .counters_of(*coin)
                .filter_map(|counter| Some(Direction::new(coin.asset, Asset::new(counter)?)))
        });
        let unsupported = asked.unknown.iter().copied().chain(absent.iter().map(|coin| coin.asset));
        Feed {
            listens_to: listens_to.collect(),
            unsupported: unsupported.map(|asset| Direction::new(asset, Asset::USD)).collect(),
            polls: vec![self.poll(asked)],
            ..Feed::default()
        }
    }

    fn read(&mut self, source: Source, bytes: &[u8]) -> Result<Reading, FrameError> {
        if source != Source::Poll {
            return Ok(Reading::default());
        }
        let json::Members(members) = json::object(json::text(bytes)?)?;
        let mut reading = Reading::default();
        if let Some(signal) = error_of(&members) {
            reading.signals.push(signal);
            return Ok(reading);
        }
        for (id, raw) in &members {
            self.read_coin(id, raw, &mut reading);
        }
        let ids: Vec<&str> = members.iter().map(|(id, _)| &**id).collect();
        if self.count_absences(&ids) {
            reading.signals.push(Signal::FeedChanged);
        }
        Ok(reading)
    }

    fn read_failure(&mut self, _request: &Request, _status: u16, body: &[u8]) -> Reading {
        let members = json::text(body).and_then(json::object::<json::Members<'_>>);
        let signal = members.ok().and_then(|members| error_of(&members.0));
        Reading { signals: signal.into_iter().collect(), ..Reading::default() }
    }

    fn symbol(&self, direction: Direction) -> String {
        let coin = COINS.iter().find(|(code, _)| *code == direction.base.as_str());
        match coin {
            Some((_, id)) => spelling(id, &direction.counter.as_str().to_ascii_lowercase()),
            None => direction.to_string(),
        }
    }
}

impl Asked {
    /// The coins of every crypto side, and every side that can be a counter. Tether and USD are always asked,
    /// because tether's price in USD is a leg of other exchanges' courses.
    fn new(wanted: &[Direction]) -> Self {
        let mut asked = Self { coins: Vec::new(), counters: vec!["usd"], unknown: Vec::new() };
        for direction in wanted.iter().map(|direction| direction.priced_as()) {
            asked.add_counter(direction.counter);
            if direction.base.is_fiat() {
                asked.add_counter(direction.base);
            }
            asked.add_coin(direction.base);
            asked.add_coin(direction.counter);
        }
        asked.add_coin(Asset::USDT);
        asked
    }

    fn add_coin(&mut self, asset: Asset) {
        match COINS.iter().find(|(code, _)| *code == asset.as_str()) {
            Some((_, id)) if self.coins.iter().all(|coin| coin.asset != asset) => {
                self.coins.push(Coin { asset, id });
            }
            None if !asset.is_fiat() && counter_of(asset).is_none() && !self.unknown.contains(&asset) => {
                self.unknown.push(asset);
            }
            _ => {}
        }
    }

    fn add_counter(&mut self, asset: Asset) {
        if let Some(counter) = counter_of(asset)
            && !self.counters.contains(&counter)
        {
            self.counters.push(counter);
        }
    }

    /// The counters in which a coin is priced: all but itself.
    fn counters_of(&self, coin: Coin) -> impl Iterator<Item = &'static str> {
        self.counters.iter().copied().filter(move |counter| Asset::new(counter) != Some(coin.asset))
    }
}

fn coin_of(id: &str) -> Option<Coin> {
    let (code, id) = COINS.iter().find(|(_, known)| *known == id)?;
    Some(Coin { asset: Asset::new(code)?, id })
}

fn counter_of(asset: Asset) -> Option<&'static str> {
    COUNTERS.iter().find(|counter| counter.eq_ignore_ascii_case(asset.as_str())).copied()
}

fn spelling(id: &str, counter: &str) -> String {
    format!("{id}/{counter}")
}

/// What a body complains about: `{"error":…}` or `{"status":{"error_code":…}}`; `None` if it does not.
fn error_of(members: &[(Cow<'_, str>, &RawValue)]) -> Option<Signal> {
    let member = |wanted: &str| members.iter().find(|(name, _)| name == wanted).map(|(_, raw)| *raw);
    if let Some(status) = member("status").and_then(|raw| json::object::<Status>(raw.get()).ok()) {
        return Some(match status.error_code {
            429 => Signal::RateLimited { wait: None },
            code => Signal::Error(format!("{} (code {code})", json::shown(&status.error_message))),
        });
    }
    let error = member("error").or(member("error_code"))?;
    let text = json::string(error);
    Some(Signal::Error(json::shown(text.as_deref().unwrap_or(error.get()))))
}

/// A time in seconds since 1970.
fn time_in_s(raw: &RawValue) -> Result<DateTime<Utc>, Refusal> {
    let seconds = json::natural(raw).and_then(|seconds| i64::try_from(seconds).ok());
    seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0)).ok_or(Refusal::Syntax)
}

/// The counters that CoinGecko knows (`/simple/supported_vs_currencies`), without the units of BTC (`bits`, `sats`).
/// It has no USDT and no USDC among them.
#[rustfmt::skip]
const COUNTERS: &[&str] = &[
    "usd", "eur", "rub", "aed", "ars", "aud", "bdt", "bhd", "bmd", "brl", "cad", "chf", "clp", "cny", "czk", "dkk",
    "gbp", "gel", "hkd", "huf", "idr", "ils", "inr", "jpy", "krw", "kwd", "lkr", "mmk", "mxn", "myr", "ngn", "nok",
    "nzd", "php", "pkr", "pln", "sar", "sek", "sgd", "thb", "try", "twd", "uah", "vef", "vnd", "zar", "xdr", "xag",
    "xau", "btc", "eth", "ltc", "bch", "bnb", "eos", "xrp", "xlm", "link", "dot", "yfi", "sol",
];

/// Our codes and CoinGecko's ids. A code alone is no answer there, because several coins share most codes.
const COINS: &[(&str, &str)] = &[
    ("BTC", "bitcoin"),
    ("ETH", "ethereum"),
    ("USDT", "tether"),
    ("USDC", "usd-coin"),
    ("BNB", "binancecoin"),
    ("XRP", "ripple"),
    ("SOL", "solana"),
    ("TRX", "tron"),
    ("TON", "the-open-network"),
    ("DOGE", "dogecoin"),
    ("ADA", "cardano"),
    ("LTC", "litecoin"),
    ("BCH", "bitcoin-cash"),
    ("LINK", "chainlink"),
    ("DOT", "polkadot"),
    ("AVAX", "avalanche-2"),
    ("XLM", "stellar"),
    ("XMR", "monero"),
    ("SHIB", "shiba-inu"),
    ("SUI", "sui"),
    ("HBAR", "hedera-hashgraph"),
    ("UNI", "uniswap"),
    ("ETC", "ethereum-classic"),
    ("ATOM", "cosmos"),
    ("NEAR", "near"),
    ("APT", "aptos"),
    ("ARB", "arbitrum"),
    ("OP", "optimism"),
    ("FIL", "filecoin"),
    ("ICP", "internet-computer"),
    ("AAVE", "aave"),
    ("PEPE", "pepe"),
    ("POL", "polygon-ecosystem-token"),
    ("ALGO", "algorand"),
    ("VET", "vechain"),
    ("EOS", "eos"),
    ("XTZ", "tezos"),
    ("ZEC", "zcash"),
    ("DASH", "dash"),
    ("NEO", "neo"),
    ("YFI", "yearn-finance"),
    ("CRV", "curve-dao-token"),
    ("COMP", "compound-governance-token"),
    ("INJ", "injective-protocol"),
    ("GRT", "the-graph"),
    ("SNX", "havven"),
    ("SUSHI", "sushi"),
    ("WLD", "worldcoin-wld"),
    ("TAO", "bittensor"),
    ("KAS", "kaspa"),
    ("RUNE", "thorchain"),
    ("SEI", "sei-network"),
    ("TIA", "celestia"),
    ("SAND", "the-sandbox"),
    ("MANA", "decentraland"),
    ("1INCH", "1inch"),
    ("QTUM", "qtum"),
    ("NOT", "notcoin"),
    ("WBTC", "wrapped-bitcoin"),
    ("DAI", "dai"),
    ("TUSD", "true-usd"),
    ("FDUSD", "first-digital-usd"),
    ("PAXG", "pax-gold"),
    ("XAUT", "tether-gold"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::spoken::{scope, strings};

    fn coingecko(wanted: &str) -> CoinGecko {
        CoinGecko::new(&Access::default(), &scope(wanted))
    }

    fn everything() -> CoinGecko {
        CoinGecko::new(&Access::default(), &Scope::Everything)
    }

    /// Direction, price and time of every quote, then symbol and reason of every refusal.
    fn told(reading: &Reading) -> Vec<String> {
        let quotes = reading.quotes.iter().map(|quote| {
            assert_eq!((quote.bid, quote.ask), (None, None));
            let time = quote.quoted_at.map_or("-".to_owned(), |time| time.timestamp().to_string());
            format!("{} {} {time}", quote.direction, quote.last.unwrap().normalize())
        });
        quotes.chain(reading.refused.iter().map(|(symbol, refusal)| format!("{symbol}: {refusal}"))).collect()
    }

    #[test]
    fn one_request_asks_for_everything_that_is_wanted() {
        for (wanted, ids, counters, listens_to) in [
            ("BTC-USD", "bitcoin,tether", "usd", &["BTC-USD", "USDT-USD"][..]),
            (
                "BTC-RUB,USDTTRC-RUB,USDTERC-USD",
                "bitcoin,tether",
                "usd,rub",
                &["BTC-USD", "BTC-RUB", "USDT-USD", "USDT-RUB"],
            ),
            ("RUB-USDTTRC", "tether", "usd,rub", &["USDT-USD", "USDT-RUB"]),
            ("USD-RUB", "tether", "usd,rub", &["USDT-USD", "USDT-RUB"]),
            ("USDTTRC-KZT", "tether", "usd", &["USDT-USD"]),
            (
                "ETH-BTC",
                "ethereum,bitcoin,tether",
                "usd,btc",
                &["ETH-USD", "ETH-BTC", "BTC-USD", "USDT-USD", "USDT-BTC"],
            ),
        ] {
            let feed = coingecko(wanted).feed();
            let path = format!(
                "/simple/price?ids={ids}&vs_currencies={counters}&include_last_updated_at=true&precision=full"
            );
            assert_eq!(feed.polls, [Request::get(path)], "{wanted}");
            assert_eq!(strings(&feed.listens_to), listens_to, "{wanted}");
            assert!(feed.unsupported.is_empty() && feed.socket.is_none(), "{wanted}");
        }
    }

    #[test]
    fn a_coin_that_nobody_knows_is_unsupported_and_a_fiat_counter_is_left_to_other_sources() {
        let feed = coingecko("FOO-USD,BTC-BAR,FOO-RUB,BTC-KZT").feed();
        assert_eq!(strings(&feed.unsupported), ["FOO-USD", "BAR-USD"]);
    }

    #[test]
    fn a_key_goes_into_the_header_of_its_host() {
        for (rest_url, header) in [
            ("https://api.coingecko.com/api/v3", "x-cg-demo-api-key"),
            ("https://pro-api.coingecko.com/api/v3", "x-cg-pro-api-key"),
            ("http://127.0.0.1:9900/coingecko/api/v3", "x-cg-demo-api-key"),
        ] {
            let access = Access { rest_url: rest_url.to_owned(), api_key: Some("k".to_owned()) };
            let feed = CoinGecko::new(&access, &Scope::Directions(vec![])).feed();
            assert_eq!(feed.polls[0].headers, [(header, "k".to_owned())]);
        }
        assert!(coingecko("BTC-USD").feed().polls[0].headers.is_empty());
    }

    #[test]
    fn every_price_is_a_quote_with_the_time_of_its_coin() {
        let body = br#"{"bitcoin":{"usd":61000,"rub":4.9e6,"last_updated_at":1779092258},
            "tether":{"usd":0.99981234567890123,"rub":80.5,"last_updated_at":1779092251}}"#;
        let reading = coingecko("BTC-RUB").read(Source::Poll, body).unwrap();
        assert_eq!(
            told(&reading),
            [
                "BTC-USD 61000 1779092258",
                "BTC-RUB 4900000 1779092258",
                "USDT-USD 0.99981234567890123 1779092251",
                "USDT-RUB 80.5 1779092251",
            ]
        );
    }

    #[test]
    fn what_is_no_price_is_refused_and_its_siblings_are_read() {
        for (body, expected) in [
            (r#"{"bitcoin":{"usd":1,"eur":null}}"#, &["BTC-USD 1 -", "bitcoin/eur: syntax"][..]),
            (r#"{"bitcoin":{"usd":"$1","eur":2}}"#, &["BTC-EUR 2 -", "bitcoin/usd: syntax"]),
            (r#"{"bitcoin":{"usd":"1"}}"#, &["bitcoin/usd: syntax"]),
            (r#"{"bitcoin":{"usd":[1]}}"#, &["bitcoin/usd: syntax"]),
            (r#"{"bitcoin":{"usd":1e400}}"#, &["bitcoin/usd: syntax"]),
            (r#"{"bitcoin":{"usd":0}}"#, &["BTC-USD 0 -"]),
            (r#"{"bitcoin":{}}"#, &["bitcoin: syntax"]),
            (r#"{"bitcoin":{"last_updated_at":5}}"#, &["bitcoin: syntax"]),
            (r#"{"bitcoin":null}"#, &["bitcoin: syntax"]),
            (r#"{"bitcoin":[1]}"#, &["bitcoin: syntax"]),
            (r#"{"bitcoin":{"usd":1,"usd":2},"ethereum":{"usd":3}}"#, &["ETH-USD 3 -", "bitcoin: syntax"]),
            (r#"{"bitcoin":{"btc":1}}"#, &["bitcoin/btc: unexpected_symbol"]),
            (r#"{"bitcoin":{"sats":100000000}}"#, &["bitcoin/sats: unexpected_symbol"]),
            (r#"{"dogwifcoin":{"usd":1}}"#, &["dogwifcoin: unexpected_symbol"]),
            (
                r#"{"bitcoin":{"usd":1,"usd_market_cap":2,"usd_24h_vol":3,"usd_24h_change":-4}}"#,
                &["BTC-USD 1 -"],
            ),
            (r#"{"bitcoin":{"usd":1,"last_updated_at":null}}"#, &["BTC-USD 1 -"]),
            (r#"{"bitcoin":{"usd":1,"last_updated_at":"x"}}"#, &["bitcoin: syntax"]),
            (r#"{"bitcoin":{"usd":1,"last_updated_at":-5}}"#, &["bitcoin: syntax"]),
            (r#"{"bitcoin":{"usd":1,"last_updated_at":1e300}}"#, &["bitcoin: syntax"]),
            ("{}", &[]),
        ] {
            let reading = everything().read(Source::Poll, body.as_bytes()).unwrap();
            assert_eq!(told(&reading), expected, "{body}");
        }
    }

    #[test]
    fn a_counter_that_was_asked_for_and_is_missing_is_refused() {
        let body = br#"{"bitcoin":{"usd":61000,"eur":52000},"tether":{"usd":1,"rub":80}}"#;
        let reading = coingecko("BTC-RUB").read(Source::Poll, body).unwrap();
        let expected = [
            "BTC-USD 61000 -",
            "USDT-USD 1 -",
            "USDT-RUB 80 -",
            "bitcoin/eur: unexpected_symbol",
            "bitcoin/rub: syntax",
        ];
        assert_eq!(told(&reading), expected);
    }

    #[test]
    fn a_name_that_comes_twice_makes_the_body_unreadable() {
        let body = br#"{"bitcoin":{"usd":1},"bitcoin":{"usd":2}}"#;
        assert!(everything().read(Source::Poll, body).is_err());
    }

    #[test]
    fn an_error_in_the_body_is_a_signal_and_no_price() {
        let limited = Signal::RateLimited { wait: None };
        let error = |text: &str| Signal::Error(text.to_owned());
        for (body, expected) in [
            (r#"{"status":{"error_code":429,"error_message":"You've exceeded"}}"#, limited),
            (
                r#"{"status":{"error_code":10011,"error_message":"wrong host"}}"#,
                error("wrong host (code 10011)"),
            ),
            (r#"{"error":"Missing parameter ids"}"#, error("Missing parameter ids")),
            (r#"{"error":{"a":1},"bitcoin":{"usd":1}}"#, error(r#"{"a":1}"#)),
        ] {
            let reading = everything().read(Source::Poll, body.as_bytes()).unwrap();
            assert_eq!((reading.quotes, reading.signals), (vec![], vec![expected.clone()]), "{body}");
            let reading = everything().read_failure(&Request::get("/"), 400, body.as_bytes());
            assert_eq!(reading.signals, [expected], "{body}");
        }
        let html = everything().read_failure(&Request::get("/"), 403, b"<html></html>");
        assert_eq!(html, Reading::default());
    }

    #[test]
    fn a_coin_that_stays_away_is_unsupported_until_it_comes_back() {
        let mut coingecko = coingecko("BTC-USD,NOT-USD");
        let without = br#"{"bitcoin":{"usd":61000},"tether":{"usd":1}}"#;
        let with = br#"{"bitcoin":{"usd":61000},"tether":{"usd":1},"notcoin":{"usd":0.002}}"#;
        let path = coingecko.feed().polls;
        for expected in [vec![], vec![], vec![Signal::FeedChanged], vec![]] {
            assert_eq!(coingecko.read(Source::Poll, without).unwrap().signals, expected);
        }
        let feed = coingecko.feed();
        assert_eq!(strings(&feed.unsupported), ["NOT-USD"]);
        assert_eq!(strings(&feed.listens_to), ["BTC-USD", "USDT-USD"]);
        assert_eq!(feed.polls, path);
        assert_eq!(coingecko.read(Source::Poll, with).unwrap().signals, [Signal::FeedChanged]);
        assert!(coingecko.feed().unsupported.is_empty());
    }

    #[test]
    fn every_coin_and_every_counter_is_one_of_our_codes_and_comes_once() {
        for (at, (code, id)) in COINS.iter().enumerate() {
            assert!(Asset::new(code).is_some_and(|asset| asset.to_string() == *code), "{code}");
            assert!(COINS[..at].iter().all(|(other, other_id)| other != code && other_id != id), "{code}");
        }
        for (at, counter) in COUNTERS.iter().enumerate() {
            assert!(Asset::new(counter).is_some() && !COUNTERS[..at].contains(counter), "{counter}");
        }
    }

    #[test]
    fn a_malformed_frame_never_panics_and_never_yields_a_price() {
        let body = r#"{"bitcoin":{"usd":61000.5,"rub":4900000,"last_updated_at":1779092258}}"#;
        super::super::corpus::check(
            &mut everything(),
            &[Source::Poll, Source::Socket, Source::Instruments],
            &[body],
        );
    }
}
