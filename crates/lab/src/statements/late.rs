//! Decides from when and for how long the system views show a refresh: from a warehouse's
//! `history_delay` after its end, for seven days or as long as it is one of the newest.
//!
//! Deliberately absent: what the rows say. Rows that are late when the lab ends are lost with
//! it, as statements are.

use std::time::Duration;

use super::engine::{Engine, Event};
use super::system::Named;
use crate::clock::Moment;
use crate::db::timestamp_text;

/// What STL views keep (Developer Guide, "STL views"); that SYS views do too is an assumption.
const SHOWN: Duration = Duration::from_secs(7 * 24 * 3600);

/// At most this many refreshes are shown, so that a busy lab does not fill its memory.
const MOST: u32 = 200_000;

/// How often is looked for what is no longer shown.
const LOOK: Duration = Duration::from_secs(600);

/// The system views that grow, and the column that tells when a row's statement ended.
const GROWING: [(&str, &str); 5] = [
    ("sys_mv_refresh_history", "end_time"),
    ("svl_mv_refresh_status", "endtime"),
    ("sys_stream_scan_states", "record_time"),
    ("sys_stream_scan_errors", "record_time"),
    ("sys_query_history", "end_time"),
];

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

    /// Takes what is no longer shown out of the system views, where it is time to look.
    pub(super) fn trim(&mut self, now: Moment) {
        if now < self.trim_at {
            return;
        }
        self.trim_at = now + LOOK;
        self.trim_to(now, MOST);
    }

    fn trim_to(&self, now: Moment, most: u32) {
        let week_ago = now
            .checked_sub(SHOWN)
            .map(|at| timestamp_text(self.utc_us(at)));
        for warehouse in self.warehouses.keys() {
            let [(history, ended), ..] = GROWING;
            let newest = self.db.nth_newest(warehouse, history, ended, most);
            let trimmed = newest.and_then(|newest| {
                // Texts of one width: they compare as the times do.
                let Some(before) = newest.max(week_ago.clone()) else {
                    return Ok(());
                };
                GROWING.into_iter().try_for_each(|(view, column)| {
                    self.db.delete_before(warehouse, view, column, &before)
                })
            });
            if let Err(error) = trimmed {
                tracing::error!(warehouse, %error, "cannot trim the system views");
            }
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
retention = 1_000_000

[[producers]]
stream = "s"
pattern = "steady"
rate = 1
until = 100

[[producers]]
stream = "s"
pattern = "steady"
rate = 1
until = 100
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
        let asked = Submission::new(("w", "dev"), vec![sql.to_owned()], None);
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

    #[test]
    fn a_refresh_leaves_the_system_views_after_seven_days() {
        const DAY: u64 = 24 * 3600;
        let mut engine = engine();
        run(&mut engine, "REFRESH MATERIALIZED VIEW v", 20);
        run(&mut engine, "REFRESH MATERIALIZED VIEW v", 3 * DAY);
        for (view, _) in GROWING {
            assert!(rows(&mut engine, view, 7 * DAY - 100) > 0, "{view}");
        }
        let history = "sys_mv_refresh_history";
        assert_eq!(rows(&mut engine, history, 7 * DAY - 50), 2);
        engine.advance(Duration::from_secs(7 * DAY + 1_000));
        assert_eq!(rows(&mut engine, history, 7 * DAY + 1_000), 1);
        for view in ["sys_stream_scan_errors", "svl_mv_refresh_status"] {
            let first = rows(&mut engine, view, 7 * DAY + 1_000);
            assert!(first > 0, "the second refresh is still there");
        }
        engine.advance(Duration::from_secs(10 * DAY + 1_000));
        for view in GROWING.map(|(view, _)| view).into_iter().take(4) {
            assert_eq!(rows(&mut engine, view, 10 * DAY + 1_000), 0, "{view}");
        }
    }

    #[test]
    fn only_the_newest_refreshes_are_shown_with_what_belongs_to_them() {
        let mut engine = engine();
        for second in [20, 40, 60, 80, 100] {
            run(&mut engine, "REFRESH MATERIALIZED VIEW v", second);
        }
        engine.advance(Duration::from_secs(200));
        let now = Duration::from_secs(200);
        engine.trim_to(now, 5);
        assert_eq!(rows(&mut engine, "sys_mv_refresh_history", 200), 5);
        engine.trim_to(now, 2);
        for view in [
            "sys_mv_refresh_history",
            "svl_mv_refresh_status",
            "sys_stream_scan_states",
        ] {
            assert_eq!(rows(&mut engine, view, 200), 2, "{view}");
        }
    }
}
