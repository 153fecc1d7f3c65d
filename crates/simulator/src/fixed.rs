//! The baselines that need no brain: a refresh at every tick of a fixed interval.
//!
//! Decides: ticks at multiples of the interval since the start, as a cron line would have
//! them; a tick that finds the view's last statement still running is skipped.
//! Deliberately absent: reading answers, retries. What people use today has neither.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tidekeeper_scheduler::{Span, Timestamp};

use crate::runner::Stage;
use crate::scenario::Scenario;
use crate::world::Statement;

pub(crate) struct FixedInterval {
    intervals: Vec<Span>,
    ticks: BinaryHeap<Reverse<(Timestamp, usize)>>,
}

impl FixedInterval {
    /// Ticks `times` times per target lag.
    pub(crate) fn new(scenario: &Scenario, times: i64) -> Self {
        let views = scenario.views.iter();
        let start = (0..scenario.views.len()).map(|view| Reverse((Timestamp::default(), view)));
        Self {
            intervals: views.map(|view| view.target_lag / times).collect(),
            ticks: start.collect(),
        }
    }

    pub(crate) fn live(&mut self, stage: &mut Stage<'_>) {
        let mut token = 0;
        loop {
            let tick = self.ticks.peek().map(|Reverse((at, _))| *at);
            let Some(now) = [stage.world.next_at(), tick].into_iter().flatten().min() else {
                break;
            };
            if now > stage.horizon {
                break;
            }
            if stage.world.next_at() == Some(now) {
                stage.world.step();
            } else if let Some(Reverse((at, view))) = self.ticks.pop() {
                stage.world.now = at;
                let world = stage.world.views.get(view);
                let busy = world.is_some_and(|view| view.statements.iter().any(Statement::active));
                if !busy {
                    token += 1;
                    stage.world.submit_and_forget(view, token);
                }
                if let Some(interval) = self.intervals.get(view) {
                    self.ticks.push(Reverse((at + *interval, view)));
                }
            }
            stage.take_ended();
        }
    }
}
