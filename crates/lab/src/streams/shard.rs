//! Decides what a shard keeps: records in order of arrival, their text until retention takes
//! it, their arrival for a day at least.
//!
//! Invariants: sequence numbers have no gaps; arrival times never decrease; a closed shard
//! takes no more records. Deliberately absent: which record goes to which shard (`log`).

use std::collections::VecDeque;
use std::time::Duration;

use super::hash::HashRange;
use crate::clock::Moment;

/// Arrivals stay in the history for at least this long, as statements do.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// One record of a shard.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) at: Moment,
    pub(crate) bytes: u64,
    /// Empty once retention has taken the data.
    pub(crate) partition_key: Box<str>,
    /// What it says, while retention lasts.
    pub(crate) data: Option<Box<[u8]>>,
}

/// A part of a shard: sequence numbers `from..to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// A log: sequence numbers count up from 0.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(super) first: u64,
    pub(super) records: VecDeque<Record>,
    /// Records below this have lost their data.
    pub(super) trimmed: u64,
    pub(super) range: HashRange,
    /// Whose split or merge made this shard: none, one, or two.
    pub(super) parents: Vec<usize>,
    pub(super) opened: Moment,
    pub(super) closed: Option<Moment>,
}

impl Shard {
    pub(super) fn new(range: HashRange, parents: Vec<usize>, opened: Moment) -> Self {
        Self {
            first: 0,
            records: VecDeque::new(),
            trimmed: 0,
            range,
            parents,
            opened,
            closed: None,
        }
    }

    fn sequence(&self, index: usize) -> u64 {
        self.first + u64::try_from(index).unwrap_or(u64::MAX)
    }

    fn index(&self, sequence: u64) -> usize {
        let index = usize::try_from(sequence.saturating_sub(self.first)).unwrap_or(usize::MAX);
        index.min(self.records.len())
    }

    pub(super) fn push(&mut self, record: Record) -> u64 {
        self.records.push_back(record);
        self.next() - 1
    }

    /// The sequence number that the next record gets.
    pub(crate) fn next(&self) -> u64 {
        self.sequence(self.records.len())
    }

    pub(crate) fn range(&self) -> HashRange {
        self.range
    }

    pub(crate) fn parents(&self) -> &[usize] {
        &self.parents
    }

    pub(crate) fn opened(&self) -> Moment {
        self.opened
    }

    /// When a split or merge closed it.
    pub(crate) fn closed(&self) -> Option<Moment> {
        self.closed
    }

    /// The first sequence number that arrived after `moment`: a reader who read up to
    /// `moment` goes on there.
    pub(crate) fn end(&self, moment: Moment) -> u64 {
        self.sequence(self.records.partition_point(|record| record.at <= moment))
    }

    /// The first sequence number that arrived at or after `moment`.
    pub(crate) fn since(&self, moment: Moment) -> u64 {
        self.sequence(self.records.partition_point(|record| record.at < moment))
    }

    /// `TRIM_HORIZON`: the first record that retention has not taken at `now`.
    pub(crate) fn horizon(&self, now: Moment, retention: Duration) -> u64 {
        let expired = self
            .records
            .partition_point(|record| record.at + retention <= now);
        // What a shorter retention took, a longer one does not bring back.
        self.sequence(expired).max(self.trimmed)
    }

    /// Bytes and records of a stretch.
    #[cfg(test)]
    pub(crate) fn measure(&self, stretch: Stretch) -> (u64, u64) {
        let mut sum = (0, 0);
        for (_, record) in self.stretch(stretch) {
            sum = (sum.0 + record.bytes, sum.1 + 1);
        }
        sum
    }

    /// The records, oldest first, with their sequence numbers.
    pub(crate) fn records(&self) -> impl DoubleEndedIterator<Item = (u64, &Record)> {
        self.stretch(Stretch {
            from: 0,
            to: u64::MAX,
        })
    }

    /// The records of a stretch, oldest first, with their sequence numbers.
    pub(crate) fn stretch(
        &self,
        stretch: Stretch,
    ) -> impl DoubleEndedIterator<Item = (u64, &Record)> {
        let to = self.index(stretch.to);
        let from = self.index(stretch.from).min(to);
        let records = self.records.range(from..to).enumerate();
        records.map(move |(index, record)| (self.sequence(from + index), record))
    }

    /// Takes the data of what retention has passed and forgets what is older than that and a
    /// day; says whether anything changed.
    pub(super) fn trim(&mut self, now: Moment, retention: Duration) -> bool {
        let before = (self.trimmed, self.first);
        self.take_data(self.horizon(now, retention));
        let forgotten = retention.max(REMEMBERED);
        let old = self
            .records
            .partition_point(|record| record.at + forgotten <= now);
        self.forget(self.sequence(old));
        before != (self.trimmed, self.first)
    }

    pub(super) fn take_data(&mut self, horizon: u64) {
        let (from, to) = (self.index(self.trimmed), self.index(horizon));
        for record in self.records.range_mut(from.min(to)..to) {
            record.data = None;
            record.partition_key = Box::default();
        }
        self.trimmed = self.trimmed.max(horizon);
    }

    pub(super) fn forget(&mut self, below: u64) {
        self.records.drain(..self.index(below));
        self.first = self.first.max(below);
        self.trimmed = self.trimmed.max(self.first);
    }
}
