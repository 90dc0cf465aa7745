//! Everything that `frankfurter` may send.

#![no_main]

ratebook_fuzz::target!("frankfurter");
