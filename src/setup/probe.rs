//! Looking at a stream as the daemon may: through the role that is given to it for that.

use aws_config::sts::AssumeRoleProvider;
use aws_config::{Region, SdkConfig};
use aws_sdk_kinesis::config::SharedCredentialsProvider;
use aws_sdk_kinesis::error::ProvideErrorMetadata;

use super::aws;
use super::links::{Link, State};
use crate::config::{Stream, StreamSource};

/// Whether the stream is there, as far as the probe role can tell.
pub(super) async fn stream(sdk: &SdkConfig, name: &str, stream: &Stream) -> Link {
    let link = format!("stream {name}");
    let StreamSource::Kinesis(arn) = &stream.source else {
        let text = "a topic: only the refresh can tell";
        return Link::new(link, State::Unverifiable, text);
    };
    let arn = arn.to_string();
    let Some(role) = &stream.probe_role_arn else {
        let text = format!("{arn}: no probe_role_arn, so that only the refresh can tell");
        return Link::new(link, State::Unverifiable, text);
    };
    let role = role.to_string();
    let Some(before) = sdk.credentials_provider() else {
        return Link::new(link, State::Unverifiable, "there are no credentials");
    };
    let mut builder = sdk.to_builder();
    if let Some(region) = arn.split(':').nth(3) {
        builder.set_region(Region::new(region.to_owned()));
    }
    let sdk = builder.build();
    let provider = AssumeRoleProvider::builder(&role)
        .session_name("tidekeeper-verify")
        .configure(&sdk)
        .build_from_provider(before)
        .await;
    let assumed = sdk
        .to_builder()
        .credentials_provider(SharedCredentialsProvider::new(provider))
        .build();
    let summary = aws_sdk_kinesis::Client::new(&assumed)
        .describe_stream_summary()
        .stream_arn(&arn)
        .send()
        .await;
    match summary {
        Ok(summary) => {
            let shards = summary
                .stream_description_summary
                .map_or(0, |summary| summary.open_shard_count);
            Link::new(link, State::Ok, format!("{arn}, {shards} open shards"))
        }
        Err(error) => match error.code() {
            Some("ResourceNotFoundException") => {
                Link::new(link, State::Broken, format!("{arn} does not exist"))
                    .mend("check account, region and name; names are case-sensitive")
            }
            Some(code) => Link::new(link, State::Broken, format!("{role}: {code}"))
                .mend("tidekeeper setup iam prints the probe role"),
            None => {
                let text = format!("{role}: {}", aws::words(&error));
                Link::new(link, State::Broken, text)
                    .mend("tidekeeper setup iam prints the probe role and its trust")
            }
        },
    }
}
