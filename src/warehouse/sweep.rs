//! Reading the warehouse's own records of refreshes: one statement for all views of a user.
//!
//! Decides: the statement (`SYS_MV_REFRESH_HISTORY`, `SYS_STREAM_SCAN_STATES` and `_ERRORS`
//! in one UNION ALL), how it does without what a release or a user lacks, and whose refresh a
//! record tells of. Deliberately absent: when to look, and what follows (the scheduler's).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidekeeper_scheduler::{
    Asked, Failure, Foreign, Read, Record, RefreshedBy, Span, Sweep, Timestamp, ViewId,
};

use super::outcome;
use super::question::{Question, Rows, Value};
use super::{Auth, Client, Refresh, sql};

/// Longer than any query of system views should take.
const LIMIT: Duration = Duration::from_secs(30);
/// Server times and ours, converted, may differ by so much.
const SLACK: Span = Span::from_secs(2);
/// Of each view so many of its latest refreshes are read; at a look back over a day so many.
const LATEST: u32 = 250;
const LATEST_OF_DAY: u32 = 50;
/// A sweep that reaches back further than this is a look back at a day.
const LOOK_BACK: Span = Span::from_secs(12 * 3_600);
/// The scan's records are many; the look back at the start reads so far.
const SCANS_SINCE: Span = Span::from_secs(900);
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

impl Form {
    /// The form without what this failure says is missing; `None` where that changes nothing.
    fn without(self, failure: &Failure) -> Option<Self> {
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
    pub(super) fn sql(
        self,
        names: &[String],
        (since, latest): (&str, u32),
        scans_since: &str,
    ) -> String {
        let names = names.join(", ");
        let named = if names.len() > NAMES_MAX {
            String::new()
        } else {
            format!("mv_name IN ({names}) AND ")
        };
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
        let mut text = format!(
            "SELECT 'h' AS part, db, sch, mv, tx, ident, usr, kind, said, t0, t1, \
             ''::varchar AS n, ''::varchar AS skipped, ''::varchar AS bytes, \
             ''::varchar AS behind, ''::varchar AS late FROM ({history}) AS h WHERE nth <= {latest}"
        );
        if self.states {
            let column = |there, name: &str| {
                if there {
                    format!("MAX({name})::varchar")
                } else {
                    "''::varchar".to_owned()
                }
            };
            text.push_str(&format!(
                " UNION ALL SELECT 's', '', '', TRIM(mv_name), transaction_id::varchar, '', '', '', \
                 '', '', MAX(stream_record_time_max)::varchar, SUM(scanned_rows)::varchar, \
                 SUM(skipped_rows)::varchar, SUM(scanned_bytes)::varchar, {}, {} \
                 FROM sys_stream_scan_states \
                 WHERE {named}record_time >= '{scans_since}'::timestamp \
                 GROUP BY mv_name, transaction_id",
                column(self.lag, "lag_from_latest"),
                column(self.latency, "max_latency_s"),
            ));
        }
        if self.errors {
            text.push_str(&format!(
                " UNION ALL SELECT 'e', '', '', TRIM(mv_name), transaction_id::varchar, '', '', '', \
                 TRIM(error_reason), '', '', COUNT(*)::varchar, '', '', '', '' \
                 FROM sys_stream_scan_errors \
                 WHERE {named}record_time >= '{scans_since}'::timestamp \
                 GROUP BY mv_name, transaction_id, error_reason"
            ));
        }
        text
    }
}

/// What a sweep is to find out, of the views of one user.
#[derive(Clone, Debug)]
struct Part<'a> {
    database: &'a str,
    auth: &'a Auth,
    views: Vec<&'a Refresh>,
}

impl Client {
    /// Reads what these attempts did, and who else has refreshed these views since.
    ///
    /// # Errors
    /// When the records of any of the views' users cannot be read.
    pub async fn sweep(
        &self,
        views: &[Arc<Refresh>],
        since: Timestamp,
        asked: &[Asked],
    ) -> Result<Sweep, Failure> {
        let mut parts: BTreeMap<&Auth, Part<'_>> = BTreeMap::new();
        for view in views {
            let part = parts.entry(&view.auth).or_insert_with(|| Part {
                database: &view.database,
                auth: &view.auth,
                views: Vec::new(),
            });
            part.views.push(view);
        }
        let mut found = Sweep::default();
        for part in parts.into_values() {
            let rows = self.records(&part, since).await?;
            let records = self.read_records(&part, &rows);
            let known = found.foreign.len();
            sort_out(&records, asked, &mut found);
            if let Some(foreign) = found.foreign.get_mut(known..) {
                self.name_users(&part, foreign).await;
            }
        }
        found.verdicts.sort_by_key(|(_, _, record)| record.began_at);
        found
            .foreign
            .sort_by_key(|(_, foreign)| foreign.record.began_at);
        Ok(found)
    }

