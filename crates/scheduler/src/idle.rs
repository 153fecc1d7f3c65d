//! Looking at a warehouse's records although nothing of the daemon's own has ended: somebody
//! else may refresh its views.
//!
//! Decides: how often. A workgroup that is only observed and sleeps is woken for it every
//! quarter of an hour; one that others keep awake anyway is looked at every minute, and so is
//! every one at first, to find out which it is.
//! Deliberately absent: what follows from a record (`sweep`).

use std::collections::BTreeSet;

use crate::plan::{Billing, Mode, Outcomes};
use crate::scheduler::Scheduler;
use crate::time::{Span, Timestamp};
use crate::warehouse::Warehouse;

const IDLE: Span = Span::from_secs(60);
const IDLE_MIN: Span = Span::from_secs(5);
const IDLE_SLEEPING: Span = Span::from_secs(15 * 60);
/// So long it is found out whether others keep a workgroup awake ...
const AT_FIRST: Span = Span::from_secs(15 * 60);
/// ... and then it is judged by the last so many of its minimums, ...
const JUDGED: i64 = 5;
/// ... of which this much of one may be a gap.
const GAP: f64 = 1.25;

/// When the latest refreshes began that the daemon has not made.
#[derive(Debug, Default)]
pub(crate) struct Others(BTreeSet<Timestamp>);

impl Warehouse {
    pub(crate) fn hear_of_others(&mut self, began: impl Iterator<Item = Timestamp>) {
        let others = &mut self.sweeps.others.0;
        others.extend(began);
        let Some(looked_at) = self.sweeps.begun_at else {
            return;
        };
        let from = looked_at - self.spec.wake_minimum * (JUDGED + 1);
        *others = others.split_off(&from);
    }

    /// Whether others' refreshes followed so closely on each other, up to the latest look,
    /// that the workgroup hardly slept.
    fn others_keep_it_awake(&self) -> bool {
        let Some(looked_at) = self.sweeps.begun_at else {
            return false;
        };
        let minimum = self.spec.wake_minimum;
        let mut last = looked_at - minimum * JUDGED;
        let most = minimum.scale(GAP);
        let moments = self.sweeps.others.0.range(last..).copied();
        for moment in moments.chain([looked_at]) {
            if moment - last > most {
                return false;
            }
            last = moment;
        }
        true
    }
}

impl Scheduler {
    /// How long after a sweep the next one goes although nothing has ended; `None`: never.
    pub(crate) fn idle(&self, index: usize, warehouse: &Warehouse) -> Option<Span> {
        let views = || {
            let views = self.views.iter().flatten();
            views.filter(move |view| view.warehouse == index)
        };
        let observes = views().any(|view| view.spec.mode == Mode::Observe);
        let tightest = views().map(|view| view.spec.target_lag).min()?;
        let often = tightest.max(IDLE_MIN).min(IDLE);
        match (warehouse.spec.billing, warehouse.spec.outcomes) {
            (Billing::Serverless, _) if !observes => None,
            (Billing::Serverless, Outcomes::Sampled) => {
                let awake = warehouse.awake(self.now)?;
                let at_first = self.now < awake.since + AT_FIRST;
                let costs_nothing = at_first || warehouse.others_keep_it_awake();
                Some(if costs_nothing { often } else { IDLE_SLEEPING })
            }
            (Billing::Provisioned | Billing::Serverless, _) => Some(often),
        }
    }
}
