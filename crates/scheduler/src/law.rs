//! The control law of one view: how long a refresh will take, with which margin, and
//! therefore the latest moment at which it is still safe to start.
//!
//! Decides: the duration model (control law §2), the calibrated margin (§3), the latest safe
//! start of a blind view (§4), jitter and backoff as pure functions of a seed.
//! Deliberately absent: states, commands, other views.

use crate::time::Span;

/// Share of the old evidence that survives a new sample.
const FORGETTING: f64 = 0.97;
/// A refresh never costs nothing: parsing, planning and commit.
const FIXED_COST_MIN: f64 = 0.05;
/// Below this spread of x the slope cannot be told from noise.
const SLOPE_MIN_CV: f64 = 0.2;
/// Until so many samples are in, the largest duration seen is the prediction.
const FEW_SAMPLES: u32 = 3;
/// Weight that old evidence keeps when the regime has changed.
const REGIME_KEEP: f64 = 0.05;

/// `d̂(x) = â + ĉ·x`: weighted least squares with forgetting (control law §2).
///
/// x is the size of a refresh: bytes where an arrival probe tells them, else the gap since the
/// previous submit, in seconds; d is the time from submit to finish.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DurationModel {
    samples: u32,
    largest: f64,
    weight: f64,
    weight_x: f64,
    weight_xx: f64,
    weight_d: f64,
    weight_xd: f64,
    fit: Option<Fit>,
}

/// The fixed part of a duration in seconds, and what each unit of size adds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Fit {
    pub(crate) fixed: f64,
    pub(crate) slope: f64,
}

impl DurationModel {
    /// Learns from a refresh that read `size` of stream in `duration`.
    pub(crate) fn learn(&mut self, size: f64, duration: Span) {
        let x = size.max(0.0);
        let d = duration.as_secs_f64().max(1e-3);
        let weight = 1.0 / (d * d);
        self.fade(FORGETTING);
        self.samples = self.samples.saturating_add(1);
        if self.samples <= FEW_SAMPLES {
            self.largest = self.largest.max(d);
        }
        self.weight += weight;
        self.weight_x += weight * x;
        self.weight_xx += weight * x * x;
        self.weight_d += weight * d;
        self.weight_xd += weight * x * d;
        self.fit = Some(self.solve());
    }

    /// The regime has changed: what was learned before counts for little.
    pub(crate) fn distrust(&mut self) {
        self.fade(REGIME_KEEP);
    }

    /// The learned law; `None` before the first sample.
    #[must_use]
    pub(crate) fn fit(&self) -> Option<Fit> {
        self.fit
    }

    fn fade(&mut self, keep: f64) {
        for sum in [
            &mut self.weight,
            &mut self.weight_x,
            &mut self.weight_xx,
            &mut self.weight_d,
            &mut self.weight_xd,
        ] {
            *sum *= keep;
        }
    }

    fn solve(&self) -> Fit {
        if self.samples <= FEW_SAMPLES {
            return Fit {
                fixed: self.largest.max(FIXED_COST_MIN),
                slope: 0.0,
            };
        }
        let mean_x = self.weight_x / self.weight;
        let mean_d = self.weight_d / self.weight;
        let variance = (self.weight_xx / self.weight - mean_x * mean_x).max(0.0);
        let slope = if variance.sqrt() > SLOPE_MIN_CV * mean_x {
            let covariance = self.weight_xd / self.weight - mean_x * mean_d;
            (covariance / variance).max(0.0)
        } else {
            0.0
        };
        Fit {
            fixed: (mean_d - slope * mean_x).max(FIXED_COST_MIN),
            slope,
        }
    }
}

/// λ̂, the size that comes per second: the larger of a fast and a slow average (control law §2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    fast: f64,
    slow: f64,
}

impl Rate {
    pub(crate) fn new(per_second: f64) -> Self {
        Self {
            fast: per_second,
            slow: per_second,
        }
    }

    pub(crate) fn learn(&mut self, per_second: f64) {
        self.fast += 0.3 * (per_second - self.fast);
        self.slow += 0.05 * (per_second - self.slow);
    }

    pub(crate) fn per_second(self) -> f64 {
        self.fast.max(self.slow)
    }
}

