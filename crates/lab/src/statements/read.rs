//! Decides what a refresh reads once it has its view's lock, and what becomes of it: rows
//! that wait for their commit, or the text that the refresh will fail with.
//!
//! A stream of the lab's own is read at once. A stream elsewhere is asked for through
//! [`Job`]s, which whoever owns the engine carries out and answers with
//! [`Engine::fetched`]; the refresh is STARTED meanwhile. Deliberately absent: the network.

use std::collections::BTreeMap;
use std::time::Duration;

use super::catalog::Caller;
use super::engine::Engine;
use super::scan::{self, Scan};
use super::source::Source;
use super::view::service_time;
use super::{Read, Staged};
use crate::clock::Moment;
use crate::db::Cell;
use crate::remote::{Ask, Batch, Position, Record};
use crate::sql::SchemaSource;
use crate::streams::{Stretch, shard_id};
use crate::world::ViewFaultKind;

/// A refresh of a remote stream ends within this time, answered or not.
const REMOTE_LIMIT: Duration = Duration::from_secs(120);

/// What one refresh of a remote stream reads at most: rows are kept in memory until the
/// commit.
const REMOTE_RECORDS: usize = 50_000;
const REMOTE_BYTES: usize = 64 * 1024 * 1024;

/// Something to be read elsewhere.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) statement: u64,
    pub(crate) run: u64,
    pub(crate) ask: Ask,
}

/// What a refresh has come by.
struct Harvest {
    stretches: Vec<Stretch>,
    remote: Option<BTreeMap<String, Position>>,
    records: Vec<Record>,
    more: bool,
    /// How many records it leaves in each shard, where that is known.
    left: Option<BTreeMap<String, i64>>,
}

impl Engine {
    /// With the lock held: reads up to `at`, and settles when and how the refresh ends.
    pub(super) fn read(&mut self, number: u64, id: &str, at: Moment) {
        self.streams.fill(at);
        let Some(state) = self.views.get(id) else {
            let text = format!("ERROR: relation \"{id}\" does not exist");
            return self.end_unit_at(number, at, Some(text));
        };
        match &state.source {
            Source::Lab { .. } => match self.harvest(number, id, at) {
                Ok(harvest) => self.stage(number, id, harvest, at, at),
                Err(text) => self.end_unit_at(number, at, Some(text)),
            },
            Source::Remote { .. } => match self.ask(number, id) {
                Ok(job) => self.jobs.push(job),
                Err(text) => self.end_unit_at(number, at, Some(text)),
            },
            Source::Views(_) => self.recompute(number, id, at),
        }
    }

    /// What a stream of the lab's own holds for the view.
    fn harvest(&self, number: u64, id: &str, at: Moment) -> Result<Harvest, String> {
        let (Some(statement), Some(state)) = (self.statements.get(&number), self.views.get(id))
        else {
            return Err(format!("ERROR: relation \"{id}\" does not exist"));
        };
        let stream = state.source.lab_stream().unwrap_or_default();
        let Some(log) = self.streams.log(stream) else {
            // The words are an assumption; the shape is that of other services' errors.
            return Err(format!(
                "ERROR: exception name : ResourceNotFoundException, error type : 134, message: \
                 Stream {stream} under account 000000000000 not found., should retry : 0"
            ));
        };
        // A transaction goes on from what it has itself read.
        let own = statement.staged.iter().rfind(|staged| staged.view == id);
        let positions: Vec<u64> = match own {
            Some(staged) => staged.stretches.iter().map(|stretch| stretch.to).collect(),
            None if state
                .stream_number
                .is_some_and(|known| known != log.number()) =>
            {
                Vec::new()
            }
            None => state.positions().to_vec(),
        };
        let mut stretches = log.unread(&positions, at);
        let ends: Vec<u64> = stretches.iter().map(|stretch| stretch.to).collect();
        let more = shorten(&mut stretches, state.view.max_records());
        let left = stretches.iter().zip(ends).enumerate();
        let left = left.map(|(shard, (stretch, end))| {
            let left = i64::try_from(end - stretch.to).unwrap_or(i64::MAX);
            (shard_id(shard), left)
        });
        let left = Some(left.collect());
        let records = log.read(&stretches).map(|record| Record {
            arrived_us: self.utc_us(record.arrived),
            partition_key: record.partition_key.to_owned(),
            shard_id: record.shard_id,
            sequence: record.sequence,
            data: record.data.to_vec(),
        });
        Ok(Harvest {
            records: records.collect(),
            stretches,
            remote: None,
            more,
            left,
        })
    }

