//! What is asked of AWS, in which order and as whom, and what a refresh makes of the answers.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;

use super::fake::{Call, Fake, Shard, Trouble};
use super::{Ask, Aws, Batch, Position};

const FIRST: &str = "arn:aws:iam::222222222222:role/RedshiftStreamRole";
const SECOND: &str = "arn:aws:iam::111111111111:role/KinesisStreamRole";

fn ask() -> Ask {
    Ask {
        chain: vec![FIRST.to_owned(), SECOND.to_owned()],
        region: None,
        attached: vec![
            "arn:aws:iam::222222222222:role/Other".to_owned(),
            FIRST.to_owned(),
        ],
        stream: "my-data-stream".to_owned(),
        positions: BTreeMap::new(),
        max_records: 100,
        max_bytes: 1_000_000,
        deadline: Duration::from_secs(60),
    }
}

fn shard(id: &str, parents: &[&str], records: &[&str]) -> Shard {
    Shard {
        id: id.to_owned(),
        parents: parents.iter().map(|&parent| parent.to_owned()).collect(),
        records: records.iter().map(|&record| record.to_owned()).collect(),
        closed: false,
    }
}

fn closed(shard: Shard) -> Shard {
    Shard {
        closed: true,
        ..shard
    }
}

/// An AWS in which the chain is as it should be.
async fn aws(servers: &mut JoinSet<()>, shards: Vec<Shard>) -> Fake {
    let fake = Fake::start(servers).await;
    let mut world = fake.world();
    world.trusts = [(FIRST, "root"), (SECOND, "RedshiftStreamRole")]
        .map(|(role, caller)| (role.to_owned(), caller.to_owned()))
        .into();
    world.shards = shards;
    drop(world);
    fake
}

fn read_texts(batch: &Batch) -> Vec<String> {
    let text = |data: &Vec<u8>| String::from_utf8(data.clone()).unwrap();
    batch
        .records
        .iter()
        .map(|record| text(&record.data))
        .collect()
}

fn after(sequence: &str) -> Position {
    Position::After(sequence.to_owned())
}

fn positions<const N: usize>(held: [(&str, Position); N]) -> BTreeMap<String, Position> {
    held.map(|(id, position)| (id.to_owned(), position)).into()
}

fn whom(calls: &[Call]) -> Vec<(&str, &str)> {
    calls
        .iter()
        .map(|call| (call.caller.as_str(), call.about.as_str()))
        .collect()
}

#[tokio::test]
async fn each_role_is_assumed_with_the_credentials_of_the_one_before() {
    let mut servers = JoinSet::new();
    let fake = aws(&mut servers, vec![shard("s-0", &[], &["a"])]).await;
    let batch = fake.reader("").read(ask()).await.unwrap();

    assert_eq!(
        whom(&fake.calls("AssumeRole")),
        [("root", FIRST), ("RedshiftStreamRole", SECOND)]
    );
    for operation in [
        "DescribeStreamSummary",
        "ListShards",
        "GetShardIterator",
        "GetRecords",
    ] {
        let calls = fake.calls(operation);
        assert_eq!(calls.len(), 1, "{operation}");
        assert!(calls.iter().all(|call| call.caller == "KinesisStreamRole"));
    }
    let record = batch.records.first().unwrap();
    assert_eq!(record.data, b"a");
    assert_eq!(
        (record.shard_id.as_str(), record.sequence.as_str()),
        ("s-0", "0")
    );
    assert_eq!(
        (record.partition_key.as_str(), record.arrived_us),
        ("key", 1_500_000)
    );
    assert!(!batch.more);
}

#[tokio::test]
async fn sessions_are_kept_between_refreshes() {
    let mut servers = JoinSet::new();
    let fake = aws(&mut servers, vec![shard("s-0", &[], &[])]).await;
    let reader = fake.reader("");
    for _ in 0..3 {
        reader.read(ask()).await.unwrap();
    }
    assert_eq!(fake.calls("AssumeRole").len(), 2);
}

#[tokio::test]
async fn a_session_that_is_over_is_not_used_again() {
    let mut servers = JoinSet::new();
    let fake = aws(&mut servers, vec![shard("s-0", &[], &[])]).await;
    let reader = fake.reader("session_seconds = 0");
    for _ in 0..3 {
        reader.read(ask()).await.unwrap();
    }
    assert_eq!(fake.calls("AssumeRole").len(), 6);
}

