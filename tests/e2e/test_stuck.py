"""A statement that never ends is timed out, cancelled, confirmed dead, and reported."""

import time

from harness import lab_config, lab_world, wait_until

WORLD = lab_world(
    {
        "once": 'service = { fixed = 0.3 }\nfaults = [{ kind = "stuck", first = 1 }]',
        # A cancel takes two seconds to take effect: ABORTED is not the same as asked to stop.
        "slow": 'service = { fixed = 0.3 }\nfaults = [{ kind = "stuck", first = 1 }, { kind = "slow_cancel", seconds = 2, first = 1 }]',
        "stubborn": 'service = { fixed = 0.3 }\nfaults = [{ kind = "stuck" }, { kind = "refuse_cancel" }]',
        "healthy": "service = { fixed = 0.3 }",
    }
)
LAGS = {name: 'target_lag = "10s"\nstatement_timeout = "3s"' for name in ("once", "slow", "stubborn", "healthy")}


def test_a_statement_that_never_ends_is_timed_out_cancelled_confirmed_and_reported(lab, daemon):
    world = lab(WORLD)
    running = daemon(lab_config(world.url, LAGS)).wait_ready()

    for view in ("once", "slow"):
        wait_until(
            f"{view} recovers after its time-out",
            lambda view=view: world.history().finished(view),
            60,
            alive=running.check_alive,
        )
    history = world.history()
    metrics = running.metrics()

    assert history.overlaps() == []
    for view in ("once", "slow"):
        first = history.of(view)[0]
        assert first["status"] == "ABORTED"
        took = first["finished_s"] - first["submitted_s"]
        # The limit is 3 s, and 2 s more until the slow cancel is through; the rest is slack.
        assert took >= (5 if view == "slow" else 3) - 0.1, took
        assert took <= 12, took
        assert metrics.sum("tidekeeper_refreshes_total", view=view, outcome="failed", **{"class": "timeout"}) == 1
        assert running.lines_with(view, "cancel") or running.lines_with(view, "time"), running.output()
        assert running.complaints(view), "a time-out is worth a warning"

    # The one whose cancel is refused is neither forgotten nor sent again.
    assert len(history.of("stubborn")) == 1
    assert history.running("stubborn")
    assert metrics.sum("tidekeeper_view_state", view="stubborn", state="cancelling") == 1
    assert history.calls["CancelStatement"] <= 30, history.calls

    # The healthy neighbour never notices.
    assert metrics.sum("tidekeeper_refreshes_total", view="healthy", outcome="failed") == 0
    assert len(history.finished("healthy")) >= 1


def test_an_explicit_time_out_holds_from_the_first_refresh_and_doubles(lab, daemon):
    world = lab(lab_world({"never": 'faults = [{ kind = "stuck" }]'}))
    running = daemon(lab_config(world.url, {"never": 'target_lag = "2s"\nstatement_timeout = "2s"'}))
    running.wait_alive()

    wait_until(
        "a second statement is aborted",
        lambda: len([s for s in world.history().of("never") if s["status"] == "ABORTED"]) >= 2,
        60,
        alive=running.check_alive,
    )
    time.sleep(0.2)
    history = world.history()
    first, second = [s["finished_s"] - s["submitted_s"] for s in history.of("never")[:2]]
    assert 1.9 <= first <= 3.9, first
    assert 3.9 <= second <= 7.9, second
    assert history.overlaps() == []