const Q_START: f64 = std::f64::consts::LN_2;
/// Samples after which the margin moves slowly.
const LEARNING_SAMPLES: u32 = 150;
const STEP_LEARNING: f64 = 0.12;
const STEP_SETTLED: f64 = 0.05;
/// A change of regime is believed at most once in so many refreshes.
const REGIME_PAUSE: u32 = 20;

/// q: durations are foreseen as d̂·e^q, and q is moved until a share ε of them is late
/// (adaptive conformal inference; control law §3).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Margin {
    q: f64,
    samples: u32,
    /// The latest eight verdicts, newest in bit 0.
    late_bits: u8,
    since_regime: u32,
}

/// What a completed refresh said about the margin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Steady,
    /// Three of the last five were late: the durations have changed.
    RegimeChanged,
}

impl Default for Margin {
    fn default() -> Self {
        Self {
            q: Q_START,
            samples: 0,
            late_bits: 0,
            since_regime: REGIME_PAUSE,
        }
    }
}

impl Margin {
    /// e^q, between 1.05 and 32.
    #[must_use]
    pub(crate) fn factor(&self) -> f64 {
        self.q.exp()
    }

    #[must_use]
    pub(crate) fn samples(&self) -> u32 {
        self.samples
    }

    /// Takes over the margin of a pool that has seen more, and keeps its own history.
    pub(crate) fn inherit(&mut self, pool: &Self) {
        self.q = pool.q;
    }

    /// Counts one refresh, `late` when it took longer than foreseen.
    pub(crate) fn learn(&mut self, late: bool, miss_rate: f64) -> Verdict {
        self.late_bits = (self.late_bits << 1) | u8::from(late);
        self.since_regime = self.since_regime.saturating_add(1);
        let late_of = |last: u8| (self.late_bits & last).count_ones();
        let unsettled = self.samples < LEARNING_SAMPLES || late_of(0b1111_1111) >= 3;
        let step = if unsettled {
            STEP_LEARNING
        } else {
            STEP_SETTLED
        };
        let changed = late_of(0b0001_1111) >= 3 && self.since_regime >= REGIME_PAUSE;
        self.q = (self.q + step * (f64::from(u8::from(late)) - miss_rate))
            .clamp(1.05_f64.ln(), 32_f64.ln());
        self.samples = self.samples.saturating_add(1);
        if !changed {
            return Verdict::Steady;
        }
        self.since_regime = 0;
        Verdict::RegimeChanged
    }
}

/// The inputs of the latest safe start of a view that sees no arrivals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Blind {
    pub(crate) target_lag: Span,
    pub(crate) fit: Fit,
    /// λ̂: size per second; 1 where the gap is the size.
    pub(crate) rate: f64,
    /// e^q.
    pub(crate) margin: f64,
    /// W: how long a due view is expected to wait for a slot.
    pub(crate) dispatch_wait: Span,
}

impl Blind {
    /// P: how long after the previous `data_ts` the next refresh may start and still finish
    /// inside the target: `(T − A)/(1 + R) − W` with `A = â·e^q`, `R = ĉ·λ̂·e^q`. Negative when the target cannot be held.
    #[must_use]
    pub(crate) fn latest_start(&self) -> Span {
        let fixed = self.fit.fixed * self.margin;
        let rate = self.fit.slope * self.rate * self.margin;
        let seconds = (self.target_lag.as_secs_f64() - fixed) / (1.0 + rate);
        Span::from_secs_f64(seconds) - self.dispatch_wait
    }
}

/// The inputs of the latest safe start of a view whose arrivals are seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Probed {
    pub(crate) blind: Blind,
    /// How old the oldest unread record was at the probe.
    pub(crate) age: Span,
    /// Size that was unread at the probe.
    pub(crate) behind: f64,
}

impl Probed {
    /// How long after the probe the refresh may start: x of
    /// `x + W + e^q(â + ĉ(B + λ̂(x + W))) = T − age` (control law §4). Negative when late.
    #[must_use]
    pub(crate) fn latest_start(&self) -> Span {
        let Blind { fit, margin, .. } = self.blind;
        let lasts = (fit.fixed + fit.slope * self.behind) * margin;
        let left = (self.blind.target_lag - self.age).as_secs_f64() - lasts;
        let seconds = left / (1.0 + fit.slope * self.blind.rate * margin);
        Span::from_secs_f64(seconds) - self.blind.dispatch_wait
    }
}

