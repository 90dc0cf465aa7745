//! Everything that `gate` may send.

#![no_main]

ratebook_fuzz::target!("gate");
