//! The pairs that a simulated exchange trades, each with a book that follows the truth.
//!
//! Separate because it is the same on every exchange whose books move by themselves; how it spells a pair and how it
//! tells of one is that exchange's own.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::book::{Book, Price};
use super::protocol::Scene;
use super::truth::{self, noise};

/// How far apart bid and ask are, in parts of a million.
const SPREAD_PARTS: i64 = 30;

/// How far an exchange is off the true price at most, in parts of a million.
const OFFSET_PARTS: i64 = 60;

/// How an exchange spells its pairs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spelling {
    /// The exchange's name, which makes its prices differ from those of the others.
    pub exchange: &'static str,
    /// Its code of an asset.
    pub code: fn(&str) -> &str,
    /// The symbol of two of its codes.
    pub symbol: fn(&str, &str) -> String,
    /// The words that a pair's status may have, the one of an open pair first.
    pub statuses: &'static [&'static str],
}

/// The word that takes a pair off the list.
const ABSENT: &str = "ABSENT";

/// One pair.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// The exchange's symbol.
    pub symbol: String,
    /// Our code of the base.
    base: String,
    /// Our code of the counter.
    counter: String,
    /// The exchange's codes of base and counter.
    pub codes: (String, String),
    /// Digits behind the point of a price.
    pub scale: u32,
    /// Its status, in the exchange's word.
    pub status: &'static str,
    is_open: bool,
    book: Book,
}

impl Pair {
    /// Base and counter in our words.
    pub(super) fn direction(&self) -> String {
        format!("{}-{}", self.base, self.counter)
    }

    /// The book as it is told now; `None` if it is muted.
    pub(super) fn shown(&self, scene: &Scene<'_>) -> Option<Book> {
        scene.shown(&[&self.symbol, &self.direction()], self.book.clone())
    }

    fn tick(&mut self, exchange: &str, scene: &Scene<'_>) {
        let has_never_traded = self.book.sequence == 0;
        if !(self.is_open || has_never_traded) {
            return;
        }
        let Some(price) = scene.truth.price(&self.base, &self.counter) else { return };
        let (seed, tick) = (scene.truth.seed(), scene.truth.tick());
        let subject = format!("{exchange}{}", self.symbol);
        // The offset moves once in five seconds, the sizes with every tick.
        let offset = Decimal::new(noise(seed, &subject, tick / 250, OFFSET_PARTS), 6);
        let middle = price.checked_mul(Decimal::ONE + offset).unwrap_or(price);
        let book = Book::around(middle, self.scale, SPREAD_PARTS);
        let size =
            |side: &str| Decimal::new(noise(seed, &format!("{subject}{side}"), tick, 200_000) + 200_001, 5);
        let last = if noise(seed, &subject, tick, 1) > 0 { &book.ask } else { &book.bid };
        self.book = Book {
            bid_size: size("bid"),
            ask_size: size("ask"),
            last: last.clone().unwrap_or(Price::Missing),
            sequence: scene.next_sequence(),
            ..book
        };
    }
}

/// All pairs of an exchange, by symbol.
#[derive(Debug)]
pub(super) struct Pairs {
    spelling: Spelling,
    pairs: BTreeMap<String, Pair>,
}

impl Pairs {
    /// Pairs by our codes of base and counter, and digits behind the point of a price.
    pub(super) fn new(spelling: Spelling, listed: &[(&str, &str, u32)]) -> Self {
        let mut pairs = Self { spelling, pairs: BTreeMap::new() };
        for (base, counter, scale) in listed {
            pairs.list(base, counter, *scale);
        }
        pairs
    }

    fn list(&mut self, base: &str, counter: &str, scale: u32) {
        let codes = ((self.spelling.code)(base).to_owned(), (self.spelling.code)(counter).to_owned());
        let pair = Pair {
            symbol: (self.spelling.symbol)(&codes.0, &codes.1),
            base: base.to_owned(),
            counter: counter.to_owned(),
            codes,
            scale,
            status: self.spelling.statuses[0],
            is_open: true,
            book: Book::around(Decimal::ONE, scale, 0),
        };
        self.pairs.insert(pair.symbol.clone(), pair);
    }

    /// Follows the truth, each pair in its turn.
    pub(super) fn tick(&mut self, scene: &Scene<'_>) {
        for pair in self.pairs.values_mut() {
            if scene.truth.is_turn_of(&pair.symbol) || pair.book.sequence == 0 {
                pair.tick(self.spelling.exchange, scene);
            }
        }
    }

    /// A pair, open or not.
    pub(super) fn get(&self, symbol: &str) -> Option<&Pair> {
        self.pairs.get(symbol)
    }

    /// Every pair, open or not.
    pub(super) fn all(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.values()
    }

    /// Every open pair.
    pub(super) fn open(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.values().filter(|pair| pair.is_open)
    }

    /// The healthy book of an open pair.
    pub(super) fn book(&self, symbol: &str) -> Option<Book> {
        self.pairs.get(symbol).filter(|pair| pair.is_open).map(|pair| pair.book.clone())
    }

    /// Direction, symbol and healthy book of every open pair.
    pub(super) fn quotes(&self) -> Vec<(String, String, Book)> {
        self.open().map(|pair| (pair.direction(), pair.symbol.clone(), pair.book.clone())).collect()
    }

    /// `POST /control/<exchange>/symbols`: changes the status of a pair, or lists one that is not there, by our codes.
    pub(super) fn command(&mut self, body: &Value, scene: &Scene<'_>) -> Result<Value, String> {
        let words = self.spelling.statuses;
        let usage = || {
            format!(
                "`symbols` takes {{\"direction\":\"BTC-USDT\",\"status\":\"{}\"}} (allowed statuses: {}, {ABSENT})",
                words[0],
                words.join(", ")
            )
        };
        let direction = body["direction"].as_str().ok_or_else(usage)?;
        let (base, counter) = direction.split_once('-').ok_or_else(usage)?;
        let status = body["status"].as_str().ok_or_else(usage)?;
        let symbol = (self.spelling.symbol)((self.spelling.code)(base), (self.spelling.code)(counter));
        if status == ABSENT {
            self.pairs.remove(&symbol);
            return Ok(json!({ "symbol": symbol, "status": status }));
        }
        let status = words.iter().find(|known| **known == status).ok_or_else(usage)?;
        if !self.pairs.contains_key(&symbol) {
            let has_price = |code: &str| truth::codes().any(|known| known == code);
            if !has_price(base) || !has_price(counter) {
                return Err(format!("`{direction}` is not made of two assets that have a true price here"));
            }
            self.list(base, counter, 6);
        }
        if let Some(pair) = self.pairs.get_mut(&symbol) {
            pair.tick(self.spelling.exchange, scene);
            pair.status = status;
            pair.is_open = *status == words[0];
        }
        Ok(json!({ "symbol": symbol, "status": status }))
    }
}
