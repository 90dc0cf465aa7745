//! A self-hosted rate service: it listens to many exchanges at once, decides at every moment which of them can be
//! believed, and answers with the current course of crypto and fiat directions, or with an honest error.
//!
//! # Layout
//!
//! - [`market`]: the words of the field, pure
//! - [`exchange`]: one file per source of quotes, and the one actor that runs them all
//! - [`rate_book`]: the hub that holds the quotes, judges them and selects who answers
//! - [`http`]: what clients see
//! - [`simulator`]: local exchanges for demo, tests and load
//! - [`supervisor`]: starts actors and starts them again
//! - [`clock`]: the one reader of the clocks
//! - [`config`]: every setting
//! - [`app`]: which actors start, in which order
//! - [`cli`]: the commands

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod exchange;
pub mod http;
pub mod logging;
pub mod market;
pub mod rate_book;
pub mod simulator;
pub mod supervisor;
