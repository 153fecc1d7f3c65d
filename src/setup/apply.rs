//! Creating what is missing, and nothing else.
//!
//! Decides: what a step meets (it is missing, it exists, it exists and differs), in which
//! order statements run, and that one which fails stops what stands on it. Never drops,
//! alters or recreates: a streaming view that is created anew starts at the oldest record and
//! loses what has aged out, so that a difference is explained instead.

use std::collections::BTreeMap;

use tidekeeper_scheduler::Failure;

use super::existing::{Existing, LOOK};
use super::sql::{Step, StepKind};
use crate::config::{self, Config};
use crate::translate;
use crate::warehouse::question::Question;
use crate::warehouse::{Auth, Client};

/// Where a step runs, and as whom: warehouse, database, user.
pub type Place = (String, String, Auth);

/// A step, and what it meets.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub step: Step,
    /// As whom it runs: a view belongs to whoever creates it, and only that user may refresh it.
    pub auth: Auth,
    pub meets: Meets,
}

/// As whom a step runs: as the view that it creates; what leads to a stream, as the first view
/// that stands on it.
#[must_use]
pub fn auth(config: &Config, step: &Step) -> Auth {
    let mut views = config
        .views
        .values()
        .filter(|view| view.warehouse == step.warehouse && view.database == step.database);
    let leads = |view: &config::View, name: &str| {
        let create = view.create.as_ref();
        create.is_some_and(|create| create.external_schema == name)
    };
    let view = match &step.kind {
        StepKind::View { id, .. } | StepKind::AutoRefreshOff { id, .. } => config.views.get(id),
        StepKind::ExternalSchema { name } | StepKind::Grant { schema: name, .. } => {
            views.find(|view| leads(view, name))
        }
        StepKind::AlterUser { .. } => views.next(),
    };
    view.map_or(Auth::Iam, |view| translate::auth(&view.auth))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meets {
    /// It is to be run.
    Missing,
    Exists,
    /// It exists otherwise: what differs, and what mends it by hand.
    Differs {
        how: String,
        mend: String,
    },
}

/// What each step meets where it runs, as seen by who runs it. Somebody else's schema lets a
/// view's user in before the view is created; other grants come last, as they are written.
#[must_use]
pub fn plan(
    config: &Config,
    mut steps: Vec<Step>,
    existing: &BTreeMap<Place, Existing>,
) -> Vec<Planned> {
    steps.sort_by_key(|step| {
        let rank = match &step.kind {
            StepKind::ExternalSchema { .. } => 0,
            StepKind::Grant { user, .. } if is_of_another(user, &auth(config, step)) => 1,
            StepKind::View { .. } => 2,
            StepKind::Grant { .. }
            | StepKind::AlterUser { .. }
            | StepKind::AutoRefreshOff { .. } => 3,
        };
        (step.warehouse.clone(), step.database.clone(), rank)
    });
    let mut planned: Vec<Planned> = Vec::new();
    for step in steps {
        let auth = auth(config, &step);
        let place = (step.warehouse.clone(), step.database.clone(), auth.clone());
        let created = planned.iter().any(|before| {
            before.meets == Meets::Missing
                && before.step.kind == step.kind
                && before.step.warehouse == step.warehouse
                && before.step.database == step.database
        });
        let meets = match existing.get(&place) {
            Some(existing) if !created => met(&step, existing),
            Some(_) | None => Meets::Missing,
        };
        planned.push(Planned { step, auth, meets });
    }
    planned
}

/// Whether a grant to this user is to somebody else than who runs it. Users of roles are named
/// by the daemon's role; who runs the rest of their steps is taken for the same.
fn is_of_another(user: &str, auth: &Auth) -> bool {
    match auth {
        Auth::DbUser(own) => own != user,
        Auth::Iam | Auth::Secret(_) => !user.starts_with("IAMR:"),
    }
}

fn met(step: &Step, existing: &Existing) -> Meets {
    match &step.kind {
        StepKind::ExternalSchema { name } => match existing.schemas.get(name) {
            None => Meets::Missing,
            Some(schema) => match (schema.iam_role(), written_role(&step.sql)) {
                (Some(has), Some(wanted)) if has != wanted => Meets::Differs {
                    how: format!("its IAM_ROLE is '{has}'"),
                    mend: format!(
                        "-- every view on it has to be created anew, from the stream's oldest record:\n\
                         DROP SCHEMA {name};\n{};",
                        step.sql
                    ),
                },
                (_, _) => Meets::Exists,
            },
        },
        StepKind::View { schema, name, .. } => {
            match existing.views.get(&format!("{schema}.{name}")) {
                None => Meets::Missing,
                Some(view) if view.owner != existing.user && !existing.user.is_empty() => {
                    Meets::Differs {
                        how: format!(
                            "its owner is {}, and {} cannot refresh it",
                            view.owner, existing.user
                        ),
                        mend: format!(
                            "-- as a superuser:\nALTER TABLE {schema}.{name} OWNER TO \"{}\";",
                            existing.user
                        ),
                    }
                }
                Some(view) if view.auto_refresh && step.sql.contains("AUTO REFRESH NO") => {
                    Meets::Differs {
                        how: "AUTO REFRESH is on: two refresh it, and both are paid for".to_owned(),
                        mend: format!("ALTER MATERIALIZED VIEW {schema}.{name} AUTO REFRESH NO;"),
                    }
                }
                Some(_) => Meets::Exists,
            }
        }
        // These say the same when they are said again.
        StepKind::Grant { .. } | StepKind::AlterUser { .. } => Meets::Missing,
        StepKind::AutoRefreshOff { schema, name, .. } => {
            match existing.views.get(&format!("{schema}.{name}")) {
                Some(view) if view.auto_refresh => Meets::Missing,
                Some(_) | None => Meets::Exists,
            }
        }
    }
}

/// What stands between the quotes of `IAM_ROLE '…'`.
fn written_role(sql: &str) -> Option<String> {
    let (_, rest) = sql.split_once("IAM_ROLE '")?;
    Some(rest.split('\'').next()?.to_owned())
}

/// The plan, for a person: `+` is run, `=` is there, `~` differs.
#[must_use]
pub fn text(planned: &[Planned]) -> String {
    let mut text = String::new();
    for one in planned {
        let (kind, name) = one.step.kind.object();
        let place = format!("{}/{}", one.step.warehouse, one.step.database);
        let line = match &one.meets {
            Meets::Missing => format!("+ {}: {kind} {name} in {place}\n", one.step.purpose),
            Meets::Exists => format!("= {kind} {name} in {place} is there\n"),
            Meets::Differs { how, mend } => {
                let mend = mend.replace('\n', "\n    ");
                format!("~ {kind} {name} in {place} differs: {how}\n    {mend}\n")
            }
        };
        text.push_str(&line);
    }
    text
}

/// How one statement ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    Created,
    /// Somebody was faster.
    WasThere,
    Failed(Failure),
    /// What it stands on has failed.
    NotRun,
}

