"""The peer of the cross-account walkthrough: ministack alone, driven by boto3.

Before the lab is let loose on it, it has to be known that this AWS lets the walkthrough's chain of roles
through, and refuses it when a step is missing: an emulator that allows everything would prove nothing.

What it does not enforce, besides what `ministack.py` says:

- which account's root stands for a service: account 1's root may assume RedshiftStreamRole as well;
- the secret of a root key, for GetCallerIdentity alone;
- the length of a session: a chained one may have a second or a day, where AWS gives it 15 minutes to 1 hour;
- that GetRecords is authorised for its iterator's stream: the resource is taken from `StreamARN`, and without
  one a policy that names streams, as the walkthrough's does, matches nothing;
- positions: any text is accepted as a sequence number, also one of another stream;
- throttling of any kind.
"""

import json

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

import ministack as aws_of
from harness import wait_until
from ministack import REDSHIFT_ROLE, REGION, STREAM, STREAM_ACCOUNT, STREAM_ROLE, WAREHOUSE_ACCOUNT, walkthrough

STREAM_ARN = f"arn:aws:kinesis:{REGION}:{STREAM_ACCOUNT}:stream/{STREAM}"


@pytest.fixture
def aws(ministack):
    walkthrough(ministack)
    return ministack


def acting_as(aws, service, credentials, region=REGION):
    """A client with an assumed role's credentials. The length of a session is not checked on this side."""
    return boto3.client(
        service,
        endpoint_url=aws.url,
        region_name=region,
        config=Config(parameter_validation=False, retries={"total_max_attempts": 1}),
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials.get("SessionToken"),
    )


def assume(aws, chain=(REDSHIFT_ROLE, STREAM_ROLE), seconds=3600):
    """The credentials of the chain's last role, for one who starts as the root of the warehouse's account."""
    held = {"AccessKeyId": WAREHOUSE_ACCOUNT, "SecretAccessKey": "test"}
    for role in chain:
        sts = acting_as(aws, "sts", held)
        held = sts.assume_role(RoleArn=role, RoleSessionName="RedshiftIamRoleSession", DurationSeconds=seconds)[
            "Credentials"
        ]
    return held


def read(kinesis):
    """What Redshift's role may do with a stream, in the order in which it is needed."""
    records = []
    for shard in kinesis.list_shards(StreamName=STREAM)["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName=STREAM, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        answer = kinesis.get_records(ShardIterator=iterator, StreamARN=STREAM_ARN)
        assert answer["MillisBehindLatest"] == 0
        records += answer["Records"]
    return records


def refusal(call):
    with pytest.raises(ClientError) as caught:
        call()
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_the_chain_reads_what_the_streams_account_put(aws):
    aws.put({"cell": "one"}, {"cell": "two"})
    credentials = assume(aws)

    assert acting_as(aws, "sts", credentials).get_caller_identity()["Arn"] == (
        f"arn:aws:sts::{STREAM_ACCOUNT}:assumed-role/KinesisStreamRole/RedshiftIamRoleSession"
    )
    records = read(acting_as(aws, "kinesis", credentials))
    assert [(record["PartitionKey"], record["Data"]) for record in records] == [
        ("user-0", b'{"cell": "one"}'),
        ("user-1", b'{"cell": "two"}'),
    ]


def test_neither_the_first_role_nor_its_accounts_root_gets_by_without_the_chain(aws):
    code, message = refusal(lambda: assume(aws, [STREAM_ROLE]))
    assert code == "AccessDenied" and f"{WAREHOUSE_ACCOUNT}:root" in message

    first = acting_as(aws, "kinesis", assume(aws, [REDSHIFT_ROLE]))
    code, message = refusal(lambda: first.list_shards(StreamName=STREAM))
    assert code == "AccessDeniedException" and "RedshiftStreamRole" in message and "kinesis:ListShards" in message


def test_the_last_role_may_not_write(aws):
    kinesis = acting_as(aws, "kinesis", assume(aws))
    code, message = refusal(lambda: kinesis.put_record(StreamName=STREAM, PartitionKey="a", Data=b"x"))
    assert code == "AccessDeniedException" and "kinesis:PutRecord" in message


def missing_attach(aws):
    """RedshiftStreamPolicy exists, and nobody attached it to the role."""
    aws.client("iam", WAREHOUSE_ACCOUNT).detach_role_policy(
        RoleName="RedshiftStreamRole", PolicyArn=f"arn:aws:iam::{WAREHOUSE_ACCOUNT}:policy/RedshiftStreamPolicy"
    )


def trusting(principal):
    def edit(aws):
        aws.client("iam", STREAM_ACCOUNT).update_assume_role_policy(
            RoleName="KinesisStreamRole", PolicyDocument=json.dumps(aws_of.trust(principal))
        )

    return edit


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(missing_attach, "no identity-based policy allows the sts:AssumeRole action", id="missing attach"),
        pytest.param(
            trusting({"Service": "kinesis.amazonaws.com"}), f"on resource: {STREAM_ROLE}", id="trust never edited"
        ),
        pytest.param(
            trusting({"AWS": REDSHIFT_ROLE.replace(WAREHOUSE_ACCOUNT, STREAM_ACCOUNT)}),
            f"on resource: {STREAM_ROLE}",
            id="wrong account id",
        ),
    ],
)
def test_a_step_that_is_missing_ends_the_chain_at_the_second_role(aws, spoil, said):
    spoil(aws)
    code, message = refusal(lambda: assume(aws))
    assert code == "AccessDenied"
    assert "assumed-role/RedshiftStreamRole" in message and said in message


