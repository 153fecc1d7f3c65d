//! Decides when a producer writes its next record, by its pattern.
//!
//! Invariants: times strictly increase by at least a microsecond; the sequence is a function
//! of the world's seed and the producer's place in it.

use std::f64::consts::TAU;
use std::time::Duration;

use super::users;
use crate::clock::Moment;
use crate::random::Dice;
use crate::world::{Pattern, Producer};

const TICK: Duration = Duration::from_micros(1);

/// How many candidates thinning may refuse before it takes one: an end for the loop.
const THINNING_LIMIT: u32 = 1_000;

/// A producer at work.
#[derive(Debug)]
pub(super) struct Source {
    stream: String,
    pattern: Pattern,
    bytes: usize,
    from: Moment,
    until: Option<Moment>,
    dice: Dice,
    next: Moment,
}

impl Source {
    pub(super) fn new(seed: u64, index: usize, producer: &Producer) -> Self {
        let stream = producer.stream.get_ref().clone();
        let mut source = Self {
            dice: Dice::new(seed, &format!("producer/{index}/{stream}")),
            stream,
            pattern: producer.pattern,
            bytes: producer.bytes,
            from: producer.from,
            until: producer.until,
            next: producer.from,
        };
        source.step();
        source
    }

    pub(super) fn stream(&self) -> &str {
        &self.stream
    }

    /// When the next record arrives; none when the producer has stopped for good.
    pub(super) fn next_at(&self) -> Option<Moment> {
        self.until
            .is_none_or(|until| self.next < until)
            .then_some(self.next)
    }

    /// The next record: a throw that chooses its shard, and its text.
    pub(super) fn write(&mut self) -> (u32, String) {
        let throw = u32::from_le_bytes(
            self.dice
                .bytes16()
                .first_chunk::<4>()
                .copied()
                .unwrap_or_default(),
        );
        let text = users::record(&mut self.dice, self.bytes);
        self.step();
        (throw, text)
    }

    fn step(&mut self) {
        let gap = match self.pattern {
            Pattern::Steady { rate } => {
                Duration::from_secs_f64(1.0 / rate).mul_f64(0.8 + 0.4 * self.dice.unit())
            }
            Pattern::Sparse { every } => self.dice.exponential(every),
            Pattern::Gaps { shortest, longest } => {
                shortest + longest.saturating_sub(shortest).mul_f64(self.dice.unit())
            }
            Pattern::Diurnal {
                rate,
                amplitude,
                period,
                phase,
            } => self.diurnal_gap(rate, amplitude, period, phase),
            Pattern::Bursts { rate, on, off } => self.burst_gap(rate, on, off),
        };
        // Whole microseconds, as everywhere in the lab.
        let gap = Duration::new(gap.as_secs(), gap.subsec_micros() * 1_000);
        self.next += gap.max(TICK);
    }

    /// Thinning (Lewis and Shedler 1979): candidates at the peak rate, each kept with the
    /// probability rate(t) / peak.
    fn diurnal_gap(&mut self, rate: f64, amplitude: f64, period: Duration, phase: f64) -> Duration {
        let peak = rate * (1.0 + amplitude);
        let mut gap = Duration::ZERO;
        for _ in 0..THINNING_LIMIT {
            gap += self.dice.exponential(Duration::from_secs_f64(1.0 / peak));
            let turns = (self.next + gap - self.from).as_secs_f64() / period.as_secs_f64() + phase;
            let now_rate = rate * (1.0 + amplitude * (TAU * turns).sin());
            if self.dice.chance(now_rate / peak) {
                break;
            }
        }
        gap
    }

    /// An exponential amount of *busy* time, laid over the on-phases.
    fn burst_gap(&mut self, rate: f64, on: Duration, off: Duration) -> Duration {
        let cycle = (on + off).as_secs_f64();
        let into = (self.next - self.from).as_secs_f64() % cycle;
        let busy = self.dice.exponential(Duration::from_secs_f64(1.0 / rate));
        let left = on.saturating_sub(Duration::from_secs_f64(into));
        if busy < left {
            return busy;
        }
        let beyond = busy - left;
        let rests = 1.0 + (beyond.as_secs_f64() / on.as_secs_f64()).floor();
        busy + off.mul_f64(rests)
    }
}
