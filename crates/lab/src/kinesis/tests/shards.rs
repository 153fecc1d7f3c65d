//! Streams and shards: creating, listing, splitting, merging, and what is refused.

use super::*;

#[test]
fn a_stream_is_active_as_soon_as_it_is_created_and_gone_when_deleted() {
    let mut lab = Lab::with(2, true);
    let answer = lab.ok("DescribeStreamSummary", json!({ "StreamName": "s" }));
    let summary = answer.get("StreamDescriptionSummary").unwrap();
    assert_eq!(summary.get("StreamStatus"), Some(&json!("ACTIVE")));
    assert_eq!(summary.get("OpenShardCount"), Some(&json!(2)));
    assert_eq!(summary.get("RetentionPeriodHours"), Some(&json!(24)));
    let created = summary.get("StreamCreationTimestamp");
    assert_eq!(created, Some(&json!(1_700_000_010.0)));
    let arn = "arn:aws:kinesis:eu-west-1:000000000000:stream/s";
    assert_eq!(summary.get("StreamARN"), Some(&json!(arn)));
    lab.ok("DeleteStream", json!({ "StreamARN": arn }));
    let refusal = lab.refusal("DescribeStreamSummary", json!({ "StreamARN": arn }));
    let (kind, message) = (refusal.kind, refusal.message.as_str());
    assert_eq!(kind, "ResourceNotFoundException");
    assert_eq!(message, "Stream s under account 000000000000 not found.");
}

#[test]
fn a_name_that_is_taken_is_in_use_but_case_matters() {
    let mut lab = Lab::with(1, true);
    let body = |name: &str| json!({ "StreamName": name, "ShardCount": 1 });
    let refusal = lab.refusal("CreateStream", body("s"));
    assert_eq!(refusal.kind, "ResourceInUseException");
    lab.ok("CreateStream", body("S"));
    let answer = lab.ok("ListStreams", json!({}));
    assert_eq!(answer.get("StreamNames"), Some(&json!(["S", "s"])));
}

/// Each request is refused with this exception, in a message that says this.
fn refused(lab: &mut Lab, cases: &[(&str, Value, &str, &str)]) {
    for (operation, body, kind, says) in cases {
        let refusal = lab.refusal(operation, body);
        assert_eq!(refusal.kind, *kind, "{body}: {}", refusal.message);
        assert!(
            refusal.message.contains(says),
            "{body}: {}",
            refusal.message
        );
    }
}

const INVALID: &str = "ValidationException";
const ARGUMENT: &str = "InvalidArgumentException";

#[test]
fn a_record_out_of_its_form_is_refused_in_the_words_of_aws() {
    let mut lab = Lab::with(1, false);
    let put = |key: &str, value: Value| {
        let mut body = json!({ "StreamName": "s", "PartitionKey": "k", "Data": "" });
        body.as_object_mut().unwrap().insert(key.to_owned(), value);
        body
    };
    let nameless = put("StreamName", json!("a b"));
    let pattern = "Value 'a b' at 'streamName' failed to satisfy constraint: Member must \
                   satisfy regular expression pattern: [a-zA-Z0-9_.-]+";
    let no_key =
        "Value null at 'partitionKey' failed to satisfy constraint: Member must not be null";
    let short = "Member must have length greater than or equal to 1";
    let (long, above) = ("9".repeat(40), "340282366920938463463374607431768211456");
    let hash = "ExplicitHashKey";
    let ordering = put("SequenceNumberForOrdering", json!("7"));
    let single = |record: Value| json!({ "StreamName": "s", "Records": [record] });
    let none = json!({ "StreamName": "s", "Records": [] });
    let cases = [
        ("PutRecord", nameless, INVALID, pattern),
        ("PutRecord", put("PartitionKey", json!("")), INVALID, short),
        ("PutRecord", put("PartitionKey", NOTHING), INVALID, no_key),
        (
            "PutRecord",
            put("Data", json!("*")),
            "SerializationException",
            "base64",
        ),
        (
            "PutRecord",
            put(hash, json!(long)),
            INVALID,
            "explicitHashKey",
        ),
        (
            "PutRecord",
            put(hash, json!(above)),
            ARGUMENT,
            "[0, 2^128-1]",
        ),
        ("PutRecord", ordering, ARGUMENT, "is invalid"),
        ("PutRecords", none, INVALID, "'records'"),
        (
            "PutRecords",
            single(json!({ "Data": "" })),
            INVALID,
            "'records.1.member.partitionKey'",
        ),
    ];
    refused(&mut lab, &cases);
}

