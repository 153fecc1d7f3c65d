//! Decides from when on the system views show a refresh: a warehouse's `history_delay` after
//! its end.
//!
//! Deliberately absent: what the rows say. Rows that are late when the lab ends are lost with
//! it, as statements are.

use super::engine::{Engine, Event};
use super::system::Named;
use crate::clock::Moment;

/// Rows that nobody sees yet.
#[derive(Debug)]
pub(super) struct Late {
    warehouse: String,
    view: &'static str,
    rows: Vec<Named>,
}

impl Engine {
    /// Writes rows of a refresh that ended at `ended`, when the warehouse shows them.
    pub(super) fn write_late(
        &mut self,
        warehouse: &str,
        view: &'static str,
        rows: Vec<Named>,
        ended: Moment,
    ) {
        let state = self.warehouses.get(warehouse);
        let delay = state.map(|state| state.spec.history_delay());
        let Some(delay) = delay.filter(|delay| !delay.is_zero()) else {
            return self.write(warehouse, view, rows);
        };
        let number = self.late.last_key_value().map_or(0, |(last, _)| last + 1);
        let warehouse = warehouse.to_owned();
        self.late.insert(
            number,
            Late {
                warehouse,
                view,
                rows,
            },
        );
        self.appoint(ended + delay, Event::Show(number));
    }

    pub(super) fn show(&mut self, number: u64) {
        if let Some(late) = self.late.remove(&number) {
            self.write(&late.warehouse, late.view, late.rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::db::Cell;
    use crate::statements::Submission;
    use crate::world::World;

    const WORLD: &str = r#"
[[warehouses]]
name = "w"
kind = "cluster"
databases = ["dev"]
submit_delay = 0
start_delay = 0
history_delay = 30
max_record = 300

[[streams]]
name = "s"

[[producers]]
stream = "s"
pattern = "steady"
rate = 1

[[producers]]
stream = "s"
pattern = "steady"
rate = 1
bytes = 400

[[views]]
name = "v"
database = "dev"
warehouse = "w"
stream = "s"
service = { fixed = 5 }
"#;

    fn engine() -> Engine {
        Engine::new(&World::from_toml(WORLD, "test").unwrap(), 1)
    }

    fn run(engine: &mut Engine, sql: &str, at: u64) -> u64 {
        let asked = Submission {
            sqls: vec![sql.to_owned()],
            batch: None,
            warehouse: "w".to_owned(),
            database: "dev".to_owned(),
            name: None,
            token: None,
            db_user: None,
            secret_arn: None,
            result_format: None,
            parameters: Vec::new(),
            session: None,
        };
        engine.submit(asked, Duration::from_secs(at)).unwrap()
    }

    /// How many rows a system view shows to who asks at a second.
    fn rows(engine: &mut Engine, view: &str, at: u64) -> i64 {
        let number = run(engine, &format!("SELECT count(*) FROM {view}"), at);
        engine.advance(Duration::from_millis(at * 1_000 + 10));
        let unit = engine.statement(number).unwrap().units.first().unwrap();
        match unit.result.as_ref().unwrap().rows.first().unwrap().first() {
            Some(Cell::Int(count)) => *count,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refresh_is_in_the_system_views_when_its_history_delay_is_over() {
        let mut engine = engine();
        run(&mut engine, "REFRESH MATERIALIZED VIEW v", 20);
        for view in [
            "sys_mv_refresh_history",
            "svl_mv_refresh_status",
            "sys_stream_scan_states",
            "sys_stream_scan_errors",
        ] {
            let mut again = self::engine();
            run(&mut again, "REFRESH MATERIALIZED VIEW v", 20);
            // It ends at 25.
            assert_eq!(rows(&mut again, view, 54), 0, "{view}");
            assert!(rows(&mut again, view, 56) > 0, "{view}");
        }
        engine.advance(Duration::from_secs(26));
        assert!(rows(&mut engine, "sys_query_history", 27) > 0, "not late");
        assert_eq!(engine.late.len(), 4);
        engine.advance(Duration::from_secs(60));
        assert!(engine.late.is_empty());
    }
}
