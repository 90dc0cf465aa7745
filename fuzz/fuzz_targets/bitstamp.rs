//! Everything that `bitstamp` may send.

#![no_main]

ratebook_fuzz::target!("bitstamp");
