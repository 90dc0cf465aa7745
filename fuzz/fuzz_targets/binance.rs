//! Everything that `binance` may send.

#![no_main]

ratebook_fuzz::target!("binance");
