//! What clients see over HTTP: every route and version on one screen.
