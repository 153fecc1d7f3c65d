//! Putting records in and reading them: iterators, pages, throughput.

use super::*;

#[test]
fn every_kind_of_iterator_begins_where_it_says() {
    let mut lab = Lab::with(1, false);
    lab.put("a", "1");
    lab.pass(Duration::from_secs(1));
    let second = lab.put("b", "2");
    let time = json!({ "Timestamp": 1_700_000_011.0 });
    lab.pass(Duration::from_secs(1));
    lab.put("c", "3");
    let latest = lab.iterator(0, "LATEST", &NOTHING);
    lab.put("d", "4");
    let second = json!({ "StartingSequenceNumber": second });
    assert_eq!(lab.keys(0, "TRIM_HORIZON", &NOTHING), ["a", "b", "c", "d"]);
    assert_eq!(lab.keys(0, "AT_SEQUENCE_NUMBER", &second), ["b", "c", "d"]);
    assert_eq!(lab.keys(0, "AFTER_SEQUENCE_NUMBER", &second), ["c", "d"]);
    assert_eq!(lab.keys(0, "AT_TIMESTAMP", &time), ["b", "c", "d"]);
    assert_eq!(keys(&lab.read(&latest)), ["d"]);
}

#[test]
fn a_shards_starting_sequence_number_is_a_place_to_read_from() {
    let mut lab = Lab::with(1, false);
    lab.put("a", "1");
    let answer = lab.ok("ListShards", json!({ "StreamName": "s" }));
    let start = answer.pointer("/Shards/0/SequenceNumberRange/StartingSequenceNumber");
    let start = json!({ "StartingSequenceNumber": start });
    for kind in ["AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"] {
        assert_eq!(lab.keys(0, kind, &start), ["a"], "{kind}");
    }
}