#[test]
fn what_names_nothing_or_out_of_range_is_refused_in_the_words_of_aws() {
    let mut lab = Lab::with(1, false);
    let arn = json!({ "StreamARN": "arn:aws:s3:::b" });
    let iterator = json!({
        "StreamName": "s",
        "ShardId": "shardId-000000000000",
        "ShardIteratorType": "X",
    });
    let kinds = "[AFTER_SEQUENCE_NUMBER, LATEST, AT_TIMESTAMP, AT_SEQUENCE_NUMBER, TRIM_HORIZON]";
    let nonsense = json!({ "ShardIterator": "nonsense" });
    let cases = [
        (
            "ListStreams",
            json!({ "Limit": 0 }),
            INVALID,
            "greater than or equal to 1",
        ),
        (
            "CreateStream",
            json!({ "StreamName": "n" }),
            INVALID,
            "'shardCount'",
        ),
        ("DescribeStream", json!({}), ARGUMENT, "StreamARN"),
        ("DescribeStream", arn, INVALID, "'streamARN'"),
        ("GetRecords", nonsense, ARGUMENT, "Invalid ShardIterator."),
        ("GetShardIterator", iterator, INVALID, kinds),
    ];
    refused(&mut lab, &cases);
}

#[test]
fn a_split_shard_is_read_to_its_end_and_names_its_children() {
    let mut lab = Lab::with(1, false);
    lab.put("a", "1");
    let split = json!({ "StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": HALF });
    lab.ok("SplitShard", split.clone());
    lab.put("a", "2");
    let iterator = lab.iterator(0, "TRIM_HORIZON", &NOTHING);
    let page = lab.read(&iterator);
    assert_eq!(keys(&page), ["a"]);
    assert_eq!(page.get("NextShardIterator"), None);
    assert_eq!(shard_ids(&page, "/ChildShards"), ["1", "2"]);
    assert_eq!(
        page.pointer("/ChildShards/1/HashKeyRange/StartingHashKey"),
        Some(&json!(HALF))
    );
    assert_eq!(lab.keys(1, "TRIM_HORIZON", &NOTHING), ["a"]);
    let refusal = lab.refusal("SplitShard", split);
    assert!(refusal.message.contains("already been merged or split"));
    let shards = lab.ok("ListShards", json!({ "StreamName": "s" }));
    let ended = each(&shards, "/Shards", "SequenceNumberRange");
    let ended: Vec<bool> = ended
        .iter()
        .map(|range| range.get("EndingSequenceNumber").is_some())
        .collect();
    assert_eq!(ended, [true, false, false]);
}

#[test]
fn a_split_point_must_leave_more_than_a_key_on_either_side() {
    let mut lab = Lab::with(2, false);
    let most = u128::MAX.to_string();
    for key in [
        "0",
        HALF,
        "1",
        "170141183460469231731687303715884105727",
        &most,
    ] {
        let body = json!({ "StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": key });
        let refusal = lab.refusal("SplitShard", body);
        assert_eq!(refusal.kind, "InvalidArgumentException");
        assert!(
            refusal.message.contains("is not both greater than"),
            "{}",
            refusal.message
        );
    }
}

#[test]
fn a_merge_gives_one_shard_with_two_parents() {
    let mut lab = Lab::with(3, false);
    let merge = |one: usize, other: usize| {
        json!({
            "StreamName": "s",
            "ShardToMerge": format!("shardId-{one:012}"),
            "AdjacentShardToMerge": format!("shardId-{other:012}"),
        })
    };
    let refusal = lab.refusal("MergeShards", merge(0, 2));
    assert!(refusal.message.contains("not an adjacent pair"));
    let refusal = lab.refusal("MergeShards", merge(0, 7));
    assert_eq!(refusal.kind, "ResourceNotFoundException");
    lab.ok("MergeShards", merge(0, 1));
    let shards = lab.ok("ListShards", json!({ "StreamName": "s" }));
    let last = shards.pointer("/Shards/3").unwrap();
    assert_eq!(
        last.get("ParentShardId"),
        Some(&json!("shardId-000000000000"))
    );
    assert_eq!(
        last.get("AdjacentParentShardId"),
        Some(&json!("shardId-000000000001"))
    );
    assert_eq!(
        last.pointer("/HashKeyRange/StartingHashKey"),
        Some(&json!("0"))
    );
}

