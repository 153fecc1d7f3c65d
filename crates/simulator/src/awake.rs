//! How long a warehouse that is billed while awake was awake, and how long it had to be.
//!
//! Decides: what a wake-up costs, and a bound by dynamic programming over the records of all views of a warehouse. A
//! record needs a start in `[t, t + W]`; a wake-up of `L ≥ 60 s` from `w` holds starts in
//! `[w, w + L − a]`. Served in order of arrival, the first unserved record `i` begins a
//! wake-up at `t_i + W` at the latest, and no earlier one is better; it serves up to some
//! record `k` and lasts `max(60, t_k + a − w)`. With the largest `W` and the smallest `a` of
//! the warehouse every real schedule is feasible here, so that the minimum is a bound.
//! Flows are taken as a record every ten seconds, which asks less than they do.

use tidekeeper_scheduler::{Span, Timestamp};

use crate::arrivals::Source;
use crate::scenario::{ArrivalModel, Scenario, ViewModel};

const LEAST: f64 = 60.0;
const FLOW_STEP: f64 = 10.0;

/// How long a warehouse that is billed while awake would have been awake: from a submit until
/// nothing runs, 60 s at least.
#[derive(Debug, Default)]
pub(crate) struct Awake {
    before: Span,
    since: Option<(Timestamp, Timestamp)>,
}

impl Awake {
    const LEAST: Span = Span::from_secs(60);

    pub(crate) fn submit(&mut self, now: Timestamp, active: u32) {
        match self.since {
            Some((_, until)) if active > 0 || now <= until => {}
            Some((from, until)) => {
                self.before = self.before + (until - from);
                self.since = Some((now, now + Self::LEAST));
            }
            None => self.since = Some((now, now + Self::LEAST)),
        }
    }

    pub(crate) fn end(&mut self, now: Timestamp) {
        if let Some((_, until)) = &mut self.since {
            *until = now.max(*until);
        }
    }

    /// Up to `horizon`.
    pub(crate) fn total(&self, horizon: Timestamp) -> Span {
        let last = self
            .since
            .map_or(Span::ZERO, |(from, until)| until.min(horizon) - from);
        self.before + last.max(Span::ZERO)
    }
}

/// In seconds; `None` where a target is not longer than a refresh.
pub(crate) fn fewest_awake_seconds(
    scenario: &Scenario,
    warehouse: usize,
    seed: u64,
) -> Option<f64> {
    let views = || {
        let views = scenario.views.iter();
        views.filter(move |view| view.warehouse == warehouse)
    };
    let fixed = |at: &ViewModel| at.service.fixed.as_secs_f64();
    let shortest = views().map(fixed).min_by(f64::total_cmp)?;
    let room = |view: &ViewModel| view.target_lag.as_secs_f64() - fixed(view);
    let widest = views().map(room).max_by(f64::total_cmp)?;
    if views().map(room).any(|room| room <= 0.0) {
        return None;
    }
    let horizon = scenario.duration.as_secs_f64();
    let mut records: Vec<f64> = Vec::new();
    for view in views() {
        records_of(view, seed, horizon - widest, &mut records);
    }
    records.sort_by(f64::total_cmp);
    records.dedup();
    Some(fewest(&records, widest, shortest))
}

/// The moments at which something becomes unread, up to `until`.
fn records_of(view: &ViewModel, seed: u64, until: f64, records: &mut Vec<f64>) {
    let seconds = |at: Timestamp| (at - Timestamp::default()).as_secs_f64();
    if view.arrivals == ArrivalModel::Silent && view.probe.is_none() {
        let mut at = 0.0;
        while at < until {
            records.push(at);
            at += FLOW_STEP;
        }
    }
    let mut source = Source::new(&view.arrivals, seed, &view.name);
    while let Some(piece) = source.draw() {
        let mut at = seconds(piece.from);
        if at >= until {
            return;
        }
        if piece.bytes <= 0.0 {
            continue;
        }
        records.push(at);
        while at + FLOW_STEP < seconds(piece.to).min(until) {
            at += FLOW_STEP;
            records.push(at);
        }
    }
}

fn fewest(records: &[f64], widest: f64, shortest: f64) -> f64 {
    let mut best = vec![0.0; records.len() + 1];
    for (index, record) in records.iter().enumerate().rev() {
        let wakes_at = record + widest;
        let mut least = f64::INFINITY;
        for (served, last) in records.iter().enumerate().skip(index) {
            let lasts = (last + shortest - wakes_at).max(LEAST);
            let after = best.get(served + 1).copied().unwrap_or(0.0);
            least = least.min(lasts + after);
            // Beyond this another wake-up is never dearer than staying awake.
            if lasts > 2.0 * LEAST + widest {
                break;
            }
        }
        if let Some(place) = best.get_mut(index) {
            *place = least;
        }
    }
    best.first().copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wake_up_serves_all_that_come_before_it() {
        // Windows of 100 s: a wake-up from 100 to 160 serves starts up to 157.
        assert!((fewest(&[0.0, 50.0, 157.0], 100.0, 3.0) - 60.0).abs() < 1e-9);
        assert!((fewest(&[0.0, 50.0, 170.0], 100.0, 3.0) - 73.0).abs() < 1e-9);
        assert!((fewest(&[0.0, 400.0], 100.0, 3.0) - 120.0).abs() < 1e-9);
    }

    #[test]
    fn a_flow_with_a_short_target_never_sleeps() {
        let flow: Vec<f64> = (0..8_640).map(|i| f64::from(i) * 10.0).collect();
        let awake = fewest(&flow, 27.0, 3.0);
        assert!(awake > 0.6 * 86_400.0, "{awake}");
    }
}
