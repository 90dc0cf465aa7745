//! The symbols that a simulated market lists, each with a book that follows the truth.
//!
//! Separate because every market has them: what differs is how it spells them, and which words it has for their
//! status.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::market::number;

use super::book::{Book, Price};
use super::protocol::Scene;
use super::truth::{Truth, noise};

/// How far apart bid and ask are, in parts of a million.
const SPREAD_PARTS: i64 = 20;

/// How far an exchange is off the true price at most, in parts of a million.
const OFFSET_PARTS: i64 = 60;

/// The status that takes a symbol off the list.
const ABSENT: &str = "ABSENT";

/// How an exchange spells its symbols, and what it says of their status.
pub(super) struct Words {
    /// The exchange's own spelling.
    pub symbol: fn(base: &str, counter: &str) -> String,
    /// Its words for a symbol's status; the first means that it is open for trading.
    pub statuses: &'static [&'static str],
}

/// One symbol.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    /// The exchange's spelling.
    pub symbol: String,
    /// The asset that is priced.
    pub base: String,
    /// What it is priced in.
    pub counter: String,
    /// Digits behind the point of a price.
    pub scale: u32,
    /// One of the exchange's words.
    pub status: &'static str,
    /// Its healthy book.
    pub book: Book,
    /// When that last changed, by the exchange's clock.
    pub changed_at: DateTime<Utc>,
}

impl Listed {
    fn new(words: &Words, base: &str, counter: &str, status: &'static str, scene: &Scene<'_>) -> Self {
        let price = scene.truth.price(base, counter).unwrap_or(Decimal::ONE);
        let scale = digits(price);
        let mut listed = Self {
            symbol: (words.symbol)(base, counter),
            base: base.to_owned(),
            counter: counter.to_owned(),
            scale,
            status,
            book: Book::around(price, scale, SPREAD_PARTS),
            changed_at: scene.wall,
        };
        listed.tick(scene);
        listed
    }

    /// By our names.
    pub(super) fn direction(&self) -> String {
        format!("{}-{}", self.base, self.counter)
    }

    /// The book as it is really said now; `None` if a fault mutes it.
    pub(super) fn shown(&self, scene: &Scene<'_>) -> Option<Book> {
        scene.shown(&[&self.symbol, &self.direction()], self.book.clone())
    }

    fn tick(&mut self, scene: &Scene<'_>) {
        let Some(price) = scene.truth.price(&self.base, &self.counter) else { return };
        let book = book_around(&self.symbol, price, self.scale, scene.truth);
        self.book = Book { sequence: scene.next_sequence(), ..book };
        self.changed_at = scene.wall;
    }
}

/// Every symbol of one exchange.
pub(super) struct Listing {
    words: Words,
    symbols: BTreeMap<String, Listed>,
}

impl Listing {
    /// Lists these, base and counter each, all of them open.
    pub(super) fn new(words: Words, pairs: &[(&str, &str)], scene: &Scene<'_>) -> Self {
        let open = words.statuses.first().copied().unwrap_or_default();
        let listed = pairs.iter().map(|(base, counter)| Listed::new(&words, base, counter, open, scene));
        let symbols = listed.map(|listed| (listed.symbol.clone(), listed)).collect();
        Self { words, symbols }
    }

    /// Moves the symbols whose turn it is. A symbol that is not open keeps the book that it had.
    pub(super) fn tick(&mut self, scene: &Scene<'_>) {
        let open = self.open();
        for listed in self.symbols.values_mut() {
            if listed.status == open && scene.truth.is_turn_of(&listed.symbol) {
                listed.tick(scene);
            }
        }
    }

