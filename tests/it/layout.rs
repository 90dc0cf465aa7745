//! The invariants of the source tree: which part may name which, and what stands in one place only.
//!
//! Every rule is first tried on samples that keep it and samples that break it, so that none passes because it looks
//! at nothing. The list that people read is `# Invariants` in `src/lib.rs`; the last test here keeps it complete.

use std::fs;
use std::path::Path;

use self::rules::*;
use self::source::SourceFile;

mod rules;
mod source;

/// Tries the rule on samples that keep it and that break it, then holds the source tree to it.
fn hold(rule: Rule, kept_by: &[(&str, &str)], broken_by: &[(&str, &str)]) {
    for (path, text) in kept_by {
        assert_eq!(rule(&SourceFile::new(path, text)), [], "the rule bites without reason: {path}: {text}");
    }
    for (path, text) in broken_by {
        assert_ne!(rule(&SourceFile::new(path, text)), [], "the rule does not bite: {path}: {text}");
    }
    let files = SourceFile::tree("src");
    assert!(files.len() > 20, "found only {} files below src", files.len());
    let told = |file: &SourceFile| {
        let told = rule(file).into_iter().map(|(line, what)| format!("\n{}:{line}: {what}", file.path));
        told.collect::<String>()
    };
    let broken: String = files.iter().map(told).collect();
    assert!(broken.is_empty(), "{broken}");
}

#[test]
fn each_part_names_only_what_lies_below_it() {
    hold(
        parts_name_only_what_lies_below_them,
        &[
            ("src/market/quote.rs", "use super::Direction; use crate::market::Asset;"),
            ("src/rate_book/book.rs", "use crate::market::Quote;"),
            ("src/rate_book/actor.rs", "use crate::clock;\nimpl Actor for RateBook {}"),
            ("src/exchange/actor.rs", "use crate::rate_book::ReportQuotes; use crate::clock;"),
            ("src/http/v1/courses.rs", "use crate::http::error::ApiError; // not crate::exchange::X"),
            ("src/http/v1/courses.rs", "#[cfg(test)]\nmod tests { use crate::exchange::X; }"),
            ("src/app.rs", "use crate::http; use crate::simulator::Simulator;"),
            ("src/main.rs", "fn main() { ratebook::cli::run() }"),
        ],
        &[
            ("src/market/quote.rs", "use crate::clock;"),
            ("src/market/quote.rs", "fn f(x: crate::rate_book::Epoch) {}"),
            ("src/market/number/deep.rs", "use super::super::super::config::Settings;"),
            ("src/rate_book/book.rs", "use crate::clock;"),
            ("src/rate_book/actor.rs", "use crate::http;\nimpl Actor for RateBook {}"),
            ("src/rate_book/book.rs", "use crate::{market::Quote, exchange::Row};"),
            ("src/exchange/actor.rs", "use crate::http::HttpSetup;"),
            ("src/http/mod.rs", "use super::exchange::EXCHANGES;"),
            ("src/http/mod.rs", "use crate::persist::Store;"),
            ("src/persist/mod.rs", "use crate::bus::Bus;"),
            ("src/bus/mod.rs", "use crate::persist::Store;"),
            ("src/exchange/binance.rs", "use crate::simulator::Fault;"),
            ("src/supervisor/mod.rs", "use crate::rate_book::Epoch;"),
            ("src/simulator/mod.rs", "use crate::app;"),
            ("src/news/mod.rs", "use crate::market::Quote;"),
        ],
    );
}

#[test]
fn diesel_the_broker_and_the_http_client_stay_at_home() {
    hold(
        crates_stay_at_home,
        &[
            ("src/persist/postgres.rs", "use diesel::prelude::*;"),
            ("src/bus/mod.rs", "use async_nats::jetstream;"),
            ("src/exchange/actor/dial.rs", "use awc::Client;"),
        ],
        &[
            ("src/rate_book/mod.rs", "use diesel::prelude::*;"),
            ("src/app.rs", "diesel_migrations::embed_migrations!();"),
            ("src/http/mod.rs", "fn f(x: async_nats::Client) {}"),
            ("src/simulator/mod.rs", "use awc::Client;"),
            ("src/exchange/actor.rs", "use actix_ws::Session;"),
        ],
    );
}

