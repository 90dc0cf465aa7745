//! Everything that `coinbase` may send.

#![no_main]

ratebook_fuzz::target!("coinbase");
