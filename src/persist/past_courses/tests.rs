//! Which course of the past follows from what was stored.

use rust_decimal::Decimal;

use super::*;
use crate::market::ExchangeName;
use crate::market::number::plain;
use crate::persist::testing::{BINANCE, CBR, at};
use crate::rate_book::{UsdtUsdLeg, Wanted};

const KRAKEN: ExchangeName = ExchangeName::new("kraken");
const COINGECKO: ExchangeName = ExchangeName::new("coingecko");

const NOON: &str = "2026-11-20T12:00:00Z";

/// The time today that is written so.
fn today(time: &str) -> DateTime<Utc> {
    at(&format!("2026-11-20T{time}Z"))
}

fn rules() -> BookSettings {
    let listed = |name, seconds| ListedExchange {
        name,
        enabled: true,
        stale_after: Duration::from_secs(seconds),
        official_of: None,
    };
    let directions = ["BTC-USD", "BTC-RUB"].map(|text| text.parse().unwrap());
    BookSettings {
        directions: directions.to_vec(),
        priority: vec![BINANCE, KRAKEN, COINGECKO],
        fail_back_after: Duration::from_secs(15),
        hold_reference: Duration::from_secs(3600),
        usdt_usd: UsdtUsdLeg::Reference,
        reference_priority: vec![KRAKEN, COINGECKO],
        fiat_priority: vec![CBR],
        max_fiat_difference: Decimal::new(1, 2),
        exchanges: vec![listed(BINANCE, 5), listed(KRAKEN, 5), listed(COINGECKO, 180), listed(CBR, 600)],
    }
}

/// Quotes that were stored: `exchange direction price time`, for a fixing with the dates between which it holds.
fn known(lines: &[&str]) -> Known {
    let mut known = Known::default();
    for line in lines {
        let fields: Vec<&str> = line.split(' ').collect();
        let direction: Direction = fields[1].parse().unwrap();
        let market = (fields[0].to_owned(), direction);
        if !known.markets.contains(&market) {
            known.markets.push(market);
        }
        // A market without a price is one that was silent then.
        let [_, _, price, time, dates @ ..] = &fields[..] else { continue };
        let price: Decimal = price.parse().unwrap();
        let validity = match dates {
            [from, to] => Validity::Fixing {
                starts_at: at(&format!("{from}T00:00:00+03:00")),
                ends_at: at(&format!("{to}T00:00:00+03:00")),
            },
            _ => Validity::Live,
        };
        let received_at = if time.contains('T') { at(time) } else { today(time) };
        // The exchange's own time is of no account: what was fresh when it came was believed.
        let quoted_at = Some(received_at - TimeDelta::hours(5));
        let quote = Quote { validity, quoted_at, ..Quote::last(direction, price) };
        known.quotes.push(StoredQuote { exchange: fields[0].to_owned(), quote, received_at });
    }
    known
}

/// The answer as `exchange course … as of time`, or `none`.
fn told(rules: &BookSettings, lines: &[&str], asked: &str, tolerance: u64) -> String {
    let wanted = match asked {
        "" => Wanted::Configured,
        text => Wanted::All(text.split(' ').map(|direction| direction.parse().unwrap()).collect()),
    };
    let question = GetCourses { wanted, ..GetCourses::default() };
    told_to(rules, lines, &question, tolerance)
}

fn told_to(rules: &BookSettings, lines: &[&str], question: &GetCourses, tolerance: u64) -> String {
    let tolerance = Duration::from_secs(tolerance);
    match courses(rules, &known(lines), question, at(NOON), tolerance) {
        Err(error) => {
            assert_eq!(error, HistoryError::NoDataAt);
            "none".to_owned()
        }
        Ok(PastAnswer { answer, as_of }) => {
            let courses: Vec<String> = answer.courses.iter().map(|course| plain(course.value)).collect();
            let as_of = as_of.format("%d %H:%M:%S%.f");
            format!("{} {} as of {as_of}", answer.exchanger, courses.join(" "))
        }
    }
}

