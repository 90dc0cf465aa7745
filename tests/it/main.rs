//! Tests of the whole service and of its parts over real sockets and threads: one file per behaviour.

#![expect(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

mod http;
mod layout;
mod supervisor;
