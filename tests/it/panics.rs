//! Panics where an exchange or the hub can have them: they are healed, and nobody else notices.
//!
//! Four processes have five panics each. `FAILPOINTS` tells the program where to break.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use awc::Client;
use awc::http::StatusCode;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::program::{Running, demo};
use crate::support::{MACHINE, PATIENCE};

/// From a panic to the next fresh quote: at most two seconds' delay, a start, and one poll.
const HEALED_WITHIN: Duration = Duration::from_secs(5);

/// How long the others are watched after the broken exchange is back.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// By how much the age of a quote may seem to grow beyond the time that has passed: the two looks at it, on a busy
/// machine.
const SLACK: Duration = Duration::from_millis(100);

/// The exchanges that are not broken.
const OTHERS: [&str; 2] = ["coingecko", "cbr"];

/// A running `ratebook demo`.
struct Demo {
    process: Running,
    log: PathBuf,
    client: Client,
    _directory: tempfile::TempDir,
}

impl Demo {
    fn start(fail_points: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let process = demo(directory.path())
            .env("FAILPOINTS", fail_points)
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let client = Client::builder().timeout(PATIENCE).finish();
        Self { process: Running(process), log, client, _directory: directory }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The address that the log names after these words.
    async fn address(&self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            if let Some((_, rest)) = log.split_once(words)
                && let Some((address, _)) = rest.split_once('/')
            {
                return format!("http://{address}");
            }
            assert!(Instant::now() < deadline, "no `{words}` in the log: {log}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn get(&self, url: &str) -> (StatusCode, Value) {
        let mut answer = self.client.get(url).send().await.unwrap_or_else(|error| {
            panic!("{url}: {error}: {}", self.log());
        });
        let body = answer.body().await.unwrap();
        (answer.status(), serde_json::from_slice(&body).unwrap_or_default())
    }
}

/// One look at `/health`.
#[derive(Clone)]
struct Look {
    /// When it was asked, and when the answer was there: the answer is of some time between them.
    asked_at: Instant,
    answered_at: Instant,
    exchanges: HashMap<String, Value>,
}

impl Look {
    fn number(&self, exchange: &str, field: &str) -> Option<u64> {
        self.exchanges[exchange][field].as_u64()
    }

    fn is_fresh(&self, exchange: &str) -> bool {
        self.exchanges[exchange]["status"] == "fresh"
    }

    fn restarts(&self) -> u64 {
        self.number("binance", "restarts").unwrap()
    }

    fn quotes(&self) -> u64 {
        self.number("binance", "quotes_total").unwrap()
    }

    /// Whether the exchange of the trials has had a panic since `earlier`, as far as this look tells.
    fn shows_panic_since(&self, earlier: &Look) -> bool {
        self.restarts() > earlier.restarts() || !self.is_fresh("binance")
    }
}

/// Where the exchange of one process breaks, and how.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    /// How many panics there are before the exchange is back, time and again.
    panics: &'static [u64],
    /// Whether the test has to give the exchange a reason to pass the fail point.
    needs_lost_socket: bool,
}

/// Frames, and looks at the clock, come some 20 times a second. Futures are spawned three times at a start (poll,
/// instruments, dial) and then not before a socket is lost. An actor that breaks as it starts was broken by its timer.
const KINDS: [Kind; 4] = [
    Kind { name: "reading a frame", panics: &[1; 5], needs_lost_socket: false },
    Kind { name: "timer", panics: &[1; 5], needs_lost_socket: false },
    Kind { name: "spawned future", panics: &[1; 5], needs_lost_socket: true },
    Kind { name: "timer, then started", panics: &[2, 2, 1], needs_lost_socket: false },
];

impl Kind {
    fn fail_points(&self) -> String {
        let again = |step: &str, times: usize| vec![step; times].join("->");
        match self.name {
            "reading a frame" => format!("exchange::frame(binance)={}", again("60*off->1*panic", 5)),
            "timer" => format!("exchange::timer(binance)={}", again("60*off->1*panic", 5)),
            "spawned future" => format!("exchange::spawned(binance)={}", again("3*off->1*panic", 5)),
            _ => format!(
                "exchange::timer(binance)={};exchange::started(binance)={}",
                again("60*off->1*panic", 3),
                again("1*off->1*panic", 2)
            ),
        }
    }
}

/// A demo under watch.
struct Watch {
    demo: Demo,
    service: String,
    last: Look,
}

impl Watch {
    /// Waits until every exchange is fresh.
    async fn start(fail_points: &str) -> Self {
        let demo = Demo::start(fail_points);
        let service = demo.address("listening on http://").await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let last = look(&demo, &service).await;
            if ["binance", "coingecko", "cbr"].into_iter().all(|exchange| last.is_fresh(exchange)) {
                return Self { demo, service, last };
            }
            assert!(Instant::now() < deadline, "not all exchanges are fresh: {:?}", last.exchanges);
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Looks again, and fails if a client or another exchange has noticed anything.
    async fn look(&mut self) -> Look {
        let (status, body) = self.demo.get(&format!("{}/v1/courses", self.service)).await;
        assert_eq!(status, StatusCode::OK, "{body}: {}", self.demo.log());
        let look = look(&self.demo, &self.service).await;
        for other in OTHERS {
            assert!(look.is_fresh(other), "{:?}", look.exchanges[other]);
            assert_eq!(look.number(other, "restarts"), Some(0), "{other}");
            assert_eq!(look.number(other, "reconnects"), Some(0), "{other}");
            let age = |look: &Look| look.number(other, "last_quote_age_ms").map(Duration::from_millis);
            let (before, now) = (age(&self.last).unwrap(), age(&look).unwrap());
            let passed = look.answered_at - self.last.asked_at;
            assert!(
                now <= before + passed + SLACK,
                "{other} was {before:?} and {passed:?} later {now:?} old"
            );
        }
        self.last = look.clone();
        sleep(Duration::from_millis(10)).await;
        look
    }

    async fn look_until(&mut self, what: &str, is_wanted: impl Fn(&Look) -> bool) -> Look {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let look = self.look().await;
            if is_wanted(&look) {
                return look;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: {:?}: {}",
                look.exchanges["binance"],
                self.demo.log()
            );
        }
    }
}

async fn look(demo: &Demo, service: &str) -> Look {
    let asked_at = Instant::now();
    let (_, mut body) = demo.get(&format!("{service}/health")).await;
    let rows = body["exchanges"].as_array_mut().unwrap();
    let enabled = rows.iter_mut().filter(|row| row["status"] != "disabled");
    let exchanges = enabled.map(|row| (row["name"].as_str().unwrap().to_owned(), row.take())).collect();
    Look { asked_at, answered_at: Instant::now(), exchanges }
}

/// For each recovery of one process the time from the last look that showed no panic to the first fresh quote after it.
async fn recoveries(kind: Kind) -> Vec<Duration> {
    let mut watch = Watch::start(&kind.fail_points()).await;
    let simulator = watch.demo.address("the exchanges are at http://").await;
    let mut measured = Vec::new();
    for num_panics in kind.panics {
        measured.push(recovery(&mut watch, &simulator, kind, *num_panics).await);
    }
    measured
}

async fn recovery(watch: &mut Watch, simulator: &str, kind: Kind, num_panics: u64) -> Duration {
    let before = watch.last.clone();
    if kind.needs_lost_socket {
        let listening = |look: &Look| look.exchanges["binance"]["transport"] == "websocket";
        watch.look_until("no socket", listening).await;
        let url = format!("{simulator}/control/binance/faults");
        let answer = watch.demo.client.post(url).send_json(&json!({"kind": "close"})).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let mut well = watch.last.clone();
    let deadline = Instant::now() + PATIENCE;
    let broken = loop {
        let look = watch.look().await;
        if look.shows_panic_since(&before) {
            break look;
        }
        assert!(Instant::now() < deadline, "{}: no panic: {}", kind.name, watch.demo.log());
        well = look;
    };
    let restarts = before.restarts() + num_panics;
    let healed = watch
        .look_until(kind.name, |look| {
            let is_new = look.restarts() == restarts && look.quotes() > broken.quotes();
            let is_young = look.number("binance", "last_quote_age_ms").is_some_and(|age| age < 1_000);
            is_new && is_young && look.is_fresh("binance")
        })
        .await;
    let until = Instant::now() + AFTERWARDS;
    while Instant::now() < until {
        watch.look().await;
    }
    watch.look_until("quotes do not flow", |look| look.quotes() > healed.quotes()).await;
    assert_eq!(watch.last.restarts(), restarts, "{}: {}", kind.name, watch.demo.log());
    healed.answered_at - well.asked_at
}

/// Prints what was measured, and fails if one took too long.
fn check(what: &str, mut measured: Vec<Duration>) {
    measured.sort();
    let (Some(p50), Some(max)) = (measured.get(measured.len() / 2), measured.last()) else {
        panic!("{what}: nothing was measured");
    };
    println!("{what}: n={} p50={p50:?} max={max:?} (limit {HEALED_WITHIN:?})", measured.len());
    assert!(*max <= HEALED_WITHIN, "{what}: {max:?}");
}

#[test]
fn an_exchange_that_panics_delivers_again_within_5_seconds_and_the_others_do_not_notice() {
    let _machine = MACHINE.blocking_lock();
    let run = |kind: Kind| actix::System::new().block_on(recoveries(kind));
    let kinds: Vec<_> = KINDS.into_iter().map(|kind| (kind, thread::spawn(move || run(kind)))).collect();
    let mut all = Vec::new();
    let mut num_panics = 0;
    for (kind, process) in kinds {
        let measured = process.join().unwrap();
        println!("{}: {measured:?}", kind.name);
        num_panics += kind.panics.iter().sum::<u64>();
        all.extend(measured);
    }
    assert_eq!(num_panics, 20);
    check("an exchange panics, fresh quotes", all);
}

/// Three failures within a minute are what the hub may have; the test below has more.
#[actix::test]
async fn a_hub_that_panics_answers_again_within_5_seconds() {
    let panics = ["150*off->1*panic"; 3];
    let demo = Demo::start(&format!("rate_book::apply={}", panics.join("->")));
    let service = demo.address("listening on http://").await;
    let courses = format!("{service}/v1/courses");
    let mut measured = Vec::new();
    for num_panics in 1..=panics.len() as u64 {
        let deadline = Instant::now() + PATIENCE;
        let mut well_at = Instant::now();
        loop {
            let look = look(&demo, &service).await;
            let (status, _) = demo.get(&courses).await;
            // The hub forgets what it was told, so every exchange begins anew.
            let is_new = look.exchanges.values().all(|exchange| exchange["restarts"] == num_panics);
            if status == StatusCode::OK && is_new {
                break;
            }
            if status == StatusCode::OK && look.restarts() < num_panics {
                well_at = look.asked_at;
            }
            assert!(Instant::now() < deadline, "panic {num_panics}: {status}: {}", demo.log());
            sleep(Duration::from_millis(5)).await;
        }
        measured.push(well_at.elapsed());
    }
    check("the hub panics, courses", measured);
    assert_eq!(demo.log().matches("forgetting every quote").count(), panics.len(), "{}", demo.log());
}

#[test]
fn a_hub_that_panics_again_and_again_ends_the_process_with_its_exit_code() {
    let mut demo = Demo::start("rate_book::apply=panic");
    let code = demo.process.code();
    let log = demo.log();
    assert_eq!(code, Some(70), "{log}");
    let critical: Vec<&str> = log.lines().filter(|line| line.contains(" CRITICAL ")).collect();
    assert!(matches!(critical.as_slice(), [line] if line.contains("rate book failed")), "{log}");
    assert!(log.contains("rate_book::apply panic"), "{log}");
}
