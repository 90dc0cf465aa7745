//! What the targets of `fuzz_targets/` share. Each of them is one reader of bytes that come from outside.
//!
//! The checks stand in a file of their own because `cargo test` plays them too (`tests/it/fuzz.rs`), on any toolchain.

mod checks;

pub use checks::{exchange, prefix, query, settings};

/// The target of one exchange.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        libfuzzer_sys::fuzz_target!(|input: &[u8]| {
            $crate::exchange($name, input);
        });
    };
}
