//! The program `ratebook`.

fn main() {}
