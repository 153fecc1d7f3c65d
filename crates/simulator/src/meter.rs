//! Figures of one view, gathered while the world runs, in memory that does not grow with time.
//!
//! Decides: cycles, lag over time and cost, from true times only. A cycle runs from one
//! success to the next and is in target where `finish ≤ previous data + target`; the open one
//! at the end counts once its deadline has passed; the first success is no cycle.
//! Where arrivals are probed, only a refresh that read something ends a cycle, which is in
//! target where `finish ≤ arrival of the oldest record unread + target`.
//! Clock lag is a sawtooth: after a success it climbs from `finish − data` until the next.

use tidekeeper_scheduler::{Span, Timestamp};

use crate::trace::Attempt;

/// Buckets per doubling: quantiles are within 1/64.
const STEPS: usize = 64;
const DOUBLINGS: usize = 42;

#[derive(Debug)]
pub(crate) struct Meter {
    target_lag: Span,
    horizon: Timestamp,
    probed: bool,
    last: Option<Success>,
    pub(crate) cycles: u64,
    pub(crate) cycles_in_target: u64,
    pub(crate) refreshes: u64,
    pub(crate) no_data: u64,
    pub(crate) failed: u64,
    pub(crate) slot_time: Span,
    measured: Span,
    in_target: Span,
    worst: Span,
    lags: LagSketch,
    unread: Unread,
}

/// The age of the oldest unread record over time.
#[derive(Debug, Default)]
struct Unread {
    /// Time in which nothing was unread.
    none: Span,
    some: Span,
    in_target: Span,
    worst: Span,
    ages: LagSketch,
}

#[derive(Clone, Copy, Debug)]
struct Success {
    data: Timestamp,
    finish: Timestamp,
}

impl Meter {
    pub(crate) fn new(target_lag: Span, horizon: Timestamp, probed: bool) -> Self {
        Self {
            target_lag,
            horizon,
            probed,
            last: None,
            cycles: 0,
            cycles_in_target: 0,
            refreshes: 0,
            no_data: 0,
            failed: 0,
            slot_time: Span::ZERO,
            measured: Span::ZERO,
            in_target: Span::ZERO,
            worst: Span::ZERO,
            lags: LagSketch::default(),
            unread: Unread::default(),
        }
    }

    /// Takes an attempt that has ended; in order of their ends. What lies beyond the horizon
    /// costs nothing and shows nothing.
    pub(crate) fn take(&mut self, attempt: &Attempt) {
        if attempt.ran {
            let until = attempt.finish.min(self.horizon);
            self.slot_time = self.slot_time + (until - attempt.start).max(Span::ZERO);
        }
        if attempt.finish > self.horizon {
            return;
        }
        if !attempt.outcome.succeeded() {
            self.failed += 1;
            return;
        }
        self.refreshes += 1;
        self.no_data += u64::from(attempt.outcome == crate::trace::AttemptOutcome::NoData);
        if let Some(last) = self.last {
            self.climb(last, attempt.finish, attempt.oldest);
            let since = if self.probed {
                attempt.oldest.filter(|_| attempt.bytes > 0)
            } else {
                Some(last.data)
            };
            if let Some(since) = since {
                self.cycles += 1;
                let held = attempt.finish - since <= self.target_lag;
                self.cycles_in_target += u64::from(held);
            }
        }
        self.last = Some(Success {
            data: attempt.data,
            finish: attempt.finish,
        });
    }

    /// The horizon is reached; what has been unread since `oldest` stays so.
    pub(crate) fn close(&mut self, oldest: Option<Timestamp>) {
        let Some(last) = self.last else {
            return;
        };
        self.climb(last, self.horizon, oldest);
        let since = if self.probed { oldest } else { Some(last.data) };
        let due = since.is_some_and(|since| since + self.target_lag < self.horizon);
        self.cycles += u64::from(due);
    }