    /// The parts of the records that these views' users or this release lack.
    ///
    /// # Errors
    /// When they cannot be read at all.
    pub async fn missing_records(
        &self,
        views: &[Arc<Refresh>],
    ) -> Result<Vec<&'static str>, Failure> {
        self.sweep(views, (self.life.now)(), &[]).await?;
        let missing = views
            .iter()
            .flat_map(|view| self.form(&view.auth).missing());
        Ok(missing.collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// Asks, with less where something is missing; what a user lacks is remembered.
    async fn records(&self, part: &Part<'_>, since: Timestamp) -> Result<Rows, Failure> {
        let names: BTreeSet<String> = part.views.iter().map(|view| view_name(view)).collect();
        let names: Vec<String> = names.iter().map(|name| sql::literal(name)).collect();
        let recently = (self.life.now)() - SCANS_SINCE;
        let latest = if since < (self.life.now)() - LOOK_BACK {
            LATEST_OF_DAY
        } else {
            LATEST
        };
        let scans = since.max(recently);
        let (since, scans) = (self.server_text(since), self.server_text(scans));
        loop {
            let form = self.form(part.auth);
            let text = form.sql(&names, (&since, latest), &scans);
            let asked = Question {
                sql: &text,
                settings: &[],
                database: part.database,
                auth: part.auth,
                limit: LIMIT,
            };
            let failure = match self.question(&asked).await {
                Ok(rows) => return Ok(rows),
                Err(failure) => failure,
            };
            let Some(less) = form.without(&failure) else {
                return Err(failure);
            };
            tracing::info!(
                warehouse = %self.settings.id,
                missing = less.missing().join(", "),
                "the warehouse's records are read without what it does not have"
            );
            self.forms
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(part.auth.clone(), less);
        }
    }

    /// Ids become names; where nobody tells them they stay ids.
    async fn name_users(&self, part: &Part<'_>, foreign: &mut [(ViewId, Foreign)]) {
        let ids = foreign.iter();
        let ids: BTreeSet<Arc<str>> = ids
            .filter_map(|(_, foreign)| foreign.record.user.clone())
            .collect();
        if self.users.lack(&ids) {
            let asked = Question {
                sql: "SELECT usesysid::varchar AS id, usename::varchar AS name FROM pg_user",
                settings: &[],
                database: part.database,
                auth: part.auth,
                limit: LIMIT,
            };
            let rows = self.question(&asked).await.unwrap_or_default();
            let names = rows
                .rows
                .iter()
                .map(|row| (rows.text(row, "id"), rows.text(row, "name")));
            self.users.learn(ids, names);
        }
        for (_, foreign) in foreign {
            let id = foreign.record.user.take();
            foreign.record.user = id.map(|id| self.users.name(id));
        }
    }

    /// What this user's records can be asked for, as far as it is known.
    pub(super) fn form(&self, auth: &Auth) -> Form {
        let forms = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        forms.get(auth).copied().unwrap_or_default()
    }

    /// A moment of ours as the server's clock would write it.
    fn server_text(&self, at: Timestamp) -> String {
        let at = jiff::Timestamp::from_microsecond((at + self.offset_span()).as_micros());
        let at = at.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        at.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()
    }

    /// A server's timestamp without a zone (UTC), on our clock.
    fn own_time(&self, text: &str) -> Option<Timestamp> {
        let at: jiff::civil::DateTime = text.trim().replace(' ', "T").parse().ok()?;
        let at = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        Some(Timestamp::from_micros(at.as_microsecond()) - self.offset_span())
    }

    fn read_records(&self, part: &Part<'_>, rows: &Rows) -> Vec<(ViewId, RefreshedBy, Record)> {
        let mut reads: BTreeMap<(String, i64), Read> = BTreeMap::new();
        let mut reasons: BTreeMap<(String, i64), (u64, Arc<str>)> = BTreeMap::new();
        for row in &rows.rows {
            let text = |column: &str| rows.text(row, column);
            let key = (text("mv"), number(&text("tx")).unwrap_or_default());
            let count = |column: &str| number(&text(column)).and_then(|n| u64::try_from(n).ok());
            match text("part").as_str() {
                "s" => {
                    let read = Read {
                        records: count("n").unwrap_or_default(),
                        skipped: count("skipped").unwrap_or_default(),
                        bytes: count("bytes").unwrap_or_default(),
                        newest: self.own_time(&text("t1")),
                        behind: count("behind"),
                        reason: None,
                    };
                    reads.insert(key, read);
                }
                "e" => {
                    let often = count("n").unwrap_or_default();
                    let most = reasons.get(&key).map_or(0, |(most, _)| *most);
                    if often > most {
                        reasons.insert(key, (often, text("said").as_str().into()));
                    }
                }
                _ => {}
            }
        }
        for (key, (_, reason)) in reasons {
            if let Some(read) = reads.get_mut(&key) {
                read.reason = Some(reason);
            }
        }
        let history = rows.rows.iter().filter(|row| rows.text(row, "part") == "h");
        history
            .filter_map(|row| self.record(part, rows, row, &reads))
            .collect()
    }

    fn record(
        &self,
        part: &Part<'_>,
        rows: &Rows,
        row: &[Value],
        reads: &BTreeMap<(String, i64), Read>,
    ) -> Option<(ViewId, RefreshedBy, Record)> {
        let text = |column: &str| rows.text(row, column);
        let (database, schema, name) = (text("db"), text("sch"), text("mv"));
        let view = part.views.iter().find(|view| {
            view_name(view) == name
                && view.database == database
                && folded(view.schema.as_deref().unwrap_or("public"), view) == schema
        })?;
        let transaction = number(&text("tx"))?;
        let read = reads.get(&(name, transaction)).cloned();
        let status = outcome::read(&text("said"), read.as_ref().and_then(|read| read.newest));
        let by = if text("kind").eq_ignore_ascii_case("auto") {
            RefreshedBy::Auto
        } else {
            RefreshedBy::Statement
        };
        let began_at = self.own_time(&text("t0"))?;
        let record = Record {
            transaction,
            identity: number(&text("ident")),
            user: Some(text("usr").as_str().into()).filter(|user: &Arc<str>| !user.is_empty()),
            began_at,
            ended_at: self.own_time(&text("t1"))?.max(began_at),
            // AT MERGE: `Record.result` takes the failure itself.
            result: status.result.map_err(|failure| failure.message),
            unknown: status.unknown,
            stale_parent: status.stale_parent,
            read,
        };
        Some((view.view.clone(), by, record))
    }
}

/// The names of database users. A user without one is not asked for again.
#[derive(Debug, Default)]
pub(super) struct Users(Mutex<BTreeMap<Arc<str>, Arc<str>>>);

impl Users {
    fn lack(&self, ids: &BTreeSet<Arc<str>>) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.iter().any(|id| !known.contains_key(id))
    }