#[test]
fn filters_show_the_shards_of_their_time() {
    let mut lab = Lab::with(2, false);
    lab.pass(Duration::from_secs(100));
    lab.ok(
        "SplitShard",
        json!({ "StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": "1000" }),
    );
    lab.pass(Duration::from_secs(100));
    let mut shown = |filter: Value| {
        let body = json!({ "StreamName": "s", "ShardFilter": filter });
        shard_ids(&lab.ok("ListShards", body), "/Shards").join("")
    };
    let before = 1_700_000_060;
    let after = 1_700_000_160;
    assert_eq!(shown(json!({ "Type": "FROM_TRIM_HORIZON" })), "0123");
    assert_eq!(shown(json!({ "Type": "AT_TRIM_HORIZON" })), "01");
    assert_eq!(shown(json!({ "Type": "AT_LATEST" })), "123");
    assert_eq!(
        shown(json!({ "Type": "AT_TIMESTAMP", "Timestamp": before })),
        "01"
    );
    assert_eq!(
        shown(json!({ "Type": "AT_TIMESTAMP", "Timestamp": after })),
        "123"
    );
    assert_eq!(
        shown(json!({ "Type": "FROM_TIMESTAMP", "Timestamp": before })),
        "0123"
    );
    assert_eq!(
        shown(json!({ "Type": "FROM_TIMESTAMP", "Timestamp": after })),
        "123"
    );
    assert_eq!(
        shown(json!({ "Type": "AFTER_SHARD_ID", "ShardId": "shardId-000000000001" })),
        "23"
    );
}

#[test]
fn a_shard_whose_records_have_all_expired_is_no_longer_listed() {
    let mut lab = Lab::with(1, false);
    lab.ok(
        "SplitShard",
        json!({ "StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": HALF }),
    );
    lab.pass(Duration::from_secs(24 * 3_600 + 1));
    let answer = lab.ok("ListShards", json!({ "StreamName": "s" }));
    assert_eq!(shard_ids(&answer, "/Shards"), ["1", "2"]);
    let answer = lab.ok("DescribeStream", json!({ "StreamName": "s" }));
    assert_eq!(shard_ids(&answer, "/StreamDescription/Shards"), ["1", "2"]);
}

#[test]
fn lists_are_given_in_pages() {
    let mut lab = Lab::with(3, false);
    let first = lab.ok("ListShards", json!({ "StreamName": "s", "MaxResults": 2 }));
    assert_eq!(shard_ids(&first, "/Shards"), ["0", "1"]);
    let token = json!({ "NextToken": first.get("NextToken") });
    let second = lab.ok("ListShards", token.clone());
    assert_eq!(shard_ids(&second, "/Shards"), ["2"]);
    assert_eq!(second.get("NextToken"), None);
    let described = lab.ok(
        "DescribeStream",
        json!({ "StreamName": "s", "Limit": 1, "ExclusiveStartShardId": "shardId-000000000000" }),
    );
    assert_eq!(shard_ids(&described, "/StreamDescription/Shards"), ["1"]);
    assert_eq!(
        described.pointer("/StreamDescription/HasMoreShards"),
        Some(&json!(true))
    );
    lab.ok(
        "CreateStream",
        json!({ "StreamName": "t", "ShardCount": 1 }),
    );
    let first = lab.ok("ListStreams", json!({ "Limit": 1 }));
    assert_eq!(first.get("HasMoreStreams"), Some(&json!(true)));
    let second = lab.ok(
        "ListStreams",
        json!({ "NextToken": first.get("NextToken") }),
    );
    assert_eq!(second.get("StreamNames"), Some(&json!(["t"])));
    lab.pass(Duration::from_secs(301));
    assert_eq!(
        lab.refusal("ListShards", token).kind,
        "ExpiredNextTokenException"
    );
}

