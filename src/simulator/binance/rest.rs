//! The requests of Binance that tickers need.

use std::collections::BTreeSet;
use std::net::IpAddr;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::book::{self, Book, Day, Price};
use super::super::http::{Answer, Request};
use super::super::listing::Listing;
use super::super::protocol::{Reply, Scene};
use super::limits::error;
use super::{Binance, info};

/// What `symbol` and `symbols` may consist of, in Binance's own words.
const LEGAL_SYMBOL: &str = "^[A-Z0-9-_.]{1,20}$";
const LEGAL_SYMBOLS: &str = r#"^\[("[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,})?\]$"#;

/// Digits behind the point of every number.
const SCALE: u32 = 8;

/// Answers a request, and counts its weight.
pub(super) fn answer(
    binance: &mut Binance,
    path: &str,
    request: &Request,
    client: IpAddr,
    scene: &Scene<'_>,
) -> Reply {
    let used = match binance.limits.count(client, weight(path, request), scene) {
        Ok(used) => used,
        Err(refusal) => return refusal.into(),
    };
    let answered = match path {
        "/api/v3/ping" => Ok(Answer::json(200, &json!({})).into()),
        "/api/v3/time" => Ok(Answer::json(200, &json!({ "serverTime": time(scene.wall, request) })).into()),
        "/api/v3/exchangeInfo" => info::answer(binance, request, scene),
        "/api/v3/ticker/bookTicker" => tickers(binance, request, scene, &best_prices),
        "/api/v3/ticker/price" => tickers(binance, request, scene, &last_price),
        "/api/v3/ticker/24hr" => tickers(binance, request, scene, &day),
        "/api/v3/avgPrice" => one(binance, request, scene, &average),
        "/api/v3/depth" => one(binance, request, scene, &depth),
        "/api/v3/trades" => one(binance, request, scene, &trades),
        "/api/v3/klines" | "/api/v3/uiKlines" => one(binance, request, scene, &klines),
        _ => Err(Answer::new(404, "text/html", "<html><head><title>404 Not Found</title></head></html>")),
    };
    let with_weight =
        |answer: Answer| answer.with("X-MBX-USED-WEIGHT", used).with("X-MBX-USED-WEIGHT-1M", used);
    match answered {
        Ok(Reply::Answer(answer)) | Err(answer) => with_weight(answer).into(),
        Ok(Reply::Later) => Reply::Later,
    }
}

/// The documented weight of a request.
fn weight(path: &str, request: &Request) -> u64 {
    let is_one = request.parameter("symbol").is_some();
    let listed = request.parameter("symbols").map(|symbols| symbols.matches('"').count() / 2);
    match path {
        "/api/v3/exchangeInfo" => 20,
        "/api/v3/ticker/bookTicker" | "/api/v3/ticker/price" => 2 + if is_one { 0 } else { 2 },
        "/api/v3/ticker/24hr" => match listed {
            _ if is_one => 2,
            Some(..=20) => 2,
            Some(..=100) => 40,
            _ => 80,
        },
        "/api/v3/avgPrice" | "/api/v3/klines" | "/api/v3/uiKlines" => 2,
        "/api/v3/depth" => 5,
        "/api/v3/trades" => 25,
        _ => 1,
    }
}

pub(super) fn time(wall: DateTime<Utc>, request: &Request) -> i64 {
    match request.header("x-mbx-time-unit") {
        Some(unit) if unit.eq_ignore_ascii_case("microsecond") => wall.timestamp_micros(),
        _ => wall.timestamp_millis(),
    }
}

fn mandatory(name: &str) -> Answer {
    let message = format!("Mandatory parameter '{name}' was not sent, was empty/null, or malformed.");
    error(400, -1102, &message)
}

fn illegal(name: &str, legal: &str) -> Answer {
    let message = format!("Illegal characters found in parameter '{name}'; legal range is '{legal}'.");
    error(400, -1100, &message)
}

fn is_legal(symbol: &str) -> bool {
    let is_legal =
        |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "-_.".contains(c) || !c.is_ascii();
    (1..=20).contains(&symbol.chars().count()) && symbol.chars().all(is_legal)
}

/// Which symbols a request is about.
pub(super) enum Asked {
    One(String),
    Many(Vec<String>),
    All,
}

