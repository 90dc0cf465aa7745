//! The Bank of Russia's daily fixings: XML in windows-1251, with decimal commas.
//!
//! Its calendar is the real one: rates are set on working days in the afternoon and apply from the next day on, so
//! an evening's answer is dated tomorrow, and a Saturday's stands until Tuesday.
//!
//! <https://www.cbr.ru/development/SXML/>

use std::net::IpAddr;

use chrono::{DateTime, Datelike, Days, FixedOffset, NaiveDate, NaiveTime, Utc, Weekday};
use rust_decimal::Decimal;
use rust_decimal::prelude::RoundingStrategy;

use super::book::{Book, Price};
use super::http::{Answer, Request};
use super::protocol::{Protocol, Reply, Row, Scene};
use super::truth::{Truth, noise};

/// Its row in the table.
pub(super) const ROW: Row = Row { name: "cbr", has_socket: false, make: |_| Box::new(Cbr) };

/// Time of day in Moscow at which the next day's rates are set.
const SET_AT: NaiveTime = NaiveTime::from_hms_opt(15, 30, 0).expect("a time of day");

/// Moscow's distance from UTC, the same in summer and winter.
const MOSCOW: FixedOffset = FixedOffset::east_opt(3 * 3600).expect("less than a day");

/// The first day with rates of today's money; before it the list is empty.
const FIRST_DATE: NaiveDate = NaiveDate::from_ymd_opt(1992, 7, 1).expect("a date");

