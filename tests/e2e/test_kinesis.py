"""The lab's Kinesis against boto3, and against two other emulators of Kinesis.

One script of calls runs against the lab, moto and ministack. What answers necessarily differ in (times,
iterators, sequence numbers) is replaced by what it stands for; every difference that is left is listed
below with its reason, and a listed difference that is gone fails the test as well. Every answer of the
lab, read as it came over the wire, has exactly the members, of exactly the types, that AWS's model of
Kinesis gives them.
"""

import collections
import fnmatch
import json
import os
import pathlib
import urllib.error
import urllib.request

import boto3
import botocore.config
import botocore.exceptions
import pytest

from harness import ROOT, free_port, http_get, wait_until
from shapes import misshapen

ACCOUNT = "000000000000"
REGION = "us-east-1"
NO_STREAMS = "warehouses = []\nviews = []\nstreams = []\n"
# What MD5 makes of these keys: "a" and "c" are in the lower half of the hash keys, "b" in the upper.
HALF = 1 << 127
BINARY = bytes(range(256))


def world(limits=False, streams=NO_STREAMS):
    return streams + f"\n[endpoint]\nkinesis_limits = {str(limits).lower()}\n"


class Client:
    """A boto3 client that checks nothing before it sends, tries once, and keeps what it was answered."""

    def __init__(self, url, region=REGION):
        self.client = boto3.client(
            "kinesis",
            endpoint_url=url,
            region_name=region,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=botocore.config.Config(
                retries={"total_max_attempts": 1}, parameter_validation=False, read_timeout=30
            ),
        )
        self.model = self.client.meta.service_model
        self.raw = None
        self.client.meta.events.register("before-parse.kinesis", self._keep)

    def _keep(self, response_dict, **_):
        self.raw = response_dict["status_code"], response_dict["body"]

    def ask(self, operation, **members):
        """The answer; a refusal is `{"Error": its code}`."""
        method = getattr(self.client, botocore.xform_name(operation))
        try:
            answer = method(**members)
        except botocore.exceptions.ClientError as error:
            return {"Error": error.response["Error"]["Code"]}
        answer.pop("ResponseMetadata")
        return answer

    def check(self, operation):
        """The last answer as it came over the wire is what the model says that it is."""
        status, body = self.raw
        document = json.loads(body)
        model = self.model.operation_model(operation)
        if status == 200:
            faults = [*misshapen(document, model.output_shape, operation)]
        else:
            declared = {shape.name for shape in model.error_shapes}
            # Every operation of AWS may answer with these.
            declared |= {"ValidationException", "SerializationException", "UnknownOperationException"}
            faults = [] if document["__type"] in declared else [f"{operation} does not declare {document['__type']}"]
            faults += [] if document.get("message") else ["a refusal without a message"]
        assert not faults, (faults, document)


class Script:
    """The calls, in order, each under a label, with their answers."""

    def __init__(self, client, check):
        self.client, self.checked = client, check
        self.answers = collections.OrderedDict()

    def call(self, label, operation, **members):
        assert label not in self.answers, label
        answer = self.client.ask(operation, **members)
        if self.checked:
            self.client.check(operation)
        self.answers[label] = answer
        return answer

    def iterator(self, label, shard, kind, **members):
        answer = self.call(
            label, "GetShardIterator", StreamName="s", ShardId=shard_id(shard), ShardIteratorType=kind, **members
        )
        return answer.get("ShardIterator", "none")

    def put(self, label, key, data, **members):
        answer = self.call(label, "PutRecord", StreamName="s", PartitionKey=key, Data=data, **members)
        return answer.get("SequenceNumber", "0")

    def settle(self, stream="s"):
        """Waits until a stream is ACTIVE: the lab's are at once, those of others need a moment."""

        def active():
            answer = self.client.ask("DescribeStreamSummary", StreamName=stream)
            return answer.get("StreamDescriptionSummary", {}).get("StreamStatus") == "ACTIVE"

        wait_until(f"{stream} is active", active, 20)


def shard_id(index):
    return f"shardId-{index:012}"


