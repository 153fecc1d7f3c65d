"""`tidekeeper report`: how fresh an estate is that others refresh, and what Tidekeeper would do."""

import datetime
import json
import subprocess
import threading
import time

from harness import http_get, lab_config, lab_world, wait_until

TARGET = 3.0
EVERY = 4.0


def loop(lab, view, stopped):
    client = lab.client(retries=5)
    while not stopped.wait(EVERY):
        client.execute_statement(
            ClusterIdentifier="lab", Database="dev", Sql=f"REFRESH MATERIALIZED VIEW {view}"
        )


def seconds(moment):
    return datetime.datetime.fromisoformat(moment).timestamp()


def truth(lab, view, began, ended):
    """Share of the time in which what the view shows was no older than the target, by the lab."""
    client = lab.client()
    done = lab.history().finished(view)
    # When the lab's clock began.
    zero = client.describe_statement(Id=done[0]["id"])["CreatedAt"].timestamp() - done[0]["submitted_s"]
    late, at, holds = 0.0, began, None
    for refresh in [*done, None]:
        until = ended if refresh is None else min(zero + refresh["finished_s"], ended)
        if holds is not None and until > at:
            late += max(0.0, until - max(at, holds + TARGET))
            at = until
        if refresh is not None and zero + refresh["finished_s"] < ended:
            holds = zero + refresh["started_s"]
    return 1.0 - late / (ended - began)


def report(binary, running, *arguments):
    command = [binary, "report", "--address", running.url.removeprefix("http://"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout


def test_an_observed_loop_is_judged_and_nothing_is_submitted(lab, daemon, binary, tmp_path):
    world = lab_world({"v": "service = { fixed = 0.3 }"}).replace('"workgroup"', '"cluster"')
    here = lab(world)
    stopped = threading.Event()
    threading.Thread(target=loop, args=(here, "v", stopped), daemon=True).start()
    try:
        wait_until("a refresh", lambda: here.history().finished("v"), 20, alive=here.check_alive)
        config = lab_config(here.url, {"v": f'target_lag = "{TARGET:.0f}s"\nmode = "observe"'})
        running = daemon(config.replace("workgroup =", "cluster =")).wait_ready()

        def known():
            (view,) = json.loads(report(binary, running, "--json"))["views"]
            return view if view["seen"]["known_seconds"] > 2 * EVERY else None

        wait_until("it is known", known, 40, every=1, alive=running.check_alive)
        view = known()
        until = seconds(view["until"])
        share = truth(here, "v", until - view["seen"]["known_seconds"], until)
        assert abs(view["seen"]["in_target"] - share) < 0.02, (view, share)
        assert 0.5 < share < 0.85, "some 3 of each 4 seconds"
        assert view["seen"]["statement"] == view["seen"]["refreshes"] >= 2
        assert view["seen"]["users"] == {"IAMR:tidekeeper": view["seen"]["statement"]}
        assert view["forecast"]["in_target"] > 0.9 and view["forecast"]["tidekeeper"] > 2
        assert not [s for s in here.history().of("v") if s.get("name")], "nothing is submitted"

        text = report(binary, running)
        assert " times an hour by IAMR:tidekeeper; Tidekeeper:" in text and "it would " in text, text
        (warehouse,) = json.loads(report(binary, running, "--json"))["warehouses"]
        saves = warehouse["seen"]["refreshes_per_hour"] - warehouse["forecast"]["refreshes_per_hour"]
        assert warehouse["saves"]["refreshes_per_hour"] == saves != 0
        assert warehouse["saves"]["awake_seconds_per_day"] is None, "a cluster is not billed for it"
        status, page = http_get(f"{running.url}/report")
        assert status == 200 and "with Tidekeeper" in page and "Saves an hour" in page
        directory = tmp_path / "recorded"
        assert "simulate" in report(binary, running, "--record", directory)
        played = subprocess.run(
            [binary, "simulate", directory / "scenario.toml", "--json"], capture_output=True, text=True, timeout=60
        )
        assert played.returncode == 0, played.stderr
        again = subprocess.run(
            [binary, "report", "--address", running.url.removeprefix("http://"), "--record", directory], capture_output=True, text=True
        )
        assert again.returncode == 1 and "cannot make the directory" in again.stderr
    finally:
        stopped.set()
