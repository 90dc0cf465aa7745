//! What is left is handed over once, in order and within limits.

use std::collections::HashSet;

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;
use crate::market::{Asset, Quote};
use crate::rate_book::record::{EventKind, Span};

const BINANCE: ExchangeName = ExchangeName::new("binance");
const BTC_USD: Direction = Direction::new(Asset::BTC, Asset::USD);
const ETH_USD: Direction = Direction::new(Asset::ETH, Asset::USD);

/// All that can wait at once, as far as these tests care.
const ALL: usize = usize::MAX;

const SECOND: Duration = Duration::from_secs(1);

/// So many milliseconds after a full minute.
fn at(ms: i64) -> DateTime<Utc> {
    let minute: DateTime<Utc> = "2026-11-20T12:00:00Z".parse().unwrap();
    minute + TimeDelta::milliseconds(ms)
}

fn accepted(direction: Direction, value: i64, received_at: DateTime<Utc>) -> Accepted {
    let value = Decimal::from(value);
    Accepted {
        exchange: BINANCE,
        quote: Quote::last(direction, value),
        value,
        received_at,
        span: Span::of(value),
    }
}

fn event(received_at: DateTime<Utc>) -> RecordedEvent {
    RecordedEvent {
        at: received_at,
        kind: EventKind::Failover,
        exchange: None,
        reason: String::new(),
        count: 1,
    }
}

/// The direction number so and so of many.
fn market(number: usize) -> Direction {
    let letter = |number: usize| char::from(b'A' + u8::try_from(number % 26).unwrap());
    let base: String = [number / 676, number / 26, number].map(letter).iter().collect();
    format!("{base}X-USD").parse().unwrap()
}

impl HandOver {
    fn change(&self, direction: Direction, value: i64, received_at: DateTime<Utc>) {
        self.push_quotes([(accepted(direction, value, received_at), true)].into_iter());
    }

    fn repeat(&self, direction: Direction, value: i64, received_at: DateTime<Utc>) {
        self.push_quotes([(accepted(direction, value, received_at), false)].into_iter());
    }

    /// Takes all that is ready, and confirms it.
    fn drain(&self, now: DateTime<Utc>) -> Vec<Record> {
        let Some(batch) = self.take(ALL, now) else { return Vec::new() };
        self.confirm(&batch);
        batch.to_vec()
    }
}

fn quotes(records: &[Record]) -> Vec<&Accepted> {
    let quotes = records.iter().filter_map(|record| match record {
        Record::Quote(accepted) => Some(accepted),
        Record::Event(_) => None,
    });
    quotes.collect()
}

/// Of each quote: direction, value, open, high, low and how many it stands for.
fn told(records: &[Record]) -> Vec<String> {
    let told = quotes(records).into_iter().map(|it| {
        let Span { open, high, low, num_quotes } = it.span;
        format!("{} {} ({open} {high} {low} {num_quotes})", it.quote.direction, it.value)
    });
    told.collect()
}

/// That every record which was pushed waits, was conflated, dropped or confirmed.
fn check_sum(hand_over: &HandOver, num_confirmed: usize) {
    let HandOverCounters { pushed, waiting, conflated, dropped, .. } = hand_over.counters();
    assert_eq!(pushed, waiting + conflated + dropped + count(num_confirmed), "{hand_over:?}");
}

#[test]
fn of_each_market_and_step_the_newest_is_kept_with_what_it_stands_for() {
    let hand_over = HandOver::new(SECOND);
    for (ms, value) in [(0, 10), (400, 13), (700, 8), (999, 11), (1_000, 12)] {
        hand_over.change(BTC_USD, value, at(ms));
    }
    hand_over.change(ETH_USD, 5, at(500));
    let first = hand_over.drain(at(1_500));
    assert_eq!(told(&first), ["BTC-USD 11 (10 13 8 4)", "ETH-USD 5 (5 5 5 1)"]);
    assert_eq!(quotes(&first)[0].received_at, at(999));
    assert_eq!(told(&hand_over.drain(at(2_000))), ["BTC-USD 12 (12 12 12 1)"]);
    assert_eq!(hand_over.counters().conflated, 3);
    check_sum(&hand_over, 3);
}

#[test]
fn a_step_of_zero_keeps_all() {
    let hand_over = HandOver::new(Duration::ZERO);
    (0..1_000).for_each(|value| hand_over.change(BTC_USD, value, at(value / 10)));
    let values: Vec<Decimal> = quotes(&hand_over.drain(at(0))).iter().map(|it| it.value).collect();
    assert_eq!(values, (0..1_000).map(Decimal::from).collect::<Vec<_>>());
    assert_eq!(
        hand_over.counters(),
        HandOverCounters { pushed: 1_000, pushed_quotes: 1_000, ..HandOverCounters::default() }
    );
}

