//! The warehouse's own records of refreshes, as a sweep reads them.
//!
//! Decides: what a record says, and that some come late. Deliberately absent: skipped records
//! and AUTO REFRESH, which the virtual world does not have.

use tidekeeper_scheduler::{
    Asked, Event, Foreign, Outcome, Record, RefreshedBy, Span, Sweep, Timestamp, ViewId,
    WarehouseId,
};

use crate::world::{Fate, Statement, Status, World};

/// So many refreshes' records come late, one in so many ...
const LATE: u64 = 5;
/// ... by so much.
const LATE_BY: Span = Span::from_secs(3);

impl World {
    pub(crate) fn sweep(&mut self, name: WarehouseId, since: Timestamp, asked: &[Asked]) {
        let Some(&index) = self.warehouse_by_name.get(name.as_str()) else {
            return;
        };
        let result = match self.question_fails(index) {
            Some(failure) => Err(failure),
            None => Ok(self.records(index, since, asked)),
        };
        let warehouse = name;
        self.answer(index, Event::Swept { warehouse, result });
    }

    fn records(&self, index: usize, since: Timestamp, asked: &[Asked]) -> Sweep {
        let mut sweep = Sweep::default();
        for view in self.views.iter().filter(|view| view.warehouse == index) {
            for statement in &view.statements {
                let Some(record) = self.record(statement, since) else {
                    continue;
                };
                let id = ViewId::from(view.name.as_str());
                let (life, serial) = statement.token;
                let mut own = asked.iter().filter(|_| life == self.life);
                match own.find(|asked| asked.view == id && asked.attempt.serial() == serial) {
                    Some(own) if own.finished_at.is_some() => {
                        sweep.verdicts.push((own.attempt, id, record));
                    }
                    Some(_) => {}
                    None if life == self.life => {}
                    None => {
                        let by = RefreshedBy::Statement;
                        sweep.foreign.push((id, Foreign { by, record }));
                    }
                }
            }
        }
        sweep
            .foreign
            .sort_by_key(|(_, foreign)| foreign.record.began_at);
        sweep
    }

    fn record(&self, statement: &Statement, since: Timestamp) -> Option<Record> {
        let Status::Ended { at, fate } = statement.status else {
            return None;
        };
        let late = if statement.id.is_multiple_of(LATE) {
            LATE_BY
        } else {
            Span::ZERO
        };
        if at < since || at + late > self.now {
            return None;
        }
        let outcome = match fate {
            Fate::Data => Outcome::Data,
            Fate::NoData => Outcome::NoData,
            Fate::MoreData(up_to) => Outcome::MoreData { up_to: Some(up_to) },
            // An end by force leaves no record.
            Fate::Failed(_) => return None,
        };
        Some(Record {
            transaction: i64::try_from(statement.id).ok()?,
            identity: Some(1),
            user: None,
            began_at: statement.started_at,
            ended_at: at,
            result: Ok(outcome),
            unknown: None,
            stale_parent: false,
            read: None,
        })
    }
}
