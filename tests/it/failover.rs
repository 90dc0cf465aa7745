//! A dead exchange is not felt: what a client sees while exchanges fail, over a hundred trials of each failure.
//!
//! Every answer is compared with what the simulator really published: a course that matches nothing that its exchange
//! said within its limit is a stale or a wrong one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use ratebook::config::Settings;
use ratebook::exchange;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::{Answer, MACHINE, World};

/// Worlds at once, each a simulator and a service of its own, and rounds in each: a hundred trials together.
const WORLDS: u64 = 20;
const ROUNDS: usize = 5;

/// What the trials scale down. The tolerances below are not scaled.
const STALE_AFTER: Duration = Duration::from_secs(1);
const FAIL_BACK_AFTER: Duration = Duration::from_secs(1);

/// The aggregator stamps whole seconds and renews its body every second at the simulator's speed here.
const AGGREGATOR_STALE_AFTER: Duration = Duration::from_secs(3);
const SPEED: f64 = 60.0;

/// Most time from an order to the simulator until this test sees the effect of something that was immediate: the
/// answers in between, on a machine that runs all worlds at once.
const SLACK: Duration = Duration::from_millis(250);

const PATH: &str = "/v1/courses?directions=BTC-USDT";

fn scaled(settings: &mut Settings) {
    settings.fail_back_after = FAIL_BACK_AFTER;
    for (name, stale_after, poll_every) in
        [("binance", STALE_AFTER, 300), ("coingecko", AGGREGATOR_STALE_AFTER, 400)]
    {
        let name = exchange::row(name).unwrap().name;
        let exchange = settings.exchanges.get_mut(&name).unwrap();
        exchange.stale_after = stale_after;
        exchange.poll_every = Duration::from_millis(poll_every);
    }
}

/// What was published, and what was answered.
struct Witness {
    world: World,
    /// What each exchange had published when it was asked, newest last.
    published: RefCell<VecDeque<Published>>,
    answers: RefCell<Vec<Answered>>,
    judged: Cell<Judged>,
}

/// An answer that waits for the truth to be looked at once more.
struct Answered {
    asked_at: Instant,
    answered_at: Instant,
    answer: Answer,
}

/// What all exchanges had published when the simulator was asked.
struct Published {
    at: Instant,
    /// Number of the simulator's step: where two neighbours are more than one apart, a step was not seen.
    tick: u64,
    quotes: Value,
}

/// Answers that were compared with the truth.
#[derive(Debug, Clone, Copy, Default)]
struct Judged {
    exactly: usize,
    /// Those that match no step that was seen, beside one that was not.
    beside_a_gap: usize,
}

impl Witness {
    /// Asks both without a pause, until the world is stopped.
    async fn watch(self: Rc<Self>) {
        let truth = async {
            loop {
                let asked_at = Instant::now();
                let truth = self.world.control("truth?exchange=binance,coingecko").await;
                self.remember(asked_at, truth);
                sleep(Duration::from_millis(50)).await;
            }
        };
        let answers = async {
            loop {
                let asked_at = Instant::now();
                let answer = self.world.get(PATH).await;
                self.answers.borrow_mut().push(Answered { asked_at, answered_at: Instant::now(), answer });
                self.judge_older_answers();
                sleep(Duration::from_millis(30)).await;
            }
        };
        tokio::join!(truth, answers);
    }

    fn remember(&self, at: Instant, mut truth: Value) {
        let mut published = self.published.borrow_mut();
        let tick = truth["tick"].as_u64().unwrap();
        published.push_back(Published { at, tick, quotes: truth["quotes"].take() });
        if published.len() > 400 {
            published.pop_front();
        }
    }

