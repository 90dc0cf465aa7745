//! Everything that `htx` may send.

#![no_main]

ratebook_fuzz::target!("htx");
