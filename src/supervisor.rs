//! Starts actors from factories, hears of every end of theirs, and starts them again with a delay.
//!
//! Separate from actix's own `Supervisor`, which does not survive a panic of its actor and restarts without delay.
