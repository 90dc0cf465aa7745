//! The symbols of a simulated exchange, each with a book that follows the true price of its two assets.
//!
//! Separate because that is the same on every exchange with order books: only the spelling, the list and the words for
//! a symbol that does not trade differ.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::book::{Book, Price, fixed};
use super::protocol::Scene;
use super::truth::{self, noise};

/// The word that takes a symbol off the list, on every exchange.
const ABSENT: &str = "ABSENT";

/// How far apart bid and ask are, in parts of a million.
const SPREAD_PARTS: i64 = 20;

/// How far an exchange is off the true price at most, in parts of a million.
const OFFSET_PARTS: i64 = 60;

/// Digits behind the point of a recorded symbol, which shows prices of its own.
const RECORDED_SCALE: u32 = 10;

/// Codes that a recorded symbol without a separator may end with, the longer ones first.
const COUNTERS: [&str; 17] = [
    "FDUSD", "USDT", "USDC", "USDE", "BUSD", "TUSD", "HUSD", "BTC", "ETH", "BNB", "EUR", "GBP", "TRY", "BRL",
    "DAI", "USD", "HT",
];

/// What differs from exchange to exchange.
#[derive(Debug)]
pub(super) struct Form {
    /// The exchange's name, which also makes its prices differ from those of others.
    pub exchange: &'static str,
    /// Its code of one of our assets.
    pub code: fn(&str) -> &str,
    /// The symbol of two of its codes.
    pub symbol: fn(&str, &str) -> String,
    /// The codes of a symbol, as far as it tells them.
    pub split: fn(&str) -> Option<(&str, &str)>,
    /// The words for a symbol that trades.
    pub open: &'static [&'static str],
    /// The words for one that does not: it stays on the list, with its last price.
    pub closed: &'static [&'static str],
    /// What such a one tells instead of bid and ask; `None` where it goes on to tell the book that it had.
    pub closed_side: Option<Price>,
}

/// One symbol.
#[derive(Debug, Clone)]
pub(super) struct Listing {
    /// As the exchange spells it.
    pub symbol: String,
    /// The exchange's code of the base.
    pub base: String,
    /// The exchange's code of the counter.
    pub counter: String,
    /// Our codes of both.
    assets: (String, String),
    /// Digits behind the point of a price.
    pub scale: u32,
    /// The exchange's word for how it stands.
    pub status: &'static str,
    /// Whether it trades.
    pub is_open: bool,
    /// Its healthy book.
    pub book: Book,
    /// When that last changed, by the exchange's clock.
    pub changed_at: DateTime<Utc>,
}

impl Listing {
    /// Our direction.
    pub(super) fn direction(&self) -> String {
        format!("{}-{}", self.assets.0, self.assets.1)
    }

    /// The book as it is really said now; `None` if a fault mutes it.
    pub(super) fn shown(&self, scene: &Scene<'_>) -> Option<Book> {
        scene.shown(&[&self.symbol, &self.direction()], self.book.clone())
    }

    /// A price with the digits of this symbol.
    pub(super) fn fixed(&self, price: Decimal) -> String {
        Price::Number(price).fixed(self.scale)
    }

    /// The smallest step of a price.
    pub(super) fn step(&self) -> String {
        self.fixed(Decimal::new(1, self.scale))
    }

    /// A side or a last price with the digits of this symbol; empty where there is none.
    pub(super) fn printed(&self, price: Option<&Price>) -> String {
        price.map(|price| price.fixed(self.scale)).unwrap_or_default()
    }

    /// The same as a JSON text; `null` where there is none.
    pub(super) fn told(&self, price: Option<&Price>) -> Value {
        fixed(price, self.scale)
    }

    fn tick(&mut self, exchange: &str, scene: &Scene<'_>) {
        self.changed_at = scene.wall;
        let Some(price) = scene.truth.price(&self.assets.0, &self.assets.1) else { return };
        let (seed, tick) = (scene.truth.seed(), scene.truth.tick());
        let subject = format!("{exchange} {}", self.symbol);
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
    }

    fn close(&mut self, side: &Price) {
        (self.book.bid, self.book.ask) = (Some(side.clone()), Some(side.clone()));
        (self.book.bid_size, self.book.ask_size) = (Decimal::ZERO, Decimal::ZERO);
    }
}

/// The symbols of one exchange.
#[derive(Debug)]
pub(super) struct Listings {
    form: &'static Form,
    by_symbol: BTreeMap<String, Listing>,
}

