//! Tidekeeper keeps Amazon Redshift streaming materialized views inside their freshness target.
pub mod clock;
pub mod run_loop;
