//! Every exchange is worth its place: whichever is the last one left, and in whatever order the others go, courses are
//! answered all the time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use ratebook::config::Settings;
use ratebook::exchange::{EXCHANGES, Kind};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::support::{MACHINE, PATIENCE, World};

/// Orders in which ten of eleven are closed.
const ORDERS: u64 = 5;

/// The aggregator renews its body every second at this speed.
const SPEED: f64 = 60.0;

/// Those that may answer, all of them on.
fn exchanges() -> Vec<&'static str> {
    let markets = EXCHANGES.iter().filter(|row| !matches!(row.kind, Kind::Fiat { .. }));
    markets.map(|row| row.name.as_str()).collect()
}

/// Everything on, and the aggregator as quick as the markets, so that it is really gone when it is closed.
fn all_on(settings: &mut Settings) {
    settings.fail_back_after = Duration::from_millis(500);
    for row in EXCHANGES {
        let exchange = settings.exchanges.get_mut(&row.name).unwrap();
        exchange.enabled = Settings::default().exchanges[&row.name].enabled;
        if row.kind == Kind::Aggregator {
            (exchange.stale_after, exchange.poll_every) =
                (Duration::from_secs(3), Duration::from_millis(400));
        }
    }
}

/// Somebody who asks all the time, and wants an answer every time.
struct Asker {
    is_over: Rc<Cell<bool>>,
    asking: JoinHandle<usize>,
}

impl Asker {
    fn of(world: &Rc<World>, doing: &Rc<RefCell<String>>) -> Self {
        let is_over = Rc::new(Cell::new(false));
        let (world, doing, ended) = (world.clone(), doing.clone(), is_over.clone());
        let asking = actix::spawn(async move {
            let mut num_answers = 0;
            while !ended.get() {
                let answer = world.get("/v1/courses").await;
                assert_eq!(answer.status, 200, "{}: {}", doing.borrow(), answer.text);
                num_answers += 1;
                sleep(Duration::from_millis(5)).await;
            }
            num_answers
        });
        Self { is_over, asking }
    }

    /// How many answers there were, all of them 200.
    async fn end(self) -> usize {
        self.is_over.set(true);
        self.asking.await.unwrap()
    }
}

/// A world with everything on and fresh.
async fn whole_world(seed: u64) -> Rc<World> {
    let world = Rc::new(World::start(seed, SPEED, all_on).await);
    for name in exchanges() {
        until_whole(&world, name).await;
    }
    world
}

/// Waits until an exchange could answer everything by itself.
async fn until_whole(world: &World, name: &str) {
    world.until(&format!("/v1/courses?exchanger={name}"), |answer| answer.status == 200).await;
    assert_eq!(world.health_of(name).await["status"], "fresh", "{name}");
}

async fn until_not_fresh(world: &World, name: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let row = world.health_of(name).await;
        if row["status"] != "fresh" {
            return;
        }
        assert!(Instant::now() < deadline, "{row}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn close(world: &World, name: &str) {
    world.break_exchange(name, json!({"kind": "refuse", "transport": "both"})).await;
    until_not_fresh(world, name).await;
}

#[actix::test]
async fn each_exchange_alone_keeps_answering() {
    let _machine = MACHINE.lock().await;
    let world = whole_world(31).await;
    let doing = Rc::new(RefCell::new("all on".to_owned()));
    let asker = Asker::of(&world, &doing);
    let exchanges = exchanges();
    assert_eq!(exchanges.len(), 11);
    for &survivor in &exchanges {
        *doing.borrow_mut() = format!("{survivor} alone");
        world.mend(survivor).await;
        until_whole(&world, survivor).await;
        for &other in exchanges.iter().filter(|it| **it != survivor) {
            world.mend(other).await;
            close(&world, other).await;
        }
        world.until("/v1/courses", |answer| answer.exchanger() == Some(survivor)).await;
        let health = world.get("/health").await.body;
        assert_eq!(health["answering"], survivor, "{health}");
    }
    println!("{} answers while each of {} was alone", asker.end().await, exchanges.len());
    Rc::into_inner(world).unwrap().stop().await;
}

#[actix::test]
async fn ten_of_eleven_may_close_in_any_order() {
    let _machine = MACHINE.lock().await;
    for seed in 0..ORDERS {
        let world = whole_world(41 + seed).await;
        let mut order = exchanges();
        order.shuffle(&mut StdRng::seed_from_u64(seed));
        let doing = Rc::new(RefCell::new(String::new()));
        let asker = Asker::of(&world, &doing);
        for &name in &order[1..] {
            *doing.borrow_mut() = format!("seed {seed}: {name} of {order:?} closes");
            close(&world, name).await;
        }
        world.until("/v1/courses", |answer| answer.exchanger() == Some(order[0])).await;
        println!("seed {seed}: {} answers until {} was left", asker.end().await, order[0]);
        Rc::into_inner(world).unwrap().stop().await;
    }
}