impl Listings {
    /// These trade: our codes of base and counter, and digits behind the point of a price.
    pub(super) fn new(form: &'static Form, pairs: &[(&str, &str, u32)]) -> Self {
        let mut listings = Self { form, by_symbol: BTreeMap::new() };
        for (base, counter, scale) in pairs {
            listings.add(base, counter, *scale, form.open[0]);
        }
        listings
    }

    /// These trade, base and counter each, with as many digits as leave a price about seven in all.
    pub(super) fn in_seven_digits(form: &'static Form, pairs: &[(&str, &str)], scene: &Scene<'_>) -> Self {
        let mut listings = Self::new(form, &[]);
        for (base, counter) in pairs {
            listings.add(base, counter, scale_of(base, counter, scene), form.open[0]);
        }
        listings
    }

    /// Lists a pair of our codes.
    pub(super) fn add(&mut self, base: &str, counter: &str, scale: u32, status: &'static str) {
        let (code, counter_code) = ((self.form.code)(base), (self.form.code)(counter));
        let symbol = (self.form.symbol)(code, counter_code);
        self.insert(symbol, (code, counter_code), (base, counter), scale, status);
    }

    fn insert(
        &mut self,
        symbol: String,
        codes: (&str, &str),
        assets: (&str, &str),
        scale: u32,
        status: &'static str,
    ) {
        let listing = Listing {
            symbol: symbol.clone(),
            base: codes.0.to_owned(),
            counter: codes.1.to_owned(),
            assets: (assets.0.to_owned(), assets.1.to_owned()),
            scale,
            status,
            is_open: self.form.open.contains(&status),
            book: Book::around(Decimal::ONE, scale, 0),
            changed_at: DateTime::UNIX_EPOCH,
        };
        self.by_symbol.insert(symbol, listing);
    }

    /// Follows the truth, each symbol in its turn, and lists those that are known from recordings alone.
    pub(super) fn tick(&mut self, scene: &Scene<'_>) {
        for symbol in scene.recordings.iter().flat_map(|recording| recording.symbols()) {
            if !self.by_symbol.contains_key(symbol) {
                let (base, counter) = (self.form.split)(symbol).unwrap_or((symbol, ""));
                let (base, counter) = (base.to_ascii_uppercase(), counter.to_ascii_uppercase());
                let codes = (base.as_str(), counter.as_str());
                self.insert(symbol.to_owned(), codes, codes, RECORDED_SCALE, self.form.open[0]);
            }
        }
        for listing in self.by_symbol.values_mut() {
            let has_never_traded = listing.book.sequence == 0;
            if has_never_traded || listing.is_open && scene.truth.is_turn_of(&listing.symbol) {
                listing.tick(self.form.exchange, scene);
                if let (false, Some(side)) = (listing.is_open, &self.form.closed_side) {
                    listing.close(side);
                }
            }
        }
    }

    /// All of them, in the order of their spelling, also those that do not trade.
    pub(super) fn all(&self) -> impl Iterator<Item = &Listing> {
        self.by_symbol.values()
    }

    /// Those that trade.
    pub(super) fn open(&self) -> impl Iterator<Item = &Listing> {
        self.all().filter(|listing| listing.is_open)
    }

    /// The one of this spelling.
    pub(super) fn get(&self, symbol: &str) -> Option<&Listing> {
        self.by_symbol.get(symbol)
    }

    /// The healthy book of a symbol that has one.
    pub(super) fn book(&self, symbol: &str) -> Option<Book> {
        self.get(symbol).filter(|listing| self.has_book(listing)).map(|listing| listing.book.clone())
    }

    /// What is published: direction, symbol and healthy book.
    pub(super) fn quotes(&self) -> Vec<(String, String, Book)> {
        let told = |listing: &Listing| (listing.direction(), listing.symbol.clone(), listing.book.clone());
        self.all().filter(|listing| self.has_book(listing)).map(told).collect()
    }

    fn has_book(&self, listing: &Listing) -> bool {
        listing.is_open || self.form.closed_side.is_none()
    }

