"""What a workgroup costs is how long it is kept awake: as the daemon tells it, and as the lab saw it."""

import json

from harness import lab_config, lab_world, wait_until

MINIMUM = 1.0


def kept_awake(history, minimum):
    """Seconds of the union of [submit, max(end, submit + minimum)] over all statements, sweeps too."""
    spans = sorted(
        (s["submitted_s"], max(s["finished_s"], s["submitted_s"] + minimum)) for s in history.statements
    )
    total, until = 0.0, 0.0
    for began, ended in spans:
        total += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return total


def awake_of(daemon):
    """What `/api/v1/views` tells of the only warehouse."""
    status, text = daemon.get("/api/v1/views")
    assert status == 200, text
    (warehouse,) = json.loads(text)["warehouses"]
    return warehouse["awake"]


def test_the_time_awake_is_what_the_lab_saw_and_its_price_is_told(lab, daemon):
    here = lab(lab_world({"clicks": "service = { fixed = 0.2 }"}))
    config = lab_config(
        here.url, {"clicks": 'target_lag = "3s"'}, extra='wake_minimum = "1s"\nprice_per_hour = 3.0'
    )
    running = daemon(config).wait_ready()
    done = lambda: len(here.history().finished("clicks")) >= 3
    wait_until("it is refreshed three times", done, 20, alive=running.check_alive)

    def told_while_asleep():
        """Total and history of a moment at which it sleeps, so that no time passes between the two."""
        before = awake_of(running)
        history, seconds = here.history(), running.metrics().sum("tidekeeper_awake_seconds_total", warehouse="lab")
        asleep = before["until"] is None and awake_of(running)["total_seconds"] == before["total_seconds"]
        return asleep and not history.running() and (before, history, seconds)

    before, history, seconds = wait_until("it sleeps", told_while_asleep, 10, alive=running.check_alive)
    assert seconds == before["total_seconds"]
    seen = kept_awake(history, MINIMUM)
    assert abs(seconds - seen) < 0.05 * seen + 0.2, (seconds, seen)
    assert before["wake_minimum_seconds"] == MINIMUM
    estimate = before["estimate"]
    assert estimate["kept_awake_by"] == ["clicks"]
    # Of about three seconds it is awake for one or two.
    assert 0.25 < estimate["awake_seconds_per_day"] / 86_400 < 0.9, estimate
    assert abs(estimate["price_per_day"] - 3.0 * estimate["awake_seconds_per_day"] / 3_600) < 1e-6
    assert estimate["longer_target_lag"]["target_lag_seconds"] == 30, estimate
    assert "it keeps warehouse lab awake" in running.views()["clicks"]["explain"]
    assert "because of clicks" in running.get("/")[1]


def test_a_cluster_tells_nothing_of_being_awake(lab, daemon):
    here = lab(lab_world({"clicks": ""}))
    config = lab_config(here.url, {"clicks": 'target_lag = "10s"'}, extra='billing = "provisioned"')
    running = daemon(config).wait_ready()
    assert awake_of(running) is None
    assert running.metrics().all("tidekeeper_awake_seconds_total") == []
