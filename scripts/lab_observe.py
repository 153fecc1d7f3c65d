"""A part of the lab report: what `mode = "observe"` says of an estate, next to the truth.

A loop refreshes everything every minute, ten times as fast. One daemon observes it; then the loop
ends and a second daemon keeps the same targets itself. The first one's report is compared with the
lab's own history of its time, its forecast with what the second one then did.
"""

import contextlib
import datetime
import json
import subprocess
import threading
import time

from harness import wait_until

TARGETS = {"one": 4, "two": 6, "three": 15, "sparse": 12}
EVERY = 6.0
SERVICE = 0.4
MINIMUM = 2.0
SEED = 7


def stream_of(view):
    return f"{view}_stream"


def world():
    text = f'seed = {SEED}\n[[warehouses]]\nname = "rtw"\nkind = "workgroup"\ndatabases = ["dev"]\nslots = 10\n'
    text += f"billing_minimum = {MINIMUM:.0f}\n"
    for view in TARGETS:
        text += f'[[streams]]\nname = "{stream_of(view)}"\n'
        if view != "sparse":
            text += f'[[producers]]\nstream = "{stream_of(view)}"\npattern = "steady"\nrate = 5\n'
        text += f'[[views]]\nname = "{view}"\ndatabase = "dev"\nwarehouse = "rtw"\nstream = "{stream_of(view)}"\n'
        text += f"service = {{ fixed = {SERVICE}, sigma = 0.2 }}\n"
    return text


def config(url, mode, role):
    text = f'[defaults]\nmode = "{mode}"\n[warehouses.rtw]\nworkgroup = "rtw"\ndatabase = "dev"\n'
    text += f'endpoint_url = "{url}"\nwake_minimum = "{MINIMUM:.0f}s"\nmax_in_flight = 8\n'
    arn = f"arn:aws:kinesis:eu-west-1:000000000000:stream/{stream_of('sparse')}"
    text += f'[streams.sparse]\nkinesis = "{arn}"\nprobe_role_arn = "{role}"\n'
    for view, target in TARGETS.items():
        text += f'[[views]]\nname = "{view}"\nwarehouse = "rtw"\ntarget_lag = "{target}s"\n'
        text += 'stream = "sparse"\n' if view == "sparse" else ""
    return text


def loop(lab, stopped):
    client = lab.client(retries=5)
    next_at = time.monotonic()
    while not stopped.wait(max(0.0, next_at - time.monotonic())):
        for view in TARGETS:
            client.execute_statement(Sql=f"REFRESH MATERIALIZED VIEW {view}", WorkgroupName="rtw", Database="dev")
        next_at += EVERY


def produce(lab, stopped):
    """A record every 10 s on the sparse stream."""
    client = lab.client("kinesis", retries=5)
    while not stopped.wait(10.0):
        client.put_record(StreamName=stream_of("sparse"), PartitionKey="k", Data=b"{}")


def in_target(history, view, began, ended):
    """Share of the time within the target: by arrivals for the sparse view, else by the clock."""
    target = TARGETS[view]
    late, at, holds = 0.0, began, None
    arrivals = sorted(
        arrival["t_s"] for arrival in history.document["arrivals"] if arrival["stream"] == stream_of(view)
    )

    def due():
        if view != "sparse":
            return holds + target
        return next((arrived + target for arrived in arrivals if arrived > holds), float("inf"))

    for done in [*sorted(history.finished(view), key=lambda s: s["finished_s"]), None]:
        until = ended if done is None else min(done["finished_s"], ended)
        if holds is not None and until > at:
            late += max(0.0, until - max(at, due()))
            at = until
        if done is not None and done["finished_s"] < ended:
            holds = done["started_s"]
    return 1.0 - late / (ended - began)


def awake(statements, began, ended):
    spans = sorted((s["submitted_s"], max(s["finished_s"], s["submitted_s"] + MINIMUM)) for s in statements)
    total, until = 0.0, began
    for start, end in spans:
        total += max(0.0, min(end, ended) - max(start, until))
        until = max(until, min(end, ended))
    return total / (ended - began)