pub(super) fn asked(binance: &Binance, request: &Request) -> Result<Asked, Answer> {
    let asked = match (request.parameter("symbol"), request.parameter("symbols")) {
        (Some(_), Some(_)) => return Err(error(400, -1128, "Combination of optional parameters invalid.")),
        (Some(""), None) => return Err(error(400, -1105, "Parameter 'symbol' was empty.")),
        (Some(symbol), None) if !is_legal(symbol) => return Err(illegal("symbol", LEGAL_SYMBOL)),
        (Some(symbol), None) => Asked::One(symbol.to_owned()),
        (None, Some("")) => return Err(error(400, -1105, "Parameter 'symbols' was empty.")),
        (None, Some(list)) => {
            let list: Vec<String> =
                serde_json::from_str(list).map_err(|_| illegal("symbols", LEGAL_SYMBOLS))?;
            if !list.iter().all(|symbol| is_legal(symbol)) {
                return Err(illegal("symbols", LEGAL_SYMBOLS));
            }
            if list.iter().collect::<BTreeSet<_>>().len() < list.len() {
                return Err(error(400, -1151, "Symbol is present multiple times in the list."));
            }
            Asked::Many(list)
        }
        (None, None) => Asked::All,
    };
    let is_known = |symbol: &String| binance.listings.get(symbol).is_some();
    let are_known = match &asked {
        Asked::One(symbol) => is_known(symbol),
        Asked::Many(list) => list.iter().all(is_known),
        Asked::All => true,
    };
    if are_known { Ok(asked) } else { Err(error(400, -1121, "Invalid symbol.")) }
}

