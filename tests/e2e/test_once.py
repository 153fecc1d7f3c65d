"""Every record once: splits, cancelled refreshes, and a lab that is killed and comes back."""

import collections
import concurrent.futures
import json
import time

from harness import ended, free_port, wait_until

RECORDS = 200_000
WORLD = """
[[warehouses]]
name = "lab"
kind = "workgroup"
databases = ["dev"]
"""


def put(kinesis, numbers):
    """Puts records 500 at a time, each until it is accepted."""
    for start in range(0, len(numbers), 500):
        left = [
            {"Data": json.dumps({"n": n, "key": n % 997}).encode(), "PartitionKey": str(n % 997)}
            for n in numbers[start : start + 500]
        ]
        while left:
            answer = kinesis.put_records(StreamName="orders", Records=left)
            left = [record for record, result in zip(left, answer["Records"]) if "ErrorCode" in result]
            if left:
                time.sleep(0.2)


def refresh(world, cancel=False):
    client = world.client(retries=5)
    id = client.execute_statement(Sql="REFRESH MATERIALIZED VIEW orders", WorkgroupName="lab", Database="dev")["Id"]
    if cancel:
        started = lambda: client.describe_statement(Id=id)["Status"] not in ("SUBMITTED", "PICKED")
        wait_until("the refresh starts", started, 30)
        try:
            client.cancel_statement(Id=id)
        except client.exceptions.ValidationException:
            pass  # it was through
    return wait_until("the refresh ends", lambda: ended(client, id), 120)["Status"]


def split(kinesis):
    shards = kinesis.list_shards(StreamName="orders")["Shards"]
    parents = {shard.get("ParentShardId") for shard in shards}
    shard = next(shard for shard in shards if shard["ShardId"] not in parents)
    first, last = (int(shard["HashKeyRange"][key]) for key in ("StartingHashKey", "EndingHashKey"))
    kinesis.split_shard(
        StreamName="orders", ShardToSplit=shard["ShardId"], NewStartingHashKey=str((first + last) // 2)
    )


def test_200_000_records_over_splitting_shards_are_in_the_view_once_and_in_order(lab, tmp_path):
    start = lambda: lab(WORLD, data=tmp_path / "lab.db", listen=f"127.0.0.1:{port}")
    port = free_port()
    world = start()
    kinesis = world.client("kinesis", retries=5)
    kinesis.create_stream(StreamName="orders", ShardCount=8)
    kinesis.get_waiter("stream_exists").wait(StreamName="orders", WaiterConfig={"Delay": 1})
    for sql in (
        "CREATE EXTERNAL SCHEMA k FROM KINESIS IAM_ROLE default",
        "CREATE MATERIALIZED VIEW orders AS SELECT shard_id, sequence_number, refresh_time, "
        "json_parse(kinesis_data) AS p FROM k.orders",
    ):
        assert world.sql(sql)["Status"] == "FINISHED"
    outcomes = collections.Counter()
    lanes = 4
    with concurrent.futures.ThreadPoolExecutor(lanes) as pool:
        for round in range(10):
            numbers = range(round * RECORDS // 10, (round + 1) * RECORDS // 10)
            # One lane per group of keys, so that a key's records arrive in their order.
            puts = [
                pool.submit(put, kinesis, [n for n in numbers if n % 997 % lanes == lane])
                for lane in range(lanes)
            ]
            outcomes[refresh(world, cancel=round % 3 == 1)] += 1
            if round % 2 == 0:
                split(kinesis)
            for done in puts:
                done.result()
            if round in (3, 7):
                client = world.client()
                client.execute_statement(Sql="REFRESH MATERIALIZED VIEW orders", WorkgroupName="lab", Database="dev")
                world.kill()
                world = start()
                kinesis = world.client("kinesis", retries=5)
    while True:
        assert refresh(world) == "FINISHED"
        (last,) = world.rows("SELECT trim(status) AS s FROM sys_mv_refresh_history ORDER BY start_time DESC LIMIT 1")
        if "more data" not in last["s"]:
            break
    assert len(kinesis.list_shards(StreamName="orders")["Shards"]) == 8 + 2 * 5
    (sums,) = world.rows("SELECT count(*) AS n, count(DISTINCT p.n::int) AS different, sum(p.n::bigint) AS total FROM orders")
    assert (sums["n"], sums["different"], int(sums["total"])) == (RECORDS, RECORDS, RECORDS * (RECORDS - 1) // 2)
    rows = world.rows("SELECT trim(shard_id) AS shard, sequence_number AS seq, p.n::int AS n FROM orders")
    of_shard, of_key = collections.defaultdict(list), collections.defaultdict(list)
    for row in rows:
        of_shard[row["shard"]].append(int(row["seq"]))
        of_key[row["n"] % 997].append(row["n"])
    assert len(of_shard) > 8, "the children were read as well"
    for shard, sequence in of_shard.items():
        assert sequence == sorted(set(sequence)), shard
    for key, numbers in of_key.items():
        assert numbers == sorted(numbers), f"the records of key {key}, parents before children"
