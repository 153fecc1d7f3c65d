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
use crate::warehouse::{Auth, Client};

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
    for (id, view) in &config.views {
        if !config.warehouses.get(&view.warehouse).is_some_and(tells) {
            continue;
        }
        let schema = view.schema.as_deref().unwrap_or("public").to_lowercase();
        let name = format!("{schema}.{}", view.name.to_lowercase());
        let auth = translate::auth(&view.auth);
        let place = (view.warehouse.clone(), view.database.clone(), auth);
        places.entry(place).or_default().insert(name, id.clone());
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
    for (id, found) in parents {
        let known = found.iter().all(|parent| config.views.contains_key(parent));
        // What a person has written may say the reverse.
        let circle = found.iter().any(|parent| follows(config, parent, id));
        if let Some(view) = config.views.get_mut(id)
            && view.after.is_empty()
            && known
            && !circle
        {
            tracing::info!(view = id, after = found.join(", "), "stands on other views");
            view.after.clone_from(found);
        }
    }
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

    #[test]
    fn what_is_written_comes_first_and_nobody_follows_himself() {
        let text = r#"
[warehouses.w]
cluster = "w"
database = "dev"
[groups.all]
warehouse = "w"
target_lag = "30s"
views = ["a", "b", { name = "c", after = ["b"] }]
"#;
        let loaded = config::load(
            &Source::Text {
                name: "t.toml".to_owned(),
                text: text.to_owned(),
            },
            &Environment::new(),
        );
        let mut config = loaded.config.unwrap();
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