    fn climb(&mut self, from: Success, until: Timestamp, oldest: Option<Timestamp>) {
        let unread = &mut self.unread;
        if let Some(oldest) = oldest.filter(|oldest| *oldest < until) {
            let begins = oldest.max(from.finish);
            let (low, high) = (begins - oldest, until - oldest);
            unread.none = unread.none + (begins - from.finish);
            unread.some = unread.some + (high - low);
            unread.in_target = unread.in_target + (high.min(self.target_lag) - low).max(Span::ZERO);
            unread.worst = unread.worst.max(high);
            unread.ages.climb(low, high);
        } else {
            unread.none = unread.none + (until - from.finish);
        }
        let (low, high) = (from.finish - from.data, until - from.data);
        self.measured = self.measured + (high - low);
        self.in_target = self.in_target + (high.min(self.target_lag) - low).max(Span::ZERO);
        self.worst = self.worst.max(high);
        self.lags.climb(low, high);
    }

    pub(crate) fn time_in_target(&self) -> Option<f64> {
        let measured = self.measured.as_secs_f64();
        (measured > 0.0).then(|| self.in_target.as_secs_f64() / measured)
    }

    /// Median, 99th percentile and maximum of the clock lag over time.
    pub(crate) fn lag_seconds(&self) -> Option<(f64, f64, f64)> {
        let quantile = |q| {
            self.lags
                .quantile(q, Span::ZERO)
                .map(|lag| lag.min(self.worst.as_secs_f64()))
        };
        Some((quantile(0.5)?, quantile(0.99)?, self.worst.as_secs_f64()))
    }
}

impl Meter {
    /// Share of the time in which nothing had been unread for longer than the target.
    pub(crate) fn unread_time_in_target(&self) -> Option<f64> {
        let unread = &self.unread;
        let all = (unread.none + unread.some).as_secs_f64();
        (all > 0.0).then(|| (unread.none + unread.in_target).as_secs_f64() / all)
    }

    /// Median, 99th percentile and maximum of the unread age over time; zero while nothing is
    /// unread. `None` where nothing ever came.
    pub(crate) fn unread_seconds(&self) -> Option<(f64, f64, f64)> {
        let unread = &self.unread;
        let worst = unread.worst.as_secs_f64();
        let quantile = |q| {
            unread
                .ages
                .quantile(q, unread.none)
                .map(|age| age.min(worst))
        };
        Some((quantile(0.5)?, quantile(0.99)?, worst))
    }
}

/// How long each lag was passed, as counts of climbs that begin and end in each bucket.
#[derive(Debug, Default)]
struct LagSketch {
    begins: Vec<u32>,
    ends: Vec<u32>,
}

impl LagSketch {
    fn climb(&mut self, low: Span, high: Span) {
        if self.begins.is_empty() {
            self.begins = vec![0; STEPS * DOUBLINGS];
            self.ends = vec![0; STEPS * DOUBLINGS];
        }
        for (counts, lag) in [(&mut self.begins, low), (&mut self.ends, high)] {
            if let Some(count) = counts.get_mut(bucket(lag)) {
                *count += 1;
            }
        }
    }

    /// The lag below which a share `q` of the time was spent, of which `none` without any.
    fn quantile(&self, q: f64, none: Span) -> Option<f64> {
        let mut climbing = 0.0;
        let slices: Vec<(f64, f64)> = (self.begins.iter().zip(&self.ends))
            .enumerate()
            .map(|(index, (begins, ends))| {
                let (begins, ends) = (f64::from(*begins), f64::from(*ends));
                // Those that begin or end here are taken to cross half of the bucket.
                let crossing = climbing + begins / 2.0 - ends / 2.0;
                climbing += begins - ends;
                (edge(index + 1), crossing * (edge(index + 1) - edge(index)))
            })
            .collect();
        let none = none.as_secs_f64();
        let wanted = q * (none + slices.iter().map(|(_, time)| time).sum::<f64>());
        let mut passed = none;
        if passed >= wanted && passed > 0.0 && !slices.is_empty() {
            return Some(0.0);
        }
        for (above, time) in slices {
            passed += time;
            if passed >= wanted && passed > 0.0 {
                return Some(above);
            }
        }
        None
    }
}