#[test]
fn an_operation_of_the_account_has_its_own_limit() {
    let mut lab = Lab::new(true);
    for _ in 0..5 {
        lab.ok("ListStreams", json!({}));
    }
    assert_eq!(
        lab.refusal("ListStreams", json!({})).kind,
        "LimitExceededException"
    );
    lab.pass(Duration::from_millis(200));
    lab.ok("ListStreams", json!({}));
}

#[test]
fn retention_goes_up_and_down_by_its_own_operations() {
    let mut lab = Lab::with(1, false);
    let body = |hours: i64| json!({ "StreamName": "s", "RetentionPeriodHours": hours });
    for (operation, hours, says) in [
        ("IncreaseStreamRetentionPeriod", 23, "Minimum allowed"),
        ("IncreaseStreamRetentionPeriod", 8_761, "Maximum allowed"),
        (
            "DecreaseStreamRetentionPeriod",
            48,
            "IncreaseRetentionPeriod",
        ),
    ] {
        let refusal = lab.refusal(operation, body(hours));
        assert_eq!(refusal.kind, "InvalidArgumentException");
        assert!(refusal.message.contains(says), "{}", refusal.message);
    }
    lab.ok("IncreaseStreamRetentionPeriod", body(48));
    let refusal = lab.refusal("IncreaseStreamRetentionPeriod", body(24));
    assert!(refusal.message.contains("DecreaseRetentionPeriod"));
    lab.put("old", "x");
    lab.pass(Duration::from_secs(30 * 3_600));
    assert_eq!(lab.keys(0, "TRIM_HORIZON", &NOTHING), ["old"]);
    lab.ok("DecreaseStreamRetentionPeriod", body(24));
    assert_eq!(lab.keys(0, "TRIM_HORIZON", &NOTHING), [""; 0]);
}

#[test]
fn an_on_demand_stream_has_four_shards_and_is_not_resharded() {
    let mut lab = Lab::new(false);
    let mode = json!({ "StreamMode": "ON_DEMAND" });
    lab.ok(
        "CreateStream",
        json!({ "StreamName": "s", "StreamModeDetails": mode }),
    );
    let answer = lab.ok("DescribeStreamSummary", json!({ "StreamName": "s" }));
    let summary = answer.get("StreamDescriptionSummary").unwrap();
    assert_eq!(summary.get("OpenShardCount"), Some(&json!(4)));
    assert_eq!(summary.get("StreamModeDetails"), Some(&mode));
    let body = json!({ "StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": "1000" });
    assert_eq!(lab.refusal("SplitShard", body).kind, "ValidationException");
    let limits = lab.ok("DescribeLimits", json!({}));
    assert_eq!(limits.get("OnDemandStreamCount"), Some(&json!(1)));
    let many = json!({ "StreamName": "many", "ShardCount": 20_000 });
    assert_eq!(
        lab.refusal("CreateStream", many).kind,
        "LimitExceededException"
    );
}

#[test]
fn tags_are_added_listed_and_removed() {
    let mut lab = Lab::with(1, false);
    let tags = json!({ "team": "tide", "stage": "test" });
    lab.ok(
        "AddTagsToStream",
        json!({ "StreamName": "s", "Tags": tags }),
    );
    lab.ok(
        "RemoveTagsFromStream",
        json!({ "StreamName": "s", "TagKeys": ["team"] }),
    );
    let answer = lab.ok("ListTagsForStream", json!({ "StreamName": "s" }));
    let left = json!({ "Tags": [{ "Key": "stage", "Value": "test" }], "HasMoreTags": false });
    assert_eq!(answer, left);
    let many: Value = (0..50).map(|n| (n.to_string(), json!(""))).collect();
    let refusal = lab.refusal(
        "AddTagsToStream",
        json!({ "StreamName": "s", "Tags": many }),
    );
    assert_eq!(refusal.kind, "InvalidArgumentException");
}

#[test]
fn an_arn_of_another_account_names_no_stream_here() {
    let mut lab = Lab::with(1, false);
    let arn = "arn:aws:kinesis:eu-west-1:111111111111:stream/s";
    let refusal = lab.refusal("DescribeStream", json!({ "StreamARN": arn }));
    let message = refusal.message;
    assert_eq!(message, "Stream s under account 111111111111 not found.");
    let both = json!({ "StreamName": "t", "StreamARN": lab.scope.arn("s") });
    assert_eq!(
        lab.refusal("DescribeStream", both).kind,
        "InvalidArgumentException"
    );
}
