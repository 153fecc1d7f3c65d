//! Streams that are about to drop what a view has not read → log lines.
//!
//! Decides: that it is said once when it begins, and once when it is over.
//! Deliberately absent: other alerts; each of them comes with a notice of its own.

use std::collections::BTreeSet;

use tidekeeper_scheduler::{AlertReason, Snapshot, ViewId};
use tracing::{info, warn};

/// The views whose streams are about to drop records.
#[derive(Debug, Default)]
pub(super) struct Losing(BTreeSet<ViewId>);

impl Losing {
    pub(super) fn log(&mut self, snapshot: &Snapshot) {
        let mut losing = BTreeSet::new();
        for view in &snapshot.views {
            let mut alerts = view.alerts.iter();
            let Some(alert) = alerts.find(|alert| alert.reason == AlertReason::Retention) else {
                continue;
            };
            if !self.0.contains(&view.view) {
                warn!(view = %view.view, alert = &*alert.text, "records may be lost");
            }
            losing.insert(view.view.clone());
        }
        for view in self.0.difference(&losing) {
            info!(%view, "records are not about to be lost any more");
        }
        self.0 = losing;
    }
}