#[test]
fn a_sequence_number_of_another_shard_stream_or_service_is_refused() {
    let mut lab = Lab::with(2, false);
    let number = lab.put("a", "1");
    lab.ok(
        "CreateStream",
        json!({ "StreamName": "other", "ShardCount": 1 }),
    );
    let body = |stream: &str, shard: &str, number: &str| {
        json!({
            "StreamName": stream,
            "ShardId": shard,
            "ShardIteratorType": "AT_SEQUENCE_NUMBER",
            "StartingSequenceNumber": number,
        })
    };
    let (first, second) = ("shardId-000000000000", "shardId-000000000001");
    for (body, says) in [
        (
            body("s", second, &number),
            "It encodes shardId-000000000000",
        ),
        (
            body("other", first, &number),
            "did not come from this stream",
        ),
        (body("s", first, "17"), "is invalid."),
        (
            json!({ "StreamName": "s", "ShardId": first, "ShardIteratorType": "AT_SEQUENCE_NUMBER" }),
            "and no Starting",
        ),
        (
            json!({ "StreamName": "s", "ShardId": first, "ShardIteratorType": "LATEST", "StartingSequenceNumber": number }),
            "and also a Starting",
        ),
        (
            json!({ "StreamName": "s", "ShardId": first, "ShardIteratorType": "AT_TIMESTAMP" }),
            "timestampInMillis",
        ),
        (
            json!({ "StreamName": "s", "ShardId": first, "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1_800_000_000 }),
            "cannot be greater",
        ),
    ] {
        let refusal = lab.refusal("GetShardIterator", body);
        assert_eq!(refusal.kind, "InvalidArgumentException");
        assert!(refusal.message.contains(says), "{}", refusal.message);
    }
}

#[test]
fn reading_on_page_by_page_gives_every_record_once_and_says_how_far_behind_it_is() {
    let mut lab = Lab::with(1, false);
    for key in ["a", "b", "c"] {
        lab.put(key, "x");
        lab.pass(Duration::from_secs(1));
    }
    let mut iterator = lab.iterator(0, "TRIM_HORIZON", &NOTHING);
    let (mut seen, mut behind) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let page = lab.ok(
            "GetRecords",
            json!({ "ShardIterator": iterator, "Limit": 1 }),
        );
        seen.extend(keys(&page));
        behind.push(
            page.get("MillisBehindLatest")
                .and_then(Value::as_u64)
                .unwrap(),
        );
        iterator = string(page.get("NextShardIterator"));
    }
    assert_eq!(seen, ["a", "b", "c"]);
    assert_eq!(behind, [3_000, 2_000, 0, 0]);
}

#[test]
fn a_page_holds_at_most_ten_mebibytes_but_always_a_record() {
    let mut lab = Lab::with(1, false);
    let data = "x".repeat(6 * 1024 * 1024);
    lab.put("a", &data);
    lab.put("b", &data);
    assert_eq!(lab.keys(0, "TRIM_HORIZON", &NOTHING), ["a"]);
}

#[test]
fn an_iterator_expires_after_five_minutes() {
    let mut lab = Lab::with(1, false);
    let iterator = lab.iterator(0, "LATEST", &NOTHING);
    lab.pass(Duration::from_secs(300));
    lab.read(&iterator);
    lab.pass(Duration::from_millis(1));
    let refusal = lab.refusal("GetRecords", json!({ "ShardIterator": iterator }));
    assert_eq!(refusal.kind, "ExpiredIteratorException");
}

#[test]
fn an_iterator_of_a_deleted_stream_does_not_read_its_namesake() {
    let mut lab = Lab::with(1, false);
    let iterator = lab.iterator(0, "TRIM_HORIZON", &NOTHING);
    lab.ok("DeleteStream", json!({ "StreamName": "s" }));
    lab.ok(
        "CreateStream",
        json!({ "StreamName": "s", "ShardCount": 1 }),
    );
    let refusal = lab.refusal("GetRecords", json!({ "ShardIterator": iterator }));
    assert_eq!(refusal.kind, "ResourceNotFoundException");
}

#[test]
fn put_records_tells_which_failed_and_a_bad_one_refuses_them_all() {
    let mut lab = Lab::with(1, true);
    let record = json!({ "PartitionKey": "k", "Data": base64(&"x".repeat(600_000)) });
    let answer = lab.ok(
        "PutRecords",
        json!({ "StreamName": "s", "Records": [record, record] }),
    );
    assert_eq!(answer.get("FailedRecordCount"), Some(&json!(1)));
    assert_eq!(each(&answer, "/Records", "SequenceNumber").len(), 1);
    assert_eq!(
        answer.pointer("/Records/1"),
        Some(&json!({
            "ErrorCode": "ProvisionedThroughputExceededException",
            "ErrorMessage": "Rate exceeded for shard shardId-000000000000 in stream s under account 000000000000.",
        }))
    );
    let bad = json!({ "PartitionKey": "", "Data": "" });
    lab.refusal(
        "PutRecords",
        json!({ "StreamName": "s", "Records": [{ "PartitionKey": "k", "Data": "" }, bad] }),
    );
    let large = json!({ "PartitionKey": "k", "Data": base64(&"x".repeat(6_000_000)) });
    let refusal = lab.refusal(
        "PutRecords",
        json!({ "StreamName": "s", "Records": [large, large] }),
    );
    assert_eq!(refusal.message, "Records size exceeds 10 MB limit");
    assert_eq!(lab.keys(0, "TRIM_HORIZON", &NOTHING), ["k"]);
}

#[test]
fn a_shard_takes_a_thousand_records_a_second() {
    let mut lab = Lab::with(1, true);
    let records = |count: usize| {
        let records = vec![json!({ "PartitionKey": "k", "Data": "" }); count];
        json!({ "StreamName": "s", "Records": records })
    };
    let failed = |answer: Value| answer.get("FailedRecordCount").and_then(Value::as_u64);
    assert_eq!(failed(lab.ok("PutRecords", records(500))), Some(0));
    assert_eq!(failed(lab.ok("PutRecords", records(500))), Some(0));
    assert_eq!(failed(lab.ok("PutRecords", records(10))), Some(10));
    lab.pass(Duration::from_millis(5));
    assert_eq!(failed(lab.ok("PutRecords", records(10))), Some(5));
    let mut free = Lab::with(1, false);
    for _ in 0..3 {
        assert_eq!(failed(free.ok("PutRecords", records(500))), Some(0));
    }
}

#[test]
fn a_record_larger_than_a_seconds_worth_is_taken_and_then_paid_for() {
    let mut lab = Lab::with(1, true);
    lab.put("k", &"x".repeat(3 * 1024 * 1024));
    lab.pass(Duration::from_secs(2));
    let body =
        json!({ "StreamName": "s", "PartitionKey": "k", "Data": base64(&"x".repeat(500_000)) });
    let refusal = lab.refusal("PutRecord", body.clone());
    assert_eq!(refusal.kind, "ProvisionedThroughputExceededException");
    lab.pass(Duration::from_secs(1));
    lab.ok("PutRecord", body);
}

#[test]
fn a_shard_answers_five_reads_a_second_and_two_mebibytes() {
    let mut lab = Lab::with(2, true);
    let iterator = lab.iterator(0, "TRIM_HORIZON", &NOTHING);
    for _ in 0..5 {
        lab.read(&iterator);
    }
    let refusal = lab.refusal("GetRecords", json!({ "ShardIterator": iterator }));
    assert_eq!(refusal.kind, "ProvisionedThroughputExceededException");
    let other = lab.iterator(1, "TRIM_HORIZON", &NOTHING);
    lab.read(&other);
    lab.pass(Duration::from_secs(1));
    lab.put("a", &"x".repeat(4 * 1024 * 1024));
    lab.read(&iterator);
    lab.pass(Duration::from_millis(900));
    assert!(
        lab.ask("GetRecords", &json!({ "ShardIterator": iterator }))
            .is_err()
    );
    lab.pass(Duration::from_millis(101));
    lab.read(&iterator);
}
