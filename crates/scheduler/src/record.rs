//! What a warehouse's own records tell of refreshes: the vocabulary of sweeps.
//!
//! Decides: the words for what a refresh did, and which of them belong to the daemon's own.
//! Deliberately absent: system views, status texts and SQL (the shell reads them), and what
//! follows (see `sweep`).

use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::{AttemptId, Failure};
use crate::plan::ViewId;
use crate::time::Timestamp;

/// What a successful refresh did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Finished. Also where no verdict was read.
    Data,
    NoData,
    /// It stopped before the end of the stream, with records up to `up_to` where that is known.
    MoreData {
        up_to: Option<Timestamp>,
    },
    /// It read on, and left records out.
    SomeSkipped,
    /// Nothing of what it received is in the view.
    AllSkipped,
    /// The whole view was computed anew.
    Recomputed,
}

impl Outcome {
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::NoData => "no_data",
            Self::MoreData { .. } => "more_data",
            Self::SomeSkipped => "some_skipped",
            Self::AllSkipped => "all_skipped",
            Self::Recomputed => "recomputed",
        }
    }
}

/// An attempt of which a sweep is to say what it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub view: ViewId,
    pub attempt: AttemptId,
    pub submitted_at: Timestamp,
    /// `None` while it runs: what it leaves behind is not somebody else's.
    pub finished_at: Option<Timestamp>,
}

/// What one look at the warehouse's records has found, each list in the order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sweep {
    /// Of the attempts that were asked for; one that is missing has left no record yet.
    pub verdicts: Vec<(AttemptId, ViewId, Record)>,
    /// Refreshes that none of these attempts has made.
    pub foreign: Vec<(ViewId, Foreign)>,
}

/// A refresh as the warehouse has recorded it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Grows with time; tells a record that was read before.
    pub transaction: i64,
    /// Another one means that the view was made anew.
    pub identity: Option<i64>,
    /// The database user who made it, where that is told.
    pub user: Option<Arc<str>>,
    pub began_at: Timestamp,
    pub ended_at: Timestamp,
    /// What it did, or why it failed.
    pub result: Result<Outcome, Failure>,
    /// A status that no rule knows, as it stands.
    pub unknown: Option<Arc<str>>,
    /// It says that the view stands on another one, which was not up to date.
    pub stale_parent: bool,
    /// Where the scan's own records could be read.
    pub read: Option<Read>,
}

/// What a refresh has read of its stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    pub records: u64,
    pub skipped: u64,
    pub bytes: u64,
    /// When the newest of the records arrived.
    pub newest: Option<Timestamp>,
    /// Records that were left between what it read and the end of the stream, over all shards.
    pub behind: Option<u64>,
    /// Why records were skipped: the most frequent reason, in the warehouse's words, with what
    /// finds one of the records.
    pub reason: Option<Arc<str>>,
}

/// A refresh that the daemon has not made.
#[derive(Clone, Debug, PartialEq)]
pub struct Foreign {
    pub by: RefreshedBy,
    pub record: Record,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefreshedBy {
    /// The warehouse's own AUTO REFRESH.
    Auto,
    /// A statement of somebody else, or of an earlier life of the daemon.
    Statement,
}

impl RefreshedBy {
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Statement => "statement",
        }
    }
}

/// The latest refreshes of a view whose records have been read: records come again, in any
/// order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(VecDeque<i64>);

impl Told {
    /// More than a sweep reads of a view.
    const KEPT: usize = 512;

    pub(crate) fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this transaction is news; from now on it is not.
    pub(crate) fn hears(&mut self, transaction: i64) -> bool {
        let news = !self.0.contains(&transaction);
        if news {
            self.0.push_back(transaction);
            if self.0.len() > Self::KEPT {
                self.0.pop_front();
            }
        }
        news
    }
}
