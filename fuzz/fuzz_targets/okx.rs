//! Everything that `okx` may send.

#![no_main]

ratebook_fuzz::target!("okx");