#[test]
fn a_step_ends_with_its_minute_so_that_no_record_belongs_to_two_candles() {
    let hand_over = HandOver::new(Duration::from_secs(7));
    for (ms, value) in [(56_000, 1), (59_999, 2), (60_000, 3), (62_000, 4), (66_999, 5), (67_000, 6)] {
        hand_over.change(BTC_USD, value, at(ms));
    }
    let told = told(&hand_over.drain(at(70_000)));
    assert_eq!(told, ["BTC-USD 2 (1 2 1 2)", "BTC-USD 5 (3 5 3 3)"]);
}

#[test]
fn fixings_of_different_dates_do_not_stand_for_each_other() {
    let fixing = |date: &str, value, ms| {
        let starts_at: DateTime<Utc> = format!("{date}T00:00:00+03:00").parse().unwrap();
        let mut accepted = accepted(BTC_USD, value, at(ms));
        accepted.quote.validity = Validity::Fixing { starts_at, ends_at: starts_at + TimeDelta::days(5) };
        (accepted, true)
    };
    for every in [Duration::from_secs(60), Duration::ZERO] {
        let hand_over = HandOver::bounded(every, 4);
        let rows = [("2026-11-20", 80, 0), ("2026-11-21", 81, 0), ("2026-11-21", 82, 1)];
        hand_over.push_quotes(rows.into_iter().map(|(date, value, ms)| fixing(date, value, ms)));
        hand_over.close();
        hand_over.lock().conflate(MINUTE);
        assert_eq!(told(&hand_over.drain(at(0))), ["BTC-USD 80 (80 80 80 1)", "BTC-USD 82 (81 82 81 2)"]);
    }
}

#[test]
fn times_of_receipt_are_distinct_and_in_order_and_follow_a_clock_that_is_set() {
    let hand_over = HandOver::new(Duration::ZERO);
    let micros = TimeDelta::microseconds;
    for (received_at, kept_at) in [
        (at(5_000), at(5_000)),
        (at(5_000) + TimeDelta::nanoseconds(999), at(5_000) + micros(1)),
        (at(5_000), at(5_000) + micros(2)),
        (at(4_001), at(5_000) + micros(3)),
        (at(6_000), at(6_000)),
        (at(5_000), at(5_000)),
        (at(90_000), at(90_000)),
        (at(-90_000), at(-90_000)),
    ] {
        hand_over.change(BTC_USD, 1, received_at);
        assert_eq!(quotes(&hand_over.drain(at(0)))[0].received_at, kept_at, "{received_at}");
        hand_over.change(ETH_USD, 1, received_at);
        assert_eq!(quotes(&hand_over.drain(at(0)))[0].received_at, kept_at, "of another market");
    }
}

#[test]
fn an_unchanged_price_is_kept_once_a_minute() {
    let hand_over = HandOver::new(Duration::ZERO);
    (0..180).for_each(|seconds| hand_over.repeat(BTC_USD, 7, at(seconds * 1_000)));
    let kept: Vec<_> = quotes(&hand_over.drain(at(0))).iter().map(|it| it.received_at).collect();
    assert_eq!(kept, [at(0), at(60_000), at(120_000)]);
    hand_over.change(BTC_USD, 8, at(180_500));
    hand_over.repeat(BTC_USD, 8, at(240_499));
    hand_over.repeat(BTC_USD, 8, at(240_500));
    assert_eq!(hand_over.drain(at(0)).len(), 2);
    let HandOverCounters { pushed, repeated, .. } = hand_over.counters();
    assert_eq!((pushed, repeated), (5, 178));
}

#[test]
fn a_clock_that_is_set_back_holds_no_price_up() {
    let hand_over = HandOver::new(SECOND);
    hand_over.change(BTC_USD, 7, at(3_600_000));
    assert_eq!(told(&hand_over.drain(at(0))), ["BTC-USD 7 (7 7 7 1)"], "its step is long in coming");
    hand_over.repeat(BTC_USD, 7, at(0));
    hand_over.repeat(BTC_USD, 7, at(59_999));
    assert_eq!(told(&hand_over.drain(at(59_999))), ["BTC-USD 7 (7 7 7 1)"]);
}

