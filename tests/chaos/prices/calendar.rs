//! Two weeks of a central bank's fixings, with weekends, a holiday and a day on which the source does not answer.
//!
//! A row without processes: nobody outside can turn the clock of a running service. The bank's plug-in reads its documents
//! and the book judges them, both as in the service, at the times that are told to them.

use std::time::Duration;

use chrono::{DateTime, Datelike, Days, NaiveDate, TimeDelta, Utc, Weekday};
use ratebook::exchange::{self, Access, Scope, Source};
use ratebook::market::{ExchangeName, Moment, Quote, Transport, number};
use ratebook::rate_book::{
    Book, BookSettings, Epoch, Event, GetCourses, Link, ListedExchange, ReportLink, ReportListing,
    ReportQuotes, UsdtUsdLeg, Wanted,
};
use rust_decimal::Decimal;

use crate::row::{Figures, Options};

const CBR: ExchangeName = ExchangeName::new("cbr");
const KRAKEN: ExchangeName = ExchangeName::new("kraken");

/// The bank's clock is so far ahead of UTC.
const MOSCOW: TimeDelta = TimeDelta::hours(3);

/// When the rates of the next date are published, by UTC.
const PUBLISHED_AT: TimeDelta = TimeDelta::hours(12);

/// Days without rates of their own beside Sundays and Mondays: no trade on 1 May.
const HOLIDAYS: [(u32, u32); 1] = [(5, 2)];

/// A day on which the source does not answer, so that the rates of the next date come a day late.
const ABSENT: (u32, u32) = (4, 28);

/// The two weeks.
fn days() -> impl Iterator<Item = NaiveDate> {
    let first = NaiveDate::from_ymd_opt(2026, 4, 24).unwrap();
    first.iter_days().take(14)
}

/// Whether the bank sets rates of this date.
fn is_fixed(date: NaiveDate) -> bool {
    let is_free = matches!(date.weekday(), Weekday::Sun | Weekday::Mon);
    // Rates of a Tuesday after a holiday on a Friday are set on the Monday.
    !is_free && !HOLIDAYS.contains(&(date.month(), date.day()))
}

/// The rate of a date: each has its own.
fn rate(date: NaiveDate) -> Decimal {
    Decimal::new(800_000 + i64::from(date.ordinal()), 4)
}

fn document(date: NaiveDate) -> String {
    let value = rate(date).to_string().replace('.', ",");
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ValCurs Date=\"{}\" name=\"Foreign Currency Market\">\
         <Valute ID=\"R01235\"><NumCode>840</NumCode><CharCode>USD</CharCode><Nominal>1</Nominal><Name>USD</Name>\
         <Value>{value}</Value><VunitRate>{value}</VunitRate></Valute></ValCurs>",
        date.format("%d.%m.%Y")
    )
}

/// The newest date whose rates the bank has published by then.
fn published(wall: DateTime<Utc>) -> NaiveDate {
    let is_out = |date: &NaiveDate| {
        (*date - Days::new(1)).and_time(chrono::NaiveTime::MIN).and_utc() + PUBLISHED_AT <= wall
    };
    let dates = (wall.date_naive() - Days::new(9)).iter_days().take(12);
    dates.filter(|date| is_fixed(*date) && is_out(date)).max().unwrap()
}

/// The newest date whose rates count by then: published by a source that answered, and begun in Moscow.
fn expected(wall: DateTime<Utc>) -> NaiveDate {
    let today = (wall + MOSCOW).date_naive();
    let dates = (today - Days::new(9)).iter_days().take_while(|date| *date <= today);
    let was_absent = |date: NaiveDate| {
        let set_on = date - Days::new(1);
        let back_at = (set_on + Days::new(1)).and_time(chrono::NaiveTime::MIN).and_utc();
        (set_on.month(), set_on.day()) == ABSENT && wall < back_at
    };
    dates.filter(|date| is_fixed(*date) && !was_absent(*date)).max().unwrap()
}

