//! Credentials at the end of a chain of roles.
//!
//! Decides: that each role is assumed with the credentials of the one before it, and that who
//! acts as the last one keeps its credentials to itself.
//! Deliberately absent: who walks which chain. Nothing is asked here: roles are assumed with
//! the first call, and again before their credentials end.

use aws_config::SdkConfig;
use aws_config::identity::IdentityCache;
use aws_config::sts::AssumeRoleProvider;
use aws_sdk_redshiftdata::config::SharedCredentialsProvider;

use super::AssumeRole;

/// The same region and endpoints, as the last of the roles; `session` names the sessions.
pub async fn assume(mut sdk: SdkConfig, roles: &[AssumeRole], session: &str) -> SdkConfig {
    for role in roles {
        let Some(before) = sdk.credentials_provider() else {
            break;
        };
        let mut provider = AssumeRoleProvider::builder(&role.arn)
            .session_name(session)
            .configure(&sdk);
        if let Some(external_id) = &role.external_id {
            provider = provider.external_id(external_id);
        }
        // Its future is large, and part of those of everybody who waits for it.
        let provider = Box::pin(provider.build_from_provider(before)).await;
        sdk = sdk
            .to_builder()
            .credentials_provider(SharedCredentialsProvider::new(provider))
            // The cache that all clients share holds 64 identities and then drops any of them
            // for the next: with more clients than that, roles would be assumed all the time.
            .identity_cache(IdentityCache::lazy().build())
            .build();
    }
    sdk
}
