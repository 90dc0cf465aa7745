//! Quotes a second all the way: accepted, kept in the outbox, and in the database.
//!
//! Somebody pushes as fast as the hand-over takes it, and waits while so much lies there that it would begin to
//! conflate. A round ends when the database has every quote, and is worth the quotes by the time from its beginning.

use std::time::Duration;

use actix::prelude::*;
use ratebook::clock;
use ratebook::config::{Settings, StorageSettings};
use ratebook::history::{GetStorageHealth, StorageHealth};
use ratebook::market::Transport;
use ratebook::persist::Storage;
use ratebook::rate_book::{
    Accepted, BookFailed, BookSettings, BookVersion, Epoch, HandOver, Link, ListedExchange, RateBook,
    ReportLink, ReportListing, ReportQuotes, UsdtUsdLeg,
};
use ratebook::supervisor::{ChildEvent, RestartPolicy, StopAll, Supervisor};
use rust_decimal::Decimal;
use tokio::time::{Instant, sleep};

use crate::Scale;
use crate::market_day::{EXCHANGES, MarketDay, NUM_MARKETS};
use crate::measuring::sample::Sample;
use crate::support::PATIENCE;
use crate::target::Target;

/// Records in the hand-over at which whoever pushes waits: far below what makes it conflate.
const ENOUGH: u64 = 20_000;

/// Messages that are sent before the book is waited for.
const BURST: usize = 64;

/// Quotes of one message: all markets of an exchange.
const IN_MESSAGE: usize = NUM_MARKETS / EXCHANGES.len();

pub(crate) fn measure(scale: Scale) {
    let rows: [Row; 4] = [
        ("hand-over, outbox, PostgreSQL", Target::durable_postgres, Feed::HandOver),
        ("RateBook, hand-over, outbox, PostgreSQL", Target::durable_postgres, Feed::RateBook),
        ("hand-over, SQLite", Target::sqlite, Feed::HandOver),
        ("RateBook, hand-over, SQLite", Target::sqlite, Feed::RateBook),
    ];
    let mut outcomes = vec![Vec::new(); rows.len()];
    for _ in 0..scale.num_rounds.div_ceil(3) {
        for ((_, target, feed), outcomes) in rows.iter().zip(&mut outcomes) {
            outcomes.push(round(&target(), scale.push_for, *feed));
        }
    }
    println!(
        "\nThe whole way, pushed for {:?}\n{:<44} {:>12} {:>24} {:>12} {:>12} {:>12}",
        scale.push_for, "", "quotes/s", "span", "accepted/s", "quotes", "left behind"
    );
    for ((name, ..), outcomes) in rows.iter().zip(outcomes) {
        let sample = |number: fn(&Outcome) -> f64| Sample::new(outcomes.iter().map(number).collect());
        let stored = sample(|outcome| outcome.stored_per_second);
        let (least, most) = stored.span();
        println!(
            "{name:<44} {:>12.0} {:>24} {:>12.0} {:>12.0} {:>12.0}",
            stored.median(),
            format!("{least:.0} – {most:.0}"),
            sample(|outcome| outcome.accepted_per_second).median(),
            sample(|outcome| outcome.num_quotes as f64).median(),
            sample(|outcome| outcome.left_behind as f64).median(),
        );
    }
}

