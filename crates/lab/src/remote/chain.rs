//! Decides how the credentials of a role chain are come by and kept, and where Kinesis is
//! asked with them.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kinesis::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_sts::error::{DisplayErrorContext, ProvideErrorMetadata};
use tokio::sync::Mutex;

use super::{Aws, wording};

/// What Redshift's own sessions are called is not documented.
const SESSION: &str = "RedshiftIamRoleSession";

/// Credentials are not used any more this long before they end.
const MARGIN: i64 = 60;

/// A call that has no answer by then is given up.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Credentials by the chain that leads to them.
#[derive(Debug)]
pub(super) struct Chain {
    aws: Aws,
    base: Mutex<Option<SdkConfig>>,
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
            base: Mutex::new(None),
            known: Mutex::new(BTreeMap::new()),
        }
    }

    /// A client that asks with the credentials of the chain's last role.
    pub(super) async fn kinesis(
        &self,
        chain: &[String],
        region: Option<&str>,
    ) -> Result<aws_sdk_kinesis::Client, String> {
        let mut sdk = self.base().await;
        for (index, role) in chain.iter().enumerate() {
            let hops = chain.get(..=index).unwrap_or_default();
            let credentials = self.credentials(hops, role, &sdk).await?;
            sdk = sdk
                .to_builder()
                .credentials_provider(SharedCredentialsProvider::new(credentials))
                .build();
        }
        if let Some(region) = region {
            sdk = sdk
                .to_builder()
                .region(Region::new(region.to_owned()))
                .build();
        }
        Ok(aws_sdk_kinesis::Client::new(&sdk))
    }

    async fn base(&self) -> SdkConfig {
        let mut base = self.base.lock().await;
        if let Some(sdk) = &*base {
            return sdk.clone();
        }
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::standard().with_max_attempts(3))
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
        if let (Some(id), Some(secret)) = (&self.aws.access_key_id, &self.aws.secret_access_key) {
            loader = loader.credentials_provider(Credentials::new(id, secret, None, None, "world"));
        }
        let sdk = loader.load().await;
        *base = Some(sdk.clone());
        sdk
    }

    async fn credentials(
        &self,
        hops: &[String],
        role: &str,
        sdk: &SdkConfig,
    ) -> Result<Credentials, String> {
        let now = crate::clock::Clock::utc_now_us() / 1_000_000;
        if let Some(known) = self.known.lock().await.get(hops)
            && now < known.until
        {
            return Ok(known.credentials.clone());
        }
        let seconds = self.aws.session_seconds.unwrap_or(3600);
        let answer = aws_sdk_sts::Client::new(sdk)
            .assume_role()
            .role_arn(role)
            .role_session_name(SESSION)
            .duration_seconds(i32::try_from(seconds).unwrap_or(3600).max(900))
            .send()
            .await
            .map_err(|error| match error.as_service_error() {
                Some(refusal) => {
                    let code = refusal.code().unwrap_or("refused");
                    let message = refusal.message().unwrap_or_default();
                    wording::not_authorized(role, &format!("sts:AssumeRole: {code}: {message}"))
                }
                None => {
                    wording::unreachable("sts:AssumeRole", &DisplayErrorContext(&error).to_string())
                }
            })?;
        let Some(given) = answer.credentials else {
            return Err(wording::not_authorized(
                role,
                "sts:AssumeRole gave no credentials",
            ));
        };
        let credentials = Credentials::new(
            given.access_key_id,
            given.secret_access_key,
            Some(given.session_token),
            None,
            "assumed role",
        );
        // STS gives no session below 900 s; the lab may use one for less.
        let until = (given.expiration.secs() - MARGIN).min(now + i64::from(seconds));
        let assumed = Assumed {
            credentials: credentials.clone(),
            until,
        };
        self.known.lock().await.insert(hops.to_vec(), assumed);
        Ok(credentials)
    }
}
