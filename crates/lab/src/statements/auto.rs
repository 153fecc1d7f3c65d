//! AUTO REFRESH: the warehouse refreshes a view by itself.
//!
//! Decides: when. Redshift promises nothing but that it does so when the load allows: here it
//! is tried every `auto_refresh_every`, and left out while no slot is free or somebody
//! refreshes the view. Deliberately absent: what a refresh does.

use super::Submission;
use super::engine::{Engine, Event};
use crate::clock::Moment;

impl Engine {
    /// Begins to refresh a view by itself, or goes on to.
    pub(super) fn expect_auto(&mut self, id: &str, at: Moment) {
        let Some(state) = self.views.get_mut(id) else {
            return;
        };
        let warehouse = self.warehouses.get(state.view.warehouse.get_ref());
        let Some(warehouse) = warehouse.filter(|_| state.auto_refresh) else {
            state.auto_due = None;
            return;
        };
        let due = at + warehouse.spec.auto_refresh_every();
        state.auto_due = Some(due);
        let view = state.number;
        self.appoint(due, Event::Auto { view });
    }

    pub(super) fn auto_refresh(&mut self, number: i64, at: Moment) {
        let views = self.views.iter();
        let mut due =
            views.filter(|(_, state)| state.number == number && state.auto_due == Some(at));
        let Some((id, state)) = due.next() else {
            return;
        };
        let (id, view) = (id.clone(), &state.view);
        let warehouse = self.warehouses.get(view.warehouse.get_ref());
        let idle = warehouse.is_some_and(|warehouse| {
            warehouse.queue.is_empty() && warehouse.running.len() < warehouse.spec.slots()
        });
        let asked = self.statements.values().rev().any(|statement| {
            let mut units = statement.units.iter();
            !statement.status.is_terminal() && units.any(|unit| unit.view.as_ref() == Some(&id))
        });
        if idle && !asked && state.auto_refresh {
            let (_, schema, name) = state.storage();
            let (warehouse, database) = (view.warehouse.get_ref(), view.database.get_ref());
            let sql = format!("REFRESH MATERIALIZED VIEW \"{schema}\".\"{name}\"");
            let submission = Submission {
                db_user: view.owner.clone(),
                ..Submission::new((warehouse, database), vec![sql], None)
            };
            if let Err(refusal) = self.accept(submission, true, at) {
                tracing::error!(view = id, ?refusal, "cannot refresh a view by itself");
            }
        }
        self.expect_auto(&id, at);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::statements::Statement;
    use crate::world::World;

    const WORLD: &str = r#"
[[warehouses]]
name = "w"
kind = "cluster"
databases = ["dev"]
slots = 1
auto_refresh_every = 10

[[streams]]
name = "s"

[[views]]
name = "v"
database = "dev"
warehouse = "w"
stream = "s"
auto_refresh = true
service = { fixed = 25 }
"#;

    #[test]
    fn the_warehouse_refreshes_by_itself_and_no_client_sees_it() {
        let mut engine = Engine::new(&World::from_toml(WORLD, "test").unwrap(), 1);
        engine.advance(Duration::from_secs(65));
        let statements: Vec<&Statement> = engine.statements().map(|(_, one)| one).collect();
        // At 10 and, as that one takes until 35, at 40.
        let created: Vec<u64> = statements.iter().map(|one| one.created.as_secs()).collect();
        assert_eq!(created, [10, 40]);
        let filter = crate::statements::engine::Filter::default();
        assert!(engine.list(&filter, None, 10).0.is_empty());
        let ids = statements.iter().map(|one| &one.id);
        assert!(ids.into_iter().all(|id| engine.find(id).is_none()));
    }

    fn refresh(sqls: &[&str]) -> Submission {
        let batch = (sqls.len() > 1).then_some(crate::statements::Mode::AutoCommit);
        let sqls = sqls.iter().map(|sql| (*sql).to_owned()).collect();
        Submission::new(("w", "dev"), sqls, batch)
    }

    fn auto_at(engine: &Engine) -> Vec<u64> {
        let auto = engine.statements().filter(|(_, one)| one.auto);
        auto.map(|(_, one)| one.created.as_secs()).collect()
    }

    #[test]
    fn it_waits_for_a_refresh_of_somebody_else_wherever_that_stands_in_a_batch() {
        let mut engine = Engine::new(&World::from_toml(WORLD, "test").unwrap(), 1);
        let asked = refresh(&["SELECT 1", "REFRESH MATERIALIZED VIEW v"]);
        engine.submit(asked, Duration::from_secs(5)).unwrap();
        engine.advance(Duration::from_secs(60));
        // The batch takes from 5 to 30.
        assert_eq!(auto_at(&engine), [40]);
    }

    #[test]
    fn it_does_not_count_among_the_active_statements_of_clients() {
        let text = format!("[endpoint]\nactive_statements = 1\n{WORLD}");
        let mut engine = Engine::new(&World::from_toml(&text, "test").unwrap(), 1);
        engine.advance(Duration::from_secs(15));
        assert_eq!(auto_at(&engine), [10]);
        let now = Duration::from_secs(16);
        assert!(engine.submit(refresh(&["SELECT 1"]), now).is_ok());
        assert!(engine.submit(refresh(&["SELECT 1"]), now).is_err());
        engine.advance(Duration::from_secs(40));
        let now = Duration::from_secs(41);
        assert!(engine.submit(refresh(&["SELECT 1"]), now).is_ok());
        assert!(engine.submit(refresh(&["SELECT 1"]), now).is_err());
    }
}
