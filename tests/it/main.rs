//! Tests of the whole service and of its parts over real sockets and threads: one file per behaviour.

#![expect(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]
#![expect(clippy::print_stderr, reason = "a test that has nothing to compare says so")]
#![expect(clippy::print_stdout, reason = "trials print their figures")]

mod bus;
mod cli;
mod clients;
mod databases;
mod documents;
mod exchanges;
mod fiat;
mod fixtures;
mod fuzz;
mod http;
mod layout;
mod manners;
mod recordings;
mod replay;
mod simulator;
mod storage;
mod storage_commands;
mod supervisor;
mod support;
mod survivors;
mod tls;
