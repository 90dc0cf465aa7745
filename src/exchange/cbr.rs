//! The Bank of Russia: official rates of about 54 currencies in roubles, set on working days.
//!
//! A setting of one afternoon is dated with the next day, so the latest table alone would leave us without a rate
//! until midnight; the table of the day before is asked for as well.
//!
//! <https://www.cbr.ru/development/SXML/>

use std::collections::HashMap;
use std::time::Duration;

use chrono::{NaiveDate, TimeDelta};
use encoding_rs::{Encoding, UTF_8, WINDOWS_1251};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use rust_decimal::Decimal;

use super::fiat_listing::FiatListing;
use super::fixing::{Fixing, SetOn, Zone, fixing_of};
use super::{Exchange, Feed, FrameError, KeyUse, Kind, Reading, Request, Row, Scope, Signal, Source, json};
use crate::market::{Asset, Direction, ExchangeName, Quote, Refusal, number};

pub(super) const ROW: Row = Row {
    name: ExchangeName::new("cbr"),
    kind: Kind::Fiat { official_of: Some(Asset::RUB) },
    rest_url: "https://www.cbr.ru",
    ws_url: "",
    stale_after: Duration::from_secs(600),
    poll_every: Duration::from_secs(3600),
    poll_every_with_key: None,
    key: KeyUse::None,
    make: |_access, scope| Box::new(Cbr::new(&scope)),
};

/// Path of the latest table.
const PATH: &str = "/scripts/XML_daily.asp";

/// Moscow is three hours ahead of UTC all year.
const MOSCOW: Zone = Zone::Ahead(TimeDelta::hours(3));

/// Largest part by which the printed rate of one unit may differ from value over nominal: it is rounded to six
/// digits. A nominal that was misread would differ ten times or more.
const MAX_DIFFERENCE: Decimal = Decimal::from_parts(1, 0, 0, false, 3);

/// Bytes in which the XML declaration has to end.
const MAX_DECLARATION: usize = 200;

/// Levels of elements: the table, its rows, their fields.
const MAX_DEPTH: usize = 3;

/// One table.
#[derive(Debug)]
struct Table {
    date: NaiveDate,
    rows: Vec<Fields>,
}

/// The fields of one row, by name; `None` for one that is not plain text.
type Fields = Vec<(String, Option<String>)>;

/// The plug-in of the Bank of Russia.
struct Cbr {
    listing: FiatListing,
    /// Date of the latest table.
    latest: Option<NaiveDate>,
}

impl Cbr {
    fn new(scope: &Scope) -> Self {
        Self { listing: FiatListing::new(Asset::RUB, scope), latest: None }
    }

    /// Keeps what the latest table has, and says whether that is news.
    fn remember(&mut self, table: &Table) -> bool {
        if self.latest.is_some_and(|latest| table.date < latest) {
            return false;
        }
        let is_later = self.latest.replace(table.date) != Some(table.date);
        self.listing.learn(table.rows.iter().map(code_of)) || is_later
    }

    /// Reads one row: roubles for `Nominal` units.
    fn read_row(&self, row: &Fields, fixing: Fixing) -> Result<Quote, Refusal> {
        let value = with_comma(field(row, "Value").ok_or(Refusal::Syntax)?)?;
        let nominal: u32 = field(row, "Nominal").and_then(|text| text.parse().ok()).ok_or(Refusal::Syntax)?;
        let nominal = Decimal::from(nominal);
        let rate = value.checked_div(nominal).ok_or(Refusal::Syntax)?;
        // A nominal that is no power of ten could not be divided by exactly, and has never been seen.
        if rate.checked_mul(nominal) != Some(value) {
            return Err(Refusal::Syntax);
        }
        if row.iter().any(|(name, _)| name == "VunitRate") {
            let of_one_unit = with_comma(field(row, "VunitRate").ok_or(Refusal::Syntax)?)?;
            let difference = of_one_unit.checked_sub(rate).ok_or(Refusal::Syntax)?.abs();
            let allowed = rate.abs().checked_mul(MAX_DIFFERENCE).ok_or(Refusal::Syntax)?;
            if difference > allowed {
                return Err(Refusal::Syntax);
            }
        }
        let currency = self.listing.currency(code_of(row)).ok_or(Refusal::UnexpectedSymbol)?;
        Ok(fixing.quote(Direction::new(currency, Asset::RUB), rate))
    }
}

