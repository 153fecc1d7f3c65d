//! Why a view is as it is, in one sentence a person understands.
//!
//! Decides: the wording. One clause for what the view does or waits for, one for what went
//! wrong last, one for a target that cannot be held.
//! Deliberately absent: anything a program should read; that is in the other fields.

use tidekeeper_scheduler::{
    Access, Origin, Outcome, Span, StateName, Timestamp, ViewSnapshot, Wait, WaitReason,
    WarehouseSnapshot,
};

/// Below this, Redshift's own AUTO REFRESH does well on a busy warehouse (control law §4).
const AUTO_REFRESH_DOES_WELL: Span = Span::from_secs(10);

pub(super) fn view(
    view: &ViewSnapshot,
    warehouse: Option<&WarehouseSnapshot>,
    now: Timestamp,
) -> String {
    let mut sentence = match view.wait {
        None => doing(view, now),
        Some(wait) => waiting(view, warehouse, wait, now),
    };
    if let Some(failure) = &view.last_failure
        && view.failures_in_a_row > 0
    {
        let times = match view.failures_in_a_row {
            1 => "once".to_owned(),
            more => format!("{more} times in a row"),
        };
        sentence += &format!("; it failed {times}, last with: {}", failure.message);
        if let Some(mend) = &failure.mend {
            sentence += &format!(" (to mend it: {mend})");
        }
    }
    if view.infeasible {
        sentence += &infeasible(view);
    }
    for alert in &view.alerts {
        sentence += &format!("; look at it: {}", alert.text);
    }
    if let Some(unread) = view.unread.filter(|unread| unread.since.is_some()) {
        let age = span(unread.age(now));
        sentence += &format!("; the oldest record that it has not read came {age} ago");
    }
    if view.last_outcome == Some(Outcome::Recomputed) {
        sentence += "; its latest refresh computed it from scratch";
    }
    if view.stale_parent {
        sentence += "; it stands on another view that was not up to date: list that one too, and name it in `after`";
    }
    let (times, busy) = view.auto_refreshes;
    if times > 0 {
        // Where nobody else refreshes a view that is only observed, ending it ends all.
        let (too, mend) = if view.observed {
            ("", "")
        } else {
            let mend = " (to end that: ALTER MATERIALIZED VIEW … AUTO REFRESH NO)";
            (" too", mend)
        };
        let busy = span(busy);
        sentence += &format!(
            "; AUTO REFRESH has refreshed it {times} times{too}, which took {busy} of the warehouse{mend}"
        );
    }
    sentence
}

fn infeasible(view: &ViewSnapshot) -> String {
    let target = view.target_lag.unwrap_or(view.configured_target_lag);
    let mut clause = format!(
        "; its target lag of {} is out of reach although it is refreshed back to back",
        span(target)
    );
    if let Some(reachable) = view.reachable_target_lag {
        clause += &format!(": it could hold about {}", span(reachable));
    }
    if target < AUTO_REFRESH_DOES_WELL {
        clause += "; below about 10 s, consider AUTO REFRESH";
    }
    clause
}

/// What a view does that waits for nothing.
fn doing(view: &ViewSnapshot, now: Timestamp) -> String {
    let since = match view.submitted {
        None => String::new(),
        Some((at, origin)) => format!(" for {}, {}", span(now - at), because(origin)),
    };
    match view.state {
        StateName::Submitting => format!("its refresh has been under way{since}"),
        StateName::Running => {
            let expected = match view.expected_duration {
                None => String::new(),
                Some(expected) => format!("; a refresh takes about {}", span(expected)),
            };
            let unanswered = view
                .last_failure
                .as_ref()
                .map_or_else(String::new, |failure| {
                    format!("; trouble: {}", failure.message)
                });
            format!("it is being refreshed{since}{expected}{unanswered}")
        }
        StateName::Cancelling => {
            format!("its refresh ran too long{since} and is being cancelled")
        }
        StateName::Unsure => format!(
            "its refresh was submitted{since}, but the answer was lost: \
             whether it runs is being looked up"
        ),
        StateName::Waiting => "it is about to be refreshed".to_owned(),
        StateName::Suspended => "it is suspended".to_owned(),
        StateName::Paused => "it is paused".to_owned(),
        StateName::Closed => "its schedule is closed".to_owned(),
    }
}

fn because(origin: Origin) -> &'static str {
    match origin {
        Origin::Lag => "because its lag called for it",
        Origin::Parent => "because a view it stands on was refreshed",
        Origin::Pinned => "because its pinned time had come",
        Origin::Manual => "because somebody asked",
        Origin::Probe => "to see whether it works again",
        Origin::Adopted => "begun by an earlier life of the daemon",
    }
}

