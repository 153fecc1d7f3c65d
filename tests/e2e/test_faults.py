"""An endpoint that loses answers, throttles, fails and ignores long polls: nothing runs twice, nothing starves."""

import time

from harness import lab_config, lab_world, wait_until

HEAD = """
seed = 8

[[faults]]
kind = "lose_answer"
probability = 0.08

[[faults]]
kind = "throttle"
probability = 0.10
wrapped = 0.5

[[faults]]
kind = "error_500"
probability = 0.04

[[faults]]
kind = "ignore_wait"
"""
WATCHED_S = 60
# View: target lag and service time, in seconds.
VIEWS = {
    "v1": (6, 0.3),
    "v2": (6, 0.5),
    "v3": (8, 0.5),
    "v4": (8, 0.8),
    "v5": (10, 0.5),
    "v6": (10, 1.0),
}


def test_a_bad_endpoint_costs_calls_but_neither_doubles_nor_starves_a_view(lab, daemon):
    world = lab(
        lab_world({v: f"service = {{ fixed = {a}, sigma = 0.1 }}" for v, (_, a) in VIEWS.items()}, head=HEAD)
    )
    config = lab_config(
        world.url, {v: f'target_lag = "{lag}s"' for v, (lag, _) in VIEWS.items()}, extra="max_in_flight = 8"
    )
    running = daemon(config).wait_ready(40)
    wait_until(
        "every view has been refreshed once",
        lambda: all(world.history().finished(view) for view in VIEWS),
        40,
        alive=running.check_alive,
    )
    before = world.history()
    time.sleep(WATCHED_S)
    after = world.history()

    assert after.overlaps() == []
    finished = 0
    for view, (lag, service) in VIEWS.items():
        done = len(after.finished(view)) - len(before.finished(view))
        finished += done
        # Its wanted rate is one refresh each (target - duration); faults make it more careful,
        # never idle, and never a loop.
        assert done >= 0.5 * WATCHED_S / lag, f"{view}: {done} refreshes in {WATCHED_S} s"
        assert done <= 2 * WATCHED_S / (lag - service) + 3, f"{view}: {done} refreshes in {WATCHED_S} s"
        ends = [s["finished_s"] for s in after.finished(view)]
        longest = max(b - a for a, b in zip(ends, ends[1:]))
        assert longest <= 3 * lag, f"{view} was left alone for {longest:.1f} s"
    wanted = sum(WATCHED_S / lag for lag, _ in VIEWS.values())
    assert finished >= 0.8 * wanted, f"{finished} refreshes in {WATCHED_S} s"
    calls = sum(after.calls.values()) - sum(before.calls.values())
    assert calls <= 8 * finished, f"{calls} calls for {finished} refreshes: {after.calls}"

    names = [s["name"] for s in after.statements]
    assert len(set(names)) == len(names), "no statement name is executed twice"
    assert {s["status"] for s in after.statements} <= {"FINISHED", "SUBMITTED", "PICKED", "STARTED"}

    metrics = running.metrics()
    # Throttling is the endpoint's trouble, not the view's.
    for view in VIEWS:
        assert metrics.sum("tidekeeper_view_state", view=view, state="suspended") == 0
    # It is still the daemon's business to say what it met.
    assert metrics.sum("tidekeeper_data_api_requests_total") > finished
    assert running.get("/healthz")[0] == 200
    running.sigterm()
    assert running.wait(40) == 0
    assert world.history().overlaps() == []
