//! Roles in processes of their own over a real broker: what they say together, and what they do when something breaks.

mod breakage;
mod guarded;
mod node;
mod storing;
mod together;
