//! What has arrived on a view's stream up to a moment.
//!
//! Decides: cumulative bytes, asked for in order of time, so that memory stays flat.

use std::sync::Arc;

use tidekeeper_scheduler::{Span, Timestamp};

use crate::dice::Dice;
use crate::scenario::ArrivalModel;

#[derive(Debug)]
pub(crate) struct Arrivals {
    source: Source,
    /// Bytes of the records before `next`.
    total: u64,
}

#[derive(Debug)]
enum Source {
    Silent,
    Steady {
        bytes_per_s: f64,
    },
    Poisson {
        mean_gap: f64,
        bytes: u64,
        next: Timestamp,
        dice: Box<Dice>,
    },
    Listed {
        records: Arc<[(Timestamp, u64)]>,
        next: usize,
    },
}

impl Arrivals {
    pub(crate) fn new(model: &ArrivalModel, seed: u64, view: &str) -> Self {
        let source = match model {
            ArrivalModel::Silent => Source::Silent,
            ArrivalModel::Steady { bytes_per_s } => Source::Steady {
                bytes_per_s: *bytes_per_s,
            },
            ArrivalModel::Poisson { mean_gap, bytes } => {
                let mut dice = Dice::new(seed, &format!("arrivals/{view}"));
                let mean_gap = mean_gap.as_secs_f64();
                let first = Span::from_secs_f64(dice.exponential(mean_gap));
                Source::Poisson {
                    mean_gap,
                    bytes: *bytes,
                    next: Timestamp::default() + first,
                    dice: Box::new(dice),
                }
            }
            ArrivalModel::Listed { records, .. } => Source::Listed {
                records: Arc::clone(records),
                next: 0,
            },
        };
        Self { source, total: 0 }
    }

    /// Bytes that have arrived up to and including `at`, which must not go back.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole bytes of a flow that is never negative"
    )]
    pub(crate) fn until(&mut self, at: Timestamp) -> u64 {
        if let Source::Steady { bytes_per_s } = &self.source {
            return (bytes_per_s * at.as_secs_f64()) as u64;
        }
        while let Some((arrived, bytes)) = self.peek() {
            if arrived > at {
                break;
            }
            self.total += bytes;
            self.take();
        }
        self.total
    }

    /// The first record after those that `until` has counted; `None` for flows and at the end.
    pub(crate) fn peek(&self) -> Option<(Timestamp, u64)> {
        match &self.source {
            Source::Silent | Source::Steady { .. } => None,
            Source::Poisson { bytes, next, .. } => Some((*next, *bytes)),
            Source::Listed { records, next } => records.get(*next).copied(),
        }
    }

    /// Passes over the record that `peek` shows.
    pub(crate) fn take(&mut self) {
        match &mut self.source {
            Source::Silent | Source::Steady { .. } => {}
            Source::Poisson {
                mean_gap,
                next,
                dice,
                ..
            } => *next += Span::from_secs_f64(dice.exponential(*mean_gap)),
            Source::Listed { next, .. } => *next += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_records_are_counted_once_each() {
        let at = |secs| Timestamp::default() + Span::from_secs(secs);
        let model = ArrivalModel::Listed {
            file: "x.csv".into(),
            records: [(at(1), 10), (at(5), 20)].into(),
        };
        let mut arrivals = Arrivals::new(&model, 1, "v");
        let counted: Vec<u64> = [0, 1, 4, 5, 9].map(|t| arrivals.until(at(t))).into();
        assert_eq!(counted, [0, 10, 10, 30, 30]);
    }

    #[test]
    fn poisson_records_come_at_their_mean_rate() {
        let model = ArrivalModel::Poisson {
            mean_gap: Span::from_secs(20),
            bytes: 1,
        };
        let mut arrivals = Arrivals::new(&model, 5, "v");
        let day = arrivals.until(Timestamp::default() + Span::from_secs(86_400));
        assert!((4_100..4_550).contains(&day), "{day}");
    }
}