#[tokio::test]
async fn a_session_that_ends_while_it_is_in_use_is_renewed_once() {
    let mut servers = JoinSet::new();
    let fake = aws(&mut servers, vec![shard("s-0", &[], &["a"])]).await;
    let expired = Trouble::Error("ExpiredTokenException", "The security token is expired");
    fake.trouble("GetRecords", expired.clone());
    let reader = fake.reader("");
    let batch = reader.read(ask()).await.unwrap();
    assert_eq!(read_texts(&batch), ["a"]);
    assert_eq!(fake.calls("AssumeRole").len(), 4);

    for _ in 0..2 {
        fake.trouble("ListShards", expired.clone());
    }
    let text = reader.read(ask()).await.unwrap_err();
    assert!(
        text.contains("ExpiredTokenException") && text.contains(SECOND),
        "{text}"
    );
    assert_eq!(
        fake.calls("AssumeRole").len(),
        6,
        "it does not try for ever"
    );
}

#[tokio::test]
async fn a_first_role_that_is_not_attached_is_refused_before_aws_is_asked() {
    let mut servers = JoinSet::new();
    let fake = aws(&mut servers, vec![]).await;
    for first in [SECOND.to_owned(), format!(" {FIRST}"), format!("{FIRST} ")] {
        let ask = Ask {
            chain: vec![first.clone(), SECOND.to_owned()],
            ..ask()
        };
        let text = fake.reader("").read(ask).await.unwrap_err();
        let expected = format!(
            "ERROR: exception name : UnauthorizedException, error type : 135, message: Not \
             authorized to get credentials of role {first}, should retry : 0\n  Detail: the role \
             is not associated with the warehouse"
        );
        assert_eq!(text, expected);
    }
    assert_eq!(fake.world().calls, []);
}

#[tokio::test]
async fn a_role_that_does_not_trust_the_one_before_is_named_with_what_sts_said() {
    let mut servers = JoinSet::new();
    let fake = aws(&mut servers, vec![]).await;
    fake.world().trusts.remove(SECOND);
    let text = fake.reader("").read(ask()).await.unwrap_err();
    let expected = format!(
        "ERROR: exception name : UnauthorizedException, error type : 135, message: Not authorized \
         to get credentials of role {SECOND}, should retry : 0\n  Detail: sts:AssumeRole: \
         AccessDenied: User: RedshiftStreamRole is not authorized to perform: sts:AssumeRole on \
         resource: {SECOND}"
    );
    assert_eq!(text, expected);
    assert_eq!(fake.calls("ListShards"), []);
}

#[tokio::test]
async fn a_role_written_with_a_space_is_asked_for_with_the_space() {
    let mut servers = JoinSet::new();
    let fake = aws(&mut servers, vec![]).await;
    let spaced = format!(" {SECOND}");
    let ask = Ask {
        chain: vec![FIRST.to_owned(), spaced.clone()],
        ..ask()
    };
    let text = fake.reader("").read(ask).await.unwrap_err();
    assert!(
        text.contains(&format!("credentials of role {spaced}, should retry : 0")),
        "{text}"
    );
    assert_eq!(fake.calls("AssumeRole").last().unwrap().about, spaced);
}

#[tokio::test]
async fn an_sts_that_is_busy_or_away_is_not_taken_for_a_refusal() {
    let mut servers = JoinSet::new();
    let fake = aws(&mut servers, vec![]).await;
    for _ in 0..6 {
        fake.trouble("AssumeRole", Trouble::Error("Throttling", "Rate exceeded"));
    }
    let text = fake.reader("").read(ask()).await.unwrap_err();
    assert!(
        text.contains("Throttling") && text.contains("should retry : 1"),
        "{text}"
    );
    assert!(!text.contains("Not authorized"), "{text}");

    servers.shutdown().await;
    let text = fake.reader("").read(ask()).await.unwrap_err();
    assert!(text.contains("sts:AssumeRole: connection failed"), "{text}");
    assert!(
        text.ends_with("should retry : 1") && !text.contains("hush"),
        "{text}"
    );
}

