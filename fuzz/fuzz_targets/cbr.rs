//! Everything that `cbr` may send.

#![no_main]

ratebook_fuzz::target!("cbr");
