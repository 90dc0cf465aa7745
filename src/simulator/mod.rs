//! Local exchanges that speak the real protocols, for demo, tests and load.