fn waiting(
    view: &ViewSnapshot,
    warehouse: Option<&WarehouseSnapshot>,
    wait: Wait,
    now: Timestamp,
) -> String {
    let until = match wait.until {
        Some(until) if until > now => Some(span(until - now)),
        Some(_) | None => None,
    };
    let then = |before: &str| match &until {
        Some(until) => format!("{before} in {until}"),
        None => format!("{before} now"),
    };
    let name = view.warehouse.as_str();
    match wait.reason {
        WaitReason::NotDue => not_due(view, &then("its next refresh starts")),
        WaitReason::Backoff => then("it waits out a failure and is tried again"),
        WaitReason::Parent => "the views it stands on have nothing new for it".to_owned(),
        WaitReason::Closed => match &until {
            Some(until) => format!("its schedule is closed and opens in {until}"),
            None => "its schedule is closed".to_owned(),
        },
        WaitReason::Paused => "somebody paused it, and it stays so until it is resumed".to_owned(),
        WaitReason::Suspended => {
            then("it is suspended because it kept failing, and is looked at again")
        }
        WaitReason::Slots => match warehouse {
            Some(at) if at.overloaded => format!(
                "it is due, but all {} slots of warehouse {name} are taken, and the targets there \
                 need {:.1}: raise max_in_flight, or let the target lags grow {:.2} times",
                at.slots,
                at.slots_needed,
                at.slots_needed / f64::from(at.slots.max(1))
            ),
            Some(at) => format!(
                "it is due, but all {} slots of warehouse {name} are taken",
                at.slots
            ),
            None => format!("it is due, but the slots of warehouse {name} are taken"),
        },
        WaitReason::ApiRate => then("it is due, but the share of the API quota is spent; it goes"),
        WaitReason::Adopting => format!(
            "it is due, but warehouse {name} is first searched for refreshes \
             that an earlier life of the daemon left running"
        ),
        WaitReason::Breaker => then(&format!(
            "it is due, but warehouse {name} is away; one view tries it"
        )),
        WaitReason::Quiet => "nothing is unread on its stream".to_owned(),
        WaitReason::WarehouseBlocked => blocked(warehouse, name, &then("it is tried again")),
        WaitReason::Draining => "the daemon is shutting down and begins nothing new".to_owned(),
        WaitReason::Observe => "it is only observed: the daemon never refreshes it".to_owned(),
    }
}

fn not_due(view: &ViewSnapshot, next: &str) -> String {
    match (view.target_lag, view.expected_duration) {
        (Some(target), Some(expected)) => format!(
            "{next}, late enough to read much and early enough for its target lag of {} \
             (a refresh takes about {})",
            span(target),
            span(expected)
        ),
        (Some(target), None) => format!("{next}, to keep its target lag of {}", span(target)),
        (None, _) => next.to_owned(),
    }
}

fn blocked(warehouse: Option<&WarehouseSnapshot>, name: &str, again: &str) -> String {
    let mut sentence = format!("it is due, but warehouse {name} cannot be used");
    if let Some(Access::Blocked { failure, .. }) = warehouse.map(|at| &at.access) {
        sentence += &format!(": {}", failure.message);
        if let Some(mend) = &failure.mend {
            sentence += &format!(" (to mend it: {mend})");
        }
    }
    format!("{sentence}; {again}")
}

/// A length of time as a person would say it: `340 ms`, `4.2 s`, `3 min 5 s`, `2 h 10 min`.
pub(super) fn span(span: Span) -> String {
    let sign = if span.is_negative() { "-" } else { "" };
    let micros = span.as_micros().unsigned_abs();
    let millis = micros / 1_000 + u64::from(micros % 1_000 >= 500);
    if millis < 1_000 {
        return format!("{sign}{millis} ms");
    }
    let tenths = micros / 100_000 + u64::from(micros % 100_000 >= 50_000);
    if tenths < 600 {
        return match tenths % 10 {
            0 => format!("{sign}{} s", tenths / 10),
            rest => format!("{sign}{}.{rest} s", tenths / 10),
        };
    }
    let secs = micros / 1_000_000 + u64::from(micros % 1_000_000 >= 500_000);
    let (large, small, large_unit, small_unit) = match secs {
        0..3_600 => (secs / 60, secs % 60, "min", "s"),
        3_600..86_400 => (secs / 3_600, secs % 3_600 / 60, "h", "min"),
        86_400.. => (secs / 86_400, secs % 86_400 / 3_600, "d", "h"),
    };
    match small {
        0 => format!("{sign}{large} {large_unit}"),
        small => format!("{sign}{large} {large_unit} {small} {small_unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_as_people_say_them() {
        let said = |millis| span(Span::from_millis(millis));
        assert_eq!(said(0), "0 ms");
        assert_eq!(said(340), "340 ms");
        assert_eq!(said(4_230), "4.2 s");
        assert_eq!(said(30_000), "30 s");
        assert_eq!(said(59_960), "1 min");
        assert_eq!(said(185_000), "3 min 5 s");
        assert_eq!(said(7_800_000), "2 h 10 min");
        assert_eq!(said(90_000_000), "1 d 1 h");
        assert_eq!(said(-1_500), "-1.5 s");
    }
}
