//! Composition root: which actors start, in which order, and who restarts whom.