    /// Compares the answers that the truth has caught up with.
    fn judge_older_answers(&self) {
        let published = self.published.borrow();
        let Some(Published { at: newest, .. }) = published.back() else { return };
        let mut answers = self.answers.borrow_mut();
        let (ready, waiting): (Vec<_>, Vec<_>) =
            answers.drain(..).partition(|it: &Answered| *newest > it.answered_at);
        *answers = waiting;
        for Answered { asked_at, answer, .. } in ready {
            // Before the truth has been watched for as long as any course may be old, nothing can be told.
            let is_covered =
                published.front().is_some_and(|it| it.at + AGGREGATOR_STALE_AFTER + SLACK < asked_at);
            if answer.status == 200 && is_covered {
                let mut judged = self.judged.get();
                match judge(&published, asked_at, &answer) {
                    true => judged.exactly += 1,
                    false => judged.beside_a_gap += 1,
                }
                self.judged.set(judged);
            }
        }
    }

    async fn until(&self, is_wanted: impl Fn(&Answer) -> bool) -> Duration {
        self.world.until(PATH, is_wanted).await
    }
}

/// Fails if a course is not what its exchange said within its limit. False if it was said in a step that this test
/// did not see, as far as can be told.
fn judge(published: &VecDeque<Published>, asked_at: Instant, answer: &Answer) -> bool {
    let exchanger = answer.exchanger().unwrap();
    let limit = if exchanger == "binance" { STALE_AFTER } else { AGGREGATOR_STALE_AFTER };
    let age_ms = answer.age_ms.unwrap();
    assert!(u128::from(age_ms) <= limit.as_millis(), "{exchanger} answered with an age of {age_ms} ms");

    let value = answer.body["courses"][0]["value"].as_f64().unwrap();
    let first = published.iter().rposition(|it| it.at + limit + SLACK < asked_at).unwrap_or(0);
    let told = || published.iter().skip(first).filter_map(|it| course(exchanger, &it.quotes[exchanger]));
    if told().any(|told| (told / value - 1.0).abs() < 1e-9) {
        return true;
    }
    let ticks = published.iter().skip(first).map(|it| it.tick);
    let has_gap = ticks.clone().zip(ticks.skip(1)).any(|(tick, next)| next > tick + 1);
    let (low, high) = told().fold((f64::MAX, f64::MIN), |(low, high), it| (low.min(it), high.max(it)));
    let is_between = (low * 0.9999..=high * 1.0001).contains(&value);
    assert!(
        has_gap && is_between,
        "{exchanger} never said {value} within {limit:?}: {answer:?}, it said {:?}",
        told().collect::<Vec<_>>()
    );
    false
}

/// What BTC-USDT is by an exchange's published quotes.
fn course(exchanger: &str, quotes: &Value) -> Option<f64> {
    let number = |value: &Value| value.as_str().map_or(value.as_f64(), |text| text.parse().ok());
    if exchanger == "binance" {
        let quote = &quotes["BTC-USDT"];
        return Some((number(&quote["bid"])? + number(&quote["ask"])?) / 2.0);
    }
    Some(number(&quotes["BTC-USD"]["last"])? / number(&quotes["USDT-USD"]["last"])?)
}

/// How long each thing took in one world.
#[derive(Default)]
struct Figures {
    refused: Vec<Duration>,
    back: Vec<Duration>,
    muted: Vec<Duration>,
    gone: Vec<Duration>,
    healed: Vec<Duration>,
    num_answers_over_rest: usize,
    judged: Judged,
}

fn is_from(exchanger: &'static str) -> impl Fn(&Answer) -> bool {
    move |answer| answer.exchanger() == Some(exchanger)
}

async fn rounds(seed: u64) -> Figures {
    let world = World::start(seed, SPEED, scaled).await;
    let witness = Rc::new(Witness {
        world,
        published: RefCell::default(),
        answers: RefCell::default(),
        judged: Cell::default(),
    });
    let watching = actix::spawn(Rc::clone(&witness).watch());
    let mut figures = Figures::default();
    for _ in 0..ROUNDS {
        round(&witness, &mut figures).await;
        assert!(!watching.is_finished(), "the witness has seen something wrong");
    }
    watching.abort();
    figures.judged = witness.judged.get();
    // The last handle on the world is in the task that ends now.
    drop(watching.await);
    if let Ok(witness) = Rc::try_unwrap(witness).map_err(|_| ()) {
        witness.world.stop().await;
    }
    figures
}

