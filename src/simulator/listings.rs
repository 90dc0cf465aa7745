//! The symbols of an exchange with order books, each of which follows the true price of its two assets.
//!
//! Separate because that is the same on every such exchange: only the spelling, the list and the words for a symbol
//! that does not trade differ.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::book::{Book, Price};
use super::protocol::Scene;
use super::truth::{self, noise};

/// The word that takes a symbol off the list, on every exchange.
const ABSENT: &str = "ABSENT";

/// Counters by which a recorded symbol without a separator is taken apart, the longer ones first.
const COUNTERS: [&str; 8] = ["USDT", "USDC", "USDE", "BTC", "ETH", "EUR", "DAI", "BRL"];

/// Digits behind the point of a recorded symbol, which shows prices of its own.
const RECORDED_SCALE: u32 = 8;

/// How far apart bid and ask are, in parts of a million.
const SPREAD_PARTS: i64 = 20;

/// How far an exchange is off the true price at most, in parts of a million.
const OFFSET_PARTS: i64 = 60;

/// Base, counter, and digits behind the point of a price.
pub(super) type Pair = (&'static str, &'static str, u32);

/// What differs from exchange to exchange.
#[derive(Debug)]
pub(super) struct Form {
    /// The exchange's name, which also makes its prices differ from those of others.
    pub exchange: &'static str,
    /// What stands between base and counter.
    pub separator: &'static str,
    /// The word for a symbol that trades.
    pub open: &'static str,
    /// The words for one that does not: it stays on the list, with its last price and without a book.
    pub closed: &'static [&'static str],
}

/// One symbol.
#[derive(Debug, Clone)]
pub(super) struct Listing {
    /// As the exchange spells it.
    pub name: String,
    /// The exchange's code of the base.
    pub base: String,
    /// The exchange's code of the counter.
    pub counter: String,
    /// Digits behind the point of a price.
    pub scale: u32,
    /// The exchange's word for how it stands.
    pub status: &'static str,
    /// Whether it trades.
    pub is_open: bool,
    /// Its healthy book; without sides while it does not trade.
    pub book: Book,
    /// Milliseconds since 1970 of the last change.
    pub changed_at_ms: i64,
}

/// What the day before this moment is told to have been: one without events, from which the price rose a little.
#[derive(Debug, Clone, Copy)]
pub(super) struct Day {
    /// The price a day ago.
    pub open: Decimal,
    /// The highest price.
    pub high: Decimal,
    /// The lowest price.
    pub low: Decimal,
    /// Traded units of the base.
    pub volume: Decimal,
    /// Traded units of the counter.
    pub turnover: Decimal,
}

impl Day {
    /// The day that ends with this book.
    pub(super) fn of(book: &Book) -> Self {
        let last = book.last.number().unwrap_or_default();
        let part = |thousandths: i64| last.checked_mul(Decimal::new(thousandths, 3)).unwrap_or_default();
        let volume = Decimal::from(12_345);
        let turnover = volume.checked_mul(last).unwrap_or_default();
        Self { open: part(985), high: part(1010), low: part(980), volume, turnover }
    }
}

impl Listing {
    /// Our direction.
    pub(super) fn direction(&self) -> String {
        format!("{}-{}", self.base, self.counter)
    }

    /// A price with the digits of this symbol.
    pub(super) fn fixed(&self, price: Decimal) -> String {
        Price::Number(price).fixed(self.scale)
    }

    /// A side or a last price with the digits of this symbol; empty where there is none.
    pub(super) fn printed(&self, price: Option<&Price>) -> String {
        price.map(|price| price.fixed(self.scale)).unwrap_or_default()
    }

    fn tick(&mut self, exchange: &str, scene: &Scene<'_>) {
        let Some(price) = scene.truth.price(&self.base, &self.counter) else { return };
        let (seed, tick) = (scene.truth.seed(), scene.truth.tick());
        let subject = format!("{exchange} {}", self.name);
        // The offset moves once in five seconds, the sizes with every tick.
        let offset = Decimal::new(noise(seed, &subject, tick / 250, OFFSET_PARTS), 6);
        let book = Book::around(price * (Decimal::ONE + offset), self.scale, SPREAD_PARTS);
        let size = |side: &str| {
            let whole = noise(seed, &format!("{subject} {side}"), tick, 200_000);
            Decimal::new(whole + 200_001, 5)
        };
        let is_buy = noise(seed, &subject, tick, 1) > 0;
        let last = if is_buy { book.ask.clone() } else { book.bid.clone() };
        self.book = Book {
            bid_size: size("bid"),
            ask_size: size("ask"),
            last: last.unwrap_or(Price::Missing),
            sequence: scene.next_sequence(),
            ..book
        };
        self.changed_at_ms = scene.unix_ms();
    }

    fn close(&mut self) {
        let none = || Some(Price::Missing);
        self.book = Book {
            bid: none(),
            ask: none(),
            bid_size: Decimal::ZERO,
            ask_size: Decimal::ZERO,
            ..self.book.clone()
        };
    }
}

/// The symbols of one exchange.
#[derive(Debug)]
pub(super) struct Listings {
    form: &'static Form,
    by_name: BTreeMap<String, Listing>,
}

impl Listings {
    /// These trade.
    pub(super) fn new(form: &'static Form, pairs: &[Pair]) -> Self {
        let mut listings = Self { form, by_name: BTreeMap::new() };
        for (base, counter, scale) in pairs {
            listings.add([base, form.separator, counter].concat(), base, counter, *scale);
        }
        listings
    }