/// Runs what is missing in one database, in order; stops at the first failure.
pub async fn run(client: &Client, missing: &[&Planned]) -> Vec<Done> {
    let mut done = Vec::new();
    for Planned { step, auth, .. } in missing {
        if matches!(done.last(), Some(Done::Failed(_) | Done::NotRun)) {
            done.push(Done::NotRun);
            continue;
        }
        let question = Question {
            sql: &step.sql,
            settings: &step.session,
            database: &step.database,
            auth,
            limit: LOOK,
        };
        done.push(match client.question(&question).await {
            Ok(_) => Done::Created,
            Err(failure) if failure.message.contains("already exists") => Done::WasThere,
            Err(failure) => Done::Failed(failure),
        });
    }
    done
}

#[cfg(test)]
mod tests {
    use super::super::existing::{Schema, View};
    use super::super::sql;
    use super::*;

    fn step(kind: StepKind, sql: &str) -> Step {
        Step {
            warehouse: "rt".to_owned(),
            database: "dev".to_owned(),
            kind,
            purpose: "create",
            session: Vec::new(),
            sql: sql.to_owned(),
            comment: Vec::new(),
        }
    }

    fn view() -> Step {
        let kind = StepKind::View {
            id: "v".to_owned(),
            schema: "public".to_owned(),
            name: "v".to_owned(),
        };
        step(
            kind,
            "CREATE MATERIALIZED VIEW v\nAUTO REFRESH NO AS SELECT 1",
        )
    }

    fn schema() -> Step {
        let kind = StepKind::ExternalSchema {
            name: "k".to_owned(),
        };
        step(kind, "CREATE EXTERNAL SCHEMA k FROM KINESIS IAM_ROLE 'a,b'")
    }

    fn met_in(step: Step, existing: Existing) -> Meets {
        let place = ("rt".to_owned(), "dev".to_owned(), Auth::Iam);
        let config = two_users();
        let planned = plan(&config, vec![step], &BTreeMap::from([(place, existing)]));
        planned.into_iter().next().unwrap().meets
    }