async fn settled(witness: &Witness) {
    witness.until(is_from("binance")).await;
    let began = Instant::now();
    while witness.world.health_of("binance").await["transport"] != "websocket"
        || witness.world.health_of("coingecko").await["status"] != "fresh"
    {
        assert!(began.elapsed() < Duration::from_secs(70), "the exchanges do not come back");
        sleep(Duration::from_millis(20)).await;
    }
    witness.until(is_from("binance")).await;
}

async fn round(witness: &Witness, figures: &mut Figures) {
    let world = &witness.world;
    settled(witness).await;
    world.break_exchange("binance", json!({"kind": "refuse"})).await;
    figures.refused.push(witness.until(is_from("coingecko")).await);
    world.mend("binance").await;
    figures.back.push(witness.until(is_from("binance")).await);

    settled(witness).await;
    world
        .break_exchange("binance", json!({"kind": "refuse", "transport": "websocket", "for_ms": 1200}))
        .await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1_200) {
        let answer = world.get(PATH).await;
        if (answer.status, answer.exchanger()) != (200, Some("binance")) {
            let health = world.health_of("binance").await;
            panic!("after {:?}: {answer:?}, {health}", began.elapsed());
        }
        figures.num_answers_over_rest += 1;
        sleep(Duration::from_millis(10)).await;
    }

    settled(witness).await;
    world.break_exchange("binance", json!({"kind": "mute"})).await;
    figures.muted.push(witness.until(is_from("coingecko")).await);
    world.mend("binance").await;

    settled(witness).await;
    for exchange in ["binance", "coingecko"] {
        world.break_exchange(exchange, json!({"kind": "refuse"})).await;
    }
    figures.gone.push(witness.until(|answer| answer.status == 503).await);
    for exchange in ["binance", "coingecko"] {
        world.mend(exchange).await;
    }
    figures.healed.push(witness.until(|answer| answer.status == 200).await);
}

/// Prints what was measured, and fails if one trial took longer than its limit.
fn check(what: &str, mut measured: Vec<Duration>, at_least: Duration, at_most: Duration) {
    measured.sort();
    let at = |share: usize| measured[(measured.len() - 1) * share / 100];
    println!(
        "{what}: n={} min={:?} p50={:?} p99={:?} max={:?} (limit {at_most:?})",
        measured.len(),
        at(0),
        at(50),
        at(99),
        at(100)
    );
    assert!(at(0) >= at_least, "{what}: {:?} is sooner than {at_least:?}", at(0));
    assert!(at(100) <= at_most, "{what}: {:?} is later than {at_most:?}", at(100));
}

#[test]
fn a_dead_exchange_is_not_felt_in_a_hundred_trials_of_each_failure() {
    let _machine = MACHINE.blocking_lock();
    let worlds: Vec<_> =
        (0..WORLDS).map(|seed| thread::spawn(move || actix::System::new().block_on(rounds(seed)))).collect();
    let mut all = Figures::default();
    for world in worlds {
        let figures = world.join().unwrap();
        all.refused.extend(figures.refused);
        all.back.extend(figures.back);
        all.muted.extend(figures.muted);
        all.gone.extend(figures.gone);
        all.healed.extend(figures.healed);
        all.num_answers_over_rest += figures.num_answers_over_rest;
        all.judged.exactly += figures.judged.exactly;
        all.judged.beside_a_gap += figures.judged.beside_a_gap;
    }
    let ms = Duration::from_millis;
    let half_a_second = ms(500);
    println!("compared with the truth: {:?}", all.judged);
    assert!(all.judged.beside_a_gap * 20 <= all.judged.exactly, "{:?}: the truth was not seen", all.judged);
    println!("socket lost, REST alive: {} answers, all from the same exchange", all.num_answers_over_rest);
    check("refused on both transports, another answers", all.refused, ms(0), ms(1_000));
    check("mended, the first answers again", all.back, FAIL_BACK_AFTER, FAIL_BACK_AFTER + ms(10_000));
    check("mute on both transports, another answers", all.muted, ms(0), STALE_AFTER + half_a_second);
    check("all gone, 503", all.gone, ms(0), AGGREGATOR_STALE_AFTER + half_a_second);
    check("mended, 200 again", all.healed, ms(0), ms(10_000));
}
