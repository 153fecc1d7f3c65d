//! The name, kind, labels and help of every metric, once.
//!
//! Decides: what the daemon is called in Prometheus. `docs/metrics.md` holds the same list
//! for readers; a test keeps the two in step. Names, kinds and labels are interfaces: alerts
//! and dashboards lean on them.
//! Deliberately absent: values, and the metrics that nothing feeds yet.

/// How a metric may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One metric name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    /// What the exposition must say it is; the constructors are chosen by hand.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "read by the tests that compare")
    )]
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family {
        name,
        kind: Kind::Gauge,
        labels,
        help,
    }
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family {
        name,
        kind: Kind::Counter,
        labels,
        help,
    }
}

const fn histogram(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        kind: Kind::Histogram,
        labels: &["warehouse"],
        help,
    }
}

const VIEW: &[&str] = &["view", "warehouse"];
const WAREHOUSE: &[&str] = &["warehouse"];

/// Configured labels follow the fixed ones.
pub(super) const VIEW_INFO: Family = gauge(
    "tidekeeper_view_info",
    &["view", "warehouse", "database", "stream"],
    "A configured view, always 1; its configured labels are labels here.",
);
pub(super) const VIEW_DATA_TIMESTAMP: Family = gauge(
    "tidekeeper_view_data_timestamp_seconds",
    VIEW,
    "Up to when the visible view holds its stream, as Unix time; absent before the first refresh.",
);
pub(super) const VIEW_UNREAD_AGE: Family = gauge(
    "tidekeeper_view_unread_age_seconds",
    VIEW,
    "Age of the oldest record of its stream that the view has not read, 0 when there is none; absent without an arrival signal.",
);
pub(super) const VIEW_ALERT: Family = gauge(
    "tidekeeper_view_alert",
    &["view", "warehouse", "reason"],
    "1 while a person should look at the view although the daemon goes on, by reason.",
);
pub(super) const RECORDS_SKIPPED: Family = counter(
    "tidekeeper_stream_records_skipped_total",
    VIEW,
    "Records that refreshes left out of the view, as the warehouse reports them.",
);
pub(super) const FOREIGN_REFRESHES: Family = counter(
    "tidekeeper_foreign_refreshes_total",
    &["view", "warehouse", "by"],
    "Refreshes of the view that this daemon has not made: AUTO REFRESH (auto) or somebody's statement.",
);
pub(super) const VIEW_TARGET_LAG: Family = gauge(
    "tidekeeper_view_target_lag_seconds",
    VIEW,
    "The target lag that holds now; absent while the view's schedule is closed.",
);
pub(super) const VIEW_INTERVAL: Family = gauge(
    "tidekeeper_view_interval_seconds",
    VIEW,
    "How long after its data timestamp the view's next refresh starts; absent while closed.",
);
pub(super) const VIEW_STATE: Family = gauge(
    "tidekeeper_view_state",
    &["view", "warehouse", "state"],
    "1 for the state the view is in, 0 for the others.",
);
pub(super) const VIEW_WAIT_REASON: Family = gauge(
    "tidekeeper_view_wait_reason",
    &["view", "warehouse", "reason"],
    "1 for the reason why the view is not being refreshed this moment, 0 for the others.",
);
pub(super) const VIEW_SLO_ACTIVE: Family = gauge(
    "tidekeeper_view_slo_active",
    VIEW,
    "1 while the view is owed its target lag: not closed, not paused, not in observe mode.",
);
pub(super) const VIEW_INFEASIBLE: Family = gauge(
    "tidekeeper_view_infeasible",
    VIEW,
    "1 while the view misses its target lag although it never waits.",
);
pub(super) const VIEW_MIN_TARGET_LAG: Family = gauge(
    "tidekeeper_view_min_target_lag_seconds",
    VIEW,
    "The target lag that an infeasible view could hold, as observed; absent for the others.",
);
pub(super) const VIEW_CYCLES: Family = counter(
    "tidekeeper_view_cycles_total",
    &["view", "warehouse", "result"],
    "Cycles from one successful refresh to the next, by whether the target lag held throughout.",
);
pub(super) const REFRESHES: Family = counter(
    "tidekeeper_refreshes_total",
    &["view", "warehouse", "outcome", "class"],
    "Refresh attempts that have ended; class says why one failed and is empty for the others.",
);
pub(super) const REFRESH_SECONDS: Family = counter(
    "tidekeeper_refresh_seconds_total",
    VIEW,
    "Time from submit to end, summed over all refresh attempts, failed ones included.",
);
pub(super) const VIEW_LAST_DURATION: Family = gauge(
    "tidekeeper_view_last_refresh_duration_seconds",
    VIEW,
    "How long the last successful refresh took, from submit to finish.",
);
pub(super) const VIEW_LAST_SUCCESS: Family = gauge(
    "tidekeeper_view_last_success_timestamp_seconds",
    VIEW,
    "When the last successful refresh finished, as Unix time.",
);
pub(super) const VIEW_RETENTION_DEADLINE: Family = gauge(
    "tidekeeper_view_retention_deadline_timestamp_seconds",
    VIEW,
    "When the stream begins to drop records the view has not read, as Unix time; only where retention is configured.",
);
pub(super) const REFRESH_DURATION: Family = histogram(
    "tidekeeper_refresh_duration_seconds",
    "Duration of successful refreshes, from submit to finish.",
);
pub(super) const DISPATCH_DELAY: Family = histogram(
    "tidekeeper_dispatch_delay_seconds",
    "Time from when a view was due to when its refresh was submitted.",
);
pub(super) const CYCLE_PEAK_LAG_RATIO: Family = histogram(
    "tidekeeper_cycle_peak_lag_ratio",
    "Peak lag of a cycle divided by its target lag; up to 1 is in target.",
);
pub(super) const IN_FLIGHT: Family = gauge(
    "tidekeeper_in_flight_statements",
    WAREHOUSE,
    "Refresh statements that the warehouse may be running for this daemon.",
);
pub(super) const SLOTS: Family = gauge(
    "tidekeeper_warehouse_slots",
    WAREHOUSE,
    "Refreshes that may run at once now: max_in_flight, or fewer after the warehouse refused some.",
);
pub(super) const BREAKER_OPEN: Family = gauge(
    "tidekeeper_warehouse_breaker_open",
    WAREHOUSE,
    "1 while the warehouse is away and only one view tries it now and then.",
);
pub(super) const DEFERRED: Family = gauge(
    "tidekeeper_deferred_views",
    &["warehouse", "reason"],
    "Views that are due and not admitted, by reason.",
);
pub(super) const AWAKE_SECONDS: Family = counter(
    "tidekeeper_awake_seconds_total",
    WAREHOUSE,
    "How long this daemon's statements have kept the warehouse awake; only where that is billed.",
);
pub(super) const API_REQUESTS: Family = counter(
    "tidekeeper_data_api_requests_total",
    &["warehouse", "operation", "result"],
    "Calls to the Redshift Data API, by operation and by how they ended.",
);
pub(super) const STREAM_PROBE_REQUESTS: Family = counter(
    "tidekeeper_stream_probe_requests_total",
    &["stream", "operation", "result"],
    "Calls to Kinesis that looked for unread records, by operation and by how they ended.",
);
pub(super) const STREAM_PROBE_UP: Family = gauge(
    "tidekeeper_stream_probe_up",
    &["stream"],
    "1 if the latest look at a probed stream told what is unread, else 0.",
);
pub(super) const BUILD_INFO: Family = gauge(
    "tidekeeper_build_info",
    &["version"],
    "The running program, always 1.",
);
pub(super) const RELOAD_SUCCESSFUL: Family = gauge(
    "tidekeeper_config_last_reload_successful",
    &[],
    "1 if the last attempt to load the configuration succeeded, else 0.",
);
pub(super) const RELOAD_TIMESTAMP: Family = gauge(
    "tidekeeper_config_last_reload_success_timestamp_seconds",
    &[],
    "When the configuration in force was loaded, as Unix time.",
);
pub(super) const INVALID_VIEWS: Family = gauge(
    "tidekeeper_config_invalid_views",
    &[],
    "Views of the configuration in force that are left out because of mistakes in them.",
);
pub(super) const HEARTBEAT: Family = gauge(
    "tidekeeper_loop_heartbeat_timestamp_seconds",
    &[],
    "When the daemon's loop last came round, as Unix time.",
);
pub(super) const STALE_EVENTS: Family = counter(
    "tidekeeper_stale_events_total",
    &[],
    "Answers that came for refresh attempts that were no more.",
);
pub(super) const INVARIANT_VIOLATIONS: Family = counter(
    "tidekeeper_invariant_violations_total",
    &[],
    "Invariants of the scheduler found broken; every one is a bug.",
);

