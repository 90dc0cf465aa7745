//! The European Central Bank: reference rates of about 29 currencies, as units for one euro.
//!
//! They are set on working days of the euro area's payment system and published at about 16:00 in Frankfurt, dated with
//! the same day. The rouble has not been among them since March 2022.
//!
//! <https://www.ecb.europa.eu/stats/policy_and_exchange_rates/euro_reference_exchange_rates/html/index.en.html>

use std::collections::HashMap;
use std::time::Duration;

use chrono::NaiveDate;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::fiat_listing::FiatListing;
use super::fixing::{Fixing, SetOn, Zone, fixing_of};
use super::{Exchange, Feed, FrameError, KeyUse, Kind, Reading, Request, Row, Scope, Signal, Source, json};
use crate::market::{Asset, Direction, ExchangeName, Quote, Refusal, number};

pub(super) const ROW: Row = Row {
    name: ExchangeName::new("ecb"),
    kind: Kind::Fiat { official_of: Some(Asset::EUR) },
    rest_url: "https://www.ecb.europa.eu",
    ws_url: "",
    stale_after: Duration::from_secs(600),
    poll_every: Duration::from_secs(3600),
    poll_every_with_key: None,
    key: KeyUse::None,
    make: |_access, scope| Box::new(Ecb::new(&scope)),
};

/// Path of the latest table.
const PATH: &str = "/stats/eurofxref/eurofxref-daily.xml";

/// The element that holds the tables, the table and its rows, one in the other.
const CUBE: &str = "Cube";

/// Elements around a row: the envelope, what holds the tables, and the table.
const LEVEL_OF_ROWS: usize = 3;

/// One table.
#[derive(Debug)]
struct Table {
    date: NaiveDate,
    rows: Vec<RateRow>,
}

/// One row; `None` for what is missing or stands there twice.
#[derive(Debug)]
struct RateRow {
    currency: Option<String>,
    rate: Option<String>,
}

/// The plug-in of the European Central Bank.
struct Ecb {
    listing: FiatListing,
}

impl Ecb {
    fn new(scope: &Scope) -> Self {
        Self { listing: FiatListing::new(Asset::EUR, scope) }
    }

    /// Reads one row: units of its currency for one euro. A currency that is suspended has `N/A` for a rate.
    fn read_row(&self, row: &RateRow, fixing: Fixing) -> Result<Quote, Refusal> {
        let rate = row.rate.as_deref().and_then(number::decimal).ok_or(Refusal::Syntax)?;
        let currency = self.listing.currency(row.code()).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(fixing.quote(Direction::new(Asset::EUR, currency), rate))
    }
}

impl Exchange for Ecb {
    fn feed(&self) -> Feed {
        self.listing.feed(|asset| Direction::new(Asset::EUR, asset), vec![Request::get(PATH)])
    }

    fn read(&mut self, source: Source, bytes: &[u8]) -> Result<Reading, FrameError> {
        if source != Source::Poll {
            return Ok(Reading::default());
        }
        let table = read_table(json::text(bytes)?)?;
        let fixing = fixing_of(table.date, Zone::CentralEurope, SetOn::ItsDate);
        let fixing = fixing.ok_or_else(|| syntax("a date beyond the calendar"))?;
        let mut num_rows: HashMap<&str, u32> = HashMap::new();
        for row in &table.rows {
            *num_rows.entry(row.code()).or_default() += 1;
        }
        let mut reading = Reading::default();
        for row in &table.rows {
            // Of two rows for one currency, nobody can say which is meant.
            let is_alone = num_rows.get(row.code()) == Some(&1);
            let read = if is_alone { self.read_row(row, fixing) } else { Err(Refusal::Syntax) };
            reading.push(row.code(), read);
        }
        if !reading.quotes.is_empty() && self.listing.learn(table.rows.iter().map(RateRow::code)) {
            reading.signals.push(Signal::FeedChanged);
        }
        Ok(reading)
    }