fn check(lines: &[&str], asked: &str, tolerance: u64, expected: &str) {
    assert_eq!(
        told(&rules(), lines, asked, tolerance),
        expected,
        "{asked} by {lines:?} within {tolerance} s"
    );
}

#[test]
fn a_point_answers_within_the_tolerance_before_and_after() {
    for (time, tolerance, expected) in [
        ("12:00:00", 0, "kraken 64000 as of 20 12:00:00"),
        ("12:00:00", 600, "kraken 64000 as of 20 12:00:00"),
        ("11:59:58.5", 600, "kraken 64000 as of 20 11:59:58.500"),
        ("11:50:00", 600, "kraken 64000 as of 20 11:50:00"),
        ("11:49:59.999999", 600, "none"),
        ("12:00:00.75", 1, "kraken 64000 as of 20 12:00:00.750"),
        ("12:10:00", 600, "kraken 64000 as of 20 12:10:00"),
        ("12:10:00.000001", 600, "none"),
        ("05:00:00", 7 * 86_400, "kraken 64000 as of 20 05:00:00"),
        ("2026-11-14T12:00:00Z", 7 * 86_400, "kraken 64000 as of 14 12:00:00"),
    ] {
        check(&[&format!("kraken BTC-USD 64000 {time}")], "BTC-USD", tolerance, expected);
    }
    check(&[], "BTC-USD", 600, "none");
}

#[test]
fn crosses_go_over_usdt_usd_and_a_fixing_and_are_as_old_as_their_furthest_point() {
    let lines = [
        "binance BTC-USDT 64000 11:59:59",
        "kraken USDT-USD 0.999 11:59:30",
        "cbr USD-RUB 80 2026-11-19T13:00:00Z 2026-11-20 2026-11-25",
    ];
    check(&lines, "BTC-USD", 600, "binance 63936 as of 20 11:59:30");
    check(&lines, "BTC-RUB", 600, "binance 5114880 as of 20 11:59:30");
    check(&lines, "", 600, "binance 63936 5114880 as of 20 11:59:30");
    check(&lines, "BTC-USD", 10, "none");
    let later = [lines[0], "kraken USDT-USD 0.999 12:00:20", lines[2]];
    check(&later, "BTC-RUB", 600, "binance 5114880 as of 20 12:00:20");
    let own = ["binance BTC-USDT 64000 11:55:00", lines[1], lines[2]];
    check(&own, "BTC-RUB", 600, "binance 5114880 as of 20 11:55:00");
}

#[test]
fn a_market_that_is_silent_then_disqualifies_its_exchange() {
    let lines = [
        "binance BTC-USDT 64000 11:59:59",
        "binance ETH-USDT",
        "coingecko USDT-USD 1 11:59:00",
        "coingecko BTC-USD 63990 11:59:00",
        "coingecko ETH-USD 2999 11:59:00",
    ];
    check(&lines, "BTC-USD", 600, "binance 64000 as of 20 11:59:00");
    check(&lines, "BTC-USD ETH-USD", 600, "coingecko 63990 2999 as of 20 11:59:00");
    check(&lines[..2], "ETH-USDT", 600, "none");
    let silent = ["kraken BTC-USD", "coingecko BTC-USD 63990 11:59:00"];
    check(&silent, "BTC-USD", 600, "coingecko 63990 as of 20 11:59:00");
}

#[test]
fn priority_says_who_answers_unless_somebody_was_named() {
    let lines = ["kraken BTC-USD 64001 11:51:00", "coingecko BTC-USD 63990 11:59:59"];
    check(&lines, "BTC-USD", 600, "kraken 64001 as of 20 11:51:00");
    check(&lines, "BTC-USD", 60, "coingecko 63990 as of 20 11:59:59");
    let wanted = Wanted::All(vec!["BTC-USD".parse().unwrap()]);
    let named = GetCourses { exchanger: Some(COINGECKO), wanted, max_age: None };
    assert_eq!(told_to(&rules(), &lines, &named, 600), "coingecko 63990 as of 20 11:59:59");
    assert_eq!(told_to(&rules(), &lines[..1], &named, 600), "none");
}

