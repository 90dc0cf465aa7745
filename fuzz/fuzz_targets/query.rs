//! Every route's reading of a query.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    ratebook_fuzz::query(input);
});
