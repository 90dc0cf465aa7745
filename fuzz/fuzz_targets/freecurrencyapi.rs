//! Everything that `freecurrencyapi` may send.

#![no_main]

ratebook_fuzz::target!("freecurrencyapi");