impl Exchange for Cbr {
    fn feed(&self) -> Feed {
        let mut polls = vec![Request::get(PATH)];
        if let Some(day_before) = self.latest.and_then(|date| date.pred_opt()) {
            polls.push(Request::get(format!("{PATH}?date_req={}", day_before.format("%d/%m/%Y"))));
        }
        self.listing.feed(|asset| Direction::new(asset, Asset::RUB), polls)
    }

    fn read(&mut self, source: Source, bytes: &[u8]) -> Result<Reading, FrameError> {
        if source != Source::Poll {
            return Ok(Reading::default());
        }
        let table = read_table(&decoded(bytes)?)?;
        let fixing = fixing_of(table.date, MOSCOW, SetOn::DayBefore);
        let fixing = fixing.ok_or_else(|| syntax("a date beyond the calendar"))?;
        let mut num_rows: HashMap<&str, u32> = HashMap::new();
        for row in &table.rows {
            *num_rows.entry(code_of(row)).or_default() += 1;
        }
        let mut reading = Reading::default();
        for row in &table.rows {
            let code = code_of(row);
            // Of two rows for one currency, nobody can say which is meant.
            let is_alone = num_rows.get(code) == Some(&1);
            let read = if is_alone { self.read_row(row, fixing) } else { Err(Refusal::Syntax) };
            reading.push(code, read);
        }
        if !reading.quotes.is_empty() && self.remember(&table) {
            reading.signals.push(Signal::FeedChanged);
        }
        Ok(reading)
    }

    fn symbol(&self, direction: Direction) -> String {
        direction.base.to_string()
    }
}

/// The code of a row's currency; empty where it cannot be read.
fn code_of(row: &Fields) -> &str {
    field(row, "CharCode").unwrap_or_default()
}

/// A number with a decimal comma, perhaps with an exponent (`5,39256E-05`).
fn with_comma(text: &str) -> Result<Decimal, Refusal> {
    if text.contains('.') {
        return Err(Refusal::Syntax);
    }
    number::decimal(&text.replacen(',', ".", 1)).ok_or(Refusal::Syntax)
}

/// The text of a field; `None` if it is missing, comes twice or is no plain text.
fn field<'a>(row: &'a Fields, name: &str) -> Option<&'a str> {
    let mut found = row.iter().filter(|(known, _)| known == name);
    match (found.next(), found.next()) {
        (Some((_, text)), None) => text.as_deref(),
        _ => None,
    }
}

/// The text of a body, by the encoding that its declaration names.
fn decoded(bytes: &[u8]) -> Result<String, FrameError> {
    let head = &bytes[..bytes.len().min(MAX_DECLARATION)];
    let end = head.windows(2).position(|pair| pair == b"?>").filter(|_| head.starts_with(b"<?xml"));
    let end = end.ok_or_else(|| syntax("no XML declaration"))?;
    let declaration = std::str::from_utf8(&head[..end + 2]).map_err(|_| FrameError::Encoding)?;
    let Ok(Event::Decl(declaration)) = Reader::from_str(declaration).read_event() else {
        return Err(syntax(&format!("no XML declaration: `{}`", json::shown(declaration))));
    };
    let encoding = match declaration.encoding() {
        None => Some(UTF_8),
        Some(label) => label.ok().and_then(|label| Encoding::for_label(label.as_bytes())),
    };
    // Only the encodings that the bank uses: others would let the same bytes be read in two ways.
    let encoding = encoding.filter(|encoding| [UTF_8, WINDOWS_1251].contains(encoding));
    let text = encoding
        .and_then(|encoding| encoding.decode_without_bom_handling_and_without_replacement(bytes))
        .ok_or(FrameError::Encoding)?;
    Ok(text.into_owned())
}