    /// Alice's views and one of Bob's, on a stream of hers.
    fn two_users() -> Config {
        let view = |name: &str, user: &str| {
            format!(
                "[[views]]\nname = \"public.{name}\"\nwarehouse = \"w\"\nstream = \"clicks\"\n\
                 target_lag = \"30s\"\nauth = {{ db_user = \"{user}\" }}\ncreate = {{}}\n"
            )
        };
        let text = format!(
            "[warehouses.w]\ncluster = \"w\"\ndatabase = \"dev\"\n[streams.clicks]\n\
             kinesis = \"arn:aws:kinesis:eu-west-1:111111111111:stream/clicks\"\n{}{}",
            view("a", "alice"),
            view("b", "bob")
        );
        let source = config::Source::Text {
            name: "t".to_owned(),
            text,
        };
        let loaded = config::load(&source, &config::Environment::default());
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        loaded.config.unwrap()
    }

    #[test]
    fn each_view_is_created_by_its_own_user_who_is_let_in_first() {
        let config = two_users();
        let planned = plan(&config, sql::statements(&config), &BTreeMap::new());
        let order: Vec<String> = planned
            .iter()
            .map(|one| {
                let word = one.step.sql.split_whitespace().next().unwrap_or_default();
                let to = match &one.step.kind {
                    StepKind::Grant { user, .. } => user.as_str(),
                    StepKind::View { name, .. } => name.as_str(),
                    StepKind::ExternalSchema { .. }
                    | StepKind::AlterUser { .. }
                    | StepKind::AutoRefreshOff { .. } => "",
                };
                match &one.auth {
                    Auth::DbUser(user) => format!("{user}: {word} {to}"),
                    Auth::Iam | Auth::Secret(_) => format!("? {word} {to}"),
                }
            })
            .collect();
        assert_eq!(
            order,
            [
                "alice: CREATE ",
                "alice: GRANT bob",
                "alice: CREATE a",
                "bob: CREATE b",
                "alice: GRANT alice",
            ]
        );
    }

    #[test]
    fn a_view_is_judged_by_what_its_own_user_sees() {
        let config = two_users();
        let seen_by = |user: &str| {
            let place = (
                "w".to_owned(),
                "dev".to_owned(),
                Auth::DbUser(user.to_owned()),
            );
            let view = View {
                owner: "alice".to_owned(),
                auto_refresh: false,
                state: 1,
                parents: Vec::new(),
            };
            let views = ["public.a", "public.b"].map(|name| (name.to_owned(), view.clone()));
            let existing = Existing {
                user: user.to_owned(),
                views: views.into(),
                ..Existing::default()
            };
            (place, existing)
        };
        let existing = BTreeMap::from(["alice", "bob"].map(seen_by));
        let planned = plan(&config, sql::statements(&config), &existing);
        let views = planned.iter().filter_map(|one| match &one.step.kind {
            StepKind::View { name, .. } => {
                Some((name.as_str(), matches!(one.meets, Meets::Differs { .. })))
            }
            StepKind::ExternalSchema { .. }
            | StepKind::Grant { .. }
            | StepKind::AlterUser { .. }
            | StepKind::AutoRefreshOff { .. } => None,
        });
        assert_eq!(views.collect::<Vec<_>>(), [("a", false), ("b", true)]);
    }

    fn holding(owner: &str, auto_refresh: bool, options: &str) -> Existing {
        let view = View {
            owner: owner.to_owned(),
            auto_refresh,
            state: 1,
            parents: Vec::new(),
        };
        let schema = Schema {
            options: options.to_owned(),
        };
        Existing {
            user: "me".to_owned(),
            schemas: BTreeMap::from([("k".to_owned(), schema)]),
            views: BTreeMap::from([("public.v".to_owned(), view)]),
            ..Existing::default()
        }
    }

    #[test]
    fn what_is_missing_is_run_and_what_is_there_is_left_alone() {
        let there = || holding("me", false, r#"{"IAM_ROLE":"a,b"}"#);
        assert_eq!(met_in(view(), Existing::default()), Meets::Missing);
        assert_eq!(met_in(schema(), Existing::default()), Meets::Missing);
        assert_eq!(met_in(view(), there()), Meets::Exists);
        assert_eq!(met_in(schema(), there()), Meets::Exists);
        assert_eq!(
            met_in(schema(), holding("me", false, "no json")),
            Meets::Exists
        );
    }

    #[test]
    fn what_differs_is_explained_and_never_run() {
        for (step, existing, words) in [
            (view(), holding("you", false, "{}"), "OWNER TO \"me\""),
            (view(), holding("me", true, "{}"), "AUTO REFRESH NO;"),
            (
                schema(),
                holding("me", false, r#"{"IAM_ROLE":"a, b"}"#),
                "DROP SCHEMA k;",
            ),
        ] {
            let Meets::Differs { mend, .. } = met_in(step, existing) else {
                panic!("{words}");
            };
            assert!(mend.contains(words), "{mend}");
        }
    }
}
