//! Walking the whole way from the daemon to a row, and saying of every link how it is.
//!
//! Decides: the order (caller, permissions, warehouse, roles, schema, stream, view, one
//! refresh as the proof, one row) and what mends a broken link. What cannot be seen is
//! unverifiable, never good. Deliberately absent: changing anything. The one refresh is left
//! out where the warehouse's history holds a recent one or where one is running.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidekeeper_scheduler::{Failure, WarehouseId};

use super::aws;
use super::blame::blame;
use super::existing::{Existing, LOOK, Schema, View, look};
use super::iam::{self, Accounts};
use super::links::{Link, Report, State};
use super::probe;
use super::roles;
use crate::config::{Config, Mode, Outcomes, StreamSource};
use crate::translate;
use crate::warehouse::question::{Question, Rows};
use crate::warehouse::{Auth, Client, Clients, Refresh};

/// A refresh this recent is proof enough.
const RECENT_MINUTES: u32 = 15;

/// Verifies everything that a configuration speaks of.
pub async fn verify(config: &Config, clients: &mut Clients) -> Report {
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
        let client = clients.client(settings).await;
        let way = Way {
            config,
            accounts: &accounts,
            warehouse: &warehouse,
            client: &client,
            sdk: &sdk,
        };
        way.walk(&views, &mut report).await;
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
struct Way<'a> {
    config: &'a Config,
    accounts: &'a Accounts,
    warehouse: &'a WarehouseId,
    client: &'a Client,
    sdk: &'a aws_config::SdkConfig,
}

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
        self.records(views, report).await;
        let mut places: BTreeMap<(String, String), Option<Existing>> = BTreeMap::new();
        let mut probed = BTreeSet::new();
        for refresh in views {
            let place = (refresh.database.clone(), format!("{:?}", refresh.auth));
            if !places.contains_key(&place) {
                let existing = self
                    .database(&refresh.database, &refresh.auth, report)
                    .await;
                places.insert(place.clone(), existing);
            }
            let Some(Some(existing)) = places.get(&place) else {
                continue;
            };
            let view = self.config.views.get(refresh.view.as_str());
            let stream = view.and_then(|view| view.stream.as_deref());
            if let Some(name) = stream
                && probed.insert(name.to_owned())
                && let Some(stream) = self.config.streams.get(name)
            {
                report
                    .links
                    .push(probe::stream(self.sdk, name, stream).await);
            }
            report.links.extend(self.schema(refresh, existing));
            let sound = self.view(refresh, existing, report);
            if sound {
                let in_flight = running.contains(&refresh.view);
                self.prove(refresh, in_flight, report).await;
                self.sample(refresh, report).await;
            }
        }
    }

    /// Whether the daemon will know what its refreshes did.
    async fn records(&self, views: &[Refresh], report: &mut Report) {
        let warehouse = self.config.warehouses.get(self.warehouse.as_str());
        if warehouse.is_some_and(|warehouse| warehouse.outcomes == Outcomes::Off) {
            return;
        }
        let name = format!("warehouse {}: records of refreshes", self.warehouse);
        let views: Vec<Arc<Refresh>> = views.iter().cloned().map(Arc::new).collect();
        report
            .links
            .push(match self.client.missing_records(&views).await {
                Ok(missing) if missing.is_empty() => Link::new(name, State::Ok, "all can be read"),
                Ok(missing) => {
                    let text = format!("this user or release lacks {}", missing.join(", "));
                    Link::new(name, State::Unverifiable, text)
                }
                Err(failure) => {
                    let text = format!("every refresh will count as data: {}", failure.message);
                    let mend =
                        "let the user read SYS_MV_REFRESH_HISTORY, or set outcomes = \"off\"";
                    Link::new(name, State::Broken, text).mend(mend)
                }
            });
    }

    fn broken(&self, what: &str, failure: &Failure) -> Link {
        let name = format!("warehouse {}: {what}", self.warehouse);
        let link = Link::new(name, State::Broken, failure.message.to_string());
        match &failure.mend {
            Some(mend) => link.mend(mend.to_string()),
            None => link,
        }
    }

    async fn database(&self, database: &str, auth: &Auth, report: &mut Report) -> Option<Existing> {
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
                Some(existing)
            }
            Err(failure) => {
                let what = format!("database {database}");
                report.links.push(self.broken(&what, &failure));
                None
            }
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
    fn view(&self, refresh: &Refresh, existing: &Existing, report: &mut Report) -> bool {
        let schema = refresh.schema.as_deref().unwrap_or("public").to_lowercase();
        let name = format!("{schema}.{}", refresh.name.to_lowercase());
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
                "-- as a superuser:\nALTER TABLE {name} OWNER TO \"{me}\";"
            ))
        });
        if view.auto_refresh && !observed {
            let text = "AUTO REFRESH is on: two refresh it, and both are paid for";
            report.links.push(
                Link::new(link.as_str(), State::Broken, text)
                    .mend(format!("ALTER MATERIALIZED VIEW {name} AUTO REFRESH NO;")),
            );
        }
        report.links.extend(self.parents(refresh, view, existing));
        if view.state >= 101 {
            let text = format!("state {}: it can no longer be refreshed", view.state);
            report
                .links
                .push(Link::new(link, State::Broken, text).mend("create it anew"));
            return false;
        }
        true
    }

    /// A view on configured views has to be refreshed after them.
    fn parents(&self, refresh: &Refresh, view: &View, existing: &Existing) -> Option<Link> {
        let configured = self.config.views.get(refresh.view.as_str())?;
        let views = self.config.views.values();
        let forgotten: Vec<&str> = views
            .filter(|other| {
                let schema = other.schema.as_deref().unwrap_or("public").to_lowercase();
                let name = format!("{schema}.{}", other.name.to_lowercase());
                other.warehouse == configured.warehouse
                    && other.database == configured.database
                    && existing.views.contains_key(&name)
                    && view.parents.contains(&name)
                    && !configured.after.contains(&other.id)
            })
            .map(|other| other.id.as_str())
            .collect();
        if forgotten.is_empty() {
            return None;
        }
        let link = Link::new(
            format!("view {}", refresh.view),
            State::Broken,
            format!(
                "stands on {}, and is not refreshed after it",
                forgotten.join(" and ")
            ),
        );
        Some(link.mend(format!("after = [\"{}\"]", forgotten.join("\", \""))))
    }

    async fn ask(&self, refresh: &Refresh, sql: &str) -> Result<Rows, Failure> {
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
    fn observes(&self, refresh: &Refresh) -> bool {
        let view = self.config.views.get(refresh.view.as_str());
        view.is_some_and(|view| view.mode == Mode::Observe)
    }

    async fn prove(&self, refresh: &Refresh, in_flight: bool, report: &mut Report) {
        let link = format!("refresh of {}", refresh.view);
        if in_flight {
            let text = "one is running; look again when it has ended";
            report.links.push(Link::new(link, State::Skipped, text));
            return;
        }
        if let Some(seen) = self.recent(refresh).await {
            report.links.push(Link::new(link, State::Ok, seen));
            return;
        }
        if self.observes(refresh) {
            let text = "not tried: it is only observed";
            report.links.push(Link::new(link, State::Skipped, text));
            return;
        }
        let sql = crate::warehouse::refresh_sql(refresh, "verify");
        match self.ask(refresh, &sql).await {
            Ok(_) => report
                .links
                .push(Link::new(link, State::Ok, "it was refreshed now")),
            Err(failure) => {
                let view = self.config.views.get(refresh.view.as_str());
                let stream = view
                    .and_then(|view| view.stream.as_ref())
                    .and_then(|name| self.config.streams.get(name));
                report
                    .links
                    .push(blame(&link, &failure, stream, self.accounts));
            }
        }
    }

    /// A success in the warehouse's history that is recent enough.
    async fn recent(&self, refresh: &Refresh) -> Option<String> {
        let sql = format!(
            "SELECT TRIM(status) AS status, end_time FROM sys_mv_refresh_history \
             WHERE TRIM(mv_name) = '{}' AND start_time > GETDATE() - INTERVAL '{RECENT_MINUTES} minutes' \
             ORDER BY start_time DESC LIMIT 1",
            refresh.name.to_lowercase().replace('\'', "''")
        );
        let rows = self.ask(refresh, &sql).await.ok()?;
        let row = rows.rows.first()?;
        let status = rows.text(row, "status");
        let succeeded = status.starts_with("Refresh successfully") || status.starts_with("MV was");
        succeeded.then(|| format!("{status}, at {}", rows.text(row, "end_time")))
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
