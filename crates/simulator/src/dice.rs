//! Chance: one generator for every entity of the world.
//!
//! Decides: that what befalls one view does not depend on what another one does, nor on the
//! policy. Deliberately absent: any source of randomness but the scenario's seed.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tidekeeper_scheduler::Span;

use crate::scenario::ServiceModel;

#[derive(Clone, Debug)]
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    /// The generator of one entity, named apart from all others.
    pub(crate) fn new(seed: u64, entity: &str) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(fnv1a(FNV_START, entity.as_bytes()));
        Self(rng)
    }

    /// In [0, 1).
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Draws only where there is something to decide, so that a share of zero costs nothing.
    pub(crate) fn happens(&mut self, share: f64) -> bool {
        share > 0.0 && self.unit() < share
    }

    pub(crate) fn up_to(&mut self, most: Span) -> Span {
        if most > Span::ZERO {
            most.scale(self.unit())
        } else {
            Span::ZERO
        }
    }

    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Box–Muller.
    pub(crate) fn standard_normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

impl ServiceModel {
    /// What chance multiplies the next service time by.
    pub(crate) fn noise(&self, dice: &mut Dice) -> f64 {
        let mut factor = 1.0;
        if self.sigma > 0.0 {
            factor *= (self.sigma * dice.standard_normal()).exp();
        }
        if dice.happens(self.straggler_share) {
            factor *= self.straggler_factor;
        }
        factor
    }
}

pub(crate) const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

pub(crate) fn fnv1a(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_independent_and_repeatable() {
        let draw = |seed, name: &str| Dice::new(seed, name).unit();
        assert!((draw(1, "a") - draw(1, "a")).abs() < f64::EPSILON);
        assert!((draw(1, "a") - draw(1, "b")).abs() > 1e-9);
        assert!((draw(1, "a") - draw(2, "a")).abs() > 1e-9);
    }

    #[test]
    fn draws_have_the_moments_they_should() {
        let mut dice = Dice::new(3, "moments");
        let n = 40_000;
        let mean = |f: &mut dyn FnMut() -> f64| (0..n).map(|_| f()).sum::<f64>() / f64::from(n);
        assert!((mean(&mut || dice.exponential(20.0)) - 20.0).abs() < 0.5);
        assert!(mean(&mut || dice.standard_normal()).abs() < 0.02);
        assert!((mean(&mut || dice.standard_normal().powi(2)) - 1.0).abs() < 0.05);
    }
}
