//! Walking the whole way from the daemon to a row, and saying of every link how it is.
//!
//! Decides: the order (caller, permissions, warehouse, roles, schema, stream, view, one
//! refresh as the proof and what its record says, one row) and what mends a broken link. What
//! cannot be seen is unverifiable, never good. Deliberately absent: changing anything. The one
//! refresh is left out where the warehouse's history holds a recent one, where one is running,
//! and of views that are only observed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidekeeper_scheduler::{Failure, Span, WarehouseId};

use super::asked::{self, Asker, Evidence};
use super::aws;
use super::existing::{Existing, LOOK, Schema, View, look};
use super::iam::{self, Accounts};
use super::identifier::identifier;
use super::links::{Link, Report, State};
use super::probe;
use super::proof;
use super::roles;
use crate::clock::Clock;
use crate::config::{Config, Mode, Outcomes, StreamSource, Target};
use crate::dependants;
use crate::translate;
use crate::warehouse::question::{Question, Rows};
use crate::warehouse::{AssumeRole, Auth, Client, Clients, Refresh, stored_name};

/// A refresh this recent is proof enough.
const RECENT: Span = Span::from_secs(15 * 60);

/// Verifies everything that a configuration speaks of; `clock` is that of the clients.
pub async fn verify(config: &Config, clients: &mut Clients, clock: &Clock) -> Report {
    let mut report = Report::default();
    let accounts = match iam::documents(config) {
        Ok(accounts) => accounts,
        Err(problems) => {
            for problem in problems {
                report.links.push(Link::new(
                    "configuration",
                    State::Broken,
                    problem.to_string(),
                ));
            }
            Accounts::new()
        }
    };
    let mut seen = BTreeSet::new();
    for settings in translate::warehouses(config) {
        let warehouse = settings.id.clone();
        let views: Vec<Refresh> = translate::refreshes(config)
            .into_iter()
            .filter(|(of, _)| *of == warehouse)
            .map(|(_, refresh)| refresh)
            .collect();
        if views.is_empty() {
            continue;
        }
        let own = config.warehouses.get(warehouse.as_str());
        let sdk = aws::settings(own).await;
        if let Some(account) = caller(&sdk, &mut report, &mut seen).await {
            let client = aws::iam(&sdk);
            report
                .links
                .extend(roles::check(&client, &account, &accounts).await);
        }
        let roles = settings.assume_role.clone();
        let client = clients.client(settings).await;
        let way = Way {
            config,
            accounts: &accounts,
            warehouse: &warehouse,
            client: &client,
            sdk: &sdk,
            roles: &roles,
            clock,
        };
        Box::pin(way.walk(&views, &mut report)).await;
    }
    report
}

/// Who we are; the account, the first time that it is met.
async fn caller(
    sdk: &aws_config::SdkConfig,
    report: &mut Report,
    seen: &mut BTreeSet<String>,
) -> Option<String> {
    let identity = aws_sdk_sts::Client::new(sdk)
        .get_caller_identity()
        .send()
        .await;
    match identity {
        Ok(identity) => {
            let account = identity.account.unwrap_or_default();
            if !seen.insert(account.clone()) {
                return None;
            }
            let arn = identity.arn.unwrap_or_default();
            report.links.push(Link::new("caller", State::Ok, arn));
            Some(account)
        }
        Err(error) => {
            let text = aws::words(&error);
            let link = Link::new("caller", State::Unverifiable, text);
            report.links.push(link.mend(
                "check the credentials (task role, AWS_ACCESS_KEY_ID, profile) and the way to STS",
            ));
            None
        }
    }
}

/// One warehouse's part of the way.
pub(super) struct Way<'a> {
    pub(super) config: &'a Config,
    pub(super) accounts: &'a Accounts,
    warehouse: &'a WarehouseId,
    pub(super) client: &'a Client,
    sdk: &'a aws_config::SdkConfig,
    roles: &'a [AssumeRole],
    pub(super) clock: &'a Clock,
}

/// A user in a database, and what there is for him.
type Place = (String, Auth);

