//! CoinGecko's public API: one averaged price per coin, refreshed once a minute.
//!
//! What is said stands in a cache that is filled at each refresh, because that is what its clients have to live with:
//! asking more often gives the same body, and `last_updated_at` tells its age.
//!
//! <https://docs.coingecko.com/reference/simple-price>

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use rust_decimal::Decimal;
use rust_decimal::prelude::RoundingStrategy;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::book::{Book, Price};
use super::http::{Answer, Request};
use super::protocol::{Protocol, Reply, Row, Scene};
use super::truth::{Truth, noise, significant};

/// Its row in the table.
pub(super) const ROW: Row =
    Row { name: "coingecko", has_socket: false, make: |scene| Box::new(CoinGecko::new(scene)) };

/// Time between two refreshes without and with a key.
const REFRESH: Duration = Duration::from_secs(60);
const REFRESH_WITH_KEY: Duration = Duration::from_secs(20);

/// Requests a minute of one address without a key, and of one key. The real numbers change with its load.
const REQUESTS_PER_MINUTE: u32 = 30;
const REQUESTS_PER_MINUTE_WITH_KEY: u32 = 100;

/// Coins: id, asset, name.
#[rustfmt::skip]
const COINS: &[(&str, &str, &str)] = &[
    ("bitcoin", "BTC", "Bitcoin"), ("ethereum", "ETH", "Ethereum"), ("tether", "USDT", "Tether"),
    ("usd-coin", "USDC", "USDC"), ("solana", "SOL", "Solana"), ("ripple", "XRP", "XRP"),
    ("the-open-network", "TON", "Gram"), ("tron", "TRX", "TRON"), ("litecoin", "LTC", "Litecoin"),
    ("dogecoin", "DOGE", "Dogecoin"), ("binancecoin", "BNB", "BNB"), ("bitcoin-cash", "BCH", "Bitcoin Cash"),
    ("chainlink", "LINK", "Chainlink"), ("polkadot", "DOT", "Polkadot"), ("eos", "EOS", "EOS"),
    ("stellar", "XLM", "Stellar"), ("yearn-finance", "YFI", "yearn.finance"), ("shiba-inu", "SHIB", "Shiba Inu"),
];

/// What prices are told in.
#[rustfmt::skip]
const COUNTERS: &[&str] = &[
    "btc", "eth", "ltc", "bch", "bnb", "eos", "xrp", "xlm", "link", "dot", "yfi", "sol", "usd", "aed", "ars", "aud",
    "bdt", "bhd", "bmd", "brl", "cad", "chf", "clp", "cny", "czk", "dkk", "eur", "gbp", "gel", "hkd", "huf", "idr",
    "ils", "inr", "jpy", "krw", "kwd", "lkr", "mmk", "mxn", "myr", "ngn", "nok", "nzd", "php", "pkr", "pln", "rub",
    "sar", "sek", "sgd", "thb", "try", "twd", "uah", "vnd", "zar", "xdr", "xag", "xau", "bits", "sats",
];

