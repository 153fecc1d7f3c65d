//! Facts of the scheduler → log lines.
//!
//! Decides: the level and the fields of every [`Notice`]. ERROR means that somebody must act;
//! WARN that a target is in danger; INFO is the lifecycle of views and warehouses; DEBUG is
//! one line for every refresh. A view that keeps failing in one way says so at once and then
//! at most once a minute, with the number of lines held back; a status that no rule knows is
//! said once.
//! Deliberately absent: SQL and credentials (failures come here as one line without secrets),
//! and a clock.

mod alerts;
mod records;

use std::collections::BTreeMap;

use tidekeeper_scheduler::{FailureClass, Notice, Outcome, Snapshot, Span, Timestamp};
use tracing::{debug, error, info, warn};

/// How often one trouble of one view or warehouse may be repeated.
const REPEAT_EVERY: Span = Span::from_secs(60);

/// Writes notices to the log, holding repetitions back.
#[derive(Debug)]
pub struct NoticeLog {
    limiter: LogLimiter,
    losing: alerts::Losing,
    statuses: records::Statuses,
}

impl Default for NoticeLog {
    fn default() -> Self {
        Self {
            limiter: LogLimiter::new(REPEAT_EVERY),
            losing: alerts::Losing::default(),
            statuses: records::Statuses::default(),
        }
    }
}

impl NoticeLog {
    /// Logs what has come into danger, or out of it.
    pub fn state(&mut self, snapshot: &Snapshot) {
        self.losing.log(snapshot);
    }

    /// Logs one notice, unless it repeats what was said less than a minute ago.
    pub fn log(&mut self, now: Timestamp, notice: &Notice) {
        if let Notice::ViewRemoved { view } = notice {
            self.limiter.forget(view.as_str());
        }
        if let Notice::UnknownStatus { text, .. } = notice
            && !self.statuses.is_news(text)
        {
            return;
        }
        let held_back = match trouble(notice) {
            None => 0,
            Some((what, whose, class)) => match self.limiter.admit(now, what, whose, class) {
                Some(held_back) => held_back,
                None => return,
            },
        };
        log(notice, held_back);
    }
}

/// Lets a repeated line through once in a while and counts the others.
#[derive(Debug)]
pub struct LogLimiter {
    every: Span,
    said: BTreeMap<(String, &'static str, Option<FailureClass>), Said>,
}

#[derive(Debug)]
struct Said {
    at: Timestamp,
    held_back: u64,
}

impl LogLimiter {
    /// One line per `every` for each trouble.
    #[must_use]
    pub fn new(every: Span) -> Self {
        Self {
            every,
            said: BTreeMap::new(),
        }
    }

    /// Whether to say now that `whose` has this trouble: `Some` with the number of lines held
    /// back since it was last said, or `None`.
    pub fn admit(
        &mut self,
        now: Timestamp,
        what: &'static str,
        whose: &str,
        class: Option<FailureClass>,
    ) -> Option<u64> {
        let key = (whose.to_owned(), what, class);
        if let Some(said) = self.said.get_mut(&key)
            && now - said.at < self.every
        {
            said.held_back += 1;
            return None;
        }
        let said = Said {
            at: now,
            held_back: 0,
        };
        let before = self.said.insert(key, said);
        Some(before.map_or(0, |before| before.held_back))
    }

