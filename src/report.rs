//! What the loop reports, brought to metrics and log lines.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tidekeeper_scheduler::{Notice, Snapshot, Timestamp};

use crate::metrics::Metrics;
use crate::notices::{self, NoticeLog};
use crate::observe::Observer;
use crate::run_loop::Report;

/// Metrics, log, observations, and the heartbeat that `/healthz` looks at.
#[derive(Debug)]
pub struct Reporter {
    pub metrics: Arc<Metrics>,
    /// Microseconds of the latest sign of life.
    pub heartbeat: Arc<AtomicI64>,
    pub log: NoticeLog,
    pub observer: Arc<Observer>,
}

impl Report for Reporter {
    fn notice(&mut self, at: Timestamp, notice: &Notice) {
        self.metrics.observe(notice);
        self.log.log(at, notice);
        self.observer.notice(notice);
    }

    fn state(&mut self, at: Timestamp, snapshot: &Arc<Snapshot>) {
        self.heartbeat.store(at.as_micros(), Ordering::Relaxed);
        self.metrics.heartbeat(at);
        self.metrics.publish(snapshot);
        self.log.state(snapshot);
        self.observer.state(at, snapshot);
    }

    fn broken(&mut self, invariants: &[String]) {
        notices::log_broken_invariants(invariants);
        let count = u64::try_from(invariants.len()).unwrap_or(u64::MAX);
        self.metrics.invariant_violations(count);
    }
}
