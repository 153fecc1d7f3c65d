"""Each kind of wrong input gives a clear line in the log, a metric, a state with a reason, and no hot loop."""

import time

from harness import free_port, lab_config, lab_world, wait_until

# Long enough for a hot loop to show.
WATCHED_S = 15

WORLD = lab_world(
    {
        "healthy": "service = { fixed = 0.3 }",
        "foreign": 'service = { fixed = 0.3 }\nowner = "somebody_else"',
        "elsewhere": "service = { fixed = 0.3 }",
    }
)
LAG = 'target_lag = "5s"'
VIEWS = {
    "healthy": LAG,
    "foreign": LAG,
    "ghost": LAG,
    "elsewhere": LAG + '\ndatabase = "nowhere"',
}
# What a reader has to find in the reason.
REASONS = {"foreign": "owner", "ghost": "does not exist", "elsewhere": "nowhere"}


def test_views_that_cannot_be_refreshed_are_suspended_with_their_reason(lab, daemon):
    world = lab(WORLD)
    running = daemon(lab_config(world.url, VIEWS)).wait_ready()
    for view in REASONS:
        wait_until(
            f"{view} is suspended",
            lambda view=view: running.metrics().sum("tidekeeper_view_state", view=view, state="suspended") == 1,
            30,
            alive=running.check_alive,
        )
    time.sleep(WATCHED_S)

    history = world.history()
    metrics = running.metrics()
    views = running.views()
    for view, reason in REASONS.items():
        # Permanent: suspended at the second identical error, and looked at again in 15 minutes.
        submitted = [s for s in history.statements if f"/{view}/" in s.get("name", "")]
        assert 1 <= len(submitted) <= 2, submitted

        suspensions = [line for line in running.complaints(view) if "suspend" in str(line).lower()]
        assert len(suspensions) == 1, suspensions
        assert reason in str(suspensions[0])
        assert len(running.complaints(view)) <= 3, running.complaints(view)

        assert 1 <= metrics.sum("tidekeeper_refreshes_total", view=view, outcome="failed", **{"class": "permanent"}) <= 2
        assert metrics.sum("tidekeeper_view_wait_reason", view=view, reason="suspended") == 1
        assert views[view]["state"] == "suspended"
        assert reason in running.view_text(view), running.view_text(view)

    assert sum(history.calls.values()) <= 60, history.calls
    assert history.overlaps() == []
    # The neighbour in the same warehouse is served all the while.
    assert len(history.finished("healthy")) >= 3
    assert metrics.sum("tidekeeper_refreshes_total", view="healthy", outcome="failed") == 0
    assert views["healthy"]["state"] in ("waiting", "submitting", "running")
    assert running.get("/healthz")[0] == 200


def test_an_endpoint_that_nobody_listens_on_blocks_its_warehouse_only(lab, daemon):
    world = lab(lab_world({"healthy": "service = { fixed = 0.3 }"}))
    nobody = f"http://127.0.0.1:{free_port()}"
    good = lab_config(world.url, {"healthy": LAG})
    bad = lab_config(nobody, {"far_1": LAG, "far_2": LAG}, warehouse="far", workgroup="far-away")
    running = daemon(good + bad).wait_alive()
    wait_until("the neighbour is served", lambda: world.history().finished("healthy"), 20, alive=running.check_alive)
    time.sleep(WATCHED_S)

    metrics = running.metrics()
    for view in ("far_1", "far_2"):
        assert metrics.sum("tidekeeper_view_wait_reason", view=view, reason="warehouse_blocked") == 1
        assert "warehouse_blocked" in running.view_text(view)
        assert metrics.sum("tidekeeper_refreshes_total", view=view) == 0
    failed = metrics.sum("tidekeeper_data_api_requests_total", warehouse="far")
    assert 1 <= failed <= 20, "retried, with backoff"
    assert metrics.sum("tidekeeper_data_api_requests_total", warehouse="far", result="ok") == 0

    said = running.complaints("far")
    assert 1 <= len(said) <= 20
    assert any(nobody in str(line) or "connect" in str(line).lower() for line in said), said
    assert len(world.history().finished("healthy")) >= 3
    assert running.get("/healthz")[0] == 200


def test_a_configuration_in_which_nothing_can_run_ends_with_78(daemon):
    running = daemon('[warehouses.lab]\nworkgroup = "lab"\n\n[[views]]\nname = "v"\nwarehouse = "lab"\n')
    assert running.wait(20) == 78
    assert any("target_lag" in str(line) for line in running.log()), running.output()


def test_one_bad_view_does_not_stop_the_others(lab, daemon):
    world = lab(lab_world({"healthy": "service = { fixed = 0.3 }"}))
    config = lab_config(world.url, {"healthy": LAG, "wrong": 'target_lag = "soon"'})
    running = daemon(config).wait_ready()
    wait_until("the good one is served", lambda: world.history().finished("healthy"), 20, alive=running.check_alive)
    assert running.metrics().sum("tidekeeper_config_invalid_views") == 1
    [mistake] = running.complaints("soon")
    assert "target_lag" in str(mistake)
    assert world.history().of("wrong") == []