    /// The word for a symbol that is open for trading.
    fn open(&self) -> &'static str {
        self.words.statuses.first().copied().unwrap_or_default()
    }

    /// The symbol of this spelling.
    pub(super) fn get(&self, symbol: &str) -> Option<&Listed> {
        self.symbols.get(symbol)
    }

    /// All of them, in the order of their spelling.
    pub(super) fn all(&self) -> impl Iterator<Item = &Listed> {
        self.symbols.values()
    }

    /// Direction, symbol and healthy book of every symbol.
    pub(super) fn quotes(&self) -> Vec<(String, String, Book)> {
        self.all().map(|listed| (listed.direction(), listed.symbol.clone(), listed.book.clone())).collect()
    }

    /// Changes the status of a symbol, or lists a new one: `{"direction":"BTC-USD","status":…}`.
    ///
    /// # Errors
    /// In words for the caller that name what is allowed.
    pub(super) fn set_status(&mut self, body: &Value, scene: &Scene<'_>) -> Result<Value, String> {
        let usage = || {
            format!(
                "`symbols` takes {{\"direction\":\"BTC-USD\",\"status\":\"{}\"}} (allowed statuses: {}, {ABSENT})",
                self.open(),
                self.words.statuses.join(", ")
            )
        };
        let direction = body["direction"].as_str().ok_or_else(usage)?;
        let (base, counter) = direction.split_once('-').ok_or_else(usage)?;
        let wanted = body["status"].as_str().ok_or_else(usage)?;
        let symbol = (self.words.symbol)(base, counter);
        if wanted == ABSENT {
            self.symbols.remove(&symbol);
            return Ok(json!({ "symbol": symbol, "status": wanted }));
        }
        let status = self.words.statuses.iter().find(|known| **known == wanted).ok_or_else(usage)?;
        if scene.truth.price(base, counter).is_none() {
            return Err(format!("`{direction}` is not made of two assets that have a true price here"));
        }
        let new = Listed::new(&self.words, base, counter, status, scene);
        self.symbols.entry(symbol.clone()).or_insert(new).status = status;
        Ok(json!({ "symbol": symbol, "status": wanted }))
    }
}

/// The book of one exchange's symbol around a true price: a little off, with sizes of its own.
pub(super) fn book_around(symbol: &str, price: Decimal, scale: u32, truth: &Truth) -> Book {
    let (seed, tick) = (truth.seed(), truth.tick());
    // The offset moves once in five seconds, the sizes with every tick.
    let offset = Decimal::new(noise(seed, symbol, tick / 250, OFFSET_PARTS), 6);
    let middle = price * (Decimal::ONE + offset);
    let book = Book::around(middle, scale, SPREAD_PARTS);
    let size = |side: &str| {
        let whole = noise(seed, &format!("{symbol}{side}"), tick, 200_000);
        Decimal::new(whole + 200_001, 5)
    };
    let is_buy = noise(seed, symbol, tick, 1) > 0;
    let last = if is_buy { book.ask.clone() } else { book.bid.clone() };
    Book { bid_size: size("bid"), ask_size: size("ask"), last: last.unwrap_or(Price::Missing), ..book }
}

/// Digits behind the point that leave a price about seven in all.
pub(super) fn digits(price: Decimal) -> u32 {
    let mut digits = 7;
    let mut price = price;
    while price >= Decimal::ONE && digits > 0 {
        price /= Decimal::TEN;
        digits -= 1;
    }
    digits
}

/// A price as a JSON text with `scale` digits behind the point; `null` where a fault took it away.
pub(super) fn printed(price: Option<&Price>, scale: u32) -> Value {
    match price {
        None | Some(Price::Missing) => Value::Null,
        Some(price) => price.fixed(scale).into(),
    }
}

/// A price as a JSON text with the digits that it has; `null` where a fault took it away.
pub(super) fn exact(price: Option<&Price>) -> Value {
    match price {
        Some(Price::Number(value)) => number::plain(*value).into(),
        Some(Price::Text(text)) => text.as_str().into(),
        None | Some(Price::Missing) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_leave_a_price_about_seven_in_all() {
        for (price, expected) in [(Decimal::from(64_000), 2), (Decimal::new(1, 5), 7), (Decimal::from(5), 6)]
        {
            assert_eq!(digits(price), expected, "{price}");
        }
    }
}
