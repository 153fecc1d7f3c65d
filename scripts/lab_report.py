"""What Tidekeeper promises of freshness, awake time and calls, measured on local labs.

`make lab-report` runs it (DURATION=10m is how long the sparse streams run). Each row of the tables
is a value, its goal and whether it is met; the exit code is 1 if any is missed. Everything is judged
from the labs' own history; nothing is taken from the daemon's word.

Sparse streams on Serverless are run ten times as fast as they would be: a record every 30 to 180 s
becomes one every 3 to 18 s, a target lag of 2 min 12 s, a billed minute 6 s. Three labs get the same
records at the same moments: one with a probed daemon, one with a blind daemon, one with a loop that
refreshes every minute.
"""

import argparse
import concurrent.futures
import contextlib
import pathlib
import random
import re
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

import lab_observe  # noqa: E402
import lab_unread  # noqa: E402
from harness import Daemon, Lab, find_binary, wait_until  # noqa: E402

ROLE = "arn:aws:iam::111111111111:role/TidekeeperProbe"
SEED = 7

# Accelerated ten times.
TARGET = 12.0
MINIMUM = 6.0
GAPS = (3.0, 18.0)
LOOP_EVERY = 6.0
SERVICE = 0.3
SEVERAL = 4


class Table:
    """Rows of a value, its goal, and whether it is met."""

    missed = 0

    def __init__(self, title):
        print(f"\n{title}", flush=True)

    @classmethod
    def row(cls, name, value, goal, ok):
        verdict = "" if ok is None else "ok" if ok else "NOT ok"
        cls.missed += ok is False
        print(f"  {name:<58} {value:>12}  {goal:<16} {verdict}", flush=True)


def seconds(text):
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write one like 10m")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, None: 1}[found[2]]


def stream_arn(name):
    return f"arn:aws:kinesis:eu-west-1:000000000000:stream/{name}"


@contextlib.contextmanager
def running(make, *arguments, **more):
    process = make(*arguments, **more)
    try:
        yield process
    finally:
        process.stop()


class House:
    """A directory and a binary, and what is started with them."""

    def __init__(self, directory):
        self.binary = find_binary()
        self.directory = pathlib.Path(directory)
        self.worlds = 0

    def lab(self, world):
        self.worlds += 1
        path = self.directory / f"world-{self.worlds}.toml"
        path.write_text(world)
        return running(Lab, self.binary, path)

    def daemon(self, config):
        return running(Daemon, self.binary, config, self.directory, instance="report")


# What the history says.


def union(spans):
    """Seconds that any of the spans covers."""
    total, until = 0.0, float("-inf")
    for began, ended in sorted(spans):
        total += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return total


def time_in_target(history, view, target, began, ended):
    """Share of the time in which the oldest record that the view has not read is within the target."""
    late = []
    for arrival in history.document["arrivals"]:
        if arrival["stream"] != STREAM_OF[view]:
            continue
        visible = arrival["visible_s"].get(f"public.{view}", ended)
        due = max(arrival["t_s"] + target, began)
        if visible > due:
            late.append((due, min(visible, ended)))
    return 1.0 - union(late) / (ended - began)


# Which stream each view reads; the reports fill it in.
STREAM_OF = {}


def statements(history, warehouse, began, ended):
    """When statements ran in a warehouse, sweeps too."""
    return [
        (s["submitted_s"], min(s.get("finished_s", ended), ended))
        for s in history.statements
        if s["warehouse"] == warehouse and began <= s["submitted_s"] < ended
    ]


def awake(spans, minimum):
    """Seconds awake when a minimum is paid for each wake-up: what the policy plans by."""
    total, until = 0.0, float("-inf")
    for began, ended in sorted(spans):
        if began > until:
            total += minimum
            until = began + minimum
        total += max(0.0, ended - until)
        until = max(until, ended)
    return total


def awake_at_most(spans, minimum):
    """Seconds awake when each statement is paid for a minimum of its own."""
    return union((began, max(ended, began + minimum)) for began, ended in spans)


