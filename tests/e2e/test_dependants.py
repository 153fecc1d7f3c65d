"""Views over views, found in the catalog."""

import subprocess

from harness import environment, lab_config, lab_world, wait_until


def test_views_on_views_are_found_and_refreshed_after_them(lab, daemon, binary):
    here = lab(lab_world({"base": "service = { fixed = 0.3 }"}).replace('"workgroup"', '"cluster"'))
    place = {"ClusterIdentifier": "lab", "Database": "dev"}
    client = here.client()
    sql = "CREATE MATERIALIZED VIEW hourly AS SELECT COUNT(*) AS n FROM base"
    made = client.execute_statement(Sql=sql, WaitTimeSeconds=20, **place)
    assert made["Status"] == "FINISHED", client.describe_statement(Id=made["Id"])

    found = subprocess.run(
        [binary, "discover", "--cluster", "lab", "--database", "dev", "--endpoint-url", here.url, "--region", "eu-west-1"],
        capture_output=True, text=True, timeout=30, check=True, env=environment(),
    )
    assert 'after = ["base"]' in found.stdout or 'after = ["public.base"]' in found.stdout, found.stdout

    config = lab_config(here.url, {"base": 'target_lag = "4s"', "hourly": 'target_lag = "8s"'})
    running = daemon(config.replace("workgroup =", "cluster =")).wait_ready()
    wait_until(
        "it goes after its parent",
        lambda: running.views()["hourly"]["data_timestamp"] and len(here.history().finished("hourly")) >= 2,
        30,
        alive=running.check_alive,
    )
    (said,) = running.lines_with("stands on other views")
    assert (said["view"], said["after"]) == ("hourly", "base")
    history = here.history()
    ends = [s["finished_s"] for s in history.finished("base")]
    # The first one may have gone before the catalog was asked.
    began = [s["submitted_s"] for s in history.finished("hourly")][1:]
    assert all(any(end <= at for end in ends) for at in began)
    assert running.views()["hourly"]["data_timestamp"] <= running.views()["base"]["data_timestamp"]

    asked = subprocess.run(
        [binary, "check", "--online", "--config", "-"],
        input=config.replace("workgroup =", "cluster ="), capture_output=True, text=True, timeout=60, check=False, env=environment(),
    )
    assert "✓ view hourly: after base: found in the catalog\n" in asked.stdout, asked.stdout + asked.stderr
    assert "parents of views: told; 1 views stand on others (A57)" in asked.stdout
    assert "✗" not in asked.stdout, asked.stdout
