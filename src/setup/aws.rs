//! Clients of the services that only `setup` asks.
//!
//! Decides: that they look where the warehouse's `endpoint_url` says, else where the
//! environment says (`AWS_ENDPOINT_URL_IAM`, a profile), and whose credentials they have.

use aws_config::{BehaviorVersion, Region, SdkConfig};

use crate::config::Warehouse;

/// IAM is everywhere the same; its client wants a region all the same.
const SOME_REGION: &str = "us-east-1";

/// Region, credentials and endpoints of the environment, or of a warehouse where it says so.
pub async fn settings(warehouse: Option<&Warehouse>) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(region) = warehouse.and_then(|warehouse| warehouse.region.as_ref()) {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(url) = warehouse.and_then(|warehouse| warehouse.endpoint_url.as_ref()) {
        loader = loader.endpoint_url(url);
    }
    let settings = loader.load().await;
    if settings.region().is_some() {
        return settings;
    }
    let region = Region::new(SOME_REGION);
    settings.to_builder().region(region).build()
}

/// The account that the credentials belong to.
///
/// # Errors
/// Why it could not be asked.
pub async fn own_account(settings: &SdkConfig) -> Result<String, String> {
    let client = aws_sdk_sts::Client::new(settings);
    let identity = client.get_caller_identity().send().await;
    let identity =
        identity.map_err(|error| format!("sts:GetCallerIdentity failed: {}", words(&error)))?;
    identity
        .account
        .ok_or_else(|| "sts:GetCallerIdentity named no account".to_owned())
}

/// An error and what led to it, without the raw answer.
#[must_use]
pub fn words<E: std::error::Error>(error: &E) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[must_use]
pub fn iam(settings: &SdkConfig) -> aws_sdk_iam::Client {
    aws_sdk_iam::Client::new(settings)
}
