//! The book under events of every kind, in an order and at times that a seed decides, against a model that remembers
//! everything and is slow.
//!
//! A failing seed is printed, and `RATEBOOK_SEED=N cargo test --lib rate_book::simulation -- --nocapture` plays it
//! again, step by step.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use self::world::World;

mod cast;
mod checks;
mod model;
mod paths;
mod verdict;
mod world;

/// Runs of one `cargo test`: as many as two cores play in some thirty seconds.
const SEEDS: u64 = 10_000;

/// Steps of one run: some two minutes of the book's time, with a dozen failures. Many short runs find more than a few long
/// ones, and a failing one is read sooner.
const STEPS: usize = 40;

/// Plays one seed; gives how many kept answers could be compared.
fn play(seed: u64, is_told: bool) -> u64 {
    let mut world = World::new(seed, is_told);
    for _ in 0..STEPS {
        world.wait();
        if world.once_in(5) {
            // A question may come before anything else tells the time.
            world.ask(&Default::default()).ok();
        }
        world.happen();
        world.tick();
        world.check();
    }
    world.num_kept
}

#[test]
fn the_book_agrees_with_a_slow_model_under_random_events() {
    if let Some(seed) = std::env::var_os("RATEBOOK_SEED") {
        play(seed.to_str().and_then(|seed| seed.parse().ok()).expect("RATEBOOK_SEED is a number"), true);
        return;
    }
    let (next, num_kept) = (AtomicU64::new(0), AtomicU64::new(0));
    let failed = Mutex::new(None);
    let work = || {
        while failed.lock().unwrap().is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                return;
            }
            match catch_unwind(AssertUnwindSafe(|| play(seed, false))) {
                Ok(num) => _ = num_kept.fetch_add(num, Ordering::Relaxed),
                Err(_) => *failed.lock().unwrap() = Some(seed),
            }
        }
    };
    thread::scope(|scope| {
        let num_threads = thread::available_parallelism().map_or(1, usize::from);
        (0..num_threads).for_each(|_| _ = scope.spawn(work));
    });
    if let Some(seed) = *failed.lock().unwrap() {
        panic!("seed {seed} fails; RATEBOOK_SEED={seed} with --nocapture tells every step of it");
    }
    let num_kept = num_kept.into_inner();
    assert!(num_kept > SEEDS / 2, "only {num_kept} answers could be kept for a while");
}