    fn add(&mut self, name: String, base: &str, counter: &str, scale: u32) {
        let listing = Listing {
            name: name.clone(),
            base: base.to_owned(),
            counter: counter.to_owned(),
            scale,
            status: self.form.open,
            is_open: true,
            book: Book::around(Decimal::ONE, scale, 0),
            changed_at_ms: 0,
        };
        self.by_name.insert(name, listing);
    }

    /// Follows the truth, each symbol in its turn.
    pub(super) fn tick(&mut self, scene: &Scene<'_>) {
        for name in scene.recordings.iter().flat_map(|recording| recording.symbols()) {
            if !self.by_name.contains_key(name) {
                let (base, counter) = split(name, self.form.separator);
                self.add(name.to_owned(), base, counter, RECORDED_SCALE);
            }
        }
        for listing in self.by_name.values_mut().filter(|listing| listing.is_open) {
            if scene.truth.is_turn_of(&listing.name) || listing.book.sequence == 0 {
                listing.tick(self.form.exchange, scene);
            }
        }
    }

    /// All of them, also those that do not trade.
    pub(super) fn all(&self) -> impl Iterator<Item = &Listing> {
        self.by_name.values()
    }

    /// The one with this name.
    pub(super) fn get(&self, name: &str) -> Option<&Listing> {
        self.by_name.get(name)
    }

    /// The healthy book of a symbol that trades.
    pub(super) fn book(&self, name: &str) -> Option<Book> {
        self.get(name).filter(|listing| listing.is_open).map(|listing| listing.book.clone())
    }

    /// What is published: direction, symbol and healthy book.
    pub(super) fn quotes(&self) -> Vec<(String, String, Book)> {
        let told = |listing: &Listing| (listing.direction(), listing.name.clone(), listing.book.clone());
        self.all().filter(|listing| listing.is_open).map(told).collect()
    }

    /// Changes how a symbol stands, or lists a new one: `{"symbol":…,"status":…}`.
    ///
    /// # Errors
    /// In words that name what is allowed.
    pub(super) fn set_status(&mut self, body: &Value, scene: &Scene<'_>) -> Result<Value, String> {
        let form = self.form;
        let usage = || {
            let words: Vec<&str> = [form.open].iter().chain(form.closed).copied().chain([ABSENT]).collect();
            format!(
                "`symbols` takes {{\"symbol\":\"BTC{}USD\",\"status\":\"{}\"}} (allowed statuses: {})",
                form.separator,
                form.open,
                words.join(", ")
            )
        };
        let name = body["symbol"].as_str().ok_or_else(usage)?;
        let asked = body["status"].as_str().ok_or_else(usage)?;
        if asked == ABSENT {
            self.by_name.remove(name);
            return Ok(json!({ "symbol": name, "status": ABSENT }));
        }
        let mut known = form.closed.iter().copied().chain([form.open]);
        let status = known.find(|known| *known == asked).ok_or_else(usage)?;
        if !self.by_name.contains_key(name) {
            let (base, counter) = taken_apart(name, form.separator)
                .ok_or_else(|| format!("`{name}` is not made of two assets that have a true price here"))?;
            let price = scene.truth.price(base, counter).unwrap_or(Decimal::ONE);
            self.add(name.to_owned(), base, counter, digits(price));
        }
        if let Some(listing) = self.by_name.get_mut(name) {
            listing.tick(form.exchange, scene);
            listing.status = status;
            listing.is_open = status == form.open;
            if !listing.is_open {
                listing.close();
            }
        }
        Ok(json!({ "symbol": name, "status": status }))
    }
}

/// Base and counter of a recorded symbol, as far as can be told.
fn split<'a>(name: &'a str, separator: &str) -> (&'a str, &'a str) {
    if !separator.is_empty() {
        return name.split_once(separator).unwrap_or((name, ""));
    }
    let found = COUNTERS.into_iter().find_map(|counter| Some((name.strip_suffix(counter)?, counter)));
    found.unwrap_or((name, ""))
}

/// A symbol's base and counter, both with a true price.
fn taken_apart(name: &str, separator: &str) -> Option<(&'static str, &'static str)> {
    truth::codes().find_map(|base| {
        let rest = name.strip_prefix(base)?.strip_prefix(separator)?;
        truth::codes().find(|code| *code == rest).map(|counter| (base, counter))
    })
}

/// Digits behind the point that leave a price about seven in all.
fn digits(price: Decimal) -> u32 {
    let mut digits = 7;
    let mut price = price;
    while price >= Decimal::ONE && digits > 0 {
        price /= Decimal::TEN;
        digits -= 1;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_taken_apart_with_and_without_a_separator() {
        assert_eq!(taken_apart("BTC-USD", "-"), Some(("BTC", "USD")));
        assert_eq!(taken_apart("USDTUSD", ""), Some(("USDT", "USD")));
        assert_eq!(taken_apart("BTCUSD", "-"), None);
        assert_eq!(taken_apart("FOO-USD", "-"), None);
        assert_eq!((split("KCS-BTC", "-"), split("OPUSDC", "")), (("KCS", "BTC"), ("OP", "USDC")));
        assert_eq!((digits(Decimal::from(64_000)), digits(Decimal::new(1, 5))), (2, 7));
    }
}
