//! A virtual world for the scheduler of Tidekeeper: warehouses, streams, faults, and a clock
//! that only moves when told.
//!
//! Decides: how the production scheduler fares in a scenario, next to simple baselines and a
//! lower bound. One seed is one history, whatever machine it runs on.
//! Deliberately absent: the wall clock, threads, the network.

mod agenda;
mod api;
mod arrivals;
mod awake;
mod baseline;
mod bound;
mod dice;
mod file;
mod file_arrivals;
mod file_draw;
mod file_table;
mod file_view;
mod meter;
mod plot;
mod records;
mod report;
mod runner;
mod scenario;
mod trace;
mod world;

pub use file::ScenarioError;
pub use plot::Plot;
pub use report::{PolicyReport, Quantiles, Report, Totals, ViewReport, WarehouseReport};
pub use runner::{Action, Nobody, Observer, Policy, Run, run, run_script};
pub use scenario::{
    ArrivalModel, Fault, FaultKind, ProbeModel, Restart, Scenario, ServiceModel, ViewModel,
    WarehouseModel,
};
pub use trace::{Attempt, AttemptOutcome, Digest};
