//! Version 1 of the contract: what it answers does not change any more, except by new headers.

pub(super) mod courses;
pub(super) mod events;
pub(super) mod history;
