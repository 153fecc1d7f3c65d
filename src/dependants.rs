//! Which configured views stand on which, where the configuration does not say so.
//!
//! Decides: that the catalog is believed (`STV_MV_DEPS`) where a view has no `after`, and that
//! only configured views of the same database can be parents.
//! Deliberately absent: order and lag (the scheduler's). Serverless does not tell: there
//! `after` is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidekeeper_scheduler::FailureClass;

use crate::config::{Config, Target, Warehouse};
use crate::setup::existing;
use crate::translate;
use crate::warehouse::{Auth, Client, stored_name};

/// After a failure that may pass.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// By the view's id, the ids of those that it stands on.
pub(crate) type Parents = BTreeMap<String, Vec<String>>;

/// A place where views stand that may stand on each other, and who may see them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    warehouse: String,
    database: String,
    auth: Auth,
    /// By `schema.name` as the warehouse writes it.
    views: BTreeMap<String, String>,
}

/// Where there is something to ask.
pub(crate) fn places(config: &Config) -> BTreeSet<Place> {
    let mut places: BTreeMap<(String, String, Auth), BTreeMap<String, String>> = BTreeMap::new();
    let tells = |warehouse: &Warehouse| matches!(warehouse.target, Target::Cluster(_));
    for (warehouse, view) in translate::refreshes(config) {
        if !config.warehouses.get(warehouse.as_str()).is_some_and(tells) {
            continue;
        }
        let (schema, name) = stored_name(&view);
        let place = (warehouse.to_string(), view.database, view.auth);
        let views = places.entry(place).or_default();
        views.insert(format!("{schema}.{name}"), view.view.to_string());
    }
    let places = places.into_iter().filter(|(_, views)| views.len() > 1);
    places
        .map(|((warehouse, database, auth), views)| Place {
            warehouse,
            database,
            auth,
            views,
        })
        .collect()
}

impl Place {
    pub(crate) fn warehouse(&self) -> &str {
        &self.warehouse
    }