pub(super) fn fixings(_: &Options) -> Figures {
    let usd_rub = "USD-RUB".parse().unwrap();
    let row = exchange::row("cbr").unwrap();
    let mut bank = (row.make)(&Access::default(), Scope::Directions(vec![usd_rub]));
    let first = days().next().unwrap().and_time(chrono::NaiveTime::MIN).and_utc();
    let mut now = Moment { monotonic: Duration::from_secs(1_000_000), wall: first - TimeDelta::minutes(20) };
    let mut book = book(now);
    let mut compared = 0_u64;
    let (mut problems, mut days_right) = (Vec::new(), 0);
    listen(&mut book, now);
    for date in days() {
        let mut is_right = true;
        for minute in (0..24 * 60).step_by(20) {
            let wall = date.and_time(chrono::NaiveTime::MIN).and_utc() + TimeDelta::minutes(minute);
            now = Moment { monotonic: now.monotonic + Duration::from_secs(20 * 60), wall };
            book.tick(now);
            let is_absent = (date.month(), date.day()) == ABSENT;
            if !is_absent {
                let reading = bank.read(Source::Poll, document(published(wall)).as_bytes()).unwrap();
                report(&mut book, CBR, reading.quotes, now);
            }
            let btc = Quote::book("BTC-USD".parse().unwrap(), Decimal::from(63_999), Decimal::from(64_001));
            report(&mut book, KRAKEN, vec![btc], now);
            let expected = expected(wall);
            let answer = book.courses(
                &GetCourses {
                    wanted: Wanted::All(vec!["BTC-RUB".parse().unwrap()]),
                    ..GetCourses::default()
                },
                now,
            );
            let value = answer.as_ref().ok().map(|answer| number::plain(answer.courses[0].value));
            let since = expected.and_time(chrono::NaiveTime::MIN).and_utc() - MOSCOW;
            let age = answer.as_ref().ok().and_then(|answer| Some(answer.legs.first()?.age));
            let course = number::plain(rate(expected) * Decimal::from(64_000));
            compared += 1;
            if value.as_ref() != Some(&course) || age != (wall - since).to_std().ok() {
                is_right = false;
                problems.push(format!("{wall}: {value:?} of age {age:?}, and {expected} counts: {course}"));
            }
        }
        days_right += u32::from(is_right);
    }
    Figures {
        pass: problems.is_empty() && days_right == 14,
        n: compared,
        measured: format!(
            "{days_right} of 14 days right, {} wrong{}",
            problems.len(),
            problems.first().map(|it| format!(", such as {it}")).unwrap_or_default()
        ),
        target: "14 of 14 days right, with the age of the fixing that counts".to_owned(),
        ..Figures::default()
    }
}

fn book(now: Moment) -> Book {
    let listed =
        |name| ListedExchange { name, enabled: true, stale_after: Duration::from_secs(5), official_of: None };
    let settings = BookSettings {
        directions: vec!["BTC-RUB".parse().unwrap()],
        priority: vec![KRAKEN],
        fail_back_after: Duration::from_secs(1),
        hold_reference: Duration::from_secs(3600),
        usdt_usd: UsdtUsdLeg::Reference,
        reference_priority: Vec::new(),
        fiat_priority: vec![CBR],
        max_fiat_difference: Decimal::new(1, 2),
        exchanges: vec![listed(KRAKEN), listed(CBR)],
    };
    Book::new(settings, now)
}

fn listen(book: &mut Book, now: Moment) {
    for (exchange, direction) in [(KRAKEN, "BTC-USD"), (CBR, "USD-RUB")] {
        let listens_to = vec![direction.parse().unwrap()];
        let listing = ReportListing { exchange, epoch: Epoch(1), listens_to, unsupported: Vec::new() };
        book.apply(Event::Listing(listing), now);
        let link = ReportLink { exchange, epoch: Epoch(1), at: now, link: Link::Up(Transport::Rest) };
        book.apply(Event::Link(link), now);
    }
}

fn report(book: &mut Book, exchange: ExchangeName, quotes: Vec<Quote>, now: Moment) {
    let report = ReportQuotes {
        exchange,
        epoch: Epoch(1),
        transport: Transport::Rest,
        received_at: now,
        quotes,
        refused: Vec::new(),
    };
    book.apply(Event::Quotes(report), now);
}