#[test]
fn a_taker_that_comes_back_late_does_not_confirm_what_another_has_taken_since() {
    let hand_over = HandOver::new(Duration::ZERO);
    (0..2).for_each(|value| hand_over.change(BTC_USD, value, at(value)));
    let late = hand_over.take(1, at(10)).unwrap();
    hand_over.confirm(&hand_over.take(1, at(10)).unwrap());
    let second = hand_over.take(1, at(10)).unwrap();
    hand_over.confirm(&late);
    assert_eq!(hand_over.take(1, at(10)), Some(second));
}

#[test]
fn what_was_taken_comes_again_until_it_is_confirmed() {
    let hand_over = HandOver::new(Duration::ZERO);
    (0..5).for_each(|value| hand_over.change(BTC_USD, value, at(value)));
    let first = hand_over.take(2, at(10)).unwrap();
    hand_over.change(BTC_USD, 5, at(5));
    assert_eq!(first.len(), 2);
    assert_eq!(hand_over.clone().take(4, at(10)).as_ref(), Some(&first));
    assert_eq!((hand_over.counters().waiting, hand_over.counters().oldest_at), (6, Some(at(0))));
    hand_over.confirm(&first);
    assert_eq!((hand_over.counters().waiting, hand_over.counters().oldest_at), (4, Some(at(2))));
    assert_eq!(told(&hand_over.drain(at(10)))[0], "BTC-USD 2 (2 2 2 1)");
    assert_eq!(hand_over.take(2, at(10)), None);
    check_sum(&hand_over, 6);
}

#[test]
fn steps_are_handed_over_when_they_are_over_or_nothing_will_follow() {
    let hand_over = HandOver::new(SECOND);
    hand_over.change(ETH_USD, 2, at(1_500));
    hand_over.change(BTC_USD, 1, at(1_000));
    assert_eq!(hand_over.take(ALL, at(1_999)), None);
    assert_eq!((hand_over.counters().waiting, hand_over.counters().oldest_at), (2, None));
    let told_at = |now| told(&hand_over.drain(now));
    assert_eq!(told_at(at(2_000)), ["BTC-USD 1 (1 1 1 1)", "ETH-USD 2 (2 2 2 1)"]);
    hand_over.change(BTC_USD, 3, at(2_100));
    hand_over.close();
    assert_eq!(told_at(at(2_100)), ["BTC-USD 3 (3 3 3 1)"]);
    check_sum(&hand_over, 3);
}

#[test]
fn events_come_in_their_place_and_are_never_conflated() {
    let hand_over = HandOver::bounded(Duration::ZERO, 16);
    (0..7).for_each(|ms| {
        hand_over.change(BTC_USD, ms, at(ms));
        hand_over.push_event(event(at(ms) + TimeDelta::nanoseconds(1_500)));
    });
    hand_over.change(BTC_USD, 7, at(7));
    hand_over.push_event(event(at(7)));
    hand_over.change(BTC_USD, 8, at(8));
    let records = hand_over.drain(at(10));
    assert_eq!(records.len(), 8 + 2, "{records:?}");
    assert_eq!(told(&records)[0], "BTC-USD 7 (0 7 0 8)");
    assert_eq!(records[0].at(), at(0) + TimeDelta::microseconds(1));
    check_sum(&hand_over, records.len());
}

#[test]
fn what_waits_is_bounded_and_what_is_lost_is_counted_exactly() {
    for (num_markets, every, is_dropped) in
        [(2, Duration::ZERO, false), (2, SECOND, false), (5_000, Duration::ZERO, true), (5_000, SECOND, true)]
    {
        let hand_over = HandOver::new(every);
        let markets: Vec<Direction> = (0..num_markets).map(market).collect();
        for number in 0..500_000 {
            let received_at = at(i64::try_from(number).unwrap());
            hand_over.change(markets[number % num_markets], 1, received_at);
            if number % 1_000 == 0 {
                assert!(hand_over.counters().waiting <= 50_000, "{hand_over:?}");
            }
        }
        let counters = hand_over.counters();
        assert!(counters.waiting <= 50_000, "{counters:?}");
        assert_eq!(counters.pushed, 500_000);
        assert_eq!(counters.dropped > 0, is_dropped, "{counters:?}");
        check_sum(&hand_over, 0);
        hand_over.close();
        let records = hand_over.drain(at(600_000));
        let num_quotes: u64 = quotes(&records).iter().map(|it| u64::from(it.span.num_quotes)).sum();
        assert_eq!(num_quotes + counters.dropped_quotes, 500_000, "{counters:?}");
        check_sum(&hand_over, records.len());
    }
}

