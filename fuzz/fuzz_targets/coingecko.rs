//! Everything that `coingecko` may send.

#![no_main]

ratebook_fuzz::target!("coingecko");
