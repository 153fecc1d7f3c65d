//! The statement that reads a warehouse's records of refreshes.
//!
//! Decides: the SQL (`SYS_MV_REFRESH_HISTORY`, `SYS_STREAM_SCAN_STATES` and `_ERRORS` in one
//! UNION ALL), and how it does without what a release or a user lacks.
//! Deliberately absent: running it, and what its rows mean (`records`).

use std::fmt::Write as _;

use tidekeeper_scheduler::Failure;

/// Bytes of names, which a statement holds three times (it may have 100 KB); beyond, time alone
/// selects.
const NAMES_MAX: usize = 30_000;

/// Which parts of the statement this warehouse and user can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a column or view that may be missing"
)]
pub(super) struct Form {
    /// Else `SVL_MV_REFRESH_STATUS`, on provisioned clusters.
    sys_history: bool,
    identity: bool,
    users: bool,
    states: bool,
    lag: bool,
    latency: bool,
    errors: bool,
}

impl Default for Form {
    fn default() -> Self {
        Self {
            sys_history: true,
            identity: true,
            users: true,
            states: true,
            lag: true,
            latency: true,
            errors: true,
        }
    }
}

/// How far a statement looks back, as the server writes moments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach<'a> {
    /// Refreshes that ended since then, of each view so many.
    pub(super) since: &'a str,
    pub(super) latest: u32,
    /// What those have read since then.
    pub(super) scans_since: &'a str,
}

impl Form {
    /// The form without what this failure says is missing; `None` where that changes nothing.
    pub(super) fn without(self, failure: &Failure) -> Option<Self> {
        let text = failure.message.to_lowercase();
        let missing = text.contains("does not exist") || text.contains("permission denied");
        if !missing {
            return None;
        }
        let mut less = self;
        if text.contains("lag_from_latest") {
            less.lag = false;
        } else if text.contains("max_latency_s") {
            less.latency = false;
        } else if text.contains("mv_id") {
            less.identity = false;
        } else if text.contains("user_id") || text.contains("userid") {
            less.users = false;
        } else if text.contains("sys_stream_scan_errors") {
            less.errors = false;
        } else if text.contains("sys_stream_scan_states") {
            less.states = false;
        } else if text.contains("sys_mv_refresh_history") {
            less.sys_history = false;
        }
        (less != self).then_some(less)
    }