#[tokio::test]
async fn the_schemas_region_is_where_kinesis_is_asked_and_the_warehouses_is_where_sts_is() {
    let mut servers = JoinSet::new();
    let fake = aws(&mut servers, vec![shard("s-0", &[], &[])]).await;
    let ask = Ask {
        region: Some("us-west-2".to_owned()),
        ..ask()
    };
    fake.reader("").read(ask).await.unwrap();
    let regions = |operation| {
        let calls = fake.calls(operation);
        calls
            .into_iter()
            .map(|call| call.region)
            .collect::<Vec<_>>()
    };
    assert_eq!(regions("AssumeRole"), ["eu-west-1", "eu-west-1"]);
    assert_eq!(regions("GetRecords"), ["us-west-2"]);
}

#[tokio::test]
async fn what_the_last_role_may_not_do_names_the_role_the_action_and_the_stream() {
    let mut servers = JoinSet::new();
    let fake = aws(&mut servers, vec![shard("s-0", &[], &["a"])]).await;
    fake.trouble(
        "GetRecords",
        Trouble::Error("AccessDeniedException", "with an explicit deny"),
    );
    let text = fake.reader("").read(ask()).await.unwrap_err();
    let expected = format!(
        "ERROR: exception name : AccessDeniedException, error type : 135, message: \
         kinesis:GetRecords on stream my-data-stream: with an explicit deny, should retry : 0\n  \
         Detail: role {SECOND}"
    );
    assert_eq!(text, expected);
}

#[tokio::test]
async fn a_missing_stream_is_named() {
    let mut servers = JoinSet::new();
    let fake = aws(&mut servers, vec![]).await;
    let said = "Stream my-data-stream under account 111111111111 not found.";
    fake.trouble(
        "DescribeStreamSummary",
        Trouble::Error("ResourceNotFoundException", said),
    );
    let text = fake.reader("").read(ask()).await.unwrap_err();
    assert!(
        text.contains("exception name : ResourceNotFoundException") && text.contains(said),
        "{text}"
    );
    assert!(text.contains("should retry : 0"), "{text}");
}

#[tokio::test]
async fn a_refresh_reads_on_from_where_the_last_one_ended() {
    let mut servers = JoinSet::new();
    let fake = aws(
        &mut servers,
        vec![shard("s-0", &[], &["a", "b"]), shard("s-1", &[], &[])],
    )
    .await;
    let reader = fake.reader("");
    let first = reader.read(ask()).await.unwrap();
    assert_eq!(read_texts(&first), ["a", "b"]);
    assert_eq!(first.positions, positions([("s-0", after("1"))]));

    fake.world().shards = vec![
        shard("s-0", &[], &["a", "b", "c"]),
        shard("s-1", &[], &["d"]),
    ];
    let second = reader
        .read(Ask {
            positions: first.positions,
            ..ask()
        })
        .await
        .unwrap();
    assert_eq!(read_texts(&second), ["c", "d"]);
    assert_eq!(
        second.positions,
        positions([("s-0", after("2")), ("s-1", after("0"))])
    );
    assert!(!first.more && !second.more);
}

#[tokio::test]
async fn no_busy_shard_starves_the_others() {
    let mut servers = JoinSet::new();
    let busy = shard("s-0", &[], &["a", "b", "c", "d"]);
    let fake = aws(&mut servers, vec![busy, shard("s-1", &[], &["x"])]).await;
    fake.world().page = 1;
    let ask = Ask {
        max_records: 3,
        ..ask()
    };
    let batch = fake.reader("").read(ask).await.unwrap();
    assert_eq!(read_texts(&batch), ["a", "x", "b"]);
    assert!(batch.more);
}