    /// Drops all memory of a view that is no more.
    pub fn forget(&mut self, whose: &str) {
        self.said.retain(|(owner, _, _), _| owner != whose);
    }
}

/// What is limited: the kind of trouble, who has it, and its class.
fn trouble(notice: &Notice) -> Option<(&'static str, &str, Option<FailureClass>)> {
    match notice {
        Notice::Failed { view, failure, .. } => {
            Some(("failed", view.as_str(), Some(failure.class)))
        }
        Notice::Suspended { view, failure, .. } => {
            Some(("suspended", view.as_str(), Some(failure.class)))
        }
        Notice::Unsure { view, failure, .. } => {
            Some(("unsure", view.as_str(), Some(failure.class)))
        }
        // Throttles and the like are everyday; what cannot be reached or read is not.
        Notice::CallFailed { view, failure, .. } if worrying(failure.class) => {
            Some(("call_failed", view.as_str(), Some(failure.class)))
        }
        Notice::Refreshed {
            view,
            outcome: Outcome::Recomputed,
            ..
        } => Some(("recomputed", view.as_str(), None)),
        Notice::Resolved { view, .. } => Some(("resolved", view.as_str(), None)),
        Notice::TimedOut { view, .. } => Some(("timed_out", view.as_str(), None)),
        Notice::Infeasible { view, .. } => Some(("infeasible", view.as_str(), None)),
        Notice::FeasibleAgain { view } => Some(("feasible", view.as_str(), None)),
        Notice::WarehouseBlocked {
            warehouse, failure, ..
        } => Some(("blocked", warehouse.as_str(), Some(failure.class))),
        Notice::Dispatched { .. }
        | Notice::WouldRefresh { .. }
        | Notice::Adopted { .. }
        | Notice::Refreshed { .. }
        | Notice::CallFailed { .. }
        | Notice::Resumed { .. }
        | Notice::Paused { .. }
        | Notice::ViewAdded { .. }
        | Notice::ViewRemoved { .. }
        | Notice::WarehouseReady { .. }
        | Notice::BreakerOpened { .. }
        | Notice::BreakerClosed { .. }
        | Notice::Overload { .. }
        | Notice::Foreign { .. }
        | Notice::Read { .. }
        | Notice::Recreated { .. }
        | Notice::SweepFailed { .. }
        | Notice::UnknownStatus { .. }
        | Notice::Stale { .. }
        | Notice::LeftRunning { .. } => None,
        Notice::Skipped { view, .. } => Some(("skipped", view.as_str(), None)),
        Notice::StaleParent { view } => Some(("stale_parent", view.as_str(), None)),
    }
}

/// One line for one notice; `held_back` lines like it were not written.
pub fn log(notice: &Notice, held_back: u64) {
    let held_back = (held_back > 0).then_some(held_back);
    match notice {
        Notice::Dispatched { .. } => log_dispatched(notice),
        Notice::WouldRefresh { view, origin } => {
            info!(%view, origin = origin.label(), "would refresh, but only observes");
        }
        Notice::Adopted { .. } => log_adopted(notice),
        Notice::Refreshed { .. } => {
            log_refreshed(notice);
            records::log_recomputed(notice, held_back);
        }
        Notice::Failed { .. } => log_failed(notice, held_back),
        Notice::Unsure { .. } => log_unsure(notice, held_back),
        Notice::Resolved { .. } => log_resolved(notice, held_back),
        Notice::CallFailed { .. } => log_call_failed(notice, held_back),
        Notice::TimedOut { .. } => log_timed_out(notice, held_back),
        Notice::Suspended { .. } => log_suspended(notice, held_back),
        Notice::Resumed { view } => info!(%view, "scheduled again"),
        Notice::Paused { view } => info!(%view, "paused"),
        Notice::Infeasible { view, reachable } => warn!(
            %view,
            reachable_target_lag_s = reachable.as_secs_f64(),
            held_back,
            "target lag is out of reach: it is missed although the view never waits"
        ),
        Notice::FeasibleAgain { view } => {
            info!(%view, held_back, "target lag is within reach again");
        }
        Notice::ViewAdded { view } => info!(%view, "view added"),
        Notice::ViewRemoved { view } => info!(%view, "view removed"),
        Notice::WarehouseReady { warehouse, adopted } => {
            info!(%warehouse, adopted, "warehouse is ready");
        }
        Notice::WarehouseBlocked { .. } => log_blocked(notice, held_back),
        Notice::BreakerOpened { .. } | Notice::BreakerClosed { .. } | Notice::Overload { .. } => {
            log_warehouse(notice);
        }
        // The report's business.
        Notice::Read { .. } => {}
        Notice::Foreign { .. }
        | Notice::Skipped { .. }
        | Notice::UnknownStatus { .. }
        | Notice::StaleParent { .. }
        | Notice::Recreated { .. }
        | Notice::SweepFailed { .. } => records::log(notice, held_back),
        Notice::Stale { attempt } => {
            debug!(attempt = attempt.serial(), "an answer came too late");
        }
        Notice::LeftRunning { view, attempt } => info!(
            %view,
            attempt = attempt.serial(),
            "left running at shutdown; the next life of the daemon adopts it"
        ),
    }
}

/// A warehouse that is away, or too small.
fn log_warehouse(notice: &Notice) {
    if let Notice::BreakerOpened {
        warehouse,
        failure,
        probe_at,
    } = notice
    {
        warn!(
            %warehouse,
            class = failure.class.label(),
            error = &*failure.message,
            probe_at = moment(*probe_at),
            "warehouse is away: one view tries it now and then"
        );
    }
    if let Notice::BreakerClosed { warehouse } = notice {
        info!(%warehouse, "warehouse answers again; its views come back in steps");
    }
    if let Notice::Overload {
        warehouse,
        overloaded,
        factor,
    } = notice
    {
        if *overloaded {
            warn!(
                %warehouse,
                factor,
                "the targets need more slots than max_in_flight; they would have to grow by this factor"
            );
        } else {
            info!(%warehouse, "the slots are enough for the targets again");
        }
    }
}

/// Broken invariants of the scheduler: each is a bug, and says so.
pub fn log_broken_invariants(broken: &[String]) {
    for invariant in broken {
        error!(
            error = invariant.as_str(),
            "an invariant of the scheduler is broken; please report it"
        );
    }
}

fn log_dispatched(notice: &Notice) {
    let Notice::Dispatched {
        view,
        attempt,
        origin,
        delay,
    } = notice
    else {
        return;
    };
    debug!(
        %view,
        attempt = attempt.serial(),
        origin = origin.label(),
        delay_s = delay.as_secs_f64(),
        "refresh dispatched"
    );
}

fn log_adopted(notice: &Notice) {
    let Notice::Adopted {
        view,
        attempt,
        statement,
    } = notice
    else {
        return;
    };
    info!(
        %view,
        attempt = attempt.serial(),
        %statement,
        "adopted a refresh that an earlier life of the daemon left running"
    );
}

fn log_refreshed(notice: &Notice) {
    let Notice::Refreshed {
        view,
        attempt,
        outcome,
        duration,
        cycle,
        ..
    } = notice
    else {
        return;
    };
    debug!(
        %view,
        attempt = attempt.serial(),
        outcome = outcome.label(),
        duration_s = duration.as_secs_f64(),
        peak_lag_s = cycle.map(|cycle| cycle.peak_lag.as_secs_f64()),
        in_target = cycle.map(|cycle| cycle.in_target()),
        "refreshed"
    );
}

fn log_failed(notice: &Notice, held_back: Option<u64>) {
    let Notice::Failed {
        view,
        attempt,
        failure,
        duration,
        retry_at,
    } = notice
    else {
        return;
    };
    warn!(
        %view,
        attempt = attempt.serial(),
        class = failure.class.label(),
        error = &*failure.message,
        mend = failure.mend.as_deref(),
        duration_s = duration.as_secs_f64(),
        retry_at = moment(*retry_at),
        held_back,
        "refresh failed"
    );
}

fn log_unsure(notice: &Notice, held_back: Option<u64>) {
    let Notice::Unsure {
        view,
        attempt,
        failure,
    } = notice
    else {
        return;
    };
    warn!(
        %view,
        attempt = attempt.serial(),
        class = failure.class.label(),
        error = &*failure.message,
        mend = failure.mend.as_deref(),
        held_back,
        "no answer to a submit; its fate is looked up before anything else is sent"
    );
}

fn log_resolved(notice: &Notice, held_back: Option<u64>) {
    let Notice::Resolved {
        view,
        attempt,
        running,
    } = notice
    else {
        return;
    };
    info!(
        %view,
        attempt = attempt.serial(),
        running,
        held_back,
        "the fate of a submit without an answer is known"
    );
}

/// Whether a call that failed this way is worth a person's look.
fn worrying(class: FailureClass) -> bool {
    match class {
        FailureClass::Throttled | FailureClass::TooManyStatements | FailureClass::Transient => {
            false
        }
        FailureClass::Unreachable
        | FailureClass::Away
        | FailureClass::Permanent
        | FailureClass::Data
        | FailureClass::TimedOut
        | FailureClass::Cancelled
        | FailureClass::Unknown => true,
    }
}

fn log_call_failed(notice: &Notice, held_back: Option<u64>) {
    let Notice::CallFailed {
        view,
        attempt,
        failure,
    } = notice
    else {
        return;
    };
    let (attempt, class) = (attempt.serial(), failure.class.label());
    let (error, mend) = (&*failure.message, failure.mend.as_deref());
    if worrying(failure.class) {
        warn!(%view, attempt, class, error, mend, held_back, "a call failed and is made again");
    } else {
        debug!(%view, attempt, class, error, mend, "a call failed and is made again");
    }
}

fn log_timed_out(notice: &Notice, held_back: Option<u64>) {
    let Notice::TimedOut {
        view,
        attempt,
        statement,
        limit,
    } = notice
    else {
        return;
    };
    warn!(
        %view,
        attempt = attempt.serial(),
        %statement,
        limit_s = limit.as_secs_f64(),
        held_back,
        "the refresh runs too long and is being cancelled"
    );
}

fn log_suspended(notice: &Notice, held_back: Option<u64>) {
    let Notice::Suspended {
        view,
        failure,
        probe_at,
    } = notice
    else {
        return;
    };
    error!(
        %view,
        class = failure.class.label(),
        error = &*failure.message,
        mend = failure.mend.as_deref(),
        probe_at = moment(*probe_at),
        held_back,
        "view suspended: it fails until somebody mends it"
    );
}

/// Only a permanent failure waits for a person; the others pass or are somebody's outage.
fn log_blocked(notice: &Notice, held_back: Option<u64>) {
    let Notice::WarehouseBlocked {
        warehouse,
        failure,
        retry_at,
    } = notice
    else {
        return;
    };
    let (class, retry_at) = (failure.class.label(), moment(*retry_at));
    let (error, mend) = (&*failure.message, failure.mend.as_deref());
    let said = "warehouse cannot be used: statements of an earlier life cannot be listed";
    if failure.class == FailureClass::Permanent {
        error!(%warehouse, class, error, mend, retry_at, held_back, "{said}");
    } else {
        warn!(%warehouse, class, error, mend, retry_at, held_back, "{said}");
    }
}

/// RFC 3339 to the millisecond; nothing for a moment outside the calendar.
fn moment(at: Timestamp) -> Option<String> {
    let at = jiff::Timestamp::from_microsecond(at.as_micros()).ok()?;
    Some(format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use tidekeeper_scheduler::{Failure, ViewId, WarehouseId};

    use super::*;
    use crate::logging::tests::logged;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_micros(secs * 1_000_000)
    }

    fn suspended(class: FailureClass) -> Notice {
        let mut failure = Failure::new(class, "relation \"v\" does not exist");
        failure.mend = Some("create the view".into());
        Notice::Suspended {
            view: ViewId::from("sales.v"),
            failure,
            probe_at: at(90),
        }
    }

    #[test]
    fn a_suspension_is_an_error_with_all_that_is_known() {
        let lines = logged(None, || log(&suspended(FailureClass::Permanent), 0));
        assert_eq!(lines.len(), 1);
        let line = &lines[0];
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["view"], "sales.v");
        assert_eq!(line["class"], "permanent");
        assert_eq!(line["error"], "relation \"v\" does not exist");
        assert_eq!(line["mend"], "create the view");
        assert_eq!(line["probe_at"], "1970-01-01T00:01:30.000Z");
        assert!(line.get("held_back").is_none(), "{line}");
    }

