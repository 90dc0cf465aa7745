//! The targets of `fuzz/` without a fuzzer: every fixture, and many that are broken by chance, through the same checks.
//!
//! What a fuzzer has kept in `fuzz/corpus/` is timed as well, where there is something.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ratebook::clock;
use ratebook::exchange::EXCHANGES;

#[path = "../../fuzz/src/checks.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate offers them to its targets")]
mod checks;

/// Broken inputs of one run, over all targets.
const MUTANTS: usize = 20_000;

/// Longest time that reading one input may take.
const LONGEST: Duration = Duration::from_millis(10);

/// How often an input is read to see how long that takes. The system counts in ticks of some milliseconds.
const ROUNDS: u32 = 8;

/// Pieces that have broken readers before.
const PIECES: [&[u8]; 24] = [
    b"null",
    b"[]",
    b"{}",
    b"\"\"",
    b"0",
    b"-0",
    b"-1",
    b"1e999",
    b"1E-999",
    b"0.0000000000000000000000000000001",
    b"79228162514264337593543950336",
    b"18446744073709551616",
    b"NaN",
    b"Infinity",
    b"true",
    b"\\ud800",
    b"\xff",
    b"\0",
    b"\xef\xbb\xbf",
    b"\n",
    b",",
    b"\"",
    b"<!--",
    b"%",
];

/// One target, by the name of its file in `fuzz/fuzz_targets/`.
struct Target {
    name: &'static str,
    seeds: Vec<Vec<u8>>,
}

impl Target {
    fn read(&self, input: &[u8]) {
        match self.name {
            "query" => checks::query(input),
            "settings" => checks::settings(input),
            exchange => checks::exchange(exchange, input),
        }
    }
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: PathBuf) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Every target with its fixtures.
fn targets() -> Vec<Target> {
    let names = EXCHANGES.iter().map(|row| row.name.as_str()).chain(["query", "settings"]);
    names.map(|name| Target { name, seeds: seeds(name) }).collect()
}

/// The fixtures of a target in the form of its inputs; `fuzz/run` makes the same of them.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for file in files(package().join("tests/fixtures").join(name)) {
        let bytes = fs::read(&file).unwrap();
        let ending = file.extension().map(|ending| ending.to_string_lossy().into_owned());
        match (name, ending.as_deref()) {
            _ if file.to_string_lossy().ends_with(".expected.json") => {}
            ("query", _) => seeds.extend(bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec)),
            ("settings", _) => seeds.push(bytes),
            (_, ending) => {
                let prefixes = checks::prefix(ending == Some("jsonl"));
                seeds.extend(prefixes.iter().map(|prefix| [&[*prefix], bytes.as_slice()].concat()));
            }
        }
    }
    assert!(!seeds.is_empty(), "`{name}` has no fixtures");
    seeds
}

/// Breaks an input in one to three places.
fn break_somewhere(random: &mut StdRng, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut input = seed.to_vec();
    for _ in 0..random.random_range(1..=3) {
        let at = random.random_range(0..=input.len());
        let end = (at + random.random_range(1..40)).min(input.len());
        match random.random_range(0..7) {
            0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            1 => drop(input.drain(at..end)),
            2 => drop(input.splice(at..end, PIECES[random.random_range(0..PIECES.len())].iter().copied())),
            3 => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            4 => {
                let from = random.random_range(0..=other.len());
                let until = (from + random.random_range(1..200)).min(other.len());
                input.splice(at..end, other[from..until].iter().copied());
            }
            5 => input.truncate(at),
            _ => {
                // Another digit in a number: what is read has to be that number.
                let digits: Vec<usize> = (0..input.len()).filter(|at| input[*at].is_ascii_digit()).collect();
                if !digits.is_empty() {
                    let at = digits[random.random_range(0..digits.len())];
                    input[at] = *b"0123456789.-eE".get(random.random_range(0..14)).unwrap();
                }
            }
        }
    }
    input
}

#[test]
fn every_target_of_the_fuzzer_is_a_reader_that_is_tried_here() {
    let mut expected: Vec<&str> = targets().iter().map(|target| target.name).collect();
    expected.sort_unstable();
    let files = files(package().join("fuzz/fuzz_targets"));
    let found: Vec<_> = files.iter().map(|file| file.file_stem().unwrap().to_str().unwrap()).collect();
    assert_eq!(found, expected);
}

#[test]
fn whatever_is_read_is_read_the_same_way_twice_and_no_price_is_below_zero() {
    let targets = targets();
    for target in &targets {
        target.seeds.iter().for_each(|seed| target.read(seed));
    }
    for number in 0..MUTANTS {
        let mut random = StdRng::seed_from_u64(number as u64);
        let target = &targets[number % targets.len()];
        let [seed, other] = [(); 2].map(|()| &target.seeds[random.random_range(0..target.seeds.len())]);
        let input = break_somewhere(&mut random, seed, other);
        if catch_unwind(AssertUnwindSafe(|| target.read(&input))).is_err() {
            panic!("mutant {number} breaks `{}`: {}", target.name, String::from_utf8_lossy(&input));
        }
    }
}

#[test]
fn reading_the_worst_input_takes_at_most_10_ms() {
    for target in targets() {
        let kept = files(package().join("fuzz/corpus").join(target.name));
        let kept = kept.into_iter().map(|file| fs::read(file).unwrap());
        let mut worst = (Duration::ZERO, Vec::new());
        for input in target.seeds.iter().cloned().chain(kept) {
            let took = time_of(|| target.read(&input));
            if took > worst.0 {
                worst = (took, input);
            }
        }
        let (took, input) = worst;
        println!("{:<16} worst {:>6.2} ms, {} bytes", target.name, took.as_secs_f64() * 1e3, input.len());
        assert!(took <= LONGEST, "`{}` takes {took:?} for {}", target.name, String::from_utf8_lossy(&input));
    }
}

/// How long something keeps the processor, on average: others use the machine as well, and their time is not counted.
fn time_of(work: impl Fn()) -> Duration {
    let before = on_processor();
    (0..ROUNDS).for_each(|_| work());
    on_processor().saturating_sub(before) / ROUNDS
}

/// Time that this thread has had a processor, as Linux tells it; where it does not, time.
fn on_processor() -> Duration {
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|told| told.split_whitespace().next()?.parse().ok());
    nanoseconds.map_or_else(|| clock::now().monotonic, Duration::from_nanos)
}
