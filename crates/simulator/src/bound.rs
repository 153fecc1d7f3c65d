//! The fewest refreshes that could have kept a view inside its target.
//!
//! Decides: the clairvoyant greedy bound for one view with noise-free durations
//! `d = a + c·bytes`: start at the largest S with `S + a + c·B(S_prev, S] ≤ t₁ + T`, where t₁
//! is the first unserved record. A later start means a later next deadline and no larger next
//! batch, so by exchange nothing beats it while consecutive refreshes do not collide. In a
//! flow t₁ is the previous start; for a silent view the clock lag is what counts.
//! With `c = 0` it is a bound whether they collide or not.
//! Deliberately absent: slots; the bound drops the concurrency limit.

use std::collections::VecDeque;

use tidekeeper_scheduler::{Span, Timestamp};

use crate::arrivals::{Piece, Source};
use crate::scenario::{ArrivalModel, FaultKind, Scenario, ServiceModel, ViewModel};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    /// The greedy count with durations that grow with bytes.
    pub(crate) refreshes: u64,
    /// No two refreshes of it collide, so that it is a proven bound.
    pub(crate) exact: bool,
    /// The same with `c = 0`: always a bound.
    pub(crate) relaxed: u64,
}

/// `None` where the target is not longer than a refresh.
pub(crate) fn fewest_refreshes(scenario: &Scenario, view: usize, seed: u64) -> Option<Bound> {
    let view = scenario.views.get(view)?;
    let service = Service::new(scenario, view);
    if view.target_lag <= service.at(Timestamp::default()).0 {
        return None;
    }
    let horizon = Timestamp::default() + scenario.duration;
    let (refreshes, exact) = greedy(view, &service, seed, horizon);
    let flat = Service {
        flat: true,
        ..service
    };
    let (relaxed, _) = greedy(view, &flat, seed, horizon);
    Some(Bound {
        refreshes,
        exact,
        relaxed,
    })
}

/// How long a refresh takes that begins at some moment, without noise.
struct Service<'a> {
    model: &'a ServiceModel,
    /// When the warehouse is slow, and by what factor.
    slow: Vec<(Timestamp, Timestamp, f64)>,
    flat: bool,
}

impl<'a> Service<'a> {
    fn new(scenario: &Scenario, view: &'a ViewModel) -> Self {
        let warehouse = scenario.warehouses.get(view.warehouse);
        let faults = warehouse.map_or(&[][..], |warehouse| &warehouse.faults);
        let slow = faults.iter().filter(|fault| {
            let everyone = fault.view.is_none() && fault.share >= 1.0;
            fault.kind == FaultKind::Slow && everyone
        });
        let start = Timestamp::default();
        Self {
            model: &view.service,
            slow: slow
                .map(|fault| (start + fault.from, start + fault.until, fault.factor))
                .collect(),
            flat: false,
        }
    }

    /// The fixed part, and seconds per byte.
    fn at(&self, at: Timestamp) -> (Span, f64) {
        let slow = self
            .slow
            .iter()
            .find(|(from, until, _)| *from <= at && at < *until);
        let factor = slow.map_or(1.0, |(_, _, factor)| *factor);
        let fixed = self.model.noise_free(at, 0.0).scale(factor);
        let per_byte = if self.flat || self.model.replay.is_some() {
            0.0
        } else {
            self.model.per_mb.as_secs_f64() * factor / 1e6
        };
        (fixed, per_byte)
    }
}