/// Logarithmic with linear steps between powers of two.
fn bucket(lag: Span) -> usize {
    let micros = lag.as_micros().max(0).unsigned_abs();
    let steps = STEPS as u64;
    if micros < steps {
        return usize::try_from(micros).unwrap_or(0);
    }
    let doubling = micros.ilog2() - STEPS.ilog2();
    let step = (micros >> doubling) - steps;
    (doubling as usize + 1) * STEPS + usize::try_from(step).unwrap_or(0)
}

/// The smallest lag of a bucket, in seconds.
#[expect(clippy::cast_precision_loss, reason = "a bucket's edge has few digits")]
fn edge(index: usize) -> f64 {
    let (doubling, step) = (index / STEPS, index % STEPS);
    if doubling == 0 {
        return step as f64 / 1e6;
    }
    let doublings = u32::try_from(doubling - 1).map_or(f64::INFINITY, |n| f64::from(n).exp2());
    (STEPS + step) as f64 * doublings / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::AttemptOutcome;

    fn at(secs: i64) -> Timestamp {
        Timestamp::default() + Span::from_secs(secs)
    }

    fn success(start: i64, finish: i64) -> Attempt {
        Attempt {
            view: 0,
            submit: at(start),
            start: at(start),
            finish: at(finish),
            data: at(start),
            oldest: None,
            bytes: 0,
            outcome: AttemptOutcome::Data,
            ran: true,
        }
    }

    #[test]
    fn cycles_run_from_data_to_the_next_finish() {
        let mut meter = Meter::new(Span::from_secs(60), at(200), false);
        for attempt in [success(0, 3), success(57, 60), success(114, 118)] {
            meter.take(&attempt);
        }
        meter.close(None);
        // 0→60 held, 57→118 missed, and the open one from 114 was due at 174.
        assert_eq!((meter.cycles, meter.cycles_in_target), (3, 1));
        assert_eq!(meter.slot_time, Span::from_secs(10));
    }

    #[test]
    fn an_open_cycle_whose_deadline_lies_ahead_does_not_count() {
        let mut meter = Meter::new(Span::from_secs(60), at(59), false);
        meter.take(&success(0, 3));
        meter.close(None);
        assert_eq!(meter.cycles, 0);
        assert!((meter.time_in_target().unwrap() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_ends_beyond_the_horizon_costs_its_part_within() {
        let mut meter = Meter::new(Span::from_secs(60), at(100), false);
        meter.take(&success(95, 110));
        assert_eq!(meter.refreshes, 0);
        assert_eq!(meter.slot_time, Span::from_secs(5));
    }

    #[test]
    fn lag_quantiles_are_those_of_a_sawtooth() {
        let mut meter = Meter::new(Span::from_secs(60), at(57_000), false);
        for i in 0..1_000 {
            meter.take(&success(i * 57, i * 57 + 3));
        }
        let (median, p99, max) = meter.lag_seconds().unwrap();
        // Even between 3 and 60.
        assert!((median - 31.5).abs() < 0.6, "{median}");
        assert!((p99 - 59.4).abs() < 0.6, "{p99}");
        assert!((max - 60.0).abs() < 1e-9);
    }

    #[test]
    fn bucket_edges_enclose_their_lags() {
        for micros in [0, 1, 63, 64, 65, 127, 128, 1_000_000, 86_400_000_000] {
            let index = bucket(Span::from_micros(micros));
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let seconds = micros as f64 / 1e6;
            assert!(edge(index) <= seconds + 1e-12, "{micros}");
            assert!(seconds < edge(index + 1), "{micros}");
        }
    }
}
