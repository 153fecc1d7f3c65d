"""The arrival probe: a daemon that looks at the stream itself, as the role that it is given for that."""

import datetime
import time

import botocore.exceptions
import pytest

from harness import lab_world, wait_until

ROLE = "arn:aws:iam::111111111111:role/TidekeeperProbe"
REFUSED = "arn:aws:iam::111111111111:role/NotThisOne"


def config(endpoint, views, *, target="10s", role=ROLE, assume_role="[]", more=""):
    text = f"""
[warehouses.lab]
workgroup = "lab"
database = "dev"
endpoint_url = "{endpoint}"
assume_role = {assume_role}

[streams.events]
kinesis = "arn:aws:kinesis:eu-west-1:000000000000:stream/events"
probe_role_arn = "{role}"
{more}
"""
    for name in views:
        text += f'\n[[views]]\nname = "{name}"\nwarehouse = "lab"\nstream = "events"\ntarget_lag = "{target}"\n'
    return text


def world(views, *, more=""):
    return lab_world({name: "service = { fixed = 0.2 }" for name in views}, producers=False) + more


def put(lab, data="{}"):
    lab.client("kinesis").put_record(StreamName="events", PartitionKey="k", Data=data)


def test_a_view_is_refreshed_after_something_came_and_never_while_its_stream_is_silent(lab, daemon):
    here = lab(world(["seen"]))
    through = '["arn:aws:iam::222222222222:role/Tidekeeper"]'
    running = daemon(config(here.url, ["seen"], target="3s", assume_role=through)).wait_ready()
    done = lambda: len(here.history().finished("seen"))
    wait_until("its first refresh", lambda: done() == 1, 20, alive=running.check_alive)
    # Of silence: a blind view would have been refreshed at least once.
    time.sleep(4.5)
    assert done() == 1
    unread = running.metrics().all("tidekeeper_view_unread_age_seconds", view="seen")
    assert [age for _, age in unread] == [0], "known, and none"
    assert running.metrics().sum("tidekeeper_stream_probe_up", stream="events") == 1
    put(here)
    wait_until("the record is read", lambda: done() == 2, 10, alive=running.check_alive)
    history = here.history()
    (arrival,) = history.document["arrivals"]
    seen_after = arrival["visible_s"]["public.seen"] - arrival["t_s"]
    assert 0.5 < seen_after < 3, "inside the target, and not at once"
    time.sleep(3)
    history = here.history()
    assert len(history.finished("seen")) == 2, "read: there is nothing more"
    assert history.calls["sts:AssumeRole"] == 3, "the warehouse's, and again before the probe's"
    assert not running.complaints(), running.complaints()


def test_without_its_role_the_stream_is_refreshed_blindly_and_the_reason_is_said_once(lab, daemon):
    here = lab(world(["seen"], more=f'\n[endpoint]\nrefused_roles = ["{REFUSED}"]\n'))
    running = daemon(config(here.url, ["seen"], target="2s", role=REFUSED)).wait_ready()
    refreshed = lambda: len(here.history().finished("seen")) >= 3
    wait_until("it is refreshed as without a probe", refreshed, 20, alive=running.check_alive)
    failed = lambda: running.metrics().sum("tidekeeper_stream_probe_requests_total", result="error") >= 3
    wait_until("it is tried again", failed, 20, alive=running.check_alive)
    (complaint,) = running.complaints()
    assert complaint["stream"] == "events"
    assert "AccessDenied" in complaint["error"] and REFUSED in complaint["error"], complaint
    assert running.metrics().sum("tidekeeper_stream_probe_up", stream="events") == 0


def test_eight_views_cost_the_same_reads_as_one_and_a_drain_ends_them(lab, daemon):
    names = [f"v{number}" for number in range(8)]
    here = lab(world(names).replace('name = "events"', 'name = "events"\nshards = 8', 1))
    running = daemon(config(here.url, names)).wait_ready()
    done = lambda: all(here.history().finished(name) for name in names)
    wait_until("all have been refreshed once", done, 20, alive=running.check_alive)
    reads = lambda: here.history().calls["kinesis:GetRecords"]
    before, began = reads(), time.monotonic()
    time.sleep(4)
    after, seconds = reads(), time.monotonic() - began
    # One read a second of each shard, and what lies on the edges of the time.
    assert 8 * (seconds - 1.5) <= after - before <= 8 * (seconds + 1), (after - before, seconds)
    running.sigterm()
    assert running.wait(10) == 0
    ended = reads()
    time.sleep(1.2)
    assert reads() == ended


def test_the_lab_s_sts_hands_out_credentials_that_boto3_takes(lab):
    here = lab(world([], more=f'\n[endpoint]\nrefused_roles = ["{REFUSED}"]\n'))
    sts = here.client("sts")
    me = sts.get_caller_identity()
    assert me["Account"] == "000000000000"
    granted = sts.assume_role(RoleArn=ROLE, RoleSessionName="me@here", DurationSeconds=900)
    assert granted["AssumedRoleUser"]["Arn"] == "arn:aws:sts::111111111111:assumed-role/TidekeeperProbe/me@here"
    left = granted["Credentials"]["Expiration"] - datetime.datetime.now(datetime.timezone.utc)
    assert 880 < left.total_seconds() <= 901
    import boto3

    keys = granted["Credentials"]
    other = boto3.client(
        "sts",
        endpoint_url=here.url,
        region_name="eu-west-1",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    assert other.get_caller_identity()["Arn"] == granted["AssumedRoleUser"]["Arn"]
    for wrong, code in [
        ({"RoleArn": REFUSED, "RoleSessionName": "s1"}, "AccessDenied"),
        ({"RoleArn": "arn:aws:iam::1:user/somebody", "RoleSessionName": "s1"}, "ValidationError"),
        ({"RoleArn": ROLE, "RoleSessionName": "a b"}, "ValidationError"),
        ({"RoleArn": ROLE, "RoleSessionName": "s1", "DurationSeconds": 43_201}, "ValidationError"),
    ]:
        with pytest.raises(botocore.exceptions.ClientError) as refusal:
            sts.assume_role(**wrong)
        assert refusal.value.response["Error"]["Code"] == code
    with pytest.raises(botocore.exceptions.ClientError) as refusal:
        sts.get_session_token()
    assert refusal.value.response["Error"]["Code"] == "InvalidAction"
    assert here.history().calls["sts:AssumeRole"] == 5