def zero_of(lab):
    """When the lab's clock began."""
    client = lab.client()
    asked = client.execute_statement(Sql="SELECT 1", WorkgroupName="rtw", Database="dev")["Id"]
    created = client.describe_statement(Id=asked)["CreatedAt"].timestamp()
    return created - next(s["submitted_s"] for s in lab.history().statements if s["id"] == asked)


def now_of(lab):
    """The present moment on the lab's clock, by a query that it remembers."""
    client = lab.client()
    client.execute_statement(Sql="SELECT 1", WorkgroupName="rtw", Database="dev", WaitTimeSeconds=10)
    return max(s["submitted_s"] for s in lab.history().statements)


def seen_of(history, whose, began, ended):
    ended_ones = [s for s in history.statements if "finished_s" in s and whose(s)]
    refreshes = [s for s in ended_ones if s.get("view") and began <= s["finished_s"] < ended]
    rate = len(refreshes) / (ended - began) * 3_600
    shares = {view: in_target(history, view, began, ended) for view in TARGETS}
    return shares, rate, awake(ended_ones, began, ended)


def of_the_loop(statement):
    return "name" not in statement and "view" in statement


def of_the_daemon(statement):
    """Its refreshes, and its looks at the warehouse's records, which keep it awake as well."""
    return statement.get("name", "").startswith("tidekeeper/")


def observe(house, duration, table, role):
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(house.lab(world()))
        looped, produced = threading.Event(), threading.Event()
        stack.callback(looped.set)
        stack.callback(produced.set)
        threading.Thread(target=loop, args=(lab, looped), daemon=True).start()
        threading.Thread(target=produce, args=(lab, produced), daemon=True).start()
        wait_until("the loop's refreshes", lambda: all(lab.history().finished(v) for v in TARGETS), 60)
        with house.daemon(config(lab.url, "observe", role)) as daemon:
            daemon.wait_ready()
            time.sleep(duration)
            address = daemon.url.removeprefix("http://")
            told = subprocess.run(
                [house.binary, "report", "--json", "--address", address], capture_output=True, check=True
            )
            told = json.loads(told.stdout)
            zero = zero_of(lab)
        looped.set()
        before = lab.history()
        with house.daemon(config(lab.url, "active", role)) as daemon:
            daemon.wait_ready()
            time.sleep(5 * MINIMUM)
            active_began = now_of(lab)
            time.sleep(duration)
            active_ended = now_of(lab)
        after = lab.history()
    # The very time of which it tells: it is short, and the loop's refreshes come in bursts.
    (warehouse,) = told["warehouses"]
    began, ended = (
        datetime.datetime.fromisoformat(warehouse[at]).timestamp() - zero for at in ("since", "until")
    )
    compare(table, told, seen_of(before, of_the_loop, began, ended), seen_of(after, of_the_daemon, active_began, active_ended))


def compare(table, told, seen, active):
    (warehouse,) = told["warehouses"]
    for view in told["views"]:
        name = view["view"]
        for label, share, truth, most in (
            ("seen in target", view["seen"]["in_target"], seen[0][name], 0.02),
            ("forecast in target", view["forecast"]["in_target"], active[0][name], 0.10),
        ):
            off = abs(share - truth)
            table.row(f"{name}: {label} {share:.1%}, truth {truth:.1%}: off by", f"{off:.2%}", f"<= {most:.0%}", off <= most)
    for label, key, index, most in (
        ("seen", "seen", seen, 0.02),
        ("forecast", "forecast", active, 0.10),
    ):
        of = warehouse[key]
        for what, value, truth in (
            ("refreshes an hour", of["refreshes_per_hour"], index[1]),
            ("share awake", of["awake_share"], index[2]),
        ):
            off = abs(value / truth - 1.0)
            table.row(f"{what} {label} {value:.3g}, truth {truth:.3g}: off by", f"{off:.2%}", f"<= {most:.0%}", off <= most)