type Told<'a> = &'a dyn Fn(&Listing, &Book, &Request, &Scene<'_>) -> Value;

/// One of the ticker requests: a single object for `symbol`, else a list.
fn tickers(binance: &Binance, request: &Request, scene: &Scene<'_>, told: Told<'_>) -> Result<Reply, Answer> {
    let status = request.parameter("symbolStatus");
    let is_asked = |symbol: &Listing| status.is_none_or(|status| symbol.status == status);
    let tell = |symbol: &Listing| {
        let book = symbol.shown(scene)?;
        Some(told(symbol, &book, request, scene))
    };
    let listed = |name: &String| binance.listings.get(name);
    let list: Vec<Value> = match asked(binance, request)? {
        Asked::One(name) => {
            let symbol = listed(&name).filter(|symbol| is_asked(symbol));
            let Some(symbol) = symbol else {
                return Err(error(
                    400,
                    -1220,
                    "The symbol's status does not match the requested symbolStatus.",
                ));
            };
            return Ok(tell(symbol).map_or(Reply::Later, |value| Answer::json(200, &value).into()));
        }
        Asked::Many(names) => {
            names.iter().filter_map(listed).filter(|symbol| is_asked(symbol)).filter_map(tell).collect()
        }
        Asked::All => binance.listings.all().filter(|symbol| is_asked(symbol)).filter_map(tell).collect(),
    };
    Ok(Answer::json(200, &list).into())
}

/// A request that needs a `symbol`.
fn one(binance: &Binance, request: &Request, scene: &Scene<'_>, told: Told<'_>) -> Result<Reply, Answer> {
    if request.parameter("symbol").is_none_or(str::is_empty) {
        return Err(mandatory("symbol"));
    }
    tickers(binance, request, scene, told)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BestPrices<'a> {
    symbol: &'a str,
    bid_price: Value,
    bid_qty: String,
    ask_price: Value,
    ask_qty: String,
}

/// A price as Binance prints it; `null` where a fault took it away.
pub(super) fn printed(price: Option<&Price>) -> Value {
    book::fixed(price, SCALE)
}

/// A number as Binance prints it.
pub(super) fn fixed(value: Decimal) -> String {
    Price::Number(value).fixed(SCALE)
}

fn best_prices(symbol: &Listing, book: &Book, _: &Request, _: &Scene<'_>) -> Value {
    let told = BestPrices {
        symbol: &symbol.symbol,
        bid_price: printed(book.bid.as_ref()),
        bid_qty: fixed(book.bid_size),
        ask_price: printed(book.ask.as_ref()),
        ask_qty: fixed(book.ask_size),
    };
    serde_json::to_value(told).unwrap_or_default()
}

fn last_price(symbol: &Listing, book: &Book, _: &Request, _: &Scene<'_>) -> Value {
    json!({ "symbol": symbol.symbol, "price": printed(Some(&book.last)) })
}

fn day(symbol: &Listing, book: &Book, request: &Request, _: &Scene<'_>) -> Value {
    let day = Day::of(book);
    let close_time = symbol.changed_at.timestamp_millis();
    let mut told = json!({
        "symbol": symbol.symbol,
        "openPrice": fixed(day.open),
        "highPrice": fixed(day.high),
        "lowPrice": fixed(day.low),
        "lastPrice": printed(Some(&book.last)),
        "volume": fixed(day.volume),
        "quoteVolume": fixed(day.turnover),
        "openTime": close_time - 86_400_000,
        "closeTime": close_time,
        "firstId": 1,
        "lastId": book.sequence,
        "count": book.sequence,
    });
    if request.parameter("type") != Some("MINI")
        && let Value::Object(fields) = &mut told
    {
        let change = day.last - day.open;
        let percent = change.checked_div(day.open).unwrap_or_default() * Decimal::ONE_HUNDRED;
        for (name, value) in [
            ("priceChange", Value::from(fixed(change))),
            ("priceChangePercent", Price::Number(percent).fixed(3).into()),
            ("weightedAvgPrice", fixed(day.last).into()),
            ("prevClosePrice", fixed(day.open).into()),
            ("lastQty", fixed(Decimal::new(5, 2)).into()),
            ("bidPrice", printed(book.bid.as_ref())),
            ("bidQty", fixed(book.bid_size).into()),
            ("askPrice", printed(book.ask.as_ref())),
            ("askQty", fixed(book.ask_size).into()),
        ] {
            fields.insert(name.to_owned(), value);
        }
    }
    told
}

fn average(_: &Listing, book: &Book, request: &Request, scene: &Scene<'_>) -> Value {
    json!({ "mins": 5, "price": printed(Some(&book.last)), "closeTime": time(scene.wall, request) })
}

/// Levels of a side, one step of the grid apart.
fn levels(
    best: Option<&Price>,
    best_size: Decimal,
    scale: u32,
    away: Decimal,
    num_levels: usize,
) -> Vec<[Value; 2]> {
    let step = Decimal::new(1, scale) * away;
    let level = |index: usize| {
        let price = match best {
            Some(Price::Number(best)) => Some(Price::Number(best + step * Decimal::from(index))),
            other => other.cloned(),
        };
        [printed(price.as_ref()), fixed(best_size + Decimal::from(index)).into()]
    };
    let is_empty = best.is_none_or(|best| *best == Price::Number(Decimal::ZERO));
    if is_empty { Vec::new() } else { (0..num_levels).map(level).collect() }
}

fn depth(symbol: &Listing, book: &Book, request: &Request, _: &Scene<'_>) -> Value {
    let num_levels = request.parameter("limit").and_then(|limit| limit.parse().ok()).unwrap_or(100);
    let num_levels = usize::min(num_levels, 5000);
    json!({
        "lastUpdateId": book.sequence,
        "bids": levels(book.bid.as_ref(), book.bid_size, symbol.scale, Decimal::NEGATIVE_ONE, num_levels),
        "asks": levels(book.ask.as_ref(), book.ask_size, symbol.scale, Decimal::ONE, num_levels),
    })
}

fn trades(symbol: &Listing, book: &Book, request: &Request, _: &Scene<'_>) -> Value {
    let num_trades: u64 = request.parameter("limit").and_then(|limit| limit.parse().ok()).unwrap_or(500);
    let trade = |ago: u64| {
        json!({
            "id": book.sequence.saturating_sub(ago),
            "price": printed(Some(&book.last)),
            "qty": "0.05000000",
            "quoteQty": fixed(book.last.number().unwrap_or_default() * Decimal::new(5, 2)),
            "time": symbol.changed_at.timestamp_millis() - i64::try_from(ago).unwrap_or(0) * 100,
            "isBuyerMaker": false,
            "isBestMatch": true,
        })
    };
    (0..num_trades.min(1000)).rev().map(trade).collect()
}

fn klines(_: &Listing, book: &Book, request: &Request, scene: &Scene<'_>) -> Value {
    let interval = request.parameter("interval").unwrap_or("1m");
    let unit_ms = match interval.chars().last() {
        Some('s') => 1_000,
        Some('h') => 3_600_000,
        Some('d') => 86_400_000,
        Some('w') => 604_800_000,
        _ => 60_000,
    };
    let many: i64 = interval.trim_end_matches(|c: char| c.is_alphabetic()).parse().unwrap_or(1);
    let length_ms = unit_ms * many.clamp(1, 100);
    let num_klines: i64 = request.parameter("limit").and_then(|limit| limit.parse().ok()).unwrap_or(500);
    let num_klines = num_klines.clamp(1, 1000);
    let current = scene.unix_ms() / length_ms;
    let price = printed(Some(&book.last));
    let kline = |index: i64| {
        let opens_at = index * length_ms;
        json!([
            opens_at,
            price,
            price,
            price,
            price,
            "10.00000000",
            opens_at + length_ms - 1,
            "10.00000000",
            10,
            "5.00000000",
            "5.00000000",
            "0"
        ])
    };
    (current - num_klines + 1..=current).map(kline).collect()
}