#[test]
fn what_was_conflated_elsewhere_is_left_as_it_is() {
    let hand_over = HandOver::new(SECOND);
    let records = [Record::Quote(accepted(BTC_USD, 1, at(0))), Record::Event(event(at(1)))];
    hand_over.push_whole(records.clone().into_iter());
    assert_eq!(hand_over.take(ALL, at(2)).as_deref(), Some(&records[..]));
    assert_eq!((hand_over.counters().pushed, hand_over.counters().waiting), (2, 2));
}

#[test]
fn what_is_given_up_is_the_oldest() {
    let hand_over = HandOver::bounded(Duration::ZERO, 100);
    (0..101).for_each(|number| hand_over.change(market(number), 1, at(i64::try_from(number).unwrap())));
    assert_eq!(hand_over.counters().dropped, 25);
    let records = hand_over.drain(at(200));
    assert_eq!((records.len(), records[0].at()), (76, at(25)));
}

#[test]
fn markets_of_the_past_are_forgotten() {
    let hand_over = HandOver::new(SECOND);
    (0..100).for_each(|number| hand_over.change(market(number), 1, at(0)));
    hand_over.change(BTC_USD, 1, at(3_600_000));
    hand_over.drain(at(3_599_999));
    assert_eq!(hand_over.lock().markets.len(), 101);
    hand_over.drain(at(3_600_000));
    assert_eq!(hand_over.lock().markets.len(), 1);
}

/// What a random run does.
#[derive(Debug, Clone)]
enum Step {
    Push { market: usize, wait: i64, is_change: bool },
    Event,
    Take { most: usize },
    Confirm,
    Close,
}

fn any_step() -> impl Strategy<Value = Step> {
    let push = (0..4_usize, -2_000..3_000_i64, any::<bool>());
    prop_oneof![
        20 => push.prop_map(|(market, wait, is_change)| Step::Push { market, wait, is_change }),
        2 => Just(Step::Event),
        4 => (1..6_usize).prop_map(|most| Step::Take { most }),
        3 => Just(Step::Confirm),
        1 => Just(Step::Close),
    ]
}

proptest! {
    #[test]
    fn nothing_is_lost_or_doubled(
        steps in proptest::collection::vec(any_step(), 1..400),
        every in prop_oneof![Just(0), Just(1_000), Just(7_000)],
        most_waiting in prop_oneof![Just(12), Just(40), Just(10_000)],
    ) {
        let hand_over = HandOver::bounded(Duration::from_millis(every), most_waiting);
        let (mut now, mut taken) = (at(0), None::<Arc<[Record]>>);
        let (mut num_quotes, mut num_events) = (0_u64, 0_u64);
        let mut confirmed: Vec<Record> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push { market: number_of_market, wait, is_change } => {
                    now += TimeDelta::milliseconds(wait);
                    let quote = accepted(market(number_of_market), i64::try_from(number).unwrap(), now);
                    hand_over.push_quotes([(quote, is_change)].into_iter());
                    num_quotes += 1;
                }
                Step::Event => {
                    hand_over.push_event(event(now));
                    num_events += 1;
                }
                Step::Take { most } => {
                    let batch = hand_over.take(most, now);
                    if taken.is_some() {
                        prop_assert_eq!(&batch, &taken);
                    }
                    taken = batch;
                }
                Step::Confirm => {
                    if let Some(batch) = taken.take() {
                        hand_over.confirm(&batch);
                        confirmed.extend(batch.iter().cloned());
                    }
                }
                Step::Close => hand_over.close(),
            }
            let counters = hand_over.counters();
            prop_assert!(counters.waiting <= count(most_waiting), "{:?}", counters);
            prop_assert_eq!(counters.pushed + counters.repeated, num_quotes + num_events);
            check_sum(&hand_over, confirmed.len());
        }
        if let Some(batch) = taken {
            hand_over.confirm(&batch);
            confirmed.extend(batch.iter().cloned());
        }
        hand_over.close();
        confirmed.extend(hand_over.drain(now));

        let counters = hand_over.counters();
        prop_assert_eq!(counters.waiting, 0);
        let kept = quotes(&confirmed);
        let stood_for: u64 = kept.iter().map(|it| u64::from(it.span.num_quotes)).sum();
        prop_assert_eq!(stood_for + counters.dropped_quotes + counters.repeated, num_quotes);
        let values: HashSet<Decimal> = kept.iter().map(|it| it.value).collect();
        prop_assert_eq!(values.len(), kept.len(), "a quote came twice");
        for it in kept {
            prop_assert!(it.span.low <= it.value && it.value <= it.span.high);
            prop_assert!(it.span.low <= it.span.open && it.span.open <= it.span.high);
        }
    }
}
