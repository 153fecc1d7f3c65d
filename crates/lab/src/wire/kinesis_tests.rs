//! The lab's Kinesis through the AWS SDK for Rust, which refuses what is not to the letter,
//! timestamps above all.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::ShardIteratorType;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::{World, serve};

/// A client of a lab that ends when the other part is dropped.
#[expect(
    clippy::disallowed_methods,
    reason = "the lab ends with the test, which nobody has to wait for"
)]
async fn lab() -> (Client, oneshot::Sender<()>) {
    let world = World::from_toml("warehouses = []\nviews = []\nstreams = []", "test").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(serve(world, listener, async { drop(stopped.await) }));
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
        .endpoint_url(url)
        .build();
    (Client::from_conf(config), stop)
}

#[tokio::test]
async fn a_record_put_with_the_sdk_is_read_with_the_sdk() {
    let (client, _stop) = lab().await;
    let create = client.create_stream().stream_name("s").shard_count(1);
    create.send().await.unwrap();
    let summary = client
        .describe_stream_summary()
        .stream_name("s")
        .send()
        .await;
    let summary = summary.unwrap().stream_description_summary.unwrap();
    assert_eq!(
        summary.stream_arn(),
        "arn:aws:kinesis:eu-west-1:000000000000:stream/s"
    );
    let put = client.put_record().stream_arn(summary.stream_arn());
    let put = put.partition_key("k").data(Blob::new([0, 255]));
    let put = put.send().await.unwrap();
    let iterator = client.get_shard_iterator().stream_name("s");
    let iterator = iterator
        .shard_id(put.shard_id())
        .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
        .starting_sequence_number(put.sequence_number());
    let iterator = iterator.send().await.unwrap().shard_iterator.unwrap();
    let page = client.get_records().shard_iterator(iterator).send().await;
    let page = page.unwrap();
    let record = page.records().first().unwrap();
    assert_eq!(record.sequence_number(), put.sequence_number());
    assert_eq!(record.data().as_ref(), [0, 255]);
    let arrived = record.approximate_arrival_timestamp().unwrap();
    assert!(arrived >= summary.stream_creation_timestamp());
    assert_eq!(page.millis_behind_latest(), Some(0));
}

#[tokio::test]
async fn the_sdk_reads_a_refusal_as_the_exception_that_it_is() {
    let (client, _stop) = lab().await;
    let refused = client.describe_stream().stream_name("none").send().await;
    let error = refused.unwrap_err().into_service_error();
    assert!(error.is_resource_not_found_exception(), "{error:?}");
    let message = error.meta().message().unwrap();
    assert_eq!(message, "Stream none under account 000000000000 not found.");
}

#[test]
fn the_region_is_the_one_of_the_credentials_scope() {
    let signed = "AWS4-HMAC-SHA256 Credential=KEY/20260101/eu-west-1/kinesis/aws4_request, \
                  SignedHeaders=host, Signature=0";
    assert_eq!(super::region(signed).as_deref(), Some("eu-west-1"));
    for other in [
        "Bearer x",
        "Credential=KEY",
        "Credential=KEY/20260101//kinesis",
    ] {
        assert_eq!(super::region(other), None, "{other}");
    }
}