def shared_greedily(records, window, lasts, minimum):
    """Seconds awake of somebody who knows all records: each wake-up begins at the last moment of the
    first record that is not read, and serves all that come until `lasts` before its end."""
    total, served = 0.0, float("-inf")
    for record in records:
        if record > served:
            total += max(minimum, lasts)
            served = record + window + minimum - lasts
    return total


def fewest_awake(records, window, lasts, minimum):
    """The least possible by dynamic programming, as in the simulator's `awake.rs`: a record wants a start within
    `window` of its arrival; a wake-up begins at the last moment of the first record that is not
    read, may be kept awake for more of them, and costs `minimum` at least."""
    best = [0.0] * (len(records) + 1)
    for index in reversed(range(len(records))):
        wakes_at = records[index] + window
        least = float("inf")
        for served in range(index, len(records)):
            cost = max(records[served] + lasts - wakes_at, minimum)
            least = min(least, cost + best[served + 1])
            if cost > 2 * minimum + window:
                break
        best[index] = least
    return best[0]


def data_api_calls(calls):
    return sum(number for name, number in calls.items() if ":" not in name)


# Sparse streams.


def sparse_world():
    world = f"seed = {SEED}\n"
    for warehouse in ("one", "several"):
        world += f'[[warehouses]]\nname = "{warehouse}"\nkind = "workgroup"\ndatabases = ["dev"]\nslots = 10\n'
    for warehouse, view in sparse_views():
        world += f'[[streams]]\nname = "{STREAM_OF[view]}"\n'
        world += f'[[views]]\nname = "{view}"\ndatabase = "dev"\nwarehouse = "{warehouse}"\n'
        world += f'stream = "{STREAM_OF[view]}"\nservice = {{ fixed = {SERVICE}, sigma = 0.2 }}\n'
    return world


def sparse_views():
    views = [("one", "alone")] + [("several", f"view_{number}") for number in range(SEVERAL)]
    STREAM_OF.update({view: f"{view}_stream" for _, view in views})
    return views


def sparse_config(endpoint, probed):
    config = ""
    for warehouse in ("one", "several"):
        config += f'[warehouses.{warehouse}]\nworkgroup = "{warehouse}"\ndatabase = "dev"\n'
        config += f'endpoint_url = "{endpoint}"\nwake_minimum = "{MINIMUM:.0f}s"\nmax_in_flight = 8\n'
    for warehouse, view in sparse_views():
        stream = STREAM_OF[view]
        if probed:
            config += f'[streams.{stream}]\nkinesis = "{stream_arn(stream)}"\nprobe_role_arn = "{ROLE}"\n'
        config += f'[[views]]\nname = "{view}"\nwarehouse = "{warehouse}"\ntarget_lag = "{TARGET:.0f}s"\n'
        config += f'stream = "{stream}"\n' if probed else ""
    return config


def arrivals(duration):
    """When a record comes to which view's stream: the first ones at once, so that all labs know
    the moment at which the comparison begins."""
    schedule = []
    for _, view in sparse_views():
        dice = random.Random(f"{SEED}/{view}")
        at = 0.0
        while at < duration:
            schedule.append((at, STREAM_OF[view]))
            at += dice.uniform(*GAPS)
    return sorted(schedule)


def put_all(labs, duration):
    clients = [lab.client("kinesis", retries=5) for lab in labs]
    with concurrent.futures.ThreadPoolExecutor(len(labs)) as pool:
        began = time.monotonic()
        for at, stream in arrivals(duration):
            time.sleep(max(0.0, began + at - time.monotonic()))
            puts = [
                pool.submit(client.put_record, StreamName=stream, PartitionKey="k", Data=b"{}")
                for client in clients
            ]
            for put in puts:
                put.result()


def fixed_loop(lab, stopped):
    """What a cron job does: refreshes everything every minute, unread records or none."""
    client = lab.client(retries=5)
    next_at = time.monotonic()
    while not stopped.wait(max(0.0, next_at - time.monotonic())):
        for warehouse, view in sparse_views():
            client.execute_statement(
                Sql=f"REFRESH MATERIALIZED VIEW {view}", WorkgroupName=warehouse, Database="dev"
            )
        next_at += LOOP_EVERY