/// What a row is called, the database that each of its rounds makes anew, and where quotes go in.
type Row = (&'static str, fn() -> Target, Feed);

/// Where quotes are pushed into.
#[derive(Clone, Copy)]
enum Feed {
    HandOver,
    RateBook,
}

#[derive(Clone, Copy)]
struct Outcome {
    num_quotes: u64,
    accepted_per_second: f64,
    stored_per_second: f64,
    /// Quotes that the database did not have yet when the last was pushed.
    left_behind: u64,
}

fn round(target: &Target, length: Duration, feed: Feed) -> Outcome {
    let hand_over = HandOver::new(Duration::ZERO);
    let settings = StorageSettings {
        every: Duration::ZERO,
        outbox: target.directory.path().join("outbox.db"),
        outbox_limit: 8 << 30,
        ..Settings::default().storage
    };
    let storage = Storage::new(&target.url, settings, Some(hand_over.clone()));
    let outcome = System::new().block_on(async {
        let events = Nobody.start().recipient();
        let children = storage.child().into_iter().collect();
        let supervisor = Supervisor::new(children, RestartPolicy::default(), events).start();
        let ports = storage.start_librarian(book_settings());
        let health = async || ports.health.send(GetStorageHealth).timeout(PATIENCE).await.unwrap();
        wait_for(async || health().await.last_error.is_none() && is_ready(target)).await;

        let began_at = Instant::now();
        match feed {
            Feed::HandOver => push(&hand_over, length).await,
            Feed::RateBook => report(&hand_over, length).await,
        }
        let (pushed, pushed_for) = (hand_over.counters().pushed, began_at.elapsed());
        let left_behind = pushed - health().await.stored_rows;
        wait_for(async || health().await.stored_rows == pushed).await;
        let stored_for = began_at.elapsed();
        check(&health().await, &hand_over);
        supervisor.send(StopAll { limit: PATIENCE }).await.unwrap();
        let per_second = |length: Duration| pushed as f64 / length.as_secs_f64();
        Outcome {
            num_quotes: pushed,
            accepted_per_second: per_second(pushed_for),
            stored_per_second: per_second(stored_for),
            left_behind,
        }
    });
    // What RateBook tells of itself is pushed too, and counts as an event.
    assert_eq!(target.count("quotes") + target.count("events"), outcome.num_quotes);
    outcome
}

/// Whether the tables are there.
fn is_ready(target: &Target) -> bool {
    let tables = match target.place {
        crate::target::Place::File(_) => "SELECT count(*) FROM sqlite_schema WHERE name = 'events_of_kinds'",
        crate::target::Place::Server(_) => "SELECT count(*) FROM pg_class WHERE relname = 'events_of_kinds'",
    };
    target.ask(tables)[0][0] == "1"
}

/// Nothing may have been left out on the way.
fn check(health: &StorageHealth, hand_over: &HandOver) {
    let counters = hand_over.counters();
    let left_out = (counters.conflated, counters.dropped, health.dropped_rows, health.rejected_rows);
    assert_eq!(left_out, (0, 0, 0, 0), "{health:?}");
}

async fn wait_for(is_so: impl AsyncFn() -> bool) {
    let began_at = Instant::now();
    while !is_so().await {
        assert!(began_at.elapsed() < PATIENCE, "the database does not get all");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Pushes quotes straight into the hand-over.
async fn push(hand_over: &HandOver, length: Duration) {
    let (mut day, began_at) = (MarketDay::of_all(), Instant::now());
    while began_at.elapsed() < length {
        let at = clock::now().wall;
        let quotes = (0..BURST * IN_MESSAGE).map(|_| Accepted { received_at: at, ..day.next_quote() });
        hand_over.push_quotes(quotes.map(|accepted| (accepted, true)));
        give_way(hand_over).await;
    }
}

/// Reports quotes to a RateBook, which judges them and leaves them in the hand-over.
async fn report(hand_over: &HandOver, length: Duration) {
    let arbiter = Arbiter::new();
    let failures = Nobody.start().recipient();
    let storage = Some(hand_over.clone());
    let book = RateBook::start_in_arbiter(&arbiter.handle(), move |_| {
        RateBook::new(book_settings(), BookVersion::default(), failures, storage)
    });
    let mut day = MarketDay::of_all();
    let listens_to: Vec<_> = (0..IN_MESSAGE).map(|_| day.next_quote().quote.direction).collect();
    let (epoch, transport) = (Epoch(1), Transport::WebSocket);
    for exchange in EXCHANGES {
        let listing =
            ReportListing { exchange, epoch, listens_to: listens_to.clone(), unsupported: Vec::new() };
        book.send(listing).await.unwrap();
        let link = ReportLink { exchange, epoch, at: clock::now(), link: Link::Up(transport) };
        book.send(link).await.unwrap();
    }
    let (mut day, began_at) = (MarketDay::of_all(), Instant::now());
    while began_at.elapsed() < length {
        for nth in 1..=BURST {
            let accepted: Vec<Accepted> = (0..IN_MESSAGE).map(|_| day.next_quote()).collect();
            let exchange = accepted[0].exchange;
            let mut quotes: Vec<_> = accepted.into_iter().map(|accepted| accepted.quote).collect();
            // The day is not today.
            quotes.iter_mut().for_each(|quote| quote.quoted_at = quote.quoted_at.map(|_| clock::now().wall));
            let received_at = clock::now();
            let report =
                ReportQuotes { exchange, epoch, transport, received_at, quotes, refused: Vec::new() };
            if nth < BURST {
                book.do_send(report);
            } else {
                book.send(report).timeout(PATIENCE).await.unwrap();
            }
        }
        give_way(hand_over).await;
    }
    arbiter.stop();
}

/// Waits while the hand-over has enough.
async fn give_way(hand_over: &HandOver) {
    tokio::task::yield_now().await;
    while hand_over.counters().waiting > ENOUGH {
        sleep(Duration::from_millis(1)).await;
    }
}

fn book_settings() -> BookSettings {
    let listed = |name| ListedExchange {
        name,
        enabled: true,
        stale_after: Duration::from_secs(60),
        official_of: None,
    };
    BookSettings {
        directions: vec!["BTC-USD".parse().unwrap()],
        priority: EXCHANGES.to_vec(),
        fail_back_after: Duration::from_secs(15),
        hold_reference: Duration::from_secs(3600),
        usdt_usd: UsdtUsdLeg::Reference,
        reference_priority: EXCHANGES.to_vec(),
        fiat_priority: Vec::new(),
        max_fiat_difference: Decimal::new(1, 2),
        exchanges: EXCHANGES.map(listed).to_vec(),
    }
}

/// Hears what nobody needs to know here.
struct Nobody;

impl Actor for Nobody {
    type Context = Context<Self>;
}

impl Handler<ChildEvent> for Nobody {
    type Result = ();

    fn handle(&mut self, _: ChildEvent, _: &mut Self::Context) {}
}

impl Handler<BookFailed> for Nobody {
    type Result = ();

    fn handle(&mut self, _: BookFailed, _: &mut Self::Context) {
        panic!("the book failed");
    }
}
