//! Everything that `erapi` may send.

#![no_main]

ratebook_fuzz::target!("erapi");