    /// What is to be asked of a stream elsewhere.
    fn ask(&self, number: u64, id: &str) -> Result<Job, String> {
        let (Some(statement), Some(state)) = (self.statements.get(&number), self.views.get(id))
        else {
            return Err(format!("ERROR: relation \"{id}\" does not exist"));
        };
        let Some((schema, stream)) = state.source.stream() else {
            return Err(format!("ERROR: relation \"{id}\" does not exist"));
        };
        let caller = self.caller(number).unwrap_or_else(Caller::nobody);
        let Some(external) = self.external(&caller, schema) else {
            return Err(format!("ERROR: schema \"{schema}\" does not exist"));
        };
        let attached = self
            .warehouses
            .get(&caller.warehouse)
            .and_then(|warehouse| warehouse.spec.iam_roles());
        let chain: Vec<String> = match &external.iam_role {
            Some(roles) => roles.split(',').map(str::to_owned).collect(),
            None => attached
                .iter()
                .flat_map(|roles| roles.first())
                .cloned()
                .collect(),
        };
        let attached = attached.map_or_else(
            || chain.iter().take(1).cloned().collect(),
            <[String]>::to_vec,
        );
        let region = match &external.source {
            SchemaSource::Kinesis { region } => region.clone(),
            SchemaSource::Kafka { .. } => None,
        };
        let own = statement.staged.iter().rfind(|staged| staged.view == id);
        let positions = own
            .and_then(|staged| staged.remote.clone())
            .unwrap_or_else(|| state.remote.clone());
        Ok(Job {
            statement: number,
            run: statement.run,
            ask: Ask {
                chain,
                region,
                attached,
                stream: stream.to_owned(),
                positions,
                max_records: state
                    .view
                    .max_records()
                    .map_or(REMOTE_RECORDS, |most| most.min(REMOTE_RECORDS)),
                max_bytes: REMOTE_BYTES,
                deadline: REMOTE_LIMIT,
            },
        })
    }

    pub(crate) fn has_jobs(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// What is to be read elsewhere, and has not been taken up yet.
    pub(crate) fn take_jobs(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.jobs)
    }

    /// The answer to a job. Too late when the statement has gone on or ended.
    pub(crate) fn fetched(
        &mut self,
        statement: u64,
        run: u64,
        began: Moment,
        result: Result<Batch, String>,
        now: Moment,
    ) {
        self.advance(now);
        if !self.runs(statement, run) {
            return;
        }
        let view = self.statements.get(&statement).and_then(|known| {
            known
                .units
                .get(known.current)
                .and_then(|unit| unit.view.clone())
        });
        let Some(id) = view else { return };
        match result {
            Ok(batch) => {
                let harvest = Harvest {
                    stretches: Vec::new(),
                    remote: Some(batch.positions),
                    records: batch.records,
                    more: batch.more,
                    left: (!batch.more).then(BTreeMap::new),
                };
                self.stage(statement, &id, harvest, began, now);
            }
            Err(text) => self.end_unit_at(statement, now, Some(text)),
        }
    }

