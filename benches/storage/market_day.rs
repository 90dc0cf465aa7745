//! A day as exchanges quote it: every second one quote of every market, its price on a random walk, with the digits
//! that exchanges give.

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ratebook::market::{Direction, ExchangeName, Quote};
use ratebook::rate_book::{Accepted, Record, Span};
use rust_decimal::Decimal;

/// Who quotes.
pub(crate) const EXCHANGES: [ExchangeName; 11] = [
    ExchangeName::new("binance"),
    ExchangeName::new("bitfinex"),
    ExchangeName::new("bitstamp"),
    ExchangeName::new("bybit"),
    ExchangeName::new("coinbase"),
    ExchangeName::new("gate"),
    ExchangeName::new("htx"),
    ExchangeName::new("kraken"),
    ExchangeName::new("kucoin"),
    ExchangeName::new("mexc"),
    ExchangeName::new("okx"),
];

/// What each of them quotes: the first price in units of its last digit, and how many digits stand behind the point.
const QUOTED: [(&str, i64, u32); 8] = [
    ("BTC-USDT", 6_400_012, 2),
    ("BTC-USD", 640_123, 1),
    ("BTC-EUR", 588_123, 1),
    ("ETH-USDT", 180_034, 2),
    ("ETH-USD", 180_112, 2),
    ("ETH-EUR", 165_543, 2),
    ("USDT-USD", 99_987, 5),
    ("USDT-EUR", 91_950, 5),
];

/// Markets of the day.
pub(crate) const NUM_MARKETS: usize = EXCHANGES.len() * QUOTED.len();

/// The first moment of the day.
pub(crate) fn midnight() -> DateTime<Utc> {
    "2026-11-20T00:00:00Z".parse().unwrap()
}

/// Quotes without end, the same for everybody who asks for them anew.
pub(crate) struct MarketDay {
    markets: Vec<Market>,
    random: StdRng,
    /// Between two quotes of one market.
    every: TimeDelta,
    /// Quotes that were given.
    num_given: usize,
}

struct Market {
    exchange: ExchangeName,
    direction: Direction,
    /// In units of the last digit.
    bid: i64,
    num_digits: u32,
    /// Whether it says its own time and the last trade; sockets of best prices often do not.
    is_talkative: bool,
}

impl MarketDay {
    /// Of every market, each quoted once a second.
    pub(crate) fn of_all() -> Self {
        let markets = EXCHANGES.iter().enumerate().flat_map(|(nth, exchange)| {
            QUOTED.map(|(direction, bid, num_digits)| Market {
                exchange: *exchange,
                direction: direction.parse().unwrap(),
                bid,
                num_digits,
                is_talkative: nth % 3 > 0,
            })
        });
        Self::of(markets.collect(), TimeDelta::seconds(1))
    }

    /// Of one market that has so many quotes in a day.
    pub(crate) fn of_one(num_quotes: usize) -> Self {
        let mut all = Self::of_all();
        all.markets.truncate(1);
        Self::of(all.markets, TimeDelta::days(1) / i32::try_from(num_quotes).unwrap())
    }

    fn of(markets: Vec<Market>, every: TimeDelta) -> Self {
        Self { markets, random: StdRng::seed_from_u64(1), every, num_given: 0 }
    }

    /// The next quotes, in the order of time.
    pub(crate) fn batch(&mut self, length: usize) -> Vec<Record> {
        (0..length).map(|_| Record::Quote(self.next_quote())).collect()
    }

    /// The next quote.
    pub(crate) fn next_quote(&mut self) -> Accepted {
        let num_markets = self.markets.len();
        let share = self.every / i32::try_from(num_markets).unwrap();
        let late =
            TimeDelta::microseconds(self.random.random_range(0..=share.num_microseconds().unwrap() / 2));
        let number = i32::try_from(self.num_given / num_markets).unwrap();
        let nth = self.num_given % num_markets;
        let received_at = midnight() + self.every * number + share * i32::try_from(nth).unwrap() + late;
        self.num_given += 1;
        let market = &mut self.markets[nth];
        // Never the same price twice: that would not be stored.
        let largest = market.bid / 50_000 + 2;
        let step = self.random.random_range(1..=largest);
        market.bid += if self.random.random_bool(0.5) { step } else { -step };
        let price = |units: i64| Decimal::new(units, market.num_digits);
        let spread = self.random.random_range(1..=largest);
        let mut quote = Quote::book(market.direction, price(market.bid), price(market.bid + spread));
        if market.is_talkative {
            quote.last = Some(price(market.bid + self.random.random_range(0..=spread)));
            let on_its_way = TimeDelta::milliseconds(self.random.random_range(20..200));
            quote.quoted_at = DateTime::from_timestamp_millis((received_at - on_its_way).timestamp_millis());
        }
        let value = quote.value().unwrap();
        Accepted { exchange: market.exchange, quote, value, received_at, span: Span::of(value) }
    }
}