#[test]
fn market_and_the_rules_of_rate_book_are_pure() {
    hold(
        market_and_rules_are_pure,
        &[
            ("src/market/moment.rs", "use std::time::Duration; use chrono::Utc;"),
            ("src/rate_book/messages.rs", "use actix::prelude::*;\n#[derive(Message)] struct M;"),
        ],
        &[
            ("src/market/quote.rs", "use actix::prelude::*;"),
            ("src/rate_book/book.rs", "use actix::prelude::*;"),
            ("src/rate_book/gates.rs", "tokio::spawn(x);"),
            ("src/rate_book/cross.rs", "use std::{fs, time::Duration};"),
            ("src/rate_book/selection.rs", "let now = crate::clock::now();"),
        ],
    );
}

#[test]
fn an_exchange_names_only_market_and_super() {
    let sample = |line: &str| format!("pub(super) const ROW: Row = Row {{}};\n{line}");
    let kept = ["use super::{Exchange, Feed}; use crate::market::Quote;", "use super::super::market::Quote;"]
        .map(sample);
    let broken = [
        "use awc::Client;",
        "use actix::prelude::*;",
        "use actix_rt::time;",
        "use tokio::net::TcpStream;",
        "use crate::clock;",
        "use super::super::rate_book::Epoch;",
        "use super::actor::ExchangeActor;",
        "let x = std::net::TcpStream::connect(y);",
        "use std::{env, fmt};",
        "rand::random()",
    ]
    .map(sample);
    let path = "src/exchange/kraken.rs";
    let samples =
        |texts: &'static [String]| texts.iter().map(|text| (path, text.as_str())).collect::<Vec<_>>();
    hold(plug_ins_are_pure, &samples(Vec::from(kept).leak()), &samples(Vec::from(broken).leak()));
}

#[test]
fn the_environment_is_read_in_config_only() {
    hold(
        only_config_reads_the_environment,
        &[
            ("src/config.rs", "std::env::var(NAME)"),
            ("src/config/given.rs", "use std::env; env::vars_os()"),
            ("src/cli.rs", "std::env::args_os(); env!(\"CARGO_PKG_NAME\"); \"env::var\";"),
        ],
        &[
            ("src/app.rs", "std::env::var(NAME)"),
            ("src/app.rs", "use std::env;\nfn f() { env::var_os(NAME) }"),
            ("src/logging.rs", "use std::env::{args, vars};"),
            ("src/logging.rs", "use std::env::*;"),
        ],
    );
}

#[test]
fn the_clocks_are_read_in_clock_only() {
    hold(
        only_clock_reads_the_clocks,
        &[
            ("src/clock.rs", "Utc::now()"),
            ("src/app.rs", "clock::now(); // Utc::now()\n\"Utc::now()\""),
            ("src/app.rs", "#[cfg(test)]\nmod tests { fn f() { Utc::now() } }"),
        ],
        &[
            ("src/app.rs", "let now = chrono::Utc::now();"),
            ("src/rate_book/book.rs", "ORIGIN.get_or_init(Instant::now)"),
            ("src/http/mod.rs", "began_at.elapsed()"),
            ("src/http/mod.rs", "SystemTime::now()"),
        ],
    );
    for (path, reading, _) in OTHER_CLOCKS {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let is_obsolete = fs::read_to_string(root.join(path)).is_ok_and(|text| !text.contains(reading));
        assert!(!is_obsolete, "{path} reads `{reading}` no more: strike it off `OTHER_CLOCKS`");
    }
}

#[test]
fn main_has_at_most_40_lines() {
    let (short, long) = ("//! x\n".repeat(40).leak(), "//! x\n".repeat(41).leak());
    hold(main_is_short, &[("src/main.rs", short), ("src/cli.rs", long)], &[("src/main.rs", long)]);
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    hold(
        nothing_is_unwrapped,
        &[
            ("src/app.rs", "x.unwrap_or(1); x.unwrap_or_default(); // x.unwrap()"),
            ("src/app.rs", "#[cfg(test)]\nmod tests { fn f() { x.unwrap() } }"),
        ],
        &[("src/app.rs", "x.unwrap()"), ("src/app.rs", "x\n    .unwrap()\n    .y()")],
    );
}