/// A number in [0, 1) that depends on nothing but its arguments: `splitmix64`'s finaliser
/// over the seed, an FNV-1a hash of the name, and the counter.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
pub fn unit_interval(seed: u64, name: &str, counter: u64) -> f64 {
    let mut x = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes() {
        x = (x ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    x = x
        .wrapping_add(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .wrapping_add(counter.wrapping_mul(0xd1b5_4a32_d192_ed03));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// `base · 2^n`, at most `cap`.
#[must_use]
pub(crate) fn doubling(base: Span, n: u32, cap: Span) -> Span {
    let factor = 1_i64.checked_shl(n.min(40)).unwrap_or(i64::MAX);
    (base * factor).min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(durations: &[(f64, f64)]) -> DurationModel {
        let mut model = DurationModel::default();
        for (gap, duration) in durations {
            model.learn(*gap, Span::from_secs_f64(*duration));
        }
        model
    }

    #[test]
    fn the_first_prediction_is_the_largest_of_the_first_durations() {
        let fit = learned(&[(10.0, 2.0), (10.0, 5.0)]).fit().unwrap();
        assert!((fit.fixed - 5.0).abs() < 1e-9, "{fit:?}");
    }

    #[test]
    fn the_slope_stays_zero_while_gaps_are_alike() {
        let samples: Vec<_> = (0..50)
            .map(|i| (60.0 + f64::from(i % 3), 3.0 + f64::from(i % 5) * 0.3))
            .collect();
        let fit = learned(&samples).fit().unwrap();
        assert!(fit.slope < 1e-12, "{fit:?}");
    }

    #[test]
    fn a_linear_law_is_recovered_from_spread_gaps() {
        let samples: Vec<_> = (0..200)
            .map(|i| {
                let gap = 10.0 + f64::from(i % 20) * 10.0;
                (gap, 2.0 + 0.1 * gap)
            })
            .collect();
        let fit = learned(&samples).fit().unwrap();
        assert!((fit.fixed - 2.0).abs() < 1e-6, "{fit:?}");
        assert!((fit.slope - 0.1).abs() < 1e-6, "{fit:?}");
    }

    #[test]
    fn the_margin_stays_inside_its_clip() {
        let mut margin = Margin::default();
        for _ in 0..10_000 {
            margin.learn(true, 0.05);
        }
        assert!(margin.factor() <= 32.0 + 1e-9);
        for _ in 0..10_000 {
            margin.learn(false, 0.05);
        }
        assert!((margin.factor() - 1.05).abs() < 1e-9);
    }

    #[test]
    fn three_late_of_five_change_the_regime_once_in_twenty() {
        let mut margin = Margin::default();
        let verdicts: Vec<_> = (0..25).map(|_| margin.learn(true, 0.05)).collect();
        let changes: Vec<_> = (0..25)
            .filter(|i| verdicts[*i] == Verdict::RegimeChanged)
            .collect();
        assert_eq!(changes, [2, 22]);
    }

    #[test]
    fn the_latest_start_leaves_room_for_the_foreseen_duration() {
        let blind = Blind {
            target_lag: Span::from_secs(60),
            fit: Fit {
                fixed: 3.0,
                slope: 0.1,
            },
            rate: 1.0,
            margin: 2.0,
            dispatch_wait: Span::from_secs(1),
        };
        // (60 − 6) / 1.2 − 1
        assert_eq!(blind.latest_start(), Span::from_secs(44));
    }

    #[test]
    fn jitter_depends_on_seed_name_and_counter_only() {
        let at = |seed, name, n| unit_interval(seed, name, n);
        assert!((at(1, "v", 1) - at(1, "v", 1)).abs() < f64::EPSILON);
        let mean = (0..10_000).map(|n| at(7, "v", n)).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        assert!((at(1, "v", 1) - at(1, "w", 1)).abs() > 1e-9);
    }

    #[test]
    fn doubling_is_capped_and_never_overflows() {
        let (second, cap) = (Span::from_secs(1), Span::from_secs(300));
        assert_eq!(doubling(second, 3, cap), Span::from_secs(8));
        assert_eq!(doubling(second, 4_000, cap), cap);
    }
}
