//! What the measurements share: statistics, tables, servers in the background, and clients that load them.

pub(crate) mod bare;
pub(crate) mod book;
pub(crate) mod client;
pub(crate) mod frames;
pub(crate) mod load;
pub(crate) mod moving;
pub(crate) mod pusher;
pub(crate) mod rounds;
pub(crate) mod sample;
pub(crate) mod visibility;
