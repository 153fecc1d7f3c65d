//! A local Redshift on loopback: it speaks the Data API over HTTP, its statements really
//! move from SUBMITTED to their end, and refreshes really read streams that really grow.
//!
//! The layers, each ignorant of those above it: `clock` and `random`; [`World`] (what exists
//! and what goes wrong); `streams` (what has arrived); `sql` (what a text asks for);
//! `statements` (what runs, on virtual time); `kinesis` (putting into and reading from streams
//! as AWS has it); `history` (the truth, for a judge); `wire`
//! (HTTP, validation, quotas, faults, long polls). What is faithful to AWS and what is not
//! stands in `docs/lab.md`.
//!
//! Deliberately absent: signatures, IAM, result sets, sessions, and anything of the daemon's,
//! so that the lab can contradict it.

mod clock;
mod db;
mod history;
mod kinesis;
mod random;
mod remote;
mod server;
mod sql;
mod statements;
mod streams;
mod wire;
mod world;

pub use server::{Lab, LabError, serve};
pub use world::{DEMO_WORLD, Place, World, WorldError};
