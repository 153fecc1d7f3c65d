"""A part of the lab report: the unread age that the daemon tells, next to the truth.

Bursts and silence on a stream of four shards, one of which is split and made whole again. Every
quarter of a second the daemon is asked; afterwards the lab's history says how old the oldest record
was that each view had not read at that moment. One view's refreshes take several looks: what comes
while they run is unread as they end.
"""

import bisect
import time

STREAM = "events"
TARGETS = {"tight": 10, "loose": 20, "slow": 20}
SERVICE = {"slow": "fixed = 4.0"}
PERIOD = 1.0
SEED = 7


def world():
    text = f'seed = {SEED}\n[[warehouses]]\nname = "wh"\nkind = "cluster"\ndatabases = ["dev"]\n'
    text += f'[[streams]]\nname = "{STREAM}"\nshards = 4\n'
    text += f'[[producers]]\nstream = "{STREAM}"\npattern = "bursts"\nrate = 20\non = 4\noff = 9\n'
    for view in TARGETS:
        text += f'[[views]]\nname = "{view}"\ndatabase = "dev"\nwarehouse = "wh"\nstream = "{STREAM}"\n'
        text += f"service = {{ {SERVICE.get(view, 'fixed = 0.4, sigma = 0.3')} }}\n"
    return text


def config(url, arn, role):
    text = f'[warehouses.wh]\ncluster = "wh"\ndatabase = "dev"\nendpoint_url = "{url}"\n'
    text += f'[streams.events]\nkinesis = "{arn}"\nprobe_role_arn = "{role}"\n'
    for view, target in TARGETS.items():
        text += f'[[views]]\nname = "{view}"\nwarehouse = "wh"\nstream = "events"\ntarget_lag = "{target}s"\n'
    return text


def open_shards(client):
    shards = client.list_shards(StreamName=STREAM)["Shards"]
    shards = [shard for shard in shards if "EndingSequenceNumber" not in shard["SequenceNumberRange"]]
    return sorted(shards, key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]))


def split(lab):
    client = lab.client("kinesis", retries=5)
    first = open_shards(client)[0]
    low, high = (int(first["HashKeyRange"][key]) for key in ("StartingHashKey", "EndingHashKey"))
    client.split_shard(
        StreamName=STREAM, ShardToSplit=first["ShardId"], NewStartingHashKey=str((low + high) // 2)
    )


def merge(lab):
    client = lab.client("kinesis", retries=5)
    first, second, *_ = (shard["ShardId"] for shard in open_shards(client))
    client.merge_shards(StreamName=STREAM, ShardToMerge=first, AdjacentShardToMerge=second)


def zero_of(lab):
    """When the lab's clock began, on this machine's."""
    client = lab.client()
    statement = client.execute_statement(Sql="SELECT 1", ClusterIdentifier="wh", Database="dev", WaitTimeSeconds=10)
    created = client.describe_statement(Id=statement["Id"])["CreatedAt"].timestamp()
    asked = next(s for s in lab.history().statements if s["id"] == statement["Id"])
    return created - asked["submitted_s"]


def sample(daemon, duration, changes):
    """What is told; the changes come at even distances."""
    samples, began = [], time.monotonic()
    due = [(began + duration * number / (len(changes) + 1), change) for number, change in enumerate(changes, 1)]
    while time.monotonic() < began + duration:
        if due and time.monotonic() > due[0][0]:
            due.pop(0)[1]()
        sent = time.time()
        page = daemon.metrics()
        at = (sent + time.time()) / 2
        for view in TARGETS:
            for _, age in page.all("tidekeeper_view_unread_age_seconds", view=view):
                samples.append((at, view, age))
        time.sleep(0.25)
    return samples


def errors(samples, history, zero):
    """How far each view's samples are from the truth."""
    records, off = {}, {view: [] for view in TARGETS}
    for view in TARGETS:
        of = ((a["t_s"], a["visible_s"].get(f"public.{view}", float("inf"))) for a in history.document["arrivals"])
        records[view] = sorted(of)
    for at, view, age in samples:
        now = at - zero
        # Records are read in order but for a refresh's own: only the last minute can be unread.
        first = bisect.bisect_left(records[view], (now - 60.0, 0.0))
        unread = (arrived for arrived, visible in records[view][first:] if arrived <= now < visible)
        truth = now - next(unread, now)
        off[view].append(abs(age - truth))
    return {view: sorted(of) for view, of in off.items()}


def unread(house, duration, table, role):
    arn = f"arn:aws:kinesis:eu-west-1:000000000000:stream/{STREAM}"
    with house.lab(world()) as lab, house.daemon(config(lab.url, arn, role)) as daemon:
        daemon.wait_ready()
        time.sleep(5.0)
        samples = sample(daemon, duration, [lambda: split(lab), lambda: merge(lab)])
        zero = zero_of(lab)
        off = errors(samples, lab.history(), zero)
    expected = len(TARGETS) * duration / 0.3
    table.row("samples", f"{len(samples)}", f">= {expected:.0f}", len(samples) >= expected)
    for view, of in off.items():
        for share, goal in ((0.5, None), (0.99, PERIOD + 1.0)):
            value = of[min(len(of) - 1, int(share * len(of)))] if of else float("inf")
            goal_text = f"<= {goal:.0f} s" if goal else ""
            table.row(f"{view}: off by, p{share * 100:.0f}", f"{value:.2f} s", goal_text, value <= goal if goal else None)
