//! Decides how the credentials of a role chain are come by and kept, and where Kinesis is
//! asked with them.
//!
//! Deliberately absent: trimming. A role that is written with a space beside its comma is
//! another role, which does not exist, as Redshift has it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kinesis::config::{Credentials, SharedCredentialsProvider};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::wording::{Answer, Refused, Stop, within};
use super::{Ask, Aws};
use crate::clock::Clock;

/// What Redshift's own sessions are called is not documented.
const SESSION: &str = "RedshiftIamRoleSession";

/// Credentials are not used any more this long before they end, in seconds.
const MARGIN: i64 = 60;

/// An attempt that has no answer by then is given up.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Credentials by the chain that leads to them.
#[derive(Debug)]
pub(super) struct Chain {
    aws: Aws,
    /// Throttled calls are made again by the SDK: a shard that has just answered 10 MiB
    /// refuses for five seconds.
    pub(super) retry: RetryConfig,
    base: OnceCell<SdkConfig>,
    known: Mutex<BTreeMap<Vec<String>, Assumed>>,
}

#[derive(Debug, Clone)]
struct Assumed {
    credentials: Credentials,
    /// Seconds since 1970 after which they are asked for again.
    until: i64,
}

impl Chain {
    pub(super) fn new(aws: Aws) -> Self {
        Self {
            aws,
            retry: RetryConfig::standard()
                .with_max_attempts(6)
                .with_initial_backoff(Duration::from_millis(400))
                .with_max_backoff(Duration::from_secs(3)),
            base: OnceCell::new(),
            known: Mutex::default(),
        }
    }

    /// A client that asks with the credentials of the chain's last role.
    pub(super) async fn kinesis(
        &self,
        ask: &Ask,
        deadline: Instant,
    ) -> Result<aws_sdk_kinesis::Client, Stop> {
        if let Some(first) = ask.chain.first()
            && !ask.attached.contains(first)
        {
            let refused = Refused::role(first, "the role is not associated with the warehouse");
            return Err(Stop::Refused(refused));
        }
        let base = self.base.get_or_init(|| Box::pin(self.load()));
        let mut sdk = within(deadline, base).await?.clone();
        if sdk.region().is_none() {
            return Err(Stop::Refused(Refused::no_region()));
        }
        let mut hops = Vec::new();
        for role in &ask.chain {
            hops.push(role.clone());
            let credentials = match self.remembered(&hops) {
                Some(credentials) => credentials,
                None => self.assume(&hops, role, &sdk, deadline).await?,
            };
            sdk = sdk
                .to_builder()
                .credentials_provider(SharedCredentialsProvider::new(credentials))
                .build();
        }
        if let Some(region) = &ask.region {
            sdk = sdk.to_builder().region(Region::new(region.clone())).build();
        }
        Ok(aws_sdk_kinesis::Client::new(&sdk))
    }

    /// Forgets the credentials of this chain and of every part of it.
    pub(super) fn forget(&self, chain: &[String]) {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|hops, _| !chain.starts_with(hops));
    }

    async fn load(&self) -> SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(self.retry.clone())
            .timeout_config(
                TimeoutConfig::builder()
                    .operation_attempt_timeout(ANSWER_LIMIT)
                    .build(),
            );
        if let Some(region) = &self.aws.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(url) = &self.aws.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if let Some(key) = &self.aws.key {
            let credentials = Credentials::new(&key.id, &key.secret, None, None, "world");
            loader = loader.credentials_provider(credentials);
        }
        loader.load().await
    }

    fn remembered(&self, hops: &[String]) -> Option<Credentials> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let assumed = known.get(hops)?;
        (utc_seconds() < assumed.until).then(|| assumed.credentials.clone())
    }

    async fn assume(
        &self,
        hops: &[String],
        role: &str,
        sdk: &SdkConfig,
        deadline: Instant,
    ) -> Result<Credentials, Stop> {
        let seconds = self.aws.session_seconds.unwrap_or(3600);
        let call = aws_sdk_sts::Client::new(sdk)
            .assume_role()
            .role_arn(role)
            .role_session_name(SESSION)
            .duration_seconds(i32::try_from(seconds).unwrap_or(3600).max(900))
            .send();
        let answer = within(deadline, call)
            .await?
            .map_err(|error| Stop::Refused(Refused::sts(role, Answer::of(&error))))?;
        let Some(given) = answer.credentials else {
            let refused = Refused::role(role, "sts:AssumeRole gave no credentials");
            return Err(Stop::Refused(refused));
        };
        let credentials = Credentials::new(
            given.access_key_id,
            given.secret_access_key,
            Some(given.session_token),
            None,
            "assumed role",
        );
        // STS gives no session below 900 s; the lab may use one for less.
        let until = (given.expiration.secs() - MARGIN).min(utc_seconds() + i64::from(seconds));
        let assumed = Assumed {
            credentials: credentials.clone(),
            until,
        };
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(hops.to_vec(), assumed);
        Ok(credentials)
    }
}

fn utc_seconds() -> i64 {
    Clock::utc_now_us() / 1_000_000
}