    fn symbol(&self, direction: Direction) -> String {
        direction.counter.to_string()
    }
}

impl RateRow {
    fn new(element: &BytesStart<'_>) -> Self {
        Self { currency: attribute(element, "currency"), rate: attribute(element, "rate") }
    }

    /// The code of its currency; empty where it cannot be read.
    fn code(&self) -> &str {
        self.currency.as_deref().unwrap_or_default()
    }
}

/// Reads `<Envelope>…<Cube><Cube time="…"><Cube currency="…" rate="…"/>…</Cube></Cube></Envelope>`. What stands beside
/// the outermost `Cube` says who sends it, and is passed over. Declared entities are not expanded: a document type is an
/// error.
fn read_table(text: &str) -> Result<Table, FrameError> {
    if !text.starts_with("<?xml") {
        return Err(syntax("no XML declaration"));
    }
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let (mut path, mut date, mut rows) = (Vec::<String>::new(), None, Vec::new());
    let mut has_begun = false;
    loop {
        match reader.read_event().map_err(|error| syntax(&error.to_string()))? {
            Event::Start(element) => {
                let name = name_of(&element);
                let is_in_cube = path.last().is_some_and(|outer| outer == CUBE);
                match path.len() {
                    0 if has_begun => return Err(syntax("a second document")),
                    0 if name != "Envelope" => {
                        return Err(syntax(&format!("no table of rates but `{}`", json::shown(&name))));
                    }
                    0 => has_begun = true,
                    1 => {}
                    2 if is_in_cube && name == CUBE && date.is_some() => {
                        return Err(syntax("a table of more than one day"));
                    }
                    2 if is_in_cube && name == CUBE => date = Some(date_of(&element)?),
                    LEVEL_OF_ROWS if is_in_cube && name == CUBE => rows.push(RateRow::new(&element)),
                    2 | LEVEL_OF_ROWS if !is_in_cube && name != CUBE => {}
                    _ => return Err(syntax("an element out of its place")),
                }
                path.push(name);
            }
            Event::End(_) => drop(path.pop().ok_or_else(|| syntax("an end without a start"))?),
            Event::Text(text) if text.trim_ascii().is_empty() => {}
            Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
                let is_about_sender = path.len() > 1 && path.last().is_some_and(|name| name != CUBE);
                if !is_about_sender {
                    return Err(syntax("text between elements"));
                }
            }
            Event::DocType(_) => return Err(syntax("a document type")),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    match date {
        _ if !path.is_empty() => Err(syntax("the end is missing")),
        Some(_) if rows.is_empty() => Err(syntax("a table without rows")),
        Some(date) => Ok(Table { date, rows }),
        None => Err(syntax("no table of rates")),
    }
}

/// The date of a table.
fn date_of(element: &BytesStart<'_>) -> Result<NaiveDate, FrameError> {
    let time = attribute(element, "time").ok_or_else(|| syntax("a table without one date"))?;
    let date = NaiveDate::parse_from_str(&time, "%Y-%m-%d");
    date.map_err(|error| syntax(&format!("a table without a date: {error}")))
}

/// The value of an attribute as it stands there; `None` if it is missing or comes twice.
fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let mut attributes = element.attributes();
    // The reader's own search for repeated names takes the square of their number.
    let attributes = attributes.with_checks(false).filter_map(Result::ok);
    let mut found = attributes.filter(|attribute| attribute.key.as_ref() == name);
    match (found.next(), found.next()) {
        (Some(attribute), None) => Some(attribute.value.into_owned()),
        _ => None,
    }
}

/// The name of an element without its prefix.
fn name_of(element: &BytesStart<'_>) -> String {
    element.local_name().as_ref().to_owned()
}