def run(client, check=False):
    script = Script(client, check)
    streams(script)
    puts(script)
    reads(script)
    refused_reads(script)
    refused_puts(script)
    reshards(script)
    retention_and_tags(script)
    more_streams(script)
    return script.answers


def streams(script):
    script.call("no streams", "ListStreams")
    script.call("create", "CreateStream", StreamName="s", ShardCount=2)
    script.settle()
    script.call("create again", "CreateStream", StreamName="s", ShardCount=1)
    script.call("create with no shard", "CreateStream", StreamName="t", ShardCount=0)
    script.call("describe", "DescribeStream", StreamName="s")
    arn = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/s"
    script.call("describe by ARN", "DescribeStream", StreamARN=arn)
    script.call("describe a page", "DescribeStream", StreamName="s", Limit=1)
    script.call("describe on", "DescribeStream", StreamName="s", ExclusiveStartShardId=shard_id(0))
    script.call("summary", "DescribeStreamSummary", StreamName="s")
    script.call("describe what is not there", "DescribeStream", StreamName="none")
    script.call("describe in another case", "DescribeStream", StreamName="S")
    script.call("list shards", "ListShards", StreamName="s")
    page = script.call("list a shard", "ListShards", StreamName="s", MaxResults=1)
    script.call("list on", "ListShards", NextToken=page.get("NextToken", "none"))
    script.call("list shards of nothing", "ListShards", StreamName="none")


def puts(script):
    script.put("put a", "a", b"first")
    script.put("put b", "b", BINARY)
    script.put("put empty", "c", b"")
    script.put("put at the lowest key", "b", b"low", ExplicitHashKey="0")
    script.put("put at the highest key", "a", b"high", ExplicitHashKey=str(2**128 - 1))
    script.call("put nowhere", "PutRecord", StreamName="none", PartitionKey="a", Data=b"")
    records = [{"PartitionKey": key, "Data": key.encode()} for key in ("a", "b", "ü")]
    script.call("put three", "PutRecords", StreamName="s", Records=records)
    script.call("put three nowhere", "PutRecords", StreamName="none", Records=records)


def reads(script):
    for shard in (0, 1):
        iterator = script.iterator(f"from the start of {shard}", shard, "TRIM_HORIZON")
        script.call(f"read {shard}", "GetRecords", ShardIterator=iterator)
    iterator = script.iterator("from the start, slowly", 0, "TRIM_HORIZON")
    page = script.call("read one", "GetRecords", ShardIterator=iterator, Limit=1)
    page = script.call("read two more", "GetRecords", ShardIterator=page["NextShardIterator"], Limit=2)
    script.call("read the rest", "GetRecords", ShardIterator=page["NextShardIterator"])
    second = script.answers["read 0"]["Records"][1]["SequenceNumber"]
    for kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
        iterator = script.iterator(f"iterator {kind}", 0, kind, StartingSequenceNumber=second)
        script.call(f"read {kind}", "GetRecords", ShardIterator=iterator)
    iterator = script.iterator("from long ago", 1, "AT_TIMESTAMP", Timestamp=1_000_000_000)
    script.call("read from long ago", "GetRecords", ShardIterator=iterator)
    latest = script.iterator("from now on", 0, "LATEST")
    page = script.call("read nothing new", "GetRecords", ShardIterator=latest)
    script.put("put one more", "c", b"new")
    script.call("read what is new", "GetRecords", ShardIterator=page["NextShardIterator"])
    script.call("read it again", "GetRecords", ShardIterator=page["NextShardIterator"])


def refused_reads(script):
    script.iterator("no such shard", 7, "LATEST")
    script.iterator("no such kind", 0, "SOON")
    script.iterator("no sequence number", 0, "AT_SEQUENCE_NUMBER")
    script.iterator("no time", 0, "AT_TIMESTAMP")
    script.iterator("a needless sequence number", 0, "LATEST", StartingSequenceNumber="0")
    script.call(
        "iterator of nothing", "GetShardIterator", StreamName="none", ShardId=shard_id(0), ShardIteratorType="LATEST"
    )
    script.call("read nonsense", "GetRecords", ShardIterator="nonsense")
    iterator = script.iterator("for bad limits", 0, "TRIM_HORIZON")
    script.call("read no record", "GetRecords", ShardIterator=iterator, Limit=0)
    script.call("read 10001 records", "GetRecords", ShardIterator=iterator, Limit=10_001)


