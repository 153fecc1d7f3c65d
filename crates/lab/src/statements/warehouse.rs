//! Decides who is in a warehouse, and for how long it was awake.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::clock::Moment;
use crate::world::Warehouse;

const MINUTE: Duration = Duration::from_secs(60);

/// A warehouse and who is in it.
#[derive(Debug)]
pub(super) struct WarehouseState {
    pub(super) spec: Warehouse,
    pub(super) running: BTreeSet<u64>,
    pub(super) queue: VecDeque<u64>,
    pub(super) active: usize,
    /// When statements ran.
    busy: Vec<(Moment, Moment)>,
}

impl WarehouseState {
    pub(super) fn new(spec: Warehouse) -> Self {
        Self {
            spec,
            running: BTreeSet::new(),
            queue: VecDeque::new(),
            active: 0,
            busy: Vec::new(),
        }
    }

    /// A statement ran from `started` to `ended`.
    pub(super) fn worked(&mut self, started: Moment, ended: Moment) {
        match self.busy.last_mut() {
            // Statements end in order of time, so that only the latest can be touched.
            Some((from, until)) if started <= *until => {
                *from = started.min(*from);
                *until = ended;
            }
            Some(_) | None => self.busy.push((started, ended)),
        }
    }

    /// Seconds before `now` in which statements ran, and those that are billed.
    pub(crate) fn awake(&self, now: Moment) -> (f64, f64) {
        let seconds = |spans: &[(Moment, Moment)]| {
            let lengths = spans
                .iter()
                .map(|(from, until)| until.saturating_sub(*from));
            lengths.sum::<Duration>().as_secs_f64()
        };
        (
            seconds(&merged(self.busy.iter().copied())),
            seconds(&self.billed(now)),
        )
    }

    fn billed(&self, now: Moment) -> Vec<(Moment, Moment)> {
        let least = self.spec.billing_minimum();
        merged(
            self.busy
                .iter()
                .map(|(from, until)| (*from, (*until).max(*from + least).min(now))),
        )
    }

    /// Minutes in which the warehouse was awake before `now`: when each began, and for how
    /// many of its seconds statements ran and are billed. A waking is billed for a minute at
    /// least (Management Guide, "Billing for Amazon Redshift Serverless").
    pub(super) fn usage(&self, now: Moment) -> Vec<(Moment, f64, f64)> {
        let ran = merged(self.busy.iter().copied());
        let billed = self.billed(now);
        let mut rows = Vec::new();
        let Some((_, last)) = billed.last() else {
            return rows;
        };
        let mut minute = Moment::ZERO;
        while minute < *last {
            let charged = within(&billed, minute);
            if charged > 0.0 {
                rows.push((minute, within(&ran, minute), charged));
            }
            minute += MINUTE;
        }
        rows
    }
}

fn merged(spans: impl Iterator<Item = (Moment, Moment)>) -> Vec<(Moment, Moment)> {
    let mut spans: Vec<_> = spans.collect();
    spans.sort_unstable();
    let mut apart: Vec<(Moment, Moment)> = Vec::new();
    for (from, until) in spans {
        match apart.last_mut() {
            Some((_, end)) if from <= *end => *end = until.max(*end),
            Some(_) | None => apart.push((from, until)),
        }
    }
    apart
}

/// How many seconds of the minute the spans cover.
fn within(spans: &[(Moment, Moment)], minute: Moment) -> f64 {
    let end = minute + MINUTE;
    spans
        .iter()
        .map(|(from, until)| {
            let covered = (*until).min(end).saturating_sub((*from).max(minute));
            covered.as_secs_f64()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> WarehouseState {
        let text = "name = \"w\"\nkind = \"workgroup\"\ndatabases = [\"d\"]";
        WarehouseState::new(toml::from_str(text).unwrap())
    }

    #[test]
    fn a_waking_is_billed_for_a_minute_and_overlapping_ones_once() {
        let at = Duration::from_secs;
        let mut state = state();
        state.worked(at(30), at(32));
        state.worked(at(40), at(41));
        state.worked(at(300), at(420));
        assert_eq!(
            state.usage(at(1_000)),
            [
                (at(0), 3.0, 30.0),
                (at(60), 0.0, 40.0),
                (at(300), 60.0, 60.0),
                (at(360), 60.0, 60.0),
            ]
        );
    }

    #[test]
    fn a_warehouse_that_has_not_run_is_not_billed() {
        assert_eq!(state().usage(Duration::from_secs(600)), []);
    }
}