/// The number of starts within the horizon, and whether no two refreshes collide.
fn greedy(view: &ViewModel, service: &Service<'_>, seed: u64, horizon: Timestamp) -> (u64, bool) {
    if view.arrivals == ArrivalModel::Silent {
        let (fixed, _) = service.at(Timestamp::default());
        let apart = (view.target_lag - fixed).max(Span::from_millis(1));
        let starts = (horizon - Timestamp::default()).as_micros() / apart.as_micros();
        return (starts.unsigned_abs(), true);
    }
    let mut stream = Stream::new(view, seed);
    let (mut starts, mut exact) = (0, true);
    let mut free_at = Timestamp::MIN;
    while let Some(first) = stream.first() {
        let deadline = first + view.target_lag;
        let (mut start, mut bytes) = stream.latest(deadline, service.at(first));
        let there = service.at(start);
        if there != service.at(first) {
            (start, bytes) = stream.latest(deadline, there);
        }
        let (fixed, per_byte) = service.at(start);
        let lasts = fixed + Span::from_secs_f64(per_byte * bytes);
        exact &= start >= free_at && start >= first;
        // Where even an immediate start is late: as soon as the one before has ended.
        start = start
            .max(first + Span::from_micros(1))
            .max(free_at.min(first + fixed));
        if start > horizon {
            break;
        }
        stream.pass(start);
        free_at = start + lasts;
        starts += 1;
    }
    (starts, exact)
}

/// The pieces that are not served yet.
struct Stream {
    source: Source,
    pieces: VecDeque<Piece>,
}

impl Stream {
    fn new(view: &ViewModel, seed: u64) -> Self {
        Self {
            source: Source::new(&view.arrivals, seed, &view.name),
            pieces: VecDeque::new(),
        }
    }

    fn draw(&mut self) -> bool {
        while let Some(piece) = self.source.draw() {
            if piece.bytes > 0.0 {
                self.pieces.push_back(piece);
                return true;
            }
        }
        false
    }

    fn first(&mut self) -> Option<Timestamp> {
        if self.pieces.is_empty() && !self.draw() {
            return None;
        }
        self.pieces.front().map(|piece| piece.from)
    }

    /// The latest start whose refresh ends by `deadline`, and what it reads.
    fn latest(&mut self, deadline: Timestamp, (fixed, per_byte): (Span, f64)) -> (Timestamp, f64) {
        let mut bytes = 0.0;
        let mut index = 0;
        loop {
            let start = deadline - fixed - Span::from_secs_f64(per_byte * bytes);
            if index == self.pieces.len() && !self.draw() {
                return (start, bytes);
            }
            let Some(piece) = self.pieces.get(index).copied() else {
                return (start, bytes);
            };
            if start < piece.from {
                return (start, bytes);
            }
            let seconds = (piece.to - piece.from).as_secs_f64();
            let whole = start - Span::from_secs_f64(per_byte * piece.bytes);
            if whole < piece.to {
                if seconds <= 0.0 {
                    // With this record it would be too late: just before it.
                    return (piece.from - Span::from_micros(1), bytes);
                }
                let rate = piece.bytes / seconds;
                let into = (start - piece.from).as_secs_f64() / (1.0 + per_byte * rate);
                return (piece.from + Span::from_secs_f64(into), bytes + rate * into);
            }
            bytes += piece.bytes;
            index += 1;
        }
    }