/// Tether's contracts: platform, address.
const CONTRACTS: [(&str, &str); 2] = [
    ("ethereum", "0xdac17f958d2ee523a2206206994597c13d831ec7"),
    ("tron", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"),
];

/// What is said until the next refresh.
#[derive(Debug)]
struct Cache {
    refreshed_at: Instant,
    last_updated_at: i64,
    prices: BTreeMap<(&'static str, &'static str), Decimal>,
}

impl Cache {
    fn filled(scene: &Scene<'_>) -> Self {
        let each = |&(id, asset, _): &(&'static str, &'static str, &str)| {
            let priced =
                move |counter: &&'static str| Some(((id, *counter), price(scene.truth, asset, counter)?));
            COUNTERS.iter().filter_map(priced)
        };
        Self {
            refreshed_at: scene.now,
            last_updated_at: scene.wall.timestamp(),
            prices: COINS.iter().flat_map(each).collect(),
        }
    }
}

/// The averaged price of a coin: a little off the true one.
fn price(truth: &Truth, asset: &str, counter: &str) -> Option<Decimal> {
    let (counter, per) = match counter {
        "bits" => ("BTC".to_owned(), Decimal::from(1_000_000)),
        "sats" => ("BTC".to_owned(), Decimal::from(100_000_000)),
        _ => (counter.to_ascii_uppercase(), Decimal::ONE),
    };
    let offset = Decimal::new(noise(truth.seed(), asset, truth.tick(), 100), 6);
    let exact = truth.price(asset, &counter)?.checked_mul(per)?.checked_mul(Decimal::ONE + offset)?;
    Some(significant(exact))
}

/// Requests of one client within a minute.
#[derive(Debug)]
struct Usage {
    window_ends_at: Instant,
    num_requests: u32,
}

struct CoinGecko {
    keyless: Cache,
    with_key: Cache,
    usages: HashMap<String, Usage>,
}

impl CoinGecko {
    fn new(scene: &Scene<'_>) -> Self {
        Self { keyless: Cache::filled(scene), with_key: Cache::filled(scene), usages: HashMap::new() }
    }

    fn count(&mut self, key: Option<&str>, client: IpAddr, scene: &Scene<'_>) -> Result<(), Answer> {
        let limit = if key.is_some() { REQUESTS_PER_MINUTE_WITH_KEY } else { REQUESTS_PER_MINUTE };
        let who = key.map_or_else(|| client.to_string(), str::to_owned);
        let now = scene.now;
        let window_ends_at = now + scene.scaled(Duration::from_secs(60));
        self.usages.retain(|_, usage| usage.window_ends_at > now);
        let usage = self.usages.entry(who).or_insert(Usage { window_ends_at, num_requests: 0 });
        usage.num_requests += 1;
        if usage.num_requests <= limit {
            return Ok(());
        }
        let left = (usage.window_ends_at - now).as_millis().div_ceil(1000);
        Err(self.refusal(429, Some(u64::try_from(left).unwrap_or(u64::MAX)), scene))
    }

    fn simple_price(&self, cache: &Cache, request: &Request, scene: &Scene<'_>) -> Reply {
        let coins = match asked_coins(request) {
            Ok(coins) => coins,
            Err(answer) => return answer.into(),
        };
        let named = coins.iter().map(|(id, asset)| (*id, *id, *asset)).collect::<Vec<_>>();
        self.prices(cache, &named, request, scene)
    }

    fn token_price(&self, cache: &Cache, platform: &str, request: &Request, scene: &Scene<'_>) -> Reply {
        let Some(addresses) = request.parameter("contract_addresses").filter(|list| !list.is_empty()) else {
            return missing("contract_addresses").into();
        };
        let known = |address: &str| {
            CONTRACTS
                .iter()
                .find(|(of, known)| *of == platform && known.eq_ignore_ascii_case(address))
                .map(|(_, known)| (*known, "tether", "USDT"))
        };
        let named: Vec<_> = addresses.split(',').filter_map(|address| known(address.trim())).collect();
        self.prices(cache, &named, request, scene)
    }

    /// The body: an object per coin, named as asked.
    fn prices(
        &self,
        cache: &Cache,
        coins: &[(&str, &'static str, &str)],
        request: &Request,
        scene: &Scene<'_>,
    ) -> Reply {
        let Some(counters) = request.parameter("vs_currencies").filter(|list| !list.is_empty()) else {
            return missing("vs_currencies").into();
        };
        let precision = match Precision::read(request.parameter("precision")) {
            Ok(precision) => precision,
            Err(answer) => return answer.into(),
        };
        let asked = |counter: &str| {
            let counter = counter.trim().to_ascii_lowercase();
            COUNTERS.iter().copied().find(|known| *known == counter)
        };
        let counters: Vec<&'static str> = counters.split(',').filter_map(asked).collect();
        let mut members = Vec::new();
        for (name, id, asset) in coins {
            let mut fields = Vec::new();
            for counter in &counters {
                let Some(price) = cache.prices.get(&(*id, *counter)) else { continue };
                let direction = format!("{asset}-{}", counter.to_ascii_uppercase());
                let Some(book) = scene.shown(&[&direction, id, asset], Book::last(*price)) else { continue };
                fields.push(format!("\"{counter}\":{}", precision.printed(&book.last)));
                for (field, value) in [
                    ("market_cap", price.checked_mul(Decimal::from(19_700_000))),
                    ("24h_vol", price.checked_mul(Decimal::from(480_000))),
                    ("24h_change", Some(Decimal::new(15, 1))),
                ] {
                    let asked_as = if field == "market_cap" {
                        field.to_owned()
                    } else {
                        format!("24hr_{}", &field[4..])
                    };
                    if request.says(&format!("include_{asked_as}")) {
                        let value = Price::Number(value.unwrap_or_default()).literal();
                        fields.push(format!("\"{counter}_{field}\":{value}"));
                    }
                }
            }
            if request.says("include_last_updated_at") && !fields.is_empty() {
                let shift = scene.wall.timestamp() - crate::clock::now().wall.timestamp();
                fields.push(format!("\"last_updated_at\":{}", cache.last_updated_at + shift));
            }
            members.push(format!("{}:{{{}}}", Value::from(*name), fields.join(",")));
        }
        Answer::json_text(200, format!("{{{}}}", members.join(",")))
            .with("Cache-Control", "public,max-age=30")
            .into()
    }
}

fn missing(name: &str) -> Answer {
    Answer::json(422, &json!({ "error": format!("Missing parameter {name}") }))
}

/// The coins that are asked for by id, name or symbol; unknown ones are left out.
fn asked_coins(request: &Request) -> Result<Vec<(&'static str, &'static str)>, Answer> {
    let by = ["ids", "names", "symbols"];
    let given =
        by.into_iter().find_map(|by| Some((by, request.parameter(by).filter(|list| !list.is_empty())?)));
    let Some((by, list)) = given else { return Err(missing("ids")) };
    let found = |asked: &str| {
        let is_it = |(id, asset, name): &&(&str, &str, &str)| match by {
            "ids" => *id == asked,
            "names" => name.eq_ignore_ascii_case(asked),
            _ => asset.eq_ignore_ascii_case(asked),
        };
        COINS.iter().find(is_it).map(|(id, asset, _)| (*id, *asset))
    };
    Ok(list.split(',').filter_map(found).collect())
}

/// With how many digits prices are told.
enum Precision {
    Usual,
    Full,
    Digits(u32),
}

impl Precision {
    fn read(text: Option<&str>) -> Result<Self, Answer> {
        match text {
            None | Some("") => Ok(Self::Usual),
            Some("full") => Ok(Self::Full),
            Some(text) => match text.parse() {
                Ok(digits) if digits <= 18 => Ok(Self::Digits(digits)),
                _ => Err(Answer::json(422, &json!({ "error": "Invalid parameter precision" }))),
            },
        }
    }

    fn printed(&self, price: &Price) -> String {
        let Price::Number(value) = price else { return price.literal() };
        let rounded = |digits| value.round_dp_with_strategy(digits, RoundingStrategy::MidpointNearestEven);
        let value = match self {
            Self::Full => *value,
            Self::Digits(digits) => rounded(*digits),
            Self::Usual if value.abs() >= Decimal::ONE => rounded(2),
            Self::Usual => value.round_sf(6).unwrap_or(*value),
        };
        Price::Number(value).literal()
    }
}

impl Protocol for CoinGecko {
    fn tick(&mut self, scene: &Scene<'_>) {
        for (cache, refresh) in [(&mut self.keyless, REFRESH), (&mut self.with_key, REFRESH_WITH_KEY)] {
            if scene.now.duration_since(cache.refreshed_at) >= scene.scaled(refresh) {
                *cache = Cache::filled(scene);
            }
        }
    }

    fn book(&self, _: &str) -> Option<Book> {
        None
    }

    fn quotes(&self, _: &Scene<'_>) -> Vec<(String, String, Book)> {
        let asset = |id: &str| COINS.iter().find(|(known, ..)| *known == id).map(|(_, asset, _)| *asset);
        let told = |(&(id, counter), price): (&(&'static str, &'static str), &Decimal)| {
            let direction = format!("{}-{}", asset(id)?, counter.to_ascii_uppercase());
            Some((direction.clone(), direction, Book::last(*price)))
        };
        self.keyless.prices.iter().filter_map(told).collect()
    }

    fn rest(&mut self, path: &str, request: &Request, client: IpAddr, scene: &Scene<'_>) -> Reply {
        let keys = ["x-cg-demo-api-key", "x-cg-pro-api-key"];
        let header = keys.into_iter().find_map(|name| request.header(name));
        let query =
            ["x_cg_demo_api_key", "x_cg_pro_api_key"].into_iter().find_map(|name| request.parameter(name));
        let key = header.or(query).filter(|key| !key.is_empty());
        if let Err(refusal) = self.count(key, client, scene) {
            return refusal.into();
        }
        let cache = if key.is_some() { &self.with_key } else { &self.keyless };
        let path = path.strip_prefix("/api/v3").unwrap_or(path);
        match path {
            "/ping" => Answer::json(200, &json!({ "gecko_says": "(V3) To the Moon!" })).into(),
            "/simple/price" => self.simple_price(cache, request, scene),
            "/simple/supported_vs_currencies" => Answer::json(200, &COUNTERS).into(),
            "/coins/list" => {
                let coin = |(id, asset, name): &(&str, &str, &str)| json!({ "id": id, "symbol": asset.to_ascii_lowercase(), "name": name });
                Answer::json(200, &COINS.iter().map(coin).collect::<Vec<_>>()).into()
            }
            _ => match path.strip_prefix("/simple/token_price/") {
                Some(platform) => self.token_price(cache, platform, request, scene),
                None => Answer::json(
                    404,
                    &json!({ "error": "Incorrect path. Please check https://www.coingecko.com/api/" }),
                )
                .into(),
            },
        }
    }

    fn refusal(&self, status: u16, retry_after: Option<u64>, _: &Scene<'_>) -> Answer {
        let answer = match status {
            429 => {
                let message = "You've exceeded the Rate Limit. Please visit https://www.coingecko.com/en/api/pricing \
                               to subscribe to our API plans for higher rate limits.";
                Answer::json(429, &json!({ "status": { "error_code": 429, "error_message": message } }))
            }
            _ => {
                let body =
                    format!("<!DOCTYPE html><html><head><title>{status} | Cloudflare</title></head></html>");
                Answer::new(status, "text/html; charset=UTF-8", body)
            }
        };
        answer.retry_after(retry_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::number;

    #[test]
    fn prices_are_printed_with_the_digits_that_were_asked_for() {
        for (precision, value, expected) in [
            (None, "64012.347", "64012.35"),
            (None, "0.99981234", "0.999812"),
            (None, "1.2345", "1.23"),
            (Some("full"), "0.9998123456789", "0.9998123456789"),
            (Some("3"), "1.23456", "1.235"),
            (Some("0"), "64012.347", "64012"),
        ] {
            let price = Price::Number(number::decimal(value).unwrap());
            let precision = Precision::read(precision).ok().unwrap();
            assert_eq!(precision.printed(&price), expected);
        }
        assert_eq!(Precision::read(Some("19")).err().unwrap().status, 422);
        assert_eq!(Precision::Full.printed(&Price::Missing), "null");
    }

    #[test]
    fn every_counter_has_a_price_for_every_coin() {
        let truth = Truth::new(1);
        for counter in COUNTERS {
            assert!(price(&truth, "BTC", counter).is_some(), "{counter}");
        }
        let sats = price(&truth, "BTC", "sats").unwrap();
        assert!((sats - Decimal::from(100_000_000)).abs() < Decimal::from(20_000), "{sats}");
        assert!(COINS.iter().all(|(_, asset, _)| truth.usd(asset).is_some()));
    }
}
