"""A real Prometheus scrapes the daemon, and promtool finds nothing to complain of."""

import json
import subprocess
import urllib.parse

import pytest

from harness import environment, free_port, http_get, lab_config, lab_world, wait_until

VIEWS = ("clicks", "orders", "sensors")


@pytest.fixture
def served(lab, daemon):
    world = lab(lab_world({v: "service = { fixed = 0.3, sigma = 0.1 }" for v in VIEWS}))
    running = daemon(lab_config(world.url, {v: 'target_lag = "5s"' for v in VIEWS})).wait_ready()
    wait_until(
        "each view was refreshed twice",
        lambda: all(len(world.history().finished(v)) >= 2 for v in VIEWS),
        30,
        alive=running.check_alive,
    )
    return running


def test_promtool_accepts_the_metrics(served, tool):
    page = served.metrics().text
    checked = subprocess.run(
        [tool("promtool"), "check", "metrics"],
        input=page, text=True, capture_output=True, timeout=30, env=environment(), check=False,
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_what_this_program_exports_carries_its_prefix(served):
    names = served.metrics().names()
    assert [name for name in names if not name.startswith(("tidekeeper_", "process_"))] == []
    for expected in (
        "tidekeeper_build_info",
        "tidekeeper_loop_heartbeat_timestamp_seconds",
        "tidekeeper_config_last_reload_successful",
        "tidekeeper_view_target_lag_seconds",
        "tidekeeper_refresh_duration_seconds_bucket",
        "tidekeeper_warehouse_slots",
    ):
        assert expected in names


def test_a_real_prometheus_scrapes_it(served, process, tool, tmp_path):
    config = tmp_path / "prometheus.yml"
    config.write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
                "scrape_configs": [
                    {
                        "job_name": "tidekeeper",
                        "static_configs": [{"targets": [served.url.removeprefix("http://")]}],
                    }
                ],
            }
        )
    )
    port = free_port()
    prometheus = process(
        tool("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    )

    def ask(expression):
        query = urllib.parse.urlencode({"query": expression})
        status, text = http_get(f"http://127.0.0.1:{port}/api/v1/query?{query}")
        return json.loads(text)["data"]["result"] if status == 200 else []

    def up():
        return [sample["value"][1] for sample in ask('up{job="tidekeeper"}')] == ["1"]

    def views():
        found = ask("tidekeeper_view_data_timestamp_seconds")
        return {sample["metric"]["view"]: float(sample["value"][1]) for sample in found}

    wait_until("the target is up", up, 30, alive=prometheus.check_alive)
    wait_until("every view is there", lambda: set(views()) == set(VIEWS), 15, alive=prometheus.check_alive)
    for view in VIEWS:
        [lag] = ask(f'time() - tidekeeper_view_data_timestamp_seconds{{view="{view}"}}')
        # Inside the target of 5 s, and the second that a scrape may be old.
        assert 0 <= float(lag["value"][1]) <= 7, lag
    [total] = ask('sum(tidekeeper_refreshes_total{outcome=~"data|no_data"})')
    assert float(total["value"][1]) >= 2 * len(VIEWS)
    [duration] = ask(
        "histogram_quantile(0.5, sum by (le) (tidekeeper_refresh_duration_seconds_bucket))"
    )
    assert 0 < float(duration["value"][1]) < 5, duration
