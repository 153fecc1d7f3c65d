//! Tables of the core: an input, and the exact commands that follow from it, and nothing more.

#![expect(clippy::unwrap_used, reason = "tests")]

mod answers;
mod away;
mod core;
mod drain;
mod family;
mod order;
mod past;
mod plans;
mod retention;
mod rhythm;
mod seen;
mod sweeps;
mod trouble;
mod wakes;
mod wishes;