    /// Turns what was read up to `read_at` into rows that wait for their commit.
    fn stage(&mut self, number: u64, id: &str, harvest: Harvest, read_at: Moment, at: Moment) {
        let Some(caller) = self.caller(number) else {
            return;
        };
        let context = self.context(&caller, read_at);
        let largest = self
            .warehouses
            .get(&caller.warehouse)
            .map_or(usize::MAX, |warehouse| warehouse.spec.max_record());
        let Some(state) = self.views.get(id) else {
            let text = format!("ERROR: relation \"{id}\" does not exist");
            return self.end_unit_at(number, at, Some(text));
        };
        let count = u64::try_from(harvest.records.len()).unwrap_or(u64::MAX);
        let bytes = harvest
            .records
            .iter()
            .map(|record| record.data.len())
            .sum::<usize>();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let scan = Scan::of(
            &harvest.records,
            largest,
            harvest.more,
            harvest.left.as_ref(),
        );
        let made = scan::rows(
            &self.db,
            &state.definition,
            harvest.records,
            largest,
            &context,
        );
        let (rows, broken) = match made {
            Ok(rows) => (rows, None),
            Err(text) => (Vec::new(), Some(text)),
        };
        let status = scan.status();
        let staged = Staged {
            view: id.to_owned(),
            unit: 0,
            stretches: harvest.stretches,
            remote: harvest.remote,
            rows,
            replace: None,
            scan,
        };
        let read = Read {
            at: read_at,
            bytes,
            records: count,
        };
        self.hold(number, staged, read, broken, status, at);
    }

    /// A view over others: nothing to do, or all rows anew.
    fn recompute(&mut self, number: u64, id: &str, at: Moment) {
        let (Some(caller), Some(state)) = (self.caller(number), self.views.get(id)) else {
            return;
        };
        let Source::Views(parents) = &state.source else {
            return;
        };
        let versions = self.versions(parents);
        let behind = parents
            .iter()
            .filter_map(|parent| self.views.get(parent))
            .any(|parent| self.is_stale(parent, at));
        let fresh = versions == state.read_versions;
        let status = match (fresh, behind) {
            (true, false) => "MV was already updated",
            (true, true) => "MV was already updated, but depends on an MV that is not up to date.",
            (false, false) => "Refresh successfully updated MV incrementally",
            (false, true) => {
                "Refresh successfully updated MV incrementally, but MV depends on an MV that is \
                 not up to date."
            }
        };
        let context = self.context(&caller, at);
        let (rows, broken) = if fresh {
            (Vec::new(), None)
        } else {
            match self.db.select(&state.definition.query, &context) {
                Ok(table) => (table.rows, None),
                Err(text) => (Vec::new(), Some(text)),
            }
        };
        let staged = Staged {
            view: id.to_owned(),
            unit: 0,
            stretches: Vec::new(),
            remote: None,
            rows,
            replace: (!fresh).then_some(versions),
            scan: Scan::default(),
        };
        let read = Read {
            at,
            bytes: 0,
            records: 0,
        };
        self.hold(number, staged, read, broken, status.to_owned(), at);
    }

    /// Keeps what was read until the commit, and settles when and how the refresh ends.
    fn hold(
        &mut self,
        number: u64,
        mut staged: Staged,
        read: Read,
        broken: Option<String>,
        status: String,
        at: Moment,
    ) {
        let (Some(statement), Some(state)) = (
            self.statements.get_mut(&number),
            self.views.get(&staged.view),
        ) else {
            return;
        };
        let current = statement.current;
        let Some(unit) = statement.units.get_mut(current) else {
            return;
        };
        unit.read = Some(read);
        unit.refresh_status = Some(status);
        let (mut stuck, mut verdict) = (false, broken);
        for fault in state.view.faults(unit.attempt, at) {
            match fault {
                ViewFaultKind::Stuck => stuck = true,
                ViewFaultKind::Fail(text) => verdict = Some(text.clone()),
                ViewFaultKind::Status(text) => unit.refresh_status = Some(text.clone()),
                ViewFaultKind::Missing
                | ViewFaultKind::SlowCancel(_)
                | ViewFaultKind::RefuseCancel => {}
            }
        }
        let takes = service_time(
            self.seed,
            &staged.view,
            unit.attempt,
            &state.view.service,
            read.bytes,
        );
        staged.unit = current;
        statement.staged.push(staged);
        if !stuck {
            self.end_unit_at(number, (read.at + takes).max(at), verdict);
        }
    }

