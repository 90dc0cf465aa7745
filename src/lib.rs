//! A self-hosted rate service: it listens to many exchanges at once, decides at every moment which of them can be
//! believed, and answers with the current course of crypto and fiat directions, or with an honest error.
//!
//! # Layout
//!
//! - [`market`]: the words of the field, pure
//! - [`exchange`]: one file per source of quotes, and the one actor that runs them all
//! - [`rate_book`]: the hub that holds the quotes, judges them and selects who answers
//! - [`persist`]: stores what was accepted, and reads it back
//! - [`bus`]: tells other processes what was accepted, over the message broker
//! - [`history`]: what is asked of stored data, and what is answered
//! - [`http`]: what clients see
//! - [`simulator`]: local exchanges for demo, tests and load
//! - [`supervisor`]: starts actors and starts them again
//! - [`clock`]: the one reader of the clocks
//! - [`config`]: every setting
//! - [`app`]: which actors start, in which order
//! - [`cli`]: the commands
//! - [`metrics`]: what is counted, and the page that Prometheus reads
//! - [`logging`]: log records
//! - `seeded_bug`: bugs that tests put in on purpose, absent from every other build
//!
//! # Invariants
//!
//! Each is held by the test of `tests/it/layout.rs` that is named behind it.
//!
//! - `market` names nothing of ours; `rate_book` names `market`, and its actor the clock; `exchange`, `http`,
//!   `persist` and `bus` never name each other; nothing but `app` and `cli` names the simulator.
//!   (`each_part_names_only_what_lies_below_it`)
//! - An exchange is a pure translation: no actor, no socket, no clock, no randomness.
//!   (`an_exchange_names_only_market_and_super`)
//! - The words of the field and the rules of the book are pure; time is passed in.
//!   (`market_and_the_rules_of_rate_book_are_pure`)
//! - Every exchange of the table is one file, and every such file is in the table.
//!   (`every_row_of_the_table_has_a_file_of_its_own`)
//! - No price passes through a float.
//!   (`no_price_passes_through_a_float`)
//! - What clients see has its shape in `http`, and nowhere else.
//!   (`json_for_clients_has_its_shape_in_http_only`)
//! - Only `persist` knows diesel, only `bus` the broker, and only `exchange` and `cli` ask others over HTTP.
//!   (`diesel_the_broker_and_the_http_client_stay_at_home`)
//! - Only `config` reads the environment.
//!   (`the_environment_is_read_in_config_only`)
//! - Only `clock` reads the clocks.
//!   (`the_clocks_are_read_in_clock_only`)
//! - No actor puts its thread to sleep: others may live there.
//!   (`no_actor_puts_its_thread_to_sleep`)
//! - A panic unwinds, in the release profile too: the supervisor hears of it through a drop guard.
//!   (`a_panic_unwinds_in_the_release_profile`)
//! - A program that is built without naming features has no fail points and no seeded bugs.
//!   (`a_build_without_named_features_breaks_nothing_on_purpose`)
//! - Nothing is unwrapped outside tests.
//!   (`nothing_is_unwrapped_outside_tests`)
//! - `main` only hands over.
//!   (`main_has_at_most_40_lines`)
//! - Every file opens with what it is.
//!   (`every_file_opens_with_what_it_is`)

pub mod app;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod config;
pub mod exchange;
pub mod history;
pub mod http;
pub mod logging;
pub mod market;
pub mod metrics;
pub mod persist;
pub mod rate_book;
mod seeded_bug;
pub mod simulator;
pub mod supervisor;