    #[test]
    fn a_blocked_warehouse_is_an_error_only_when_somebody_must_act() {
        let blocked = |class| Notice::WarehouseBlocked {
            warehouse: WarehouseId::from("rt"),
            failure: Failure::new(class, "no"),
            retry_at: at(1),
        };
        let lines = logged(None, || {
            log(&blocked(FailureClass::Permanent), 0);
            log(&blocked(FailureClass::Unreachable), 3);
        });
        assert_eq!(lines[0]["level"], "ERROR");
        assert_eq!(lines[1]["level"], "WARN");
        assert_eq!(lines[1]["warehouse"], "rt");
        assert_eq!(lines[1]["held_back"], 3);
    }

    #[test]
    fn a_trouble_is_said_at_once_and_then_once_a_minute_with_a_count() {
        let mut limiter = LogLimiter::new(REPEAT_EVERY);
        let mut admit = |secs, whose| limiter.admit(at(secs), "failed", whose, None);
        assert_eq!(admit(0, "a"), Some(0));
        assert_eq!(admit(1, "a"), None);
        assert_eq!(admit(2, "b"), Some(0), "another view is another matter");
        assert_eq!(admit(59, "a"), None);
        assert_eq!(admit(60, "a"), Some(2));
        assert_eq!(admit(61, "a"), None);
        assert_eq!(admit(500, "a"), Some(1));
    }

