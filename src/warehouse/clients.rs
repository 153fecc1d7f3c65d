//! Clients: credentials, regions, endpoints, and what several of them share.
//!
//! Decides: that nothing here waits for the network at start (credentials are resolved with
//! the first call), that an unchanged warehouse keeps its client over a reload, and that
//! warehouses of one account and region share their limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_redshiftdata::config::StalledStreamProtectionConfig;
use tidekeeper_scheduler::WarehouseId;

use super::client::CONNECT_LIMIT;
use super::limit::Limits;
use super::roles::assume;
use super::{Client, Life, Settings};

const SESSION_NAME: &str = "tidekeeper";

/// Makes clients, and keeps those that need not be made again.
#[derive(Debug)]
pub struct Clients {
    life: Life,
    base: Option<SdkConfig>,
    known: BTreeMap<WarehouseId, (Settings, Arc<Client>)>,
    limits: BTreeMap<String, Arc<Limits>>,
}

impl Clients {
    #[must_use]
    pub fn new(life: Life) -> Self {
        Self {
            life,
            base: None,
            known: BTreeMap::new(),
            limits: BTreeMap::new(),
        }
    }

    /// Clients that take credentials and region from here, not from the environment.
    #[cfg(test)]
    pub(super) fn with_base(life: Life, base: SdkConfig) -> Self {
        Self {
            base: Some(base),
            ..Self::new(life)
        }
    }

    /// The client of a warehouse: the one it had, if nothing about it has changed.
    pub async fn client(&mut self, settings: Settings) -> Arc<Client> {
        if let Some((known, client)) = self.known.get(&settings.id)
            && *known == settings
        {
            return Arc::clone(client);
        }
        let sdk = self.sdk_config(&settings).await;
        let limits = Arc::clone(
            self.limits
                .entry(scope(&settings, &sdk))
                .or_insert_with(|| Arc::new(Limits::new(settings.quota_share))),
        );
        let config = aws_sdk_redshiftdata::config::Builder::from(&sdk)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        let api = aws_sdk_redshiftdata::Client::from_conf(config);
        let client = Arc::new(Client::new(
            api,
            settings.clone(),
            self.life.clone(),
            limits,
            sdk.region().is_some(),
        ));
        self.known
            .insert(settings.id.clone(), (settings, Arc::clone(&client)));
        client
    }

    async fn sdk_config(&mut self, settings: &Settings) -> SdkConfig {
        let mut builder = self.base(settings).await.to_builder();
        if let Some(region) = &settings.region {
            builder.set_region(Region::new(region.clone()));
        }
        if let Some(url) = &settings.endpoint_url {
            builder.set_endpoint_url(Some(url.clone()));
        }
        assume(builder.build(), &settings.assume_role, SESSION_NAME).await
    }

    /// What the environment says, read once. A warehouse that names its region spares the
    /// search for one, which would end at the instance metadata service.
    async fn base(&mut self, settings: &Settings) -> SdkConfig {
        if let Some(base) = &self.base
            && (base.region().is_some() || settings.region.is_some())
        {
            return base.clone();
        }
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_LIMIT)
                    .build(),
            );
        if let Some(region) = &settings.region {
            loader = loader.region(Region::new(region.clone()));
        }
        let base = loader.load().await;
        self.base = Some(base.clone());
        base
    }
}

/// Who shares quotas: the same place, reached through the same roles.
fn scope(settings: &Settings, sdk: &SdkConfig) -> String {
    let region = sdk.region().map(ToString::to_string).unwrap_or_default();
    let roles: Vec<&str> = settings
        .assume_role
        .iter()
        .map(|role| role.arn.as_str())
        .collect();
    let endpoint = settings.endpoint_url.as_deref().unwrap_or_default();
    format!("{region} {endpoint} {}", roles.join(" > "))
}