#[tokio::test]
async fn children_are_read_after_all_of_their_parents() {
    for ends in [true, false] {
        let mut servers = JoinSet::new();
        // Listed children first, over two pages; s-3 merges s-1 and s-2, which split s-0.
        let shards = vec![
            shard("s-3", &["s-1", "s-2"], &["e", "f"]),
            closed(shard("s-2", &["s-0"], &["d"])),
            closed(shard("s-1", &["s-0"], &["b", "c"])),
            closed(shard("s-0", &["gone"], &["a"])),
        ];
        let fake = aws(&mut servers, shards).await;
        fake.world().ends = ends;
        fake.world().page = 1;
        let batch = fake.reader("").read(ask()).await.unwrap();
        let read = read_texts(&batch);
        assert_eq!(read.first().unwrap(), "a");
        assert_eq!(read.get(4..).unwrap(), ["e", "f"], "{read:?}");
        assert_eq!(read.len(), 6);
        let expected = positions([
            ("s-0", Position::Ended),
            ("s-1", Position::Ended),
            ("s-2", Position::Ended),
            ("s-3", after("1")),
        ]);
        assert_eq!(batch.positions, expected);
        assert!(!batch.more);
    }
}

#[tokio::test]
async fn a_closed_shard_that_still_brings_records_has_not_ended() {
    let mut servers = JoinSet::new();
    let fake = aws(&mut servers, vec![closed(shard("s-0", &[], &["a", "b"]))]).await;
    fake.world().page = 1;
    fake.world().ends = false;
    fake.world().flatters = true;
    let batch = fake.reader("").read(ask()).await.unwrap();
    assert_eq!(read_texts(&batch), ["a", "b"]);
    assert_eq!(batch.positions, positions([("s-0", Position::Ended)]));
}

#[tokio::test]
async fn children_that_are_born_during_a_refresh_are_read_by_it() {
    let mut servers = JoinSet::new();
    let fake = aws(&mut servers, vec![shard("s-0", &[], &["a", "b"])]).await;
    fake.world().page = 1;
    let split = vec![
        closed(shard("s-0", &[], &["a", "b"])),
        shard("s-1", &["s-0"], &["c"]),
    ];
    fake.trouble("GetRecords", Trouble::Reshard(split));
    let batch = fake.reader("").read(ask()).await.unwrap();
    assert_eq!(read_texts(&batch), ["a", "b", "c"]);
    assert!(!batch.more);
}

#[tokio::test]
async fn positions_of_shards_that_the_stream_no_longer_lists_are_dropped() {
    let mut servers = JoinSet::new();
    let fake = aws(&mut servers, vec![shard("s-1", &["s-0"], &["b"])]).await;
    let ask = Ask {
        positions: positions([("s-0", after("7"))]),
        ..ask()
    };
    let batch = fake.reader("").read(ask).await.unwrap();
    assert_eq!(read_texts(&batch), ["b"]);
    assert_eq!(batch.positions, positions([("s-1", after("0"))]));
}

#[tokio::test]
async fn limits_cut_an_answer_and_lose_nothing() {
    let mut servers = JoinSet::new();
    let fake = aws(
        &mut servers,
        vec![shard("s-0", &[], &["aaaa", "bb", "cc", "dddddddd"])],
    )
    .await;
    let reader = fake.reader("");
    let mut held = BTreeMap::new();
    let mut reads = Vec::new();
    loop {
        let ask = Ask {
            positions: held,
            max_bytes: 6,
            ..ask()
        };
        let batch = reader.read(ask).await.unwrap();
        reads.push(read_texts(&batch).join(" "));
        held = batch.positions;
        if !batch.more {
            break;
        }
        assert!(reads.len() < 10, "{reads:?}");
    }
    // The last one is larger than the limit, and goes through alone.
    assert_eq!(reads, ["aaaa bb", "cc", "dddddddd"]);
}

#[tokio::test]
async fn an_expired_iterator_is_replaced_after_the_last_record_that_was_read() {
    let mut servers = JoinSet::new();
    let fake = aws(&mut servers, vec![shard("s-0", &[], &["a", "b"])]).await;
    fake.world().page = 1;
    let reader = fake.reader("");
    let same = fake.world().shards.clone();
    fake.trouble("GetRecords", Trouble::Reshard(same));
    fake.trouble(
        "GetRecords",
        Trouble::Error("ExpiredIteratorException", "expired"),
    );
    let batch = reader.read(ask()).await.unwrap();
    assert_eq!(read_texts(&batch), ["a", "b"]);
    assert_eq!(fake.calls("GetShardIterator").len(), 2);

    for _ in 0..20 {
        fake.trouble(
            "GetRecords",
            Trouble::Error("ExpiredIteratorException", "expired"),
        );
    }
    let text = reader.read(ask()).await.unwrap_err();
    assert!(text.contains("ExpiredIteratorException"), "{text}");
    assert_eq!(
        fake.calls("GetShardIterator").len(),
        2 + 4,
        "it does not try for ever"
    );
}