    /// `POST /control/<exchange>/symbols`: changes how a symbol stands, or lists a new one.
    ///
    /// # Errors
    /// In words for the caller that name what is allowed.
    pub(super) fn command(&mut self, body: &Value, scene: &Scene<'_>) -> Result<Value, String> {
        let form = self.form;
        let words = || form.open.iter().chain(form.closed).copied();
        let usage = || {
            format!(
                "`symbols` takes {{\"direction\":\"BTC-USD\",\"status\":\"{}\"}}, or a `symbol` as the exchange \
                 spells it (allowed statuses: {}, {ABSENT})",
                form.open[0],
                words().collect::<Vec<_>>().join(", ")
            )
        };
        let symbol = match (body["symbol"].as_str(), body["direction"].as_str()) {
            (Some(symbol), _) => symbol.to_owned(),
            (None, Some(direction)) => {
                let (base, counter) = direction.split_once('-').ok_or_else(usage)?;
                (form.symbol)((form.code)(base), (form.code)(counter))
            }
            (None, None) => return Err(usage()),
        };
        let asked = body["status"].as_str().ok_or_else(usage)?;
        if asked == ABSENT {
            self.by_symbol.remove(&symbol);
            return Ok(json!({ "symbol": symbol, "status": ABSENT }));
        }
        let status = words().find(|known| *known == asked).ok_or_else(usage)?;
        if !self.by_symbol.contains_key(&symbol) {
            let (base, counter) = taken_apart(&symbol, form)
                .ok_or_else(|| format!("`{symbol}` is not made of two assets that have a true price here"))?;
            self.add(base, counter, scale_of(base, counter, scene), status);
        }
        if let Some(listing) = self.by_symbol.get_mut(&symbol) {
            listing.tick(form.exchange, scene);
            listing.status = status;
            listing.is_open = form.open.contains(&status);
            if let (false, Some(side)) = (listing.is_open, &form.closed_side) {
                listing.close(side);
            }
        }
        Ok(json!({ "symbol": symbol, "status": status }))
    }
}

/// Two assets with a true price whose symbol this is.
fn taken_apart(symbol: &str, form: &Form) -> Option<(&'static str, &'static str)> {
    let is_it = |base, counter| (form.symbol)((form.code)(base), (form.code)(counter)) == symbol;
    truth::codes()
        .find_map(|base| truth::codes().find(|counter| is_it(base, counter)).map(|counter| (base, counter)))
}

/// The codes of a symbol without a separator: the last one is a well-known counter, in whichever letters.
pub(super) fn split_at_counter(symbol: &str) -> Option<(&str, &str)> {
    COUNTERS.into_iter().find_map(|counter| {
        let at = symbol.len().checked_sub(counter.len())?;
        let (base, end) = symbol.split_at_checked(at)?;
        (!base.is_empty() && end.eq_ignore_ascii_case(counter)).then_some((base, end))
    })
}

/// Digits behind the point that leave a price of this pair about seven in all.
fn scale_of(base: &str, counter: &str, scene: &Scene<'_>) -> u32 {
    digits(scene.truth.price(base, counter).unwrap_or(Decimal::ONE))
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

#[cfg(test)]
mod tests {
    use super::*;

    const JOINED: Form = Form {
        exchange: "joined",
        code: |asset| if asset == "USDT" { "UST" } else { asset },
        symbol: |base, counter| format!("{base}{counter}"),
        split: split_at_counter,
        open: &["open"],
        closed: &[],
        closed_side: None,
    };

    #[test]
    fn symbols_are_taken_apart_into_assets_with_a_price() {
        for (symbol, expected) in [
            ("BTCUSD", Some(("BTC", "USD"))),
            ("USTUSD", Some(("USDT", "USD"))),
            ("GRAMUST", Some(("GRAM", "USDT"))),
            ("FOOUSD", None),
        ] {
            assert_eq!(taken_apart(symbol, &JOINED), expected, "{symbol}");
        }
    }

    #[test]
    fn recorded_symbols_are_split_at_a_counter_that_they_end_with() {
        for (symbol, expected) in [
            ("OPUSDC", Some(("OP", "USDC"))),
            ("nknusdt", Some(("nkn", "usdt"))),
            ("USDT", None),
            ("ABCXYZ", None),
            ("ü€", None),
        ] {
            assert_eq!(split_at_counter(symbol), expected, "{symbol}");
        }
    }

    #[test]
    fn digits_leave_a_price_about_seven_in_all() {
        for (price, expected) in [(Decimal::from(64_000), 2), (Decimal::new(1, 5), 7), (Decimal::from(5), 6)]
        {
            assert_eq!(digits(price), expected, "{price}");
        }
    }
}
