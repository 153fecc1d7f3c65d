//! Integration tests of the simulator: one binary, so that it links once.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod control_law;
mod plot;
mod random_worlds;
mod scenario_files;
mod watch;
