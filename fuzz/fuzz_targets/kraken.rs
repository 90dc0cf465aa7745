//! Everything that `kraken` may send.

#![no_main]

ratebook_fuzz::target!("kraken");
