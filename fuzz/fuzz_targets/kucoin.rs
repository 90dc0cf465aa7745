//! Everything that `kucoin` may send.

#![no_main]

ratebook_fuzz::target!("kucoin");