    /// Asks the catalog, again where a failure may pass; who may not ask is told nothing.
    pub(crate) async fn parents(self, client: Arc<Client>) -> Parents {
        loop {
            match existing::dependencies(&client, &self.database, &self.auth).await {
                Ok(rows) => return self.among(rows),
                Err(failure) => {
                    tracing::debug!(
                        warehouse = self.warehouse,
                        error = %failure.message,
                        "the catalog does not tell which views stand on others"
                    );
                    if failure.class == FailureClass::Permanent {
                        return Parents::new();
                    }
                }
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Of these names those that are configured.
    fn among(&self, rows: impl IntoIterator<Item = (String, String)>) -> Parents {
        let mut parents = Parents::new();
        for (child, parent) in rows {
            if let (Some(child), Some(parent)) = (self.views.get(&child), self.views.get(&parent))
                && child != parent
            {
                let known = parents.entry(child.clone()).or_default();
                known.push(parent.clone());
            }
        }
        parents
    }
}

/// Completes a configuration with what the catalog tells.
pub(crate) fn complete(config: &mut Config, parents: &Parents) {
    for id in take(config, parents) {
        let after = config.views.get(id).map(|view| view.after.join(", "));
        tracing::info!(view = id, after, "stands on other views");
    }
}

/// The configuration as the daemon completes it once this database has told of its views,
/// each with one that it stands on.
pub(crate) fn completed(
    config: &Config,
    warehouse: &str,
    (database, auth): (&str, &Auth),
    told: &[(String, String)],
) -> Config {
    let mut config = config.clone();
    let here = |place: &Place| {
        place.warehouse == warehouse && place.database == database && place.auth == *auth
    };
    if let Some(place) = places(&config).into_iter().find(here) {
        take(&mut config, &place.among(told.iter().cloned()));
    }
    config
}

/// Who was given parents.
fn take<'a>(config: &mut Config, parents: &'a Parents) -> Vec<&'a str> {
    let mut taken = Vec::new();
    for (id, found) in parents {
        let known = found.iter().all(|parent| config.views.contains_key(parent));
        // What a person has written may say the reverse.
        let circle = found.iter().any(|parent| follows(config, parent, id));
        if let Some(view) = config.views.get_mut(id)
            && view.after.is_empty()
            && known
            && !circle
        {
            view.after.clone_from(found);
            taken.push(id.as_str());
        }
    }
    taken
}

/// Whether a view is refreshed after another one, directly or not.
fn follows(config: &Config, view: &str, other: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut ahead = vec![view];
    while let Some(id) = ahead.pop() {
        if id == other {
            return true;
        }
        if seen.insert(id)
            && let Some(view) = config.views.get(id)
        {
            ahead.extend(view.after.iter().map(String::as_str));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Environment, Source};

    fn config(warehouse: &str, views: &str) -> Config {
        let text = format!(
            "[warehouses.w]\n{warehouse}\ndatabase = \"dev\"\n\
             [groups.all]\nwarehouse = \"w\"\ntarget_lag = \"30s\"\nviews = [{views}]\n"
        );
        let source = Source::Text {
            name: "t.toml".to_owned(),
            text,
        };
        let loaded = config::load(&source, &Environment::new());
        assert_eq!(loaded.problems, []);
        loaded.config.unwrap()
    }

    const CLUSTER: &str = "cluster = \"w\"";

    #[test]
    fn what_is_written_comes_first_and_nobody_follows_himself() {
        let mut config = config(CLUSTER, r#""a", "b", { name = "c", after = ["b"] }"#);
        let parents = [("b", "c"), ("c", "a"), ("a", "gone")];
        let parents = parents.map(|(id, parent)| (id.to_owned(), vec![parent.to_owned()]));
        complete(&mut config, &parents.into());
        let after = |id: &str| config.views[id].after.clone();
        assert_eq!(after("a"), [""; 0]);
        assert_eq!(after("b"), [""; 0], "c goes after it");
        assert_eq!(after("c"), ["b"]);
        complete(
            &mut config,
            &[("b".to_owned(), vec!["a".to_owned()])].into(),
        );
        assert_eq!(config.views["b"].after, ["a"]);
    }

    #[test]
    fn names_are_compared_as_the_catalog_writes_them() {
        let exact = r#"{ name = "S.A", session = { case_sensitive = true } }"#;
        let config = config(CLUSTER, &format!(r#"{exact}, "S.B""#));
        let mut places = places(&config).into_iter();
        let views = places.next().unwrap().views;
        let names: Vec<&str> = views.keys().map(String::as_str).collect();
        assert_eq!(names, ["S.A", "s.b"]);
    }

    #[test]
    fn only_a_cluster_tells_who_stands_on_whom() {
        let told = [("public.b".to_owned(), "public.a".to_owned())];
        for (warehouse, after) in [(CLUSTER, &["a"][..]), ("workgroup = \"w\"", &[])] {
            let config = config(warehouse, r#""a", "b""#);
            let completed = completed(&config, "w", ("dev", &Auth::Iam), &told);
            assert_eq!(completed.views["b"].after, after, "{warehouse}");
        }
    }

    #[test]
    fn only_configured_views_are_parents() {
        let place = Place {
            warehouse: "w".to_owned(),
            database: "dev".to_owned(),
            auth: Auth::Iam,
            views: [("public.a", "a"), ("public.b", "b"), ("s.c", "c")]
                .map(|(name, id)| (name.to_owned(), id.to_owned()))
                .into(),
        };
        let row = |child: &str, parent: &str| (child.to_owned(), parent.to_owned());
        let parents = place.among([
            row("public.b", "public.a"),
            row("public.b", "s.c"),
            row("public.b", "public.table"),
            row("public.other", "public.a"),
        ]);
        let expected = [("b".to_owned(), vec!["a".to_owned(), "c".to_owned()])];
        assert_eq!(parents, expected.into());
    }
}