#[tokio::test]
async fn a_throttled_shard_is_asked_again_and_in_the_end_given_up() {
    let mut servers = JoinSet::new();
    let fake = aws(&mut servers, vec![shard("s-0", &[], &["a"])]).await;
    let said = "Rate exceeded for shard s-0";
    let throttled = Trouble::Error("ProvisionedThroughputExceededException", said);
    for _ in 0..5 {
        fake.trouble("GetRecords", throttled.clone());
    }
    let batch = fake.reader("").read(ask()).await.unwrap();
    assert_eq!(read_texts(&batch), ["a"]);

    for _ in 0..6 {
        fake.trouble("GetRecords", throttled.clone());
    }
    let text = fake.reader("").read(ask()).await.unwrap_err();
    assert!(
        text.contains("ProvisionedThroughputExceededException") && text.contains(said),
        "{text}"
    );
    assert!(text.contains("should retry : 1"), "{text}");
    assert_eq!(fake.calls("GetRecords").len(), 6 + 6);
}

#[tokio::test]
async fn a_position_that_the_stream_refuses_fails_the_refresh_and_is_named() {
    let mut servers = JoinSet::new();
    let fake = aws(&mut servers, vec![shard("s-0", &[], &["a"])]).await;
    fake.trouble(
        "GetShardIterator",
        Trouble::Error(
            "InvalidArgumentException",
            "it did not come from this stream",
        ),
    );
    let ask = Ask {
        positions: positions([("s-0", after("496"))]),
        ..ask()
    };
    let text = fake.reader("").read(ask).await.unwrap_err();
    assert!(
        text.contains("the stored position 496 of s-0 is refused: it did not"),
        "{text}"
    );
}

/// Reads with a clock that is stopped once AWS is silent, and then wound to the deadline.
async fn read_into_silence(fake: &Fake) -> Result<Batch, String> {
    let reader = fake.reader("");
    let read = reader.read(ask());
    let wind = async {
        fake.silent.notified().await;
        tokio::time::pause();
        // Past every limit of a single attempt, none of which may outlast the whole.
        tokio::time::advance(ask().deadline).await;
    };
    let (result, ()) = tokio::join!(read, wind);
    result
}

#[tokio::test]
async fn a_deadline_in_the_middle_keeps_what_has_been_read() {
    let mut servers = JoinSet::new();
    let fake = aws(&mut servers, vec![shard("s-0", &[], &["a", "b"])]).await;
    fake.world().page = 1;
    let same = fake.world().shards.clone();
    fake.trouble("GetRecords", Trouble::Reshard(same));
    for _ in 0..10 {
        fake.trouble("GetRecords", Trouble::Silence);
    }
    let batch = read_into_silence(&fake).await.unwrap();
    assert_eq!(read_texts(&batch), ["a"]);
    assert_eq!(batch.positions, positions([("s-0", after("0"))]));
    assert!(batch.more);
}

#[tokio::test]
async fn a_deadline_before_anything_was_read_fails_the_refresh() {
    for operation in ["AssumeRole", "ListShards", "GetRecords"] {
        let mut servers = JoinSet::new();
        let fake = aws(&mut servers, vec![shard("s-0", &[], &["a"])]).await;
        for _ in 0..10 {
            fake.trouble(operation, Trouble::Silence);
        }
        let text = read_into_silence(&fake).await.unwrap_err();
        assert!(
            text.contains("stream my-data-stream timed out after 60 s"),
            "{text}"
        );
        tokio::time::resume();
    }
}

#[test]
fn half_a_key_is_refused_and_the_secret_is_not_printed() {
    let half = toml::from_str::<Aws>("access_key_id = 'AKID'").unwrap_err();
    assert!(
        half.message()
            .contains("access_key_id needs secret_access_key"),
        "{half}"
    );
    let aws: Aws = toml::from_str("access_key_id = 'AKID'\nsecret_access_key = 'hush'").unwrap();
    assert!(!format!("{aws:?}").contains("hush"));
    assert!(toml::from_str::<Aws>("endpoint = 'x'").is_err());
}
