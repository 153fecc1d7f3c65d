//! What is going to happen in the world, and when.
//!
//! Decides: the order: by time, ties as they were planned.

use std::cmp::Ordering;

use tidekeeper_scheduler::{Event, Timestamp};

#[derive(Debug)]
pub(crate) enum Happening {
    WantsSlot { view: usize, statement: u64 },
    Ends { view: usize, statement: u64 },
    WaitOver { view: usize, statement: u64 },
    GoesAway { warehouse: usize },
    Probe { view: usize },
    Answer { life: u32, event: Event },
}

#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) at: Timestamp,
    pub(crate) number: u64,
    pub(crate) what: Happening,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
