//! Decides what a view is and holds: its definition, its positions in the stream, when each
//! part became visible, and who has its lock.
//!
//! Invariants: positions move only by a commit; a record becomes visible at most once.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::source::{Definition, Source};
use crate::clock::Moment;
use crate::random::Dice;
use crate::remote::Position;
use crate::streams::Stretch;
use crate::world::{Service, View};

/// A view and what has happened to it.
#[derive(Debug)]
pub(crate) struct ViewState {
    pub(crate) view: View,
    pub(crate) definition: Definition,
    pub(crate) source: Source,
    /// Different for a view that is dropped and created again.
    pub(crate) number: i64,
    pub(crate) auto_refresh: bool,
    /// When the warehouse next refreshes it by itself.
    pub(super) auto_due: Option<Moment>,
    /// Commits so far: a view over others is up to date while theirs stand as it read them.
    pub(super) version: u64,
    /// The versions of the views below at the latest commit.
    pub(super) read_versions: BTreeMap<String, u64>,
    /// Refreshes that have begun to execute, whatever became of them.
    pub(super) attempts: u64,
    positions: Vec<u64>,
    pub(super) remote: BTreeMap<String, Position>,
    /// Which stream of this name the positions are of: one that is deleted and created again
    /// is another.
    pub(super) stream_number: Option<u32>,
    /// Per shard: what each commit added, in order.
    commits: Vec<Vec<Commit>>,
    lock: Option<u64>,
    queue: VecDeque<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Commit {
    stretch: Stretch,
    at: Moment,
}

impl ViewState {
    pub(super) fn new(view: View, definition: Definition, source: Source, number: i64) -> Self {
        Self {
            auto_refresh: view.auto_refresh,
            auto_due: None,
            view,
            definition,
            source,
            number,
            version: 0,
            read_versions: BTreeMap::new(),
            attempts: 0,
            positions: Vec::new(),
            remote: BTreeMap::new(),
            stream_number: None,
            commits: Vec::new(),
            lock: None,
            queue: VecDeque::new(),
        }
    }

    pub(super) fn lives_in(&self, warehouse: &str, database: &str) -> bool {
        self.view.warehouse.get_ref() == warehouse && self.view.database.get_ref() == database
    }

    pub(super) fn positions(&self) -> &[u64] {
        &self.positions
    }

    /// Goes on from where an earlier life of the lab had come to.
    pub(super) fn resume(&mut self, positions: Vec<u64>, remote: BTreeMap<String, Position>) {
        self.positions = positions;
        self.remote = remote;
    }

    /// Takes the lock for `statement`, or queues it. True when it has the lock.
    pub(super) fn acquire(&mut self, statement: u64) -> bool {
        if self.lock.is_none_or(|holder| holder == statement) {
            self.lock = Some(statement);
            return true;
        }
        self.queue.push_back(statement);
        false
    }

    /// Gives the lock (or the place in the queue) up; the next holder, if there is one.
    pub(super) fn release(&mut self, statement: u64) -> Option<u64> {
        self.queue.retain(|waiting| *waiting != statement);
        if self.lock != Some(statement) {
            return None;
        }
        self.lock = self.queue.pop_front();
        self.lock
    }

    pub(super) fn holder(&self) -> Option<u64> {
        self.lock
    }

    /// Makes what was read visible.
    pub(super) fn commit(&mut self, stretches: &[Stretch], at: Moment) {
        self.positions = stretches.iter().map(|stretch| stretch.to).collect();
        self.commits
            .resize(self.commits.len().max(stretches.len()), Vec::new());
        for (commits, stretch) in self.commits.iter_mut().zip(stretches) {
            if stretch.from < stretch.to {
                commits.push(Commit {
                    stretch: *stretch,
                    at,
                });
            }
        }
    }