fn syntax(detail: &str) -> FrameError {
    FrameError::Syntax(detail.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Validity;

    fn ecb(wanted: &str) -> Ecb {
        Ecb::new(&Scope::Directions(wanted.split(',').map(|direction| direction.parse().unwrap()).collect()))
    }

    fn row(currency: &str, rate: &str) -> String {
        format!("<Cube currency='{currency}' rate='{rate}'/>")
    }

    fn days(days: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<gesmes:Envelope xmlns:gesmes=\"http://www.gesmes.org/xml\" \
             xmlns=\"http://www.ecb.int/eurofxref\">\n<gesmes:subject>Reference rates</gesmes:subject>\n\
             <gesmes:Sender><gesmes:name>European Central Bank</gesmes:name></gesmes:Sender>\n\
             <Cube>{days}</Cube>\n</gesmes:Envelope>"
        )
    }

    fn table(date: &str, rows: &[String]) -> String {
        days(&format!("<Cube time='{date}'>{}</Cube>", rows.concat()))
    }

    /// Direction and price of every quote, then symbol and reason of every refusal.
    fn told(reading: &Reading) -> Vec<String> {
        let quotes = reading.quotes.iter().map(|quote| {
            assert_eq!((quote.bid, quote.ask), (None, None));
            format!("{} {}", quote.direction, quote.last.unwrap().normalize())
        });
        quotes.chain(reading.refused.iter().map(|(symbol, refusal)| format!("{symbol}: {refusal}"))).collect()
    }

    fn strings(directions: &[Direction]) -> Vec<String> {
        directions.iter().map(Direction::to_string).collect()
    }

    #[test]
    fn a_rate_is_the_price_of_one_euro() {
        for (row, expected) in [
            (row("USD", "1.1568"), "EUR-USD 1.1568"),
            (row("JPY", "186.70"), "EUR-JPY 186.7"),
            (row("IDR", "20082.05"), "EUR-IDR 20082.05"),
            ("<Cube rate=\"0.87058\" currency=\"GBP\"></Cube>".to_owned(), "EUR-GBP 0.87058"),
            (row("USD", "0"), "EUR-USD 0"),
            (row("HRK", "N/A"), "HRK: syntax"),
            (row("USD", ""), "USD: syntax"),
            (row("USD", "1,1568"), "USD: syntax"),
            (row("USD", "1 156.8"), "USD: syntax"),
            (row("USD", "1.15&#54;8"), "USD: syntax"),
            (row("USD", "NaN"), "USD: syntax"),
            ("<Cube currency='USD'/>".to_owned(), "USD: syntax"),
            ("<Cube currency='USD' rate='1.1' rate='1.2'/>".to_owned(), "USD: syntax"),
            ("<Cube currency='USD' currency='GBP' rate='1.1'/>".to_owned(), ": unexpected_symbol"),
            ("<Cube rate='1.1'/>".to_owned(), ": unexpected_symbol"),
            (row("EUR", "1"), "EUR: unexpected_symbol"),
            (row("usd", "1.1568"), "usd: unexpected_symbol"),
            (row("BTC", "1"), "BTC: unexpected_symbol"),
            (row("XAU", "0.0003"), "XAU: unexpected_symbol"),
        ] {
            let body = table("2026-03-18", std::slice::from_ref(&row));
            let reading = ecb("EUR-USD").read(Source::Poll, body.as_bytes());
            assert_eq!(told(&reading.unwrap()), [expected], "{row}");
        }
    }

    #[test]
    fn a_bad_row_never_drops_its_siblings_and_a_currency_that_comes_twice_is_refused() {
        let rows = [row("USD", "bad"), row("GBP", "0.87"), row("CNY", "7.9"), row("CNY", "7.8")];
        let reading = ecb("EUR-USD").read(Source::Poll, table("2026-03-18", &rows).as_bytes()).unwrap();
        assert_eq!(told(&reading), ["EUR-GBP 0.87", "USD: syntax", "CNY: syntax", "CNY: syntax"]);
    }

    #[test]
    fn a_fixing_begins_at_midnight_in_frankfurt_in_winter_and_in_summer() {
        for (date, starts_at, ends_at) in [
            ("2026-03-18", "2026-03-17T23:00:00Z", "2026-03-23T23:00:00Z"),
            ("2026-06-18", "2026-06-17T22:00:00Z", "2026-06-23T22:00:00Z"),
        ] {
            let body = table(date, &[row("USD", "1.1568")]);
            let quote = ecb("EUR-USD").read(Source::Poll, body.as_bytes()).unwrap().quotes.remove(0);
            let (starts_at, ends_at) = (starts_at.parse().unwrap(), ends_at.parse().unwrap());
            assert_eq!(quote.validity, Validity::Fixing { starts_at, ends_at });
            assert_eq!(quote.quoted_at, Some(starts_at));
        }
    }

    #[test]
    fn what_is_no_table_of_one_day_is_an_error() {
        let usd = row("USD", "1.1568");
        let day = |date: &str| format!("<Cube time='{date}'>{usd}</Cube>");
        for body in [
            days(&[day("2026-03-18"), day("2026-03-17")].concat()),
            days(&format!("<Cube>{usd}</Cube>")),
            days(&format!("<Cube time='2026-03-18' time='2026-03-17'>{usd}</Cube>")),
            days("<Cube time='2026-03-18'></Cube>"),
            days(&usd),
            days(""),
            table("18.03.2026", std::slice::from_ref(&usd)),
            table("2026-02-30", std::slice::from_ref(&usd)),
            table("2026-03-18", &[format!("<Cube><Cube>{usd}</Cube></Cube>")]),
            table("2026-03-18", &["1.1568".to_owned(), usd.clone()]),
            table("2026-03-18", &[format!("<Rate currency='USD' rate='1'/>{usd}")]),
            days(&day("2026-03-18")).replace("<Cube>", "<Other>").replace("</Cube>\n", "</Other>\n"),
            days(&day("2026-03-18")).replace("Envelope", "Other"),
            days(&day("2026-03-18")).replace("?>\n<gesmes", "?>\n<!DOCTYPE a>\n<gesmes"),
            days(&day("2026-03-18")).replace("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", ""),
            "<!DOCTYPE html><html><head><title>Service unavailable</title></head></html>".to_owned(),
            "Date, USD, JPY, \n13 April 2026, 1.1684, 186.75, \n".to_owned(),
        ] {
            let reading = ecb("EUR-USD").read(Source::Poll, body.as_bytes());
            assert!(matches!(reading, Err(FrameError::Syntax(_))), "{body}: {reading:?}");
        }
    }

    #[test]
    fn every_currency_of_the_table_is_listened_to_and_a_wanted_one_that_is_not_in_it_is_unsupported() {
        let mut ecb = ecb("BTC-RUB,ETH-USD");
        let feed = ecb.feed();
        assert_eq!(strings(&feed.listens_to), ["EUR-RUB", "EUR-USD"]);
        assert_eq!(feed.polls, [Request::get(PATH)]);

        let body = table("2026-03-18", &[row("USD", "1.1568"), row("JPY", "bad"), row("XAU", "1")]);
        assert_eq!(ecb.read(Source::Poll, body.as_bytes()).unwrap().signals, [Signal::FeedChanged]);
        let feed = ecb.feed();
        assert_eq!(strings(&feed.listens_to), ["EUR-USD", "EUR-JPY"]);
        assert_eq!(strings(&feed.unsupported), ["EUR-RUB"]);
        assert_eq!(ecb.read(Source::Poll, body.as_bytes()).unwrap().signals, []);
    }

    #[test]
    fn a_malformed_frame_never_panics_and_never_yields_a_price() {
        let body = table("2026-03-18", &[row("USD", "1.1568")]);
        super::super::corpus::check(&mut ecb("EUR-USD"), &[Source::Poll, Source::Socket], &[&body]);
    }
}