#[test]
fn every_file_opens_with_what_it_is() {
    let rule: Rule = every_file_says_what_it_is;
    hold(
        rule,
        &[("src/app.rs", "//! The composition root.\nuse x;")],
        &[
            ("src/app.rs", "use x;\n//! Late."),
            ("src/app.rs", ""),
            ("src/app.rs", "//!\n"),
            ("src/app.rs", "// No."),
        ],
    );
    for file in SourceFile::tree("tests").iter().chain(&SourceFile::tree("benches")) {
        assert_eq!(rule(file), [], "{}", file.path);
    }
}

#[test]
fn json_for_clients_has_its_shape_in_http_only() {
    hold(
        json_shapes_for_clients_stay_in_http,
        &[
            ("src/http/v1/courses.rs", "#[derive(Serialize)] struct Body;"),
            ("src/market/number.rs", "use serde::Deserialize;"),
        ],
        &[
            ("src/market/course.rs", "#[derive(Debug, serde::Serialize)] struct Course;"),
            ("src/rate_book/messages.rs", "use serde::{Deserialize, Serialize};"),
            ("src/app.rs", "serde_json::json!({})"),
        ],
    );
}

#[test]
fn no_price_passes_through_a_float() {
    hold(
        prices_are_never_floats,
        &[
            ("src/http/mod.rs", "let seconds: f64 = 1.5;"),
            ("src/market/number.rs", "/// Not `f64`.\nlet f64_free = 1;"),
        ],
        &[
            ("src/market/number.rs", "text.parse::<f64>()"),
            ("src/rate_book/cross.rs", "fn f(x: f32) {}"),
            ("src/exchange/okx.rs", "const ROW: Row = Row {}; struct Wire { last: f64 }"),
        ],
    );
}

#[test]
fn no_actor_puts_its_thread_to_sleep() {
    hold(
        no_thread_sleeps,
        &[("src/app.rs", "tokio::time::sleep(x).await")],
        &[
            ("src/app.rs", "use std::thread; fn f() { thread::sleep(x) }"),
            ("src/app.rs", "use std::thread::{sleep};"),
        ],
    );
}

#[test]
fn every_row_of_the_table_has_a_file_of_its_own() {
    let files = SourceFile::tree("src/exchange");
    let plug_ins: Vec<String> =
        files.iter().filter(|file| is_plug_in(file)).map(|file| file.module()[1].clone()).collect();
    let table = files.iter().find(|file| file.path == "src/exchange/mod.rs").unwrap();
    let rows =
        table.named_paths().into_iter().filter(|path| path.segments.get(1).is_some_and(|last| last == "ROW"));
    let mut rows: Vec<String> = rows.map(|path| path.segments[0].clone()).collect();
    rows.sort();
    assert!(rows.len() >= 3, "{rows:?}");
    assert_eq!(plug_ins, rows);
}

#[test]
fn a_panic_unwinds_in_the_release_profile() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    assert_eq!(manifest["profile"]["release"]["panic"].as_str(), Some("unwind"));
    assert_eq!(manifest["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
}

#[test]
fn a_build_without_named_features_breaks_nothing_on_purpose() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let breaking = ["failpoints", "fault-injection"];
    let names_one = |text: &str| breaking.iter().any(|feature| text.contains(feature));
    assert_eq!(manifest["features"].get("default"), None);
    assert!(!names_one(&manifest["dependencies"].to_string()));
    assert!(names_one(&manifest["dev-dependencies"]["ratebook"].to_string()), "tests have neither");
    // What is deployed is built by this file alone.
    let image = fs::read_to_string(root.join("deploy/Dockerfile")).unwrap();
    assert!(image.contains("cargo build --release") && !names_one(&image), "{image}");
}

#[test]
fn every_invariant_is_listed_in_the_doc_of_the_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let (library, tests) = (read("src/lib.rs"), read("tests/it/layout.rs"));
    let (_, listed) = library.split_once("//! # Invariants").unwrap();
    let mut listed: Vec<&str> =
        listed.lines().filter_map(|line| line.split_once("(`")?.1.strip_suffix("`)")).collect();
    let mut held: Vec<&str> = tests
        .split("#[test]\nfn ")
        .skip(1)
        .filter_map(|test| Some(test.split_once('(')?.0))
        .filter(|name| *name != "every_invariant_is_listed_in_the_doc_of_the_crate")
        .collect();
    listed.sort_unstable();
    held.sort_unstable();
    assert_eq!(listed, held);
}
