//! What the warehouse's own records tell → log lines.

use tidekeeper_scheduler::{Notice, Outcome};
use tracing::{debug, error, warn};

use super::moment;

pub(super) fn log(notice: &Notice, held_back: Option<u64>) {
    log_foreign(notice);
    log_skipped(notice, held_back);
    if let Notice::UnknownStatus { view, text } = notice {
        warn!(
            %view,
            status = &**text,
            held_back,
            "the warehouse says of a refresh what no rule knows; it counts as data"
        );
    }
    if let Notice::StaleParent { view } = notice {
        warn!(
            %view,
            held_back,
            "the view stands on another view that was not up to date: list that one too, and name it in `after`"
        );
    }
    if let Notice::Recreated { view } = notice {
        warn!(
            %view,
            "the view was dropped and created again: what was learned of it is forgotten"
        );
    }
    if let Notice::SweepFailed {
        warehouse,
        failure,
        retry_at,
    } = notice
    {
        warn!(
            %warehouse,
            class = failure.class.label(),
            error = &*failure.message,
            mend = failure.mend.as_deref(),
            retry_at = moment(*retry_at),
            "the warehouse's records of refreshes cannot be read; refreshes count as data meanwhile"
        );
    }
}

pub(super) fn log_recomputed(notice: &Notice, held_back: Option<u64>) {
    if let Notice::Refreshed {
        view,
        outcome: Outcome::Recomputed,
        duration,
        ..
    } = notice
    {
        warn!(
            %view,
            duration_s = duration.as_secs_f64(),
            held_back,
            "the refresh computed the view from scratch: its SQL cannot be refreshed incrementally"
        );
    }
}

fn log_foreign(notice: &Notice) {
    let Notice::Foreign { view, refresh, .. } = notice else {
        return;
    };
    let record = &refresh.record;
    debug!(
        %view,
        by = refresh.by.label(),
        outcome = record.result.as_ref().map_or("failed", |outcome| outcome.label()),
        error = record.result.as_ref().err().map(|failure| &*failure.message),
        duration_s = (record.ended_at - record.began_at).as_secs_f64(),
        "somebody else has refreshed the view"
    );
}

fn log_skipped(notice: &Notice, held_back: Option<u64>) {
    let Notice::Skipped {
        view,
        records,
        all,
        reason,
    } = notice
    else {
        return;
    };
    let records = (*records > 0).then_some(*records);
    let reason = reason.as_deref();
    if *all {
        error!(%view, records, reason, held_back, "every record that the stream gave was skipped");
    } else {
        warn!(%view, records, reason, held_back, "records were skipped");
    }
}
