//! The reading of a settings file.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    ratebook_fuzz::settings(input);
});
