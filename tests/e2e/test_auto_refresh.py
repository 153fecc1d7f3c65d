"""Views that the warehouse refreshes by itself: seen, counted, never doubled in silence."""

from harness import lab_config, lab_world, wait_until


def test_auto_refresh_is_counted_and_said(lab, daemon):
    views = {"kept": "auto_refresh = true", "seen": "auto_refresh = true"}
    world = lab_world({name: f"service = {{ fixed = 0.2 }}\n{keys}" for name, keys in views.items()})
    here = lab(world.replace('kind = "workgroup"', 'kind = "cluster"\nauto_refresh_every = 2'))
    config = lab_config(here.url, {"kept": 'target_lag = "6s"', "seen": 'target_lag = "6s"\nmode = "observe"'})
    running = daemon(config.replace("workgroup =", "cluster =")).wait_ready()
    auto = lambda view: running.metrics().sum("tidekeeper_foreign_refreshes_total", view=view, by="auto")
    wait_until("both are counted", lambda: auto("kept") >= 2 and auto("seen") >= 2, 30, alive=running.check_alive)
    wait_until("the API says so", lambda: running.views()["kept"]["auto_refreshes"] >= 2, 5)
    shown = running.views()
    assert "AUTO REFRESH has refreshed it" in shown["kept"]["explain"]
    assert shown["kept"]["auto_refresh_seconds"] > 0
    assert shown["seen"]["data_timestamp"] is not None, "what others do is known"
    history = here.history()
    assert not [s for s in history.of("seen") if not s.get("auto")], "nothing of the daemon's"
    assert [s for s in history.of("kept") if not s.get("auto")], "the daemon keeps its own"
