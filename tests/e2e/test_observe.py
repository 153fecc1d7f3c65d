"""`mode = "observe"`: the daemon decides and reports, and submits nothing."""

import time

from harness import lab_config, lab_world, wait_until


def test_an_observed_view_is_reported_and_never_submitted(lab, daemon):
    world = lab(lab_world({"seen": "service = { fixed = 0.3 }", "kept": "service = { fixed = 0.3 }"}))
    views = {"seen": 'target_lag = "4s"\nmode = "observe"', "kept": 'target_lag = "4s"'}
    running = daemon(lab_config(world.url, views)).wait_ready()
    wait_until("the other is refreshed", lambda: len(world.history().finished("kept")) >= 2, 30, alive=running.check_alive)
    time.sleep(2)
    assert world.history().of("seen") == []
    seen = running.views()["seen"]
    assert seen["wait"]["reason"] == "observe"
    assert seen["refreshes"] == 0
    assert seen["data_timestamp"] is None, "nobody has looked, so nobody knows"
    metrics = running.metrics()
    assert metrics.sum("tidekeeper_view_wait_reason", view="seen", reason="observe") == 1
    assert metrics.sum("tidekeeper_view_slo_active", view="seen") == 0
    assert len(running.lines_with("would", "seen")) >= 2, "each decision is said"