/// Days on which nothing is set although they are not of a weekend, as month and day. The Government moves some of
/// them each year; that does not matter here.
#[rustfmt::skip]
const HOLIDAYS: &[(u32, u32)] = &[
    (1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (1, 7), (1, 8), (2, 23), (3, 8), (5, 1), (5, 9), (6, 12), (11, 4),
];

/// One currency: its number in the bank's list, its numeric code, its code, how many units have one price, its name.
type Currency = (&'static str, &'static str, &'static str, u32, &'static str);

#[rustfmt::skip]
const CURRENCIES: &[Currency] = &[
    ("R01010", "036", "AUD", 1, "Австралийский доллар"), ("R01020A", "944", "AZN", 1, "Азербайджанский манат"),
    ("R01030", "012", "DZD", 100, "Алжирских динаров"), ("R01035", "826", "GBP", 1, "Фунт стерлингов"),
    ("R01060", "051", "AMD", 100, "Армянских драмов"), ("R01080", "048", "BHD", 1, "Бахрейнский динар"),
    ("R01090B", "933", "BYN", 1, "Белорусский рубль"), ("R01105", "068", "BOB", 1, "Боливиано"),
    ("R01115", "986", "BRL", 1, "Бразильский реал"), ("R01135", "348", "HUF", 100, "Форинтов"),
    ("R01150", "704", "VND", 10_000, "Донгов"), ("R01200", "344", "HKD", 10, "Гонконгских долларов"),
    ("R01210", "981", "GEL", 1, "Лари"), ("R01215", "208", "DKK", 1, "Датская крона"),
    ("R01230", "784", "AED", 1, "Дирхам ОАЭ"), ("R01235", "840", "USD", 1, "Доллар США"),
    ("R01239", "978", "EUR", 1, "Евро"), ("R01240", "818", "EGP", 10, "Египетских фунтов"),
    ("R01270", "356", "INR", 100, "Индийских рупий"), ("R01280", "360", "IDR", 10_000, "Рупий"),
    ("R01300", "364", "IRR", 1_000_000, "Иранских риалов"), ("R01335", "398", "KZT", 100, "Тенге"),
    ("R01350", "124", "CAD", 1, "Канадский доллар"), ("R01355", "634", "QAR", 1, "Катарский риал"),
    ("R01370", "417", "KGS", 100, "Сомов"), ("R01375", "156", "CNY", 1, "Юань"),
    ("R01395", "192", "CUP", 10, "Кубинских песо"), ("R01500", "498", "MDL", 10, "Молдавских леев"),
    ("R01503", "496", "MNT", 1000, "Тугриков"), ("R01520", "566", "NGN", 1000, "Найр"),
    ("R01530", "554", "NZD", 1, "Новозеландский доллар"), ("R01535", "578", "NOK", 10, "Норвежских крон"),
    ("R01540", "512", "OMR", 1, "Оманский риал"), ("R01565", "985", "PLN", 1, "Злотый"),
    ("R01580", "682", "SAR", 1, "Саудовский риял"), ("R01585F", "946", "RON", 1, "Румынский лей"),
    ("R01589", "960", "XDR", 1, "СДР (специальные права заимствования)"),
    ("R01625", "702", "SGD", 1, "Сингапурский доллар"), ("R01670", "972", "TJS", 10, "Сомони"),
    ("R01675", "764", "THB", 10, "Батов"), ("R01685", "050", "BDT", 100, "Так"),
    ("R01700J", "949", "TRY", 10, "Турецких лир"), ("R01710A", "934", "TMT", 1, "Новый туркменский манат"),
    ("R01717", "860", "UZS", 10_000, "Узбекских сумов"), ("R01720", "980", "UAH", 10, "Гривен"),
    ("R01760", "203", "CZK", 10, "Чешских крон"), ("R01770", "752", "SEK", 10, "Шведских крон"),
    ("R01775", "756", "CHF", 1, "Швейцарский франк"), ("R01800", "230", "ETB", 100, "Эфиопских быров"),
    ("R01805F", "941", "RSD", 100, "Сербских динаров"), ("R01810", "710", "ZAR", 10, "Рэндов"),
    ("R01815", "410", "KRW", 1000, "Вон"), ("R01820", "392", "JPY", 100, "Иен"),
    ("R02005", "104", "MMK", 1000, "Кьятов"),
];

/// Whether rates are set on this day.
fn is_working(date: NaiveDate) -> bool {
    let is_weekend = matches!(date.weekday(), Weekday::Sat | Weekday::Sun);
    !is_weekend && !HOLIDAYS.contains(&(date.month(), date.day()))
}

/// Whether rates begin to apply on this day: they were set on the day before.
fn has_rates(date: NaiveDate) -> bool {
    date.pred_opt().is_some_and(is_working)
}

/// The date of the latest rates that are set at this moment.
pub(super) fn latest_date(at: DateTime<Utc>) -> NaiveDate {
    let moscow = at.with_timezone(&MOSCOW);
    let today = moscow.date_naive();
    let is_set = is_working(today) && moscow.time() >= SET_AT;
    let tomorrow = today.checked_add_days(Days::new(1)).filter(|_| is_set);
    tomorrow.unwrap_or_else(|| date_in_force(today))
}

/// The date of the rates that apply on a day: its own, or the latest before it.
fn date_in_force(date: NaiveDate) -> NaiveDate {
    date.iter_days().rev().find(|date| has_rates(*date)).unwrap_or(date)
}

/// Roubles for `nominal` units on a date, as they are printed.
fn value(truth: &Truth, code: &str, nominal: u32, date: NaiveDate) -> Option<Decimal> {
    let day = u64::try_from(date.num_days_from_ce()).unwrap_or_default();
    let moved = |code: &str, parts| Decimal::ONE + Decimal::new(noise(truth.seed(), code, day, parts), 6);
    let exact = truth
        .usd_at_start(code)?
        .checked_div(truth.usd_at_start("RUB")?)?
        .checked_mul(moved(code, 1000))?
        .checked_mul(moved("RUB", 4000))?
        .checked_mul(Decimal::from(nominal))?;
    Some(exact.round_dp_with_strategy(4, RoundingStrategy::MidpointNearestEven))
}

/// A unit's rate as the bank prints it: no zeros at the end, and small ones with an exponent.
fn unit_rate(value: Decimal, nominal: u32) -> String {
    let rate = value.checked_div(Decimal::from(nominal)).unwrap_or_default().normalize();
    let is_small = !rate.is_zero() && rate.abs() < Decimal::new(1, 4);
    let text = if is_small { with_exponent(rate) } else { rate.to_string() };
    comma(&text)
}

fn with_exponent(value: Decimal) -> String {
    let digits = value.mantissa().unsigned_abs().to_string();
    let (first, rest) = digits.split_at(1);
    let exponent = i64::from(value.scale()) - i64::try_from(rest.len()).unwrap_or(0);
    let point = if rest.is_empty() { "" } else { "." };
    let sign = if value.is_sign_negative() { "-" } else { "" };
    format!("{sign}{first}{point}{rest}E-{exponent:02}")
}

fn comma(text: &str) -> String {
    text.replace('.', ",")
}

/// A date as its parameters have it.
fn date_asked(text: &str) -> Option<NaiveDate> {
    ["%d/%m/%Y", "%d.%m.%Y"].into_iter().find_map(|form| NaiveDate::parse_from_str(text, form).ok())
}

/// The Bank of Russia. What it says depends on the day alone, so there is nothing to keep.
struct Cbr;

impl Cbr {
    fn daily(request: &Request, scene: &Scene<'_>) -> Answer {
        let latest = latest_date(scene.wall);
        let date = match request.parameter("date_req") {
            None | Some("") => latest,
            Some(text) => match date_asked(text) {
                Some(date) => date_in_force(date).min(latest),
                None => return xml("<ValCurs>Error in parameters</ValCurs>"),
            },
        };
        let mut body =
            format!("<ValCurs Date=\"{}\" name=\"Foreign Currency Market\">", date.format("%d.%m.%Y"));
        if date >= FIRST_DATE {
            for (id, number, code, nominal, name) in CURRENCIES {
                let Some((printed, rate)) = shown(scene, code, *nominal, date) else { continue };
                body.push_str(&format!(
                    "<Valute ID=\"{id}\"><NumCode>{number}</NumCode><CharCode>{code}</CharCode>\
                     <Nominal>{nominal}</Nominal><Name>{name}</Name><Value>{printed}</Value>\
                     <VunitRate>{rate}</VunitRate></Valute>"
                ));
            }
        }
        body.push_str("</ValCurs>");
        xml(&body)
    }

    fn dynamic(request: &Request, scene: &Scene<'_>) -> Answer {
        let date = |name| request.parameter(name).and_then(date_asked);
        let id = request.parameter("VAL_NM_RQ").unwrap_or_default();
        let currency = CURRENCIES.iter().find(|(known, ..)| *known == id);
        let (Some(from), Some(to)) = (date("date_req1"), date("date_req2")) else {
            return xml("<ValCurs>Error in parameters</ValCurs>");
        };
        let mut body = format!(
            "<ValCurs ID=\"{}\" DateRange1=\"{}\" DateRange2=\"{}\" name=\"Foreign Currency Market Dynamic\">",
            currency.map_or("", |(id, ..)| id),
            from.format("%d.%m.%Y"),
            to.format("%d.%m.%Y")
        );
        let last = to.min(latest_date(scene.wall));
        let days = from.max(FIRST_DATE).iter_days().take_while(|date| *date <= last);
        if let Some((id, _, code, nominal, _)) = currency {
            for date in days.filter(|date| has_rates(*date)) {
                let Some((printed, rate)) = shown(scene, code, *nominal, date) else { continue };
                body.push_str(&format!(
                    "<Record Date=\"{}\" Id=\"{id}\"><Nominal>{nominal}</Nominal><Value>{printed}</Value>\
                     <VunitRate>{rate}</VunitRate></Record>",
                    date.format("%d.%m.%Y")
                ));
            }
        }
        body.push_str("</ValCurs>");
        xml(&body)
    }
}

/// A currency's value and unit rate as they are printed, faults and all; `None` if it is muted.
fn shown(scene: &Scene<'_>, code: &str, nominal: u32, date: NaiveDate) -> Option<(String, String)> {
    let healthy = value(scene.truth, code, nominal, date)?;
    let direction = format!("{code}-RUB");
    let book = scene.shown(&[&direction, code], Book::last(healthy))?;
    let rate = match &book.last {
        Price::Number(value) => unit_rate(*value, nominal),
        other => other.fixed(4),
    };
    Some((comma(&book.last.fixed(4)), rate))
}

/// A document in the encoding of the bank.
fn xml(body: &str) -> Answer {
    let document = format!("<?xml version=\"1.0\" encoding=\"windows-1251\"?>{body}");
    let (bytes, ..) = encoding_rs::WINDOWS_1251.encode(&document);
    Answer::new(200, "text/xml; charset=windows-1251", bytes.into_owned()).with("Cache-Control", "no-cache")
}

impl Protocol for Cbr {
    fn tick(&mut self, _: &Scene<'_>) {}

    fn book(&self, _: &str) -> Option<Book> {
        None
    }

    fn quotes(&self, scene: &Scene<'_>) -> Vec<(String, String, Book)> {
        let date = latest_date(scene.wall);
        let told = |(_, _, code, nominal, _): &Currency| {
            let direction = format!("{code}-RUB");
            let rate = value(scene.truth, code, *nominal, date)?.checked_div(Decimal::from(*nominal))?;
            Some((direction.clone(), direction, Book::last(rate)))
        };
        CURRENCIES.iter().filter_map(told).collect()
    }

    fn rest(&mut self, path: &str, request: &Request, _: IpAddr, scene: &Scene<'_>) -> Reply {
        match path.to_ascii_lowercase().as_str() {
            "/scripts/xml_daily.asp" | "/scripts/xml_daily_eng.asp" => Self::daily(request, scene).into(),
            "/scripts/xml_dynamic.asp" => Self::dynamic(request, scene).into(),
            _ => Answer::new(404, "text/html; charset=utf-8", "<html><head><title>404</title></head></html>")
                .into(),
        }
    }

    fn refusal(&self, status: u16, retry_after: Option<u64>, _: &Scene<'_>) -> Answer {
        let body = format!("<!doctype html><html><head><title>DDoS-Guard {status}</title></head></html>");
        let answer = Answer::new(status, "text/html; charset=utf-8", body);
        match retry_after {
            Some(seconds) => answer.with("Retry-After", seconds),
            None => answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> NaiveDate {
        date_asked(text).unwrap()
    }

    #[test]
    fn the_calendar_is_the_banks() {
        for (utc, expected, why) in [
            ("2026-04-24T12:29:00Z", "24.04.2026", "a Friday before 15:30 in Moscow"),
            ("2026-04-24T12:30:00Z", "25.04.2026", "a Friday after it"),
            ("2026-04-26T09:00:00Z", "25.04.2026", "a Sunday"),
            ("2026-04-27T09:00:00Z", "25.04.2026", "a Monday before it"),
            ("2026-04-27T21:30:00Z", "28.04.2026", "a Tuesday in Moscow, Monday here"),
            ("2026-01-05T12:00:00Z", "01.01.2026", "the holidays of the new year"),
        ] {
            let at = utc.parse().unwrap();
            assert_eq!(latest_date(at).format("%d.%m.%Y").to_string(), expected, "{why}");
        }
        assert_eq!(date_in_force(date("26/04/2026")), date("25/04/2026"));
        assert_eq!(date_in_force(date("28/04/2026")), date("28/04/2026"));
    }

    #[test]
    fn rates_are_printed_as_the_bank_prints_them() {
        for (value, nominal, expected) in [
            ("75.5273", 1, "75,5273"),
            ("26.7960", 1, "26,796"),
            ("16.3172", 100, "0,163172"),
            ("53.9256", 1_000_000, "5,39256E-05"),
            ("50.0000", 1_000_000, "5E-05"),
            ("100", 1, "100"),
        ] {
            assert_eq!(unit_rate(value.parse().unwrap(), nominal), expected);
        }
    }

    #[test]
    fn every_currency_has_a_rate_of_four_digits_that_is_the_same_all_day() {
        let mut truth = Truth::new(5);
        let day = date("01/02/2026");
        for (_, _, code, nominal, _) in CURRENCIES {
            let rate = value(&truth, code, *nominal, day).unwrap();
            assert!(rate > Decimal::ONE && rate < Decimal::from(500), "{code}: {rate}");
        }
        let before = value(&truth, "USD", 1, day);
        truth.step();
        assert_eq!(value(&truth, "USD", 1, day), before);
        assert_ne!(value(&truth, "USD", 1, date("02/02/2026")), before);
        assert_eq!(CURRENCIES.len(), 54);
    }
}
