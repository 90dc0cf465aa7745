//! The one actor that runs every exchange: it owns the sockets, the polling, the clocks and the limits.