    fn learn(&self, ids: BTreeSet<Arc<str>>, names: impl Iterator<Item = (String, String)>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            let nameless = format!("user {id}").into();
            known.entry(id).or_insert(nameless);
        }
        known.extend(names.map(|(id, name)| (id.into(), name.trim().into())));
    }

    fn name(&self, id: Arc<str>) -> Arc<str> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&id).cloned().unwrap_or(id)
    }
}

/// Tells own refreshes from others. A view has one statement of ours at a time, and each of
/// them one record: the one within its time that fits it best. All others are foreign.
fn sort_out(records: &[(ViewId, RefreshedBy, Record)], asked: &[Asked], found: &mut Sweep) {
    let mut own: BTreeMap<(&ViewId, i64), &Asked> = BTreeMap::new();
    for asked in asked {
        let best = records
            .iter()
            .filter(|(view, by, record)| {
                asked.view == *view
                    && *by == RefreshedBy::Statement
                    && !own.contains_key(&(view, record.transaction))
            })
            .filter_map(|(view, _, record)| Some((distance(asked, record)?, view, record)))
            .min_by_key(|(distance, _, _)| *distance);
        if let Some((_, view, record)) = best {
            own.insert((view, record.transaction), asked);
        }
    }
    for (view, by, record) in records {
        match own.get(&(view, record.transaction)) {
            Some(asked) if asked.finished_at.is_some() => {
                let verdict = (asked.attempt, view.clone(), record.clone());
                found.verdicts.push(verdict);
            }
            Some(_) => {}
            None => {
                let (by, record) = (*by, record.clone());
                found.foreign.push((view.clone(), Foreign { by, record }));
            }
        }
    }
}

/// How far a record is from the times of an attempt; `None` where it cannot be its own.
fn distance(asked: &Asked, record: &Record) -> Option<Span> {
    let early = record.began_at - asked.submitted_at;
    let late = asked
        .finished_at
        .map_or(Span::ZERO, |finished_at| finished_at - record.ended_at);
    let within = early >= Span::ZERO - SLACK && late >= Span::ZERO - SLACK;
    within.then(|| early.max(Span::ZERO - early) + late.max(Span::ZERO - late))
}

/// A view's name as Redshift stores it.
fn view_name(view: &Refresh) -> String {
    folded(&view.name, view)
}

fn folded(name: &str, view: &Refresh) -> String {
    if view.session.case_sensitive {
        name.to_owned()
    } else {
        name.to_lowercase()
    }
}

fn number(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}