/// Every metric there is.
#[cfg(test)]
pub(super) const ALL: &[Family] = &[
    VIEW_INFO,
    VIEW_DATA_TIMESTAMP,
    VIEW_UNREAD_AGE,
    VIEW_ALERT,
    RECORDS_SKIPPED,
    FOREIGN_REFRESHES,
    VIEW_TARGET_LAG,
    VIEW_INTERVAL,
    VIEW_STATE,
    VIEW_WAIT_REASON,
    VIEW_SLO_ACTIVE,
    VIEW_INFEASIBLE,
    VIEW_MIN_TARGET_LAG,
    VIEW_CYCLES,
    REFRESHES,
    REFRESH_SECONDS,
    VIEW_LAST_DURATION,
    VIEW_LAST_SUCCESS,
    VIEW_RETENTION_DEADLINE,
    REFRESH_DURATION,
    DISPATCH_DELAY,
    CYCLE_PEAK_LAG_RATIO,
    IN_FLIGHT,
    SLOTS,
    BREAKER_OPEN,
    DEFERRED,
    AWAKE_SECONDS,
    API_REQUESTS,
    STREAM_PROBE_REQUESTS,
    STREAM_PROBE_UP,
    BUILD_INFO,
    RELOAD_SUCCESSFUL,
    RELOAD_TIMESTAMP,
    INVALID_VIEWS,
    HEARTBEAT,
    STALE_EVENTS,
    INVARIANT_VIOLATIONS,
];
