//! A virtual world for the scheduler of Tidekeeper: warehouses, streams, faults, and a clock
//! that only moves when told.
//!
//! Decides: how the production scheduler fares in a scenario, next to simple baselines and a
//! lower bound. One seed is one history, whatever machine it runs on.
//! Deliberately absent: the wall clock, threads, the network.

mod api;
mod arrivals;
mod bound;
mod dice;
mod file;
mod fixed;
mod meter;
mod report;
mod runner;
mod scenario;
mod trace;
mod world;

pub use file::ScenarioError;
pub use report::{PolicyReport, Quantiles, Report, Totals, ViewReport, WarehouseReport};
pub use runner::{Action, Nobody, Observer, Policy, Run, run, run_script};
pub use scenario::{
    ArrivalModel, Fault, FaultKind, Restart, Scenario, ServiceModel, ViewModel, WarehouseModel,
};
pub use trace::{Attempt, AttemptOutcome, Digest};
