//! Documents and statements, word for word.

use std::path::{Path, PathBuf};

use serde::Serialize as _;

use super::policy::Document;
use super::{iam, sql};
use crate::config::{self, Config, Environment, Source};

pub(super) fn config(text: &str) -> Config {
    let source = Source::Text {
        name: "t.toml".to_owned(),
        text: text.to_owned(),
    };
    let loaded = config::load(&source, &Environment::new());
    assert_eq!(loaded.problems, []);
    loaded.config.unwrap()
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/setup")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(golden().join(name)).unwrap_or_default()
}

#[test]
fn every_golden_configuration_asks_for_these_roles_and_this_sql() {
    let mut wrong = Vec::new();
    for name in [
        "walkthrough",
        "single-account",
        "three-accounts-gov",
        "kafka-iam-cn",
        "kafka-mtls",
    ] {
        let config = config(&read(&format!("{name}.toml")));
        let accounts = iam::documents(&config).unwrap();
        let notes: Vec<String> = iam::notes(&config);
        let notes = notes.iter().map(|note| format!("-- note: {note}\n"));
        let said = [
            (
                "json",
                serde_json::to_string_pretty(&accounts).unwrap() + "\n",
            ),
            (
                "sql",
                sql::script(&sql::statements(&config))
                    + "\n-- migrate\n"
                    + &sql::script(&sql::migration(&config))
                    + "\n-- notes on roles\n"
                    + &notes.collect::<String>(),
            ),
        ];
        for (kind, said) in said {
            let file = format!("{name}.{kind}");
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(golden().join(&file), &said).unwrap();
            }
            if said != read(&file) {
                wrong.push(format!("{file}\n said:\n{said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// As the walkthrough prints its policies.
fn printed(document: &Document) -> String {
    let mut text = Vec::new();
    let style = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut to = serde_json::Serializer::with_formatter(&mut text, style);
    document.serialize(&mut to).unwrap();
    String::from_utf8(text).unwrap()
}

/// Word for word, but for the accounts, and for the stream: it says `*:…:stream/*`.
const KINESIS_STREAM_POLICY: &str = r#"{
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "ReadStream",
            "Effect": "Allow",
            "Action": [
                "kinesis:DescribeStreamSummary",
                "kinesis:GetShardIterator",
                "kinesis:GetRecords",
                "kinesis:DescribeStream"
            ],
            "Resource": "arn:aws:kinesis:*:111111111111:stream/*"
        },
        {
            "Sid": "ListStream",
            "Effect": "Allow",
            "Action": [
                "kinesis:ListStreams",
                "kinesis:ListShards"
            ],
            "Resource": "*"
        }
    ]
}"#;

const REDSHIFT_STREAM_POLICY: &str = r#"{
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "StmtStreamRole",
            "Effect": "Allow",
            "Action": [
                "sts:AssumeRole"
            ],
            "Resource": "arn:aws:iam::111111111111:role/KinesisStreamRole"
        }
    ]
}"#;

const KINESIS_STREAM_TRUST: &str = r#"{
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {
                "AWS": "arn:aws:iam::222222222222:role/RedshiftStreamRole"
            },
            "Action": "sts:AssumeRole"
        }
    ]
}"#;

#[test]
fn the_walkthrough_gets_its_own_policies_with_the_stream_named() {
    let accounts = iam::documents(&config(&read("walkthrough.toml"))).unwrap();
    let role = |account: &str, name: &str| {
        let roles = &accounts.get(account).unwrap().roles;
        roles.iter().find(|role| role.name == name).unwrap().clone()
    };
    let kinesis = role("111111111111", "KinesisStreamRole");
    let named = KINESIS_STREAM_POLICY.replace(
        "arn:aws:kinesis:*:111111111111:stream/*",
        "arn:aws:kinesis:eu-west-1:111111111111:stream/my-data-stream",
    );
    let policy = kinesis.policies.get("KinesisStreamPolicy").unwrap();
    assert_eq!(printed(policy), named);
    assert_eq!(printed(&kinesis.trust), KINESIS_STREAM_TRUST);
    let redshift = role("222222222222", "RedshiftStreamRole");
    let policy = redshift.policies.get("RedshiftStreamPolicy").unwrap();
    assert_eq!(printed(policy), REDSHIFT_STREAM_POLICY);
}

#[test]
fn chains_that_cannot_reach_their_stream_are_refused_with_the_reason() {
    let walkthrough = read("walkthrough.toml");
    let elsewhere = walkthrough.replace(
        "111111111111:role/KinesisStreamRole",
        "999999999999:role/KinesisStreamRole",
    );
    let gov = read("three-accounts-gov.toml");
    let nobody = gov.replace("\nrole_arn =", "\n# role_arn =");
    let unassumed = read("single-account.toml").replace("\nrole_arn =", "\n# role_arn =");
    for (text, part, said) in [
        (
            elsewhere,
            "streams.schema_stream",
            "is in account 999999999999, the stream in 111111111111",
        ),
        (nobody, "warehouses.rt", "set `role_arn` in [daemon]"),
        (
            unassumed,
            "streams.clicks",
            "who assumes `probe_role_arn` for warehouse `dwh` is not known",
        ),
    ] {
        let problems = iam::documents(&config(&text)).unwrap_err();
        let first = problems.first().unwrap();
        assert_eq!(first.file, part);
        assert!(first.message.contains(said), "{first}");
    }
}

#[test]
fn a_stream_account_is_told_from_the_warehouse_side() {
    let accounts = iam::documents(&config(&read("three-accounts-gov.toml"))).unwrap();
    let on = |side| {
        let accounts = accounts.iter();
        let on = accounts.filter(|(_, account)| account.sides.contains(&side));
        on.map(|(id, _)| id.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(on(iam::Side::Stream), ["111111111111"]);
    assert_eq!(
        on(iam::Side::Warehouse),
        ["222222222222", "333333333333", "444444444444"]
    );
}
