"""The cross-account walkthrough, step by step as it is written: two accounts, a role chain, a view.

ministack is both accounts' AWS, the lab is Redshift, boto3 is the person at the console.
"""

import json

import pytest

import ministack as aws_of
from harness import lab_config, wait_until
from ministack import REDSHIFT_ROLE, STREAM_ROLE, walkthrough

EXTERNAL_SCHEMA = f"""CREATE EXTERNAL SCHEMA schema_stream
    FROM KINESIS
    IAM_ROLE '{REDSHIFT_ROLE},{STREAM_ROLE}';"""
VIEW = """CREATE MATERIALIZED VIEW my_stream_vw AS
        SELECT approximatearrivaltimestamp,
        partitionkey,
        shardid,
        sequencenumber,
        json_parse(data) as payload    
        FROM schema_stream."my-data-stream";"""
QUERY = """SELECT payload.name.first, payload.name.last, payload.name.title,
    payload.dob.date as dob, payload.cell, payload.location.city, payload.email
    FROM my_stream_vw;"""
USERS = [
    {
        "name": {"title": "Ms", "first": "Ada", "last": "Brandt"},
        "dob": {"date": "1990-02-03T00:00:00.000Z", "age": 36},
        "cell": "081-454-0666",
        "location": {"city": "Bergen", "country": "Norway"},
        "email": "ada.brandt@example.com",
    },
    {
        "name": {"title": "Mr", "first": "Björn", "last": "Ito"},
        "dob": {"date": "1985-11-30T00:00:00.000Z", "age": 41},
        "cell": "041-222-1111",
        "location": {"city": "Graz", "country": "Austria"},
        "email": "bjorn.ito@example.com",
    },
]


def shown(user):
    """A row of the final query: SUPER values come as JSON."""
    text = lambda value: f'"{value}"'
    return {
        "first": text(user["name"]["first"]),
        "last": text(user["name"]["last"]),
        "title": text(user["name"]["title"]),
        "dob": text(user["dob"]["date"]),
        "cell": text(user["cell"]),
        "city": text(user["location"]["city"]),
        "email": text(user["email"]),
    }


def create(world):
    for statement in (EXTERNAL_SCHEMA, VIEW):
        described = world.sql(statement)
        assert described["Status"] == "FINISHED", described.get("Error")


def test_the_walkthrough_works_as_written_and_the_daemon_keeps_the_view_fresh(ministack, lab, daemon):
    walkthrough(ministack)
    world = lab(aws_of.world(ministack))
    ministack.put(USERS[0])
    create(world)
    refreshed = world.sql("REFRESH MATERIALIZED VIEW my_stream_vw;")
    assert refreshed["Status"] == "FINISHED", refreshed.get("Error")
    assert world.rows(QUERY) == [shown(USERS[0])]

    running = daemon(lab_config(world.url, {"public.my_stream_vw": 'target_lag = "5s"'})).wait_ready()
    ministack.put(USERS[1])
    expected = sorted((shown(user) for user in USERS), key=str)
    wait_until(
        "the daemon brings the second user in",
        lambda: sorted(world.rows(QUERY), key=str) == expected,
        30,
        alive=running.check_alive,
    )
    assert running.complaints() == []


def test_a_view_reads_on_through_splits_and_merges_every_record_once(moto, lab):
    """Neither ministack nor moto keeps what a split shard holds: another lab is the Kinesis here, and
    moto the STS, which enforces nothing."""
    streams = lab("warehouses = []")
    kinesis = streams.client("kinesis")
    kinesis.create_stream(StreamName=aws_of.STREAM, ShardCount=2)
    services = {"AWS_ENDPOINT_URL_STS": moto, "AWS_ENDPOINT_URL_KINESIS": streams.url}
    world = lab(aws_of.world_at(None), env=services)
    create(world)

    def open_shards():
        shards = kinesis.list_shards(StreamName=aws_of.STREAM)["Shards"]
        return [s for s in shards if "EndingSequenceNumber" not in s["SequenceNumberRange"]]

    def split():
        first, last = (int(open_shards()[0]["HashKeyRange"][key]) for key in ("StartingHashKey", "EndingHashKey"))
        kinesis.split_shard(
            StreamName=aws_of.STREAM,
            ShardToSplit=open_shards()[0]["ShardId"],
            NewStartingHashKey=str((first + last) // 2),
        )

    def merge():
        ordered = sorted(open_shards(), key=lambda s: int(s["HashKeyRange"]["StartingHashKey"]))
        kinesis.merge_shards(
            StreamName=aws_of.STREAM,
            ShardToMerge=ordered[0]["ShardId"],
            AdjacentShardToMerge=ordered[1]["ShardId"],
        )

    sent = 0
    for change in (split, split, merge, split, lambda: None):
        for number in range(sent, sent + 60):
            kinesis.put_record(
                StreamName=aws_of.STREAM, Data=json.dumps({"n": number}).encode(), PartitionKey=f"user-{number % 7}"
            )
        sent += 60
        change()
        if change is not merge:
            refreshed = world.sql("REFRESH MATERIALIZED VIEW my_stream_vw")
            assert refreshed["Status"] == "FINISHED", refreshed.get("Error")
    rows = world.rows("SELECT payload.n::int AS n, trim(shardid) AS shard FROM my_stream_vw")
    assert sorted(row["n"] for row in rows) == list(range(sent))
    assert len({row["shard"] for row in rows}) > 3
    for key in range(7):
        mine = [row["n"] for row in rows if row["n"] % 7 == key]
        assert mine == sorted(mine), f"the records of key {key}, parents before children"


@pytest.mark.parametrize("restart", [True, False])
def test_positions_outlive_the_lab(ministack, lab, tmp_path, restart):
    walkthrough(ministack)
    data = tmp_path / "lab.db"
    world = lab(aws_of.world(ministack), data=data)
    create(world)
    ministack.put({"n": 1})
    assert world.sql("REFRESH MATERIALIZED VIEW my_stream_vw")["Status"] == "FINISHED"
    if restart:
        world.kill()
        world = lab(aws_of.world(ministack), data=data)
    ministack.put({"n": 2})
    assert world.sql("REFRESH MATERIALIZED VIEW my_stream_vw")["Status"] == "FINISHED"
    rows = world.rows("SELECT payload.n::int AS n FROM my_stream_vw ORDER BY 1")
    assert rows == [{"n": 1}, {"n": 2}]
