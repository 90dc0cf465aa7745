//! What Binance tells of its symbols: their statuses, rules and limits.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::super::http::{Answer, Request};
use super::super::listing::Listing;
use super::super::protocol::{Reply, Scene};
use super::Binance;
use super::limits::{WEIGHT_PER_MINUTE, error};
use super::rest::{Asked, asked, fixed, time};

/// Symbols, rules and limits.
pub(super) fn answer(binance: &Binance, request: &Request, scene: &Scene<'_>) -> Result<Reply, Answer> {
    let asked = asked(binance, request)?;
    let status = request.parameter("symbolStatus");
    let permissions = request.parameter("permissions");
    let is_filtered = status.is_some() || permissions.is_some();
    if is_filtered && !matches!(asked, Asked::All) {
        return Err(error(400, -1128, "Combination of optional parameters invalid."));
    }
    // Every symbol here trades on the spot market alone.
    let has_permission = permissions.is_none_or(|permissions| permissions.contains("SPOT"));
    let is_asked = |symbol: &&Listing| {
        let is_named = match &asked {
            Asked::One(name) => symbol.symbol == *name,
            Asked::Many(names) => names.contains(&symbol.symbol),
            Asked::All => true,
        };
        is_named && has_permission && status.is_none_or(|status| symbol.status == status)
    };
    let shows_sets = request.parameter("showPermissionSets") != Some("false");
    let symbols: Vec<Value> =
        binance.listings.all().filter(is_asked).map(|symbol| listed(symbol, shows_sets)).collect();
    let info = json!({
        "timezone": "UTC",
        "serverTime": time(scene.wall, request),
        "rateLimits": [
            { "rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": WEIGHT_PER_MINUTE },
            { "rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100 },
            { "rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200_000 },
            { "rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300_000 },
        ],
        "exchangeFilters": [],
        "symbols": symbols,
    });
    Ok(Answer::json(200, &info).into())
}

fn listed(symbol: &Listing, shows_sets: bool) -> Value {
    let step = fixed(Decimal::new(1, symbol.scale));
    json!({
        "symbol": symbol.symbol,
        "status": symbol.status,
        "baseAsset": symbol.base,
        "baseAssetPrecision": 8,
        "quoteAsset": symbol.counter,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"],
        "icebergAllowed": true,
        "ocoAllowed": true,
        "otoAllowed": true,
        "quoteOrderQtyMarketAllowed": true,
        "allowTrailingStop": true,
        "cancelReplaceAllowed": true,
        "amendAllowed": true,
        "isSpotTradingAllowed": true,
        "isMarginTradingAllowed": false,
        "filters": [
            { "filterType": "PRICE_FILTER", "minPrice": step, "maxPrice": "100000000.00000000", "tickSize": step },
            { "filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.00000000", "stepSize": "0.00001000" },
            { "filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "900.00000000", "stepSize": "0.00000000" },
            { "filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": true,
              "maxNotional": "9000000.00000000", "applyMaxToMarket": false, "avgPriceMins": 5 },
            { "filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200 },
        ],
        "permissions": [],
        "permissionSets": if shows_sets { json!([["SPOT"]]) } else { json!([]) },
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    })
}
