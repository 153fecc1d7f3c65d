//! What the commands that ask a warehouse have in common: clients outside a running daemon.

use std::sync::Arc;

use tidekeeper_scheduler::{Failure, WarehouseId};

use crate::app;
use crate::clock::Clock;
use crate::config::{self, Config, Environment, Source};
use crate::setup::apply::Done;
use crate::translate;
use crate::warehouse::{Auth, Client, Clients, Life};

/// What a warehouse is called that stands in no configuration.
pub(super) const FOUND: &str = "found";

/// A warehouse that is named by the arguments, not in a configuration.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Reach {
    /// The Serverless workgroup.
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "cluster",
        requires = "database"
    )]
    workgroup: Option<String>,
    /// The provisioned cluster.
    #[arg(long, value_name = "NAME", requires = "database")]
    cluster: Option<String>,
    /// The database.
    #[arg(long, value_name = "NAME")]
    pub(super) database: Option<String>,
    /// From the environment unless given.
    #[arg(long, value_name = "REGION")]
    pub(super) region: Option<String>,
    /// Where every service is asked instead.
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// The database user to ask as, on a cluster.
    #[arg(long, value_name = "USER", conflicts_with = "secret_arn")]
    db_user: Option<String>,
    /// The secret to ask with.
    #[arg(long, value_name = "ARN")]
    secret_arn: Option<String>,
}

impl Reach {
    pub(super) fn names_a_warehouse(&self) -> bool {
        self.workgroup.is_some() || self.cluster.is_some()
    }

    /// The warehouse's part of a configuration.
    pub(super) fn section(&self) -> String {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let mut section = format!("[warehouses.{FOUND}]\n");
        for (key, value) in [
            ("workgroup", &self.workgroup),
            ("cluster", &self.cluster),
            ("database", &self.database),
            ("region", &self.region),
            ("endpoint_url", &self.endpoint_url),
        ] {
            if let Some(value) = value {
                section.push_str(&format!("{key} = {}\n", quoted(value)));
            }
        }
        for (key, value) in [("db_user", &self.db_user), ("secret_arn", &self.secret_arn)] {
            if let Some(value) = value {
                section.push_str(&format!("auth = {{ {key} = {} }}\n", quoted(value)));
            }
        }
        section
    }

    /// A configuration of this warehouse and one view.
    pub(super) fn config(&self, view: &str, target_lag: &str) -> Result<Config, String> {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let text = format!(
            "{}\n[[views]]\nname = {}\nwarehouse = \"{FOUND}\"\ntarget_lag = {}\n",
            self.section(),
            quoted(view),
            quoted(target_lag)
        );
        let source = Source::Text {
            name: "arguments".to_owned(),
            text,
        };
        let loaded = config::load(&source, &Environment::default());
        let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        match loaded.config {
            Some(config) if problems.is_empty() => Ok(config),
            Some(_) | None => Err(problems.join("\n")),
        }
    }
}

/// Clients for as long as one command runs.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) clients: Clients,
    /// That of the clients.
    pub(super) clock: Clock,
}

impl Asking {
    /// Under the daemon's own name, so that its statements are seen; never as its next life.
    pub(super) fn new(config: &Config) -> Self {
        let clock = Clock::start();
        let life = Life {
            instance: config.daemon.instance.clone(),
            boot: app::boot_id(),
            now: Arc::new(move || clock.now()),
            on_call: Arc::new(|_| {}),
        };
        Self {
            clients: Clients::new(life),
            clock,
        }
    }

    pub(super) async fn client(
        &mut self,
        config: &Config,
        warehouse: &WarehouseId,
    ) -> Option<Arc<Client>> {
        let settings = translate::warehouses(config).find(|settings| settings.id == *warehouse)?;
        Some(self.clients.client(settings).await)
    }
}

/// As whom statements run in a database: as its views' do.
pub(super) fn auth(config: &Config, warehouse: &str, database: &str) -> Auth {
    config
        .views
        .values()
        .find(|view| view.warehouse == warehouse && view.database == database)
        .map_or(Auth::Iam, |view| translate::auth(&view.auth))
}

/// A failure with what mends it.
pub(super) fn words(failure: &Failure) -> String {
    match &failure.mend {
        Some(mend) => format!("{} ({mend})", failure.message),
        None => failure.message.to_string(),
    }
}

pub(super) fn error_of(done: &Done) -> Option<String> {
    match done {
        Done::Failed(failure) => Some(words(failure)),
        Done::Created | Done::WasThere | Done::NotRun => None,
    }
}