def refused_puts(script):
    script.put("put above the highest key", "a", b"", ExplicitHashKey=str(2**128))
    script.put("put without a key", "", b"")
    script.put("put with too long a key", "k" * 257, b"")
    script.call("put 501", "PutRecords", StreamName="s", Records=[{"PartitionKey": "a", "Data": b""}] * 501)
    script.call("put none", "PutRecords", StreamName="s", Records=[])


def reshards(script):
    def split(label, shard, key):
        script.call(
            label, "SplitShard", StreamName="s", ShardToSplit=shard_id(shard), NewStartingHashKey=str(key)
        )
        script.settle()

    def merge(label, one, other):
        script.call(
            label, "MergeShards", StreamName="s", ShardToMerge=shard_id(one), AdjacentShardToMerge=shard_id(other)
        )
        script.settle()

    split("split at a key of another", 0, HALF + 5)
    split("split what is not there", 9, 5)
    split("split", 0, HALF // 4)
    split("split again", 0, HALF // 8)
    script.call("shards after a split", "ListShards", StreamName="s")
    script.put("put into a child", "a", b"child")
    iterator = script.iterator("from the start of the parent", 0, "TRIM_HORIZON")
    script.call("read the parent to its end", "GetRecords", ShardIterator=iterator)
    iterator = script.iterator("from the start of the child", 2, "TRIM_HORIZON")
    script.call("read the child", "GetRecords", ShardIterator=iterator)
    merge("merge what does not touch", 1, 2)
    merge("merge what is not there", 1, 9)
    merge("merge", 3, 1)
    script.call("shards after a merge", "ListShards", StreamName="s")
    script.call("open shards", "ListShards", StreamName="s", ShardFilter={"Type": "AT_LATEST"})
    script.call(
        "shards after one", "ListShards", StreamName="s", ShardFilter={"Type": "AFTER_SHARD_ID", "ShardId": shard_id(2)}
    )
    script.call("summary after all that", "DescribeStreamSummary", StreamName="s")


def retention_and_tags(script):
    def keep(label, operation, hours):
        script.call(label, f"{operation}StreamRetentionPeriod", StreamName="s", RetentionPeriodHours=hours)

    keep("keep longer", "Increase", 48)
    script.call("kept longer", "DescribeStreamSummary", StreamName="s")
    keep("keep longer, but shorter", "Increase", 36)
    keep("keep shorter, but longer", "Decrease", 72)
    keep("keep too short", "Decrease", 23)
    keep("keep too long", "Increase", 8761)
    keep("keep shorter", "Decrease", 24)
    script.call("tag", "AddTagsToStream", StreamName="s", Tags={"team": "tide", "stage": "test"})
    script.call("tags", "ListTagsForStream", StreamName="s")
    script.call("untag", "RemoveTagsFromStream", StreamName="s", TagKeys=["team"])
    script.call("tags left", "ListTagsForStream", StreamName="s")


def more_streams(script):
    script.call("create on demand", "CreateStream", StreamName="o", StreamModeDetails={"StreamMode": "ON_DEMAND"})
    script.settle("o")
    script.call("on demand", "DescribeStreamSummary", StreamName="o")
    script.call("list a stream", "ListStreams", Limit=1)
    script.call("list streams on", "ListStreams", ExclusiveStartStreamName="o")
    old = script.iterator("before the end", 1, "TRIM_HORIZON")
    script.call("delete", "DeleteStream", StreamName="s")

    def gone():
        return "Error" in script.client.ask("DescribeStreamSummary", StreamName="s")

    wait_until("s is gone", gone, 20)
    script.call("describe what is gone", "DescribeStream", StreamName="s")
    script.call("read what is gone", "GetRecords", ShardIterator=old)
    script.call("delete what is gone", "DeleteStream", StreamName="s")
    script.call("streams left", "ListStreams")


def leaves(value, path=""):
    """The answer as path and value, what differs between two lives replaced by what it stands for."""
    if isinstance(value, dict):
        if not value:
            yield path, "nothing"
        for key, inner in value.items():
            yield from leaves(inner, f"{path}/{key}")
    elif isinstance(value, list):
        yield f"{path}/#", len(value)
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{path}/{index}")
    else:
        yield path, plain(path.rsplit("/", 1)[-1], value)


def plain(key, value):
    if key in ("ShardIterator", "NextShardIterator", "NextToken", "StartingSequenceNumber", "EndingSequenceNumber"):
        return f"some {key}" if value else value
    if key == "SequenceNumber":
        # The digits are each server's own; that they grow is checked for the lab alone.
        return "a number" if value.isdecimal() else value
    if key in ("StreamCreationTimestamp", "ApproximateArrivalTimestamp"):
        return "a time"
    if key == "MillisBehindLatest":
        return "behind" if value else "at the tip"
    return value


def differences(ours, theirs):
    """`label: path` of all that differs."""
    found = {}
    for label, answer in ours.items():
        one, other = dict(leaves(answer)), dict(leaves(theirs[label]))
        for path in one.keys() | other.keys():
            if one.get(path) != other.get(path):
                found[f"{label}: {path}"] = (one.get(path), other.get(path))
    return found


def judge(found, listed):
    """Every difference is listed, and everything that is listed is one."""
    unlisted = {
        where: values
        for where, values in found.items()
        if not any(fnmatch.fnmatchcase(where, pattern) for pattern in listed)
    }
    stale = [pattern for pattern in listed if not fnmatch.filter(found, pattern)]
    assert not unlisted, "\n".join(f"{where}: lab {a!r}, peer {b!r}" for where, (a, b) in sorted(unlisted.items()))
    assert not stale, stale


# What differs, as patterns of `label: path`, and why the lab keeps to its answer. "Model" is AWS's own
# model of the service, "API" its API reference.
NOT_CHECKED = "the model's bounds and forms are not checked there"
ITERATOR_ARGUMENTS = "API: which iterator goes with which argument; a bad combination is InvalidArgumentException"
CHILDREN = "API: the end of a closed shard has no next iterator, and names the children"

MOTO = {
    "create with no shard: *": NOT_CHECKED,
    "put without a key: *": NOT_CHECKED,
    "put none: *": NOT_CHECKED,
    "read no record: *": NOT_CHECKED,
    "read 10001 records: *": NOT_CHECKED,
    "read nonsense: *": "it answers 500",
    "put with too long a key: *": "the model's bounds are ValidationException",
    "no such kind: *": "a value outside of an enum is ValidationException",
    "a needless sequence number: *": ITERATOR_ARGUMENTS,
    "no sequence number: *": ITERATOR_ARGUMENTS,
    "no time: *": ITERATOR_ARGUMENTS,
    "describe*: /StreamDescription/StreamModeDetails/StreamMode": "a stream has a mode, PROVISIONED unless asked",
    "*: /StreamDescriptionSummary/ConsumerCount": "a member that AWS always gives",
    "describe on: /StreamDescription/Shards/*": "it includes the shard of ExclusiveStartShardId, and all before it",
    "list on: *": "it does not take the NextToken that it gave",
    "list a stream: *": "names are in order; summaries are of the page, not of all streams; there is a NextToken",
    "list streams on: *": "names are in order; summaries are of the page, not of all streams",
    "put at the highest key: *": "its shards end one key early: it answers 500, and has no such record later",
    "read 1: /Records/*": "it does not have the record of the highest key",
    "read from long ago: /Records/*": "it does not have the record of the highest key",
    "put into a child: /ShardId": "it goes on writing to the closed parent",
    "read the child: /Records/*": "it goes on writing to the closed parent",
    "read the parent to its end: *": CHILDREN,
    "open shards: *": "it ignores ShardFilter",
    "shards after one: *": "it ignores ShardFilter",
}

MINISTACK = {
    "put none: *": NOT_CHECKED,
    "put above the highest key: *": NOT_CHECKED,
    "read no record: *": NOT_CHECKED,
    "read 10001 records: *": NOT_CHECKED,
    "*/EncryptionType": "NONE is left out where nothing is encrypted, as moto does",
    "a needless sequence number: *": ITERATOR_ARGUMENTS,
    "no sequence number: *": ITERATOR_ARGUMENTS,
    "no time: *": ITERATOR_ARGUMENTS,
    "keep*: /Error": "a retention out of bounds is InvalidArgumentException, in moto too",
    "split at a key of another: /Error": "a hash key out of the shard's range is InvalidArgumentException",
    "read nonsense: /Error": "an iterator that was never given has not expired",
    "read what is gone: /Error": "an iterator of a deleted stream has not expired; the stream is not found, in moto too",
    "list on: *": "API: NextToken stands alone, without StreamName",
    "list a stream: /NextToken": "API: a page that is not the last has a NextToken",
    "on demand: /StreamDescriptionSummary/OpenShardCount": "Developer Guide: a stream on demand begins with 4 shards",
    # A shard that was split or merged is removed at once there, and its records with it. In Kinesis it
    # stays, closed, until retention has passed.
    "split again: /Error": "a closed shard is still there",
    "shards after a*": "closed shards are listed",
    "shards after one: *": "closed shards are listed; it merged the wrong two before",
    "from the start of the parent: *": "a closed shard is read to its end",
    "read the parent to its end: *": "a closed shard is read to its end",
    "before the end: *": "a closed shard is read to its end",
    "merge what does not touch: *": "it merges any two",
    "merge: *": "it merged the wrong two before",
    "open shards: *": "it merged the wrong two before",
}


@pytest.fixture
def ours(lab):
    return run(Client(lab(world()).url), check=True)


@pytest.fixture
def moto(process, tool):
    port = free_port()
    server = process(tool("moto_server"), "-H", "127.0.0.1", "-p", port, env={"MOTO_ACCOUNT_ID": ACCOUNT})
    url = f"http://127.0.0.1:{port}"
    wait_until("moto answers", lambda: http_get(url)[0] != 0, 60, alive=server.check_alive)
    return url


@pytest.fixture
def ministack(process):
    binary = pathlib.Path(os.environ.get("MINISTACK_BIN") or ROOT / ".venv-ministack/bin/ministack")
    assert binary.is_file(), f"{binary} is missing: install ministack there, or set MINISTACK_BIN"
    port = free_port()
    env = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "IOT_MTLS_ENABLED": "0"}
    server = process(binary, env=env)
    url = f"http://127.0.0.1:{port}"
    wait_until("ministack answers", lambda: http_get(url)[0] != 0, 60, alive=server.check_alive)
    return url


def test_the_lab_answers_as_moto_does_but_for_what_is_listed(ours, moto):
    assert len(ours) >= 40
    judge(differences(ours, run(Client(moto))), MOTO)


def test_the_lab_answers_as_ministack_does_but_for_what_is_listed(ours, ministack):
    judge(differences(ours, run(Client(ministack))), MINISTACK)


def records_of(client, stream, shards):
    """Every record of a stream, shard after shard."""
    found = []
    for shard in range(shards):
        members = {"StreamName": stream, "ShardId": shard_id(shard), "ShardIteratorType": "TRIM_HORIZON"}
        iterator = client.ask("GetShardIterator", **members)["ShardIterator"]
        while iterator:
            page = client.ask("GetRecords", ShardIterator=iterator)
            found += page["Records"]
            iterator = page["Records"] and page.get("NextShardIterator")
    return found


def test_sequence_numbers_grow_within_a_shard_and_from_parents_to_children(lab):
    client = Client(lab(world()).url)
    client.ask("CreateStream", StreamName="s", ShardCount=1)
    for _ in range(3):
        client.ask("PutRecord", StreamName="s", PartitionKey="a", Data=b"")
    client.ask("SplitShard", StreamName="s", ShardToSplit=shard_id(0), NewStartingHashKey=str(HALF))
    for key in "ab" * 2:
        client.ask("PutRecord", StreamName="s", PartitionKey=key, Data=b"")
    numbers = [record["SequenceNumber"] for record in records_of(client, "s", 3)]
    assert len(numbers) == 7
    assert numbers == sorted(set(numbers), key=int)
    assert {(len(number), number[:2]) for number in numbers} == {(56, "49")}


def test_what_a_worlds_producer_writes_is_read_with_kinesis(lab):
    streams = NO_STREAMS.replace("streams = []\n", "") + """
[[streams]]
name = "events"
shards = 2
[[producers]]
stream = "events"
pattern = "steady"
rate = 50
"""
    running = lab(world(streams=streams))
    client = Client(running.url)
    records = wait_until("ten records", lambda: (r := records_of(client, "events", 2))[9:] and r, 20)
    assert all("email" in json.loads(record["Data"]) for record in records)
    assert len({record["PartitionKey"] for record in records}) == len(records)
    truth = running.history().document
    assert len(truth["arrivals"]) >= len(records)
    assert truth["calls"]["kinesis:GetRecords"] >= 2


def test_the_region_of_the_signature_is_the_one_in_the_arn(lab):
    url = lab(world()).url
    client = Client(url, region="eu-central-1")
    client.ask("CreateStream", StreamName="s", ShardCount=1)
    summary = client.ask("DescribeStreamSummary", StreamName="s")["StreamDescriptionSummary"]
    assert summary["StreamARN"] == f"arn:aws:kinesis:eu-central-1:{ACCOUNT}:stream/s"
    assert client.ask("DescribeStream", StreamARN=summary["StreamARN"])["StreamDescription"]["StreamName"] == "s"


def test_a_record_of_ten_mebibytes_goes_in_and_comes_out(lab):
    client = Client(lab(world()).url)
    client.ask("CreateStream", StreamName="s", ShardCount=1)
    data = os.urandom(10 * 1024 * 1024)
    assert "SequenceNumber" in client.ask("PutRecord", StreamName="s", PartitionKey="a", Data=data)
    assert [record["Data"] for record in records_of(client, "s", 1)] == [data]
    assert client.ask("PutRecord", StreamName="s", PartitionKey="a", Data=data + b"x") == {"Error": "ValidationException"}


def test_with_its_limits_on_a_shard_that_is_written_to_too_fast_says_so(lab):
    client = Client(lab(world(limits=True)).url)
    client.ask("CreateStream", StreamName="s", ShardCount=1)
    # Nine seconds' worth, so that the next is refused however slow the machine is.
    client.ask("PutRecord", StreamName="s", PartitionKey="a", Data=bytes(9 * 1024 * 1024))
    too_fast = "ProvisionedThroughputExceededException"
    assert client.ask("PutRecord", StreamName="s", PartitionKey="a", Data=b"x") == {"Error": too_fast}
    client.check("PutRecord")
    answer = client.ask("PutRecords", StreamName="s", Records=[{"PartitionKey": "a", "Data": b"x"}])
    client.check("PutRecords")
    assert answer["FailedRecordCount"] == 1 and answer["Records"][0]["ErrorCode"] == too_fast


@pytest.mark.parametrize(
    "operation, content_type, kind, says",
    [
        ("ListStreams", "application/x-amz-cbor-1.1", "SerializationException", "CBOR"),
        ("SubscribeToShard", "application/x-amz-json-1.1", "UnknownOperationException", "does not know"),
    ],
)
def test_what_the_lab_does_not_speak_is_refused_clearly(lab, operation, content_type, kind, says):
    request = urllib.request.Request(
        lab(world()).url,
        data=b"{}",
        headers={"X-Amz-Target": f"Kinesis_20131202.{operation}", "Content-Type": content_type},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    document = json.load(refused.value)
    assert (refused.value.code, document["__type"]) == (400, kind)
    assert says in document["message"]