def sparse(house, duration):
    table = Table(
        f"Sparse streams on Serverless, ten times as fast: {duration:.0f} s, a record every "
        f"{GAPS[0]:.0f}-{GAPS[1]:.0f} s, target {TARGET:.0f} s, billed at least {MINIMUM:.0f} s"
    )
    with contextlib.ExitStack() as stack:
        labs = {name: stack.enter_context(house.lab(sparse_world())) for name in ("probed", "blind", "loop")}
        for name in ("probed", "blind"):
            daemon = house.daemon(sparse_config(labs[name].url, name == "probed"))
            stack.enter_context(daemon).wait_ready()
        stopped = threading.Event()
        stack.callback(stopped.set)
        looping = threading.Thread(target=fixed_loop, args=(labs["loop"], stopped), daemon=True)
        looping.start()
        for lab in labs.values():
            read = lambda: all(lab.history().finished(view) for _, view in sparse_views())
            wait_until("every view has been refreshed", read, 60, alive=lab.check_alive)
        # What the start costs is over.
        time.sleep(2 * MINIMUM)
        before = {name: lab.history().calls for name, lab in labs.items()}
        put_all(labs.values(), duration)
        time.sleep(TARGET + MINIMUM)
        histories = {name: lab.history() for name, lab in labs.items()}
    print(
        f"  {'':<18}{'in target':>10}{'worst view':>12}{'refreshes':>11}{'calls':>7}"
        f"{'awake':>8}{'bound':>8}{'ratio':>7}{'least':>8}{'at most':>9}"
    )
    goals = []
    for warehouse in ("one", "several"):
        views = [view for at, view in sparse_views() if at == warehouse]
        for name, history in histories.items():
            calls = data_api_calls(history.calls) - data_api_calls(before[name])
            goals += sparse_row(name, history, warehouse, views, calls, duration)
    for goal in goals:
        table.row(*goal)


def sparse_row(name, history, warehouse, views, calls, duration):
    records = sorted(
        arrival["t_s"]
        for arrival in history.document["arrivals"]
        if arrival["stream"] in {STREAM_OF[view] for view in views}
    )
    began, ended = records[0], records[0] + duration + TARGET + MINIMUM
    shares = [time_in_target(history, view, TARGET, began, ended) for view in views]
    spans = statements(history, warehouse, began, ended)
    lasts = min(s["finished_s"] - s["submitted_s"] for view in views for s in history.finished(view))
    bound = shared_greedily(records, TARGET - lasts, lasts, MINIMUM)
    least = fewest_awake(records, TARGET - lasts, lasts, MINIMUM)
    paid = awake(spans, MINIMUM)
    refreshes = sum(began <= s["submitted_s"] for view in views for s in history.finished(view))
    print(
        f"  {name + ', ' + warehouse:<18}{sum(shares) / len(shares):>10.2%}{min(shares):>12.2%}{refreshes:>11}"
        f"{calls:>7}{paid:>7.0f}s{bound:>7.0f}s{paid / bound:>7.2f}{least:>7.0f}s{awake_at_most(spans, MINIMUM):>8.0f}s"
    )
    if name != "probed":
        return []
    return [
        (f"probed, {warehouse}: worst view in target", f"{min(shares):.2%}", ">= 99.5%", min(shares) >= 0.995),
        (f"probed, {warehouse}: awake / bound", f"{paid / bound:.2f}", "<= 1.10", paid <= 1.1 * bound),
    ]


# A backlog of an hour.

NEIGHBOURS = 12
BACKLOG = 3_600


def backlog_world():
    world = f'seed = {SEED}\n[endpoint]\nkinesis_limits = false\n'
    world += '[[warehouses]]\nname = "wh"\nkind = "cluster"\ndatabases = ["dev"]\nslots = 3\n'
    for view in backlog_views():
        stream = STREAM_OF[view]
        world += f'[[streams]]\nname = "{stream}"\n'
        if view != "behind":
            world += f'[[producers]]\nstream = "{stream}"\npattern = "steady"\nrate = 2\n'
        more = "max_records = 100\nservice = { fixed = 1.5 }" if view == "behind" else "service = { fixed = 0.5 }"
        world += f'[[views]]\nname = "{view}"\ndatabase = "dev"\nwarehouse = "wh"\nstream = "{stream}"\n{more}\n'
    return world


