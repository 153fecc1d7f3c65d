//! A warehouse that is away: one view tries now and then, and the rest come back in steps.
//!
//! Decides: when the breaker opens, who is let through, how fast the slots come back (control
//! law §8). Deliberately absent: which failure means what (the shell classifies).

use crate::event::{AttemptId, Failure, FailureClass, Notice};
use crate::law::doubling;
use crate::scheduler::Scheduler;
use crate::time::{Span, Timestamp};

const PROBE_EVERY: Span = Span::from_secs(15);
const PROBE_EVERY_MAX: Span = Span::from_secs(300);
/// Failures of this age do not speak of now any more.
const RECENT: Span = Span::from_secs(60);
/// This share of the views, and at least so many, must have failed twice lately.
const SHARE: f64 = 0.3;
const AT_LEAST: u32 = 3;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Breaker {
    #[default]
    Closed,
    /// Nobody is let through before `probe_at`.
    Open {
        failure: Failure,
        probe_at: Timestamp,
        tries: u32,
    },
    /// One is let through; `probe` once it has been.
    HalfOpen {
        failure: Failure,
        probe: Option<AttemptId>,
        tries: u32,
    },
    /// It works again: so many slots, twice as many after as many successes.
    Ramp { slots: u32, successes: u32 },
}

impl Breaker {
    /// Statements that may be in flight, of `slots` at best; of those that were begun before
    /// it opened, none count against the one that tries.
    pub(crate) fn has_room(&self, in_flight: u32, slots: u32) -> bool {
        match self {
            Self::Closed => in_flight < slots,
            Self::Open { .. } => false,
            Self::HalfOpen { probe, .. } => probe.is_none(),
            Self::Ramp { slots: ramp, .. } => in_flight < slots.min(*ramp),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        match self {
            Self::Open { .. } | Self::HalfOpen { .. } => true,
            Self::Closed | Self::Ramp { .. } => false,
        }
    }

    pub(crate) fn probes_at(&self) -> Option<Timestamp> {
        match self {
            Self::Open { probe_at, .. } => Some(*probe_at),
            Self::Closed | Self::HalfOpen { .. } | Self::Ramp { .. } => None,
        }
    }

    fn pass(&mut self, now: Timestamp) -> bool {
        let Self::Open {
            failure,
            probe_at,
            tries,
        } = self
        else {
            return false;
        };
        if *probe_at > now {
            return false;
        }
        *self = Self::HalfOpen {
            failure: failure.clone(),
            probe: None,
            tries: *tries,
        };
        true
    }

    pub(crate) fn dispatched(&mut self, attempt: AttemptId) {
        if let Self::HalfOpen { probe, .. } = self {
            *probe = Some(attempt);
        }
    }
}

impl Scheduler {
    pub(crate) fn pass_breakers(&mut self) {
        let now = self.now;
        for warehouse in &mut self.warehouses {
            self.dispatch_wanted |= warehouse.breaker.pass(now);
        }
    }

    /// The warehouse has answered a view, well or badly.
    pub(crate) fn breaker_hears_answer(&mut self, index: usize) {
        let Some(warehouse) = self.warehouses.get_mut(index) else {
            return;
        };
        let most = warehouse.slots.effective();
        let next = match &warehouse.breaker {
            Breaker::Closed => return,
            Breaker::Open { .. } | Breaker::HalfOpen { .. } => Breaker::Ramp {
                slots: 1,
                successes: 0,
            },
            Breaker::Ramp { slots, successes } if successes + 1 >= *slots => {
                if slots * 2 >= most {
                    Breaker::Closed
                } else {
                    Breaker::Ramp {
                        slots: slots * 2,
                        successes: 0,
                    }
                }
            }
            Breaker::Ramp { slots, successes } => Breaker::Ramp {
                slots: *slots,
                successes: successes + 1,
            },
        };
        let was_open = warehouse.breaker.is_open();
        warehouse.breaker = next;
        self.dispatch_wanted = true;
        if was_open {
            let warehouse = warehouse.spec.id.clone();
            self.notice(Notice::BreakerClosed { warehouse });
        }
    }

    /// The half-open try was refused for want of quota: another one is let through.
    pub(crate) fn breaker_forgets(&mut self, index: usize, attempt: AttemptId) {
        if let Some(warehouse) = self.warehouses.get_mut(index)
            && let Breaker::HalfOpen { probe, .. } = &mut warehouse.breaker
            && *probe == Some(attempt)
        {
            *probe = None;
        }
    }

    /// An attempt failed for a reason that may be the warehouse's. Returns whether the breaker
    /// takes the blame from the view.
    pub(crate) fn breaker_hears_failure(
        &mut self,
        index: usize,
        attempt: AttemptId,
        failure: &Failure,
    ) -> bool {
        let away = match failure.class {
            FailureClass::Away => true,
            FailureClass::Transient | FailureClass::Unreachable => false,
            FailureClass::Permanent | FailureClass::Data => {
                self.breaker_hears_answer(index);
                return false;
            }
            FailureClass::Throttled
            | FailureClass::TooManyStatements
            | FailureClass::TimedOut
            | FailureClass::Cancelled
            | FailureClass::Unknown => {
                self.breaker_forgets(index, attempt);
                return false;
            }
        };
        let many = away || self.many_fail(index);
        let now = self.now;
        let Some(warehouse) = self.warehouses.get_mut(index) else {
            return false;
        };
        let tries = match &warehouse.breaker {
            Breaker::Closed | Breaker::Ramp { .. } if !many => return false,
            Breaker::Closed | Breaker::Ramp { .. } => 0,
            // One that was begun before: it says nothing new.
            Breaker::Open { .. } => return true,
            Breaker::HalfOpen { probe, .. } if *probe != Some(attempt) => return true,
            Breaker::HalfOpen { tries, .. } => tries.saturating_add(1),
        };
        let probe_at = now + doubling(PROBE_EVERY, tries, PROBE_EVERY_MAX);
        let was_open = warehouse.breaker.is_open();
        warehouse.breaker = Breaker::Open {
            failure: failure.clone(),
            probe_at,
            tries,
        };
        let warehouse = warehouse.spec.id.clone();
        if !was_open {
            self.absolve(index);
            self.notice(Notice::BreakerOpened {
                warehouse,
                failure: failure.clone(),
                probe_at,
            });
        }
        true
    }

    fn many_fail(&self, index: usize) -> bool {
        let (mut all, mut failing) = (0_u32, 0_u32);
        for view in self.views.iter().flatten().filter(|v| v.warehouse == index) {
            all += 1;
            let recent = view.trouble.failed_twice_since(self.now - RECENT);
            failing += u32::from(recent);
        }
        failing >= AT_LEAST && f64::from(failing) >= SHARE * f64::from(all)
    }

    /// What failed because the warehouse was away is not held against the views: they stand
    /// in the queue until it is back.
    fn absolve(&mut self, index: usize) {
        let slots: Vec<usize> = self.by_id.values().copied().collect();
        for slot in slots {
            let Some(view) = self.view_mut(slot).filter(|v| v.warehouse == index) else {
                continue;
            };
            if view.trouble.absolve() {
                self.settle_if_waiting(slot);
            }
        }
    }
}
