"""Every link of the role chain, broken: who says so, where, and what mends it.

The refresh fails with the role or the stream named; the daemon suspends the view for that reason
without hammering; and once the link is mended the view comes back without a restart: when somebody
says so, as here, or with the probe that follows a quarter of an hour after the suspension.
"""

import json
import subprocess

import pytest

import harness
import ministack as aws_of
from harness import lab_config, wait_until
from ministack import REDSHIFT_ROLE, STREAM_ACCOUNT, STREAM_ROLE, WAREHOUSE_ACCOUNT, walkthrough
from test_walkthrough import EXTERNAL_SCHEMA, USERS, VIEW

TOKEN = "mender"
REFRESH = "REFRESH MATERIALIZED VIEW my_stream_vw"


def detach(aws):
    arn = f"arn:aws:iam::{WAREHOUSE_ACCOUNT}:policy/RedshiftStreamPolicy"
    aws.client("iam", WAREHOUSE_ACCOUNT).detach_role_policy(RoleName="RedshiftStreamRole", PolicyArn=arn)


def attach(aws):
    arn = f"arn:aws:iam::{WAREHOUSE_ACCOUNT}:policy/RedshiftStreamPolicy"
    aws.client("iam", WAREHOUSE_ACCOUNT).attach_role_policy(RoleName="RedshiftStreamRole", PolicyArn=arn)


def trust(aws, principal):
    aws.client("iam", STREAM_ACCOUNT).update_assume_role_policy(
        RoleName="KinesisStreamRole", PolicyDocument=json.dumps(aws_of.trust({"AWS": principal}))
    )


def deny(aws):
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Deny", "Action": "kinesis:GetRecords", "Resource": "*"}],
    }
    aws.client("iam", STREAM_ACCOUNT).put_role_policy(
        RoleName="KinesisStreamRole", PolicyName="Freeze", PolicyDocument=json.dumps(document)
    )


def allow(aws):
    aws.client("iam", STREAM_ACCOUNT).delete_role_policy(RoleName="KinesisStreamRole", PolicyName="Freeze")


#: name: how it is broken, what the refresh must name, how it is mended. A break by SQL changes the
#: statement that creates the schema or the view; its mend drops both and creates them as they should be.
BY_AWS = {
    "missing attach": (detach, STREAM_ROLE, attach),
    "wrong trust": (
        lambda aws: trust(aws, f"arn:aws:iam::{WAREHOUSE_ACCOUNT}:role/SomebodyElse"),
        STREAM_ROLE,
        lambda aws: trust(aws, REDSHIFT_ROLE),
    ),
    "denied action": (deny, "kinesis:GetRecords", allow),
}
BY_SQL = {
    "wrong account id": (EXTERNAL_SCHEMA.replace(STREAM_ACCOUNT, "333333333333"), VIEW, "333333333333:role/KinesisStreamRole"),
    "a space in the role list": (EXTERNAL_SCHEMA.replace(",arn", ", arn"), VIEW, f"credentials of role  {STREAM_ROLE}"),
    "a role that is not associated": (EXTERNAL_SCHEMA.replace("RedshiftStreamRole", "Other"), VIEW, "role/Other"),
    "wrong region": (EXTERNAL_SCHEMA.replace("KINESIS", "KINESIS REGION 'us-west-2'"), VIEW, "my-data-stream"),
    "stream name in the wrong case": (EXTERNAL_SCHEMA, VIEW.replace("my-data-stream", "My-Data-Stream"), "My-Data-Stream"),
}


def run(world, *statements):
    """In one session that keeps the case of names."""
    client = world.client()
    for statement in statements:
        answer = client.batch_execute_statement(
            Sqls=["SET enable_case_sensitive_identifier TO true", statement],
            WorkgroupName="lab",
            Database="dev",
            WaitTimeSeconds=30,
        )
        assert answer["Status"] == "FINISHED", client.describe_statement(Id=answer["Id"])


