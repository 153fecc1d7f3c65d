//! Decides chance: every random choice in the lab comes from a [`Dice`], named by the
//! world's seed and a label, so that one producer's or view's luck does not depend on what
//! the others did before it.
//!
//! Deliberately absent: entropy from the operating system.

use std::f64::consts::TAU;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A deterministic source of chance.
#[derive(Debug, Clone)]
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    /// The dice of `label` in a world seeded with `seed`: the same two, the same throws.
    pub(crate) fn new(seed: u64, label: &str) -> Self {
        // FNV-1a: stable across platforms and releases, unlike the standard hasher.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in seed.to_le_bytes().iter().chain(label.as_bytes()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Self(ChaCha8Rng::seed_from_u64(hash))
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        self.0.random()
    }

    /// True with probability `p`.
    pub(crate) fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Uniform in 0..`n`; 0 when `n` is 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { self.0.random_range(0..n) }
    }

    /// One of `choices`; the empty string when there are none.
    pub(crate) fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices
            .get(self.below(choices.len()))
            .copied()
            .unwrap_or_default()
    }

    /// Standard normal (Box–Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (TAU * self.unit()).cos()
    }

    /// A waiting time with the given mean, as between the events of a Poisson process.
    pub(crate) fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.unit()).ln())
    }

    /// Sixteen random bytes, for an identifier.
    pub(crate) fn bytes16(&mut self) -> [u8; 16] {
        self.0.random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_label_throw_the_same() {
        let throws = |seed, label: &str| {
            let mut dice = Dice::new(seed, label);
            [dice.unit(), dice.normal(), dice.unit()].map(f64::to_bits)
        };
        assert_eq!(throws(1, "a"), throws(1, "a"));
        assert_ne!(throws(1, "a"), throws(1, "b"));
        assert_ne!(throws(1, "a"), throws(2, "a"));
    }

    #[test]
    fn waiting_times_have_the_asked_mean() {
        let mut dice = Dice::new(7, "mean");
        let total: f64 = (0..20_000)
            .map(|_| dice.exponential(Duration::from_secs(2)).as_secs_f64())
            .sum();
        assert!(
            (total / 20_000.0 - 2.0).abs() < 0.06,
            "mean {}",
            total / 20_000.0
        );
    }
}