    /// A refresh starts: all up to then is served.
    fn pass(&mut self, start: Timestamp) {
        while let Some(piece) = self.pieces.front_mut() {
            if piece.from > start {
                return;
            }
            *piece = piece.after(start);
            if piece.to > start {
                return;
            }
            self.pieces.pop_front();
            if self.pieces.is_empty() {
                self.draw();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;
    use crate::scenario::WarehouseModel;

    fn view() -> ViewModel {
        ViewModel::new("v", Span::from_secs(60), Span::from_secs(3))
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::default() + Span::from_secs(secs)
    }

    fn listed(records: Vec<(i64, u64)>) -> ArrivalModel {
        let records: Vec<_> = records.into_iter().map(|(t, b)| (at(t), b)).collect();
        ArrivalModel::Listed {
            file: "x.csv".into(),
            records: records.into(),
        }
    }

    fn bound(view: ViewModel, secs: i64) -> Option<Bound> {
        let scenario = Scenario {
            name: "x".to_owned(),
            duration: Span::from_secs(secs),
            seed: 1,
            warehouses: vec![WarehouseModel::new("wh", 1)],
            views: vec![view],
            restarts: Vec::new(),
        };
        fewest_refreshes(&scenario, 0, 1)
    }

    #[test]
    fn a_flow_needs_a_start_every_target_less_duration() {
        assert_eq!(bound(view(), 5_700).unwrap().refreshes, 100);
        let mut steady = view();
        steady.arrivals = ArrivalModel::Steady { bytes_per_s: 1e6 };
        steady.service.per_mb = Span::from_millis(50);
        // (60 − 3) / 1.05 = 54.29 s apart.
        let bound = bound(steady, 86_400).unwrap();
        assert_eq!((bound.refreshes, bound.exact), (1_591, true));
        assert_eq!(bound.relaxed, 1_515);
    }

    #[test]
    fn one_start_serves_all_records_of_a_window() {
        let mut view = view();
        view.arrivals = listed(vec![(0, 1), (57, 1), (58, 1), (900, 1)]);
        assert_eq!(bound(view, 5_700).unwrap().refreshes, 3);
    }

    #[test]
    fn a_target_shorter_than_a_refresh_has_no_bound() {
        let view = ViewModel::new("v", Span::from_secs(3), Span::from_secs(3));
        assert_eq!(bound(view, 100), None);
    }

    /// Fewest starts on a grid of seconds, by dynamic programming over the previous start.
    fn dynamic(records: &[(i64, u64)], target: i64, fixed: i64, per_byte: i64) -> Option<u64> {
        let end = records.last()?.0 + target + 1;
        let starts = usize::try_from(end).ok()? + 2;
        // best[s + 1]: fewest starts of which the last is at s and all before is served.
        let mut best: Vec<Option<(u64, i64)>> = vec![None; starts];
        best[0] = Some((0, -1));
        for start in 0..=end {
            for before in -1..start {
                let from = best[usize::try_from(before + 1).ok()?];
                let Some((count, free_at)) = from else {
                    continue;
                };
                let batch: Vec<_> = records
                    .iter()
                    .filter(|(t, _)| *t > before && *t <= start)
                    .collect();
                let bytes: u64 = batch.iter().map(|(_, bytes)| bytes).sum();
                let done = start + fixed + per_byte * i64::try_from(bytes).ok()?;
                let late = batch.first().is_some_and(|(t, _)| done > t + target);
                if late || batch.is_empty() || start < free_at {
                    continue;
                }
                let place = &mut best[usize::try_from(start + 1).ok()?];
                if place.is_none_or(|known| (count + 1, done) < known) {
                    *place = Some((count + 1, done));
                }
            }
        }
        let last = records.last()?.0;
        let ends = (last..=end).filter_map(|s| best[usize::try_from(s + 1).ok()?]);
        ends.map(|(count, _)| count).min()
    }

    #[test]
    fn greedy_is_what_dynamic_programming_finds() {
        let mut compared = 0;
        for seed in 0..300 {
            let mut dice = Dice::new(seed, "instance");
            let mut t = 0;
            let records: Vec<(i64, u64)> = (0..8)
                .map(|_| {
                    t += 1 + Span::from_secs_f64(dice.exponential(6.0) * 1e-6).as_micros();
                    (t, 1 + u64::from(dice.happens(0.3)) * 2)
                })
                .collect();
            let mut view = ViewModel::new("v", Span::from_secs(20), Span::from_secs(2));
            view.service.per_mb = Span::from_secs(1_000_000);
            view.arrivals = listed(records.clone());
            let bound = bound(view, 1_000).unwrap();
            let Some(best) = dynamic(&records, 20, 2, 1) else {
                continue;
            };
            assert!(bound.relaxed <= best, "{seed}: {bound:?} {best}");
            if bound.exact {
                assert_eq!(bound.refreshes, best, "{seed}: {records:?}");
                compared += 1;
            }
        }
        assert!(compared > 200, "{compared}");
    }
}
