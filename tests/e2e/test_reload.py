"""A changed configuration is taken over while refreshes run; a wrong one is refused whole."""

import json
import signal

from harness import http_get, lab_config, lab_world, wait_until

WORLD = lab_world({name: f"service = {{ fixed = {fixed} }}" for name, fixed in (("quick", 0.3), ("slow", 4), ("late", 0.3))})
LAG = 'target_lag = "6s"'


def rewrite(running, text):
    """Replaces everything below `[daemon]`, which the harness has written."""
    head = running.config.read_text().split("\n\n")[0]
    running.config.write_text(f"{head}\n\n{text}")


def reloads(running):
    return running.metrics().sum("tidekeeper_config_last_reload_successful")


def test_a_saved_file_is_taken_over_and_a_removed_view_in_flight_is_awaited(lab, daemon):
    world = lab(WORLD)
    running = daemon(lab_config(world.url, {"quick": LAG, "slow": LAG})).wait_ready()
    wait_until("the slow one runs", lambda: world.history().running("slow"), 20, alive=running.check_alive)

    rewrite(running, lab_config(world.url, {"quick": LAG, "late": LAG}))
    wait_until("the new one is refreshed", lambda: world.history().finished("late"), 20, alive=running.check_alive)
    wait_until("the old one is gone", lambda: "slow" not in running.views(), 20, alive=running.check_alive)

    history = world.history()
    assert len(history.of("slow")) == len(history.finished("slow")), "what ran was awaited, not cancelled"
    assert history.calls["CancelStatement"] == 0
    assert history.overlaps() == []
    metrics = running.metrics()
    assert not metrics.all("tidekeeper_view_info", view="slow"), "series of removed views go"
    assert metrics.all("tidekeeper_view_info", view="late")
    assert reloads(running) == 1


def test_a_wrong_file_is_refused_whole_and_the_running_one_stays(lab, daemon):
    world = lab(WORLD)
    good = lab_config(world.url, {"quick": LAG})
    running = daemon(good).wait_ready()
    loaded_at = running.metrics().sum("tidekeeper_config_last_reload_success_timestamp_seconds")

    rewrite(running, lab_config(world.url, {"quick": 'target_lag = "1s"', "late": 'target_lag = "soon"'}))
    running.signal(signal.SIGHUP)
    wait_until("the refusal shows", lambda: reloads(running) == 0, 20, alive=running.check_alive)
    said = lambda: any("soon" in str(line) for line in running.complaints())
    wait_until("the log says why", said, 10, alive=running.check_alive)
    assert running.views()["quick"]["target_lag_seconds"] == 6
    assert "late" not in running.views()
    assert running.ready()
    assert running.metrics().sum("tidekeeper_config_last_reload_success_timestamp_seconds") == loaded_at

    before = len(world.history().finished("quick"))
    wait_until(
        "it is still refreshed", lambda: len(world.history().finished("quick")) > before, 20, alive=running.check_alive
    )
    rewrite(running, lab_config(world.url, {"quick": 'target_lag = "9s"'}))
    wait_until("the mended one is in force", lambda: reloads(running) == 1, 20, alive=running.check_alive)
    wait_until(
        "the new target holds",
        lambda: running.views()["quick"]["target_lag_seconds"] == 9,
        20,
        alive=running.check_alive,
    )


def test_what_needs_a_restart_is_named(lab, daemon):
    world = lab(WORLD)
    running = daemon(lab_config(world.url, {"quick": LAG})).wait_ready()
    text = running.config.read_text().replace('instance = "e2e"', 'instance = "other"')
    running.config.write_text(text)
    wait_until("the refusal shows", lambda: reloads(running) == 0, 20, alive=running.check_alive)
    said = lambda: any("daemon.instance" in str(line) for line in running.complaints())
    wait_until("the log says why", said, 10, alive=running.check_alive)


def test_views_are_paused_resumed_and_refreshed_with_the_admin_token_only(lab, daemon):
    world = lab(WORLD)
    config = lab_config(world.url, {"quick": 'target_lag = "60s"'})
    running = daemon(config, env={"TIDEKEEPER_ADMIN_TOKEN": "s3cret-token"}).wait_ready()
    wait_until("a first refresh", lambda: world.history().finished("quick"), 20, alive=running.check_alive)

    post = lambda action, token: running.post("quick", action, token)
    assert post("pause", "guess") == 401
    assert post("pause", "s3cret-token") == 202
    wait_until("it is paused", lambda: running.views()["quick"]["state"] == "paused", 10, alive=running.check_alive)
    before = len(world.history().of("quick"))
    assert post("refresh", "s3cret-token") == 202
    wait_until("one refresh", lambda: len(world.history().finished("quick")) > before, 10, alive=running.check_alive)
    assert post("resume", "s3cret-token") == 202
    wait_until("it waits", lambda: running.views()["quick"]["state"] == "waiting", 10, alive=running.check_alive)
    assert "s3cret-token" not in running.output(), "no secret is ever logged"
    assert json.loads(http_get(f"{running.url}/api/v1/views/nobody")[1])