impl Way<'_> {
    async fn walk(&self, views: &[Refresh], report: &mut Report) {
        let running = match self.client.scan().await {
            Ok(found) => {
                let text = format!("{} of this instance's statements run", found.len());
                report.links.push(Link::new(
                    format!("warehouse {}: adoption scan", self.warehouse),
                    State::Ok,
                    text,
                ));
                found.into_iter().map(|found| found.view).collect()
            }
            Err(failure) => {
                report.links.push(self.broken("adoption scan", &failure));
                BTreeSet::new()
            }
        };
        let mut recent = Vec::new();
        let mut places: BTreeMap<Place, Option<Found>> = BTreeMap::new();
        let mut evidence: BTreeMap<Auth, Evidence> = BTreeMap::new();
        let mut probed = BTreeSet::new();
        for refresh in views {
            let place = (refresh.database.clone(), refresh.auth.clone());
            if !places.contains_key(&place) {
                let found = self.database(&place, report).await;
                if let Some(found) = &found
                    && !evidence.contains_key(&place.1)
                {
                    let theirs = views.iter().filter(|view| view.auth == place.1);
                    let theirs: Vec<Arc<Refresh>> = theirs.cloned().map(Arc::new).collect();
                    let seen = self.system(&place, &found.existing, &theirs, report).await;
                    evidence.insert(place.1.clone(), seen);
                    let since = self.clock.now() - RECENT;
                    let swept = self.client.sweep(&theirs, since, &[]).await;
                    recent.extend(swept.unwrap_or_default().foreign);
                }
                places.insert(place.clone(), found);
            }
            let Some(Some(found)) = places.get(&place) else {
                continue;
            };
            let view = self.config.views.get(refresh.view.as_str());
            let stream = view.and_then(|view| view.stream.as_deref());
            if let Some(name) = stream
                && probed.insert(name.to_owned())
                && let Some(stream) = self.config.streams.get(name)
            {
                let asked = (name, stream);
                let told = probe::stream(self.sdk, self.roles, self.clock, asked).await;
                report.links.extend(told);
            }
            report.links.extend(self.schema(refresh, &found.existing));
            if self.view(refresh, found, report) {
                let in_flight = running.contains(&refresh.view);
                let seen = evidence.entry(refresh.auth.clone()).or_default();
                match proof::latest(&recent, &refresh.view) {
                    Some(record) => self.seen(refresh, record, seen, report),
                    None => self.prove(refresh, in_flight, seen, report).await,
                }
                self.sample(refresh, report).await;
            }
        }
        if self.reads_records() {
            report
                .links
                .extend(evidence.values().flat_map(Evidence::links));
        }
    }

    pub(super) fn reads_records(&self) -> bool {
        let warehouse = self.config.warehouses.get(self.warehouse.as_str());
        warehouse.is_none_or(|warehouse| warehouse.outcomes != Outcomes::Off)
    }

    /// What system views say that concern a user's refreshes.
    async fn system(
        &self,
        (database, auth): &Place,
        existing: &Existing,
        views: &[Arc<Refresh>],
        report: &mut Report,
    ) -> Evidence {
        let subject = format!("warehouse {} as {}", self.warehouse, existing.user);
        let target = self.config.warehouses.get(self.warehouse.as_str());
        let serverless =
            target.is_some_and(|warehouse| matches!(warehouse.target, Target::Workgroup(_)));
        if views.len() > 1 {
            let parents = asked::parents(&subject, existing, serverless);
            report.links.push(parents);
        }
        if self.reads_records() {
            report.links.push(self.records(&subject, views).await);
            let asker = Asker {
                client: self.client,
                subject: &subject,
                database,
                auth,
                serverless,
                observes: views.iter().any(|view| self.observes(view)),
            };
            report.links.extend(asker.system(&existing.user).await);
        }
        Evidence {
            subject,
            me: existing.user.clone(),
            ..Evidence::default()
        }
    }

    /// Whether the daemon will know what a user's refreshes did.
    async fn records(&self, subject: &str, views: &[Arc<Refresh>]) -> Link {
        let name = format!("{subject}: records of refreshes");
        match self.client.missing_records(views).await {
            Ok(missing) if missing.is_empty() => Link::new(name, State::Ok, "all can be read"),
            Ok(missing) => {
                let text = format!("this user or release lacks {}", missing.join(", "));
                Link::new(name, State::Unverifiable, text)
            }
            Err(failure) => {
                let text = format!("every refresh will count as data: {}", failure.message);
                let mend = "let the user read SYS_MV_REFRESH_HISTORY, or set outcomes = \"off\"";
                Link::new(name, State::Broken, text).mend(mend)
            }
        }
    }

    fn broken(&self, what: &str, failure: &Failure) -> Link {
        let name = format!("warehouse {}: {what}", self.warehouse);
        let link = Link::new(name, State::Broken, failure.message.to_string());
        match &failure.mend {
            Some(mend) => link.mend(mend.to_string()),
            None => link,
        }
    }

    async fn database(&self, (database, auth): &Place, report: &mut Report) -> Option<Found> {
        match look(self.client, database, auth).await {
            Ok(existing) => {
                let name = format!("warehouse {}: database {database}", self.warehouse);
                let text = format!("statements run as {}", existing.user);
                report.links.push(Link::new(name, State::Ok, text));
                for gap in &existing.gaps {
                    let name = format!("warehouse {}: system views", self.warehouse);
                    report
                        .links
                        .push(Link::new(name, State::Unverifiable, gap.clone()));
                }
                Some(self.completed(database, auth, existing))
            }
            Err(failure) => {
                let what = format!("database {database}");
                report.links.push(self.broken(&what, &failure));
                None
            }
        }
    }

    fn completed(&self, database: &str, auth: &Auth, existing: Existing) -> Found {
        let views = existing.views.iter();
        let told: Vec<(String, String)> = views
            .flat_map(|(child, view)| view.parents.iter().map(move |parent| (child, parent)))
            .map(|(child, parent)| (child.clone(), parent.clone()))
            .collect();
        let warehouse = self.warehouse.as_str();
        let completed = dependants::completed(self.config, warehouse, (database, auth), &told);
        Found {
            existing,
            completed,
        }
    }

    /// The external schema behind a view, against the configured chain.
    fn schema(&self, refresh: &Refresh, existing: &Existing) -> Option<Link> {
        let view = self.config.views.get(refresh.view.as_str())?;
        let stream = self.config.streams.get(view.stream.as_ref()?)?;
        let create = view.create.as_ref()?;
        let name = &create.external_schema;
        let link = format!("external schema {name}");
        let wanted = stream.role_chain.join(",");
        let Some(schema) = existing.schemas.get(name) else {
            let link = Link::new(link, State::Broken, "does not exist");
            return Some(link.mend("tidekeeper setup apply"));
        };
        Some(compare(link, name, schema, &wanted, self.region(stream)))
    }

    fn region<'s>(&self, stream: &'s crate::config::Stream) -> Option<&'s str> {
        let StreamSource::Kinesis(arn) = &stream.source else {
            return None;
        };
        let region = arn.split(':').nth(3)?;
        let own = self.config.warehouses.get(self.warehouse.as_str())?;
        let own = own
            .region
            .as_deref()
            .or_else(|| self.sdk.region().map(AsRef::as_ref));
        (own != Some(region)).then_some(region)
    }

    /// Existence, owner, AUTO REFRESH, refreshability; whether a refresh can be tried.
    fn view(&self, refresh: &Refresh, found: &Found, report: &mut Report) -> bool {
        let existing = &found.existing;
        let (schema, name) = stored_name(refresh);
        let written = format!("{}.{}", identifier(&schema), identifier(&name));
        let name = format!("{schema}.{name}");
        let link = format!("view {name}");
        if !existing.gaps.is_empty() && existing.views.is_empty() {
            report.links.push(Link::new(
                link,
                State::Unverifiable,
                "SVV_MV_INFO shows nothing",
            ));
            return true;
        }
        let Some(view) = existing.views.get(&name) else {
            let absent = Link::new(link, State::Broken, "does not exist");
            report.links.push(absent.mend("tidekeeper setup apply"));
            return false;
        };
        let me = &existing.user;
        let owner = format!("owner {}", view.owner);
        let observed = self.observes(refresh);
        report.links.push(if view.owner == *me || observed {
            Link::new(link.as_str(), State::Ok, owner)
        } else {
            Link::new(
                link.as_str(),
                State::Broken,
                format!("{owner}; statements run as {me}"),
            )
            .mend(format!(
                "-- as a superuser:\nALTER TABLE {written} OWNER TO \"{me}\";"
            ))
        });
        if view.auto_refresh && !observed {
            let text = "AUTO REFRESH is on: two refresh it, and both are paid for";
            report
                .links
                .push(Link::new(link.as_str(), State::Broken, text).mend(format!(
                    "ALTER MATERIALIZED VIEW {written} AUTO REFRESH NO;"
                )));
        }
        report.links.extend(self.parents(refresh, view, found));
        if view.state >= 101 {
            let text = format!("state {}: it can no longer be refreshed", view.state);
            report
                .links
                .push(Link::new(link, State::Broken, text).mend("create it anew"));
            return false;
        }
        true
    }

    /// A view on configured views has to be refreshed after them; on a cluster the daemon
    /// finds that out where nothing is written.
    fn parents(&self, refresh: &Refresh, view: &View, found: &Found) -> Option<Link> {
        let id = refresh.view.as_str();
        let configured = self.config.views.get(id)?;
        let completed = &found.completed.views.get(id)?.after;
        let stands_on =
            translate::refreshes(self.config)
                .into_iter()
                .filter(|(warehouse, other)| {
                    let (schema, name) = stored_name(other);
                    let name = format!("{schema}.{name}");
                    warehouse == self.warehouse
                        && other.database == refresh.database
                        && view.parents.contains(&name)
                });
        let stands_on = stands_on.map(|(_, other)| other.view.to_string());
        let (known, forgotten): (Vec<String>, Vec<String>) = stands_on
            .filter(|parent| !configured.after.contains(parent))
            .partition(|parent| completed.contains(parent));
        let link = format!("view {id}");
        if !forgotten.is_empty() {
            let forgotten_ones = forgotten.join(" and ");
            let text = format!("stands on {forgotten_ones}, and is not refreshed after it");
            let link = Link::new(link, State::Broken, text);
            return Some(link.mend(format!("after = [\"{}\"]", forgotten.join("\", \""))));
        }
        let text = format!("after {}: found in the catalog", known.join(" and "));
        (!known.is_empty()).then(|| Link::new(link, State::Ok, text))
    }

    pub(super) async fn ask(&self, refresh: &Refresh, sql: &str) -> Result<Rows, Failure> {
        let question = Question {
            sql,
            settings: &crate::warehouse::settings(&refresh.session),
            database: &refresh.database,
            auth: &refresh.auth,
            limit: LOOK,
        };
        self.client.question(&question).await
    }

    /// Others refresh it.
    pub(super) fn observes(&self, refresh: &Refresh) -> bool {
        let view = self.config.views.get(refresh.view.as_str());
        view.is_some_and(|view| view.mode == Mode::Observe)
    }

    async fn sample(&self, refresh: &Refresh, report: &mut Report) {
        let link = format!("a row of {}", refresh.view);
        let sql = format!(
            "SELECT * FROM {} LIMIT 1",
            crate::warehouse::view_sql(refresh)
        );
        report.links.push(match self.ask(refresh, &sql).await {
            Ok(rows) if rows.rows.is_empty() => Link::new(link, State::Skipped, "it is empty"),
            Ok(rows) => {
                let names: Vec<&str> = rows.columns.iter().map(|(name, _)| name.as_str()).collect();
                Link::new(link, State::Ok, names.join(", "))
            }
            Err(failure) => Link::new(link, State::Unverifiable, failure.message.to_string()),
        });
    }
}

/// What a database holds, and the configuration with what its catalog adds.
struct Found {
    existing: Existing,
    completed: Config,
}

fn compare(link: String, name: &str, schema: &Schema, wanted: &str, region: Option<&str>) -> Link {
    let Some(role) = schema.iam_role() else {
        let text = "exists; its options do not tell its IAM_ROLE";
        return Link::new(link, State::Unverifiable, text);
    };
    let statement = format!("DROP SCHEMA {name}; and then: tidekeeper setup apply");
    if role.contains(' ') {
        let text = format!("there is a space in its IAM_ROLE '{role}'");
        return Link::new(link, State::Broken, text).mend(statement);
    }
    if !wanted.is_empty() && role != wanted {
        let text = format!("its IAM_ROLE is '{role}', the configuration has '{wanted}'");
        return Link::new(link, State::Broken, text).mend(statement);
    }
    if schema.region().as_deref() != region {
        let text = format!(
            "it reads region {}, the stream is in {}",
            schema
                .region()
                .unwrap_or_else(|| "of the warehouse".to_owned()),
            region.unwrap_or("that of the warehouse")
        );
        return Link::new(link, State::Broken, text).mend(statement);
    }
    Link::new(link, State::Ok, role)
}
