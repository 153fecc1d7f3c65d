//! The daemon and its command line: everything that touches the world.

pub mod cli {
    pub mod healthcheck;
}
pub mod http;
pub mod logging;
pub mod metrics;
pub mod notices;
pub mod shutdown;