    /// Makes visible what one refresh of a statement has read.
    pub(super) fn commit_staged(&mut self, number: u64, staged: &Staged, at: Moment) {
        let Some(state) = self.views.get_mut(&staged.view) else {
            return;
        };
        let (place, schema, name) = state.storage();
        if staged.replace.is_some()
            && let Err(error) = self.db.clear(&place, &schema, &name)
        {
            tracing::error!(view = staged.view, %error, "cannot clear a view");
        }
        if let Err(error) = self.db.insert(&place, &schema, &name, &staged.rows) {
            tracing::error!(view = staged.view, %error, "cannot write a view's rows");
        }
        if !staged.rows.is_empty() || staged.replace.is_some() {
            state.version += 1;
        }
        if let Some(versions) = &staged.replace {
            state.read_versions.clone_from(versions);
        }
        if let Some(positions) = &staged.remote {
            state.remote.clone_from(positions);
        } else if let Source::Lab { stream, .. } = &state.source {
            state.stream_number = self.streams.log(stream).map(crate::streams::Log::number);
            state.commit(&staged.stretches, at);
        }
        self.write_scan(number, staged.unit, &staged.view, &staged.scan, at);
    }

    /// Who runs a statement, and where.
    pub(super) fn caller(&self, number: u64) -> Option<Caller> {
        let statement = self.statements.get(&number)?;
        Some(Caller {
            warehouse: statement.asked.warehouse.clone(),
            database: statement.asked.database.clone(),
            user: statement.user.clone(),
            pid: statement.pid.unwrap_or_default(),
            case_sensitive: statement.case_sensitive,
        })
    }
}

impl Caller {
    fn nobody() -> Self {
        Self {
            warehouse: String::new(),
            database: String::new(),
            user: String::new(),
            pid: 0,
            case_sensitive: false,
        }
    }
}

/// Cuts what is read to `most` records, each shard to its share of them; whether something
/// was left.
fn shorten(stretches: &mut [Stretch], most: Option<usize>) -> bool {
    let Some(most) = most else { return false };
    let mut left = u64::try_from(most).unwrap_or(u64::MAX);
    let mut cut = false;
    let mut shards: Vec<&mut Stretch> = stretches.iter_mut().collect();
    // What a short one does not use is for the others.
    shards.sort_by_key(|stretch| stretch.to - stretch.from);
    let number = u64::try_from(shards.len()).unwrap_or(u64::MAX);
    for (waiting, stretch) in (1..=number).rev().zip(shards) {
        let take = (stretch.to - stretch.from).min(left.div_ceil(waiting));
        cut |= stretch.from + take < stretch.to;
        stretch.to = stretch.from + take;
        left -= take;
    }
    cut
}

/// No rows, as [`Staged`] holds them.
pub(super) type Rows = Vec<Vec<Cell>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_that_may_not_read_all_reads_of_every_shard() {
        let read = |lengths: &[u64], most| {
            let stretch = |to: &u64| Stretch { from: 0, to: *to };
            let mut stretches: Vec<Stretch> = lengths.iter().map(stretch).collect();
            let cut = shorten(&mut stretches, Some(most));
            (stretches.iter().map(|stretch| stretch.to).collect(), cut)
        };
        assert_eq!(read(&[20, 20], 10), (vec![5, 5], true));
        assert_eq!(read(&[20, 2, 0], 10), (vec![8, 2, 0], true));
        assert_eq!(read(&[3, 2], 10), (vec![3, 2], false));
    }
}