def denied_action(aws):
    deny = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "kinesis:GetRecords", "Resource": "*"}]}
    aws.client("iam", STREAM_ACCOUNT).put_role_policy(
        RoleName="KinesisStreamRole", PolicyName="NoRecords", PolicyDocument=json.dumps(deny)
    )


def missing_stream_policy(aws):
    aws.client("iam", STREAM_ACCOUNT).detach_role_policy(
        RoleName="KinesisStreamRole", PolicyArn=f"arn:aws:iam::{STREAM_ACCOUNT}:policy/KinesisStreamPolicy"
    )


@pytest.mark.parametrize(
    ("spoil", "action", "why"),
    [
        (denied_action, "GetRecords", "explicit deny"),
        (missing_stream_policy, "ListShards", "no identity-based policy allows"),
    ],
)
def test_what_the_last_role_may_not_do_is_refused_by_name(aws, spoil, action, why):
    spoil(aws)
    kinesis = acting_as(aws, "kinesis", assume(aws))
    code, message = refusal(lambda: read(kinesis))
    assert code == "AccessDeniedException"
    assert "assumed-role/KinesisStreamRole" in message and f"kinesis:{action}" in message and why in message


def test_a_stream_is_known_by_its_exact_name_and_in_its_region(aws):
    credentials = assume(aws)
    here = acting_as(aws, "kinesis", credentials)
    elsewhere = acting_as(aws, "kinesis", credentials, region="us-east-1")
    for kinesis, name in ((here, "My-Data-Stream"), (elsewhere, STREAM)):
        code, message = refusal(lambda kinesis=kinesis, name=name: kinesis.list_shards(StreamName=name))
        assert code == "ResourceNotFoundException" and f"Stream {name} not found" in message


@pytest.mark.parametrize("second", [f" {STREAM_ROLE}", f"{STREAM_ROLE} ", "KinesisStreamRole of account 1"])
def test_a_role_written_otherwise_is_another_role(aws, second):
    code, message = refusal(lambda: assume(aws, [REDSHIFT_ROLE, second]))
    assert code == "AccessDenied" and "sts:AssumeRole" in message


def test_a_session_ends_and_says_so(aws):
    kinesis = acting_as(aws, "kinesis", assume(aws, seconds=1))

    def ended():
        try:
            kinesis.list_shards(StreamName=STREAM)
        except ClientError as error:
            return error.response["Error"]["Code"]

    assert wait_until("the session has ended", ended, 20) == "ExpiredTokenException"


def test_signatures_are_verified(aws):
    forged = assume(aws) | {"SecretAccessKey": "x" * 40}
    code, _ = refusal(lambda: read(acting_as(aws, "kinesis", forged)))
    assert code == "InvalidSignatureException"