/// Reads `<ValCurs Date="…"><Valute><CharCode>…</CharCode>…</Valute>…</ValCurs>`. Declared entities are not
/// expanded: a document type is an error.
fn read_table(text: &str) -> Result<Table, FrameError> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let (mut depth, mut date, mut rows) = (0_usize, None, Vec::<Fields>::new());
    loop {
        match reader.read_event().map_err(|error| syntax(&error.to_string()))? {
            Event::Start(element) => {
                match depth {
                    0 if date.is_some() => return Err(syntax("a second document")),
                    0 => date = Some(date_of(&element)?),
                    1 => rows.push(Fields::new()),
                    2 => {
                        if let Some(row) = rows.last_mut() {
                            row.push((name_of(&element), Some(String::new())));
                        }
                    }
                    _ => return Err(syntax("elements too deep")),
                }
                depth += 1;
            }
            Event::End(_) => depth = depth.checked_sub(1).ok_or_else(|| syntax("an end without a start"))?,
            Event::Text(text) => match rows.last_mut().and_then(|row| row.last_mut()) {
                Some((_, Some(content))) if depth == MAX_DEPTH => content.push_str(&text.into_inner()),
                _ if depth == MAX_DEPTH || text.trim_ascii().is_empty() => {}
                _ => return Err(syntax("text between elements")),
            },
            Event::CData(_) | Event::GeneralRef(_) => match rows.last_mut().and_then(|row| row.last_mut()) {
                Some((_, content)) if depth == MAX_DEPTH => *content = None,
                _ => return Err(syntax("text between elements")),
            },
            Event::DocType(_) => return Err(syntax("a document type")),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    match date {
        Some(_) if depth > 0 => Err(syntax("the end is missing")),
        Some(_) if rows.is_empty() => Err(syntax("a table without rows")),
        Some(date) => Ok(Table { date, rows }),
        None => Err(syntax("an empty document")),
    }
}

/// The date of the table; an error if the element is not a table of one day.
fn date_of(element: &BytesStart<'_>) -> Result<NaiveDate, FrameError> {
    if name_of(element) != "ValCurs" {
        return Err(syntax(&format!("no table of rates but `{}`", json::shown(&name_of(element)))));
    }
    let mut attributes = element.attributes();
    // The reader's own search for repeated names takes the square of their number.
    let attributes = attributes.with_checks(false).filter_map(Result::ok);
    let mut dates = attributes.filter(|attribute| attribute.key.as_ref() == "Date");
    let (Some(date), None) = (dates.next(), dates.next()) else {
        return Err(syntax("a table without one date"));
    };
    let date = NaiveDate::parse_from_str(&date.value, "%d.%m.%Y");
    date.map_err(|error| syntax(&format!("a table without a date: {error}")))
}

fn name_of(element: &BytesStart<'_>) -> String {
    element.name().as_ref().to_owned()
}

fn syntax(detail: &str) -> FrameError {
    FrameError::Syntax(detail.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Validity;

    fn cbr(wanted: &str) -> Cbr {
        Cbr::new(&Scope::Directions(wanted.split(',').map(|direction| direction.parse().unwrap()).collect()))
    }

    fn row(code: &str, nominal: &str, value: &str, of_one_unit: &str) -> String {
        format!(
            "<Valute ID=\"R0\"><NumCode>036</NumCode><CharCode>{code}</CharCode><Nominal>{nominal}</Nominal>\
             <Name>Доллар</Name><Value>{value}</Value>{of_one_unit}</Valute>"
        )
    }

    fn table(date: &str, rows: &[String]) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ValCurs Date=\"{date}\" name=\"Foreign Currency Market\">{}</ValCurs>",
            rows.concat()
        )
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
    fn a_rate_is_the_value_of_one_unit_whatever_the_nominal() {
        let unit = |text: &str| format!("<VunitRate>{text}</VunitRate>");
        for (row, expected) in [
            (row("USD", "1", "76,5273", &unit("76,5273")), "USD-RUB 76.5273"),
            (row("KZT", "100", "15,2001", &unit("0,152001")), "KZT-RUB 0.152001"),
            (row("IRR", "1000000", "54,1239", &unit("5,41239E-05")), "IRR-RUB 0.0000541239"),
            (row("XDR", "1", "103", ""), "XDR-RUB 103"),
            (row("USD", "1", "0,0000", &unit("0")), "USD-RUB 0"),
            (row("USD", "1", "76,5273", &unit("76,60")), "USD-RUB 76.5273"),
            (row("USD", "1", "76,5273", &unit("76,61")), "USD: syntax"),
            (row("KZT", "1", "15,2001", &unit("0,152001")), "KZT: syntax"),
            (row("USD", "1", "76,5273", &unit("")), "USD: syntax"),
            (row("USD", "1", "76,5273", &[unit("76,5273"), unit("76,5273")].concat()), "USD: syntax"),
            (row("USD", "0", "76,5273", ""), "USD: syntax"),
            (row("USD", "-1", "76,5273", ""), "USD: syntax"),
            (row("USD", "7", "76,5273", ""), "USD: syntax"),
            (row("USD", "", "76,5273", ""), "USD: syntax"),
            (row("USD", "1", "76.5273", ""), "USD: syntax"),
            (row("USD", "1", "1.076,5273", ""), "USD: syntax"),
            (row("USD", "1", "76,52,73", ""), "USD: syntax"),
            (row("USD", "1", "1 076,52", ""), "USD: syntax"),
            (row("USD", "1", "", ""), "USD: syntax"),
            (row("USD", "1", "NaN", ""), "USD: syntax"),
            (row("USD", "1", "7&#54;,5", ""), "USD: syntax"),
            (row("USD", "1", "7&amp;6,5", ""), "USD: syntax"),
            (row("USD", "1", "<![CDATA[76,5]]>", ""), "USD: syntax"),
            (row("USD", "1", "7<!-- -->6,5", ""), "USD-RUB 76.5"),
            (row("USD", "1", "76,5", "<Value>77,5</Value>"), "USD: syntax"),
            (row("RUB", "1", "1", ""), "RUB: unexpected_symbol"),
            (row("BTC", "1", "1", ""), "BTC: unexpected_symbol"),
            (row("🚀", "1", "1", ""), "🚀: unexpected_symbol"),
        ] {
            let reading =
                cbr("USD-RUB").read(Source::Poll, table("25.04.2026", std::slice::from_ref(&row)).as_bytes());
            assert_eq!(told(&reading.unwrap()), [expected], "{row}");
        }
    }

    #[test]
    fn a_bad_row_never_drops_its_siblings_and_a_currency_that_comes_twice_is_refused() {
        let rows = [
            row("USD", "1", "bad", ""),
            row("EUR", "1", "88,5", ""),
            row("CNY", "1", "10,5", ""),
            row("CNY", "1", "11,5", ""),
            "<Valute/>".to_owned(),
        ];
        let reading = cbr("USD-RUB").read(Source::Poll, table("25.04.2026", &rows).as_bytes()).unwrap();
        assert_eq!(told(&reading), ["EUR-RUB 88.5", "USD: syntax", "CNY: syntax", "CNY: syntax", ": syntax"]);
    }

    #[test]
    fn a_fixing_begins_at_midnight_in_moscow() {
        let body = table("25.04.2026", &[row("USD", "1", "76,5", "")]);
        let quote = cbr("USD-RUB").read(Source::Poll, body.as_bytes()).unwrap().quotes.remove(0);
        let starts_at = "2026-04-24T21:00:00Z".parse().unwrap();
        let ends_at = "2026-04-29T21:00:00Z".parse().unwrap();
        assert_eq!(quote.validity, Validity::Fixing { starts_at, ends_at });
        assert_eq!(quote.quoted_at, Some(starts_at));
    }

    #[test]
    fn both_encodings_are_read_as_they_are_declared() {
        let text = table("25.04.2026", &[row("USD", "1", "76,5", "")]);
        let cyrillic = text.replace("UTF-8", "windows-1251");
        let bytes = WINDOWS_1251.encode(&cyrillic).0.into_owned();
        assert_eq!(told(&cbr("USD-RUB").read(Source::Poll, &bytes).unwrap()), ["USD-RUB 76.5"]);

        let undeclared = text.replace(" encoding=\"UTF-8\"", "");
        assert_eq!(
            told(&cbr("USD-RUB").read(Source::Poll, undeclared.as_bytes()).unwrap()),
            ["USD-RUB 76.5"]
        );

        let mismatched = String::from_utf8_lossy(&bytes).len() > bytes.len();
        assert!(mismatched);
        let as_utf8 = [&b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>"[..], &bytes[45..]].concat();
        assert_eq!(cbr("USD-RUB").read(Source::Poll, &as_utf8), Err(FrameError::Encoding));

        for label in ["utf-16", "koi8-r", "x"] {
            let body = text.replace("UTF-8", label);
            assert_eq!(cbr("USD-RUB").read(Source::Poll, body.as_bytes()), Err(FrameError::Encoding));
        }
    }

    #[test]
    fn what_is_no_table_of_one_day_is_an_error() {
        let declaration = "<?xml version=\"1.0\"?>";
        let usd = row("USD", "1", "76,5", "");
        for body in [
            format!("{declaration}<ValCurs ID=\"R01235\" DateRange1=\"01.03.2026\">{usd}</ValCurs>"),
            format!("{declaration}<ValCurs Date=\"2026-04-25\">{usd}</ValCurs>"),
            format!("{declaration}<ValCurs Date=\"31.02.2026\">{usd}</ValCurs>"),
            format!("{declaration}<ValCurs Date=\"25.04.2026\" Date=\"26.04.2026\">{usd}</ValCurs>"),
            format!("{declaration}<ValCurs Date=\"25.04.2026\"></ValCurs>"),
            format!("{declaration}<Table Date=\"25.04.2026\">{usd}</Table>"),
            format!("{declaration}<ValCurs Date=\"25.04.2026\">Error in parameters{usd}</ValCurs>"),
            format!(
                "{declaration}<ValCurs Date=\"25.04.2026\">{usd}</ValCurs><ValCurs Date=\"26.04.2026\"/>"
            ),
            format!(
                "{declaration}<!DOCTYPE a [<!ENTITY b \"1\">]><ValCurs Date=\"25.04.2026\">{usd}</ValCurs>"
            ),
            format!("<ValCurs Date=\"25.04.2026\">{usd}</ValCurs>"),
            table("25.04.2026", &[row("USD", "1", "<b>76,5</b>", "")]),
            "<!DOCTYPE html><html><head><title>DDoS-Guard</title></head></html>".to_owned(),
        ] {
            let reading = cbr("USD-RUB").read(Source::Poll, body.as_bytes());
            assert!(matches!(reading, Err(FrameError::Syntax(_))), "{body}: {reading:?}");
        }
    }

    #[test]
    fn the_table_of_the_day_before_is_asked_for_once_the_latest_is_known() {
        let mut cbr = cbr("BTC-RUB,USD-KZT,ETH-THB");
        let feed = cbr.feed();
        assert_eq!(strings(&feed.listens_to), ["USD-RUB", "KZT-RUB", "THB-RUB", "EUR-RUB"]);
        assert_eq!(feed.polls, [Request::get(PATH)]);
        assert!(feed.unsupported.is_empty());

        let rows = [row("USD", "1", "76,5", ""), row("KZT", "100", "15", ""), row("CNY", "1", "bad", "")];
        let latest = table("01.05.2026", &rows);
        let reading = cbr.read(Source::Poll, latest.as_bytes()).unwrap();
        assert_eq!(reading.signals, [Signal::FeedChanged]);
        let feed = cbr.feed();
        assert_eq!(strings(&feed.listens_to), ["USD-RUB", "KZT-RUB", "CNY-RUB"]);
        assert_eq!(strings(&feed.unsupported), ["THB-RUB"]);
        let day_before = Request::get("/scripts/XML_daily.asp?date_req=30/04/2026");
        assert_eq!(feed.polls, [Request::get(PATH), day_before]);

        let older = table("30.04.2026", &rows[..1]);
        for body in [&latest, &older] {
            assert_eq!(cbr.read(Source::Poll, body.as_bytes()).unwrap().signals, []);
        }
        assert_eq!(cbr.feed(), feed);

        let newer = table("02.05.2026", &rows);
        assert_eq!(cbr.read(Source::Poll, newer.as_bytes()).unwrap().signals, [Signal::FeedChanged]);
        let day_before = Request::get("/scripts/XML_daily.asp?date_req=01/05/2026");
        assert_eq!(cbr.feed().polls, [Request::get(PATH), day_before]);
    }

    #[test]
    fn a_malformed_frame_never_panics_and_never_yields_a_price() {
        let body = table("25.04.2026", &[row("USD", "1", "76,5273", "<VunitRate>76,5273</VunitRate>")]);
        super::super::corpus::check(&mut cbr("USD-RUB"), &[Source::Poll, Source::Socket], &[&body]);
    }
}
