//! Everything that `bybit` may send.

#![no_main]

ratebook_fuzz::target!("bybit");