def named_with_its_mend(aws, world, binary, tmp_path, named):
    """What `setup verify` says: the link, and the policy or statement that mends it."""
    path = tmp_path / "verify.toml"
    path.write_text(aws_of.config())
    environment = harness.environment(aws.environment() | {"AWS_ENDPOINT_URL_REDSHIFT_DATA": world.url})
    verify = subprocess.run(
        [binary, "setup", "verify", "--json", "--config", path], env=environment, capture_output=True, text=True, timeout=120
    )
    assert verify.returncode == 1, verify.stdout + verify.stderr
    broken = [link for link in json.loads(verify.stdout)["links"] if link["state"] == "broken"]
    told = [link for link in broken if " ".join(named.split()) in json.dumps(link)]
    assert told and all(link.get("mend") for link in told), broken


def suspended_and_back(aws, world, running, named, mend):
    wait_until(
        "the view is suspended for that reason",
        lambda: running.views()["my_stream_vw"]["state"] == "suspended",
        60,
        alive=running.check_alive,
    )
    told = json.dumps(running.views()["my_stream_vw"])
    assert " ".join(named.split()) in told, told  # the log keeps one blank of many
    tries = len(world.history().of("my_stream_vw"))
    assert tries <= 8, "it did not hammer"
    mend()
    assert running.post("my_stream_vw", "resume", TOKEN) == 202
    wait_until(
        "the view comes back",
        lambda: world.rows("SELECT count(*) AS n FROM my_stream_vw") == [{"n": 1}],
        30,
        alive=running.check_alive,
    )
    wait_until(
        "it is no longer suspended",
        lambda: running.views()["my_stream_vw"]["state"] != "suspended",
        30,
        alive=running.check_alive,
    )


@pytest.mark.parametrize("link", BY_AWS)
def test_a_link_that_breaks_in_aws_is_named_and_its_mend_brings_the_view_back(
    ministack, lab, daemon, binary, tmp_path, link
):
    breaks, named, mend = BY_AWS[link]
    walkthrough(ministack)
    ministack.put(USERS[0])
    breaks(ministack)
    world = lab(aws_of.world(ministack))
    run(world, EXTERNAL_SCHEMA, VIEW)
    failed = world.sql(REFRESH)
    assert failed["Status"] == "FAILED" and named in failed["Error"], failed.get("Error")
    named_with_its_mend(ministack, world, binary, tmp_path, named)
    running = daemon(lab_config(world.url, {"my_stream_vw": 'target_lag = "5s"'}), env={"TIDEKEEPER_ADMIN_TOKEN": TOKEN}).wait_ready()
    suspended_and_back(ministack, world, running, named, lambda: mend(ministack))


@pytest.mark.parametrize("link", BY_SQL)
def test_a_link_that_is_wrong_in_the_ddl_is_named_and_its_mend_brings_the_view_back(
    ministack, lab, daemon, binary, tmp_path, link
):
    schema, view, named = BY_SQL[link]
    walkthrough(ministack)
    ministack.put(USERS[0])
    world = lab(aws_of.world(ministack))
    run(world, schema, view)
    failed = world.sql(REFRESH)
    assert failed["Status"] == "FAILED" and named in failed["Error"], failed.get("Error")
    named_with_its_mend(ministack, world, binary, tmp_path, named)
    running = daemon(lab_config(world.url, {"my_stream_vw": 'target_lag = "5s"'}), env={"TIDEKEEPER_ADMIN_TOKEN": TOKEN}).wait_ready()
    mend = lambda: run(world, "DROP SCHEMA schema_stream CASCADE", EXTERNAL_SCHEMA, VIEW)
    suspended_and_back(ministack, world, running, named, mend)


def test_a_session_that_ends_is_renewed(ministack, lab):
    """Sessions of one second: every refresh has to assume both roles anew."""
    walkthrough(ministack)
    world = lab(aws_of.world(ministack, session_seconds=1))
    run(world, EXTERNAL_SCHEMA, VIEW)
    for number in range(3):
        ministack.put({"n": number})
        described = world.sql(REFRESH)
        assert described["Status"] == "FINISHED", described.get("Error")
    assert world.rows("SELECT count(*) AS n FROM my_stream_vw") == [{"n": 3}]
