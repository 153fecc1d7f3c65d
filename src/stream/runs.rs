//! When records arrived, as far as that matters to anybody.
//!
//! Decides: how arrivals are kept in little space: as runs in which something arrived at the
//! start and anything may have arrived since.
//! Deliberately absent: where they come from, and who has read them.

use tidekeeper_scheduler::{Span, Timestamp};

/// Of a shard's arrivals so many runs are kept.
const MOST: usize = 64;
const TICK: Span = Span::from_micros(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    from: Timestamp,
    to: Timestamp,
}

/// Sorted, and apart from each other.
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    runs: Vec<Run>,
    most: usize,
}

impl Default for Runs {
    fn default() -> Self {
        Self::at_most(MOST)
    }
}

impl Runs {
    /// The closest are joined when there would be more than so many: a position between two
    /// joined runs then counts as having something unread.
    pub(crate) fn at_most(most: usize) -> Self {
        let runs = Vec::new();
        Self { runs, most }
    }

    /// Something arrived at `from`, and perhaps until `to`.
    pub(crate) fn add(&mut self, from: Timestamp, to: Timestamp) {
        let first = self.runs.partition_point(|run| run.to < from);
        let end = self.runs.partition_point(|run| run.from <= to).max(first);
        let met = self.runs.get(first..end).unwrap_or_default();
        let run = Run {
            from: met.first().map_or(from, |run| run.from.min(from)),
            to: met.last().map_or(to, |run| run.to.max(to)),
        };
        self.runs.splice(first..end, [run]);
        if self.runs.len() > self.most {
            self.join_closest();
        }
    }

    /// Anything may have arrived since the last run began, until `to`.
    pub(crate) fn stretch(&mut self, to: Timestamp) {
        if let Some(last) = self.runs.last_mut() {
            last.to = last.to.max(to);
        }
    }

    fn join_closest(&mut self) {
        let gaps = self.runs.iter().zip(self.runs.iter().skip(1));
        let closest = gaps
            .enumerate()
            .min_by_key(|(_, (before, after))| after.from - before.to)
            .map(|(index, (before, after))| (index, before.from, after.to));
        if let Some((index, from, to)) = closest {
            self.runs.splice(index..=index + 1, [Run { from, to }]);
        }
    }

    /// When the oldest record arrived that who has read up to `position` has not read.
    pub(crate) fn oldest_after(&self, position: Timestamp) -> Option<Timestamp> {
        let next = self.runs.partition_point(|run| run.to <= position);
        let run = self.runs.get(next)?;
        Some(run.from.max(position + TICK))
    }

    /// When something arrived first and last in each run.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        self.runs.iter().map(|run| (run.from, run.to))
    }

    /// Nobody asks for positions before this one any more.
    pub(crate) fn forget_before(&mut self, position: Timestamp) {
        let over = self.runs.partition_point(|run| run.to <= position);
        self.runs.drain(..over);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(0) + Span::from_secs(seconds)
    }

    fn runs(of: &[(i64, i64)]) -> Runs {
        let mut runs = Runs::default();
        for (from, to) in of {
            runs.add(at(*from), at(*to));
        }
        runs
    }

    fn shown(runs: &Runs) -> Vec<(i64, i64)> {
        let seconds = |at: Timestamp| at.as_micros() / 1_000_000;
        let all = runs.spans();
        all.map(|(from, to)| (seconds(from), seconds(to))).collect()
    }

    #[test]
    fn runs_that_touch_become_one_whatever_their_order() {
        assert_eq!(shown(&runs(&[(10, 20), (30, 40)])), [(10, 20), (30, 40)]);
        assert_eq!(shown(&runs(&[(30, 40), (10, 20)])), [(10, 20), (30, 40)]);
        assert_eq!(shown(&runs(&[(10, 20), (30, 40), (20, 30)])), [(10, 40)]);
        assert_eq!(shown(&runs(&[(10, 20), (5, 50)])), [(5, 50)]);
        assert_eq!(shown(&runs(&[(10, 50), (20, 30)])), [(10, 50)]);
    }

    #[test]
    fn the_oldest_unread_is_the_start_of_a_run_or_what_follows_the_position_within_it() {
        let runs = runs(&[(10, 20), (30, 40)]);
        assert_eq!(runs.oldest_after(at(5)), Some(at(10)));
        assert_eq!(runs.oldest_after(at(15)), Some(at(15) + TICK));
        assert_eq!(runs.oldest_after(at(20)), Some(at(30)));
        assert_eq!(runs.oldest_after(at(40)), None);
    }

    #[test]
    fn what_everybody_has_read_is_forgotten() {
        let mut runs = runs(&[(10, 20), (30, 40)]);
        runs.forget_before(at(15));
        assert_eq!(shown(&runs), [(10, 20), (30, 40)]);
        runs.forget_before(at(20));
        assert_eq!(shown(&runs), [(30, 40)]);
    }

    proptest! {
        #[test]
        fn runs_stay_few_sorted_and_apart_and_no_arrival_is_ever_lost(
            arrivals in prop::collection::vec((0_i64..10_000, 0_i64..20), 1..300),
            position in 0_i64..10_000,
        ) {
            let spans: Vec<(i64, i64)> = arrivals.iter().map(|(from, long)| (*from, from + long + 1)).collect();
            let runs = runs(&spans);
            prop_assert!(runs.runs.len() <= MOST);
            prop_assert!(runs.runs.windows(2).all(|two| two[0].to < two[1].from));
            let truth = spans.iter().filter(|(_, to)| *to > position).map(|(from, _)| at(*from).max(at(position) + TICK)).min();
            match truth {
                // Joined runs can only make it look older.
                Some(truth) => prop_assert!(runs.oldest_after(at(position)).is_some_and(|found| found <= truth)),
                None => prop_assert_eq!(runs.oldest_after(at(position)), None),
            }
        }
    }
}
