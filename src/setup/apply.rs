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
use crate::warehouse::question::Question;
use crate::warehouse::{Auth, Client};

/// A step, and what it meets.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub step: Step,
    pub meets: Meets,
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

/// What each step meets in the database that it is for, by (warehouse, database).
#[must_use]
pub fn plan(steps: Vec<Step>, existing: &BTreeMap<(String, String), Existing>) -> Vec<Planned> {
    let mut planned: Vec<Planned> = Vec::new();
    for step in steps {
        let place = (step.warehouse.clone(), step.database.clone());
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
        planned.push(Planned { step, meets });
    }
    planned
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
pub async fn run(client: &Client, auth: &Auth, steps: &[&Step]) -> Vec<Done> {
    let mut done = Vec::new();
    for step in steps {
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
        let place = ("rt".to_owned(), "dev".to_owned());
        let planned = plan(vec![step], &BTreeMap::from([(place, existing)]));
        planned.into_iter().next().unwrap().meets
    }

    fn holding(owner: &str, auto_refresh: bool, options: &str) -> Existing {
        let view = View {
            owner: owner.to_owned(),
            auto_refresh,
            state: 1,
        };
        let schema = Schema {
            options: options.to_owned(),
        };
        Existing {
            user: "me".to_owned(),
            schemas: BTreeMap::from([("k".to_owned(), schema)]),
            views: BTreeMap::from([("public.v".to_owned(), view)]),
            gaps: Vec::new(),
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
