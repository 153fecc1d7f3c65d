//! Tidekeeper keeps Amazon Redshift streaming materialized views inside their freshness
//! target. This crate is the daemon and its command line: everything that touches the world.

pub mod app;
pub mod calendar;
pub mod cli;
pub mod clock;
pub mod config;
pub mod cost;
mod dependants;
pub mod discover;
pub mod fleet;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod notices;
pub mod observe;
pub mod report;
pub mod run_loop;
pub mod setup;
pub mod shutdown;
pub mod stream;
pub mod translate;
pub mod warehouse;
