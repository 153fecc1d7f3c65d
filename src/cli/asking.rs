//! What the commands that ask a warehouse have in common: clients outside a running daemon.

use std::sync::Arc;

use tidekeeper_scheduler::{Failure, WarehouseId};

use crate::app;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::setup::apply::Done;
use crate::translate;
use crate::warehouse::{Auth, Client, Clients, Life};

/// Clients for as long as one command runs.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) clients: Clients,
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
        .map_or(Auth::Iam, |view| match &view.auth {
            config::Auth::Iam => Auth::Iam,
            config::Auth::DbUser(user) => Auth::DbUser(user.clone()),
            config::Auth::SecretArn(arn) => Auth::Secret(arn.clone()),
        })
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