    /// When a record became visible here.
    pub(crate) fn visible_at(&self, shard: usize, sequence: u64) -> Option<Moment> {
        let commits = self.commits.get(shard)?;
        let commit = commits.get(commits.partition_point(|c| c.stretch.to <= sequence))?;
        (commit.stretch.from <= sequence).then_some(commit.at)
    }
}

/// The service time of one refresh: a function of the world's seed, the view and the attempt.
pub(super) fn service_time(
    seed: u64,
    view: &str,
    attempt: u64,
    service: &Service,
    bytes: u64,
) -> Duration {
    let mut dice = Dice::new(seed, &format!("service/{view}/{attempt}"));
    let megabytes =
        u32::try_from(bytes / 1_000).map_or_else(|_| f64::from(u32::MAX), f64::from) / 1_000.0;
    let plain = service.fixed.get() + service.per_mb.get().mul_f64(megabytes);
    let noise = (service.sigma.get() * dice.normal()).exp();
    let straggling = service
        .stragglers
        .filter(|stragglers| dice.chance(stragglers.probability.get()))
        .map_or(1.0, |stragglers| stragglers.factor.get());
    // A day and a half at most, so that no choice of numbers overflows a moment.
    let seconds = (plain.as_secs_f64() * noise * straggling).clamp(0.0, 129_600.0);
    let time = Duration::from_secs_f64(seconds);
    Duration::new(time.as_secs(), time.subsec_micros() * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let text = "name = \"v\"\ndatabase = \"d\"\nwarehouse = \"w\"\nstream = \"s\"\n\
                    service = { fixed = 1, per_mb = 2, sigma = 0.2, stragglers = { probability = 0.1, factor = 10 } }";
        toml::from_str(text).unwrap()
    }

    fn state() -> ViewState {
        let definition = Definition {
            query: crate::sql::parse_query(crate::statements::source::DEFAULT_QUERY).unwrap(),
            text: String::new(),
            columns: Vec::new(),
        };
        ViewState::new(view(), definition, Source::Views(Vec::new()), 1)
    }

    #[test]
    fn the_lock_is_handed_on_in_the_order_of_asking() {
        let mut state = state();
        assert!(state.acquire(1));
        assert!(!state.acquire(2) && !state.acquire(3) && !state.acquire(4));
        assert_eq!(state.release(3), None);
        assert_eq!(state.release(1), Some(2));
        assert_eq!(state.release(2), Some(4));
        assert_eq!(state.release(4), None);
        assert!(state.acquire(5));
    }

    #[test]
    fn a_record_is_visible_from_the_commit_that_held_it() {
        let mut state = state();
        let at = Duration::from_secs;
        state.commit(
            &[Stretch { from: 0, to: 3 }, Stretch { from: 0, to: 0 }],
            at(5),
        );
        state.commit(
            &[Stretch { from: 4, to: 6 }, Stretch { from: 0, to: 1 }],
            at(9),
        );
        assert_eq!(state.visible_at(0, 2), Some(at(5)));
        assert_eq!(state.visible_at(0, 3), None, "trimmed before it was read");
        assert_eq!(state.visible_at(0, 5), Some(at(9)));
        assert_eq!(state.visible_at(0, 6), None);
        assert_eq!(state.visible_at(1, 0), Some(at(9)));
        assert_eq!(state.positions(), [6, 1]);
    }

    #[test]
    fn service_times_follow_the_formula_and_its_noise() {
        let service = view().service;
        let mut times: Vec<f64> = (0..2_001)
            .map(|attempt| service_time(1, "v", attempt, &service, 1_500_000).as_secs_f64())
            .collect();
        times.sort_by(f64::total_cmp);
        assert!((times[1_000] - 4.0).abs() < 0.3, "median {}", times[1_000]);
        let stragglers = times.iter().filter(|time| **time > 15.0).count();
        assert!((150..260).contains(&stragglers), "{stragglers} stragglers");
        let again = service_time(1, "v", 7, &service, 1_500_000);
        assert_eq!(again, service_time(1, "v", 7, &service, 1_500_000));
    }
}