def backlog_views():
    views = ["behind"] + [f"beside_{number}" for number in range(NEIGHBOURS)]
    STREAM_OF.update({view: f"{view}_stream" for view in views})
    return views


def backlog(house, duration):
    table = Table(f"A backlog of {BACKLOG} records (one a second for an hour, 100 a refresh) beside {NEIGHBOURS} streams")
    target = 5.0
    with contextlib.ExitStack() as stack:
        labs = {name: stack.enter_context(house.lab(backlog_world())) for name in ("with", "without")}
        client = labs["with"].client("kinesis", retries=5)
        for _ in range(BACKLOG // 450):
            client.put_records(
                StreamName="behind_stream", Records=[{"Data": b"{}", "PartitionKey": "k"} for _ in range(450)]
            )
        for lab in labs.values():
            config = f'[warehouses.wh]\ncluster = "wh"\ndatabase = "dev"\nendpoint_url = "{lab.url}"\nmax_in_flight = 3\n'
            for view in backlog_views():
                config += f'[[views]]\nname = "{view}"\nwarehouse = "wh"\ntarget_lag = "{target:.0f}s"\n'
            stack.enter_context(house.daemon(config)).wait_ready()
        time.sleep(duration)
        histories = {name: lab.history() for name, lab in labs.items()}
    ended = min(
        max(s["submitted_s"] for s in history.statements) for history in histories.values()
    )
    shares = {
        name: [time_in_target(history, view, target, 2 * target, ended) for view in backlog_views()[1:]]
        for name, history in histories.items()
    }
    for name, of in shares.items():
        table.row(f"neighbours in target, {name} the backlog", f"{sum(of) / len(of):.2%}", "", None)
    worst = max(without - having for having, without in zip(shares["with"], shares["without"]))
    table.row("most that a neighbour loses, in points", f"{100 * worst:.1f}", "<= 5", worst <= 0.05)
    reads = histories["with"].finished("behind")
    unread = sum(
        "public.behind" not in arrival["visible_s"]
        for arrival in histories["with"].document["arrivals"]
        if arrival["stream"] == "behind_stream"
    )
    table.row("refreshes that the backlog took, records left", f"{len(reads)}, {unread}", "none left", unread == 0)


# Load.

LOADED = 170
LOAD_TARGET = 10


def load(house, duration):
    table = Table(f"Load: {LOADED} views, target {LOAD_TARGET} s, quota_share 0.8")
    views = [f"view_{number}" for number in range(LOADED)]
    world = f'seed = {SEED}\n[[warehouses]]\nname = "wh"\nkind = "cluster"\ndatabases = ["dev"]\nslots = 40\n'
    for number in range(10):
        world += f'[[streams]]\nname = "s{number}"\n[[producers]]\nstream = "s{number}"\npattern = "steady"\nrate = 2\n'
    for number, view in enumerate(views):
        world += f'[[views]]\nname = "{view}"\ndatabase = "dev"\nwarehouse = "wh"\nstream = "s{number % 10}"\n'
        world += "service = { fixed = 0.4, sigma = 0.2 }\n"
    with house.lab(world) as lab:
        config = f'[warehouses.wh]\ncluster = "wh"\ndatabase = "dev"\nendpoint_url = "{lab.url}"\n'
        config += "max_in_flight = 40\nquota_share = 0.8\n"
        for view in views:
            config += f'[[views]]\nname = "{view}"\nwarehouse = "wh"\ntarget_lag = "{LOAD_TARGET}s"\n'
        with house.daemon(config) as daemon:
            daemon.wait_ready()
            # The margins of so many views are learned together.
            time.sleep(4 * LOAD_TARGET)
            before = lab.history()
            time.sleep(duration)
            after = lab.history()
    began = max(s["submitted_s"] for s in before.statements)
    ended = max(s["submitted_s"] for s in after.statements)
    new = [s for s in after.statements if began < s["submitted_s"]]
    refreshes = [s for s in new if s.get("view")]
    sweeps = [s for s in new if not s.get("view")]
    calls = data_api_calls(after.calls) - data_api_calls(before.calls)
    a_second = len(refreshes) / (ended - began)
    table.row("refreshes a second", f"{a_second:.1f}", ">= 18", a_second >= 18)
    table.row("calls a refresh, sweeps included", f"{calls / len(refreshes):.2f}", "<= 1.20", calls <= 1.2 * len(refreshes))
    a_sweep = len(refreshes) / max(1, len(sweeps))
    table.row("refreshes a sweep", f"{a_sweep:.1f}", ">= 15", bool(sweeps) and a_sweep >= 15)


# Reads of probes.


def probes(house, duration):
    table = Table("Reads of probes a shard and second; a probe may use one of the five that Kinesis allows")
    for shards, views in ((1, 1), (8, 1), (64, 1), (1, 8), (64, 8)):
        names = [f"view_{number}" for number in range(views)]
        world = f'seed = {SEED}\n[[warehouses]]\nname = "wh"\nkind = "cluster"\ndatabases = ["dev"]\n'
        world += f'[[streams]]\nname = "events"\nshards = {shards}\n'
        world += '[[producers]]\nstream = "events"\npattern = "bursts"\nrate = 50\non = 3\noff = 3\n'
        for view in names:
            world += f'[[views]]\nname = "{view}"\ndatabase = "dev"\nwarehouse = "wh"\nstream = "events"\n'
        with house.lab(world) as lab:
            config = f'[warehouses.wh]\ncluster = "wh"\ndatabase = "dev"\nendpoint_url = "{lab.url}"\n'
            config += f'[streams.events]\nkinesis = "{stream_arn("events")}"\nprobe_role_arn = "{ROLE}"\n'
            for view in names:
                config += f'[[views]]\nname = "{view}"\nwarehouse = "wh"\nstream = "events"\ntarget_lag = "5s"\n'
            with house.daemon(config) as daemon:
                daemon.wait_ready()
                reads = lambda: lab.history().calls["kinesis:GetRecords"]
                wait_until("the first reads", lambda: reads() >= shards, 30, alive=daemon.check_alive)
                before, began = reads(), time.monotonic()
                time.sleep(duration)
                mean = (reads() - before) / shards / (time.monotonic() - began)
                told = lab.history().document.get("reads")
                up = daemon.metrics().sum("tidekeeper_stream_probe_up", stream="events") == 1
        name = f"{shards} shards, {views} views"
        table.row(f"{name}: the probe has a signal", "yes" if up else "no", "yes", up)
        table.row(f"{name}: mean", f"{mean:.2f}", "<= 1.05", mean <= 1.05)
        if told:
            most = max(shard["most_per_second"] for shard in told["events"].values())
            # Two looks a second apart may fall into one second by a millisecond.
            table.row(f"{name}: most in any second", f"{most}", "<= 2", most <= 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--duration", type=seconds, default=600.0, help="of the sparse streams; 10m unless given")
    parser.add_argument("parts", nargs="*", help="sparse, backlog, load, probes, unread, observe; all unless given")
    asked = parser.parse_args()
    parts = {
        "sparse": lambda house: sparse(house, asked.duration),
        "backlog": lambda house: backlog(house, 60.0),
        "load": lambda house: load(house, 60.0),
        "probes": lambda house: probes(house, 8.0),
        "unread": lambda house: lab_unread.unread(
            house, 90.0, Table("Unread age, told and true: bursts, silence, a split and a merge; a look a second"), ROLE
        ),
        "observe": lambda house: lab_observe.observe(
            house,
            min(asked.duration, 180.0),
            Table("An estate that a loop refreshes every minute, ten times as fast: observed, then kept"),
            ROLE,
        ),
    }
    if unknown := [part for part in asked.parts if part not in parts]:
        parser.error(f"there is no part {unknown[0]!r}")
    with tempfile.TemporaryDirectory() as directory:
        house = House(directory)
        for name, part in parts.items():
            if not asked.parts or name in asked.parts:
                part(house)
    print(f"\n{Table.missed} goals are missed" if Table.missed else "\nall goals are met")
    return 1 if Table.missed else 0


if __name__ == "__main__":
    sys.exit(main())
