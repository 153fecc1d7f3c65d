"""ministack, which plays AWS for two accounts: STS, IAM and Kinesis with their policies enforced.

It verifies signatures, trust policies, identity policies by action and resource, and session
expiry. What it does not do, and what closes the gap:

- It has no service principals: an account's root stands for any service that a trust names. The
  lab therefore assumes the first role with the root key of the warehouse's account.
- It does not know which roles are associated with a cluster: the lab does (`iam_roles`).
- It deletes a shard that is split, with what it holds: resharding is tested against moto.
- A chained session may be longer than an hour: nothing here depends on it.
"""

import json
import os
import pathlib

import boto3
import botocore.config

from harness import ROOT, Process, free_port, http_get, wait_until

STREAM_ACCOUNT = "111111111111"
WAREHOUSE_ACCOUNT = "222222222222"
REGION = "eu-west-1"
STREAM = "my-data-stream"
STREAM_ROLE = f"arn:aws:iam::{STREAM_ACCOUNT}:role/KinesisStreamRole"
REDSHIFT_ROLE = f"arn:aws:iam::{WAREHOUSE_ACCOUNT}:role/RedshiftStreamRole"

#: The walkthrough's policies, word for word, with the account filled in.
STREAM_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "ReadStream",
            "Effect": "Allow",
            "Action": [
                "kinesis:DescribeStreamSummary",
                "kinesis:GetShardIterator",
                "kinesis:GetRecords",
                "kinesis:DescribeStream",
            ],
            "Resource": f"arn:aws:kinesis:*:{STREAM_ACCOUNT}:stream/*",
        },
        {
            "Sid": "ListStream",
            "Effect": "Allow",
            "Action": ["kinesis:ListStreams", "kinesis:ListShards"],
            "Resource": "*",
        },
    ],
}
REDSHIFT_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "StmtStreamRole",
            "Effect": "Allow",
            "Action": ["sts:AssumeRole"],
            "Resource": STREAM_ROLE,
        }
    ],
}


def trust(principal):
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}],
    }


SERVICE_TRUST = trust({"Service": ["redshift.amazonaws.com", "redshift-serverless.amazonaws.com"]})
STREAM_TRUST = trust({"AWS": REDSHIFT_ROLE})


class Ministack(Process):
    def __init__(self, directory):
        program = os.environ.get("MINISTACK_BIN", str(ROOT / ".venv-ministack" / "bin" / "ministack"))
        assert pathlib.Path(program).is_file(), "ministack is missing: run `make tools`"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(
            [program],
            {
                "BIND_HOST": "127.0.0.1",
                "GATEWAY_PORT": str(port),
                "AUTH": "true",
                "IOT_MTLS_ENABLED": "0",
                "MINISTACK_REGION": REGION,
                "PERSIST_STATE": "0",
            },
            directory,
        )
        wait_until("ministack listens", self._answers, 60, alive=self.check_alive)

    def _answers(self):
        try:
            return http_get(f"{self.url}/_ministack/health")[0] in (200, 404)
        except OSError:
            return False

    def client(self, service, account, region=REGION, **credentials):
        """A client with the root key of an account, or other credentials."""
        credentials = credentials or {"aws_access_key_id": account, "aws_secret_access_key": "test"}
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            config=botocore.config.Config(retries={"total_max_attempts": 3}),
            **credentials,
        )

    def put(self, *documents, stream=STREAM, region=REGION):
        """Records as JSON, in order."""
        kinesis = self.client("kinesis", STREAM_ACCOUNT, region)
        for number, document in enumerate(documents):
            kinesis.put_record(StreamName=stream, Data=json.dumps(document).encode(), PartitionKey=f"user-{number}")

    def environment(self):
        """What points an SDK at this AWS, as the warehouse's account."""
        return {
            "AWS_ENDPOINT_URL_STS": self.url,
            "AWS_ENDPOINT_URL_IAM": self.url,
            "AWS_ENDPOINT_URL_KINESIS": self.url,
            "AWS_ACCESS_KEY_ID": WAREHOUSE_ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
        }


def stream_account(aws, shards=1):
    """Account-1: the stream, its policy and its role, trusting Kinesis as the console makes it."""
    kinesis = aws.client("kinesis", STREAM_ACCOUNT)
    kinesis.create_stream(StreamName=STREAM, ShardCount=shards)
    kinesis.get_waiter("stream_exists").wait(StreamName=STREAM, WaiterConfig={"Delay": 1})
    iam = aws.client("iam", STREAM_ACCOUNT)
    policy = iam.create_policy(PolicyName="KinesisStreamPolicy", PolicyDocument=json.dumps(STREAM_POLICY))
    iam.create_role(
        RoleName="KinesisStreamRole",
        AssumeRolePolicyDocument=json.dumps(trust({"Service": "kinesis.amazonaws.com"})),
    )
    iam.attach_role_policy(RoleName="KinesisStreamRole", PolicyArn=policy["Policy"]["Arn"])


def warehouse_account(aws):
    """Account-2: the policy and the role for Redshift."""
    iam = aws.client("iam", WAREHOUSE_ACCOUNT)
    policy = iam.create_policy(PolicyName="RedshiftStreamPolicy", PolicyDocument=json.dumps(REDSHIFT_POLICY))
    iam.create_role(RoleName="RedshiftStreamRole", AssumeRolePolicyDocument=json.dumps(SERVICE_TRUST))
    iam.attach_role_policy(RoleName="RedshiftStreamRole", PolicyArn=policy["Policy"]["Arn"])


def trust_relationship(aws):
    """Account-1 again: the stream's role trusts Redshift's."""
    aws.client("iam", STREAM_ACCOUNT).update_assume_role_policy(
        RoleName="KinesisStreamRole", PolicyDocument=json.dumps(STREAM_TRUST)
    )


def walkthrough(aws, shards=1):
    """Steps 1 to 5 (the cluster of step 4 is the lab)."""
    stream_account(aws, shards)
    warehouse_account(aws)
    trust_relationship(aws)


def world(aws, **more):
    """The lab as the Redshift of account-2, reading account-1's Kinesis."""
    return world_at(aws.url, **more)


def world_at(url, session_seconds=3600, iam_roles=(REDSHIFT_ROLE,)):
    endpoint = f'endpoint_url = "{url}"' if url else ""
    return f"""
[aws]
{endpoint}
region = "{REGION}"
access_key_id = "{WAREHOUSE_ACCOUNT}"
secret_access_key = "test"
session_seconds = {session_seconds}
[[warehouses]]
name = "lab"
kind = "workgroup"
databases = ["dev"]
iam_roles = {json.dumps(list(iam_roles))}
"""


def config(view="my_stream_vw", stream=STREAM, extra=""):
    """The walkthrough as a configuration; where AWS is comes from the environment."""
    return f"""
[warehouses.rt]
workgroup = "lab"
database = "dev"
region = "{REGION}"

[streams.schema_stream]
kinesis = "arn:aws:kinesis:{REGION}:{STREAM_ACCOUNT}:stream/{stream}"
role_chain = ["{REDSHIFT_ROLE}", "{STREAM_ROLE}"]
{extra}

[[views]]
name = "{view}"
warehouse = "rt"
stream = "schema_stream"
target_lag = "5s"
create = {{ external_schema = "schema_stream" }}
"""