    /// What is left out, for people.
    pub(super) fn missing(self) -> Vec<&'static str> {
        [
            (self.sys_history, "sys_mv_refresh_history"),
            (self.identity, "sys_mv_refresh_history.mv_id"),
            (self.users, "sys_mv_refresh_history.user_id"),
            (self.states, "sys_stream_scan_states"),
            (self.lag, "sys_stream_scan_states.lag_from_latest"),
            (self.latency, "sys_stream_scan_states.max_latency_s"),
            (self.errors, "sys_stream_scan_errors"),
        ]
        .into_iter()
        .filter_map(|(there, name)| (!there).then_some(name))
        .collect()
    }

    /// One statement, every column text, so that the parts agree on any release.
    pub(super) fn sql(self, names: &[String], reach: Reach<'_>) -> String {
        let names = names.join(", ");
        let named = if names.len() > NAMES_MAX {
            String::new()
        } else {
            format!("mv_name IN ({names}) AND ")
        };
        let mut text = self.history(&named, reach);
        // A batch is recorded while its refresh runs: time alone would bring those of all
        // refreshes since the longest one began.
        let (transaction, history, ended) = if self.sys_history {
            ("transaction_id", "sys_mv_refresh_history", "end_time")
        } else {
            ("xid", "svl_mv_refresh_status", "endtime")
        };
        let (since, scans_since) = (reach.since, reach.scans_since);
        let scanned = format!(
            "{named}record_time >= '{scans_since}'::timestamp AND transaction_id IN \
             (SELECT {transaction} FROM {history} WHERE {ended} >= '{since}'::timestamp)"
        );
        // Writing to a string cannot fail.
        if self.states {
            let _ = write!(text, " UNION ALL {}", self.scan(&scanned));
        }
        if self.errors {
            let _ = write!(text, " UNION ALL {}", errors(&scanned));
        }
        text
    }

    fn history(self, named: &str, reach: Reach<'_>) -> String {
        let identity = if self.sys_history && self.identity {
            "mv_id::varchar"
        } else {
            "''::varchar"
        };
        let user = match (self.users, self.sys_history) {
            (true, true) => "user_id::varchar",
            (true, false) => "userid::varchar",
            (false, _) => "''::varchar",
        };
        let Reach { since, latest, .. } = reach;
        let history = if self.sys_history {
            format!(
                "SELECT TRIM(database_name) AS db, TRIM(schema_name) AS sch, TRIM(mv_name) AS mv, \
                 transaction_id::varchar AS tx, {identity} AS ident, {user} AS usr, TRIM(refresh_type) AS kind, \
                 TRIM(status) AS said, start_time::varchar AS t0, end_time::varchar AS t1, \
                 ROW_NUMBER() OVER (PARTITION BY database_name, schema_name, mv_name \
                 ORDER BY start_time DESC) AS nth \
                 FROM sys_mv_refresh_history WHERE {named}end_time >= '{since}'::timestamp"
            )
        } else {
            format!(
                "SELECT TRIM(db_name) AS db, TRIM(schema_name) AS sch, TRIM(mv_name) AS mv, \
                 xid::varchar AS tx, {identity} AS ident, {user} AS usr, TRIM(refresh_type) AS kind, \
                 TRIM(status) AS said, starttime::varchar AS t0, endtime::varchar AS t1, \
                 ROW_NUMBER() OVER (PARTITION BY db_name, schema_name, mv_name \
                 ORDER BY starttime DESC) AS nth \
                 FROM svl_mv_refresh_status WHERE {named}endtime >= '{since}'::timestamp"
            )
        };
        format!(
            "SELECT 'h' AS part, db, sch, mv, tx, ident, usr, kind, said, t0, t1, \
             ''::varchar AS n, ''::varchar AS skipped, ''::varchar AS bytes, \
             ''::varchar AS behind, ''::varchar AS late, ''::varchar AS logged \
             FROM ({history}) AS h WHERE nth <= {latest}"
        )
    }

    /// What each refresh has read: a row for each batch and shard, made one. `t1` is when the
    /// newest of its records arrived; `t0` the same of the shard where that is earliest, as
    /// far as the view surely holds the whole stream. A shard's last batch tells how far from
    /// its end it stopped (`behind`), when that was (`logged`), and how long the oldest record
    /// of the batch had waited by then (`late`).
    fn scan(self, scanned: &str) -> String {
        let of_last = |there, which: &str, column: &str| {
            if there {
                format!("MAX(CASE WHEN nth = 1{which} THEN {column} END)")
            } else {
                "NULL::bigint".to_owned()
            }
        };
        let lag = of_last(self.lag, "", "lag_from_latest");
        let latency = of_last(self.latency, " AND scanned_rows > 0", "max_latency_s");
        let columns = [
            (self.lag, "lag_from_latest"),
            (self.latency, "max_latency_s"),
        ];
        let columns = columns.into_iter().filter(|(there, _)| *there);
        let columns: String = columns.map(|(_, name)| format!(", {name}")).collect();
        format!(
            "SELECT 's', '', '', TRIM(mv_name), transaction_id::varchar, '', '', '', '', \
             MIN(newest)::varchar, MAX(newest)::varchar, SUM(n)::varchar, SUM(skipped)::varchar, \
             SUM(bytes)::varchar, SUM(behind)::varchar, MAX(late)::varchar, MIN(logged)::varchar \
             FROM (SELECT mv_name, transaction_id, partition_id, SUM(scanned_rows) AS n, \
             SUM(skipped_rows) AS skipped, SUM(scanned_bytes) AS bytes, \
             MAX(CASE WHEN scanned_rows > 0 THEN stream_record_time_max END) AS newest, \
             {lag} AS behind, {latency} AS late, MAX(record_time) AS logged \
             FROM (SELECT mv_name, transaction_id, partition_id, scanned_rows, skipped_rows, \
             scanned_bytes, stream_record_time_max, record_time{columns}, \
             ROW_NUMBER() OVER (PARTITION BY mv_name, transaction_id, partition_id \
             ORDER BY record_time DESC, stream_record_time_max DESC) AS nth \
             FROM sys_stream_scan_states WHERE {scanned}) AS batches \
             GROUP BY mv_name, transaction_id, partition_id) AS shards \
             GROUP BY mv_name, transaction_id"
        )
    }
}

/// What was skipped, by reason (`said`) and code (`kind`), with shard and position of one of
/// the records (`ident`).
fn errors(scanned: &str) -> String {
    format!(
        "SELECT 'e', '', '', TRIM(mv_name), transaction_id::varchar, \
         MIN(TRIM(partition_id) || ' ' || TRIM(position)), '', error_code::varchar, \
         TRIM(error_reason), '', '', COUNT(*)::varchar, '', '', '', '', '' \
         FROM sys_stream_scan_errors WHERE {scanned} \
         GROUP BY mv_name, transaction_id, error_code, error_reason"
    )
}