    #[test]
    fn another_class_of_failure_is_said_at_once() {
        let mut limiter = LogLimiter::new(REPEAT_EVERY);
        let mut admit = |class| limiter.admit(at(0), "failed", "a", Some(class));
        assert_eq!(admit(FailureClass::Transient), Some(0));
        assert_eq!(admit(FailureClass::Permanent), Some(0));
        assert_eq!(admit(FailureClass::Transient), None);
    }

    #[test]
    fn a_removed_view_is_forgotten() {
        let mut log = NoticeLog::default();
        let lines = logged(None, || {
            log.log(at(0), &suspended(FailureClass::Permanent));
            log.log(at(1), &suspended(FailureClass::Permanent));
            let view = ViewId::from("sales.v");
            log.log(at(2), &Notice::ViewRemoved { view });
            log.log(at(3), &suspended(FailureClass::Permanent));
        });
        let levels: Vec<_> = lines.iter().map(|line| line["level"].clone()).collect();
        assert_eq!(levels, ["ERROR", "INFO", "ERROR"]);
    }

    #[test]
    fn broken_invariants_are_errors() {
        let lines = logged(None, || log_broken_invariants(&["a view is lost".into()]));
        assert_eq!(lines[0]["level"], "ERROR");
        assert_eq!(lines[0]["error"], "a view is lost");
    }
}
