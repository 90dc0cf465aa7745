//! The delays between attempts, as a pure sequence.
