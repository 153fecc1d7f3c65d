//! The fewest refreshes that could have kept a view inside its target.
//!
//! Decides: the clairvoyant greedy bound for one view with noise-free durations
//! `d = a + c·bytes`: start at the largest S with `S + a + c·B(S_prev, S] ≤ t₁ + T`, where t₁
//! is the first unserved record. A later start means a later next deadline and no larger next
//! batch, so by exchange nothing beats it while consecutive refreshes do not collide. In a
//! flow t₁ is the previous start; for a silent view the clock lag is what counts.
//! Deliberately absent: slots; the bound drops the concurrency limit.

use tidekeeper_scheduler::{Span, Timestamp};

use crate::arrivals::Arrivals;
use crate::scenario::{ArrivalModel, ViewModel};

/// `None` where the target is not longer than a refresh.
pub(crate) fn fewest_refreshes(view: &ViewModel, seed: u64, horizon: Timestamp) -> Option<u64> {
    let longest = view.target_lag - view.service.fixed;
    if longest <= Span::ZERO {
        return None;
    }
    let duration = horizon - Timestamp::default();
    let flow = |bytes_per_s: f64| {
        let load = view.service.per_mb.as_secs_f64() * bytes_per_s / 1e6;
        let apart = longest.scale(1.0 / (1.0 + load)).max(Span::from_micros(1));
        u64::try_from(duration.as_micros() / apart.as_micros()).ok()
    };
    match view.arrivals {
        ArrivalModel::Silent => flow(0.0),
        ArrivalModel::Steady { bytes_per_s } => flow(bytes_per_s),
        ArrivalModel::Poisson { .. } | ArrivalModel::Listed { .. } => {
            let arrivals = Arrivals::new(&view.arrivals, seed, &view.name);
            Some(starts_for_records(view, arrivals, longest, horizon))
        }
    }
}

fn starts_for_records(
    view: &ViewModel,
    mut arrivals: Arrivals,
    longest: Span,
    horizon: Timestamp,
) -> u64 {
    let mut starts = 0;
    // A record whose last start lies beyond the horizon obliges nobody within it.
    while let Some((first, mut batch)) = arrivals.peek()
        && first + longest <= horizon
    {
        arrivals.take();
        while let Some((next, bytes)) = arrivals.peek() {
            let reading = view.service.noise_free(batch + bytes) - view.service.fixed;
            if next + reading > first + longest {
                break;
            }
            batch += bytes;
            arrivals.take();
        }
        starts += 1;
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> ViewModel {
        ViewModel::new("v", Span::from_secs(60), Span::from_secs(3))
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::default() + Span::from_secs(secs)
    }

    #[test]
    fn a_flow_needs_a_start_every_target_less_duration() {
        assert_eq!(fewest_refreshes(&view(), 1, at(5_700)), Some(100));
    }

    #[test]
    fn one_start_serves_all_records_of_a_window() {
        let mut view = view();
        view.arrivals = ArrivalModel::Listed {
            file: "x.csv".into(),
            records: [(at(0), 1), (at(57), 1), (at(58), 1), (at(900), 1)].into(),
        };
        assert_eq!(fewest_refreshes(&view, 1, at(5_700)), Some(3));
    }

    #[test]
    fn a_target_shorter_than_a_refresh_has_no_bound() {
        let view = ViewModel::new("v", Span::from_secs(3), Span::from_secs(3));
        assert_eq!(fewest_refreshes(&view, 1, at(100)), None);
    }
}