#[test]
fn a_fixing_counts_while_it_applies_whatever_the_tolerance() {
    let btc = "kraken BTC-USD 64000 12:00:00";
    let of_the_13th = "cbr USD-RUB 80 2026-11-13T12:00:00Z 2026-11-14 2026-11-25";
    let of_tomorrow = "cbr USD-RUB 81 2026-11-20T11:30:00Z 2026-11-21 2026-11-26";
    let over = "cbr USD-RUB 79 2026-11-10T12:00:00Z 2026-11-11 2026-11-16";
    check(&[btc, of_the_13th], "BTC-RUB", 1, "kraken 5120000 as of 20 12:00:00");
    check(&[btc, of_the_13th, of_tomorrow], "BTC-RUB", 1, "kraken 5120000 as of 20 12:00:00");
    check(&[btc, of_tomorrow], "BTC-RUB", 1, "none");
    check(&[btc, over], "BTC-RUB", 1, "none");
    check(&[btc, over, of_the_13th], "BTC-RUB", 1, "kraken 5120000 as of 20 12:00:00");

    // Where there is nothing else, the time is that of the fixing, and not of the one that waits for its date.
    let named = GetCourses {
        exchanger: Some(CBR),
        wanted: Wanted::All(vec!["USD-RUB".parse().unwrap()]),
        max_age: None,
    };
    for lines in [&[of_the_13th][..], &[of_the_13th, of_tomorrow], &[over, of_the_13th, of_tomorrow]] {
        assert_eq!(told_to(&rules(), lines, &named, 1), "cbr 80 as of 13 12:00:00", "{lines:?}");
    }
}

#[test]
fn a_peg_needs_no_point_and_a_reference_is_never_held_beyond_the_tolerance() {
    let pegged = BookSettings { usdt_usd: UsdtUsdLeg::Peg, ..rules() };
    let btc = ["binance BTC-USDT 64000 11:59:59"];
    assert_eq!(told(&pegged, &btc, "BTC-USD", 600), "binance 64000 as of 20 11:59:59");
    assert_eq!(told(&pegged, &btc, "USDTTRC-USD", 600), "none", "no stored point says so");
    check(&btc, "BTC-USD", 600, "none");

    let lines = ["binance BTC-USDT 64000 11:59:59", "coingecko USDT-USD 0.9 11:40:00"];
    check(&lines, "BTC-USD", 600, "none");
    check(&lines, "BTC-USD", 1_200, "binance 57600 as of 20 11:40:00");
    let settings = BookSettings { hold_reference: Duration::ZERO, ..rules() };
    assert_eq!(told(&settings, &lines, "BTC-USD", 1_200), "binance 57600 as of 20 11:40:00");
    let question =
        GetCourses { wanted: Wanted::All(vec!["BTC-USD".parse().unwrap()]), ..GetCourses::default() };
    let tolerance = Duration::from_secs(1_200);
    let answer = courses(&settings, &known(&lines), &question, at(NOON), tolerance).unwrap().answer;
    assert_eq!(
        answer.legs.iter().map(|leg| (leg.source, leg.held)).collect::<Vec<_>>(),
        [(Some(COINGECKO), false)]
    );
    assert_eq!(answer.age, Duration::from_secs(1), "ages are those of that time");
}

#[test]
fn exchanges_that_are_not_known_any_more_say_nothing() {
    let lines = ["mtgox BTC-USD 100 12:00:00", "kraken BTC-USD 64000 11:59:00"];
    check(&lines, "BTC-USD", 600, "kraken 64000 as of 20 11:59:00");
    check(&lines[..1], "BTC-USD", 600, "none");
    let mut settings = rules();
    settings.exchanges.retain(|exchange| exchange.name != KRAKEN);
    settings.priority.retain(|name| *name != KRAKEN);
    settings.reference_priority.retain(|name| *name != KRAKEN);
    assert_eq!(told(&settings, &lines, "BTC-USD", 600), "none");
}
