//! Everything that `ecb` may send.

#![no_main]

ratebook_fuzz::target!("ecb");
