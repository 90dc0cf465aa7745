//! Everything that `bitfinex` may send.

#![no_main]

ratebook_fuzz::target!("bitfinex");
